//! `CumSum` and `CumProd`: `out[0] = first; out[i + 1] = out[i] op step(i)` along the axis, from either end.

use super::arguments::*;
use super::builder::{Builder, leaf};
use super::softmax::Rows;
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result, StatementKind};

/// The operation with its neutral element, and which elements it combines.
struct Form {
    op: BinaryOp,
    neutral: Expr,
    exclusive: bool,
    reverse: bool,
    t: DType,
}

impl Form {
    fn of(b: &Builder, node: &Node) -> Result<Form> {
        let t = b.dtype(output(node, 0)?);
        let product = node.op == "CumProd";
        let (op, neutral) = if product { (BinaryOp::Mul, lit(1.0, t)) } else { (BinaryOp::Add, lit(0.0, t)) };
        let flag = |name: &str| node.int(name) == Some(1);
        Ok(Form { op, neutral, exclusive: flag("exclusive"), reverse: flag("reverse"), t })
    }
}

pub fn cumulative(b: &mut Builder, node: &Node) -> Result<()> {
    let form = Form::of(b, node)?;
    let axis = match node.input(1) {
        Some(tensor) => b.graph.tensor(tensor).ints(),
        None => Some(vec![0]),
    };
    match axis.as_deref() {
        Some([along, ..]) => along_axis(b, node, &form, *along),
        _ => along_any(b, node, &form),
    }
}

fn along_axis(b: &mut Builder, node: &Node, form: &Form, along: i64) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let extents = b.shape(source);
    let along = from_front(node, along, extents.len())?;
    let rows = Rows::new(b, &extents, &[along]);
    let (outer, n) = (rows.outer, extents[along].clone());
    let from = |i: Aff| if form.reverse { n.clone() - 1.into() - i } else { i };
    let place = |i: Aff| {
        let mut at = rows.index.clone();
        at[along] = index(from(i));
        at
    };
    let array = b.define(target);
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

/// An axis that only the run knows: the elements in row-major order (mirrored along the axis to run backwards),
/// each from its predecessor along the axis, which came before.
fn along_any(b: &mut Builder, node: &Node, form: &Form) -> Result<()> {
    let (source, axis, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let shape = b.shape(source);
    let rank = shape.len();
    let axis = convert(b.dtype(axis), DType::I64, b.read(axis, &[])?);
    let axis = super::layout::from_end(axis, &Aff::constant(rank as i64));
    let array = b.pointwise(target, form.neutral.clone());
    let (mut here, mut before, mut has_before) = (Vec::new(), Vec::new(), Expr::literal(0.0, DType::Bool));
    for (d, extent) in shape.iter().enumerate() {
        let (i, is_axis) = (b.iter(d), eq(axis.clone(), Expr::int(d as i64)));
        let mirrored = sub(index(extent.clone() - 1.into()), i.clone());
        let at = if form.reverse { Expr::select(is_axis.clone(), mirrored, i.clone()) } else { i.clone() };
        let step = Expr::int(if form.reverse { 1 } else { -1 });
        let previous = add(at.clone(), Expr::select(is_axis.clone(), step, Expr::int(0)));
        let previous = max(min(previous, index(extent.clone() - 1.into())), Expr::int(0));
        has_before = or(has_before, and(is_axis, gt(i, Expr::int(0))));
        here.push(at);
        before.push(previous);
    }
    let own = b.read(source, &here)?;
    let (last, added) = (b.load(array, before.clone()), b.read(source, &before)?);
    let value = match form.exclusive {
        true => Expr::select(has_before, Expr::binary(form.op, last, added), form.neutral.clone()),
        false => Expr::select(has_before, Expr::binary(form.op, last, own.clone()), own),
    };
    debug_assert_eq!(form.t, b.dtype(target));
    let dims = super::builder::dims("i", &shape);
    let id = b.statement(StatementKind::Update, &dims, array, here, value);
    b.emit_perfect(id, rank);
    Ok(())
}
