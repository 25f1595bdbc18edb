//! `fuse-tiles`: run producers and consumers block by block, where a block stays in the cache.
//!
//! Rewrite: `for i { A }  for j { B }`, where `B` reads what `A` wrote, becomes `for block { for i in block { A }
//! for j in block { B } }`: the two nests keep their own loop orders, register tiles and reductions, but what flows
//! between them is used before it leaves the cache, and `contract` keeps one block of it. That is fusion after
//! tiling: `fuse` shares every iteration of a loop, which a reduction over another loop forbids; here the whole rows of
//! a matrix product meet the softmax over them, and the packed keys of one head meet its scores.
//!
//! Legal when, in both nests, the element that flows decides the block (see `axis`): then no dependence leaves it.
//! Parallel loops may be strip-mined and moved outermost. Wanted when the bytes that flow come closer (see `cost::reuse`) by
//! more than it costs to read again, in every block, what does not depend on the block (weights). *Siblings*, between which
//! nothing flows, are fused by the same rule where both read the same elements in the same block. Where the elements do not
//! decide it, exact dependences are asked whether the outermost loops may be shared as they are (see `outermost`).
//! Source: post-tiling fusion, Zhao and Di (MICRO 2020); cost by reuse distance, Mattson et al. (1970).

use super::axis::Axis;
use super::blocks::{Choice, Pair};
use super::group;
use super::outermost::Exact;
use super::touched::Touched;
use super::uses::Uses;
use crate::error::{Origin, Result};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program};
use crate::schedule_tree::Node;
use crate::script::merge;
use crate::transform::{self, Path, children};
use std::collections::HashSet;

pub struct FuseTiles;

pub const NAME: &str = "fuse-tiles";

/// Nests further apart are not looked at: every candidate costs a scan.
pub const REACH: usize = 24;

impl Pass for FuseTiles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "run producers and consumers block by block (CPU targets)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu {
            let apart = in_registers(program);
            let mut exact = Exact::default();
            loop {
                fuse_list(program, &[], &apart, context);
                if !exact.fuse(program, &apart, context) {
                    break;
                }
            }
            lists(program).iter().for_each(|list| say_missed(program, list, &apart, context));
        }
        Ok(())
    }
}

/// Temporaries of a single register tile: they never reach memory.
pub fn in_registers(program: &Program) -> HashSet<ArrayId> {
    let uses = Uses::of(program);
    let one_tile = |id: &ArrayId| {
        let mut tiles = uses.by_array[id].iter().map(|u| uses.tile(u.statement));
        let first = tiles.next().flatten();
        first.is_some() && tiles.all(|t| t == first)
    };
    uses.by_array.keys().copied().filter(|id| program.array(*id).is_temp() && one_tile(id)).collect()
}

/// Fuses within the list whose parent band is at `parent` and inside its nodes, until nothing changes: what became one
/// inside a node may make loops of that node outermost. Has anything been fused?
fn fuse_list(program: &mut Program, parent: &[usize], apart: &HashSet<ArrayId>, cx: &mut PassContext) -> bool {
    let mut any = false;
    loop {
        let mut changed = fuse_once(program, parent, apart, cx);
        for list in lists_in(program, parent) {
            changed |= fuse_list(program, &list, apart, cx);
        }
        any |= changed;
        if !changed {
            return any;
        }
    }
}

/// Goes through a list once; has anything been fused? What became one node may suit those before it, too.
fn fuse_once(program: &mut Program, parent: &[usize], apart: &HashSet<ArrayId>, cx: &mut PassContext) -> bool {
    let before = children(&program.schedule, parent).len();
    let mut at = 0;
    while at < children(&program.schedule, parent).len() {
        match best(program, parent, at, apart, cx) {
            Some(plan) => at = apply(program, parent, at, &plan, cx),
            None => at += 1,
        }
    }
    children(&program.schedule, parent).len() < before
}

/// Every list of nodes that may be fused: the roots, and what is inside host loops and groups of this pass. Each is the
/// path of the loop around it.
pub fn lists(program: &Program) -> Vec<Path> {
    let mut out = vec![Path::new()];
    let mut at = 0;
    while at < out.len() {
        let inner = lists_in(program, &out[at]);
        out.extend(inner);
        at += 1;
    }
    out
}

/// The lists right below one: the first of every node that is a group of this pass, the body of a host loop, or
/// statements that share rows.
fn lists_in(program: &Program, parent: &[usize]) -> Vec<Path> {
    let list = |n: usize| {
        let chain = transform::chain(&program.schedule, &[parent, &[n]].concat());
        let lockstep = |p: &Path| transform::band_at(&program.schedule, p).is_some_and(|b| b.mark.is_lockstep());
        chain.last().filter(|_| !chain.iter().any(lockstep)).cloned()
    };
    (0..children(&program.schedule, parent).len()).filter_map(list).collect()
}

// ---- what to fuse --------------------------------------------------------------------------------------

/// Fusion of an earlier node with a later one.
struct Plan {
    producer: usize,
    up: bool,
    choice: Choice,
}

/// The producers and siblings of node `at` that it may be fused with: their places, whether the consumer moves up to the producer,
/// and the pair.
fn candidates<'p>(
    program: &'p Program,
    parent: &[usize],
    at: usize,
    apart: &'p HashSet<ArrayId>,
) -> Vec<(usize, bool, Pair<'p>)> {
    let nodes = children(&program.schedule, parent);
    let from = at.saturating_sub(REACH);
    let uses: Vec<Touched> = nodes[from..=at].iter().map(|node| Touched::of(program, node)).collect();
    let near = |m: &Meeting| !m.flows.is_empty() || !uses[m.first].reads.is_disjoint(&uses[at - from].reads);
    let meetings = meetings(&uses, at - from).into_iter().filter(near);
    let candidates = meetings.filter_map(|Meeting { first, flows, up }| {
        let (producer, up) = (from + first, up?);
        let fusable = fusable(program, &nodes[producer], &nodes[at], &flows);
        let pair = Pair { program, apart, flows, tops: [producer, at].map(|n| [parent, &[n]].concat()) };
        fusable.then_some((producer, up, pair))
    });
    candidates.collect()
}

