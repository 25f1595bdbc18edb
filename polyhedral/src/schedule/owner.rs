//! Which iteration of a loop touches an array element? Read off subscripts.
//!
//! In `x[32*n + l]` with `0 <= l < 32` the element decides `n`: it is `floor(element / 32)`. Two accesses that decide
//! their loops by the same rule meet in an element only where their iterations have the same number, whatever
//! nests they are in; that is how one finds loops without dependences after tiling, and readers that need not wait
//! for another worker.

use crate::aff::Aff;
use crate::expr::{Access, Expr};
use crate::program::{Array, Program, StatementId};
use crate::schedule_tree::Band;

/// The iteration is `floor((subscript - low) / block)` of subscript number `dim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub dim: usize,
    pub block: i64,
    pub low: i64,
}

/// All rules by which elements decide iterator `d` of the statement.
pub fn rules(program: &Program, id: StatementId, access: &Access, d: usize) -> Vec<Rule> {
    let one = |(dim, index): (usize, &Expr)| match index {
        Expr::Index(subscript) => rule(program, id, subscript, d).map(|(block, low)| Rule { dim, block, low }),
        _ => None,
    };
    access.index.iter().enumerate().filter_map(one).collect()
}

fn rule(program: &Program, id: StatementId, subscript: &Aff, d: usize) -> Option<(i64, i64)> {
    let Rows { step, first, last } = rows_of(program, id, subscript, d)?;
    (last - first < step).then_some((step, first))
}

/// Rows of a dimension that iteration `n` of a loop touches: `step * n + first ..= step * n + last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub step: i64,
    pub first: i64,
    pub last: i64,
}

/// The rows of dimension `dim` that iterator `d` of the statement steps along.
pub fn rows(program: &Program, id: StatementId, access: &Access, dim: usize, d: usize) -> Option<Rows> {
    match access.index.get(dim)? {
        Expr::Index(subscript) => rows_of(program, id, subscript, d),
        _ => None,
    }
}

fn rows_of(program: &Program, id: StatementId, subscript: &Aff, d: usize) -> Option<Rows> {
    let step = subscript.coefficient(d);
    if step < 1 || subscript.divides_iter(d) {
        return None;
    }
    let rest = subscript.clone() - Aff::iter(d) * step;
    let (first, last) = rest.bounds(&|_| (None, None), &|n| program.statement(id).range(n));
    Some(Rows { step, first: first?, last: last? })
}

/// Do elements that follow each other in dimension `dim` follow each other in memory?
pub fn is_innermost(array: &Array, dim: usize) -> bool {
    array.extents[dim + 1..].iter().all(|e| e.is_constant(1))
}

/// May the iterations of this band run in any order? As `group::is_parallel`, but also for loops over blocks.
pub fn is_parallel(program: &Program, band: &Band) -> bool {
    let dim = |id: &StatementId| band.members.get(id).and_then(Aff::as_iter);
    band.members.keys().all(|writer| {
        let written = &program.statement(*writer).target;
        let own = dim(writer).map(|d| rules(program, *writer, written, d)).unwrap_or_default();
        band.members.keys().all(|reader| {
            super::group::accesses_after_write(program, *reader, written.array).iter().all(|read| {
                let same = |d| rules(program, *reader, read, d).iter().any(|rule| own.contains(rule));
                dim(reader).is_some_and(same)
            })
        })
    })
}
