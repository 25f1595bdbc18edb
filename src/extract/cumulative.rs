//! `CumSum` and `CumProd`: `out[0] = first; out[i + 1] = out[i] op step(i)` along the axis, from either end.

use super::arguments::*;
use super::builder::{Builder, leaf};
use super::softmax::Rows;
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result};

/// The operation with its neutral element, and which elements it combines.
struct Form {
    op: BinaryOp,
    neutral: Expr,
    exclusive: bool,
    reverse: bool,
}

impl Form {
    fn of(b: &Builder, node: &Node) -> Result<Form> {
        let t = b.dtype(output(node, 0)?);
        let product = node.op == "CumProd";
        let (op, neutral) = if product { (BinaryOp::Mul, lit(1.0, t)) } else { (BinaryOp::Add, lit(0.0, t)) };
        let flag = |name: &str| node.int(name) == Some(1);
        Ok(Form { op, neutral, exclusive: flag("exclusive"), reverse: flag("reverse") })
    }
}

pub fn cumulative(b: &mut Builder, node: &Node) -> Result<()> {
    let form = Form::of(b, node)?;
    let axis = match node.input(1) {
        Some(tensor) => b.graph.tensor(tensor).ints(),
        None => Some(vec![0]),
    };
    match axis.as_deref() {
        Some([axis, ..]) => {
            let axis = from_front(node, *axis, b.shape(input(node, 0)?).len())?;
            let array = b.define(output(node, 0)?);
            along(b, node, &form, axis, array)
        }
        _ => along_any(b, node, &form),
    }
}

/// `array[..]`, of the source's shape, along axis number `along`.
fn along(b: &mut Builder, node: &Node, form: &Form, along: usize, array: ArrayId) -> Result<()> {
    let source = input(node, 0)?;
    let extents = b.shape(source);
    let rows = Rows::new(b, &extents, &[along]);
    let (outer, n) = (rows.outer, extents[along].clone());
    let from = |i: Aff| if form.reverse { n.clone() - 1.into() - i } else { i };
    let place = |i: Aff| {
        let mut at = rows.index.clone();
        at[along] = index(from(i));
        at
    };
    let i = b.aff(outer);
    let first = if form.exclusive { form.neutral.clone() } else { b.read(source, &place(i.clone()))? };
    let start = b.assign(&rows.dims, array, place(i.clone()), first);
    b.program.statement_mut(start).constraints.push(-i.clone());
    let added = if form.exclusive { i.clone() } else { i.clone() + 1.into() };
    let value = Expr::binary(form.op, b.load(array, place(i.clone())), b.read(source, &place(added))?);
    let mut dims = rows.dims.clone();
    dims[outer].1 = n.clone() - 1.into();
    let next = b.assign(&dims, array, place(i + 1.into()), value);
    let mut nodes = b.bands(outer..outer + 1, vec![leaf(start)]);
    nodes.extend(b.bands(outer..outer + 1, vec![leaf(next)]));
    let nest = b.bands(0..outer, nodes);
    b.emit(nest);
    Ok(())
}

/// An axis that only the run knows: the result along every axis, and a choice.
fn along_any(b: &mut Builder, node: &Node, form: &Form) -> Result<()> {
    let (axis, target) = (input(node, 1)?, output(node, 0)?);
    let (shape, name) = (b.shape(target), b.graph.tensor(target).name.clone());
    let axis = convert(b.dtype(axis), DType::I64, b.read(axis, &[])?);
    let axis = super::layout::from_end(axis, &Aff::constant(shape.len() as i64));
    let mut chosen: Option<Expr> = None;
    for d in 0..shape.len() {
        let array = b.temp(&format!("{name}_along{d}"), b.dtype(target), shape.clone());
        along(b, node, form, d, array)?;
        let value = b.load(array, b.iters(shape.len()));
        let is_axis = eq(axis.clone(), Expr::int(d as i64));
        chosen = Some(chosen.map_or(value.clone(), |other| Expr::select(is_axis, value, other)));
    }
    let value = chosen.ok_or_else(|| invalid(node, "a scalar has no axis"))?;
    b.pointwise(target, value);
    Ok(())
}
