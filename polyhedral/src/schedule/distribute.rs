//! `distribute`: a contraction that earlier steps of a loop do not need leaves the loop, where that is cheaper.
//!
//! Rewrite: `for t { P[t] = W x[t];  h[t + 1] = f(P[t], h[t]) }` becomes `for t { P[t] = W x[t] }  for t { h[t + 1] =
//! f(P[t], h[t]) }`: the input projection of a recurrent network is then one matrix product over all steps.
//! What the nest reads may itself be a recurrence, which then gets a loop of its own before it: several layers in one
//! loop become one loop per layer, with the projection of all steps between them.
//! Legal when the nest does not need itself through other nests of the loop, and every element that the loop writes
//! belongs to one step (one subscript is the iterator plus a constant): then only flows order the nests, and every
//! nest still comes after all that it reads.
//!
//! Wanted when the operand that is the same in every step (the weights) has few rows in each, at most [`FEW_ROWS`]: outside, it
//! is streamed through once for all steps, and a team of workers shares them with one barrier. An LSTM of 256 units over 100
//! steps took 3.6 ms with the projection inside the loop and 2.7 ms with it outside at batch 1 (AVX2, 2026-11-26); at batch 8
//! both take the same with one worker (7.54 and 7.56 ms), and of 64 units 0.92 with two (AVX-512, 2026-11-28). How many
//! workers there are is not asked: sums of nests that were distributed may be added up in another order, and results must
//! be the same bits for every number of threads.
//! Source: loop distribution, Kennedy and McKinley (1990); the use is that of Appleyard et al. (2016), section 3.

use super::group::{self, reads, writes};
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::Expr;
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use std::collections::HashSet;

/// With more rows in a step the weights are used often enough while they are near, and what would be kept for all steps grows.
const FEW_ROWS: i64 = 64;

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
            if let Some(stages) = Stages::of(program, band, context.machine) {
                let loops = split(program, band, &stages, context);
                let count = loops.len();
                nodes.splice(at..=at, loops);
                at += count - 1;
            }
        }
        at += 1;
    }
}

/// The loops that replace the band, in order: in every stage the contractions, each alone, then everything else.
fn split(program: &Program, band: &mut Band, stages: &Stages, context: &mut PassContext) -> Vec<Node> {
    let mut bodies: Vec<(usize, bool, Vec<Node>)> = Vec::new();
    for (n, node) in std::mem::take(&mut band.body).into_iter().enumerate() {
        let (stage, alone) = (stages.stage[n], stages.wanted[n]);
        if alone {
            let subject = &program.statement(node.statements()[0]).origin;
            context.applied("distribute", subject, "computed for all steps of a loop at once");
        }
        match bodies.iter_mut().find(|(s, contraction, _)| *s == stage && !*contraction && !alone) {
            Some((_, _, body)) => body.push(node),
            None => bodies.push((stage, alone, vec![node])),
        }
    }
    bodies.sort_by_key(|(stage, alone, _)| (*stage, !*alone));
    let in_loop = |body: Vec<Node>| {
        let ids = body.iter().flat_map(Node::statements);
        let members = ids.filter_map(|id| Some((id, band.members.get(&id)?.clone()))).collect();
        Node::Band(Band { members, mark: Mark::Seq, body })
    };
    bodies.into_iter().map(|(_, _, body)| in_loop(body)).collect()
}

/// In which order the nests of a loop run once it is distributed.
struct Stages {
    /// Of every node of the body: contractions that leave, each in a loop of its own.
    wanted: Vec<bool>,
    /// Every nest runs for all steps before the nests of later stages; the later the better, for what a nest writes
    /// must be kept until it is read.
    stage: Vec<usize>,
}

impl Stages {
    /// `None` where the loop stays as it is.
    fn of(program: &Program, band: &Band, machine: &Machine) -> Option<Stages> {
        if !may_split(program, band) {
            return None;
        }
        let flows = flows(program, band);
        let count = band.body.len();
        let needs_itself = |n: &usize| reaches(&flows, *n, *n);
        let wanted: Vec<bool> =
            (0..count).map(|n| wanted(program, band, &band.body[n], machine) && !needs_itself(&n)).collect();
        let apart = |from: usize, to: usize| usize::from(wanted[from] || wanted[to]);
        let mut earliest = vec![0; count];
        settle(&flows, |from, to| {
            let least = earliest[from] + apart(from, to);
            raise(&mut earliest, to, least)
        });
        let last = earliest.into_iter().max()?;
        let mut stage = vec![last; count];
        settle(&flows, |from, to| {
            let most = stage[to] - apart(from, to);
            lower(&mut stage, from, most)
        });
        (last > 0).then_some(Stages { wanted, stage })
    }
}

