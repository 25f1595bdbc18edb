//! `DeformConv`: a convolution whose window elements are displaced by data.
//!
//! First every window element is sampled between its neighbours (outside is zero) and weighted by the mask; the
//! rest is an ordinary contraction with the weights.

use super::arguments::*;
use super::builder::{Builder, Dims, dims};
use super::contraction::{Reduction, reduction};
use super::padding::Window;
use super::sample::clamp;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, UnaryOp};

/// The operands and the geometry.
struct Form {
    image: TensorId,
    offset: TensorId,
    mask: Option<TensorId>,
    shape: Vec<Aff>,
    result: Vec<Aff>,
    window: Window,
    channels: i64,
    groups: i64,
    offset_groups: i64,
    t: DType,
}

impl Form {
    fn new(b: &mut Builder, node: &Node) -> Result<Form> {
        let (image, weights, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
        let (shape, result) = (b.shape(image), b.shape(target));
        let kernel: Option<Vec<i64>> = b.shape(weights).iter().skip(2).map(Aff::as_constant).collect();
        let kernel = kernel.ok_or_else(|| unsupported_form(node, "the kernel must have a constant size"))?;
        let window = Window::new(b, node, kernel, &shape[2..], &result[2..])?;
        let channels = shape[1].as_constant().filter(|c| *c > 0);
        let channels = channels.ok_or_else(|| unsupported_form(node, "the channels must be constant"))?;
        let (groups, offset_groups) = (node.int("group").unwrap_or(1), node.int("offset_group").unwrap_or(1));
        if groups < 1 || offset_groups < 1 || channels % groups != 0 || channels % offset_groups != 0 {
            return Err(invalid(node, format!("{channels} channels in {groups} groups, {offset_groups} of offsets")));
        }
        let (offset, mask, t) = (input(node, 2)?, node.input(4), wide(b.dtype(target)));
        Ok(Form { image, offset, mask, shape, result, window, channels, groups, offset_groups, t })
    }

    fn spatial(&self) -> usize {
        self.window.kernel.len()
    }

    /// Loops over images, channels, window elements and places.
    fn dims(&self) -> Dims {
        let mut all = vec![("n".to_string(), self.shape[0].clone()), ("c".to_string(), self.shape[1].clone())];
        all.extend(self.window.kernel.iter().enumerate().map(|(d, k)| (format!("k{d}"), Aff::constant(*k))));
        all.extend(self.result[2..].iter().enumerate().map(|(d, e)| (format!("o{d}"), e.clone())));
        all
    }

    /// The window element as a number, behind its offset group, and the place in the result.
    fn element(&self, b: &Builder) -> (Expr, Vec<Expr>) {
        let per_group = self.channels / self.offset_groups;
        let mut number = index(b.aff(1).floor_div(per_group));
        for (d, k) in self.window.kernel.iter().enumerate() {
            number = add(mul(number, Expr::int(*k)), b.iter(2 + d));
        }
        let places = (0..self.spatial()).map(|d| b.iter(2 + self.spatial() + d)).collect();
        (number, places)
    }
}

pub fn deform_conv(b: &mut Builder, node: &Node) -> Result<()> {
    let form = Form::new(b, node)?;
    let name = b.graph.tensor(output(node, 0)?).name.clone();
    let sampled = sampled(b, &form, &name)?;
    let (weights, target) = (input(node, 1)?, output(node, 0)?);
    let (rank, per_group) = (form.result.len(), form.channels / form.groups);
    let results = b.shape(weights)[0].as_constant().filter(|m| *m > 0 && m % form.groups == 0);
    let results = results.ok_or_else(|| unsupported_form(node, "the result's channels must be constant"))?;
    let mut all: Dims = dims("i", &form.result);
    all.push(("c".to_string(), per_group.into()));
    all.extend(form.window.kernel.iter().enumerate().map(|(d, k)| (format!("k{d}"), Aff::constant(*k))));
    let group = b.aff(1).floor_div(results / form.groups);
    let taps: Vec<Expr> = (0..form.spatial()).map(|d| b.iter(rank + 1 + d)).collect();
    let mut at = vec![b.iter(0), index(group * per_group + b.aff(rank))];
    at.extend(taps.iter().cloned());
    at.extend((2..rank).map(|d| b.iter(d)));
    let mut weight = vec![b.iter(1), b.iter(rank)];
    weight.extend(taps);
    let (out, t) = (b.dtype(target), form.t);
    let w = convert(b.dtype(weights), t, b.read(weights, &weight)?);
    let value = mul(b.load(sampled, at), w);
    let bias = node.input(3).map(|bias| b.read(bias, &[b.iter(1)])).transpose()?;
    let (array, place, acc) = (b.define(target), b.iters(rank), format!("{name}_acc"));
    let r = Reduction { name: &acc, dtype: t, op: BinaryOp::Add, init: lit(0.0, t), dims: &all, parallel: rank, value };
    reduction(b, r, array, place, |_, total| {
        let total = bias.map_or(total.clone(), |bias| add(total, convert(out, t, bias)));
        convert(t, out, total)
    });
    Ok(())
}

/// `[n, c, k.., o..]`: window elements at their displaced places.
fn sampled(b: &mut Builder, form: &Form, name: &str) -> Result<ArrayId> {
    let all = form.dims();
    let extents = all.iter().map(|(_, e)| e.clone()).collect();
    let array = b.temp(&format!("{name}_sampled"), form.t, extents);
    let (number, places) = form.element(b);
    let spatial = form.spatial();
    let mut corners: Vec<(Vec<Expr>, Option<Expr>)> = vec![(b.iters(2), None)];
    for d in 0..spatial {
        let which = add(mul(number.clone(), Expr::int(spatial as i64)), Expr::int(d as i64));
        let at: Vec<Expr> = [b.iter(0), which].into_iter().chain(places.iter().cloned()).collect();
        let moved = convert(b.dtype(form.offset), form.t, b.read(form.offset, &at)?);
        let fixed = form.window.position(d, b.aff(2 + spatial + d), b.aff(2 + d)) - form.window.before[d].clone();
        let place = add(Expr::cast(form.t, index(fixed)), moved);
        let taps = neighbours(place, &form.shape[2 + d], form.t);
        let extend = |(at, weight): (Vec<Expr>, Option<Expr>)| {
            taps.clone().into_iter().map(move |(position, own)| {
                let at = at.iter().cloned().chain([position]).collect();
                (at, Some(weight.clone().map_or(own.clone(), |w| mul(w, own))))
            })
        };
        corners = corners.into_iter().flat_map(extend).collect();
    }
    let mut value = lit(0.0, form.t);
    for (at, weight) in corners {
        let x = convert(b.dtype(form.image), form.t, b.read(form.image, &at)?);
        value = add(value, weight.map_or(x.clone(), |w| mul(w, x)));
    }
    if let Some(mask) = form.mask {
        let at: Vec<Expr> = [b.iter(0), number].into_iter().chain(places).collect();
        value = mul(value, convert(b.dtype(mask), form.t, b.read(mask, &at)?));
    }
    let id = b.assign(&all, array, b.iters(all.len()), value);
    b.emit_perfect(id, all.len());
    Ok(array)
}

/// The elements on both sides of a place with their weights; an element outside weighs nothing.
fn neighbours(place: Expr, extent: &Aff, t: DType) -> [(Expr, Expr); 2] {
    let n = Expr::cast(t, index(extent.clone()));
    // Far outside nothing is read, and the cast to an integer stays exact.
    let place = clamp(place, lit(-2.0, t), add(n.clone(), lit(1.0, t)));
    let low = Expr::unary(UnaryOp::Floor, place.clone());
    let above = sub(place, low.clone());
    let tap = |at: Expr, weight: Expr| {
        let inside = and(ge(at.clone(), lit(0.0, t)), lt(at.clone(), n.clone()));
        let position = clamp(Expr::cast(DType::I64, at), Expr::int(0), index(extent.clone() - 1.into()));
        (position, Expr::select(inside, weight, lit(0.0, t)))
    };
    let next = add(low.clone(), lit(1.0, t));
    [tap(low, sub(lit(1.0, t), above.clone())), tap(next, above)]
}
