//! The `.graph` text form: prints, and parses back to the same graph.
//!
//! ```text
//! graph "main"
//! param batch = input(0, 0) min 1 hint 1
//! param d1 = mul(batch, seq) min 1 hint 64
//! t0 "x" f32[batch, 768]
//! t1 "w" f32[768, 768] = #0
//! t2 "axes" i64[1] = [0]
//! t3 "shape" i64[2] ~ [batch, 768]
//! t4 "y" f32[batch, 768]
//! main (t0) -> (t4) {
//!   MatMul@13 "/MatMul" (t0, t1) -> (t4) {alpha = f 1.0}
//! }
//! ```
//!
//! Constants of more than 16 elements lie in a list of weights beside the text, as `#n`. On disk that list is
//! one file, the constants in order without gaps.

mod lexer;
mod parse;
mod print;
mod scalar;

pub use parse::parse;
pub use print::{print, weights};

use super::Graph;
use bytes::Bytes;
use sirius_polyhedral::{ConstantData, Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Constants up to this many elements stand in the text.
pub const INLINE: usize = 16;

/// Writes `path`, and the weights to `path` with `.bin` appended.
pub fn save(graph: &Graph, path: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::environment("E120", format!("cannot write {}: {e}", path.display()));
    std::fs::write(path, print(graph)).map_err(failed)?;
    let file = std::fs::File::create(weights_path(path)).map_err(failed)?;
    let mut out = std::io::BufWriter::new(file);
    weights(graph).into_iter().try_for_each(|data| out.write_all(data.bytes())).map_err(failed)?;
    out.flush().map_err(failed)
}

/// Reads what [`save`] wrote.
pub fn load(path: &Path) -> Result<Graph> {
    let failed = |e: std::io::Error| Error::environment("E120", format!("cannot read {}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let beside = weights_path(path);
    let blob = if beside.exists() { Bytes::from(std::fs::read(&beside).map_err(failed)?) } else { Bytes::new() };
    let mut offset = 0usize;
    parse(&text, |_, length| {
        let end = offset.checked_add(length).filter(|&end| end <= blob.len())?;
        let data = ConstantData::new(blob.slice(offset..end));
        offset = end;
        Some(data)
    })
}

fn weights_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bin");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
