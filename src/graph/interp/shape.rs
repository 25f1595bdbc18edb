//! Operators on shapes: what changes the extents but not the order of the elements, and what makes tensors.

use super::Call;
use super::index::{expand, product, transpose};
use crate::graph::Attribute;
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::{DType, Result};

/// `Reshape`: 0 copies an extent (unless `allowzero`), one -1 is what remains.
pub fn reshape(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let wanted = call.list(1, "shape").ok_or_else(|| call.invalid("no shape is given"))?;
    let copied = |(n, d): (usize, &i64)| match d {
        0 if !call.flag("allowzero", false) => x.shape.get(n).map(|e| *e as i64).ok_or(n),
        d => Ok(*d),
    };
    let mut shape: Vec<i64> = wanted
        .iter()
        .enumerate()
        .map(copied)
        .collect::<std::result::Result<_, _>>()
        .map_err(|n| call.invalid(format!("shape {wanted:?} copies extent {n} of {:?}", x.shape)))?;
    if let Some(free) = shape.iter().position(|d| *d == -1) {
        let mut others = shape.iter().enumerate().filter(|(n, _)| *n != free).map(|(_, d)| *d);
        let others = others.try_fold(1i64, i64::checked_mul).filter(|n| *n > 0);
        let others = others.ok_or_else(|| call.invalid(format!("shape {wanted:?} leaves -1 open")))?;
        shape[free] = x.len() as i64 / others;
    }
    let shape = call.extents(&shape)?;
    let fits = checked_len(x.dtype, &shape)? == x.len();
    call.require(fits, || format!("{:?} does not reshape to {wanted:?}", x.shape))?;
    Ok(vec![x.reshaped(&shape)?])
}

/// `Expect` of our own domain: the operand, which must have the given extents.
pub fn expect(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let wanted = call.extents(&call.list(1, "extents").unwrap_or_default())?;
    let (node, op) = (call.string("node", ""), call.string("op", ""));
    call.require(x.shape == wanted, || format!("an operand of \"{node}\" ({op}) is {:?}, wanted {wanted:?}", x.shape))?;
    Ok(vec![x.clone()])
}

/// `Chosen` of our own domain: the operand, where the condition is as it must be.
pub fn chosen(call: &Call) -> Result<Vec<Value>> {
    let holds = call.input(1)?.bools().first().copied().unwrap_or(false) == call.flag("wanted", true);
    let node = call.string("node", "");
    call.require(holds, || format!("\"{node}\" (If) takes a branch that cannot run with these sizes"))?;
    Ok(vec![call.input(0)?.clone()])
}

pub fn flatten(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axis = call.int("axis", 1);
    // The axis may be the rank itself: everything goes to the first dimension.
    let axis = if axis == x.rank() as i64 { x.rank() } else { call.axis(axis, x.rank())? };
    Ok(vec![x.reshaped(&[product(&x.shape[..axis]), product(&x.shape[axis..])])?])
}

pub fn squeeze(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axes = match call.list(1, "axes") {
        Some(axes) => call.axes(&axes, x.rank())?,
        None => (0..x.rank()).filter(|d| x.shape[*d] == 1).collect(),
    };
    let ones = axes.iter().all(|a| x.shape[*a] == 1);
    call.require(ones, || format!("axes {axes:?} of shape {:?} are not all 1", x.shape))?;
    let kept: Vec<usize> = (0..x.rank()).filter(|d| !axes.contains(d)).map(|d| x.shape[d]).collect();
    Ok(vec![x.reshaped(&kept)?])
}

pub fn unsqueeze(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axes = call.list(1, "axes").ok_or_else(|| call.invalid("no axes are given"))?;
    let rank = x.rank() + axes.len();
    let axes = call.axes(&axes, rank)?;
    let distinct = (0..rank).filter(|d| axes.contains(d)).count() == axes.len();
    call.require(distinct, || format!("axes {axes:?} repeat"))?;
    let mut shape = x.shape.clone();
    for d in (0..rank).filter(|d| axes.contains(d)) {
        shape.insert(d, 1);
    }
    Ok(vec![x.reshaped(&shape)?])
}

