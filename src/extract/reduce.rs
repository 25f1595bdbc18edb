//! `Reduce*`, `ArgMax`, `ArgMin`.

use super::arguments::*;
use super::builder::{Builder, dims, leaf};
use super::contraction::{Reduction, accumulate, reduction};
use super::softmax::Rows;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result};

/// Where a reduction's result goes: subscripts in terms of the kept loops.
struct Shape {
    rows: Rows,
    /// Subscripts of the result, with or without the reduced dimensions.
    place: Vec<Expr>,
    /// Extents that are reduced.
    reduced: Vec<Aff>,
}

/// Axes that are data: a dimension is kept (its loop over the result goes through it, the loop that reduces has one
/// step) or reduced (the other way round), so the sum of both loops is the subscript.
fn any_shape(b: &Builder, source: TensorId, target: TensorId) -> Shape {
    let (extents, kept) = (b.shape(source), b.shape(target));
    let rank = extents.len();
    let reduced: Vec<Aff> = extents.iter().zip(&kept).map(|(n, k)| n.clone() - k.clone() + 1.into()).collect();
    let dims = dims("i", &kept).into_iter().chain(dims("r", &reduced)).collect();
    let index = (0..rank).map(|d| index(b.aff(d) + b.aff(rank + d))).collect();
    Shape { rows: Rows { dims, outer: rank, index }, place: b.iters(rank), reduced }
}

fn shape(b: &Builder, source: TensorId, target: TensorId, inner: &[usize]) -> Shape {
    let extents = b.shape(source);
    let rows = Rows::new(b, &extents, inner);
    let keeps = b.shape(target).len() == extents.len();
    let mut next = 0;
    let mut place = Vec::new();
    for d in 0..extents.len() {
        if !inner.contains(&d) {
            place.push(b.iter(next));
            next += 1;
        } else if keeps {
            place.push(Expr::int(0));
        }
    }
    Shape { rows, place, reduced: inner.iter().map(|d| extents[*d].clone()).collect() }
}

/// The axes to reduce: attribute, then input; none means all, or nothing when so asked.
fn reduced_axes(b: &Builder, node: &Node, rank: usize) -> Result<Vec<usize>> {
    let list = int_list(b, node, "axes", 1)?.unwrap_or_default();
    match list.is_empty() {
        true if node.int("noop_with_empty_axes") == Some(1) => Ok(Vec::new()),
        true => Ok((0..rank).collect()),
        false => axes(node, &list, rank),
    }
}

pub fn reduce(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let open = node.input(1).is_some_and(|axes| b.graph.tensor(axes).ints().is_none());
    let s = match open {
        true => any_shape(b, source, target),
        false => shape(b, source, target, &reduced_axes(b, node, b.shape(source).len())?),
    };
    let out = b.dtype(target);
    let t = wide(out);
    let x = convert(b.dtype(source), t, b.read(source, &s.rows.index)?);
    let name = format!("{}_acc", b.graph.tensor(target).name);
    if node.op == "ReduceLogSumExp" {
        return log_sum_exp(b, node, &s, x, t);
    }
    let (op, init) = start(&node.op, t);
    let value = match node.op.as_str() {
        "ReduceL1" => abs(x),
        "ReduceL2" | "ReduceSumSquare" => mul(x.clone(), x),
        _ => x,
    };
    let array = b.define(target);
    let dims = s.rows.dims.clone();
    let r = Reduction { name: &name, dtype: t, op, init, dims: &dims, parallel: s.rows.outer, value };
    reduction(b, r, array, s.place, |_, total| {
        let value = match node.op.as_str() {
            "ReduceMean" => div(total, volume(&s.reduced, t)),
            "ReduceL2" => root(total, t),
            "ReduceLogSum" => log(total),
            _ => total,
        };
        convert(t, out, value)
    });
    Ok(())
}

/// A square root, in floating point also for integers.
fn root(total: Expr, t: DType) -> Expr {
    if t.is_float() { sqrt(total) } else { Expr::cast(t, sqrt(Expr::cast(DType::F64, total))) }
}

