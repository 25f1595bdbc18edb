//! Normalizations.

use super::Call;
use super::index::{expand, product, split_at};
use super::reduce::grouped;
use crate::run::value::Value;
use sirius_polyhedral::{DType, Result};

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len() as f64
}

fn variance(v: &[f64]) -> f64 {
    let m = mean(v);
    v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / v.len() as f64
}

/// Per-channel contents of input `n`.
fn per_channel(call: &Call, n: usize, channels: usize) -> Result<Vec<f64>> {
    let v = call.input(n)?.floats();
    call.require(v.len() == channels, || format!("input {n} has {} elements for {channels} channels", v.len()))?;
    Ok(v)
}

/// `BatchNormalization`; in training mode with the statistics of the batch, and new running ones.
pub fn batch(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    let (batch, channels, area) = split_at(&x.shape, 1);
    let lists: Vec<Vec<f64>> = (1..5).map(|n| per_channel(call, n, channels)).collect::<Result<_>>()?;
    let (scale, bias) = (&lists[0], &lists[1]);
    let (mut means, mut variances) = (lists[2].clone(), lists[3].clone());
    let mut v = x.floats();
    let training = call.flag("training_mode", false);
    if training {
        for c in 0..channels {
            let all: Vec<f64> = (0..batch).flat_map(|n| &v[(n * channels + c) * area..][..area]).copied().collect();
            (means[c], variances[c]) = (mean(&all), variance(&all));
        }
    }
    let epsilon = call.float("epsilon", 1e-5);
    for (n, plane) in v.chunks_mut(area.max(1)).enumerate() {
        let c = n % channels;
        let factor = scale[c] / (variances[c] + epsilon).sqrt();
        plane.iter_mut().for_each(|x| *x = (*x - means[c]) * factor + bias[c]);
    }
    let mut results = vec![Value::from_floats(x.dtype, &x.shape, &v)?];
    if training {
        let momentum = call.float("momentum", 0.9);
        for (n, now) in [(2, &means), (3, &variances)] {
            let blended: Vec<f64> =
                lists[n].iter().zip(now).map(|(old, new)| old * momentum + new * (1.0 - momentum)).collect();
            results.push(Value::from_floats(call.input(n + 1)?.dtype, &[channels], &blended)?);
        }
    }
    Ok(results)
}

/// `InstanceNormalization` and `GroupNormalization`: statistics over the rest of each channel or group.
pub fn groups(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    let (batch, channels, area) = split_at(&x.shape, 1);
    let instance = call.op() == "InstanceNormalization";
    let groups = if instance { channels } else { usize::try_from(call.int("num_groups", 0)).unwrap_or(0) };
    call.require(groups > 0 && channels.is_multiple_of(groups), || format!("{channels} channels in {groups} groups"))?;
    // Opset 18 had one scale per group.
    let scales = if !instance && call.version() < 21 { groups } else { channels };
    let (scale, bias) = (per_channel(call, 1, scales)?, per_channel(call, 2, scales)?);
    let epsilon = call.float("epsilon", 1e-5);
    let mut v = x.floats();
    let size = channels / groups * area;
    for g in 0..batch * groups {
        let group = &mut v[g * size..(g + 1) * size];
        let (m, deviation) = (mean(group), (variance(group) + epsilon).sqrt());
        for (i, x) in group.iter_mut().enumerate() {
            let channel = (g % groups) * (channels / groups) + i / area.max(1);
            let s = channel * scales / channels;
            *x = (*x - m) / deviation * scale[s] + bias[s];
        }
    }
    Ok(vec![Value::from_floats(x.dtype, &x.shape, &v)?])
}

/// `LayerNormalization` and `RMSNormalization` over the dimensions from `axis`. The former also gives the mean
/// and the inverse deviation, in the type of `stash_type`.
pub fn layer(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 1)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let size = product(&x.shape[axis..]).max(1);
    let rms = call.op() != "LayerNormalization";
    let epsilon = call.float("epsilon", 1e-5);
    let weight = |n: usize| call.optional(n).map(|w| spread(call, w, &x.shape)).transpose();
    let (scale, bias) = (weight(1)?, if rms { None } else { weight(2)? });
    let (mut v, mut means, mut inverses) = (x.floats(), Vec::new(), Vec::new());
    for (r, row) in v.chunks_mut(size).enumerate() {
        let m = if rms { 0.0 } else { mean(row) };
        let spread = if rms { row.iter().map(|x| x * x).sum::<f64>() / size as f64 } else { variance(row) };
        let inverse = 1.0 / (spread + epsilon).sqrt();
        for (i, x) in row.iter_mut().enumerate() {
            let at = r * size + i;
            *x = (*x - m) * inverse * scale.as_ref().map_or(1.0, |s| s[at]) + bias.as_ref().map_or(0.0, |b| b[at]);
        }
        means.push(m);
        inverses.push(inverse);
    }
    let mut shape = x.shape.clone();
    shape[axis..].fill(1);
    let stash = call.dtype("stash_type")?.unwrap_or(DType::F32);
    let mut results = vec![Value::from_floats(x.dtype, &x.shape, &v)?];
    if !rms {
        results.push(Value::from_floats(stash, &shape, &means)?);
        results.push(Value::from_floats(stash, &shape, &inverses)?);
    }
    Ok(results)
}

