//! The shape of a register tile: `rows` times a few vectors of accumulators.
//!
//! Every shape that fits the register file is scored by what the innermost loop costs over the whole extent (see
//! `cost::register_tile`).

use super::tile_nest::{TileNest, dims_of};
use crate::aff::Aff;
use crate::cost::register_tile::Loads;
use crate::cost::vector::lanes_of;
use crate::cost::{balance, time};
use crate::expr::Expr;
use crate::machine::Machine;
use crate::program::{Program, StatementId};

/// Sizes of a register tile.
pub struct Shape {
    pub rows: i64,
    /// Lanes in all, a multiple of the vector length or one short vector.
    pub lanes: i64,
}

/// More rows than this need more address registers than there are.
const MOST_ROWS: i64 = 14;
/// Rows of one column would fall into the same sets of the first-level cache: more do not fit its ways.
const ALIASED_ROWS: i64 = 8;

pub fn shape(program: &Program, nest: &TileNest, lane: usize, row: Option<usize>, machine: &Machine) -> Shape {
    let vector = lanes_of(program, &nest.statements, machine) as i64;
    let statement = nest.reductions.first().map_or(nest.statements[0], |r| r.statement);
    let dims = dims_of(program, nest, statement);
    let extents = &program.statement(statement).extents;
    let columns = extents[dims[lane]].as_constant();
    if nest.reductions.is_empty() {
        let typical = program.params.hint(&extents[dims[lane]]);
        let vectors = match columns {
            Some(_) => chains(program, nest),
            // A last tile of unknown length runs whole, most of its lanes masked.
            None => chains(program, nest).min(typical / vector).clamp(2, 4),
        };
        return Shape { rows: 1, lanes: lanes_for(columns, vector, vectors) };
    }
    let rows = row.map_or(Rows::Known(1), |r| Rows::of(program, &extents[dims[r]]));
    let loads = Loads::of(program, statement, dims[lane], row.map(|r| dims[r]));
    let spare = i64::from(!adds_products(program, statement, machine));
    let shapes = candidates(machine.vector_registers as i64 - spare, rows, &loads);
    let width = columns.map(|c| (c + vector - 1) / vector);
    // Among equals one that leaves no rows over, then the larger tile, which has fewer loop ends.
    let left_over = |r: i64| matches!(rows, Rows::Known(n) if n % r != 0);
    let preference = |(r, v): &(i64, i64)| (left_over(*r), -(r * v), -r);
    let cheapest = |cost: &dyn Fn(&(i64, i64)) -> f64| {
        let order = |a: &_, b: &_| cost(a).total_cmp(&cost(b)).then(preference(a).cmp(&preference(b)));
        shapes.iter().copied().min_by(order).unwrap_or((1, 1))
    };
    let total = |(r, v): &(i64, i64)| loads.total(rows.count(), width.unwrap_or(MANY), *r, *v) as f64;
    let team = Team::of(program, nest, statement, lane, row, machine);
    let busiest = |tile: &(i64, i64)| total(tile) / team.speedup(tile.0, tile.1 * vector);
    let (alone, shared) = (cheapest(&total), cheapest(&busiest));
    let pays = busiest(&shared) < (1.0 - LEAST_GAIN) * busiest(&alone);
    let (rows, vectors) = if pays { shared } else { alone };
    Shape { rows, lanes: lanes_for(columns, vector, vectors) }
}

/// What a tile that divides better must save of the busiest worker's time: estimates are not exact.
const LEAST_GAIN: f64 = 0.05;

/// The workers that would share the nest.
struct Team<'a> {
    program: &'a Program,
    /// Extents of the parallel loops, outermost first.
    loops: Vec<&'a Aff>,
    lane: usize,
    row: Option<usize>,
    workers: i64,
}

