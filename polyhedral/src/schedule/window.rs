//! Which rows of an array does an iteration of a loop need, and when have they been made?
//!
//! A loop of a producer makes rows: iteration `a` writes rows `made * a + low ..`, each row in one iteration (see
//! `owner`). A loop of a consumer needs a window of them: iteration `b` reads rows `step * b + first ..= step * b + last`.
//! When both run in blocks of equally many rows, these few numbers decide which block needs which.

use super::axis::Axis;
use super::group;
use super::owner::{self, Rows};
use crate::program::{ArrayId, Program};
use crate::transform;

/// What flows between a loop of a producer and one of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows that one iteration of the producer makes.
    pub made: i64,
    /// Rows from one iteration of the consumer to the next.
    pub step: i64,
    /// The first row that iteration 0 of the consumer reads and the last one, from the first that iteration 0 of the
    /// producer makes.
    pub first: i64,
    pub last: i64,
}

impl Window {
    /// The window of all that flows between two loops; `None` where rows do not decide when they are made, or are not read
    /// in windows. What lies side by side in memory is no row: blocks would cut it into short pieces.
    pub fn between(program: &Program, producer: &Axis, consumer: &Axis, flows: &[ArrayId]) -> Option<Window> {
        let writers = transform::band_at(&program.schedule, &producer.path)?;
        let readers = transform::band_at(&program.schedule, &consumer.path)?;
        let mut all: Vec<Vec<(usize, Window)>> = Vec::new();
        for (writer, value) in &writers.members {
            let target = &program.statement(*writer).target;
            if !flows.contains(&target.array) {
                continue;
            }
            let made = owner::rules(program, *writer, target, value.as_iter()?);
            for (reader, value) in &readers.members {
                let d = value.as_iter()?;
                for access in group::accesses_after_write(program, *reader, target.array) {
                    let window = |rule: &owner::Rule| {
                        if owner::is_innermost(program.array(access.array), rule.dim) {
                            return None;
                        }
                        let Rows { step, first, last } = owner::rows(program, *reader, &access, rule.dim, d)?;
                        let (first, last) = (first - rule.low, last - rule.low);
                        Some((rule.dim, Window { made: rule.block, step, first, last }))
                    };
                    all.push(made.iter().filter_map(window).collect());
                }
            }
        }
        let (one, rest) = all.split_first()?;
        one.iter().find_map(|w| rest.iter().try_fold(w.1.clone(), |sum, others| sum.with(w.0, others)))
    }

    /// The window around both, when another access has one in the same dimension and at the same pace.
    fn with(self, dim: usize, others: &[(usize, Window)]) -> Option<Window> {
        let same = |w: &Window| w.made == self.made && w.step == self.step;
        let (_, other) = others.iter().find(|(d, w)| *d == dim && same(w))?;
        Some(Window { first: self.first.min(other.first), last: self.last.max(other.last), ..self })
    }

    /// Does a row decide the iteration on both sides, so that blocks never meet?
    pub fn is_block(&self) -> bool {
        self.first == 0 && self.last < self.step
    }

    /// Does an iteration read rows behind those at which the next one starts? In blocks of equally many rows, the last
    /// iteration of a block then needs rows of the producer's next block.
    pub fn looks_ahead(&self) -> bool {
        self.last >= self.step
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn rows_of_the_next_block_are_ahead() {
        let window = |made, step, first, last| Window { made, step, first, last };
        // A whole block, steps of a recurrence that read the one before, rows 2 * b - 1 ..= 2 * b + 1.
        for (window, block) in [(window(4, 4, 0, 3), true), (window(1, 1, -1, 0), false), (window(1, 2, -1, 1), false)]
        {
            assert_eq!((window.is_block(), window.looks_ahead()), (block, false), "{window:?}");
        }
        // A window of three rows, and a register tile of 14 rows at every second row.
        for window in [window(1, 1, 0, 2), window(1, 28, 0, 28)] {
            assert_eq!((window.is_block(), window.looks_ahead()), (false, true), "{window:?}");
        }
    }
}
