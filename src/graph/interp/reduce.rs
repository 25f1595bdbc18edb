//! Reductions over axes, and running sums.

use super::Call;
use super::index::{offsets, product, split_at, strides};
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::{DType, Result};

/// The axes of a reduction: from input 1 or the attribute; all of them when the list is missing or empty.
fn axes(call: &Call, rank: usize) -> Result<Vec<usize>> {
    let given = call.list(1, "axes").unwrap_or_default();
    if given.is_empty() && !call.flag("noop_with_empty_axes", false) {
        return Ok((0..rank).collect());
    }
    call.axes(&given, rank)
}

/// Which element each position of `[kept.., reduced..]` is, and the extents of both parts.
pub fn grouped(shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let own = strides(shape);
    let (reduced, kept): (Vec<usize>, Vec<usize>) = (0..shape.len()).partition(|d| axes.contains(d));
    let order: Vec<usize> = kept.iter().chain(&reduced).copied().collect();
    let extents: Vec<usize> = order.iter().map(|d| shape[*d]).collect();
    let steps: Vec<usize> = order.iter().map(|d| own[*d]).collect();
    let (outer, inner) = extents.split_at(kept.len());
    (offsets(&extents, &steps), outer.to_vec(), inner.to_vec())
}

/// The shape after reduction: 1 or nothing along the reduced axes.
fn reduced_shape(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = (0..shape.len()).filter(|d| keep || !axes.contains(d));
    kept.map(|d| if axes.contains(&d) { 1 } else { shape[d] }).collect()
}

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axes = axes(call, x.rank())?;
    let (order, outer, inner) = grouped(&x.shape, &axes);
    let shape = reduced_shape(&x.shape, &axes, call.flag("keepdims", true));
    let (groups, size) = (checked_len(DType::F64, &outer)?, product(&inner));
    if let Some(f) = int_reduction(call.op(), x.dtype) {
        let all = x.ints();
        let group = |g: usize| f(&mut order[g * size..(g + 1) * size].iter().map(|i| all[*i]));
        return Ok(vec![Value::from_ints(x.dtype, &shape, &(0..groups).map(group).collect::<Vec<_>>())?]);
    }
    let f = float_reduction(call)?;
    let all = x.floats();
    let mut buffer = Vec::with_capacity(size);
    let group = |g: usize| {
        buffer.clear();
        buffer.extend(order[g * size..(g + 1) * size].iter().map(|i| all[*i]));
        f(&buffer)
    };
    Ok(vec![Value::from_floats(x.dtype, &shape, &(0..groups).map(group).collect::<Vec<_>>())?])
}

fn float_reduction(call: &Call) -> Result<fn(&[f64]) -> f64> {
    Ok(match call.op() {
        "ReduceSum" => |v| v.iter().sum::<f64>() + 0.0,
        "ReduceMean" => |v| v.iter().sum::<f64>() / v.len() as f64,
        "ReduceProd" => |v| v.iter().product(),
        "ReduceMax" => {
            |v| v.iter().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(*b) })
        }
        "ReduceMin" => {
            |v| v.iter().fold(f64::INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(*b) })
        }
        "ReduceL1" => |v| v.iter().map(|x| x.abs()).sum::<f64>() + 0.0,
        "ReduceL2" => |v| v.iter().map(|x| x * x).sum::<f64>().abs().sqrt(),
        "ReduceSumSquare" => |v| v.iter().map(|x| x * x).sum::<f64>() + 0.0,
        "ReduceLogSum" => |v| (v.iter().sum::<f64>() + 0.0).ln(),
        "ReduceLogSumExp" => log_sum_exp,
        name => return Err(call.unsupported(format!("no reduction {name}"))),
    })
}

/// With the largest element taken out, so that nothing overflows.
fn log_sum_exp(v: &[f64]) -> f64 {
    let largest = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shift = if largest.is_finite() { largest } else { 0.0 };
    (v.iter().map(|x| (x - shift).exp()).sum::<f64>() + 0.0).ln() + shift
}

type IntReduction = fn(&mut dyn Iterator<Item = i128>) -> i128;

/// Exact reductions of integers; the others go through floats.
fn int_reduction(op: &str, dtype: DType) -> Option<IntReduction> {
    if dtype.is_float() {
        return None;
    }
    // The extremes of an empty set are those of the type; wrapped to it, these constants are.
    let unsigned = !dtype.is_signed();
    Some(match op {
        "ReduceSum" => |v| v.fold(0, i128::wrapping_add),
        "ReduceProd" => |v| v.fold(1, i128::wrapping_mul),
        "ReduceMax" if unsigned => |v| v.max().unwrap_or(0),
        "ReduceMax" => |v| v.max().unwrap_or(i64::MIN as i128),
        "ReduceMin" if unsigned => |v| v.min().unwrap_or(u64::MAX as i128),
        "ReduceMin" => |v| v.min().unwrap_or(i64::MAX as i128),
        "ReduceL1" => |v| v.fold(0, |a, b| a.wrapping_add(b.abs())),
        "ReduceSumSquare" => |v| v.fold(0, |a, b| a.wrapping_add(b.wrapping_mul(b))),
        _ => return None,
    })
}

