//! Tensors from little or nothing.

use super::layout::axis;
use crate::bounds::Bounds;
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(5) {
        0 => constant_of_shape(maker),
        1 => range(maker),
        2 => eye(maker),
        3 => constant(maker),
        _ => one_hot(maker),
    }
}

fn constant_of_shape(maker: &mut Maker) -> Option<()> {
    let shape: Vec<i64> = (0..maker.choices.below(4)).map(|_| maker.choices.between(0, 5)).collect();
    let list = maker.list(&shape);
    let dims: Vec<Dim> = shape.iter().map(|n| Dim::Fixed(*n as usize)).collect();
    let dtype = maker.dtype(ALL);
    let value = Value::from_floats(dtype, &[1], &[1.0]).ok()?;
    let (dtype, attributes, one) = if maker.choices.chance(30) {
        (DType::F32, vec![], 0.0)
    } else {
        (dtype, vec![onnx::tensor("value", &value)], 1.0)
    };
    maker.one("ConstantOfShape", &[&list], attributes, (dtype, dims, Bounds::whole(one, one))).map(|_| ())
}

fn constant(maker: &mut Maker) -> Option<()> {
    let dtype = maker.dtype(NUMBERS);
    let count = maker.choices.below(4);
    let list: Vec<f64> = (0..count).map(|n| n as f64).collect();
    let value = Value::from_floats(dtype, &[count], &list).ok()?;
    let bounds = Bounds::whole(0.0, 3.0);
    maker
        .one("Constant", &[], vec![onnx::tensor("value", &value)], (dtype, vec![Dim::Fixed(count)], bounds))
        .map(|_| ())
}

/// Limits and step are constants: counts that are data have tests of their own.
fn range(maker: &mut Maker) -> Option<()> {
    let dtype = maker.choices.pick(&[DType::I64, DType::F32, DType::I32]);
    let step = maker.choices.pick(&[1, 2, -1, -3]);
    let start = maker.choices.between(-3, 3);
    let count = maker.choices.between(0, 6);
    let limit = start + count * step;
    let inputs = [start, limit, step].map(|v| maker.scalar(dtype, v as f64));
    let bounds = Bounds::whole(start.min(limit) as f64, start.max(limit) as f64);
    let names = inputs.each_ref().map(String::as_str);
    maker.one("Range", &names, vec![], (dtype, vec![Dim::Fixed(count as usize)], bounds)).map(|_| ())
}

fn eye(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 2..=2);
    let dtype = maker.dtype(NUMBERS);
    let attributes =
        vec![onnx::int("dtype", i64::from(onnx::code(dtype))), onnx::int("k", maker.choices.between(-2, 2))];
    maker.one("EyeLike", &[&x.name], attributes, (dtype, x.dims.clone(), Bounds::whole(0.0, 1.0))).map(|_| ())
}

/// Indices outside the depth give no hot element.
fn one_hot(maker: &mut Maker) -> Option<()> {
    let x = maker.any(&[DType::I64, DType::I32], 0..=2);
    let depth = maker.choices.between(1, 6);
    let depth_name = maker.constant(Value::scalar(depth), Bounds::whole(1.0, 6.0)).name;
    let dtype = maker.dtype(NUMBERS);
    let values = maker.made(dtype, vec![Dim::Fixed(2)], Bounds::whole(0.0, 5.0));
    let (written, at) = axis(maker, x.dims.len() + 1);
    let mut dims = x.dims.clone();
    dims.insert(at, Dim::Fixed(depth as usize));
    let attributes = vec![onnx::int("axis", written)];
    maker.one("OneHot", &[&x.name, &depth_name, &values.name], attributes, (dtype, dims, values.bounds)).map(|_| ())
}
