//! The manifest: what an artifact is, for people, for loaders and for later versions of this tool.
//!
//! The same JSON is the file `NAME.json` and the string that `sirius_<tag>_manifest_json` returns.

use crate::descriptor::extent_text;
use crate::prepare::storage_extents;
use crate::team;
use crate::workspace;
use serde::{Deserialize, Serialize};
use sirius_polyhedral::cost::ArrayClass;
use sirius_polyhedral::{Aff, Array, ArrayId, LoopNest, Machine, Nest, Numeric, ParamDef};

/// The top of `NAME.json`. Fields are only ever added within one `abi`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `sirius-artifact`.
    pub format: String,
    /// Version of the C interface.
    pub abi: u32,
    pub name: String,
    /// The middle of every exported symbol: `sirius_<tag>_run`.
    pub tag: String,
    /// Name and version of the compiler.
    pub tool: String,
    /// File name of the shared object.
    pub library: String,
    pub target: TargetInfo,
    /// Named dimensions, in the order that `workspace_bytes` and `sirius_options.dims` take them.
    pub dims: Vec<DimInfo>,
    pub inputs: Vec<TensorInfo>,
    pub outputs: Vec<TensorInfo>,
    /// The model's own inputs in order, where one of them is a sequence or optional: how many of `inputs` belong to
    /// each. Empty where each is one tensor; so is `output_values`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_values: Vec<PortInfo>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_values: Vec<PortInfo>,
    pub workspace: WorkspaceInfo,
    pub weights: WeightsInfo,
    /// `strict` or `contract`: see `sirius compile --help`.
    #[serde(default)]
    pub numeric: Numeric,
    /// The same in words: how far floating-point results may differ from strict evaluation.
    pub fp_policy: String,
    /// Floating-point operations of one inference, counted in the model: the sum of these formulas.
    pub flops: Vec<String>,
    pub kernels: Vec<KernelInfo>,
    /// Worker threads of a context, unless its options say less.
    #[serde(default = "one")]
    pub threads: u32,
    /// Only in artifacts that count: what their events speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedInfo>,
}

/// What the events of a counted artifact speak of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountedInfo {
    /// By number.
    pub arrays: Vec<ArrayInfo>,
    /// By number.
    pub regions: Vec<RegionInfo>,
    /// Bytes of the three levels of cache that the code was made for.
    pub caches: [usize; 3],
}

