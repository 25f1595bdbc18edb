//! The reference interpreter against recorded answers: ONNX backend tests and real models.
//!
//! Every `model.onnx` below `models/fetched/conformance` (`python3 models/fetch.py conformance`), or below the folder
//! that `SIRIUS_CONFORMANCE` names, has folders `test_data_set_N` with `input_K.pb` and `output_K.pb` beside it, as in
//! the `onnx` package under `backend/test/data`. Without the folder there is nothing to test and the test passes. What
//! the importer or the interpreter refuses as unsupported is counted; a wrong answer, any other error or a panic fails.

#[path = "common/advice.rs"]
mod advice;

use sirius::graph::{Graph, interp};
use sirius::import;
use sirius::run::{
    compare::{Tolerance, compare},
    pb,
};
use sirius_polyhedral::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How one model fared.
enum Outcome {
    Passed,
    Unsupported(String),
    Failed(String),
}

/// Where the cases are, if they are there.
fn folder() -> Option<PathBuf> {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fetched/conformance");
    let folder = std::env::var_os("SIRIUS_CONFORMANCE").map_or_else(fetched, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// All `model.onnx` below `folder`, in order of name.
fn models(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    let deeper = paths.iter().filter(|p| p.is_dir()).flat_map(|p| models(p));
    let here = folder.join("model.onnx");
    here.is_file().then_some(here).into_iter().chain(deeper).collect()
}

fn outcome_of(error: &Error) -> Outcome {
    match error {
        // E721: an extent of 0. ONNX files spell an unknown extent as 0, and import demands at least 1 of those.
        Error::Unsupported(d) | Error::Invalid(d) if matches!(error, Error::Unsupported(_)) || d.code == "E721" => {
            Outcome::Unsupported(d.to_string())
        }
        other => Outcome::Failed(other.to_string()),
    }
}

/// Imports a model; inputs that decide shapes are fixed one after another, as the refusals advise.
fn load(model: &Path, data: &Path) -> Result<Graph, Error> {
    let mut fixed = advice::Fixed::default();
    loop {
        match import::load(model, &fixed.options()) {
            Err(error @ Error::Unsupported(_)) if fixed.follow(model, data, &error) => {}
            result => return result,
        }
    }
}

/// Runs every data set of a model; an error of the compiler's own types comes back as `Err`.
fn check(model: &Path) -> Result<Outcome, Error> {
    let folder = model.parent().unwrap_or(Path::new("."));
    let graph = load(model, &folder.join("test_data_set_0"))?;
    for n in 0.. {
        let data = folder.join(format!("test_data_set_{n}"));
        if !data.is_dir() {
            break;
        }
        let ports = &graph.signature;
        let inputs = pb::read_ports(&data, "input", &ports.inputs)?;
        let wanted = pb::read_ports(&data, "output", &ports.outputs)?;
        let results = interp::run(&graph, &inputs)?;
        for (k, (got, wanted)) in results.iter().zip(&wanted).enumerate() {
            let found = compare(&format!("data set {n}, output {k}"), got, wanted, tolerance());
            if found.structure.is_some() || !found.matches() && !is_random(model) {
                return Ok(Outcome::Failed(found.to_string()));
            }
        }
    }
    Ok(Outcome::Passed)
}

/// The answers are numpy's random numbers; the standard leaves the generator open.
fn is_random(model: &Path) -> bool {
    let name = model.display().to_string();
    ["test_bernoulli", "test_training_dropout"].iter().any(|test| name.contains(test))
}

fn tolerance() -> Option<Tolerance> {
    let absolute = std::env::var("SIRIUS_CONFORMANCE_ATOL").ok()?.parse().ok()?;
    Some(Tolerance { relative: 1e-3, absolute })
}

fn run_one(model: &Path) -> Outcome {
    match std::panic::catch_unwind(|| check(model)) {
        Ok(result) => result.unwrap_or_else(|e| outcome_of(&e)),
        Err(_) => Outcome::Failed("panic".to_string()),
    }
}

#[test]
fn recorded_answers_are_reproduced() {
    let Some(folder) = folder() else { return };
    let all = models(&folder);
    assert!(!all.is_empty(), "no model.onnx below {}", folder.display());
    let (mut passed, mut unsupported, mut failed) = (0, 0, Vec::new());
    for model in &all {
        let name = model.parent().unwrap_or(model).strip_prefix(&folder).unwrap_or(model).display().to_string();
        let start = Instant::now();
        match run_one(model) {
            Outcome::Passed => {
                passed += 1;
                println!("passed {name} in {:.2} s", start.elapsed().as_secs_f64());
            }
            Outcome::Unsupported(why) => {
                unsupported += 1;
                println!("unsupported {name}: {}", why.replace('\n', " "));
            }
            Outcome::Failed(why) => {
                println!("FAILED {name}: {}", why.replace('\n', " "));
                failed.push(name);
            }
        }
    }
    println!("{passed} passed, {unsupported} unsupported, {} failed of {}", failed.len(), all.len());
    assert!(failed.is_empty(), "{failed:#?}");
}
