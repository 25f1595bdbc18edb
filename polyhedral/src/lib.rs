//! The polyhedral program of Sirius.
//!
//! Data flows down this list: a [`Program`] (statements, arrays, one schedule tree) is analysed
//! (`deps`), checked (`verify`, `legality`), rewritten by passes (`classical`, `schedule`) and finally
//! turned into a [`LoopNest`] (`astgen`), a plain tree without any isl object. Only this crate knows isl.
//!
//! # The model in six sentences
//!
//! A statement is an assignment `array[f(i)] = value(i)` for every integer point `i` of its domain.
//! Programs are in *dynamic single assignment*: every array element is produced by one instance of an
//! `Assign` statement, or by an `Assign` (the initial value) followed by all instances of `Reduce`
//! statements on it. Hence dependences need no original order: an element's assignment comes before its
//! reductions, and these before its readers, whatever the schedule says. A pass may therefore substitute,
//! fuse and reorder freely, and the legality checker proves afterwards that the schedule tree runs every
//! producer before its consumers. Storage is separate: an array's `fold` says how many planes of a
//! dimension are kept, and only lowering applies it. Data-dependent subscripts are ordinary expressions
//! that are over-approximated to the whole dimension in dependences and exact in code.

pub mod aff;
pub mod astgen;
pub mod certificate;
pub mod classical;
pub mod cost;
pub mod deps;
pub mod driver;
pub mod dtype;
pub mod error;
pub mod expr;
pub mod facts;
pub mod guards;
pub mod isl;
pub mod legality;
pub mod loop_nest;
pub mod machine;
pub mod narrow;
pub mod nest_interp;
pub mod param;
pub mod pass;
pub mod pipeline;
pub mod program;
pub mod scalar;
pub mod schedule;
pub mod schedule_tree;
pub mod script;
pub mod storage;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod transform;
pub mod verify;

pub use aff::{Aff, Term};
pub use dtype::{DType, Scalar};
pub use error::{Error, Origin, Result};
pub use expr::{Access, BinaryOp, Expr, UnaryOp};
pub use loop_nest::{Bound, Condition, LoopKind, LoopNest, Nest, VarId};
pub use machine::{Machine, Numeric};
pub use param::{Param, ParamDef, ParamId, Params};
pub use pass::{Pass, PassContext, Remark, RemarkKind};
pub use program::{Array, ArrayId, ConstantData, Program, Role, Statement, StatementId, StatementKind};
pub use schedule_tree::{Band, Mark, Node, Schedule};
