//! `overlap`: run chains of windows in overlapping blocks of rows, which depend on each other in nothing.
//!
//! Rewrite: `for i { A }  for j { B }`, where `B` reads a window of the rows that `A` makes, becomes `for block { for i in
//! what the block needs { A }  for j in block { B } }`. Each block computes the rows of its producers that it needs, those too that
//! a neighbour computes for itself, into an array with a dimension more, the block; `contract` keeps one block of it. So the
//! blocks are parallel: `team` gives every worker its own, with a plane for each, and nobody waits inside of the chain.
//!
//! Legal when each loop is parallel and its rows decide the iteration that makes them (see `chain`), when nobody outside of the
//! chain reads what is computed twice, and when each access to it goes through its rows at the pace of the blocks, so that a block
//! touches a known range of them: what an instance reads is then written in its own block. Wanted when barriers, and bytes
//! that come closer, cost more than what is computed twice (see `overlap_cost`), which is at most
//! [`MOST`] times what is needed, and by more than `fuse-tiles` could save by joining the nests in pairs.
//! One worker gains nothing by it, and is left alone.
//! Source: overlapped tiling, Krishnamoorthy et al. (PLDI 2007); post-tiling fusion, Zhao and Di (MICRO 2020).

use super::axis::blocks;
use super::chain::{self, Chain, Link};
use super::overlap_cost::{Model, Price};
use super::{fuse_tiles, group, owner};
use crate::aff::Aff;
use crate::cost::balance;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, Role, StatementId};
use crate::transform::{self, Blocks, Path, children};
use indexmap::IndexMap;
use std::collections::{BTreeSet, HashSet};

pub struct Overlap;

const NAME: &str = "overlap";

/// Work that may be done, over work that is needed.
pub const MOST: f64 = 1.15;

impl Pass for Overlap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "run chains of windows in overlapping blocks of rows (thread teams)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if context.machine.gpu || context.machine.threads < 2 {
            return Ok(());
        }
        let apart = fuse_tiles::in_registers(program);
        // Inner lists first: the paths of the others stay.
        for list in fuse_tiles::lists(program).iter().rev() {
            overlap_list(program, list, &apart, context);
        }
        Ok(())
    }
}

/// The iterations of a member's loop in block `k`: `pace * k + first ..= pace * k + last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub pace: i64,
    pub first: i64,
    pub last: i64,
}

impl Span {
    pub fn length(&self) -> i64 {
        self.last - self.first + 1
    }

    /// Do the blocks meet without a gap, and not overlap?
    fn is_whole(&self) -> bool {
        self.first == 0 && self.last == self.pace - 1
    }

    /// Iterations of block `k`, of a loop with `extent` of them.
    pub fn rows(&self, k: i64, extent: i64) -> i64 {
        let (first, last) = ((self.pace * k + self.first).max(0), (self.pace * k + self.last).min(extent - 1));
        (last - first + 1).max(0)
    }

    /// What a producer does so that a reader can do this.
    fn before(&self, pace: i64, link: &Link) -> Span {
        let w = &link.window;
        let made = |row: i64| row.div_euclid(w.made);
        Span { pace, first: made(w.step * self.first + w.first), last: made(w.step * self.last + w.last) }
    }

    fn around(&self, other: Span) -> Span {
        Span { first: self.first.min(other.first), last: self.last.max(other.last), ..*self }
    }
}

/// An array that every block gets a part of: the rows from `low` to `high` of subscript `dim`, of which each block starts `pace`
/// rows later than the one before it.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    array: ArrayId,
    dim: usize,
    pace: i64,
    low: i64,
    high: i64,
}

struct Plan {
    chain: Chain,
    spans: Vec<Span>,
    parts: Vec<Part>,
    count: Aff,
    /// The number of blocks for typical values of the parameters.
    blocks: i64,
    price: Price,
    gain: f64,
}

fn overlap_list(program: &mut Program, parent: &Path, apart: &HashSet<ArrayId>, cx: &mut PassContext) {
    let mut at = 0;
    while at + 1 < children(&program.schedule, parent).len() {
        let model = Model { program, parent, apart, machine: cx.machine };
        if let Some(plan) = best(&model, at) {
            let subject = fuse_tiles::origin(program, &children(&program.schedule, parent)[at]);
            cx.applied(NAME, &subject, said(program, parent, &plan));
            apply(program, parent, &plan);
        }
        at += 1;
    }
}

