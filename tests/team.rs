//! Results do not depend on the number of workers: real models, bit for bit.
//!
//! The models are those of the test `models`: committed, fetched, and in the folders that `SIRIUS_MODELS` names.
//! `SIRIUS_CASES` keeps the models whose names contain one of its words.

use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, pb};
use std::path::{Path, PathBuf};

#[test]
fn every_number_of_workers_gives_the_same_bits() {
    let words: Vec<String> =
        std::env::var("SIRIUS_CASES").unwrap_or_default().split_whitespace().map(String::from).collect();
    let mut checked = 0;
    for model in folders().iter().flat_map(|f| models(f)) {
        let name = model.file_name().unwrap().to_string_lossy().to_string();
        if words.is_empty() || words.iter().any(|w| name.contains(w)) {
            check(&name, &model);
            checked += 1;
        }
    }
    assert!(checked > 0 || !words.is_empty(), "the committed models are gone");
}

fn folders() -> Vec<PathBuf> {
    let own = ["models/fetched", "models/tiny/contrib", "models/tiny/resize"];
    let own = own.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let named = std::env::var("SIRIUS_MODELS").unwrap_or_default();
    own.into_iter().chain(named.split(':').filter(|f| !f.is_empty()).map(PathBuf::from)).collect()
}

/// The models of a folder that come with data, in order of name.
fn models(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut models: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    models.retain(|m| m.join("model.onnx").exists() && m.join("test_data_set_0").exists());
    models.sort();
    models
}

fn check(name: &str, model: &Path) {
    let inputs = pb::read_all(&model.join("test_data_set_0"), "input").unwrap();
    let alone = Artifact::new(model, 1).run(None, &inputs);
    for threads in [2, 3, 4] {
        let team = Artifact::new(model, threads);
        for fewer in [None, Some(1), Some(2)] {
            assert!(alone == team.run(fewer, &inputs), "{name}: made for {threads} workers, run on {fewer:?}");
        }
    }
    println!("{name}: equal");
}

struct Artifact(tempfile::TempDir);

impl Artifact {
    fn new(model: &Path, threads: usize) -> Artifact {
        let dir = tempfile::tempdir().unwrap();
        let options = CompileOptions { threads: Some(threads), ..CompileOptions::default() };
        compile(&model.join("model.onnx"), &options, &mut Session::new(None, None), dir.path()).unwrap();
        Artifact(dir)
    }

    /// The bytes of all outputs.
    fn run(&self, threads: Option<u32>, inputs: &[sirius::run::value::Value]) -> Vec<Vec<u8>> {
        let loaded = Loaded::with_threads(self.0.path(), threads).unwrap();
        let runs: Vec<_> = (0..3).map(|_| loaded.run(inputs).unwrap()).collect();
        runs[2].iter().map(|v| v.bytes.to_vec()).collect()
    }
}
