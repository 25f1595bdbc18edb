//! Slices, gathers and scatters.

use super::contents;
use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::Aff;

pub const RULES: Family = &[
    ("Slice", slice),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("ReverseSequence", like_data),
    ("TensorScatter", tensor_scatter),
];

fn like_data(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    site.set(0, dtype, shape)
}

/// No index fits into an empty dimension, so there may be none.
fn need_elements(site: &mut Site, indices: &[Aff], extents: &[Aff]) -> Step {
    for extent in extents.iter().filter(|e| !e.is_constant(1)) {
        let (zero, one) = (Aff::constant(0), Aff::constant(1));
        let missing = site.cx.max(&(one - extent.clone()), &zero);
        let unfit = site.cx.product(&[&[missing], indices].concat());
        match site.cx.equal(&unfit, &zero) {
            Some(true) => {}
            Some(false) => return Err(site.invalid("there are indices into a dimension of extent 0")),
            None => site.cx.require_zero(&unfit),
        }
    }
    Ok(())
}

fn scatter_elements(site: &mut Site) -> Step {
    let (data, indices) = (site.shape(0)?, site.shape(1)?);
    let axis = site.axis_attribute(0, data.len())?;
    need_elements(site, &indices, &data[axis..=axis])?;
    like_data(site)
}

fn scatter_nd(site: &mut Site) -> Step {
    let (data, indices) = (site.shape(0)?, site.shape(1)?);
    let depth = indices.last().and_then(Aff::as_constant).and_then(|n| usize::try_from(n).ok());
    let depth = depth.filter(|n| *n <= data.len());
    let depth = depth.ok_or_else(|| site.invalid("the last dimension of the indices must be known"))?;
    need_elements(site, &indices[..indices.len() - 1], &data[..depth])?;
    like_data(site)
}

/// Cache and update agree but for the axis.
fn tensor_scatter(site: &mut Site) -> Step {
    let (dtype, cache, update) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?);
    let axis = site.axis(site.node.int("axis").unwrap_or(-2), cache.len())?;
    if update.len() != cache.len() {
        return Err(site.invalid("cache and update have different ranks"));
    }
    for d in (0..cache.len()).filter(|d| *d != axis) {
        site.same(&cache[d], &update[d])?;
    }
    site.set(0, dtype, cache)
}

/// One sliced axis, bounds resolved against the extent.
struct Cut {
    axis: usize,
    start: Aff,
    step: Aff,
    count: Aff,
}

fn slice(site: &mut Site) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    let input = shape.clone();
    let cuts = cuts(site, &input)?;
    for cut in &cuts {
        shape[cut.axis] = cut.count.clone();
    }
    site.set(0, dtype, shape.clone())?;
    let contents = slice_contents(site, &input, &shape, &cuts);
    site.set_contents(0, contents);
    Ok(())
}

/// Starts, ends, axes and steps: attributes before opset 10, inputs since.
fn cuts(site: &mut Site, shape: &[Aff]) -> Step<Vec<Cut>> {
    let list = |values: &[i64]| values.iter().map(|&v| Aff::constant(v)).collect::<Vec<_>>();
    let old = site.node.ints("starts").zip(site.node.ints("ends")).map(|(s, e)| (list(s), list(e)));
    let (starts, ends) = match old {
        Some(bounds) => bounds,
        None => (site.need_affs(1, "starts")?, site.need_affs(2, "ends")?),
    };
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let axes = match (site.node.ints("axes"), site.has(3)) {
        (Some(axes), _) => axes.to_vec(),
        (None, true) => site.need_ints(3, "axes")?,
        (None, false) => all,
    };
    let axes = site.axes(&axes, shape.len())?;
    let steps = if site.has(4) { site.need_affs(4, "steps")? } else { list(&vec![1; axes.len()]) };
    if starts.len() != axes.len() || ends.len() != axes.len() || steps.len() != axes.len() {
        return Err(site.invalid("starts, ends, axes and steps have different lengths"));
    }
    let mut cuts = Vec::new();
    for (n, &axis) in axes.iter().enumerate() {
        cuts.push(match steps[n].as_constant() {
            Some(step) => cut(site, axis, &shape[axis], &starts[n], &ends[n], step)?,
            None => cut_by(site, axis, &shape[axis], [&starts[n], &ends[n], &steps[n]])?,
        });
    }
    Ok(cuts)
}

fn cut(site: &mut Site, axis: usize, extent: &Aff, start: &Aff, end: &Aff, step: i64) -> Step<Cut> {
    if step == 0 || step == i64::MIN {
        return Err(site.invalid(format!("a slice cannot have step {step}")));
    }
    let zero = Aff::constant(0);
    // Forward slices clamp to 0..=extent, backward ones to -1..=extent-1; but no slice starts before the first element.
    let (low, high) =
        if step > 0 { (zero.clone(), extent.clone()) } else { (Aff::constant(-1), extent.clone() - 1.into()) };
    let start = bound(site, start, extent, &zero, &high)?;
    let end = bound(site, end, extent, &low, &high)?;
    let span = if step > 0 { end - start.clone() } else { start.clone() - end };
    let stride = step.abs();
    let count = (span + Aff::constant(stride - 1)).floor_div(stride);
    let count = site.cx.simplify(&count);
    let count = site.cx.max(&count, &Aff::constant(0));
    Ok(Cut { axis, start, step: Aff::constant(step), count })
}

