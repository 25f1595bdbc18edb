//! In which order the operations of a value are written for the positions of a tile.
//!
//! A value is a chain of operations that wait for one another, and the chains of several positions fill each other's gaps.
//! The processor finds them by itself while its schedulers hold several chains (64 floating-point operations that wait in
//! Zen 4); of longer ones the operations of all positions have to lie side by side.

use super::Emitter;
use super::space::At;
use sirius_polyhedral::{Access, Expr, Result};

/// Operations in a row that are a long chain.
const LONG: usize = 8;

impl Emitter<'_, '_, '_> {
    /// Evaluates a long chain operation by operation, each for all positions, the innermost first. Where the registers do
    /// not hold that many results, and of short chains, only functions (`exp`, ..) are evaluated so: they are long each.
    pub fn side_by_side(&mut self, value: &Expr) -> Result<()> {
        let positions = self.positions();
        let all = chain(value) >= LONG && positions.len() * registers(value) <= self.registers;
        self.operation_by_operation(value, &positions, all)
    }

    fn operation_by_operation(&mut self, value: &Expr, positions: &[At], all: bool) -> Result<()> {
        match value {
            // What a side reads is masked by the condition, which is known there only.
            Expr::Select(..) | Expr::Const(_) | Expr::Index(_) | Expr::Load(_) => return Ok(()),
            Expr::Unary(..) | Expr::Binary(..) | Expr::Cast(..) => {}
        }
        value.children().into_iter().try_for_each(|child| self.operation_by_operation(child, positions, all))?;
        if !all && !value.is_function() {
            return Ok(());
        }
        positions.iter().try_for_each(|at| self.eval(value, *at, self.mask(*at)).map(|_| ()))
    }
}

/// The most operations of which each waits for the one before.
fn chain(value: &Expr) -> usize {
    match value {
        Expr::Const(_) | Expr::Index(_) | Expr::Load(_) => 0,
        other => 1 + other.children().into_iter().map(chain).max().unwrap_or(0),
    }
}

/// How many registers one position needs: results that wait for the other operand (Sethi and Ullman, 1970), and elements
/// that are read more than once.
fn registers(value: &Expr) -> usize {
    let mut reads: Vec<(Access, usize)> = Vec::new();
    value.visit_loads(&mut |access| match reads.iter_mut().find(|(known, _)| known == access) {
        Some((_, times)) => *times += 1,
        None => reads.push((access.clone(), 1)),
    });
    results(value) + reads.iter().filter(|(_, times)| *times > 1).count()
}

/// The most results that exist at once. Elements and constants are operands of instructions.
fn results(value: &Expr) -> usize {
    match value {
        Expr::Const(_) | Expr::Index(_) | Expr::Load(_) => 0,
        Expr::Unary(_, a) | Expr::Cast(_, a) => results(a).max(1),
        Expr::Binary(_, a, b) => results(a).max(results(a).min(1) + results(b)).max(1),
        // Evaluated as one.
        Expr::Select(..) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sirius_polyhedral::{ArrayId, BinaryOp, UnaryOp};

    fn load(n: u32) -> Expr {
        Expr::Load(Access { array: ArrayId(n), index: vec![] })
    }

    fn sum(a: Expr, b: Expr) -> Expr {
        Expr::binary(BinaryOp::Add, a, b)
    }

    #[test]
    fn a_chain_needs_one_register_and_two_chains_two() {
        let chain = |n: u32| sum(Expr::unary(UnaryOp::Abs, sum(load(n), load(n + 1))), load(n + 2));
        assert_eq!(registers(&chain(0)), 1);
        assert_eq!(registers(&sum(chain(0), chain(3))), 2);
        assert_eq!(registers(&sum(load(9), chain(0))), 1);
    }

    #[test]
    fn what_is_read_again_stays() {
        assert_eq!(registers(&sum(sum(load(0), load(1)), load(0))), 2);
    }
}
