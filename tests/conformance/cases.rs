//! The cases of the suite on disk.

use std::path::{Path, PathBuf};

/// One backend test.
#[derive(Clone, Debug)]
pub struct Case {
    /// `kind/test`, as the folders are named.
    pub name: String,
    pub model: PathBuf,
    pub data: Data,
}

/// Where inputs and answers come from.
#[derive(Clone, Debug)]
pub enum Data {
    /// `test_data_set_0` with `input_J.pb` and `output_J.pb`.
    Files(PathBuf),
    /// The input is `arange(n) / n` in its own shape, the answer a file: the `light` models.
    Ramp(PathBuf),
}

const FOLDERS: [&str; 4] = ["node", "simple", "pytorch-converted", "pytorch-operator"];

/// The suite's folder, if it is there.
pub fn root() -> Option<PathBuf> {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fetched/conformance");
    let root = std::env::var_os("SIRIUS_CONFORMANCE").map_or_else(fetched, PathBuf::from);
    root.join("node").is_dir().then_some(root)
}

/// All cases, by name.
pub fn all(root: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = FOLDERS.iter().flat_map(|kind| folder(root, kind)).collect();
    cases.extend(light(root));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn folder(root: &Path, kind: &str) -> Vec<Case> {
    let case = |path: PathBuf| {
        let test = path.file_name()?.to_string_lossy().into_owned();
        let (model, data) = (path.join("model.onnx"), Data::Files(path.join("test_data_set_0")));
        model.is_file().then(|| Case { name: format!("{kind}/{test}"), model, data })
    };
    entries(&root.join(kind)).into_iter().filter_map(case).collect()
}

fn light(root: &Path) -> Vec<Case> {
    let case = |model: PathBuf| {
        let test = model.file_name()?.to_str()?.strip_suffix(".onnx")?.to_string();
        let answer = model.with_file_name(format!("{test}_output_0.pb"));
        Some(Case { name: format!("light/{test}"), model, data: Data::Ramp(answer) })
    };
    entries(&root.join("light")).into_iter().filter_map(case).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map_or(vec![], |list| list.flatten().map(|e| e.path()).collect())
}
