//! Places data-dependent conditions in a loop nest.

use crate::loop_nest::Nest;
use crate::program::Program;

/// See the module comment.
pub fn place(_program: &Program, _body: &mut [Nest]) {}
