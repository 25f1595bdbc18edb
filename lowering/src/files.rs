//! Output files that appear under their names only when all of them are complete.

use crate::link;
use sirius_polyhedral::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

pub fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::environment("E611", format!("cannot write {}: {error}", path.display()))
}

/// Files written under temporary names until all are complete.
pub struct Files<'a> {
    pub dir: &'a Path,
    pending: Vec<(NamedTempFile, PathBuf)>,
}

impl<'a> Files<'a> {
    /// Files for `dir`, which is made where it is missing.
    pub fn new(dir: &'a Path) -> Result<Files<'a>> {
        std::fs::create_dir_all(dir).map_err(|e| cannot_write(dir, &e))?;
        Ok(Files { dir, pending: Vec::new() })
    }

    fn create(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new().prefix(".sirius-").tempfile_in(self.dir).map_err(|e| cannot_write(self.dir, &e))
    }

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.stream(name, |out| out.write_all(bytes))
    }

    /// Writes a file through a buffer; the value of `write`.
    pub fn stream<T>(&mut self, name: &str, write: impl FnOnce(&mut dyn Write) -> std::io::Result<T>) -> Result<T> {
        let path = self.dir.join(name);
        let file = self.create()?;
        let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
        let value = write(&mut out).and_then(|v| out.flush().map(|()| v)).map_err(|e| cannot_write(&path, &e))?;
        let file = out.into_inner().map_err(|e| cannot_write(&path, e.error()))?;
        self.pending.push((file, path));
        Ok(value)
    }

    /// Links the objects, in this order, into the library.
    pub fn library(&mut self, objects: &[&[u8]], name: &str) -> Result<()> {
        let scratch = tempfile::tempdir().map_err(|e| cannot_write(&std::env::temp_dir(), &e))?;
        let mut paths = Vec::new();
        for (n, object) in objects.iter().enumerate() {
            let path = scratch.path().join(format!("{n}.o"));
            std::fs::write(&path, object).map_err(|e| cannot_write(&path, &e))?;
            paths.push(path);
        }
        let out = self.create()?;
        link::link(&paths, name, out.path())?;
        self.pending.push((out, self.dir.join(name)));
        Ok(())
    }

    /// Gives all files their names, in the order in which they were written.
    pub fn publish(self) -> Result<()> {
        for (file, path) in self.pending {
            set_permissions(file.path(), path.extension().is_some_and(|e| e == "so"))
                .and_then(|()| file.persist(&path).map_err(|e| e.error))
                .map_err(|e| cannot_write(&path, &e))?;
        }
        Ok(())
    }
}

/// Temporary files are private; finished ones are for everybody.
fn set_permissions(path: &Path, executable: bool) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))
}
