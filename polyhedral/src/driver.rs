//! The pass driver: the only place that times, dumps, verifies, checks legality and bisects.

use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::pass::{Pass, PassContext, Remark, RemarkKind};
use crate::program::Program;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Called after every pass with its number, its name and the program.
pub type Dump<'a> = &'a mut dyn FnMut(usize, &str, &Program) -> Result<()>;

#[derive(Default)]
pub struct DriverOptions<'a> {
    /// Names of optional passes that are skipped.
    pub disabled: BTreeSet<String>,
    /// Run only the first `n` optional passes: halving `n` finds the pass that breaks a program.
    pub bisect_limit: Option<usize>,
    /// Verify the structure and prove the schedule legal after every pass.
    pub verify_each: bool,
    pub dump: Option<Dump<'a>>,
}

/// What one pass did.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub pass: &'static str,
    pub time: Duration,
    pub statements_before: usize,
    pub statements_after: usize,
    /// Remarks of each kind: what it did, and what it decided against.
    pub applied: usize,
    pub missed: usize,
    /// The pass did not run: disabled, or beyond the bisect limit.
    pub skipped: bool,
}

/// What all passes did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// In the order in which they were made; phases behind the passes may add theirs.
    pub remarks: Vec<Remark>,
    pub timings: Vec<Timing>,
}

/// Runs `passes` in order. A failure names the pass that caused it.
pub fn run_passes(
    program: &mut Program,
    passes: &[&dyn Pass],
    machine: &Machine,
    mut options: DriverOptions,
) -> Result<Report> {
    let mut report = Report::default();
    let mut optional = 0;
    for (number, pass) in passes.iter().enumerate() {
        let disabled = options.disabled.contains(pass.name());
        let beyond = options.bisect_limit.is_some_and(|limit| optional >= limit);
        let skipped = !pass.required() && (disabled || beyond);
        optional += usize::from(!pass.required());
        let before = program.statements().count();
        let known = report.remarks.len();
        let start = Instant::now();
        if !skipped {
            let mut context = PassContext { machine, remarks: Vec::new() };
            pass.run(program, &mut context)?;
            report.remarks.append(&mut context.remarks);
        }
        let time = start.elapsed();
        tracing::debug!(pass = pass.name(), ?time, skipped, "pass");
        let statements_after = program.statements().count();
        let said = &report.remarks[known..];
        let applied = said.iter().filter(|r| r.kind == RemarkKind::Applied).count();
        report.timings.push(Timing {
            pass: pass.name(),
            time,
            statements_before: before,
            statements_after,
            applied,
            missed: said.len() - applied,
            skipped,
        });
        if let Some(dump) = options.dump.as_mut() {
            dump(number, pass.name(), program)?;
        }
        if options.verify_each && !skipped {
            check(program, pass.name())?;
        }
    }
    Ok(report)
}

/// The structure is sound and the schedule runs every producer before its readers.
fn check(program: &Program, pass: &str) -> Result<()> {
    let blame = |what: String| Error::bug("B900", format!("after pass {pass}: {what}"));
    crate::verify::verify(program).map_err(|e| blame(e.to_string()))?;
    match crate::legality::check(program)? {
        Ok(()) => Ok(()),
        Err(violation) => Err(blame(violation.to_string())),
    }
}
