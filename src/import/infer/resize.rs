//! Resize and the sampling operators.

use super::compose::VERSION;
use super::context::{Context, Step};
use super::site::Site;
use super::table::Family;
use crate::graph::{Attribute, Node, TensorId};
use crate::import::tensor;
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family =
    &[("Resize", resize), ("Upsample", upsample), ("GridSample", grid_sample), ("RoiAlign", roi_align)];

/// How much larger a scale that only the run knows makes a dimension at most, batch and channels not at all: the
/// workspace has a size before the run. Larger ones are refused by the run.
const LARGEST_SCALE: i64 = 8;

/// `floor(extent * scale)`, for symbolic extents where the scale is a ratio of small integers.
fn scaled(extent: &Aff, scale: f64) -> Option<Aff> {
    if let Some(n) = extent.as_constant() {
        return Some(Aff::constant((n as f64 * scale as f32 as f64).floor() as i64));
    }
    [1i64, 2, 3, 4, 5, 6, 8, 10, 16, 32, 64].into_iter().find_map(|divisor| {
        let numerator = (scale * divisor as f64).round();
        let exact = (numerator / divisor as f64 - scale).abs() < 1e-7 * scale.abs() && numerator >= 1.0;
        exact.then(|| (extent.clone() * numerator as i64).floor_div(divisor))
    })
}

fn apply_scales(site: &mut Site, scales: &[f64], axes: &[usize]) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    if scales.len() != axes.len() {
        return Err(site.invalid(format!("{} scales for {} axes", scales.len(), axes.len())));
    }
    for (&axis, &scale) in axes.iter().zip(scales) {
        let error = || site.unsupported(format!("scale {scale} of a symbolic dimension; fix it with --dim"));
        shape[axis] = scaled(&shape[axis], scale).ok_or_else(error)?;
    }
    site.set(0, dtype, shape)
}

fn upsample(site: &mut Site) -> Step {
    let axes: Vec<usize> = (0..site.rank(0)?).collect();
    let scales = match site.node.floats("scales") {
        Some(scales) => scales.iter().map(|&s| f64::from(s)).collect(),
        None => constant_scales(site, 1)?,
    };
    apply_scales(site, &scales, &axes)
}

fn constant_scales(site: &Site, n: usize) -> Step<Vec<f64>> {
    site.floats(n).ok_or_else(|| site.at_run_time(n, "scales"))
}

