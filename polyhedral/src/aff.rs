//! Quasi-affine integer expressions: sums of parameters, iterators and floor divisions by constants.
//!
//! This one type is a tensor dimension (no iterators), a subscript, a schedule function and a loop bound.
//! It is kept in a canonical form (terms sorted, no zero coefficient), so equality is structural.

use crate::param::ParamId;
use serde::{Deserialize, Serialize};
use std::ops::{Add, Mul, Neg, Sub};

/// An atom of an affine expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Term {
    Param(ParamId),
    /// Dimension `n` of the enclosing statement's domain, of a tensor, or loop variable `n` of a nest.
    Iter(u32),
    /// `floor(numerator / divisor)`, divisor at least 2.
    FloorDiv(Box<Aff>, i64),
}

/// `constant + sum of coefficient * term`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Aff {
    terms: Vec<(Term, i64)>,
    constant: i64,
}

/// The least and the greatest value, both inclusive; `None` where nothing bounds it.
pub type Bounds = (Option<i64>, Option<i64>);

impl Aff {
    pub fn constant(value: i64) -> Aff {
        Aff { terms: Vec::new(), constant: value }
    }

    pub fn param(id: ParamId) -> Aff {
        Aff::term(Term::Param(id))
    }

    pub fn iter(n: usize) -> Aff {
        Aff::term(Term::Iter(n as u32))
    }

    fn term(term: Term) -> Aff {
        Aff { terms: vec![(term, 1)], constant: 0 }
    }

    pub fn terms(&self) -> &[(Term, i64)] {
        &self.terms
    }

    /// The constant part.
    pub fn offset(&self) -> i64 {
        self.constant
    }

