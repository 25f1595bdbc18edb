//! `CausalConvWithState`: a depthwise convolution that sees only the past, which may come from an earlier call.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use sirius_polyhedral::{Aff, DType};

pub const FUNCTIONS: &[Function] = &[Function {
    domain: "",
    op: "CausalConvWithState",
    inputs: &["input", "weight", "bias", "past_state"],
    outputs: &["output", "present_state"],
    body: causal,
}];

fn causal(f: &mut Body) -> Step {
    let (input, weight) = (f.ranked("input", 3)?, f.ranked("weight", 3)?);
    let dtype = f.dtype("input")?;
    let (Some(channels), Some(width)) = (weight[0].as_constant(), weight[2].as_constant().filter(|w| *w > 0)) else {
        return Err(f.site().unsupported("the kernel must have a fixed size of at least 1"));
    };
    let before = Aff::constant(width - 1);
    if !f.has("past_state") {
        f.affs("past_shape", vec![input[0].clone(), input[1].clone(), before.clone()])?;
        f.add("zeros = ConstantOfShape(past_shape)")?;
        f.cast("past_state", "zeros", dtype)?;
    }
    f.add("padded = Concat<axis = 2>(past_state, input)")?;
    let bias = if f.has("bias") { ", bias" } else { "" };
    f.add(&format!("sum = Conv<group = {channels}>(padded, weight{bias})"))?;
    match f.node.string("activation").unwrap_or("none") {
        "none" => f.add("output = Identity(sum)")?,
        "silu" | "swish" => {
            f.cast("wide", "sum", if dtype == DType::F64 { dtype } else { DType::F32 })?;
            f.add("active = Mul(wide, Sigmoid(wide))")?;
            f.cast("output", "active", dtype)?;
        }
        other => return Err(f.invalid(format!("activation \"{other}\" is not known; use none, silu or swish"))),
    }
    let end = input[2].clone() + before;
    f.affs("start", vec![input[2].clone()])?;
    f.affs("end", vec![end])?;
    f.add("present_state = Slice(padded, start, end, [2])")
}
