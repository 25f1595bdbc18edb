//! Machine code against the loop nest interpreter.

mod scalars;
mod support;
mod tiles;
