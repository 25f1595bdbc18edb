//! The operators of the domain `ai.onnx.ml` that work on tensors of numbers.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use sirius_polyhedral::DType;

const DOMAIN: &str = "ai.onnx.ml";

pub const FUNCTIONS: &[Function] = &[
    Function { domain: DOMAIN, op: "ArrayFeatureExtractor", inputs: &["x", "y"], outputs: &["z"], body: extract },
    Function { domain: DOMAIN, op: "Binarizer", inputs: &["x"], outputs: &["y"], body: binarize },
];

/// The columns `y` of the last dimension; a vector counts as one row.
fn extract(f: &mut Body) -> Step {
    f.add(match f.rank("x")? {
        0 => return Err(f.invalid("a scalar has no features")),
        1 => "z = Unsqueeze(Gather<axis = 0>(x, Reshape(y, [-1])), [0])",
        _ => "z = Gather<axis = -1>(x, Reshape(y, [-1]))",
    })
}

/// 1 above the threshold, else 0, in the type of `x`.
fn binarize(f: &mut Body) -> Step {
    f.float = DType::F64;
    f.scalar("threshold", f64::from(f.node.float("threshold").unwrap_or(0.0)));
    f.cast("wide", "x", DType::F64)?;
    f.add("y = CastLike(Greater(wide, threshold), x)")
}
