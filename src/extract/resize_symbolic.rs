//! `Resize` along a dimension whose extents only the run knows: the positions and weights of [`super::resize`]
//! are computed once, before the result, by a loop over the places of that dimension.

use super::arguments::unsupported_form;
use super::builder::{Builder, dims};
use super::resize::{Mode, Tap};
use super::terms::*;
use crate::graph::sources;
use sirius_polyhedral::{Aff, DType, Expr, Result, UnaryOp};

const REAL: DType = DType::F64;

/// The extents of the dimension, before and after, and the scale that the node gives (0: from the extents).
pub struct Resized<'a> {
    pub d: usize,
    pub from: &'a Aff,
    pub to: &'a Aff,
    pub scale: f64,
}

pub fn taps(b: &mut Builder, mode: &Mode, r: &Resized) -> Result<Vec<Tap>> {
    let at = source(mode, r, real(b.iter(0)));
    if mode.interpolation == "nearest" {
        let position = rounded(mode, at);
        return Ok(vec![Tap { at: tabulated(b, r, "position", clamped(position, r)), weight: None }]);
    }
    if mode.node.int("antialias") == Some(1) {
        let what = format!("dimension {} is symbolic, so the reach of the antialias filter is not known", r.d);
        let sizes = mode.node.input(3).map(|id| sources::advice(b.graph, &b.graph.params, id));
        let advice = sizes.unwrap_or_else(|| "fix the dimension with --dim".to_string());
        return Err(unsupported_form(mode.node, what).help(advice));
    }
    let weighted = weighted(mode, r, &at);
    let tap = |(place, weight): (Expr, Expr)| {
        let weight = tabulated(b, r, "weight", Expr::cast(DType::F32, weight));
        Tap { at: tabulated(b, r, "position", clamped(place, r)), weight: Some(weight) }
    };
    Ok(weighted.into_iter().map(tap).collect())
}

/// The neighbours of `at`, two (linear) or four (cubic), with their weights. At a place of the source itself all
/// weights but its own are 0.
fn weighted(mode: &Mode, r: &Resized, at: &Expr) -> Vec<(Expr, Expr)> {
    let cubic = mode.interpolation == "cubic";
    let reach = if cubic { 2.0 } else { 1.0 };
    let first = sub(ceil(at.clone()), lit(reach, REAL));
    let exclude = mode.node.int("exclude_outside") == Some(1);
    let tap = |n: u8| {
        let place = add(first.clone(), lit(f64::from(n), REAL));
        let distance = abs(sub(place.clone(), at.clone()));
        let weight = if cubic { keys(mode, distance) } else { sub(lit(1.0, REAL), distance) };
        let last = real(index(r.from.clone() - 1.into()));
        let inside = and(ge(place.clone(), lit(0.0, REAL)), le(place.clone(), last));
        let weight = if exclude { Expr::select(inside, weight, lit(0.0, REAL)) } else { weight };
        (place, weight)
    };
    let mut taps: Vec<(Expr, Expr)> = (0..2 * reach as u8).map(tap).collect();
    if exclude {
        let sum = taps.iter().map(|(_, w)| w.clone()).reduce(add).unwrap_or_else(|| lit(1.0, REAL));
        taps.iter_mut().for_each(|(_, w)| *w = div(w.clone(), sum.clone()));
    }
    taps
}

/// Keys' cubic convolution kernel, as `Mode::cubic` has it for known extents; distances are at most 2.
fn keys(mode: &Mode, x: Expr) -> Expr {
    let a = mode.cubic_parameter();
    let polynomial = |coefficients: [f64; 4]| {
        let c = coefficients.map(|c| lit(c, REAL));
        c.into_iter().reduce(|value, c| add(mul(value, x.clone()), c)).unwrap_or_else(|| lit(0.0, REAL))
    };
    let near = polynomial([a + 2.0, -(a + 3.0), 0.0, 1.0]);
    let far = polynomial([a, -5.0 * a, 8.0 * a, -4.0 * a]);
    Expr::select(le(x.clone(), lit(1.0, REAL)), near, far)
}

/// An array of one value for every place; the element of the current place of the result.
fn tabulated(b: &mut Builder, r: &Resized, what: &str, value: Expr) -> Expr {
    let shape = [r.to.clone()];
    let dtype = if what == "weight" { DType::F32 } else { DType::I64 };
    let name = format!("{}_{what}{}", b.origin.node, r.d);
    let table = b.temp(&name, dtype, shape.to_vec());
    let id = b.assign(&dims("x", &shape), table, b.iters(1), value);
    b.emit_perfect(id, 1);
    b.load(table, vec![b.iter(r.d)])
}

/// Where place `x` of the result lies in the source, as `Mode::source` computes it for known extents.
fn source(mode: &Mode, r: &Resized, x: Expr) -> Expr {
    let (from, to) = (real(index(r.from.clone())), real(index(r.to.clone())));
    let scale = match r.scale {
        0.0 => div(to.clone(), from.clone()),
        known => lit(known, REAL),
    };
    let c = |value: f64| lit(value, REAL);
    let middle = || div(add(x.clone(), c(0.5)), scale.clone());
    let single = |value: Expr| Expr::select(le(to.clone(), c(1.0)), c(0.0), value);
    match mode.coordinates {
        "asymmetric" => div(x, scale),
        "align_corners" => {
            let last = sub(mul(scale, from.clone()), c(1.0));
            single(div(mul(x, sub(from, c(1.0))), last))
        }
        "pytorch_half_pixel" => single(sub(middle(), c(0.5))),
        "tf_half_pixel_for_nn" => middle(),
        "half_pixel_symmetric" => {
            let cut = sub(c(1.0), div(to.clone(), mul(scale.clone(), from.clone())));
            add(mul(div(from, c(2.0)), cut), sub(middle(), c(0.5)))
        }
        _ => sub(middle(), c(0.5)),
    }
}

fn rounded(mode: &Mode, at: Expr) -> Expr {
    match mode.nearest {
        "floor" => floor(at),
        "ceil" => ceil(at),
        "round_prefer_ceil" => floor(add(at, lit(0.5, REAL))),
        _ => ceil(sub(at, lit(0.5, REAL))),
    }
}

/// A whole number as a position inside the source.
fn clamped(place: Expr, r: &Resized) -> Expr {
    max(Expr::int(0), min(Expr::cast(DType::I64, place), index(r.from.clone() - 1.into())))
}

fn real(value: Expr) -> Expr {
    Expr::cast(REAL, value)
}

fn floor(value: Expr) -> Expr {
    Expr::unary(UnaryOp::Floor, value)
}

fn ceil(value: Expr) -> Expr {
    Expr::unary(UnaryOp::Ceil, value)
}
