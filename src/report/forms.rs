//! `.poly` and `.loop` files: the text, and beside it (`.bin` appended) the constants that it refers to. Certificates.

use sirius_polyhedral::certificate::Certificate;
use sirius_polyhedral::program::ConstantData;
use sirius_polyhedral::text::{ConstantPool, parse_program, print_nest, print_program};
use sirius_polyhedral::{Error, LoopNest, Program, Result};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

pub fn save_program(program: &Program, path: &Path) -> Result<()> {
    let mut pool = ConstantPool::default();
    let text = print_program(program, &mut pool);
    save(&text, &pool, path)
}

pub fn save_nest(nest: &LoopNest, path: &Path) -> Result<()> {
    let mut pool = ConstantPool::default();
    let text = print_nest(nest, &mut pool);
    save(&text, &pool, path)
}

/// Reads what [`save_program`] wrote; without a side file the text must do without large constants.
pub fn load_program(path: &Path) -> Result<Program> {
    let failed = |e: std::io::Error| Error::environment("E835", format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let pool = side_pool(path)?;
    parse_program(&text, &pool)
}

/// The certificate, and beside it the constants, where there are any.
pub fn save_certificate(certificate: &Certificate, constants: &[ConstantData], path: &Path) -> Result<()> {
    let mut pool = ConstantPool::default();
    constants.iter().for_each(|data| {
        pool.add(data);
    });
    let text = serde_json::to_string(certificate)
        .map_err(|e| Error::bug("E903", format!("the certificate does not serialize: {e}")))?;
    // What an earlier compilation left is about other constants.
    match std::fs::remove_file(side_file(path)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::environment("E611", format!("cannot replace {}: {e}", side_file(path).display())))
        }
        _ => save(&text, &pool, path),
    }
}

/// What [`save_certificate`] wrote.
pub fn load_certificate(path: &Path) -> Result<(Certificate, ConstantPool)> {
    let text =
        std::fs::read_to_string(path).map_err(|e| Error::environment("E835", format!("{}: {e}", path.display())))?;
    let certificate = serde_json::from_str(&text).map_err(|e| {
        Error::invalid("E240", format!("{} is no certificate: {e}", path.display()))
            .help("`sirius compile MODEL -o DIR --certificate FILE` writes one")
    })?;
    Ok((certificate, side_pool(path)?))
}

/// The constants beside a file; none where there is no side file.
fn side_pool(path: &Path) -> Result<ConstantPool> {
    let side = side_file(path);
    if !side.exists() {
        return Ok(ConstantPool::default());
    }
    let bytes = std::fs::read(&side).map_err(|e| Error::environment("E835", format!("{}: {e}", side.display())))?;
    ConstantPool::read(&bytes)
}

fn save(text: &str, pool: &ConstantPool, path: &Path) -> Result<()> {
    let write = || -> std::io::Result<()> {
        std::fs::write(path, text)?;
        if pool.is_empty() {
            return Ok(());
        }
        let mut out = BufWriter::new(std::fs::File::create(side_file(path))?);
        pool.write(&mut out)?;
        out.flush()
    };
    write().map_err(|e| Error::environment("E611", format!("cannot write {}: {e}", path.display())))
}

fn side_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bin");
    PathBuf::from(name)
}
