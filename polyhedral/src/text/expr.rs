//! Expressions and accesses as text: the printer, and what it shares with `expr_parser`.

use super::names::Names;
use crate::aff::Aff;
use crate::dtype::{DType, Scalar};
use crate::expr::{Access, BinaryOp, Expr};

/// How tightly an expression binds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Comparison,
    Sum,
    Product,
    Atom,
}

pub fn print_access(access: &Access, names: &Names) -> String {
    let index: Vec<String> = access.index.iter().map(|e| print_expr(e, names)).collect();
    format!("{}[{}]", names.scope.array(access.array), index.join(", "))
}

pub fn print_expr(expr: &Expr, names: &Names) -> String {
    print_at(expr, names, Level::Comparison)
}

/// In parentheses where `expr` binds less tightly than `level`.
fn print_at(expr: &Expr, names: &Names, level: Level) -> String {
    let text = match expr {
        Expr::Const(s) => print_scalar(*s),
        Expr::Index(a) => names.aff(a),
        Expr::Load(access) => print_access(access, names),
        Expr::Unary(op, a) => format!("{}({})", op.name(), print_expr(a, names)),
        Expr::Cast(t, a) => format!("{t}({})", print_expr(a, names)),
        Expr::Select(c, a, b) => {
            format!("select({}, {}, {})", print_expr(c, names), print_expr(a, names), print_expr(b, names))
        }
        Expr::Binary(op, a, b) => match infix(*op, a, b) {
            Some((symbol, own)) => {
                let (left, right) = operands(own);
                format!("{} {symbol} {}", print_at(a, names, left), print_at(b, names, right))
            }
            None => format!("{}({}, {})", op.name(), print_expr(a, names), print_expr(b, names)),
        },
    };
    if binds(expr) < level { format!("({text})") } else { text }
}

/// How tightly the operands must bind: sums and products associate to the left, comparisons not at all.
fn operands(level: Level) -> (Level, Level) {
    match level {
        Level::Comparison => (Level::Sum, Level::Sum),
        Level::Sum => (Level::Sum, Level::Product),
        Level::Product | Level::Atom => (Level::Product, Level::Atom),
    }
}

fn binds(expr: &Expr) -> Level {
    match expr {
        Expr::Binary(op, a, b) => infix(*op, a, b).map_or(Level::Atom, |(_, level)| level),
        Expr::Index(a) => match (a.terms(), a.offset()) {
            ([], _) | ([(_, 1 | -1)], 0) => Level::Atom,
            ([_], 0) => Level::Product,
            _ => Level::Sum,
        },
        _ => Level::Atom,
    }
}

/// The operator's symbol, unless the parser would read the infix form as an affine expression.
fn infix(op: BinaryOp, a: &Expr, b: &Expr) -> Option<(&'static str, Level)> {
    let symbol = match op {
        BinaryOp::Add => ("+", Level::Sum),
        BinaryOp::Sub => ("-", Level::Sum),
        BinaryOp::Mul => ("*", Level::Product),
        BinaryOp::Div => ("/", Level::Product),
        comparison => (COMPARISONS.into_iter().find(|(_, op)| *op == comparison)?.0, Level::Comparison),
    };
    let read_otherwise = match (op, a, b) {
        (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, Expr::Index(a), Expr::Index(b)) => affine(op, a, b).is_some(),
        (BinaryOp::Div, Expr::Index(_), Expr::Index(_)) => true,
        _ => false,
    };
    (!read_otherwise).then_some(symbol)
}

pub const COMPARISONS: [(&str, BinaryOp); 6] = [
    ("==", BinaryOp::Eq),
    ("!=", BinaryOp::Ne),
    ("<", BinaryOp::Lt),
    ("<=", BinaryOp::Le),
    (">", BinaryOp::Gt),
    (">=", BinaryOp::Ge),
];

/// An infix operation on affine operands, where the result is affine.
pub fn affine(op: BinaryOp, a: &Aff, b: &Aff) -> Option<Aff> {
    match op {
        BinaryOp::Add => Some(a.clone() + b.clone()),
        BinaryOp::Sub => Some(a.clone() - b.clone()),
        BinaryOp::Mul => match (a.as_constant(), b.as_constant()) {
            (Some(c), _) => Some(b.clone() * c),
            (_, Some(c)) => Some(a.clone() * c),
            _ => None,
        },
        _ => None,
    }
}

/// `1.5f32`, `-3i32`, `true`, `inf(f32)`. A value that its type cannot hold exactly says so: `0.1f64_f32`.
pub fn print_scalar(scalar: Scalar) -> String {
    match scalar {
        Scalar::Float(v, t) if v.is_nan() => format!("nan({t})"),
        Scalar::Float(v, t) if v.is_infinite() => format!("{}inf({t})", if v < 0.0 { "-" } else { "" }),
        Scalar::Float(v, DType::F64) => format!("{v:?}f64"),
        Scalar::Float(v, t) if v == v as f32 as f64 => format!("{:?}{t}", v as f32),
        Scalar::Float(v, t) => format!("{v:?}f64_{t}"),
        Scalar::Int(0, DType::Bool) => "false".into(),
        Scalar::Int(1, DType::Bool) => "true".into(),
        Scalar::Int(v, t) => format!("{v}{t}"),
    }
}
