//! `Unique`: every element (or slice of an axis) against every other, `n^2` comparisons of `m` elements.
//!
//! `first[i]` is the first item equal to item `i`; the items that are their own first stay. Sorted, such an item's
//! place is the number of smaller ones, else the number of earlier ones. All four results follow from that.

use super::amounts;
use super::arguments::*;
use super::builder::{Builder, Dims, leaf};
use super::contraction::{Reduction, accumulate};
use super::counted::{flat_length, guarded};
use super::reshape::reshaped;
use super::terms::*;
use super::top_k::Order;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, StatementKind};

/// The items: `n` slices along an axis, or the elements of the flattened tensor.
struct Items {
    source: TensorId,
    name: String,
    shape: Vec<Aff>,
    along: Option<usize>,
    n: Aff,
    order: Order,
}

impl Items {
    /// Extents of one item.
    fn inner(&self) -> Vec<Aff> {
        let Some(along) = self.along else { return Vec::new() };
        self.shape.iter().enumerate().filter(|(d, _)| *d != along).map(|(_, e)| e.clone()).collect()
    }

    fn element(&self, b: &mut Builder, item: Expr, inner: &[Expr]) -> Result<Expr> {
        let at = match self.along {
            Some(along) => {
                let mut at = inner.to_vec();
                at.insert(along, item);
                at
            }
            None => reshaped(&self.shape, std::slice::from_ref(&self.n), &[item], &b.program.params),
        };
        b.read(self.source, &at)
    }

    fn dims(&self, names: &[&str]) -> Dims {
        names.iter().map(|name| (name.to_string(), self.n.clone())).collect()
    }

    fn temp(&self, b: &mut Builder, what: &str, extent: Aff) -> ArrayId {
        b.temp(&format!("{}_{what}", self.name), DType::I64, vec![extent])
    }
}

pub fn unique(b: &mut Builder, node: &Node) -> Result<()> {
    let source = input(node, 0)?;
    let shape = b.shape(source);
    let along = node.int("axis").map(|axis| from_front(node, axis, shape.len())).transpose()?;
    let n = match along {
        Some(d) => shape[d].clone(),
        None => flat_length(b, node)?,
    };
    let order = Order { dtype: b.dtype(source), descending: false };
    let items = Items { source, name: format!("{}_unique", b.graph.tensor(source).name), shape, along, n, order };
    let (same, less) = comparisons(b, &items)?;
    let first = firsts(b, &items, same);
    let (i, other) = (b.iter(0), b.iter(1));
    let is_first = |b: &Builder, item: &Expr| eq(b.load(first, vec![item.clone()]), item.clone());
    let earlier = if node.int("sorted") == Some(0) { lt(other.clone(), i.clone()) } else { less };
    let place = count(b, &items, "place", and(is_first(b, &other), earlier));
    let total = items.temp(b, "total", 1.into());
    let clear = b.assign(&[], total, vec![Expr::int(0)], Expr::int(0));
    b.emit_perfect(clear, 0);
    let one = Expr::select(is_first(b, &i), Expr::int(1), Expr::int(0));
    let sum = b.reduce(BinaryOp::Add, &items.dims(&["i"]), total, vec![Expr::int(0)], one);
    b.emit_perfect(sum, 1);
    let total = b.load(total, vec![Expr::int(0)]);
    amounts::define_count(b, node, total);
    let from = items.temp(b, "from", items.n.clone());
    let clear = b.assign(&items.dims(&["i"]), from, b.iters(1), Expr::int(0));
    b.emit_perfect(clear, 1);
    let to = b.load(place, vec![i.clone()]);
    guarded(b, is_first(b, &i), |b| {
        let id = b.statement(StatementKind::Update, &items.dims(&["i"]), from, vec![to], i.clone());
        b.emit_perfect(id, 1);
    });
    results(b, node, &items, first, place, from)
}

