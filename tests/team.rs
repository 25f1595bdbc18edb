//! Results do not depend on the number of workers: real models, bit for bit.
//!
//! `SIRIUS_MODELS` names folders of models as in `models`; `SIRIUS_CASES` keeps the models whose names contain
//! one of its words. Without them nothing runs.

use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, pb};
use std::path::{Path, PathBuf};

#[test]
fn every_number_of_workers_gives_the_same_bits() {
    let Ok(folders) = std::env::var("SIRIUS_MODELS") else { return };
    let words: Vec<String> =
        std::env::var("SIRIUS_CASES").unwrap_or_default().split_whitespace().map(String::from).collect();
    for folder in folders.split(':') {
        let mut models: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        models.sort();
        for model in models.iter().filter(|m| m.join("model.onnx").exists()) {
            let name = model.file_name().unwrap().to_string_lossy().to_string();
            if words.is_empty() || words.iter().any(|w| name.contains(w)) {
                check(&name, model);
            }
        }
    }
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
