//! LoopNest to object code: emission, optimization, and the texts on the way when they are wanted.

use crate::count::Counting;
use crate::emit::emit_body;
use crate::target::{Target, compile_assembly, compile_object};
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use sirius_polyhedral::{LoopNest, Result};

/// The code of one nest.
pub struct Code {
    /// Relocatable ELF object that defines `i32 <symbol>(ptr arrays, ptr params, ptr worker)`.
    pub object: Vec<u8>,
    pub symbol: String,
    /// LLVM IR as emitted, and assembly; empty unless asked for.
    pub llvm: String,
    pub assembly: String,
}

/// How code is made.
#[derive(Clone, Copy, Debug)]
pub struct CodeOptions {
    /// Optimization level, 0 to 3.
    pub level: u8,
    /// Fill in the texts.
    pub want_text: bool,
    pub counting: Counting,
}

impl Default for CodeOptions {
    fn default() -> CodeOptions {
        CodeOptions { level: 3, want_text: false, counting: Counting::Off }
    }
}

/// Compiles `nest`.
pub fn compile_body(nest: &LoopNest, target: &Target, options: CodeOptions) -> Result<Code> {
    let level = match options.level {
        0 => OptimizationLevel::None,
        1 => OptimizationLevel::Less,
        2 => OptimizationLevel::Default,
        _ => OptimizationLevel::Aggressive,
    };
    let context = Context::create();
    let emit = || emit_body(&context, nest, target, options.counting);
    let module = emit()?;
    let (mut llvm, mut assembly) = (String::new(), String::new());
    if options.want_text {
        llvm = module.print_to_string().to_string();
        // A second module, because optimization works in place.
        assembly = compile_assembly(&emit()?, target, level)?;
    }
    let object = compile_object(&module, target, level)?;
    Ok(Code { object, symbol: format!("{}_body", nest.name), llvm, assembly })
}
