//! `reroll`: an unrolled recurrence becomes a loop again.
//!
//! Rewrite: neighbouring groups of nests that are the same but for the arrays they hand on and for subscripts that
//! advance by a constant become the body of one loop over steps. An array that every group has of its own becomes one
//! array with a time dimension; what a group reads of the group before it is the plane before, and plane 0 is a copy of
//! what the first group reads there. From then on everything is as for a `Scan`: weights are packed once, the input
//! projection may leave the loop, code size does not depend on the number of steps.
//!
//! It works on the program, not on the graph: slices, splits and reshapes are subscripts by then, and what "the same"
//! means is a comparison of statements instead of one of attributes for every operator.
//!
//! Legal: the instances run in the order in which they ran. Wanted for at least [`LEAST`] groups that hand something on
//! and contain a reduction (a chain of elementwise statements is better as one expression, see `forward`), and for
//! what reads arrays that this pass made. Declined where groups read different arrays in the same place: the layers
//! of a network have weights of their own, and constants of the same contents count as one array.
//! Cost: comparisons of one number per nest for every period; statements are compared only where those agree.
//! Source: loop rerolling, Stitt and Vahid (2005); here over nests and subscripts instead of instructions.

mod runs;
mod unify;

use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{Array, ArrayId, Program, Renaming, Role, Statement, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform;
use indexmap::IndexMap;
use runs::Run;
use std::collections::HashSet;
use unify::Rolled;

/// Fewer groups than this stay as they are.
const LEAST: usize = 3;

pub struct Reroll;

impl Pass for Reroll {
    fn name(&self) -> &'static str {
        "reroll"
    }

    fn summary(&self) -> &'static str {
        "make a loop of repeated groups of nests"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut made = HashSet::new();
        while let Some((run, rolled)) = find(program, &made) {
            let origin = rolled.statements[0].origin.clone();
            let text = format!("{} repetitions of {} nests are one loop", run.count, run.period);
            context.applied(self.name(), &origin, text);
            made.extend(rewrite(program, &run, rolled));
        }
        Ok(())
    }
}

/// The run of the most nests that may and should become a loop.
fn find(program: &Program, made: &HashSet<ArrayId>) -> Option<(Run, Rolled)> {
    let found = runs::candidates(program, LEAST);
    found.into_iter().find_map(|run| {
        let rolled = unify::unify(program, &run)?;
        (wanted(&rolled, made) && shrinks(program, &run, &rolled)).then_some((run, rolled))
    })
}

/// Does the loop carry something through a reduction, or go on with what a loop made here computes?
fn wanted(rolled: &Rolled, made: &HashSet<ArrayId>) -> bool {
    let reduces = rolled.statements.iter().any(|s| matches!(s.kind, StatementKind::Reduce(_)));
    let carries = rolled.slots.iter().any(|s| s.initial.is_some());
    let mut copies = false;
    for statement in &rolled.statements {
        statement.visit_reads(&mut |a| copies |= made.contains(&a.array));
    }
    carries && reduces || copies
}

/// Are there fewer nests afterwards, those that copy starts and results counted?
fn shrinks(program: &Program, run: &Run, rolled: &Rolled) -> bool {
    let results = |s: &Slot| s.arrays.iter().filter(|a| !program.array(**a).is_temp()).count();
    let added: usize = rolled.slots.iter().map(|s| usize::from(s.initial.is_some()) + results(s)).sum();
    added < (run.count - 1) * run.period
}

/// Puts the loop in the place of the run; returns the arrays that now have a time dimension.
fn rewrite(program: &mut Program, run: &Run, rolled: Rolled) -> Vec<ArrayId> {
    let made: Vec<ArrayId> = rolled.slots.iter().map(|slot| add_over_time(program, run, slot)).collect();
    redirect_readers(program, run, &rolled);
    let mut nodes: Vec<Node> =
        rolled.slots.iter().zip(&made).filter_map(|(s, m)| initial_copy(program, s, *m)).collect();
    let results: Vec<Node> = rolled.slots.iter().zip(&made).flat_map(|(s, m)| result_copies(program, s, *m)).collect();
    let kept: Vec<StatementId> = run.group(0).flat_map(|n| program.schedule.roots[n].statements()).collect();
    let dropped: Vec<StatementId> =
        (1..run.count).flat_map(|i| run.group(i)).flat_map(|n| program.schedule.roots[n].statements()).collect();
    for (n, (id, statement)) in kept.iter().zip(rolled.statements).enumerate() {
        let later = dropped.iter().skip(n).step_by(kept.len());
        let steps = [id].into_iter().chain(later).copied().collect();
        program.history.renamings.push(Renaming::Steps { statement: *id, steps });
        *program.statement_mut(*id) = statement;
    }
    let all = run.start..run.start + run.period * run.count;
    let mut body: Vec<Node> = program.schedule.roots.splice(all, []).take(run.period).collect();
    body.iter_mut().for_each(shift_members);
    let members: IndexMap<StatementId, Aff> = kept.iter().map(|id| (*id, Aff::iter(0))).collect();
    nodes.push(Node::Band(Band { members, mark: Mark::Seq, body }));
    nodes.extend(results);
    program.schedule.roots.splice(run.start..run.start, nodes);
    dropped.into_iter().for_each(|id| program.remove_statement(id));
    made
}

