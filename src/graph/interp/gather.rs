//! Reading at computed positions: `Gather`, `GatherElements`, `GatherND`, `OneHot`, and `NonZero`, `TopK`.

use super::Call;
use super::index::{offsets, pick, product, split_at, strides, unravel};
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::Result;
use std::cmp::Ordering;

/// A position on an axis of `n` elements; negative ones count from the end.
pub fn position(call: &Call, index: i64, n: usize) -> Result<usize> {
    let found = if index < 0 { index.saturating_add(n as i64) } else { index };
    let found = usize::try_from(found).ok().filter(|i| *i < n);
    found.ok_or_else(|| call.invalid(format!("index {index} is outside an extent of {n}")))
}

fn positions(call: &Call, indices: &Value, n: usize) -> Result<Vec<usize>> {
    indices.i64s().into_iter().map(|i| position(call, i, n)).collect()
}

pub fn gather(call: &Call) -> Result<Vec<Value>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let axis = call.axis(call.int("axis", 0), x.rank())?;
    let (outer, n, inner) = split_at(&x.shape, axis);
    let chosen = positions(call, indices, n)?;
    let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    let run = inner * x.dtype.size();
    let mut bytes = Vec::with_capacity(checked_len(x.dtype, &shape)? * x.dtype.size());
    for o in 0..outer {
        for i in &chosen {
            bytes.extend_from_slice(&x.bytes[(o * n + i) * run..(o * n + i + 1) * run]);
        }
    }
    Ok(vec![Value::new(x.dtype, shape, bytes)?])
}

pub fn gather_elements(call: &Call) -> Result<Vec<Value>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let source = element_offsets(call, x, indices)?;
    Ok(vec![pick(x, &indices.shape, &source)?])
}

/// For every element of `indices`, the offset in `x` of its own position with `axis` replaced by the index.
pub fn element_offsets(call: &Call, x: &Value, indices: &Value) -> Result<Vec<usize>> {
    let axis = call.axis(call.int("axis", 0), x.rank())?;
    let fits = indices.rank() == x.rank()
        && indices.shape.iter().zip(&x.shape).enumerate().all(|(d, (i, n))| d == axis || i <= n);
    call.require(fits, || format!("indices of shape {:?} for shape {:?}", indices.shape, x.shape))?;
    let own = strides(&x.shape);
    let chosen = positions(call, indices, x.shape[axis])?.into_iter().enumerate();
    let place = |(i, at): (usize, usize)| {
        let index = unravel(i, &indices.shape);
        (0..x.rank()).map(|d| if d == axis { at } else { index[d] } * own[d]).sum()
    };
    Ok(chosen.map(place).collect())
}

/// The offset of each index tuple (the last dimension of `indices`) in `shape` after `batch` leading dimensions
/// that both share, and the length of the run that it names.
pub fn tuple_offsets(call: &Call, shape: &[usize], indices: &Value, batch: usize) -> Result<(Vec<usize>, usize)> {
    let width = *indices.shape.last().ok_or_else(|| call.invalid("indices are a scalar"))?;
    let fits = batch + width <= shape.len() && batch < indices.rank() && indices.shape[..batch] == shape[..batch];
    call.require(fits, || format!("indices of shape {:?} for shape {shape:?}", indices.shape))?;
    let own = strides(shape);
    let run = product(&shape[batch + width..]);
    let tuples = product(&indices.shape[..indices.rank() - 1]);
    let per_batch = product(&indices.shape[batch..indices.rank() - 1]).max(1);
    let all = indices.i64s();
    let place = |t: usize| -> Result<usize> {
        let base = t / per_batch * product(&shape[batch..]);
        (0..width)
            .try_fold(base, |at, d| Ok(at + position(call, all[t * width + d], shape[batch + d])? * own[batch + d]))
    };
    Ok(((0..tuples).map(place).collect::<Result<_>>()?, run))
}

pub fn gather_nd(call: &Call) -> Result<Vec<Value>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let batch = usize::try_from(call.int("batch_dims", 0)).map_err(|_| call.invalid("negative `batch_dims`"))?;
    let (starts, run) = tuple_offsets(call, &x.shape, indices, batch)?;
    let (tuples, width) = indices.shape.split_at(indices.rank() - 1);
    let shape = [tuples, &x.shape[batch + width[0]..]].concat();
    let source: Vec<usize> = starts.into_iter().flat_map(|s| s..s + run).collect();
    Ok(vec![pick(x, &shape, &source)?])
}

