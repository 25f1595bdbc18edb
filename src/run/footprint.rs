//! Distinct bytes: what a region reads and writes when everything that it has touched stays in a cache.

/// Bytes of a line of memory.
pub const LINE: u64 = 64;

/// What happened to the bytes of one line in the present region: one bit per byte.
#[derive(Clone, Copy, Default)]
struct Line {
    /// Number of the line plus 1; 0 for an empty place.
    key: u64,
    region: u64,
    read: u64,
    written: u64,
}

/// The lines touched so far, in a hash table with linear probing.
pub struct Footprint {
    lines: Vec<Line>,
    used: usize,
    region: u64,
}

impl Default for Footprint {
    fn default() -> Footprint {
        Footprint { lines: vec![Line::default(); 1 << 16], used: 0, region: 0 }
    }
}

impl Footprint {
    /// From here on every byte is untouched.
    pub fn next_region(&mut self) {
        self.region += 1;
    }

    /// A read of the bytes in `mask` of line `line`; how many of them the region had neither read nor written.
    pub fn read(&mut self, line: u64, mask: u64) -> u32 {
        let line = self.line(line);
        let new = mask & !(line.read | line.written);
        line.read |= mask;
        new.count_ones()
    }

    /// A write of the bytes in `mask` of line `line`; how many of them the region had not written.
    pub fn write(&mut self, line: u64, mask: u64) -> u32 {
        let line = self.line(line);
        let new = mask & !line.written;
        line.written |= mask;
        new.count_ones()
    }

    fn line(&mut self, line: u64) -> &mut Line {
        if 2 * self.used > self.lines.len() {
            self.grow();
        }
        let (key, region) = (line + 1, self.region);
        let place = find(&self.lines, key);
        let found = &mut self.lines[place];
        self.used += usize::from(found.key == 0);
        if found.key == 0 || found.region != region {
            *found = Line { key, region, read: 0, written: 0 };
        }
        found
    }

    fn grow(&mut self) {
        let mut larger = vec![Line::default(); 2 * self.lines.len()];
        for line in self.lines.iter().filter(|l| l.key != 0) {
            let place = find(&larger, line.key);
            larger[place] = *line;
        }
        self.lines = larger;
    }
}

/// The place of a key, or the empty one where it belongs. Half of the places are empty.
fn find(lines: &[Line], key: u64) -> usize {
    // Fibonacci hashing: neighbouring lines spread over the whole table, whose size is a power of two.
    let bits = lines.len().trailing_zeros();
    let mut place = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as usize;
    while lines[place].key != 0 && lines[place].key != key {
        place = (place + 1) & (lines.len() - 1);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_counts_once_in_a_region() {
        let mut f = Footprint::default();
        assert_eq!((f.read(7, 0xFF), f.read(7, 0xFFF)), (8, 4));
        assert_eq!((f.write(7, 0xF), f.read(8, 1)), (4, 1));
        f.next_region();
        assert_eq!((f.read(7, 0xFF), f.write(9, 3), f.read(9, 7)), (8, 2, 1));
    }

    #[test]
    fn a_table_that_grows_forgets_nothing() {
        let mut f = Footprint::default();
        assert!((0..100_000).all(|line| f.write(line * 3, 1) == 1));
        assert!((0..100_000).all(|line| f.write(line * 3, 3) == 1));
    }
}
