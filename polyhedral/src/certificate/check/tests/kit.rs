//! How the tests of the checker make certificates, change them and ask about them.

use crate::certificate::check::constants::contents;
use crate::certificate::check::{Finding, OPERATIONS, Rule, Verdict, check};
use crate::certificate::record::Recorder;
use crate::certificate::{Certificate, Listing, StatementEntry, Tree};
use crate::machine::Machine;
use crate::program::Role;
use crate::testing::parse;

/// Barriers cost next to nothing: small programs are shared too.
pub fn machine(threads: usize) -> Machine {
    Machine { threads, barrier_ns: 0.001, ..crate::testing::machine() }
}

pub fn context(machine: &Machine) -> crate::PassContext<'_> {
    crate::PassContext { machine, remarks: vec![] }
}

/// The certificate of the passes of these names, and the program behind them.
pub fn recorded(text: &str, passes: &[&str], machine: &Machine) -> (Certificate, crate::Program) {
    let mut program = parse(text);
    let mut recorder = Recorder::new(&program);
    for name in passes {
        crate::pipeline::find(name).unwrap().run(&mut program, &mut context(machine)).unwrap();
        recorder.after(name, &program);
    }
    (recorder.finish("test").unwrap(), program)
}

/// The bytes of all constants.
pub fn constants(program: &crate::Program) -> Vec<Vec<u8>> {
    let data = |(_, array): (_, &crate::program::Array)| match &array.role {
        Role::Constant(data) => Some(data.bytes().to_vec()),
        _ => None,
    };
    program.arrays().filter_map(data).collect()
}

pub fn verdict(certificate: &Certificate) -> Verdict {
    check(certificate, OPERATIONS).unwrap()
}

/// What is wrong by this rule; something must be.
#[track_caller]
pub fn refused(certificate: &Certificate, rule: Rule) -> Finding {
    let verdict = verdict(certificate);
    let found = verdict.findings.iter().find(|f| f.rule == rule);
    found.unwrap_or_else(|| panic!("no {rule:?} among {:?}, {:?}", verdict.findings, verdict.undecided)).clone()
}

/// The program that is lowered.
pub fn last(certificate: &mut Certificate) -> &mut Listing {
    certificate.stages.last_mut().unwrap()
}

/// A statement of that program.
pub fn statement<'c>(certificate: &'c mut Certificate, id: &str) -> &'c mut StatementEntry {
    entry(certificate, certificate.stages.len() - 1, id)
}

/// A statement of a stage.
pub fn entry<'c>(certificate: &'c mut Certificate, stage: usize, id: &str) -> &'c mut StatementEntry {
    certificate.stages[stage].statements.iter_mut().find(|s| s.id == id).unwrap()
}

/// The bands of the schedule, outermost first.
pub fn bands(nodes: &mut [Tree], visit: &mut dyn FnMut(&mut Tree)) {
    for node in nodes {
        visit(node);
        if let Tree::Band { body, .. } = node {
            bands(body, visit);
        }
    }
}

/// The verdict with the bytes of constants compared too, as far as they are given.
pub fn compared(certificate: &Certificate, blobs: &[Vec<u8>]) -> Verdict {
    let mut verdict = verdict(certificate);
    contents(certificate, &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut verdict).unwrap();
    verdict
}