/// Contents of `w` broadcast to `shape`.
fn spread(call: &Call, w: &Value, shape: &[usize]) -> Result<Vec<f64>> {
    let fits = super::index::broadcast(&w.shape, shape).as_deref() == Some(shape);
    call.require(fits, || format!("a weight of shape {:?} for {shape:?}", w.shape))?;
    Ok(expand(w, shape)?.floats())
}

/// `LpNormalization` along one axis; a zero vector stays zero.
pub fn lp(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 1)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let one = call.int("p", 2) == 1;
    let norm =
        |v: &[f64]| if one { v.iter().map(|x| x.abs()).sum() } else { v.iter().map(|x| x * x).sum::<f64>().sqrt() };
    let scale = |v: &mut [f64]| {
        let n: f64 = norm(v);
        v.iter_mut().for_each(|x| *x = if n == 0.0 { 0.0 } else { *x / n });
    };
    Ok(vec![by_groups(x, &[axis], scale)?])
}

/// `MeanVarianceNormalization` over `axes`, by default all but the channels.
pub fn mean_variance(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axes = call.axes(call.ints("axes").unwrap_or(&[0, 2, 3]), x.rank())?;
    // The function body of the operator adds this to the deviation.
    let epsilon = 1e-9;
    let normalize = |v: &mut [f64]| {
        let (m, deviation) = (mean(v), variance(v).sqrt() + epsilon);
        v.iter_mut().for_each(|x| *x = (*x - m) / deviation);
    };
    Ok(vec![by_groups(x, &axes, normalize)?])
}

/// Applies `f` to each set of elements that differ only along `axes`.
pub fn by_groups(x: &Value, axes: &[usize], f: impl Fn(&mut [f64])) -> Result<Value> {
    let (order, _, inner) = grouped(&x.shape, axes);
    let (all, size) = (x.floats(), product(&inner).max(1));
    let mut out = all.clone();
    for group in order.chunks(size) {
        let mut values: Vec<f64> = group.iter().map(|i| all[*i]).collect();
        f(&mut values);
        group.iter().zip(values).for_each(|(i, v)| out[*i] = v);
    }
    Value::from_floats(x.dtype, &x.shape, &out)
}

/// `LRN` across neighbouring channels.
pub fn local_response(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    let (batch, channels, area) = split_at(&x.shape, 1);
    let size = usize::try_from(call.int("size", 1)).unwrap_or(0);
    call.require(size > 0, || "`size` must be positive".to_string())?;
    let (alpha, beta, bias) = (call.float("alpha", 1e-4), call.float("beta", 0.75), call.float("bias", 1.0));
    let v = x.floats();
    let mut out = v.clone();
    for (n, c, i) in (0..batch).flat_map(|n| (0..channels).flat_map(move |c| (0..area).map(move |i| (n, c, i)))) {
        let at = |c: usize| (n * channels + c) * area + i;
        let window = c.saturating_sub((size - 1) / 2)..(c + size / 2 + 1).min(channels);
        let squares: f64 = window.map(|c| v[at(c)] * v[at(c)]).sum();
        out[at(c)] = v[at(c)] / (bias + alpha / size as f64 * squares).powf(beta);
    }
    Ok(vec![Value::from_floats(x.dtype, &x.shape, &out)?])
}