pub fn transposition(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let perm = match call.ints("perm") {
        Some(perm) => call.axes(perm, x.rank())?,
        None => (0..x.rank()).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    let valid = sorted.into_iter().eq(0..x.rank());
    call.require(valid, || format!("{perm:?} is no permutation of {} axes", x.rank()))?;
    Ok(vec![transpose(x, &perm)?])
}

/// `Shape`, from `start` to `end` since opset 15; both are clamped.
pub fn shape(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let rank = x.rank() as i64;
    let place = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
    let (start, end) = (place(call.int("start", 0)), place(call.int("end", rank)));
    let part = if start < end { &x.shape[start..end] } else { &[] };
    Ok(vec![Value::vector(&part.iter().map(|d| *d as i64).collect::<Vec<_>>())])
}

pub fn size(call: &Call) -> Result<Vec<Value>> {
    Ok(vec![Value::from_i64(&[], &[call.input(0)?.len() as i64])?])
}

/// `Expand`: broadcasting in both directions, so the shape may have ones where the tensor is larger.
pub fn expansion(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let wanted = call.extents(&call.input(1)?.i64s())?;
    let shape = super::index::broadcast(&x.shape, &wanted);
    let shape = shape.ok_or_else(|| call.invalid(format!("{:?} does not expand to {wanted:?}", x.shape)))?;
    Ok(vec![expand(x, &shape)?])
}

pub fn constant_of_shape(call: &Call) -> Result<Vec<Value>> {
    let shape = call.extents(&call.input(0)?.i64s())?;
    let element = call.tensor("value")?.map_or_else(|| Value::zeros(DType::F32, &[1]), Ok)?;
    call.require(element.len() == 1, || format!("`value` has {} elements", element.len()))?;
    checked_len(element.dtype, &shape)?;
    Ok(vec![expand(&element.reshaped(&[])?, &shape)?])
}

/// `Constant`, where import left one.
pub fn constant(call: &Call) -> Result<Vec<Value>> {
    let floats = |v: &[f32], shape: &[usize]| Value::from_f32(shape, v);
    let value = match call.node.attributes.iter().next() {
        Some((_, Attribute::Int(v))) => Value::from_i64(&[], &[*v])?,
        Some((_, Attribute::Ints(v))) => Value::vector(v),
        Some((_, Attribute::Float(v))) => floats(&[*v], &[])?,
        Some((_, Attribute::Floats(v))) => floats(v, &[v.len()])?,
        _ => call.tensor("value")?.ok_or_else(|| call.unsupported("a Constant without a numeric value"))?,
    };
    Ok(vec![value])
}

/// `Range(start, limit, delta)`.
pub fn range(call: &Call) -> Result<Vec<Value>> {
    let operand = |n: usize| call.scalar(n).ok_or_else(|| call.invalid(format!("input {n} is missing")));
    let (start, limit, delta) = (operand(0)?, operand(1)?, operand(2)?);
    let dtype = start.dtype;
    if dtype.is_float() {
        let (start, limit, delta) = (start.get_f64(0), limit.get_f64(0), delta.get_f64(0));
        let count = ((limit - start) / delta).ceil().max(0.0);
        call.require(count.is_finite(), || format!("a range of step {delta}"))?;
        checked_len(dtype, &[count as usize])?;
        let values: Vec<f64> = (0..count as usize).map(|i| start + i as f64 * delta).collect();
        let length = Value::scalar(values.len() as i64);
        return Ok(vec![Value::from_floats(dtype, &[values.len()], &values)?, length]);
    }
    let (start, limit, delta) = (start.ints()[0], limit.ints()[0], delta.ints()[0]);
    call.require(delta != 0, || "a range of step 0".to_string())?;
    let count = ((limit - start + delta - delta.signum()) / delta).max(0) as usize;
    checked_len(dtype, &[count])?;
    let values: Vec<i128> = (0..count as i128).map(|i| start + i * delta).collect();
    Ok(vec![Value::from_ints(dtype, &[count], &values)?, Value::scalar(count as i64)])
}

/// `EyeLike`: ones on diagonal `k`.
pub fn eye_like(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    call.require(x.rank() == 2, || format!("EyeLike of shape {:?}", x.shape))?;
    let mut y = Value::zeros(call.dtype("dtype")?.unwrap_or(x.dtype), &x.shape)?;
    let k = call.int("k", 0);
    for row in 0..x.shape[0] {
        let column = usize::try_from(row as i64 + k).ok().filter(|c| *c < x.shape[1]);
        if let Some(column) = column {
            y.set_i64(row * x.shape[1] + column, 1);
        }
    }
    Ok(vec![y])
}

/// `HannWindow`, `HammingWindow`, `BlackmanWindow`: sums of cosines over `size` points.
pub fn window(call: &Call) -> Result<Vec<Value>> {
    let size = call.scalar(0).map_or(-1, |v| v.get_i64(0));
    let count = usize::try_from(size).map_err(|_| call.invalid(format!("a window of size {size}")))?;
    let dtype = call.dtype("output_datatype")?.unwrap_or(DType::F32);
    checked_len(dtype, &[count])?;
    let period = if call.flag("periodic", true) { size } else { size - 1 } as f64;
    let terms: [f64; 3] = match call.op() {
        "HannWindow" => [0.5, -0.5, 0.0],
        "HammingWindow" => [25.0 / 46.0, -21.0 / 46.0, 0.0],
        _ => [0.42, -0.5, 0.08],
    };
    let point = |i: usize| {
        let angle = 2.0 * std::f64::consts::PI * i as f64 / period;
        terms[0] + terms[1] * angle.cos() + terms[2] * (2.0 * angle).cos()
    };
    Ok(vec![Value::from_floats(dtype, &[count], &(0..count).map(point).collect::<Vec<_>>())?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    #[test]
    fn reshape_copies_and_infers() {
        let x = i64s(&[2, 3], &[1, 2, 3, 4, 5, 6]);
        let shape = |wanted: &[i64]| eval("Reshape", 14, &[], &[&x, &Value::vector(wanted)]).shape;
        assert_eq!(shape(&[0, -1]), [2, 3]);
        assert_eq!(shape(&[-1, 2]), [3, 2]);
        assert_eq!(shape(&[6]), [6]);
        for wrong in [&[4i64][..], &[0, 0, 0], &[-1, -1], &[-2, 3], &[1 << 40, 1 << 40]] {
            assert!(try_eval("Reshape", 14, &[], &[&x, &Value::vector(wrong)]).is_err(), "{wrong:?}");
        }
        let empty = i64s(&[0, 3], &[]);
        let attributes = [("allowzero", Attribute::Int(1))];
        let y = eval("Reshape", 14, &attributes, &[&empty, &Value::vector(&[3, 0])]);
        assert_eq!(y.shape, [3, 0]);
    }

    #[test]
    fn ones_come_and_go() {
        let x = f32s(&[1, 3, 1], &[1.0, 2.0, 3.0]);
        assert_eq!(eval("Squeeze", 13, &[], &[&x]).shape, [3]);
        assert_eq!(eval("Squeeze", 11, &[("axes", ints(&[-1]))], &[&x]).shape, [1, 3]);
        assert_eq!(eval("Unsqueeze", 13, &[], &[&x, &Value::vector(&[0, -1])]).shape, [1, 1, 3, 1, 1]);
        assert!(try_eval("Unsqueeze", 13, &[], &[&x, &Value::vector(&[0, 0])]).is_err());
        assert!(try_eval("Squeeze", 13, &[], &[&x, &Value::vector(&[1])]).is_err());
        assert_eq!(eval("Flatten", 13, &[("axis", Attribute::Int(2))], &[&x]).shape, [3, 1]);
    }

    #[test]
    fn shapes_are_sliced() {
        let x = Value::zeros(sirius_polyhedral::DType::F32, &[2, 3, 4]).unwrap();
        let attributes = [("start", Attribute::Int(-2)), ("end", Attribute::Int(9))];
        assert_eq!(eval("Shape", 15, &attributes, &[&x]).i64s(), [3, 4]);
        assert_eq!(eval("Size", 13, &[], &[&x]).i64s(), [24]);
    }

    #[test]
    fn ranges_count_in_both_directions() {
        let range =
            |a: i64, b: i64, d: i64| eval("Range", 11, &[], &[&i64s(&[], &[a]), &i64s(&[], &[b]), &i64s(&[], &[d])]);
        assert_eq!(range(1, 8, 3).i64s(), [1, 4, 7]);
        assert_eq!(range(5, 0, -2).i64s(), [5, 3, 1]);
        assert_eq!(range(0, 6, 3).i64s(), [0, 3]);
        assert_eq!(range(3, 1, 1).shape, [0]);
        let float = eval("Range", 11, &[], &[&f32s(&[], &[0.0]), &f32s(&[], &[1.0]), &f32s(&[], &[0.25])]);
        assert_close(&float, &[4], &[0.0, 0.25, 0.5, 0.75]);
    }

    #[test]
    fn expand_broadcasts_both_ways() {
        let x = i64s(&[3, 1], &[1, 2, 3]);
        assert_eq!(eval("Expand", 13, &[], &[&x, &Value::vector(&[1, 2])]).i64s(), [1, 1, 2, 2, 3, 3]);
        assert_eq!(eval("Expand", 13, &[], &[&x, &Value::vector(&[1])]).shape, [3, 1]);
    }

    #[test]
    fn windows_start_at_their_least() {
        let y = eval("HannWindow", 17, &[], &[&i64s(&[], &[4])]);
        assert_close(&y, &[4], &[0.0, 0.5, 1.0, 0.5]);
        let y = eval("BlackmanWindow", 17, &[("periodic", Attribute::Int(0))], &[&i64s(&[], &[3])]);
        assert_close(&y, &[3], &[0.0, 1.0, 0.0]);
    }

    #[test]
    fn permutations_are_checked() {
        let x = i64s(&[1, 2], &[1, 2]);
        assert_eq!(eval("Transpose", 13, &[], &[&x]).shape, [2, 1]);
        assert!(try_eval("Transpose", 13, &[("perm", ints(&[0, 0]))], &[&x]).is_err());
    }
}
