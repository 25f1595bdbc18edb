//! Resize and the sampling operators.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::Aff;

pub const RULES: Family =
    &[("Resize", resize), ("Upsample", upsample), ("GridSample", grid_sample), ("RoiAlign", roi_align)];

/// `floor(extent * scale)`, exact for symbolic extents where the scale is a ratio of small integers.
fn scaled(site: &Site, extent: &Aff, scale: f64) -> Step<Aff> {
    if let Some(n) = extent.as_constant() {
        return Ok(Aff::constant((n as f64 * scale as f32 as f64).floor() as i64));
    }
    for divisor in [1i64, 2, 3, 4, 5, 6, 8, 10, 16, 32, 64] {
        let numerator = (scale * divisor as f64).round();
        if (numerator / divisor as f64 - scale).abs() < 1e-7 * scale.abs() && numerator >= 1.0 {
            return Ok((extent.clone() * numerator as i64).floor_div(divisor));
        }
    }
    Err(site.unsupported(format!("scale {scale} of a symbolic dimension is no simple ratio; fix it with --dim")))
}

fn apply_scales(site: &mut Site, scales: &[f64], axes: &[usize]) -> Step {
    let (dtype, mut shape) = (site.dtype(0)?, site.shape(0)?);
    if scales.len() != axes.len() {
        return Err(site.invalid(format!("{} scales for {} axes", scales.len(), axes.len())));
    }
    for (&axis, &scale) in axes.iter().zip(scales) {
        shape[axis] = scaled(site, &shape[axis], scale)?;
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
    let given =
        |site: &Site, n: usize| site.has(n) && site.shape(n).is_ok_and(|s| !s.first().is_none_or(|d| d.is_constant(0)));
    if given(site, 2) {
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
    axes.iter().zip(sizes).for_each(|(&axis, size)| shape[axis] = size);
    site.set(0, dtype, shape)
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
