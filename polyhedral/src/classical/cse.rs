//! `cse`: two temporaries that hold the same values become one.
//!
//! Rewrite: value numbering over whole arrays. A temporary's number is the list of its statements (domain, kind,
//! subscripts, value, guard), with every array they read replaced by the first array of equal number and the array
//! itself by a mark; so an `Assign` with its reductions, or a recurrence, is compared as one. Readers of a later
//! array of known number read the first one, and its statements go.
//! Allowed: every kept statement runs the same instance before the dropped one, that is, it comes earlier in the
//! tree and shares the same loop values; what follows the dropped instance then follows the kept one.
//! Where two branches of an `If` compute the same (equal but for a last condition `c` here and `not c` there), the first
//! loses that condition and serves both: the computation is hoisted through the `If`.
//! Declined: arrays that the caller, an exit or a run-time parameter sees, and arrays with `Update` statements.
//! Cost: one pass over the program in schedule order.
//! Source: hash-based value numbering (Cocke and Schwartz 1970), on arrays instead of variables.

use crate::error::Result;
use crate::expr::{Access, BinaryOp, Expr, UnaryOp};
use crate::legality::{self, Path};
use crate::pass::{Pass, PassContext};
use crate::program::{Array, ArrayId, Program, Statement, StatementId, StatementKind};
use indexmap::IndexSet;
use std::collections::HashMap;

pub struct Cse;

impl Pass for Cse {
    fn name(&self) -> &'static str {
        "cse"
    }

    fn summary(&self) -> &'static str {
        "compute equal temporaries once"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let paths = legality::paths(program).map_err(|violation| violation.into_error())?;
        let writers = writers_in_order(program);
        let Duplicates { replaced, both_ways } = duplicates(program, &writers, &paths);
        for id in both_ways {
            let statement = program.statement_mut(id);
            statement.guard = statement.guard.take().and_then(without_last);
            context.applied(self.name(), &statement.origin.clone(), "both branches compute it");
        }
        for (_, statements) in writers.iter().filter(|(array, _)| replaced.contains_key(array)) {
            for id in statements {
                let origin = program.statement(*id).origin.clone();
                let target = program.statement(*id).target.array;
                program.remove_statement(*id);
                context.applied(self.name(), &origin, format!("{target} holds the same as {}", replaced[&target]));
            }
        }
        redirect(program, &replaced);
        Ok(())
    }
}

/// Every written array with its statements, in schedule order of its first one.
fn writers_in_order(program: &Program) -> Vec<(ArrayId, Vec<StatementId>)> {
    let mut order: indexmap::IndexMap<ArrayId, Vec<StatementId>> = indexmap::IndexMap::new();
    for id in program.schedule.statements() {
        order.entry(program.statement(id).target.array).or_default().push(id);
    }
    order.into_iter().collect()
}

/// What holds the same as something earlier.
#[derive(Default)]
struct Duplicates {
    /// Later array to first array of the same number.
    replaced: HashMap<ArrayId, ArrayId>,
    /// Statements that serve the other branch too, and lose their last condition.
    both_ways: IndexSet<StatementId>,
}

fn duplicates(
    program: &Program,
    writers: &[(ArrayId, Vec<StatementId>)],
    paths: &HashMap<StatementId, Path>,
) -> Duplicates {
    let mut first: HashMap<String, &(ArrayId, Vec<StatementId>)> = HashMap::new();
    let mut found = Duplicates::default();
    for group in writers.iter().filter(|(array, statements)| may_merge(program, *array, statements)) {
        let earlier = |number: &str| {
            let before =
                |kept: &Vec<StatementId>| kept.iter().zip(&group.1).all(|(a, b)| runs_before(&paths[a], &paths[b]));
            first.get(number).filter(|(_, kept)| before(kept)).copied()
        };
        let own = number(program, group, &found.replaced, Branch::Own);
        let guarded = group.1.iter().all(|s| program.statement(*s).guard.is_some());
        let other = || earlier(&number(program, group, &found.replaced, Branch::Other));
        if let Some((kept, _)) = earlier(&own) {
            found.replaced.insert(group.0, *kept);
        } else if let Some((kept, statements)) = guarded.then(other).flatten() {
            found.replaced.insert(group.0, *kept);
            found.both_ways.extend(statements);
        }
        first.entry(own).or_insert(group);
    }
    found
}

fn may_merge(program: &Program, id: ArrayId, statements: &[StatementId]) -> bool {
    let array = program.array(id);
    array.is_temp()
        && array.placement.is_none()
        && array.fold.iter().all(Option::is_none)
        && !program.exits.contains(&id)
        && !program.params.read_array(&array.name)
        && statements.iter().all(|s| program.statement(*s).kind != StatementKind::Update)
}

/// Text that is equal for arrays of equal contents.
fn number(
    program: &Program,
    (id, statements): &(ArrayId, Vec<StatementId>),
    replaced: &HashMap<ArrayId, ArrayId>,
    branch: Branch,
) -> String {
    const SELF: ArrayId = ArrayId(u32::MAX);
    let Array { dtype, extents, .. } = program.array(*id);
    let mut out = format!("{dtype} {extents:?}");
    for statement in statements {
        let mut s: Statement = program.statement(*statement).clone();
        if branch == Branch::Other {
            s.guard = s.guard.as_ref().map(with_last_negated);
        }
        rename(&mut s, &|a| if a == *id { SELF } else { replaced.get(&a).copied().unwrap_or(a) });
        out.push_str(&format!("\n{:?} {:?} {:?} {:?}", s.extents, s.constraints, s.kind, s.target.index));
        out.push_str(&format!(" {:?} {:?}", s.value, s.guard));
    }
    out
}

/// Renames the arrays that the statement reads.
fn rename(statement: &mut Statement, by: &dyn Fn(ArrayId) -> ArrayId) {
    statement.map_exprs(&mut |expr| {
        expr.rewrite(&mut |e| match e {
            Expr::Load(Access { array, index }) => Expr::Load(Access { array: by(array), index }),
            other => other,
        })
    });
}

/// The guards to number an array with: its own, or those of its counterpart in the other branch of the innermost `If`.
#[derive(Clone, Copy, PartialEq)]
enum Branch {
    Own,
    Other,
}

fn with_last_negated(guard: &Expr) -> Expr {
    match guard {
        Expr::Binary(BinaryOp::And, around, last) => {
            Expr::binary(BinaryOp::And, (**around).clone(), with_last_negated(last))
        }
        Expr::Unary(UnaryOp::Not, condition) => (**condition).clone(),
        other => Expr::unary(UnaryOp::Not, other.clone()),
    }
}

/// The conditions around the innermost `If`.
fn without_last(guard: Expr) -> Option<Expr> {
    match guard {
        Expr::Binary(BinaryOp::And, around, _) => Some(*around),
        _ => None,
    }
}

/// Does each instance of the first statement run before the same instance of the second?
fn runs_before(a: &Path, b: &Path) -> bool {
    let shared = a.shared_bands(b);
    let same_values = a.bands[..shared].iter().zip(&b.bands[..shared]).all(|(a, b)| a.0 == b.0);
    same_values && a.positions.get(shared) < b.positions.get(shared)
}

fn redirect(program: &mut Program, replaced: &HashMap<ArrayId, ArrayId>) {
    if replaced.is_empty() {
        return;
    }
    let ids: Vec<StatementId> = program.statements().map(|(id, _)| id).collect();
    for id in ids {
        rename(program.statement_mut(id), &|a| replaced.get(&a).copied().unwrap_or(a));
    }
}
