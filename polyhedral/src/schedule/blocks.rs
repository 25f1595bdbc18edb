//! What it costs or saves to run two nests block by block: the model behind `fuse-tiles`.
//!
//! The bytes that flow come closer, for a block of both nests touches less than all of both; so does what both read in the
//! same block (the rows that three projections share); what does not depend on the block (weights) is read again in every
//! block; every block costs a loop iteration. The workers of a team share the blocks, which may divide among them better or
//! worse than the loops of each nest do. Cycles of the busiest worker at the parameters' typical values.

use super::axis::{self, Axis, Ratio, axes, blocks, ratio};
use super::work::Work;
use super::{group, owner};
use crate::aff::gcd;
use crate::cost::overhead::LOOP_CYCLES;
use crate::cost::reuse::{Footprint, cycles_per_byte, footprint_of_node, total, union};
use crate::cost::{Cycles, balance};
use crate::machine::Machine;
use crate::program::{ArrayId, Program};
use crate::schedule_tree::Band;
use crate::transform::{self, Path};
use std::collections::HashSet;
use std::fmt;

/// A producer, a consumer, and the arrays between them.
pub struct Pair<'p> {
    pub program: &'p Program,
    /// Arrays that never reach memory.
    pub apart: &'p HashSet<ArrayId>,
    /// Arrays that the first writes and the second reads.
    pub flows: Vec<ArrayId>,
    /// Where the two are in the tree.
    pub tops: [Path; 2],
}

/// A way to run two nests block by block.
#[derive(Clone)]
pub struct Choice {
    /// The two loops, and the factors that they are strip-mined by.
    pub loops: [Axis; 2],
    pub factors: [i64; 2],
    /// Blocks at typical sizes.
    pub count: i64,
    /// Bytes that flow.
    pub flow: f64,
    /// Of the busiest worker.
    pub cycles: Cycles,
}

/// Both nests on the workers that `team` would give them.
struct Team {
    workers: usize,
    work: Work,
}

/// Why two nests do not run block by block.
#[derive(Clone, Debug, PartialEq)]
pub enum Declined {
    /// It would cost more.
    Slower { count: i64, cycles: Cycles },
    /// No number of blocks suits both loops.
    NoCount,
    /// No two loops decide the same elements.
    NoLoops,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Declined::Slower { count, cycles } => write!(f, "{count} blocks would cost {:.0} cycles", -cycles.gain()),
            Declined::NoCount => f.write_str("no number of blocks suits both loops"),
            Declined::NoLoops => f.write_str("no two loops decide the same elements"),
        }
    }
}

