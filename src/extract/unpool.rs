//! `MaxUnpool` and `Col2Im`: from windows back to images.

use super::arguments::*;
use super::builder::{Builder, Dims, dims};
use super::contraction::{Reduction, reduction};
use super::sample::clamp;
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{BinaryOp, DType, Expr, Result, StatementKind};

/// Attribute `name` with one entry per dimension.
fn list(node: &Node, name: &str, count: usize, default: i64) -> Result<Vec<i64>> {
    let values = node.ints(name).map_or_else(|| vec![default; count], <[i64]>::to_vec);
    if values.len() == count {
        return Ok(values);
    }
    Err(invalid(node, format!("`{name}` has {} entries where {count} are needed", values.len())))
}

/// `MaxUnpool`: zeros, and every element at the place where `MaxPool` found it. Places count in the extents that
/// the pool's attributes imply; a larger result keeps the subscripts.
pub fn max_unpool(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, places, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let (shape, result) = (b.shape(source), b.shape(target));
    let rank = shape.len() - 2;
    let (kernel, strides) = (list(node, "kernel_shape", rank, 1)?, list(node, "strides", rank, 1)?);
    let pads = list(node, "pads", 2 * rank, 0)?;
    let mut natural = shape[..2].to_vec();
    for d in 0..rank {
        let rest = kernel[d] - strides[d] - pads[d] - pads[rank + d];
        natural.push(shape[d + 2].clone() * strides[d] + rest.into());
    }
    let zero = lit(0.0, b.dtype(target));
    let array = b.pointwise(target, zero);
    let all = b.iters(shape.len());
    let mut rest = convert(b.dtype(places), DType::I64, b.read(places, &all)?);
    let mut at = Vec::new();
    for (d, extent) in natural.iter().enumerate().rev() {
        let size = max(index(extent.clone()), Expr::int(1));
        let here = if d == 0 { rest.clone() } else { modulo(rest.clone(), size.clone()) };
        at.insert(0, clamp(here, Expr::int(0), index(result[d].clone() - 1.into())));
        rest = div(rest, size);
    }
    let value = b.read(source, &all)?;
    let id = b.statement(StatementKind::Update, &dims("i", &shape), array, at, value);
    b.emit_perfect(id, shape.len());
    Ok(())
}

/// `Col2Im`: every pixel adds up the window elements that lie on it.
pub fn col2im(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let result = b.shape(target);
    let rank = result.len() - 2;
    let block = b.graph.tensor(input(node, 2)?).affs();
    let block = block.ok_or_else(|| unsupported_form(node, "the block's shape must be known"))?;
    let (strides, dilations) = (list(node, "strides", rank, 1)?, list(node, "dilations", rank, 1)?);
    let pads = list(node, "pads", 2 * rank, 0)?;
    let mut all: Dims = dims("i", &result);
    all.extend(block.iter().enumerate().map(|(d, e)| (format!("k{d}"), e.clone())));
    let (mut row, mut column) = (b.iter(1), Expr::int(0));
    let mut inside: Option<Expr> = None;
    for d in 0..rank {
        let (image, k) = (b.aff(2 + d), b.aff(2 + rank + d));
        let reach = (block[d].clone() - 1.into()) * dilations[d] + 1.into();
        let span = result[2 + d].clone() + (pads[d] + pads[rank + d]).into() - reach;
        let windows = span.floor_div(strides[d]) + 1.into();
        let start = image + pads[d].into() - k * dilations[d];
        let window = start.floor_div(strides[d]);
        let mut test = and(ge(index(start.clone()), Expr::int(0)), lt(index(window.clone()), index(windows.clone())));
        if strides[d] != 1 {
            test = and(test, eq(index(start.modulo(strides[d])), Expr::int(0)));
        }
        inside = Some(inside.map_or(test.clone(), |i| and(i, test)));
        row = add(mul(row, index(block[d].clone())), b.iter(2 + rank + d));
        column = add(mul(column, index(windows)), index(window));
    }
    let out = b.dtype(target);
    let t = wide(out);
    let x = convert(out, t, b.read(source, &[b.iter(0), row, column])?);
    let zero = lit(0.0, t);
    let value = inside.map_or(x.clone(), |inside| Expr::select(inside, x, zero.clone()));
    let name = format!("{}_acc", b.graph.tensor(target).name);
    let (array, place) = (b.define(target), b.iters(result.len()));
    let r =
        Reduction { name: &name, dtype: t, op: BinaryOp::Add, init: zero, dims: &all, parallel: result.len(), value };
    reduction(b, r, array, place, |_, total| convert(t, out, total));
    Ok(())
}
