//! A model under construction: tensors with what is known about them, and the nodes so far.

use crate::bounds::{Bounds, range};
use crate::choices::{Choices, Random};
use crate::data;
use crate::dim::{Dim, volume};
use crate::model::Model;
use crate::onnx;
use crate::way;
use sirius::import::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use sirius::run::Value;
use sirius_polyhedral::DType;

pub const FLOATS: &[DType] = &[DType::F32, DType::F64, DType::F16];
pub const INTEGERS: &[DType] = &[DType::I64, DType::I32, DType::U8];
pub const SIGNED: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::I64, DType::I32];
pub const NUMBERS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::I64, DType::I32, DType::U8];
pub const ALL: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::I64, DType::I32, DType::U8, DType::Bool];
pub const BOOL: &[DType] = &[DType::Bool];

/// Extents from 0 to 9, as often as they are listed.
const SMALL: &[usize] = &[2, 1, 3, 4, 1, 2, 3, 5, 6, 7, 8, 9, 0, 4, 5, 3, 2, 3, 4, 1];
/// Around the sizes of vectors, tiles and teams.
const LARGE: &[usize] = &[2, 1, 17, 33, 1, 12, 3, 40, 64, 7, 8, 16, 0, 24, 5, 31, 48, 3, 15, 1];

/// No tensor of a model has more elements: the interpreter is slow.
fn largest_volume() -> usize {
    if way::extents_are_large() { 30_000 } else { 3_000 }
}

#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<Dim>,
    pub bounds: Bounds,
}

/// A tensor that a node or a body is about to get.
pub type Result = (DType, Vec<Dim>, Bounds);

/// What a block has so far.
#[derive(Default)]
struct Frame {
    nodes: Vec<NodeProto>,
    tensors: Vec<Tensor>,
    /// How many names the model had before it.
    names: usize,
}

pub struct Maker {
    pub choices: Choices,
    inputs: Vec<Tensor>,
    initializers: Vec<TensorProto>,
    /// The main graph, and the bodies around the place where the next node goes.
    frames: Vec<Frame>,
    names: usize,
    /// The named dimensions of this model.
    named: &'static [&'static str],
}

