//! `GridSample`: elements at places that are data, between the elements that are there.
//!
//! One statement per dimension finds the places; then every result is a reduction over taps, two along each
//! dimension for linear and four for cubic interpolation, each with its weight: the product over dimensions.

use super::arguments::*;
use super::builder::{Builder, Dims, dims};
use super::contraction::{Reduction, reduction};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result, UnaryOp};

/// Weight of the cubic convolution kernel (Keys 1981) that `GridSample` uses.
const CUBIC: f64 = -0.75;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How places become elements and weights, computed in `t`.
struct Sampler {
    method: Method,
    padding: Padding,
    align: bool,
    t: DType,
}

impl Sampler {
    fn of(node: &Node, t: DType) -> Result<Sampler> {
        let method = match node.string("mode").unwrap_or("linear") {
            "nearest" => Method::Nearest,
            "linear" | "bilinear" => Method::Linear,
            "cubic" | "bicubic" => Method::Cubic,
            other => return Err(invalid(node, format!("mode `{other}`"))),
        };
        let padding = match node.string("padding_mode").unwrap_or("zeros") {
            "zeros" => Padding::Zeros,
            "border" => Padding::Border,
            "reflection" => Padding::Reflection,
            other => return Err(invalid(node, format!("padding_mode `{other}`"))),
        };
        Ok(Sampler { method, padding, align: node.int("align_corners") == Some(1), t })
    }

    fn taps(&self) -> i64 {
        match self.method {
            Method::Nearest => 1,
            Method::Linear => 2,
            Method::Cubic => 4,
        }
    }

    fn number(&self, value: f64) -> Expr {
        lit(value, self.t)
    }

    /// The borders at which reflection happens: pixel centres, or the outer edges of the pixels.
    fn borders(&self, n: &Expr) -> (Expr, Expr) {
        let last = sub(n.clone(), self.number(1.0));
        match self.align {
            true => (self.number(0.0), last),
            false => (self.number(-0.5), add(last, self.number(0.5))),
        }
    }

    /// The place, in elements, of the normalized coordinate `v` in -1..1 along `n` elements.
    fn place(&self, v: Expr, n: &Expr) -> Expr {
        let shifted = add(v, self.number(1.0));
        let x = match self.align {
            true => mul(div(shifted, self.number(2.0)), sub(n.clone(), self.number(1.0))),
            false => div(sub(mul(shifted, n.clone()), self.number(1.0)), self.number(2.0)),
        };
        let x = if self.method == Method::Nearest { round(x) } else { x };
        let (low, high) = self.borders(n);
        let inside = and(ge(x.clone(), low.clone()), le(x.clone(), high.clone()));
        let moved = match self.padding {
            Padding::Zeros => return x,
            Padding::Border => clamp(x.clone(), self.number(0.0), sub(n.clone(), self.number(1.0))),
            Padding::Reflection => self.reflect(x.clone(), low, high),
        };
        Expr::select(inside, x, moved)
    }

    fn reflect(&self, x: Expr, low: Expr, high: Expr) -> Expr {
        let range = sub(high, low.clone());
        let double = mul(range.clone(), self.number(2.0));
        let folded = modulo(sub(x, low.clone()), double.clone());
        let back = Expr::select(gt(folded.clone(), range.clone()), sub(double, folded.clone()), folded);
        Expr::select(le(range, self.number(0.0)), low.clone(), add(low, back))
    }

    /// The element for position `at`, and whether it is one.
    fn element(&self, at: Expr, extent: &Aff, n: &Expr) -> (Expr, Expr) {
        let last = sub(n.clone(), self.number(1.0));
        let at = match self.padding {
            Padding::Zeros => at,
            Padding::Border => clamp(at, self.number(0.0), last.clone()),
            Padding::Reflection => {
                let (low, high) = self.borders(n);
                clamp(self.reflect(at, low, high), self.number(0.0), last.clone())
            }
        };
        let inside = and(ge(at.clone(), self.number(0.0)), le(at.clone(), last));
        let position = clamp(Expr::cast(DType::I64, at), Expr::int(0), index(extent.clone() - 1.into()));
        (position, inside)
    }

