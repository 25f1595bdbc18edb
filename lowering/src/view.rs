//! Where in an array a root begins to read and write: whole rows that no access reaches are left out.
//!
//! Step `t` of the second layer of a recurrent network reads row `t + 1` of the states of the first; the first
//! layer reads row `t` of the input. Seen from the first row they touch, both are the same code (see `part`).

use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{Access, Aff, Array, ArrayId, Expr, LoopNest, Nest, Term};
use std::collections::HashMap;

/// A view begins at a multiple of what vector code may take for granted about the begin of an array.
const ALIGNMENT: i64 = 64;

/// For each array of `root` whose first rows (numbers along its outermost dimension) are never touched: how many.
pub fn skipped_rows(nest: &LoopNest, root: &Nest) -> HashMap<ArrayId, i64> {
    let mut least: HashMap<ArrayId, i64> = HashMap::new();
    root.visit_accesses(&mut |access| {
        let first = first_row(access).unwrap_or(0);
        least.entry(access.array).and_modify(|l| *l = first.min(*l)).or_insert(first);
    });
    least.retain(|id, rows| {
        let bytes = offset(&nest.arrays[id.0 as usize], *rows);
        *rows > 0 && bytes.is_some_and(|b| b % ALIGNMENT == 0)
    });
    least
}

/// Bytes from the begin of `array` to row `rows`, where that is known and rows lie one after another.
pub fn offset(array: &Array, rows: i64) -> Option<i64> {
    let apart = array.placement != Some(Placement::Register) && array.fold.iter().all(Option::is_none);
    let mut inner = array.extents.get(1..)?.iter().map(Aff::as_constant);
    let row = inner.try_fold(array.dtype.size() as i64, |bytes, e| bytes.checked_mul(e?))?;
    row.checked_mul(rows).filter(|_| apart)
}

/// The constant part of an outermost subscript that only grows: with loops that begin at 0, the first row.
fn first_row(access: &Access) -> Option<i64> {
    let Expr::Index(row) = access.index.first()? else { return None };
    let grows = row.terms().iter().all(|(term, factor)| matches!(term, Term::Iter(_)) && *factor > 0);
    grows.then(|| row.offset())
}

/// `array` without its first `rows` rows.
pub fn view(array: &Array, rows: i64) -> Array {
    let mut view = array.clone();
    if let Some(outermost) = view.extents.first_mut().filter(|_| rows > 0) {
        *outermost = outermost.clone() - Aff::constant(rows);
    }
    view
}

/// `access` in a view that begins at row `rows`.
pub fn seen_from(mut access: Access, rows: i64) -> Access {
    if let Some(Expr::Index(row)) = access.index.first_mut() {
        *row = row.clone() - Aff::constant(rows);
    }
    access
}
