//! LoopNest to machine code: LLVM IR, x86-64 objects and NVPTX kernels. Only this crate knows LLVM.

pub mod affine;
pub mod ir;
pub mod math;
pub mod target;

pub use target::{Target, compile_assembly, compile_object};
