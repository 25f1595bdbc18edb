//! Axes that are data: on which dimensions an operator works is then part of its sizes.
//!
//! For a list of axes, [`Context::chosen`] gives 0 or 1 for every dimension, as expressions of the axes. With these
//! a squeezed extent is a sum over the dimensions that it may come from, and a slice or padding of some axes is one
//! of all, which does nothing on the others.

use super::compose::VERSION;
use super::context::{Context, Step};
use super::site::Site;
use crate::graph::{Attribute, Node, TensorId};
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, DType, Error};

impl Context<'_> {
    /// For every axis of the list, 1 at the dimension that it names and 0 at the others of `rank`. The run refuses
    /// axes outside the rank, and lists that name a dimension twice.
    pub fn chosen(&mut self, axes: &[Aff], rank: usize) -> Step<Vec<Vec<Aff>>> {
        let n = rank as i64;
        let mut lists = Vec::new();
        for axis in axes {
            self.within(axis, -n, n - 1)?;
            let negative = self.is_negative(axis);
            let place = axis.clone() + negative * n;
            lists.push((0..n).map(|d| self.is_equal(&place, &d.into())).collect::<Vec<_>>());
        }
        for d in 0..rank {
            let sum = sum(lists.iter().map(|list| list[d].clone()));
            let excess = self.max(&(sum - 1.into()), &0.into());
            self.require_zero_unless_known(&excess)?;
        }
        Ok(lists)
    }

    /// 1 where both are equal, else 0.
    fn is_equal(&mut self, a: &Aff, b: &Aff) -> Aff {
        let difference = a.clone() - b.clone();
        let distance = self.max(&difference, &-difference.clone());
        let near = self.max(&(Aff::constant(1) - distance), &0.into());
        self.min(&near, &1.into())
    }

    fn require_zero_unless_known(&mut self, value: &Aff) -> Step {
        match self.equal(value, &0.into()) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::invalid("E113", "an axis is named twice").into()),
            None => {
                self.require_zero(value);
                Ok(())
            }
        }
    }
}

pub fn sum(parts: impl Iterator<Item = Aff>) -> Aff {
    parts.fold(Aff::constant(0), |sum, part| sum + part)
}

/// For every dimension, 1 where the list names it.
pub fn any(lists: &[Vec<Aff>], rank: usize) -> Vec<Aff> {
    (0..rank).map(|d| sum(lists.iter().map(|list| list[d].clone()))).collect()
}

/// The extents without the dimensions that the axes name, in order.
pub fn without(cx: &mut Context, shape: &[Aff], axes: &[Aff]) -> Step<Vec<Aff>> {
    let lists = cx.chosen(axes, shape.len())?;
    let named = any(&lists, shape.len());
    let mut before = Aff::constant(0);
    let mut kept = vec![Aff::constant(0); shape.len().saturating_sub(axes.len())];
    for (d, extent) in shape.iter().enumerate() {
        let stays = Aff::constant(1) - named[d].clone();
        // At most all named dimensions lie before this one.
        for (place, sum) in
            kept.iter_mut().enumerate().filter(|(place, _)| (d.saturating_sub(axes.len())..=d).contains(place))
        {
            let here = cx.is_equal(&before, &(place as i64).into());
            let here = cx.mul(&here, &stays);
            *sum = sum.clone() + cx.mul(&here, extent);
        }
        before = before + stays;
    }
    Ok(kept)
}

/// The extents with a 1 inserted at every axis.
pub fn with_ones(cx: &mut Context, shape: &[Aff], axes: &[Aff]) -> Step<Vec<Aff>> {
    let rank = shape.len() + axes.len();
    let lists = cx.chosen(axes, rank)?;
    let named = any(&lists, rank);
    let mut before = Aff::constant(0);
    let mut result = Vec::new();
    for (d, is_new) in named.into_iter().enumerate() {
        let mut extent = is_new.clone();
        let stays = Aff::constant(1) - is_new;
        for (from, old) in
            shape.iter().enumerate().filter(|(from, _)| (d.saturating_sub(axes.len())..=d).contains(from))
        {
            let here = cx.is_equal(&before, &(from as i64).into());
            let here = cx.mul(&here, &stays);
            extent = extent + cx.mul(&here, old);
        }
        before = before + stays;
        result.push(extent);
    }
    Ok(result)
}

