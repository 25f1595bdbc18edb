//! Means with weights that the data gives: `GridSample` between neighbours, `Attention` over all rows.
//!
//! Both are continuous in everything that is rounded. Their weights are made of a few operations in single precision,
//! and a result is a mean, so its error is that of the values and a little of their size.

use crate::bounds::{Bounds, roundoff};
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    if maker.choices.chance(50) { grid_sample(maker) } else { attention(maker) }
}

/// The mean of values within `bounds`, with weights of relative error `rounding`.
fn mean(bounds: Bounds, rounding: f64) -> Bounds {
    Bounds::of(bounds.lo, bounds.hi, bounds.error + rounding * bounds.magnitude()).rounded(DType::F32, 8.0)
}

/// Bilinear: the nearest neighbour jumps. Places outside count as 0, the border or a reflection.
fn grid_sample(maker: &mut Maker) -> Option<()> {
    let mut extents = |most: usize| Dim::Fixed(1 + maker.choices.below(most));
    let (batch, channels, h, w) = (extents(2), extents(3), extents(6), extents(6));
    let (rows, columns) = (extents(4), extents(4));
    let x =
        maker.find(&[DType::F32], |t| t.dims.len() == 4 && t.dims[0] == batch && t.dims.iter().all(|d| d.min() > 0));
    let x = x.unwrap_or_else(|| maker.fresh(DType::F32, vec![batch, channels, h, w]));
    let grid = maker.made(DType::F32, vec![batch, rows, columns, Dim::Fixed(2)], Bounds::exact(-1.25, 1.25));
    let padding = maker.choices.pick(&["zeros", "border", "reflection"]);
    let corners = i64::from(maker.choices.chance(50));
    let attributes = vec![
        onnx::string("mode", "linear"),
        onnx::string("padding_mode", padding),
        onnx::int("align_corners", corners),
    ];
    // A place is off by a few roundings of at most 9 positions, which moves the result by the difference of neighbours.
    let bounds = mean(x.bounds.or(Bounds::exact(0.0, 0.0)), 256.0 * roundoff(DType::F32));
    let dims = vec![batch, x.dims[1], rows, columns];
    maker.one("GridSample", &[&x.name, &grid.name], attributes, (DType::F32, dims, bounds)).map(|_| ())
}

/// Queries and keys of at most 1, so that scores are small and their errors, too.
fn attention(maker: &mut Maker) -> Option<()> {
    let mut extent = |most: usize| Dim::Fixed(1 + maker.choices.below(most));
    let (batch, heads, width) = (extent(2), extent(2), extent(4));
    let (queries, keys, values) = (extent(4), extent(5), extent(4));
    let q = maker.made(DType::F32, vec![batch, heads, queries, width], Bounds::exact(-1.0, 1.0));
    let k = maker.made(DType::F32, vec![batch, heads, keys, width], Bounds::exact(-1.0, 1.0));
    let v = maker.like(DType::F32, &[batch, heads, keys, values], Bounds::exact(-2.0, 2.0));
    let attributes = vec![onnx::int("is_causal", i64::from(maker.choices.chance(40)))];
    let bounds = mean(v.bounds, 256.0 * roundoff(DType::F32));
    let dims = vec![batch, heads, queries, values];
    maker.one("Attention", &[&q.name, &k.name, &v.name], attributes, (DType::F32, dims, bounds)).map(|_| ())
}
