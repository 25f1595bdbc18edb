//! `tile`: choose the vector loop, the register tile and the data layout of every innermost nest.
//!
//! A *tile nest* is a chain of parallel loops around statements and single reductions: an elementwise
//! operator, a matrix product with its epilogue, a convolution, a row sum. For each one this pass
//!  1. scores every loop as the vector loop (`lanes`) by the cost of its loads and stores per vector,
//!  2. for reductions picks a second parallel loop as the rows of a register tile, one that the vector loads
//!     do not depend on, so that every loaded vector is used `rows` times,
//!  3. strip-mines both to the register file of the machine, moves them innermost and marks them,
//!  4. packs operands that the vector loop would read with a stride (see `pack`).
//!
//! A reduction without a good parallel loop is vectorized along itself: one partial result per lane.
//! The tile is `rows * vectors + vectors + 1 <= registers` (accumulators, one row of operands, a broadcast).
//! Tiles of at least four accumulators reach 97 % of the FMA peak on Zen 4, whatever their shape
//! (measured 2026-11-23); so the shape is chosen to waste least at the borders. Always legal: only parallel
//! loops move, and reductions commute. Source: Goto and van de Geijn (2008), Low et al. (2016).

use super::group::{self, Stride};
use super::pack;
use crate::error::Result;
use crate::expr::{Access, BinaryOp, Expr, UnaryOp};
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::{self, Path};

pub struct Tile;

impl Pass for Tile {
    fn name(&self) -> &'static str {
        "tile"
    }

    fn summary(&self) -> &'static str {
        "choose vector loops, register tiles and operand layouts"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu {
            tile_list(program, &[], context);
        }
        Ok(())
    }
}

/// A chain of parallel loops around leaves and single reductions.
struct TileNest {
    /// The parallel loops, outermost first.
    chain: Vec<Path>,
    reductions: Vec<Reduction>,
    /// All statements, in tree order.
    statements: Vec<StatementId>,
}

/// A chain of loops around one `Reduce` statement.
#[derive(Clone)]
struct Reduction {
    loops: Vec<Path>,
    statement: StatementId,
}

/// Which loop becomes the vector loop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lane {
    /// Number in `TileNest::chain`.
    Parallel(usize),
    /// Number in `TileNest::reductions`, number of the loop in it.
    Reduction(usize, usize),
}

/// Tiles every node in the list whose parent band is at `parent`.
fn tile_list(program: &mut Program, parent: &[usize], context: &mut PassContext) {
    let mut at = 0;
    while at < list_len(program, parent) {
        let path = [parent, &[at]].concat();
        at += 1;
        match tile_nest(program, &path) {
            Some(nest) => at += tile(program, nest, context),
            None if transform::band_at(&program.schedule, &path).is_some() => tile_list(program, &path, context),
            None => {}
        }
    }
}

fn list_len(program: &Program, parent: &[usize]) -> usize {
    match parent {
        [] => program.schedule.roots.len(),
        _ => transform::band_at(&program.schedule, parent).map_or(0, |b| b.body.len()),
    }
}

/// Recognises the nest at `path`.
fn tile_nest(program: &Program, path: &[usize]) -> Option<TileNest> {
    let band = transform::band_at(&program.schedule, path)?;
    let statements: Vec<_> = band.members.keys().copied().collect();
    if let Some(reduction) = reduction_at(program, path) {
        return Some(TileNest { chain: vec![], reductions: vec![reduction], statements });
    }
    let mut chain = Vec::new();
    let mut at = path.to_vec();
    loop {
        let band = transform::band_at(&program.schedule, &at)?;
        if band.mark != Mark::Seq || !group::is_parallel(program, band) || transform::plain_dims(band).is_none() {
            return None;
        }
        chain.push(at.clone());
        if band.members.len() != statements.len() {
            return None;
        }
        match band.body.as_slice() {
            [Node::Band(_)] if reduction_at(program, &[at.as_slice(), &[0]].concat()).is_none() => at.push(0),
            _ => break,
        }
    }
    let reductions = body_reductions(program, &at)?;
    Some(TileNest { chain, reductions, statements })
}

/// The reductions in the body of the band at `path`; `None` when something else is in it.
fn body_reductions(program: &Program, path: &[usize]) -> Option<Vec<Reduction>> {
    let band = transform::band_at(&program.schedule, path)?;
    let mut out = Vec::new();
    for (n, node) in band.body.iter().enumerate() {
        if matches!(node, Node::Band(_)) {
            out.push(reduction_at(program, &[path, &[n]].concat())?);
        }
    }
    Some(out)
}

