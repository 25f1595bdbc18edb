//! `Resize` along a dimension whose extents, scale or region only the run knows: the positions and weights of
//! [`super::resize`] are computed once, before the result, by a loop over the places of that dimension.
//!
//! Where the scale is such, every dimension may turn out to be resized: one pass per dimension then, each over the
//! result of the one before. The taps of the antialias filter are as many as the scale says: their sum is a loop.

use super::amounts;
use super::builder::{Builder, Dims, View, dims};
use super::contraction::{Reduction, accumulate};
use super::resize::{Mode, Tap};
use super::terms::*;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result, UnaryOp};

const REAL: DType = DType::F64;

/// Taps of a filter along one dimension; no reduction of an image is as strong.
const MOST_TAPS: i64 = 1 << 16;

/// The extents of the dimension, before and after, and the scale that the node gives (0: from the extents).
pub struct Resized<'a> {
    pub d: usize,
    pub from: &'a Aff,
    pub to: &'a Aff,
    pub scale: f64,
}

pub fn taps(b: &mut Builder, mode: &Mode, r: &Resized) -> Vec<Tap> {
    let at = source(mode, r, real(b.iter(0)));
    if mode.interpolation == "nearest" {
        let position = rounded(mode, at);
        return vec![Tap { at: tabulated(b, r, "position", DType::I64, clamped(position, r)), weight: None }];
    }
    let weighted = weighted(mode, r, &at);
    let tap = |(place, weight): (Expr, Expr)| {
        let weight = tabulated(b, r, "weight", DType::F32, Expr::cast(DType::F32, weight));
        Tap { at: tabulated(b, r, "position", DType::I64, clamped(place, r)), weight: Some(weight) }
    };
    weighted.into_iter().map(tap).collect()
}

/// Does the current place of the dimension lie inside the source?
pub fn inside(b: &mut Builder, mode: &Mode, r: &Resized) -> Expr {
    let at = source(mode, r, real(b.iter(0)));
    let last = real(index(r.from.clone() - 1.into()));
    let flag = and(ge(at.clone(), lit(0.0, REAL)), le(at, last));
    tabulated(b, r, "inside", DType::Bool, flag)
}

/// Is the dimension resized by a loop nest of its own? One of known extents and scale is not.
pub fn is_own_pass(mode: &Mode, r: &Resized) -> bool {
    let known = r.from.as_constant().is_some() && r.to.as_constant().is_some();
    mode.scales[r.d].is_some() || widens(mode) && !known && !(r.from == r.to && r.scale == 1.0)
}

fn widens(mode: &Mode) -> bool {
    mode.node.int("antialias") == Some(1)
}

/// `whole`, whose elements have the first of the types and are of shape `shape`, with dimension `r.d` resized.
pub fn pass(
    b: &mut Builder,
    mode: &Mode,
    r: &Resized,
    (whole, dtype, t): (&View, DType, DType),
    shape: &mut [Aff],
) -> Result<View> {
    shape[r.d] = r.to.clone();
    let own = dims("i", shape);
    let array = b.temp(&format!("{}_along{}", b.origin.node, r.d), t, shape.to_vec());
    let mut at = b.iters(shape.len());
    if widens(mode) {
        let value = filtered(b, mode, r, (whole, dtype, t), &own);
        let id = b.assign(&own, array, at.clone(), value);
        b.emit_perfect(id, own.len());
    } else {
        let taps = taps(b, mode, r);
        let terms = taps.into_iter().map(|tap| {
            at[r.d] = tap.at;
            let value = convert(dtype, t, b.at(whole, &at));
            tap.weight.map_or(value.clone(), |weight| mul(value, convert(DType::F32, t, weight)))
        });
        let value = terms.reduce(add).unwrap_or_else(|| lit(0.0, t));
        let id = b.assign(&own, array, b.iters(own.len()), value);
        b.emit_perfect(id, own.len());
    }
    let value = b.load(array, b.iters(own.len()));
    Ok(b.view_of(value))
}

