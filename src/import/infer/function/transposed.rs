//! `ConvTranspose` as a convolution of the image itself: no element is visited for nothing, and the weights are
//! rearranged once, by constant folding.
//!
//! With stride `s` in a dimension, place `s q + r` of the whole result takes tap `s j + r` of the kernel from
//! element `q - j` of the image. So the places with the same `r` are an ordinary convolution of stride 1 with every
//! `s`-th tap, back to front; all `r` together are one convolution with `s` times as many channels, and its result
//! is put in order by a transposition (which only renames elements). What `pads` cut off is sliced away.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use crate::import::infer::conv;
use sirius_polyhedral::{Aff, DType};

pub const FUNCTIONS: &[Function] =
    &[Function { domain: "", op: "ConvTranspose", inputs: &["X", "W", "B"], outputs: &["Y"], body: transposed }];

/// One spatial dimension.
struct Along {
    stride: i64,
    /// Distance of taps in the image: 1, unless the stride is 1.
    dilation: i64,
    /// Taps of the kernel; those between dilated ones are 0 where the stride is not 1.
    kernel: i64,
    /// Taps of one remainder, the kernel filled up.
    taps: i64,
}

fn transposed(f: &mut Body) -> Step {
    let (image, weights, dtype) = (f.shape("X")?, f.shape("W")?, f.dtype("X")?);
    f.float = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let result = conv::transposed_shape(&mut f.site())?;
    let before = conv::transposed_pads(&mut f.site(), &result)?;
    let fixed = |f: &mut Body, extent: &Aff| -> Step<i64> {
        extent.as_constant().ok_or_else(|| f.site().unsupported("the weights of ConvTranspose must have a fixed shape"))
    };
    let groups = f.node.int("group").unwrap_or(1).max(1);
    let (channels, m) = (fixed(f, &weights[0])?, fixed(f, &weights[1])?);
    if channels % groups != 0 {
        return Err(f.invalid(format!("{groups} groups do not fit weights with {channels} channels")));
    }
    let mut along = Vec::new();
    for (d, extent) in weights[2..].iter().enumerate() {
        let kernel = fixed(f, extent)?;
        along.push(dimension(f, d, kernel));
    }
    let c = channels / groups;
    spread_taps(f, &along)?;
    rearrange_weights(f, &along, [groups, c, m])?;
    f.cast("image", "X", f.float)?;
    let pads: Vec<i64> = along.iter().map(|a| (a.taps - 1) * a.dilation).collect();
    let dilations: Vec<i64> = along.iter().map(|a| a.dilation).collect();
    let pads = [&pads[..], &pads].concat();
    f.add(&format!("all = Conv<group = {groups}, pads = {pads:?}, dilations = {dilations:?}>(image, kernel)"))?;
    in_order(f, &along, &image, [groups, m])?;
    cut(f, &along, &image, &result, &before)?;
    if !f.has("B") {
        return f.cast("Y", "cut", dtype);
    }
    let ones = ", 1".repeat(along.len());
    f.cast("bias", "B", f.float)?;
    f.add(&format!("sum = Add(cut, Reshape(bias, [-1{ones}]))"))?;
    f.cast("Y", "sum", dtype)
}

fn dimension(f: &Body, d: usize, kernel: i64) -> Along {
    let entry = |name: &str| f.node.ints(name).and_then(|list| list.get(d).copied()).unwrap_or(1).max(1);
    let (stride, dilation) = (entry("strides"), entry("dilations"));
    if stride == 1 {
        return Along { stride, dilation, kernel, taps: kernel };
    }
    let kernel = (kernel - 1) * dilation + 1;
    Along { stride, dilation: 1, kernel, taps: (kernel + stride - 1) / stride }
}

