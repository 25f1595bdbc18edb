//! Recurrent layers side by side, block by block, and one after the other: the model behind `wavefront`. Nanoseconds at
//! the parameters' typical values.

use super::overhead::CYCLES_PER_NS;
use super::reuse::{cycles_per_byte, footprint};
use super::time;
use crate::machine::Machine;
use crate::program::{Program, Role, StatementId};
use std::collections::HashSet;

/// All that a nest of a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Arithmetic on one worker.
    pub compute_ns: f64,
    /// Bytes of constants.
    pub weights: f64,
    /// How often it goes through them: once per time step, or once per block.
    pub passes: Passes,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Passes {
    Steps(f64),
    Blocks,
}

impl Work {
    pub fn of(program: &Program, statements: &[StatementId], passes: Passes, machine: &Machine) -> Work {
        let touched = footprint(program, statements, &HashSet::new(), &|_, _| None);
        let constant = |id: &_| matches!(program.array(*id).role, Role::Constant(_));
        let weights = touched.iter().filter(|(id, _)| constant(id)).map(|(_, bytes)| bytes).sum();
        let compute_ns = statements.iter().map(|id| time::nanoseconds(program, *id, &[], machine)).sum();
        Work { compute_ns, weights, passes }
    }

    /// One of `blocks` blocks on one worker, which goes through `between` bytes of constants from one block to the next.
    fn block_ns(&self, blocks: f64, between: f64, machine: &Machine) -> f64 {
        let again = match self.passes {
            Passes::Steps(steps) => (steps / blocks - 1.0).max(0.0),
            Passes::Blocks => 0.0,
        };
        let near = cycles_per_byte(self.weights, machine).min(cycles_per_byte(between, machine));
        let cycles = self.weights * (cycles_per_byte(between, machine) + again * near);
        (self.compute_ns / blocks).max(cycles / CYCLES_PER_NS)
    }

    /// All of it with its loops shared, in `work_ns` of arithmetic and with the constants divided among `workers`.
    pub fn shared_ns(&self, work_ns: f64, workers: usize, machine: &Machine) -> f64 {
        let own = self.weights / workers as f64;
        let passes = if let Passes::Steps(steps) = self.passes { steps } else { 1.0 };
        work_ns.max(passes * own * cycles_per_byte(own, machine) / CYCLES_PER_NS)
    }
}

/// A nest in a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub work: Work,
    pub section: usize,
    /// In which wavefront it runs its first block.
    pub late: i64,
}

/// All wavefronts: `blocks` blocks of every stage, one block of each in a wavefront, and a barrier before each. Sections
/// go round the workers.
pub fn nanoseconds(stages: &[Stage], blocks: i64, machine: &Machine) -> f64 {
    let worker = |stage: &Stage| stage.section % machine.threads;
    let weights = |n: usize| stages.iter().filter(|s| worker(s) == n).map(|s| s.work.weights).sum::<f64>();
    let between: Vec<f64> = (0..machine.threads).map(weights).collect();
    let block_ns = |s: &Stage| s.work.block_ns(blocks as f64, between[worker(s)], machine);
    // The same stages run from one of these wavefronts to the next.
    let mut changes: Vec<i64> = stages.iter().flat_map(|s| [s.late, s.late + blocks]).collect();
    changes.sort_unstable();
    changes.dedup();
    let wavefront = |at: i64| {
        let active = |s: &&Stage| (s.late..s.late + blocks).contains(&at);
        let of = |n: usize| stages.iter().filter(active).filter(|s| worker(s) == n).map(block_ns).sum::<f64>();
        machine.barrier_ns + (0..machine.threads).map(of).fold(0.0, f64::max)
    };
    changes.windows(2).map(|pair| (pair[1] - pair[0]) as f64 * wavefront(pair[0])).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(section: usize, late: i64, weights: f64) -> Stage {
        Stage { work: Work { compute_ns: 1e6, weights, passes: Passes::Steps(100.0) }, section, late }
    }

    fn machine() -> Machine {
        Machine { threads: 2, ..crate::testing::machine() }
    }

    #[test]
    fn two_layers_overlap_but_for_the_first_and_the_last_block() {
        let layers = [layer(0, 0, 1e3), layer(1, 1, 1e3)];
        assert_eq!(nanoseconds(&layers, 10, &machine()), 11.0 * (1e5 + 200.0));
        // On one worker nothing overlaps.
        let layers = [layer(0, 0, 1e3), layer(2, 1, 1e3)];
        assert_eq!(nanoseconds(&layers, 10, &machine()), 20.0 * 1e5 + 11.0 * 200.0);
    }

    #[test]
    fn constants_that_outgrow_the_cache_are_fetched_for_every_block() {
        let (near, far) = (layer(0, 0, 3e5), layer(2, 0, 1e6));
        let alone = nanoseconds(&[near], 100, &machine());
        let beside = nanoseconds(&[near, far], 100, &machine()) - nanoseconds(&[far], 100, &machine());
        assert!(alone == 100.0 * 1e4 + 100.0 * 200.0 && beside > 100.0 * 1e4 - 1.0, "{alone} {beside}");
        let idle = Stage { work: Work { compute_ns: 0.0, ..near.work }, ..near };
        let fetched = |blocks| nanoseconds(&[idle, far], blocks, &machine());
        assert!(fetched(100) > fetched(10));
    }
}
