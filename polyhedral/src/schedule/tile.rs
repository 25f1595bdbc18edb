//! `tile`: choose the vector loop, the register tile and the data layout of every innermost nest.
//!
//! For each tile nest (see `tile_nest`) this pass
//!  1. takes the vector loop (`lanes`) with the cheapest loads and stores (see `lane`),
//!  2. for reductions picks a second parallel loop as the rows of a register tile, one that the vector loads
//!     do not depend on, so that every loaded vector is used `rows` times, and the tile's shape (see `shape`),
//!  3. strip-mines both, moves them innermost and marks them; the loops of a reduction are ordered so that
//!     the innermost one takes the shortest steps through memory,
//!  4. packs operands that the vector loop would read with a stride (see `pack`).
//!
//! A reduction without a good parallel loop is vectorized along itself: one partial result per lane.
//! Always legal: only parallel loops move, and reductions commute. Under the strict numeric contract they do not: then
//! they are neither vectorized along themselves nor reordered.
//! Source: Goto and van de Geijn (2008), Low et al. (2016).

use super::group::{self, Stride};
use super::pack;
use super::shape::{Shape, lanes_for, shape};
use super::tile_nest::{Reduction, TileNest, dims_of, tile_nest};
use crate::cost::vector::{Lane, best_lane, lanes_of};
use crate::error::Result;
use crate::machine::Numeric;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, Role};
use crate::schedule_tree::{Band, Mark};
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

/// Tiles every node in the list whose parent band is at `parent`.
fn tile_list(program: &mut Program, parent: &[usize], context: &mut PassContext) {
    let mut at = 0;
    while at < transform::children(&program.schedule, parent).len() {
        let path = [parent, &[at]].concat();
        at += 1;
        match tile_nest(program, &path) {
            Some(nest) => at += tile(program, nest, context),
            None if transform::band_at(&program.schedule, &path).is_some() => tile_list(program, &path, context),
            None => {}
        }
    }
}

/// Tiles one nest; returns how many nodes were inserted before it.
fn tile(program: &mut Program, nest: TileNest, context: &mut PassContext) -> usize {
    let subject = nest.statements.last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    match best_lane(program, &nest, context.machine).1 {
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

// ---- the register tile ---------------------------------------------------------------------------------

fn tile_parallel(program: &mut Program, nest: TileNest, lane: usize, context: &mut PassContext) -> usize {
    let subject = nest.statements.last().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    let contraction = nest.reductions.iter().find(|r| group::is_contraction_statement(program, r.statement));
    let packs = contraction.cloned();
    if context.machine.numeric != Numeric::Strict {
        nest.reductions.iter().for_each(|r| order_reduction(program, r));
    }
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
    nest.statements.iter().for_each(|s| pack::pack_constants(program, &lanes_path, *s));
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

/// Orders the loops of a reduction by the steps that its run-time operands take: the shortest innermost.
fn order_reduction(program: &mut Program, reduction: &Reduction) {
    let statement = program.statement(reduction.statement);
    let mut loads = Vec::new();
    statement.value.visit_loads(&mut |a| {
        if !matches!(program.array(a.array).role, Role::Constant(_)) {
            loads.push(a.clone());
        }
    });
    let step = |path: &Path| {
        let band = transform::band_at(&program.schedule, path);
        let Some(d) = band.and_then(|b| b.members.get(&reduction.statement)?.as_iter()) else { return i64::MAX };
        let strides = loads.iter().map(|a| match group::stride(program, a, d) {
            Stride::Constant(s) => s.saturating_abs(),
            Stride::Unknown => i64::MAX,
        });
        strides.max().unwrap_or(0)
    };
    let steps: Vec<i64> = reduction.loops.iter().map(step).collect();
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(steps[*n]));
    transform::permute_chain(&mut program.schedule, &reduction.loops[0], &order);
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
    // Eight rows make a good tile of any register file.
    candidates.max_by_key(|n| (reuse(*n), extent(*n).min(8), *n))
}

// ---- strip-mining and order ----------------------------------------------------------------------------

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
    pack::pack_constants(program, top, reduction.statement);
    context.applied("tile", &origin, format!("reduction in {lanes} lanes"));
}
