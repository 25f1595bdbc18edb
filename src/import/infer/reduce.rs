//! Reductions, arg-reductions, cumulative sums, top-k.

use super::axes;
use super::context::Step;
use super::site::{Axes, Site};
use super::table::Family;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("ReduceL1", reduce),
    ("ReduceL2", reduce),
    ("ReduceLogSum", reduce),
    ("ReduceLogSumExp", reduce),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceMin", reduce),
    ("ReduceProd", reduce),
    ("ReduceSum", reduce),
    ("ReduceSumSquare", reduce),
    ("ArgMax", arg_reduce),
    ("ArgMin", arg_reduce),
    ("CumProd", like_input),
    ("CumSum", like_input),
    ("TopK", top_k),
];

fn like_input(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    site.set(0, dtype, shape)
}

fn reduce(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    let axes = match site.listed_axes(1)? {
        Some(Axes::Known(axes)) => axes,
        Some(Axes::Open(axes)) => return reduce_any(site, dtype, &shape, &axes),
        None => Vec::new(),
    };
    let mut axes = site.axes(&axes, shape.len())?;
    if axes.is_empty() && !site.flag("noop_with_empty_axes", false) {
        axes = (0..shape.len()).collect();
    }
    let kept = remove_axes(&shape, &axes, site.flag("keepdims", true));
    site.set(0, dtype, kept)?;
    let whole = axes.len() == shape.len();
    let contents = if whole { total(site) } else { None };
    site.set_contents(0, contents);
    Ok(())
}

/// Axes that are data; `axes::settle` has seen to it that the dimensions are kept.
fn reduce_any(site: &mut Site, dtype: DType, shape: &[Aff], axes: &[Aff]) -> Step {
    let chosen = site.cx.chosen(axes, shape.len())?;
    let mut kept = Vec::new();
    for (named, extent) in axes::any(&chosen, shape.len()).iter().zip(shape) {
        let stays = Aff::constant(1) - named.clone();
        kept.push(site.cx.mul(&stays, extent) + named.clone());
    }
    site.set(0, dtype, kept)
}

fn remove_axes(shape: &[Aff], axes: &[usize], keep: bool) -> Vec<Aff> {
    let dims = shape.iter().enumerate().filter_map(|(a, dim)| match (axes.contains(&a), keep) {
        (true, true) => Some(Aff::constant(1)),
        (true, false) => None,
        (false, _) => Some(dim.clone()),
    });
    dims.collect()
}

/// The value of a reduction over all elements of a shape tensor.
fn total(site: &mut Site) -> Option<Vec<Aff>> {
    let values = site.affs(0)?;
    let result = match site.node.op.as_str() {
        "ReduceProd" => site.cx.product(&values),
        "ReduceSum" => values.into_iter().fold(Aff::constant(0), |sum, v| sum + v),
        "ReduceMax" => values.into_iter().reduce(|a, b| site.cx.max(&a, &b))?,
        "ReduceMin" => values.into_iter().reduce(|a, b| site.cx.min(&a, &b))?,
        _ => return None,
    };
    Some(vec![result])
}

fn arg_reduce(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    let axis = site.axis_attribute(0, shape.len())?;
    let kept = remove_axes(&shape, &[axis], site.flag("keepdims", true));
    site.set(0, DType::I64, kept)
}

/// `k` of `n` elements: more than there are is a mistake, which the run reports where only it can tell.
fn shorter(site: &mut Site, k: &Aff, n: &Aff) -> Step<Aff> {
    if site.cx.at_most(k, n) == Some(false) && site.cx.equal(k, n) != Some(true) {
        return Err(site.invalid(format!("k is {} of {} elements", site.cx.show(k), site.cx.show(n))));
    }
    site.cx.at_least(k, 0)?;
    if !site.cx.uses_amount(k) {
        return Ok(k.clone());
    }
    let excess = site.cx.max(&(k.clone() - n.clone()), &Aff::constant(0));
    site.cx.require_zero(&excess);
    Ok(site.cx.min(k, n))
}

/// `k` is an attribute before opset 10.
fn top_k(site: &mut Site) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    let axis = site.axis_attribute(-1, shape.len())?;
    let k = match site.node.int("k") {
        Some(k) => Aff::constant(k),
        None => site.need_affs(1, "k")?.into_iter().next().ok_or_else(|| site.invalid("k is empty"))?,
    };
    shape[axis] = shorter(site, &k, &shape[axis].clone())?;
    site.set(0, dtype, shape.clone())?;
    site.set(1, DType::I64, shape)
}
