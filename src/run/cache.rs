//! Three levels of cache, simulated: least recently used lines leave, and take along what was written.
//!
//! A line in the first level has its part of the region's footprint with it, so most accesses look at one set and at
//! nothing else.

use super::footprint::{Footprint, LINE, Touched};

/// Lines of one set.
const WAYS: usize = 8;

/// Bytes that went up and down between a level and the one behind it (or memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub filled: u64,
    pub written_back: u64,
}

/// The caches of one core, and the footprint of the region that runs.
pub struct Memory {
    first: First,
    /// The levels behind the first.
    behind: Vec<Level>,
    /// Of lines that are not in the first level.
    footprint: Footprint,
    region: u32,
}

/// What an access met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Bytes that the region had not touched so before.
    pub new: u64,
    /// Levels that lacked the line.
    pub lacked: usize,
}

impl Memory {
    /// Empty caches of these sizes in bytes, the first level first.
    pub fn new([first, behind @ ..]: [usize; 3]) -> Memory {
        let behind = behind.iter().map(|bytes| Level::new(*bytes)).collect();
        Memory { first: First::new(first), behind, footprint: Footprint::default(), region: 0 }
    }

    /// Level by level.
    pub fn moved(&self) -> Vec<Moved> {
        [self.first.moved].into_iter().chain(self.behind.iter().map(|l| l.moved)).collect()
    }

    /// From here on every byte is untouched.
    pub fn next_region(&mut self) {
        self.region += 1;
    }

    /// A read of the bytes in `mask` of a line, or a write to them.
    #[inline]
    pub fn access(&mut self, line: u64, mask: u64, writes: bool) -> Met {
        let (place, lacked) = match self.first.find(line) {
            Some(place) => (place, 0),
            None => self.fill(line),
        };
        self.first.keys[place] |= u64::from(writes);
        self.first.clock += 1;
        let way = &mut self.first.ways[place];
        way.used = self.first.clock;
        let new = match writes {
            true => way.touched.write(self.region, mask),
            false => way.touched.read(self.region, mask),
        };
        Met { new, lacked }
    }

    /// Brings a line into the first level; its place there, and how many levels lacked it.
    fn fill(&mut self, line: u64) -> (usize, usize) {
        let place = self.first.oldest(line);
        let (leaving, held) = (self.first.keys[place], self.first.ways[place].touched);
        if let Some(left) = line_of(leaving) {
            self.footprint.keep(left, held);
        }
        self.first.put(place, line, *self.footprint.line(line));
        let lacked = 1 + touch(&mut self.behind, line, false);
        if is_dirty(leaving) {
            self.first.moved.written_back += LINE;
            line_of(leaving).map(|left| touch(&mut self.behind, left, true));
        }
        (place, lacked)
    }
}

// A line in a cache is known by its number plus 1, times 2, plus 1 when it was written to; 0 is an empty place.

fn key_of(line: u64) -> u64 {
    2 * (line + 1)
}

fn line_of(key: u64) -> Option<u64> {
    (key / 2).checked_sub(1)
}

fn is_dirty(key: u64) -> bool {
    key & 1 == 1
}

/// Which of the places has the line of `key`? Without a branch for each: nobody can predict it.
#[inline]
fn way_of(places: &[u64], key: u64) -> Option<usize> {
    let found = places.iter().enumerate().fold(WAYS, |found, (way, k)| if k & !1 == key { way } else { found });
    (found < WAYS).then_some(found)
}

/// Into how many sets a cache is divided.
#[derive(Clone, Copy)]
struct Sets(u64);

impl Sets {
    fn new(bytes: usize) -> Sets {
        Sets((bytes / (WAYS * LINE as usize)).max(1) as u64)
    }

    fn places(self) -> usize {
        self.0 as usize * WAYS
    }

    /// The set of a line. A division takes longer than all the rest.
    #[inline]
    fn of(self, line: u64) -> usize {
        let set = if self.0 & (self.0 - 1) == 0 { line & (self.0 - 1) } else { line % self.0 };
        set as usize
    }
}

/// The first level, where nothing moves when a line is used again.
struct First {
    sets: Sets,
    /// Set after set.
    keys: Vec<u64>,
    ways: Vec<Way>,
    /// By set: the place that was found last.
    recent: Vec<usize>,
    clock: u64,
    moved: Moved,
}

/// What is known of a place beside its line.
#[derive(Clone, Copy, Default)]
struct Way {
    /// When it was used last.
    used: u64,
    touched: Touched,
}

impl First {
    fn new(bytes: usize) -> First {
        let sets = Sets::new(bytes);
        First {
            sets,
            keys: vec![0; sets.places()],
            ways: vec![Way::default(); sets.places()],
            recent: (0..sets.places()).step_by(WAYS).collect(),
            clock: 0,
            moved: Moved::default(),
        }
    }