/// Puts a node whose axes are data in a form whose rule needs no list of axes.
pub fn settle(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>) -> Step {
    if !node.domain.is_empty() {
        return Ok(());
    }
    match node.op.as_str() {
        op if op.starts_with("Reduce") && node.int("keepdims") == Some(0) => keep_dimensions(cx, node, out),
        "Slice" => all_axes(cx, node, 3, &[(1, Other::Nothing), (2, Other::Extent), (4, Other::One)]),
        "Pad" => all_axes(cx, node, 3, &[(1, Other::Nothing)]),
        _ => Ok(()),
    }
}

/// The contents of input `n`, where they are known but no numbers.
fn open_axes(cx: &mut Context, node: &Node, n: usize) -> Option<Vec<Aff>> {
    let axes = Site { node, cx }.affs(n)?;
    axes.iter().any(|axis| axis.as_constant().is_none()).then_some(axes)
}

/// A reduction that drops dimensions, as one that keeps them and a `Squeeze`.
fn keep_dimensions(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>) -> Step {
    let (Some(axes), Some(_)) = (node.input(1), open_axes(cx, node, 1)) else { return Ok(()) };
    let kept = cx.add(format!("{}_kept", node.name), None);
    let result = std::mem::replace(&mut node.outputs, vec![Some(kept)]);
    let squeeze = Node {
        name: format!("{}/Squeeze", node.name),
        op: "Squeeze".into(),
        version: VERSION,
        inputs: vec![Some(kept), Some(axes)],
        outputs: result,
        attributes: IndexMap::new(),
        ..node.clone()
    };
    node.attributes.insert("keepdims".into(), Attribute::Int(1));
    cx.nodes(vec![std::mem::replace(node, squeeze)], out)
}

/// What an axis gets that the list does not name.
#[derive(Clone, Copy)]
enum Other {
    Nothing,
    One,
    Extent,
}

/// Lists with one entry per axis (or several rounds of them: a padding's begins and ends), for all axes in order.
fn all_axes(cx: &mut Context, node: &mut Node, at: usize, lists: &[(usize, Other)]) -> Step {
    let Some(axes) = open_axes(cx, node, at) else { return Ok(()) };
    let Some(source) = node.input(0) else { return Ok(()) };
    let shape = cx.graph.tensor(source).shape.clone();
    let chosen = cx.chosen(&axes, shape.len())?;
    let present: Vec<_> = lists.iter().filter(|(n, _)| node.input(*n).is_some()).collect();
    for &(n, other) in present {
        let given = Site { node, cx }.need_affs(n, "list for its axes")?;
        if axes.is_empty() || given.len() % axes.len() != 0 {
            return Err(Error::invalid("E113", format!("{} entries for {} axes", given.len(), axes.len())).into());
        }
        let mut values = Vec::new();
        for round in given.chunks(axes.len()) {
            values.extend(spread(cx, round, &chosen, &shape, other));
        }
        node.inputs[n] = Some(vector(cx, node, values)?);
    }
    node.inputs[at] = None;
    Ok(())
}

fn spread(cx: &mut Context, given: &[Aff], chosen: &[Vec<Aff>], shape: &[Aff], other: Other) -> Vec<Aff> {
    let named = any(chosen, shape.len());
    let mut values = Vec::new();
    for (d, extent) in shape.iter().enumerate() {
        let parts: Vec<Aff> = given.iter().zip(chosen).map(|(value, list)| cx.mul(value, &list[d])).collect();
        let rest = Aff::constant(1) - named[d].clone();
        let rest = match other {
            Other::Nothing => Aff::constant(0),
            Other::One => rest,
            Other::Extent => cx.mul(&rest, extent),
        };
        values.push(sum(parts.into_iter()) + rest);
    }
    values
}

/// An integer vector whose contents are known.
fn vector(cx: &mut Context, node: &Node, values: Vec<Aff>) -> Step<TensorId> {
    cx.known_contents(format!("{}/list", node.name), values.clone(), vec![Aff::constant(values.len() as i64)])
}

impl Context<'_> {
    /// A new `i64` tensor of known expressions.
    pub fn known_contents(&mut self, name: String, values: Vec<Aff>, shape: Vec<Aff>) -> Step<TensorId> {
        let id = self.add(name, None);
        self.set_tensor(id, DType::I64, shape)?;
        let values = values.iter().map(|v| self.simplify(v)).collect();
        self.graph.tensor_mut(id).symbolic = Some(values);
        Ok(id)
    }
}
