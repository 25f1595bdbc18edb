//! Whole-importer tests.

mod control;
mod functions;
mod hostile;
mod kit;
mod real;
mod sequences;
mod shapes;
mod sizes;
