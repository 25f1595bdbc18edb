//! Positions of the largest elements, and running sums.

use super::layout::axis;
use super::linear::dot;
use crate::bounds::Bounds;
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(5) {
        0 | 1 => arg(maker),
        2 | 3 => top_k(maker),
        _ => running_sum(maker),
    }
}

/// Ties are decided by `select_last_index`, so equal operands give equal positions.
fn arg(maker: &mut Maker) -> Option<()> {
    let op = maker.choices.pick(&["ArgMax", "ArgMin"]);
    let x = maker.exact(NUMBERS, 1..=4);
    let (written, at) = axis(maker, x.dims.len());
    if x.dims[at].min() == 0 {
        return None;
    }
    let (keep, last) = (maker.choices.chance(50), maker.choices.chance(40));
    let mut dims = x.dims.clone();
    match keep {
        true => dims[at] = Dim::Fixed(1),
        false => drop(dims.remove(at)),
    }
    let attributes = vec![
        onnx::int("axis", written),
        onnx::int("keepdims", i64::from(keep)),
        onnx::int("select_last_index", i64::from(last)),
    ];
    let bounds = Bounds::whole(0.0, x.dims[at].max() as f64 - 1.0);
    maker.one(op, &[&x.name], attributes, (DType::I64, dims, bounds)).map(|_| ())
}

/// Equal elements keep their order; only sorted results have a defined order.
fn top_k(maker: &mut Maker) -> Option<()> {
    let x = maker.exact(NUMBERS, 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let k = maker.choices.below(x.dims[at].min() + 1);
    let count = maker.constant(Value::vector(&[k as i64]), Bounds::whole(0.0, 9.0)).name;
    let mut dims = x.dims.clone();
    dims[at] = Dim::Fixed(k);
    let largest = i64::from(!maker.choices.chance(50));
    let attributes = vec![onnx::int("axis", written), onnx::int("largest", largest)];
    let positions = Bounds::whole(0.0, (x.dims[at].max() as f64 - 1.0).max(0.0));
    let results = vec![(x.dtype, dims.clone(), x.bounds), (DType::I64, dims, positions)];
    maker.node("TopK", &[&x.name, &count], attributes, results).map(|_| ())
}

fn running_sum(maker: &mut Maker) -> Option<()> {
    let x = maker.any(&[DType::F32, DType::F64, DType::F16, DType::I32, DType::I64], 1..=4);
    let (written, at) = axis(maker, x.dims.len());
    let place = maker.constant(Value::scalar(written), Bounds::whole(-4.0, 4.0)).name;
    let (exclusive, reverse) = (maker.choices.chance(40), maker.choices.chance(40));
    let attributes = vec![onnx::int("exclusive", i64::from(exclusive)), onnx::int("reverse", i64::from(reverse))];
    let bounds = dot(&x.bounds, &Bounds::whole(1.0, 1.0), x.dims[at].max().max(1), x.dtype).or_value(0.0);
    maker.one("CumSum", &[&x.name, &place], attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}