/// `OneHot(indices, depth, [off, on])`; indices outside the depth give no hot element.
pub fn one_hot(call: &Call) -> Result<Vec<Value>> {
    let (indices, values) = (call.input(0)?, call.input(2)?);
    call.require(values.len() == 2, || "`values` must be [off, on]".to_string())?;
    let depth = call.scalar(1).map_or(-1, |v| v.get_i64(0));
    let depth = usize::try_from(depth).map_err(|_| call.invalid(format!("depth {depth}")))?;
    let axis = call.axis(call.int("axis", -1), indices.rank() + 1)?;
    let mut shape = indices.shape.clone();
    shape.insert(axis, depth);
    checked_len(values.dtype, &shape)?;
    let (_, _, inner) = split_at(&shape, axis);
    let mut source = vec![0; product(&shape)];
    for (i, index) in indices.i64s().into_iter().enumerate() {
        if let Ok(hot) = position(call, index, depth) {
            source[(i / inner * depth + hot) * inner + i % inner] = 1;
        }
    }
    Ok(vec![pick(values, &shape, &source)?])
}

/// `NonZero`: one column of subscripts for each element that is not zero.
pub fn non_zero(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let found: Vec<usize> = x.bools().into_iter().enumerate().filter(|(_, b)| *b).map(|(i, _)| i).collect();
    let subscripts: Vec<Vec<usize>> = found.iter().map(|i| unravel(*i, &x.shape)).collect();
    let rows = (0..x.rank()).flat_map(|d| subscripts.iter().map(move |s| s[d] as i64));
    let count = Value::scalar(found.len() as i64);
    Ok(vec![Value::from_i64(&[x.rank(), found.len()], &rows.collect::<Vec<_>>())?, count])
}

/// `TopK`: values and positions of the `k` best of an axis, best first; ties in order of position.
pub fn top_k(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 1)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let (outer, n, inner) = split_at(&x.shape, axis);
    let k = call.scalar(1).map(|v| v.get_i64(0)).or(call.node.int("k")).unwrap_or(-1);
    let k = usize::try_from(k).ok().filter(|k| *k <= n);
    let k = k.ok_or_else(|| call.invalid(format!("k is not between 0 and {n}")))?;
    let largest = call.flag("largest", true);
    let (floats, ints) = if x.dtype.is_float() { (x.floats(), vec![]) } else { (vec![], x.ints()) };
    let order = |a: usize, b: usize| {
        let found = if ints.is_empty() { number_order(floats[a], floats[b]) } else { ints[a].cmp(&ints[b]) };
        if largest { found.reverse() } else { found }
    };
    let mut shape = x.shape.clone();
    shape[axis] = k;
    let (mut source, mut places) = (vec![0; product(&shape)], vec![0i64; product(&shape)]);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at = |p: usize| (o * n + p) * inner + i;
        let mut sorted: Vec<usize> = (0..n).collect();
        sorted.sort_by(|a, b| order(at(*a), at(*b)).then(a.cmp(b)));
        for (rank, p) in sorted.into_iter().take(k).enumerate() {
            let to = (o * k + rank) * inner + i;
            (source[to], places[to]) = (at(p), p as i64);
        }
    }
    Ok(vec![pick(x, &shape, &source)?, Value::from_i64(&shape, &places)?])
}

