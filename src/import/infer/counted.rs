//! Operators whose results are as long as the data says. Their length is a parameter that the program computes
//! (see `amounts`); the bound that the operator gives it sizes the workspace.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family =
    &[("NonZero", non_zero), ("Compress", compress), ("Unique", unique), ("NonMaxSuppression", non_max_suppression)];

fn non_zero(site: &mut Site) -> Step {
    if site.evaluate_constants()? {
        return Ok(());
    }
    let shape = site.shape(0)?;
    let limit = site.cx.product(&shape);
    let count = site.counted(0, &limit)?;
    site.set(0, DType::I64, vec![Aff::constant(shape.len() as i64), count])
}

/// The shape that `axis` divides: the input's, or all elements in a row where there is no axis.
fn divided(site: &mut Site) -> Step<(Vec<Aff>, usize)> {
    let shape = site.shape(0)?;
    match site.node.int("axis") {
        Some(axis) => {
            let axis = site.axis(axis, shape.len())?;
            Ok((shape, axis))
        }
        None => Ok((vec![site.cx.product(&shape)], 0)),
    }
}

fn compress(site: &mut Site) -> Step {
    if site.evaluate_constants()? {
        return Ok(());
    }
    let dtype = site.dtype(0)?;
    let (mut shape, axis) = divided(site)?;
    let [length] = site.shape(1)?.try_into().map_err(|_| site.invalid("the condition is not a vector"))?;
    let limit = site.cx.min(&length, &shape[axis]);
    shape[axis] = site.counted(0, &limit)?;
    site.set(0, dtype, shape)
}

fn unique(site: &mut Site) -> Step {
    if site.evaluate_constants()? {
        return Ok(());
    }
    let dtype = site.dtype(0)?;
    let (mut shape, axis) = divided(site)?;
    let all = shape[axis].clone();
    // Where there is something, something is there at least once.
    let least = site.cx.range(&all).0.map_or(0, |low| low.clamp(0, 1));
    let count = site.counted(least, &all)?;
    shape[axis] = count.clone();
    site.set(0, dtype, shape)?;
    site.set(1, DType::I64, vec![count.clone()])?;
    site.set(2, DType::I64, vec![all])?;
    site.set(3, DType::I64, vec![count])
}

/// Boxes `[batch, n, 4]`, scores `[batch, class, n]`; one row per box that stays.
fn non_max_suppression(site: &mut Site) -> Step {
    if site.evaluate_constants()? {
        return Ok(());
    }
    let (boxes, scores) = (site.shape(0)?, site.shape(1)?);
    if boxes.len() != 3 || scores.len() != 3 {
        return Err(site.invalid("boxes and scores have three dimensions"));
    }
    site.same(&boxes[0], &scores[0])?;
    site.same(&boxes[1], &scores[2])?;
    site.same(&boxes[2], &4.into())?;
    let most = match site.has(2) {
        true => site.need_affs(2, "maximum per class")?.into_iter().next().unwrap_or_default(),
        false => Aff::constant(0),
    };
    let most = site.cx.max(&most, &Aff::constant(0));
    let most = site.cx.min(&most, &boxes[1]);
    let limit = site.cx.product(&[boxes[0].clone(), scores[1].clone(), most]);
    let count = site.counted(0, &limit)?;
    site.set(0, DType::I64, vec![count, Aff::constant(3)])
}
