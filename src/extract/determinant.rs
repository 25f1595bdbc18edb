//! `Det`: elimination with the largest pivot of each column, one step of time per column.

use super::arguments::*;
use super::builder::{Builder, Dims, dims};
use super::contraction::{Reduction, accumulate};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result};

/// The matrices, what is left of them, and the products of the pivots so far.
struct Elimination {
    name: String,
    batch: Vec<Aff>,
    n: Aff,
    t: DType,
    /// `[n + 1, batch.., n, n]` and `[n + 1, batch..]`: before every step, and at the end.
    rest: ArrayId,
    product: ArrayId,
}

impl Elimination {
    fn dims(&self, names: &[&str]) -> Dims {
        let mut all = dims("b", &self.batch);
        all.extend(names.iter().map(|name| (name.to_string(), self.n.clone())));
        all
    }

    /// Element `[row, column]` of the matrix of this batch before this step.
    fn at(&self, b: &Builder, row: Expr, column: Expr) -> Vec<Expr> {
        let mut at = after(Expr::iter(b.depth() - 1), b.iters(self.batch.len()));
        at.extend([row, column]);
        at
    }
}

pub fn determinant(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out, name) = (b.shape(source), b.dtype(target), b.graph.tensor(target).name.clone());
    let t = wide(out);
    let (batch, n) = (shape[..shape.len() - 2].to_vec(), shape[shape.len() - 1].clone());
    let over_time = |extents: &[Aff]| [&[n.clone() + 1.into()], extents].concat();
    let rest = b.temp(&format!("{name}_rest"), t, over_time(&shape));
    let value = convert(out, t, b.read(source, &b.iters(shape.len()))?);
    let copy = b.assign(&dims("i", &shape), rest, after(Expr::int(0), b.iters(shape.len())), value);
    b.emit_perfect(copy, shape.len());
    let product = b.temp(&format!("{name}_product"), t, over_time(&batch));
    let one = b.assign(&dims("b", &batch), product, after(Expr::int(0), b.iters(batch.len())), lit(1.0, t));
    b.emit_perfect(one, batch.len());
    let form = Elimination { name, batch, n: n.clone(), t, rest, product };
    b.in_loop("s", n.clone(), |b| {
        eliminate(b, &form);
        Ok(())
    })?;
    let total = b.load(product, after(index(n), b.iters(form.batch.len())));
    b.pointwise(target, convert(t, out, total));
    Ok(())
}

/// Subscripts behind a step of time.
fn after(step: Expr, at: Vec<Expr>) -> Vec<Expr> {
    [step].into_iter().chain(at).collect()
}

/// One column: find the pivot's row, exchange it with row `s`, clear the column below.
fn eliminate(b: &mut Builder, form: &Elimination) {
    let (depth, outer, t) = (b.depth() - 1, form.batch.len(), form.t);
    let (s, next) = (Expr::iter(depth), index(Aff::iter(depth) + 1.into()));
    let i = b.iter(outer);
    let pivot = pivot(b, form, &s);
    let head = b.load(form.rest, form.at(b, pivot.clone(), s.clone()));
    let sign = Expr::select(eq(pivot.clone(), s.clone()), head.clone(), sub(lit(0.0, t), head.clone()));
    let own = b.iters(outer);
    let product = mul(b.load(form.product, after(s.clone(), own.clone())), sign);
    let id = b.assign(&form.dims(&[]), form.product, after(next.clone(), own), product);
    b.emit_perfect(id, outer);
    let from = Expr::select(eq(i.clone(), s.clone()), pivot.clone(), i.clone());
    let from = Expr::select(eq(i.clone(), pivot.clone()), s.clone(), from);
    let factor = b.temp(&format!("{}_factor", form.name), t, [form.batch.clone(), vec![form.n.clone()]].concat());
    let column = b.load(form.rest, form.at(b, from.clone(), s.clone()));
    let ratio = Expr::select(eq(head.clone(), lit(0.0, t)), lit(0.0, t), div(column, head));
    let ratio = Expr::select(gt(i, s), ratio, lit(0.0, t));
    let id = b.assign(&form.dims(&["i"]), factor, b.iters(outer + 1), ratio);
    b.emit_perfect(id, outer + 1);
    let j = b.iter(outer + 1);
    let (row, top) = (form.at(b, from, j.clone()), form.at(b, pivot, j));
    let removed = mul(b.load(factor, b.iters(outer + 1)), b.load(form.rest, top));
    let value = sub(b.load(form.rest, row), removed);
    let id = b.assign(&form.dims(&["i", "j"]), form.rest, after(next, b.iters(outer + 2)), value);
    b.emit_perfect(id, outer + 2);
}

/// The row, from `s` on, with the largest element in column `s`; the first of several.
fn pivot(b: &mut Builder, form: &Elimination, s: &Expr) -> Expr {
    let (outer, t) = (form.batch.len(), form.t);
    let i = b.iter(outer);
    let size = abs(b.load(form.rest, form.at(b, i.clone(), s.clone())));
    let below = ge(i.clone(), s.clone());
    let reduce = |b: &mut Builder, what: &str, dtype, op, init: Expr, value| {
        let (name, dims) = (format!("{}_{what}", form.name), form.dims(&["i"]));
        let r = Reduction { name: &name, dtype, op, init, dims: &dims, parallel: outer, value };
        let (array, nodes) = accumulate(b, r);
        let nest = b.bands(0..outer, nodes);
        b.emit(nest);
        b.load(array, b.iters(outer))
    };
    let nothing = lit(-1.0, t);
    let candidate = Expr::select(below.clone(), size.clone(), nothing.clone());
    let largest = reduce(b, "largest", t, BinaryOp::Max, nothing, candidate);
    let last = index(form.n.clone() - 1.into());
    let first = Expr::select(and(below, eq(size, largest)), i, last.clone());
    reduce(b, "pivot", DType::I64, BinaryOp::Min, last, first)
}
