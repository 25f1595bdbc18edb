//! Quantization: exact operands only, as rounding to a step jumps.

use super::layout::axis;
use crate::bounds::Bounds;
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    if maker.choices.chance(50) { dequantize(maker) } else { quantize(maker) }
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
