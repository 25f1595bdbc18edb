//! Signal processing: windows, the mel scale; and `Bernoulli`, which is a comparison with random numbers.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};

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
    for (name, value) in [("turn", std::f64::consts::TAU), ("a0", a0), ("a1", a1), ("a2", a2)] {
        f.scalar(name, value);
    }
    f.add(
        "step = Div(turn, CastLike(intervals, turn))
         t = Mul(CastLike(Range(0, size_known, 1), turn), step)
         value = Add(Sub(a0, Mul(a1, Cos(t))), Mul(a2, Cos(Mul(t, 2.0))))",
    )?;
    f.cast("output", "value", dtype)
}

/// Triangles over the bins of a spectrum whose corners are equally spaced on the mel scale. All five inputs must
/// be known, so the corners are computed here.
fn mel_weights(f: &mut Body) -> Step {
    let whole = |f: &mut Body, n: usize, role: &str| -> Step<i64> {
        f.site().need_ints(n, role)?.first().copied().ok_or_else(|| f.invalid(format!("the {role} is empty")))
    };
    let (mels, length, rate) =
        (whole(f, 0, "number of mel bins")?, whole(f, 1, "DFT length")?, whole(f, 2, "sample rate")?);
    let edge = |f: &mut Body, n: usize| f.site().floats(n).and_then(|v| v.first().copied());
    let (Some(low), Some(high)) = (edge(f, 3), edge(f, 4)) else {
        return Err(f.site().unsupported("the edges of the mel scale must be constants"));
    };
    if !(0..1 << 20).contains(&mels) || length < 0 || rate <= 0 {
        return Err(f.invalid("the number of mel bins, the DFT length or the sample rate is out of range"));
    }
    let corners = mel_corners(mels, length, rate, [low, high]);
    for (name, from) in [("left", 0), ("centre", 1), ("right", 2)] {
        let part = corners[from..from + mels as usize].iter().map(|&v| Aff::constant(v));
        f.affs(name, part.collect())?;
    }
    f.aff("bins", Aff::constant(length / 2 + 1))?;
    f.add(
        "bin = Unsqueeze(Range(0, bins, 1), [1])
         rise = Div(Cast<to = 1>(Sub(bin, left)), Cast<to = 1>(Max(Sub(centre, left), 1)))
         fall = Div(Cast<to = 1>(Sub(right, bin)), Cast<to = 1>(Max(Sub(right, centre), 1)))
         up = And(GreaterOrEqual(bin, left), Less(bin, centre))
         down = And(GreaterOrEqual(bin, centre), Less(bin, right))
         value = Where(Equal(bin, centre), 1.0, Where(up, rise, Where(down, fall, 0.0)))",
    )?;
    let dtype = type_attribute(f, "output_datatype", DType::F32)?;
    f.cast("output", "value", dtype)
}

/// The first bin of every triangle, and of the two after the last.
fn mel_corners(mels: i64, length: i64, rate: i64, [low, high]: [f64; 2]) -> Vec<i64> {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let step = (mel(high) - mel(low)) / (mels + 2) as f64;
    let hertz = |n: i64| 700.0 * (10f64.powf((n as f64 * step + mel(low)) / 2595.0) - 1.0);
    (0..mels + 2).map(|n| ((length + 1) as f64 * hertz(n) / rate as f64).floor() as i64).collect()
}

/// 1 with the probability that the input gives.
fn bernoulli(f: &mut Body) -> Step {
    let dtype = f.dtype("input")?;
    let dtype = type_attribute(f, "dtype", dtype)?;
    let seed = f.node.float("seed").map_or(String::new(), |seed| format!("<seed = {seed:?}>"));
    f.add(&format!("drawn = Less(RandomUniformLike{seed}(input), input)"))?;
    f.cast("output", "drawn", dtype)
}