/// Are items `i` and `o` equal, and is `o` smaller? At own iterators 0 and 1.
fn comparisons(b: &mut Builder, items: &Items) -> Result<(Expr, Expr)> {
    let (i, other) = (b.iter(0), b.iter(1));
    let inner = items.inner();
    if items.along.is_none() {
        let (x, y) = (items.element(b, i, &[])?, items.element(b, other, &[])?);
        return Ok((items.order.same(&x, &y), items.order.before(&y, &x)));
    }
    // The first place, row-major, at which the slices differ decides.
    let mut dims = items.dims(&["i", "o"]);
    dims.extend(inner.iter().enumerate().map(|(d, e)| (format!("k{d}"), e.clone())));
    let at: Vec<Expr> = (0..inner.len()).map(|d| b.iter(d + 2)).collect();
    let (x, y) = (items.element(b, i.clone(), &at)?, items.element(b, other.clone(), &at)?);
    let flat = at.iter().zip(&inner).fold(Expr::int(0), |sum, (k, e)| add(mul(sum, index(e.clone())), k.clone()));
    let never = Expr::int(i64::MAX);
    let differ = Reduction {
        name: &format!("{}_differ", items.name),
        dtype: DType::I64,
        op: BinaryOp::Min,
        init: never.clone(),
        dims: &dims,
        parallel: 2,
        value: Expr::select(items.order.same(&x, &y), never.clone(), flat),
    };
    let (differ, nodes) = accumulate(b, differ);
    let nest = b.bands(0..2, nodes);
    b.emit(nest);
    let differ = b.load(differ, vec![i.clone(), other.clone()]);
    let same = eq(differ.clone(), never.clone());
    let place = Expr::select(same.clone(), Expr::int(0), differ);
    let mut at = Vec::new();
    let mut rest = place;
    for extent in inner.iter().rev() {
        let size = max(index(extent.clone()), Expr::int(1));
        at.insert(0, modulo(rest.clone(), size.clone()));
        rest = div(rest, size);
    }
    let (x, y) = (items.element(b, i, &at)?, items.element(b, other, &at)?);
    let less = and(Expr::unary(sirius_polyhedral::UnaryOp::Not, same.clone()), items.order.before(&y, &x));
    Ok((same, less))
}

/// `first[i]`: the first item equal to item `i`.
fn firsts(b: &mut Builder, items: &Items, same: Expr) -> ArrayId {
    let first = Reduction {
        name: &format!("{}_first", items.name),
        dtype: DType::I64,
        op: BinaryOp::Min,
        init: b.iter(0),
        dims: &items.dims(&["i", "o"]),
        parallel: 1,
        value: Expr::select(same, b.iter(1), b.iter(0)),
    };
    let (first, nodes) = accumulate(b, first);
    let nest = b.bands(0..1, nodes);
    b.emit(nest);
    first
}

/// For every item, how many others `test` holds for.
fn count(b: &mut Builder, items: &Items, what: &str, test: Expr) -> ArrayId {
    let r = Reduction {
        name: &format!("{}_{what}", items.name),
        dtype: DType::I64,
        op: BinaryOp::Add,
        init: Expr::int(0),
        dims: &items.dims(&["i", "o"]),
        parallel: 1,
        value: Expr::select(test, Expr::int(1), Expr::int(0)),
    };
    let (total, nodes) = accumulate(b, r);
    let nest = b.bands(0..1, nodes);
    b.emit(nest);
    total
}

fn results(b: &mut Builder, node: &Node, items: &Items, first: ArrayId, place: ArrayId, from: ArrayId) -> Result<()> {
    if let Some(values) = node.output(0) {
        let mut at = b.iters(b.shape(values).len());
        let item = at.remove(items.along.unwrap_or(0));
        let item = b.load(from, vec![item]);
        let value = items.element(b, item, &at)?;
        b.pointwise(values, value);
    }
    if let Some(firsts) = node.output(1) {
        let value = b.load(from, b.iters(1));
        b.pointwise(firsts, value);
    }
    let class = b.load(place, vec![b.load(first, b.iters(1))]);
    if let Some(inverse) = node.output(2) {
        b.pointwise(inverse, class.clone());
    }
    if let Some(counts) = node.output(3) {
        let array = b.define(counts);
        let own = vec![("j".to_string(), b.shape(counts)[0].clone())];
        let clear = b.assign(&own, array, b.iters(1), Expr::int(0));
        let next = b.reduce(BinaryOp::Add, &items.dims(&["i"]), array, vec![class], Expr::int(1));
        let mut nodes = b.bands(0..1, vec![leaf(clear)]);
        nodes.extend(b.bands(0..1, vec![leaf(next)]));
        b.emit(nodes);
    }
    Ok(())
}