impl Pair<'_> {
    /// The arrays that flow, for remarks.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.flows.iter().map(|a| self.program.array(*a).name.as_str()).collect();
        names.join(", ")
    }

    /// The cheapest blocks, or why not.
    pub fn best(&self, machine: &Machine) -> std::result::Result<Choice, Declined> {
        let [first, second] = [0, 1].map(|n| axes(self.program, &self.tops[n]));
        let whole = [0, 1].map(|n| self.footprint(n, None));
        let team = self.team(machine);
        let mut best: Option<Choice> = None;
        let mut met = false;
        let long = |axis: &&Axis| self.program.params.hint(&axis.extent) > 1;
        for a in first.iter().filter(long) {
            for c in second.iter().filter(long) {
                let Some(ratio) = self.ratio(a, c) else { continue };
                met = true;
                for factors in self.factors(a, ratio, team.workers) {
                    let Some(count) = self.count(a, c, factors) else { continue };
                    let choice = self.choice(&whole, &team, [a, c], factors, count, machine);
                    if best.as_ref().is_none_or(|b| choice.cycles.gain() > b.cycles.gain()) {
                        best = Some(choice);
                    }
                }
            }
        }
        match best {
            Some(choice) if choice.cycles.gain() > 0.0 => Ok(choice),
            Some(Choice { count, cycles, .. }) => Err(Declined::Slower { count, cycles }),
            None if met => Err(Declined::NoCount),
            None => Err(Declined::NoLoops),
        }
    }

    /// What it costs to share two loops as they are, the outermost ones or those inside loops of one iteration; `None` where
    /// they do not run over one range.
    pub fn outermost(&self, paths: &[Path; 2], machine: &Machine) -> Option<Choice> {
        let axis = |n: usize| {
            let band = transform::band_at(&self.program.schedule, &paths[n])?;
            let extent = group::common_extent(self.program, band)?;
            Some(Axis { path: paths[n].clone(), depth: 0, extent })
        };
        let (a, c) = (axis(0)?, axis(1)?);
        let whole = [0, 1].map(|n| self.footprint(n, None));
        let count = self.program.params.hint(&a.extent);
        (a.extent == c.extent).then(|| self.choice(&whole, &self.team(machine), [&a, &c], [1, 1], count, machine))
    }

    /// By how much two loops are strip-mined to meet. Where nothing flows, any blocks do that divide both loops.
    fn ratio(&self, a: &Axis, c: &Axis) -> Option<Ratio> {
        if !self.flows.is_empty() {
            return ratio(self.program, a, c, &self.flows);
        }
        match (a.extent.as_constant(), c.extent.as_constant()) {
            _ if a.extent == c.extent => Some(Ratio { first: 1, second: 1 }),
            (Some(a), Some(c)) => {
                let common = gcd(a, c);
                (common > 1).then_some(Ratio { first: a / common, second: c / common })
            }
            _ => None,
        }
    }

    /// The workers that the nests have: one, where a loop around them is shared. What they do then does not depend on how
    /// they run.
    fn team(&self, machine: &Machine) -> Team {
        let around =
            (1..self.tops[0].len()).filter_map(|n| transform::band_at(&self.program.schedule, &self.tops[0][..n]));
        let shared = |band: &Band| {
            let extent = band.members.iter().next().and_then(|(id, value)| group::extent_of(self.program, *id, value));
            owner::is_parallel(self.program, band) && extent.is_none_or(|e| self.program.params.hint(&e) > 1)
        };
        if machine.threads < 2 || around.into_iter().any(shared) {
            return Team { workers: 1, work: Work::default() };
        }
        let work = self.tops.iter().map(|top| Work::of(self.program, top, machine)).sum();
        Team { workers: machine.threads, work }
    }

    /// Factors to try.
    fn factors(&self, producer: &Axis, ratio: Ratio, workers: usize) -> Vec<[i64; 2]> {
        let longest = self.program.params.hint(&producer.extent).max(1);
        let sizes = balance::sizes(longest, ratio.first, workers as i64);
        sizes.into_iter().map(|size| [size, size / ratio.first * ratio.second]).collect()
    }

    /// The number of blocks, when it is the same of both loops, and more than one.
    fn count(&self, a: &Axis, c: &Axis, factors: [i64; 2]) -> Option<i64> {
        let number = blocks(&a.extent, factors[0]);
        let count = self.program.params.hint(&number);
        (number == blocks(&c.extent, factors[1]) && count > 1).then_some(count)
    }

    fn choice(
        &self,
        whole: &[Footprint; 2],
        team: &Team,
        loops: [&Axis; 2],
        factors: [i64; 2],
        count: i64,
        machine: &Machine,
    ) -> Choice {
        let block = [0, 1].map(|n| self.footprint(n, Some((loops[n], factors[n]))));
        let apart = cycles_per_byte(union(whole.iter()), machine);
        let together = cycles_per_byte(union(block.iter()), machine);
        let flow: f64 = self.flows.iter().map(|a| whole[0].get(a).copied().unwrap_or(0.0)).sum();
        let mut cycles =
            Cycles { apart: 2.0 * flow * apart, fused: 2.0 * flow * together + count as f64 * LOOP_CYCLES };
        for array in self.siblings(whole, loops, factors) {
            cycles.apart += whole[0][&array] * apart;
            cycles.fused += whole[0][&array] * together;
        }
        for n in 0..2 {
            for (array, bytes) in whole[n].iter().filter(|(a, _)| !self.flows.contains(a)) {
                if block[n][array] > 0.99 * bytes {
                    let before = match (loops[n].depth, factors[n]) {
                        // Its loops read this again in every iteration as it is.
                        (0, 1) => count as f64 * cycles_per_byte(total(&block[n]), machine),
                        _ => apart,
                    };
                    cycles.apart += bytes * before;
                    cycles.fused += bytes * before.max(count as f64 * together);
                }
            }
        }
        let together = team.work.alone / self.speedup(loops[0], factors[0], team.workers);
        let cycles = team.work.shared(cycles, together, team.workers);
        Choice { loops: loops.map(Axis::clone), factors, count, flow, cycles }
    }

    /// How much faster the blocks of a loop are with some workers.
    fn speedup(&self, axis: &Axis, size: i64, workers: usize) -> f64 {
        let extent = self.program.params.hint(&axis.extent).max(1);
        balance::certainty(self.program, &blocks(&axis.extent, size)) * balance::blocks(extent, size, workers as i64)
    }

    /// Arrays that only both read, the same elements in the same block: they are fetched once.
    fn siblings(&self, whole: &[Footprint; 2], loops: [&Axis; 2], factors: [i64; 2]) -> Vec<ArrayId> {
        let written = |n: usize| {
            let band = transform::band_at(&self.program.schedule, &self.tops[n]);
            band.into_iter().flat_map(|b| b.members.keys()).map(|s| self.program.statement(*s).target.array)
        };
        let written: HashSet<ArrayId> = written(0).chain(written(1)).collect();
        let both = whole[0].keys().filter(|a| whole[1].contains_key(*a) && !written.contains(*a));
        both.filter(|a| axis::read_together(self.program, loops, factors, **a)).copied().collect()
    }

    /// What nest `n` touches in one run of the list, or in one block.
    fn footprint(&self, n: usize, block: Option<(&Axis, i64)>) -> Footprint {
        let block = block.map(|(axis, size)| (axis.path.as_slice(), size));
        footprint_of_node(self.program, &self.tops[n], block, self.apart)
    }
}
