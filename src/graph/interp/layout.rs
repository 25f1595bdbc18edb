//! Operators that move whole pieces: concatenation, splitting, slicing, tiling, blocks and triangles.

use super::Call;
use super::index::{offsets, pick, product, split_at, strides, transpose, unravel};
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::Result;

pub fn concat(call: &Call) -> Result<Vec<Value>> {
    let all = call.all()?;
    let axis = call.axis(call.int("axis", 1), all[0].rank())?;
    let matches = |v: &&Value| {
        let same = |(d, (a, b)): (usize, (&usize, &usize))| d == axis || a == b;
        v.dtype == all[0].dtype && v.rank() == all[0].rank() && v.shape.iter().zip(&all[0].shape).enumerate().all(same)
    };
    call.require(all.iter().all(matches), || "inputs differ in type or shape".to_string())?;
    let mut shape = all[0].shape.clone();
    shape[axis] = all.iter().map(|v| v.shape[axis]).sum();
    let (outer, _, _) = split_at(&shape, axis);
    let mut bytes = Vec::with_capacity(checked_len(all[0].dtype, &shape)? * all[0].dtype.size());
    for o in 0..outer {
        for v in &all {
            let run = v.bytes.len() / outer;
            bytes.extend_from_slice(&v.bytes[o * run..(o + 1) * run]);
        }
    }
    Ok(vec![Value::new(all[0].dtype, shape, bytes)?])
}

/// The part of `axis` from `start`, `len` long.
fn part(value: &Value, axis: usize, start: usize, len: usize) -> Result<Value> {
    let (outer, n, inner) = split_at(&value.shape, axis);
    let mut shape = value.shape.clone();
    shape[axis] = len;
    let run = inner * value.dtype.size();
    let rows = (0..outer).map(|o| &value.bytes[(o * n + start) * run..(o * n + start + len) * run]);
    Value::new(value.dtype, shape, rows.flatten().copied().collect())
}