/// A root loop nest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionInfo {
    /// Operator and name of the nodes that it computes, in order of first appearance.
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayInfo {
    pub name: String,
    pub class: ArrayClass,
    /// Of one element.
    pub bytes: usize,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetInfo {
    pub triple: String,
    pub cpu: String,
    /// Instruction sets that `check_host` asks for.
    pub features: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DimInfo {
    pub name: String,
    /// Number of the input, and its axis, whose extent gives the value.
    pub input: usize,
    pub axis: usize,
    /// The value is element `axis` of the input's contents instead.
    #[serde(default)]
    pub content: bool,
    pub min: i64,
    /// Absent when only memory limits it.
    pub max: Option<i64>,
    /// The value that the code is tuned for.
    #[serde(default)]
    pub typical: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    pub name: String,
    /// `f32`, `i64`, `bool` ...
    pub dtype: String,
    /// Extents as expressions of the named dimensions.
    pub shape: Vec<String>,
    /// True when an extent is known only after the run: the caller's shape is then a capacity.
    pub known_after_run: bool,
    /// The only contents, little-endian, that this input may have: the compiler was told to fix them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Vec<u8>>,
}

/// An input or output of the model as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortInfo {
    pub name: String,
    /// `tensor`, `seq(3)`, `optional()`, `optional(tensor)`, `optional(seq(3))`.
    pub form: String,
    /// How many tensors it has, neighbours in the list of inputs or outputs.
    pub tensors: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceInfo {
    /// Total bytes when no dimension is symbolic.
    pub bytes: Option<u64>,
    /// One list per slot; the slot is as large as the largest entry, rounded up to 64 bytes, and the workspace
    /// is the sum of the slots.
    pub slots: Vec<Vec<String>>,
    /// The total as one formula of the named dimensions; absent where only the run knows an extent.
    #[serde(default)]
    pub formula: Option<String>,
    /// A polynomial in the named dimensions that is never less than the total, and less than 64 bytes per slot more where
    /// every slot has one array that is largest for all sizes; absent as `formula`.
    #[serde(default)]
    pub polynomial: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    pub bytes: u64,
    /// xxHash64 with seed 0, in hexadecimal.
    pub xxh64: String,
    /// File beside the library; absent when the weights are inside it.
    pub file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelInfo {
    pub symbol: String,
    /// ONNX nodes whose work it does, as `Op "node"`, in order of first appearance.
    pub nodes: Vec<String>,
}

impl DimInfo {
    /// `from 1 to 512, tuned for 128`, for people.
    pub fn bounds(&self) -> String {
        let from = if self.min == i64::MIN { String::new() } else { format!("from {}", self.min) };
        let to = self.max.map_or(String::new(), |max| format!("to {max}"));
        let bounds = [from, to].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let bounds = if bounds.is_empty() { "any".to_string() } else { bounds };
        self.typical.map_or(bounds.clone(), |typical| format!("{bounds}, tuned for {typical}"))
    }
}

/// What the manifest says about one tensor.
pub fn tensor_info(nest: &LoopNest, id: ArrayId, name: &str) -> TensorInfo {
    let array = &nest.arrays[id.0 as usize];
    TensorInfo {
        name: name.to_string(),
        dtype: array.dtype.to_string(),
        shape: array.extents.iter().map(|e| extent_text(e, &nest.params)).collect(),
        known_after_run: array.extents.iter().any(|e| crate::descriptor::is_known_after_run(e, &nest.params)),
        fixed: None,
    }
}

pub fn dim_infos(nest: &LoopNest) -> Vec<DimInfo> {
    let named = nest.params.iter().filter_map(|(_, p)| {
        let (input, axis, content) = match &p.def {
            ParamDef::Input { input, axis } => (*input, *axis, false),
            ParamDef::Content { input, at } => (*input, *at, true),
            _ => return None,
        };
        let typical = Some(p.hint);
        Some(DimInfo { name: p.name.clone(), input, axis, content, min: p.min, max: p.max, typical })
    });
    named.collect()
}

/// The workspace formula: per slot the sizes of the arrays that share it, equal ones once.
pub fn workspace_info(nest: &LoopNest, slots: &[Option<usize>]) -> WorkspaceInfo {
    let count = slots.iter().flatten().map(|s| s + 1).max().unwrap_or(0);
    let mut texts: Vec<Vec<String>> = vec![Vec::new(); count];
    let mut sizes: Vec<Option<u64>> = vec![Some(0); count];
    for (array, slot) in nest.arrays.iter().zip(slots) {
        let Some(slot) = *slot else { continue };
        let extents = storage_extents(array);
        let bytes = fixed_product(&extents, array.dtype.size());
        let text = bytes.map_or_else(|| product_text(&extents, array.dtype.size(), nest), |b| b.to_string());
        if !texts[slot].contains(&text) {
            texts[slot].push(text);
        }
        sizes[slot] = sizes[slot].zip(bytes).map(|(a, b)| a.max(b));
    }
    let total = sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(size.as_ref()?.checked_next_multiple_of(64)?));
    let formula = workspace::formula(nest, slots, &texts);
    let polynomial = formula.as_ref().and_then(|_| workspace::polynomial(nest, slots));
    WorkspaceInfo { bytes: total, slots: texts, formula, polynomial }
}

/// What a counted artifact says about itself.
pub fn counted_info(nest: &LoopNest, machine: &Machine) -> CountedInfo {
    let info = |a: &Array| ArrayInfo { name: a.name.clone(), class: ArrayClass::of(&a.role), bytes: a.dtype.size() };
    let caches = [machine.l1_bytes, machine.l2_bytes, machine.l3_bytes];
    let region = |root: &Nest| RegionInfo { nodes: nodes_of(std::slice::from_ref(root)) };
    let regions = nest.body.iter().flat_map(team::inside).map(region).collect();
    CountedInfo { arrays: nest.arrays.iter().map(info).collect(), regions, caches }
}

fn fixed_product(extents: &[Aff], size: usize) -> Option<u64> {
    extents.iter().try_fold(size as u64, |p, e| p.checked_mul(u64::try_from(e.as_constant()?).ok()?))
}

fn product_text(extents: &[Aff], size: usize, nest: &LoopNest) -> String {
    let factors = extents.iter().map(|e| format!("*({})", extent_text(e, &nest.params)));
    format!("{size}{}", factors.collect::<String>())
}

/// The nodes that nests compute, in order of first appearance.
pub fn nodes_of(nests: &[Nest]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut nodes = Vec::new();
    let mut visit = |n: &Nest| {
        if let Nest::Compute { origin, .. } = n
            && seen.insert(origin.clone())
        {
            nodes.push(origin.to_string());
        }
    };
    nests.iter().for_each(|n| n.visit(&mut visit));
    nodes
}
