//! How evenly the iterations of a loop divide among workers.

use crate::aff::Aff;
use crate::program::{Program, Statement, StatementId};
use crate::transform::param_range;
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// Among more iterations than these, one that is cut short does not count.
const MANY: i64 = 256;

/// What is left of a speed-up where the number of iterations is only known at run time.
const SYMBOLIC: f64 = 0.8;

/// The part of a speed-up at typical sizes that a loop with this extent may count on.
pub fn certainty(program: &Program, extent: &Aff) -> f64 {
    let (least, most) = extent.bounds(&|p| param_range(&program.params, p), &|_| (None, None));
    if least == most { 1.0 } else { SYMBOLIC }
}

/// How much faster `workers` are than one at `count` iterations that go round them, where statement `id` has the loop as its
/// iterator `dims[id]`: all that is done over what the busiest worker does. A block that ends beyond the last row, or that
/// lies within a longer block of which it is the rest, is shorter than others.
pub fn speedup(program: &Program, dims: &IndexMap<StatementId, usize>, count: i64, workers: i64) -> f64 {
    if count > MANY {
        let rounds = (count + workers - 1) / workers;
        return count as f64 / rounds as f64;
    }
    let length = |v: i64| dims.iter().map(|(id, d)| share(program, program.statement(*id), *d, v)).sum::<f64>();
    let lengths: Vec<f64> = (0..count).map(length).collect();
    let of = |worker: i64| lengths.iter().skip(worker as usize).step_by(workers as usize).sum::<f64>();
    let busiest = (0..workers).map(of).fold(0.0, f64::max);
    if busiest > 0.0 { lengths.iter().sum::<f64>() / busiest } else { 1.0 }
}

/// How much faster `workers` are than one at a loop of `extent` iterations in blocks of `size` that go round them.
pub fn blocks(extent: i64, size: i64, workers: i64) -> f64 {
    // The first worker has the most blocks, and of those that have as many it is the one that the rest is not with.
    let (count, round) = ((extent + size - 1) / size, workers * size);
    let rest = if count % workers == 1 { extent - (count - 1) * size } else { size };
    let rounds = (count + workers - 1) / workers;
    let busiest = ((rounds - 1) * size + rest).max(extent / round * size);
    extent as f64 / busiest.max(1) as f64
}

/// Sizes of blocks to try, multiples of `common`: powers of two of it and, for a team, such that every worker has equally
/// many blocks.
pub fn sizes(extent: i64, common: i64, workers: i64) -> BTreeSet<i64> {
    let powers = (0..40).map(|n| common << n).take_while(|size| *size < extent);
    let share = |n: i64| (extent + n * workers - 1) / (n * workers);
    let shares = (1..=8).filter(|_| workers > 1).map(|n| (share(n) + common - 1) / common * common);
    shares.chain(powers).filter(|size| *size < extent).collect()
}

/// What constraints with one other iterator leave of a whole iteration where iterator `d` is `v`.
fn share(program: &Program, statement: &Statement, d: usize, v: i64) -> f64 {
    let value = |aff: &Aff| aff.eval(&|p| program.params.get(p).hint, &|n| if n == d { v } else { 0 });
    let inner = (0..statement.extents.len()).filter(|e| *e != d);
    let left = inner.map(|e| {
        let extent = program.params.hint(&statement.extents[e]).max(1);
        let (mut from, mut to) = (0, extent);
        for limit in statement.constraints.iter().filter(|c| c.all_iters(&|n| n == d || n == e)) {
            match limit.coefficient(e) {
                -1 => to = to.min(value(limit) + 1),
                1 => from = from.max(-value(limit)),
                _ => {}
            }
        }
        (to - from).max(0) as f64 / extent as f64
    });
    left.product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    /// Rows in `blocks` blocks of 16, of `rows`.
    fn rows_in_blocks(blocks: i64, rows: i64) -> (Program, IndexMap<StatementId, usize>) {
        let mut p = Program::default();
        let x = array(&mut p, "x", &[c(rows)]);
        let at = at(x, &[i(0) * 16 + i(1)]);
        let s = statement(&mut p, &[c(blocks), c(16)], crate::program::StatementKind::Assign, at, zero());
        p.statement_mut(s).constraints.push(c(rows - 1) - i(0) * 16 - i(1));
        (p, IndexMap::from([(s, 0)]))
    }

    #[test]
    fn whole_blocks_go_round() {
        let (p, dims) = rows_in_blocks(5, 80);
        assert!((speedup(&p, &dims, 5, 2) - 5.0 / 3.0).abs() < 1e-9);
        assert!((speedup(&p, &dims, 5, 4) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn blocks_of_a_loop_go_round() {
        for (extent, size, workers) in
            [(14, 2, 2), (14, 4, 2), (14, 8, 2), (15, 4, 2), (100, 7, 8), (9, 1, 4), (5, 8, 2), (17, 4, 4)]
        {
            let count = (extent + size - 1) / size;
            let rows = |b: i64| (extent - b * size).min(size);
            let of = |w: i64| (0..count).filter(|b| b % workers == w).map(rows).sum::<i64>();
            let busiest = (0..workers).map(of).max().unwrap();
            assert_eq!(blocks(extent, size, workers), extent as f64 / busiest as f64, "{extent} {size} {workers}");
        }
    }

    #[test]
    fn every_worker_gets_equally_many_blocks() {
        assert_eq!(sizes(14, 1, 2).into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 7, 8]);
        assert_eq!(sizes(14, 2, 1).into_iter().collect::<Vec<_>>(), [2, 4, 8]);
    }

    #[test]
    fn the_rest_is_short() {
        let (p, dims) = rows_in_blocks(2, 20);
        assert!((speedup(&p, &dims, 2, 2) - 1.25).abs() < 1e-9);
        let (p, dims) = rows_in_blocks(3, 36);
        assert!((speedup(&p, &dims, 3, 2) - 36.0 / 20.0).abs() < 1e-9);
    }
}
