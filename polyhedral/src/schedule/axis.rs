//! Loops along which a producer and a consumer can run block by block.
//!
//! A loop of the producer *decides* an element that it writes where the element's subscript is `block * loop + rest`
//! with `0 <= rest < block` (see `owner`). If a loop of the consumer decides the same elements by the same subscript, the
//! two loops, strip-mined to a common block, never meet across blocks: they may become one loop over blocks.

use super::group;
use super::owner::{self, Rule};
use crate::aff::{Aff, gcd};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::Mark;
use crate::transform::{self, Path};

/// A parallel loop of a nest that may become its outermost one.
#[derive(Clone)]
pub struct Axis {
    pub path: Path,
    /// How deep in the chain from the nest's top.
    pub depth: usize,
    pub extent: Aff,
}

/// The parallel loops from `top` down, each containing only the next, whose statements agree in their range.
pub fn axes(program: &Program, top: &[usize]) -> Vec<Axis> {
    let mut out = Vec::new();
    for (depth, path) in transform::chain(&program.schedule, top).into_iter().enumerate() {
        let Some(band) = transform::band_at(&program.schedule, &path) else { break };
        let movable = band.mark == Mark::Seq
            && owner::is_parallel(program, band)
            && !group::steps_along_unlimited(program, band)
            && !band.members.keys().any(|s| steers(program, *s));
        match group::common_extent(program, band) {
            Some(extent) if movable => out.push(Axis { path, depth, extent }),
            _ => break,
        }
    }
    out
}

/// Does the statement decide whether a host loop goes on?
pub fn steers(program: &Program, id: StatementId) -> bool {
    program.exits.contains(&program.statement(id).target.array)
}

/// By how much two loops are strip-mined to meet: the first by a multiple of `first`, the second by the same multiple
/// of `second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    pub first: i64,
    pub second: i64,
}

/// The factors that make blocks of both loops decide the same elements of every array of `flows`; `None` where
/// some element is not decided by both.
pub fn ratio(program: &Program, producer: &Axis, consumer: &Axis, flows: &[ArrayId]) -> Option<Ratio> {
    let writers = transform::band_at(&program.schedule, &producer.path)?;
    let readers = transform::band_at(&program.schedule, &consumer.path)?;
    let mut found: Option<Ratio> = None;
    for (writer, value) in &writers.members {
        let target = &program.statement(*writer).target;
        if !flows.contains(&target.array) {
            continue;
        }
        let written = owner::rules(program, *writer, target, value.as_iter()?);
        for (reader, value) in &readers.members {
            for access in group::accesses_after_write(program, *reader, target.array) {
                let read = owner::rules(program, *reader, &access, value.as_iter()?);
                let own = meeting(&written, &read).find(|r| found.is_none_or(|f| f == *r))?;
                found = Some(own);
            }
        }
    }
    found
}

/// Do blocks of `factors` iterations of both loops read the same elements of `array`? Then its elements decide both by one rule.
pub fn read_together(program: &Program, loops: [&Axis; 2], factors: [i64; 2], array: ArrayId) -> bool {
    let rules = |axis: &Axis| -> Option<Vec<Vec<Rule>>> {
        let band = transform::band_at(&program.schedule, &axis.path)?;
        let mut all = Vec::new();
        for (reader, value) in &band.members {
            let d = value.as_iter()?;
            program.statement(*reader).visit_reads(&mut |access| {
                if access.array == array {
                    all.push(owner::rules(program, *reader, access, d));
                }
            });
        }
        Some(all)
    };
    let [Some(first), Some(second)] = loops.map(rules) else { return false };
    let same = |a: &[Rule], b: &[Rule]| meeting(a, b).any(|r| r.first * factors[1] == r.second * factors[0]);
    first.iter().all(|a| second.iter().all(|b| same(a, b)))
}

/// All ways in which a rule of the writer and one of the reader can be made equal.
fn meeting<'a>(written: &'a [Rule], read: &'a [Rule]) -> impl Iterator<Item = Ratio> + 'a {
    let same = |w: &Rule, r: &Rule| w.dim == r.dim && w.low == r.low;
    written.iter().flat_map(move |w| {
        read.iter().filter(move |r| same(w, r)).map(|r| {
            let common = gcd(w.block, r.block);
            Ratio { first: r.block / common, second: w.block / common }
        })
    })
}

/// The number of blocks of `size` iterations.
pub fn blocks(extent: &Aff, size: i64) -> Aff {
    (extent.clone() + Aff::constant(size - 1)).floor_div(size)
}
