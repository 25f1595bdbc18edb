//! `distribute`: a contraction that needs nothing from earlier steps of a loop leaves the loop, where that is cheaper.
//!
//! Rewrite: `for t { P[t] = W x[t];  h[t + 1] = f(P[t], h[t]) }` becomes `for t { P[t] = W x[t] }  for t { h[t + 1] =
//! f(P[t], h[t]) }`: the input projection of a recurrent network is then one matrix product over all steps.
//! Legal when whatever the nest reads and the loop writes comes from nests before it that leave as well, and every
//! element that it writes belongs to one step (one subscript is the loop's iterator).
//!
//! Wanted when the operand that is the same in every step (the weights) is streamed through for too few rows to keep
//! the multiply-adds busy: fewer than [`STREAM_L2`] or [`STREAM_FAR`] rows, by the cache it fits. An LSTM of 256 units
//! over 100 steps takes 3.6 ms with the projection inside the loop and 2.7 ms with it outside at batch 1, 4.2 and 3.4
//! at batch 2, 5.5 and 5.5 at batch 4, 11 and 12 at batch 8, where one step's rows are enough and its results
//! stay in the first-level cache (AVX2, 2026-11-26). A team of workers always wants it: all steps are then shared
//! among them with one barrier.
//! Source: loop distribution, Kennedy and McKinley (1990); the use is that of Appleyard et al. (2016), section 3.

use super::group;
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::Expr;
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{Array, ArrayId, Program, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use std::collections::HashSet;

/// Multiply-adds in the time in which a vector comes from the second-level cache.
const STREAM_L2: i64 = 2;
/// The same beyond the second-level cache.
const STREAM_FAR: i64 = 3;

pub struct Distribute;

impl Pass for Distribute {
    fn name(&self) -> &'static str {
        "distribute"
    }

    fn summary(&self) -> &'static str {
        "move contractions that need no earlier step out of loops"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut roots = std::mem::take(&mut program.schedule.roots);
        distribute_list(program, &mut roots, context);
        program.schedule.roots = roots;
        Ok(())
    }
}

/// Distributes every loop of the list, inner ones first, so that a nest leaves as many as it can.
fn distribute_list(program: &Program, nodes: &mut Vec<Node>, context: &mut PassContext) {
    let mut at = 0;
    while at < nodes.len() {
        if let Node::Band(band) = &mut nodes[at] {
            distribute_list(program, &mut band.body, context);
            let before = leave(program, band, context);
            let count = before.len();
            nodes.splice(at..at, before);
            at += count;
        }
        at += 1;
    }
}

