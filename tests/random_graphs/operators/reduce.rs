//! Reductions over some axes.

use crate::bounds::Bounds;
use crate::dim::{Dim, volume};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

struct Reduction {
    op: &'static str,
    types: &'static [DType],
    domain: (f64, f64),
    /// Bounds for `n` elements, before rounding.
    bounds: fn(&Bounds, f64) -> Bounds,
    /// Units in the last place for `n` elements.
    roundings: fn(f64) -> f64,
    /// Has it a value for no elements?
    empty: bool,
}

const WIDE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const SUMS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::I64, DType::I32];

const fn entry(
    op: &'static str,
    types: &'static [DType],
    domain: (f64, f64),
    bounds: fn(&Bounds, f64) -> Bounds,
) -> Reduction {
    Reduction { op, types, domain, bounds, roundings: |n| n, empty: true }
}

static TABLE: &[Reduction] = &[
    entry("ReduceSum", SUMS, WIDE, sum),
    Reduction { empty: false, ..entry("ReduceMean", FLOATS, WIDE, |x, _| Bounds { whole: false, ..*x }) },
    Reduction { empty: false, roundings: |_| 0.0, ..entry("ReduceMax", ALL, WIDE, |x, _| *x) },
    Reduction { empty: false, roundings: |_| 0.0, ..entry("ReduceMin", ALL, WIDE, |x, _| *x) },
    entry("ReduceProd", SUMS, (-1.5, 1.5), |x, n| {
        let most = x.magnitude().max(1.0).powf(n);
        Bounds { lo: -most, hi: most, error: n * most * x.error, whole: x.whole }
    }),
    entry("ReduceL1", SUMS, WIDE, |x, n| sum(&magnitudes(x), n)),
    entry("ReduceSumSquare", SUMS, (-1e3, 1e3), |x, n| sum(&squares(x), n)),
    // The root is steep at zero: this keeps the sum away from it.
    Reduction {
        empty: false,
        ..entry("ReduceL2", FLOATS, (0.25, 1e3), |x, n| Bounds::of(0.0, x.magnitude() * n.sqrt(), x.error * n.sqrt()))
    },
    Reduction {
        roundings: |n| n + 10.0,
        empty: false,
        ..entry("ReduceLogSum", FLOATS, (0.25, 1e3), |x, n| {
            Bounds::of(-2.0, (n * x.hi).ln().max(1.0), x.error / x.lo + 1e-300)
        })
    },
    Reduction {
        roundings: |n| n + 10.0,
        empty: false,
        ..entry("ReduceLogSumExp", FLOATS, (-50.0, 50.0), |x, n| Bounds::of(x.lo, x.hi + n.ln(), x.error))
    },
];

fn sum(x: &Bounds, n: f64) -> Bounds {
    Bounds { lo: (n * x.lo).min(0.0), hi: (n * x.hi).max(0.0), error: n * x.error, whole: x.whole }
}

fn magnitudes(x: &Bounds) -> Bounds {
    Bounds { lo: 0.0, hi: x.magnitude(), ..*x }
}

fn squares(x: &Bounds) -> Bounds {
    let most = x.magnitude();
    Bounds { lo: 0.0, hi: most * most, error: 2.0 * most * x.error, whole: x.whole }
}

pub fn add(maker: &mut Maker) -> Option<()> {
    let spec = &TABLE[maker.choices.below(TABLE.len())];
    let x = maker.any(spec.types, 0..=4);
    let x = maker.fit(&x, spec.domain.0, spec.domain.1)?;
    let axes = axes(maker, x.dims.len());
    let reduced: Vec<Dim> = axes.iter().map(|a| x.dims[*a]).collect();
    if !spec.empty && reduced.iter().any(|d| d.min() == 0) {
        return None;
    }
    let keep = !maker.choices.chance(50);
    let dims = remaining(&x.dims, &axes, keep);
    let n = volume(&reduced).max(1) as f64;
    let bounds = (spec.bounds)(&x.bounds, n).rounded(x.dtype, (spec.roundings)(n));
    let mut attributes = vec![onnx::int("keepdims", i64::from(keep))];
    let list = names_of(maker, &axes, x.dims.len());
    let mut inputs = vec![x.name.as_str()];
    match &list {
        Some(list) => inputs.push(list),
        // No axes at all are all axes, or none.
        None if axes.is_empty() => attributes.push(onnx::int("noop_with_empty_axes", 1)),
        None => {}
    }
    maker.one(spec.op, &inputs, attributes, (x.dtype, dims, bounds))?;
    Some(())
}

/// A subset, in order; all where the model need not name them.
fn axes(maker: &mut Maker, rank: usize) -> Vec<usize> {
    if maker.choices.chance(30) {
        return (0..rank).collect();
    }
    let chosen: Vec<usize> = (0..rank).filter(|_| maker.choices.chance(45)).collect();
    if chosen.is_empty() && rank > 0 { vec![maker.choices.below(rank)] } else { chosen }
}

/// The list as an input, some from the end; nothing where it may be left out.
fn names_of(maker: &mut Maker, axes: &[usize], rank: usize) -> Option<String> {
    if axes.len() == rank && maker.choices.chance(50) || axes.is_empty() {
        return None;
    }
    let signed = |a: &usize| if maker.choices.chance(40) { *a as i64 - rank as i64 } else { *a as i64 };
    let list: Vec<i64> = axes.iter().map(signed).collect();
    Some(maker.list(&list))
}

fn remaining(dims: &[Dim], axes: &[usize], keep: bool) -> Vec<Dim> {
    let one = |(n, d): (usize, &Dim)| match axes.contains(&n) {
        true if keep => Some(Dim::Fixed(1)),
        true => None,
        false => Some(*d),
    };
    dims.iter().enumerate().filter_map(one).collect()
}
