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
//! more than it costs to read again, in every block, what does not depend on the block (weights).
//! Source: post-tiling fusion, Zhao and Di (MICRO 2020); cost by reuse distance, Mattson et al. (1970).

use super::axis::{Axis, Ratio, axes, blocks, ratio};
use super::group::{self, reads, writes};
use super::uses::Uses;
use crate::cost::overhead::LOOP_CYCLES;
use crate::cost::reuse::{Footprint, cycles_per_byte, fixed_around, footprint, total};
use crate::error::{Origin, Result};
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::Node;
use crate::script::merge;
use crate::transform::{self, Path, children};
use std::collections::{HashMap, HashSet};

pub struct FuseTiles;

const NAME: &str = "fuse-tiles";

/// Nests further apart are not looked at: every candidate costs a scan.
const REACH: usize = 24;

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
            fuse_list(program, &[], &apart, context);
        }
        Ok(())
    }
}

/// Temporaries of a single register tile: they never reach memory.
fn in_registers(program: &Program) -> HashSet<ArrayId> {
    let uses = Uses::of(program);
    let one_tile = |id: &ArrayId| {
        let mut tiles = uses.by_array[id].iter().map(|u| uses.tile(u.statement));
        let first = tiles.next().flatten();
        first.is_some() && tiles.all(|t| t == first)
    };
    uses.by_array.keys().copied().filter(|id| program.array(*id).is_temp() && one_tile(id)).collect()
}

/// Fuses within the list whose parent band is at `parent`, then inside its nodes.
fn fuse_list(program: &mut Program, parent: &[usize], apart: &HashSet<ArrayId>, cx: &mut PassContext) {
    let mut at = 0;
    while at < children(&program.schedule, parent).len() {
        match best(program, parent, at, apart, cx) {
            Some(plan) => at = apply(program, parent, at, &plan, cx),
            None => at += 1,
        }
    }
    for n in 0..children(&program.schedule, parent).len() {
        let top = [parent, &[n]].concat();
        // The first list below: a group of this pass, the body of a host loop, or statements that share rows.
        let chain = transform::chain(&program.schedule, &top);
        let lockstep = |p: &Path| transform::band_at(&program.schedule, p).is_some_and(|b| b.mark.is_lockstep());
        if let Some(last) = chain.last().filter(|_| !chain.iter().any(lockstep)) {
            fuse_list(program, last, apart, cx);
        }
    }
}

// ---- what to fuse --------------------------------------------------------------------------------------

/// Fusion of an earlier node with a later one.
struct Plan {
    producer: usize,
    /// Does the consumer move up to the producer, or the producer down to the consumer?
    up: bool,
    loops: [Axis; 2],
    factors: [i64; 2],
    count: i64,
    /// Bytes that flow.
    flow: f64,
    /// Cycles saved by one run of the list.
    gain: f64,
}

/// The best producer of node `at` to fuse it with.
fn best(
    program: &Program,
    parent: &[usize],
    at: usize,
    apart: &HashSet<ArrayId>,
    cx: &mut PassContext,
) -> Option<Plan> {
    let nodes = children(&program.schedule, parent);
    let (needs, own) = (reads(program, &nodes[at]), writes(program, &nodes[at]));
    let mut best: Option<Plan> = None;
    let mut between = Between::default();
    for producer in (at.saturating_sub(REACH)..at).rev() {
        let made = writes(program, &nodes[producer]);
        let flows: Vec<ArrayId> = needs.iter().copied().filter(|a| made.contains(a)).collect();
        let up = needs.is_disjoint(&between.writes) && own.is_disjoint(&between.reads);
        let moves = up || between.lets_pass(&reads(program, &nodes[producer]), &made);
        if !flows.is_empty() && moves && fusable(program, &nodes[producer], &nodes[at], &flows) {
            let pair = Pair { program, apart, flows, tops: [producer, at].map(|n| [parent, &[n]].concat()) };
            match pair.best(cx.machine) {
                Ok((loops, factors, count, flow, gain)) => {
                    if best.as_ref().is_none_or(|b| gain > b.gain) {
                        best = Some(Plan { producer, up, loops, factors, count, flow, gain });
                    }
                }
                Err(why) => cx.missed(NAME, &origin(program, &nodes[at]), format!("{}: {why}", pair.names())),
            }
        }
        between.add(program, &nodes[producer], made);
    }
    best
}

