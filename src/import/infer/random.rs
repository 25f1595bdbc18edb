//! Random numbers: the shape is given or another tensor's.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("RandomUniform", of_shape),
    ("RandomNormal", of_shape),
    ("RandomUniformLike", like),
    ("RandomNormalLike", like),
    ("Bernoulli", like),
    ("Multinomial", multinomial),
];

fn dtype(site: &Site, default: DType) -> Step<DType> {
    match site.node.int("dtype") {
        None => Ok(default),
        Some(code) => tensor::dtype(i32::try_from(code).unwrap_or(0))
            .map_err(|found| site.unsupported(format!("type {found} is not supported"))),
    }
}

fn of_shape(site: &mut Site) -> Step {
    let dtype = dtype(site, DType::F32)?;
    let shape = site.node.ints("shape").ok_or_else(|| site.invalid("shape is missing"))?;
    if shape.iter().any(|n| *n < 0) {
        return Err(site.invalid(format!("shape is {shape:?}")));
    }
    let shape = shape.iter().map(|&n| Aff::constant(n)).collect();
    site.set(0, dtype, shape)
}

fn like(site: &mut Site) -> Step {
    let dtype = dtype(site, site.dtype(0)?)?;
    let shape = site.shape(0)?;
    site.set(0, dtype, shape)
}

/// `[batch, classes]` to `[batch, samples]`.
fn multinomial(site: &mut Site) -> Step {
    let dtype = dtype(site, DType::I32)?;
    let samples = site.node.int("sample_size").unwrap_or(1);
    let [batch, _] = site.shape(0)?.try_into().map_err(|_| site.invalid("the input is no matrix"))?;
    if samples < 0 {
        return Err(site.invalid(format!("sample_size is {samples}")));
    }
    site.set(0, dtype, vec![batch, Aff::constant(samples)])
}