/// A cut whose step is data, and may go in either direction.
fn cut_by(site: &mut Site, axis: usize, extent: &Aff, [start, end, step]: [&Aff; 3]) -> Step<Cut> {
    let (zero, one) = (Aff::constant(0), Aff::constant(1));
    let backward = site.cx.is_negative(step);
    let stride = site.cx.max(step, &-step.clone());
    let missing = site.cx.max(&(one.clone() - stride.clone()), &zero);
    site.same(&missing, &zero)?;
    let (low, high) = (-backward.clone(), extent.clone() - backward.clone());
    let start = bound(site, start, extent, &low, &high)?;
    let end = bound(site, end, extent, &low, &high)?;
    let forward = one.clone() - backward * 2;
    let span = site.cx.mul(&(end - start.clone()), &forward);
    let divisor = site.cx.max(&stride, &one);
    let count = site.cx.div(&(span + stride - one), &divisor);
    let count = site.cx.max(&count, &zero);
    let count = site.cx.min(&count, extent);
    Ok(Cut { axis, start, step: step.clone(), count })
}

/// A start or end: negative values count from the end, then the result is clamped.
fn bound(site: &mut Site, value: &Aff, extent: &Aff, low: &Aff, high: &Aff) -> Step<Aff> {
    /// Exporters write any number from here on for "to the end".
    const FAR: i64 = i32::MAX as i64;
    match value.as_constant() {
        Some(v) if v >= FAR => return Ok(high.clone()),
        Some(v) if v <= -FAR => return Ok(site.cx.min(low, high)),
        _ => {}
    }
    let value = match site.cx.range(value) {
        (Some(least), _) if least >= 0 => value.clone(),
        (_, Some(most)) if most < 0 => value.clone() + extent.clone(),
        _ => {
            let is_negative = site.cx.is_negative(value);
            value.clone() + site.cx.mul(&is_negative, extent)
        }
    };
    let value = site.cx.max(&value, low);
    Ok(site.cx.min(&value, high))
}

fn slice_contents(site: &Site, input: &[Aff], output: &[Aff], cuts: &[Cut]) -> Option<Vec<Aff>> {
    let fixed = |shape: &[Aff]| shape.iter().map(Aff::as_constant).collect::<Option<Vec<i64>>>();
    let (values, from, to) = (site.affs(0)?, fixed(input)?, fixed(output)?);
    let strides = contents::strides(&from);
    let mut starts = vec![0; from.len()];
    let mut steps = vec![1; from.len()];
    for cut in cuts {
        starts[cut.axis] = cut.start.as_constant()?;
        steps[cut.axis] = cut.step.as_constant()?;
    }
    contents::gather(&values, &to, |index| {
        Some(index.iter().enumerate().map(|(d, i)| (starts[d] + i * steps[d]) * strides[d]).sum())
    })
}

fn gather(site: &mut Site) -> Step {
    let (dtype, data, indices) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?);
    let axis = site.axis_attribute(0, data.len())?;
    need_elements(site, &indices, &data[axis..=axis])?;
    let mut shape = data[..axis].to_vec();
    shape.extend(indices.iter().cloned());
    shape.extend(data[axis + 1..].iter().cloned());
    site.set(0, dtype, shape.clone())?;
    let contents = gather_contents(site, &data, &shape, axis, indices.len());
    site.set_contents(0, contents);
    Ok(())
}

fn gather_contents(site: &Site, data: &[Aff], output: &[Aff], axis: usize, rank: usize) -> Option<Vec<Aff>> {
    let fixed = |shape: &[Aff]| shape.iter().map(Aff::as_constant).collect::<Option<Vec<i64>>>();
    let (values, indices) = (site.affs(0)?, site.ints(1)?);
    let (from, to) = (fixed(data)?, fixed(output)?);
    let strides = contents::strides(&from);
    let index_strides = contents::strides(&to[axis..axis + rank]);
    contents::gather(&values, &to, |index| {
        let middle = &index[axis..axis + rank];
        let at: i64 = middle.iter().zip(&index_strides).map(|(i, s)| i * s).sum();
        let chosen = *indices.get(at as usize)?;
        let chosen = if chosen < 0 { chosen + from[axis] } else { chosen };
        let chosen = (0..from[axis]).contains(&chosen).then_some(chosen)?;
        let before: i64 = index[..axis].iter().zip(&strides).map(|(i, s)| i * s).sum();
        let after: i64 = index[axis + rank..].iter().zip(&strides[axis + 1..]).map(|(i, s)| i * s).sum();
        Some(before + chosen * strides[axis] + after)
    })
}

fn gather_elements(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(1)?);
    if shape.len() != site.rank(0)? {
        return Err(site.invalid("data and indices have different ranks"));
    }
    let data = site.shape(0)?;
    let axis = site.axis_attribute(0, data.len())?;
    need_elements(site, &shape, &data[axis..=axis])?;
    site.set(0, dtype, shape)
}

fn gather_nd(site: &mut Site) -> Step {
    let (dtype, data, indices) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?);
    let batch = site.node.int("batch_dims").unwrap_or(0).max(0) as usize;
    let last = indices.last().and_then(Aff::as_constant).filter(|n| *n >= 0);
    let depth = last.ok_or_else(|| site.invalid("the last dimension of the indices must be known"))? as usize;
    if batch + depth > data.len() || batch >= indices.len() {
        return Err(site.invalid(format!("indices of length {depth} do not fit rank {}", data.len())));
    }
    need_elements(site, &indices[..indices.len() - 1], &data[batch..batch + depth])?;
    let mut shape = indices[..indices.len() - 1].to_vec();
    shape.extend(data[batch + depth..].iter().cloned());
    site.set(0, dtype, shape)
}
