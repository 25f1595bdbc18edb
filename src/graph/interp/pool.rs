//! Pools: `MaxPool`, `AveragePool`, `LpPool`, their global forms, and `MaxUnpool`.

use super::Call;
use super::index::{indices, product, unravel};
use super::window::Window;
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::{DType, Result};

/// The window of a pool over `[n, c, spatial..]`.
fn window(call: &Call, x: &Value) -> Result<Window> {
    let kernel = call.ints("kernel_shape").ok_or_else(|| call.invalid("`kernel_shape` is missing"))?;
    Window::new(call, &x.shape[2..], &call.extents(kernel)?)
}

fn output_shape(x: &Value, window: &Window) -> Vec<usize> {
    [&x.shape[..2], &window.output].concat()
}

/// `AveragePool` and `LpPool`.
pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 3)?;
    let window = window(call, x)?;
    let shape = output_shape(x, &window);
    let (taps, kernel) = (window.taps(), product(&window.kernel));
    let with_padding = call.flag("count_include_pad", false);
    let p = call.int("p", 2) as f64;
    let average = call.op() == "AveragePool";
    let counts: Vec<usize> = indices(&window.output).map(|at| window.padded_taps(&at)).collect();
    let all = x.floats();
    let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
    for plane in all.chunks(product(&window.input).max(1)) {
        for (at, point) in taps.chunks(kernel).enumerate() {
            let inside = point.iter().flatten().map(|i| plane[*i]);
            out.push(if average {
                let count = if with_padding { counts[at] } else { inside.clone().count() };
                inside.sum::<f64>() / count as f64
            } else {
                inside.map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)
            });
        }
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &out)?])
}

/// `MaxPool` with the positions of the largest elements, counted in the whole input.
pub fn max(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 3)?;
    let window = window(call, x)?;
    let shape = output_shape(x, &window);
    let (taps, kernel, area) = (window.taps(), product(&window.kernel), product(&window.input).max(1));
    let column_major = call.flag("storage_order", false);
    let all = x.floats();
    let (mut values, mut places) = (Vec::new(), Vec::new());
    for (n, plane) in all.chunks(area).enumerate() {
        for point in taps.chunks(kernel) {
            let larger = |best: Option<usize>, i: &usize| match best {
                Some(b) if !(plane[*i] > plane[b] || plane[*i].is_nan()) => Some(b),
                _ => Some(*i),
            };
            let best = point.iter().flatten().fold(None, larger);
            values.push(best.map_or(f64::NEG_INFINITY, |i| plane[i]));
            let place = best.map_or(0, |i| if column_major { column_major_place(i, &window.input) } else { i });
            places.push((n * area + place) as i64);
        }
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &values)?, Value::from_i64(&shape, &places)?])
}

/// Where element `i` of a row-major tensor is when the first dimension runs fastest.
fn column_major_place(i: usize, shape: &[usize]) -> usize {
    unravel(i, shape).iter().zip(shape).rev().fold(0, |place, (index, extent)| place * extent + index)
}

/// `GlobalAveragePool`, `GlobalMaxPool`, `GlobalLpPool`.
pub fn global(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    let mut shape = x.shape[..2].to_vec();
    shape.resize(x.rank(), 1);
    let area = product(&x.shape[2..]);
    let p = call.int("p", 2) as f64;
    let pool = |v: &[f64]| match call.op() {
        "GlobalAveragePool" => v.iter().sum::<f64>() / v.len() as f64,
        "GlobalMaxPool" => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        _ => v.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p),
    };
    let all = x.floats();
    let values: Vec<f64> = (0..x.shape[0] * x.shape[1]).map(|n| pool(&all[n * area..(n + 1) * area])).collect();
    Ok(vec![Value::from_floats(x.dtype, &shape, &values)?])
}

