//! isl's AST expressions as affine expressions, bounds and conditions over our loop variables.

use crate::aff::Aff;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::expr::{BinaryOp, Expr, UnaryOp};
use crate::isl::{AstExpr, AstOp};
use crate::loop_nest::Condition;

/// What isl's names stand for: loop variables and parameters.
pub trait Scope {
    fn lookup(&self, name: &str) -> Option<Aff>;
}

/// The affine expression, or `None` when it needs `min`, `max` or a selection.
pub fn affine(scope: &dyn Scope, expr: &AstExpr) -> Result<Option<Aff>> {
    Ok(match extremum(scope, expr)? {
        Some((_, mut affs)) if affs.len() == 1 => affs.pop(),
        _ => None,
    })
}

/// Which of several affine expressions counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extremum {
    Max,
    Min,
}

impl Extremum {
    fn opposite(self) -> Extremum {
        match self {
            Extremum::Max => Extremum::Min,
            Extremum::Min => Extremum::Max,
        }
    }
}

/// A maximum or minimum of several affine expressions, or one expression.
pub type Extrema = (Option<Extremum>, Vec<Aff>);

/// The expression as `max(..)` or `min(..)` of affine expressions; `None` as the operator where there is only
/// one. `None` as a whole when it is neither.
pub fn extremum(scope: &dyn Scope, expr: &AstExpr) -> Result<Option<Extrema>> {
    let one = |aff: Aff| Ok(Some((None, vec![aff])));
    match expr {
        AstExpr::Int(v) => one(Aff::constant(*v)),
        AstExpr::Name(name) => {
            one(scope.lookup(name).ok_or_else(|| Error::bug("E920", format!("isl uses an unknown name {name}")))?)
        }
        AstExpr::Op(op, arguments) => {
            let parts = arguments.iter().map(|a| extremum(scope, a)).collect::<Result<Vec<_>>>()?;
            match parts.into_iter().collect::<Option<Vec<_>>>() {
                Some(parts) => Ok(combine(*op, parts)),
                None => Ok(None),
            }
        }
    }
}

/// Applies an operator to extrema. All operators here are monotone in the argument that may be an extremum.
fn combine(op: AstOp, mut parts: Vec<Extrema>) -> Option<Extrema> {
    let each =
        |(kind, affs): Extrema, f: &dyn Fn(Aff) -> Aff| Some((kind, affs.into_iter().map(f).collect::<Vec<_>>()));
    match op {
        AstOp::Max => merge(Extremum::Max, parts),
        AstOp::Min => merge(Extremum::Min, parts),
        AstOp::Minus => negate(parts.pop()?),
        AstOp::Add | AstOp::Sub => {
            let right = parts.pop()?;
            let right = if op == AstOp::Sub { negate(right)? } else { right };
            sum(parts.pop()?, right)
        }
        AstOp::Mul | AstOp::Div | AstOp::FloorDiv | AstOp::NonNegativeDiv | AstOp::NonNegativeRem | AstOp::ZeroRem => {
            let (right, left) = (parts.pop()?, parts.pop()?);
            let (c, other) = match (constant(&right), constant(&left)) {
                (Some(c), _) => (c, left),
                (None, Some(c)) if op == AstOp::Mul => (c, right),
                _ => return None,
            };
            match op {
                AstOp::Mul if c >= 0 => each(other, &|a| a * c),
                AstOp::Mul => negate(each(other, &|a| a * -c)?),
                _ if c <= 0 => None,
                AstOp::NonNegativeRem | AstOp::ZeroRem if other.0.is_some() => None,
                AstOp::NonNegativeRem | AstOp::ZeroRem => each(other, &|a| a.modulo(c)),
                _ => each(other, &|a| a.floor_div(c)),
            }
        }
        _ => None,
    }
}

fn constant((kind, affs): &Extrema) -> Option<i64> {
    if kind.is_none() { affs.first().and_then(Aff::as_constant) } else { None }
}

fn negate((kind, affs): Extrema) -> Option<Extrema> {
    Some((kind.map(Extremum::opposite), affs.into_iter().map(|a| -a).collect()))
}

/// A sum of two maxima is the maximum of all sums.
fn sum((a, left): Extrema, (b, right): Extrema) -> Option<Extrema> {
    if a.is_some() && b.is_some() && a != b {
        return None;
    }
    let sums = left.iter().flat_map(|l| right.iter().map(move |r| l.clone() + r.clone())).collect();
    Some((a.or(b), sums))
}

fn merge(kind: Extremum, parts: Vec<Extrema>) -> Option<Extrema> {
    let mut out: Vec<Aff> = Vec::new();
    for (inner, affs) in parts {
        if inner.is_some_and(|k| k != kind) {
            return None;
        }
        for aff in affs {
            if !out.contains(&aff) {
                out.push(aff);
            }
        }
    }
    let kind = (out.len() > 1).then_some(kind);
    Some((kind, out))
}

/// A condition: affine where it is a conjunction, a boolean expression otherwise.
pub fn condition(scope: &dyn Scope, expr: &AstExpr) -> Result<Condition> {
    let mut affs = Vec::new();
    if conjunction(scope, expr, &mut affs)? {
        return Ok(Condition::NonNegative(affs));
    }
    Ok(Condition::Guard(boolean(scope, expr)?))
}

