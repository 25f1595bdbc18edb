//! Sums of products of the small integers in words: `Dot2` and `Dot4` as code.
//!
//! All are exact, with `i32` that wraps: `vpmaddwd` adds two products of 16 bits, and `vpdpwssd` and `vpdpbusd` (VNNI)
//! add two of 16 or four of 8 bits to a sum. Where there is no instruction for so many lanes, each product is made alone.

use crate::expr::Operators;
use crate::ir::{Op, Value};
use sirius_polyhedral::{BinaryOp, Machine};

/// What a processor has for words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dots {
    /// Most 32-bit lanes of `vpmaddwd`; 0 without it.
    lanes: u32,
    /// VNNI, for as many lanes.
    accumulate: bool,
}

impl Dots {
    pub fn of(machine: &Machine) -> Dots {
        match machine.gpu {
            true => Dots::default(),
            false => Dots { lanes: machine.vector_bytes as u32 / 4, accumulate: machine.byte_dots },
        }
    }
}

impl<'ctx> Operators<'_, 'ctx> {
    /// `sum + dot(a, b)`.
    pub fn dot_add(&self, op: BinaryOp, sum: Value<'ctx>, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let lanes = [a, b, sum].into_iter().find_map(|v| ir.lanes(v));
        let wide = |v| lanes.map_or(v, |n| ir.widen(v, n));
        let (sum, a, b) = (wide(sum), wide(a), wide(b));
        let native = lanes.filter(|n| (4..=self.dots.lanes).contains(n) && n.is_power_of_two());
        let one = match (op, native) {
            (_, Some(n)) if self.dots.accumulate => {
                let which = if op == BinaryOp::Dot2 { "wssd" } else { "busd" };
                ir.intrinsic(&format!("llvm.x86.avx512.vpdp{which}.{}", 32 * n), &[], &[sum, a, b])
            }
            (BinaryOp::Dot2, Some(n)) => self.pairs(n, a, b).map(|v| ir.binary(Op::LLVMAdd, sum, v)),
            _ => None,
        };
        one.unwrap_or_else(|| self.products(op, sum, a, b))
    }

    fn pairs(&self, lanes: u32, a: Value<'ctx>, b: Value<'ctx>) -> Option<Value<'ctx>> {
        let ir = self.ir;
        let name = match lanes {
            4 => "llvm.x86.sse2.pmadd.wd",
            8 => "llvm.x86.avx2.pmadd.wd",
            _ => "llvm.x86.avx512.pmaddw.d.512",
        };
        let halves = ir.context.i16_type().vec_type(2 * lanes).into();
        let cast = |v| ir.reinterpret(v, halves);
        ir.intrinsic(name, &[], &[cast(a), cast(b)])
    }

    /// Every product alone, in as many bits as the sum has.
    fn products(&self, op: BinaryOp, sum: Value<'ctx>, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let lit = |n: u32| ir.int_like(sum.get_type(), i64::from(n));
        let bits = 32 / op.dot_parts().unwrap_or(1);
        let part = |v, n: u32, signed: bool| {
            let up = ir.binary(Op::LLVMShl, v, lit(32 - bits * (n + 1)));
            ir.binary(if signed { Op::LLVMAShr } else { Op::LLVMLShr }, up, lit(32 - bits))
        };
        (0..32 / bits).fold(sum, |sum, n| {
            let product = ir.binary(Op::LLVMMul, part(a, n, op == BinaryOp::Dot2), part(b, n, true));
            ir.binary(Op::LLVMAdd, sum, product)
        })
    }
}
