//! One application of an operator: its node and its input values, with checked access to both.

use crate::graph::{Attribute, Node, Tensor};
use crate::run::value::Value;
use sirius_polyhedral::{DType, Error, Result};

/// What the evaluation of an operator sees.
pub struct Call<'a> {
    pub node: &'a Node,
    /// `None` where an optional input is omitted; may be shorter than the operator's input list.
    pub inputs: &'a [Option<&'a Value>],
    /// The tensor table, for attributes that are tensors.
    pub tensors: &'a [Tensor],
}

impl<'a> Call<'a> {
    pub fn op(&self) -> &'a str {
        &self.node.op
    }

    /// The opset version whose semantics apply.
    pub fn version(&self) -> i64 {
        self.node.version
    }

    /// Input `n`, which the operator requires.
    pub fn input(&self, n: usize) -> Result<&'a Value> {
        self.optional(n).ok_or_else(|| self.invalid(format!("input {n} is missing")))
    }

    pub fn optional(&self, n: usize) -> Option<&'a Value> {
        self.inputs.get(n).copied().flatten()
    }

    /// The inputs that are present, of a variadic operator.
    pub fn all(&self) -> Result<Vec<&'a Value>> {
        let present: Vec<&Value> = self.inputs.iter().copied().flatten().collect();
        if present.is_empty() { Err(self.invalid("no inputs")) } else { Ok(present) }
    }

    /// Element 0 of input `n` when that is given.
    pub fn scalar(&self, n: usize) -> Option<&'a Value> {
        self.optional(n).filter(|v| !v.is_empty())
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.int(name).unwrap_or(default)
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, default as i64) != 0
    }

    pub fn float(&self, name: &str, default: f32) -> f64 {
        self.node.float(name).unwrap_or(default) as f64
    }

    pub fn string(&self, name: &str, default: &'static str) -> &'a str {
        self.node.string(name).unwrap_or(default)
    }

    /// An integer list; an absent one is `None`.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.node.ints(name)
    }

    /// A list of non-negative integers of length `len`, or `len` times `default`.
    pub fn sizes(&self, name: &str, len: usize, default: usize) -> Result<Vec<usize>> {
        let Some(given) = self.ints(name).filter(|v| !v.is_empty()) else { return Ok(vec![default; len]) };
        let sizes: Option<Vec<usize>> = given.iter().map(|v| usize::try_from(*v).ok()).collect();
        match sizes {
            Some(s) if s.len() == len => Ok(s),
            _ => Err(self.invalid(format!("attribute `{name}` = {given:?} must be {len} non-negative numbers"))),
        }
    }

    /// The list from input `n`, or else from the attribute of older opsets.
    pub fn list(&self, n: usize, name: &str) -> Option<Vec<i64>> {
        self.optional(n).map(Value::i64s).or_else(|| self.ints(name).map(<[i64]>::to_vec))
    }

    /// A tensor attribute's contents.
    pub fn tensor(&self, name: &str) -> Result<Option<Value>> {
        let Some(Attribute::Tensor(id)) = self.node.attributes.get(name) else { return Ok(None) };
        let found = self.tensors.get(id.0 as usize).and_then(|t| Some((t, t.constant.as_ref()?, t.fixed_shape()?)));
        let Some((tensor, data, shape)) = found else {
            return Err(Error::bug("E790", format!("tensor attribute `{name}` has no contents")));
        };
        Value::from_constant(tensor.dtype, &self.extents(&shape)?, data).map(Some)
    }

    /// Extents from integers of a file or of a shape tensor.
    pub fn extents(&self, sizes: &[i64]) -> Result<Vec<usize>> {
        let checked: Option<Vec<usize>> = sizes.iter().map(|d| usize::try_from(*d).ok()).collect();
        checked.ok_or_else(|| self.invalid(format!("negative extent in {sizes:?}")))
    }

    /// An axis of a tensor of `rank` dimensions; negative ones count from the end.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let found = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(found)
            .ok()
            .filter(|a| *a < rank)
            .ok_or_else(|| self.invalid(format!("axis {axis} of a tensor with {rank} dimensions")))
    }

    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        axes.iter().map(|a| self.axis(*a, rank)).collect()
    }

    /// The input `n` with at least `rank` dimensions.
    pub fn ranked(&self, n: usize, rank: usize) -> Result<&'a Value> {
        let value = self.input(n)?;
        if value.rank() < rank {
            return Err(self.invalid(format!("input {n} has shape {:?}, {rank} dimensions needed", value.shape)));
        }
        Ok(value)
    }

    /// Fails unless `ok`; the message says what was expected.
    pub fn require(&self, ok: bool, expected: impl FnOnce() -> String) -> Result<()> {
        if ok { Ok(()) } else { Err(self.invalid(expected())) }
    }

    pub fn invalid(&self, message: impl Into<String>) -> Error {
        Error::invalid("E710", message)
    }

    pub fn unsupported(&self, message: impl Into<String>) -> Error {
        Error::unsupported("E711", message)
    }

    /// The element type that a `to` or `dtype` attribute names by its ONNX number.
    pub fn dtype(&self, name: &str) -> Result<Option<DType>> {
        let Some(number) = self.node.int(name) else { return Ok(None) };
        let found =
            i32::try_from(number).map_err(|_| format!("number {number}")).and_then(crate::import::tensor::dtype);
        found.map(Some).map_err(|name| self.unsupported(format!("element type {name}")))
    }
}
