//! Matrix products.

use super::binary;
use crate::bounds::Bounds;
use crate::dim::{Dim, broadcast};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

const PRODUCTS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::I32, DType::I64];

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(5) {
        0..=2 => matmul(maker),
        3 => gemm(maker),
        _ => integer(maker),
    }
}

/// Bounds of a sum of `n` products.
pub fn dot(a: &Bounds, b: &Bounds, n: usize, dtype: DType) -> Bounds {
    let one = binary::product(a, b);
    let n = n as f64;
    let most = one.magnitude() * n;
    Bounds { lo: -most, hi: most, error: one.error * n, whole: one.whole }.rounded(dtype, n + 1.0)
}

/// Every combination of ranks from 1 to 4.
fn matmul(maker: &mut Maker) -> Option<()> {
    let a = maker.any(PRODUCTS, 1..=4);
    let inner = *a.dims.last()?;
    let fits = |t: &Tensor| match t.dims.as_slice() {
        [k] => *k == inner,
        [outer @ .., k, _] => *k == inner && broadcast(&a.dims[..a.dims.len().max(2) - 2], outer).is_some(),
        [] => false,
    };
    let b = match maker.find(&[a.dtype], fits) {
        Some(found) => found,
        None => {
            let columns = maker.dim();
            let dims = maker.choices.pick(&[0, 0, 1, 2]);
            let dims = match dims {
                0 => vec![inner, columns],
                1 => vec![inner],
                _ => [&a.dims[..a.dims.len().max(2) - 2], &[inner, columns]].concat(),
            };
            maker.fresh(a.dtype, dims)
        }
    };
    if !fits(&b) {
        return None;
    }
    let batch_a = &a.dims[..a.dims.len().max(2) - 2];
    let batch_b = &b.dims[..b.dims.len().max(2) - 2];
    let mut dims = broadcast(batch_a, batch_b)?;
    dims.extend(a.dims.len().checked_sub(2).map(|n| a.dims[n]));
    dims.extend((b.dims.len() > 1).then(|| b.dims[b.dims.len() - 1]));
    let bounds = dot(&a.bounds, &b.bounds, inner.max(), a.dtype);
    maker.one("MatMul", &[&a.name, &b.name], vec![], (a.dtype, dims, bounds)).map(|_| ())
}

fn gemm(maker: &mut Maker) -> Option<()> {
    let a = maker.any(PRODUCTS, 2..=2);
    let (turn_a, turn_b) = (maker.choices.chance(40), maker.choices.chance(40));
    let (m, k) = if turn_a { (a.dims[1], a.dims[0]) } else { (a.dims[0], a.dims[1]) };
    let n = maker.dim();
    let b_dims = if turn_b { vec![n, k] } else { vec![k, n] };
    let b = maker.fresh(a.dtype, b_dims.clone());
    if b.dims != b_dims {
        return None;
    }
    let float = a.dtype.is_float();
    let (alpha, beta) =
        if float { (maker.choices.pick(&[1.0, 0.5]), maker.choices.pick(&[1.0, -0.25])) } else { (1.0, 1.0) };
    let mut bounds = dot(&a.bounds, &b.bounds, k.max(), a.dtype);
    let mut inputs = vec![a.name.clone(), b.name.clone()];
    if maker.choices.chance(60) {
        let c_dims = maker.choices.pick(&[0, 1, 2, 3]);
        let c_dims = match c_dims {
            0 => vec![n],
            1 => vec![m, n],
            2 => vec![m, Dim::Fixed(1)],
            _ => vec![],
        };
        let c = maker.fresh(a.dtype, c_dims);
        broadcast(&[m, n], &c.dims).filter(|d| *d == [m, n])?;
        bounds = binary::sum(&bounds, &c.bounds).rounded(a.dtype, 2.0);
        inputs.push(c.name);
    }
    bounds.whole &= alpha == 1.0 && beta == 1.0;
    let bounds = bounds.rounded(a.dtype, if bounds.whole { 0.0 } else { 2.0 });
    let attributes = vec![
        onnx::float("alpha", alpha),
        onnx::float("beta", beta),
        onnx::int("transA", i64::from(turn_a)),
        onnx::int("transB", i64::from(turn_b)),
    ];
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    maker.one("Gemm", &names, attributes, (a.dtype, vec![m, n], bounds)).map(|_| ())
}

/// Bytes with zero points, summed in `i32`.
fn integer(maker: &mut Maker) -> Option<()> {
    let a = maker.any(&[DType::U8], 2..=3);
    let inner = *a.dims.last()?;
    let columns = maker.dim();
    let b = maker.fresh(DType::U8, vec![inner, columns]);
    if b.dims[0] != inner {
        return None;
    }
    let (zero_a, zero_b) = (maker.scalar(DType::U8, 128.0), maker.scalar(DType::U8, 3.0));
    let inputs = [a.name.as_str(), b.name.as_str(), zero_a.as_str(), zero_b.as_str()];
    let given = 2 + maker.choices.below(3);
    let dims = [&a.dims[..a.dims.len() - 1], &[b.dims[1]]].concat();
    let most = 255.0 * 255.0 * inner.max() as f64;
    maker.one("MatMulInteger", &inputs[..given], vec![], (DType::I32, dims, Bounds::whole(-most, most))).map(|_| ())
}
