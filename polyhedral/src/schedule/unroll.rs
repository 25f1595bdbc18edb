//! `unroll`: copy out loops of constant length.
//!
//! Rewrite: a sequential loop of constant length is marked [`Mark::Unroll`], innermost first, and its body is copied for every
//! iteration. Always legal: the order does not change. Wanted while the copies of its statements, with the rows and vectors
//! of the tile around it, fit a budget of vector instructions. After `contract` and `team`, which look for sequential
//! loops. By name only: on six networks it gained nothing, whatever the budget (docs/counting.md).

use super::group;
use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::Program;
use crate::schedule_tree::{Band, Mark, Node};

pub struct Unroll;

/// Copies of statements, in vectors, that one unrolled nest may have.
const BUDGET: i64 = 300;

impl Pass for Unroll {
    fn name(&self) -> &'static str {
        "unroll"
    }

    fn summary(&self) -> &'static str {
        "copy out short loops of constant length (CPU targets)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu {
            let mut roots = std::mem::take(&mut program.schedule.roots);
            unroll_list(program, &mut roots, 1, context);
            program.schedule.roots = roots;
        }
        Ok(())
    }
}

/// Marks loops in the list, inside tiles that make `around` copies of everything. The copies of its statements in one
/// iteration of the loops around it; `None` where a loop is left in it.
fn unroll_list(program: &Program, nodes: &mut [Node], around: i64, context: &mut PassContext) -> Option<i64> {
    // All nodes, also behind one that keeps a loop.
    let copies: Vec<Option<i64>> = nodes.iter_mut().map(|node| unroll(program, node, around, context)).collect();
    copies.into_iter().sum()
}

fn unroll(program: &Program, node: &mut Node, around: i64, context: &mut PassContext) -> Option<i64> {
    let Node::Band(band) = node else { return Some(1) };
    let side_by_side = match band.mark {
        Mark::Rows(n) => i64::from(n),
        Mark::Lanes(n) => (i64::from(n) / context.machine.lanes(4) as i64).max(1),
        _ => 1,
    };
    let inside = unroll_list(program, &mut band.body, around * side_by_side, context)?;
    match band.mark {
        Mark::Rows(_) | Mark::Lanes(_) => Some(inside * side_by_side),
        Mark::Seq => {
            let length = constant_length(program, band)?;
            let copies = inside.checked_mul(length).filter(|n| n.saturating_mul(around) <= BUDGET)?;
            let subject = band.members.keys().next().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
            context.applied(
                "unroll",
                &subject,
                format!("{length} iterations copied out: copies of statements now {copies}"),
            );
            band.mark = Mark::Unroll;
            Some(copies)
        }
        _ => None,
    }
}

/// The number of iterations, when all statements have the same constant one.
fn constant_length(program: &Program, band: &Band) -> Option<i64> {
    group::common_extent(program, band)?.as_constant()
}
