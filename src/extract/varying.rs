//! Amounts that change from step to step of a loop: what a body's `NonZero` finds, the trips of an inner loop.
//!
//! In the graph's shapes such an amount is a parameter. A parameter of the program is one number per run, so here it
//! becomes an expression over the host loops around it: mostly a load of an array that an earlier statement writes
//! once per step. Arrays get room for the largest value; a statement runs over that room, and only where its iterators
//! are below the value: a constraint where that is affine, a guard elsewhere.

use super::builder::Builder;
use super::terms::*;
use sirius_polyhedral::{Aff, Error, Expr, ParamDef, ParamId, StatementId, Term};
use std::cell::Cell;
use std::collections::HashMap;

/// The parameters that vary, with their values over the iterators of the host loops.
pub type Varying = HashMap<ParamId, Expr>;

/// An end of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

impl End {
    fn times(self, factor: i64) -> End {
        match (self, factor >= 0) {
            (end, true) => end,
            (End::Low, false) => End::High,
            (End::High, false) => End::Low,
        }
    }
}

impl Builder<'_> {
    /// From here on, parameter `id` is `value`.
    pub fn vary(&mut self, id: ParamId, value: Expr) {
        self.varying.insert(id, value);
        // The table keeps its numbering; nothing of the program uses this entry.
        let param = self.program.params.get_mut(id);
        param.def = ParamDef::Max(param.min.max(0).into(), param.min.max(0).into());
    }

    /// Does `aff` change from step to step?
    pub fn varies(&self, aff: &Aff) -> bool {
        !self.varying.is_empty() && self.program.params.follows(aff, &|p| self.varying.contains_key(&p))
    }

    /// `expr` without parameters that vary.
    pub fn settled(&self, expr: Expr) -> Expr {
        if self.varying.is_empty() {
            return expr;
        }
        expr.rewrite(&mut |e| match e {
            Expr::Index(a) if self.varies(&a) => self.spelled(&a),
            other => other,
        })
    }

    /// The value of `aff` as an expression of loads and iterators; affine where it is.
    pub fn spelled(&self, aff: &Aff) -> Expr {
        match self.affine(aff) {
            Some(affine) => index(affine),
            None => self.explicit(aff),
        }
    }

    /// `aff` over iterators, where every parameter in it that varies is affine.
    fn affine(&self, aff: &Aff) -> Option<Aff> {
        let known = Cell::new(true);
        let replaced = aff.substitute_params(&|p| match self.varying.get(&p).map(Expr::as_aff) {
            Some(Some(value)) => value,
            None if !self.varies(&Aff::param(p)) => Aff::param(p),
            _ => {
                known.set(false);
                Aff::constant(0)
            }
        });
        known.get().then_some(replaced)
    }

    fn explicit(&self, aff: &Aff) -> Expr {
        let (mut fixed, mut sum) = (Aff::constant(aff.offset()), None);
        for (term, factor) in aff.terms() {
            let part = match term {
                Term::Param(p) if self.varies(&Aff::param(*p)) => self.value(*p),
                Term::FloorDiv(a, d) if self.varies(a) => quotient(self.spelled(a), Expr::int(*d)),
                Term::Param(p) => {
                    fixed = fixed + Aff::param(*p) * *factor;
                    continue;
                }
                Term::Iter(n) => {
                    fixed = fixed + Aff::iter(*n as usize) * *factor;
                    continue;
                }
                Term::FloorDiv(a, d) => {
                    fixed = fixed + a.floor_div(*d) * *factor;
                    continue;
                }
            };
            let part = if *factor == 1 { part } else { mul(part, Expr::int(*factor)) };
            sum = Some(sum.map_or(part.clone(), |sum| add(sum, part)));
        }
        match sum {
            Some(sum) if fixed.is_constant(0) => sum,
            Some(sum) => add(sum, index(fixed)),
            None => index(fixed),
        }
    }

    /// The value of a parameter that varies.
    fn value(&self, id: ParamId) -> Expr {
        if let Some(value) = self.varying.get(&id) {
            return value.clone();
        }
        match &self.program.params.get(id).def {
            ParamDef::Mul(a, b) => mul(self.spelled(a), self.spelled(b)),
            ParamDef::FloorDiv(a, b) => quotient(self.spelled(a), self.spelled(b)),
            ParamDef::Max(a, b) => max(self.spelled(a), self.spelled(b)),
            ParamDef::Min(a, b) => min(self.spelled(a), self.spelled(b)),
            _ => index(Aff::param(id)),
        }
    }

    /// The largest value of an extent: what arrays get room for.
    pub fn room(&mut self, extent: &Aff) -> Aff {
        if !self.varies(extent) {
            return extent.clone();
        }
        if let Some(most) = self.end(extent, End::High) {
            return most;
        }
        let message = "a tensor in a loop changes its size from step to step, and nothing bounds it";
        self.unsupported.push(Error::unsupported("E310", message).at(&self.origin));
        Aff::constant(0)
    }

    /// A bound of `aff` that does not vary.
    fn end(&mut self, aff: &Aff, end: End) -> Option<Aff> {
        let mut bound = Aff::constant(aff.offset());
        for (term, factor) in aff.terms() {
            let end = end.times(*factor);
            let part = match term {
                Term::Param(p) => self.end_of(*p, end)?,
                Term::Iter(n) => Aff::iter(*n as usize),
                Term::FloorDiv(a, d) => self.end(a, end)?.floor_div(*d),
            };
            bound = bound + part * *factor;
        }
        Some(bound)
    }

    fn end_of(&mut self, id: ParamId, end: End) -> Option<Aff> {
        if !self.varies(&Aff::param(id)) {
            return Some(Aff::param(id));
        }
        let param = self.program.params.get(id).clone();
        let declared = if end == End::High { param.max } else { Some(param.min).filter(|min| *min > i64::MIN) };
        if let Some(declared) = declared {
            return Some(declared.into());
        }
        if self.varying.contains_key(&id) {
            return None;
        }
        match (param.def, end) {
            (ParamDef::Min(a, b), End::High) => self.either(&a, &b, end, ParamDef::Min),
            (ParamDef::Max(a, b), End::Low) => self.either(&a, &b, end, ParamDef::Max),
            (ParamDef::Min(a, b), End::Low) => self.both(&a, &b, end, ParamDef::Min),
            (ParamDef::Max(a, b), End::High) => self.both(&a, &b, end, ParamDef::Max),
            (ParamDef::Mul(a, b), End::High) => self.both(&a, &b, end, ParamDef::Mul),
            // Of what is not negative, no divisor makes more.
            (ParamDef::FloorDiv(a, b), End::High) => match (self.end(&a, end)?, b.as_constant()) {
                (most, Some(d)) if d > 0 => Some(most.floor_div(d)),
                (most, _) => Some(most),
            },
            (ParamDef::Mul(..) | ParamDef::FloorDiv(..), End::Low) => Some(Aff::constant(0)),
            _ => None,
        }
    }

    fn either(&mut self, a: &Aff, b: &Aff, end: End, def: fn(Aff, Aff) -> ParamDef) -> Option<Aff> {
        match (self.end(a, end), self.end(b, end)) {
            (Some(a), Some(b)) => Some(self.combined(a, b, def)),
            (a, b) => a.or(b),
        }
    }

    fn both(&mut self, a: &Aff, b: &Aff, end: End, def: fn(Aff, Aff) -> ParamDef) -> Option<Aff> {
        let (a, b) = (self.end(a, end)?, self.end(b, end)?);
        Some(self.combined(a, b, def))
    }

    /// A parameter for `def(a, b)`, or a number where it is one.
    fn combined(&mut self, a: Aff, b: Aff, def: fn(Aff, Aff) -> ParamDef) -> Aff {
        if a == b && !matches!(def(0.into(), 0.into()), ParamDef::Mul(..)) {
            return a;
        }
        match (def(a.clone(), b.clone()), a.as_constant(), b.as_constant()) {
            (def, Some(_), Some(_)) => self.program.params.evaluate(&def, |_, _| 0).into(),
            (ParamDef::Mul(..), Some(c), None) => b * c,
            (ParamDef::Mul(..), None, Some(c)) => a * c,
            (def, ..) => Aff::param(self.program.params.derived(def)),
        }
    }

    /// Runs a statement only where each of `affs` is at least 0.
    pub fn constrain(&mut self, id: StatementId, affs: impl IntoIterator<Item = Aff>) {
        for aff in affs {
            match self.affine(&aff) {
                Some(affine) => self.program.statement_mut(id).constraints.push(affine),
                None => {
                    let holds = ge(self.explicit(&aff), Expr::int(0));
                    let statement = self.program.statement_mut(id);
                    statement.guard = Some(match statement.guard.take() {
                        Some(guard) => and(guard, holds),
                        None => holds,
                    });
                }
            }
        }
    }
}

/// `floor(a / b)` of integers, `b` at least 1.
fn quotient(a: Expr, b: Expr) -> Expr {
    let b = match b.as_aff().and_then(|b| b.as_constant()) {
        Some(d) => Expr::int(d.max(1)),
        None => max(b, Expr::int(1)),
    };
    div(sub(a.clone(), modulo(a, b.clone())), b)
}
