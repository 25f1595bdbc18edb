//! Real models through compiled code: one named case per model, level and data set, and one that proves the schedule
//! legal as it is extracted.
//!
//! A model is a folder with `model.onnx` and `test_data_set_K/{input,output}_J.pb`. Looked at are
//! `models/fetched` (filled by `models/fetch.py`, `models/restore.py` and `models/answers.py`), the small committed
//! ones in `models/tiny/{contrib,resize}`, and the folders that `SIRIUS_MODELS` names (separated by `:`). What the manifest
//! lists and nobody fetched is reported as ignored. All data sets of a model run on one artifact, so those of
//! different sizes show that symbolic dimensions work.

#[path = "common/artifact.rs"]
mod artifact;

use artifact::Artifact;
use libtest_mimic::{Arguments, Failed, Trial};
use sirius::extract::extract;
use sirius::import::{ImportOptions, load};
use sirius::run::compare::{Tolerance, compare};
use sirius::run::pb;
use sirius_polyhedral::legality;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Models up to this size are also compiled without optimization; larger ones take too long to run that way.
const SMALL_BYTES: u64 = 1 << 20;

/// Models whose answers cannot be met to the usual tolerance, with the reason measured.
const WIDENED: &str = include_str!("../models/tolerances.txt");

/// What is allowed for a model instead of the usual tolerance, and why.
fn widened(model: &str) -> Option<(Tolerance, &'static str)> {
    let row = WIDENED.lines().find_map(|line| line.strip_prefix(model)?.strip_prefix(' '))?;
    let [relative, absolute, reason] = row.splitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
    Some((Tolerance { relative: relative.parse().ok()?, absolute: absolute.parse().ok()? }, reason))
}

fn main() {
    let mut trials = Vec::new();
    for folder in folders() {
        for model in models(&folder) {
            trials.extend(cases(&model));
        }
    }
    trials.extend(absent());
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folders() -> Vec<PathBuf> {
    let named = std::env::var("SIRIUS_MODELS").unwrap_or_default();
    let named = named.split(':').filter(|f| !f.is_empty()).map(PathBuf::from);
    let own = ["models/fetched", "models/tiny/contrib", "models/tiny/resize"].map(|folder| root().join(folder));
    own.into_iter().chain(named).collect()
}

/// The folders inside `folder` that hold a model, in order.
fn models(folder: &Path) -> Vec<PathBuf> {
    sorted(folder).into_iter().filter(|path| path.join("model.onnx").exists()).collect()
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn cases(model: &Path) -> Vec<Trial> {
    let name = name_of(model);
    let data: Vec<PathBuf> =
        sorted(model).into_iter().filter(|path| name_of(path).starts_with("test_data_set_")).collect();
    if data.is_empty() {
        return vec![missing(&name, "models/answers.py")];
    }
    let bytes = std::fs::metadata(model.join("model.onnx")).map_or(u64::MAX, |file| file.len());
    let levels: &[u8] = if bytes <= SMALL_BYTES { &[0, 3] } else { &[3] };
    let file = model.join("model.onnx");
    let mut trials = vec![Trial::test(format!("{name}/legal"), move || legal(&file))];
    for &level in levels {
        let artifact = Arc::new(Artifact::new(&model.join("model.onnx"), level));
        for set in &data {
            let (artifact, set, name) = (artifact.clone(), set.clone(), name.clone());
            let title = format!("{name}/O{level}/{}", name_of(&set));
            trials.push(Trial::test(title, move || check(&artifact, &name, &set)));
        }
    }
    trials
}

/// The models of the manifest and the exported ones that are not there.
fn absent() -> Vec<Trial> {
    let manifest = std::fs::read_to_string(root().join("models/manifest.toml")).unwrap_or_default();
    let listed = manifest.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']').map(String::from));
    let exported = sorted(&root().join("models/exported"));
    let exported = exported.iter().filter_map(|path| name_of(path).strip_suffix(".onnx.xz").map(String::from));
    let all = listed.map(|name| (name, "models/fetch.py")).chain(exported.map(|name| (name, "models/restore.py")));
    let there = |name: &str| folders().iter().any(|folder| folder.join(name).join("model.onnx").exists());
    all.filter(|(name, _)| !there(name)).map(|(name, how)| missing(&name, how)).collect()
}

/// An ignored case whose kind says what to run first.
fn missing(name: &str, how: &str) -> Trial {
    Trial::test(name, || Ok(())).with_kind(format!("needs {how} {name}")).with_ignored_flag(true)
}

/// The program as extracted, before any pass: all its dependences go forward.
fn legal(model: &Path) -> Result<(), Failed> {
    let graph = load(model, &ImportOptions::default()).map_err(|e| e.to_string())?;
    let program = extract(&graph).map_err(|e| e.to_string())?;
    Ok(legality::check(&program).map_err(|e| e.to_string())?.map_err(|v| v.to_string())?)
}

fn check(artifact: &Artifact, name: &str, data: &Path) -> Result<(), Failed> {
    let inputs = pb::read_all(data, "input").map_err(|e| e.to_string())?;
    let wanted = pb::read_all(data, "output").map_err(|e| e.to_string())?;
    let got = artifact.run(&inputs)?;
    if got.len() != wanted.len() {
        return Err(format!("got {} outputs, wanted {}", got.len(), wanted.len()).into());
    }
    let widened = widened(name);
    for (n, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        let tolerance = widened.filter(|_| wanted.dtype.is_float()).map(|(tolerance, _)| tolerance);
        let comparison = compare(&format!("output {n}"), got, wanted, tolerance);
        if !comparison.matches() {
            let reason = widened.map_or(String::new(), |(_, reason)| format!(" (widened: {reason})"));
            return Err(format!("{comparison}{reason}").into());
        }
    }
    Ok(())
}