    /// Position and weight of tap `tap` around `x`.
    fn tap(&self, x: Expr, tap: Expr) -> (Expr, Expr) {
        if self.method == Method::Nearest {
            return (x, self.number(1.0));
        }
        let first = if self.method == Method::Cubic { 1 } else { 0 };
        let offset = Expr::cast(self.t, sub(tap, Expr::int(first)));
        let at = add(Expr::unary(UnaryOp::Floor, x.clone()), offset);
        let distance = abs(sub(at.clone(), x));
        let weight = match self.method {
            Method::Cubic => self.cubic(distance),
            _ => sub(self.number(1.0), distance),
        };
        (at, weight)
    }

    fn cubic(&self, d: Expr) -> Expr {
        let c = |v: f64| self.number(v);
        let near = mul(sub(mul(c(CUBIC + 2.0), d.clone()), c(CUBIC + 3.0)), mul(d.clone(), d.clone()));
        let far = mul(sub(mul(c(CUBIC), d.clone()), c(5.0 * CUBIC)), d.clone());
        let far = sub(mul(add(far, c(8.0 * CUBIC)), d.clone()), c(4.0 * CUBIC));
        Expr::select(le(d, c(1.0)), add(near, c(1.0)), far)
    }
}

pub fn clamp(x: Expr, low: Expr, high: Expr) -> Expr {
    max(min(x, high), low)
}

pub fn grid_sample(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, grid, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let (shape, result, out) = (b.shape(source), b.shape(target), b.dtype(target));
    let sampler = Sampler::of(node, wide(b.dtype(grid)))?;
    let (spatial, t) = (shape.len() - 2, wide(out));
    let name = b.graph.tensor(target).name.clone();
    let mut points = vec![result[0].clone()];
    points.extend_from_slice(&result[2..]);
    let mut places = Vec::new();
    for d in 0..spatial {
        let mut at = b.iters(points.len());
        at.push(Expr::int((spatial - 1 - d) as i64));
        let v = convert(b.dtype(grid), sampler.t, b.read(grid, &at)?);
        let n = convert(DType::I64, sampler.t, index(shape[d + 2].clone()));
        let place = b.temp(&format!("{name}_place{d}"), sampler.t, points.clone());
        let id = b.assign(&dims("p", &points), place, b.iters(points.len()), sampler.place(v, &n));
        b.emit_perfect(id, points.len());
        places.push(place);
    }
    let rank = result.len();
    let point: Vec<Expr> = [b.iter(0)].into_iter().chain((2..rank).map(|d| b.iter(d))).collect();
    let mut at = b.iters(2);
    let (mut weight, mut inside): (Option<Expr>, Option<Expr>) = (None, None);
    for (d, place) in places.into_iter().enumerate() {
        let n = convert(DType::I64, sampler.t, index(shape[d + 2].clone()));
        let (position, own) = sampler.tap(b.load(place, point.clone()), b.iter(rank + d));
        let (position, is_inside) = sampler.element(position, &shape[d + 2], &n);
        at.push(position);
        weight = Some(weight.map_or(own.clone(), |w| mul(w, own)));
        inside = Some(inside.map_or(is_inside.clone(), |i| and(i, is_inside)));
    }
    let x = convert(b.dtype(source), t, b.read(source, &at)?);
    let weighted = match weight.filter(|_| sampler.method != Method::Nearest) {
        Some(weight) => mul(x, convert(sampler.t, t, weight)),
        None => x,
    };
    let value = inside.map_or(weighted.clone(), |inside| Expr::select(inside, weighted, lit(0.0, t)));
    let mut all: Dims = dims("i", &result);
    all.extend((0..spatial).map(|d| (format!("tap{d}"), Aff::constant(sampler.taps()))));
    let array = b.define(target);
    let place = b.iters(rank);
    let acc = format!("{name}_acc");
    let r = Reduction { name: &acc, dtype: t, op: BinaryOp::Add, init: lit(0.0, t), dims: &all, parallel: rank, value };
    reduction(b, r, array, place, |_, total| convert(t, out, total));
    Ok(())
}
