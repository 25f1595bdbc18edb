//! Convolutions of any rank: `Conv`, `ConvInteger`'s core and `ConvTranspose`.

use super::Call;
use super::index::{indices, product, strides, unravel};
use super::matmul::{rows_times_rows, transposed};
use super::window::Window;
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::{DType, Result};

/// A tensor of numbers: shape and contents.
pub type Numbers<'a> = (&'a [usize], &'a [f64]);

/// `x[n, c, spatial] * w[m, c / groups, kernel]`, giving the shape and contents of `[n, m, output]`. Each output
/// position's inputs are laid out as one row, so that the result is a product of rows.
pub fn convolve(call: &Call, x: Numbers, w: Numbers) -> Result<(Vec<usize>, Vec<f64>)> {
    let ((xs, x), (ws, w)) = (x, w);
    let groups = usize::try_from(call.int("group", 1)).unwrap_or(0);
    let fits = xs.len() >= 3 && xs.len() == ws.len() && groups > 0;
    let fits = fits && ws[0].is_multiple_of(groups) && ws[1].checked_mul(groups) == Some(xs[1]);
    call.require(fits, || format!("{groups} groups, input {xs:?}, weights {ws:?}"))?;
    let window = Window::new(call, &xs[2..], &ws[2..])?;
    let (maps, channels) = (ws[0] / groups, ws[1]);
    let mut shape = vec![xs[0], ws[0]];
    shape.extend(&window.output);
    let (area, points, taps) = (product(&window.input), product(&window.output), window.taps());
    let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
    let row = channels * product(&window.kernel);
    for (n, g) in (0..xs[0]).flat_map(|n| (0..groups).map(move |g| (n, g))) {
        if row == 0 || area == 0 {
            out.extend(vec![0.0; maps * points]);
            continue;
        }
        let planes = &x[(n * xs[1] + g * channels) * area..][..channels * area];
        let rows = rows_of_taps(planes, area, &taps, product(&window.kernel));
        let weights = &w[g * maps * row..(g + 1) * maps * row];
        out.extend(transposed(&rows_times_rows(&rows, weights, row), points, maps));
    }
    Ok((shape, out))
}

/// `[point, channel, tap]`: what each output position reads, zeros for padding.
fn rows_of_taps(planes: &[f64], area: usize, taps: &[Option<usize>], kernel: usize) -> Vec<f64> {
    let mut rows = Vec::with_capacity(planes.len() / area.max(1) * taps.len());
    for point in taps.chunks(kernel) {
        for plane in planes.chunks(area.max(1)) {
            rows.extend(point.iter().map(|tap| tap.map_or(0.0, |i| plane[i])));
        }
    }
    rows
}

/// Adds `bias[m]` to every element of map `m`.
pub fn add_bias(call: &Call, shape: &[usize], values: &mut [f64], bias: &[f64]) -> Result<()> {
    call.require(bias.len() == shape[1], || format!("a bias of {} for {} maps", bias.len(), shape[1]))?;
    let points = product(&shape[2..]).max(1);
    for (n, plane) in values.chunks_mut(points).enumerate() {
        plane.iter_mut().for_each(|v| *v += bias[n % bias.len()]);
    }
    Ok(())
}

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let (shape, mut values) = convolve(call, (&x.shape, &x.floats()), (&w.shape, &w.floats()))?;
    if let Some(bias) = call.optional(2) {
        add_bias(call, &shape, &mut values, &bias.floats())?;
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &values)?])
}

/// The geometry of a transposed convolution: output extents and what is cut off at the beginning.
struct Transposed {
    output: Vec<usize>,
    before: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
}

impl Transposed {
    fn new(call: &Call, input: &[usize], kernel: &[usize]) -> Result<Transposed> {
        let rank = input.len();
        let (strides, dilations) = (call.sizes("strides", rank, 1)?, call.sizes("dilations", rank, 1)?);
        let (extra, pads) = (call.sizes("output_padding", rank, 0)?, call.sizes("pads", 2 * rank, 0)?);
        let wanted = call.ints("output_shape").map(|s| call.extents(&s[s.len().saturating_sub(rank)..])).transpose()?;
        let wanted = wanted.filter(|w| w.len() == rank);
        let mode = call.string("auto_pad", "NOTSET");
        let (mut output, mut before) = (Vec::new(), Vec::new());
        for d in 0..rank {
            let full = input[d].checked_sub(1).and_then(|n| n.checked_mul(strides[d]));
            let span = kernel[d].checked_sub(1).and_then(|k| k.checked_mul(dilations[d]));
            let full = full.zip(span).and_then(|(a, b)| a.checked_add(b)?.checked_add(1)?.checked_add(extra[d]));
            let full = full.ok_or_else(|| call.invalid(format!("a kernel of {kernel:?} over {input:?}")))?;
            let same = matches!(mode, "SAME_UPPER" | "SAME_LOWER").then(|| input[d].saturating_mul(strides[d]));
            let (size, cut) = match wanted.as_ref().map(|w| w[d]).or(same) {
                Some(size) => {
                    let total = full.saturating_sub(size);
                    (size, if mode == "SAME_UPPER" { total / 2 } else { total - total / 2 })
                }
                None => (full.saturating_sub(pads[d]).saturating_sub(pads[rank + d]), pads[d]),
            };
            output.push(size);
            before.push(cut);
        }
        Ok(Transposed { output, before, strides, dilations })
    }
}

