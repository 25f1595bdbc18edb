//! `hoist`: what every step of a loop would compute anew is computed once before it.
//!
//! Rewrite: a nest inside a loop whose statements use the loop's iterator only to name their own elements
//! (`P[t, i] = X[i]`), and read nothing that the loop writes, moves before the loop and loses the dimension
//! (`P[i] = X[i]`). Loops are visited from the inside out, so a nest leaves as many as it can. Copies that
//! `tile` makes for the operands of a recurrence are the usual case.
//!
//! A nest inside a loop inside that loop (the copy of one block of keys, in a loop over blocks of keys, in one over blocks
//! of rows) gets a loop of its own first, which then moves.
//!
//! A nest that runs only where a guard of the loop holds (a loop with an early exit) is computed whether or not:
//! statements cannot fail, but subscripts that are data could leave their arrays, so those stay.
//! Legal: the values do not depend on the step. Source: loop-invariant code motion, Aho et al. (2006), section 9.5.

use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::param::ParamDef;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, Renaming, Statement, StatementId};
use crate::schedule::group;
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::{self, Path};
use indexmap::IndexMap;
use std::collections::HashSet;

pub struct Hoist;

impl Pass for Hoist {
    fn name(&self) -> &'static str {
        "hoist"
    }

    fn summary(&self) -> &'static str {
        "compute before a loop what every step would compute anew"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut at = 0;
        while at < program.schedule.roots.len() {
            at += 1 + visit(program, &vec![at], context);
        }
        Ok(())
    }
}

/// Hoists out of the band at `path` and those inside; returns how many nodes now stand before it.
fn visit(program: &mut Program, path: &Path, context: &mut PassContext) -> usize {
    let (mut hoisted, mut child) = (0, 0);
    loop {
        let here = moved(path, hoisted);
        if transform::band_at(&program.schedule, &here).is_none_or(|b| child >= b.body.len()) {
            return hoisted;
        }
        // The child, and before it what came out of it.
        let came = visit(program, &[here.as_slice(), &[child]].concat(), context);
        let parts = split(program, &moved(path, hoisted), child + came);
        for _ in 0..came + parts {
            match hoist(program, &moved(path, hoisted), child, context) {
                true => hoisted += 1,
                false => child += 1,
            }
        }
    }
}

/// Where the node at `path` is after `by` nodes were inserted before it.
fn moved(path: &Path, by: usize) -> Path {
    let mut path = path.clone();
    if let Some(last) = path.last_mut() {
        *last += by;
    }
    path
}

/// Divides the loop that is child `n` of the band at `path`: the nests in it that do the same in every iteration of the
/// band run in a loop of their own before it. They read nothing that the band writes, and nobody else writes their arrays.
/// Returns how many loops stand in its place.
fn split(program: &mut Program, path: &Path, n: usize) -> usize {
    let Some(band) = transform::band_at(&program.schedule, path) else { return 1 };
    let Node::Band(inner) = &band.body[n] else { return 1 };
    if inner.mark != Mark::Seq || transform::plain_dims(inner).is_none() {
        return 1;
    }
    let same: Vec<bool> = inner.body.iter().map(|node| invariant(program, band, node).is_some()).collect();
    if same.iter().all(|s| *s == same[0]) {
        return 1;
    }
    let part = |wanted: bool| {
        let body: Vec<Node> =
            inner.body.iter().zip(&same).filter(|(_, s)| **s == wanted).map(|(n, _)| n.clone()).collect();
        let own: Vec<StatementId> = body.iter().flat_map(Node::statements).collect();
        let members = own.iter().map(|s| (*s, inner.members[s].clone())).collect();
        Node::Band(Band { members, mark: Mark::Seq, body })
    };
    let parts = [part(true), part(false)];
    if let Some(band) = transform::band_at_mut(&mut program.schedule, path) {
        band.body.splice(n..=n, parts);
    }
    2
}

/// A nest that does the same in every iteration of the loop around it.
struct Invariant {
    statements: Vec<StatementId>,
    /// The arrays that it writes, and the dimension of each that is the loop.
    arrays: IndexMap<ArrayId, usize>,
    /// Whether the guards of its statements depend on the loop.
    unguard: bool,
}

fn invariant(program: &Program, band: &Band, node: &Node) -> Option<Invariant> {
    let statements = node.statements();
    // A loop of nothing else has no effect.
    if band.mark != Mark::Seq || band.members.len() == statements.len() {
        return None;
    }
    let mut arrays = IndexMap::new();
    for id in &statements {
        let statement = program.statement(*id);
        let d = band.members.get(id)?.as_iter()?;
        let of_loop = |e: &Expr| matches!(e, Expr::Index(a) if a.as_iter() == Some(d));
        let dim = statement.target.index.iter().position(of_loop)?;
        arrays.insert(statement.target.array, dim);
    }
    let outside: HashSet<ArrayId> =
        band.members.keys().map(|s| program.statement(*s).target.array).filter(|a| !arrays.contains_key(a)).collect();
    let same = statements.iter().all(|id| is_invariant(program, *id, band.members.get(id), &arrays, &outside));
    if !same || !arrays.iter().all(|(array, dim)| is_private(program, band, &statements, *array, *dim)) {
        return None;
    }
    let guarded = |id: &StatementId| {
        let (guard, d) = (program.statement(*id).guard.as_ref(), band.members[id].as_iter());
        guard.zip(d).is_some_and(|(g, d)| uses_iter(g, d) || reads_any(g, &outside))
    };
    let unguard = statements.iter().any(guarded);
    let safe = !unguard || statements.iter().all(|id| has_plain_subscripts(program.statement(*id)));
    safe.then_some(Invariant { statements, arrays, unguard })
}

