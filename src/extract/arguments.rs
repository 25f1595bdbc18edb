//! Inputs, outputs and attributes of a node, checked.

use super::builder::Builder;
use crate::graph::{Node, TensorId, sources};
use sirius_polyhedral::{Aff, Error, Expr, Result};

/// Input `n`, which the operator needs.
pub fn input(node: &Node, n: usize) -> Result<TensorId> {
    node.input(n).ok_or_else(|| invalid(node, format!("input {n} is missing")))
}

/// Output `n`, which the operator always has.
pub fn output(node: &Node, n: usize) -> Result<TensorId> {
    node.output(n).ok_or_else(|| invalid(node, format!("output {n} is missing")))
}

pub fn invalid(node: &Node, message: impl AsRef<str>) -> Error {
    Error::invalid("E302", format!("node \"{}\" ({}): {}", node.name, node.op, message.as_ref())).at(&node.origin())
}

/// A form of a known operator that has no loop nest here.
pub fn unsupported_form(node: &Node, what: impl AsRef<str>) -> Error {
    let text = format!("node \"{}\" ({}, opset {}): {}", node.name, node.op, node.version, what.as_ref());
    Error::unsupported("E303", text).at(&node.origin())
}

/// `axis` counted from the front; `rank` positions exist.
pub fn from_front(node: &Node, axis: i64, rank: usize) -> Result<usize> {
    let front = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&front) {
        return Ok(front as usize);
    }
    Err(invalid(node, format!("axis {axis} is outside a tensor of rank {rank}")))
}

/// Attribute `name` as an axis of a tensor of `rank` dimensions.
pub fn axis(node: &Node, name: &str, default: i64, rank: usize) -> Result<usize> {
    from_front(node, node.int(name).unwrap_or(default), rank)
}

/// A list of integers given as attribute `name` or, in later versions, as constant input `n`.
pub fn int_list(builder: &Builder, node: &Node, name: &str, n: usize) -> Result<Option<Vec<i64>>> {
    if let Some(list) = node.ints(name) {
        return Ok(Some(list.to_vec()));
    }
    let Some(tensor) = node.input(n) else { return Ok(None) };
    match builder.graph.tensor(tensor).ints() {
        Some(list) => Ok(Some(list)),
        None => Err(at_run_time(builder, node, name, n)),
    }
}

/// The refusal of input `n` (`name`), whose contents decide what loops there are.
pub fn at_run_time(builder: &Builder, node: &Node, name: &str, n: usize) -> Error {
    let error = unsupported_form(node, format!("input {n} (`{name}`) must be known at compile time"));
    let graph = builder.graph;
    node.input(n).map_or(error.clone(), |id| error.help(sources::advice(graph, &graph.params, id)))
}

/// A list of affine integers given as attribute `name` or as input `n`.
pub fn aff_list(builder: &Builder, node: &Node, name: &str, n: usize) -> Option<Vec<Aff>> {
    if let Some(list) = node.ints(name) {
        return Some(list.iter().map(|v| Aff::constant(*v)).collect());
    }
    builder.graph.tensor(node.input(n)?).affs()
}

/// Axes counted from the front, in ascending order.
pub fn axes(node: &Node, list: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = list.iter().map(|a| from_front(node, *a, rank)).collect::<Result<Vec<usize>>>()?;
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// Subscripts that read a tensor of shape `shape` where the result's subscripts are `index` (numpy rules).
pub fn broadcast(shape: &[Aff], index: &[Expr]) -> Vec<Expr> {
    let skipped = index.len().saturating_sub(shape.len());
    let at = |(extent, i): (&Aff, &Expr)| if extent.is_constant(1) { Expr::int(0) } else { i.clone() };
    shape.iter().zip(&index[skipped..]).map(at).collect()
}
