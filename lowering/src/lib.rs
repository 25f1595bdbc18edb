//! LoopNest to machine code: LLVM IR, x86-64 objects and NVPTX kernels. Only this crate knows LLVM.

pub mod affine;
pub mod artifact;
pub mod code;
pub mod count;
pub mod descriptor;
pub mod dot;
pub mod emit;
pub mod expr;
pub mod features;
mod files;
pub mod header;
pub mod ir;
pub mod link;
pub mod math;
pub mod metadata;
mod narrow;
pub mod nvptx;
mod part;
pub mod prepare;
pub mod target;
mod team;
mod view;
pub mod weights;
mod workspace;
pub mod x86;

pub use emit::emit_body;
pub use target::{Target, compile_assembly, compile_object};
