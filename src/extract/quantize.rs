//! Quantisation: `QuantizeLinear`, `DequantizeLinear`, `DynamicQuantizeLinear` and the products on 8-bit
//! integers.

use super::arguments::*;
use super::builder::{Builder, View, leaf};
use super::contraction::{Reduction, accumulate};
use super::conv::{Operands, convolve};
use super::matmul::product;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{ArrayId, BinaryOp, DType, Expr, Result};

/// A tensor minus its zero point, in type `to`. A zero point per channel lies along `axis`.
pub fn centred(b: &mut Builder, tensor: TensorId, zero: Option<TensorId>, axis: usize, to: DType) -> Result<View> {
    let from = b.dtype(tensor);
    let rank = b.shape(tensor).len();
    let index = b.iters(rank);
    let value = convert(from, to, b.read(tensor, &index)?);
    let value = match zero {
        Some(z) => {
            let at = parameter_index(b, z, &index, axis);
            let point = b.read(z, &at)?;
            sub(value, convert(from, to, point))
        }
        None => value,
    };
    Ok(b.view_of(value))
}

/// Subscripts of a scale or zero point: none for one value, the channel for a vector, numpy rules otherwise.
fn parameter_index(b: &Builder, parameter: TensorId, index: &[Expr], axis: usize) -> Vec<Expr> {
    let shape = b.shape(parameter);
    match shape.as_slice() {
        [] => Vec::new(),
        [one] if one.is_constant(1) => vec![Expr::int(0)],
        [_] => vec![index.get(axis).cloned().unwrap_or_else(|| Expr::int(0))],
        _ => broadcast(&shape, index),
    }
}

/// Subscripts of the scale of `(De)QuantizeLinear`: one value, one per channel, or one per block of channels.
fn scale_index(b: &Builder, node: &Node, scale: TensorId, index: &[Expr]) -> Result<Vec<Expr>> {
    let rank = index.len();
    let axis = if rank == 0 { 0 } else { axis(node, "axis", 1.min(rank as i64 - 1), rank).unwrap_or(0) };
    let block = node.int("block_size").unwrap_or(0);
    if block > 0 && b.shape(scale).len() == rank {
        let mut at = index.to_vec();
        at[axis] = super::terms::index(b.aff(axis).floor_div(block));
        return Ok(at);
    }
    Ok(parameter_index(b, scale, index, axis))
}

/// `round(x / scale) + zero`, saturated to the range of `to`. A float type needs no rounding to whole steps.
fn quantized(x: Expr, scale: Expr, zero: Option<Expr>, to: DType, saturate: Option<i64>) -> Expr {
    let steps = if to.is_float() { div(x, scale) } else { round(div(x, scale)) };
    let shifted = zero.map_or(steps.clone(), |z| add(steps, Expr::cast(DType::F32, z)));
    let (low, high) = match to {
        t if t.is_float() => return convert_saturated(DType::F32, t, shifted, saturate),
        // The largest `f32` below 2^31.
        DType::I32 => (-2147483648.0, 2147483520.0),
        t if t.is_signed() => (-f64::from(t.bits() - 1).exp2(), f64::from(t.bits() - 1).exp2() - 1.0),
        t => (0.0, f64::from(t.bits()).exp2() - 1.0),
    };
    Expr::cast(to, min(max(shifted, lit(low, DType::F32)), lit(high, DType::F32)))
}

pub fn quantize_linear(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, scale, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let index = b.iters(b.shape(target).len());
    let x = convert(b.dtype(source), DType::F32, b.read(source, &index)?);
    let at = scale_index(b, node, scale, &index)?;
    let s = convert(b.dtype(scale), DType::F32, b.read(scale, &at)?);
    let zero = match node.input(2) {
        Some(z) => Some(b.read(z, &at)?),
        None => None,
    };
    let value = quantized(x, s, zero, b.dtype(target), node.int("saturate"));
    b.pointwise(target, value);
    Ok(())
}

pub fn dequantize_linear(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, scale, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let index = b.iters(b.shape(target).len());
    let at = scale_index(b, node, scale, &index)?;
    let from = b.dtype(source);
    let t = if from.is_float() { DType::F32 } else { DType::I32 };
    let mut steps = convert(from, t, b.read(source, &index)?);
    if let Some(z) = node.input(2) {
        steps = sub(steps, convert(b.dtype(z), t, b.read(z, &at)?));
    }
    let s = convert(b.dtype(scale), DType::F32, b.read(scale, &at)?);
    let out = b.dtype(target);
    b.pointwise(target, convert(DType::F32, out, mul(convert(t, DType::F32, steps), s)));
    Ok(())
}