/// `Softmax`, `LogSoftmax`, `Hardmax`: along one axis since opset 13; before, over all dimensions from `axis`.
pub fn softmax(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let old = call.version() < 13;
    let default = if old { 1 } else { -1 };
    let axis = match call.int("axis", default) {
        // A scalar or an axis equal to the rank leaves groups of one element.
        a if a == x.rank() as i64 && old => x.rank(),
        _ if x.rank() == 0 => 0,
        a => call.axis(a, x.rank())?,
    };
    let axes: Vec<usize> = if old { (axis..x.rank()).collect() } else { (axis..x.rank().min(axis + 1)).collect() };
    let function: fn(&mut [f64]) = match call.op() {
        "Softmax" => |v| {
            exponentials(v);
            let sum: f64 = v.iter().sum();
            v.iter_mut().for_each(|x| *x /= sum);
        },
        "LogSoftmax" => |v| {
            let largest = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log = v.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            v.iter_mut().for_each(|x| *x = *x - largest - log);
        },
        _ => |v| {
            let best = (1..v.len()).fold(0, |best, i| if v[i] > v[best] { i } else { best });
            v.iter_mut().enumerate().for_each(|(i, x)| *x = (i == best) as u8 as f64);
        },
    };
    Ok(vec![by_groups(x, &axes, function)?])
}

/// `e^(x - max)`.
pub fn exponentials(v: &mut [f64]) {
    let largest = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    v.iter_mut().for_each(|x| *x = (*x - largest).exp());
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;

    #[test]
    fn a_batch_is_normalized_by_channel() {
        let x = f32s(&[1, 2, 1], &[3.0, 4.0]);
        let list = |a, b| f32s(&[2], &[a, b]);
        let inputs = [&x, &list(2.0, 1.0), &list(1.0, 0.0), &list(1.0, 4.0), &list(4.0, 1.0)];
        let y = eval("BatchNormalization", 15, &[("epsilon", Attribute::Float(0.0))], &inputs);
        assert_close(&y, &[1, 2, 1], &[3.0, 0.0]);
    }

    #[test]
    fn rows_are_normalized_by_layer() {
        let x = f32s(&[1, 2], &[1.0, 3.0]);
        let exact = ("epsilon", Attribute::Float(0.0));
        let results = try_eval(
            "LayerNormalization",
            17,
            std::slice::from_ref(&exact),
            &[&x, &f32s(&[2], &[2.0, 2.0]), &f32s(&[2], &[1.0, 0.0])],
        );
        let results = results.unwrap();
        assert_close(&results[0], &[1, 2], &[-1.0, 2.0]);
        assert_close(&results[1], &[1, 1], &[2.0]);
        assert_close(&results[2], &[1, 1], &[1.0]);
        let rms = eval("RMSNormalization", 23, &[exact], &[&f32s(&[2], &[3.0, 4.0]), &f32s(&[1], &[1.0])]);
        assert_close(&rms, &[2], &[3.0 / 12.5f64.sqrt(), 4.0 / 12.5f64.sqrt()]);
    }

    #[test]
    fn groups_and_instances() {
        let x = f32s(&[1, 2, 2], &[1.0, 3.0, 10.0, 30.0]);
        let exact = ("epsilon", Attribute::Float(0.0));
        let (scale, bias) = (f32s(&[2], &[1.0, 2.0]), f32s(&[2], &[0.0, 1.0]));
        let y = eval("InstanceNormalization", 6, std::slice::from_ref(&exact), &[&x, &scale, &bias]);
        assert_close(&y, &[1, 2, 2], &[-1.0, 1.0, -1.0, 3.0]);
        let two = [exact, ("num_groups", Attribute::Int(2))];
        assert_close(&eval("GroupNormalization", 21, &two, &[&x, &scale, &bias]), &[1, 2, 2], &[-1.0, 1.0, -1.0, 3.0]);
    }

    #[test]
    fn softmax_flattens_before_opset_13() {
        let x = f32s(&[1, 2, 2], &[0.0; 4]);
        assert_close(&eval("Softmax", 11, &[], &[&x]), &[1, 2, 2], &[0.25; 4]);
        assert_close(&eval("Softmax", 13, &[], &[&x]), &[1, 2, 2], &[0.5; 4]);
        let big = f32s(&[2], &[1000.0, 1000.0]);
        assert_close(&eval("LogSoftmax", 13, &[], &[&big]), &[2], &[-(2f64.ln()); 2]);
        assert_close(&eval("Hardmax", 13, &[], &[&big]), &[2], &[1.0, 0.0]);
    }

    #[test]
    fn vectors_get_length_one() {
        let x = f32s(&[2, 2], &[3.0, 4.0, 0.0, 0.0]);
        assert_close(&eval("LpNormalization", 22, &[], &[&x]), &[2, 2], &[0.6, 0.8, 0.0, 0.0]);
        let y = eval(
            "LRN",
            13,
            &[("size", Attribute::Int(1)), ("alpha", Attribute::Float(1.0))],
            &[&f32s(&[1, 1, 1], &[2.0])],
        );
        assert_close(&y, &[1, 1, 1], &[2.0 / 5f64.powf(0.75)]);
    }
}
