//! Signal processing: windows, the mel scale; and `Bernoulli`, which is a comparison with random numbers.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};
use std::f64::consts::{LN_10, TAU};

pub const FUNCTIONS: &[Function] = &[
    Function { domain: "", op: "HannWindow", inputs: &["size"], outputs: &["output"], body: |f| window(f, HANN) },
    Function { domain: "", op: "HammingWindow", inputs: &["size"], outputs: &["output"], body: |f| window(f, HAMMING) },
    Function {
        domain: "",
        op: "BlackmanWindow",
        inputs: &["size"],
        outputs: &["output"],
        body: |f| window(f, BLACKMAN),
    },
    Function {
        domain: "",
        op: "MelWeightMatrix",
        inputs: &["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"],
        outputs: &["output"],
        body: mel_weights,
    },
    Function { domain: "", op: "Bernoulli", inputs: &["input"], outputs: &["output"], body: bernoulli },
];

/// Coefficients of `a0 - a1 cos(t) + a2 cos(2 t)`.
const HANN: [f64; 3] = [0.5, 0.5, 0.0];
/// ONNX rounds Hamming's 0.54 to an optimum.
const HAMMING: [f64; 3] = [25.0 / 46.0, 21.0 / 46.0, 0.0];
const BLACKMAN: [f64; 3] = [0.42, 0.5, 0.08];

fn type_attribute(f: &mut Body, name: &str, default: DType) -> Step<DType> {
    let Some(code) = f.node.int(name) else { return Ok(default) };
    let found = i32::try_from(code).map_err(|_| code.to_string()).and_then(tensor::dtype);
    found.map_err(|found| f.site().unsupported(format!("type {found} is not supported")))
}

/// A periodic window has `size` intervals, a symmetric one ends at its start value.
fn window(f: &mut Body, [a0, a1, a2]: [f64; 3]) -> Step {
    let size = f.site().need_affs(0, "size")?.into_iter().next().ok_or_else(|| f.invalid("the size is empty"))?;
    let dtype = type_attribute(f, "output_datatype", DType::F32)?;
    f.float = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let intervals = if f.node.int("periodic") == Some(0) { size.clone() - Aff::constant(1) } else { size.clone() };
    f.aff("size_known", size)?;
    f.aff("intervals", intervals)?;
    for (name, value) in [("turn", TAU), ("a0", a0), ("a1", a1), ("a2", a2)] {
        f.scalar(name, value);
    }
    f.add(
        "step = Div(turn, CastLike(intervals, turn))
         t = Mul(CastLike(Range(0, size_known, 1), turn), step)
         value = Add(Sub(a0, Mul(a1, Cos(t))), Mul(a2, Cos(Mul(t, 2.0))))",
    )?;
    f.cast("output", "value", dtype)
}

/// Triangles over the bins of a spectrum whose corners are equally spaced on the mel scale,
/// `2595 log10(1 + hertz / 700)`.
fn mel_weights(f: &mut Body) -> Step {
    let count = |f: &mut Body, n: usize, role: &str| -> Step<Aff> {
        let value = f.site().need_affs(n, role)?.into_iter().next();
        let value = value.ok_or_else(|| f.invalid(format!("the {role} is empty")))?;
        f.cx.at_least(&value, 0)?;
        Ok(value)
    };
    let (mels, length) = (count(f, 0, "number of mel bins")?, count(f, 1, "DFT length")?);
    f.aff("bins", length.floor_div(2) + Aff::constant(1))?;
    f.aff("corners", mels + Aff::constant(2))?;
    f.aff("hops", length + Aff::constant(1))?;
    f.float = DType::F64;
    f.scalar("per_mel", LN_10 / 2595.0);
    for (name, from) in [("low", "lower_edge_hertz"), ("high", "upper_edge_hertz"), ("rate", "sample_rate")] {
        f.cast(name, from, DType::F64)?;
    }
    f.add(
        "first = Div(Log(Add(Div(low, 700.0), 1.0)), per_mel)
         last = Div(Log(Add(Div(high, 700.0), 1.0)), per_mel)
         step = Div(Sub(last, first), CastLike(corners, rate))
         mel = Add(Mul(CastLike(Range(0, corners, 1), rate), step), first)
         hertz = Mul(Sub(Exp(Mul(mel, per_mel)), 1.0), 700.0)
         corner = Floor(Div(Mul(CastLike(hops, rate), hertz), rate))
         left = Slice(corner, [0], [-2])
         centre = Slice(corner, [1], [-1])
         right = Slice(corner, [2], [9223372036854775807])
         bin = Unsqueeze(CastLike(Range(0, bins, 1), rate), [1])
         rise = Div(Sub(bin, left), Max(Sub(centre, left), 1.0))
         fall = Div(Sub(right, bin), Max(Sub(right, centre), 1.0))
         up = And(GreaterOrEqual(bin, left), Less(bin, centre))
         down = And(GreaterOrEqual(bin, centre), Less(bin, right))
         value = Where(Equal(bin, centre), 1.0, Where(up, rise, Where(down, fall, 0.0)))",
    )?;
    let dtype = type_attribute(f, "output_datatype", DType::F32)?;
    f.cast("output", "value", dtype)
}

/// 1 with the probability that the input gives.
fn bernoulli(f: &mut Body) -> Step {
    let dtype = f.dtype("input")?;
    let dtype = type_attribute(f, "dtype", dtype)?;
    let seed = f.node.float("seed").map_or(String::new(), |seed| format!("<seed = {seed:?}>"));
    f.add(&format!("drawn = Less(RandomUniformLike{seed}(input), input)"))?;
    f.cast("output", "drawn", dtype)
}
