//! Look-ups and updates at positions that are data: `Gather*`, `Scatter*`, `OneHot`.
//!
//! Subscripts are ordinary expressions, exact in code; dependences take the whole dimension for them.

use super::arguments::*;
use super::builder::{Builder, dims};
use super::layout::from_end;
use super::positions::{Source, place, watch};
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result, StatementKind};

/// `Gather`: a view when the positions are affine, a statement otherwise.
pub fn gather(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, positions, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let shape = b.shape(source);
    let along = axis(node, "axis", 0, shape.len())?;
    let count = b.shape(positions).len();
    let all = b.iters(b.shape(target).len());
    let from = Source { tensor: positions, part: None, extent: &shape[along] };
    let place = place(b, node, &from, &all[along..along + count], &b.shape(target))?;
    let here = b.simplify(place.at, &b.shape(target));
    let affine = here.as_aff().is_some();
    if place.is_open {
        watch(b, node, &[from])?;
    }
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
    at[along] = element_place(b, node, positions, &shape[along])?;
    let value = b.read(source, &at)?;
    b.pointwise(target, value);
    Ok(())
}

/// The position that stands at the same place as the element of the result or update.
fn element_place(b: &mut Builder, node: &Node, positions: TensorId, extent: &Aff) -> Result<Expr> {
    let own = b.shape(positions);
    let from = Source { tensor: positions, part: None, extent };
    let place = place(b, node, &from, &b.iters(own.len()), &own)?;
    if place.is_open {
        watch(b, node, &[from])?;
    }
    Ok(place.at)
}

/// `GatherND`: the last dimension of the positions is a whole subscript after the batch dimensions.
pub fn gather_nd(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, positions, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let batch = usize::try_from(node.int("batch_dims").unwrap_or(0)).unwrap_or(0);
    let outer = b.shape(positions).len().saturating_sub(1);
    let all = b.iters(b.shape(target).len());
    let mut at = all[..batch].to_vec();
    let own = b.shape(target);
    at.extend(subscript(b, node, positions, &all[..outer], &own, source, batch)?);
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
    own: &[Aff],
    data: TensorId,
    skip: usize,
) -> Result<Vec<Expr>> {
    let shape = b.shape(data);
    let length = b.shape(positions).last().and_then(Aff::as_constant);
    let length = length.ok_or_else(|| unsupported_form(node, "the length of a subscript must be constant"))?;
    if length < 0 || length as usize + skip > shape.len() {
        return Err(invalid(node, format!("subscripts of length {length} into rank {}", shape.len())));
    }
    let length = length as usize;
    let (mut out, mut open) = (Vec::new(), Vec::new());
    for (d, extent) in shape[skip..skip + length].iter().enumerate() {
        let from = Source { tensor: positions, part: Some((d, length)), extent };
        let place = place(b, node, &from, row, own)?;
        out.push(place.at);
        open.extend(place.is_open.then_some(from));
    }
    watch(b, node, &open)?;
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
    at[along] = element_place(b, node, positions, &shape[along])?;
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
    let mut at = subscript(b, node, positions, &all[..outer], &shape, data, 0)?;
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