    /// The value when no parameter or iterator occurs.
    pub fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }

    pub fn is_constant(&self, value: i64) -> bool {
        self.as_constant() == Some(value)
    }

    /// The iterator when this is exactly one iterator.
    pub fn as_iter(&self) -> Option<usize> {
        match (self.terms.as_slice(), self.constant) {
            ([(Term::Iter(n), 1)], 0) => Some(*n as usize),
            _ => None,
        }
    }

    /// The iterator and the constant when this is exactly their sum.
    pub fn as_shifted_iter(&self) -> Option<(usize, i64)> {
        match self.terms.as_slice() {
            [(Term::Iter(n), 1)] => Some((*n as usize, self.constant)),
            _ => None,
        }
    }

    /// The parameter when this is exactly one parameter.
    pub fn as_param(&self) -> Option<ParamId> {
        match (self.terms.as_slice(), self.constant) {
            ([(Term::Param(p), 1)], 0) => Some(*p),
            _ => None,
        }
    }

    /// The coefficient of iterator `n` outside floor divisions.
    pub fn coefficient(&self, n: usize) -> i64 {
        let found = self.terms.iter().find(|(t, _)| *t == Term::Iter(n as u32));
        found.map_or(0, |(_, c)| *c)
    }

    /// Does iterator `n` occur anywhere, floor divisions included?
    pub fn uses_iter(&self, n: usize) -> bool {
        !self.all_iters(&|m| m != n)
    }

    /// Does any iterator occur?
    pub fn has_iters(&self) -> bool {
        !self.all_iters(&|_| false)
    }

    /// Does `test` hold for every iterator that occurs, floor divisions included?
    pub fn all_iters(&self, test: &dyn Fn(usize) -> bool) -> bool {
        self.terms.iter().all(|(t, _)| match t {
            Term::Iter(n) => test(*n as usize),
            Term::FloorDiv(a, _) => a.all_iters(test),
            Term::Param(_) => true,
        })
    }

    /// Does iterator `n` occur inside a floor division?
    pub fn divides_iter(&self, n: usize) -> bool {
        self.terms.iter().any(|(t, _)| matches!(t, Term::FloorDiv(a, _) if a.uses_iter(n)))
    }

    /// `floor(self / divisor)`, divisor positive. Parts that are multiples of the divisor leave the floor.
    pub fn floor_div(&self, divisor: i64) -> Aff {
        assert!(divisor > 0, "floor division by {divisor}");
        if divisor == 1 {
            return self.clone();
        }
        let mut whole = Aff::constant(self.constant.div_euclid(divisor));
        let mut rest = Aff::constant(self.constant.rem_euclid(divisor));
        for (term, c) in &self.terms {
            let part = Aff { terms: vec![(term.clone(), 1)], constant: 0 };
            whole = whole + part.clone() * c.div_euclid(divisor);
            rest = rest + part * c.rem_euclid(divisor);
        }
        if rest.terms.is_empty() {
            return whole;
        }
        // floor((floor(a / b) + r) / c) is floor((a + b * r) / (b * c)).
        if let [(Term::FloorDiv(inner, b), 1)] = rest.terms.as_slice() {
            let numerator = (**inner).clone() + Aff::constant(b.saturating_mul(rest.constant));
            return whole + numerator.floor_div(b.saturating_mul(divisor));
        }
        whole + Aff::term(Term::FloorDiv(Box::new(rest), divisor))
    }

    /// `self mod divisor`, in `0..divisor`.
    pub fn modulo(&self, divisor: i64) -> Aff {
        self.clone() - self.floor_div(divisor) * divisor
    }

    /// Replaces every iterator `n` by `by(n)`.
    pub fn substitute(&self, by: &impl Fn(usize) -> Aff) -> Aff {
        self.map_terms(&|term| match term {
            Term::Iter(n) => by(*n as usize),
            other => Aff::term(other.clone()),
        })
    }

    /// Replaces every parameter `p` by `by(p)`.
    pub fn substitute_params(&self, by: &impl Fn(ParamId) -> Aff) -> Aff {
        self.map_terms(&|term| match term {
            Term::Param(p) => by(*p),
            other => Aff::term(other.clone()),
        })
    }

    /// Replaces every atom by `by(atom)`, those inside floor divisions too.
    fn map_terms(&self, by: &dyn Fn(&Term) -> Aff) -> Aff {
        self.rebuild(&|term| match term {
            Term::FloorDiv(a, d) => a.map_terms(by).floor_div(*d),
            atom => by(atom),
        })
    }

    /// The sum again, with `by(term)` in the place of each of its own terms.
    fn rebuild(&self, by: &dyn Fn(&Term) -> Aff) -> Aff {
        self.terms.iter().fold(Aff::constant(self.constant), |sum, (term, c)| sum + by(term) * *c)
    }

    /// Shifts every iterator by `by` (statements that gain outer dimensions).
    pub fn shift_iters(&self, by: usize) -> Aff {
        self.substitute(&|n| Aff::iter(n + by))
    }

    /// The value where `params` and `iters` give the atoms; saturates instead of wrapping.
    pub fn eval(&self, params: &dyn Fn(ParamId) -> i64, iters: &dyn Fn(usize) -> i64) -> i64 {
        self.terms.iter().fold(self.constant, |sum, (term, c)| {
            let value = match term {
                Term::Param(p) => params(*p),
                Term::Iter(n) => iters(*n as usize),
                Term::FloorDiv(a, d) => a.eval(params, iters).div_euclid(*d),
            };
            sum.saturating_add(value.saturating_mul(*c))
        })
    }

    /// Bounds of the value when iterator `n` lies in `range(n)` and parameter `p` in `params(p)`.
    pub fn bounds(&self, params: &dyn Fn(ParamId) -> Bounds, range: &dyn Fn(usize) -> Bounds) -> Bounds {
        let (mut lo, mut hi) = (Some(self.constant), Some(self.constant));
        for (term, c) in &self.terms {
            let (a, b) = match term {
                Term::Param(p) => params(*p),
                Term::Iter(n) => range(*n as usize),
                Term::FloorDiv(e, d) => {
                    let (a, b) = e.bounds(params, range);
                    (a.map(|v| v.div_euclid(*d)), b.map(|v| v.div_euclid(*d)))
                }
            };
            let (a, b) = if *c >= 0 { (a, b) } else { (b, a) };
            lo = lo.zip(a).and_then(|(s, v)| s.checked_add(v.checked_mul(*c)?));
            hi = hi.zip(b).and_then(|(s, v)| s.checked_add(v.checked_mul(*c)?));
        }
        (lo, hi)
    }

    /// Removes floor divisions whose numerator, split into a multiple of the divisor and a rest, has a
    /// rest that provably lies in `0..divisor`. `range` as in [`Aff::bounds`].
    pub fn simplify(&self, params: &dyn Fn(ParamId) -> Bounds, range: &dyn Fn(usize) -> Bounds) -> Aff {
        self.rebuild(&|term| match term {
            Term::FloorDiv(a, d) => a.simplify(params, range).floor_div(*d).drop_floors(params, range),
            atom => Aff::term(atom.clone()),
        })
    }

    fn drop_floors(&self, params: &dyn Fn(ParamId) -> Bounds, range: &dyn Fn(usize) -> Bounds) -> Aff {
        self.rebuild(&|term| match term {
            Term::FloorDiv(a, d) => match a.bounds(params, range) {
                (Some(lo), Some(hi)) if lo.div_euclid(*d) == hi.div_euclid(*d) => Aff::constant(lo.div_euclid(*d)),
                _ => a.in_blocks(*d, params, range).unwrap_or_else(|| Aff::term(term.clone())),
            },
            atom => Aff::term(atom.clone()),
        })
    }

    /// `floor(self / d)` as a quotient of blocks: of `g * whole + rest`, `0 <= rest < g`, where `g` divides `d`, only
    /// `whole` counts.
    fn in_blocks(&self, d: i64, params: &dyn Fn(ParamId) -> Bounds, range: &dyn Fn(usize) -> Bounds) -> Option<Aff> {
        let sizes = self.terms.iter().map(|(_, c)| c.abs()).filter(|c| *c > 1 && d % c == 0);
        sizes.into_iter().find_map(|g| {
            let (mut whole, mut rest) = (Aff::constant(0), Aff::constant(self.constant));
            for (term, c) in &self.terms {
                let part = Aff::term(term.clone());
                let to = if c % g == 0 { (&mut whole, c / g) } else { (&mut rest, *c) };
                *to.0 = to.0.clone() + part * to.1;
            }
            let (lo, hi) = rest.bounds(params, range);
            let inside = lo? >= 0 && hi? < g && !rest.terms.is_empty();
            inside.then(|| whole.floor_div(d / g))
        })
    }

    /// Calls `visit` on every parameter that occurs.
    pub fn visit_params(&self, visit: &mut dyn FnMut(ParamId)) {
        for (term, _) in &self.terms {
            match term {
                Term::Param(p) => visit(*p),
                Term::FloorDiv(a, _) => a.visit_params(visit),
                Term::Iter(_) => {}
            }
        }
    }

    /// The notation of all text forms: `2*i0 + floor((i1 + 3)/4) - 1`.
    pub fn display(&self, param: &dyn Fn(ParamId) -> String, iter: &dyn Fn(usize) -> String) -> String {
        let mut out = String::new();
        for (term, c) in &self.terms {
            let atom = match term {
                Term::Param(p) => param(*p),
                Term::Iter(n) => iter(*n as usize),
                Term::FloorDiv(a, d) => format!("floor(({})/{d})", a.display(param, iter)),
            };
            push_signed(&mut out, *c < 0);
            match c.unsigned_abs() {
                1 => out.push_str(&atom),
                n => out.push_str(&format!("{n}*{atom}")),
            }
        }
        if self.constant != 0 || out.is_empty() {
            push_signed(&mut out, self.constant < 0);
            out.push_str(&self.constant.unsigned_abs().to_string());
        }
        out
    }
}

