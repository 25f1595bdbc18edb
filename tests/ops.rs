//! The ONNX backend node tests: import, extract, evaluate, compare.
//!
//! The cases are `models/fetched/conformance/node` (`python3 models/fetch.py conformance`), or in the folder that
//! `SIRIUS_CONFORMANCE` names; without them nothing runs. `SIRIUS_CASES` keeps the cases whose names contain one of its words.
//! Refusals are fine and counted; a wrong value, an internal error or a panic fails the test.

mod common;

use common::evaluate::evaluate;
use sirius::extract::extract;
use sirius::import::{ImportOptions, load_bytes};
use sirius::run::{Value, compare::compare, pb};
use sirius_polyhedral::{Error, Program, astgen, nest_interp};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Passed,
    /// The importer or the test's files hold something that Sirius does not read.
    NotRead,
    Refused,
    Wrong,
    Broken,
}

type Report = (Outcome, String);

#[test]
fn node_tests_agree() {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fetched/conformance");
    let folder = std::env::var_os("SIRIUS_CONFORMANCE").map_or_else(fetched, PathBuf::from).join("node");
    if !folder.is_dir() {
        println!("{} is not there: nothing to test", folder.display());
        return;
    }
    let words: Vec<String> =
        std::env::var("SIRIUS_CASES").unwrap_or_default().split_whitespace().map(String::from).collect();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().to_string();
        if !words.is_empty() && !words.iter().any(|w| name.contains(w)) {
            continue;
        }
        let (outcome, text) =
            catch_unwind(AssertUnwindSafe(|| run(&case))).unwrap_or_else(|_| (Outcome::Broken, "panicked".to_string()));
        *counts.entry(outcome).or_default() += 1;
        if outcome != Outcome::Passed {
            println!("{outcome:?} {name}: {}", text.replace('\n', " "));
        }
    }
    println!("{counts:?}");
    let bad = |o| counts.get(&o).copied().unwrap_or(0);
    assert_eq!((bad(Outcome::Wrong), bad(Outcome::Broken)), (0, 0), "see the list above");
}

fn run(case: &Path) -> Report {
    let (program, kept) = match compile(case) {
        Ok(found) => found,
        Err(report) => return report,
    };
    let mut worst = (Outcome::Passed, String::new());
    for n in 0.. {
        let data = case.join(format!("test_data_set_{n}"));
        if !data.is_dir() {
            break;
        }
        let read = pb::read_all(&data, "input").and_then(|i| Ok((i, pb::read_all(&data, "output")?)));
        let (inputs, wanted) = match read {
            Ok(values) => values,
            Err(error) => return (Outcome::NotRead, error.to_string()),
        };
        let inputs: Vec<Value> = kept.iter().filter_map(|n| inputs.get(*n).cloned()).collect();
        let direct = judge(evaluate(&program, &inputs), &wanted, "direct");
        let nested = judge(through_loops(&program, &inputs), &wanted, "loops");
        worst = [worst, direct, nested].into_iter().max_by_key(|r| r.0).unwrap();
    }
    worst
}

/// The program of a case, and which of its inputs are still inputs. Where the model is refused because an
/// operator takes axes, shapes or the like at run time, these inputs become constants.
fn compile(case: &Path) -> Result<(Program, Vec<usize>), Report> {
    let model = std::fs::read(case.join("model.onnx")).map_err(|e| (Outcome::NotRead, e.to_string()))?;
    let first = extracted(model.clone(), case);
    let Err((Outcome::NotRead | Outcome::Refused, _)) = &first else {
        return first.map(|p| {
            let count = p.inputs.len();
            (p, (0..count).collect())
        });
    };
    for kept in [2, 1, 0] {
        if let Ok(program) = with_constants(&model, case, kept).and_then(|m| extracted(m, case))
            && program.inputs.len() == kept
        {
            return Ok((program, (0..kept).collect()));
        }
    }
    first.map(|p| (p, Vec::new()))
}

fn extracted(model: Vec<u8>, case: &Path) -> Result<Program, Report> {
    let graph =
        load_bytes(model.into(), case, &ImportOptions::default()).map_err(|e| (Outcome::NotRead, e.to_string()))?;
    extract(&graph).map_err(|error| match error {
        Error::Unsupported(_) => (Outcome::Refused, error.to_string()),
        _ => (Outcome::Broken, error.to_string()),
    })
}

/// The model with inputs `kept..` as initializers. Messages of one field merge, so it is enough to append
/// `graph { initializer { .. } }` to the file.
fn with_constants(model: &[u8], case: &Path, kept: usize) -> Result<Vec<u8>, Report> {
    let mut out = model.to_vec();
    for n in kept.. {
        let Ok(tensor) = std::fs::read(case.join(format!("test_data_set_0/input_{n}.pb"))) else { break };
        let initializer = field(5, &tensor);
        out.extend(field(7, &initializer));
    }
    Ok(out)
}

/// A length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

/// The outputs as the interpreter of loop nests computes them.
fn through_loops(program: &Program, inputs: &[Value]) -> Result<Vec<Value>, String> {
    let nest = astgen::generate(program).map_err(|e| e.to_string())?;
    let mut dims: Vec<(&str, i64)> = Vec::new();
    for (_, param) in program.params.iter() {
        if let sirius_polyhedral::ParamDef::Input { input, axis } = &param.def {
            dims.push((&param.name, inputs[*input].shape[*axis] as i64));
        }
    }
    let bytes: Vec<Vec<u8>> = inputs.iter().map(|v| v.bytes.clone()).collect();
    let results = nest_interp::run(&nest, &dims, &bytes).map_err(|e| e.to_string())?;
    let direct = evaluate(program, inputs)?;
    let rebuilt = results.into_iter().zip(direct).map(|(bytes, v)| Value::new(v.dtype, v.shape, bytes));
    rebuilt.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

fn judge(got: Result<Vec<Value>, String>, wanted: &[Value], how: &str) -> Report {
    let got = match got {
        Ok(got) => got,
        Err(error) => return (Outcome::Broken, format!("{how}: {error}")),
    };
    if got.len() != wanted.len() {
        return (Outcome::NotRead, format!("{} outputs for {} answers", got.len(), wanted.len()));
    }
    for (n, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let comparison = compare(&format!("output {n}"), got, wanted, None);
        if !comparison.matches() {
            return (Outcome::Wrong, format!("{how}: {comparison}"));
        }
    }
    (Outcome::Passed, String::new())
}
