//! Cycles of a tile nest: every loop that could be its vector loop is scored by the loads, stores and arithmetic of one
//! vector. Data is taken to be in the first level of cache; `reuse` says what it costs where it is not.

use super::operations::{loads, operations};
use crate::expr::{Access, Expr};
use crate::machine::{Machine, Numeric};
use crate::program::{Program, Role, Statement, StatementId, StatementKind};
use crate::schedule::group::{self, Stride};
use crate::schedule::pack;
use crate::schedule::tile_nest::{TileNest, all_nests};
use crate::transform;

/// Which loop becomes the vector loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lane {
    /// Number in `TileNest::chain`.
    Parallel(usize),
    /// Number in `TileNest::reductions`, number of the loop in it.
    Reduction(usize, usize),
}

/// The best vector loop of the nest (a reduction that must keep its order is none) and what one iteration of its parallel loops costs; no loop where scalar
/// code is cheaper.
pub fn best_lane(program: &Program, nest: &TileNest, machine: &Machine) -> (f64, Option<Lane>) {
    let parallel = (0..nest.chain.len()).map(Lane::Parallel);
    let loops = nest.reductions.iter().enumerate();
    let reductions = loops.flat_map(|(r, red)| (0..red.loops.len()).map(move |l| Lane::Reduction(r, l)));
    let scalar = nest.statements.iter().map(|s| scalar_cost(program, *s)).sum::<f64>();
    let reductions = reductions.filter(|_| machine.numeric != Numeric::Strict);
    let scored = parallel.chain(reductions).map(|lane| (lane_cost(program, nest, lane, machine), lane));
    let best = scored.min_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|b| b.0 < scalar).map_or((scalar, None), |(cost, lane)| (cost, Some(lane)))
}

/// Cycles, roughly, of all tile nests of the program at typical sizes, each with its best vector loop.
pub fn cycles(program: &Program, machine: &Machine) -> f64 {
    all_nests(program).iter().map(|nest| nest_cycles(program, nest, machine)).sum()
}

/// The same of one nest.
pub fn nest_cycles(program: &Program, nest: &TileNest, machine: &Machine) -> f64 {
    runs(program, nest) * best_lane(program, nest, machine).0
}

/// How often the body of a nest's parallel loops runs.
pub fn runs(program: &Program, nest: &TileNest) -> f64 {
    let Some(statement) = nest.statements.first() else { return 0.0 };
    let deepest = nest.chain.last().map_or(&[][..], Vec::as_slice);
    let extent = |n: usize| {
        let band = transform::band_at(&program.schedule, &deepest[..n])?;
        let d = band.members.get(statement)?.as_iter()?;
        Some(program.params.hint(&program.statement(*statement).extents[d]).max(1) as f64)
    };
    (1..=deepest.len()).filter_map(extent).product()
}

/// Cycles, roughly, for one iteration of the parallel loops when `lane` is the vector loop.
fn lane_cost(program: &Program, nest: &TileNest, lane: Lane, machine: &Machine) -> f64 {
    let (path, alone) = match lane {
        Lane::Parallel(n) => (&nest.chain[n], None),
        Lane::Reduction(r, l) => (&nest.reductions[r].loops[l], Some(nest.reductions[r].statement)),
    };
    let Some(band) = transform::band_at(&program.schedule, path) else { return f64::INFINITY };
    let Some(dims) = transform::plain_dims(band) else { return f64::INFINITY };
    let lanes = lanes_of(program, &nest.statements, machine) as f64;
    let Some((first, dim)) = dims.first() else { return f64::INFINITY };
    let extent = program.params.hint(&program.statement(*first).extents[*dim]).max(1);
    let used = extent as f64 / ((extent as f64 / lanes).ceil() * lanes);
    let vector: f64 = dims.iter().map(|(s, d)| vector_cost(program, *s, *d, lanes) / (lanes * used.max(1e-3))).sum();
    match alone {
        None => vector,
        // Combining the lanes costs about a dozen operations; every other statement stays scalar.
        Some(own) => {
            let others = nest.statements.iter().filter(|s| **s != own);
            vector + 12.0 + others.map(|s| scalar_cost(program, *s)).sum::<f64>()
        }
    }
}

/// Elements per vector: by the widest type that the nest computes in, four bytes at least.
pub fn lanes_of(program: &Program, statements: &[StatementId], machine: &Machine) -> usize {
    let widest = statements.iter().map(|s| program.array(program.statement(*s).target.array).dtype.size()).max();
    machine.lanes(widest.unwrap_or(4).max(4))
}

/// Instances of the reduction loops of a statement, for one iteration of the loops its target depends on.
fn reduction_volume(program: &Program, id: StatementId) -> f64 {
    let statement = program.statement(id);
    if statement.kind == StatementKind::Assign {
        return 1.0;
    }
    let inner = (0..statement.extents.len()).filter(|d| !group::uses(&statement.target, *d));
    inner.map(|d| program.params.hint(&statement.extents[d]).max(1) as f64).product()
}

