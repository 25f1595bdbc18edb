//! Results that are as long as the data says; in a loop's body, another length in every step.

use super::layout::axis;
use crate::bounds::Bounds;
use crate::dim::{Dim, fixed, volume};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(5) {
        0 => compress(maker),
        1 => unique(maker),
        2 => prefix(maker),
        3 => numbers(maker),
        _ => non_zero(maker),
    }
}

/// A length that the run knows: the step's number, an input, or something computed.
const LONGEST: usize = 6;

fn length(maker: &mut Maker) -> Tensor {
    maker.like(DType::I64, &[], Bounds::whole(0.0, LONGEST as f64))
}

/// The first elements of an axis, as many as there are at most.
fn prefix(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let count = length(maker);
    let (zero, axes) = (maker.list(&[0]), maker.list(&[written]));
    let one = (DType::I64, vec![Dim::Fixed(1)], count.bounds);
    let end = maker.one("Unsqueeze", &[&count.name, &zero], vec![], one)?;
    let mut dims = x.dims.clone();
    let least = (count.bounds.lo as usize).min(dims[at].min());
    dims[at] = maker.derived(least, dims[at].max().min(LONGEST));
    maker.one("Slice", &[&x.name, &zero, &end.name, &axes], vec![], (x.dtype, dims, x.bounds)).map(|_| ())
}

/// The numbers below a length.
fn numbers(maker: &mut Maker) -> Option<()> {
    let count = length(maker);
    let (zero, one) = (maker.scalar(DType::I64, 0.0), maker.scalar(DType::I64, 1.0));
    let dims = vec![maker.derived(count.bounds.lo as usize, LONGEST)];
    let bounds = Bounds::whole(0.0, LONGEST as f64 - 1.0);
    maker.one("Range", &[&zero, &count.name, &one], vec![], (DType::I64, dims, bounds)).map(|_| ())
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

/// What is there at least once: elements of all, or slices of an axis. Positions are those of the first.
fn unique(maker: &mut Maker) -> Option<()> {
    let x = maker.exact(&[DType::F32, DType::F64, DType::I64, DType::I32, DType::U8], 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let flat = maker.choices.chance(50);
    let length = if flat { fixed(&x.dims)?.iter().product() } else { x.dims[at].fixed()? };
    if length == 0 || volume(&x.dims) == 0 || x.dims.iter().any(|d| d.min() == 0) {
        return None;
    }
    let count = maker.derived(1, length);
    let mut dims = if flat { vec![count] } else { x.dims.clone() };
    let mut attributes = vec![onnx::int("sorted", i64::from(maker.choices.chance(50)))];
    if !flat {
        dims[at] = count;
        attributes.push(onnx::int("axis", written));
    }
    let places = |dim: Dim| (DType::I64, vec![dim], Bounds::whole(0.0, length as f64 - 1.0));
    let counts = (DType::I64, vec![count], Bounds::whole(1.0, length as f64));
    let results = vec![(x.dtype, dims, x.bounds), places(count), places(Dim::Fixed(length)), counts];
    maker.node("Unique", &[&x.name], attributes, results).map(|_| ())
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
