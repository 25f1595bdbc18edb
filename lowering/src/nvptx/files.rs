//! A GPU artifact on disk: `NAME.ptx`, `NAME.json` (the plan) and `NAME.weights`.

use super::GpuArtifact;
use super::plan::Files;
use crate::weights::{layout, used_arrays};
use sirius_polyhedral::{Error, LoopNest, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes the artifact into `dir`, which is made if missing. The plan then names the files and the weights' hash.
pub fn write_artifact(nest: &LoopNest, artifact: &mut GpuArtifact, name: &str, dir: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::environment("E611", format!("cannot write to {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let blob = layout(nest, &used_arrays(nest));
    let weights = format!("{name}.weights");
    let mut file = BufWriter::new(File::create(dir.join(&weights)).map_err(failed)?);
    let hash = blob.write(&mut file).and_then(|hash| file.flush().map(|()| hash)).map_err(failed)?;
    artifact.plan.files = Some(Files {
        ptx: format!("{name}.ptx"),
        weights,
        weights_bytes: blob.bytes,
        weights_xxh64: format!("{hash:016x}"),
    });
    std::fs::write(dir.join(format!("{name}.ptx")), &artifact.ptx).map_err(failed)?;
    let json = serde_json::to_string_pretty(&artifact.plan)
        .map_err(|e| Error::bug("E734", format!("the plan cannot be written: {e}")))?;
    std::fs::write(dir.join(format!("{name}.json")), json).map_err(failed)
}
