//! What it costs or saves to run a chain of nests in overlapping blocks: the model behind `overlap`.
//!
//! What flows between two nests of the chain was touched, when it is needed, as many bytes ago as the nests between touch
//! in a block, and it stays with the worker that made it; nobody waits between the members of the chain, so a barrier less
//! for every window that something flows through. Against that: what two blocks compute, what is read again in every block
//! (weights), and blocks that do not divide among the workers as well as the single loops do. Cycles of the busiest worker,
//! at the parameters' typical values.

use super::blocks::Pair;
use super::chain::{Chain, Link, Member};
use super::crossing::Crossing;
use super::fuse_tiles::{Meeting, REACH, fusable, meetings};
use super::group;
use super::overlap::Span;
use super::touched::Touched;
use super::work::Work;
use crate::aff::Aff;
use crate::cost::overhead::{CYCLES_PER_NS, LOOP_CYCLES};
use crate::cost::reuse::{Footprint, cycles_per_byte, footprint_of_node, total, union};
use crate::cost::{Cycles, balance};
use crate::machine::Machine;
use crate::program::{ArrayId, Program};
use crate::transform::{self, Path, children};
use std::collections::HashSet;

/// A list of nests, and what their prices depend on.
pub struct Model<'p> {
    pub program: &'p Program,
    /// The loop around the list.
    pub parent: &'p [usize],
    /// Arrays that never reach memory.
    pub apart: &'p HashSet<ArrayId>,
    pub machine: &'p Machine,
}

/// What overlapping blocks of some size cost.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Of the busiest worker.
    pub cycles: Cycles,
    /// Bytes that flow.
    pub flow: f64,
    /// Work that is done, over work that is needed.
    pub factor: f64,
}

/// A member's footprints: of the whole nest, of one block and of one iteration.
struct Sizes {
    whole: Footprint,
    block: Footprint,
    step: Footprint,
}

