//! Quantization: between floats and small integers, and the integer products that go with it.

use super::Call;
use super::conv::{add_bias, convolve};
use super::index::product;
use super::matmul::matmul;
use crate::run::value::Value;
use sirius_polyhedral::{DType, Result, narrow};

/// The scale or zero point of every element of a tensor of `shape`: one for all, one per position of `axis`, or
/// one per block of `block_size` positions.
fn spread(call: &Call, v: &Value, shape: &[usize]) -> Result<Vec<f64>> {
    let values = v.floats();
    if values.len() == 1 {
        return Ok(vec![values[0]; product(shape)]);
    }
    let axis = call.axis(call.int("axis", 1), shape.len())?;
    let inner = product(&shape[axis + 1..]).max(1);
    let at = |i: usize| i / inner % shape[axis];
    let given = usize::try_from(call.int("block_size", 0)).ok().filter(|b| *b > 0);
    if v.rank() == 1 && (shape.len() > 1 || given.is_none()) {
        call.require(values.len() == shape[axis], || format!("{} scales for shape {shape:?}", values.len()))?;
        return Ok((0..product(shape)).map(|i| values[at(i)]).collect());
    }
    let blocks = *v.shape.get(axis).unwrap_or(&0);
    let fits = v.rank() == shape.len() && blocks > 0 && (0..shape.len()).all(|d| d == axis || v.shape[d] == shape[d]);
    let block = given.unwrap_or(shape[axis].div_ceil(blocks.max(1)));
    call.require(fits && block * blocks >= shape[axis], || format!("scales {:?} for shape {shape:?}", v.shape))?;
    Ok((0..product(shape))
        .map(|i| values[(i / (inner * shape[axis]) * blocks + at(i) / block) * inner + i % inner])
        .collect())
}

/// The range of an integer type.
fn range(call: &Call, dtype: DType) -> Result<(f64, f64)> {
    Ok(match dtype {
        t if t.is_signed() && t.bits() <= 32 => (-f64::from(t.bits() - 1).exp2(), f64::from(t.bits() - 1).exp2() - 1.0),
        t if t.is_integer() && t.bits() <= 32 => (0.0, f64::from(t.bits()).exp2() - 1.0),
        other => return Err(call.unsupported(format!("quantization to {other}"))),
    })
}

/// `x / scale + zero`, rounded half to even and saturated.
fn quantized(call: &Call, dtype: DType, shape: &[usize], x: &[f64], scale: &[f64], zero: &[f64]) -> Result<Value> {
    if let Some(limit) = narrow::largest(dtype) {
        let limit = if call.flag("saturate", true) { limit } else { f64::INFINITY };
        let step = |((x, s), z): ((&f64, &f64), &f64)| (x / s + z).clamp(-limit, limit);
        return Value::from_floats(dtype, shape, &x.iter().zip(scale).zip(zero).map(step).collect::<Vec<_>>());
    }
    let (low, high) = range(call, dtype)?;
    let step = |((x, s), z): ((&f64, &f64), &f64)| ((x / s).round_ties_even() + z).clamp(low, high);
    Value::from_floats(dtype, shape, &x.iter().zip(scale).zip(zero).map(step).collect::<Vec<_>>())
}

pub fn quantize(call: &Call) -> Result<Vec<Value>> {
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let dtype = match call.optional(2) {
        Some(zero) => zero.dtype,
        None => call.dtype("output_dtype")?.unwrap_or(DType::U8),
    };
    let zero = call.optional(2).map_or(Ok(vec![0.0; x.len()]), |z| spread(call, z, &x.shape))?;
    // The division is one in `f32`: the quotient decides which way a tie goes.
    let scales = spread(call, scale, &x.shape)?;
    let quotients: Vec<f64> = x.floats().iter().zip(&scales).map(|(x, s)| (x / s) as f32 as f64).collect();
    Ok(vec![quantized(call, dtype, &x.shape, &quotients, &vec![1.0; x.len()], &zero)?])
}

pub fn dequantize(call: &Call) -> Result<Vec<Value>> {
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let mut values = x.floats();
    if let Some(zero) = call.optional(2) {
        values.iter_mut().zip(spread(call, zero, &x.shape)?).for_each(|(v, z)| *v -= z);
    }
    values.iter_mut().zip(spread(call, scale, &x.shape)?).for_each(|(v, s)| *v *= s);
    let dtype = call.dtype("output_dtype")?.unwrap_or(scale.dtype);
    Ok(vec![Value::from_floats(dtype, &x.shape, &values)?])
}

