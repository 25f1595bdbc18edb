//! `DeformConv` and `Col2Im`.

use super::Call;
use super::index::{indices, product, strides};
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::Result;

fn offset(shape: &[usize], at: &[usize]) -> usize {
    strides(shape).iter().zip(at).map(|(s, i)| s * i).sum()
}

/// The value between the elements of a plane; zero outside.
fn between(plane: &[f64], extents: &[usize], place: &[f64]) -> f64 {
    let mut total = 0.0;
    for corner in indices(&vec![2; extents.len()]) {
        let (mut weight, mut at, mut inside) = (1.0, Vec::new(), true);
        for (d, c) in corner.iter().enumerate() {
            let i = place[d].floor() + *c as f64;
            weight *= 1.0 - (place[d] - i).abs();
            inside &= i >= 0.0 && i < extents[d] as f64;
            at.push(i.max(0.0) as usize);
        }
        if inside {
            total += weight * plane[offset(extents, &at)];
        }
    }
    total
}

pub fn deform_conv(call: &Call) -> Result<Vec<Value>> {
    let (x, w, moved) = (call.ranked(0, 3)?, call.ranked(1, 3)?, call.ranked(2, 3)?);
    let rank = x.rank() - 2;
    let (groups, offset_groups) = (call.int("group", 1).max(1) as usize, call.int("offset_group", 1).max(1) as usize);
    let (stride, dilation) = (call.sizes("strides", rank, 1)?, call.sizes("dilations", rank, 1)?);
    let pads = call.sizes("pads", 2 * rank, 0)?;
    let (kernel, places) = (w.shape[2..].to_vec(), moved.shape[2..].to_vec());
    let fits = x.shape[1] == w.shape[1] * groups
        && moved.shape[1] == offset_groups * product(&kernel) * rank
        && x.shape[1].is_multiple_of(offset_groups)
        && w.shape[0].is_multiple_of(groups);
    call.require(fits, || format!("offsets {:?} for {:?}", moved.shape, x.shape))?;
    let (xs, ws, ms) = (x.floats(), w.floats(), moved.floats());
    let bias = call.optional(3).map(Value::floats);
    let mask = call.optional(4);
    let masks = mask.map(Value::floats);
    let shape = [&[x.shape[0], w.shape[0]], places.as_slice()].concat();
    let mut out = Vec::with_capacity(checked_len(x.dtype, &shape)?);
    let area = product(&x.shape[2..]);
    for at in indices(&shape) {
        let (n, m, o) = (at[0], at[1], &at[2..]);
        let mut total = bias.as_ref().map_or(0.0, |b| b[m]);
        for c in 0..w.shape[1] {
            let channel = m / (w.shape[0] / groups) * w.shape[1] + c;
            let own = channel / (x.shape[1] / offset_groups);
            let plane = &xs[(n * x.shape[1] + channel) * area..][..area];
            for (number, k) in indices(&kernel).enumerate() {
                let element = own * product(&kernel) + number;
                let place = |d: usize| {
                    let index = [&[n, element * rank + d], o].concat();
                    let fixed = (o[d] * stride[d] + k[d] * dilation[d]) as f64 - pads[d] as f64;
                    fixed + ms[offset(&moved.shape, &index)]
                };
                let place: Vec<f64> = (0..rank).map(place).collect();
                let weight = ws[offset(&w.shape, &[&[m, c], k.as_slice()].concat())];
                let masked = match (mask, &masks) {
                    (Some(mask), Some(values)) => values[offset(&mask.shape, &[&[n, element], o].concat())],
                    _ => 1.0,
                };
                total += weight * masked * between(plane, &x.shape[2..], &place);
            }
        }
        out.push(total);
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &out)?])
}

/// `Col2Im`: every window element is added to its pixel.
pub fn col2im(call: &Call) -> Result<Vec<Value>> {
    let (x, image, block) = (call.ranked(0, 3)?, call.input(1)?.i64s(), call.input(2)?.i64s());
    let (image, block) = (call.extents(&image)?, call.extents(&block)?);
    let rank = image.len();
    let (stride, dilation) = (call.sizes("strides", rank, 1)?, call.sizes("dilations", rank, 1)?);
    let pads = call.sizes("pads", 2 * rank, 0)?;
    let size = product(&block).max(1);
    let windows: Option<Vec<usize>> = (0..rank)
        .map(|d| {
            let reach = (block.get(d)?.checked_sub(1)?) * dilation[d] + 1;
            Some((image[d] + pads[d] + pads[rank + d]).checked_sub(reach)? / stride[d] + 1)
        })
        .collect();
    let windows = windows.filter(|w| product(w) == x.shape[2] && x.shape[1].is_multiple_of(size));
    let windows = windows.ok_or_else(|| call.invalid(format!("{:?} is no stack of windows of {image:?}", x.shape)))?;
    let shape = [&[x.shape[0], x.shape[1] / size], image.as_slice()].concat();
    let mut out = vec![0.0; checked_len(x.dtype, &shape)?];
    let all = x.floats();
    for (n, c) in (0..shape[0]).flat_map(|n| (0..shape[1]).map(move |c| (n, c))) {
        for (row, k) in indices(&block).enumerate() {
            for (column, w) in indices(&windows).enumerate() {
                let place = |d: usize| (w[d] * stride[d] + k[d] * dilation[d]).checked_sub(pads[d]);
                let place: Option<Vec<usize>> = (0..rank).map(|d| place(d).filter(|i| *i < image[d])).collect();
                let Some(place) = place else { continue };
                let from = (n * x.shape[1] + c * size + row) * x.shape[2] + column;
                out[offset(&shape, &[&[n, c], place.as_slice()].concat())] += all[from];
            }
        }
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &out)?])
}
