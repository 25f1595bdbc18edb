//! Convolutions and pooling.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("Conv", |s| conv(s, None, 1)),
    ("ConvInteger", |s| conv(s, Some(DType::I32), 1)),
    ("QLinearConv", qlinear_conv),
    ("MaxPool", max_pool),
    ("AveragePool", pool),
    ("LpPool", pool),
    ("GlobalAveragePool", global_pool),
    ("GlobalMaxPool", global_pool),
    ("GlobalLpPool", global_pool),
];

/// How a window moves; one entry per spatial axis.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// Before all axes, then after all axes.
    pads: Vec<i64>,
    /// `SAME_UPPER` or `SAME_LOWER`: the output has `ceil(input / stride)` elements.
    same: bool,
}

fn window(site: &Site, kernel: Vec<i64>) -> Step<Window> {
    let spatial = kernel.len();
    let list = |name: &str, default: i64, count: usize| -> Step<Vec<i64>> {
        let values = site.node.ints(name).map_or_else(|| vec![default; count], <[i64]>::to_vec);
        if values.len() == count {
            return Ok(values);
        }
        Err(site.invalid(format!("{name} has {} entries where {count} are needed", values.len())))
    };
    let auto = site.node.string("auto_pad").unwrap_or("NOTSET");
    let explicit = auto == "NOTSET";
    let window = Window {
        strides: list("strides", 1, spatial)?,
        dilations: list("dilations", 1, spatial)?,
        pads: if explicit { list("pads", 0, 2 * spatial)? } else { vec![0; 2 * spatial] },
        same: auto.starts_with("SAME"),
        kernel,
    };
    let small = |values: &[i64], least: i64| values.iter().all(|&v| (least..1 << 31).contains(&v));
    if !small(&window.strides, 1) || !small(&window.dilations, 1) || !small(&window.kernel, 1) {
        return Err(site.invalid("strides, dilations and kernel_shape must be at least 1"));
    }
    if !small(&window.pads, -(1 << 31)) {
        return Err(site.invalid("pads are too large"));
    }
    Ok(window)
}

impl Window {
    /// Extent of the kernel with its holes.
    fn reach(&self, d: usize) -> i64 {
        self.dilations[d] * (self.kernel[d] - 1) + 1
    }

    fn padding(&self, d: usize) -> i64 {
        self.pads[d] + self.pads[d + self.kernel.len()]
    }

    /// Positions of the window along spatial axis `d`.
    fn positions(&self, input: &Aff, d: usize) -> Aff {
        let stride = self.strides[d];
        if self.same {
            return (input.clone() + Aff::constant(stride - 1)).floor_div(stride);
        }
        let span = input.clone() + Aff::constant(self.padding(d) - self.reach(d));
        span.floor_div(stride) + 1.into()
    }

    /// The same, rounded up; a last window that would start in the padding behind the input is dropped.
    fn positions_ceil(&self, input: &Aff, d: usize) -> Option<Aff> {
        let stride = self.strides[d];
        if self.same {
            return Some(self.positions(input, d));
        }
        let span = input.clone() + Aff::constant(self.padding(d) - self.reach(d) + stride - 1);
        let count = span.floor_div(stride) + 1.into();
        let limit = input.clone() + Aff::constant(self.pads[d]);
        match (count.as_constant(), limit.as_constant()) {
            (Some(n), Some(limit)) if (n - 1) * stride >= limit => Some(Aff::constant(n - 1)),
            (Some(_), Some(_)) => Some(count),
            _ => (self.pads[d + self.kernel.len()] + stride <= self.reach(d)).then_some(count),
        }
    }
}

/// The spatial part of a weight's shape, which must be constant.
fn kernel_of(site: &Site, weight: &[Aff]) -> Step<Vec<i64>> {
    if let Some(kernel) = site.node.ints("kernel_shape") {
        if kernel.len() + 2 == weight.len() {
            return Ok(kernel.to_vec());
        }
        return Err(site.invalid(format!("kernel_shape has {} entries for rank {}", kernel.len(), weight.len())));
    }
    let fixed: Option<Vec<i64>> = weight.iter().skip(2).map(Aff::as_constant).collect();
    fixed.ok_or_else(|| site.unsupported("a convolution needs a kernel of constant size"))
}

/// Extents of the places of a convolution's windows.
pub fn conv_places(site: &mut Site, x: &[Aff], w: &[Aff]) -> Step<Vec<Aff>> {
    let kernel = kernel_of(site, w)?;
    let window = window(site, kernel)?;
    let mut places = Vec::new();
    for d in 0..window.kernel.len() {
        let count = window.positions(&x[d + 2], d);
        site.cx.positive(&count)?;
        places.push(count);
    }
    Ok(places)
}

