//! Results that are as long as the data says. Never in a body: every step would need memory of another size.

use super::layout::axis;
use crate::bounds::Bounds;
use crate::dim::{Dim, volume};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    if maker.depth() > 0 {
        return None;
    }
    if maker.choices.chance(50) { compress(maker) } else { non_zero(maker) }
}

/// The places of what is not zero, a column each.
fn non_zero(maker: &mut Maker) -> Option<()> {
    let x = maker.exact(ALL, 1..=3);
    let most = volume(&x.dims);
    let largest = x.dims.iter().map(|d| d.max()).max()?;
    let dims = vec![Dim::Fixed(x.dims.len()), maker.derived(0, most)];
    let bounds = Bounds::whole(0.0, largest.saturating_sub(1) as f64);
    maker.one("NonZero", &[&x.name], vec![], (DType::I64, dims, bounds)).map(|_| ())
}

/// Slices of an axis, or elements of all.
fn compress(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let flat = maker.choices.chance(30);
    let length = if flat { 1 + maker.choices.below(volume(&x.dims).clamp(1, 9)) } else { x.dims[at].fixed()? };
    if flat && x.dims.iter().any(|d| d.fixed().is_none()) || length > volume(&x.dims) || length == 0 {
        return None;
    }
    let chosen = maker.like(DType::Bool, &[Dim::Fixed(length)], Bounds::whole(0.0, 1.0));
    let count = maker.derived(0, length);
    let mut dims = x.dims.clone();
    let (dims, attributes) = match flat {
        true => (vec![count], vec![]),
        false => {
            dims[at] = count;
            (dims, vec![onnx::int("axis", written)])
        }
    };
    maker.one("Compress", &[&x.name, &chosen.name], attributes, (x.dtype, dims, x.bounds)).map(|_| ())
}
