//! LoopNest to artifact: `NAME.so`, `NAME.h`, `NAME.json`, and `NAME.weights` when the weights are large.
//!
//! Files appear under their names only when complete, and equal inputs give equal bytes.

use crate::count::Counting;
use crate::descriptor::{Facts, WeightsPlace, descriptor_ir};
use crate::features::{Feature, required_features};
use crate::files::{Files, cannot_write};
use crate::metadata::{self, KernelInfo, Manifest, PortInfo, TargetInfo, TensorInfo, WeightsInfo};
use crate::prepare::{SizeProgram, assign_slots, size_program};
use crate::target::{Target, compile_object};
use crate::{header, weights};
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use sirius_polyhedral::{Error, LoopNest, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the C interface; see `runtime/sirius_abi.h`.
pub const ABI_VERSION: u32 = 1;

/// From here on weights go to a file of their own: shared objects are copied, patched and stripped by tools that
/// do not expect them to be hundreds of megabytes.
const SIDECAR_FROM: u64 = 64 << 20;

const RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sirius_runtime.o"));

/// Where constant arrays go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightsPolicy {
    /// Into the shared object below 64 MiB, else beside it.
    #[default]
    Auto,
    Embed,
    Sidecar,
}

/// What an artifact is called and made for.
#[derive(Clone, Debug)]
pub struct ArtifactOptions {
    /// Stem of the files.
    pub name: String,
    /// Middle of the exported symbols, a C identifier; see [`tag_of`].
    pub tag: String,
    /// Names of inputs and outputs as in the model file; the arrays' names where missing.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// What the model's own inputs and outputs are, where one of them is a sequence or optional; else empty.
    pub input_values: Vec<PortInfo>,
    pub output_values: Vec<PortInfo>,
    /// Inputs, by number, whose contents were fixed by the compiler: a run refuses others.
    pub fixed: BTreeMap<usize, Vec<u8>>,
    pub weights: WeightsPolicy,
    /// What the code was compiled for.
    pub target: Target,
    pub fp_policy: String,
    /// Floating-point operations of one inference: formulas whose sum it is.
    pub flops: Vec<String>,
    /// Whether the code was made to count.
    pub counting: Counting,
}

/// A C identifier from any name: other characters become `_`, and a leading digit gets a letter before it.
pub fn tag_of(name: &str) -> String {
    let tag: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if tag.starts_with(|c: char| c.is_ascii_alphabetic()) { tag } else { format!("m{tag}") }
}

/// Writes the artifact of `nest` into `dir`. `body` is the object with the code: `i32 <body_symbol>(ptr, ptr, ptr)`.
pub fn write_artifact(
    nest: &LoopNest,
    body: &[u8],
    body_symbol: &str,
    options: &ArtifactOptions,
    dir: &Path,
) -> Result<Manifest> {
    let draft = Draft::new(nest, options)?;
    let mut files = Files::new(dir)?;
    let (bytes, hash) = draft.store_weights(&mut files)?;
    let manifest = draft.manifest(body_symbol, hash);
    let json = serde_json::to_string_pretty(&manifest)
        .map_err(|e| Error::bug("E903", format!("the manifest does not serialize: {e}")))?;
    let data = draft.data_object(body_symbol, &json, bytes.as_deref(), hash)?;
    files.library(&[&data, body, RUNTIME], &manifest.library)?;
    files.write(&format!("{}.h", options.name), header::header(&manifest).as_bytes())?;
    files.write(&format!("{}.json", options.name), format!("{json}\n").as_bytes())?;
    files.publish()?;
    Ok(manifest)
}

/// Everything decided about an artifact before its bytes are written.
struct Draft<'a> {
    nest: &'a LoopNest,
    options: &'a ArtifactOptions,
    inputs: Vec<String>,
    outputs: Vec<String>,
    features: Vec<&'static Feature>,
    slots: Vec<Option<usize>>,
    program: SizeProgram,
    blob: weights::Blob,
    place: WeightsPlace,
}