fn push_signed(out: &mut String, negative: bool) {
    out.push_str(match (out.is_empty(), negative) {
        (true, true) => "-",
        (true, false) => "",
        (false, true) => " - ",
        (false, false) => " + ",
    });
}

/// The greatest common divisor of two numbers that are not negative.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Add for Aff {
    type Output = Aff;
    fn add(mut self, other: Aff) -> Aff {
        for (term, c) in other.terms {
            match self.terms.binary_search_by(|(t, _)| t.cmp(&term)) {
                Ok(at) => {
                    self.terms[at].1 = self.terms[at].1.saturating_add(c);
                    if self.terms[at].1 == 0 {
                        self.terms.remove(at);
                    }
                }
                Err(at) => self.terms.insert(at, (term, c)),
            }
        }
        self.constant = self.constant.saturating_add(other.constant);
        self
    }
}

impl Mul<i64> for Aff {
    type Output = Aff;
    fn mul(mut self, by: i64) -> Aff {
        if by == 0 {
            return Aff::constant(0);
        }
        for (_, c) in &mut self.terms {
            *c = c.saturating_mul(by);
        }
        self.constant = self.constant.saturating_mul(by);
        self
    }
}

impl Neg for Aff {
    type Output = Aff;
    fn neg(self) -> Aff {
        self * -1
    }
}

impl Sub for Aff {
    type Output = Aff;
    fn sub(self, other: Aff) -> Aff {
        self + -other
    }
}

impl From<i64> for Aff {
    fn from(value: i64) -> Aff {
        Aff::constant(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(a: &Aff) -> String {
        a.display(&|p| format!("p{}", p.0), &|n| format!("i{n}"))
    }

    #[test]
    fn floor_division_keeps_only_what_does_not_divide() {
        let a = Aff::iter(0) * 8 + Aff::iter(1) + 19.into();
        assert_eq!(show(&a.floor_div(4)), "2*i0 + floor((i1 + 3)/4) + 4");
        let nested = Aff::iter(0).floor_div(4).floor_div(3);
        assert_eq!(show(&nested), "floor((i0)/12)");
    }

    #[test]
    fn simplify_drops_floors_that_are_constant() {
        let a = (Aff::iter(0) * 64 + Aff::iter(1)).floor_div(64);
        let range = |n: usize| (Some(0), Some(if n == 1 { 63 } else { 11 }));
        assert_eq!(show(&a.simplify(&|_| (None, None), &range)), "i0");
        let m = (Aff::iter(0) * 64 + Aff::iter(1)).modulo(64);
        assert_eq!(show(&m.simplify(&|_| (None, None), &range)), "i1");
    }
}
