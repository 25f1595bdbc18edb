//! What crosses from worker to worker: elements that one nest writes and another reads, where a team shares a loop of each.

use super::{group, team};
use crate::cost::overhead::CROSSING_CYCLES_PER_BYTE;
use crate::machine::Machine;
use crate::program::{ArrayId, Program};
use crate::transform::{self, Path};

/// A producer and a consumer as `team` would share them.
pub struct Crossing<'p> {
    program: &'p Program,
    workers: f64,
    /// The loop of each that goes round the workers; without one, it is worker 0's.
    pub loops: [Option<Path>; 2],
}

impl<'p> Crossing<'p> {
    pub fn new(program: &'p Program, tops: [&Path; 2], machine: &Machine) -> Crossing<'p> {
        let loops = tops.map(|top| team::shared_loop(program, top, machine));
        Crossing { program, workers: machine.threads as f64, loops }
    }

    /// Cycles of a worker to read `bytes` of an array of which others have written a part.
    pub fn cycles(&self, array: ArrayId, bytes: f64) -> f64 {
        if self.loops == [None, None] {
            return 0.0;
        }
        let divided = self.loops[1].as_ref().is_some_and(|path| self.divides(path, array));
        let own = if divided { bytes / self.workers } else { bytes };
        own * (1.0 - 1.0 / self.workers) * CROSSING_CYCLES_PER_BYTE
    }

    /// Does every iteration of the loop read elements of its own?
    fn divides(&self, path: &Path, array: ArrayId) -> bool {
        let Some(band) = transform::band_at(&self.program.schedule, path) else { return false };
        let mut divided = true;
        for (id, value) in &band.members {
            self.program.statement(*id).visit_reads(&mut |access| {
                let uses = value.as_iter().is_some_and(|d| group::uses(access, d));
                divided &= access.array != array || uses;
            });
        }
        divided
    }
}
