//! LoopNest to object code: emission, optimization, and the texts on the way when they are wanted.

use crate::target::Target;
use sirius_polyhedral::{Error, LoopNest, Result};

/// The code of one nest.
pub struct Code {
    /// Relocatable ELF object that defines `i32 <symbol>(ptr arrays, ptr params)`.
    pub object: Vec<u8>,
    pub symbol: String,
    /// LLVM IR as emitted, and assembly; empty unless asked for.
    pub llvm: String,
    pub assembly: String,
}

/// Compiles `nest` at optimization level 0 to 3. `want_text` fills in the texts.
pub fn compile_body(nest: &LoopNest, _target: &Target, _level: u8, _want_text: bool) -> Result<Code> {
    Err(Error::unsupported("E300", format!("no code generator for {}", nest.name)))
}