/// `DynamicQuantizeLinear`: scale and zero point from the range of the values, zero included.
pub fn dynamic_quantize_linear(b: &mut Builder, node: &Node) -> Result<()> {
    let source = input(node, 0)?;
    let shape = b.shape(source);
    let dims = super::builder::dims("i", &shape);
    let all = b.iters(shape.len());
    let x = b.read(source, &all)?;
    let name = b.graph.tensor(source).name.clone();
    let mut extreme = |op: BinaryOp, suffix: &str| {
        let (name, init) = (format!("{name}_{suffix}"), lit(0.0, DType::F32));
        let r = Reduction { name: &name, dtype: DType::F32, op, init, dims: &dims, parallel: 0, value: x.clone() };
        let (array, nodes) = accumulate(b, r);
        b.emit(nodes);
        b.load(array, vec![])
    };
    let (low, high) = (extreme(BinaryOp::Min, "min"), extreme(BinaryOp::Max, "max"));
    let s = result(b, node, 1, &format!("{name}_scale"), DType::F32);
    let range = div(sub(high, low.clone()), lit(255.0, DType::F32));
    let id = b.assign(&[], s, vec![], range);
    b.emit(vec![leaf(id)]);
    let s = b.load(s, vec![]);
    let z = result(b, node, 2, &format!("{name}_zero"), DType::U8);
    // Data that is all zero has scale 0; a step of any other size gives the zeros that it stands for.
    let s = Expr::select(eq(s.clone(), lit(0.0, DType::F32)), lit(1.0, DType::F32), s);
    let point = round(min(max(div(neg(low), s.clone()), lit(0.0, DType::F32)), lit(255.0, DType::F32)));
    let id = b.assign(&[], z, vec![], Expr::cast(DType::U8, point));
    b.emit(vec![leaf(id)]);
    let z = b.load(z, vec![]);
    if let Some(target) = node.output(0) {
        b.pointwise(target, quantized(x, s, Some(z), DType::U8, None));
    }
    Ok(())
}

/// The array of the scalar result `n`; one of its own where nothing reads the result.
fn result(b: &mut Builder, node: &Node, n: usize, name: &str, dtype: DType) -> ArrayId {
    match node.output(n) {
        Some(tensor) => b.define(tensor),
        None => b.temp(name, dtype, vec![]),
    }
}

/// `MatMulInteger`: a left zero point per row, a right one per column.
pub fn matmul_integer(b: &mut Builder, node: &Node) -> Result<()> {
    let (left, right) = (input(node, 0)?, input(node, 1)?);
    let rows = b.shape(left).len().saturating_sub(2);
    let columns = b.shape(right).len().saturating_sub(1);
    let x = centred(b, left, node.input(2), rows, DType::I32)?;
    let y = centred(b, right, node.input(3), columns, DType::I32)?;
    product(b, node, [(x, left), (y, right)], DType::I32, |_, total| total)
}

/// `QLinearMatMul`: inputs `a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero`.
pub fn qlinear_matmul(b: &mut Builder, node: &Node) -> Result<()> {
    let (left, right, target) = (input(node, 0)?, input(node, 3)?, output(node, 0)?);
    let rank = b.shape(target).len();
    let (row, column) = (b.iters(rank), b.iters(rank));
    let x = centred(b, left, node.input(2), b.shape(left).len().saturating_sub(2), DType::I32)?;
    let y = centred(b, right, node.input(5), b.shape(right).len().saturating_sub(1), DType::I32)?;
    let mut scale = |n: usize, index: &[Expr], axis: usize| -> Result<Expr> {
        let tensor = input(node, n)?;
        let at = parameter_index(b, tensor, index, axis);
        Ok(convert(b.dtype(tensor), DType::F32, b.read(tensor, &at)?))
    };
    let (rows, columns) = (rank.saturating_sub(2), rank.saturating_sub(1));
    let factor = mul(scale(1, &row, rows)?, scale(4, &column, columns)?);
    let result_scale = scale(6, &row, rows)?;
    let zero = b.read(input(node, 7)?, &[Expr::int(0)])?;
    let to = b.dtype(target);
    product(b, node, [(x, left), (y, right)], DType::I32, |_, total| {
        quantized(mul(Expr::cast(DType::F32, total), factor), result_scale, Some(zero), to, None)
    })
}

/// `QLinearConv`: inputs `x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias`.
pub fn qlinear_conv(b: &mut Builder, node: &Node) -> Result<()> {
    let (image, weights, target) = (input(node, 0)?, input(node, 3)?, output(node, 0)?);
    let x = centred(b, image, node.input(2), 1, DType::I32)?;
    let w = centred(b, weights, node.input(5), 0, DType::I32)?;
    let operands = Operands { image: (x, image), weights: (w, weights), acc: DType::I32 };
    let to = b.dtype(target);
    convolve(b, node, operands, |b, total, channel| {
        let mut vector = |n: usize| -> Result<Expr> {
            let tensor = input(node, n)?;
            let at = parameter_index(b, tensor, std::slice::from_ref(&channel), 0);
            b.read(tensor, &at)
        };
        let total = if node.input(8).is_some() { add(total, vector(8)?) } else { total };
        let factor = mul(vector(1)?, vector(4)?);
        let (scale, zero) = (vector(6)?, vector(7)?);
        Ok(quantized(mul(Expr::cast(DType::F32, total), factor), scale, Some(zero), to, None))
    })
}