fn start(op: &str, t: DType) -> (BinaryOp, Expr) {
    match (op, t) {
        ("ReduceMax", DType::Bool) => (BinaryOp::Or, lit(0.0, t)),
        ("ReduceMin", DType::Bool) => (BinaryOp::And, lit(1.0, t)),
        ("ReduceMax", _) => (BinaryOp::Max, lowest(t)),
        ("ReduceMin", _) => (BinaryOp::Min, highest(t)),
        ("ReduceProd", _) => (BinaryOp::Mul, lit(1.0, t)),
        _ => (BinaryOp::Add, lit(0.0, t)),
    }
}

/// `log(sum(exp(x - max))) + max`, which neither overflows nor loses the sum.
fn log_sum_exp(b: &mut Builder, node: &Node, s: &Shape, x: Expr, t: DType) -> Result<()> {
    let target = output(node, 0)?;
    let (name, out, outer) = (b.graph.tensor(target).name.clone(), b.dtype(target), s.rows.outer);
    let part = |suffix: &str| format!("{name}_{suffix}");
    let (max_name, sum_name) = (part("max"), part("sum"));
    let largest = Reduction {
        name: &max_name,
        dtype: t,
        op: BinaryOp::Max,
        init: lowest(t),
        dims: &s.rows.dims,
        parallel: outer,
        value: x.clone(),
    };
    let (peak, mut nodes) = accumulate(b, largest);
    let peak = b.load(peak, b.iters(outer));
    // A row whose maximum is infinite is shifted by nothing: `inf - inf` is no number.
    let finite = lt(abs(peak.clone()), Expr::float(f64::INFINITY, t));
    let shift = Expr::select(finite, peak, lit(0.0, t));
    let sum = Reduction {
        name: &sum_name,
        dtype: t,
        op: BinaryOp::Add,
        init: lit(0.0, t),
        dims: &s.rows.dims,
        parallel: outer,
        value: exp(sub(x, shift.clone())),
    };
    let (sum, more) = accumulate(b, sum);
    nodes.extend(more);
    let total = b.load(sum, b.iters(outer));
    let array = b.define(target);
    let last = b.assign(s.rows.outer_dims(), array, s.place.clone(), convert(t, out, add(log(total), shift)));
    nodes.push(leaf(last));
    let nest = b.bands(0..outer, nodes);
    b.emit(nest);
    Ok(())
}

/// `ArgMax` and `ArgMin`: the extreme value, then the smallest (or largest) position that has it.
pub fn arg_extreme(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let inner = axis(node, "axis", 0, b.shape(source).len())?;
    let s = shape(b, source, target, &[inner]);
    let t = b.dtype(source);
    let x = b.read(source, &s.rows.index)?;
    let outer = s.rows.outer;
    let name = b.graph.tensor(target).name.clone();
    let (best_name, at_name) = (format!("{name}_best"), format!("{name}_at"));
    let (op, init) = start(if node.op == "ArgMax" { "ReduceMax" } else { "ReduceMin" }, t);
    let best =
        Reduction { name: &best_name, dtype: t, op, init, dims: &s.rows.dims, parallel: outer, value: x.clone() };
    let (best, mut nodes) = accumulate(b, best);
    let last = node.int("select_last_index") == Some(1);
    let (op, never) = if last { (BinaryOp::Max, 0) } else { (BinaryOp::Min, i64::MAX) };
    let hit = eq(x, b.load(best, b.iters(outer)));
    let candidate = Reduction {
        name: &at_name,
        dtype: DType::I64,
        op,
        init: Expr::int(never),
        dims: &s.rows.dims,
        parallel: outer,
        value: Expr::select(hit, b.iter(outer), Expr::int(never)),
    };
    let (at, more) = accumulate(b, candidate);
    nodes.extend(more);
    let found = b.load(at, b.iters(outer));
    let array = b.define(target);
    let id = b.assign(s.rows.outer_dims(), array, s.place.clone(), convert(DType::I64, b.dtype(target), found));
    nodes.push(leaf(id));
    let nest = b.bands(0..outer, nodes);
    b.emit(nest);
    Ok(())
}
