//! One run of the compiler as seen from outside: its phases, how long they took, and the dumps.

use crate::report::progress::Progress;
use sirius_polyhedral::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Collects times and writes dumps; `Session::default()` does neither aloud.
#[derive(Default)]
pub struct Session {
    pub dump_dir: Option<PathBuf>,
    pub progress: Option<Progress>,
    /// Phases in order.
    pub times: Vec<(String, Duration)>,
    dumps: usize,
}

impl Session {
    pub fn new(dump_dir: Option<PathBuf>, progress: Option<Progress>) -> Session {
        Session { dump_dir, progress, ..Session::default() }
    }

    /// Runs one phase.
    pub fn phase<T>(&mut self, name: &str, run: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        if let Some(progress) = &self.progress {
            progress.phase(name);
        }
        let start = Instant::now();
        let result = run(self);
        self.times.push((name.to_string(), start.elapsed()));
        result
    }

    /// Writes `NN-name.extension` when dumps are wanted; numbers follow the order of the calls.
    pub fn dump(&mut self, name: &str, extension: &str, text: impl FnOnce() -> String) -> Result<()> {
        self.dump_file(name, extension, |path| {
            let written = std::fs::write(path, text());
            written.map_err(|e| Error::environment("E611", format!("cannot write {}: {e}", path.display())))
        })
    }

    /// The same for forms that write their own files.
    pub fn dump_file(&mut self, name: &str, extension: &str, save: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let Some(dir) = &self.dump_dir else { return Ok(()) };
        let path = dir.join(format!("{:02}-{name}.{extension}", self.dumps));
        self.dumps += 1;
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::environment("E611", format!("cannot make {}: {e}", dir.display())))?;
        save(&path)
    }
}