fn said(program: &Program, parent: &[usize], plan: &Plan) -> String {
    let more = 100.0 * (plan.price.factor - 1.0);
    format!(
        "{} blocks of rows with {}: {:.0} KB flow inside, {:.1} % {} work, about {:.0} cycles saved",
        plan.blocks,
        plan.chain.others(program, parent),
        plan.price.flow / 1024.0,
        more.abs(),
        // Rows that nobody reads are left out.
        if more < 0.0 { "less" } else { "more" },
        plan.gain
    )
}

// ---- what to join ------------------------------------------------------------------------------------------

/// The best chain that starts at node `at`; the first of equals.
fn best(model: &Model, at: usize) -> Option<Plan> {
    let plans = chain::starting_at(model, at).into_iter().filter_map(|chain| plan(model, &chain));
    plans.reduce(|best, plan| if plan.gain > best.gain { plan } else { best })
}

/// The best blocks for a chain, if they gain anything.
fn plan(model: &Model, chain: &Chain) -> Option<Plan> {
    let plans = sizes(model, chain).into_iter().filter_map(|size| Plan::new(model, chain, size));
    let mut best = plans.max_by(|a, b| a.gain.total_cmp(&b.gain)).filter(|plan| plan.gain > 0.0)?;
    best.gain -= model.pairs(chain, best.gain);
    (best.gain > 0.0).then_some(best)
}

/// Iterations of the first member per block, to try.
fn sizes(model: &Model, chain: &Chain) -> BTreeSet<i64> {
    balance::sizes(model.iterations(&chain.members[0]), chain.common(), model.machine.threads as i64)
}

impl Plan {
    fn new(model: &Model, chain: &Chain, size: i64) -> Option<Plan> {
        let shared = |n: usize| is_seen_outside(model, chain, n);
        let spans = spans(chain, &chain.paces(size)?, &shared)?;
        let count = count(chain, &spans, &shared)?;
        let parts = parts(model, chain, &spans)?;
        let blocks = model.program.params.hint(&count);
        if blocks < 2 {
            return None;
        }
        let price = model.price(chain, &spans, &count);
        let (gain, chain) = (price.cycles.gain(), chain.clone());
        (price.factor <= MOST).then_some(Plan { chain, spans, parts, count, blocks, price, gain })
    }
}

/// What every member does in a block: what its readers need. `None` where that is not what others need of it.
fn spans(chain: &Chain, paces: &[i64], shared: &dyn Fn(usize) -> bool) -> Option<Vec<Span>> {
    let mut out: Vec<Span> = paces.iter().map(|pace| Span { pace: *pace, first: 0, last: pace - 1 }).collect();
    for n in (0..paces.len()).rev() {
        let readers = chain.links.iter().filter(|l| l.from == n);
        let needs = readers.map(|l| out[l.to].before(paces[n], l)).reduce(|a, b| a.around(b));
        out[n] = needs.unwrap_or(out[n]);
        if !out[n].is_whole() && shared(n) {
            return None;
        }
    }
    Some(out)
}

/// The number of blocks: it must be that of every member that others want all rows of.
fn count(chain: &Chain, spans: &[Span], shared: &dyn Fn(usize) -> bool) -> Option<Aff> {
    let wanted = |n: &usize| shared(*n) || chain.links.iter().all(|l| l.from != *n);
    let mut counts = (0..spans.len()).filter(wanted).map(|n| blocks(&chain.members[n].axis.extent, spans[n].pace));
    let first = counts.next()?;
    counts.all(|c| c == first).then_some(first)
}

/// Does anybody outside of the chain see what member `n` writes?
fn is_seen_outside(model: &Model, chain: &Chain, n: usize) -> bool {
    let program = model.program;
    let node = |n: usize| &children(&program.schedule, model.parent)[chain.members[n].node];
    let inside: HashSet<StatementId> = (0..chain.members.len()).flat_map(|n| node(n).statements()).collect();
    group::writes(program, node(n)).into_iter().any(|array| {
        let own = program.array(array);
        let outside = |(id, _): &(StatementId, Access)| !inside.contains(id);
        own.role != Role::Temp || program.params.read_array(&own.name) || accesses(program, array).iter().any(outside)
    })
}

/// All accesses to an array.
fn accesses(program: &Program, array: ArrayId) -> Vec<(StatementId, Access)> {
    let mut out = Vec::new();
    for (id, statement) in program.statements() {
        statement.visit_accesses(&mut |access| {
            if access.array == array {
                out.push((id, access.clone()));
            }
        });
    }
    out
}