/// `CumSum` and `CumProd` along one axis, `exclusive` of the element itself, from the end with `reverse`.
pub fn cumulative(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axis = call.scalar(1).ok_or_else(|| call.invalid("the axis is missing"))?.get_i64(0);
    let (outer, n, inner) = split_at(&x.shape, call.axis(axis, x.rank())?);
    let (exclusive, reverse) = (call.flag("exclusive", false), call.flag("reverse", false));
    let sum = call.op() == "CumSum";
    let (floats, ints) = (x.floats(), x.ints());
    let (mut out_floats, mut out_ints) = (floats.clone(), ints.clone());
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let (mut f, mut z) = if sum { (0.0, 0) } else { (1.0, 1i128) };
        for step in 0..n {
            let at = (o * n + if reverse { n - 1 - step } else { step }) * inner + i;
            let before = (f, z);
            f = if sum { f + floats[at] } else { f * floats[at] };
            z = if sum { z.wrapping_add(ints[at]) } else { z.wrapping_mul(ints[at]) };
            (out_floats[at], out_ints[at]) = if exclusive { before } else { (f, z) };
        }
    }
    let y = match x.dtype.is_float() {
        true => Value::from_floats(x.dtype, &x.shape, &out_floats)?,
        false => Value::from_ints(x.dtype, &x.shape, &out_ints)?,
    };
    Ok(vec![y])
}

/// `ArgMax` and `ArgMin`: the first best position, or the last with `select_last_index`.
pub fn arg(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let axis = call.axis(call.int("axis", 0), x.rank())?;
    let (outer, n, inner) = split_at(&x.shape, axis);
    call.require(n > 0, || "the best of no elements".to_string())?;
    let (last, largest) = (call.flag("select_last_index", false), call.op() == "ArgMax");
    let (floats, ints) = if x.dtype.is_float() { (x.floats(), vec![]) } else { (vec![], x.ints()) };
    let better = |a: usize, b: usize| {
        let (a, b) = if largest { (a, b) } else { (b, a) };
        let order = if ints.is_empty() { floats[a].partial_cmp(&floats[b]) } else { Some(ints[a].cmp(&ints[b])) };
        order.is_some_and(|o| if last { o.is_ge() } else { o.is_gt() })
    };
    let mut found = Vec::with_capacity(outer * inner);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let at = |p: usize| (o * n + p) * inner + i;
        found.push((1..n).fold(0, |best, p| if better(at(p), at(best)) { p } else { best }) as i64);
    }
    let shape = reduced_shape(&x.shape, &[axis], call.flag("keepdims", true));
    Ok(vec![Value::from_i64(&shape, &found)?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn x() -> Value {
        f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    }

    #[test]
    fn axes_come_from_either_place() {
        let old = [("axes", ints(&[1])), ("keepdims", Attribute::Int(0))];
        assert_close(&eval("ReduceSum", 11, &old, &[&x()]), &[2], &[6.0, 15.0]);
        assert_close(&eval("ReduceSum", 13, &[], &[&x(), &Value::vector(&[-2])]), &[1, 3], &[5.0, 7.0, 9.0]);
        assert_close(&eval("ReduceMean", 18, &[], &[&x()]), &[1, 1], &[3.5]);
        let noop = [("noop_with_empty_axes", Attribute::Int(1))];
        assert_eq!(eval("ReduceSum", 13, &noop, &[&x()]), x());
    }

    #[test]
    fn every_reduction_of_three_and_four() {
        let v = f32s(&[2], &[3.0, -4.0]);
        let cases = [
            ("ReduceSum", -1.0),
            ("ReduceProd", -12.0),
            ("ReduceMax", 3.0),
            ("ReduceMin", -4.0),
            ("ReduceL1", 7.0),
            ("ReduceL2", 5.0),
            ("ReduceSumSquare", 25.0),
            ("ReduceLogSumExp", 3.000_911_466_453_774),
        ];
        for (op, wanted) in cases {
            assert_close(&eval(op, 18, &[], &[&v]), &[1], &[wanted]);
        }
        assert_close(&eval("ReduceLogSum", 18, &[], &[&f32s(&[2], &[1.0, 1.0])]), &[1], &[2f64.ln()]);
        assert_close(&eval("ReduceLogSumExp", 18, &[], &[&f32s(&[1], &[1000.0])]), &[1], &[1000.0]);
    }

    #[test]
    fn integers_reduce_exactly() {
        let v = i64s(&[2], &[1 << 60, 1]);
        assert_eq!(eval("ReduceSum", 13, &[], &[&v]).i64s(), [(1 << 60) + 1]);
        assert_eq!(eval("ReduceMean", 18, &[], &[&i64s(&[2], &[1, 4])]).i64s(), [2]);
        assert_eq!(eval("ReduceSum", 13, &[], &[&i64s(&[0], &[])]).i64s(), [0]);
    }

    #[test]
    fn running_sums_have_four_kinds() {
        let v = f32s(&[3], &[1.0, 2.0, 3.0]);
        let axis = i64s(&[], &[0]);
        let run = |exclusive, reverse| {
            let attributes = [("exclusive", Attribute::Int(exclusive)), ("reverse", Attribute::Int(reverse))];
            eval("CumSum", 14, &attributes, &[&v, &axis]).floats()
        };
        assert_eq!(run(0, 0), [1.0, 3.0, 6.0]);
        assert_eq!(run(1, 0), [0.0, 1.0, 3.0]);
        assert_eq!(run(0, 1), [6.0, 5.0, 3.0]);
        assert_eq!(run(1, 1), [5.0, 3.0, 0.0]);
    }

    #[test]
    fn ties_go_to_the_first_unless_asked() {
        let v = f32s(&[1, 3], &[2.0, 2.0, 1.0]);
        let axis = ("axis", Attribute::Int(1));
        assert_eq!(eval("ArgMax", 13, std::slice::from_ref(&axis), &[&v]).i64s(), [0]);
        assert_eq!(eval("ArgMax", 13, &[axis.clone(), ("select_last_index", Attribute::Int(1))], &[&v]).i64s(), [1]);
        let flat = eval("ArgMin", 13, &[axis, ("keepdims", Attribute::Int(0))], &[&v]);
        assert_eq!((flat.shape.clone(), flat.i64s()), (vec![1], vec![2]));
    }
}