/// What the nodes between two others touch.
#[derive(Default)]
struct Between {
    reads: HashSet<ArrayId>,
    writes: HashSet<ArrayId>,
}

impl Between {
    fn add(&mut self, program: &Program, node: &Node, made: HashSet<ArrayId>) {
        self.reads.extend(reads(program, node));
        self.writes.extend(made);
    }

    /// May a node with these reads and writes run behind them?
    fn lets_pass(&self, reads: &HashSet<ArrayId>, writes: &HashSet<ArrayId>) -> bool {
        self.reads.is_disjoint(writes) && self.writes.is_disjoint(reads) && self.writes.is_disjoint(writes)
    }
}

/// Nothing but elements flows: no trip count, and no array that both write.
fn fusable(program: &Program, producer: &Node, consumer: &Node, flows: &[ArrayId]) -> bool {
    let counts =
        consumer.statements().iter().any(|s| group::value_params(program, *s).iter().any(|a| flows.contains(a)));
    let bands = matches!((producer, consumer), (Node::Band(_), Node::Band(_)));
    bands && !counts && writes(program, producer).is_disjoint(&writes(program, consumer))
}

fn origin(program: &Program, node: &Node) -> Origin {
    node.statements().last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default()
}

/// The nodes whose statements are below, as a reader would list them.
fn origins(program: &Program, node: &Node) -> String {
    let mut names: Vec<String> = node.statements().iter().map(|s| program.statement(*s).origin.to_string()).collect();
    names.dedup();
    names.join(", ")
}

// ---- what it gains ------------------------------------------------------------------------------------

/// A producer, a consumer, and the arrays between them.
struct Pair<'p> {
    program: &'p Program,
    apart: &'p HashSet<ArrayId>,
    flows: Vec<ArrayId>,
    tops: [Path; 2],
}

type Choice = ([Axis; 2], [i64; 2], i64, f64, f64);