/// Numbers in order; NaN is larger than all of them, as in numpy, and zeros are equal.
fn number_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// `Unique`: distinct elements (or slices of `axis`) with first positions, inverse and counts.
pub fn unique(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let (x, axis) = match call.node.int("axis") {
        Some(axis) => (x.clone(), call.axis(axis, x.rank())?),
        None => (x.reshaped(&[x.len()])?, 0),
    };
    let (outer, n, inner) = split_at(&x.shape, axis);
    let first = offsets(&[outer, inner], &[n * inner, 1]);
    let slice = |p: usize| first.iter().map(move |o| o + p * inner);
    let (floats, ints) = (x.floats(), x.ints());
    let compare = |a: usize, b: usize| {
        let pairs = slice(a).zip(slice(b));
        let order = |(i, j): (usize, usize)| {
            if x.dtype.is_float() { number_order(floats[i], floats[j]) } else { ints[i].cmp(&ints[j]) }
        };
        pairs.map(order).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut firsts: Vec<usize> = Vec::new();
    for p in 0..n {
        if !firsts.iter().any(|q| compare(*q, p).is_eq()) {
            firsts.push(p);
        }
    }
    if call.flag("sorted", true) {
        firsts.sort_by(|a, b| compare(*a, *b));
    }
    let class = |p: usize| firsts.iter().position(|q| compare(*q, p).is_eq()).unwrap_or(0);
    let inverse: Vec<i64> = (0..n).map(|p| class(p) as i64).collect();
    let counts: Vec<i64> =
        (0..firsts.len()).map(|c| inverse.iter().filter(|i| **i == c as i64).count() as i64).collect();
    let mut shape = x.shape.clone();
    shape[axis] = firsts.len();
    let source =
        (0..outer).flat_map(|o| firsts.iter().flat_map(move |p| (0..inner).map(move |i| (o * n + p) * inner + i)));
    let values = pick(&x, &shape, &source.collect::<Vec<_>>())?;
    let firsts: Vec<i64> = firsts.iter().map(|p| *p as i64).collect();
    let count = Value::scalar(firsts.len() as i64);
    Ok(vec![values, Value::vector(&firsts), Value::vector(&inverse), Value::vector(&counts), count])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn x() -> Value {
        i64s(&[2, 3], &[1, 2, 3, 4, 5, 6])
    }

    #[test]
    fn gather_takes_rows_or_columns() {
        let y = eval("Gather", 13, &[("axis", Attribute::Int(1))], &[&x(), &i64s(&[1, 2], &[2, -3])]);
        assert_eq!((y.shape.clone(), y.i64s()), (vec![2, 1, 2], vec![3, 1, 6, 4]));
        assert_eq!(eval("Gather", 13, &[], &[&x(), &i64s(&[], &[1])]).i64s(), [4, 5, 6]);
        assert!(try_eval("Gather", 13, &[], &[&x(), &i64s(&[], &[2])]).is_err());
    }

    #[test]
    fn gather_elements_and_tuples() {
        let y = eval("GatherElements", 13, &[("axis", Attribute::Int(1))], &[&x(), &i64s(&[2, 1], &[2, 0])]);
        assert_eq!(y.i64s(), [3, 4]);
        assert_eq!(eval("GatherND", 13, &[], &[&x(), &i64s(&[2, 2], &[0, 0, 1, -1])]).i64s(), [1, 6]);
        assert_eq!(eval("GatherND", 13, &[], &[&x(), &i64s(&[1, 1], &[1])]).i64s(), [4, 5, 6]);
        let batch = [("batch_dims", Attribute::Int(1))];
        assert_eq!(eval("GatherND", 13, &batch, &[&x(), &i64s(&[2, 1], &[2, 1])]).i64s(), [3, 5]);
    }

    #[test]
    fn one_hot_puts_the_new_axis_anywhere() {
        let (indices, depth, values) = (i64s(&[2], &[1, -1]), i64s(&[], &[3]), i64s(&[2], &[0, 7]));
        let y = eval("OneHot", 11, &[], &[&indices, &depth, &values]);
        assert_eq!((y.shape.clone(), y.i64s()), (vec![2, 3], vec![0, 7, 0, 0, 0, 7]));
        let y = eval("OneHot", 11, &[("axis", Attribute::Int(0))], &[&indices, &depth, &values]);
        assert_eq!((y.shape.clone(), y.i64s()), (vec![3, 2], vec![0, 0, 7, 0, 0, 7]));
    }

    #[test]
    fn non_zero_lists_subscripts_by_row() {
        let y = eval("NonZero", 13, &[], &[&i64s(&[2, 2], &[1, 0, 1, 1])]);
        assert_eq!((y.shape.clone(), y.i64s()), (vec![2, 3], vec![0, 1, 1, 0, 0, 1]));
    }

    #[test]
    fn top_k_sorts_and_breaks_ties_by_position() {
        let v = f32s(&[1, 4], &[1.0, 3.0, 3.0, 2.0]);
        let found = try_eval("TopK", 11, &[], &[&v, &Value::vector(&[3])]).unwrap();
        assert_eq!((found[0].floats(), found[1].i64s()), (vec![3.0, 3.0, 2.0], vec![1, 2, 3]));
        let found = try_eval("TopK", 11, &[("largest", Attribute::Int(0))], &[&v, &Value::vector(&[1])]).unwrap();
        assert_eq!(found[1].i64s(), [0]);
    }

    #[test]
    fn unique_counts() {
        let found = try_eval("Unique", 11, &[], &[&i64s(&[4], &[3, 1, 3, 2])]).unwrap();
        let lists: Vec<Vec<i64>> = found[..4].iter().map(Value::i64s).collect();
        assert_eq!(lists, [vec![1, 2, 3], vec![1, 3, 0], vec![2, 0, 2, 1], vec![1, 1, 2]]);
    }
}
