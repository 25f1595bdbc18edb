//! What holds where an instance of a statement runs, and which conditions follow from it. Intervals only, no isl.

use crate::aff::Aff;
use crate::dtype::{DType, Scalar};
use crate::expr::{BinaryOp, Expr, UnaryOp};
use crate::param::Params;
use crate::program::Statement;
use crate::transform::param_range;

/// The ranges of parameters and iterators, and conditions that are known to hold or not to hold.
pub struct Facts<'a> {
    params: &'a Params,
    extents: &'a [Aff],
    /// Each at least 0.
    non_negative: Vec<Aff>,
    known: Vec<(Expr, bool)>,
}

/// How many facts there were, to go back to.
pub struct Before(usize, usize);

impl<'a> Facts<'a> {
    /// What the domain of the statement says, constraints included.
    pub fn of(statement: &'a Statement, params: &'a Params) -> Facts<'a> {
        Facts { params, extents: &statement.extents, non_negative: statement.constraints.clone(), known: Vec::new() }
    }

    /// Adds that `condition` has the value `holds`.
    pub fn assume(&mut self, condition: &Expr, holds: bool) -> Before {
        let before = Before(self.non_negative.len(), self.known.len());
        self.add(condition, holds);
        before
    }

    pub fn forget(&mut self, Before(non_negative, known): Before) {
        self.non_negative.truncate(non_negative);
        self.known.truncate(known);
    }

    fn add(&mut self, condition: &Expr, holds: bool) {
        match condition {
            Expr::Unary(UnaryOp::Not, a) => self.add(a, !holds),
            Expr::Binary(BinaryOp::And, a, b) if holds => [a, b].into_iter().for_each(|e| self.add(e, true)),
            Expr::Binary(BinaryOp::Or, a, b) if !holds => [a, b].into_iter().for_each(|e| self.add(e, false)),
            Expr::Binary(op, a, b) => match (a.as_aff().zip(b.as_aff()), holds) {
                (Some((a, b)), true) => self.non_negative.extend(differences(*op, &a, &b)),
                (Some((a, b)), false) => self.non_negative.extend(differences(opposite(*op), &a, &b)),
                (None, _) => self.known.push((condition.clone(), holds)),
            },
            other => self.known.push((other.clone(), holds)),
        }
    }

    /// The value of a condition, where it follows.
    pub fn decide(&self, condition: &Expr) -> Option<bool> {
        match condition {
            Expr::Const(Scalar::Int(value, DType::Bool)) => Some(*value != 0),
            Expr::Unary(UnaryOp::Not, a) => Some(!self.decide(a)?),
            Expr::Binary(op, a, b) if op.is_comparison() => {
                let Some((a, b)) = a.as_aff().zip(b.as_aff()) else { return self.recall(condition) };
                let all = |op| Some(differences(op, &a, &b)).filter(|d| !d.is_empty());
                let follow = |op| all(op).is_some_and(|d| d.iter().all(|d| self.is_non_negative(d)));
                // An inequality is no condition on one sign: it follows from either of two.
                let holds = |op| match op {
                    BinaryOp::Ne => follow(BinaryOp::Lt) || follow(BinaryOp::Gt),
                    op => follow(op),
                };
                if holds(*op) { Some(true) } else { holds(opposite(*op)).then_some(false) }
            }
            other => self.recall(other),
        }
    }

    fn recall(&self, condition: &Expr) -> Option<bool> {
        self.known.iter().find(|(known, _)| known == condition).map(|(_, holds)| *holds)
    }

    /// Is the value at least 0 in all instances?
    pub fn is_non_negative(&self, aff: &Aff) -> bool {
        let above = |by: Aff| self.least(&by).is_some_and(|least| least >= 0);
        above(aff.clone()) || self.non_negative.iter().any(|fact| above(aff.clone() - fact.clone()))
    }

    /// A lower bound: every iterator goes to the end of its extent that is worse, the inner ones first, as their extents
    /// may use the outer ones; what is divided keeps its range.
    fn least(&self, aff: &Aff) -> Option<i64> {
        let range = |d: usize| (Some(0), self.extents.get(d).and_then(Aff::as_constant).map(|e| e - 1));
        let mut ends = aff.clone();
        for (d, extent) in self.extents.iter().enumerate().rev() {
            let c = ends.coefficient(d);
            ends = ends - Aff::iter(d) * c;
            if c < 0 {
                ends = ends + (extent.clone() - Aff::constant(1)) * c;
            }
        }
        ends.bounds(&|p| param_range(self.params, p), &range).0
    }
}

