//! What one core of this machine can do at most: arithmetic, and bytes from every level of memory; and how long a counted
//! run takes there at least.
//!
//! Measured, for no table of processors is complete, and a virtual machine has what it is given. The least time of a run is
//! that of a machine which overlaps everything inside a region: of arithmetic and the traffic of every level, the slowest.

use super::count::Phase;
use sirius_polyhedral::Machine;
use std::hint::black_box;
use std::time::Instant;

/// Peaks of one core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Single-precision operations per nanosecond, a fused multiply-add counting as two.
    pub operations: f64,
    /// Bytes per nanosecond that come from the second level of cache, the third, and memory.
    pub bytes: [f64; 3],
    /// Bytes of the third level: what fits stays there from run to run.
    l3: u64,
}

/// Best of so many: other work on the machine makes figures lower, never higher.
const TRIES: usize = 12;

impl Limits {
    /// Of this core, with the caches that code for `machine` is made for. Takes about half a second.
    pub fn measure(machine: &Machine) -> Limits {
        let [l1, l2, l3] = [machine.l1_bytes, machine.l2_bytes, machine.l3_bytes];
        let sizes = [(l1 + l2) / 2, l2 + (l3 / 8).min(4 << 20), 4 * l3.clamp(16 << 20, 64 << 20)];
        Limits { operations: best(|| multiply_adds(1 << 15)), bytes: sizes.map(bandwidth), l3: l3 as u64 }
    }

    /// Nanoseconds that every phase of a run takes at least, warm: what fits into the third level is there.
    pub fn nanoseconds(&self, phases: &[Phase]) -> Vec<f64> {
        let from_memory: u64 = phases.iter().map(|p| p.moved[2]).sum();
        let levels = if from_memory > self.l3 { 3 } else { 2 };
        let phase = |p: &Phase| {
            let bytes = p.moved.iter().zip(self.bytes).take(levels).map(|(moved, rate)| *moved as f64 / rate);
            bytes.fold(p.operations as f64 / self.operations, f64::max)
        };
        phases.iter().map(phase).collect()
    }
}

fn best(mut rate: impl FnMut() -> f64) -> f64 {
    (0..TRIES).map(|_| rate()).fold(0.0, f64::max)
}

/// Operations per nanosecond of independent multiply-adds in the widest vectors that there are.
fn multiply_adds(rounds: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has it.
            return unsafe { x86::multiply_adds_512(rounds) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has both.
            return unsafe { x86::multiply_adds_256(rounds) };
        }
    }
    let mut sums = [black_box(1.0f32); 64];
    let start = Instant::now();
    for _ in 0..rounds {
        sums.iter_mut().for_each(|s| *s = *s * 0.999 + 0.001);
    }
    let ns = start.elapsed().as_nanos() as f64;
    black_box(sums);
    (2 * 64 * rounds) as f64 / ns
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::time::Instant;

    /// More than latency times throughput of any processor, less than its registers.
    const CHAINS: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub fn multiply_adds_512(rounds: usize) -> f64 {
        let (scale, step) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        let start = Instant::now();
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, scale, step);
            }
        }
        let ns = start.elapsed().as_nanos() as f64;
        black_box(sums);
        (2 * 16 * CHAINS * rounds) as f64 / ns
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn multiply_adds_256(rounds: usize) -> f64 {
        let (scale, step) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [_mm256_set1_ps(1.0); CHAINS];
        let start = Instant::now();
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, scale, step);
            }
        }
        let ns = start.elapsed().as_nanos() as f64;
        black_box(sums);
        (2 * 8 * CHAINS * rounds) as f64 / ns
    }

    #[target_feature(enable = "avx2")]
    pub fn sum_256(words: &[u64]) -> u64 {
        super::sum(words)
    }
}

/// Bytes per nanosecond of reading `size` bytes again and again.
fn bandwidth(size: usize) -> f64 {
    let words = vec![1u64; size / 8];
    let passes = (32 << 20) / size + 1;
    let read = |words: &[u64]| {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { x86::sum_256(words) };
        }
        sum(words)
    };
    black_box(read(&words));
    best(|| {
        let start = Instant::now();
        for _ in 0..passes {
            black_box(read(black_box(&words)));
        }
        (passes * words.len() * 8) as f64 / start.elapsed().as_nanos() as f64
    })
}

/// In several sums, so that additions do not wait for each other.
#[inline(always)]
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in words.chunks_exact(32) {
        sums.iter_mut().zip(chunk).for_each(|(s, w)| *s = s.wrapping_add(*w));
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { operations: 100.0, bytes: [50.0, 25.0, 10.0], l3: 1000 };

    #[test]
    fn a_region_takes_as_long_as_its_slowest_part() {
        let phase = |operations, moved| Phase { region: 0, operations, moved };
        let compute = phase(1_000_000, [100, 100, 100]);
        let traffic = phase(100, [1_000_000, 100, 100]);
        assert_eq!(LIMITS.nanoseconds(&[compute, traffic]), [10_000.0, 20_000.0]);
    }

    #[test]
    fn memory_counts_where_the_third_level_is_too_small() {
        let phase = Phase { region: 0, operations: 0, moved: [0, 0, 1000] };
        assert_eq!(LIMITS.nanoseconds(&[phase]), [0.0]);
        assert_eq!(LIMITS.nanoseconds(&[phase, phase]), [100.0, 100.0]);
    }
}
