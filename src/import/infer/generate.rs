//! Operators that make tensors from shapes and numbers, and those that read shapes.

use super::context::Step;
use super::layout::SHAPE;
use super::site::{MAX_CONTENTS, Site};
use super::table::Family;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("Shape", shape),
    ("Size", size),
    ("ConstantOfShape", constant_of_shape),
    ("Range", range),
    ("EyeLike", eye_like),
    ("TfIdfVectorizer", tf_idf),
    ("OneHot", one_hot),
    ("Trilu", same),
];

fn same(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    site.set(0, dtype, shape)
}

/// The input's shape, or the part from `start` to `end` (opset 15).
fn shape(site: &mut Site) -> Step {
    let dims = site.shape(0)?;
    let rank = dims.len() as i64;
    let clamp = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank);
    let start = clamp(site.node.int("start").unwrap_or(0));
    let end = clamp(site.node.int("end").unwrap_or(rank)).max(start);
    let part = dims[start as usize..end as usize].to_vec();
    site.set(0, SHAPE, vec![Aff::constant(part.len() as i64)])?;
    site.set_contents(0, Some(part));
    Ok(())
}

fn size(site: &mut Site) -> Step {
    let dims = site.shape(0)?;
    let total = site.cx.product(&dims);
    site.set(0, SHAPE, vec![])?;
    site.set_contents(0, Some(vec![total]));
    Ok(())
}

fn constant_of_shape(site: &mut Site) -> Step {
    let dims = site.need_affs(0, "shape")?;
    let value = site.attribute_tensor("value");
    let (dtype, value) = match value {
        Some(id) => (site.cx.graph.tensor(id).dtype, site.cx.graph.tensor(id).affs().and_then(|v| v.first().cloned())),
        None => (DType::F32, None),
    };
    site.set(0, dtype, dims.clone())?;
    let count = dims.iter().try_fold(1i64, |p, n| p.checked_mul(n.as_constant()?));
    if let (Some(count @ 0..=4096), Some(value)) = (count, value) {
        site.set_contents(0, Some(vec![value; count as usize]));
    }
    Ok(())
}

fn range(site: &mut Site) -> Step {
    let dtype = site.dtype(0)?;
    if dtype.is_float() && (0..3).any(|n| site.affs(n).is_none()) {
        return float_range(site, dtype);
    }
    site.set(1, SHAPE, vec![])?;
    let scalar = |n: usize, role: &str| -> Step<Aff> {
        let values = site.need_affs(n, role)?;
        values.into_iter().next().ok_or_else(|| site.invalid(format!("{role} is empty")))
    };
    let (start, limit, delta) = (scalar(0, "start")?, scalar(1, "limit")?, scalar(2, "delta")?);
    let step = match delta.as_constant() {
        Some(step) if step != 0 && step != i64::MIN => step,
        Some(step) => return Err(site.invalid(format!("a Range cannot have delta {step}"))),
        None => return range_by_amount(site, dtype, &(limit - start), &delta),
    };
    let span = if step > 0 { limit - start.clone() } else { start.clone() - limit };
    let count = site.cx.simplify(&(span + Aff::constant(step.abs() - 1)).floor_div(step.abs()));
    let count = site.cx.max(&count, &Aff::constant(0));
    site.set(0, dtype, vec![count.clone()])?;
    if let Some(n) = count.as_constant().filter(|n| *n <= MAX_CONTENTS as i64) {
        site.set_contents(0, Some((0..n).map(|i| start.clone() + Aff::constant(i.saturating_mul(step))).collect()));
    }
    Ok(())
}

/// `ceil(span / delta)` elements, whatever the sign of `delta`.
fn range_by_amount(site: &mut Site, dtype: DType, span: &Aff, delta: &Aff) -> Step {
    let is_negative = site.cx.is_negative(delta);
    let sign = Aff::constant(1) - is_negative * 2;
    let span = site.cx.mul(&sign, span);
    let step = site.cx.max(delta, &-delta.clone());
    let count = site.cx.div(&(span + step.clone() - 1.into()), &step);
    let count = site.cx.max(&count, &Aff::constant(0));
    site.set(0, dtype, vec![count])
}

/// The longest range of floats whose bounds only the run knows: the workspace has a size before.
const MAX_FLOAT_RANGE: i64 = 1 << 12;

fn float_range(site: &mut Site, dtype: DType) -> Step {
    site.set(1, SHAPE, vec![])?;
    let scalar = |n: usize| site.floats(n).and_then(|v| v.first().copied());
    match (scalar(0), scalar(1), scalar(2)) {
        (Some(start), Some(limit), Some(delta)) if delta != 0.0 => {
            let count = ((limit - start) / delta).ceil().max(0.0);
            site.set(0, dtype, vec![Aff::constant(count as i64)])
        }
        (.., Some(0.0)) => Err(site.invalid("a Range cannot have delta 0")),
        _ => {
            let count = site.counted(0, &Aff::constant(MAX_FLOAT_RANGE))?;
            site.set(0, dtype, vec![count])
        }
    }
}

fn dtype_attribute(site: &Site, name: &str, default: DType) -> Step<DType> {
    match site.node.int(name) {
        None => Ok(default),
        Some(code) => tensor::dtype(i32::try_from(code).unwrap_or(0))
            .map_err(|found| site.unsupported(format!("type {found} is not supported"))),
    }
}

fn eye_like(site: &mut Site) -> Step {
    let dtype = dtype_attribute(site, "dtype", site.dtype(0)?)?;
    let shape = site.shape(0)?;
    site.set(0, dtype, shape)
}

/// One column per n-gram, for every row of items.
fn tf_idf(site: &mut Site) -> Step {
    if !site.dtype(0)?.is_integer() {
        return Err(site.unsupported("n-grams of other items than integers"));
    }
    let mut shape = site.shape(0)?;
    let columns = site.node.ints("ngram_indexes").unwrap_or(&[]).iter().max().map_or(0, |last| last.saturating_add(1));
    match shape.last_mut() {
        Some(last) if site.rank(0)? <= 2 => *last = Aff::constant(columns),
        _ => return Err(site.invalid("the input is neither a row nor a matrix")),
    }
    site.set(0, DType::F32, shape)
}

fn one_hot(site: &mut Site) -> Step {
    let (dtype, mut shape) = (site.dtype(2)?, site.shape(0)?);
    let depth = site.need_affs(1, "depth")?.into_iter().next();
    let depth = depth.ok_or_else(|| site.invalid("depth is empty"))?;
    let axis = site.axis_attribute(-1, shape.len() + 1)?;
    shape.insert(axis, depth);
    site.set(0, dtype, shape)
}
