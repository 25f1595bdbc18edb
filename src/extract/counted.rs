//! `NonZero` and `Compress`: what the data chooses, in order.
//!
//! `rank[t + 1] = rank[t] + chosen(t)` counts, so `rank` ends with the length of the result, which is a parameter;
//! `from[rank[t]] = t` for the chosen ones; the result is a gather by `from`. All of it is linear in the input.

use super::amounts;
use super::arguments::*;
use super::builder::Builder;
use super::reshape::reshaped;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, DType, Expr, Result, StatementKind};

/// The chosen ones among `length` candidates: `from[j]` is the `j`-th of them.
pub struct Chosen {
    pub from: ArrayId,
}

/// Counts the candidates for which `chosen` holds (at own iterator 0), defines the node's length, lists them.
pub fn choose(b: &mut Builder, node: &Node, name: &str, length: &Aff, chosen: Expr) -> Result<Chosen> {
    let rank = b.temp(&format!("{name}_rank"), DType::I64, vec![length.clone() + 1.into()]);
    let start = b.assign(&[], rank, vec![Expr::int(0)], Expr::int(0));
    b.emit_perfect(start, 0);
    let dims = [("t".to_string(), length.clone())];
    let before = b.load(rank, vec![b.iter(0)]);
    let one = Expr::select(chosen.clone(), Expr::int(1), Expr::int(0));
    let next = b.assign(&dims, rank, vec![index(b.aff(0) + 1.into())], add(before.clone(), one));
    b.emit_perfect(next, 1);
    let count = b.load(rank, vec![index(length.clone())]);
    amounts::define_count(b, node, count);
    let from = b.temp(&format!("{name}_from"), DType::I64, vec![length.clone()]);
    let clear = b.assign(&dims, from, b.iters(1), Expr::int(0));
    b.emit_perfect(clear, 1);
    let t = b.iter(0);
    guarded(b, chosen, |b| {
        let list = b.statement(StatementKind::Update, &dims, from, vec![before], t);
        b.emit_perfect(list, 1);
    });
    Ok(Chosen { from })
}

/// Statements of `body` run only where `condition` holds, which may use their own iterators.
pub fn guarded(b: &mut Builder, condition: Expr, body: impl FnOnce(&mut Builder)) {
    let outer = b.scope.guard.clone();
    b.scope.guard = Some(match outer.clone() {
        Some(guard) => and(guard, condition),
        None => condition,
    });
    body(b);
    b.scope.guard = outer;
}

/// `value != 0`, for NaN too.
fn is_set(b: &Builder, tensor: TensorId, value: Expr) -> Expr {
    let t = b.dtype(tensor);
    if t == DType::Bool { value } else { Expr::binary(sirius_polyhedral::BinaryOp::Ne, value, lit(0.0, t)) }
}

/// `NonZero`: the subscripts of the elements that are not zero, one column each.
pub fn non_zero(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, name) = (b.shape(source), b.graph.tensor(target).name.clone());
    let length = flat_length(b, node)?;
    let at = reshaped(&shape, std::slice::from_ref(&length), &b.iters(1), &b.program.params);
    let value = b.read(source, &at)?;
    let chosen = is_set(b, source, value);
    let chosen = choose(b, node, &name, &length, chosen)?;
    let (d, place) = (b.iter(0), b.load(chosen.from, vec![b.iter(1)]));
    let subscripts = reshaped(&shape, &[length], &[place], &b.program.params);
    let value = subscripts
        .into_iter()
        .enumerate()
        .rev()
        .reduce(|(_, later), (k, here)| (k, Expr::select(eq(d.clone(), Expr::int(k as i64)), here, later)));
    b.pointwise(target, value.map_or(Expr::int(0), |(_, value)| value));
    Ok(())
}

/// The number of elements of input 0, as import bounds the node's length.
pub fn flat_length(b: &mut Builder, node: &Node) -> Result<Aff> {
    let shape = b.shape(input(node, 0)?);
    let constant = shape.iter().try_fold(1i64, |n, e| n.checked_mul(e.as_constant()?));
    if let Some(n) = constant {
        return Ok(Aff::constant(n));
    }
    let mut product = Aff::constant(1);
    for extent in shape {
        product = match (product.as_constant(), extent.as_constant()) {
            (Some(c), _) => extent * c,
            (_, Some(c)) => product * c,
            _ => Aff::param(b.program.params.derived(sirius_polyhedral::ParamDef::Mul(product, extent))),
        };
    }
    Ok(product)
}

/// `Compress`: the slices of an axis (or the elements) for which the condition holds.
pub fn compress(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, condition, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let (shape, name) = (b.shape(source), b.graph.tensor(target).name.clone());
    let along = node.int("axis").map(|axis| from_front(node, axis, shape.len())).transpose()?;
    let all = match along {
        Some(d) => shape[d].clone(),
        None => flat_length(b, node)?,
    };
    let length = shorter(b, &b.shape(condition)[0].clone(), &all);
    let flag = b.read(condition, &b.iters(1))?;
    let chosen = choose(b, node, &name, &length, flag)?;
    let mut at = b.iters(b.shape(target).len());
    let d = along.unwrap_or(0);
    at[d] = b.load(chosen.from, vec![at[d].clone()]);
    let at = if along.is_some() { at } else { reshaped(&shape, &[all], &at, &b.program.params) };
    let value = b.read(source, &at)?;
    b.pointwise(target, value);
    Ok(())
}

fn shorter(b: &mut Builder, x: &Aff, y: &Aff) -> Aff {
    match (x.as_constant(), y.as_constant()) {
        (Some(x), Some(y)) => Aff::constant(x.min(y)),
        _ if x == y => x.clone(),
        _ => Aff::param(b.program.params.derived(sirius_polyhedral::ParamDef::Min(x.clone(), y.clone()))),
    }
}