/// Repeats a step for all flows until none changes anything.
fn settle(flows: &[(usize, usize)], mut step: impl FnMut(usize, usize) -> bool) {
    while flows.iter().fold(false, |changed, (from, to)| step(*from, *to) | changed) {}
}

fn raise(values: &mut [usize], at: usize, least: usize) -> bool {
    let changes = values[at] < least;
    values[at] = values[at].max(least);
    changes
}

fn lower(values: &mut [usize], at: usize, most: usize) -> bool {
    let changes = values[at] > most;
    values[at] = values[at].min(most);
    changes
}

/// Pairs of nests of which the second reads what the first writes, in this step or an earlier one.
fn flows(program: &Program, band: &Band) -> Vec<(usize, usize)> {
    let written: Vec<HashSet<ArrayId>> = band.body.iter().map(|node| writes(program, node)).collect();
    let mut out = Vec::new();
    for (to, node) in band.body.iter().enumerate() {
        let needs = reads(program, node);
        out.extend((0..written.len()).filter(|from| !needs.is_disjoint(&written[*from])).map(|from| (from, to)));
    }
    // A nest that reads what it writes itself may carry it from step to step, or sum up within one.
    out.retain(|(from, to)| from != to || carries(program, band, &band.body[*to]));
    out
}

/// Does the nest read what it wrote in an earlier step?
fn carries(program: &Program, band: &Band, node: &Node) -> bool {
    let members = node.statements().into_iter().filter_map(|id| Some((id, band.members.get(&id)?.clone()))).collect();
    !group::is_parallel(program, &Band { members, mark: Mark::Seq, body: Vec::new() })
}

/// Is there a chain of flows, of one at least?
fn reaches(flows: &[(usize, usize)], from: usize, to: usize) -> bool {
    let mut seen = HashSet::new();
    let mut pending = vec![from];
    while let Some(at) = pending.pop() {
        for (_, next) in flows.iter().filter(|(f, _)| *f == at) {
            if *next == to {
                return true;
            }
            if seen.insert(*next) {
                pending.push(*next);
            }
        }
    }
    false
}

/// Does the loop carry something over a bounded number of steps, and does every statement write elements of its own
/// step only?
fn may_split(program: &Program, band: &Band) -> bool {
    let limited = |e: Aff| program.params.is_limited(&e);
    let bounded = |id, value| group::extent_of(program, id, value).is_some_and(limited);
    band.mark == Mark::Seq
        && band.body.len() > 1
        && band.members.iter().all(|(id, value)| bounded(*id, value) && has_own_elements(program, *id, value))
        && !group::is_parallel(program, band)
}

fn has_own_elements(program: &Program, id: StatementId, step: &Aff) -> bool {
    let statement = program.statement(id);
    let array = program.array(statement.target.array);
    let of_step = |e: &Expr| matches!(e, Expr::Index(a) if (a.clone() - step.clone()).as_constant().is_some());
    statement.kind != StatementKind::Update
        && array.fold.iter().all(Option::is_none)
        && !program.exits.contains(&statement.target.array)
        && statement.target.index.iter().any(of_step)
}

/// Does the nest contain a contraction with few rows for weights that are the same in every step?
fn wanted(program: &Program, band: &Band, node: &Node, machine: &Machine) -> bool {
    let mut contractions = node.statements().into_iter().filter(|s| group::is_contraction_statement(program, *s));
    contractions.any(|id| {
        let Some(step) = band.members.get(&id).and_then(|a| a.as_iter()) else { return false };
        rows(program, id, step).is_some_and(|rows| machine.gpu || rows <= FEW_ROWS)
    })
}

/// The rows that one step has for the operand that does not depend on it; `None` when both operands depend on the step.
fn rows(program: &Program, id: StatementId, step: usize) -> Option<i64> {
    let statement = program.statement(id);
    let extent = |d: usize| program.params.hint(&statement.extents[d]).max(1);
    let mut found = None;
    statement.value.visit_loads(&mut |a| {
        let used = |d: &usize| group::uses(a, *d);
        let free = (0..statement.extents.len()).filter(|d| *d != step && group::uses(&statement.target, *d));
        // What no row uses is no operand of many columns, but a factor.
        if !used(&step) && free.clone().any(|d| used(&d)) {
            found = Some(free.filter(|d| !used(d)).map(extent).product());
        }
    });
    found
}
