//! What it costs or saves to run a chain of nests in overlapping blocks: the model behind `overlap`.
//!
//! What flows stays near, as in `slide_cost`; nobody waits between the members of the chain, so a barrier less for every
//! window that something flows through. Against that: what two blocks compute, what is read again in every block
//! (weights), and blocks that do not divide among the workers as well as the single loops do. Cycles of the slowest worker, at the
//! parameters' typical values.

use super::chain::{Chain, Member};
use super::overlap::Span;
use super::slide_cost::{Model, Price, Sizes, union};
use crate::cost::Cycles;
use crate::cost::overhead::{CYCLES_PER_NS, LOOP_CYCLES};
use crate::cost::reuse::{cycles_per_byte, fixed_around};
use crate::cost::time;
use crate::program::ArrayId;
use crate::transform::children;
use std::collections::HashSet;

/// What overlapping blocks of some size cost.
pub struct Overlapped {
    pub price: Price,
    /// Work that is done, over work that is needed.
    pub factor: f64,
}

impl Model<'_> {
    /// The price of a chain of which member `n` runs `spans[n]` in each of `count` blocks.
    pub fn overlapped(&self, chain: &Chain, spans: &[Span], count: i64) -> Overlapped {
        let workers = self.machine.threads as f64;
        let sizes: Vec<Sizes> = chain.members.iter().zip(spans).map(|(m, s)| self.sizes(m, s.length())).collect();
        let together = union(sizes.iter().map(|s| &s.block));
        let mut price = Price { cycles: Cycles { apart: 0.0, fused: 0.0 }, count, flow: 0.0 };
        price.cycles.fused += (count * chain.members.len() as i64) as f64 * LOOP_CYCLES;
        for link in &chain.links {
            let near = union(sizes[link.from..=link.to].iter().map(|s| &s.block));
            let far = self.between(chain.members[link.from].node, chain.members[link.to].node);
            let again = spans[link.from].length() as f64 / spans[link.from].pace as f64;
            for array in &link.flows {
                let bytes = sizes[link.from].whole.get(array).copied().unwrap_or(0.0);
                price.flow += bytes;
                price.cycles.apart += 2.0 * bytes * cycles_per_byte(far, self.machine);
                price.cycles.fused += 2.0 * bytes * again * cycles_per_byte(near, self.machine);
            }
        }
        let flows: HashSet<ArrayId> = chain.links.iter().flat_map(|l| l.flows.iter().copied()).collect();
        for ((member, own), span) in chain.members.iter().zip(&sizes).zip(spans) {
            for (array, bytes) in own.whole.iter().filter(|(a, _)| !flows.contains(a)) {
                if own.step[array] > 0.99 * bytes {
                    let cycles = self.again(member, own, *bytes, [count, span.length()], together);
                    price.cycles.apart += cycles.apart;
                    price.cycles.fused += cycles.fused;
                }
            }
        }
        price.cycles.apart /= workers;
        price.cycles.fused /= workers;
        let (needed, done) = self.work(chain, spans, count, &mut price.cycles);
        if self.machine.threads > 1 {
            let waits = chain.links.iter().filter(|l| !l.window.is_block()).map(|l| l.to).collect::<HashSet<usize>>();
            price.cycles.apart += waits.len() as f64 * self.machine.barrier_ns * CYCLES_PER_NS;
        }
        Overlapped { price, factor: done / needed.max(f64::MIN_POSITIVE) }
    }

    /// Adds what the workers do to `cycles`; nanoseconds that are needed, and that are spent.
    fn work(&self, chain: &Chain, spans: &[Span], count: i64, cycles: &mut Cycles) -> (f64, f64) {
        let workers = self.machine.threads as i64;
        let (mut needed, mut done) = (0.0, 0.0);
        // Blocks go round the workers; the first has the most.
        let mine = |k: &i64| k % workers == 0;
        for (member, span) in chain.members.iter().zip(spans) {
            let (iterations, ns) = (self.iterations(member), self.nanoseconds(member));
            let each = ns / iterations as f64;
            let rows = |blocks: &mut dyn Iterator<Item = i64>| blocks.map(|k| span.rows(k, iterations)).sum::<i64>();
            needed += ns;
            done += each * rows(&mut (0..count)) as f64;
            // By itself, the nest may be shared along the loop that divides best.
            cycles.apart += ns / workers as f64 * CYCLES_PER_NS;
            cycles.fused += each * rows(&mut (0..count).filter(mine)) as f64 * CYCLES_PER_NS;
        }
        (needed, done)
    }

    /// One run of the member's nest on one worker.
    fn nanoseconds(&self, member: &Member) -> f64 {
        let top = [self.parent, &[member.node]].concat();
        let around = fixed_around(self.program, &top);
        let statements = children(&self.program.schedule, self.parent)[member.node].statements();
        let one = |id| {
            let fixed: Vec<usize> = around.iter().filter(|(s, _)| *s == id).map(|(_, d)| *d).collect();
            time::nanoseconds(self.program, id, &fixed, self.machine)
        };
        statements.into_iter().map(one).sum()
    }
}