/// Is the array a temporary that only statements of the loop use, each only the element of its own iteration, and
/// that only the nest writes?
fn is_private(program: &Program, band: &Band, nest: &[StatementId], array: ArrayId, dim: usize) -> bool {
    let facts = program.array(array);
    let named = |def: &ParamDef| matches!(def, ParamDef::Value { array } if *array == facts.name);
    let decides = program.exits.contains(&array) || program.params.iter().any(|(_, p)| named(&p.def));
    facts.is_temp()
        && !decides
        && program.statements().all(|(id, statement)| {
            let own = |a: &Access| match (&a.index[dim], band.members.get(&id)) {
                (Expr::Index(subscript), Some(step)) => subscript == step,
                _ => false,
            };
            let mut fine = statement.target.array != array || (nest.contains(&id) && own(&statement.target));
            statement.visit_reads(&mut |a| fine &= a.array != array || own(a));
            fine
        })
}

/// Apart from the elements of `arrays`, does nothing about the statement depend on the loop?
fn is_invariant(
    program: &Program,
    id: StatementId,
    step: Option<&Aff>,
    arrays: &IndexMap<ArrayId, usize>,
    outside: &HashSet<ArrayId>,
) -> bool {
    let statement = program.statement(id);
    let Some(d) = step.and_then(Aff::as_iter) else { return false };
    let domain = statement.extents.iter().chain(&statement.constraints);
    let mut free = domain.clone().all(|a| !a.uses_iter(d));
    free &= group::value_params(program, id).iter().all(|a| !outside.contains(a) && !arrays.contains_key(a));
    let without_own = |e: &Expr| drop_dimension(e.clone(), arrays);
    let subscripts = statement.target.index.iter().enumerate().filter(|(n, _)| arrays[&statement.target.array] != *n);
    let exprs = subscripts.map(|(_, e)| e).chain([&statement.value]);
    exprs.into_iter().all(|e| !uses_iter(&without_own(e), d) && !reads_any(e, outside)) && free
}

fn uses_iter(e: &Expr, d: usize) -> bool {
    let mut found = false;
    e.visit_affs(&mut |a| found |= a.uses_iter(d));
    found
}

fn reads_any(e: &Expr, arrays: &HashSet<ArrayId>) -> bool {
    let mut found = false;
    e.visit_loads(&mut |a| found |= arrays.contains(&a.array));
    found
}

fn has_plain_subscripts(statement: &Statement) -> bool {
    let plain = |a: &Access| a.index.iter().all(|e| matches!(e, Expr::Index(_)));
    let mut all = plain(&statement.target);
    statement.value.visit_loads(&mut |a| all &= plain(a));
    all
}

/// `e` with the dimensions of `arrays` gone from its accesses.
fn drop_dimension(e: Expr, arrays: &IndexMap<ArrayId, usize>) -> Expr {
    e.rewrite(&mut |e| match e {
        Expr::Load(a) => Expr::Load(without(a, arrays)),
        other => other,
    })
}

fn without(mut access: Access, arrays: &IndexMap<ArrayId, usize>) -> Access {
    if let Some(dim) = arrays.get(&access.array) {
        access.index.remove(*dim);
    }
    access
}

/// Moves child `n` of the band at `path` before the band, if it may.
fn hoist(program: &mut Program, path: &Path, n: usize, context: &mut PassContext) -> bool {
    let band = transform::band_at(&program.schedule, path);
    let Some(nest) = band.and_then(|b| invariant(program, b, &b.body[n])) else { return false };
    let origin = program.statement(nest.statements[0]).origin.clone();
    context.applied("hoist", &origin, "every step of a loop computed it anew");
    drop_from_arrays(program, &nest.arrays);
    let Some(band) = transform::band_at_mut(&mut program.schedule, path) else { return false };
    let node = band.body.remove(n);
    let members = &mut band.members;
    let iterators: IndexMap<StatementId, Vec<usize>> =
        nest.statements.iter().filter_map(|id| Some((*id, vec![members.shift_remove(id)?.as_iter()?]))).collect();
    if let Some((nodes, at)) = transform::siblings(&mut program.schedule, path) {
        nodes.insert(at, node);
    }
    for (&id, dims) in &iterators {
        program.history.renamings.push(Renaming::Dropped { statement: id, dim: dims[0] });
        if nest.unguard {
            program.statement_mut(id).guard = None;
        }
    }
    transform::drop_iterators(program, &iterators);
    true
}

fn drop_from_arrays(program: &mut Program, arrays: &IndexMap<ArrayId, usize>) {
    for (array, dim) in arrays {
        let array = program.array_mut(*array);
        array.extents.remove(*dim);
        array.fold.remove(*dim);
    }
    let ids: Vec<StatementId> = program.statements().map(|(id, _)| id).collect();
    for id in ids {
        let statement = program.statement_mut(id);
        statement.map_exprs(&mut |e| drop_dimension(e, arrays));
        let target = Access { array: statement.target.array, index: std::mem::take(&mut statement.target.index) };
        statement.target = without(target, arrays);
    }
}
