//! `Conv` and `ConvInteger` in one to three spatial dimensions.
//!
//! The nest is `n, g, m, o.. | c, k..`: images, groups, result channels of the group and places, then the
//! summed channels and kernel elements. Dimensions of extent one are left out, so a depthwise convolution has
//! no `m` and no `c`, and an ordinary one has no `g`.

use super::arguments::*;
use super::builder::{Builder, Dims, View};
use super::contraction::{Reduction, reduction};
use super::padding::{Window, padded};
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result};

/// The operands of a convolution as views, with the tensors that give their shapes.
pub struct Operands {
    pub image: (View, TensorId),
    pub weights: (View, TensorId),
    /// Accumulator type.
    pub acc: DType,
}

/// Loops of a convolution; `Aff`s of dimensions that were left out are zero.
struct Loops {
    dims: Dims,
    n: Aff,
    g: Aff,
    m: Aff,
    places: Vec<Aff>,
    parallel: usize,
    c: Aff,
    taps: Vec<Aff>,
}

/// Extents of a convolution.
struct Sizes {
    groups: i64,
    /// Result channels and summed channels of one group.
    m: i64,
    c: i64,
}

pub fn conv(b: &mut Builder, node: &Node) -> Result<()> {
    let (image, weights, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let out = b.dtype(target);
    let acc = wide(out);
    let operands = Operands { image: (b.view(image)?, image), weights: (b.view(weights)?, weights), acc };
    let bias = node.input(2);
    convolve(b, node, operands, |b, total, channel| {
        let sum = match bias {
            Some(tensor) => add(total, convert(out, acc, b.read(tensor, &[channel])?)),
            None => total,
        };
        Ok(convert(acc, out, sum))
    })
}

/// A convolution of views; `finish` gets the sum and the result channel.
pub fn convolve(
    b: &mut Builder,
    node: &Node,
    operands: Operands,
    finish: impl FnOnce(&mut Builder, Expr, Expr) -> Result<Expr>,
) -> Result<()> {
    let target = output(node, 0)?;
    let (image, weights, result) = (b.shape(operands.image.1), b.shape(operands.weights.1), b.shape(target));
    let sizes = sizes(node, &image, &weights)?;
    let kernel = kernel(node, &weights)?;
    let window = Window::new(b, node, kernel, &image[2..], &result[2..])?;
    let name = b.graph.tensor(target).name.clone();
    let source = prepare(b, &operands, &image, &window, &name);
    let loops = loops(b, &result, &sizes, &window);
    let channel = loops.g.clone() * sizes.c + loops.c.clone();
    let mut at = vec![index(loops.n.clone()), index(channel)];
    at.extend((0..loops.taps.len()).map(|d| index(window.position(d, loops.places[d].clone(), loops.taps[d].clone()))));
    let out_channel = loops.g.clone() * sizes.m + loops.m.clone();
    let mut weight = vec![index(out_channel.clone()), index(loops.c.clone())];
    weight.extend(loops.taps.iter().cloned().map(index));
    let [x, w] = [(&source, at), (&operands.weights.0, weight)].map(|(view, at)| {
        let value = b.at(view, &at);
        convert(b.program.dtype(&value), operands.acc, value)
    });
    let array = b.define(target);
    let place = [loops.n, out_channel.clone()].into_iter().chain(loops.places).map(index).collect();
    let r = Reduction {
        name: &format!("{name}_acc"),
        dtype: operands.acc,
        op: BinaryOp::Add,
        init: lit(0.0, operands.acc),
        dims: &loops.dims,
        parallel: loops.parallel,
        value: mul(x, w),
    };
    let mut failed = None;
    reduction(b, r, array, place, |b, total| match finish(b, total.clone(), index(out_channel)) {
        Ok(value) => value,
        Err(error) => {
            failed = Some(error);
            total
        }
    });
    failed.map_or(Ok(()), Err)
}

/// The image, padded where windows reach beyond it.
fn prepare(b: &mut Builder, operands: &Operands, image: &[Aff], window: &Window, name: &str) -> View {
    if !window.is_padded(&window.after) {
        return operands.image.0.clone();
    }
    let element = b.program.dtype(&operands.image.0.value);
    let fill = lit(0.0, element);
    padded(b, &format!("{name}_padded"), &operands.image.0, image, (&window.before, &window.after), fill)
}

/// Group sizes. The weights' first dimension counts the result channels of all groups together.
fn sizes(node: &Node, image: &[Aff], weights: &[Aff]) -> Result<Sizes> {
    let groups = node.int("group").unwrap_or(1);
    let fixed = |e: Option<&Aff>| e.and_then(Aff::as_constant);
    let (Some(a), Some(c), true) = (fixed(weights.first()), fixed(weights.get(1)), image.len() > 2) else {
        return Err(unsupported_form(node, "the weights' channels must be constant"));
    };
    if groups <= 0 || a % groups != 0 || image.len() != weights.len() {
        return Err(invalid(node, format!("{groups} groups do not fit weights with {a} channels")));
    }
    Ok(Sizes { groups, m: a / groups, c })
}

fn kernel(node: &Node, weights: &[Aff]) -> Result<Vec<i64>> {
    let fixed: Option<Vec<i64>> = weights.get(2..).unwrap_or_default().iter().map(Aff::as_constant).collect();
    fixed.ok_or_else(|| unsupported_form(node, "the kernel's extents must be constant"))
}

/// Adds a dimension unless its extent is 1, and gives its value.
///
/// `unit-loops` would drop the loop, but not the accumulator's dimension. That changes what `layout` finds: a dimension of one
/// element is a class by itself there, which keeps its array from moving along with its neighbours; convolutional networks
/// then took up to 1.13 times as long, and none took less.
fn dimension(b: &Builder, dims: &mut Dims, name: impl Into<String>, extent: Aff) -> Aff {
    if extent.is_constant(1) {
        return Aff::constant(0);
    }
    dims.push((name.into(), extent));
    b.aff(dims.len() - 1)
}

const PLACES: [&str; 3] = ["d", "h", "w"];

fn spatial(prefix: &str, d: usize, rank: usize) -> String {
    PLACES.get(d + 3 - rank.min(3)).map_or(format!("{prefix}{d}"), |p| format!("{prefix}{p}"))
}

fn loops(b: &Builder, result: &[Aff], sizes: &Sizes, window: &Window) -> Loops {
    let mut dims = Dims::new();
    let rank = window.kernel.len();
    let n = dimension(b, &mut dims, "n", result[0].clone());
    let g = dimension(b, &mut dims, "g", sizes.groups.into());
    let m = dimension(b, &mut dims, "m", sizes.m.into());
    let places = (0..rank).map(|d| dimension(b, &mut dims, spatial("o", d, rank), result[d + 2].clone())).collect();
    let parallel = dims.len();
    let c = dimension(b, &mut dims, "c", sizes.c.into());
    let taps = (0..rank).map(|d| dimension(b, &mut dims, spatial("k", d, rank), window.kernel[d].into())).collect();
    Loops { dims, n, g, m, places, parallel, c, taps }
}

/// `ConvInteger`: both operands as 32-bit integers after subtracting their zero points.
pub fn conv_integer(b: &mut Builder, node: &Node) -> Result<()> {
    let image = super::quantize::centred(b, input(node, 0)?, node.input(2), 1, DType::I32)?;
    let weights = super::quantize::centred(b, input(node, 1)?, node.input(3), 0, DType::I32)?;
    let operands = Operands { image: (image, input(node, 0)?), weights: (weights, input(node, 1)?), acc: DType::I32 };
    convolve(b, node, operands, |_, total, _| Ok(total))
}
