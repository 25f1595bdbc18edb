//! `Softmax`, `LogSoftmax` and `Hardmax`: one row at a time, maximum, exponentials, sum, result.

use super::arguments::*;
use super::builder::{Builder, Dims, leaf};
use super::contraction::{Reduction, accumulate};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result};

/// A nest over a tensor whose normalised dimensions come last in the statements.
pub struct Rows {
    /// Kept dimensions, then the others.
    pub dims: Dims,
    pub outer: usize,
    /// Subscripts of the tensor's own dimensions in this order of loops.
    pub index: Vec<Expr>,
}

impl Rows {
    pub fn new(b: &Builder, shape: &[Aff], inner: &[usize]) -> Rows {
        let kept = (0..shape.len()).filter(|d| !inner.contains(d));
        let order: Vec<usize> = kept.chain(inner.iter().copied()).collect();
        let dims = order.iter().map(|d| (format!("i{d}"), shape[*d].clone())).collect();
        let mut index = vec![Expr::int(0); shape.len()];
        for (position, d) in order.iter().enumerate() {
            index[*d] = b.iter(position);
        }
        Rows { dims, outer: shape.len() - inner.len(), index }
    }

    pub fn outer_dims(&self) -> &[(String, Aff)] {
        &self.dims[..self.outer]
    }

    pub fn extents(&self) -> Vec<Aff> {
        self.dims.iter().map(|(_, e)| e.clone()).collect()
    }
}

/// The dimensions one row spans: the axis, or everything from it before version 13.
fn inner_dims(node: &Node, rank: usize) -> Result<Vec<usize>> {
    if rank == 0 {
        return Ok(Vec::new());
    }
    if node.version >= 13 {
        return Ok(vec![axis(node, "axis", -1, rank)?]);
    }
    let first = node.int("axis").unwrap_or(1);
    let first = if first == rank as i64 { rank } else { from_front(node, first, rank)? };
    Ok((first..rank).collect())
}

pub fn softmax(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out) = (b.shape(source), b.dtype(target));
    let t = wide(out);
    let rows = Rows::new(b, &shape, &inner_dims(node, shape.len())?);
    let x = convert(out, t, b.read(source, &rows.index)?);
    let name = b.graph.tensor(target).name.clone();
    let row = b.iters(rows.outer);
    let largest = Reduction {
        name: &format!("{name}_max"),
        dtype: t,
        op: BinaryOp::Max,
        init: lowest(t),
        dims: &rows.dims,
        parallel: rows.outer,
        value: x.clone(),
    };
    let (peak, mut nodes) = accumulate(b, largest);
    let shifted = sub(x.clone(), b.load(peak, row.clone()));
    let array = match node.op.as_str() {
        "Hardmax" => {
            let peak = b.load(peak, row);
            return hardmax(b, node, &rows, x, peak, nodes);
        }
        _ => b.define(target),
    };
    let total = exponentials(b, &rows, &name, t, exp(shifted.clone()), &mut nodes);
    let value = if node.op == "LogSoftmax" { sub(shifted, total.log) } else { mul(total.element, total.inverse) };
    let last = b.assign(&rows.dims, array, rows.index.clone(), convert(t, out, value));
    nodes.extend(b.bands(rows.outer..rows.dims.len(), vec![leaf(last)]));
    let nest = b.bands(0..rows.outer, nodes);
    b.emit(nest);
    Ok(())
}

/// What a row's exponentials leave behind: one of them, the logarithm and the inverse of their sum.
struct Exponentials {
    element: Expr,
    log: Expr,
    inverse: Expr,
}

/// `e = exp(..)`, `s = sum e`, `r = 1 / s` for one row.
fn exponentials(
    b: &mut Builder,
    rows: &Rows,
    name: &str,
    t: DType,
    value: Expr,
    nodes: &mut Vec<sirius_polyhedral::Node>,
) -> Exponentials {
    let all = b.iters(rows.dims.len());
    let e = b.temp(&format!("{name}_exp"), t, rows.extents());
    let each = b.assign(&rows.dims, e, all.clone(), value);
    nodes.extend(b.bands(rows.outer..rows.dims.len(), vec![leaf(each)]));
    let element = b.load(e, all);
    let sum = Reduction {
        name: &format!("{name}_sum"),
        dtype: t,
        op: BinaryOp::Add,
        init: lit(0.0, t),
        dims: &rows.dims,
        parallel: rows.outer,
        value: element.clone(),
    };
    let (sum, more) = accumulate(b, sum);
    nodes.extend(more);
    let row = b.iters(rows.outer);
    let outer: Vec<Aff> = rows.outer_dims().iter().map(|(_, e)| e.clone()).collect();
    let r = b.temp(&format!("{name}_scale"), t, outer);
    let total = b.load(sum, row.clone());
    let once = b.assign(rows.outer_dims(), r, row.clone(), div(lit(1.0, t), total.clone()));
    nodes.push(leaf(once));
    Exponentials { element, log: log(total), inverse: b.load(r, row) }
}

/// `Hardmax`: 1 at the first maximum of the row, else 0.
fn hardmax(
    b: &mut Builder,
    node: &Node,
    rows: &Rows,
    x: Expr,
    peak: Expr,
    mut nodes: Vec<sirius_polyhedral::Node>,
) -> Result<()> {
    let target = output(node, 0)?;
    let out = b.dtype(target);
    let inner = rows.dims[rows.outer..].iter().enumerate();
    let position = inner.fold(Expr::int(0), |p, (n, (_, e))| add(mul(p, index(e.clone())), b.iter(rows.outer + n)));
    let never = Expr::int(i64::MAX);
    let first = Reduction {
        name: &format!("{}_first", b.graph.tensor(target).name),
        dtype: DType::I64,
        op: BinaryOp::Min,
        init: never.clone(),
        dims: &rows.dims,
        parallel: rows.outer,
        value: Expr::select(eq(x, peak), position.clone(), never),
    };
    let (first, more) = accumulate(b, first);
    nodes.extend(more);
    let chosen = eq(position, b.load(first, b.iters(rows.outer)));
    let array = b.define(target);
    let value = Expr::select(chosen, lit(1.0, out), lit(0.0, out));
    let last = b.assign(&rows.dims, array, rows.index.clone(), value);
    nodes.extend(b.bands(rows.outer..rows.dims.len(), vec![leaf(last)]));
    let nest = b.bands(0..rows.outer, nodes);
    b.emit(nest);
    Ok(())
}
