//! `Resize` along a dimension whose extents only the run knows: the positions and weights of [`super::resize`]
//! are computed once, before the result, by a loop over the places of that dimension.

use super::arguments::unsupported_form;
use super::builder::{Builder, dims};
use super::resize::{Mode, Tap};
use super::terms::*;
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
    let nearest = mode.interpolation == "nearest";
    let filters = ["antialias", "exclude_outside"].iter().any(|name| mode.node.int(name) == Some(1));
    if !nearest && (mode.interpolation != "linear" || filters) {
        let what = format!("dimension {} is symbolic and not resized to its nearest or two nearest neighbours", r.d);
        return Err(unsupported_form(mode.node, what).help("fix the dimension with --dim"));
    }
    let at = source(mode, r, real(b.iter(0)));
    if nearest {
        let position = rounded(mode, at);
        return Ok(vec![Tap { at: tabulated(b, r, "position", clamped(position, r)), weight: None }]);
    }
    // At a place of the source itself the weights are 0 and 1.
    let first = sub(ceil(at.clone()), lit(1.0, REAL));
    let taps = [0.0, 1.0].map(|offset| {
        let place = add(first.clone(), lit(offset, REAL));
        let weight = sub(lit(1.0, REAL), abs(sub(place.clone(), at.clone())));
        let weight = tabulated(b, r, "weight", Expr::cast(DType::F32, weight));
        Tap { at: tabulated(b, r, "position", clamped(place, r)), weight: Some(weight) }
    });
    Ok(taps.into())
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
