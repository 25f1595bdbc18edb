//! `DFT` and `STFT` by definition: a product with the matrix of cosines and sines, which is constant where the
//! length is.

use super::Function;
use super::body::Body;
use crate::import::infer::axes;
use crate::import::infer::context::Step;
use sirius_polyhedral::{Aff, DType};
use std::f64::consts::{FRAC_PI_2, TAU};

pub const FUNCTIONS: &[Function] = &[
    Function { domain: "", op: "DFT", inputs: &["input", "dft_length", "axis"], outputs: &["output"], body: dft },
    Function {
        domain: "",
        op: "STFT",
        inputs: &["signal", "frame_step", "window", "frame_length"],
        outputs: &["output"],
        body: stft,
    },
];

/// One transform of `length` points along `axis` of a tensor whose last dimension holds real parts, or real and
/// imaginary parts.
struct Transform {
    axis: usize,
    length: Aff,
    inverse: bool,
    /// Of a real signal: only the first half of the spectrum is given out, or read by the inverse.
    onesided: bool,
    /// 1 where the run chooses this axis, 0 where it leaves it as it is; none where the axis is known.
    chosen: Option<Aff>,
}

/// The axis is an attribute, by default 1, before version 20, and then an input, by default the last of the signal.
fn dft(f: &mut Body) -> Step {
    let shape = f.shape("input")?;
    let axis = match f.node.int("axis") {
        Some(axis) => axis,
        None if f.has("axis") => {
            let axis = f.site().need_affs(2, "axis")?.into_iter().next().unwrap_or_default();
            match axis.as_constant() {
                Some(axis) => axis,
                // Every axis could be the one that grows: a workspace for all of them has no sensible size.
                None if halves_back(f) => f.site().need_ints(2, "axis")?.first().copied().unwrap_or(0),
                None => return along_any(f, axis),
            }
        }
        None if f.node.version < 20 => 1,
        None => -2,
    };
    let axis = f.site().axis(axis, shape.len())?;
    if axis + 1 == shape.len() {
        return Err(f.invalid("the last dimension holds the real and imaginary parts; it cannot be transformed"));
    }
    let [inverse, onesided] = ["inverse", "onesided"].map(|name| f.node.int(name) == Some(1));
    let length = match f.has("dft_length") {
        true => number(f, 1, "DFT length")?,
        false if inverse && onesided => (shape[axis].clone() - 1.into()) * 2,
        false => shape[axis].clone(),
    };
    transform(f, "input", Transform { axis, length, inverse, onesided, chosen: None }, "output")
}

/// Is a real signal made of half of its spectrum?
fn halves_back(f: &Body) -> bool {
    ["inverse", "onesided"].iter().all(|name| f.node.int(name) == Some(1))
}

/// An axis that is data, of a transform that is not [`halves_back`]: every axis in turn, with a matrix that leaves
/// things as they are where it is not the one.
fn along_any(f: &mut Body, axis: Aff) -> Step {
    let shape = f.shape("input")?;
    let rank = shape.len();
    let chosen = f.cx.chosen(&[axis], rank)?.remove(0);
    f.cx.require_zero(&chosen[rank - 1]);
    let [inverse, onesided] = ["inverse", "onesided"].map(|name| f.node.int(name) == Some(1));
    let extents: Vec<Aff> = shape[..rank - 1].iter().zip(&chosen).map(|(extent, c)| f.cx.mul(c, extent)).collect();
    let extent = axes::sum(extents.into_iter());
    let length = match f.has("dft_length") {
        true => number(f, 1, "DFT length")?,
        false => extent,
    };
    let mut from = "input".to_string();
    for (axis, chosen) in chosen.into_iter().enumerate().take(rank - 1) {
        let to = format!("along_{axis}");
        let transformed = Transform { axis, length: length.clone(), inverse, onesided, chosen: Some(chosen) };
        transform(f, &from, transformed, &to)?;
        from = to;
    }
    f.add(&format!("output = Identity({from})"))
}

/// A positive number among the inputs.
fn number(f: &mut Body, n: usize, role: &str) -> Step<Aff> {
    let value = f.site().need_affs(n, role)?.into_iter().next().ok_or_else(|| f.invalid(format!("no {role}")))?;
    if f.cx.range(&value).1.is_some_and(|most| most < 1) {
        let shown = f.cx.show(&value);
        return Err(f.invalid(format!("the {role} is {shown}, and must be at least 1")));
    }
    f.cx.at_least(&value, 1)?;
    Ok(value)
}

/// Frames of the signal, `frame_step` apart, each under the window and transformed.
fn stft(f: &mut Body) -> Step {
    let signal = f.shape("signal")?;
    if !(2..=3).contains(&signal.len()) {
        return Err(f.invalid(format!("the signal has {} dimensions, 2 or 3 are possible", signal.len())));
    }
    let step = number(f, 1, "frame step")?;
    let mut lengths = Vec::new();
    if f.has("frame_length") {
        lengths.push(number(f, 3, "frame length")?);
    }
    if f.has("window") {
        lengths.extend(f.ranked("window", 1)?);
    }
    let length = match lengths.as_slice() {
        [] => return Err(f.invalid("a window or a frame length is needed")),
        [one] => one.clone(),
        [one, other, ..] => f.cx.same(one, other)?,
    };
    let frames = f.cx.div(&(signal[1].clone() - length.clone()), &step) + 1.into();
    let frames = f.cx.max(&frames, &0.into());
    for (name, value) in [("frames", frames), ("step", step), ("length", length.clone())] {
        f.aff(name, value)?;
    }
    f.add("first = Unsqueeze(Mul(Range(0, frames, 1), step), [1])")?;
    f.add("framed = Gather<axis = 1>(signal, Add(first, Range(0, length, 1)))")?;
    f.add(if signal.len() == 3 { "parts = Identity(framed)" } else { "parts = Unsqueeze(framed, [-1])" })?;
    f.add(if f.has("window") {
        "windowed = Mul(parts, Unsqueeze(window, [1]))"
    } else {
        "windowed = Identity(parts)"
    })?;
    let onesided = f.node.int("onesided") != Some(0);
    transform(f, "windowed", Transform { axis: 2, length, inverse: false, onesided, chosen: None }, "output")
}

