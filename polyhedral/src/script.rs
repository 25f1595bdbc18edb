//! Transformations by hand: every step gives a legal program, or says which dependence it breaks.
//!
//! A [`Script`] owns a legal program. A step that would break a dependence (or lose a value) leaves the program as it
//! was and returns the [`Violation`](crate::legality::Violation) with two instances; a step that makes no sense at the
//! given place is an error. Nodes are named by their path: child numbers from the roots down.
//!
//! ```text
//! script.fuse(&[], 0, 2)?          // the first two roots share two loops
//! script.tile(&[0], 8)?            // the first root in blocks of 8
//! script.mark(&[0, 0], Mark::Parallel)?
//! ```

use crate::driver::{DriverOptions, Report, run_passes};
use crate::error::{Error, Result};
use crate::legality::{self, Verdict};
use crate::machine::Machine;
use crate::pass::Pass;
use crate::program::Program;
use crate::schedule_tree::{Mark, Node};
use crate::transform;
use crate::verify;

pub struct Script {
    program: Program,
    machine: Machine,
}

impl Script {
    /// # Errors
    /// `Invalid` when the program is not legal to begin with; `Bug` when it is malformed.
    pub fn new(program: Program, machine: Machine) -> Result<Script> {
        verify::verify(&program)?;
        match legality::check(&program)? {
            Ok(()) => Ok(Script { program, machine }),
            Err(violation) => Err(Error::invalid("E250", format!("the program is not legal: {violation}"))),
        }
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    pub fn into_program(self) -> Program {
        self.program
    }

    /// Any change. It is kept only when the result is well-formed and legal.
    pub fn step(&mut self, change: impl FnOnce(&mut Program) -> Result<()>) -> Result<Verdict> {
        let mut changed = self.program.clone();
        change(&mut changed)?;
        verify::verify(&changed)?;
        let verdict = legality::check(&changed)?;
        if verdict.is_ok() {
            self.program = changed;
        }
        Ok(verdict)
    }

    /// Runs one pass, your own or one of [`crate::pipeline`].
    pub fn pass(&mut self, pass: &dyn Pass) -> Result<(Verdict, Report)> {
        let machine = self.machine.clone();
        let mut report = Report::default();
        let verdict = self.step(|program| {
            report = run_passes(program, &[pass], &machine, DriverOptions::default())?;
            Ok(())
        })?;
        Ok((verdict, report))
    }

    /// Nodes `at` and `at + 1` of the list inside the band at `list` (the roots: empty) share their `depth` outer loops.
    pub fn fuse(&mut self, list: &[usize], at: usize, depth: usize) -> Result<Verdict> {
        self.step(|program| {
            let nodes = children(program, list)?;
            if at + 1 >= nodes.len() {
                return Err(nothing(list, "two neighbours to fuse"));
            }
            let second = nodes.remove(at + 1);
            merge(&mut nodes[at], second, depth).ok_or_else(|| nothing(list, "so many loops around both neighbours"))
        })
    }

    /// Nodes `at` and `at + 1` of a list change places.
    pub fn swap(&mut self, list: &[usize], at: usize) -> Result<Verdict> {
        self.step(|program| {
            let nodes = children(program, list)?;
            if at + 1 >= nodes.len() {
                return Err(nothing(list, "two neighbours to swap"));
            }
            nodes.swap(at, at + 1);
            Ok(())
        })
    }

    /// The loop at `path` and the only loop inside it change places.
    pub fn interchange(&mut self, path: &[usize]) -> Result<Verdict> {
        self.step(|program| match transform::chain(&program.schedule, path).len() {
            0 | 1 => Err(nothing(path, "two loops, one inside the other")),
            _ => {
                transform::permute_chain(&mut program.schedule, path, &[1, 0]);
                Ok(())
            }
        })
    }

    /// The loop at `path` becomes a loop over blocks of `size` iterations, around a loop inside each block.
    pub fn tile(&mut self, path: &[usize], size: i64) -> Result<Verdict> {
        self.step(|program| match size > 1 && transform::strip_mine(program, path, size) {
            true => Ok(()),
            false => Err(nothing(path, "a plain loop to tile")),
        })
    }

    /// How the loop at `path` runs.
    pub fn mark(&mut self, path: &[usize], mark: Mark) -> Result<Verdict> {
        self.step(|program| {
            let band = transform::band_at_mut(&mut program.schedule, path);
            band.ok_or_else(|| nothing(path, "a loop"))?.mark = mark;
            Ok(())
        })
    }
}

/// The list inside the band at `path`, or the roots.
fn children<'p>(program: &'p mut Program, path: &[usize]) -> Result<&'p mut Vec<Node>> {
    if path.is_empty() {
        return Ok(&mut program.schedule.roots);
    }
    let band = transform::band_at_mut(&mut program.schedule, path);
    Ok(&mut band.ok_or_else(|| nothing(path, "a loop"))?.body)
}

fn nothing(path: &[usize], what: &str) -> Error {
    Error::invalid("E251", format!("there is not {what} at {path:?} in the schedule tree"))
}

/// Puts the body of `b` behind the body of `a`, sharing `depth` loops; `None` when there are not so many.
pub(crate) fn merge(a: &mut Node, b: Node, depth: usize) -> Option<()> {
    let (Node::Band(a), Node::Band(b)) = (a, b) else { return None };
    a.members.extend(b.members);
    match depth {
        0 => None,
        1 => {
            a.body.extend(b.body);
            Some(())
        }
        _ => match (a.body.as_mut_slice(), b.body.len()) {
            ([inner], 1) => merge(inner, b.body.into_iter().next()?, depth - 1),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legality::Violation;
    use crate::testing::*;

    fn script() -> Script {
        Script::new(recurrence(10, 3), machine()).unwrap()
    }

    #[test]
    fn a_legal_step_is_kept_and_an_illegal_one_is_not() {
        let mut script = script();
        assert!(script.tile(&[1], 4).unwrap().is_ok());
        let before = script.program().clone();
        let Err(Violation::Carried { source, sink, .. }) = script.mark(&[1], Mark::Parallel).unwrap() else {
            panic!("time in parallel")
        };
        assert_ne!(source, sink);
        assert_eq!(*script.program(), before);
        assert!(matches!(script.swap(&[], 0).unwrap(), Err(Violation::Order { .. })));
    }

    #[test]
    fn a_step_that_makes_no_sense_is_an_error() {
        let mut script = script();
        for error in [script.mark(&[7], Mark::Parallel), script.fuse(&[], 1, 1), script.fuse(&[], 0, 2)] {
            assert!(matches!(error, Err(Error::Invalid(_))), "{error:?}");
        }
    }
}
