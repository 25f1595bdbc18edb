//! Chains of windows: nests of a list of which each reads windows of the rows that earlier ones make.
//!
//! What `overlap` runs block by block of rows. Every member has one parallel loop that makes rows, and all of these go
//! through the rows at one pace (see `window`); a member may move up to the first one.

use super::axis::{Axis, axes};
use super::fuse_tiles::{self, REACH};
use super::group;
use super::overlap_cost::Model;
use super::touched::Touched;
use super::window::Window;
use crate::aff::gcd;
use crate::program::{ArrayId, Program};
use crate::schedule_tree::Node;
use crate::script::merge;
use crate::transform::{children, siblings};

/// Longer chains are not looked at: their weights alone fill the cache.
const LONGEST: usize = 8;

/// A nest of a chain.
#[derive(Clone)]
pub struct Member {
    /// Place in the list.
    pub node: usize,
    pub axis: Axis,
    /// Iterations per iteration of the first member, as a fraction.
    pub share: (i64, i64),
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

/// All chains of windows that start at a node: of every loop, and of every length.
pub fn starting_at(model: &Model, at: usize) -> Vec<Chain> {
    let mut out = Vec::new();
    for axis in axes(model.program, &[model.parent, &[at]].concat()) {
        let first = Member { node: at, axis, share: (1, 1) };
        let mut chain = Chain { members: vec![first], links: vec![] };
        for node in at + 1..children(&model.program.schedule, model.parent).len().min(at + REACH) {
            if chain.members.len() == LONGEST {
                break;
            }
            let Some(longer) = chain.with(model, node) else { continue };
            chain = longer;
            if chain.links.iter().any(|l| !l.window.is_block()) {
                out.push(chain.clone());
            }
        }
    }
    out
}

impl Chain {
    /// The chain with one more node of the list, when that reads from members and may stand behind them.
    fn with(&self, model: &Model, node: usize) -> Option<Chain> {
        let program = model.program;
        let nodes = children(&program.schedule, model.parent);
        let own = Touched::of(program, &nodes[node]);
        let from = self.members[0].node;
        let is_member = |n: &usize| self.members.iter().any(|m| m.node == *n);
        for (n, other) in nodes.iter().enumerate().take(node).skip(from) {
            let other = Touched::of(program, other);
            if own.overwrites(&other) || (!is_member(&n) && own.must_follow(&other)) {
                return None;
            }
        }
        let flows = |m: &Member| own.flows_from(&Touched::of(program, &nodes[m.node]));
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
        chain.members.push(Member { node, axis: axis.clone(), share: share? });
        chain.links.extend(links);
        Some(chain)
    }

    /// Iterations of every member's loop that touch equally many rows; `None` where `size` is no multiple of the least number.
    pub fn paces(&self, size: i64) -> Option<Vec<i64>> {
        let whole = self.members.iter().all(|m| size % m.share.1 == 0);
        whole.then(|| self.members.iter().map(|m| size / m.share.1 * m.share.0).collect())
    }

    /// The least number of iterations of the first member in which all others have whole ones.
    pub fn common(&self) -> i64 {
        self.members.iter().fold(1, |n, m| n / gcd(n, m.share.1) * m.share.1)
    }

    /// Makes one node of the members, whose outermost loops are one, where the first of them stands.
    pub fn join(&self, program: &mut Program, parent: &[usize]) {
        let first = [parent, &[self.members[0].node]].concat();
        let Some((nodes, first)) = siblings(&mut program.schedule, &first) else { return };
        let others: Vec<Node> = self.members[1..].iter().rev().map(|m| nodes.remove(m.node)).collect();
        for node in others.into_iter().rev() {
            // `axes` has found the loop.
            let _ = merge(&mut nodes[first], node, 1);
        }
    }

    /// On whose behalf the members behind the first run.
    pub fn others(&self, program: &Program, parent: &[usize]) -> String {
        let nodes = children(&program.schedule, parent);
        let names = self.members[1..].iter().map(|m| fuse_tiles::origin(program, &nodes[m.node]).to_string());
        names.collect::<Vec<_>>().join(", ")
    }
}