/// `ConvTranspose`: every input element adds its multiple of the kernel to the output.
pub fn transpose(call: &Call) -> Result<Vec<Value>> {
    let (x, w) = (call.ranked(0, 3)?, call.ranked(1, 3)?);
    let groups = usize::try_from(call.int("group", 1)).unwrap_or(0);
    let fits = x.rank() == w.rank() && x.shape[1] == w.shape[0] && groups > 0 && x.shape[1].is_multiple_of(groups);
    call.require(fits, || format!("{groups} groups, input {:?}, weights {:?}", x.shape, w.shape))?;
    let geometry = Transposed::new(call, &x.shape[2..], &w.shape[2..])?;
    let (channels, maps) = (x.shape[1] / groups, w.shape[1]);
    let mut shape = vec![x.shape[0], maps * groups];
    shape.extend(&geometry.output);
    let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
    let (xs, ws) = (x.floats(), w.floats());
    let (area, points, kernel) = (product(&x.shape[2..]), product(&geometry.output), product(&w.shape[2..]));
    let pairs = spread(&geometry, &x.shape[2..], &w.shape[2..]);
    for plane in 0..x.shape[0] * x.shape[1] {
        let (n, c) = (plane / x.shape[1], plane % x.shape[1]);
        for m in 0..maps {
            let to = &mut out[((n * groups + c / channels) * maps + m) * points..][..points];
            let (from, weights) = (&xs[plane * area..][..area], &ws[(c * maps + m) * kernel..][..kernel]);
            pairs.iter().for_each(|(i, k, o)| to[*o] += from[*i] * weights[*k]);
        }
    }
    if let Some(bias) = call.optional(2) {
        add_bias(call, &shape, &mut out, &bias.floats())?;
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &out)?])
}

/// All triples (input element, kernel element, output element) that meet.
fn spread(geometry: &Transposed, input: &[usize], kernel: &[usize]) -> Vec<(usize, usize, usize)> {
    let own = strides(&geometry.output);
    let mut pairs = Vec::new();
    for (i, at) in indices(input).enumerate() {
        for k in 0..product(kernel) {
            let tap = unravel(k, kernel);
            let place = |d: usize| {
                let full = at[d] * geometry.strides[d] + tap[d] * geometry.dilations[d];
                full.checked_sub(geometry.before[d]).filter(|o| *o < geometry.output[d]).map(|o| o * own[d])
            };
            let output: Option<usize> = (0..input.len()).map(place).sum();
            pairs.extend(output.map(|o| (i, k, o)));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;

    #[test]
    fn a_line_convolves_with_stride_and_padding() {
        let x = f32s(&[1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        let w = f32s(&[1, 1, 3], &[1.0, 0.0, -1.0]);
        assert_close(&eval("Conv", 11, &[], &[&x, &w]), &[1, 1, 3], &[-2.0, -2.0, -2.0]);
        let attributes = [("strides", ints(&[2])), ("pads", ints(&[1, 1]))];
        let bias = f32s(&[1], &[10.0]);
        assert_close(&eval("Conv", 11, &attributes, &[&x, &w, &bias]), &[1, 1, 3], &[8.0, 8.0, 14.0]);
        let same = [("auto_pad", Attribute::String("SAME_LOWER".into())), ("strides", ints(&[2]))];
        let pair = f32s(&[1, 1, 2], &[1.0, 1.0]);
        assert_close(&eval("Conv", 11, &same, &[&x, &pair]), &[1, 1, 3], &[1.0, 5.0, 9.0]);
        let dilated = [("dilations", ints(&[2]))];
        assert_close(&eval("Conv", 11, &dilated, &[&x, &w]), &[1, 1, 1], &[-4.0]);
    }

    #[test]
    fn groups_keep_channels_apart() {
        let x = f32s(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let w = f32s(&[2, 1, 1, 1], &[10.0, 100.0]);
        let y = eval("Conv", 11, &[("group", Attribute::Int(2))], &[&x, &w]);
        assert_close(&y, &[1, 2, 1, 2], &[10.0, 20.0, 300.0, 400.0]);
        assert!(try_eval("Conv", 11, &[("group", Attribute::Int(0))], &[&x, &w]).is_err());
        let full = f32s(&[1, 2, 1, 1], &[1.0, 10.0]);
        assert_close(&eval("Conv", 11, &[], &[&x, &full]), &[1, 1, 1, 2], &[31.0, 42.0]);
    }

    #[test]
    fn transposed_convolutions_spread() {
        let x = f32s(&[1, 1, 2], &[1.0, 2.0]);
        let w = f32s(&[1, 1, 3], &[1.0, 10.0, 100.0]);
        let y = eval("ConvTranspose", 11, &[("strides", ints(&[2]))], &[&x, &w]);
        assert_close(&y, &[1, 1, 5], &[1.0, 10.0, 102.0, 20.0, 200.0]);
        let cut = [("strides", ints(&[2])), ("pads", ints(&[1, 0])), ("output_padding", ints(&[1]))];
        assert_close(&eval("ConvTranspose", 11, &cut, &[&x, &w]), &[1, 1, 5], &[10.0, 102.0, 20.0, 200.0, 0.0]);
        let shaped = [("strides", ints(&[2])), ("output_shape", ints(&[3]))];
        assert_close(&eval("ConvTranspose", 11, &shaped, &[&x, &w]), &[1, 1, 3], &[10.0, 102.0, 20.0]);
    }
}