impl Pair<'_> {
    fn names(&self) -> String {
        let names: Vec<&str> = self.flows.iter().map(|a| self.program.array(*a).name.as_str()).collect();
        names.join(", ")
    }

    /// The two loops, the factors that they are strip-mined by, the number of blocks, the bytes that flow, and the cycles
    /// saved; or why not.
    fn best(&self, machine: &Machine) -> std::result::Result<Choice, String> {
        let [first, second] = [0, 1].map(|n| axes(self.program, &self.tops[n]));
        let whole = [0, 1].map(|n| self.footprint(n, None));
        let mut best: Option<Choice> = None;
        let mut met = false;
        let long = |axis: &&Axis| self.program.params.hint(&axis.extent) > 1;
        for a in first.iter().filter(long) {
            for c in second.iter().filter(long) {
                let Some(ratio) = ratio(self.program, a, c, &self.flows) else { continue };
                met = true;
                for factors in self.factors(a, ratio) {
                    let Some(count) = self.count(a, c, factors, machine) else { continue };
                    let (flow, gain) = self.gain(&whole, [a, c], factors, count, machine);
                    if best.as_ref().is_none_or(|b| gain > b.4) {
                        best = Some(([a.clone(), c.clone()], factors, count, flow, gain));
                    }
                }
            }
        }
        match best {
            Some(choice) if choice.4 > 0.0 => Ok(choice),
            Some(choice) => Err(format!("{} blocks would cost {:.0} cycles", choice.2, -choice.4)),
            None if met => Err("no number of blocks suits both loops and the workers".into()),
            None => Err("no two loops decide the same elements".into()),
        }
    }

    /// Factors to try: common blocks, and powers of two of them.
    fn factors(&self, producer: &Axis, ratio: Ratio) -> impl Iterator<Item = [i64; 2]> {
        let longest = self.program.params.hint(&producer.extent).max(1);
        let multiples = (0..62).map(|n| 1i64 << n).take_while(move |m| m.saturating_mul(ratio.first) < longest);
        multiples.map(move |m| [m * ratio.first, m * ratio.second])
    }

    /// The number of blocks, when it is the same of both loops, more than one, and divides among the workers.
    fn count(&self, a: &Axis, c: &Axis, factors: [i64; 2], machine: &Machine) -> Option<i64> {
        let number = blocks(&a.extent, factors[0]);
        let workers = machine.threads as i64;
        let count = self.program.params.hint(&number);
        let even = count % workers == 0 || count >= 4 * workers;
        (number == blocks(&c.extent, factors[1]) && count > 1 && even).then_some(count)
    }

    /// Bytes that flow, and cycles saved.
    fn gain(
        &self,
        whole: &[Footprint; 2],
        loops: [&Axis; 2],
        factors: [i64; 2],
        count: i64,
        machine: &Machine,
    ) -> (f64, f64) {
        let block = [0, 1].map(|n| self.footprint(n, Some((loops[n], factors[n]))));
        let apart = cycles_per_byte(union(whole), machine);
        let together = cycles_per_byte(union(&block), machine);
        let flow: f64 = self.flows.iter().map(|a| whole[0].get(a).copied().unwrap_or(0.0)).sum();
        let mut gain = 2.0 * flow * (apart - together) - count as f64 * LOOP_CYCLES;
        for n in 0..2 {
            for (array, bytes) in whole[n].iter().filter(|(a, _)| !self.flows.contains(a)) {
                if block[n][array] > 0.99 * bytes {
                    let before = match (loops[n].depth, factors[n]) {
                        // Its loops read this again in every iteration as it is.
                        (0, 1) => count as f64 * cycles_per_byte(total(&block[n]), machine),
                        _ => apart,
                    };
                    gain -= bytes * (count as f64 * together - before).max(0.0);
                }
            }
        }
        (flow, gain)
    }

    /// What nest `n` touches in one run of the list, or in one block.
    fn footprint(&self, n: usize, block: Option<(&Axis, i64)>) -> Footprint {
        let top = &self.tops[n];
        let around = fixed_around(self.program, top);
        let band = block.and_then(|(axis, size)| Some((transform::band_at(&self.program.schedule, &axis.path)?, size)));
        let own: HashMap<StatementId, usize> =
            band.iter().flat_map(|(b, _)| b.members.iter().filter_map(|(s, v)| Some((*s, v.as_iter()?)))).collect();
        let span = |s: StatementId, d: usize| match band {
            _ if around.contains(&(s, d)) => Some(1),
            Some((_, size)) if own.get(&s) == Some(&d) => Some(size),
            _ => None,
        };
        let statements: Vec<StatementId> =
            transform::band_at(&self.program.schedule, top).map_or(vec![], |b| b.members.keys().copied().collect());
        footprint(self.program, &statements, self.apart, &span)
    }
}

/// Bytes that two nests touch together.
fn union(both: &[Footprint; 2]) -> f64 {
    let more = both[1].iter().map(|(a, bytes)| (bytes - both[0].get(a).copied().unwrap_or(0.0)).max(0.0));
    total(&both[0]) + more.sum::<f64>()
}

// ---- the rewrite --------------------------------------------------------------------------------------

/// Makes one node of two, and returns its place.
fn apply(program: &mut Program, parent: &[usize], at: usize, plan: &Plan, cx: &mut PassContext) -> usize {
    let subject = origin(program, &children(&program.schedule, parent)[at]);
    let into = origins(program, &children(&program.schedule, parent)[plan.producer]);
    for (axis, factor) in plan.loops.iter().zip(plan.factors) {
        put_outermost(program, axis, factor);
    }
    let text = format!(
        "{} blocks with {into}: {:.0} KB flow inside, about {:.0} cycles saved",
        plan.count,
        plan.flow / 1024.0,
        plan.gain
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
fn put_outermost(program: &mut Program, axis: &Axis, size: i64) {
    if size > 1 {
        transform::strip_mine(program, &axis.path, size);
    }
    let order: Vec<usize> = [axis.depth].into_iter().chain(0..axis.depth).collect();
    let top = &axis.path[..axis.path.len() - axis.depth];
    transform::permute_chain(&mut program.schedule, top, &order);
}
