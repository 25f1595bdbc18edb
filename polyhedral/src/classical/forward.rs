//! `forward`: substitute the value of an elementwise producer into its readers.
//!
//! Rewrite: `X[i] = v(i)` and a reader of `X[e(j)]` become a reader of `v(e(j))`; the producer dies when its
//! last reader is gone. In a single-assignment program this is always legal, because nothing that `v` reads
//! is ever overwritten. It is wanted when no work is repeated (one reader, at most as many instances as the
//! producer) or when the value is free (a copy, a literal). It is declined when the producer's value comes
//! from a reduction and the reader is itself a reduction or reads it more often: then the value must be
//! stored, so that the accumulator can stay in registers.
//! Source: classical forward substitution (Allen and Kennedy, 2001, section 4.5).

use crate::error::Result;
use crate::expr::{Access, Expr, UnaryOp};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, Statement, StatementId, StatementKind};
use crate::transform;
use std::collections::HashMap;

/// Expressions larger than this are stored rather than substituted further: code size and registers.
const MAX_SIZE: usize = 160;

pub struct Forward;

impl Pass for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn summary(&self) -> &'static str {
        "substitute elementwise producers into their readers"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        // Producers in tree order, so that chains collapse towards their last consumer in one sweep.
        for id in program.schedule.statements() {
            let users = Users::of(program);
            if let Some(readers) = wanted(program, &users, id) {
                let origin = program.statement(id).origin.clone();
                substitute(program, id, &readers);
                program.remove_statement(id);
                let into = readers.iter().map(|r| program.statement(*r).origin.to_string()).collect::<Vec<_>>();
                context.applied(self.name(), &origin, format!("substituted into {}", into.join(", ")));
            }
        }
        Ok(())
    }
}

/// Who writes and who reads each array.
pub struct Users {
    pub writers: HashMap<ArrayId, Vec<StatementId>>,
    /// One entry per load, so a statement that loads twice is listed twice.
    pub readers: HashMap<ArrayId, Vec<StatementId>>,
}

impl Users {
    pub fn of(program: &Program) -> Users {
        let mut users = Users { writers: HashMap::new(), readers: HashMap::new() };
        for (id, statement) in program.statements() {
            users.writers.entry(statement.target.array).or_default().push(id);
            statement.visit_reads(&mut |a| users.readers.entry(a.array).or_default().push(id));
        }
        users
    }

    fn is_reduced(&self, program: &Program, array: ArrayId) -> bool {
        let writers = self.writers.get(&array).map_or(&[][..], |w| w);
        writers.iter().any(|w| program.statement(*w).kind != StatementKind::Assign)
    }
}

/// The readers to substitute into, when `id` is a producer that is better recomputed than stored.
fn wanted(program: &Program, users: &Users, id: StatementId) -> Option<Vec<StatementId>> {
    let producer = program.statement(id);
    let array = producer.target.array;
    if !is_total(program, users, producer) || program.params.read_array(&program.array(array).name) {
        return None;
    }
    let loads = users.readers.get(&array)?;
    let mut readers = loads.clone();
    readers.dedup();
    let fits = |r: &StatementId| {
        let reader = program.statement(*r);
        reader.guard_covers(producer)
            && reader.value.size() + producer.value.size() <= MAX_SIZE
            && !reads_in_subscript(reader, array)
    };
    if readers.contains(&id) || !readers.iter().all(fits) {
        return None;
    }
    let from_reduction = reads_any(&producer.value, &|a| users.is_reduced(program, a));
    let free = is_free(&producer.value) && !from_reduction;
    (free || is_single_use(program, users, producer, &readers, loads.len(), from_reduction)).then_some(readers)
}

/// One reader that repeats no work.
fn is_single_use(
    program: &Program,
    users: &Users,
    producer: &Statement,
    readers: &[StatementId],
    loads: usize,
    reduced: bool,
) -> bool {
    let [reader] = readers else { return false };
    let reader = program.statement(*reader);
    let same_work = volume(program, reader).saturating_mul(loads as i64) <= volume(program, producer);
    same_work
        && (!reduced || (reader.kind == StatementKind::Assign && !ends_another_sum(program, users, producer, reader)))
}