/// The filter of linear or cubic interpolation, made wider where the result is smaller: the sum over as many taps as
/// it reaches, divided by the sum of their weights. In a loop over `own`.
fn filtered(b: &mut Builder, mode: &Mode, r: &Resized, (whole, dtype, t): (&View, DType, DType), own: &Dims) -> Expr {
    let cubic = mode.interpolation == "cubic";
    let narrow = min(scale(mode, r), lit(1.0, REAL));
    let half = ceil(div(lit(if cubic { 2.0 } else { 1.0 }, REAL), narrow.clone()));
    let count = Expr::cast(DType::I64, mul(half.clone(), lit(2.0, REAL)));
    let taps = amounts::loop_bound(b, &format!("{}_taps{}", b.origin.node, r.d), count, MOST_TAPS);
    // Place and weight of tap `n` at place `x` of the result.
    let tap = |x: Expr, n: Expr| {
        let at = source(mode, r, real(x));
        let place = add(sub(ceil(at.clone()), half.clone()), real(n));
        let distance = abs(mul(sub(place.clone(), at), narrow.clone()));
        let near = if cubic { keys(mode, distance.clone()) } else { sub(lit(1.0, REAL), distance.clone()) };
        let weight = Expr::select(lt(distance, lit(if cubic { 2.0 } else { 1.0 }, REAL)), near, lit(0.0, REAL));
        let excluded = mode.node.int("exclude_outside") == Some(1);
        (place.clone(), if excluded { Expr::select(is_inside(&place, r), weight, lit(0.0, REAL)) } else { weight })
    };
    let name = format!("{}_weights{}", b.origin.node, r.d);
    let over: Dims = vec![("x".to_string(), r.to.clone()), ("tap".to_string(), taps.clone())];
    let (_, weight) = tap(b.iter(0), b.iter(1));
    let sum = Reduction {
        name: &name,
        dtype: REAL,
        op: BinaryOp::Add,
        init: lit(0.0, REAL),
        dims: &over,
        parallel: 1,
        value: weight,
    };
    let (weights, nodes) = accumulate(b, sum);
    let nest = b.bands(0..1, nodes);
    b.emit(nest);
    let rank = own.len();
    let mut over = own.clone();
    over.push(("tap".to_string(), taps));
    let (place, weight) = tap(b.iter(r.d), b.iter(rank));
    let mut at = b.iters(rank);
    at[r.d] = clamped(place, r);
    let share = div(weight, b.load(weights, vec![b.iter(r.d)]));
    let value = mul(convert(dtype, t, b.at(whole, &at)), Expr::cast(t, share));
    let name = format!("{}_filtered{}", b.origin.node, r.d);
    let sum =
        Reduction { name: &name, dtype: t, op: BinaryOp::Add, init: lit(0.0, t), dims: &over, parallel: rank, value };
    let (acc, nodes) = accumulate(b, sum);
    let nest = b.bands(0..rank, nodes);
    b.emit(nest);
    b.load(acc, b.iters(rank))
}

fn is_inside(place: &Expr, r: &Resized) -> Expr {
    let last = real(index(r.from.clone() - 1.into()));
    and(ge(place.clone(), lit(0.0, REAL)), le(place.clone(), last))
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
        let weight = if exclude { Expr::select(is_inside(&place, r), weight, lit(0.0, REAL)) } else { weight };
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
fn tabulated(b: &mut Builder, r: &Resized, what: &str, dtype: DType, value: Expr) -> Expr {
    let shape = [r.to.clone()];
    let name = format!("{}_{what}{}", b.origin.node, r.d);
    let table = b.temp(&name, dtype, shape.to_vec());
    let id = b.assign(&dims("x", &shape), table, b.iters(1), value);
    b.emit_perfect(id, 1);
    b.load(table, vec![b.iter(r.d)])
}

/// The scale: given, or from the extents.
fn scale(mode: &Mode, r: &Resized) -> Expr {
    match &mode.scales[r.d] {
        Some(scale) => scale.clone(),
        None if r.scale == 0.0 => div(real(index(r.to.clone())), real(index(r.from.clone()))),
        None => lit(r.scale, REAL),
    }
}

/// Where place `x` of the result lies in the source, as `Mode::source` computes it for known extents.
fn source(mode: &Mode, r: &Resized, x: Expr) -> Expr {
    let (from, to) = (real(index(r.from.clone())), real(index(r.to.clone())));
    let scale = scale(mode, r);
    let c = |value: f64| lit(value, REAL);
    if let Some((start, end)) = &mode.regions[r.d] {
        let step = div(sub(end.clone(), start.clone()), max(sub(to.clone(), c(1.0)), c(1.0)));
        let middle = div(add(start.clone(), end.clone()), c(2.0));
        let along = Expr::select(gt(to, c(1.0)), add(start.clone(), mul(x, step)), middle);
        return mul(along, sub(from, c(1.0)));
    }
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
