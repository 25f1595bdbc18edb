//! Tensors made from nothing but shapes and scalars: views of literals and affine expressions.

use super::amounts;
use super::arguments::*;
use super::builder::Builder;
use super::terms::*;
use super::view;
use crate::graph::Node;
use sirius_polyhedral::{Aff, DType, Expr, Result, UnaryOp};

/// `Range`: `start + i * delta`.
pub fn range(b: &mut Builder, node: &Node) -> Result<()> {
    let (start, delta, target) = (input(node, 0)?, input(node, 2)?, output(node, 0)?);
    let t = b.dtype(target);
    let i = b.iter(0);
    let affine = |n| b.graph.tensor(n).affs().and_then(|l| l.into_iter().next());
    if let (true, Some(first), Some(step)) = (t.is_integer(), affine(start), affine(delta)) {
        let value = add(index(first), mul(i, index(step)));
        b.bind(target, convert(DType::I64, t, value));
        return Ok(());
    }
    let (first, step) = (b.read(start, &[])?, b.read(delta, &[])?);
    let w = wide(t);
    let limit = b.read(input(node, 1)?, &[])?;
    let span = sub(convert(t, DType::F64, limit), convert(t, DType::F64, first.clone()));
    let count = Expr::unary(UnaryOp::Ceil, div(span, convert(t, DType::F64, step.clone())));
    let count = Expr::cast(DType::I64, min(max(count, lit(0.0, DType::F64)), lit(1e9, DType::F64)));
    amounts::define_demand(b, node, count);
    let value = add(convert(t, w, first), mul(convert(DType::I64, w, i), convert(t, w, step)));
    b.bind(target, convert(w, t, value));
    Ok(())
}

/// `ConstantOfShape`: one literal everywhere.
pub fn constant_of_shape(b: &mut Builder, node: &Node) -> Result<()> {
    let target = output(node, 0)?;
    let value = match node.attributes.get("value") {
        Some(crate::graph::Attribute::Tensor(id)) => b.read(*id, &[Expr::int(0)])?,
        _ => lit(0.0, b.dtype(target)),
    };
    b.bind(target, value);
    Ok(())
}

/// `Constant` whose value import left as an attribute.
pub fn constant(b: &mut Builder, node: &Node) -> Result<()> {
    let target = output(node, 0)?;
    match node.attributes.get("value") {
        Some(crate::graph::Attribute::Tensor(id)) => {
            let index = b.iters(b.shape(target).len());
            b.alias(target, *id, &index)
        }
        _ => Err(unsupported_form(node, "only dense tensor values")),
    }
}

/// `Shape`, `Size`: affine expressions of the parameters.
pub fn shape(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let extents = b.shape(source);
    if node.op == "Size" {
        b.bind(target, volume(&extents, DType::I64));
        return Ok(());
    }
    let rank = extents.len() as i64;
    let bound = |name: &str, default: i64| {
        let v = node.int(name).unwrap_or(default);
        (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize
    };
    let (from, to) = (bound("start", 0), bound("end", rank));
    let listed: Vec<Aff> = extents[from..to.max(from)].to_vec();
    let value = view::symbolic(&listed, &[Aff::constant(listed.len() as i64)], DType::I64);
    let at = b.iters(1);
    let value = b.at(&super::builder::View { prefix: 0, value }, &at);
    b.bind(target, value);
    Ok(())
}

/// `EyeLike`: ones on diagonal `k`.
pub fn eye_like(b: &mut Builder, node: &Node) -> Result<()> {
    let target = output(node, 0)?;
    let t = b.dtype(target);
    let on = eq(index(b.aff(0) + node.int("k").unwrap_or(0).into()), b.iter(1));
    b.bind(target, Expr::select(on, lit(1.0, t), lit(0.0, t)));
    Ok(())
}

/// `Trilu`: keeps one side of diagonal `k`, which may be computed at run time.
pub fn triangle(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let rank = b.shape(target).len();
    if rank < 2 {
        return Err(invalid(node, "the input needs two dimensions"));
    }
    let all = b.iters(rank);
    let distance = index(b.aff(rank - 1) - b.aff(rank - 2));
    let k = match node.input(1) {
        Some(tensor) => convert(b.dtype(tensor), DType::I64, b.read(tensor, &[])?),
        None => Expr::int(0),
    };
    let upper = node.int("upper") != Some(0);
    let keep = if upper { ge(distance, k) } else { le(distance, k) };
    let value = b.read(source, &all)?;
    let t = b.dtype(target);
    b.pointwise(target, Expr::select(keep, value, lit(0.0, t)));
    Ok(())
}
