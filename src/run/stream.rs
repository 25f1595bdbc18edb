//! What a loop touches, iteration by iteration: bytes that move on by a fixed distance.

use super::footprint::LINE;

/// Bytes of one array that follow one another.
#[derive(Clone, Copy)]
pub struct Range {
    pub array: usize,
    pub from: u64,
    pub bytes: u64,
    pub writes: bool,
}

/// The bytes that one access of a loop's body touches.
pub struct Stream {
    /// In the present iteration.
    pub range: Range,
    /// Bytes to those of the next one.
    pub step: i64,
}

/// Touches what the streams touch in all iterations, in the order of the iterations. `touch` says whether the first level
/// of cache had everything.
///
/// Where it had, an iteration leaves the caches as the next one finds them if that touches the same lines again in the same
/// order; so the iterations up to the end of a line differ in the bytes that they touch, and in nothing else, and are
/// taken at once.
pub fn run(streams: &mut [Stream], iterations: u64, touch: &mut impl FnMut(Range) -> bool) {
    let slow = iterations > 2 && streams.iter().all(|s| s.step.unsigned_abs() < LINE / 2);
    let joins = slow && !meet(streams, iterations);
    let mut left = iterations;
    while left > 0 {
        let mut near = true;
        for s in streams.iter() {
            near &= touch(s.range);
        }
        left -= 1;
        let same = if near && joins { same_lines(streams).min(left) } else { 0 };
        if same > 0 {
            streams.iter().for_each(|s| s.merged(same, touch));
            left -= same;
        }
        let distance = same as i64 + 1;
        streams.iter_mut().for_each(|s| s.range.from = s.range.from.wrapping_add_signed(s.step * distance));
    }
}

impl Stream {
    /// Iterations after this one that stay in its lines.
    fn same_lines(&self) -> u64 {
        let (first, last) = (self.range.from % LINE, (self.range.from + self.range.bytes - 1) % LINE);
        match self.step {
            0 => u64::MAX,
            s if s > 0 => (LINE - 1 - first.max(last)) / s.unsigned_abs(),
            s => first.min(last) / s.unsigned_abs(),
        }
    }

    /// Touches the bytes of the next `count` iterations, which stay in the same lines.
    fn merged(&self, count: u64, touch: &mut impl FnMut(Range) -> bool) {
        let Range { from, bytes, .. } = self.range;
        let at = |n: u64| from.wrapping_add_signed(self.step * n as i64);
        if self.step.unsigned_abs() > bytes {
            for n in 1..=count {
                touch(Range { from: at(n), ..self.range });
            }
            return;
        }
        let (low, high) = (at(1).min(at(count)), at(1).max(at(count)));
        touch(Range { from: low, bytes: high - low + bytes, ..self.range });
    }

    /// First and last line of all iterations.
    fn lines(&self, iterations: u64) -> (u64, u64) {
        let last = self.range.from.wrapping_add_signed(self.step.wrapping_mul(iterations as i64 - 1));
        (self.range.from.min(last) / LINE, (self.range.from.max(last) + self.range.bytes - 1) / LINE)
    }
}

fn same_lines(streams: &[Stream]) -> u64 {
    streams.iter().map(Stream::same_lines).min().unwrap_or(0)
}

/// Does one stream write a line that another one, with other bytes, touches? Then the order of iterations decides which
/// bytes are read before they are written.
fn meet(streams: &[Stream], iterations: u64) -> bool {
    let alike = |a: &Stream, b: &Stream| (a.range.from, a.range.bytes, a.step) == (b.range.from, b.range.bytes, b.step);
    let apart = |a: (u64, u64), b: (u64, u64)| a.1 < b.0 || b.1 < a.0;
    streams.iter().filter(|s| s.range.writes).any(|w| {
        let own = w.lines(iterations);
        streams.iter().any(|s| !alike(w, s) && !apart(own, s.lines(iterations)))
    })
}