impl Maker {
    pub fn new(mut choices: Choices) -> Maker {
        let named: &[&[&'static str]] = &[&[], &["n"], &["n", "m"]];
        let count = if choices.chance(35) { 1 + choices.below(2) } else { 0 };
        let frames = vec![Frame::default()];
        Maker { choices, inputs: vec![], initializers: vec![], frames, names: 0, named: named[count] }
    }

    /// Bodies around the next node.
    pub fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    fn name(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("{stem}_{}", self.names)
    }

    fn keep(&mut self, tensor: Tensor) -> Tensor {
        self.frames.last_mut().expect("the main graph").tensors.push(tensor.clone());
        tensor
    }

    /// An extent that depends on named dimensions.
    pub fn derived(&mut self, min: usize, max: usize) -> Dim {
        self.names += 1;
        if min == max { Dim::Fixed(max) } else { Dim::Derived { id: self.names, min, max } }
    }

    pub fn dim(&mut self) -> Dim {
        if !self.named.is_empty() && self.choices.chance(30) {
            return Dim::Named(self.choices.pick(self.named));
        }
        Dim::Fixed(self.choices.pick(if way::extents_are_large() { LARGE } else { SMALL }))
    }

    pub fn dims(&mut self, least: usize, most: usize) -> Vec<Dim> {
        let rank = self.choices.between(least as i64, most as i64);
        let mut dims: Vec<Dim> = (0..rank).map(|_| self.dim()).collect();
        while volume(&dims) > largest_volume() / 3 {
            let largest = (0..dims.len()).max_by_key(|n| dims[*n].max()).expect("a rank of at least 3");
            dims[largest] = Dim::Fixed(1);
        }
        dims
    }

    pub fn dtype(&mut self, types: &[DType]) -> DType {
        // Mostly f32, as in real models.
        if types.contains(&DType::F32) && !self.choices.chance(60) { DType::F32 } else { self.choices.pick(types) }
    }

    /// Something of these types in scope that is as wanted; the latest come first.
    pub fn find(&mut self, types: &[DType], wanted: impl Fn(&Tensor) -> bool) -> Option<Tensor> {
        let all = self.frames.iter().rev().flat_map(|f| f.tensors.iter().rev());
        let useful = |t: &&Tensor| types.contains(&t.dtype) && t.bounds.useful(t.dtype) && wanted(t);
        let found: Vec<Tensor> = all.filter(useful).take(12).cloned().collect();
        if found.is_empty() || self.choices.chance(8) {
            return None;
        }
        let n = self.choices.below(found.len());
        Some(found[n].clone())
    }

    /// Anything of these types and a rank in this range, or a new input.
    pub fn any(&mut self, types: &[DType], ranks: std::ops::RangeInclusive<usize>) -> Tensor {
        if let Some(found) = self.find(types, |t| ranks.contains(&t.dims.len())) {
            return found;
        }
        let (dtype, dims) = (self.dtype(types), self.dims(*ranks.start(), *ranks.end()));
        self.fresh(dtype, dims)
    }

    /// The same, with elements that are the same bits in every evaluation.
    pub fn exact(&mut self, types: &[DType], ranks: std::ops::RangeInclusive<usize>) -> Tensor {
        if let Some(found) = self.find(types, |t| t.bounds.is_exact() && ranks.contains(&t.dims.len())) {
            return found;
        }
        let (dtype, dims) = (self.dtype(types), self.dims(*ranks.start(), *ranks.end()));
        self.fresh(dtype, dims)
    }

    /// Something of exactly this type and shape within `bounds`.
    pub fn like(&mut self, dtype: DType, dims: &[Dim], bounds: Bounds) -> Tensor {
        let fits = |t: &Tensor| t.dims == dims && t.bounds.inside(bounds.lo, bounds.hi);
        match self.find(&[dtype], |t| fits(t) && (!bounds.is_exact() || t.bounds.is_exact())) {
            Some(found) => found,
            None => self.made(dtype, dims.to_vec(), bounds),
        }
    }

    /// A new tensor of ordinary numbers; some are whole.
    pub fn fresh(&mut self, dtype: DType, dims: Vec<Dim>) -> Tensor {
        let bounds = match dtype {
            DType::Bool => Bounds::whole(0.0, 1.0),
            DType::U8 => Bounds::whole(0.0, 255.0),
            t if !t.is_float() => {
                self.choices.pick(&[Bounds::whole(-4.0, 4.0), Bounds::whole(0.0, 5.0), Bounds::whole(-1e5, 1e5)])
            }
            _ => self.choices.pick(&[Bounds::exact(-2.0, 2.0), Bounds::whole(-4.0, 4.0), Bounds::exact(0.25, 3.0)]),
        };
        self.made(dtype, dims, bounds)
    }

    /// A new input or constant with elements within `bounds`.
    pub fn made(&mut self, dtype: DType, dims: Vec<Dim>, bounds: Bounds) -> Tensor {
        match crate::dim::fixed(&dims) {
            Some(shape) if self.choices.chance(30) => self.random_constant(dtype, &shape, bounds),
            _ if dims.iter().any(|d| matches!(d, Dim::Derived { .. })) => self.filled(dtype, &dims, bounds),
            _ => self.input(dtype, dims, bounds),
        }
    }

    pub fn input(&mut self, dtype: DType, dims: Vec<Dim>, bounds: Bounds) -> Tensor {
        let name = self.name("x");
        let whole = bounds.whole || !dtype.is_float();
        let tensor = Tensor { name, dtype, dims, bounds: Bounds { whole, ..bounds } };
        self.inputs.push(tensor.clone());
        // Inputs belong to the main graph, wherever they are first needed.
        self.frames[0].tensors.push(tensor.clone());
        tensor
    }

    /// No input can have a derived extent; one number for all elements can: as it has the shape `[1, .., 1]`, users
    /// that broadcast see the same. The others get nothing better.
    fn filled(&mut self, dtype: DType, dims: &[Dim], bounds: Bounds) -> Tensor {
        let ones = vec![Dim::Fixed(1); dims.len()];
        self.input(dtype, ones, bounds)
    }

    pub fn random_constant(&mut self, dtype: DType, shape: &[usize], bounds: Bounds) -> Tensor {
        let seed = self.choices.below(1000) as u64;
        let value = data::values(&mut Random::new(seed), dtype, shape, bounds);
        self.constant(value, bounds)
    }

    /// `bounds` holds for the elements.
    pub fn constant(&mut self, value: Value, bounds: Bounds) -> Tensor {
        let name = self.name("c");
        self.initializers.push(onnx::initializer(&name, &value));
        let dims = value.shape.iter().map(|d| Dim::Fixed(*d)).collect();
        let whole = bounds.whole || !value.dtype.is_float();
        Tensor { name, dtype: value.dtype, dims, bounds: Bounds { whole, ..bounds } }
    }

    /// A vector of axes, extents or the like; its name.
    pub fn list(&mut self, values: &[i64]) -> String {
        self.constant(Value::vector(values), Bounds::whole(0.0, 0.0)).name
    }

    pub fn scalar(&mut self, dtype: DType, value: f64) -> String {
        let value = Value::from_floats(dtype, &[], &[value]).expect("a scalar");
        self.constant(value, Bounds::exact(0.0, 0.0)).name
    }

    /// Adds a node, if its results are worth having. An empty name leaves an input out.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        results: Vec<Result>,
    ) -> Option<Vec<Tensor>> {
        let fits = |(dtype, dims, bounds): &Result| {
            bounds.useful(*dtype) && volume(dims) <= largest_volume() && dims.iter().all(|d| d.max() <= 100)
        };
        if !results.iter().all(fits) {
            return None;
        }
        let name = self.name(op);
        let mut outputs = Vec::new();
        for (dtype, dims, bounds) in results {
            let name = self.name("t");
            let whole = bounds.whole || !dtype.is_float();
            outputs.push(Tensor { name, dtype, dims, bounds: Bounds { whole, ..bounds } });
        }
        self.push(NodeProto {
            name,
            op_type: op.into(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: outputs.iter().map(|t| t.name.clone()).collect(),
            attribute: attributes,
            ..NodeProto::default()
        });
        Some(outputs.into_iter().map(|t| self.keep(t)).collect())
    }

    /// A node whose result is a sequence, which only `inputs` of other nodes name; the name.
    pub fn hidden(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let (name, output) = (self.name(op), self.name("s"));
        self.push(NodeProto {
            name,
            op_type: op.into(),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![output.clone()],
            attribute: attributes,
            ..NodeProto::default()
        });
        output
    }

    fn push(&mut self, node: NodeProto) {
        self.frames.last_mut().expect("the main graph").nodes.push(node);
    }

    /// A node with one result.
    pub fn one(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        result: Result,
    ) -> Option<Tensor> {
        self.node(op, inputs, attributes, vec![result])?.pop()
    }

    /// `t` limited to `lo..=hi`: a `Clip` where it can be outside.
    pub fn fit(&mut self, t: &Tensor, lo: f64, hi: f64) -> Option<Tensor> {
        if t.bounds.inside(lo, hi) {
            return Some(t.clone());
        }
        let (most, least) = range_or_all(t.dtype);
        let (min, max) = (self.scalar(t.dtype, lo.max(most)), self.scalar(t.dtype, hi.min(least)));
        let bounds = Bounds { lo, hi, ..t.bounds };
        let whole = t.bounds.whole && lo.fract() == 0.0 && hi.fract() == 0.0;
        self.one("Clip", &[&t.name, &min, &max], vec![], (t.dtype, t.dims.clone(), Bounds { whole, ..bounds }))
    }

    /// Are all extents of `t` older than the block that is open? Those of a step must not leave its loop.
    pub fn has_lasting_size(&self, t: &Tensor) -> bool {
        let start = self.frames.last().map_or(0, |frame| frame.names);
        t.dims.iter().all(|dim| !matches!(dim, Dim::Derived { id, .. } if *id > start))
    }

    /// Opens a body with these inputs.
    pub fn open(&mut self, inputs: &[Result]) -> Vec<Tensor> {
        self.frames.push(Frame { names: self.names, ..Frame::default() });
        let tensor = |(dtype, dims, bounds): &Result| {
            let name = self.name("b");
            self.keep(Tensor { name, dtype: *dtype, dims: dims.clone(), bounds: *bounds })
        };
        inputs.iter().map(tensor).collect()
    }

    /// Closes the body. Its outputs must be written in it: others pass through an `Identity`.
    pub fn close(&mut self, name: &str, inputs: &[Tensor], outputs: &[Tensor]) -> GraphProto {
        let frame = self.frames.pop().expect("a body is open");
        let mut nodes = frame.nodes;
        let mut infos = Vec::new();
        for output in outputs {
            let own = self.name("o");
            let node = NodeProto {
                name: self.name("Identity"),
                op_type: "Identity".into(),
                input: vec![output.name.clone()],
                output: vec![own.clone()],
                ..NodeProto::default()
            };
            nodes.push(node);
            infos.push(onnx::info(&own, output.dtype, None));
        }
        let input = inputs.iter().map(|t| onnx::info(&t.name, t.dtype, None)).collect();
        GraphProto { name: name.into(), node: nodes, input, output: infos, ..GraphProto::default() }
    }

    /// The finished model: what no node reads is an output, and a few others.
    pub fn finish(mut self) -> (Model, Choices) {
        let mut frame = self.frames.pop().expect("the main graph");
        let made: std::collections::HashSet<&String> = frame.nodes.iter().flat_map(|n| &n.output).collect();
        let read = crate::model::names_read(&frame.nodes);
        let mut outputs = Vec::new();
        for t in frame.tensors.iter().filter(|t| made.contains(&t.name)) {
            if !read.contains(&t.name) || self.choices.chance(5) {
                outputs.push(t.clone());
            }
        }
        let tensors = std::mem::take(&mut frame.tensors);
        let graph = GraphProto {
            name: "random".into(),
            node: frame.nodes,
            initializer: self.initializers,
            ..GraphProto::default()
        };
        (Model { graph, inputs: self.inputs, outputs, tensors }, self.choices)
    }
}

fn range_or_all(dtype: DType) -> (f64, f64) {
    if dtype.is_float() { (f64::NEG_INFINITY, f64::INFINITY) } else { range(dtype) }
}
