//! `slide`: run chains of windows (stencils, convolutions, pooling) block by block of rows.
//!
//! Rewrite: `for i { A }  for j { B }  for k { C }`, where `B` reads a window of the rows that `A` makes and `C` of those
//! that `B` makes, becomes `for block { for i in block { A }  for j in block { B }  for k in block { C } }`. Blocks have
//! equally many rows of what flows. A nest that makes rows for a window starts early: the blocks of its readers are some
//! iterations late, `j = size * block + inner - late`, so every row has been made when it is needed and none is made
//! twice. What flows is used before it leaves the cache, and `contract` keeps a few blocks of it.
//!
//! Legal when each loop is parallel, its rows decide the iteration that makes them, and each iteration of a reader needs a
//! bounded window of rows (see `window`): then no dependence goes back to an earlier block. Wanted when the bytes that flow
//! come closer (see `slide_cost`) by more than weights and rows of two blocks cost to read again, and by more than
//! `fuse-tiles` could save by joining them in pairs, also with nests that are not in the chain. One worker only: the loop over blocks is sequential.
//! Source: fused layers, Alwani et al. (MICRO 2016); sliding windows, Ragan-Kelley et al. (PLDI 2013).

use super::axis::{Axis, axes};
use super::fuse_tiles::{self, REACH};
use super::group::{self, reads, writes};
use super::slide_cost::{Model, Price};
use super::window::Window;
use crate::aff::gcd;
use crate::error::{Origin, Result};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program};
use crate::schedule_tree::Node;
use crate::script::merge;
use crate::transform::{Path, children, siblings};
use std::collections::HashSet;

pub struct Slide;

const NAME: &str = "slide";

/// Longer chains are not looked at: their weights alone fill the cache.
const LONGEST: usize = 8;

impl Pass for Slide {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "run chains of windows block by block of rows (CPU, one thread)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu {
            let apart = fuse_tiles::in_registers(program);
            // Inner lists first: the paths of the others stay.
            for list in fuse_tiles::lists(program).iter().rev() {
                slide_list(program, list, &apart, context);
            }
        }
        Ok(())
    }
}

/// A nest of a chain.
#[derive(Clone)]
pub struct Member {
    /// Place in the list.
    pub node: usize,
    pub axis: Axis,
    /// Iterations per iteration of the first member, as a fraction.
    share: (i64, i64),
    /// Iterations that the first block is shorter.
    pub late: i64,
}

/// What flows from one member to another.
#[derive(Clone)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    pub flows: Vec<ArrayId>,
    pub window: Window,
}

/// Nests that may run block by block.
#[derive(Clone, Default)]
pub struct Chain {
    pub members: Vec<Member>,
    pub links: Vec<Link>,
}

/// A chain, its block sizes and their price.
struct Plan {
    chain: Chain,
    factors: Vec<i64>,
    price: Price,
    gain: f64,
}

fn slide_list(program: &mut Program, parent: &Path, apart: &HashSet<ArrayId>, cx: &mut PassContext) {
    let mut at = 0;
    while at + 1 < children(&program.schedule, parent).len() {
        let model = Model { program, parent, apart, machine: cx.machine };
        if let Some(plan) = best(&model, at) {
            let subject = origin(&children(&program.schedule, parent)[at], program);
            if cx.machine.threads > 1 {
                let why = format!("{} blocks of rows would save {:.0} cycles of one worker", plan.price.count, plan.gain);
                cx.missed(NAME, &subject, why);
            } else {
                cx.applied(NAME, &subject, said(program, parent, &plan));
                apply(program, parent, &plan);
            }
        }
        at += 1;
    }
}

fn origin(node: &Node, program: &Program) -> Origin {
    node.statements().last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default()
}

fn said(program: &Program, parent: &[usize], plan: &Plan) -> String {
    let nodes = children(&program.schedule, parent);
    let others = plan.chain.members[1..].iter().map(|m| origin(&nodes[m.node], program).to_string());
    format!(
        "{} blocks of rows with {}: {:.0} KB flow inside, about {:.0} cycles saved",
        plan.price.count,
        others.collect::<Vec<_>>().join(", "),
        plan.price.flow / 1024.0,
        plan.gain
    )
}

// ---- what to join ------------------------------------------------------------------------------------------

/// The best chain that starts at node `at`.
fn best(model: &Model, at: usize) -> Option<Plan> {
    let mut best: Option<Plan> = None;
    for axis in axes(model.program, &[model.parent, &[at]].concat()) {
        let first = Member { node: at, axis, share: (1, 1), late: 0 };
        let mut chain = Chain { members: vec![first], links: vec![] };
        for node in at + 1..children(&model.program.schedule, model.parent).len().min(at + REACH) {
            if chain.members.len() == LONGEST {
                break;
            }
            let Some(longer) = chain.with(model, node) else { continue };
            chain = longer;
            if chain.links.iter().all(|l| l.window.is_block()) {
                continue;
            }
            if let Some(plan) = plan(model, &chain)
                && best.as_ref().is_none_or(|b| plan.gain > b.gain)
            {
                best = Some(plan);
            }
        }
    }
    best
}

