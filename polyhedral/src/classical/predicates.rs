//! `predicates`: leave out conditions that are decided where they are tested.
//!
//! Rewrite: a `Select` whose condition holds in all instances of its statement, or in none, becomes the side that is
//! taken; so do `And`, `Or` and `Not`. Conditions of a guard that always hold are left out, and statements that never run.
//! Constraints that follow from the extents or from another constraint go too. Subscripts stay as they are.
//!
//! What decides: extents, constraints, ranges of parameters, the guard of the statement, and the conditions around the
//! place (a test within a side of the same test; see `facts`). Always legal: values stay, and fewer elements are read.
//! Always wanted, as it only leaves out: a padding that a slice cuts away again, a mask over what is never masked.
//! No statement is split to decide a condition in each half.

use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::expr::{BinaryOp, Expr};
use crate::facts::Facts;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, Statement, StatementId};

pub struct Predicates;

impl Pass for Predicates {
    fn name(&self) -> &'static str {
        "predicates"
    }

    fn summary(&self) -> &'static str {
        "leave out conditions that are decided where they are tested"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        for id in program.schedule.statements() {
            let origin = program.statement(id).origin.clone();
            match decided(program, id) {
                Outcome::Never => {
                    program.remove_statement(id);
                    context.applied(self.name(), &origin, "never runs");
                }
                Outcome::Simpler { statement, conditions, constraints } if conditions + constraints > 0 => {
                    *program.statement_mut(id) = *statement;
                    let what = format!("{conditions} conditions and {constraints} constraints decided");
                    context.applied(self.name(), &origin, what);
                }
                Outcome::Simpler { .. } => {}
            }
        }
        Ok(())
    }
}

enum Outcome {
    Never,
    Simpler { statement: Box<Statement>, conditions: usize, constraints: usize },
}

fn decided(program: &Program, id: StatementId) -> Outcome {
    let mut statement = program.statement(id).clone();
    let Some(constraints) = needed_constraints(program, &mut statement) else { return Outcome::Never };
    let domain = statement.clone();
    let mut place = Place { program, facts: Facts::of(&domain, &program.params), decided: 0 };
    match place.guard(statement.guard.take()) {
        Some(guard) => statement.guard = guard,
        None => return Outcome::Never,
    }
    statement.value = place.expr(statement.value);
    Outcome::Simpler { conditions: place.decided, constraints, statement: Box::new(statement) }
}

/// Leaves out the constraints that follow from the rest of the domain. How many; `None` when one never holds.
fn needed_constraints(program: &Program, statement: &mut Statement) -> Option<usize> {
    let before = statement.constraints.len();
    for n in (0..before).rev() {
        let constraint = statement.constraints.remove(n);
        let facts = Facts::of(statement, &program.params);
        if facts.is_non_negative(&(-constraint.clone() - 1.into())) {
            return None;
        }
        if !facts.is_non_negative(&constraint) {
            statement.constraints.insert(n, constraint);
        }
    }
    Some(before - statement.constraints.len())
}

/// Where an expression stands.
struct Place<'a> {
    program: &'a Program,
    facts: Facts<'a>,
    decided: usize,
}

impl Place<'_> {
    /// The part of a guard that is not decided, which is a fact from now on. `None` when it never holds.
    fn guard(&mut self, guard: Option<Expr>) -> Option<Option<Expr>> {
        let mut kept: Option<Expr> = None;
        for condition in guard.iter().flat_map(Expr::conjuncts) {
            self.decided += usize::from(is_literal(condition));
            let condition = self.expr(condition.clone());
            match self.facts.decide(&condition) {
                Some(false) => return None,
                Some(true) => {}
                None => {
                    self.facts.assume(&condition, true);
                    kept = Some(match kept {
                        Some(before) => Expr::binary(BinaryOp::And, before, condition),
                        None => condition,
                    });
                }
            }
        }
        Some(kept)
    }

    /// The same value wherever the facts hold.
    fn expr(&mut self, expr: Expr) -> Expr {
        match expr {
            Expr::Select(c, a, b) => self.select(*c, *a, *b),
            Expr::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) if self.is_bool(&a) => self.logical(op, *a, *b),
            Expr::Binary(op, a, b) => {
                let (a, b) = (self.expr(*a), self.expr(*b));
                self.settled(Expr::binary(op, a, b))
            }
            Expr::Unary(op, a) => {
                let a = self.expr(*a);
                self.settled(Expr::unary(op, a))
            }
            Expr::Cast(to, a) => Expr::cast(to, self.expr(*a)),
            leaf => self.settled(leaf),
        }
    }

    fn select(&mut self, c: Expr, a: Expr, b: Expr) -> Expr {
        self.decided += usize::from(is_literal(&c));
        let condition = self.expr(c);
        if let Some(holds) = self.facts.decide(&condition) {
            return self.expr(if holds { a } else { b });
        }
        let (a, b) = (self.within(&condition, true, a), self.within(&condition, false, b));
        Expr::select(condition, a, b)
    }

    /// `b` counts only where `a` does not decide.
    fn logical(&mut self, op: BinaryOp, a: Expr, b: Expr) -> Expr {
        let absorbing = op == BinaryOp::Or;
        self.decided += [&a, &b].into_iter().filter(|e| is_literal(e)).count();
        let a = self.expr(a);
        if let Some(value) = self.facts.decide(&a) {
            return if value == absorbing { literal(value) } else { self.expr(b) };
        }
        let b = self.within(&a, !absorbing, b);
        match as_literal(&b) {
            Some(value) if value == absorbing => literal(value),
            Some(_) => a,
            None => Expr::binary(op, a, b),
        }
    }

    fn within(&mut self, condition: &Expr, holds: bool, expr: Expr) -> Expr {
        let before = self.facts.assume(condition, holds);
        let expr = self.expr(expr);
        self.facts.forget(before);
        expr
    }

    /// The literal, for a condition that is decided.
    fn settled(&mut self, condition: Expr) -> Expr {
        match self.facts.decide(&condition) {
            Some(value) => {
                self.decided += usize::from(!is_literal(&condition));
                literal(value)
            }
            None => condition,
        }
    }

    fn is_bool(&self, expr: &Expr) -> bool {
        self.program.dtype(expr) == DType::Bool
    }
}

fn literal(value: bool) -> Expr {
    Expr::Const(Scalar::Int(i64::from(value), DType::Bool))
}

fn as_literal(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Const(Scalar::Int(value, DType::Bool)) => Some(*value != 0),
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    as_literal(expr).is_some()
}
