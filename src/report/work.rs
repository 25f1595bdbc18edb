//! How much arithmetic a program asks for, as formulas of the named dimensions.

use sirius_lowering::descriptor::extent_text;
use sirius_polyhedral::{BinaryOp, DType, Expr, Program, Statement, StatementKind};
use std::collections::BTreeMap;

/// Floating-point operations of one inference as a sum of products: `2*(batch)*(512)` and so on; equal products
/// are merged. Counted before any pass, so recomputation by fusion does not count as work. Empty when the work
/// depends on data: a branch, or a loop that may end early.
pub fn flops(program: &Program) -> Vec<String> {
    if program.statements().any(|(_, s)| s.guard.is_some()) {
        return Vec::new();
    }
    let mut terms: BTreeMap<String, u64> = BTreeMap::new();
    for (_, statement) in program.statements() {
        let count = operations(program, statement);
        if count > 0 {
            let (constant, symbolic) = domain(program, statement);
            let total = terms.entry(symbolic).or_default();
            *total = total.saturating_add(count.saturating_mul(constant));
        }
    }
    terms.into_iter().map(|(symbolic, count)| format!("{count}{symbolic}")).collect()
}

/// The number of instances: constant factor, and `*(extent)` for each symbolic one. Triangular domains count
/// in full.
fn domain(program: &Program, statement: &Statement) -> (u64, String) {
    let (mut constant, mut symbolic) = (1u64, String::new());
    for extent in statement.extents.iter().filter(|e| !e.has_iters()) {
        match extent.as_constant() {
            Some(n) => constant = constant.saturating_mul(u64::try_from(n).unwrap_or(0)),
            None => symbolic.push_str(&format!("*({})", extent_text(extent, &program.params))),
        }
    }
    (constant, symbolic)
}

fn operations(program: &Program, statement: &Statement) -> u64 {
    let is_float = program.array(statement.target.array).dtype.is_float();
    let own = matches!(statement.kind, StatementKind::Reduce(_)) && is_float;
    own as u64 + float_operations(program, &statement.value)
}

/// One for each arithmetic operation on floats; a function such as `exp` counts one as well.
fn float_operations(program: &Program, expr: &Expr) -> u64 {
    let here = match expr {
        Expr::Unary(_, a) => program.dtype(a).is_float(),
        Expr::Binary(op, a, _) => !is_logic(*op) && program.dtype(a) != DType::Bool && program.dtype(a).is_float(),
        _ => false,
    };
    here as u64 + expr.children().iter().map(|c| float_operations(program, c)).sum::<u64>()
}

fn is_logic(op: BinaryOp) -> bool {
    op.is_comparison() || matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Xor)
}
