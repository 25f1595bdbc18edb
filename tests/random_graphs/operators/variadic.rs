//! Element-wise operators of any number of operands, `Where`, `Clip` with its optional limits, and conversions.

use super::binary;
use crate::bounds::{Bounds, range};
use crate::dim::{Dim, broadcast, partner};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(6) {
        0 => many(maker),
        1 | 2 => choose(maker),
        3 => clip(maker),
        _ => cast(maker),
    }
}

/// Something of the type that broadcasts with `dims`.
fn fitting(maker: &mut Maker, dtype: DType, dims: &[Dim]) -> Tensor {
    if let Some(found) = maker.find(&[dtype], |t| broadcast(dims, &t.dims).is_some()) {
        return found;
    }
    let dims = partner(&mut maker.choices, dims);
    maker.fresh(dtype, dims)
}

fn many(maker: &mut Maker) -> Option<()> {
    let op = maker.choices.pick(&["Sum", "Mean", "Max", "Min"]);
    let types = if matches!(op, "Sum" | "Mean") { FLOATS } else { NUMBERS };
    let first = maker.any(types, 0..=4);
    let (mut dims, mut all) = (first.dims.clone(), vec![first]);
    for _ in 0..maker.choices.below(4) {
        let next = fitting(maker, all[0].dtype, &dims);
        dims = broadcast(&dims, &next.dims)?;
        all.push(next);
    }
    let total = all.iter().skip(1).fold(all[0].bounds, |sum, t| binary::sum(&sum, &t.bounds));
    let hull = all.iter().skip(1).fold(all[0].bounds, |hull, t| hull.or(t.bounds));
    let count = all.len() as f64;
    let bounds = match op {
        "Sum" => total,
        "Mean" => Bounds::of(total.lo, total.hi, total.error),
        _ => hull,
    };
    let roundings = if matches!(op, "Sum" | "Mean") { count } else { 0.0 };
    let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
    maker.one(op, &names, vec![], (all[0].dtype, dims, bounds.rounded(all[0].dtype, roundings)))?;
    Some(())
}

fn choose(maker: &mut Maker) -> Option<()> {
    let a = maker.any(ALL, 0..=4);
    let b = fitting(maker, a.dtype, &a.dims);
    let dims = broadcast(&a.dims, &b.dims)?;
    let c = fitting(maker, DType::Bool, &dims);
    let dims = broadcast(&dims, &c.dims)?;
    maker.one("Where", &[&c.name, &a.name, &b.name], vec![], (a.dtype, dims, a.bounds.or(b.bounds)))?;
    Some(())
}

/// Limits are optional, and may be the wrong way round: then the upper one wins.
fn clip(maker: &mut Maker) -> Option<()> {
    let x = maker.any(NUMBERS, 0..=4);
    let (lo, hi) = if x.dtype == DType::U8 { (10.0, 100.0) } else { (-1.0, 1.0) };
    let (low, high) = (maker.scalar(x.dtype, lo), maker.scalar(x.dtype, hi));
    let b = x.bounds;
    let (inputs, lo, hi) = match maker.choices.below(5) {
        0 => (vec![&x.name], b.lo, b.hi),
        1 => (vec![&x.name, &low], b.lo.max(lo), b.hi.max(lo)),
        2 => (vec![&x.name, &low, &high], lo, hi),
        3 => (vec![&x.name, &high, &low], lo, lo),
        _ => return clip_above(maker, &x, &high, hi),
    };
    let inputs: Vec<&str> = inputs.into_iter().map(String::as_str).collect();
    maker.one("Clip", &inputs, vec![], (x.dtype, x.dims.clone(), Bounds { lo, hi, ..b }))?;
    Some(())
}

fn clip_above(maker: &mut Maker, x: &Tensor, high: &str, hi: f64) -> Option<()> {
    let bounds = Bounds { lo: x.bounds.lo.min(hi), hi: x.bounds.hi.min(hi), ..x.bounds };
    maker.one("Clip", &[&x.name, "", high], vec![], (x.dtype, x.dims.clone(), bounds))?;
    Some(())
}

/// To any type that holds the numbers: what does not fit an integer is undefined where it comes from a float.
fn cast(maker: &mut Maker) -> Option<()> {
    let to = maker.dtype(ALL);
    let exact = !to.is_float();
    let x = if exact { maker.exact(ALL, 0..=4) } else { maker.any(ALL, 0..=4) };
    let x = match to {
        DType::Bool => x,
        t if t.is_float() => maker.fit(&x, -2000.0, 2000.0)?,
        t if x.dtype.is_float() => {
            let (lo, hi) = range(t);
            maker.fit(&x, lo.max(-1e5), hi.min(1e5))?
        }
        _ => x,
    };
    let bounds = match (to, x.dtype.is_float()) {
        (DType::Bool, _) => Bounds::whole(0.0, 1.0),
        (t, _) if t.is_float() => converted(&x.bounds, t),
        (t, true) => Bounds::whole(x.bounds.lo.trunc(), x.bounds.hi.trunc()).rounded(t, 0.0),
        (t, false) => x.bounds.rounded(t, 0.0),
    };
    if maker.choices.chance(25) {
        let like = maker.any(&[to], 0..=2);
        maker.one("CastLike", &[&x.name, &like.name], vec![], (to, x.dims.clone(), bounds))?;
    } else {
        let code = i64::from(onnx::code(to));
        maker.one("Cast", &[&x.name], vec![onnx::int("to", code)], (to, x.dims.clone(), bounds))?;
    }
    Some(())
}

/// Equal bits stay equal bits: a conversion rounds in one way only.
fn converted(x: &Bounds, to: DType) -> Bounds {
    let exact = x.is_exact();
    let bounds = x.rounded(to, 1.0);
    if exact { Bounds { error: 0.0, ..bounds } } else { bounds }
}
