//! Normalizations: the result has the input's shape; some also return statistics.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", like_input),
    ("GroupNormalization", group),
    ("LpNormalization", like_input),
    ("MeanVarianceNormalization", like_input),
    ("RMSNormalization", like_input),
    ("LRN", like_input),
    ("LayerNormalization", layer),
];

/// From version 21 on there is one scale per channel, which says how many channels there are.
fn group(site: &mut Site) -> Step {
    let (x, scale) = (site.shape(0)?, site.shape(1)?);
    if let (Some(channels), Some(scales), true) = (x.get(1), scale.first(), site.node.version >= 21) {
        site.same(channels, scales)?;
    }
    like_input(site)
}

fn like_input(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    site.set(0, dtype, shape)
}

/// The channel count fixes a symbolic channel dimension. Training outputs stay open and are refused.
fn batch(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    let channels = site.shape(1)?;
    if let (Some(dim), Some(channel)) = (shape.get(1), channels.first()) {
        site.same(dim, channel)?;
    }
    like_input(site)
}

/// Outputs: the result, and optionally mean and inverse deviation with the normalized axes reduced to 1.
fn layer(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    let axis = site.axis_attribute(-1, shape.len())?;
    like_input(site)?;
    let statistics: Vec<Aff> =
        shape.iter().enumerate().map(|(a, dim)| if a < axis { dim.clone() } else { Aff::constant(1) }).collect();
    let stash = site.node.int("stash_type").and_then(|code| tensor::dtype(i32::try_from(code).ok()?).ok());
    let dtype = stash.unwrap_or(DType::F32);
    site.set(1, dtype, statistics.clone())?;
    site.set(2, dtype, statistics)
}
