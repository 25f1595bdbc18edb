//! The machine as plain numbers, and the numeric contract: all that passes may know about a target. Filled in by
//! `lowering`.

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
    /// Does one instruction add products of four pairs of bytes to 32 bits (VNNI)?
    pub byte_dots: bool,
    pub numeric: Numeric,
}

/// What code may do to the rounding of floating-point operations. With the first two the results are the same bits for
/// every number of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numeric {
    /// Every operation of the program, in its order, rounded once: no fused multiply-add, and every reduction adds up
    /// in the order of its loops.
    Strict,
    /// Products are fused with the sums that they are added to, and a reduction is a fixed tree of partial sums, one per
    /// lane, over loops in an order that suits the memory.
    #[default]
    Contract,
    /// As `Contract`, and operators beside each other are computed as real numbers would allow: sums and products in any
    /// order and grouping, fused or not, division as a product with the reciprocal, zeros of either sign.
    Fast,
}

impl Numeric {
    /// As the command line and the manifest spell it.
    pub fn name(self) -> &'static str {
        match self {
            Numeric::Strict => "strict",
            Numeric::Contract => "contract",
            Numeric::Fast => "fast",
        }
    }
}

impl Machine {
    /// Vector lanes of an element of `bytes` bytes.
    pub fn lanes(&self, bytes: usize) -> usize {
        (self.vector_bytes / bytes).max(1)
    }
}
