//! Bytes of a model: memory-mapped, and decoded without copying tensor payloads.

use super::proto::ModelProto;
use bytes::Bytes;
use prost::Message;
use sirius_polyhedral::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Maps a whole file. The map lives as long as any slice of the result.
pub fn map(path: &Path) -> Result<Bytes> {
    let failed = |e: std::io::Error| Error::environment("E100", format!("cannot read {}: {e}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::environment("E100", format!("{} is not a file", path.display())));
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read-only and private to us. A file that another process truncates meanwhile faults
    // on access; that is the price every memory-mapped reader pays for not copying gigabytes of weights.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
    Ok(Bytes::from_owner(map))
}

pub fn decode(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::invalid("E101", "the model file is empty"));
    }
    let damaged = |e: prost::DecodeError| {
        Error::invalid("E101", format!("not an ONNX model, or a damaged one: {e}"))
            .help("check the file with `python -m onnx.checker`, or download it again")
    };
    let model = ModelProto::decode(bytes).map_err(damaged)?;
    if model.graph.is_none() {
        return Err(Error::invalid("E101", "the file holds no graph, so it is not an ONNX model"));
    }
    Ok(model)
}