/// `MaxUnpool`: puts elements back where `MaxPool` found them.
pub fn unpool(call: &Call) -> Result<Vec<Value>> {
    let (x, places) = (call.ranked(0, 3)?, call.input(1)?);
    let rank = x.rank() - 2;
    let kernel = call.sizes("kernel_shape", rank, 1)?;
    let (strides, pads) = (call.sizes("strides", rank, 1)?, call.sizes("pads", 2 * rank, 0)?);
    let mut natural = x.shape[..2].to_vec();
    for d in 0..rank {
        let full = x.shape[2 + d].saturating_sub(1).saturating_mul(strides[d]).saturating_add(kernel[d]);
        natural.push(full.saturating_sub(pads[d]).saturating_sub(pads[rank + d]));
    }
    let shape = call.optional(2).map_or(Ok(natural.clone()), |s| call.extents(&s.i64s()))?;
    call.require(shape.len() == x.rank() && places.len() == x.len(), || format!("an output of {shape:?}"))?;
    let mut y = Value::zeros(x.dtype, &shape)?;
    for (i, place) in places.i64s().into_iter().enumerate() {
        // Places count in the natural extents; a larger output keeps the subscripts, not the number.
        let place = super::gather::position(call, place, product(&natural))?;
        let at = unravel(place, &natural).iter().zip(&shape).fold(0, |at, (i, n)| at * n + i);
        let at = super::gather::position(call, at as i64, y.len())?;
        y.set_f64(at, x.get_f64(i));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn line() -> Value {
        f32s(&[1, 1, 5], &[1.0, 5.0, 2.0, 4.0, 3.0])
    }

    #[test]
    fn maxima_and_their_places() {
        let attributes = [("kernel_shape", ints(&[2])), ("strides", ints(&[2]))];
        let found = try_eval("MaxPool", 12, &attributes, &[&line()]).unwrap();
        assert_eq!((found[0].floats(), found[1].i64s()), (vec![5.0, 4.0], vec![1, 3]));
        let ceil = [attributes.as_slice(), &[("ceil_mode", Attribute::Int(1))]].concat();
        assert_close(&eval("MaxPool", 12, &ceil, &[&line()]), &[1, 1, 3], &[5.0, 4.0, 3.0]);
        let back = eval("MaxUnpool", 11, &attributes, &[&found[0], &found[1], &Value::vector(&[1, 1, 5])]);
        assert_close(&back, &[1, 1, 5], &[0.0, 5.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn averages_count_padding_on_request() {
        let attributes = [("kernel_shape", ints(&[2])), ("strides", ints(&[3])), ("pads", ints(&[1, 0]))];
        assert_close(&eval("AveragePool", 19, &attributes, &[&line()]), &[1, 1, 2], &[1.0, 2.0 + 1.0]);
        let counted = [attributes.as_slice(), &[("count_include_pad", Attribute::Int(1))]].concat();
        assert_close(&eval("AveragePool", 19, &counted, &[&line()]), &[1, 1, 2], &[0.5, 3.0]);
    }

    #[test]
    fn a_window_must_not_start_behind_the_input() {
        let x = f32s(&[1, 1, 2], &[1.0, 2.0]);
        let attributes = [("kernel_shape", ints(&[1])), ("strides", ints(&[2])), ("ceil_mode", Attribute::Int(1))];
        assert_close(&eval("MaxPool", 12, &attributes, &[&x]), &[1, 1, 1], &[1.0]);
        assert!(try_eval("MaxPool", 12, &[("kernel_shape", ints(&[9]))], &[&x]).is_err());
    }

    #[test]
    fn global_pools_leave_ones() {
        let x = f32s(&[1, 2, 1, 2], &[3.0, 4.0, -6.0, 8.0]);
        assert_close(&eval("GlobalAveragePool", 1, &[], &[&x]), &[1, 2, 1, 1], &[3.5, 1.0]);
        assert_close(&eval("GlobalMaxPool", 1, &[], &[&x]), &[1, 2, 1, 1], &[4.0, 8.0]);
        assert_close(&eval("GlobalLpPool", 2, &[], &[&x]), &[1, 2, 1, 1], &[5.0, 10.0]);
    }
}