/// An array that every group has of its own.
pub struct Slot {
    /// One for every group.
    pub arrays: Vec<ArrayId>,
    /// What the first group reads where the others read the array of the group before them. There is then one more
    /// plane, the first.
    pub initial: Option<ArrayId>,
}

impl Slot {
    /// The plane that group 0 writes.
    fn offset(&self) -> i64 {
        i64::from(self.initial.is_some())
    }
}

fn add_over_time(program: &mut Program, run: &Run, slot: &Slot) -> ArrayId {
    let Array { name, dtype, extents, .. } = program.array(slot.arrays[0]).clone();
    let planes = Aff::constant(run.count as i64 + slot.offset());
    let extents = [planes].into_iter().chain(extents).collect();
    let name = transform::unused_name(program, &format!("{name}_over_time"));
    program.add_array(Array::new(name, dtype, extents, Role::Temp))
}

/// Whoever reads an array of a group reads its plane.
fn redirect_readers(program: &mut Program, run: &Run, rolled: &Rolled) {
    let inside: HashSet<StatementId> =
        (0..run.count).flat_map(|i| run.group(i)).flat_map(|n| program.schedule.roots[n].statements()).collect();
    let outside: Vec<StatementId> = program.statements().map(|(id, _)| id).filter(|id| !inside.contains(id)).collect();
    let planes = rolled.planes();
    for id in outside {
        program.statement_mut(id).map_exprs(&mut |e| {
            e.rewrite(&mut |e| match e {
                Expr::Load(Access { array, mut index }) => match planes.get(&array) {
                    Some((merged, plane)) => {
                        index.insert(0, Expr::int(*plane));
                        Expr::load(*merged, index)
                    }
                    None => Expr::load(array, index),
                },
                other => other,
            })
        });
    }
}

/// `merged[0, i] = initial[i]`.
fn initial_copy(program: &mut Program, slot: &Slot, merged: ArrayId) -> Option<Node> {
    let initial = slot.initial?;
    let rank = program.array(initial).extents.len();
    let index: Vec<Expr> = (0..rank).map(Expr::iter).collect();
    let target = [Expr::int(0)].into_iter().chain(index.clone()).collect();
    Some(copy(program, Access { array: merged, index: target }, Expr::load(initial, index), initial, slot.arrays[0]))
}

/// Graph outputs that were arrays of single groups.
fn result_copies(program: &mut Program, slot: &Slot, merged: ArrayId) -> Vec<Node> {
    let mut out = Vec::new();
    for (group, array) in slot
        .arrays
        .iter()
        .enumerate()
        .filter(|(_, a)| !program.array(**a).is_temp())
        .map(|(g, a)| (g, *a))
        .collect::<Vec<_>>()
    {
        let index: Vec<Expr> = (0..program.array(array).extents.len()).map(Expr::iter).collect();
        let plane = Expr::int(group as i64 + slot.offset());
        let value = Expr::load(merged, [plane].into_iter().chain(index.clone()).collect());
        out.push(copy(program, Access { array, index }, value, array, array));
    }
    out
}

/// A perfect nest over the elements of `like`, on behalf of whoever writes `of`.
fn copy(program: &mut Program, target: Access, value: Expr, like: ArrayId, of: ArrayId) -> Node {
    let extents = program.array(like).extents.clone();
    let rank = extents.len();
    let writer = program.statements().find(|(_, s)| s.target.array == of);
    let statement = Statement {
        dims: (0..rank).map(|d| format!("i{d}")).collect(),
        extents,
        constraints: Vec::new(),
        kind: StatementKind::Assign,
        target,
        value,
        guard: None,
        origin: writer.map(|(_, s)| s.origin.clone()).unwrap_or_default(),
    };
    let id = program.add_statement(statement);
    Node::loops_of(id, 0, rank).into_iter().next().unwrap_or(Node::Leaf(id))
}

/// Every statement has one more iterator, the first.
fn shift_members(node: &mut Node) {
    if let Node::Band(band) = node {
        band.members.values_mut().for_each(|aff| *aff = aff.shift_iters(1));
        band.body.iter_mut().for_each(shift_members);
    }
}