/// The best blocks for a chain, if they gain anything.
fn plan(model: &Model, chain: &Chain) -> Option<Plan> {
    let mut chain = chain.clone();
    chain.delay();
    let common = chain.members.iter().fold(1, |n, m| n / gcd(n, m.share.1) * m.share.1);
    let longest = model.iterations(&chain.members[0]);
    let mut best: Option<(Vec<i64>, Price)> = None;
    for size in (0..40).map(|n| common << n).take_while(|size| *size < longest) {
        let factors: Vec<i64> = chain.members.iter().map(|m| size / m.share.1 * m.share.0).collect();
        let price = model.price(&chain, &factors);
        if best.as_ref().is_none_or(|(_, b)| price.cycles.gain() > b.cycles.gain()) {
            best = Some((factors, price));
        }
    }
    let (factors, price) = best.filter(|(_, price)| price.cycles.gain() > 0.0)?;
    let gain = price.cycles.gain() - model.pairs(&chain, price.cycles.gain());
    (gain > 0.0).then_some(Plan { chain, factors, price, gain })
}

impl Chain {
    /// The chain with one more node of the list, when that reads from members and may stand behind them.
    fn with(&self, model: &Model, node: usize) -> Option<Chain> {
        let program = model.program;
        let nodes = children(&program.schedule, model.parent);
        let (own_reads, own_writes) = (reads(program, &nodes[node]), writes(program, &nodes[node]));
        let from = self.members[0].node;
        let is_member = |n: &usize| self.members.iter().any(|m| m.node == *n);
        for n in from..node {
            let (other_reads, other_writes) = (reads(program, &nodes[n]), writes(program, &nodes[n]));
            let clash = !own_writes.is_disjoint(&other_reads) || !own_writes.is_disjoint(&other_writes);
            if clash || (!is_member(&n) && !own_reads.is_disjoint(&other_writes)) {
                return None;
            }
        }
        let flows = |m: &Member| {
            let made = writes(program, &nodes[m.node]);
            let mut flows: Vec<ArrayId> = own_reads.iter().copied().filter(|a| made.contains(a)).collect();
            flows.sort();
            flows
        };
        let flows: Vec<Vec<ArrayId>> = self.members.iter().map(flows).collect();
        let counts = |s| group::value_params(program, s);
        if nodes[node].statements().into_iter().flat_map(counts).any(|a| flows.iter().flatten().any(|f| *f == a)) {
            return None;
        }
        let top = [model.parent, &[node]].concat();
        axes(program, &top).into_iter().find_map(|axis| self.joined(program, node, &axis, &flows))
    }

    /// The chain with one loop more, when everything that flows to it does so in windows at one pace.
    fn joined(&self, program: &Program, node: usize, axis: &Axis, flows: &[Vec<ArrayId>]) -> Option<Chain> {
        let mut links = Vec::new();
        let mut share = None;
        for (from, flows) in flows.iter().enumerate().filter(|(_, f)| !f.is_empty()) {
            let window = Window::between(program, &self.members[from].axis, axis, flows)?;
            let (p, q) = self.members[from].share;
            let (p, q) = (p.checked_mul(window.made)?, q.checked_mul(window.step)?);
            let own = (p / gcd(p, q), q / gcd(p, q));
            if share.is_some_and(|s| s != own) {
                return None;
            }
            share = Some(own);
            links.push(Link { from, to: self.members.len(), flows: flows.clone(), window });
        }
        let mut chain = self.clone();
        chain.members.push(Member { node, axis: axis.clone(), share: share?, late: 0 });
        chain.links.extend(links);
        Some(chain)
    }

    /// How late every member is: as early as what it needs allows, then as late as its readers allow.
    fn delay(&mut self) {
        for link in &self.links {
            let late = link.window.late_after(self.members[link.from].late);
            self.members[link.to].late = self.members[link.to].late.max(late);
        }
        for from in (0..self.members.len()).rev() {
            let readers = self.links.iter().filter(|l| l.from == from);
            let latest = readers.map(|l| l.window.late_before(self.members[l.to].late)).min();
            self.members[from].late = latest.unwrap_or(self.members[from].late);
        }
    }
}

// ---- the rewrite --------------------------------------------------------------------------------------

/// Makes one node of the members, where the first one stands.
fn apply(program: &mut Program, parent: &[usize], plan: &Plan) {
    for (member, factor) in plan.chain.members.iter().zip(&plan.factors) {
        fuse_tiles::put_outermost(program, &member.axis, *factor, member.late);
    }
    let first = [parent, &[plan.chain.members[0].node]].concat();
    let Some((nodes, first)) = siblings(&mut program.schedule, &first) else { return };
    let others: Vec<Node> = plan.chain.members[1..].iter().rev().map(|m| nodes.remove(m.node)).collect();
    for node in others.into_iter().rev() {
        // `axes` has found the loop.
        let _ = merge(&mut nodes[first], node, 1);
    }
}
