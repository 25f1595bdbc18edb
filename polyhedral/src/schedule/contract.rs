//! `contract`: keep only the part of a temporary that is alive.
//!
//! Two rewrites of storage; accesses stay as they are.
//!  1. *Registers*: an array that is only used inside one lockstep tile, every access at the same element of
//!     the tile, becomes registers (the accumulator of a matrix product never touches memory).
//!  2. *Windows*: if a sequential loop encloses all uses and each access has subscript `loop + c` in one
//!     dimension, only `max(c) - min(c) + 1` planes are alive: the time dimension of a recurrent state
//!     shrinks to two planes, a row buffer inside a row loop to one. Accesses outside the loop are allowed
//!     where they cannot meet a reused plane: the initial value written before the loop, the last value read
//!     after it. Of a loop over blocks (subscripts `block * loop + rest`) one block is alive.
//!
//! Declined for parallel loops shared by several workers. Proved again by the legality checker, which
//! intersects live ranges. Source: Lefebvre and Feautrier (1998); De Greef et al. (1997).

use super::owner;
use super::uses::{Use, Uses};
use crate::Origin;
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::Expr;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Placement, Program};
use crate::schedule_tree::Mark;
use std::collections::BTreeSet;

pub struct Contract;

impl Pass for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn summary(&self) -> &'static str {
        "shrink temporaries to their live window or to registers"
    }

    /// A loop without a known bound needs its state folded: the unfolded array has no size.
    fn required(&self) -> bool {
        true
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let uses = Uses::of(program);
        for (array, accesses) in &uses.by_array {
            if !program.array(*array).is_temp() {
                continue;
            }
            if in_one_tile(program, &uses, *array, accesses) {
                program.array_mut(*array).placement = Some(Placement::Register);
                context.applied(self.name(), &subject(program, accesses), format!("{array} lives in registers"));
                continue;
            }
            fold(self.name(), program, &uses, *array, accesses, context);
        }
        Ok(())
    }
}

fn subject(program: &Program, accesses: &[Use]) -> Origin {
    accesses.first().map(|u| program.statement(u.statement).origin.clone()).unwrap_or_default()
}

/// Is every access inside one lockstep nest, at the same point of the loops down to the lanes?
fn in_one_tile(program: &Program, uses: &Uses, array: ArrayId, accesses: &[Use]) -> bool {
    let Some(first) = accesses.first() else { return false };
    let Some(tile) = uses.tile(first.statement) else { return false };
    let element = uses.point(first, &tile);
    element.is_some()
        && program.array(array).dtype.size() >= 4
        && uses.owns_its_element(first, &tile)
        && accesses.iter().all(|u| uses.point(u, &tile) == element)
}

// ---- windows ------------------------------------------------------------------------------------------

fn fold(pass: &'static str, program: &mut Program, uses: &Uses, array: ArrayId, all: &[Use], cx: &mut PassContext) {
    for dim in 0..program.array(array).extents.len() {
        if program.array(array).extents[dim].as_constant() == Some(1) {
            continue;
        }
        if let Some(window) = window(program, uses, array, all, dim) {
            let smaller = program.array(array).extents[dim].as_constant().is_none_or(|e| e > window);
            if smaller {
                program.array_mut(array).fold[dim] = Some(window);
                let why = format!("dimension {dim} of {array} keeps {window} planes");
                cx.applied(pass, &subject(program, all), why);
            }
        }
    }
}

/// The number of planes of `dim` that are alive at once, under the sequential loop that leaves the fewest.
fn window(program: &Program, uses: &Uses, array: ArrayId, all: &[Use], dim: usize) -> Option<i64> {
    let writers = all.iter().filter(|u| u.writes);
    let around: BTreeSet<usize> = writers.flat_map(|u| uses.loops[&u.statement].iter().map(|(n, _)| *n)).collect();
    let apart = |n: &usize| uses.marks[*n] == Mark::Seq && !is_kept(program, uses, all, *n);
    let windows = around.into_iter().filter(apart).filter_map(|n| {
        window_under(program, uses, array, all, dim, n).or_else(|| block_under(program, uses, all, dim, n))
    });
    windows.min()
}