/// What has to be at least 0 for a comparison to hold; nothing for `Ne`.
fn differences(op: BinaryOp, a: &Aff, b: &Aff) -> Vec<Aff> {
    let above = |a: &Aff, b: &Aff, gap: i64| a.clone() - b.clone() - Aff::constant(gap);
    match op {
        BinaryOp::Eq => vec![above(a, b, 0), above(b, a, 0)],
        BinaryOp::Lt => vec![above(b, a, 1)],
        BinaryOp::Le => vec![above(b, a, 0)],
        BinaryOp::Gt => vec![above(a, b, 1)],
        BinaryOp::Ge => vec![above(a, b, 0)],
        _ => vec![],
    }
}

/// The comparison that holds where `op` does not.
fn opposite(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Eq => BinaryOp::Ne,
        BinaryOp::Ne => BinaryOp::Eq,
        BinaryOp::Lt => BinaryOp::Ge,
        BinaryOp::Le => BinaryOp::Gt,
        BinaryOp::Gt => BinaryOp::Le,
        BinaryOp::Ge => BinaryOp::Lt,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Program, StatementKind};
    use crate::testing::*;

    fn compare(op: BinaryOp, a: Aff, b: Aff) -> Expr {
        Expr::binary(op, Expr::Index(a), Expr::Index(b))
    }

    /// `i0 < n`, `i1 < i0 + 2`, and `i1 >= 1`.
    fn program() -> Program {
        let mut p = Program::default();
        let n = dimension(&mut p, "n");
        let x = array(&mut p, "x", &[n.clone(), n.clone() + c(1)]);
        let s = statement(&mut p, &[n, i(0) + c(2)], StatementKind::Assign, at(x, &[i(0), i(1)]), zero());
        p.statement_mut(s).constraints.push(i(1) - c(1));
        p
    }

    #[test]
    fn symbolic_extents_and_constraints_decide() {
        let p = program();
        let facts = Facts::of(p.statements().next().unwrap().1, &p.params);
        let n = Aff::param(crate::param::ParamId(0));
        for (op, a, b, value) in [
            (BinaryOp::Le, i(1), n.clone(), Some(true)),
            (BinaryOp::Lt, i(1), n.clone(), None),
            (BinaryOp::Gt, i(1) - i(0), c(1), Some(false)),
            (BinaryOp::Ge, i(1), c(1), Some(true)),
            (BinaryOp::Eq, i(1), c(0), Some(false)),
            (BinaryOp::Ne, i(1), c(0), Some(true)),
            (BinaryOp::Ne, i(1), i(0), None),
            (BinaryOp::Lt, i(0).floor_div(4), c(0), Some(false)),
        ] {
            assert_eq!(facts.decide(&compare(op, a.clone(), b.clone())), value, "{op:?} {a:?} {b:?}");
        }
    }

    #[test]
    fn what_is_assumed_is_known_until_it_is_forgotten() {
        let p = program();
        let mut facts = Facts::of(p.statements().next().unwrap().1, &p.params);
        let (low, data) = (compare(BinaryOp::Lt, i(0), c(5)), load(crate::program::ArrayId(0), &[i(0), i(1)]));
        let before = facts.assume(&Expr::binary(BinaryOp::Or, low.clone(), data.clone()), false);
        assert_eq!(facts.decide(&compare(BinaryOp::Ge, i(0), c(4))), Some(true));
        assert_eq!(facts.decide(&data), Some(false));
        facts.forget(before);
        assert_eq!(facts.decide(&low), None);
        assert_eq!(facts.decide(&data), None);
    }
}
