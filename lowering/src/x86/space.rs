//! Where a loop variable stands in a tile: instances, lanes and masks.

use super::Emitter;
use crate::affine::{self, Atoms};
use crate::ir::Value;
use sirius_polyhedral::{Aff, Expr, VarId};

/// The lane within a chunk, as an iterator of resolved expressions.
pub const LANE: usize = u32::MAX as usize;

/// Which lanes (or, without lanes, whether the scalar) may touch memory.
#[derive(Clone, Copy)]
pub struct Mask<'ctx> {
    /// Equal ids, equal masks.
    pub id: u32,
    /// A vector of `i1`, or a scalar that speaks for all lanes.
    pub value: Value<'ctx>,
    /// It only cuts off the lanes behind the last iteration: lane 0 of the tile runs.
    pub tail: bool,
}

/// One combination of the enclosing `Rows` loops.
#[derive(Clone)]
pub struct Instance<'ctx> {
    pub id: u32,
    pub rows: Vec<Row>,
    /// One per chunk, one in all without lanes.
    pub masks: Vec<Option<Mask<'ctx>>>,
}

/// The value of a `Rows` variable in an instance, and its distance from the loop's lower bound.
#[derive(Clone)]
pub struct Row {
    pub var: VarId,
    pub value: Aff,
    pub offset: i64,
}

/// The enclosing `Lanes` loop.
#[derive(Clone)]
pub struct Lanes {
    pub var: VarId,
    pub lower: Aff,
    /// First lane and number of lanes of every chunk; the numbers are powers of two.
    pub chunks: Vec<(i64, u32)>,
}

/// A position in the tile: indices into `Emitter::active` and `Lanes::chunks`.
#[derive(Clone, Copy)]
pub struct At {
    pub instance: usize,
    pub chunk: usize,
}

impl Instance<'_> {
    pub fn scalar() -> Instance<'static> {
        Instance { id: 0, rows: Vec::new(), masks: vec![None] }
    }
}

impl Lanes {
    /// `count` lanes from `lower`: full vectors, then one that holds the rest.
    pub fn new(var: VarId, lower: Aff, count: i64, width: u32) -> Lanes {
        let width = i64::from(width);
        let full = (0..count / width).map(|c| (c * width, width as u32));
        let rest = (count % width != 0)
            .then(|| (count / width * width, (count % width).unsigned_abs().next_power_of_two() as u32));
        Lanes { var, lower, chunks: full.chain(rest).collect() }
    }
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn chunk_count(&self) -> usize {
        self.lanes.as_ref().map_or(1, |l| l.chunks.len())
    }

    /// Lanes of a chunk, `None` for scalars.
    pub fn chunk_lanes(&self, chunk: usize) -> Option<u32> {
        self.lanes.as_ref().map(|l| l.chunks[chunk].1)
    }

    /// Every position of the tile, chunks innermost.
    pub fn positions(&self) -> Vec<At> {
        let chunks = self.chunk_count();
        (0..self.active.len()).flat_map(|instance| (0..chunks).map(move |chunk| At { instance, chunk })).collect()
    }

    pub fn mask(&self, at: At) -> Option<Mask<'ctx>> {
        self.active[at.instance].masks[at.chunk]
    }

    /// `aff` over run-time variables, parameters and [`LANE`] only.
    pub fn resolve(&self, aff: &Aff, at: At) -> Aff {
        if !aff.has_iters() {
            return aff.clone();
        }
        let replaced = aff.substitute(&|n| self.replacement(n, at));
        self.simplified(&replaced, at.chunk)
    }

    pub fn simplified(&self, aff: &Aff, chunk: usize) -> Aff {
        let lane = self.lane_range(chunk);
        aff.simplify(&|p| self.param_range(p), &|n| self.ranges.numeric(n, lane))
    }

    pub fn lane_range(&self, chunk: usize) -> i64 {
        self.chunk_lanes(chunk).map_or(0, |w| i64::from(w) - 1)
    }

    fn replacement(&self, n: usize, at: At) -> Aff {
        let var = n as VarId;
        if let Some((value, _)) = self.fixed.get(&var) {
            return value.clone();
        }
        if let Some(row) = self.active[at.instance].rows.iter().find(|r| r.var == var) {
            return row.value.clone();
        }
        match &self.lanes {
            Some(lanes) if lanes.var == var => lanes.lower.clone() + lanes.chunks[at.chunk].0.into() + Aff::iter(LANE),
            _ => Aff::iter(n),
        }
    }

    /// The code of a resolved expression: a vector where it uses [`LANE`].
    pub fn emit_resolved(&mut self, aff: &Aff, chunk: usize) -> Value<'ctx> {
        let lanes = self.chunk_lanes(chunk).unwrap_or(1);
        let key = (aff.clone(), lanes);
        if let Some(known) = self.memo.affs.get(&key) {
            return *known;
        }
        let ir = self.ir();
        let iter = |n: u32| match n as usize {
            LANE => ir.iota(0, lanes),
            _ => self.values.get(&n).copied().unwrap_or_else(|| ir.i64(0)),
        };
        let atoms =
            Atoms { param: &|p| self.frame.param(p), iter: &iter, non_negative: &|a| self.is_non_negative(a, chunk) };
        let value = affine::emit(ir, aff, &atoms);
        self.memo.affs.insert(key, value);
        value
    }

    /// Does the expression change from row to row, from lane to lane? Does it read memory?
    pub fn depends(&self, e: &Expr) -> Depends {
        let mut found = Depends::default();
        e.visit_affs(&mut |a| {
            found.row |= self.active[0].rows.iter().any(|r| a.uses_iter(r.var as usize));
            found.lane |= self.lanes.as_ref().is_some_and(|l| a.uses_iter(l.var as usize));
        });
        e.visit_loads(&mut |_| found.reads = true);
        found
    }
}

#[derive(Clone, Copy, Default)]
pub struct Depends {
    pub row: bool,
    pub lane: bool,
    pub reads: bool,
}
