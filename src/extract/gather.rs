//! Look-ups and updates at positions that are data: `Gather*`, `Scatter*`, `OneHot`.
//!
//! Subscripts are ordinary expressions, exact in code; dependences take the whole dimension for them.

use super::amounts;
use super::arguments::*;
use super::builder::{Builder, dims};
use super::layout::from_end;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result, StatementKind};

/// A position read from `tensor`, counted from the front of a dimension of `extent`. Constant positions on
/// an even grid become affine.
fn position(b: &mut Builder, tensor: TensorId, at: &[Expr], extent: &Aff) -> Result<Expr> {
    if let Some(aff) = grid(b, tensor, at, extent) {
        return Ok(index(aff));
    }
    let value = convert(b.dtype(tensor), DType::I64, b.read(tensor, at)?);
    match b.graph.tensor(tensor).ints() {
        Some(list) if list.iter().all(|v| *v >= 0) => Ok(value),
        Some(_) => Ok(from_end(value, extent)),
        None => Ok(inside(b, value, extent)),
    }
}

/// A position from run-time data, kept inside its dimension: wrong data must not reach other memory.
fn inside(b: &Builder, position: Expr, extent: &Aff) -> Expr {
    let mut is_data = false;
    position.visit_loads(&mut |_| is_data = true);
    position.visit_affs(&mut |a| is_data |= amounts::is_data(b, a));
    let wrapped = from_end(position, extent);
    if !is_data {
        return wrapped;
    }
    max(Expr::int(0), min(wrapped, index(extent.clone() - 1.into())))
}

/// Constant positions `start + step * i` of a vector, all counted from the same end.
fn grid(b: &Builder, tensor: TensorId, at: &[Expr], extent: &Aff) -> Option<Aff> {
    let list = b.graph.tensor(tensor).ints()?;
    let (start, step) = (*list.first()?, list.get(1).map_or(0, |second| second - list[0]));
    let even = list.iter().enumerate().all(|(i, v)| *v == start + step * i as i64);
    let same_side = list.iter().all(|v| (*v < 0) == (start < 0));
    if !even || !same_side || b.shape(tensor).iter().filter(|e| !e.is_constant(1)).count() > 1 {
        return None;
    }
    let i = at.iter().zip(b.shape(tensor)).find(|(_, e)| !e.is_constant(1));
    let i = i.map_or(Some(Aff::constant(0)), |(i, _)| i.as_aff())?;
    let base = if start < 0 { extent.clone() + start.into() } else { start.into() };
    Some(base + i * step)
}

/// `Gather`: a view when the positions are affine, a statement otherwise.
pub fn gather(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, positions, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let shape = b.shape(source);
    let along = axis(node, "axis", 0, shape.len())?;
    let count = b.shape(positions).len();
    let all = b.iters(b.shape(target).len());
    let here = position(b, positions, &all[along..along + count], &shape[along])?;
    let here = b.simplify(here, &b.shape(target));
    let affine = here.as_aff().is_some();
    let mut at = all[..along].to_vec();
    at.push(here);
    at.extend_from_slice(&all[along + count..]);
    if affine {
        return b.alias(target, source, &at);
    }
    let value = b.read(source, &at)?;
    b.pointwise(target, value);
    Ok(())
}

pub fn gather_elements(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, positions, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let shape = b.shape(source);
    let along = axis(node, "axis", 0, shape.len())?;
    let mut at = b.iters(shape.len());
    at[along] = position(b, positions, &at, &shape[along])?;
    let value = b.read(source, &at)?;
    b.pointwise(target, value);
    Ok(())
}

/// `GatherND`: the last dimension of the positions is a whole subscript after the batch dimensions.
pub fn gather_nd(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, positions, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let batch = usize::try_from(node.int("batch_dims").unwrap_or(0)).unwrap_or(0);
    let outer = b.shape(positions).len().saturating_sub(1);
    let all = b.iters(b.shape(target).len());
    let mut at = all[..batch].to_vec();
    at.extend(subscript(b, node, positions, &all[..outer], source, batch)?);
    at.extend_from_slice(&all[outer..]);
    let value = b.read(source, &at)?;
    b.pointwise(target, value);
    Ok(())
}

/// The subscripts that one row of `positions` spells.
fn subscript(
    b: &mut Builder,
    node: &Node,
    positions: TensorId,
    row: &[Expr],
    data: TensorId,
    skip: usize,
) -> Result<Vec<Expr>> {
    let shape = b.shape(data);
    let length = b.shape(positions).last().and_then(Aff::as_constant);
    let length = length.ok_or_else(|| unsupported_form(node, "the length of a subscript must be constant"))?;
    if length < 0 || length as usize + skip > shape.len() {
        return Err(invalid(node, format!("subscripts of length {length} into rank {}", shape.len())));
    }
    let mut out = Vec::new();
    for d in 0..length as usize {
        let mut at = row.to_vec();
        at.push(Expr::int(d as i64));
        let value = convert(b.dtype(positions), DType::I64, b.read(positions, &at)?);
        out.push(inside(b, value, &shape[d + skip]));
    }
    Ok(out)
}

