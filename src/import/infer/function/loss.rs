//! Losses of a classifier: the negative log likelihood of the right classes.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;

pub const FUNCTIONS: &[Function] = &[
    Function {
        domain: "",
        op: "NegativeLogLikelihoodLoss",
        inputs: &["input", "target", "weight"],
        outputs: &["loss"],
        body: likelihood,
    },
    Function {
        domain: "",
        op: "SoftmaxCrossEntropyLoss",
        inputs: &["scores", "target", "weight"],
        outputs: &["loss", "log_prob"],
        body: cross_entropy,
    },
];

fn cross_entropy(f: &mut Body) -> Step {
    f.add("log_prob = LogSoftmax<axis = 1>(scores)")?;
    let log_prob = f.id("log_prob")?;
    f.alias("input", log_prob);
    likelihood(f)
}

/// Classes stand on axis 1. Samples whose class is `ignore_index` count neither in the sum nor in the weight.
fn likelihood(f: &mut Body) -> Step {
    f.add("one = Cast<to = 7>(target)")?;
    let ignored = f.node.int("ignore_index");
    if let Some(class) = ignored {
        f.add(&format!("ignored = Equal(one, {class}) one = Where(ignored, 0, one)"))?;
    }
    f.add("picked = Neg(Squeeze(GatherElements<axis = 1>(input, Unsqueeze(one, [1])), [1]))")?;
    let weighted = f.has("weight");
    if weighted {
        f.add("share = Gather(weight, one) picked = Mul(picked, share)")?;
    }
    if ignored.is_some() {
        // A product with 0 would keep infinities.
        f.add("picked = Where(ignored, 0.0, picked)")?;
        f.add(if weighted { "share = Where(ignored, 0.0, share)" } else { "share = Where(ignored, 0.0, 1.0)" })?;
    }
    let mean = match f.node.string("reduction").unwrap_or("mean") {
        "none" => return f.add("loss = Identity(picked)"),
        "sum" => return f.add("loss = ReduceSum<keepdims = 0>(picked)"),
        "mean" => f.has("share"),
        other => return Err(f.invalid(format!("reduction \"{other}\" is not known; use none, sum or mean"))),
    };
    f.add(match mean {
        true => "loss = Div(ReduceSum<keepdims = 0>(picked), ReduceSum<keepdims = 0>(share))",
        false => "loss = ReduceMean<keepdims = 0>(picked)",
    })
}