/// Does the reader finish another reduction than the producer? Only one of the two accumulators can stay in registers: the
/// other result is stored in any case, and best when it is complete. (The input's share of a recurrent layer is then
/// complete, bias included, before the time loop.)
fn ends_another_sum(program: &Program, users: &Users, producer: &Statement, reader: &Statement) -> bool {
    let own = |a: ArrayId| reads_any(&producer.value, &|b| a == b);
    reads_any(&reader.value, &|a| users.is_reduced(program, a) && !own(a))
}

/// The only writer of a temporary, over plain distinct iterators and the whole array.
pub fn is_total(program: &Program, users: &Users, producer: &Statement) -> bool {
    let array = program.array(producer.target.array);
    producer.kind == StatementKind::Assign
        && array.is_temp()
        && !program.exits.contains(&producer.target.array)
        && producer.constraints.is_empty()
        && users.writers.get(&producer.target.array).is_some_and(|w| w.len() == 1)
        && inverse(producer).is_some()
}

/// For each iterator of the producer, the array dimension whose subscript it is.
pub fn inverse(producer: &Statement) -> Option<Vec<usize>> {
    let position =
        |d: usize| producer.target.index.iter().position(|e| matches!(e, Expr::Index(a) if a.as_iter() == Some(d)));
    let plain = producer
        .target
        .index
        .iter()
        .all(|e| matches!(e, Expr::Index(a) if a.as_iter().is_some() || a.as_constant().is_some()));
    let all = (0..producer.extents.len()).map(position).collect::<Option<Vec<_>>>()?;
    plain.then_some(all)
}

fn reads_any(expr: &Expr, test: &dyn Fn(ArrayId) -> bool) -> bool {
    let mut found = false;
    expr.visit_loads(&mut |a| found |= test(a.array));
    found
}

/// Loads inside subscripts or guards stay loads: they are evaluated once per instance anyway.
fn reads_in_subscript(reader: &Statement, array: ArrayId) -> bool {
    let in_target = reader.target.index.iter().any(|e| reads_any(e, &|a| a == array));
    let mut in_load = false;
    reader.value.visit_loads(&mut |access| in_load |= access.index.iter().any(|e| reads_any(e, &|a| a == array)));
    in_target || in_load || reader.guard.as_ref().is_some_and(|g| reads_any(g, &|a| a == array))
}

/// A copy, a literal, or a conversion of one: as cheap to repeat as to load again.
fn is_free(value: &Expr) -> bool {
    match value {
        Expr::Const(_) | Expr::Index(_) => true,
        Expr::Load(access) => access.index.iter().all(|e| matches!(e, Expr::Index(_))),
        Expr::Unary(UnaryOp::Neg, a) => is_free(a),
        _ => false,
    }
}

/// Number of instances at the parameters' typical values; a parameter counts at least 2, so that a loop over
/// a symbolic extent is never taken for free.
fn volume(program: &Program, statement: &Statement) -> i64 {
    let at_hint = |e: &crate::Aff| e.eval(&|p| program.params.get(p).hint.max(2), &|_| 0).max(0);
    statement.extents.iter().map(at_hint).fold(1, i64::saturating_mul)
}

fn substitute(program: &mut Program, id: StatementId, readers: &[StatementId]) {
    let producer = program.statement(id).clone();
    let Some(position) = inverse(&producer) else { return };
    let params = program.params.clone();
    for reader in readers {
        let reader = program.statement_mut(*reader);
        reader.map_exprs(&mut |e| {
            e.rewrite(&mut |e| match e {
                Expr::Load(Access { array, index }) if array == producer.target.array => {
                    producer.value.substitute(&|d| index[position[d]].clone())
                }
                other => other,
            })
        });
        transform::simplify(reader, &params);
    }
}
