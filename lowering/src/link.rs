//! Objects to a shared object, by `ld.lld` alone: no C compiler and no C library are needed to make a model.

use sirius_polyhedral::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names of the linker, best first: the one of the LLVM in use, then any other.
const LINKERS: [&str; 3] = ["ld.lld-19", "/usr/lib/llvm-19/bin/ld.lld", "ld.lld"];

/// The first linker that answers; asked once per process, since an answer takes longer than linking.
pub fn find_linker() -> Result<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let first = || LINKERS.iter().map(PathBuf::from).find(|name| linker_version(name).is_some());
    FOUND.get_or_init(first).clone().ok_or_else(|| {
        Error::environment("E610", format!("no linker: looked for {}", LINKERS.join(", ")))
            .help("install it: sudo apt-get install lld-19")
    })
}

/// The linker's own version line.
pub fn linker_version(linker: &Path) -> Option<String> {
    let output = Command::new(linker).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Links `objects` into the shared object `out`, whose own name is `soname`. Only symbols with default
/// visibility are exported, and nothing may stay undefined, so the result needs no library at all.
pub fn link(objects: &[PathBuf], soname: &str, out: &Path) -> Result<()> {
    let linker = find_linker()?;
    let mut command = Command::new(&linker);
    command.args(["-shared", "-z", "defs", "-z", "now", "-z", "relro", "--gc-sections", "--hash-style=gnu"]);
    command.args(["--build-id=none", "-soname", soname, "-o"]).arg(out).args(objects);
    let output = command
        .output()
        .map_err(|e| Error::environment("E610", format!("{} does not start: {e}", linker.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No space left") || said.contains("Permission denied") {
        return Err(Error::environment("E611", format!("the linker cannot write {}: {said}", out.display())));
    }
    Err(Error::bug("E901", format!("the linker refuses our objects: {said}")))
}
