//! Whole-importer tests.

mod control;
mod fixed;
mod functions;
mod hostile;
mod kit;
mod real;
mod sequences;
mod shapes;
mod sizes;