/// The best producer of node `at` to fuse it with.
fn best(program: &Program, parent: &[usize], at: usize, apart: &HashSet<ArrayId>, cx: &PassContext) -> Option<Plan> {
    let mut best: Option<Plan> = None;
    for (producer, up, pair) in candidates(program, parent, at, apart) {
        if let Ok(choice) = pair.best(cx.machine)
            && best.as_ref().is_none_or(|b| choice.cycles.gain() > b.choice.cycles.gain())
        {
            best = Some(Plan { producer, up, choice });
        }
    }
    best
}

/// Says what stays apart in a list, once all is done.
fn say_missed(program: &Program, parent: &[usize], apart: &HashSet<ArrayId>, cx: &mut PassContext) {
    let nodes = children(&program.schedule, parent);
    for (at, node) in nodes.iter().enumerate() {
        for (_, _, pair) in candidates(program, parent, at, apart) {
            if let Err(why) = pair.best(cx.machine) {
                cx.missed(NAME, &origin(program, node), format!("{}: {why}", pair.names()));
            }
        }
    }
}

/// A node and a later one of the same list.
pub struct Meeting {
    pub first: usize,
    /// Arrays that the first writes and the second reads, in the order of their numbers.
    pub flows: Vec<ArrayId>,
    /// May they become neighbours: the second moves up to the first (true), or the first down (false)?
    pub up: Option<bool>,
}

impl Meeting {
    /// Must there be a reason why the two are not one? Of neighbours, and of nodes between which something flows.
    pub fn is_obligation(&self, second: usize) -> bool {
        self.first + 1 == second || !self.flows.is_empty()
    }
}

/// Node `second` with each of those before it, the closest first.
pub fn meetings(nodes: &[Touched], second: usize) -> Vec<Meeting> {
    let own = &nodes[second];
    let mut between = Touched::default();
    let mut out = Vec::new();
    for first in (second.saturating_sub(REACH)..second).rev() {
        let made = &nodes[first];
        // What both branches of an `If` write keeps its order: only tests of data say that just one of them runs.
        let up = own.reads.is_disjoint(&between.writes)
            && own.writes.is_disjoint(&between.reads)
            && own.tested.is_disjoint(&between.tested);
        let down = !between.must_follow(made);
        out.push(Meeting {
            first,
            flows: own.flows_from(made),
            up: if up { Some(true) } else { down.then_some(false) },
        });
        between.add(made);
    }
    out
}

/// Nothing but elements flows: no trip count. An array that both write counts where the second adds to what is there, which
/// flows; otherwise they write different elements of it (two parts of a concatenation).
pub fn fusable(program: &Program, producer: &Node, consumer: &Node, flows: &[ArrayId]) -> bool {
    let counts =
        consumer.statements().iter().any(|s| group::value_params(program, *s).iter().any(|a| flows.contains(a)));
    matches!((producer, consumer), (Node::Band(_), Node::Band(_))) && !counts
}

/// On whose behalf a node runs: the last of its statements.
pub fn origin(program: &Program, node: &Node) -> Origin {
    node.statements().last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default()
}

/// The nodes whose statements are below, as a reader would list them.
pub fn origins(program: &Program, node: &Node) -> String {
    let mut names: Vec<String> = node.statements().iter().map(|s| program.statement(*s).origin.to_string()).collect();
    names.dedup();
    names.join(", ")
}

// ---- the rewrite --------------------------------------------------------------------------------------

/// Makes one node of two, and returns its place.
fn apply(program: &mut Program, parent: &[usize], at: usize, plan: &Plan, cx: &mut PassContext) -> usize {
    let subject = origin(program, &children(&program.schedule, parent)[at]);
    let into = origins(program, &children(&program.schedule, parent)[plan.producer]);
    for (axis, factor) in plan.choice.loops.iter().zip(plan.choice.factors) {
        put_outermost(program, axis, factor);
    }
    let text = format!(
        "{} blocks with {into}: {:.0} KB flow inside, about {:.0} cycles saved",
        plan.choice.count,
        plan.choice.flow / 1024.0,
        plan.choice.cycles.gain()
    );
    cx.applied(NAME, &subject, text);
    let producer = [parent, &[plan.producer]].concat();
    let Some((nodes, first)) = transform::siblings(&mut program.schedule, &producer) else { return at };
    let consumer = nodes.remove(at);
    // `axes` has found the loop.
    let _ = merge(&mut nodes[first], consumer, 1);
    if plan.up {
        return first;
    }
    let merged = nodes.remove(first);
    nodes.insert(at - 1, merged);
    at - 1
}

/// The loop over blocks of `size` iterations becomes the outermost of its nest.
pub fn put_outermost(program: &mut Program, axis: &Axis, size: i64) {
    if size > 1 {
        transform::strip_mine(program, &axis.path, size);
    }
    to_top(program, axis);
}

/// The loop becomes the outermost of its nest, as it is.
pub fn to_top(program: &mut Program, axis: &Axis) {
    let order: Vec<usize> = [axis.depth].into_iter().chain(0..axis.depth).collect();
    let top = &axis.path[..axis.path.len() - axis.depth];
    transform::permute_chain(&mut program.schedule, top, &order);
}
