//! The cost model: what a loop nest does, in bytes, operations, regions and barriers.
//!
//! Pure functions of a nest, the values of its parameters and a machine description. Nothing here is measured, and
//! nothing here runs; a counted run (`lowering`'s `count`) gives the same figures for the tests to compare.

pub mod footprint;
pub mod levels;
pub mod tally;
pub mod values;

pub use footprint::{Footprint, footprint};
pub use levels::moved;
pub use tally::{Tally, tally};
pub use values::Values;

use crate::program::Role;
use serde::{Deserialize, Serialize};

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