fn window_under(program: &Program, uses: &Uses, array: ArrayId, all: &[Use], dim: usize, band: usize) -> Option<i64> {
    let (inside, outside): (Vec<&Use>, Vec<&Use>) =
        all.iter().partition(|u| uses.loop_value(u.statement, band).is_some());
    let offset = |u: &&Use| {
        let Expr::Index(subscript) = &u.access.index[dim] else { return None };
        (subscript.clone() - uses.loop_value(u.statement, band)?.clone()).as_constant()
    };
    let offsets = inside.iter().map(offset).collect::<Option<Vec<i64>>>()?;
    let (low, high) = (*offsets.iter().min()?, *offsets.iter().max()?);
    let written = inside.iter().zip(&offsets).filter(|(u, _)| u.writes).map(|(_, c)| *c).max()?;
    // Planes ahead of the writer are never read; the element itself must not depend on the loop elsewhere.
    (written == high && outside.iter().all(|u| harmless(program, uses, array, u, dim, &inside)))
        .then_some(high - low + 1)
}

/// The block of a loop over blocks around all uses: each has the subscript `block * loop + rest`, `0 <= rest < block`.
fn block_under(program: &Program, uses: &Uses, all: &[Use], dim: usize, band: usize) -> Option<i64> {
    let block = |u: &Use| {
        let d = uses.loop_value(u.statement, band)?.as_iter()?;
        let rules = owner::rules(program, u.statement, &u.access, d);
        rules.iter().find(|r| r.dim == dim && r.low == 0).map(|r| r.block)
    };
    let mut blocks = all.iter().map(block);
    let first = blocks.next()??;
    (first > 1 && blocks.all(|b| b == Some(first))).then_some(first)
}

/// Does a loop around loop `band` keep rows for its next iteration? Then the planes of the inner loop live on.
fn is_kept(program: &Program, uses: &Uses, all: &[Use], band: usize) -> bool {
    let inside = |u: &&Use| uses.loop_value(u.statement, band).is_some();
    let Some(inner) = all.iter().find(inside) else { return false };
    let outer: Vec<usize> = uses.loops[&inner.statement].iter().map(|(n, _)| *n).take_while(|n| *n != band).collect();
    let mut places = (0..outer.len()).flat_map(|n| (0..inner.access.index.len()).map(move |dim| (n, dim)));
    places.any(|(n, dim)| {
        rows_of(program, uses, all, dim, outer[n], &outer[..n]).is_some_and(|rows| {
            let (first, last) = (rows.iter().map(|r| r.first).min(), rows.iter().map(|r| r.last).max());
            first.zip(last).is_some_and(|(first, last)| last - first >= rows[0].step)
        })
    })
}

/// The rows of `dim` that every use touches in iteration 0 of loop `band` around all of them, when they move on by equally
/// many; the loops `around` it stand still.
fn rows_of(
    program: &Program,
    uses: &Uses,
    all: &[Use],
    dim: usize,
    band: usize,
    around: &[usize],
) -> Option<Vec<owner::Rows>> {
    let rows = |u: &Use| {
        let iterator = |n: usize| uses.loop_value(u.statement, n).and_then(Aff::as_shifted_iter);
        let fixed: Vec<usize> = around.iter().filter_map(|n| Some(iterator(*n)?.0)).collect();
        let mut access = u.access.clone();
        if let Expr::Index(a) = &mut access.index[dim] {
            *a = a.substitute(&|n| if fixed.contains(&n) { Aff::constant(0) } else { Aff::iter(n) });
        }
        let (d, late) = iterator(band)?;
        let owner::Rows { step, first, last } = owner::rows(program, u.statement, &access, dim, d)?;
        Some(owner::Rows { step, first: first - step * late, last: last - step * late })
    };
    let rows = all.iter().map(rows).collect::<Option<Vec<owner::Rows>>>()?;
    let step = rows.first()?.step;
    rows.iter().all(|r| r.step == step).then_some(rows)
}

/// Outside the loop: the initial value (plane 0 and nothing else, before the loop) or the final value.
fn harmless(program: &Program, uses: &Uses, array: ArrayId, use_: &Use, dim: usize, inside: &[&Use]) -> bool {
    let Expr::Index(subscript) = &use_.access.index[dim] else { return false };
    let first = inside.iter().map(|u| uses.order[&u.statement]).min().unwrap_or(0);
    let last = inside.iter().map(|u| uses.order[&u.statement]).max().unwrap_or(0);
    let at = uses.order[&use_.statement];
    let final_plane = program.array(array).extents[dim].clone() - Aff::constant(1);
    (use_.writes && at < first && subscript.is_constant(0)) || (!use_.writes && at > last && *subscript == final_plane)
}