impl Team<'_> {
    fn of<'a>(
        program: &'a Program,
        nest: &TileNest,
        statement: StatementId,
        lane: usize,
        row: Option<usize>,
        machine: &Machine,
    ) -> Team<'a> {
        let extents = &program.statement(statement).extents;
        let loops = dims_of(program, nest, statement).iter().map(|d| &extents[*d]).collect();
        let mut team = Team { program, loops, lane, row, workers: machine.threads as i64 };
        if time::of_node(program, &nest.chain[0], machine) < 4.0 * machine.barrier_ns {
            team.workers = 1
        }
        team
    }

    /// How much faster than one worker, by the loop that divides best.
    fn speedup(&self, rows: i64, lanes: i64) -> f64 {
        let size = |n: usize| {
            if n == self.lane {
                lanes
            } else if Some(n) == self.row {
                rows
            } else {
                1
            }
        };
        let of = |(n, extent): (usize, &&Aff)| {
            let count = self.program.params.hint(extent).max(1);
            balance::certainty(self.program, extent) * balance::blocks(count, size(n), self.workers)
        };
        self.loops.iter().enumerate().map(of).fold(1.0, f64::max)
    }
}

/// Does one instruction multiply and add? Elsewhere a product needs a register of its own before it is added.
fn adds_products(program: &Program, id: StatementId, machine: &Machine) -> bool {
    let statement = program.statement(id);
    let is_dot = matches!(statement.value, Expr::Binary(op, ..) if op.dot_parts().is_some());
    !program.array(statement.target.array).dtype.is_integer() || (is_dot && machine.byte_dots)
}

/// Vectors of a nest without a reduction. The operations of a function wait for one another; a processor starts the next
/// iteration meanwhile, but an iteration of several functions is longer than it can look ahead, so the chains that fill
/// the gaps have to stand side by side.
fn chains(program: &Program, nest: &TileNest) -> i64 {
    match nest.statements.iter().map(|s| program.statement(*s).value.functions()).sum() {
        0 | 1 => 2,
        2 | 3 => 4,
        _ => 6,
    }
}

/// The extent of the row loop.
#[derive(Clone, Copy)]
enum Rows {
    Known(i64),
    /// At run time, and probably this many.
    About(i64),
}

impl Rows {
    fn of(program: &Program, extent: &Aff) -> Rows {
        extent.as_constant().map_or_else(|| Rows::About(program.params.hint(extent).max(1)), Rows::Known)
    }

    /// The number to count with: a large guess stands for any number of rows.
    fn count(self) -> i64 {
        match self {
            Rows::Known(n) => n,
            Rows::About(n) if n < UNKNOWN_ROWS => n,
            Rows::About(_) => MANY,
        }
    }
}

/// A multiple of every tile size.
const MANY: i64 = 5040;
/// Every binary digit of a tile gets code of its own for what is left over of an unknown extent.
const UNKNOWN_ROWS: i64 = 8;

/// Rows and vectors of every tile that fits: accumulators, one row of operands, one broadcast.
fn candidates(registers: i64, rows: Rows, loads: &Loads) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    // One row uses each operand once, straight from memory; more chains then hide the latency.
    let (widest, most) = match rows {
        Rows::Known(1) => (8, 1),
        Rows::Known(_) => (4, MOST_ROWS),
        Rows::About(_) => (4, UNKNOWN_ROWS),
    };
    let most = if loads.aliased { most.min(ALIASED_ROWS) } else { most };
    for vectors in 1..=widest {
        for rows in 1..=most {
            let operands = if most > 1 { vectors + 1 } else { 2 };
            if rows * vectors + operands <= registers {
                out.push((rows, vectors));
            }
        }
    }
    out
}

/// Lanes of a tile of at most `vectors` vectors over an extent.
pub fn lanes_for(extent: Option<i64>, vector: i64, vectors: i64) -> i64 {
    let full = vector * vectors;
    match extent {
        Some(e) if e <= vector / 2 => (e.max(1) as u64).next_power_of_two() as i64,
        Some(e) => full.min((e + vector - 1) / vector * vector),
        None => full,
    }
}
