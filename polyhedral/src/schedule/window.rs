//! Which rows of an array does an iteration of a loop need, and when have they been made?
//!
//! A loop of a producer makes rows: iteration `a` writes rows `made * a + low ..`, each row in one iteration (see
//! `owner`). A loop of a consumer needs a window of them: iteration `b` reads rows `step * b + first ..= step * b + last`.
//! When both run in blocks of equally many rows, `late` iterations late, the block numbers decide the order; that is
//! arithmetic of these few numbers.

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

    /// By how many iterations at least is the consumer late where the producer is `late` iterations late, in any blocks of
    /// equally many rows?
    ///
    /// Row `r` is made in block `(r + made * late) / R`, rounded down. The last iteration of block `k` is `b` with `step *
    /// (b + own + 1) = R * (k + 1)`, and reads up to row `step * b + last`: that is made in time when `last + made * late <
    /// step * (own + 1)`.
    pub fn late_after(&self, late: i64) -> i64 {
        (self.last + self.made * late).div_euclid(self.step).max(0)
    }

    /// By how many iterations at most is the producer late where the consumer is `late` iterations late?
    pub fn late_before(&self, late: i64) -> i64 {
        (self.step * (late + 1) - 1 - self.last).div_euclid(self.made)
    }

    /// How many rows pass, on average, from one being made until it is first read.
    pub fn waits(&self, [producer, consumer]: [i64; 2]) -> i64 {
        (self.step * consumer - self.made * producer - self.last).max(0)
    }

    /// Rows that the next iteration of the consumer reads again.
    pub fn again(&self) -> i64 {
        (self.last - self.first + 1 - self.step).max(0)
    }
}
