//! The nest that all reductions share: initialise, accumulate, finish.
//!
//! Every reduction has an accumulator of its own and a final statement, so that later passes can fuse what
//! follows into the final statement and keep the accumulator in registers:
//! `for i { acc[i] = init; for k { acc[i] op= value(i, k) }; out[f(i)] = finish(acc[i]) }`.

use super::builder::{Builder, Dims, leaf};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Node as ScheduleNode};

/// One reduction over the dimensions `parallel..` of `dims`.
pub struct Reduction<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub op: BinaryOp,
    pub init: Expr,
    pub dims: &'a [(String, Aff)],
    pub parallel: usize,
    pub value: Expr,
}

/// Adds the accumulator and its two statements; the nodes belong below the bands of the parallel dimensions.
pub fn accumulate(b: &mut Builder, r: Reduction) -> (ArrayId, Vec<ScheduleNode>) {
    let outer = &r.dims[..r.parallel];
    let extents = outer.iter().map(|(_, e)| e.clone()).collect();
    let acc = b.temp(r.name, r.dtype, extents);
    let index = b.iters(r.parallel);
    let first = b.assign(outer, acc, index.clone(), r.init);
    let next = b.reduce(r.op, r.dims, acc, index, r.value);
    let mut nodes = vec![leaf(first)];
    nodes.extend(b.bands(r.parallel..r.dims.len(), vec![leaf(next)]));
    (acc, nodes)
}

/// A whole reduction: `target[index] = finish(acc)` over the parallel dimensions.
pub fn reduction(
    b: &mut Builder,
    r: Reduction,
    target: ArrayId,
    index: Vec<Expr>,
    finish: impl FnOnce(&mut Builder, Expr) -> Expr,
) {
    let (outer, parallel): (Dims, usize) = (r.dims[..r.parallel].to_vec(), r.parallel);
    let (acc, mut nodes) = accumulate(b, r);
    let total = b.load(acc, b.iters(parallel));
    let value = finish(b, total);
    let last = b.assign(&outer, target, index, value);
    nodes.push(leaf(last));
    let nest = b.bands(0..parallel, nodes);
    b.emit(nest);
}
