//! Counters of a `Loop` that sizes inside it rely on: carried integers that must stay in a range.

use super::agree::{COUNTER, mark};
use super::{Builder, amounts, unsupported};
use crate::graph::{Block, COUNTERS, Node, TensorId};
use sirius_polyhedral::{ArrayId, BinaryOp, DType, Expr, Result, UnaryOp};

/// An iteration that would begin with another value does not run, and marks the run.
pub struct Counters {
    flag: ArrayId,
    /// Number of the carried value, and its bounds.
    rules: Vec<(usize, i64, i64)>,
}

impl Counters {
    pub fn of(builder: &mut Builder, node: &Node) -> Option<Counters> {
        let rules = node.ints(COUNTERS)?.chunks_exact(3).map(|rule| (rule[0] as usize, rule[1], rule[2])).collect();
        Some(Counters { flag: amounts::flag(builder, node), rules })
    }

    /// Does the first iteration run, where it would run?
    pub fn start(&self, builder: &mut Builder, node: &Node, runs: Expr) -> Result<Expr> {
        let values: Vec<TensorId> = node.inputs.iter().skip(2).flatten().copied().collect();
        self.checked(builder, node, &values, runs)
    }

    /// Does the next iteration run, where it would run `again`?
    pub fn step(&self, builder: &mut Builder, node: &Node, body: &Block, again: Expr) -> Result<Expr> {
        self.checked(builder, node, &body.outputs[1..], again)
    }

    fn checked(&self, builder: &mut Builder, node: &Node, values: &[TensorId], runs: Expr) -> Result<Expr> {
        let mut outside = Expr::literal(0.0, DType::Bool);
        for (k, low, high) in &self.rules {
            let tensor = *values.get(*k).ok_or_else(|| unsupported(builder, node))?;
            let value = Expr::cast(DType::I64, super::control::scalar(builder, tensor)?);
            let below = Expr::binary(BinaryOp::Lt, value.clone(), Expr::int(*low));
            let above = Expr::binary(BinaryOp::Gt, value, Expr::int(*high));
            outside = Expr::binary(BinaryOp::Or, outside, Expr::binary(BinaryOp::Or, below, above));
        }
        let array = builder.temp(&format!("{}_outside", node.name), DType::Bool, vec![]);
        let id = builder.assign(&[], array, vec![], Expr::binary(BinaryOp::And, runs.clone(), outside));
        builder.emit_perfect(id, 0);
        let outside = builder.load(array, vec![]);
        mark(builder, self.flag, Expr::select(outside.clone(), Expr::int(COUNTER), Expr::int(0)));
        Ok(Expr::binary(BinaryOp::And, runs, Expr::unary(UnaryOp::Not, outside)))
    }
}
