//! Whole-importer tests.

mod real;