/// Inputs since opset 11: x, roi, scales, sizes; in opset 10 the scales come second.
fn resize(site: &mut Site) -> Step {
    let rank = site.rank(0)?;
    if site.node.version < 11 {
        return upsample(site);
    }
    let axes = match site.node.ints("axes") {
        Some(axes) => site.axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    // With both, the sizes are those that follow from the scales ([`settle`]).
    if given(site, 2) && !given(site, 3) {
        let scales = constant_scales(site, 2)?;
        return apply_scales(site, &scales, &axes);
    }
    let sizes = match site.node.string("keep_aspect_ratio_policy").unwrap_or("stretch") {
        "stretch" => site.need_affs(3, "sizes")?,
        policy => kept_ratio(site, &axes, policy)?,
    };
    if sizes.len() != axes.len() {
        return Err(site.invalid(format!("{} sizes for {} axes", sizes.len(), axes.len())));
    }
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    for (&axis, size) in axes.iter().zip(sizes) {
        if given(site, 2)
            && let Some(extent) = site.cx.range(&shape[axis]).1
        {
            let growth = if axis < 2 && rank > 2 { 1 } else { LARGEST_SCALE };
            site.cx.within(&size, 0, extent.saturating_mul(growth))?;
        }
        shape[axis] = size;
    }
    site.set(0, dtype, shape)
}

/// Is input `n` there, and not the empty list that stands for none?
fn given(site: &Site, n: usize) -> bool {
    site.has(n) && site.shape(n).is_ok_and(|s| !s.first().is_none_or(|d| d.is_constant(0)))
}

/// Gives a node whose scales only the run knows, or whose sizes one common scale decides there, the sizes that follow
/// from the scales, as nodes of the graph.
pub fn settle(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>) -> Step {
    if !node.domain.is_empty() || !matches!(node.op.as_str(), "Resize" | "Upsample") {
        return Ok(());
    }
    let old = node.op == "Upsample" || node.version < 11;
    let site = Site { node, cx };
    let axes = match node.ints("axes") {
        Some(axes) => site.axes(axes, site.rank(0)?)?,
        None => (0..site.rank(0)?).collect(),
    };
    let shape = site.shape(0)?;
    let extents: Vec<Aff> = axes.iter().map(|&axis| shape[axis].clone()).collect();
    let n = if old { 1 } else { 2 };
    if given(&site, n) {
        let known = site.floats(n).is_some_and(|scales| {
            scales.len() != extents.len() || extents.iter().zip(scales).all(|(e, scale)| scaled(e, scale).is_some())
        });
        return if known { Ok(()) } else { scales_to_sizes(cx, node, out, &extents, n) };
    }
    let larger = match node.string("keep_aspect_ratio_policy") {
        Some("not_larger") => false,
        Some("not_smaller") => true,
        _ => return Ok(()),
    };
    let known = site.ints(3).is_some() && extents.iter().all(|e| e.as_constant().is_some());
    if known { Ok(()) } else { common_scale(cx, node, out, &extents, larger) }
}

/// A node put together from parts, which names the tensor that it computes.
fn part(cx: &mut Context, node: &Node, op: &str, inputs: &[TensorId], out: &mut Vec<Node>) -> Step<TensorId> {
    let (op, attributes) = match op {
        "ToReal" => ("Cast", IndexMap::from([("to".to_string(), Attribute::Int(tensor::code(DType::F64).into()))])),
        "ToWhole" => ("Cast", IndexMap::from([("to".to_string(), Attribute::Int(tensor::code(DType::I64).into()))])),
        other => (other, IndexMap::new()),
    };
    let output = cx.add(format!("{}/{op}", node.name), None);
    let made = Node {
        name: format!("{}/{op}_{output}", node.name),
        op: op.to_string(),
        domain: String::new(),
        version: VERSION,
        inputs: inputs.iter().map(|&id| Some(id)).collect(),
        outputs: vec![Some(output)],
        attributes,
    };
    cx.nodes(vec![made], out)?;
    Ok(cx.root(output))
}

/// The extents of the resized axes, as a vector of f64.
fn real_extents(cx: &mut Context, node: &Node, extents: &[Aff], out: &mut Vec<Node>) -> Step<TensorId> {
    let shape = vec![Aff::constant(extents.len() as i64)];
    let list = cx.known_contents(format!("{}/extents", node.name), extents.to_vec(), shape)?;
    part(cx, node, "ToReal", &[list], out)
}

/// `floor(extent * scale)`.
fn scales_to_sizes(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>, extents: &[Aff], n: usize) -> Step {
    let Some(scales) = node.input(n) else { return Ok(()) };
    let real = part(cx, node, "ToReal", &[scales], out)?;
    let extents = real_extents(cx, node, extents, out)?;
    let product = part(cx, node, "Mul", &[extents, real], out)?;
    let floor = part(cx, node, "Floor", &[product], out)?;
    let sizes = part(cx, node, "ToWhole", &[floor], out)?;
    if node.op == "Upsample" || node.version < 11 {
        for (name, value) in [("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")] {
            node.attributes.insert(name.to_string(), Attribute::String(value.to_string()));
        }
        (node.op, node.version) = ("Resize".to_string(), VERSION);
    }
    let region = if n == 2 { node.input(1) } else { None };
    node.inputs = vec![node.input(0), region, Some(scales), Some(sizes)];
    Ok(())
}

/// One scale for all axes, with which no size is larger, or none smaller, than asked for.
fn common_scale(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>, extents: &[Aff], larger: bool) -> Step {
    let Some(wanted) = node.input(3) else { return Ok(()) };
    let extents = real_extents(cx, node, extents, out)?;
    let wanted = part(cx, node, "ToReal", &[wanted], out)?;
    let ratios = part(cx, node, "Div", &[wanted, extents], out)?;
    let scale = part(cx, node, if larger { "ReduceMax" } else { "ReduceMin" }, &[ratios], out)?;
    let product = part(cx, node, "Mul", &[extents, scale], out)?;
    let half = cx.add(format!("{}/half", node.name), Some(tensor::Constant::scalar(0.5, DType::F64)));
    let raised = part(cx, node, "Add", &[product, half], out)?;
    let floor = part(cx, node, "Floor", &[raised], out)?;
    let sizes = part(cx, node, "ToWhole", &[floor], out)?;
    let axes = cx.type_of(ratios).1;
    let count = cx.known_contents(format!("{}/axes", node.name), axes, vec![1.into()])?;
    let scales = part(cx, node, "Expand", &[scale, count], out)?;
    node.attributes.shift_remove("keep_aspect_ratio_policy");
    node.inputs = vec![node.input(0), node.input(1), Some(scales), Some(sizes)];
    Ok(())
}

/// The sizes that one common scale gives: the largest that fits into those asked for, or the smallest that covers them.
fn kept_ratio(site: &Site, axes: &[usize], policy: &str) -> Step<Vec<Aff>> {
    let (wanted, shape) = (site.need_ints(3, "sizes")?, site.shape(0)?);
    let extents: Option<Vec<i64>> = axes.iter().map(|&axis| shape[axis].as_constant()).collect();
    let extents = extents
        .ok_or_else(|| site.unsupported(format!("keep_aspect_ratio_policy {policy} of a symbolic dimension")))?;
    let scales = wanted.iter().zip(&extents).map(|(w, e)| *w as f64 / *e as f64);
    let scale = match policy {
        "not_larger" => scales.reduce(f64::min),
        "not_smaller" => scales.reduce(f64::max),
        other => return Err(site.invalid(format!("keep_aspect_ratio_policy \"{other}\" is not known"))),
    };
    let size = |e: &i64| Aff::constant((scale.unwrap_or(1.0) * *e as f64 + 0.5).floor() as i64);
    Ok(extents.iter().map(size).collect())
}

/// `[n, c, ...]` sampled at a grid `[n, ..., spatial]`.
fn grid_sample(site: &mut Site) -> Step {
    let (dtype, x, grid) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?);
    if x.len() < 3 || grid.len() != x.len() {
        return Err(site.invalid("input and grid must have the same rank, 3 at least"));
    }
    site.same(&x[0], &grid[0])?;
    site.same(&grid[grid.len() - 1], &Aff::constant(x.len() as i64 - 2))?;
    let mut shape = x[..2].to_vec();
    shape.extend(grid[1..grid.len() - 1].iter().cloned());
    site.set(0, dtype, shape)
}

fn roi_align(site: &mut Site) -> Step {
    let (dtype, x, rois) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?);
    let extent = |name: &str| Aff::constant(site.node.int(name).unwrap_or(1));
    let (Some(channels), Some(count), 4, 2) = (x.get(1), rois.first(), x.len(), rois.len()) else {
        return Err(site.invalid("RoiAlign needs an input of rank 4 and rois of rank 2"));
    };
    site.same(&rois[1], &4.into())?;
    let images = site.shape(2)?;
    site.same(images.first().unwrap_or(&0.into()), count)?;
    let shape = vec![count.clone(), channels.clone(), extent("output_height"), extent("output_width")];
    site.set(0, dtype, shape)
}
