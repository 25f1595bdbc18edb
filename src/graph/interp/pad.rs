//! `Pad` in all its modes, and `CenterCropPad`.

use super::Call;
use super::index::{strides, unravel};
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::Result;

/// Where an element outside an extent of `n` comes from; `None` is the constant.
fn source(mode: &str, i: i64, n: i64) -> Option<i64> {
    if (0..n).contains(&i) {
        return Some(i);
    }
    if n == 0 {
        return None;
    }
    match mode {
        "edge" => Some(i.clamp(0, n - 1)),
        "wrap" => Some(i.rem_euclid(n)),
        "reflect" => {
            // A mirror at both ends that does not repeat the end itself has period 2 (n - 1).
            let period = (2 * (n - 1)).max(1);
            let i = i.rem_euclid(period);
            Some(if i < n { i } else { period - i })
        }
        _ => None,
    }
}

/// `Pad`: amounts and value from attributes up to opset 10, from inputs since; negative amounts crop.
pub fn pad(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let pads = call.list(1, "pads").ok_or_else(|| call.invalid("no pads are given"))?;
    let axes = match call.optional(3) {
        Some(axes) => call.axes(&axes.i64s(), x.rank())?,
        None => (0..x.rank()).collect(),
    };
    call.require(pads.len() == 2 * axes.len(), || format!("{} pads for {} axes", pads.len(), axes.len()))?;
    let (mut before, mut after) = (vec![0; x.rank()], vec![0; x.rank()]);
    for (n, axis) in axes.iter().enumerate() {
        (before[*axis], after[*axis]) = (pads[n], pads[axes.len() + n]);
    }
    let mut fill = Value::zeros(x.dtype, &[1])?;
    match call.scalar(2) {
        Some(value) => fill = value.reshaped(&vec![1; value.rank()])?,
        None => fill.set_f64(0, call.float("value", 0.0)),
    }
    call.require(fill.dtype == x.dtype, || format!("a {} value for a {} tensor", fill.dtype, x.dtype))?;
    Ok(vec![padded(call, x, &before, &after, &fill)?])
}

fn padded(call: &Call, x: &Value, before: &[i64], after: &[i64], fill: &Value) -> Result<Value> {
    let mode = call.string("mode", "constant");
    let total = |d: usize| (x.shape[d] as i64).checked_add(before[d])?.checked_add(after[d]);
    let sizes: Option<Vec<i64>> = (0..x.rank()).map(total).collect();
    let shape = call.extents(&sizes.ok_or_else(|| call.invalid("pads overflow"))?)?;
    checked_len(x.dtype, &shape)?;
    let hollow = x.is_empty() && mode != "constant" && !shape.contains(&0);
    call.require(!hollow, || format!("mode {mode} of an empty tensor"))?;
    let own = strides(&x.shape);
    // Per dimension, the source of each position.
    let along = |d: usize| (0..shape[d] as i64).map(move |i| source(mode, i - before[d], x.shape[d] as i64));
    let sources: Vec<Vec<Option<i64>>> = (0..x.rank()).map(|d| along(d).collect()).collect();
    let mut offsets = vec![Some(0usize)];
    for (list, stride) in sources.iter().zip(&own) {
        let step = |base: Option<usize>| list.iter().map(move |s| Some(base? + (*s)? as usize * stride));
        offsets = offsets.into_iter().flat_map(step).collect();
    }
    let bytes = offsets.into_iter().flat_map(|o| o.map_or(fill.element(0), |i| x.element(i))).copied().collect();
    Value::new(x.dtype, shape, bytes)
}

/// `CenterCropPad`: crops and pads with zeros around the centre to the wanted extents.
pub fn center_crop_pad(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let wanted = call.extents(&call.input(1)?.i64s())?;
    let axes = match call.ints("axes") {
        Some(axes) => call.axes(axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    call.require(axes.len() == wanted.len(), || format!("{} extents for {} axes", wanted.len(), axes.len()))?;
    let mut shape = x.shape.clone();
    axes.iter().zip(&wanted).for_each(|(axis, extent)| shape[*axis] = *extent);
    let mut y = Value::zeros(x.dtype, &shape)?;
    let own = strides(&x.shape);
    // Rounded toward zero: the extra element of an odd difference goes to the end.
    let shift = |d: usize| (x.shape[d] as i64 - shape[d] as i64) / 2;
    let shifts: Vec<i64> = (0..x.rank()).map(shift).collect();
    let size = x.dtype.size();
    for i in 0..y.len() {
        let index = unravel(i, &shape);
        let at = |d: usize| Some(index[d] as i64 + shifts[d]).filter(|s| (0..x.shape[d] as i64).contains(s));
        let offset: Option<usize> = (0..x.rank()).map(|d| Some(at(d)? as usize * own[d])).sum();
        if let Some(offset) = offset {
            y.bytes[i * size..(i + 1) * size].copy_from_slice(x.element(offset));
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    #[test]
    fn every_mode_fills_as_numpy() {
        let x = i64s(&[3], &[1, 2, 3]);
        let pad = |mode: &str| {
            let attributes = [("mode", Attribute::String(mode.into()))];
            eval("Pad", 19, &attributes, &[&x, &Value::vector(&[2, 3])]).i64s()
        };
        assert_eq!(pad("constant"), [0, 0, 1, 2, 3, 0, 0, 0]);
        assert_eq!(pad("edge"), [1, 1, 1, 2, 3, 3, 3, 3]);
        assert_eq!(pad("reflect"), [3, 2, 1, 2, 3, 2, 1, 2]);
        assert_eq!(pad("wrap"), [2, 3, 1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn negative_pads_crop_and_values_fill() {
        let x = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let y = eval("Pad", 13, &[], &[&x, &Value::vector(&[-1, 0, 0, 1]), &f32s(&[], &[9.0])]);
        assert_close(&y, &[1, 3], &[3.0, 4.0, 9.0]);
        let old = [("pads", ints(&[0, 1, 0, 0])), ("value", Attribute::Float(5.0))];
        assert_close(&eval("Pad", 2, &old, &[&x]), &[2, 3], &[5.0, 1.0, 2.0, 5.0, 3.0, 4.0]);
    }

    #[test]
    fn crops_and_pads_are_centred() {
        let x = i64s(&[5], &[1, 2, 3, 4, 5]);
        assert_eq!(eval("CenterCropPad", 18, &[], &[&x, &Value::vector(&[2])]).i64s(), [2, 3]);
        assert_eq!(eval("CenterCropPad", 18, &[], &[&x, &Value::vector(&[8])]).i64s(), [0, 1, 2, 3, 4, 5, 0, 0]);
    }
}
