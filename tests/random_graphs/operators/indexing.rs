//! Gather and scatter, with indices that are constants or data, counted from the start or the end.

use super::layout::axis;
use crate::bounds::Bounds;
use crate::choices::Random;
use crate::dim::{Dim, fixed};
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

type Indexing = fn(&mut Maker) -> Option<()>;

const TABLE: &[Indexing] = &[gather, gather, gather, gather_elements, gather_nd, scatter_elements, scatter_nd];

pub fn add(maker: &mut Maker) -> Option<()> {
    let indexing = maker.choices.pick(TABLE);
    indexing(maker)
}

/// Indices into an axis that has at least `extent` elements.
fn indices(maker: &mut Maker, dims: &[Dim], extent: usize) -> Option<Tensor> {
    let last = extent.checked_sub(1)? as f64;
    let bounds = Bounds::whole(if maker.choices.chance(40) { -last - 1.0 } else { 0.0 }, last);
    let dtype = maker.choices.pick(&[DType::I64, DType::I64, DType::I32]);
    let found = maker.like(dtype, dims, bounds);
    (found.dims == dims).then_some(found)
}

fn gather(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let (written, at) = axis(maker, x.dims.len());
    let index_dims = maker.dims(0, 2);
    let index = indices(maker, &index_dims, x.dims[at].min())?;
    let dims = [&x.dims[..at], &index_dims, &x.dims[at + 1..]].concat();
    let attributes = vec![onnx::int("axis", written)];
    maker.one("Gather", &[&x.name, &index.name], attributes, (x.dtype, dims, x.bounds)).map(|_| ())
}

fn gather_elements(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let mut dims = x.dims.clone();
    dims[at] = Dim::Fixed(1 + maker.choices.below(5));
    let index = indices(maker, &dims, x.dims[at].min())?;
    let attributes = vec![onnx::int("axis", written)];
    maker.one("GatherElements", &[&x.name, &index.name], attributes, (x.dtype, dims, x.bounds)).map(|_| ())
}

fn gather_nd(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let batch = if x.dims.len() > 1 && x.dims[0].min() > 0 { maker.choices.below(2) } else { 0 };
    let depth = 1 + maker.choices.below(x.dims.len() - batch);
    let least = x.dims[batch..batch + depth].iter().map(|d| d.min()).min()?;
    let middle = maker.choices.between(1, 4) as usize;
    let index_dims = [&x.dims[..batch], &[Dim::Fixed(middle), Dim::Fixed(depth)]].concat();
    let index = indices(maker, &index_dims, least)?;
    let dims = [&x.dims[..batch], &[Dim::Fixed(middle)], &x.dims[batch + depth..]].concat();
    let attributes = if batch > 0 { vec![onnx::int("batch_dims", batch as i64)] } else { vec![] };
    maker.one("GatherND", &[&x.name, &index.name], attributes, (x.dtype, dims, x.bounds)).map(|_| ())
}

/// What a scatter does where there is an element already.
fn reduction(maker: &mut Maker) -> &'static str {
    maker.choices.pick(&["none", "add", "max", "min", "mul"])
}

/// After up to `hits` updates of one element; products stay small by their operands.
fn scattered(x: &Bounds, updates: &Bounds, reduction: &str, hits: f64, dtype: DType) -> Bounds {
    let (a, b) = (x.magnitude(), updates.magnitude());
    match reduction {
        "add" => {
            let most = a + hits * b;
            let error = x.error + hits * updates.error;
            Bounds { lo: -most, hi: most, error, whole: x.whole && updates.whole }.rounded(dtype, hits)
        }
        "mul" => {
            let most = a.max(1.0) * b.max(1.0).powf(hits);
            let error = most * (x.error + hits * updates.error);
            Bounds { lo: -most, hi: most, error, whole: x.whole && updates.whole }.rounded(dtype, hits)
        }
        _ => x.or(*updates),
    }
}

/// Indices without repetitions where the order would matter: a rotation along the axis.
fn scatter_elements(maker: &mut Maker) -> Option<()> {
    let x = maker.any(NUMBERS, 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let shape = fixed(&x.dims)?;
    if shape.contains(&0) {
        return None;
    }
    let mut count = shape.clone();
    count[at] = 1 + maker.choices.below(shape[at]);
    let turn = maker.choices.below(shape[at]);
    let inner: usize = count[at + 1..].iter().product();
    let total: usize = count.iter().product();
    let list: Vec<i64> = (0..total).map(|n| ((n / inner % count[at] + turn) % shape[at]) as i64).collect();
    let index = Value::from_i64(&count, &list).ok()?;
    let index = maker.constant(index, Bounds::whole(0.0, shape[at] as f64));
    let reduction = reduction(maker);
    let updates = updates(maker, &x, index.dims.clone(), reduction);
    let bounds = scattered(&x.bounds, &updates.bounds, reduction, 1.0, x.dtype);
    let attributes = vec![onnx::int("axis", written), onnx::string("reduction", reduction)];
    let inputs = [x.name.as_str(), index.name.as_str(), updates.name.as_str()];
    maker.one("ScatterElements", &inputs, attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

/// Rows of the leading axes; with a reduction an index may repeat.
fn scatter_nd(maker: &mut Maker) -> Option<()> {
    let x = maker.any(NUMBERS, 1..=4);
    let depth = 1 + maker.choices.below(x.dims.len().min(2));
    let leading: Vec<usize> = fixed(&x.dims[..depth])?;
    let places: usize = leading.iter().product();
    if places == 0 {
        return None;
    }
    let reduction = reduction(maker);
    let count = 1 + maker.choices.below(places.min(4));
    let start = maker.choices.below(places);
    let mut random = Random::new(start as u64);
    let place =
        |n: usize, random: &mut Random| if reduction == "none" { (start + n) % places } else { random.below(places) };
    let mut list = Vec::new();
    for n in 0..count {
        let place = place(n, &mut random);
        let both = [place / leading.get(1).copied().unwrap_or(1), place % leading.get(1).copied().unwrap_or(1)];
        list.extend(both.iter().take(depth).map(|v| *v as i64));
    }
    let index = maker.constant(Value::from_i64(&[count, depth], &list).ok()?, Bounds::whole(0.0, 9.0));
    let dims = [&[Dim::Fixed(count)], &x.dims[depth..]].concat();
    let updates = updates(maker, &x, dims.clone(), reduction);
    if updates.dims != dims {
        return None;
    }
    let bounds = scattered(&x.bounds, &updates.bounds, reduction, count as f64, x.dtype);
    let attributes = vec![onnx::string("reduction", reduction)];
    let inputs = [x.name.as_str(), index.name.as_str(), updates.name.as_str()];
    maker.one("ScatterND", &inputs, attributes, (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

fn updates(maker: &mut Maker, x: &Tensor, dims: Vec<Dim>, reduction: &str) -> Tensor {
    match reduction {
        "mul" => maker.made(x.dtype, dims, Bounds::whole(0.0, 2.0)),
        _ => match maker.find(&[x.dtype], |t| t.dims == dims) {
            Some(found) => found,
            None => maker.fresh(x.dtype, dims),
        },
    }
}
