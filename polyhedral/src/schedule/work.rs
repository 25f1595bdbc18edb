//! What nests are for a team: the part of a price that `fuse-tiles` and `overlap` reckon alike. Bytes divide evenly among
//! the workers; of the work the busiest worker's share counts, and that depends on who shares which loop.

use super::team;
use crate::cost::overhead::CYCLES_PER_NS;
use crate::cost::{Cycles, time};
use crate::machine::Machine;
use crate::program::Program;
use crate::transform::Path;
use std::iter::Sum;

/// Nanoseconds of one run of the list that the nests stand in.
#[derive(Clone, Copy, Default)]
pub struct Work {
    /// Of one worker who does all.
    pub alone: f64,
    /// Of the busiest worker, where `team` shares each nest by itself.
    pub apart: f64,
}

impl Work {
    /// The nest at `top`.
    pub fn of(program: &Program, top: &Path, machine: &Machine) -> Work {
        Work { alone: time::of_node(program, top, machine), apart: team::of_node(program, top, machine) }
    }

    /// Cycles of the busiest worker, from those of all workers for `bytes`, and from his nanoseconds where the nests run
    /// `together`.
    pub fn shared(self, bytes: Cycles, together: f64, workers: usize) -> Cycles {
        let each = |bytes: f64, ns: f64| bytes / workers as f64 + ns * CYCLES_PER_NS;
        Cycles { apart: each(bytes.apart, self.apart), fused: each(bytes.fused, together) }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(all: I) -> Work {
        all.fold(Work::default(), |a, b| Work { alone: a.alone + b.alone, apart: a.apart + b.apart })
    }
}
