//! What arithmetic costs, in vector operations: instructions that work on all lanes of a register at once.

use crate::expr::{BinaryOp, Expr, UnaryOp};

/// Vector operations of a value: two simple ones start per cycle, so one counts half; a function such as `exp` is a
/// polynomial. Loads are not in it.
pub fn operations(value: &Expr) -> f64 {
    let own = match value {
        Expr::Const(_) | Expr::Index(_) | Expr::Load(_) => 0.0,
        Expr::Unary(
            UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round,
            _,
        ) => 0.5,
        Expr::Unary(..) => 20.0,
        Expr::Binary(BinaryOp::Div | BinaryOp::Mod | BinaryOp::Rem, ..) => 8.0,
        Expr::Binary(BinaryOp::Pow, ..) => 40.0,
        Expr::Binary(..) | Expr::Select(..) | Expr::Cast(..) => 0.5,
    };
    own + value.children().into_iter().map(operations).sum::<f64>()
}

/// Loads of a value; each is written once more where it occurs again.
pub fn loads(value: &Expr) -> usize {
    let mut n = 0;
    value.visit_loads(&mut |_| n += 1);
    n
}
