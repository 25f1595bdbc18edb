//! Real models through compiled code: one named case per model, level and data set.
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
use sirius::run::compare::{Tolerance, compare};
use sirius::run::pb;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Models up to this size are also compiled without optimization; larger ones take too long to run that way.
const SMALL_BYTES: u64 = 1 << 20;

/// Models whose answers cannot be met to the usual relative 1e-3 and absolute 1e-5, with the reason measured.
const WIDENED: &[(&str, Tolerance, &str)] = &[
    (
        "efficientnet_b0.dynamo",
        Tolerance { relative: 1e-2, absolute: 4.0 },
        "random weights: logits reach 1200, and in f64 half an ulp on the image alone moves up to 16 of 1000 logits \
         by more than the usual tolerance; ONNX Runtime's own optimizations move 81 of them",
    ),
    (
        "resnet50.ts",
        Tolerance { relative: 1e-3, absolute: 1e-3 },
        "random weights: logits near 0 are differences of large sums; ONNX Runtime is up to 4.3e-4 away from an \
         evaluation in f64, the artifact up to 4.5e-4",
    ),
    (
        "dddd_crnn_int8",
        Tolerance { relative: 0.0, absolute: 0.4 },
        "dynamic quantization: a rounding that flips moves all later layers; ONNX Runtime adds pairs of products in \
         saturating 16 bits. Logits reach 25, the mean difference is 0.8 % of their mean",
    ),
    (
        "tashkeel_bilstm_int8",
        Tolerance { relative: 0.0, absolute: 0.6 },
        "as above; logits reach 17. The first step of the first layer is exact, later ones differ as much from an \
         exact evaluation in numpy",
    ),
    (
        "t5_enc_int8",
        Tolerance { relative: 0.0, absolute: 5e-2 },
        "as above; ONNX Runtime with and without optimizations differs by 2.2e-2. Values reach 0.75",
    ),
];

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
    let mut trials = Vec::new();
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

fn check(artifact: &Artifact, name: &str, data: &Path) -> Result<(), Failed> {
    let inputs = pb::read_all(data, "input").map_err(|e| e.to_string())?;
    let wanted = pb::read_all(data, "output").map_err(|e| e.to_string())?;
    let got = artifact.run(&inputs)?;
    if got.len() != wanted.len() {
        return Err(format!("got {} outputs, wanted {}", got.len(), wanted.len()).into());
    }
    let widened = WIDENED.iter().find(|(model, ..)| *model == name);
    for (n, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        let tolerance = widened.filter(|_| wanted.dtype.is_float()).map(|(_, tolerance, _)| *tolerance);
        let comparison = compare(&format!("output {n}"), got, wanted, tolerance);
        if !comparison.matches() {
            let reason = widened.map_or(String::new(), |(.., reason)| format!(" (widened: {reason})"));
            return Err(format!("{comparison}{reason}").into());
        }
    }
    Ok(())
}
