//! What loops and workers cost beside the work in them: round numbers for current x86 cores.

use crate::machine::Machine;

/// Cycles that one more loop iteration around a nest costs.
pub const LOOP_CYCLES: f64 = 40.0;

/// Nanoseconds. Shorter iterations are not handed round: neighbours would fight for cache lines. Where a barrier costs nothing
/// (in tests), neither do those.
pub fn grain_ns(machine: &Machine) -> f64 {
    if machine.barrier_ns > 0.0 { 16.0 } else { 0.0 }
}

/// Nanoseconds that sharing a loop costs without a barrier: the loop that counts in steps, and cold caches. (What a
/// barrier costs, `Machine::barrier_ns` says.)
pub const SHARE_NS: f64 = 50.0;

/// About the frequency of current x86 cores.
pub const CYCLES_PER_NS: f64 = 3.5;

/// Cycles for a byte that another worker has written: its line comes from that core's cache. Read in order they are 0.05
/// (measured, Zen 4); nests that read it in their own order lose more, as if it came from memory.
pub const CROSSING_CYCLES_PER_BYTE: f64 = 0.25;