impl Model<'_> {
    /// The price of a chain of which member `n` runs `spans[n]` in each of `count` blocks.
    pub fn price(&self, chain: &Chain, spans: &[Span], count: &Aff) -> Price {
        let (bytes, flow) = self.traffic(chain, spans, self.program.params.hint(count));
        let work: Vec<Work> =
            chain.members.iter().map(|m| Work::of(self.program, &self.top(m), self.machine)).collect();
        let workers = self.workers(chain, spans, &work, self.program.params.hint(count));
        let busiest = workers.iter().copied().fold(0.0, f64::max) / balance::certainty(self.program, count);
        let work: Work = work.into_iter().sum();
        let mut cycles = work.shared(bytes, busiest, self.machine.threads);
        let waits = chain.links.iter().filter(|l| !l.window.is_block()).map(|l| l.to).collect::<HashSet<usize>>();
        cycles.apart += waits.len() as f64 * self.machine.barrier_ns * CYCLES_PER_NS;
        cycles.apart += chain.links.iter().map(|link| self.crossing(chain, link)).sum::<f64>();
        Price { cycles, flow, factor: workers.iter().sum::<f64>() / work.alone.max(f64::MIN_POSITIVE) }
    }

    fn top(&self, member: &Member) -> Path {
        [self.parent, &[member.node]].concat()
    }

    /// Cycles of a worker to read what others wrote of what flows, where every nest is shared by itself: nothing where both
    /// are shared by rows.
    fn crossing(&self, chain: &Chain, link: &Link) -> f64 {
        let members = [link.from, link.to].map(|n| &chain.members[n]);
        let tops = members.map(|m| self.top(m));
        let crossing = Crossing::new(self.program, tops.each_ref(), self.machine);
        if (0..2).all(|n| crossing.loops[n].as_ref() == Some(&members[n].axis.path)) {
            return 0.0;
        }
        let whole = self.footprint(&tops[0], None);
        link.flows.iter().map(|a| crossing.cycles(*a, whole.get(a).copied().unwrap_or(0.0))).sum()
    }

    /// Cycles of all workers for loops and for what is not near, and the bytes that flow.
    fn traffic(&self, chain: &Chain, spans: &[Span], count: i64) -> (Cycles, f64) {
        let sizes: Vec<Sizes> = chain.members.iter().zip(spans).map(|(m, s)| self.sizes(m, s.length())).collect();
        let together = union(sizes.iter().map(|s| &s.block));
        let mut cycles = Cycles { apart: 0.0, fused: (count * chain.members.len() as i64) as f64 * LOOP_CYCLES };
        let mut flow = 0.0;
        for link in &chain.links {
            let near = union(sizes[link.from..=link.to].iter().map(|s| &s.block));
            let far = self.between(chain.members[link.from].node, chain.members[link.to].node);
            let again = spans[link.from].length() as f64 / spans[link.from].pace as f64;
            for array in &link.flows {
                let bytes = sizes[link.from].whole.get(array).copied().unwrap_or(0.0);
                flow += bytes;
                cycles.apart += 2.0 * bytes * cycles_per_byte(far, self.machine);
                cycles.fused += 2.0 * bytes * again * cycles_per_byte(near, self.machine);
            }
        }
        let flows: HashSet<ArrayId> = chain.links.iter().flat_map(|l| l.flows.iter().copied()).collect();
        for ((member, own), span) in chain.members.iter().zip(&sizes).zip(spans) {
            for (array, bytes) in own.whole.iter().filter(|(a, _)| !flows.contains(a)) {
                if own.step[array] > 0.99 * bytes {
                    let more = self.again(member, own, *bytes, [count, span.length()], together);
                    cycles.apart += more.apart;
                    cycles.fused += more.fused;
                }
            }
        }
        (cycles, flow)
    }

    /// The cycles for `bytes` that every iteration of the member needs, in `count` blocks of `factor` iterations.
    fn again(&self, member: &Member, own: &Sizes, bytes: f64, [count, factor]: [i64; 2], together: f64) -> Cycles {
        let per_block = cycles_per_byte(together, self.machine);
        let once = cycles_per_byte(total(&own.whole), self.machine);
        if !self.is_outermost(member) {
            return Cycles { apart: bytes * once, fused: bytes * once.max(count as f64 * per_block) };
        }
        // Its loop reads them in every iteration as it is.
        let inside = cycles_per_byte(total(&own.step), self.machine);
        let rest = (count * (factor - 1)) as f64 * inside;
        let (apart, fused) = ((count * factor) as f64 * inside, rest + count as f64 * per_block);
        Cycles { apart: bytes * apart, fused: bytes * fused }
    }

    /// Does no loop with more than one iteration stand around the member's?
    fn is_outermost(&self, member: &Member) -> bool {
        let top = member.axis.path.len() - member.axis.depth;
        let once = |n: usize| {
            let band = transform::band_at(&self.program.schedule, &member.axis.path[..n]);
            let extents = band.into_iter().flat_map(|b| b.members.iter());
            let mut known = extents.map(|(s, v)| group::extent_of(self.program, *s, v));
            known.all(|e| e.is_some_and(|e| self.program.params.hint(&e) == 1))
        };
        (top..member.axis.path.len()).all(once)
    }

    /// Iterations of the member's loop at typical sizes, at least one.
    pub fn iterations(&self, member: &Member) -> i64 {
        self.program.params.hint(&member.axis.extent).max(1)
    }

    /// Nanoseconds of every worker; they take the blocks in turn.
    fn workers(&self, chain: &Chain, spans: &[Span], work: &[Work], count: i64) -> Vec<f64> {
        let mut workers = vec![0.0; self.machine.threads];
        for ((member, span), work) in chain.members.iter().zip(spans).zip(work) {
            let iterations = self.iterations(member);
            for k in 0..count {
                let part = work.alone * span.rows(k, iterations) as f64 / iterations as f64;
                workers[k as usize % self.machine.threads] += part;
            }
        }
        workers
    }

    /// Bytes that the nodes from one to another of the list touch.
    fn between(&self, first: usize, last: usize) -> f64 {
        let whole: Vec<Footprint> =
            (first..=last).map(|n| self.footprint(&[self.parent, &[n]].concat(), None)).collect();
        union(whole.iter())
    }

    fn sizes(&self, member: &Member, factor: i64) -> Sizes {
        let top = self.top(member);
        let of = |span| self.footprint(&top, span);
        Sizes { whole: of(None), block: of(Some((member, factor))), step: of(Some((member, 1))) }
    }

    /// What a node touches in one run of the list, or in some iterations of the member's loop.
    fn footprint(&self, top: &[usize], block: Option<(&Member, i64)>) -> Footprint {
        let block = block.map(|(m, size)| (m.axis.path.as_slice(), size));
        footprint_of_node(self.program, top, block, self.apart)
    }

    /// Cycles that `fuse-tiles` would save by joining pairs of which the chain takes at least one: every reader with
    /// the best of its producers. Stops counting above `enough`.
    pub fn pairs(&self, chain: &Chain, enough: f64) -> f64 {
        let nodes = children(&self.program.schedule, self.parent);
        let member = |n: usize| chain.members.iter().any(|m| m.node == n);
        let last = chain.members.last().map_or(0, |m| m.node) + REACH;
        let first = chain.members[0].node.saturating_sub(REACH);
        let touched: Vec<Touched> =
            nodes[first..nodes.len().min(last)].iter().map(|node| Touched::of(self.program, node)).collect();
        let mut sum = 0.0;
        for second in 1..touched.len() {
            let concerned = |m: &Meeting| member(first + m.first) || member(first + second);
            let meetings = meetings(&touched, second).into_iter().filter(|m| !m.flows.is_empty() && concerned(m));
            let gain = |m: Meeting| {
                let at = [first + m.first, first + second];
                let fusable = fusable(self.program, &nodes[at[0]], &nodes[at[1]], &m.flows) && m.up.is_some();
                let tops = at.map(|n| [self.parent, &[n]].concat());
                let pair = Pair { program: self.program, apart: self.apart, flows: m.flows, tops };
                fusable.then(|| pair.best(self.machine).ok()).flatten().map(|choice| choice.cycles.gain())
            };
            sum += meetings.filter_map(gain).fold(0.0, f64::max);
            if sum > enough {
                break;
            }
        }
        sum
    }
}
