//! The cost model: pure functions of what code does and how long it takes. Passes ask here and nowhere else.
//!
//! Of a `LoopNest`, for values of its parameters, exact where it can be; a counted run (`lowering`'s `count`) gives the
//! same figures for the tests to compare:
//!
//! | module | what | unit |
//! |---|---|---|
//! | `tally` | accesses, operations, regions, barriers | bytes, numbers |
//! | `footprint` | distinct bytes of a part | bytes |
//! | `levels` | what moves into a cache of some size | bytes |
//!
//! Of a `Program` on its way, at typical values of the parameters; estimates for comparing two ways to do the same:
//!
//! | module | what | unit | who asks |
//! |---|---|---|---|
//! | `operations` | arithmetic of a value | vector operations | `vector`, `time` |
//! | `vector` | a tile nest with its best vector loop, all data near | cycles | `layout`, `split-dims`, `tile`, `explain` |
//! | `merging` | two nests with loops of their own and with loops in common | cycles | `fuse` |
//! | `register_tile` | the innermost loop of a register tile | multiply-adds / 100 | `tile` |
//! | `reuse` | bytes that a part touches, and what a byte costs that was touched so long ago | bytes, cycles per byte | `fuse-tiles`, `overlap` |
//! | `time` | statements on one worker | nanoseconds | `team`, `tile`, `fuse-tiles`, `overlap` |
//! | `wavefront` | recurrent layers side by side and one after the other | nanoseconds | `wavefront` |
//! | `online` | the elements of rows in blocks or whole | cycles | `online` |
//! | `balance` | the iterations of a loop on all workers | times faster | `team`, `tile`, `fuse-tiles`, `overlap` |
//! | `overhead` | loops and workers beside the work in them | cycles, nanoseconds | `fuse-tiles`, `overlap`, `team`, `wavefront` |

pub mod balance;
pub mod footprint;
pub mod levels;
pub mod merging;
pub mod online;
pub mod operations;
pub mod overhead;
pub mod register_tile;
pub mod reuse;
pub mod tally;
pub mod time;
pub mod values;
pub mod vector;
pub mod wavefront;

pub use footprint::{Footprint, footprint};
pub use levels::moved;
pub use tally::{Tally, tally};
pub use values::Values;

use crate::program::Role;
use serde::{Deserialize, Serialize};

/// Cycles of some nests, as far as they depend on whether they share loops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cycles {
    pub apart: f64,
    pub fused: f64,
}

impl Cycles {
    /// Cycles that sharing saves, negative where it costs.
    pub fn gain(self) -> f64 {
        self.apart - self.fused
    }
}

/// Whose memory an array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayClass {
    /// The caller's, only read.
    Input,
    /// Constants.
    Weight,
    /// Temporaries in memory; what the compiler keeps in registers is no array in memory.
    Workspace,
    /// The caller's, written.
    Output,
}

impl ArrayClass {
    pub const ALL: [ArrayClass; 4] = [ArrayClass::Input, ArrayClass::Weight, ArrayClass::Workspace, ArrayClass::Output];

    pub fn of(role: &Role) -> ArrayClass {
        match role {
            Role::Input(_) => ArrayClass::Input,
            Role::Constant(_) => ArrayClass::Weight,
            Role::Temp => ArrayClass::Workspace,
            Role::Output(_) => ArrayClass::Output,
        }
    }

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            ArrayClass::Input => "inputs",
            ArrayClass::Weight => "weights",
            ArrayClass::Workspace => "workspace",
            ArrayClass::Output => "outputs",
        }
    }
}
