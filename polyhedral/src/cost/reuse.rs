//! Which bytes a part of the program touches, and what it costs to touch them where they are. Pure functions; bytes
//! and cycles at the parameters' typical values.

use super::footprint::subscript_range;
use crate::aff::Aff;
use crate::expr::Access;
use crate::machine::Machine;
use crate::program::{ArrayId, Program, StatementId};
use crate::transform;
use indexmap::IndexMap;
use std::collections::HashSet;

/// Bytes of every array that is touched.
pub type Footprint = IndexMap<ArrayId, f64>;

/// What the instances of `statements` touch, when iterator `d` of statement `s` takes `span(s, d)` values (all where
/// `None`). Arrays of `apart` do not count. An upper bound: the box around the elements.
pub fn footprint(
    program: &Program,
    statements: &[StatementId],
    apart: &HashSet<ArrayId>,
    span: &dyn Fn(StatementId, usize) -> Option<i64>,
) -> Footprint {
    let mut out = Footprint::new();
    for id in statements {
        program.statement(*id).visit_accesses(&mut |access| {
            if !apart.contains(&access.array) {
                let bytes = touched(program, *id, access, &|d| span(*id, d));
                let most = out.entry(access.array).or_insert(0.0);
                *most = most.max(bytes);
            }
        });
    }
    out
}

/// What the node at `top` touches in one iteration of the bands around it: in all, or where the band at a path below runs
/// for some iterations.
pub fn footprint_of_node(
    program: &Program,
    top: &[usize],
    block: Option<(&[usize], i64)>,
    apart: &HashSet<ArrayId>,
) -> Footprint {
    let around = fixed_around(program, top);
    let band = block.and_then(|(path, size)| Some((transform::band_at(&program.schedule, path)?, size)));
    let span = |s: StatementId, d: usize| match band {
        _ if around.contains(&(s, d)) => Some(1),
        Some((band, size)) if band.members.get(&s).and_then(Aff::as_iter) == Some(d) => Some(size),
        _ => None,
    };
    let statements =
        top.split_last().map(|(n, parent)| transform::children(&program.schedule, parent)[*n].statements());
    footprint(program, &statements.unwrap_or_default(), apart, &span)
}

/// Bytes of the box around the elements of one access.
fn touched(program: &Program, id: StatementId, access: &Access, span: &dyn Fn(usize) -> Option<i64>) -> f64 {
    let array = program.array(access.array);
    let statement = program.statement(id);
    let hint = |p| Some(program.params.get(p).hint);
    let last = |d: usize| span(d).unwrap_or_else(|| program.params.hint(&statement.extents[d])).max(1) - 1;
    let dims = array.extents.iter().zip(&array.fold);
    let planes = access.index.iter().zip(dims).map(|(index, (extent, fold))| {
        let all = program.params.hint(extent).max(1);
        let (low, high) = subscript_range(index, all, &|p| (hint(p), hint(p)), &|d| (Some(0), Some(last(d))));
        let count = (high - low + 1).max(1);
        fold.map_or(count, |window| count.min(window))
    });
    planes.map(|n| n as f64).product::<f64>() * array.dtype.size() as f64
}

/// Bytes of all arrays.
pub fn total(footprint: &Footprint) -> f64 {
    footprint.values().sum()
}

/// Bytes that all touch together.
pub fn union<'f>(all: impl Iterator<Item = &'f Footprint>) -> f64 {
    let mut out = Footprint::new();
    for (array, bytes) in all.flatten() {
        let most = out.entry(*array).or_insert(0.0);
        *most = most.max(*bytes);
    }
    total(&out)
}

/// Cycles for a byte that was touched before `distance` other bytes were: one core's bandwidth of the level that still
/// holds it. Round numbers for current x86 cores: what counts is how far apart the levels are.
pub fn cycles_per_byte(distance: f64, machine: &Machine) -> f64 {
    // Half of a cache is lost to a thread beside this one, to what nobody counts, and to the cache's sets.
    let fits = |bytes: usize| distance <= 0.5 * bytes as f64;
    match () {
        _ if fits(machine.l1_bytes) => 1.0 / 64.0,
        _ if fits(machine.l2_bytes) => 1.0 / 32.0,
        _ if fits(machine.l3_bytes) => 1.0 / 12.0,
        _ => 1.0 / 4.0,
    }
}

/// The iterators that the bands around `path` fix, for every statement.
pub fn fixed_around(program: &Program, path: &[usize]) -> HashSet<(StatementId, usize)> {
    let bands = (1..path.len()).filter_map(|n| transform::band_at(&program.schedule, &path[..n]));
    bands.flat_map(|b| b.members.iter().filter_map(|(s, v)| Some((*s, v.as_iter()?)))).collect()
}
