//! What the innermost loop of a register tile costs over the whole extent, border tiles included, in hundredths of one
//! vector multiply-add.
//!
//! A tile costs the largest of its multiply-adds, its loads (a load costs as much as a multiply-add on current
//! processors), its operand stream from the second-level cache (half as fast as loads) and the latency of one
//! multiply-add. Tiles of at least four accumulators reach 97 % of the peak of Zen 4 with AVX-512, whatever their shape
//! (measured 2026-11-23), so borders and loads decide.

use crate::program::{Program, StatementId};
use crate::schedule::group::{self, Stride};

/// Multiply-adds that must be under way to hide the latency of each.
const IN_FLIGHT: i64 = 8;
/// Rows at a multiple of this distance alias.
const ALIAS_BYTES: i64 = 4096;

/// Loads of one iteration of the innermost loop, by what they depend on.
pub struct Loads {
    lane: i64,
    row: i64,
    both: i64,
    /// Rows fall into the same sets of the first-level cache.
    pub aliased: bool,
}

impl Loads {
    pub fn of(program: &Program, id: StatementId, lane: usize, row: Option<usize>) -> Loads {
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
    pub fn total(&self, rows: i64, vectors: i64, r: i64, v: i64) -> i64 {
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
