//! Chains that compute a shape in the graph, as exporters write them: `Shape -> Gather -> Concat -> Reshape`.

use crate::bounds::Bounds;
use crate::dim::{Dim, volume};
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(4) {
        0 => extent_as_number(maker),
        1 => expanded(maker),
        _ => reshaped(maker),
    }
}

/// `Shape` of a range of axes, or `Size`.
fn extent_as_number(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let most = volume(&x.dims) as f64;
    if maker.choices.chance(40) {
        return maker.one("Size", &[&x.name], vec![], (DType::I64, vec![], Bounds::whole(0.0, most))).map(|_| ());
    }
    let start = maker.choices.below(x.dims.len());
    let end = start + 1 + maker.choices.below(x.dims.len() - start);
    let attributes = vec![
        onnx::int("start", start as i64),
        onnx::int("end", end as i64 - if end < x.dims.len() { x.dims.len() as i64 } else { 0 }),
    ];
    let result = (DType::I64, vec![Dim::Fixed(end - start)], Bounds::whole(0.0, 99.0));
    maker.one("Shape", &[&x.name], attributes, result).map(|_| ())
}

/// One extent of `x` as a vector of one element.
fn extent(maker: &mut Maker, x: &Tensor, shape: &str, at: usize) -> Option<String> {
    let result = |dims: Vec<Dim>| (DType::I64, dims, Bounds::whole(0.0, 99.0));
    if maker.choices.chance(50) {
        let index = maker.constant(Value::scalar(at as i64 - x.dims.len() as i64), Bounds::whole(0.0, 9.0)).name;
        let number = maker.one("Gather", &[shape, &index], vec![onnx::int("axis", 0)], result(vec![]))?;
        let axes = maker.list(&[0]);
        return Some(maker.one("Unsqueeze", &[&number.name, &axes], vec![], result(vec![Dim::Fixed(1)]))?.name);
    }
    let (start, end) = (maker.list(&[at as i64]), maker.list(&[at as i64 + 1]));
    Some(maker.one("Slice", &[shape, &start, &end], vec![], result(vec![Dim::Fixed(1)]))?.name)
}

fn shape_of(maker: &mut Maker, x: &Tensor) -> Option<String> {
    let result = (DType::I64, vec![Dim::Fixed(x.dims.len())], Bounds::whole(0.0, 99.0));
    Some(maker.one("Shape", &[&x.name], vec![], result)?.name)
}

/// Two neighbouring extents become their product, by -1 or by a `Mul`; the others are gathered.
fn reshaped(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 2..=4);
    if x.dims.iter().any(|d| d.min() == 0) {
        return None;
    }
    let shape = shape_of(maker, &x)?;
    let pair = maker.choices.below(x.dims.len() - 1);
    let by_product = maker.choices.chance(40);
    let (mut parts, mut dims) = (Vec::new(), Vec::new());
    let mut n = 0;
    while n < x.dims.len() {
        if n == pair {
            let (a, b) = (x.dims[n], x.dims[n + 1]);
            dims.push(match (a, b) {
                (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(a * b),
                (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => other,
                _ => maker.derived(a.min() * b.min(), a.max() * b.max()),
            });
            parts.push(if by_product { product(maker, &x, &shape, n)? } else { maker.list(&[-1]) });
            n += 2;
        } else {
            dims.push(x.dims[n]);
            parts.push(extent(maker, &x, &shape, n)?);
            n += 1;
        }
    }
    let list = joined(maker, &parts)?;
    maker.one("Reshape", &[&x.name, &list], vec![], (x.dtype, dims, x.bounds)).map(|_| ())
}

fn product(maker: &mut Maker, x: &Tensor, shape: &str, at: usize) -> Option<String> {
    let (a, b) = (extent(maker, x, shape, at)?, extent(maker, x, shape, at + 1)?);
    let result = (DType::I64, vec![Dim::Fixed(1)], Bounds::whole(0.0, 9999.0));
    Some(maker.one("Mul", &[&a, &b], vec![], result)?.name)
}

fn joined(maker: &mut Maker, parts: &[String]) -> Option<String> {
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    let result = (DType::I64, vec![Dim::Fixed(parts.len())], Bounds::whole(-1.0, 9999.0));
    Some(maker.one("Concat", &names, vec![onnx::int("axis", 0)], result)?.name)
}

/// Something that broadcasts to another tensor's shape, expanded to it.
fn expanded(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let shape = shape_of(maker, &x)?;
    let dims = crate::dim::partner(&mut maker.choices, &x.dims);
    let dtype = maker.dtype(ALL);
    let y = maker.fresh(dtype, dims);
    maker.one("Expand", &[&y.name, &shape], vec![], (y.dtype, x.dims.clone(), y.bounds)).map(|_| ())
}
