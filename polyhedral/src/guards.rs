//! Places data-dependent conditions in a loop nest, as far out as they can go.
//!
//! Every guarded statement arrives under its own test. Three rewrites: consecutive nodes under the same test share
//! one; a loop whose whole body is under a test that does not use the loop's variable goes under the test; a
//! sequential loop over `t` whose whole body is under an exit predicate `exit[.., t]` leaves the loop at the first
//! false, because such a predicate stays false (`Program::exits`). Where other statements keep the loop running, the
//! predicate of the next iteration is cleared before the test: nothing under the test would write it.
//!
//! All three only evaluate a test earlier than before, and the value is the same: in a legal schedule every write
//! of an element precedes all its reads (single assignment), so whatever runs between the new place and the old
//! one cannot write the elements that the test reads. But a test never moves out of a barrier of a thread team:
//! another worker may still be computing it.

use crate::dtype::DType;
use crate::expr::{Access, BinaryOp, Expr};
use crate::loop_nest::{Condition, Nest, VarId};
use crate::program::{ArrayId, Program, StatementKind};
use crate::schedule_tree::Mark;

/// See the module comment.
pub fn place(program: &Program, body: &mut Vec<Nest>) {
    let nodes = std::mem::take(body);
    *body = place_list(&program.exits, nodes);
}

fn place_list(exits: &[ArrayId], nodes: Vec<Nest>) -> Vec<Nest> {
    let nodes = nodes.into_iter().map(|node| exit_outside(exits, place_node(exits, nested(node)))).collect();
    merge(nodes)
}

/// A test of `a and b` as a test of `b` inside one of `a`, so that it can share `a` with its neighbours (the
/// branches of an `If` in a loop that may end early).
fn nested(node: Nest) -> Nest {
    match node {
        Nest::If { condition: Condition::Guard(Expr::Binary(BinaryOp::And, a, b)), body } => {
            let inner = nested(Nest::If { condition: Condition::Guard(*b), body });
            nested(Nest::If { condition: Condition::Guard(*a), body: vec![inner] })
        }
        other => other,
    }
}

/// A test of data under a condition on parameters alone: the condition goes inside, so that the test can join its
/// neighbours'. Exit predicates only: they are there in every iteration, whatever the parameters are.
fn exit_outside(exits: &[ArrayId], node: Nest) -> Nest {
    match node {
        Nest::If { condition: Condition::NonNegative(affs), body } if affs.iter().all(|a| !a.has_iters()) => {
            let is_predicate = |g: &Expr| matches!(g, Expr::Load(access) if exits.contains(&access.array));
            let condition = Condition::NonNegative(affs);
            match whole_body_guard(&body).filter(|g| is_predicate(g)).cloned() {
                Some(guard) => {
                    let inner = Nest::If { condition, body: guarded_part(body) };
                    Nest::If { condition: Condition::Guard(guard), body: vec![inner] }
                }
                None => Nest::If { condition, body },
            }
        }
        other => other,
    }
}

/// Joins consecutive nodes under equal tests.
fn merge(nodes: Vec<Nest>) -> Vec<Nest> {
    let mut out: Vec<Nest> = Vec::new();
    for node in nodes {
        match (out.last_mut(), node) {
            (Some(Nest::If { condition: a, body }), Nest::If { condition: b, body: more })
                if matches!(a, Condition::Guard(_)) && *a == b =>
            {
                body.extend(more);
                *body = merge(std::mem::take(body));
            }
            (_, node) => out.push(node),
        }
    }
    out
}

fn place_node(exits: &[ArrayId], node: Nest) -> Nest {
    match node {
        Nest::If { condition, body } => Nest::If { condition, body: place_list(exits, body) },
        Nest::Loop { var, lower, upper, kind, body } => {
            let mut body = place_list(exits, body);
            let mut outside = Vec::new();
            // First, so that an exit predicate below a test that stays the same is the first test of the body.
            while let Some(guard) = whole_body_guard(&body).filter(|g| !uses(g, var) && kind != Mark::Barrier).cloned()
            {
                body = guarded_part(body);
                outside.push(guard);
            }
            if kind == Mark::Seq {
                body = leave_early(exits, var, body).unwrap_or_else(|body| cleared(exits, var, body));
            }
            let inner = Nest::Loop { var, lower, upper, kind, body };
            outside
                .into_iter()
                .rev()
                .fold(inner, |node, guard| Nest::If { condition: Condition::Guard(guard), body: vec![node] })
        }
        other => other,
    }
}

