//! Which bytes a part of a nest touches, each once.
//!
//! An access touches a box: the ranges of its subscripts. Boxes of one array are joined where the box around them is
//! no larger than they are together, and counted apart otherwise; that is exact where a part touches whole rows and
//! columns, as tensor code does, and never too small. A folded dimension has as many planes as are kept. A subscript
//! that is data may be anything.

use super::values::Values;
use crate::aff::Bounds;
use crate::expr::{Access, Expr};
use crate::loop_nest::{Condition, LoopNest, Nest, VarId};
use crate::param::ParamId;
use crate::program::{Array, ArrayId, Placement};
use std::collections::{BTreeMap, HashMap};

/// Inclusive range of every subscript.
type Span = Vec<(i64, i64)>;

/// Ranges of the loop variables, inclusive.
pub type Ranges = HashMap<VarId, (i64, i64)>;

/// What a part of a nest reads and writes of one array, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    reads: Vec<Span>,
    writes: Vec<Span>,
}

/// Bytes of a footprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// What is read without being written there.
    pub read: u64,
    pub written: u64,
}

/// The footprint of a part of a nest, by array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint(pub BTreeMap<u32, Touched>);

/// The footprint of some nodes, where `ranges` has the variables of the loops around them.
pub fn footprint(nest: &LoopNest, body: &[Nest], values: &Values, ranges: &Ranges) -> Footprint {
    let mut walker = Walker { nest, values, ranges: ranges.clone(), found: Footprint::default() };
    walker.list(body);
    walker.found
}

impl Footprint {
    /// Bytes of one array.
    pub fn bytes(&self, nest: &LoopNest, array: ArrayId) -> Bytes {
        let Some(touched) = self.0.get(&array.0) else { return Bytes::default() };
        let own = &nest.arrays[array.0 as usize];
        let size = |boxes: &[Span]| boxes.iter().fold(0, |sum: u64, s| sum.saturating_add(volume(own, s)));
        let mut both = touched.writes.clone();
        touched.reads.iter().for_each(|s| join(own, &mut both, s.clone()));
        let written = size(&touched.writes);
        Bytes { read: size(&both).saturating_sub(written), written }
    }

    /// Bytes of all arrays, read or written.
    pub fn total(&self, nest: &LoopNest) -> u64 {
        let bytes = self.0.keys().map(|a| self.bytes(nest, ArrayId(*a)));
        bytes.fold(0, |sum: u64, b| sum.saturating_add(b.read).saturating_add(b.written))
    }
}

fn volume(array: &Array, span: &Span) -> u64 {
    let planes = span.iter().zip(&array.fold).map(|((lo, hi), fold)| {
        let count = (hi - lo + 1).max(0);
        fold.map_or(count, |window| count.min(window)) as u64
    });
    planes.fold(array.dtype.size() as u64, u64::saturating_mul)
}

/// Adds a box, joined with others as long as that wastes nothing.
fn join(array: &Array, boxes: &mut Vec<Span>, mut new: Span) {
    let wastes_nothing =
        |a: &Span, b: &Span| volume(array, &around(a, b)) <= volume(array, a).saturating_add(volume(array, b));
    while let Some(at) = boxes.iter().position(|old| wastes_nothing(old, &new)) {
        new = around(&boxes.swap_remove(at), &new);
    }
    boxes.push(new);
}

/// The box around two.
fn around(a: &Span, b: &Span) -> Span {
    a.iter().zip(b).map(|(x, y)| (x.0.min(y.0), x.1.max(y.1))).collect()
}

/// The values that a loop's variable takes, whatever the loops around it do in `ranges`.
pub fn loop_range(node: &Nest, values: &Values, ranges: &Ranges) -> Option<(VarId, (i64, i64))> {
    let Nest::Loop { var, lower, upper, .. } = node else { return None };
    let low = lower.0.iter().filter_map(|a| bounds(a, values, ranges).map(|b| b.0)).max()?;
    let high = upper.0.iter().filter_map(|a| bounds(a, values, ranges).map(|b| b.1)).min()?;
    Some((*var, (low, high - 1)))
}

fn bounds(aff: &crate::Aff, values: &Values, ranges: &Ranges) -> Option<(i64, i64)> {
    let param = |p| (Some(values.param(p)), Some(values.param(p)));
    let iter = |n: usize| ranges.get(&(n as VarId)).map_or((None, None), |r| (Some(r.0), Some(r.1)));
    let (low, high) = aff.bounds(&param, &iter);
    low.zip(high)
}

struct Walker<'a> {
    nest: &'a LoopNest,
    values: &'a Values,
    ranges: Ranges,
    found: Footprint,
}

impl Walker<'_> {
    fn list(&mut self, body: &[Nest]) {
        body.iter().for_each(|n| self.node(n));
    }

    fn node(&mut self, node: &Nest) {
        match node {
            Nest::Loop { body, .. } => {
                let Some((var, range)) = loop_range(node, self.values, &self.ranges) else { return };
                if range.0 <= range.1 {
                    self.ranges.insert(var, range);
                    self.list(body);
                    self.ranges.remove(&var);
                }
            }
            Nest::If { condition, body } => {
                if let Condition::Guard(guard) = condition {
                    self.reads(guard);
                }
                self.list(body);
            }
            Nest::BreakUnless(guard) => self.reads(guard),
            Nest::Compute { target, value, .. } => {
                target.index.iter().chain([value]).for_each(|e| self.reads(e));
                self.touch(target, |t| &mut t.writes);
            }
        }
    }

    fn reads(&mut self, e: &Expr) {
        e.visit_loads(&mut |a| self.touch(a, |t| &mut t.reads));
    }

    fn touch(&mut self, access: &Access, side: impl Fn(&mut Touched) -> &mut Vec<Span>) {
        let array = &self.nest.arrays[access.array.0 as usize];
        if array.placement == Some(Placement::Register) {
            return;
        }
        let extents = array.extents.iter().map(|e| self.values.eval(e, &HashMap::new()));
        let span = access.index.iter().zip(extents).map(|(index, extent)| self.subscript(index, extent)).collect();
        let own = side(self.found.0.entry(access.array.0).or_default());
        join(array, own, span);
    }

    fn subscript(&self, index: &Expr, extent: i64) -> (i64, i64) {
        let param = |p| (Some(self.values.param(p)), Some(self.values.param(p)));
        let iter = |n: usize| self.ranges.get(&(n as VarId)).map_or((None, None), |r| (Some(r.0), Some(r.1)));
        subscript_range(index, extent, &param, &iter)
    }
}

/// The range of a subscript, inside an array of `extent`: code outside a mask is not run, and data may be anything.
pub fn subscript_range(
    index: &Expr,
    extent: i64,
    param: &dyn Fn(ParamId) -> Bounds,
    iter: &dyn Fn(usize) -> Bounds,
) -> (i64, i64) {
    let known = index.as_aff().map_or((None, None), |a| a.bounds(param, iter));
    let (low, high) = known.0.zip(known.1).unwrap_or((0, extent - 1));
    (low.clamp(0, (extent - 1).max(0)), high.min(extent - 1))
}