/// `to = from` transformed. The axis is moved before the parts, both become one dimension, and that is multiplied
/// with the [`table`].
fn transform(f: &mut Body, from: &str, t: Transform, to: &str) -> Step {
    let (shape, dtype) = (f.shape(from)?, f.dtype(from)?);
    let rank = shape.len();
    let parts = shape[rank - 1].as_constant().filter(|parts| (1..=2).contains(parts));
    let parts = parts.ok_or_else(|| f.invalid("the last dimension must be 1 (real) or 2 (real and imaginary)"))?;
    let half = t.length.floor_div(2) + 1.into();
    let bins = if t.onesided && !t.inverse { half.clone() } else { t.length.clone() };
    let bins = match &t.chosen {
        Some(chosen) => f.cx.mul(chosen, &bins) + f.cx.mul(&(Aff::constant(1) - chosen.clone()), &shape[t.axis]),
        None => bins,
    };
    let results = if t.onesided && t.inverse { 1 } else { 2 };
    f.float = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let work = f.float;
    table(f, &t, [shape[t.axis].clone(), parts.into(), bins.clone(), results.into()], half, work)?;
    let mut order: Vec<usize> = (0..rank).filter(|d| *d != t.axis).collect();
    order.insert(rank - 2, t.axis);
    let outer: Vec<Aff> = order[..rank - 2].iter().map(|d| shape[*d].clone()).collect();
    f.affs("rows", [&outer[..], &[shape[t.axis].clone() * parts]].concat())?;
    f.affs("columns", [&outer[..], &[bins, results.into()]].concat())?;
    let back: Vec<usize> = (0..rank).filter_map(|d| order.iter().position(|from| *from == d)).collect();
    f.cast("signal_in", from, work)?;
    f.add(&format!(
        "flat = Reshape<allowzero = 1>(Transpose<perm = {order:?}>(signal_in), rows)
         spectrum = Transpose<perm = {back:?}>(Reshape<allowzero = 1>(MatMul(flat, table), columns))"
    ))?;
    f.cast(to, "spectrum", dtype)
}

/// `table`: what part `c` of point `n` adds to part `d` of bin `k`, as a matrix `[n c, k d]`. With
/// `angle = 2 pi n k / length` the real part adds `cos` and `-sin` to the two parts, the imaginary `sin` and `cos`,
/// and all four are `cos(angle + (d - c) pi / 2)`. Whole turns are taken off as integers, and the rest is f64.
fn table(f: &mut Body, t: &Transform, [points, parts, bins, results]: [Aff; 4], half: Aff, dtype: DType) -> Step {
    f.float = DType::F64;
    let (height, width) = (f.cx.mul(&points, &parts), f.cx.mul(&bins, &results));
    f.affs("matrix", vec![height, width])?;
    let names = ["points", "parts", "bins", "results", "half", "turn_length"];
    for (name, value) in names.into_iter().zip([points, parts, bins, results, half, t.length.clone()]) {
        f.aff(name, value)?;
    }
    f.scalar("turn", if t.inverse { -TAU } else { TAU });
    f.scalar("quarter", FRAC_PI_2);
    f.add(
        "n = Unsqueeze(Range(0, points, 1), [1, 2, 3])
         k = Unsqueeze(Range(0, bins, 1), [1])
         quarters = Sub(Range(0, results, 1), Unsqueeze(Range(0, parts, 1), [1, 2]))
         whole = CastLike(turn_length, turn)
         angle = Mul(CastLike(Mod(Mul(n, k), turn_length), turn), Div(turn, whole))
         waves = Cos(Add(angle, Mul(CastLike(quarters, turn), quarter)))",
    )?;
    // Points beyond the length are cut off.
    f.add("inside = Where(Less(n, turn_length), waves, 0.0)")?;
    f.add(match (t.inverse, t.onesided) {
        (false, _) => "scaled = Identity(inside)",
        (true, false) => "scaled = Div(inside, whole)",
        // The other half is the conjugate of this one, but for the first bin and the middle one.
        (true, true) => {
            "alone = Or(Equal(n, 0), Equal(Mul(n, 2), turn_length))
             read = Where(Less(n, half), inside, 0.0)
             scaled = Div(Where(alone, read, Mul(read, 2.0)), whole)"
        }
    })?;
    match &t.chosen {
        Some(chosen) => {
            f.aff("chosen", chosen.clone())?;
            f.add(
                "same_part = Equal(Range(0, results, 1), Unsqueeze(Range(0, parts, 1), [1, 2]))
                 same = CastLike(And(Equal(n, k), same_part), turn)
                 entries = Where(Equal(chosen, 1), scaled, same)",
            )?;
        }
        None => f.add("entries = Identity(scaled)")?,
    }
    f.cast("rounded", "entries", dtype)?;
    f.add("table = Reshape(rounded, matrix)")
}
