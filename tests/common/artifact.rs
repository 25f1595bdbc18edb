//! A model compiled once, when the first case needs it, and shared by all its cases.

use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub struct Artifact {
    model: PathBuf,
    level: u8,
    made: OnceLock<Result<tempfile::TempDir, String>>,
}

impl Artifact {
    pub fn new(model: &Path, level: u8) -> Artifact {
        Artifact { model: model.to_path_buf(), level, made: OnceLock::new() }
    }

    /// One inference; every call has a context of its own.
    pub fn run(&self, inputs: &[Value]) -> Result<Vec<Value>, String> {
        let dir = self.made.get_or_init(|| self.make()).as_ref().map_err(Clone::clone)?;
        let loaded = Loaded::open(dir.path()).map_err(|e| e.to_string())?;
        loaded.run(inputs).map_err(|e| e.to_string())
    }

    fn make(&self) -> Result<tempfile::TempDir, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let options = CompileOptions { level: self.level, ..CompileOptions::default() };
        compile(&self.model, &options, &mut Session::default(), dir.path()).map_err(|e| e.to_string())?;
        Ok(dir)
    }
}
