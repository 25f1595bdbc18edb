//! Results do not depend on the number of workers: real models, bit for bit.
//!
//! The models are those of the test `models`: committed, fetched, and in the folders that `SIRIUS_MODELS` names.
//! `SIRIUS_CASES` keeps the models whose names contain one of its words.

#[path = "common/named_models.rs"]
mod named_models;

use named_models::named_models;
use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, pb};
use std::path::Path;

#[test]
fn every_number_of_workers_gives_the_same_bits() {
    let all = named_models(&["models/fetched", "models/tiny/contrib", "models/tiny/resize"]);
    let with_data: Vec<_> = all.iter().filter(|(_, model)| model.join("test_data_set_0").exists()).collect();
    let some_are_left_out = std::env::var("SIRIUS_CASES").is_ok_and(|words| !words.trim().is_empty());
    assert!(!with_data.is_empty() || some_are_left_out, "the committed models are gone");
    with_data.into_iter().for_each(|(name, model)| check(name, model));
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
