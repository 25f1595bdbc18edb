//! Convolutions and pooling in one, two and three dimensions.

use super::{binary, linear::dot};
use crate::bounds::Bounds;
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius::import::proto::AttributeProto;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    match maker.choices.below(8) {
        0..=2 => conv(maker),
        3 => conv_transpose(maker),
        4 => global(maker),
        _ => pool(maker),
    }
}

/// Kernel, stride, dilation and pads of the spatial axes, and what becomes of their extents.
pub struct Window {
    pub kernel: Vec<usize>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// All before, then all after.
    pads: Vec<i64>,
    pub output: Vec<Dim>,
    pub attributes: Vec<AttributeProto>,
}

/// `None` where a window does not fit, or an extent is not known well enough.
pub fn window(maker: &mut Maker, spatial: &[Dim], most_pad: usize) -> Option<Window> {
    let kernel: Vec<usize> = spatial.iter().map(|_| maker.choices.between(1, 3) as usize).collect();
    let strides: Vec<i64> = spatial.iter().map(|_| maker.choices.pick(&[1, 1, 2, 3])).collect();
    let dilations: Vec<i64> = spatial.iter().map(|_| maker.choices.pick(&[1, 1, 1, 2])).collect();
    let reach: Vec<i64> = kernel.iter().zip(&dilations).map(|(k, d)| (*k as i64 - 1) * d + 1).collect();
    let mut attributes = vec![onnx::ints("strides", &strides), onnx::ints("dilations", &dilations)];
    let automatic = maker.choices.pick(&["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]);
    let same = automatic.starts_with("SAME");
    let mut pads = vec![0; 2 * spatial.len()];
    if automatic == "NOTSET" {
        for (n, pad) in pads.iter_mut().enumerate() {
            *pad = maker.choices.between(0, most_pad.min(kernel[n % spatial.len()] - 1) as i64);
        }
        attributes.push(onnx::ints("pads", &pads));
    } else {
        attributes.push(onnx::string("auto_pad", automatic));
    }
    if same && dilations.iter().any(|d| *d > 1) {
        return None;
    }
    let mut output = Vec::new();
    for (n, dim) in spatial.iter().enumerate() {
        let padded = |extent: usize| extent as i64 + pads[n] + pads[n + spatial.len()];
        let length = |extent: usize| match same {
            true => (extent as i64 + strides[n] - 1) / strides[n],
            false => (padded(extent) - reach[n]).div_euclid(strides[n]) + 1,
        };
        if dim.min() == 0 || length(dim.min()) < 1 || padded(dim.min()) < reach[n] && !same {
            return None;
        }
        output.push(match dim {
            Dim::Fixed(extent) => Dim::Fixed(length(*extent) as usize),
            dim if strides[n] == 1 && length(dim.min()) == dim.min() as i64 => *dim,
            dim => maker.derived(length(dim.min()) as usize, length(dim.max()) as usize),
        });
    }
    Some(Window { kernel, strides, dilations, pads, output, attributes })
}

/// Something with batch, channels and 1 to 3 spatial axes.
fn image(maker: &mut Maker) -> Option<Tensor> {
    if let Some(found) = maker.find(FLOATS, |t| t.dims.len() >= 3 && t.dims[1].fixed().is_some_and(|c| c > 0)) {
        return Some(found);
    }
    let dtype = maker.dtype(FLOATS);
    let mut dims = vec![maker.dim(), Dim::Fixed(1 + maker.choices.below(4))];
    for _ in 0..maker.choices.pick(&[2, 1, 2, 3]) {
        dims.push(if maker.choices.chance(15) { maker.dim() } else { Dim::Fixed(3 + maker.choices.below(6)) });
    }
    Some(maker.fresh(dtype, dims))
}

fn kernel_of(maker: &mut Maker, dtype: DType, dims: &[usize]) -> Tensor {
    let dims = dims.iter().map(|d| Dim::Fixed(*d)).collect();
    let bounds = maker.choices.pick(&[Bounds::whole(-2.0, 2.0), Bounds::exact(-1.0, 1.0)]);
    maker.made(dtype, dims, bounds)
}

fn conv(maker: &mut Maker) -> Option<()> {
    let x = image(maker)?;
    let channels = x.dims[1].fixed()?;
    let groups = if maker.choices.chance(30) { channels } else { 1 };
    let out = groups * (1 + maker.choices.below(3));
    let window = window(maker, &x.dims[2..], 2)?;
    let shape = [&[out, channels / groups], window.kernel.as_slice()].concat();
    let w = kernel_of(maker, x.dtype, &shape);
    let terms = shape[1..].iter().product();
    let mut bounds = dot(&x.bounds, &w.bounds, terms, x.dtype);
    let mut inputs = vec![x.name.clone(), w.name];
    if maker.choices.chance(60) {
        let b = kernel_of(maker, x.dtype, &[out]);
        bounds = binary::sum(&bounds, &b.bounds).rounded(x.dtype, 1.0);
        inputs.push(b.name);
    }
    let mut attributes = window.attributes;
    if groups != 1 {
        attributes.push(onnx::int("group", groups as i64));
    }
    let dims = [&[x.dims[0], Dim::Fixed(out)], window.output.as_slice()].concat();
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    maker.one("Conv", &names, attributes, (x.dtype, dims, bounds)).map(|_| ())
}

fn conv_transpose(maker: &mut Maker) -> Option<()> {
    let x = image(maker)?;
    let channels = x.dims[1].fixed()?;
    let spatial = &x.dims[2..];
    let groups = if maker.choices.chance(30) { channels } else { 1 };
    let per_group = 1 + maker.choices.below(2);
    let kernel: Vec<usize> = spatial.iter().map(|_| maker.choices.between(1, 3) as usize).collect();
    let strides: Vec<i64> = spatial.iter().map(|_| maker.choices.between(1, 3)).collect();
    let pads: Vec<i64> =
        kernel.iter().chain(&kernel).map(|k| maker.choices.between(0, (*k as i64 - 1).min(1))).collect();
    let extra: Vec<i64> = strides.iter().map(|s| maker.choices.between(0, s - 1)).collect();
    let mut dims = vec![x.dims[0], Dim::Fixed(groups * per_group)];
    for (n, dim) in spatial.iter().enumerate() {
        let cut = pads[n] + pads[n + spatial.len()];
        let length = |extent: usize| strides[n] * (extent as i64 - 1) + extra[n] + kernel[n] as i64 - cut;
        if dim.min() == 0 || length(dim.min()) < 1 {
            return None;
        }
        dims.push(match dim {
            Dim::Fixed(extent) => Dim::Fixed(length(*extent) as usize),
            dim => maker.derived(length(dim.min()) as usize, length(dim.max()) as usize),
        });
    }
    let shape = [&[channels, per_group], kernel.as_slice()].concat();
    let w = kernel_of(maker, x.dtype, &shape);
    let terms = channels / groups * kernel.iter().product::<usize>();
    let attributes = vec![
        onnx::ints("strides", &strides),
        onnx::ints("pads", &pads),
        onnx::ints("output_padding", &extra),
        onnx::int("group", groups as i64),
    ];
    let bounds = dot(&x.bounds, &w.bounds, terms, x.dtype).or_value(0.0);
    maker.one("ConvTranspose", &[&x.name, &w.name], attributes, (x.dtype, dims, bounds)).map(|_| ())
}

fn pool(maker: &mut Maker) -> Option<()> {
    let op = maker.choices.pick(&["MaxPool", "AveragePool", "MaxPool", "LpPool"]);
    let x = image(maker)?;
    let x = if op == "LpPool" { maker.fit(&x, 0.25, 100.0)? } else { x };
    let window = window(maker, &x.dims[2..], 1)?;
    let kernel: Vec<i64> = window.kernel.iter().map(|k| *k as i64).collect();
    let mut attributes = window.attributes;
    attributes.push(onnx::ints("kernel_shape", &kernel));
    let n: f64 = kernel.iter().product::<i64>() as f64;
    let dims = [&x.dims[..2], window.output.as_slice()].concat();
    let unpadded = window.pads.iter().all(|p| *p == 0);
    let dense = window.dilations.iter().all(|d| *d == 1) && window.strides.iter().all(|s| *s >= 1);
    let bounds = match op {
        "MaxPool" => x.bounds,
        "AveragePool" => {
            attributes.push(onnx::int("count_include_pad", i64::from(maker.choices.chance(40))));
            Bounds { whole: false, ..x.bounds.or_value(0.0) }.rounded(x.dtype, n + 1.0)
        }
        // A window of padding alone would be the root at zero.
        _ if !unpadded || !dense => return None,
        _ => Bounds::of(0.0, n.sqrt() * x.bounds.hi, n * x.bounds.error).rounded(x.dtype, n + 8.0),
    };
    let indices = op == "MaxPool" && x.bounds.is_exact() && maker.choices.chance(30);
    let mut results = vec![(x.dtype, dims.clone(), bounds)];
    if indices {
        results.push((DType::I64, dims, Bounds::whole(0.0, 1e6)));
    }
    maker.node(op, &[&x.name], attributes, results).map(|_| ())
}

fn global(maker: &mut Maker) -> Option<()> {
    let op = maker.choices.pick(&["GlobalAveragePool", "GlobalMaxPool"]);
    let x = image(maker)?;
    if x.dims[2..].iter().any(|d| d.min() == 0) {
        return None;
    }
    let n = crate::dim::volume(&x.dims[2..]) as f64;
    let bounds = match op {
        "GlobalMaxPool" => x.bounds,
        _ => Bounds { whole: false, ..x.bounds }.rounded(x.dtype, n + 1.0),
    };
    let dims = [&x.dims[..2], &vec![Dim::Fixed(1); x.dims.len() - 2]].concat();
    maker.one(op, &[&x.name], vec![], (x.dtype, dims, bounds)).map(|_| ())
}