fn scatter_kind(node: &Node) -> Result<StatementKind> {
    Ok(match node.string("reduction").unwrap_or("none") {
        "none" => StatementKind::Update,
        "add" => StatementKind::Reduce(BinaryOp::Add),
        "mul" => StatementKind::Reduce(BinaryOp::Mul),
        "max" => StatementKind::Reduce(BinaryOp::Max),
        "min" => StatementKind::Reduce(BinaryOp::Min),
        other => return Err(unsupported_form(node, format!("reduction `{other}`"))),
    })
}

/// `ScatterElements` (and the old `Scatter`): a copy of the data, then the updates in order.
pub fn scatter_elements(b: &mut Builder, node: &Node) -> Result<()> {
    let (data, positions, updates, target) = (input(node, 0)?, input(node, 1)?, input(node, 2)?, output(node, 0)?);
    let shape = b.shape(data);
    let along = axis(node, "axis", 0, shape.len())?;
    let all = b.iters(shape.len());
    let value = b.read(data, &all)?;
    let array = b.pointwise(target, value);
    let mut at = all.clone();
    at[along] = position(b, positions, &all, &shape[along])?;
    let value = b.read(updates, &all)?;
    let over = dims("i", &b.shape(updates));
    let id = b.statement(scatter_kind(node)?, &over, array, at, value);
    b.emit_perfect(id, over.len());
    Ok(())
}

pub fn scatter_nd(b: &mut Builder, node: &Node) -> Result<()> {
    let (data, positions, updates, target) = (input(node, 0)?, input(node, 1)?, input(node, 2)?, output(node, 0)?);
    let rank = b.shape(data).len();
    let value = b.read(data, &b.iters(rank))?;
    let array = b.pointwise(target, value);
    let shape = b.shape(updates);
    let outer = b.shape(positions).len().saturating_sub(1);
    let all = b.iters(shape.len());
    let mut at = subscript(b, node, positions, &all[..outer], data, 0)?;
    at.extend_from_slice(&all[outer..]);
    let value = b.read(updates, &all)?;
    let over = dims("i", &shape);
    let id = b.statement(scatter_kind(node)?, &over, array, at, value);
    b.emit_perfect(id, over.len());
    Ok(())
}

/// `TensorScatter`: a cache with new rows from each batch entry's position on, around the end where it is a ring.
pub fn tensor_scatter(b: &mut Builder, node: &Node) -> Result<()> {
    let (cache, update, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let (shape, over) = (b.shape(cache), b.shape(update));
    let along = axis(node, "axis", -2, shape.len())?;
    if along == 0 {
        return Err(invalid(node, "the first dimension is the batch"));
    }
    let value = b.read(cache, &b.iters(shape.len()))?;
    let array = b.pointwise(target, value);
    let mut at = b.iters(shape.len());
    let start = match node.input(2) {
        Some(starts) => convert(b.dtype(starts), DType::I64, b.read(starts, &at[..1])?),
        None => Expr::int(0),
    };
    let place = add(start, at[along].clone());
    at[along] = match node.string("mode").unwrap_or("linear") {
        "circular" => modulo(place, max(index(shape[along].clone()), Expr::int(1))),
        _ => max(Expr::int(0), min(place, index(shape[along].clone() - 1.into()))),
    };
    let value = b.read(update, &b.iters(over.len()))?;
    let id = b.statement(StatementKind::Update, &dims("i", &over), array, at, value);
    b.emit_perfect(id, over.len());
    Ok(())
}

/// `OneHot`: `values[1]` where the place along the axis is the index, else `values[0]`.
pub fn one_hot(b: &mut Builder, node: &Node) -> Result<()> {
    let (positions, values, target) = (input(node, 0)?, input(node, 2)?, output(node, 0)?);
    let shape = b.shape(target);
    let along = axis(node, "axis", -1, shape.len())?;
    let mut all = b.iters(shape.len());
    let place = all.remove(along);
    let from = b.dtype(positions);
    let raw = convert(from, DType::I64, b.read(positions, &all)?);
    let hit = eq(place, from_end(raw, &shape[along]));
    let (off, on) = (b.read(values, &[Expr::int(0)])?, b.read(values, &[Expr::int(1)])?);
    b.pointwise(target, Expr::select(hit, on, off));
    Ok(())
}

/// `ReverseSequence`: the first `lengths[batch]` elements along the time axis in reverse.
pub fn reverse_sequence(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, lengths, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let rank = b.shape(source).len();
    let time = axis(node, "time_axis", 0, rank)?;
    let batch = axis(node, "batch_axis", 1, rank)?;
    let mut at = b.iters(rank);
    let length = b.read(lengths, std::slice::from_ref(&at[batch]))?;
    let length = convert(b.dtype(lengths), DType::I64, length);
    let t = at[time].clone();
    at[time] = Expr::select(lt(t.clone(), length.clone()), sub(sub(length, Expr::int(1)), t.clone()), t);
    let value = b.read(source, &at)?;
    b.pointwise(target, value);
    Ok(())
}
