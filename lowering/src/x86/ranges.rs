//! What is known about run-time loop variables, and proofs with it.

use super::Emitter;
use super::space::{At, LANE};
use sirius_polyhedral::{Access, Aff, ParamId, VarId};

/// Open loops, outermost first.
#[derive(Default)]
pub struct Ranges(Vec<Range>);

pub struct Range {
    pub var: VarId,
    /// The variable is at least every one of these.
    pub lower: Vec<Aff>,
    /// And below every one of these.
    pub upper: Vec<Aff>,
    /// Inclusive numeric bounds.
    pub numeric: (Option<i64>, Option<i64>),
}

impl Ranges {
    pub fn push(&mut self, range: Range) {
        self.0.push(range);
    }

    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// Inclusive bounds of a variable; the lane lies in `0..=lane`.
    pub fn numeric(&self, n: usize, lane: i64) -> (Option<i64>, Option<i64>) {
        if n == LANE {
            return (Some(0), Some(lane));
        }
        self.0.iter().rev().find(|r| r.var as usize == n).map_or((None, None), |r| r.numeric)
    }
}

impl Emitter<'_, '_, '_> {
    pub fn param_range(&self, p: ParamId) -> (Option<i64>, Option<i64>) {
        let param = self.frame.nest.params.get(p);
        (Some(param.min), param.max)
    }

    /// Inclusive numeric bounds of a resolved expression.
    pub fn bounds(&self, aff: &Aff, chunk: usize) -> (Option<i64>, Option<i64>) {
        let lane = self.lane_range(chunk);
        aff.bounds(&|p| self.param_range(p), &|n| self.ranges.numeric(n, lane))
    }

    /// Is a resolved expression provably never negative, in any lane of the chunk?
    pub fn is_non_negative(&self, aff: &Aff, chunk: usize) -> bool {
        self.prove(aff, chunk, self.ranges.0.len())
    }

    /// Replaces the innermost variable that occurs by its worst bound, and tries again.
    fn prove(&self, aff: &Aff, chunk: usize, open: usize) -> bool {
        if self.bounds(aff, chunk).0.is_some_and(|lo| lo >= 0) {
            return true;
        }
        let Some(at) = (0..open).rev().find(|&n| aff.uses_iter(self.ranges.0[n].var as usize)) else {
            return false;
        };
        let range = &self.ranges.0[at];
        let var = range.var as usize;
        if aff.divides_iter(var) {
            return false;
        }
        let rising = aff.coefficient(var) > 0;
        let worst = if rising { &range.lower } else { &range.upper };
        worst.iter().any(|bound| {
            let bound = if rising { bound.clone() } else { bound.clone() - 1.into() };
            let replaced = aff.substitute(&|n| if n == var { bound.clone() } else { Aff::iter(n) });
            self.prove(&replaced, chunk, at)
        })
    }

    /// Are all lanes of an access provably inside the array, those behind the last iteration included?
    pub fn in_bounds(&self, access: &Access, at: At) -> bool {
        let array = self.frame.array(access.array);
        access.index.iter().zip(&array.extents).all(|(index, extent)| {
            let Some(aff) = index.as_aff() else { return false };
            let aff = self.resolve(&aff, at);
            self.is_non_negative(&aff, at.chunk) && self.is_non_negative(&(extent.clone() - aff - 1.into()), at.chunk)
        })
    }
}
