//! What the compiler says to people: errors, remarks, progress, tables.

pub mod counts;
pub mod forms;
pub mod fusion;
pub mod progress;
pub mod render;
pub mod session;
pub mod work;