fn conv(site: &mut Site, result: Option<DType>, weight: usize) -> Step {
    let dtype = match result {
        Some(dtype) => dtype,
        None => site.dtype(0)?,
    };
    let (x, w) = (site.shape(0)?, site.shape(weight)?);
    if x.len() != w.len() || x.len() < 3 {
        return Err(site.invalid(format!("input of rank {} and weight of rank {}", x.len(), w.len())));
    }
    let group = site.node.int("group").unwrap_or(1);
    if group < 1 {
        return Err(site.invalid("group must be at least 1"));
    }
    site.same(&x[1], &(w[1].clone() * group))?;
    let mut shape = vec![x[0].clone(), w[0].clone()];
    shape.extend(conv_places(site, &x, &w)?);
    site.set(0, dtype, shape)
}

/// Inputs: x, its scale and zero point, w, its scale and zero point, the result's scale and zero point.
fn qlinear_conv(site: &mut Site) -> Step {
    let dtype = site.dtype(7)?;
    conv(site, Some(dtype), 3)
}

/// The shape of the result of `ConvTranspose`, which is a function.
pub fn transposed_shape(site: &mut Site) -> Step<Vec<Aff>> {
    let (x, w) = (site.shape(0)?, site.shape(1)?);
    if x.len() != w.len() || x.len() < 3 {
        return Err(site.invalid(format!("input of rank {} and weight of rank {}", x.len(), w.len())));
    }
    site.same(&x[1], &w[0])?;
    let group = site.node.int("group").unwrap_or(1);
    let kernel = kernel_of(site, &w)?;
    let window = window(site, kernel)?;
    let spatial = window.kernel.len();
    let extra = site.node.ints("output_padding").map_or_else(|| vec![0; spatial], <[i64]>::to_vec);
    let given = site.node.ints("output_shape").map(<[i64]>::to_vec);
    if extra.len() != spatial || given.as_ref().is_some_and(|g| g.len() < spatial) {
        return Err(site.invalid("output_padding or output_shape has the wrong length"));
    }
    let mut shape = vec![x[0].clone(), w[1].clone() * group];
    for d in 0..spatial {
        let stride = window.strides[d];
        shape.push(match &given {
            // Old exporters put batch and channels in front.
            Some(given) => Aff::constant(given[given.len() - spatial + d]),
            None if window.same => x[d + 2].clone() * stride,
            None => {
                let rest = extra[d] + window.reach(d) - window.padding(d) - stride;
                x[d + 2].clone() * stride + Aff::constant(rest)
            }
        });
    }
    Ok(shape)
}

/// The padding at the beginning of every spatial dimension of `ConvTranspose`, which the result's shape may imply.
pub fn transposed_pads(site: &mut Site, result: &[Aff]) -> Step<Vec<i64>> {
    let (x, w) = (site.shape(0)?, site.shape(1)?);
    let kernel = kernel_of(site, &w)?;
    let window = window(site, kernel)?;
    let spatial = window.kernel.len();
    if site.node.ints("output_shape").is_none() && !window.same {
        return Ok(window.pads[..spatial].to_vec());
    }
    let upper = site.node.string("auto_pad") == Some("SAME_UPPER");
    let extra = |d: usize| site.node.ints("output_padding").and_then(|l| l.get(d).copied()).unwrap_or(0);
    let pad = |d: usize| {
        let all = (x[d + 2].clone() - 1.into()) * window.strides[d] + (window.reach(d) + extra(d)).into();
        let total = (all - result[d + 2].clone()).as_constant().map(|total| total.max(0));
        let total = total.ok_or_else(|| site.unsupported("these pads need a fixed input size (--dim)"))?;
        Ok(if upper { total / 2 } else { total - total / 2 })
    };
    (0..spatial).map(pad).collect()
}

fn pooled(site: &mut Site) -> Step<Vec<Aff>> {
    let x = site.shape(0)?;
    let kernel = site.node.ints("kernel_shape").map(<[i64]>::to_vec).unwrap_or_default();
    if kernel.len() + 2 != x.len() {
        return Err(site.invalid(format!("kernel_shape has {} entries for rank {}", kernel.len(), x.len())));
    }
    let window = window(site, kernel)?;
    let ceil = site.flag("ceil_mode", false);
    let mut shape = x[..2].to_vec();
    for d in 0..window.kernel.len() {
        let count = if ceil { window.positions_ceil(&x[d + 2], d) } else { Some(window.positions(&x[d + 2], d)) };
        let rounded = || site.unsupported("ceil_mode with these pads needs a fixed input size (--dim)");
        let count = count.ok_or_else(rounded)?;
        site.cx.positive(&count)?;
        shape.push(count);
    }
    Ok(shape)
}

fn pool(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, pooled(site)?);
    site.set(0, dtype, shape)
}

fn max_pool(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, pooled(site)?);
    site.set(0, dtype, shape.clone())?;
    site.set(1, DType::I64, shape)
}

fn global_pool(site: &mut Site) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    shape.iter_mut().skip(2).for_each(|dim| *dim = Aff::constant(1));
    site.set(0, dtype, shape)
}