/// Takes the nests that leave out of the band; each comes in a loop of its own.
fn leave(program: &Program, band: &mut Band, context: &mut PassContext) -> Vec<Node> {
    let free = free_nodes(program, band);
    let is_wanted = |n: &usize| free[*n] && wanted(program, band, &band.body[*n], context.machine);
    let mut leaving = vec![false; free.len()];
    for n in (0..free.len()).filter(is_wanted) {
        take_with_producers(program, band, n, &mut leaving);
    }
    // A loop of which nothing stays is as it was.
    if leaving.iter().all(|l| *l) {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (node, leaves) in std::mem::take(&mut band.body).into_iter().zip(leaving) {
        if !leaves {
            band.body.push(node);
            continue;
        }
        let ids = node.statements();
        let members = ids.iter().filter_map(|id| Some((*id, band.members.shift_remove(id)?))).collect();
        let subject = &program.statement(ids[0]).origin;
        context.applied("distribute", subject, "needs no earlier step: computed for all steps before the loop");
        out.push(Node::Band(Band { members, mark: Mark::Seq, body: vec![node] }));
    }
    out
}

/// For every node of the body: may it run for all steps before the rest of the loop?
fn free_nodes(program: &Program, band: &Band) -> Vec<bool> {
    let mut free = vec![false; band.body.len()];
    if band.mark != Mark::Seq || band.body.len() < 2 || !is_limited(program, band) || group::is_parallel(program, band)
    {
        return free;
    }
    let written: Vec<HashSet<ArrayId>> = band.body.iter().map(|node| writes(program, node)).collect();
    for n in 0..free.len() {
        let needs = reads(program, &band.body[n]);
        let from_earlier =
            |a: &ArrayId| (0..written.len()).filter(|m| written[*m].contains(a)).all(|m| m == n || m < n && free[m]);
        let alone = written[n].iter().all(|a| (0..written.len()).all(|m| m == n || !written[m].contains(a)));
        free[n] = alone && needs.iter().all(from_earlier) && has_own_elements(program, band, &band.body[n]);
    }
    free
}

/// Is the number of steps bounded? The results of all of them are kept.
fn is_limited(program: &Program, band: &Band) -> bool {
    let limited = |e: Aff| program.params.is_limited(&e);
    band.members.iter().all(|(id, value)| group::extent_of(program, *id, value).is_some_and(limited))
}

/// Does every statement write temporaries only, and in each step elements of that step alone?
fn has_own_elements(program: &Program, band: &Band, node: &Node) -> bool {
    node.statements().iter().all(|id| {
        let statement = program.statement(*id);
        let array = program.array(statement.target.array);
        let of_step = |e: &Expr| matches!(e, Expr::Index(a) if Some(a) == band.members.get(id));
        let plain =
            statement.kind != StatementKind::Update && array.is_temp() && array.fold.iter().all(Option::is_none);
        plain && !program.exits.contains(&statement.target.array) && statement.target.index.iter().any(of_step)
    })
}

fn writes(program: &Program, node: &Node) -> HashSet<ArrayId> {
    node.statements().iter().map(|s| program.statement(*s).target.array).collect()
}

fn reads(program: &Program, node: &Node) -> HashSet<ArrayId> {
    let mut out = HashSet::new();
    for id in node.statements() {
        program.statement(id).visit_reads(&mut |a| {
            out.insert(a.array);
        });
        out.extend(group::value_params(program, id));
    }
    out
}

/// Marks node `n` and the nodes before it that compute what it reads.
fn take_with_producers(program: &Program, band: &Band, n: usize, leaving: &mut [bool]) {
    leaving[n] = true;
    let needs = reads(program, &band.body[n]);
    for m in 0..n {
        if !leaving[m] && !needs.is_disjoint(&writes(program, &band.body[m])) {
            take_with_producers(program, band, m, leaving);
        }
    }
}

/// Does the nest contain a contraction with few rows for weights that are the same in every step?
fn wanted(program: &Program, band: &Band, node: &Node, machine: &Machine) -> bool {
    let contractions = node.statements().into_iter().filter(|s| group::is_contraction_statement(program, *s));
    contractions.into_iter().any(|id| {
        let Some(step) = band.members.get(&id).and_then(|a| a.as_iter()) else { return false };
        let shared = machine.gpu || machine.threads > 1;
        rows_and_stream(program, id, step, machine).is_some_and(|(rows, stream)| shared || rows < stream)
    })
}

/// The rows that one step has for the operand that does not depend on it, and how many it takes to be worth streaming
/// that operand; `None` when both operands depend on the step.
fn rows_and_stream(program: &Program, id: StatementId, step: usize, machine: &Machine) -> Option<(i64, i64)> {
    let statement = program.statement(id);
    let extent = |d: usize| program.params.hint(&statement.extents[d]).max(1);
    let mut found = None;
    statement.value.visit_loads(&mut |a| {
        let used = |d: &usize| group::uses(a, *d);
        let free = (0..statement.extents.len()).filter(|d| *d != step && group::uses(&statement.target, *d));
        // What no row uses is no operand of many columns, but a factor.
        if !used(&step) && free.clone().any(|d| used(&d)) {
            let rows = free.filter(|d| !used(d)).map(extent).product();
            found = Some((rows, stream(bytes(program, program.array(a.array)), machine)));
        }
    });
    found
}

fn bytes(program: &Program, array: &Array) -> i64 {
    let count = array.extents.iter().map(|e| program.params.hint(e).max(1)).fold(1, i64::saturating_mul);
    count.saturating_mul(array.dtype.size() as i64)
}

/// Multiply-adds in the time in which one vector of an operand of so many bytes arrives.
fn stream(bytes: i64, machine: &Machine) -> i64 {
    match bytes as usize {
        n if n <= machine.l1_bytes / 2 => 1,
        n if n <= machine.l2_bytes => STREAM_L2,
        _ => STREAM_FAR,
    }
}