/// A chain of plain sequential loops, none of them parallel, around one `Reduce` statement.
fn reduction_at(program: &Program, path: &[usize]) -> Option<Reduction> {
    let loops = transform::chain(&program.schedule, path);
    let inner = transform::band_at(&program.schedule, loops.last()?)?;
    let [Node::Leaf(statement)] = inner.body.as_slice() else { return None };
    let is_reduce = matches!(program.statement(*statement).kind, StatementKind::Reduce(_));
    let reduces = |p: &Path| {
        transform::band_at(&program.schedule, p).is_some_and(|b| {
            b.mark == Mark::Seq && transform::plain_dims(b).is_some() && !group::is_parallel(program, b)
        })
    };
    (is_reduce && !reads_target(program, *statement) && loops.iter().all(reduces))
        .then(|| Reduction { loops: loops.clone(), statement: *statement })
}

/// A value that reads its own target is a recurrence, not a reduction.
fn reads_target(program: &Program, id: StatementId) -> bool {
    let statement = program.statement(id);
    let mut found = false;
    statement.visit_reads(&mut |a| found |= a.array == statement.target.array);
    found
}

/// Tiles one nest; returns how many nodes were inserted before it.
fn tile(program: &mut Program, nest: TileNest, context: &mut PassContext) -> usize {
    let subject = nest.statements.last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    match best_lane(program, &nest, context.machine) {
        Some(Lane::Parallel(lane)) => tile_parallel(program, nest, lane, context),
        Some(Lane::Reduction(r, l)) => {
            vectorize_reduction(program, &nest.reductions[r], l, context);
            0
        }
        None => {
            context.missed("tile", &subject, "no loop reads or writes memory in order; left scalar");
            0
        }
    }
}

// ---- 1. the vector loop -------------------------------------------------------------------------------

fn best_lane(program: &Program, nest: &TileNest, machine: &Machine) -> Option<Lane> {
    let parallel = (0..nest.chain.len()).map(Lane::Parallel);
    let loops = nest.reductions.iter().enumerate();
    let reductions = loops.flat_map(|(r, red)| (0..red.loops.len()).map(move |l| Lane::Reduction(r, l)));
    let scalar = nest.statements.iter().map(|s| scalar_cost(program, *s)).sum::<f64>();
    let scored = parallel.chain(reductions).map(|lane| (lane_cost(program, nest, lane, machine), lane));
    let best = scored.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 < scalar).then_some(best.1)
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
fn lanes_of(program: &Program, statements: &[StatementId], machine: &Machine) -> usize {
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
    reduction_volume(program, id) * (operations(&statement.value) + count_loads(&statement.value) as f64 + 1.0)
}

fn count_loads(value: &Expr) -> usize {
    let mut n = 0;
    value.visit_loads(&mut |_| n += 1);
    n
}

/// Arithmetic cost of a value in simple operations.
fn operations(value: &Expr) -> f64 {
    let own = match value {
        Expr::Const(_) | Expr::Index(_) | Expr::Load(_) => 0.0,
        Expr::Unary(UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::Floor | UnaryOp::Ceil, _) => 0.5,
        Expr::Unary(..) => 12.0,
        Expr::Binary(BinaryOp::Div | BinaryOp::Mod | BinaryOp::Rem, ..) => 6.0,
        Expr::Binary(BinaryOp::Pow, ..) => 30.0,
        Expr::Binary(..) | Expr::Select(..) | Expr::Cast(..) => 0.5,
    };
    own + value.children().iter().map(|c| operations(c)).sum::<f64>()
}

/// Cycles for one vector of a statement's instances along dimension `d`.
fn vector_cost(program: &Program, id: StatementId, d: usize, lanes: f64) -> f64 {
    let statement = program.statement(id);
    let mut cost = operations(&statement.value);
    statement.value.visit_loads(&mut |a| cost += access_cost(program, id, a, d, lanes));
    let volume = reduction_volume(program, id);
    // The accumulator of a reduction stays in a register: its target is touched once, not per iteration.
    let own = access_cost(program, id, &statement.target, d, lanes);
    if statement.kind == StatementKind::Assign { cost + own } else { cost * volume }
}

fn access_cost(program: &Program, id: StatementId, access: &Access, d: usize, lanes: f64) -> f64 {
    match group::stride(program, access, d) {
        Stride::Constant(0 | 1) => 1.0,
        Stride::Constant(-2..=2) => 3.0,
        _ if pack::can_pack(program, id, access) => 1.2,
        _ => 1.5 * lanes,
    }
}

// ---- 2. the register tile -----------------------------------------------------------------------------

/// Sizes of a register tile.
struct Shape {
    rows: i64,
    /// Lanes in all, a multiple of the vector length or one short vector.
    lanes: i64,
}

