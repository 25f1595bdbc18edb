//! The real models that a caller of the tests names.

use std::path::{Path, PathBuf};

/// Folders with a `model.onnx`, and their names: those in the folders `own` of this repository, where they are there, and
/// in those of `SIRIUS_MODELS` (separated by colons), whose names contain a word of `SIRIUS_CASES`, or all.
pub fn named_models(own: &[&str]) -> Vec<(String, PathBuf)> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (folders, cases) = (variable("SIRIUS_MODELS"), variable("SIRIUS_CASES"));
    let wanted = |name: &str| cases.trim().is_empty() || cases.split_whitespace().any(|word| name.contains(word));
    let own = own.iter().map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).filter(|f| f.exists());
    let named = folders.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let mut found = Vec::new();
    for folder in own.chain(named) {
        let mut models: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        models.sort();
        let named = models.into_iter().filter(|m| m.join("model.onnx").exists());
        let named = named.map(|m| (m.file_name().unwrap().to_string_lossy().into_owned(), m));
        found.extend(named.filter(|(name, _)| wanted(name)));
    }
    found
}
