//! Quantization.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use crate::import::tensor;
use sirius_polyhedral::DType;

pub const RULES: Family =
    &[("QuantizeLinear", quantize), ("DequantizeLinear", dequantize), ("DynamicQuantizeLinear", dynamic_quantize)];

/// The type comes from the zero point, else from `output_dtype` (opset 21), else it is `u8`.
fn quantize(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    let declared = site.node.int("output_dtype").filter(|&code| code != 0);
    let dtype = match (site.has(2), declared) {
        (true, _) => site.dtype(2)?,
        (false, Some(code)) => tensor::dtype(i32::try_from(code).unwrap_or(0))
            .map_err(|found| site.unsupported(format!("quantizing to {found} is not supported")))?,
        (false, None) => DType::U8,
    };
    site.set(0, dtype, shape)
}

fn dequantize(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    let dtype = match site.node.int("output_dtype").filter(|&code| code != 0) {
        Some(code) => tensor::dtype(i32::try_from(code).unwrap_or(0))
            .map_err(|found| site.unsupported(format!("dequantizing to {found} is not supported")))?,
        None => site.dtype(1)?,
    };
    site.set(0, dtype, shape)
}

fn dynamic_quantize(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    site.set(0, DType::U8, shape)?;
    site.set(1, DType::F32, vec![])?;
    site.set(2, DType::U8, vec![])
}