/// The parts of all arrays of which blocks have rows of their own.
fn parts(model: &Model, chain: &Chain, spans: &[Span]) -> Option<Vec<Part>> {
    let nodes = children(&model.program.schedule, model.parent);
    let mut arrays: Vec<ArrayId> = Vec::new();
    for (member, _) in chain.members.iter().zip(spans).filter(|(_, span)| !span.is_whole()) {
        arrays.extend(group::writes(model.program, &nodes[member.node]));
    }
    arrays.sort();
    arrays.dedup();
    let loops = loops(model.program, chain, spans)?;
    arrays.into_iter().map(|array| part(model.program, &loops, array)).collect()
}

/// The iterator of every statement that becomes blocks, and its iterations in each.
fn loops(program: &Program, chain: &Chain, spans: &[Span]) -> Option<IndexMap<StatementId, (usize, Span)>> {
    let mut out = IndexMap::new();
    for (member, span) in chain.members.iter().zip(spans) {
        for (id, value) in &transform::band_at(&program.schedule, &member.axis.path)?.members {
            out.insert(*id, (value.as_iter()?, *span));
        }
    }
    Some(out)
}

/// The first subscript by which all accesses go through rows at the pace of the blocks. What lies side by side in memory
/// is taken last: parts of it are short.
fn part(program: &Program, loops: &IndexMap<StatementId, (usize, Span)>, array: ArrayId) -> Option<Part> {
    let all = accesses(program, array);
    let mut dims: Vec<usize> = (0..program.array(array).extents.len()).collect();
    dims.sort_by_key(|dim| owner::is_innermost(program.array(array), *dim));
    dims.into_iter().find_map(|dim| {
        let one = |(id, access): &(StatementId, Access)| {
            let (d, span) = loops.get(id)?;
            let rows = owner::rows(program, *id, access, dim, *d)?;
            let (low, high) = (rows.first + rows.step * span.first, rows.last + rows.step * span.last);
            Some(Part { array, dim, pace: rows.step * span.pace, low, high })
        };
        let parts = all.iter().map(one).collect::<Option<Vec<Part>>>()?;
        let pace = parts.first()?.pace;
        let (low, high) = (parts.iter().map(|p| p.low).min()?, parts.iter().map(|p| p.high).max()?);
        parts.iter().all(|p| p.pace == pace).then_some(Part { array, dim, pace, low, high })
    })
}

// ---- the rewrite --------------------------------------------------------------------------------------

fn apply(program: &mut Program, parent: &[usize], plan: &Plan) {
    for (member, span) in plan.chain.members.iter().zip(&plan.spans) {
        if !span.is_whole() || span.pace > 1 || member.axis.extent != plan.count {
            let (size, late, length) = (span.pace, -span.first, span.length());
            let blocks = Blocks { size, late, length, count: plan.count.clone() };
            transform::strip_mine_overlapping(program, &member.axis.path, &blocks);
        }
        fuse_tiles::to_top(program, &member.axis);
    }
    plan.chain.join(program, parent);
    let top = [parent, &[plan.chain.members[0].node]].concat();
    let block = transform::band_at(&program.schedule, &top).map(|band| band.members.clone()).unwrap_or_default();
    for part in &plan.parts {
        give_parts(program, part, &block, &plan.count);
    }
}

/// Gives an array a part for every block, where `block` has the block's number at every statement.
fn give_parts(program: &mut Program, part: &Part, block: &IndexMap<StatementId, Aff>, count: &Aff) {
    let array = program.array_mut(part.array);
    array.extents[part.dim] = Aff::constant(part.high - part.low + 1);
    array.extents.insert(0, count.clone());
    array.fold.insert(0, None);
    let params = program.params.clone();
    for (id, k) in block {
        let moved = |access: Access| {
            let mut index = access.index;
            if let Expr::Index(row) = &mut index[part.dim] {
                *row = row.clone() - k.clone() * part.pace - Aff::constant(part.low);
            }
            index.insert(0, Expr::Index(k.clone()));
            Access { array: part.array, index }
        };
        let statement = program.statement_mut(*id);
        statement.map_exprs(&mut |e| {
            e.rewrite(&mut |e| match e {
                Expr::Load(access) if access.array == part.array => Expr::Load(moved(access)),
                other => other,
            })
        });
        if statement.target.array == part.array {
            statement.target = moved(statement.target.clone());
        }
        transform::simplify(statement, &params);
    }
}

#[cfg(test)]
mod tests;
