//! Operators that only rearrange: reshape, transpose, concatenate, split, pad, tile.

use super::axes;
use super::contents;
use super::context::Step;
use super::site::{Axes, Site};
use super::table::Family;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Transpose", transpose),
    ("Concat", concat),
    ("Split", split),
    ("Expand", expand),
    ("Tile", tile),
    ("Pad", pad),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
];

/// Sets a result that has the same elements in the same order.
fn same_elements(site: &mut Site, shape: Vec<Aff>) -> Step {
    let dtype = site.dtype(0)?;
    site.set(0, dtype, shape)?;
    let contents = site.affs(0);
    site.set_contents(0, contents);
    site.keep_condition();
    Ok(())
}

fn reshape(site: &mut Site) -> Step {
    let input = site.shape(0)?;
    let wanted = match site.node.ints("shape") {
        Some(values) => values.iter().map(|&v| Aff::constant(v)).collect(),
        None => site.need_affs(1, "shape")?,
    };
    let keep_zero = site.flag("allowzero", false);
    let mut open = None;
    let mut shape = Vec::new();
    for (axis, dim) in wanted.iter().enumerate() {
        shape.push(match dim.as_constant() {
            Some(0) if !keep_zero => {
                input.get(axis).cloned().ok_or_else(|| site.invalid(format!("shape has 0 at axis {axis}")))?
            }
            Some(-1) if open.replace(axis).is_none() => Aff::constant(1),
            Some(n) if n < 0 => return Err(site.invalid(format!("shape has {n} at axis {axis}"))),
            _ => dim.clone(),
        });
    }
    if wanted.iter().any(|dim| site.cx.uses_amount(dim) && site.cx.range(dim).0.is_none_or(|low| low < 1)) {
        return reshape_to_amounts(site, &input, &wanted, keep_zero);
    }
    let total = site.cx.product(&input);
    let rest = site.cx.product(&shape);
    match open {
        Some(axis) => shape[axis] = open_dimension(site, &total, &rest)?,
        None => check_total(site, &total, &rest)?,
    }
    same_elements(site, shape)
}

/// A reshape whose dimensions may turn out to be 0 (as the input's) or -1 (the rest): both as arithmetic.
fn reshape_to_amounts(site: &mut Site, input: &[Aff], wanted: &[Aff], keep_zero: bool) -> Step {
    let (zero, one) = (Aff::constant(0), Aff::constant(1));
    let total = site.cx.product(input);
    let (mut known, mut open) = (Vec::new(), Vec::new());
    for (axis, dim) in wanted.iter().enumerate() {
        // The input's own extent: 0 says the same in both ways.
        if input.get(axis) == Some(dim) {
            known.push(dim.clone());
            open.push(zero.clone());
            continue;
        }
        site.cx.at_least(dim, -1)?;
        let value = site.cx.max(dim, &zero);
        let is_open = site.cx.max(&-dim.clone(), &zero);
        let is_set = site.cx.min(&value, &one);
        let as_input = match input.get(axis) {
            Some(extent) if !keep_zero => site.cx.mul(&(one.clone() - is_set - is_open.clone()), extent),
            _ => zero.clone(),
        };
        known.push(value + as_input);
        open.push(is_open);
    }
    let factors: Vec<Aff> = known.iter().zip(&open).map(|(k, o)| k.clone() + o.clone()).collect();
    let product = site.cx.product(&factors);
    let divisor = site.cx.max(&product, &one);
    let rest = site.cx.div(&total, &divisor);
    let mut shape = Vec::new();
    for (known, open) in known.into_iter().zip(&open) {
        shape.push(known + site.cx.mul(open, &rest));
    }
    let volume = site.cx.product(&shape);
    check_total(site, &total, &volume)?;
    same_elements(site, shape)
}

/// The dimension that a reshape leaves open with -1.
fn open_dimension(site: &mut Site, total: &Aff, rest: &Aff) -> Step<Aff> {
    match (total.as_constant(), rest.as_constant()) {
        (_, Some(0)) => Ok(Aff::constant(0)),
        (Some(t), Some(r)) if t % r != 0 => Err(site.invalid(format!("{t} elements do not divide by {r}"))),
        _ => Ok(site.cx.div(total, rest)),
    }
}

fn check_total(site: &mut Site, total: &Aff, rest: &Aff) -> Step {
    if site.cx.equal(total, rest) == Some(false) {
        let (from, to) = (site.cx.show(total), site.cx.show(rest));
        return Err(site.invalid(format!("cannot reshape {from} elements into {to}")));
    }
    site.same(total, rest).map(|_| ())
}

fn flatten(site: &mut Site) -> Step {
    let input = site.shape(0)?;
    let axis = site.node.int("axis").unwrap_or(1);
    let axis = if axis == input.len() as i64 { input.len() } else { site.axis(axis, input.len().max(1))? };
    let shape = vec![site.cx.product(&input[..axis]), site.cx.product(&input[axis..])];
    same_elements(site, shape)
}