fn tile_parallel(program: &mut Program, nest: TileNest, lane: usize, context: &mut PassContext) -> usize {
    let subject = nest.statements.last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    let contraction = nest.reductions.iter().find(|r| group::is_contraction_statement(program, r.statement));
    let packs = contraction.cloned();
    let row = row_loop(program, &nest, lane);
    let shape = shape(program, &nest, lane, row, context.machine);
    let row = row.filter(|_| shape.rows > 1);
    let mut inserted = 0;
    let mut nest = nest;
    if let Some(reduction) = &packs {
        let dims = dims_of(program, &nest, reduction.statement);
        inserted = pack::pack_activations(program, &nest.chain[0], reduction.statement, dims[lane]);
        if inserted > 0 {
            shift_last(&mut nest, inserted);
        }
    }
    let lanes_path = arrange(program, &nest, lane, row, &shape);
    if let Some(reduction) = &packs {
        pack::pack_constants(program, &lanes_path, reduction.statement);
    }
    context.applied("tile", &subject, format!("register tile of {} rows x {} lanes", shape.rows, shape.lanes));
    inserted
}

/// Corrects the paths of a nest before which `by` siblings were inserted.
fn shift_last(nest: &mut TileNest, by: usize) {
    let level = nest.chain[0].len() - 1;
    for path in &mut nest.chain {
        path[level] += by;
    }
}

/// The iterator of the statement for every loop of the chain.
fn dims_of(program: &Program, nest: &TileNest, id: StatementId) -> Vec<usize> {
    let dim = |p: &Path| transform::band_at(&program.schedule, p).and_then(|b| b.members.get(&id)?.as_iter());
    nest.chain.iter().map(|p| dim(p).unwrap_or(usize::MAX)).collect()
}

/// The parallel loop that becomes the rows: one that the vector loads of the first reduction do not use,
/// with the most work; the innermost among equals. Nests without a reduction have no rows.
fn row_loop(program: &Program, nest: &TileNest, lane: usize) -> Option<usize> {
    let reduction = nest.reductions.first()?;
    let statement = program.statement(reduction.statement);
    let dims = dims_of(program, nest, reduction.statement);
    let extent = |n: usize| program.params.hint(&statement.extents[dims[n]]);
    let mut vector_loads = Vec::new();
    statement.value.visit_loads(&mut |a| {
        if group::uses(a, dims[lane]) {
            vector_loads.push(a.clone());
        }
    });
    let reuse = |n: usize| vector_loads.iter().filter(|a| !group::uses(a, dims[n])).count();
    let candidates = (0..nest.chain.len()).filter(|n| *n != lane && !statement.extents[dims[*n]].is_constant(1));
    candidates.max_by_key(|n| (reuse(*n), extent(*n) >= 4 || statement.extents[dims[*n]].as_constant().is_none(), *n))
}

fn shape(program: &Program, nest: &TileNest, lane: usize, row: Option<usize>, machine: &Machine) -> Shape {
    let vector = lanes_of(program, &nest.statements, machine) as i64;
    let statement = nest.reductions.first().map_or(nest.statements[0], |r| r.statement);
    let dims = dims_of(program, nest, statement);
    let extent = program.statement(statement).extents[dims[lane]].as_constant();
    let rows = row.map(|r| program.statement(statement).extents[dims[r]].clone());
    if nest.reductions.is_empty() {
        return Shape { rows: 1, lanes: lanes_for(extent, vector, 2) };
    }
    let widest = if rows.is_some() { 4 } else { 8 };
    let vectors = best_vectors(extent, vector, widest, rows.as_ref().and_then(|r| r.as_constant()));
    let most = ((machine.vector_registers as i64 - 1 - vectors) / vectors).clamp(1, 14);
    let most = if vectors == 3 { most.min(8) } else { most };
    let rows = match rows.map(|r| r.as_constant()) {
        None => 1,
        Some(None) => most.min(8),
        // Equal row tiles: 14 rows with at most 9 are two tiles of 7.
        Some(Some(extent)) => {
            let tiles = (extent + most - 1) / most;
            if tiles > 0 { (extent + tiles - 1) / tiles } else { 1 }
        }
    };
    Shape { rows, lanes: lanes_for(extent, vector, vectors) }
}

/// The number of vectors per row that wastes fewest lanes at the border of the matrix.
fn best_vectors(extent: Option<i64>, vector: i64, widest: i64, rows: Option<i64>) -> i64 {
    let Some(extent) = extent else { return widest.min(4) };
    let many_rows = rows.is_none_or(|r| r >= 8);
    let waste = |n: i64| {
        let block = n * vector;
        (extent + block - 1) / block * block - extent
    };
    // Three vectors leave room for eight rows; without rows, more accumulators hide the latency.
    let preference: &[i64] = if widest > 4 {
        &[8, 4, 6, 3, 2, 1]
    } else if many_rows {
        &[3, 4, 2, 1]
    } else {
        &[4, 3, 2, 1]
    };
    preference.iter().copied().min_by_key(|n| waste(*n)).unwrap_or(1)
}

