//! What a pass is. The driver (`driver.rs`) alone dumps, times, verifies, checks legality and bisects.

use crate::error::{Origin, Result};
use crate::machine::Machine;
use crate::program::Program;

/// A rewrite of a program. A pass never prints, times, dumps or names another pass.
pub trait Pass {
    /// Kebab-case and equal to the file's name: `--passes`, dumps, timings and goldens use it.
    fn name(&self) -> &'static str;

    /// One line for `sirius opt --help` and the timing table.
    fn summary(&self) -> &'static str;

    /// Without a required pass a later stage is wrong; it cannot be disabled.
    fn required(&self) -> bool {
        false
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()>;
}

/// What a pass may see and say.
pub struct PassContext<'a> {
    pub machine: &'a Machine,
    pub remarks: Vec<Remark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    Applied,
    Missed,
}

/// One decision, for people: subject, and the reason with numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    pub kind: RemarkKind,
    /// The pass that decided, or the phase behind the passes (`loops`).
    pub pass: &'static str,
    pub subject: Origin,
    pub reason: String,
}

impl PassContext<'_> {
    pub fn applied(&mut self, pass: &'static str, subject: &Origin, reason: impl Into<String>) {
        self.push(RemarkKind::Applied, pass, subject, reason.into());
    }

    pub fn missed(&mut self, pass: &'static str, subject: &Origin, reason: impl Into<String>) {
        self.push(RemarkKind::Missed, pass, subject, reason.into());
    }

    fn push(&mut self, kind: RemarkKind, pass: &'static str, subject: &Origin, reason: String) {
        self.remarks.push(Remark { kind, pass, subject: subject.clone(), reason });
    }
}
