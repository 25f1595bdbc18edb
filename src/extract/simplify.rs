//! Simplification of expressions with the known ranges of iterators and parameters.
//!
//! Views are composed by substitution, so a chain of reshapes, slices and selects leaves floor divisions
//! and tests that are constant in the domain of the statement that finally reads. Removing them here keeps
//! subscripts affine, which is what dependence analysis can see through.

use sirius_polyhedral::aff::gcd;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Params, Scalar, Term, UnaryOp};

type Range = (Option<i64>, Option<i64>);

/// What is known where an expression is evaluated: `extents[n]` bounds iterator `n`.
pub struct Ranges<'a> {
    pub params: &'a Params,
    pub extents: &'a [Aff],
}

impl Ranges<'_> {
    fn bounds(&self, aff: &Aff) -> Range {
        aff.bounds(&|p| (Some(self.params.get(p).min), self.params.get(p).max), &|n| self.iter(n))
    }

    /// Inclusive bounds of iterator `n`; extents may use earlier iterators.
    fn iter(&self, n: usize) -> Range {
        let Some(extent) = self.extents.get(n) else { return (None, None) };
        let high = extent.bounds(&|p| (Some(self.params.get(p).min), self.params.get(p).max), &|_| (None, None)).1;
        (Some(0), high.map(|h| h.saturating_sub(1).max(0)))
    }

    pub fn aff(&self, aff: &Aff) -> Aff {
        let param = |p| (Some(self.params.get(p).min), self.params.get(p).max);
        let plain = aff.simplify(&param, &|n| self.iter(n));
        let mut out = Aff::constant(plain.offset());
        for (term, c) in plain.terms() {
            let part = match term {
                Term::FloorDiv(a, d) => self.coarser(a, *d),
                Term::Iter(n) => Aff::iter(*n as usize),
                Term::Param(p) => Aff::param(*p),
            };
            out = out + part * *c;
        }
        out
    }

    /// `floor(a / d)` where `a` is a multiple of some divisor `g` of `d` plus a rest in `0..g`: the rest does
    /// not matter, so the result is `floor((a / g) / (d / g))`.
    fn coarser(&self, a: &Aff, d: i64) -> Aff {
        for (_, c) in a.terms() {
            let g = gcd(c.abs(), d);
            let rest = terms_mod(a, g);
            let small = matches!(self.bounds(&rest), (Some(low), Some(high)) if low >= 0 && high < g);
            if g > 1 && small {
                return (a.clone() - rest).floor_div(g).floor_div(d / g);
            }
        }
        a.floor_div(d)
    }

    /// The simplified expression; equal wherever every iterator is inside its extent.
    pub fn expr(&self, expr: Expr) -> Expr {
        expr.rewrite(&mut |e| self.step(e))
    }

    fn step(&self, expr: Expr) -> Expr {
        match expr {
            Expr::Index(a) => Expr::Index(self.aff(&a)),
            Expr::Const(Scalar::Int(v, DType::I64)) => Expr::int(v),
            Expr::Binary(op, a, b) => self.binary(op, *a, *b),
            Expr::Unary(UnaryOp::Not, a) => match as_bool(&a) {
                Some(v) => bool_literal(!v),
                None => Expr::unary(UnaryOp::Not, *a),
            },
            Expr::Select(c, a, b) => match as_bool(&c) {
                Some(true) => *a,
                Some(false) => *b,
                None if a == b => *a,
                None => Expr::Select(c, a, b),
            },
            Expr::Cast(to, a) => cast(to, *a),
            other => other,
        }
    }

    fn binary(&self, op: BinaryOp, a: Expr, b: Expr) -> Expr {
        let affine = a.as_aff().zip(b.as_aff());
        let folded = match (op, affine) {
            (BinaryOp::And | BinaryOp::Or, _) => logical(op, &a, &b),
            (_, Some((x, y))) => self.integer(op, &x, &y),
            _ => None,
        };
        folded.unwrap_or_else(|| Expr::binary(op, a, b))
    }

    /// An operation on two affine values, where the result is affine or known.
    fn integer(&self, op: BinaryOp, x: &Aff, y: &Aff) -> Option<Expr> {
        use BinaryOp::*;
        let difference = self.bounds(&self.aff(&(x.clone() - y.clone())));
        match op {
            Add => Some(Expr::Index(self.aff(&(x.clone() + y.clone())))),
            Sub => Some(Expr::Index(self.aff(&(x.clone() - y.clone())))),
            Mul => match (x.as_constant(), y.as_constant()) {
                (Some(c), _) => Some(Expr::Index(y.clone() * c)),
                (_, Some(c)) => Some(Expr::Index(x.clone() * c)),
                _ => None,
            },
            Div if self.bounds(x).0? >= 0 => Some(Expr::Index(self.aff(&x.floor_div(positive(y)?)))),
            Mod => Some(Expr::Index(self.aff(&x.modulo(positive(y)?)))),
            Min | Max => minimum(op, x, y, difference),
            Eq | Ne | Lt | Le | Gt | Ge => compare(op, difference).map(bool_literal),
            _ => None,
        }
    }
}

