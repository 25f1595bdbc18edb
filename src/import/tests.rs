//! Whole-importer tests.

mod hostile;
mod kit;
mod real;
