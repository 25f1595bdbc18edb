//! The graph: an ONNX model after import, with every shape known as affine expressions of parameters.

pub mod compact;
pub mod fold;
pub mod form;
pub mod interp;
pub mod sources;
pub mod text;
pub mod verify;

pub use form::{Form, Port, Signature};
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, ConstantData, DType, Origin, Params, narrow};
use std::collections::BTreeMap;

/// Domain of the nodes that only import makes.
pub const OWN: &str = "sirius";

/// `Expect(x, extents)` of the domain [`OWN`]: `x`, whose shape must be `extents`. A run where it is not is refused in
/// the name of the node that the attributes `node` and `op` give, and nothing outside `extents` is read.
pub const EXPECT: &str = "Expect";

/// `Chosen(x, condition)` of the domain [`OWN`]: `x`, the result of the only branch of an `If` that can run with these
/// sizes. A run in which the condition is not the attribute `wanted` is refused in the name of the node `node`.
pub const CHOSEN: &str = "Chosen";

/// Attribute of a `Loop`: carried values that must stay in a range, since sizes rely on it. For each the number of the
/// carried value, its least and its largest value when a step begins; the run is refused where a step would begin with
/// another.
pub const COUNTERS: &str = "counters";

/// Index into [`Graph::tensors`]; prints as `t5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

impl std::fmt::Display for TensorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// A whole model. All blocks (subgraphs too) share one tensor table, so a body that uses a tensor of the
/// enclosing graph just names its id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    pub name: String,
    pub params: Params,
    pub tensors: Vec<Tensor>,
    pub main: Block,
    /// Inputs, by number, that nothing reads because their contents were fixed; a run refuses other contents.
    pub fixed: BTreeMap<usize, ConstantData>,
    /// Which tensors form a sequence or optional of the file: its elements are neighbours in `main`.
    pub signature: Signature,
}

/// A list of nodes in topological order, with inputs and outputs: the main graph or a subgraph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    pub inputs: Vec<TensorId>,
    pub nodes: Vec<Node>,
    pub outputs: Vec<TensorId>,
}

/// A value. Tensors are written once: by a node, as a block input, or as a constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The ONNX name; unique in the graph (subgraph names are made unique on import).
    pub name: String,
    pub dtype: DType,
    /// Row-major extents; parameters only. A scalar has none.
    pub shape: Vec<Aff>,
    /// Known contents: little-endian, row-major, `shape` all constant.
    pub constant: Option<ConstantData>,
    /// Contents known as expressions of parameters (shape arithmetic); row-major, integer types only.
    pub symbolic: Option<Vec<Aff>>,
}

/// One operator of the default domain (functions and other domains are expanded or named in `domain`).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// ONNX node name, or `OpType_index` where the file has none.
    pub name: String,
    pub op: String,
    /// Empty for `ai.onnx`.
    pub domain: String,
    /// Opset version of the domain in this model.
    pub version: i64,
    /// `None` for an omitted optional input.
    pub inputs: Vec<Option<TensorId>>,
    pub outputs: Vec<Option<TensorId>>,
    pub attributes: IndexMap<String, Attribute>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
    /// A constant tensor, in the tensor table.
    Tensor(TensorId),
    /// `then_branch`, `else_branch`, `body`.
    Block(Block),
}

impl Graph {
    /// Does a parameter take its value from the tensor `name`?
    pub fn defines_param(&self, name: &str) -> bool {
        self.params.read_array(name)
    }

    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    pub fn tensor_mut(&mut self, id: TensorId) -> &mut Tensor {
        &mut self.tensors[id.0 as usize]
    }

    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() as u32 - 1)
    }
}

impl Tensor {
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Extents when all are constant.
    pub fn fixed_shape(&self) -> Option<Vec<i64>> {
        self.shape.iter().map(Aff::as_constant).collect()
    }

