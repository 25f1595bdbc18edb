//! What it costs or saves to run a chain of nests block by block of rows: the model behind `slide`.
//!
//! What flows between two nests of the chain was touched, when it is needed, as many bytes ago as the nests between touch
//! in a block, and some blocks more where the consumer is later than that. Rows that two blocks read are read a block
//! later again, and so is what does not depend on the block (weights). Cycles at the parameters' typical values.

use super::blocks::Pair;
use super::chain::{Chain, Member};
use super::fuse_tiles::{Meeting, REACH, fusable, meetings};
use super::touched::Touched;
use crate::cost::Cycles;
use crate::cost::overhead::LOOP_CYCLES;
use crate::cost::reuse::{Footprint, cycles_per_byte, footprint_of_node, total};
use crate::machine::Machine;
use crate::program::{ArrayId, Program};
use crate::transform::{self, Path};
use std::collections::HashSet;

pub struct Model<'p> {
    pub program: &'p Program,
    /// The loop around the list.
    pub parent: &'p [usize],
    /// Arrays that never reach memory.
    pub apart: &'p HashSet<ArrayId>,
    pub machine: &'p Machine,
}

/// A member's footprints: of the whole nest, of one block and of one iteration.
pub struct Sizes {
    pub whole: Footprint,
    pub block: Footprint,
    pub step: Footprint,
}

/// What a chain costs with blocks of some size.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    pub cycles: Cycles,
    pub count: i64,
    /// Bytes that flow.
    pub flow: f64,
}

impl Model<'_> {
    /// The price of the chain in which member `n` runs `factors[n]` iterations per block.
    pub fn price(&self, chain: &Chain, factors: &[i64]) -> Price {
        let sizes: Vec<Sizes> = chain.members.iter().zip(factors).map(|(m, f)| self.sizes(m, *f)).collect();
        let together = union(sizes.iter().map(|s| &s.block));
        let blocks = |(m, f): (&Member, &i64)| (self.iterations(m) + m.late + f - 1) / f;
        let count = chain.members.iter().zip(factors).map(blocks).max().unwrap_or(1);
        let mut price = Price { cycles: Cycles { apart: 0.0, fused: 0.0 }, count, flow: 0.0 };
        price.cycles.fused += (count * chain.members.len() as i64) as f64 * LOOP_CYCLES;
        for link in &chain.links {
            let [from, to] = [link.from, link.to];
            let rows = (link.window.made * factors[from]) as f64;
            let near = union(sizes[from..=to].iter().map(|s| &s.block));
            let far = self.between(chain.members[from].node, chain.members[to].node);
            let waits = link.window.waits([from, to].map(|n| chain.members[n].late)) as f64 / rows;
            let again = link.window.again() as f64 / rows;
            for array in &link.flows {
                let bytes = sizes[from].whole.get(array).copied().unwrap_or(0.0);
                let soon = cycles_per_byte(near, self.machine);
                let late = cycles_per_byte(near + waits.ceil() * together, self.machine);
                let once = soon + (late - soon) * waits.min(1.0);
                price.flow += bytes;
                price.cycles.apart += 2.0 * bytes * cycles_per_byte(far, self.machine);
                price.cycles.fused += bytes * (2.0 * once + again * cycles_per_byte(together, self.machine));
            }
        }
        for (n, (member, own)) in chain.members.iter().zip(&sizes).enumerate() {
            let flows: HashSet<ArrayId> = chain.links.iter().flat_map(|l| l.flows.iter().copied()).collect();
            for (array, bytes) in own.whole.iter().filter(|(a, _)| !flows.contains(a)) {
                if own.step[array] > 0.99 * bytes {
                    let cycles = self.again(member, own, *bytes, [count, factors[n]], together);
                    price.cycles.apart += cycles.apart;
                    price.cycles.fused += cycles.fused;
                }
            }
        }
        price
    }

    /// The cycles for `bytes` that every iteration of the member needs, in `count` blocks of `factor` iterations.
    pub fn again(&self, member: &Member, own: &Sizes, bytes: f64, [count, factor]: [i64; 2], together: f64) -> Cycles {
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
            let mut known = extents.map(|(s, v)| super::group::extent_of(self.program, *s, v));
            known.all(|e| e.is_some_and(|e| self.program.params.hint(&e) == 1))
        };
        (top..member.axis.path.len()).all(once)
    }

    pub fn iterations(&self, member: &Member) -> i64 {
        self.program.params.hint(&member.axis.extent).max(1)
    }

    /// Bytes that the nodes from one to another of the list touch.
    pub fn between(&self, first: usize, last: usize) -> f64 {
        let whole: Vec<Footprint> =
            (first..=last).map(|n| self.footprint(&[self.parent, &[n]].concat(), None)).collect();
        union(whole.iter())
    }

    pub fn sizes(&self, member: &Member, factor: i64) -> Sizes {
        let top: Path = [self.parent, &[member.node]].concat();
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
        let nodes = transform::children(&self.program.schedule, self.parent);
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

/// Bytes that all touch together.
pub fn union<'f>(all: impl Iterator<Item = &'f Footprint>) -> f64 {
    let mut out = Footprint::new();
    for (array, bytes) in all.flatten() {
        let most = out.entry(*array).or_insert(0.0);
        *most = most.max(*bytes);
    }
    total(&out)
}
