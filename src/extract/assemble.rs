//! Tensors put together from pieces: `Concat` and `Pad`.

use super::arguments::*;
use super::builder::{Builder, dims};
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, Expr, Result};

/// `Concat`: one statement per input, into disjoint regions of the result.
pub fn concat(b: &mut Builder, node: &Node) -> Result<()> {
    let target = output(node, 0)?;
    let rank = b.shape(target).len();
    let along = axis(node, "axis", 1, rank)?;
    let array = b.define(target);
    let mut start = Aff::constant(0);
    for source in node.inputs.iter().flatten() {
        let shape = b.shape(*source);
        if !shape[along].is_constant(0) {
            let value = b.read(*source, &b.iters(rank))?;
            let mut place = b.iters(rank);
            place[along] = index(b.aff(along) + start.clone());
            let id = b.assign(&dims("i", &shape), array, place, value);
            b.emit_perfect(id, rank);
        }
        start = start + shape[along].clone();
    }
    Ok(())
}

/// `Pad` over the whole result: a select between the source and the filling.
pub fn pad(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let shape = b.shape(source);
    let before = before(b, node, shape.len())?;
    let mode = node.string("mode").unwrap_or("constant").to_string();
    let value = if mode == "constant" {
        let fill = fill(b, node)?;
        let result = b.shape(target);
        in_range(b, source, &before, &result, fill)?
    } else {
        mirrored(b, node, &mode, source, &before)?
    };
    b.pointwise(target, value);
    Ok(())
}

/// `CenterCropPad`: the middle of the source, or the source in the middle of zeros, axis by axis.
pub fn center_crop_pad(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (old, new) = (b.shape(source), b.shape(target));
    let mut at = b.iters(old.len());
    let mut tests = Vec::new();
    for d in (0..old.len()).filter(|d| old[*d] != new[*d]) {
        let half = div(index(old[d].clone() - new[d].clone()), Expr::int(2));
        at[d] = add(b.iter(d), half);
        tests.push(and(ge(at[d].clone(), Expr::int(0)), lt(at[d].clone(), index(old[d].clone()))));
    }
    let value = b.read(source, &at)?;
    let zero = lit(0.0, b.dtype(target));
    let value = tests.into_iter().reduce(and).map_or(value.clone(), |test| Expr::select(test, value, zero));
    b.pointwise(target, value);
    Ok(())
}

/// How many elements come before the source in every dimension (negative: removed).
fn before(b: &Builder, node: &Node, rank: usize) -> Result<Vec<Aff>> {
    let name = if node.ints("paddings").is_some() { "paddings" } else { "pads" };
    let Some(pads) = aff_list(b, node, name, 1) else {
        return Err(at_run_time(b, node, "pads", 1));
    };
    let all = (0..rank as i64).collect();
    let along = if node.input(3).is_some() { int_list(b, node, "axes", 3)?.unwrap_or(all) } else { all };
    let mut before = vec![Aff::constant(0); rank];
    for (n, d) in along.iter().enumerate() {
        before[from_front(node, *d, rank)?] = pads.get(n).cloned().unwrap_or_default();
    }
    Ok(before)
}

fn fill(b: &mut Builder, node: &Node) -> Result<Expr> {
    let dtype = b.dtype(output(node, 0)?);
    match node.input(2) {
        Some(tensor) => b.read(tensor, &[]),
        None => Ok(lit(node.float("value").map_or(0.0, f64::from), dtype)),
    }
}

/// The source shifted by `before` where it is in range, else `fill`.
fn in_range(b: &mut Builder, source: TensorId, before: &[Aff], result: &[Aff], fill: Expr) -> Result<Expr> {
    let shape = b.shape(source);
    let at: Vec<Expr> = before.iter().enumerate().map(|(d, p)| index(b.aff(d) - p.clone())).collect();
    let value = b.read(source, &at)?;
    Ok(inside(&at, &shape, result, before, value, fill))
}

/// `value` where every subscript lies in its extent, else `fill`; dimensions that are not padded need no test.
pub fn inside(at: &[Expr], shape: &[Aff], result: &[Aff], before: &[Aff], value: Expr, fill: Expr) -> Expr {
    let mut tests = Vec::new();
    for (d, i) in at.iter().enumerate() {
        if !before[d].is_constant(0) {
            tests.push(ge(i.clone(), Expr::int(0)));
        }
        if result[d] != shape[d].clone() + before[d].clone() {
            tests.push(lt(i.clone(), index(shape[d].clone())));
        }
    }
    match tests.into_iter().reduce(and) {
        Some(test) => Expr::select(test, value, fill),
        None => value,
    }
}

/// `reflect`, `edge` and `wrap`. The first padded dimension selects between affine loads, which dependences
/// see through; further ones select inside the subscript.
fn mirrored(b: &mut Builder, node: &Node, mode: &str, source: TensorId, before: &[Aff]) -> Result<Expr> {
    let (shape, result) = (b.shape(source), b.shape(output(node, 0)?));
    let padded: Vec<usize> = (0..shape.len()).filter(|d| shape[*d] != result[*d] || before[*d] != 0.into()).collect();
    let mut at = b.iters(shape.len());
    for d in &padded {
        let i = index(b.aff(*d) - before[*d].clone());
        let (low, high) = match mode {
            "reflect" => (sub(Expr::int(0), i.clone()), sub(index(shape[*d].clone() * 2 - 2.into()), i.clone())),
            "edge" => (Expr::int(0), index(shape[*d].clone() - 1.into())),
            "wrap" => (add(i.clone(), index(shape[*d].clone())), sub(i.clone(), index(shape[*d].clone()))),
            other => return Err(unsupported_form(node, format!("mode `{other}`"))),
        };
        let (below, above) = (lt(i.clone(), Expr::int(0)), ge(i.clone(), index(shape[*d].clone())));
        if padded.len() == 1 {
            let mut read = |e: Expr| {
                at[*d] = e;
                b.read(source, &at)
            };
            return Ok(Expr::select(below, read(low)?, Expr::select(above, read(high)?, read(i)?)));
        }
        at[*d] = Expr::select(below, low, Expr::select(above, high, i));
    }
    b.read(source, &at)
}
