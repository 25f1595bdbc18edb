//! `TopK` as a nest, in one of two ways by cost for `k` of `n` elements.
//!
//! *Selection*, `2 k n` steps: the `j`-th best is the best of those that come after the `(j-1)`-th in the total
//! order (value, then position), so nothing is moved or marked; both inner loops are plain reductions.
//! *Counting*, `n^2` steps, where `k` is not much smaller than `n` or not known: an element's place is the number
//! of elements before it. Ties go by position and NaN is larger than every number, as in numpy.

use super::arguments::*;
use super::builder::{Builder, Dims, leaf};
use super::contraction::{Reduction, accumulate};
use super::counted::guarded;
use super::softmax::Rows;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, StatementKind, UnaryOp};

/// The total order in which results come.
#[derive(Clone, Copy)]
pub struct Order {
    pub dtype: DType,
    pub descending: bool,
}

impl Order {
    /// Does `a` come strictly before `b`, positions aside?
    pub fn before(self, a: &Expr, b: &Expr) -> Expr {
        let (low, high) = if self.descending { (b, a) } else { (a, b) };
        let less = match self.dtype {
            DType::Bool => and(Expr::unary(UnaryOp::Not, low.clone()), high.clone()),
            _ => lt(low.clone(), high.clone()),
        };
        match self.dtype.is_float() {
            true => or(less, and(is_nan(high), Expr::unary(UnaryOp::Not, is_nan(low)))),
            false => less,
        }
    }

    pub fn same(self, a: &Expr, b: &Expr) -> Expr {
        let equal = eq(a.clone(), b.clone());
        if self.dtype.is_float() { or(equal, and(is_nan(a), is_nan(b))) } else { equal }
    }
}

fn is_nan(value: &Expr) -> Expr {
    Expr::unary(UnaryOp::IsNan, value.clone())
}

/// The rows of the source, and where results go.
struct Form {
    source: TensorId,
    rows: Rows,
    along: usize,
    n: Aff,
    k: Aff,
    order: Order,
}

impl Form {
    /// Element `i` of the row.
    fn element(&self, b: &mut Builder, i: Expr) -> Result<Expr> {
        let mut at = self.rows.index.clone();
        at[self.along] = i;
        b.read(self.source, &at)
    }

    fn dims(&self, inner: &[(&str, &Aff)]) -> Dims {
        let own = inner.iter().map(|(name, extent)| (name.to_string(), (*extent).clone()));
        self.rows.outer_dims().iter().cloned().chain(own).collect()
    }

    fn outer_extents(&self) -> Vec<Aff> {
        self.rows.outer_dims().iter().map(|(_, e)| e.clone()).collect()
    }
}

pub fn top_k(b: &mut Builder, node: &Node) -> Result<()> {
    let source = input(node, 0)?;
    let shape = b.shape(source);
    let along = axis(node, "axis", -1, shape.len())?;
    let result = node.outputs.iter().flatten().next().copied();
    let result = result.ok_or_else(|| invalid(node, "no output is used"))?;
    let (n, k) = (shape[along].clone(), b.shape(result)[along].clone());
    let order = Order { dtype: b.dtype(source), descending: node.int("largest") != Some(0) };
    let rows = Rows::new(b, &shape, &[along]);
    let select = match (n.as_constant(), k.as_constant()) {
        (Some(n), Some(k)) => 2 * k < n,
        (None, Some(_)) => true,
        _ => false,
    };
    let form = Form { source, rows, along, n, k, order };
    let name = b.graph.tensor(result).name.clone();
    let places = if select { selected(b, &form, &name)? } else { counted(b, &form, &name)? };
    give(b, node, &form, places)
}

/// Copies values and positions into the results.
fn give(b: &mut Builder, node: &Node, form: &Form, places: ArrayId) -> Result<()> {
    let outer = form.rows.outer;
    let mut target = form.rows.index.clone();
    target[form.along] = b.iter(outer);
    let place = b.load(places, b.iters(outer + 1));
    let dims = form.dims(&[("j", &form.k)]);
    let mut nodes = Vec::new();
    if let Some(values) = node.output(0) {
        let value = form.element(b, place.clone())?;
        let array = b.define(values);
        nodes.push(leaf(b.assign(&dims, array, target.clone(), value)));
    }
    if let Some(positions) = node.output(1) {
        let array = b.define(positions);
        nodes.push(leaf(b.assign(&dims, array, target, place)));
    }
    let nest = b.bands(0..outer + 1, nodes);
    b.emit(nest);
    Ok(())
}