/// The test that covers the whole list.
fn whole_body_guard(body: &[Nest]) -> Option<&Expr> {
    match body {
        [Nest::If { condition: Condition::Guard(guard), .. }] => Some(guard),
        _ => None,
    }
}

/// What is under the test that covers the whole list.
fn guarded_part(mut body: Vec<Nest>) -> Vec<Nest> {
    match body.pop() {
        Some(Nest::If { body, .. }) => body,
        other => other.into_iter().collect(),
    }
}

fn uses(expr: &Expr, var: VarId) -> bool {
    let mut used = false;
    expr.visit_affs(&mut |a| used |= a.uses_iter(var as usize));
    used
}

/// Replaces a test of an exit predicate around the whole body by a break at its head; the body as it was where there
/// is no such test.
fn leave_early(exits: &[ArrayId], var: VarId, body: Vec<Nest>) -> Result<Vec<Nest>, Vec<Nest>> {
    let mut conjuncts = Vec::new();
    whole_body_guard(&body).iter().for_each(|guard| flatten(guard, &mut conjuncts));
    let (leaving, staying): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(|e| is_exit(exits, var, e));
    if leaving.is_empty() {
        return Err(body);
    }
    let rest = guarded_part(body);
    let rest = match staying.into_iter().reduce(|a, b| Expr::binary(BinaryOp::And, a, b)) {
        Some(guard) => vec![Nest::If { condition: Condition::Guard(guard), body: rest }],
        None => rest,
    };
    Ok(leaving.into_iter().map(Nest::BreakUnless).chain(rest).collect())
}

/// Clears the exit predicates that are written under a test of themselves, before the test.
fn cleared(exits: &[ArrayId], var: VarId, body: Vec<Nest>) -> Vec<Nest> {
    let mut out = Vec::new();
    for node in body {
        match node {
            Nest::If { condition: Condition::Guard(guard), body } if is_exit(exits, var, &guard) => {
                out.extend(body.iter().filter_map(|inner| cleared_target(exits, var, inner)));
                out.push(Nest::If { condition: Condition::Guard(guard), body });
            }
            Nest::If { condition, body } => out.push(Nest::If { condition, body: cleared(exits, var, body) }),
            other => out.push(other),
        }
    }
    out
}

/// For a statement that writes an exit predicate: the same place, set to false.
fn cleared_target(exits: &[ArrayId], var: VarId, node: &Nest) -> Option<Nest> {
    let Nest::Compute { statement, target, origin, .. } = node else { return None };
    is_exit(exits, var, &Expr::Load(target.clone())).then(|| Nest::Compute {
        statement: *statement,
        kind: StatementKind::Assign,
        target: target.clone(),
        value: Expr::literal(0.0, DType::Bool),
        origin: origin.clone(),
    })
}

fn flatten(expr: &Expr, out: &mut Vec<Expr>) {
    match expr {
        Expr::Binary(BinaryOp::And, a, b) => {
            flatten(a, out);
            flatten(b, out);
        }
        other => out.push(other.clone()),
    }
}

/// `exit[.., t + constant]` for the loop variable `t`: false from some iteration on.
fn is_exit(exits: &[ArrayId], var: VarId, expr: &Expr) -> bool {
    let Expr::Load(Access { array, index }) = expr else { return false };
    let Some((last, outer)) = index.split_last() else { return false };
    let advances = last.as_aff().is_some_and(|a| a.coefficient(var as usize) == 1 && !a.divides_iter(var as usize));
    exits.contains(array) && advances && outer.iter().all(|e| !uses(e, var))
}

#[cfg(test)]
mod tests {
    use crate::astgen::generate;
    use crate::dtype::DType;
    use crate::expr::{BinaryOp, Expr};
    use crate::program::{Program, StatementId, StatementKind};
    use crate::schedule_tree::{Mark, Node};
    use crate::testing::*;