    /// The contents as integers when they are known: from the constant (any integer type or bool) or from a
    /// symbolic value without parameters.
    pub fn ints(&self) -> Option<Vec<i64>> {
        if let Some(symbolic) = &self.symbolic {
            return symbolic.iter().map(Aff::as_constant).collect();
        }
        let bytes = self.constant.as_ref()?.bytes();
        if self.dtype.is_float() {
            return None;
        }
        Some(bytes.chunks_exact(self.dtype.size()).map(|c| int_from_bytes(c, self.dtype)).collect())
    }

    /// The contents as affine expressions of parameters, when known.
    pub fn affs(&self) -> Option<Vec<Aff>> {
        self.symbolic.clone().or_else(|| Some(self.ints()?.into_iter().map(Aff::constant).collect()))
    }

    /// The contents as floats when they are a float constant.
    pub fn floats(&self) -> Option<Vec<f64>> {
        let bytes = self.constant.as_ref()?.bytes();
        let convert: fn(&[u8]) -> f64 = match self.dtype {
            DType::F32 => |c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]) as f64,
            DType::F64 => |c| f64::from_le_bytes(c.try_into().unwrap_or_default()),
            DType::F16 => |c| half::f16::from_le_bytes([c[0], c[1]]).to_f64(),
            DType::BF16 => |c| half::bf16::from_le_bytes([c[0], c[1]]).to_f64(),
            t if t.is_narrow_float() => return Some(bytes.iter().map(|c| narrow::decode(*c, t)).collect()),
            _ => return None,
        };
        Some(bytes.chunks_exact(self.dtype.size()).map(convert).collect())
    }
}

/// One little-endian integer of `dtype`, sign-extended where signed.
fn int_from_bytes(bytes: &[u8], dtype: DType) -> i64 {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let value = i64::from_le_bytes(wide);
    let unused = 64 - 8 * bytes.len() as u32;
    if dtype.is_signed() { value << unused >> unused } else { value }
}

impl Node {
    pub fn origin(&self) -> Origin {
        Origin { node: self.name.clone(), op: self.op.clone() }
    }

    /// The number of the output that import added to an operator whose results are as long as the data says:
    /// their length.
    pub fn count_output(&self) -> Option<usize> {
        match self.op.as_str() {
            "NonZero" | "Compress" | "NonMaxSuppression" | "Range" => Some(1),
            "Unique" => Some(4),
            _ => None,
        }
    }

    /// What a parameter is called that is extent `d` of output `n` of a node whose branches or steps give it
    /// different ones.
    pub fn extent_name(&self, n: usize, d: usize) -> String {
        format!("{}#{n}.{d}", self.name)
    }

    /// What a parameter is called that is extent `d` of carried value `k` of a loop in the current step.
    pub fn carried_name(&self, k: usize, d: usize) -> String {
        format!("{}#carried{k}.{d}", self.name)
    }

    /// Input `n` when present.
    pub fn input(&self, n: usize) -> Option<TensorId> {
        self.inputs.get(n).copied().flatten()
    }

    /// Output `n` when asked for.
    pub fn output(&self, n: usize) -> Option<TensorId> {
        self.outputs.get(n).copied().flatten()
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name)? {
            Attribute::Int(v) => Some(*v),
            _ => None,
        }
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name)? {
            Attribute::Float(v) => Some(*v),
            _ => None,
        }
    }

    pub fn string(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)? {
            Attribute::String(v) => Some(v),
            _ => None,
        }
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name)? {
            Attribute::Ints(v) => Some(v),
            _ => None,
        }
    }

    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        match self.attributes.get(name)? {
            Attribute::Floats(v) => Some(v),
            _ => None,
        }
    }

    pub fn strings(&self, name: &str) -> Option<&[String]> {
        match self.attributes.get(name)? {
            Attribute::Strings(v) => Some(v),
            _ => None,
        }
    }

    pub fn block(&self, name: &str) -> Option<&Block> {
        match self.attributes.get(name)? {
            Attribute::Block(b) => Some(b),
            _ => None,
        }
    }
}
