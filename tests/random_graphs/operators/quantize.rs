//! Quantization: exact operands and scales that are powers of two, as rounding to a step jumps.

use super::layout::axis;
use super::window::window;
use crate::bounds::Bounds;
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(7) {
        0 => dequantize(maker),
        1 => quantize(maker),
        2 => dynamic(maker),
        3 => blocks(maker),
        4 => product(maker),
        5 => convolution(maker, true),
        _ => convolution(maker, false),
    }
}

/// The scale (powers of two: their quotients are exact) of the tensor, or of each index of an axis.
fn scale(maker: &mut Maker, x: &Tensor) -> (Tensor, Vec<sirius::import::proto::AttributeProto>) {
    let (written, at) = axis(maker, x.dims.len());
    let per_axis = x.dims[at].fixed().filter(|_| maker.choices.chance(40));
    match per_axis {
        Some(n) => {
            let list: Vec<f32> = (0..n).map(|n| [0.5, 0.25, 1.0][n % 3]).collect();
            let value = sirius::run::Value::from_f32(&[n], &list).expect("as many as the shape says");
            (maker.constant(value, Bounds::exact(0.25, 1.0)), vec![onnx::int("axis", written)])
        }
        None => {
            let value = sirius::run::Value::from_f32(&[], &[0.5]).expect("a scalar");
            (maker.constant(value, Bounds::exact(0.5, 0.5)), vec![])
        }
    }
}

fn quantize(maker: &mut Maker) -> Option<()> {
    let x = maker.exact(&[DType::F32], 1..=4);
    let (scale, attributes) = scale(maker, &x);
    let zero = zero_like(maker, &scale);
    let bounds = Bounds::whole(0.0, 255.0);
    maker
        .one("QuantizeLinear", &[&x.name, &scale.name, &zero.name], attributes, (DType::U8, x.dims.clone(), bounds))
        .map(|_| ())
}

fn zero_like(maker: &mut Maker, scale: &Tensor) -> Tensor {
    let shape: Vec<usize> = scale.dims.iter().filter_map(|d: &Dim| d.fixed()).collect();
    maker.random_constant(DType::U8, &shape, Bounds::whole(0.0, 255.0))
}

fn dequantize(maker: &mut Maker) -> Option<()> {
    let x = maker.any(&[DType::U8], 1..=4);
    let (scale, attributes) = scale(maker, &x);
    let zero = zero_like(maker, &scale);
    let given = if maker.choices.chance(60) { 3 } else { 2 };
    let inputs = [x.name.as_str(), scale.name.as_str(), zero.name.as_str()];
    // Differences of bytes times powers of two: no rounding.
    let bounds = Bounds::exact(-255.0, 255.0);
    maker.one("DequantizeLinear", &inputs[..given], attributes, (DType::F32, x.dims.clone(), bounds)).map(|_| ())
}

/// Scale and zero point from the data.
fn dynamic(maker: &mut Maker) -> Option<()> {
    let x = maker.exact(&[DType::F32], 1..=4);
    let bytes = Bounds::whole(0.0, 255.0);
    let range = x.bounds.hi.max(0.0) - x.bounds.lo.min(0.0);
    let results = vec![
        (DType::U8, x.dims.clone(), bytes),
        (DType::F32, vec![], Bounds::exact(0.0, range / 255.0)),
        (DType::U8, vec![], bytes),
    ];
    maker.node("DynamicQuantizeLinear", &[&x.name], vec![], results).map(|_| ())
}