/// `places[row, j]` by selection: first the best value after the last one, then its first position.
fn selected(b: &mut Builder, form: &Form, name: &str) -> Result<ArrayId> {
    let (outer, t) = (form.rows.outer, form.order.dtype);
    let extents: Vec<Aff> = form.outer_extents().into_iter().chain([form.k.clone() + 1.into()]).collect();
    let places = b.temp(&format!("{name}_places"), DType::I64, extents.clone());
    let keys = b.temp(&format!("{name}_keys"), t, extents);
    let row = b.iters(outer);
    let slot = |place: Aff| row.iter().cloned().chain([index(place)]).collect::<Vec<_>>();
    let (j, i) = (b.aff(outer), b.iter(outer + 1));
    let x = form.element(b, i.clone())?;
    let (key, place) = (b.load(keys, slot(j.clone())), b.load(places, slot(j.clone())));
    let first = eq(index(j.clone()), Expr::int(0));
    let later = or(form.order.before(&key, &x), and(form.order.same(&key, &x), gt(i.clone(), place)));
    let open = or(first, later);
    let dims = form.dims(&[("j", &form.k), ("i", &form.n)]);
    let worst = if form.order.descending { lowest(t) } else { highest(t) };
    let op = if form.order.descending { BinaryOp::Max } else { BinaryOp::Min };
    // A minimum would prefer NaN, which comes last: it is left out, and looked for where no number is left.
    let nan_last = t.is_float() && !form.order.descending;
    let number = if nan_last { Expr::unary(UnaryOp::Not, is_nan(&x)) } else { Expr::literal(1.0, DType::Bool) };
    let best = Reduction {
        name: &format!("{name}_best"),
        dtype: t,
        op,
        init: worst.clone(),
        dims: &dims,
        parallel: outer + 1,
        value: Expr::select(and(open.clone(), number.clone()), x.clone(), worst),
    };
    let (best, mut nodes) = accumulate(b, best);
    let best = b.load(best, b.iters(outer + 1));
    let first = |b: &mut Builder, nodes: &mut Vec<_>, what: &str, test: Expr| {
        let name = format!("{name}_{what}");
        let (i, none) = (b.iter(outer + 1), index(form.n.clone()));
        let value = Expr::select(test, i, none.clone());
        let (op, init) = (BinaryOp::Min, none);
        let r = Reduction { name: &name, dtype: DType::I64, op, init, dims: &dims, parallel: outer + 1, value };
        let (at, more) = accumulate(b, r);
        nodes.extend(more);
        b.load(at, b.iters(outer + 1))
    };
    let equal = and(and(open.clone(), number), form.order.same(&x, &best));
    let mut at = first(b, &mut nodes, "at", equal);
    if nan_last {
        let nan = first(b, &mut nodes, "nan", and(open, is_nan(&x)));
        at = Expr::select(lt(at.clone(), index(form.n.clone())), at, nan);
    }
    // There is always one, as `k` is not larger than `n`.
    let at = min(at, index(form.n.clone() - 1.into()));
    let best = form.element(b, at.clone())?;
    let step = form.dims(&[("j", &form.k)]);
    nodes.push(leaf(b.assign(&step, keys, slot(j.clone() + 1.into()), best)));
    nodes.push(leaf(b.assign(&step, places, slot(j + 1.into()), at)));
    let own = form.rows.outer_dims().to_vec();
    let start = slot(Aff::constant(0));
    let starts = [b.assign(&own, keys, start.clone(), lit(0.0, t)), b.assign(&own, places, start, Expr::int(0))];
    let mut body: Vec<_> = starts.into_iter().map(leaf).collect();
    body.extend(b.bands(outer..outer + 1, nodes));
    let nest = b.bands(0..outer, body);
    b.emit(nest);
    shifted(b, form, name, places)
}

/// The places without the one before the first.
fn shifted(b: &mut Builder, form: &Form, name: &str, places: ArrayId) -> Result<ArrayId> {
    let outer = form.rows.outer;
    let extents: Vec<Aff> = form.outer_extents().into_iter().chain([form.k.clone()]).collect();
    let found = b.temp(&format!("{name}_found"), DType::I64, extents);
    let from = b.iters(outer).into_iter().chain([index(b.aff(outer) + 1.into())]).collect();
    let value = b.load(places, from);
    let id = b.assign(&form.dims(&[("j", &form.k)]), found, b.iters(outer + 1), value);
    b.emit_perfect(id, outer + 1);
    Ok(found)
}

/// `places[row, j]` by counting what comes before every element.
fn counted(b: &mut Builder, form: &Form, name: &str) -> Result<ArrayId> {
    let outer = form.rows.outer;
    let (i, other) = (b.iter(outer), b.iter(outer + 1));
    let (x, y) = (form.element(b, i.clone())?, form.element(b, other.clone())?);
    let earlier = or(form.order.before(&y, &x), and(form.order.same(&y, &x), lt(other, i.clone())));
    let dims = form.dims(&[("i", &form.n), ("o", &form.n)]);
    let rank = Reduction {
        name: &format!("{name}_rank"),
        dtype: DType::I64,
        op: BinaryOp::Add,
        init: Expr::int(0),
        dims: &dims,
        parallel: outer + 1,
        value: Expr::select(earlier, Expr::int(1), Expr::int(0)),
    };
    let (rank, nodes) = accumulate(b, rank);
    let nest = b.bands(0..outer + 1, nodes);
    b.emit(nest);
    let extents: Vec<Aff> = form.outer_extents().into_iter().chain([form.k.clone()]).collect();
    let places = b.temp(&format!("{name}_places"), DType::I64, extents);
    let clear = b.assign(&form.dims(&[("j", &form.k)]), places, b.iters(outer + 1), Expr::int(0));
    b.emit_perfect(clear, outer + 1);
    let rank = b.load(rank, b.iters(outer + 1));
    let to = b.iters(outer).into_iter().chain([rank.clone()]).collect();
    let dims = form.dims(&[("i", &form.n)]);
    guarded(b, lt(rank, index(form.k.clone())), |b| {
        let id = b.statement(StatementKind::Update, &dims, places, to, i);
        b.emit_perfect(id, outer + 1);
    });
    Ok(places)
}