/// `DynamicQuantizeLinear`: to `u8`, over the range of the data and zero. In `f32` as the specification's function.
pub fn dynamic(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let v = x.floats();
    let low = v.iter().copied().fold(0.0f64, f64::min) as f32;
    let high = v.iter().copied().fold(0.0f64, f64::max) as f32;
    let scale = (high - low) / 255.0;
    let zero = if scale == 0.0 { 0.0 } else { (-low / scale).round_ties_even().clamp(0.0, 255.0) };
    let quotients: Vec<f64> = v.iter().map(|x| if scale == 0.0 { 0.0 } else { (*x as f32 / scale) as f64 }).collect();
    let (ones, zeros) = (vec![1.0; v.len()], vec![zero as f64; v.len()]);
    let y = quantized(call, DType::U8, &x.shape, &quotients, &ones, &zeros)?;
    Ok(vec![y, Value::from_f32(&[], &[scale])?, Value::from_floats(DType::U8, &[], &[zero as f64])?])
}

/// Input `n` minus its zero point: one for all, or one per `axis` of the tensor.
fn centred(call: &Call, n: usize, zero: usize, axis: usize) -> Result<Vec<f64>> {
    let x = call.input(n)?;
    let mut v = x.floats();
    let Some(zero) = call.optional(zero) else { return Ok(v) };
    let z = zero.floats();
    if z.len() == 1 {
        v.iter_mut().for_each(|v| *v -= z[0]);
        return Ok(v);
    }
    call.require(x.rank() > 0, || format!("{} zero points of a scalar", z.len()))?;
    let axis = axis.min(x.rank() - 1);
    let inner = product(&x.shape[axis + 1..]).max(1);
    call.require(x.shape.get(axis) == Some(&z.len()), || format!("{} zero points for {:?}", z.len(), x.shape))?;
    v.iter_mut().enumerate().for_each(|(i, v)| *v -= z[i / inner % z.len()]);
    Ok(v)
}

/// Axis of rows (`a`) or columns (`b`) of a matrix operand.
fn matrix_axis(v: &Value, from_end: usize) -> usize {
    v.rank().saturating_sub(from_end)
}

pub fn matmul_integer(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let (x, y) = (centred(call, 0, 2, matrix_axis(a, 2))?, centred(call, 1, 3, matrix_axis(b, 1))?);
    let found = matmul(call, (&a.shape, &x), (&b.shape, &y))?;
    Ok(vec![Value::from_floats(DType::I32, &found.shape, &found.values)?])
}

pub fn conv_integer(call: &Call) -> Result<Vec<Value>> {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let (xs, ws) = (centred(call, 0, 2, 1)?, centred(call, 1, 3, 0)?);
    let (shape, values) = convolve(call, (&x.shape, &xs), (&w.shape, &ws))?;
    Ok(vec![Value::from_floats(DType::I32, &shape, &values)?])
}

fn scalar(call: &Call, n: usize) -> Result<f64> {
    call.scalar(n).map(|v| v.get_f64(0)).ok_or_else(|| call.invalid(format!("input {n} is missing")))
}

/// `QLinearMatMul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)`.
pub fn qlinear_matmul(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(3)?);
    let (x, y) = (centred(call, 0, 2, matrix_axis(a, 2))?, centred(call, 3, 5, matrix_axis(b, 1))?);
    let mut found = matmul(call, (&a.shape, &x), (&b.shape, &y))?;
    let columns = found.shape.last().copied().unwrap_or(1).max(1);
    let scales = call.input(4)?.floats();
    let valid = !scales.is_empty() && (scales.len() == 1 || scales.len() == columns);
    call.require(valid, || format!("{} scales for {columns} columns", scales.len()))?;
    let left = scalar(call, 1)?;
    found.values.iter_mut().enumerate().for_each(|(i, v)| *v *= left * scales[i % columns % scales.len()]);
    requantized(call, &found.shape, &found.values, 6, 7)
}