impl<'a> Draft<'a> {
    fn new(nest: &'a LoopNest, options: &'a ArtifactOptions) -> Result<Draft<'a>> {
        let used = weights::used_arrays(nest);
        let slots = assign_slots(nest, &used);
        let blob = weights::layout(nest, &used);
        let sidecar = match options.weights {
            WeightsPolicy::Auto => blob.bytes >= SIDECAR_FROM,
            WeightsPolicy::Embed => false,
            WeightsPolicy::Sidecar => blob.bytes > 0,
        };
        let names = |given: &[String], ids: &[sirius_polyhedral::ArrayId]| {
            let own = |id: &sirius_polyhedral::ArrayId| nest.arrays[id.0 as usize].name.clone();
            ids.iter().enumerate().map(|(n, id)| given.get(n).cloned().unwrap_or_else(|| own(id))).collect()
        };
        Ok(Draft {
            nest,
            options,
            inputs: names(&options.inputs, &nest.inputs),
            outputs: names(&options.outputs, &nest.outputs),
            features: required_features(
                &options.target.cpu,
                &options.target.features,
                options.target.machine.vector_bytes,
            ),
            program: size_program(nest, &slots)?,
            slots,
            blob,
            place: match sidecar {
                true => WeightsPlace::Sidecar(format!("{}.weights", options.name)),
                false => WeightsPlace::Embedded,
            },
        })
    }

    /// Writes the sidecar, or returns the bytes to embed; and their hash.
    fn store_weights(&self, files: &mut Files) -> Result<(Option<Vec<u8>>, u64)> {
        match &self.place {
            WeightsPlace::Sidecar(name) => {
                let hash = files.stream(name, |out| self.blob.write(out))?;
                Ok((None, hash))
            }
            WeightsPlace::Embedded => {
                let mut bytes = Vec::with_capacity(self.blob.bytes as usize);
                let hash = self.blob.write(&mut bytes).map_err(|e| cannot_write(files.dir, &e))?;
                Ok((Some(bytes), hash))
            }
        }
    }

    fn manifest(&self, body_symbol: &str, hash: u64) -> Manifest {
        let nest = self.nest;
        let tensors = |ids: &[sirius_polyhedral::ArrayId], names: &[String]| {
            ids.iter().zip(names).map(|(id, name)| metadata::tensor_info(nest, *id, name)).collect()
        };
        let file = match &self.place {
            WeightsPlace::Sidecar(name) => Some(name.clone()),
            WeightsPlace::Embedded => None,
        };
        Manifest {
            format: "sirius-artifact".to_string(),
            abi: ABI_VERSION,
            name: self.options.name.clone(),
            tag: self.options.tag.clone(),
            tool: format!("sirius {}", env!("CARGO_PKG_VERSION")),
            library: format!("{}.so", self.options.name),
            target: TargetInfo {
                triple: self.options.target.triple.clone(),
                cpu: self.options.target.cpu.clone(),
                features: self.features.iter().map(|f| f.name.to_string()).collect(),
            },
            dims: metadata::dim_infos(nest),
            inputs: self.fixed(tensors(&nest.inputs, &self.inputs)),
            outputs: tensors(&nest.outputs, &self.outputs),
            input_values: self.options.input_values.clone(),
            output_values: self.options.output_values.clone(),
            workspace: metadata::workspace_info(nest, &self.slots),
            weights: WeightsInfo { bytes: self.blob.bytes, xxh64: format!("{hash:016x}"), file },
            numeric: self.options.target.machine.numeric,
            fp_policy: self.options.fp_policy.clone(),
            flops: self.options.flops.clone(),
            kernels: vec![KernelInfo { symbol: body_symbol.to_string(), nodes: metadata::nodes_of(&nest.body) }],
            threads: nest.team(),
            counted: (self.options.counting != Counting::Off)
                .then(|| metadata::counted_info(nest, &self.options.target.machine)),
        }
    }

    /// Notes the contents of the fixed inputs.
    fn fixed(&self, mut inputs: Vec<TensorInfo>) -> Vec<TensorInfo> {
        for (n, bytes) in &self.options.fixed {
            inputs[*n].fixed = Some(bytes.clone());
        }
        inputs
    }

    /// The object with descriptor, exported functions and embedded weights.
    fn data_object(&self, body: &str, manifest: &str, weights: Option<&[u8]>, hash: u64) -> Result<Vec<u8>> {
        let text = descriptor_ir(&Facts {
            nest: self.nest,
            tag: &self.options.tag,
            body,
            inputs: &self.inputs,
            outputs: &self.outputs,
            fixed: &self.options.fixed,
            manifest,
            slots: &self.slots,
            constants: &self.blob.offsets,
            program: &self.program,
            features: &self.features,
            weights: &self.place,
            weights_bytes: self.blob.bytes,
            weights_hash: hash,
        });
        let context = Context::create();
        let buffer = MemoryBuffer::create_from_memory_range_copy(text.as_bytes(), "descriptor");
        let module = context
            .create_module_from_ir(buffer)
            .map_err(|e| Error::bug("E904", format!("LLVM cannot read the descriptor: {e}")))?;
        if let (Some(global), Some(bytes)) = (module.get_global("weights"), weights) {
            global.set_initializer(&context.const_string(bytes, false));
        }
        // For any x86-64 processor: the thunks run before the host is checked.
        compile_object(&module, &Target::x86("x86-64"), OptimizationLevel::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::tag_of;

    #[test]
    fn tags_are_c_identifiers() {
        assert_eq!(["bert-base.v2", "00-import", ""].map(tag_of), ["bert_base_v2", "m00_import", "m"]);
    }
}
