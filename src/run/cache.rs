//! Three levels of cache, simulated: least recently used lines leave, and take along what was written.

use super::footprint::LINE;

/// Lines of one set.
const WAYS: usize = 8;

/// Bytes that went up and down between a level and the one behind it (or memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub filled: u64,
    pub written_back: u64,
}

/// One level.
struct Level {
    sets: usize,
    /// Set after set, the most recently used line first: its number plus 1, times 2, plus 1 when it was written to.
    lines: Vec<u64>,
    moved: Moved,
}

/// The caches of one core, the first level first.
pub struct Caches {
    levels: Vec<Level>,
}

impl Caches {
    /// Empty caches of these sizes in bytes.
    pub fn new(bytes: &[usize]) -> Caches {
        let level = |bytes: &usize| {
            let sets = (bytes / (WAYS * LINE as usize)).max(1);
            Level { sets, lines: vec![0; sets * WAYS], moved: Moved::default() }
        };
        Caches { levels: bytes.iter().map(level).collect() }
    }

    pub fn moved(&self) -> Vec<Moved> {
        self.levels.iter().map(|l| l.moved).collect()
    }

    /// A read of a line, or a write to it; how many levels lacked it.
    pub fn access(&mut self, line: u64, writes: bool) -> usize {
        touch(&mut self.levels, line, writes)
    }
}

fn touch(levels: &mut [Level], line: u64, writes: bool) -> usize {
    let [level, behind @ ..] = levels else { return 0 };
    let set = (line as usize % level.sets) * WAYS;
    let set = &mut level.lines[set..set + WAYS];
    let (key, dirty) = (2 * (line + 1), u64::from(writes));
    if let Some(at) = set.iter().position(|l| l & !1 == key) {
        let found = set[at] | dirty;
        set.copy_within(0..at, 1);
        set[0] = found;
        return 0;
    }
    let leaving = set[WAYS - 1];
    set.copy_within(0..WAYS - 1, 1);
    set[0] = key | dirty;
    level.moved.filled += LINE;
    let written_back = leaving & 1 == 1;
    level.moved.written_back += u64::from(written_back) * LINE;
    let lacked = 1 + touch(behind, line, false);
    if written_back {
        touch(behind, leaving / 2 - 1, true);
    }
    lacked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two levels of 1 KiB and 8 KiB.
    fn small() -> Caches {
        Caches::new(&[1 << 10, 8 << 10])
    }

    #[test]
    fn what_fits_is_filled_once() {
        let mut c = small();
        let lacked: usize = (0..160).map(|n| c.access(n % 16, false)).sum();
        assert_eq!(lacked, 2 * 16);
        assert_eq!(c.moved(), [Moved { filled: 1024, written_back: 0 }; 2]);
    }

    #[test]
    fn what_does_not_fit_comes_again_and_writes_leave() {
        let mut c = small();
        let lacked: Vec<usize> = (0..128).map(|n| c.access(n % 64, true)).collect();
        assert!(lacked[..64].iter().all(|l| *l == 2) && lacked[64..].iter().all(|l| *l == 1));
        assert_eq!(c.moved()[0], Moved { filled: 8192, written_back: 8192 - 1024 });
        assert_eq!(c.moved()[1], Moved { filled: 4096, written_back: 0 });
    }
}
