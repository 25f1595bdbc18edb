//! Positions in a dimension that a tensor gives, as in `Gather`: what they are, and what keeps them inside.
//!
//! Positions that are known to be inside stay as they are. Others are data: they are kept inside the dimension,
//! because wrong data must not reach other memory, and the standard calls such data an error. So a loop of its own,
//! beside the one that uses them, looks whether one is outside, and the artifact refuses the result ([`watch`]).

use super::amounts;
use super::arguments::*;
use super::builder::{Builder, dims};
use super::layout::from_end;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result, StatementKind, Term};

/// Where the positions of one dimension stand: the tensor, which of its last dimension's `of` entries (where it
/// holds whole subscripts), and the extent of the dimension that they go into.
pub struct Source<'a> {
    pub tensor: TensorId,
    pub part: Option<(usize, usize)>,
    pub extent: &'a Aff,
}

/// A position counted from the front, never outside its dimension.
pub struct Place {
    pub at: Expr,
    /// Only the run can tell whether the tensor's positions are all inside.
    pub is_open: bool,
}

/// The position at `at` of the tensor, in a loop over `own`.
pub fn place(b: &mut Builder, node: &Node, source: &Source, at: &[Expr], own: &[Aff]) -> Result<Place> {
    let (tensor, extent) = (source.tensor, source.extent);
    let mut at = at.to_vec();
    at.extend(source.part.map(|(d, _)| Expr::int(d as i64)));
    if let Some((low, high)) = constant_range(b, source)
        && fits(b, node, low, high, extent)?
    {
        if let Some(aff) = grid(b, tensor, &at, extent) {
            return Ok(Place { at: index(aff), is_open: false });
        }
        let value = convert(b.dtype(tensor), DType::I64, b.read(tensor, &at)?);
        let at = if low >= 0 { value } else { from_end(value, extent) };
        return Ok(Place { at, is_open: false });
    }
    let value = convert(b.dtype(tensor), DType::I64, b.read(tensor, &at)?);
    let value = b.simplify(value, own);
    if value.as_aff().is_some_and(|aff| is_inside(b, &aff, own, extent)) {
        return Ok(Place { at: value, is_open: false });
    }
    let wrapped = from_end(value, extent);
    let at = max(Expr::int(0), min(wrapped, index(extent.clone() - 1.into())));
    Ok(Place { at, is_open: true })
}

/// The least and the greatest of constant positions.
fn constant_range(b: &Builder, source: &Source) -> Option<(i64, i64)> {
    let list = b.graph.tensor(source.tensor).ints()?;
    let (first, step) = source.part.unwrap_or((0, 1));
    let chosen = || list.iter().skip(first).step_by(step.max(1)).copied();
    Some((chosen().min().unwrap_or(0), chosen().max().unwrap_or(-1)))
}

/// Are positions from `low` to `high` inside? `false` where that depends on the run.
fn fits(b: &Builder, node: &Node, low: i64, high: i64, extent: &Aff) -> Result<bool> {
    if let Some(n) = extent.as_constant().filter(|n| high >= *n || low < -*n) {
        let outside = if high >= n { high } else { low };
        return Err(invalid(node, format!("index {outside} lies outside a dimension of {n}")));
    }
    let least = extent.bounds(&|p| bounds(b, p), &|_| (None, None)).0;
    Ok(least.is_some_and(|least| high < least && low >= -least))
}

fn bounds(b: &Builder, p: sirius_polyhedral::ParamId) -> (Option<i64>, Option<i64>) {
    let param = b.program.params.get(p);
    (Some(param.min), param.max)
}

/// Does `position` stay in `0..extent` for all iterators of the loops around it?
fn is_inside(b: &Builder, position: &Aff, own: &[Aff], extent: &Aff) -> bool {
    let extents: Vec<&Aff> = b.scope.prefix.iter().map(|(_, e)| e).chain(own).collect();
    let ends = |n: usize| extents.get(n).map(|e| (*e).clone() - 1.into());
    let plain = position.terms().iter().all(|(term, _)| match term {
        Term::Iter(n) => extents.get(*n as usize).is_some_and(|e| !e.has_iters()),
        Term::Param(_) => true,
        Term::FloorDiv(inner, _) => !inner.has_iters(),
    });
    if !plain {
        return false;
    }
    let corner = |least: bool| {
        position.substitute(&|n| match (position.coefficient(n) > 0) == least {
            true => Aff::constant(0),
            false => ends(n).unwrap_or_default(),
        })
    };
    let at_least_zero = |aff: &Aff| aff.bounds(&|p| bounds(b, p), &|_| (None, None)).0.is_some_and(|low| low >= 0);
    at_least_zero(&corner(true)) && at_least_zero(&(extent.clone() - 1.into() - corner(false)))
}

/// Constant positions `start + step * i` of a vector, all counted from the same end.
fn grid(b: &Builder, tensor: TensorId, at: &[Expr], extent: &Aff) -> Option<Aff> {
    let list = b.graph.tensor(tensor).ints()?;
    let (start, step) = (*list.first()?, list.get(1).map_or(0, |second| second - list[0]));
    let even = list.iter().enumerate().all(|(i, v)| *v == start + step * i as i64);
    let same_side = list.iter().all(|v| (*v < 0) == (start < 0));
    if !even || !same_side || b.shape(tensor).iter().filter(|e| !e.is_constant(1)).count() > 1 {
        return None;
    }
    let i = at.iter().zip(b.shape(tensor)).find(|(_, e)| !e.is_constant(1));
    let i = i.map_or(Some(Aff::constant(0)), |(i, _)| i.as_aff())?;
    let base = if start < 0 { extent.clone() + start.into() } else { start.into() };
    Some(base + i * step)
}

/// A loop over all positions of `sources` (parts of one tensor) that marks the run where one is outside.
pub fn watch(b: &mut Builder, node: &Node, sources: &[Source]) -> Result<()> {
    let Some(Source { tensor, part, .. }) = sources.first() else { return Ok(()) };
    let (tensor, dtype) = (*tensor, b.dtype(*tensor));
    let mut shape = b.shape(tensor);
    shape.truncate(shape.len() - usize::from(part.is_some()));
    let mut outside: Option<Expr> = None;
    for source in sources {
        let mut at = b.iters(shape.len());
        at.extend(source.part.map(|(d, _)| Expr::int(d as i64)));
        let value = convert(dtype, DType::I64, b.read(tensor, &at)?);
        let before = lt(value.clone(), index(-source.extent.clone()));
        let here = or(before, ge(value, index(source.extent.clone())));
        outside = Some(outside.map_or(here.clone(), |other| or(other, here)));
    }
    let Some(outside) = outside else { return Ok(()) };
    let flag = amounts::flag(b, node);
    let over = dims("p", &shape);
    let value = Expr::select(outside, Expr::int(1), Expr::int(0));
    let id = b.statement(StatementKind::Reduce(BinaryOp::Max), &over, flag, vec![], value);
    b.emit_perfect(id, over.len());
    Ok(())
}