fn squeeze(site: &mut Site) -> Step {
    let input = site.shape(0)?;
    let axes = match site.listed_axes(1)? {
        Some(Axes::Known(axes)) => site.axes(&axes, input.len())?,
        Some(Axes::Open(axes)) => return squeeze_any(site, &input, &axes),
        None => (0..input.len()).filter(|&a| input[a].is_constant(1)).collect(),
    };
    for &axis in &axes {
        let message = format!("cannot squeeze axis {axis} of extent {}", site.cx.show(&input[axis]));
        if site.cx.equal(&input[axis], &1.into()) == Some(false) {
            return Err(site.invalid(message));
        }
        site.same(&input[axis], &Aff::constant(1))?;
    }
    let kept = (0..input.len()).filter(|a| !axes.contains(a)).map(|a| input[a].clone()).collect();
    same_elements(site, kept)
}

/// Axes that are data: the run checks that the extents there are 1.
fn squeeze_any(site: &mut Site, input: &[Aff], axes: &[Aff]) -> Step {
    if axes.len() > input.len() {
        return Err(site.invalid(format!("{} axes of a tensor of rank {}", axes.len(), input.len())));
    }
    let chosen = site.cx.chosen(axes, input.len())?;
    for (named, extent) in axes::any(&chosen, input.len()).iter().zip(input) {
        let excess = site.cx.mul(named, &(extent.clone() - 1.into()));
        site.same(&excess, &0.into())?;
    }
    let kept = axes::without(site.cx, input, axes)?;
    same_elements(site, kept)
}

fn unsqueeze(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    let axes = match site.listed_axes(1)? {
        Some(Axes::Known(axes)) => axes,
        Some(Axes::Open(axes)) => {
            let shape = axes::with_ones(site.cx, &shape, &axes)?;
            return same_elements(site, shape);
        }
        None => return Err(site.invalid("axes are missing")),
    };
    let mut input = shape.into_iter();
    let rank = input.len() + axes.len();
    let axes = site.axes(&axes, rank)?;
    let shape: Vec<Aff> =
        (0..rank).filter_map(|a| if axes.contains(&a) { Some(Aff::constant(1)) } else { input.next() }).collect();
    if shape.len() != rank || input.next().is_some() {
        return Err(site.invalid("axes are repeated"));
    }
    same_elements(site, shape)
}

fn transpose(site: &mut Site) -> Step {
    let (dtype, input) = (site.dtype(0)?, site.shape(0)?);
    let reversed: Vec<i64> = (0..input.len() as i64).rev().collect();
    let perm = site.node.ints("perm").unwrap_or(&reversed).to_vec();
    let perm = site.axes(&perm, input.len())?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted.iter().enumerate().any(|(n, &p)| n != p) || perm.len() != input.len() {
        return Err(site.invalid(format!("perm {perm:?} is no permutation of {} axes", input.len())));
    }
    site.set(0, dtype, perm.iter().map(|&p| input[p].clone()).collect())?;
    let fixed: Option<Vec<i64>> = input.iter().map(Aff::as_constant).collect();
    let contents = site.affs(0).zip(fixed).and_then(|(values, shape)| {
        let strides = contents::strides(&shape);
        let out: Vec<i64> = perm.iter().map(|&p| shape[p]).collect();
        contents::gather(&values, &out, |index| Some(index.iter().zip(&perm).map(|(i, &p)| i * strides[p]).sum()))
    });
    site.set_contents(0, contents);
    Ok(())
}

fn concat(site: &mut Site) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    let axis = site.axis_attribute(0, shape.len())?;
    for n in 1..site.node.inputs.len() {
        let other = site.shape(n)?;
        if other.len() != shape.len() || site.dtype(n)? != dtype {
            return Err(site.invalid(format!("input {n} has another rank or type than input 0")));
        }
        for (a, (dim, by)) in shape.iter_mut().zip(other).enumerate() {
            *dim = if a == axis { dim.clone() + by } else { site.cx.same(dim, &by)? };
        }
    }
    site.set(0, dtype, shape)?;
    let part = |n: usize| {
        let id = site.node.input(n)?;
        Some((site.affs(n)?, site.cx.graph.tensor(id).fixed_shape()?))
    };
    let parts: Option<Vec<_>> = (0..site.node.inputs.len()).map(part).collect();
    site.set_contents(0, parts.map(|parts| contents::concat(&parts, axis)));
    Ok(())
}

