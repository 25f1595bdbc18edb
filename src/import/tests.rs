//! Whole-importer tests.

mod control;
mod hostile;
mod kit;
mod real;
mod shapes;
