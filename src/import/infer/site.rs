//! One node under inference: checked access to its inputs and attributes, and its results.

use super::contents;
use super::context::{Context, Step, Stop};
use crate::graph::{Attribute, Node, TensorId, sources};
use sirius_polyhedral::{Aff, DType, Error};

/// Contents of larger tensors are data, not shapes.
pub const MAX_CONTENTS: usize = 4096;

/// The axes of a node: numbers, or expressions of amounts that are data.
pub enum Axes {
    Known(Vec<i64>),
    Open(Vec<Aff>),
}

pub struct Site<'c, 'g> {
    pub node: &'c Node,
    pub cx: &'c mut Context<'g>,
}

impl Site<'_, '_> {
    pub fn has(&self, n: usize) -> bool {
        self.node.input(n).is_some()
    }

    fn id(&self, n: usize) -> Step<TensorId> {
        self.node.input(n).ok_or_else(|| self.invalid(format!("input {n} is missing")))
    }

    pub fn shape(&self, n: usize) -> Step<Vec<Aff>> {
        Ok(self.cx.graph.tensor(self.id(n)?).shape.clone())
    }

    pub fn rank(&self, n: usize) -> Step<usize> {
        Ok(self.cx.graph.tensor(self.id(n)?).rank())
    }

    pub fn dtype(&self, n: usize) -> Step<DType> {
        Ok(self.cx.graph.tensor(self.id(n)?).dtype)
    }

    /// The contents of an input, when they are known and whole numbers.
    pub fn affs(&self, n: usize) -> Option<Vec<Aff>> {
        let id = self.node.input(n)?;
        let tensor = self.cx.graph.tensor(id);
        let elements: Option<i64> = tensor.fixed_shape()?.iter().try_fold(1i64, |p, n| p.checked_mul(*n));
        if elements? > MAX_CONTENTS as i64 {
            return None;
        }
        match tensor.dtype.is_float() {
            true => self.cx.wholes.get(&id).cloned().or_else(|| contents::whole(&tensor.floats()?)),
            false => tensor.affs(),
        }
    }

    pub fn ints(&self, n: usize) -> Option<Vec<i64>> {
        self.affs(n)?.iter().map(Aff::as_constant).collect()
    }

    pub fn floats(&self, n: usize) -> Option<Vec<f64>> {
        self.cx.graph.tensor(self.node.input(n)?).floats()
    }

    /// The contents of an input on which the output's shape depends.
    pub fn need_affs(&self, n: usize, role: &str) -> Step<Vec<Aff>> {
        self.id(n)?;
        self.affs(n).ok_or_else(|| self.at_run_time(n, role))
    }

    pub fn need_ints(&self, n: usize, role: &str) -> Step<Vec<i64>> {
        self.need_affs(n, role)?
            .iter()
            .map(Aff::as_constant)
            .collect::<Option<_>>()
            .ok_or_else(|| self.at_run_time(n, role))
    }

    /// The refusal of an input whose contents would have to be known.
    pub fn at_run_time(&self, n: usize, role: &str) -> Stop {
        if let Some(fact) = self.node.input(n).and_then(|id| self.cx.amount_fact(id)) {
            return Stop::Restart(fact);
        }
        let name = self.node.input(n).map_or("", |id| &self.cx.graph.tensor(id).name);
        let message = format!("{} takes its {role} (input {n}, \"{name}\") at run time", self.node.op);
        let error = Error::unsupported("E112", message);
        let advice = self.node.input(n).map(|id| sources::advice(self.cx.draft, &self.cx.graph.params, id));
        advice.map_or(error.clone(), |advice| error.help(advice)).into()
    }

    pub fn invalid(&self, message: impl Into<String>) -> Stop {
        Error::invalid("E113", message).at(&self.node.origin()).into()
    }

    pub fn unsupported(&self, message: impl Into<String>) -> Stop {
        Error::unsupported("E110", message).at(&self.node.origin()).into()
    }

