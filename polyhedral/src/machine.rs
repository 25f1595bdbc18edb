//! The machine as plain numbers: all that passes may know about a target. Filled in by `lowering`.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Bytes of one vector register (64 for AVX-512, 32 for AVX2; 4 on a GPU, where a lane is a thread).
    pub vector_bytes: usize,
    /// Architectural vector registers.
    pub vector_registers: usize,
    pub l1_bytes: usize,
    pub l2_bytes: usize,
    pub l3_bytes: usize,
    /// Workers of the thread team that the code is made for.
    pub threads: usize,
    /// What a barrier of the team costs when all arrive at once, in nanoseconds.
    pub barrier_ns: f64,
    /// Is this a GPU? Then lockstep marks are not used and bands map to blocks and threads.
    pub gpu: bool,
}

impl Machine {
    /// Vector lanes of an element of `bytes` bytes.
    pub fn lanes(&self, bytes: usize) -> usize {
        (self.vector_bytes / bytes).max(1)
    }
}