/// `Split`: sizes from input or attribute, else equal parts, the last one smaller.
pub fn split(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axis = call.axis(call.int("axis", 0), x.rank())?;
    let n = x.shape[axis];
    let sizes = match call.list(1, "split") {
        Some(sizes) => call.extents(&sizes)?,
        None => {
            let count = call.int("num_outputs", call.node.outputs.len() as i64);
            call.require((1..1 << 20).contains(&count), || format!("{count} parts"))?;
            let count = count as usize;
            let size = n.div_ceil(count);
            (0..count).map(|i| n.saturating_sub(i * size).min(size)).collect()
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
    call.require(total == Some(n), || format!("parts {sizes:?} of an extent of {n}"))?;
    let mut start = 0;
    let piece = |size: usize| {
        start += size;
        part(x, axis, start - size, size)
    };
    sizes.into_iter().map(piece).collect()
}

/// First index and number of elements of `start:end:step` in an extent of `n`. The standard clamps the start of a
/// backward slice to the first element, where numpy goes one further and takes none.
fn steps(start: i64, end: i64, step: i64, n: usize) -> (i64, usize) {
    let n = n as i64;
    // In the direction of `step`, a position before the first element is -1 or 0, one after the last n - 1 or n.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let place = |v: i64, low: i64| (if v < 0 { v.saturating_add(n) } else { v }).max(low).min(high);
    let (start, end) = (place(start, 0), place(end, low));
    let distance = if step > 0 { end - start } else { start - end };
    let count = if distance <= 0 { 0 } else { (distance - 1) / step.saturating_abs() + 1 };
    (start, count as usize)
}

/// `Slice`: from attributes up to opset 9, from inputs since.
pub fn slice(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let given = |n: usize, name: &str| call.list(n, name).ok_or_else(|| call.invalid(format!("`{name}` is missing")));
    let (starts, ends) = (given(1, "starts")?, given(2, "ends")?);
    let axes = match call.list(3, "axes") {
        Some(axes) => call.axes(&axes, x.rank())?,
        None => (0..starts.len()).collect(),
    };
    let steps_of = call.list(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    let equal = ends.len() == starts.len() && axes.len() == starts.len() && steps_of.len() == starts.len();
    call.require(equal && !steps_of.contains(&0), || "lists of different lengths, or a step of 0".to_string())?;
    let in_rank = axes.iter().all(|a| *a < x.rank());
    call.require(in_rank, || format!("{} starts for shape {:?}", starts.len(), x.shape))?;
    let own = strides(&x.shape);
    let mut shape = x.shape.clone();
    let (mut first, mut step) = (vec![0; x.rank()], vec![1; x.rank()]);
    for (i, axis) in axes.into_iter().enumerate() {
        (first[axis], shape[axis]) = steps(starts[i], ends[i], steps_of[i], x.shape[axis]);
        step[axis] = steps_of[i];
    }
    let mut source = vec![0i64];
    for d in 0..x.rank() {
        let along = |base: i64| (0..shape[d] as i64).map(move |i| (base, i));
        let at = |(base, i): (i64, i64)| base + (first[d] + i * step[d]) * own[d] as i64;
        source = source.into_iter().flat_map(along).map(at).collect();
    }
    let source: Vec<usize> = source.into_iter().map(|i| i as usize).collect();
    Ok(vec![pick(x, &shape, &source)?])
}

pub fn tile(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let repeats = call.extents(&call.input(1)?.i64s())?;
    call.require(repeats.len() == x.rank(), || format!("{} repeats for {:?}", repeats.len(), x.shape))?;
    let shape: Vec<usize> = x.shape.iter().zip(&repeats).map(|(d, r)| d.saturating_mul(*r)).collect();
    checked_len(x.dtype, &shape)?;
    // As [repeat, extent] pairs, where moving along a repeat moves nowhere.
    let own = strides(&x.shape);
    let pairs: Vec<usize> = repeats.iter().zip(&x.shape).flat_map(|(r, d)| [*r, *d]).collect();
    let steps: Vec<usize> = own.iter().flat_map(|s| [0, *s]).collect();
    Ok(vec![pick(x, &shape, &offsets(&pairs, &steps))?])
}

/// `DepthToSpace`: channels become blocks of pixels; `DCR` has the block outermost in the channels.
pub fn depth_to_space(call: &Call) -> Result<Vec<Value>> {
    let (x, b) = (call.input(0)?, block_size(call)?);
    let [n, c, h, w] = four(call, x)?;
    call.require(c.is_multiple_of(b * b), || format!("{c} channels in blocks of {b} x {b}"))?;
    let c = c / (b * b);
    let (split, perm) = match call.string("mode", "DCR") {
        "CRD" => ([n, c, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        _ => ([n, b, b, c, h, w], [0, 3, 4, 1, 5, 2]),
    };
    Ok(vec![transpose(&x.reshaped(&split)?, &perm)?.reshaped(&[n, c, h * b, w * b])?])
}

pub fn space_to_depth(call: &Call) -> Result<Vec<Value>> {
    let (x, b) = (call.input(0)?, block_size(call)?);
    let [n, c, h, w] = four(call, x)?;
    let fits = h.is_multiple_of(b) && w.is_multiple_of(b);
    call.require(fits, || format!("{h} x {w} pixels in blocks of {b} x {b}"))?;
    let split = x.reshaped(&[n, c, h / b, b, w / b, b])?;
    Ok(vec![transpose(&split, &[0, 3, 5, 1, 2, 4])?.reshaped(&[n, c * b * b, h / b, w / b])?])
}

fn block_size(call: &Call) -> Result<usize> {
    let found = usize::try_from(call.int("blocksize", 0)).ok().filter(|b| (1..1 << 16).contains(b));
    found.ok_or_else(|| call.invalid("`blocksize` must be positive"))
}

fn four(call: &Call, x: &Value) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(x.shape.as_slice()).map_err(|_| call.invalid(format!("shape {:?} is not NCHW", x.shape)))
}

/// `Trilu`: zero below (`upper`) or above diagonal `k` of the last two dimensions.
pub fn trilu(call: &Call) -> Result<Vec<Value>> {
    let mut x = call.ranked(0, 2)?.clone();
    let k = call.scalar(1).map_or(0, |v| v.get_i64(0));
    let upper = call.flag("upper", true);
    let (columns, rows) = (x.shape[x.rank() - 1], x.shape[x.rank() - 2]);
    for i in 0..x.len() {
        let (row, column) = ((i / columns % rows) as i64, (i % columns) as i64);
        let diagonal = column - row;
        if if upper { diagonal < k } else { diagonal > k } {
            x.set_i64(i, 0);
        }
    }
    Ok(vec![x])
}

/// `ReverseSequence`: the first `length[b]` elements of each sequence in reverse.
pub fn reverse_sequence(call: &Call) -> Result<Vec<Value>> {
    let (x, lengths) = (call.ranked(0, 2)?, call.extents(&call.input(1)?.i64s())?);
    let (batch, time) =
        (call.axis(call.int("batch_axis", 1), x.rank())?, call.axis(call.int("time_axis", 0), x.rank())?);
    let valid = lengths.len() == x.shape[batch] && lengths.iter().all(|l| *l <= x.shape[time]);
    call.require(valid, || format!("lengths {lengths:?} for shape {:?}", x.shape))?;
    let own = strides(&x.shape);
    let source = (0..x.len()).map(|i| {
        let index = unravel(i, &x.shape);
        let (t, length) = (index[time], lengths[index[batch]]);
        if t < length { i - t * own[time] + (length - 1 - t) * own[time] } else { i }
    });
    Ok(vec![pick(x, &x.shape, &source.collect::<Vec<_>>())?])
}

/// `Compress`: the entries of `axis` (of the flattened tensor without one) whose condition holds.
pub fn compress(call: &Call) -> Result<Vec<Value>> {
    let (x, condition) = (call.input(0)?, call.input(1)?.bools());
    let (x, axis) = match call.node.int("axis") {
        Some(axis) => (x.clone(), call.axis(axis, x.rank())?),
        None => (x.reshaped(&[x.len()])?, 0),
    };
    let chosen: Vec<usize> = (0..condition.len().min(x.shape[axis])).filter(|i| condition[*i]).collect();
    let (outer, n, inner) = split_at(&x.shape, axis);
    let mut shape = x.shape.clone();
    shape[axis] = chosen.len();
    let mut source = Vec::with_capacity(product(&shape));
    for o in 0..outer {
        source.extend(chosen.iter().flat_map(|c| (0..inner).map(move |i| (o * n + c) * inner + i)));
    }
    Ok(vec![pick(&x, &shape, &source)?, Value::scalar(chosen.len() as i64)])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    #[test]
    fn pieces_concatenate_and_split() {
        let (a, b) = (i64s(&[2, 1], &[1, 2]), i64s(&[2, 2], &[3, 4, 5, 6]));
        let y = eval("Concat", 13, &[("axis", Attribute::Int(-1))], &[&a, &b]);
        assert_eq!((y.shape.clone(), y.i64s()), (vec![2, 3], vec![1, 3, 4, 2, 5, 6]));
        let parts = try_eval("Split", 13, &[("axis", Attribute::Int(1))], &[&y, &Value::vector(&[1, 2])]).unwrap();
        assert_eq!(parts, [a.clone(), b]);
        let parts = try_eval("Split", 18, &[("num_outputs", Attribute::Int(2))], &[&i64s(&[3], &[1, 2, 3])]).unwrap();
        assert_eq!((parts[0].i64s(), parts[1].i64s()), (vec![1, 2], vec![3]));
        assert!(try_eval("Concat", 13, &[("axis", Attribute::Int(0))], &[&a, &i64s(&[1, 3], &[0; 3])]).is_err());
    }

    #[test]
    fn slices_clamp_and_run_backwards() {
        let x = i64s(&[5], &[0, 1, 2, 3, 4]);
        let slice = |start: i64, end: i64, step: i64| {
            let v = |n| Value::vector(&[n]);
            eval("Slice", 13, &[], &[&x, &v(start), &v(end), &v(0), &v(step)]).i64s()
        };
        assert_eq!(slice(1, 100, 2), [1, 3]);
        assert_eq!(slice(-1, i64::MIN, -2), [4, 2, 0]);
        assert_eq!(slice(-2, i64::MAX, 1), [3, 4]);
        assert_eq!(slice(10, 0, -3), [4, 1]);
        assert_eq!(slice(-9, i64::MIN, -1), [0]);
        assert_eq!(slice(3, 1, 1), [0i64; 0]);
        assert_eq!(slice(0, 5, i64::MIN), [0i64; 0]);
        let old = [("starts", ints(&[1])), ("ends", ints(&[-1]))];
        assert_eq!(eval("Slice", 9, &old, &[&x]).i64s(), [1, 2, 3]);
        assert!(try_eval("Slice", 13, &[], &[&x, &Value::vector(&[0, 0]), &Value::vector(&[1, 1])]).is_err());
    }

    #[test]
    fn tiles_repeat_blocks() {
        let x = i64s(&[1, 2], &[1, 2]);
        assert_eq!(eval("Tile", 13, &[], &[&x, &Value::vector(&[2, 2])]).i64s(), [1, 2, 1, 2, 1, 2, 1, 2]);
        assert!(try_eval("Tile", 13, &[], &[&x, &Value::vector(&[1 << 40, 1 << 40])]).is_err());
    }

    #[test]
    fn blocks_and_channels_are_inverse() {
        let x = i64s(&[1, 4, 1, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
        let block = ("blocksize", Attribute::Int(2));
        let y = eval("DepthToSpace", 13, std::slice::from_ref(&block), &[&x]);
        assert_eq!((y.shape.clone(), y.i64s()), (vec![1, 1, 2, 4], vec![1, 3, 2, 4, 5, 7, 6, 8]));
        assert_eq!(eval("SpaceToDepth", 13, &[block], &[&y]), x);
    }

    #[test]
    fn triangles_keep_their_diagonal() {
        let x = i64s(&[2, 2], &[1, 2, 3, 4]);
        assert_eq!(eval("Trilu", 14, &[], &[&x]).i64s(), [1, 2, 0, 4]);
        let lower = [("upper", Attribute::Int(0))];
        assert_eq!(eval("Trilu", 14, &lower, &[&x, &i64s(&[], &[-1])]).i64s(), [0, 0, 3, 0]);
    }

    #[test]
    fn sequences_reverse_up_to_their_length() {
        let x = i64s(&[3, 2], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(eval("ReverseSequence", 10, &[], &[&x, &Value::vector(&[2, 3])]).i64s(), [3, 6, 1, 4, 5, 2]);
    }

    #[test]
    fn compress_selects() {
        let x = i64s(&[2, 2], &[1, 2, 3, 4]);
        let keep = Value::from_bools(&[2], &[false, true]).unwrap();
        assert_eq!(eval("Compress", 11, &[("axis", Attribute::Int(1))], &[&x, &keep]).i64s(), [2, 4]);
        assert_eq!(eval("Compress", 11, &[], &[&x, &keep]).i64s(), [2]);
    }
}
