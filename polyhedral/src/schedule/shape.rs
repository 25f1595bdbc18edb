//! The shape of a register tile: `rows` times a few vectors of accumulators.
//!
//! Every shape that fits the register file is scored by the work of the innermost loop over the whole extent,
//! border tiles included, in units of one vector multiply-add: a tile costs the largest of its multiply-adds,
//! its loads (a load costs as much as a multiply-add on current processors), its operand stream from the
//! second-level cache (half as fast as loads) and the latency of one multiply-add. Tiles of at least four
//! accumulators reach 97 % of the peak of Zen 4 with AVX-512, whatever their shape (measured 2026-11-23), so
//! borders and loads decide.

use super::group::{self, Stride};
use super::lane::lanes_of;
use super::tile_nest::{TileNest, dims_of};
use crate::aff::Aff;
use crate::machine::Machine;
use crate::program::{Program, StatementId};

/// Sizes of a register tile.
pub struct Shape {
    pub rows: i64,
    /// Lanes in all, a multiple of the vector length or one short vector.
    pub lanes: i64,
}

/// Multiply-adds that must be under way to hide the latency of each.
const IN_FLIGHT: i64 = 8;
/// More rows than this need more address registers than there are.
const MOST_ROWS: i64 = 14;
/// Rows of one column would fall into the same sets of the first-level cache: more do not fit its ways.
const ALIASED_ROWS: i64 = 8;
/// Rows at a multiple of this distance alias.
const ALIAS_BYTES: i64 = 4096;

pub fn shape(program: &Program, nest: &TileNest, lane: usize, row: Option<usize>, machine: &Machine) -> Shape {
    let vector = lanes_of(program, &nest.statements, machine) as i64;
    let statement = nest.reductions.first().map_or(nest.statements[0], |r| r.statement);
    let dims = dims_of(program, nest, statement);
    let extents = &program.statement(statement).extents;
    let columns = extents[dims[lane]].as_constant();
    if nest.reductions.is_empty() {
        return Shape { rows: 1, lanes: lanes_for(columns, vector, 2) };
    }
    let rows = row.map_or(Rows::Known(1), |r| Rows::of(program, &extents[dims[r]]));
    let loads = Loads::of(program, statement, dims[lane], row.map(|r| dims[r]));
    let shapes = candidates(machine.vector_registers as i64, rows, &loads);
    let width = columns.map(|c| (c + vector - 1) / vector);
    let best = shapes.into_iter().min_by_key(|(r, v)| {
        // Among equals one that leaves no rows over, then the larger tile, which has fewer loop ends.
        let left_over = matches!(rows, Rows::Known(n) if n % r != 0);
        (loads.total(rows.count(), width.unwrap_or(MANY), *r, *v), left_over, -(r * v), -r)
    });
    let (rows, vectors) = best.unwrap_or((1, 1));
    Shape { rows, lanes: lanes_for(columns, vector, vectors) }
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

/// Loads of one iteration of the innermost loop, by what they depend on.
struct Loads {
    lane: i64,
    row: i64,
    both: i64,
    aliased: bool,
}

impl Loads {
    fn of(program: &Program, id: StatementId, lane: usize, row: Option<usize>) -> Loads {
        let mut loads = Loads { lane: 0, row: 0, both: 0, aliased: false };
        program.statement(id).value.visit_loads(&mut |a| match (
            group::uses(a, lane),
            row.is_some_and(|r| group::uses(a, r)),
        ) {
            (true, true) => loads.both += 1,
            (true, false) => loads.lane += 1,
            (false, true) => {
                loads.row += 1;
                let size = program.array(a.array).dtype.size() as i64;
                let step = row.map_or(Stride::Unknown, |r| group::stride(program, a, r));
                loads.aliased |= matches!(step, Stride::Constant(s) if s != 0 && s * size % ALIAS_BYTES == 0);
            }
            (false, false) => {}
        });
        loads
    }

    /// Hundredths of vector multiply-adds for all rows and vectors.
    fn total(&self, rows: i64, vectors: i64, r: i64, v: i64) -> i64 {
        let tiles = |extent: i64, size: i64| [(extent / size, size), ((extent % size).min(1), extent % size)];
        let mut sum = 0;
        for (row_tiles, r) in tiles(rows, r) {
            for (column_tiles, v) in tiles(vectors, v) {
                sum += row_tiles * column_tiles * self.one_tile(r, v);
            }
        }
        sum
    }

    fn one_tile(&self, rows: i64, vectors: i64) -> i64 {
        let loads = vectors * self.lane + rows * self.row + rows * vectors * self.both;
        let stream = 2 * vectors * self.lane;
        // Loads are not free even where they are not the limit.
        100 * (rows * vectors).max(loads).max(stream).max(IN_FLIGHT) + loads
    }
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
