//! The text forms: `.poly` is a [`Program`](crate::Program), `.loop` is a [`LoopNest`](crate::LoopNest).
//!
//! Both print and parse in one notation, so a dump, a golden test, a bug report and the input of a single
//! pass are the same text, and `parse(print(p)) == p`. White space and `//` comments mean nothing.
//! An example of each construct:
//!
//! ```text
//! program mlp
//! param batch = input(0, 0) in 1..=64 hint 8
//! array x: f32[batch, 3] input 0
//! array w: f32[3, 4] constant #0
//! array h: f32[batch, 4] temp fold [2, _] slot 1
//! array y: f32[batch, 4] output 0
//! inputs x
//! outputs y
//! S0 [m: batch, n: 4] where m - n >= 0 from MatMul "/fc": h[m, n] = 0.0f32
//! S1 [m: batch, n: 4, k: 3] from MatMul "/fc": h[m, n] += x[m, k] * w[k, n] if m < 3
//! S2 removed
//! S3 [m: batch, n: 4] from Relu "/relu": y[m, n] = max(h[m, n], 0.0f32)
//! schedule {
//!   for [S0: m, S1: m, S3: m] parallel {
//!     for [S0: n] { S0 }
//!   }
//! }
//! ```
//!
//! Infix operators on affine operands stay affine (`m + 2*k - 1` is one subscript); where a program has the
//! operation itself instead, it is spelled as a function (`add(m, 1)`). An iterator whose name is not unique
//! is spelled by its number: `%0`. Large constants live beside the text, in a [`ConstantPool`].

mod expr;
mod expr_parser;
pub mod lexer;
mod names;
mod nest;
mod pool;
mod program;
mod schedule;
mod statement;
mod table;
#[cfg(test)]
mod tests;

pub use nest::{parse_nest, print_nest};
pub use pool::ConstantPool;
pub use program::{parse_program, print_program};