/// Lanes of a tile of at most `vectors` vectors over an extent.
fn lanes_for(extent: Option<i64>, vector: i64, vectors: i64) -> i64 {
    let full = vector * vectors;
    match extent {
        Some(e) if e <= vector / 2 => (e.max(1) as u64).next_power_of_two() as i64,
        Some(e) => full.min((e + vector - 1) / vector * vector),
        None => full,
    }
}

// ---- 3. strip-mining and order ------------------------------------------------------------------------

/// Orders the chain as [loops the vectors depend on] lane-block [other loops] row-block rows lanes and
/// marks it; returns the path of the lanes.
fn arrange(program: &mut Program, nest: &TileNest, lane: usize, row: Option<usize>, shape: &Shape) -> Path {
    let order = loop_order(program, nest, lane, row);
    transform::permute_chain(&mut program.schedule, &nest.chain[0], &order);
    let top = nest.chain[0].clone();
    let at = |n: usize| [top.as_slice(), &vec![0; n]].concat();
    let depth = order.len();
    let position = |which: usize| order.iter().position(|n| *n == which);
    let mut inner = depth;
    if let Some(row) = row.and_then(position) {
        inner += usize::from(block(program, &at(row), shape.rows));
        mark(program, &at(inner - 1), Mark::Rows(shape.rows as u32));
    }
    let lane = position(lane).unwrap_or(0);
    if block(program, &at(lane), shape.lanes) {
        inner += 1;
        let moved: Vec<usize> = (0..inner).filter(|n| *n != lane + 1).chain([lane + 1]).collect();
        transform::permute_chain(&mut program.schedule, &top, &moved);
    } else {
        let moved: Vec<usize> = (0..inner).filter(|n| *n != lane).chain([lane]).collect();
        transform::permute_chain(&mut program.schedule, &top, &moved);
    }
    mark(program, &at(inner - 1), Mark::Lanes(shape.lanes as u32));
    at(inner - 1)
}

/// The vector block stays in the cache while the loops that it does not depend on run inside.
fn loop_order(program: &Program, nest: &TileNest, lane: usize, row: Option<usize>) -> Vec<usize> {
    let rest = (0..nest.chain.len()).filter(|n| *n != lane && Some(*n) != row);
    let Some(reduction) = nest.reductions.first() else {
        return rest.chain([lane]).collect();
    };
    let dims = dims_of(program, nest, reduction.statement);
    let mut vectors = Vec::new();
    program.statement(reduction.statement).value.visit_loads(&mut |a| {
        if group::uses(a, dims[lane]) {
            vectors.push(a.clone());
        }
    });
    let (outer, inner): (Vec<_>, Vec<_>) = rest.partition(|n| vectors.iter().any(|a| group::uses(a, dims[*n])));
    outer.into_iter().chain([lane]).chain(inner).chain(row).collect()
}

/// Strip-mines the loop at `path` unless one block holds all of it.
fn block(program: &mut Program, path: &[usize], size: i64) -> bool {
    let fits = transform::band_at(&program.schedule, path).is_some_and(|band| fits(program, band, size));
    !fits && transform::strip_mine(program, path, size)
}

fn fits(program: &Program, band: &Band, size: i64) -> bool {
    band.members
        .iter()
        .all(|(s, aff)| group::extent_of(program, *s, aff).and_then(|e| e.as_constant()).is_some_and(|e| e <= size))
}

fn mark(program: &mut Program, path: &[usize], mark: Mark) {
    if let Some(band) = transform::band_at_mut(&mut program.schedule, path) {
        band.mark = mark;
    }
}

// ---- reductions along themselves ----------------------------------------------------------------------

/// Splits the reduction loop into lanes (outermost, in lockstep) and steps.
fn vectorize_reduction(program: &mut Program, reduction: &Reduction, which: usize, context: &mut PassContext) {
    let statement = program.statement(reduction.statement);
    let origin = statement.origin.clone();
    let path = &reduction.loops[which];
    let extent = transform::band_at(&program.schedule, path)
        .and_then(|b| group::extent_of(program, reduction.statement, &b.members[&reduction.statement]));
    let vector = lanes_of(program, &[reduction.statement], context.machine) as i64;
    let lanes = lanes_for(extent.and_then(|e| e.as_constant()), vector, 4);
    let top = &reduction.loops[0];
    let mut depth = reduction.loops.len();
    let lane = if block(program, path, lanes) {
        depth += 1;
        which + 1
    } else {
        which
    };
    let order: Vec<usize> = [lane].into_iter().chain((0..depth).filter(|n| *n != lane)).collect();
    transform::permute_chain(&mut program.schedule, top, &order);
    mark(program, top, Mark::Lanes(lanes as u32));
    context.applied("tile", &origin, format!("reduction in {lanes} lanes"));
}