/// One scale and zero point for every two or three neighbours along an axis, there and back.
fn blocks(maker: &mut Maker) -> Option<()> {
    let x = maker.exact(&[DType::F32], 1..=3);
    let shape: Vec<usize> = x.dims.iter().map(|d| d.fixed()).collect::<Option<_>>()?;
    let (written, at) = axis(maker, shape.len());
    let block = 2 + maker.choices.below(2);
    let mut parts = shape.clone();
    parts[at] = shape[at].div_ceil(block);
    if parts.contains(&0) {
        return None;
    }
    let count = parts.iter().product();
    let list: Vec<f32> = (0..count).map(|n: usize| [0.5, 0.25, 1.0][n % 3]).collect();
    let scales = sirius::run::Value::from_f32(&parts, &list).expect("as many as the shape says");
    let scales = maker.constant(scales, Bounds::exact(0.25, 1.0));
    let zeros = maker.random_constant(DType::U8, &parts, Bounds::whole(0.0, 255.0));
    let attributes = || vec![onnx::int("axis", written), onnx::int("block_size", block as i64)];
    let result = (DType::U8, x.dims.clone(), Bounds::whole(0.0, 255.0));
    let q = maker.one("QuantizeLinear", &[&x.name, &scales.name, &zeros.name], attributes(), result)?;
    let back = (DType::F32, x.dims, Bounds::exact(-255.0, 255.0));
    maker.one("DequantizeLinear", &[&q.name, &scales.name, &zeros.name], attributes(), back).map(|_| ())
}

/// Name of the scale and of the zero point of one operand.
fn step(maker: &mut Maker, scale: f64) -> [String; 2] {
    let zero = maker.choices.pick(&[0.0, 3.0, 128.0, 255.0]);
    [maker.scalar(DType::F32, scale), maker.scalar(DType::U8, zero)]
}

/// `QLinearMatMul` of bytes.
fn product(maker: &mut Maker) -> Option<()> {
    let a = maker.any(&[DType::U8], 2..=3);
    let inner = a.dims.last()?.fixed()?;
    let columns = 1 + maker.choices.below(6);
    let b = maker.random_constant(DType::U8, &[inner, columns], Bounds::whole(0.0, 255.0));
    let ([sa, za], [sb, zb], [sy, zy]) = (step(maker, 0.5), step(maker, 0.25), step(maker, 16.0));
    let dims = [&a.dims[..a.dims.len() - 1], &[Dim::Fixed(columns)]].concat();
    let inputs = [&a.name, &sa, &za, &b.name, &sb, &zb, &sy, &zy].map(String::as_str);
    maker.one("QLinearMatMul", &inputs, vec![], (DType::U8, dims, Bounds::whole(0.0, 255.0))).map(|_| ())
}

/// `QLinearConv`, or `ConvInteger`, of bytes.
fn convolution(maker: &mut Maker, scaled: bool) -> Option<()> {
    let is_image = |t: &Tensor| t.dims.len() >= 3 && t.dims[1].fixed().is_some_and(|c| c > 0);
    let x = match maker.find(&[DType::U8], is_image) {
        Some(found) => found,
        None => {
            let dims = vec![maker.dim(), Dim::Fixed(1 + maker.choices.below(4)), Dim::Fixed(5), Dim::Fixed(4)];
            maker.fresh(DType::U8, dims)
        }
    };
    let (channels, out) = (x.dims[1].fixed()?, 1 + maker.choices.below(4));
    let window = window(maker, &x.dims[2..], 2)?;
    let shape = [&[out, channels], window.kernel.as_slice()].concat();
    // Larger sums are no exact `f32`.
    if shape[1..].iter().product::<usize>() > 200 {
        return None;
    }
    let w = maker.random_constant(DType::U8, &shape, Bounds::whole(0.0, 255.0));
    let dims = [&[x.dims[0], Dim::Fixed(out)], window.output.as_slice()].concat();
    let ([sx, zx], [sw, zw], [sy, zy]) = (step(maker, 0.5), step(maker, 0.25), step(maker, 16.0));
    if scaled {
        let bias = maker.random_constant(DType::I32, &[out], Bounds::whole(-1000.0, 1000.0));
        let inputs = [&x.name, &sx, &zx, &w.name, &sw, &zw, &sy, &zy, &bias.name].map(String::as_str);
        let given = 8 + maker.choices.below(2);
        let result = (DType::U8, dims, Bounds::whole(0.0, 255.0));
        return maker.one("QLinearConv", &inputs[..given], window.attributes, result).map(|_| ());
    }
    let most = 255.0 * 255.0 * shape[1..].iter().product::<usize>() as f64;
    let inputs = [&x.name, &w.name, &zx, &zw].map(String::as_str);
    let given = 2 + maker.choices.below(3);
    let result = (DType::I32, dims, Bounds::whole(-most, most));
    maker.one("ConvInteger", &inputs[..given], window.attributes, result).map(|_| ())
}