/// Every coefficient and the offset modulo `g`: equal to `aff` up to a multiple of `g`.
fn terms_mod(aff: &Aff, g: i64) -> Aff {
    let mut rest = Aff::constant(aff.offset().rem_euclid(g));
    for (term, c) in aff.terms() {
        let atom = match term {
            Term::FloorDiv(a, d) => a.floor_div(*d),
            Term::Iter(n) => Aff::iter(*n as usize),
            Term::Param(p) => Aff::param(*p),
        };
        rest = rest + atom * c.rem_euclid(g);
    }
    rest
}

fn positive(aff: &Aff) -> Option<i64> {
    aff.as_constant().filter(|c| *c > 0)
}

fn minimum(op: BinaryOp, x: &Aff, y: &Aff, difference: Range) -> Option<Expr> {
    let below = if difference.1.is_some_and(|h| h <= 0) {
        true
    } else if difference.0.is_some_and(|l| l >= 0) {
        false
    } else {
        return None;
    };
    let first = below == (op == BinaryOp::Min);
    Some(Expr::Index(if first { x.clone() } else { y.clone() }))
}

/// The comparison of `x` with `y` where `x - y` lies in `difference`.
fn compare(op: BinaryOp, difference: Range) -> Option<bool> {
    use BinaryOp::*;
    let (low, high) = (difference.0.unwrap_or(i64::MIN), difference.1.unwrap_or(i64::MAX));
    let decide = |yes: bool, no: bool| if yes { Some(true) } else { no.then_some(false) };
    match op {
        Eq => decide(low == 0 && high == 0, low > 0 || high < 0),
        Ne => decide(low > 0 || high < 0, low == 0 && high == 0),
        Lt => decide(high < 0, low >= 0),
        Le => decide(high <= 0, low > 0),
        Gt => decide(low > 0, high <= 0),
        Ge => decide(low >= 0, high < 0),
        _ => None,
    }
}

fn logical(op: BinaryOp, a: &Expr, b: &Expr) -> Option<Expr> {
    let absorbing = op == BinaryOp::Or;
    match (as_bool(a), as_bool(b)) {
        (Some(v), _) => Some(if v == absorbing { bool_literal(v) } else { b.clone() }),
        (_, Some(v)) => Some(if v == absorbing { bool_literal(v) } else { a.clone() }),
        _ => None,
    }
}

fn cast(to: DType, a: Expr) -> Expr {
    match a {
        Expr::Index(_) if to == DType::I64 => a,
        Expr::Index(ref aff) if to.is_float() => match aff.as_constant() {
            Some(v) if v.unsigned_abs() < 1 << 11 => Expr::literal(v as f64, to),
            _ => Expr::cast(to, a),
        },
        Expr::Index(ref aff) if to == DType::I32 || to == DType::U32 => match aff.as_constant() {
            Some(v) if (0..=i32::MAX as i64).contains(&v) => Expr::Const(Scalar::Int(v, to)),
            _ => Expr::cast(to, a),
        },
        other => Expr::cast(to, other),
    }
}

fn as_bool(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Const(Scalar::Int(v, DType::Bool)) => Some(*v != 0),
        _ => None,
    }
}

pub fn bool_literal(value: bool) -> Expr {
    Expr::Const(Scalar::Int(value as i64, DType::Bool))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges<'a>(params: &'a Params, extents: &'a [Aff]) -> Ranges<'a> {
        Ranges { params, extents }
    }

    #[test]
    fn a_rest_smaller_than_a_common_divisor_leaves_the_floor() {
        let (params, extents) = (Params::default(), [Aff::constant(12), Aff::constant(64)]);
        let position = Aff::iter(0) * 64 + Aff::iter(1);
        let got = ranges(&params, &extents).aff(&position.floor_div(128));
        assert_eq!(got, Aff::iter(0).floor_div(2));
    }

    #[test]
    fn tests_that_always_hold_choose_their_side() {
        let (params, extents) = (Params::default(), [Aff::constant(4)]);
        let test = |limit: i64| Expr::binary(BinaryOp::Lt, Expr::iter(0), Expr::int(limit));
        let choice = |limit| Expr::select(test(limit), Expr::int(1), Expr::int(2));
        let r = ranges(&params, &extents);
        assert_eq!(r.expr(choice(4)), Expr::int(1));
        assert_eq!(r.expr(choice(0)), Expr::int(2));
        assert_eq!(r.expr(choice(3)), choice(3));
    }

    #[test]
    fn integer_division_of_what_may_be_negative_stays() {
        let (params, extents) = (Params::default(), [Aff::constant(4)]);
        let shifted = Expr::Index(Aff::iter(0) - 2.into());
        let quotient = Expr::binary(BinaryOp::Div, shifted, Expr::int(3));
        assert_eq!(ranges(&params, &extents).expr(quotient.clone()), quotient);
    }
}
