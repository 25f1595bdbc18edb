//! Classical compiler optimizations on the whole program: one file, one pass.

pub mod cse;
pub mod dce;
pub mod dot;
pub mod fold;
pub mod forward;
pub mod hoist;
pub mod online;
pub mod predicates;
pub mod reroll;
pub mod sink;
pub mod unit_loops;
