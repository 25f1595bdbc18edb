//! The decisions behind a model: random numbers that are written down, or a list of them that is read back.
//!
//! Everything random about a model is drawn here, so a list of numbers *is* a model, and a shorter list with smaller
//! numbers is a simpler one: that is how failing models shrink (as in Hypothesis, MacIver and Donaldson, ECOOP 2020).
//! Strategies of `proptest` do not fit: what may come next depends on every earlier node, and a chain of dependent
//! strategies shrinks only its last link.

/// Sebastiano Vigna's `splitmix64`.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`; `n` is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// In `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A source of decisions.
#[derive(Debug)]
pub struct Choices {
    source: Source,
    /// Every number that was drawn.
    pub drawn: Vec<u32>,
    /// Where in `drawn` each node's decisions are; inner nodes come before the node that holds them.
    pub spans: Vec<(usize, usize)>,
}

#[derive(Debug)]
enum Source {
    Random(Random),
    /// Zeros when it is used up: the simplest choice everywhere.
    Replay(std::vec::IntoIter<u32>),
}

impl Choices {
    pub fn random(seed: u64) -> Choices {
        // Neighbouring seeds start far apart.
        let start = Random::new(seed).next();
        Choices { source: Source::Random(Random::new(start)), drawn: vec![], spans: vec![] }
    }

    pub fn replay(list: Vec<u32>) -> Choices {
        Choices { source: Source::Replay(list.into_iter()), drawn: vec![], spans: vec![] }
    }

    /// In `0..n`; 0 is the simplest.
    pub fn below(&mut self, n: usize) -> usize {
        let value = match &mut self.source {
            Source::Random(random) => random.below(n),
            Source::Replay(list) => list.next().unwrap_or(0) as usize % n.max(1),
        };
        self.drawn.push(value as u32);
        value
    }

    /// True in `percent` of 100 cases; false is the simplest.
    pub fn chance(&mut self, percent: usize) -> bool {
        let value = match &mut self.source {
            Source::Random(random) => random.below(100) < percent,
            Source::Replay(list) => list.next().unwrap_or(0) != 0,
        };
        self.drawn.push(u32::from(value));
        value
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// In `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }
}