    #[inline]
    fn find(&mut self, line: u64) -> Option<usize> {
        let (set, key) = (self.sets.of(line), key_of(line));
        let recent = self.recent[set];
        if self.keys[recent] & !1 == key {
            return Some(recent);
        }
        let place = set * WAYS + way_of(&self.keys[set * WAYS..(set + 1) * WAYS], key)?;
        self.recent[set] = place;
        Some(place)
    }

    /// The place of the line's set that was not used for longest.
    fn oldest(&self, line: u64) -> usize {
        let from = self.sets.of(line) * WAYS;
        let used = |place: usize| self.ways[place].used;
        (from + 1..from + WAYS).fold(from, |old, place| if used(place) < used(old) { place } else { old })
    }

    fn put(&mut self, place: usize, line: u64, touched: Touched) {
        self.keys[place] = key_of(line);
        self.ways[place].touched = touched;
        self.recent[place / WAYS] = place;
        self.moved.filled += LINE;
    }
}

/// A level behind the first. It is large: a set is one line of the real cache.
struct Level {
    sets: Sets,
    /// Set after set, the line used last first.
    keys: Vec<u64>,
    moved: Moved,
}

impl Level {
    fn new(bytes: usize) -> Level {
        let sets = Sets::new(bytes);
        Level { sets, keys: vec![0; sets.places()], moved: Moved::default() }
    }
}

/// A read of a line, or a write to it; how many levels lacked it.
fn touch(levels: &mut [Level], line: u64, writes: bool) -> usize {
    let [level, behind @ ..] = levels else { return 0 };
    let from = level.sets.of(line) * WAYS;
    let set = &mut level.keys[from..from + WAYS];
    let key = key_of(line);
    let found = way_of(set, key);
    let (at, old) = found.map_or((WAYS - 1, 0), |at| (at, set[at]));
    let leaving = set[WAYS - 1];
    for way in (1..WAYS).rev() {
        set[way] = if way <= at { set[way - 1] } else { set[way] };
    }
    set[0] = key | (old & 1) | u64::from(writes);
    if found.is_some() {
        return 0;
    }
    level.moved.filled += LINE;
    let lacked = 1 + touch(behind, line, false);
    if is_dirty(leaving) {
        level.moved.written_back += LINE;
        line_of(leaving).map(|left| touch(behind, left, true));
    }
    lacked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Memory {
        Memory::new([1 << 10, 8 << 10, 1 << 20])
    }

    #[test]
    fn what_fits_is_filled_once() {
        let mut c = small();
        let lacked: usize = (0..160).map(|n| c.access(n % 16, 1, false).lacked).sum();
        assert_eq!(lacked, 3 * 16);
        assert_eq!(c.moved(), [Moved { filled: 1024, written_back: 0 }; 3]);
    }

    #[test]
    fn what_does_not_fit_comes_again_and_writes_leave() {
        let mut c = small();
        let lacked: Vec<usize> = (0..128).map(|n| c.access(n % 64, 1, true).lacked).collect();
        assert!(lacked[..64].iter().all(|l| *l == 3) && lacked[64..].iter().all(|l| *l == 1));
        assert_eq!(c.moved()[0], Moved { filled: 8192, written_back: 8192 - 1024 });
        assert_eq!(c.moved()[1], Moved { filled: 4096, written_back: 0 });
    }

    /// The line that was not used for longest leaves, not the one that came first.
    #[test]
    fn the_least_recently_used_line_leaves() {
        let mut c = Memory::new([512, 1 << 20, 1 << 20]);
        (0..9).for_each(|line| assert_eq!(c.access(line, 1, false).lacked, 3));
        (0..8).for_each(|line| assert_eq!(c.access(line, 1, false).lacked, 1));
        assert_eq!(c.access(0, 1, false).lacked, 0);
        assert_eq!(c.access(8, 1, false).lacked, 1);
        assert_eq!((c.access(0, 1, false).lacked, c.access(1, 1, false).lacked), (0, 1));
    }

    /// A line that leaves the cache and comes back is no new byte of its region, and one of the next.
    #[test]
    fn the_footprint_outlives_the_cache() {
        let mut c = Memory::new([512, 1 << 20, 1 << 20]);
        c.next_region();
        let new: u64 = (0..64).map(|n| c.access(n % 32, 0xFF, n % 2 == 0).new).sum();
        assert_eq!(new, 32 * 8);
        c.next_region();
        assert_eq!((c.access(0, 0xF, false).new, c.access(31, 0xF, true).new), (4, 4));
    }
}
