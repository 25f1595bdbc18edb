//! The real models that a caller of the tests names.

use std::path::PathBuf;

/// Folders with a `model.onnx`, and their names: those in the folders of `SIRIUS_MODELS` (separated by colons) whose names
/// contain a word of `SIRIUS_CASES`, or all. None where `SIRIUS_MODELS` is not set.
pub fn named_models() -> Vec<(String, PathBuf)> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (folders, cases) = (variable("SIRIUS_MODELS"), variable("SIRIUS_CASES"));
    let wanted = |name: &str| cases.trim().is_empty() || cases.split_whitespace().any(|word| name.contains(word));
    let mut found = Vec::new();
    for folder in folders.split(':').filter(|folder| !folder.is_empty()) {
        let mut models: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        models.sort();
        let named = models.into_iter().filter(|m| m.join("model.onnx").exists());
        let named = named.map(|m| (m.file_name().unwrap().to_string_lossy().into_owned(), m));
        found.extend(named.filter(|(name, _)| wanted(name)));
    }
    found
}