fn split(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    let axis = site.axis_attribute(0, shape.len())?;
    let sizes = match site.node.ints("split") {
        Some(sizes) => sizes.iter().map(|&n| Aff::constant(n)).collect(),
        None if site.has(1) => site.need_affs(1, "split sizes")?,
        None => equal_parts(site, &shape[axis]),
    };
    if sizes.len() != site.node.outputs.len() {
        return Err(site.invalid(format!("{} sizes for {} outputs", sizes.len(), site.node.outputs.len())));
    }
    let total = sizes.iter().fold(Aff::constant(0), |sum, size| sum + size.clone());
    site.same(&total, &shape[axis])?;
    let values = site.affs(0);
    let mut start = Aff::constant(0);
    for (n, size) in sizes.into_iter().enumerate() {
        let mut part = shape.clone();
        part[axis] = size.clone();
        site.set(n, dtype, part)?;
        if let (Some(values), 1, Some(from), Some(count)) =
            (&values, shape.len(), start.as_constant(), size.as_constant())
        {
            let range = from.max(0) as usize..(from + count).max(0) as usize;
            site.set_contents(n, values.get(range).map(<[Aff]>::to_vec));
        }
        start = start + size;
    }
    Ok(())
}

/// Equal parts; the last one is smaller where the extent does not divide.
fn equal_parts(site: &mut Site, extent: &Aff) -> Vec<Aff> {
    let count = site.node.outputs.len() as i64;
    let chunk = site.cx.simplify(&(extent.clone() + Aff::constant(count - 1)).floor_div(count));
    let mut parts = vec![chunk.clone(); count as usize - 1];
    parts.push(extent.clone() - chunk * (count - 1));
    parts
}

fn expand(site: &mut Site) -> Step {
    let (dtype, input) = (site.dtype(0)?, site.shape(0)?);
    let mut wanted = site.need_affs(1, "shape")?;
    for (extent, dim) in input.iter().rev().zip(wanted.iter_mut().rev()) {
        if site.cx.uses_amount(dim) && extent.as_constant().is_some_and(|n| n != 1) {
            // The dimension may be given as it is, or as 1.
            let (one_off, other_off) = (dim.clone() - 1.into(), dim.clone() - extent.clone());
            let product = site.cx.mul(&one_off, &other_off);
            site.cx.require_zero(&product);
            *dim = extent.clone();
        }
    }
    let shape = site.broadcast_shapes(input.clone(), wanted)?;
    site.set(0, dtype, shape.clone())?;
    let fixed = |shape: &[Aff]| shape.iter().map(Aff::as_constant).collect::<Option<Vec<i64>>>();
    let contents = fixed(&input).zip(fixed(&shape)).zip(site.affs(0)).and_then(|((from, to), values)| {
        let count = to.iter().try_fold(1i64, |p, n| p.checked_mul(*n))?;
        (count <= super::site::MAX_CONTENTS as i64).then(|| contents::broadcast(&values, &from, &to))?
    });
    site.set_contents(0, contents);
    Ok(())
}

fn tile(site: &mut Site) -> Step {
    let (dtype, input) = (site.dtype(0)?, site.shape(0)?);
    let repeats = site.need_affs(1, "repeats")?;
    if repeats.len() != input.len() {
        return Err(site.invalid(format!("{} repeats for rank {}", repeats.len(), input.len())));
    }
    let shape = input.iter().zip(&repeats).map(|(n, r)| site.cx.mul(n, r)).collect();
    site.set(0, dtype, shape)
}

fn pad(site: &mut Site) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    let pads: Vec<Aff> = match site.node.ints("pads") {
        Some(pads) => pads.iter().map(|&p| Aff::constant(p)).collect(),
        None => site.need_affs(1, "pads")?,
    };
    let axes: Vec<usize> = if site.has(3) {
        let axes = site.need_ints(3, "axes")?;
        site.axes(&axes, shape.len())?
    } else {
        (0..shape.len()).collect()
    };
    if pads.len() != 2 * axes.len() {
        return Err(site.invalid(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    for (n, &axis) in axes.iter().enumerate() {
        shape[axis] = shape[axis].clone() + pads[n].clone() + pads[n + axes.len()].clone();
    }
    site.set(0, dtype, shape)
}

fn block_size(site: &Site) -> Step<i64> {
    let block = site.node.int("blocksize").unwrap_or(0);
    if block < 1 || site.rank(0)? != 4 {
        return Err(site.invalid("a blocksize of at least 1 and an input of rank 4 are needed"));
    }
    Ok(block)
}

fn depth_to_space(site: &mut Site) -> Step {
    let (block, dtype, s) = (block_size(site)?, site.dtype(0)?, site.shape(0)?);
    let depth = site.cx.div(&s[1], &Aff::constant(block.saturating_mul(block)));
    site.set(0, dtype, vec![s[0].clone(), depth, s[2].clone() * block, s[3].clone() * block])
}

fn space_to_depth(site: &mut Site) -> Step {
    let (block, dtype, s) = (block_size(site)?, site.dtype(0)?, site.shape(0)?);
    let by = Aff::constant(block);
    let (height, width) = (site.cx.div(&s[2], &by), site.cx.div(&s[3], &by));
    site.set(0, dtype, vec![s[0].clone(), s[1].clone() * block.saturating_mul(block), height, width])
}

/// Type of shape tensors.
pub const SHAPE: DType = DType::I64;