fn scalar_cost(program: &Program, id: StatementId) -> f64 {
    let statement = program.statement(id);
    reduction_volume(program, id) * (operations(&statement.value) + loads(&statement.value) as f64 + 1.0)
}

/// Cycles for one vector of a statement's instances along dimension `d`.
fn vector_cost(program: &Program, id: StatementId, d: usize, lanes: f64) -> f64 {
    let statement = program.statement(id);
    // A register tile loads the operands of a contraction once for several rows or vectors, and what all lanes of a
    // reduction share once for several vectors. Lanes that are summed up have no rows beside them.
    let contraction = group::is_contraction_statement(program, id) && group::uses(&statement.target, d);
    let reduction = statement.kind != StatementKind::Assign;
    let shared = |a: &Access| contraction || (reduction && !group::uses(a, d));
    let share = |a: &Access| if shared(a) { TILE_SHARE } else { 1.0 };
    let mut cost = operations(&statement.value);
    statement.value.visit_loads(&mut |a| cost += share(a) * access_cost(program, id, a, d, lanes));
    let volume = reduction_volume(program, id);
    // The accumulator of a reduction stays in a register: its target is touched once, not per iteration.
    if reduction { cost * volume } else { cost + store_cost(program, &statement.target, d, lanes) }
}

/// Loads per multiply-add of a register tile of a few rows and vectors.
const TILE_SHARE: f64 = 0.25;

fn access_cost(program: &Program, id: StatementId, access: &Access, d: usize, lanes: f64) -> f64 {
    let constant = matches!(program.array(access.array).role, Role::Constant(_));
    match group::stride(program, access, d) {
        // Read as one aligned stream once packed.
        Stride::Constant(s) if s != 0 && constant && pack::can_pack(program, id, access) => 0.8,
        Stride::Constant(0) => 1.0 + far(program, id, access),
        Stride::Constant(1) => 1.0 + far(program, id, access) + split(program, id, access, d, lanes),
        // A load or two, and a shuffle.
        Stride::Constant(-1 | 2) => 1.5,
        _ if pack::can_pack(program, id, access) => 1.3 + COPY * lanes / pack::reuse(program, id, access) as f64,
        _ => 1.5 * lanes,
    }
}

/// Cycles for copying an element to where the vectors find it, as `TILE_SHARE` weighs them.
const COPY: f64 = 2.0 / TILE_SHARE;

fn store_cost(program: &Program, target: &Access, d: usize, lanes: f64) -> f64 {
    if matches!(group::stride(program, target, d), Stride::Constant(0 | 1)) { 1.0 } else { 1.5 * lanes }
}

/// What it costs that a reduction reads a run-time operand in steps of whole cache lines.
fn far(program: &Program, id: StatementId, access: &Access) -> f64 {
    const LINE: i64 = 16;
    let statement = program.statement(id);
    if statement.kind == StatementKind::Assign || matches!(program.array(access.array).role, Role::Constant(_)) {
        return 0.0;
    }
    let mut run = 1;
    for d in (0..statement.extents.len()).filter(|d| !group::uses(&statement.target, *d) && group::uses(access, *d)) {
        let near = matches!(group::stride(program, access, d), Stride::Constant(s) if s.abs() < LINE);
        run *= if near { program.params.hint(&statement.extents[d]).clamp(1, LINE) } else { 1 };
    }
    if run >= LINE || !reduces_over(statement, access) { 0.0 } else { FAR / run as f64 }
}

/// What it costs that another loop steps along the lanes (a filter over pixels): all but one in so many vectors begin
/// anywhere, and lie in two cache lines where they are as long as one, which takes two loads.
fn split(program: &Program, id: StatementId, access: &Access, d: usize, lanes: f64) -> f64 {
    let along = |e: &Expr| matches!(e, Expr::Index(a) if a.uses_iter(d));
    let others = (0..program.statement(id).extents.len()).filter(|n| *n != d);
    let steps = |e: &Expr| others.clone().any(|n| matches!(e, Expr::Index(a) if a.coefficient(n) % lanes as i64 != 0));
    let bytes = lanes * program.array(access.array).dtype.size() as f64;
    if access.index.iter().any(|e| along(e) && steps(e)) { (bytes / LINE_BYTES).min(1.0) } else { 0.0 }
}

const LINE_BYTES: f64 = 64.0;

fn reduces_over(statement: &Statement, access: &Access) -> bool {
    (0..statement.extents.len()).any(|d| !group::uses(&statement.target, d) && group::uses(access, d))
}

/// About half of a load: the next line is often there already.
const FAR: f64 = 0.4;