/// `QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias)`; one weight scale or one per map.
pub fn qlinear_conv(call: &Call) -> Result<Vec<Value>> {
    let (x, w) = (call.input(0)?, call.input(3)?);
    let (xs, ws) = (centred(call, 0, 2, 1)?, centred(call, 3, 5, 0)?);
    let (shape, mut values) = convolve(call, (&x.shape, &xs), (&w.shape, &ws))?;
    if let Some(bias) = call.optional(8) {
        add_bias(call, &shape, &mut values, &bias.floats())?;
    }
    let scales = call.input(4)?.floats();
    let valid = !scales.is_empty() && (scales.len() == 1 || scales.len() == shape[1]);
    call.require(valid, || format!("{} scales for {} maps", scales.len(), shape[1]))?;
    let (left, points) = (scalar(call, 1)?, product(&shape[2..]).max(1));
    values.iter_mut().enumerate().for_each(|(i, v)| *v *= left * scales[i / points % shape[1] % scales.len()]);
    requantized(call, &shape, &values, 6, 7)
}

fn requantized(call: &Call, shape: &[usize], values: &[f64], scale: usize, zero: usize) -> Result<Vec<Value>> {
    let (scale, dtype) = (scalar(call, scale)?, call.input(zero)?.dtype);
    let zeros = vec![scalar(call, zero)?; values.len()];
    Ok(vec![quantized(call, dtype, shape, values, &vec![scale; values.len()], &zeros)?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;
    use sirius_polyhedral::DType;

    fn bytes(dtype: DType, shape: &[usize], values: &[i128]) -> Value {
        Value::from_ints(dtype, shape, values).unwrap()
    }

    #[test]
    fn quantization_rounds_to_even_and_saturates() {
        let x = f32s(&[5], &[1.0, 3.0, -1.0, 1000.0, -1000.0]);
        let y = eval("QuantizeLinear", 13, &[], &[&x, &f32s(&[], &[2.0]), &bytes(DType::I8, &[], &[10])]);
        assert_eq!((y.dtype, y.i64s()), (DType::I8, vec![10, 12, 10, 127, -128]));
    }

    #[test]
    fn scales_go_with_an_axis_or_blocks() {
        let x = bytes(DType::I8, &[5], &[1, 2, 3, 4, 5]);
        let block = [("axis", Attribute::Int(0)), ("block_size", Attribute::Int(2))];
        let y = eval("DequantizeLinear", 21, &block, &[&x, &f32s(&[3], &[1.0, 10.0, 100.0])]);
        assert_close(&y, &[5], &[1.0, 2.0, 30.0, 40.0, 500.0]);
        let x = bytes(DType::I8, &[2, 2], &[1, 2, 3, 4]);
        let y = eval("DequantizeLinear", 13, &[("axis", Attribute::Int(0))], &[&x, &f32s(&[2], &[1.0, 10.0])]);
        assert_close(&y, &[2, 2], &[1.0, 2.0, 30.0, 40.0]);
        let block = [("axis", Attribute::Int(1)), ("block_size", Attribute::Int(2))];
        let y = eval(
            "DequantizeLinear",
            21,
            &block,
            &[&x, &f32s(&[2, 1], &[1.0, 10.0]), &bytes(DType::I8, &[2, 1], &[0, 1])],
        );
        assert_close(&y, &[2, 2], &[1.0, 2.0, 20.0, 30.0]);
    }

    #[test]
    fn the_dynamic_range_includes_zero() {
        let found = try_eval("DynamicQuantizeLinear", 11, &[], &[&f32s(&[2], &[51.0, 255.0])]).unwrap();
        assert_eq!((found[0].i64s(), found[1].floats(), found[2].i64s()), (vec![51, 255], vec![1.0], vec![0]));
    }

    #[test]
    fn integer_products_subtract_zero_points() {
        let (a, b) = (bytes(DType::U8, &[1, 2], &[11, 12]), bytes(DType::U8, &[2, 1], &[3, 4]));
        let y = eval("MatMulInteger", 10, &[], &[&a, &b, &bytes(DType::U8, &[], &[10]), &bytes(DType::U8, &[], &[1])]);
        assert_eq!((y.dtype, y.i64s()), (DType::I32, vec![8]));
        let (x, w) = (bytes(DType::U8, &[1, 1, 2], &[2, 3]), bytes(DType::I8, &[1, 1, 1], &[-2]));
        assert_eq!(eval("ConvInteger", 10, &[], &[&x, &w, &bytes(DType::U8, &[], &[1])]).i64s(), [-2, -4]);
        let one = f32s(&[], &[0.5]);
        let zero = bytes(DType::U8, &[], &[0]);
        let y =
            eval("QLinearMatMul", 10, &[], &[&a, &one, &bytes(DType::U8, &[], &[10]), &b, &one, &zero, &one, &zero]);
        assert_eq!(y.i64s(), [6]);
    }
}