/// `spread`: the weights, with zeros between taps that a stride keeps from being a dilation, and behind them up to
/// a multiple of the stride.
fn spread_taps(f: &mut Body, along: &[Along]) -> Step {
    f.add("spread = Identity(W)")?;
    let rank = along.len();
    let mut shape: Vec<i64> = f.shape("W")?.iter().filter_map(Aff::as_constant).collect();
    for (d, a) in along.iter().enumerate() {
        let axis = 2 + d;
        let step = if shape[axis] > 1 { (a.kernel - 1) / (shape[axis] - 1) } else { 1 };
        if step > 1 {
            let mut pads = vec![0; 2 * (rank + 3)];
            pads[rank + 3 + axis + 1] = step - 1;
            shape[axis] *= step;
            f.add(&format!("spread = Reshape(Pad(Unsqueeze(spread, [{}]), {pads:?}), {shape:?})", axis + 1))?;
        }
    }
    let mut pads = vec![0; 2 * (rank + 2)];
    for (d, a) in along.iter().enumerate() {
        pads[rank + 2 + 2 + d] = a.taps * a.stride - shape[2 + d];
    }
    f.add(&format!("filled = Pad(spread, {pads:?})"))
}

/// `kernel`: `[g r.. m, c, j..]` from `[g c, m, (j r)..]`, the taps `j` back to front.
fn rearrange_weights(f: &mut Body, along: &[Along], [groups, c, m]: [i64; 3]) -> Step {
    let rank = along.len() as i64;
    let mut split = vec![groups, c, m];
    along.iter().for_each(|a| split.extend([a.taps, a.stride]));
    let taps: Vec<i64> = (0..rank).map(|d| 3 + 2 * d).collect();
    let rests: Vec<i64> = taps.iter().map(|t| t + 1).collect();
    let order = [&[0], &rests[..], &[2, 1], &taps[..]].concat();
    let whole: i64 = along.iter().map(|a| a.stride).product::<i64>() * groups * m;
    let shape: Vec<i64> = [whole, c].into_iter().chain(along.iter().map(|a| a.taps)).collect();
    let (last, end, back) = (vec![-1; taps.len()], vec![i64::MIN + 1; taps.len()], vec![-1; taps.len()]);
    f.add(&format!(
        "reversed = Slice(Reshape<allowzero = 1>(filled, {split:?}), {last:?}, {end:?}, {taps:?}, {back:?})
         rearranged = Reshape<allowzero = 1>(Transpose<perm = {order:?}>(reversed), {shape:?})"
    ))?;
    f.cast("kernel", "rearranged", f.float)
}

/// `whole`: the convolution's result with places where they belong, `[n, g m, (q r)..]` from `[n, g r.. m, q..]`.
fn in_order(f: &mut Body, along: &[Along], image: &[Aff], [groups, m]: [i64; 2]) -> Step {
    let rank = along.len();
    let all = f.shape("all")?;
    let constant = |v: i64| Aff::constant(v);
    let mut split = vec![image[0].clone(), constant(groups)];
    split.extend(along.iter().map(|a| constant(a.stride)));
    split.push(constant(m));
    split.extend(all[2..].iter().cloned());
    let order: Vec<usize> = [0, 1, 2 + rank].into_iter().chain((0..rank).flat_map(|d| [3 + rank + d, 2 + d])).collect();
    let mut joined = vec![image[0].clone(), constant(groups * m)];
    joined.extend(all[2..].iter().zip(along).map(|(q, a)| q.clone() * a.stride));
    f.affs("split", split)?;
    f.affs("joined", joined)?;
    f.add(&format!(
        "parts = Reshape<allowzero = 1>(all, split)
         whole = Reshape<allowzero = 1>(Transpose<perm = {order:?}>(parts), joined)"
    ))
}

/// `cut`: the places that the padding leaves, and zeros where the output padding asks for more than there are.
fn cut(f: &mut Body, along: &[Along], image: &[Aff], result: &[Aff], before: &[i64]) -> Step {
    let whole = f.shape("whole")?;
    let (mut ends, mut missing) = (Vec::new(), vec![Aff::constant(0); 2 * image.len()]);
    for d in 0..along.len() {
        let end = result[2 + d].clone() + before[d].into();
        let beyond = end.clone() - whole[2 + d].clone();
        missing[image.len() + 2 + d] = f.cx.max(&beyond, &Aff::constant(0));
        ends.push(end);
    }
    let axes: Vec<usize> = (2..image.len()).collect();
    f.affs("ends", ends)?;
    f.add(&format!("kept = Slice(whole, {before:?}, ends, {axes:?})"))?;
    let enough = missing.iter().all(|n| n.is_constant(0));
    f.affs("missing", missing)?;
    f.add(if enough { "cut = Identity(kept)" } else { "cut = Pad(kept, missing)" })
}
