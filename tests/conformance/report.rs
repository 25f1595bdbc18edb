//! The table of a run: per operator, how many cases passed and were refused, and why.

use crate::cases::Case;
use crate::protocol::Verdict;
use crate::tolerances::{Allowed, WIDENED};
use sirius::import::{OperatorUse, operators};
use std::collections::{BTreeMap, BTreeSet};

const INTRODUCTION: &str = "# ONNX conformance\n\n\
The backend tests of the Python package `onnx` 1.22.0, each compiled at `-O3`, run, and compared at the reference\n\
runner's tolerances. Made by `SIRIUS_BLESS=1 cargo test --test conformance`; the test fails when a case gives a wrong\n\
result, crashes, hangs, or is refused without being listed in `tests/conformance/expected.txt`.\n\n\
\"Inputs fixed\": the case takes a shape, axes or the like as an input, and was compiled for the values that it passes\n\
(`sirius compile --value axes=..`), which the artifact checks at every run; or it takes a sequence or optional, and\n\
was compiled for as many tensors as that has (`--length`, and `--shape` where the model does not say their rank).\n\n";

/// One row: an operator of the node tests, or a folder of whole networks.
#[derive(Default)]
struct Row {
    versions: BTreeSet<i64>,
    passed: usize,
    /// Passed with shape-deciding inputs fixed at compile time.
    fixed: usize,
    refused: usize,
    wrong: usize,
    reasons: BTreeSet<String>,
}

impl Row {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::PassedFixed(_) => self.fixed += 1,
            Verdict::Refused(why) => {
                self.refused += 1;
                self.reasons.insert(reason(why));
            }
            Verdict::Wrong(_) => self.wrong += 1,
        }
    }
}

/// `kind: passed, refused, wrong` for every folder, then the sum.
pub fn summary(verdicts: &BTreeMap<String, Verdict>) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (name, verdict) in verdicts {
        rows.entry(kind(name)).or_default().add(verdict);
        rows.entry("total").or_default().add(verdict);
    }
    let line = |(kind, r): (&&str, &Row)| {
        let all = r.passed + r.fixed + r.refused + r.wrong;
        format!("| {kind} | {all} | {} | {} | {} | {} |\n", r.passed, r.fixed, r.refused, r.wrong)
    };
    format!(
        "| suite | cases | passed | passed, inputs fixed | refused | wrong |\n| --- | --: | --: | --: | --: | --: |\n{}",
        { rows.iter().map(line).collect::<String>() }
    )
}

pub fn table(cases: &[Case], verdicts: &BTreeMap<String, Verdict>) -> String {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let subjects = subjects(cases);
    for (name, verdict) in verdicts {
        let subject = subjects.get(name);
        let row = rows.entry(subject.map_or(kind(name).to_string(), operator)).or_default();
        row.versions.extend(subject.map(|u| u.version));
        row.add(verdict);
    }
    let rows: String = rows.iter().map(|(name, row)| line(name, row)).collect();
    format!(
        "{INTRODUCTION}{}\n## By operator\n\nA case counts for the operator that it is named after, expanded functions \
         too; versions are those of the cases.\n\n| operator | versions | passed | inputs fixed | refused | why |\n\
         | --- | --- | --: | --: | --: | --- |\n{rows}\n{}",
        summary(verdicts),
        widened()
    )
}

fn line(name: &str, row: &Row) -> String {
    let versions: Vec<String> = row.versions.iter().map(i64::to_string).collect();
    let reasons: Vec<&str> = row.reasons.iter().map(String::as_str).collect();
    let (versions, reasons) = (versions.join(", "), reasons.join("; "));
    format!("| {name} | {versions} | {} | {} | {} | {reasons} |\n", row.passed, row.fixed, row.refused)
}

fn widened() -> String {
    let line = |(name, allowed, why): &(&str, Allowed, &str)| match allowed {
        Allowed::Within { relative, absolute } => {
            format!("| {name} | relative {relative:e}, absolute {absolute:e} | {why} |\n")
        }
        Allowed::AnyValue => format!("| {name} | type and shape only | {why} |\n"),
    };
    let lines: String = WIDENED.iter().map(line).collect();
    format!("## Widened tolerances\n\n| case | allowed | reason |\n| --- | --- | --- |\n{lines}")
}

/// The operator that a node test is about: its only one; an expanded function is about its unexpanded sibling's.
fn subjects(cases: &[Case]) -> BTreeMap<String, OperatorUse> {
    let nodes = cases.iter().filter(|c| kind(&c.name) == "node");
    let first = nodes.map(|c| (c.name.clone(), operators(&c.model).unwrap_or_default().into_iter().next()));
    let first: BTreeMap<String, Option<OperatorUse>> = first.collect();
    let subject = |(name, own): (&String, &Option<OperatorUse>)| {
        let sibling = name.find("_expanded").and_then(|at| first.get(&name[..at]));
        Some((name.clone(), sibling.unwrap_or(own).clone()?))
    };
    first.iter().filter_map(subject).collect()
}

fn operator(used: &OperatorUse) -> String {
    if used.domain.is_empty() { used.op.clone() } else { format!("{}::{}", used.domain, used.op) }
}

fn kind(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// A refusal's text without what belongs to one case: names, and all but the first of several reasons.
fn reason(why: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for c in why.chars().take_while(|c| *c != '\n') {
        quoted ^= c == '"';
        if !quoted && c != '"' {
            out.push(if c == '|' { '/' } else { c });
        }
    }
    out.replace("  ", " ")
}