/// Collects affine expressions that must be `>= 0`; false when `expr` is not such a conjunction.
fn conjunction(scope: &dyn Scope, expr: &AstExpr, out: &mut Vec<Aff>) -> Result<bool> {
    let AstExpr::Op(op, arguments) = expr else { return Ok(false) };
    match op {
        AstOp::And => {
            for argument in arguments {
                if !conjunction(scope, argument, out)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        AstOp::Eq => Ok(at_most(scope, &arguments[0], &arguments[1], 0, out)?
            && at_most(scope, &arguments[1], &arguments[0], 0, out)?),
        AstOp::Le => at_most(scope, &arguments[0], &arguments[1], 0, out),
        AstOp::Lt => at_most(scope, &arguments[0], &arguments[1], 1, out),
        AstOp::Ge => at_most(scope, &arguments[1], &arguments[0], 0, out),
        AstOp::Gt => at_most(scope, &arguments[1], &arguments[0], 1, out),
        _ => Ok(false),
    }
}

/// `low + gap <= high`, which distributes over a maximum below and a minimum above.
fn at_most(scope: &dyn Scope, low: &AstExpr, high: &AstExpr, gap: i64, out: &mut Vec<Aff>) -> Result<bool> {
    let (Some((a, lows)), Some((b, highs))) = (extremum(scope, low)?, extremum(scope, high)?) else { return Ok(false) };
    if a == Some(Extremum::Min) || b == Some(Extremum::Max) {
        return Ok(false);
    }
    for l in &lows {
        out.extend(highs.iter().map(|h| h.clone() - l.clone() - Aff::constant(gap)));
    }
    Ok(true)
}

/// Any condition as a boolean expression.
fn boolean(scope: &dyn Scope, expr: &AstExpr) -> Result<Expr> {
    let AstExpr::Op(op, arguments) = expr else { return Err(unexpected(expr)) };
    let join = |op, left, right| Expr::binary(op, left, right);
    match op {
        AstOp::And | AstOp::Or => {
            let op = if *op == AstOp::And { BinaryOp::And } else { BinaryOp::Or };
            let parts = arguments.iter().map(|a| boolean(scope, a)).collect::<Result<Vec<_>>>()?;
            parts.into_iter().reduce(|a, b| join(op, a, b)).ok_or_else(|| unexpected(expr))
        }
        AstOp::Eq => Ok(join(BinaryOp::Eq, integer(scope, &arguments[0])?, integer(scope, &arguments[1])?)),
        AstOp::Le => Ok(join(BinaryOp::Le, integer(scope, &arguments[0])?, integer(scope, &arguments[1])?)),
        AstOp::Lt => Ok(join(BinaryOp::Lt, integer(scope, &arguments[0])?, integer(scope, &arguments[1])?)),
        AstOp::Ge => Ok(join(BinaryOp::Ge, integer(scope, &arguments[0])?, integer(scope, &arguments[1])?)),
        AstOp::Gt => Ok(join(BinaryOp::Gt, integer(scope, &arguments[0])?, integer(scope, &arguments[1])?)),
        _ => Err(unexpected(expr)),
    }
}

/// Any integer as an expression.
fn integer(scope: &dyn Scope, expr: &AstExpr) -> Result<Expr> {
    if let Some(aff) = affine(scope, expr)? {
        return Ok(Expr::Index(aff));
    }
    let AstExpr::Op(op, arguments) = expr else { return Err(unexpected(expr)) };
    if *op == AstOp::Select && arguments.len() == 3 {
        let test = boolean(scope, &arguments[0])?;
        return Ok(Expr::select(test, integer(scope, &arguments[1])?, integer(scope, &arguments[2])?));
    }
    let op = match op {
        AstOp::Max => BinaryOp::Max,
        AstOp::Min => BinaryOp::Min,
        AstOp::Add => BinaryOp::Add,
        AstOp::Sub => BinaryOp::Sub,
        AstOp::Mul => BinaryOp::Mul,
        _ => return Err(unexpected(expr)),
    };
    let parts = arguments.iter().map(|a| integer(scope, a)).collect::<Result<Vec<_>>>()?;
    parts.into_iter().reduce(|a, b| Expr::binary(op, a, b)).ok_or_else(|| unexpected(expr))
}

/// Takes the first selection out of an expression: its condition, and the expression for either outcome.
pub fn split_selection(expr: &AstExpr) -> Option<(AstExpr, AstExpr, AstExpr)> {
    let AstExpr::Op(op, arguments) = expr else { return None };
    if let (AstOp::Select, [test, then, otherwise]) = (op, arguments.as_slice()) {
        return Some((test.clone(), then.clone(), otherwise.clone()));
    }
    arguments.iter().enumerate().find_map(|(at, argument)| {
        let (test, then, otherwise) = split_selection(argument)?;
        let with = |part| {
            let mut arguments = arguments.clone();
            arguments[at] = part;
            AstExpr::Op(*op, arguments)
        };
        Some((test, with(then), with(otherwise)))
    })
}

fn unexpected(expr: &AstExpr) -> Error {
    Error::bug("E921", format!("cannot express isl's {expr:?}"))
}

/// `not condition`.
pub fn negation(condition: &Condition) -> Condition {
    if let Condition::NonNegative(affs) = condition
        && let [only] = affs.as_slice()
    {
        return Condition::NonNegative(vec![-only.clone() - Aff::constant(1)]);
    }
    let holds = match condition {
        Condition::Guard(expr) => expr.clone(),
        Condition::NonNegative(affs) => affs
            .iter()
            .map(|a| Expr::binary(BinaryOp::Ge, Expr::Index(a.clone()), Expr::int(0)))
            .reduce(|a, b| Expr::binary(BinaryOp::And, a, b))
            .unwrap_or_else(|| Expr::literal(1.0, DType::Bool)),
    };
    Condition::Guard(Expr::unary(UnaryOp::Not, holds))
}