    /// `while cond[t] { x[t + 1, j] = ..; cond[t + 1] = .. }`, all of iteration `t` guarded by `cond[t]`.
    fn exit_loop() -> Program {
        let mut p = Program::default();
        let (steps, width) = (c(1 << 61), c(4));
        let cond = array(&mut p, "cond", std::slice::from_ref(&steps));
        p.array_mut(cond).dtype = DType::Bool;
        let x = array(&mut p, "x", &[steps.clone(), width.clone()]);
        let first = statement(&mut p, &[], StatementKind::Assign, at(cond, &[c(0)]), Expr::literal(1.0, DType::Bool));
        let body =
            statement(&mut p, &[steps.clone(), width], StatementKind::Assign, at(x, &[i(0) + c(1), i(1)]), zero());
        let next = Expr::literal(0.0, DType::Bool);
        let test = statement(&mut p, &[steps], StatementKind::Assign, at(cond, &[i(0) + c(1)]), next);
        for id in [body, test] {
            p.statement_mut(id).guard = Some(load(cond, &[i(0)]));
        }
        let inner = [Node::loops_of(body, 1, 2), vec![Node::Leaf(test)]].concat();
        p.schedule.roots = vec![Node::Leaf(first), band(Mark::Seq, &[(body, i(0)), (test, i(0))], inner)];
        p.exits = vec![cond];
        p
    }

    #[test]
    fn a_predicate_over_the_whole_body_leaves_the_loop() {
        let nest = generate(&exit_loop()).unwrap();
        let expected = "\
S0: A0[0]
for c0 in 0 .. 2305843009213693952
  break unless A0[c0]
  for c1 in 0 .. 4
    S1: A1[c0 + 1, c1]
  S2: A0[c0 + 1]
";
        assert_eq!(show(&nest), expected);
    }

    #[test]
    fn an_unguarded_statement_keeps_the_loop_running() {
        let mut p = exit_loop();
        p.statement_mut(StatementId(2)).guard = None;
        let text = show(&generate(&p).unwrap());
        assert!(!text.contains("break"), "{text}");
        assert!(text.contains("  if A0[c0]\n    for c1"), "{text}");
    }

    /// Another statement of the loop runs to the end: no later iteration may meet what the memory held before.
    #[test]
    fn a_loop_that_goes_on_clears_the_next_predicate() {
        let mut p = exit_loop();
        p.statement_mut(StatementId(1)).guard = None;
        let text = show(&generate(&p).unwrap());
        assert!(!text.contains("break"), "{text}");
        assert!(text.contains("  S2: A0[c0 + 1]\n  if A0[c0]\n    S2: A0[c0 + 1]\n"), "{text}");
    }

    #[test]
    fn a_condition_on_parameters_goes_inside_the_predicate() {
        let mut p = exit_loop();
        let n = dimension(&mut p, "N");
        p.statement_mut(StatementId(1)).constraints.push(n - c(2));
        let text = show(&generate(&p).unwrap());
        assert!(text.contains("  break unless A0[c0]\n"), "{text}");
    }

    /// A loop in a branch: the branch's test goes outside, and the loop still ends at the first false.
    #[test]
    fn a_test_of_a_branch_leaves_the_exit_in_the_loop() {
        let mut p = exit_loop();
        let go = array(&mut p, "go", &[]);
        p.array_mut(go).dtype = DType::Bool;
        let decide = statement(&mut p, &[], StatementKind::Assign, at(go, &[]), Expr::literal(1.0, DType::Bool));
        p.schedule.roots.insert(0, Node::Leaf(decide));
        for id in [StatementId(1), StatementId(2)] {
            let alive = p.statement_mut(id).guard.take().unwrap();
            p.statement_mut(id).guard = Some(Expr::binary(BinaryOp::And, load(go, &[]), alive));
        }
        let text = show(&generate(&p).unwrap());
        assert!(text.contains("if A2[]\n  for c0 in 0 .. 2305843009213693952\n    break unless A0[c0]\n"), "{text}");
    }

    #[test]
    fn a_test_that_uses_the_variable_stays_inside() {
        let mut p = exit_loop();
        p.exits.clear();
        let text = show(&generate(&p).unwrap());
        assert!(text.contains("for c0 in 0 .. 2305843009213693952\n  if A0[c0]\n"), "{text}");
    }
}
