//! Marks that the run leaves where extents that only it can tell differ, and where the sizes do not fit the branch
//! that it takes.
//!
//! A mark is an integer: 0 where all is well, 1 where an index lies outside (`positions`), else one of these. The
//! artifact's run time makes a sentence of it.

use super::amounts;
use super::arguments::{input, output};
use super::builder::Builder;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Origin, Result, StatementKind, UnaryOp};

/// The branch that is taken has no meaning for these sizes.
const SIZES: i64 = 2;

/// A counter leaves the range that the sizes inside its loop rely on.
pub const COUNTER: i64 = 3;

/// Two extents below 2^31 differ: `1 << 62 | one << 31 | other`.
const DIFFER: i64 = 1 << 62;
const EXTENT_BITS: u32 = 31;

/// `Expect`: a view of the operand, and a mark where its shape is not the wanted one.
pub fn expect(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, extents, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let wanted = b.graph.tensor(extents).affs().unwrap_or_default();
    let pairs = b.shape(source).into_iter().zip(wanted).filter(|(own, wanted)| own != wanted);
    let differ = pairs.map(|(own, wanted)| differ(own, wanted)).reduce(max);
    if let Some(differ) = differ {
        mark_for_user(b, node, differ);
    }
    let all = b.iters(b.shape(target).len());
    b.alias(target, source, &all)
}

/// `Chosen`: a view of the operand, and a mark where the condition is not the wanted one.
pub fn chosen(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, condition, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let first = vec![Expr::int(0); b.shape(condition).len()];
    let value = b.read(condition, &first)?;
    let (good, bad) = (Expr::int(0), Expr::int(SIZES));
    let wanted = node.int("wanted") == Some(1);
    mark_for_user(b, node, if wanted { Expr::select(value, good, bad) } else { Expr::select(value, bad, good) });
    let all = b.iters(b.shape(target).len());
    b.alias(target, source, &all)
}

/// Raises a mark of its own in the name of the node that the attributes `node` and `op` give.
fn mark_for_user(b: &mut Builder, node: &Node, value: Expr) {
    let name = |attribute: &str| node.string(attribute).unwrap_or_default().to_string();
    let user = Origin { node: name("node"), op: name("op") };
    let outer = std::mem::replace(&mut b.origin, user);
    let flag = amounts::flag(b, node);
    mark(b, flag, value);
    b.origin = outer;
}

/// Both extents in one number where they differ, else 0.
fn differ(one: Aff, other: Aff) -> Expr {
    let cut = |extent: Aff| min(index(extent), Expr::int((1 << EXTENT_BITS) - 1));
    let high = mul(cut(one.clone()), Expr::int(1 << EXTENT_BITS));
    let both = add(add(high, cut(other.clone())), Expr::int(DIFFER));
    Expr::select(eq(index(one), index(other)), Expr::int(0), both)
}

/// Raises the mark.
pub fn mark(b: &mut Builder, flag: ArrayId, value: Expr) {
    let id = b.statement(StatementKind::Reduce(BinaryOp::Max), &[], flag, vec![], value);
    b.emit_perfect(id, 0);
}

/// Whether the branch runs, as a scalar: `chosen`, and every element of `needs` is at least 0. Where only `chosen`
/// holds, the run is marked.
pub fn fitting(b: &mut Builder, node: &Node, name: &str, chosen: Expr, needs: TensorId) -> ArrayId {
    let needs = b.graph.tensor(needs).affs().unwrap_or_default();
    let holds = needs.into_iter().map(|aff| ge(index(aff), Expr::int(0))).reduce(and);
    let holds = holds.unwrap_or(Expr::literal(1.0, DType::Bool));
    let runs = b.temp(&format!("{}_{name}", node.name), DType::Bool, vec![]);
    let id = b.assign(&[], runs, vec![], and(chosen.clone(), holds));
    b.emit_perfect(id, 0);
    let flag = amounts::flag(b, node);
    let amiss = and(chosen, Expr::unary(UnaryOp::Not, b.load(runs, vec![])));
    mark(b, flag, Expr::select(amiss, Expr::int(SIZES), Expr::int(0)));
    runs
}
