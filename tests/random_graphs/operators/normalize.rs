//! Softmax and normalizations.
//!
//! A normalization divides by the root of a variance plus `epsilon`; here `epsilon` is large enough that the quotient
//! stays as accurate as its operands.

use super::layout::axis;
use crate::bounds::Bounds;
use crate::dim::{Dim, volume};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

const EPSILON: f64 = 0.5;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(9) {
        0..=2 => softmax(maker),
        3 => batch(maker),
        4 | 5 => layer(maker),
        6 => instance(maker),
        7 => response(maker),
        _ => lp(maker),
    }
}

fn softmax(maker: &mut Maker) -> Option<()> {
    let op = maker.choices.pick(&["Softmax", "Softmax", "LogSoftmax", "Hardmax"]);
    let x = if op == "Hardmax" { maker.exact(FLOATS, 1..=4) } else { maker.any(FLOATS, 1..=4) };
    let x = maker.fit(&x, -20.0, 20.0)?;
    let (written, at) = axis(maker, x.dims.len());
    let n = x.dims[at].max().max(1) as f64;
    let b = x.bounds;
    // The difference from the maximum is rounded, too.
    let error = 2.0 * b.error + Bounds::of(0.0, 2.0 * b.magnitude(), 0.0).rounded(x.dtype, 1.0).error;
    let bounds = match op {
        "Softmax" => Bounds::of(0.0, 1.0, error).rounded(x.dtype, n + 16.0),
        "LogSoftmax" => Bounds::of(b.lo - b.hi - n.ln() - 0.1, 0.0, error).rounded(x.dtype, n + 16.0),
        _ => Bounds::whole(0.0, 1.0),
    };
    let attributes = if written == -1 { vec![] } else { vec![onnx::int("axis", written)] };
    maker.one(op, &[&x.name], attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

/// A constant or input vector of this length.
fn vector(maker: &mut Maker, dtype: DType, n: usize, bounds: Bounds) -> Tensor {
    maker.made(dtype, vec![Dim::Fixed(n)], bounds)
}

fn batch(maker: &mut Maker) -> Option<()> {
    let x = maker.find(FLOATS, |t| t.dims.len() >= 2 && t.dims[1].fixed().is_some_and(|c| c > 0));
    let x = match x {
        Some(x) => x,
        None => {
            let dtype = maker.dtype(FLOATS);
            let dims = vec![maker.dim(), Dim::Fixed(3), maker.dim(), maker.dim()];
            maker.fresh(dtype, dims)
        }
    };
    let c = x.dims[1].fixed()?;
    let scale = vector(maker, x.dtype, c, Bounds::exact(-1.0, 1.0));
    let shift = vector(maker, x.dtype, c, Bounds::exact(-1.0, 1.0));
    let mean = vector(maker, x.dtype, c, Bounds::exact(-1.0, 1.0));
    let variance = vector(maker, x.dtype, c, Bounds::exact(0.5, 2.0));
    let most = (x.bounds.magnitude() + 1.0) * 1.5 + 1.0;
    let bounds = Bounds::of(-most, most, 1.5 * x.bounds.error).rounded(x.dtype, 8.0);
    let inputs = [&x, &scale, &shift, &mean, &variance].map(|t| t.name.as_str());
    maker.one("BatchNormalization", &inputs, vec![], (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

/// `(x - mean) / sqrt(variance + epsilon)` over `n` elements, times a scale of at most 1, plus at most 1.
fn normalized(x: &Bounds, n: f64, dtype: DType) -> Bounds {
    let most = x.magnitude();
    let mean = Bounds::of(-most, most, x.error).rounded(dtype, n + 1.0);
    let square = Bounds::of(0.0, 4.0 * most * most, 4.0 * most * (x.error + mean.error)).rounded(dtype, n + 2.0);
    let (a, b) = (EPSILON.powf(-0.5), 0.5 * EPSILON.powf(-1.5));
    let error = a * (x.error + mean.error) + 2.0 * most * b * square.error;
    let reach = (2.0 * most * a).min(n.sqrt() + 0.1) + 1.0;
    Bounds::of(-reach, reach, error).rounded(dtype, 8.0)
}

/// Over the last axes, with the optional shift and the optional results.
fn layer(maker: &mut Maker) -> Option<()> {
    let x = maker.any(FLOATS, 1..=4);
    let x = maker.fit(&x, -8.0, 8.0)?;
    let (written, at) = axis(maker, x.dims.len());
    let over: Vec<Dim> = x.dims[at..].to_vec();
    if over.iter().any(|d| d.min() == 0) {
        return None;
    }
    let op = maker.choices.pick(&["LayerNormalization", "LayerNormalization", "RMSNormalization"]);
    if op == "RMSNormalization" {
        return rms(maker, &x, written, over);
    }
    let bounds = normalized(&x.bounds, volume(&over) as f64, x.dtype);
    let scale = maker.made(x.dtype, over.clone(), Bounds::exact(-1.0, 1.0));
    let mut inputs = vec![x.name.clone(), scale.name];
    if maker.choices.chance(50) {
        inputs.push(maker.made(x.dtype, over, Bounds::exact(-1.0, 1.0)).name);
    }
    let mut results = vec![(x.dtype, x.dims.clone(), bounds)];
    if x.dtype == DType::F32 && maker.choices.chance(30) {
        let ones = std::iter::repeat_n(Dim::Fixed(1), x.dims.len() - at);
        let dims: Vec<Dim> = x.dims[..at].iter().copied().chain(ones).collect();
        results.push((DType::F32, dims.clone(), Bounds::of(-8.0, 8.0, bounds.error)));
        results.push((DType::F32, dims, Bounds::of(0.0, 1.5, bounds.error)));
    }
    let attributes = vec![onnx::int("axis", written), onnx::float("epsilon", EPSILON as f32)];
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    maker.node("LayerNormalization", &names, attributes, results).map(|_| ())
}

fn rms(maker: &mut Maker, x: &Tensor, written: i64, over: Vec<Dim>) -> Option<()> {
    let bounds = normalized(&x.bounds, volume(&over) as f64, x.dtype);
    let scale = maker.made(x.dtype, over, Bounds::exact(-1.0, 1.0));
    let attributes = vec![onnx::int("axis", written), onnx::float("epsilon", EPSILON as f32)];
    maker.one("RMSNormalization", &[&x.name, &scale.name], attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

fn instance(maker: &mut Maker) -> Option<()> {
    let fits = |t: &Tensor| {
        t.dims.len() >= 3 && t.dims[1].fixed().is_some_and(|c| c > 0) && t.dims[2..].iter().all(|d| d.min() > 0)
    };
    let x = maker.find(FLOATS, fits)?;
    let x = maker.fit(&x, -8.0, 8.0)?;
    let c = x.dims[1].fixed()?;
    let grouped = maker.choices.chance(50);
    let groups = if c % 2 == 0 { 2 } else { 1 };
    let scale = vector(maker, x.dtype, c, Bounds::exact(-1.0, 1.0));
    let shift = vector(maker, x.dtype, c, Bounds::exact(-1.0, 1.0));
    let inputs = [&x, &scale, &shift].map(|t| t.name.as_str());
    let n = volume(&x.dims[2..]) * if grouped { c / groups } else { 1 };
    let bounds = normalized(&x.bounds, n as f64, x.dtype);
    let mut attributes = vec![onnx::float("epsilon", EPSILON as f32)];
    let op = if grouped { "GroupNormalization" } else { "InstanceNormalization" };
    if grouped {
        attributes.push(onnx::int("num_groups", groups as i64));
    }
    maker.one(op, &inputs, attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

/// Across channels.
fn response(maker: &mut Maker) -> Option<()> {
    let x = maker.find(FLOATS, |t| t.dims.len() >= 3)?;
    let x = maker.fit(&x, -4.0, 4.0)?;
    let size = maker.choices.between(1, 4);
    let attributes = vec![onnx::int("size", size), onnx::float("alpha", 0.5), onnx::float("beta", 0.75)];
    let most = x.bounds.magnitude();
    let bounds = Bounds::of(-most, most, x.bounds.error * (1.0 + most * most)).rounded(x.dtype, 32.0 * (1.0 + most));
    maker.one("LRN", &[&x.name], attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

/// Of numbers away from zero: the norm is steep there.
fn lp(maker: &mut Maker) -> Option<()> {
    let x = maker.any(FLOATS, 1..=4);
    let x = maker.fit(&x, 0.25, 8.0)?;
    let (written, at) = axis(maker, x.dims.len());
    let n = x.dims[at].max().max(1) as f64;
    let attributes = vec![onnx::int("axis", written), onnx::int("p", maker.choices.between(1, 2))];
    let bounds = Bounds::of(0.0, 1.0, x.bounds.error * 8.0).rounded(x.dtype, n + 4.0);
    maker.one("LpNormalization", &[&x.name], attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}
