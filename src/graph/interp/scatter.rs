//! Writing at computed positions, in the order of the indices: a later update of an element wins.

use super::Call;
use super::gather::{element_offsets, tuple_offsets};
use crate::run::value::Value;
use sirius_polyhedral::{DType, Result};

/// How an update meets what is there: `reduction`.
fn combine(call: &Call, y: &mut Value, at: usize, updates: &Value, from: usize) -> Result<()> {
    let size = y.dtype.size();
    match call.string("reduction", "none") {
        "none" => y.bytes[at * size..(at + 1) * size].copy_from_slice(updates.element(from)),
        reduction if y.dtype.is_float() => {
            let (a, b) = (y.get_f64(at), updates.get_f64(from));
            y.set_f64(at, float_reduction(call, reduction, a, b)?);
        }
        reduction => {
            let (a, b) = (y.get_i64(at), updates.get_i64(from));
            let less = if y.dtype == DType::U64 { (a as u64) < b as u64 } else { a < b };
            y.set_i64(at, int_reduction(call, reduction, a, b, less)?);
        }
    }
    Ok(())
}

fn float_reduction(call: &Call, reduction: &str, a: f64, b: f64) -> Result<f64> {
    Ok(match reduction {
        "add" => a + b,
        "mul" => a * b,
        "max" => a.max(b),
        "min" => a.min(b),
        other => return Err(call.invalid(format!("reduction `{other}`"))),
    })
}

fn int_reduction(call: &Call, reduction: &str, a: i64, b: i64, less: bool) -> Result<i64> {
    Ok(match reduction {
        "add" => a.wrapping_add(b),
        "mul" => a.wrapping_mul(b),
        "max" => {
            if less {
                b
            } else {
                a
            }
        }
        "min" => {
            if less {
                a
            } else {
                b
            }
        }
        other => return Err(call.invalid(format!("reduction `{other}`"))),
    })
}

/// `ScatterElements`, and `Scatter` of opset 9.
pub fn elements(call: &Call) -> Result<Vec<Value>> {
    let (x, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let fits = indices.shape == updates.shape && x.dtype == updates.dtype;
    call.require(fits, || format!("updates {}{:?} for {}", updates.dtype, updates.shape, x.dtype))?;
    let mut y = x.clone();
    for (from, at) in element_offsets(call, x, indices)?.into_iter().enumerate() {
        combine(call, &mut y, at, updates, from)?;
    }
    Ok(vec![y])
}

pub fn nd(call: &Call) -> Result<Vec<Value>> {
    let (x, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (starts, run) = tuple_offsets(call, &x.shape, indices, 0)?;
    let fits = updates.len() == starts.len() * run && x.dtype == updates.dtype;
    call.require(fits, || format!("updates {}{:?} for {}", updates.dtype, updates.shape, x.dtype))?;
    let mut y = x.clone();
    for (n, start) in starts.into_iter().enumerate() {
        for i in 0..run {
            combine(call, &mut y, start + i, updates, n * run + i)?;
        }
    }
    Ok(vec![y])
}

/// `TensorScatter` (opset 24): writes `update` into a cache along `axis`, from each batch's own position.
pub fn tensor(call: &Call) -> Result<Vec<Value>> {
    let (cache, update) = (call.ranked(0, 2)?, call.ranked(1, 2)?);
    let axis = call.axis(call.int("axis", -2), cache.rank())?;
    let same = |(d, (a, b)): (usize, (&usize, &usize))| if d == axis { b <= a } else { a == b };
    let fits = cache.rank() == update.rank() && cache.shape.iter().zip(&update.shape).enumerate().all(same);
    call.require(fits && axis > 0, || format!("update {:?} of cache {:?}", update.shape, cache.shape))?;
    let starts = call.optional(2).map_or(vec![0; cache.shape[0]], Value::i64s);
    call.require(starts.len() == cache.shape[0], || "one write position per batch entry".to_string())?;
    let (circular, n, length) = (call.string("mode", "linear") == "circular", cache.shape[axis], update.shape[axis]);
    let inner: usize = cache.shape[axis + 1..].iter().product::<usize>();
    let outer: usize = cache.shape[..axis].iter().product();
    let run = inner * cache.dtype.size();
    let mut y = cache.clone();
    for (o, i) in (0..outer).flat_map(|o| (0..length).map(move |i| (o, i))) {
        let at = starts[o / (outer / cache.shape[0])] + i as i64;
        let at = if circular { at.rem_euclid(n as i64) } else { at };
        let at = super::gather::position(call, at, n)?;
        let from = (o * length + i) * run;
        y.bytes[(o * n + at) * run..(o * n + at + 1) * run].copy_from_slice(&update.bytes[from..from + run]);
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;

    #[test]
    fn elements_replace_or_reduce() {
        let x = f32s(&[1, 3], &[1.0, 2.0, 3.0]);
        let (indices, updates) = (i64s(&[1, 2], &[1, 1]), f32s(&[1, 2], &[5.0, 7.0]));
        let run = |reduction: &str| {
            let attributes = [("axis", Attribute::Int(1)), ("reduction", Attribute::String(reduction.into()))];
            eval("ScatterElements", 18, &attributes, &[&x, &indices, &updates]).floats()
        };
        assert_eq!(run("none"), [1.0, 7.0, 3.0]);
        assert_eq!(run("add"), [1.0, 14.0, 3.0]);
        assert_eq!(run("mul"), [1.0, 70.0, 3.0]);
        assert_eq!(run("max"), [1.0, 7.0, 3.0]);
        assert_eq!(run("min"), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn tuples_write_rows() {
        let x = i64s(&[2, 2], &[1, 2, 3, 4]);
        let y = eval("ScatterND", 18, &[], &[&x, &i64s(&[1, 1], &[-1]), &i64s(&[1, 2], &[8, 9])]);
        assert_eq!(y.i64s(), [1, 2, 8, 9]);
        assert!(try_eval("ScatterND", 18, &[], &[&x, &i64s(&[1, 1], &[2]), &i64s(&[1, 2], &[8, 9])]).is_err());
    }

    #[test]
    fn a_cache_is_written_in_place() {
        let (cache, update) = (i64s(&[1, 3, 1], &[0, 0, 0]), i64s(&[1, 2, 1], &[7, 8]));
        let circular = [("mode", Attribute::String("circular".into()))];
        let y = eval("TensorScatter", 24, &circular, &[&cache, &update, &i64s(&[1], &[2])]);
        assert_eq!(y.i64s(), [8, 0, 7]);
        assert!(try_eval("TensorScatter", 24, &[], &[&cache, &update, &i64s(&[1], &[2])]).is_err());
    }
}
