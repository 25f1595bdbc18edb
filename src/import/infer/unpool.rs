//! From windows back to images, and windows that data displaces.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::Aff;

pub const RULES: Family = &[("MaxUnpool", max_unpool), ("Col2Im", col2im), ("DeformConv", deform_conv)];

/// Attribute `name` with one entry per dimension, small enough for arithmetic.
fn list(site: &Site, name: &str, count: usize, default: i64) -> Step<Vec<i64>> {
    let values = site.node.ints(name).map_or_else(|| vec![default; count], <[i64]>::to_vec);
    if values.len() != count || values.iter().any(|v| v.unsigned_abs() > 1 << 31) {
        return Err(site.invalid(format!("{name} has {} entries where {count} are needed", values.len())));
    }
    Ok(values)
}

/// What `MaxPool` with these attributes came from, or the given shape.
fn max_unpool(site: &mut Site) -> Step {
    let (dtype, x) = (site.dtype(0)?, site.shape(0)?);
    let Some(rank) = x.len().checked_sub(2).filter(|r| *r > 0) else {
        return Err(site.invalid("MaxUnpool needs an input of rank 3 at least"));
    };
    let places = site.shape(1)?;
    if places.len() != x.len() {
        return Err(site.invalid("the places have another rank than the elements"));
    }
    for (a, b) in x.iter().zip(&places) {
        site.same(a, b)?;
    }
    let (kernel, strides) = (list(site, "kernel_shape", rank, 1)?, list(site, "strides", rank, 1)?);
    let pads = list(site, "pads", 2 * rank, 0)?;
    let natural =
        |d: usize| x[d + 2].clone() * strides[d] + Aff::constant(kernel[d] - strides[d] - pads[d] - pads[rank + d]);
    let shape = match site.has(2) {
        true => site.need_affs(2, "shape")?,
        false => x[..2].iter().cloned().chain((0..rank).map(natural)).collect(),
    };
    if shape.len() != x.len() {
        return Err(site.invalid(format!("an output of rank {} for rank {}", shape.len(), x.len())));
    }
    site.set(0, dtype, shape)
}

/// `[n, c * block, windows]` to `[n, c, image..]`.
fn col2im(site: &mut Site) -> Step {
    let (dtype, x) = (site.dtype(0)?, site.shape(0)?);
    let (image, block) = (site.need_affs(1, "image shape")?, site.need_affs(2, "block shape")?);
    if x.len() != 3 || image.len() != block.len() || image.is_empty() {
        return Err(site.invalid("Col2Im needs an input of rank 3, and one block extent per image extent"));
    }
    let rank = image.len();
    let (strides, dilations) = (list(site, "strides", rank, 1)?, list(site, "dilations", rank, 1)?);
    let pads = list(site, "pads", 2 * rank, 0)?;
    if strides.iter().chain(&dilations).any(|v| *v < 1) {
        return Err(site.invalid("strides and dilations must be at least 1"));
    }
    let mut windows = Vec::new();
    for d in 0..rank {
        site.cx.at_least(&block[d], 1)?;
        let reach = (block[d].clone() - 1.into()) * dilations[d] + 1.into();
        let span = image[d].clone() + Aff::constant(pads[d] + pads[rank + d]) - reach;
        windows.push(span.floor_div(strides[d]) + 1.into());
    }
    let (size, count) = (site.cx.product(&block), site.cx.product(&windows));
    site.same(&x[2], &count)?;
    let channels = site.cx.div(&x[1], &size);
    let all = site.cx.mul(&channels, &size);
    site.same(&x[1], &all)?;
    let shape = [x[0].clone(), channels].into_iter().chain(image).collect();
    site.set(0, dtype, shape)
}

/// Inputs: image, weights, offsets `[n, groups * kernel * rank, places..]`, bias, mask.
fn deform_conv(site: &mut Site) -> Step {
    let (dtype, x, w, offset) = (site.dtype(0)?, site.shape(0)?, site.shape(1)?, site.shape(2)?);
    if x.len() != w.len() || x.len() != offset.len() || x.len() < 3 {
        return Err(site.invalid("image, weights and offsets must have the same rank, 3 at least"));
    }
    let (group, offset_group) = (site.node.int("group").unwrap_or(1), site.node.int("offset_group").unwrap_or(1));
    if group < 1 || offset_group < 1 {
        return Err(site.invalid("group and offset_group must be at least 1"));
    }
    site.same(&x[1], &(w[1].clone() * group))?;
    let places = super::conv::conv_places(site, &x, &w)?;
    let kernel = site.cx.product(&w[2..]);
    site.same(&offset[1], &(kernel.clone() * offset_group * (x.len() as i64 - 2)))?;
    let mut displaced = vec![(offset, "offsets")];
    if site.has(4) {
        let mask = site.shape(4)?;
        site.same(mask.get(1).unwrap_or(&Aff::constant(0)), &(kernel * offset_group))?;
        displaced.push((mask, "mask"));
    }
    for (shape, what) in displaced {
        if shape.len() != x.len() {
            return Err(site.invalid(format!("the {what} have rank {}", shape.len())));
        }
        site.same(&shape[0], &x[0])?;
        for (a, b) in shape[2..].iter().zip(&places) {
            site.same(a, b)?;
        }
    }
    let shape = [x[0].clone(), w[0].clone()].into_iter().chain(places).collect();
    site.set(0, dtype, shape)
}