    /// An axis as an index; negative ones count from the end.
    pub fn axis(&self, axis: i64, rank: usize) -> Step<usize> {
        let index = if axis < 0 { axis + rank as i64 } else { axis };
        if (0..rank as i64).contains(&index) {
            return Ok(index as usize);
        }
        Err(self.invalid(format!("axis {axis} is outside a tensor of rank {rank}")))
    }

    pub fn axes(&self, axes: &[i64], rank: usize) -> Step<Vec<usize>> {
        axes.iter().map(|&a| self.axis(a, rank)).collect()
    }

    pub fn axis_attribute(&self, default: i64, rank: usize) -> Step<usize> {
        self.axis(self.node.int("axis").unwrap_or(default), rank)
    }

    /// Axes that are an attribute in old versions and input `n` in new ones.
    pub fn listed_axes(&self, n: usize) -> Step<Option<Axes>> {
        if let Some(values) = self.node.ints("axes") {
            return Ok(Some(Axes::Known(values.to_vec())));
        }
        if !self.has(n) {
            return Ok(None);
        }
        let axes = self.need_affs(n, "axes")?;
        let known: Option<Vec<i64>> = axes.iter().map(Aff::as_constant).collect();
        Ok(Some(known.map_or(Axes::Open(axes), Axes::Known)))
    }

    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.node.int(name).map_or(default, |v| v != 0)
    }

    pub fn attribute_tensor(&self, name: &str) -> Option<TensorId> {
        match self.node.attributes.get(name)? {
            Attribute::Tensor(id) => Some(*id),
            _ => None,
        }
    }

    /// Records output `n`, if the model asks for it.
    pub fn set(&mut self, n: usize, dtype: DType, shape: Vec<Aff>) -> Step {
        match self.node.output(n) {
            Some(id) => self.cx.set_tensor(id, dtype, shape),
            None => Ok(()),
        }
    }

    /// Records the contents of output `n`; its shape is set already.
    pub fn set_contents(&mut self, n: usize, contents: Option<Vec<Aff>>) {
        let (Some(id), Some(contents)) = (self.node.output(n), contents) else { return };
        let contents: Vec<Aff> = contents.iter().map(|a| self.cx.simplify(a)).collect();
        let tensor = self.cx.graph.tensor_mut(id);
        let elements = tensor.fixed_shape().and_then(|s| s.iter().try_fold(1i64, |p, n| p.checked_mul(*n)));
        if elements != Some(contents.len() as i64) {
            return;
        }
        let exact = |a: &Aff| a.as_constant().is_none_or(|v| v.unsigned_abs() <= 1 << 24);
        match tensor.dtype {
            DType::F32 | DType::F64 if contents.iter().all(exact) => drop(self.cx.wholes.insert(id, contents)),
            t if t.is_float() => {}
            _ => tensor.symbolic = Some(contents),
        }
    }

    /// Two dimensions that must agree.
    pub fn same(&mut self, a: &Aff, b: &Aff) -> Step<Aff> {
        self.cx.same(a, b)
    }

    /// The shape of elementwise operations on several inputs (numpy rules).
    pub fn broadcast(&mut self, inputs: &[usize]) -> Step<Vec<Aff>> {
        let mut shape = Vec::new();
        for &n in inputs {
            let other = self.shape(n)?;
            shape = self.broadcast_shapes(shape, other)?;
        }
        Ok(shape)
    }

    pub fn broadcast_shapes(&mut self, a: Vec<Aff>, b: Vec<Aff>) -> Step<Vec<Aff>> {
        let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        let offset = long.len() - short.len();
        let mut shape = long[..offset].to_vec();
        for (x, y) in long[offset..].iter().zip(&short) {
            shape.push(match (x.as_constant(), y.as_constant()) {
                (Some(1), _) => y.clone(),
                (_, Some(1)) => x.clone(),
                _ => self.cx.same(x, y)?,
            });
        }
        Ok(shape)
    }
}
