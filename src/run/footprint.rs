//! Distinct bytes: what a region reads and writes when everything that it has touched stays in a cache.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a line of memory.
pub const LINE: u64 = 64;

/// Lines of a page: neighbours lie side by side in the table, as they do in memory.
const PAGE: u64 = 64;

/// What a region did to the bytes of one line: one bit per byte.
#[derive(Clone, Copy, Default)]
pub struct Touched {
    region: u32,
    read: u64,
    written: u64,
    /// Since it was taken out of the footprint.
    changed: bool,
}

impl Touched {
    /// A read of the bytes in `mask` in `region`; how many of them the region had neither read nor written.
    #[inline]
    pub fn read(&mut self, region: u32, mask: u64) -> u64 {
        self.enter(region);
        let new = mask & !(self.read | self.written);
        self.read |= mask;
        self.count(new)
    }

    /// A write of the bytes in `mask` in `region`; how many of them the region had not written.
    #[inline]
    pub fn write(&mut self, region: u32, mask: u64) -> u64 {
        self.enter(region);
        let new = mask & !self.written;
        self.written |= mask;
        self.count(new)
    }

    #[inline]
    fn enter(&mut self, region: u32) {
        if self.region != region {
            *self = Touched { region, read: 0, written: 0, changed: true };
        }
    }

    /// The number of bits, which is 0 most of the time.
    #[inline]
    fn count(&mut self, new: u64) -> u64 {
        if new == 0 {
            return 0;
        }
        self.changed = true;
        u64::from(new.count_ones())
    }
}

/// The lines touched so far, but for those that somebody holds on to.
pub struct Footprint {
    pages: HashMap<u64, usize, BuildHasherDefault<Fibonacci>>,
    lines: Vec<[Touched; PAGE as usize]>,
    /// Pages asked for lately and their places, by the last digits of their numbers.
    recent: Vec<(u64, usize)>,
}

/// As many streams run side by side.
const RECENT: usize = 256;

impl Default for Footprint {
    fn default() -> Footprint {
        Footprint { pages: HashMap::default(), lines: Vec::new(), recent: vec![(u64::MAX, 0); RECENT] }
    }
}

impl Footprint {
    pub fn line(&mut self, line: u64) -> &mut Touched {
        let page = line / PAGE;
        let place = match self.recent[page as usize % RECENT] {
            (recent, place) if recent == page => place,
            _ => self.place(page),
        };
        &mut self.lines[place][(line % PAGE) as usize]
    }

    /// Takes back what was held of a line.
    pub fn keep(&mut self, line: u64, held: Touched) {
        if held.changed {
            *self.line(line) = Touched { changed: false, ..held };
        }
    }

    fn place(&mut self, page: u64) -> usize {
        let lines = &mut self.lines;
        let place = *self.pages.entry(page).or_insert_with(|| {
            lines.push([Touched::default(); PAGE as usize]);
            lines.len() - 1
        });
        self.recent[page as usize % RECENT] = (page, place);
        place
    }
}

/// Hashing of page numbers, for which the standard one is too slow.
#[derive(Default)]
struct Fibonacci(u64);

impl Hasher for Fibonacci {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(self.0 ^ u64::from(*b)));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_counts_once_in_a_region() {
        let mut f = Footprint::default();
        assert_eq!((f.line(7).read(1, 0xFF), f.line(7).read(1, 0xFFF)), (8, 4));
        assert_eq!((f.line(7).write(1, 0xF), f.line(8).read(1, 1)), (4, 1));
        assert_eq!((f.line(7).read(2, 0xFF), f.line(9).write(2, 3), f.line(9).read(2, 7)), (8, 2, 1));
    }

    #[test]
    fn a_table_that_grows_forgets_nothing() {
        let mut f = Footprint::default();
        assert!((0..100_000).all(|line| f.line(line * 3).write(1, 1) == 1));
        assert!((0..100_000).all(|line| f.line(line * 3).write(1, 3) == 1));
    }
}
