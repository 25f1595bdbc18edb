//! `Det`: elimination with the largest pivot of each column, in a copy that is updated in place.

use super::arguments::*;
use super::builder::{Builder, Dims, dims};
use super::contraction::{Reduction, accumulate};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, StatementKind};

/// The matrices, what is left of them, and the products of the pivots so far.
struct Elimination {
    name: String,
    batch: Vec<Aff>,
    n: Aff,
    t: DType,
    rest: ArrayId,
    result: ArrayId,
}

impl Elimination {
    fn dims(&self, names: &[&str]) -> Dims {
        let mut all = dims("b", &self.batch);
        all.extend(names.iter().map(|name| (name.to_string(), self.n.clone())));
        all
    }

    /// Element `[row, column]` of the matrix of this batch.
    fn at(&self, b: &Builder, row: Expr, column: Expr) -> Vec<Expr> {
        let mut at = b.iters(self.batch.len());
        at.extend([row, column]);
        at
    }
}

pub fn determinant(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out, name) = (b.shape(source), b.dtype(target), b.graph.tensor(target).name.clone());
    let t = wide(out);
    let (batch, n) = (shape[..shape.len() - 2].to_vec(), shape[shape.len() - 1].clone());
    let rest = b.temp(&format!("{name}_rest"), t, shape.clone());
    let value = convert(out, t, b.read(source, &b.iters(shape.len()))?);
    let copy = b.assign(&dims("i", &shape), rest, b.iters(shape.len()), value);
    b.emit_perfect(copy, shape.len());
    let result = b.temp(&format!("{name}_product"), t, batch.clone());
    let one = b.assign(&dims("b", &batch), result, b.iters(batch.len()), lit(1.0, t));
    b.emit_perfect(one, batch.len());
    let form = Elimination { name, batch, n: n.clone(), t, rest, result };
    b.in_loop("s", n, |b| {
        eliminate(b, &form);
        Ok(())
    })?;
    let total = b.load(form.result, b.iters(form.batch.len()));
    b.pointwise(target, convert(t, out, total));
    Ok(())
}

/// One column: find the pivot, exchange its row with row `s`, clear the column below.
fn eliminate(b: &mut Builder, form: &Elimination) {
    let (s, outer, t) = (Expr::iter(b.depth() - 1), form.batch.len(), form.t);
    let batch = form.dims(&[]);
    let own = b.iters(outer);
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
    let first = Expr::select(and(below, eq(size, largest)), i.clone(), last.clone());
    let pivot = reduce(b, "pivot", DType::I64, BinaryOp::Min, last, first);
    let rows = exchange(b, form, &s, &pivot);
    let head = b.load(rows, own.iter().cloned().chain([s.clone()]).collect());
    let sign = Expr::select(eq(pivot, s.clone()), head.clone(), sub(lit(0.0, t), head.clone()));
    let product = mul(b.load(form.result, own.clone()), sign);
    let id = b.statement(StatementKind::Update, &batch, form.result, own.clone(), product);
    b.emit_perfect(id, outer);
    let factor = b.temp(&format!("{}_factor", form.name), t, [form.batch.clone(), vec![form.n.clone()]].concat());
    let column = b.load(form.rest, form.at(b, i.clone(), s.clone()));
    let ratio = Expr::select(eq(head.clone(), lit(0.0, t)), lit(0.0, t), div(column, head));
    let ratio = Expr::select(gt(i, s), ratio, lit(0.0, t));
    let id = b.assign(&form.dims(&["i"]), factor, b.iters(outer + 1), ratio);
    b.emit_perfect(id, outer + 1);
    let at = b.iters(outer + 2);
    let row = b.load(rows, own.into_iter().chain([b.iter(outer + 1)]).collect());
    let value = sub(b.load(form.rest, at.clone()), mul(b.load(factor, b.iters(outer + 1)), row));
    let id = b.statement(StatementKind::Update, &form.dims(&["i", "j"]), form.rest, at, value);
    b.emit_perfect(id, outer + 2);
}

/// Exchanges rows `s` and `pivot`; the new row `s` as an array of its own.
fn exchange(b: &mut Builder, form: &Elimination, s: &Expr, pivot: &Expr) -> ArrayId {
    let (outer, dims) = (form.batch.len(), form.dims(&["j"]));
    let extents = [form.batch.clone(), vec![form.n.clone()]].concat();
    let j = b.iter(outer);
    let [upper, lower] = [("upper", s), ("lower", pivot)].map(|(what, row)| {
        let array = b.temp(&format!("{}_{what}", form.name), form.t, extents.clone());
        let value = b.load(form.rest, form.at(b, row.clone(), j.clone()));
        let id = b.assign(&dims, array, b.iters(outer + 1), value);
        b.emit_perfect(id, outer + 1);
        array
    });
    for (row, array) in [(s, lower), (pivot, upper)] {
        let value = b.load(array, b.iters(outer + 1));
        let at = form.at(b, row.clone(), j.clone());
        let id = b.statement(StatementKind::Update, &dims, form.rest, at, value);
        b.emit_perfect(id, outer + 1);
    }
    lower
}
