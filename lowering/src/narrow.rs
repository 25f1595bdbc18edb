//! Floats of at most 8 bits in code: between their byte in memory and `f32` in registers.
//!
//! Integer code on the bits of the `f32`, the same for every format; `sirius_polyhedral::narrow` is its definition.

use crate::expr::Operators;
use crate::ir::{FloatCompare, IntCompare, Op, Value};
use sirius_polyhedral::narrow::{Format, Special};

const F32_MANTISSA: u32 = 23;
const F32_BIAS: i32 = 127;
const F32_INFINITY: i64 = 0x7f80_0000;
const F32_NAN: i64 = 0x7fc0_0000;

impl<'ctx> Operators<'_, 'ctx> {
    fn word(&self, like: Value<'ctx>, n: i64) -> Value<'ctx> {
        self.ir.int_like(like.get_type(), n)
    }

    fn as_float(&self, bits: Value<'ctx>) -> Value<'ctx> {
        self.ir.cast(Op::LLVMBitCast, bits, self.ir.context.f32_type().into())
    }

    fn as_bits(&self, float: Value<'ctx>) -> Value<'ctx> {
        self.ir.cast(Op::LLVMBitCast, float, self.ir.context.i32_type().into())
    }

    fn byte_to_word(&self, byte: Value<'ctx>) -> Value<'ctx> {
        self.ir.cast(Op::LLVMZExt, byte, self.ir.context.i32_type().into())
    }

    fn word_to_byte(&self, word: Value<'ctx>) -> Value<'ctx> {
        self.ir.cast(Op::LLVMTrunc, word, self.ir.context.i8_type().into())
    }

    /// The `f32` of a byte.
    pub fn from_narrow(&self, byte: Value<'ctx>, f: Format) -> Value<'ctx> {
        let ir = self.ir;
        let code = self.byte_to_word(byte);
        let lit = |n: i64| self.word(code, n);
        let sign_bit = 1i64 << (f.bits - 1);
        let magnitude = ir.binary(Op::LLVMAnd, code, lit(sign_bit - 1));
        let rebias = i64::from(F32_BIAS - f.bias) << f.mantissa;
        let shift = i64::from(F32_MANTISSA - f.mantissa);
        let normal = ir.binary(Op::LLVMShl, ir.binary(Op::LLVMAdd, magnitude, lit(rebias)), lit(shift));
        let small = ir.cast(Op::LLVMUIToFP, magnitude, ir.context.f32_type().into());
        let quantum = f64::from(f.least_exponent() - f.mantissa as i32).exp2();
        let small = self.as_bits(ir.binary(Op::LLVMFMul, small, ir.float_like(small.get_type(), quantum)));
        let is_normal = ir.icmp(IntCompare::LLVMIntUGE, magnitude, lit(1 << f.mantissa));
        let finite = ir.select(is_normal, normal, small);
        let special = self.special(code, magnitude, finite, f);
        let sign =
            ir.binary(Op::LLVMAnd, ir.binary(Op::LLVMShl, code, lit(i64::from(32 - f.bits))), lit(i64::from(i32::MIN)));
        self.as_float(ir.binary(Op::LLVMOr, special, sign))
    }

    /// Puts infinity and NaN in place of what their codes would mean as numbers.
    fn special(&self, code: Value<'ctx>, magnitude: Value<'ctx>, finite: Value<'ctx>, f: Format) -> Value<'ctx> {
        let ir = self.ir;
        let lit = |n: i64| self.word(code, n);
        let above = |limit: u32| ir.icmp(IntCompare::LLVMIntUGT, magnitude, lit(i64::from(limit)));
        match f.special {
            Special::Ieee => {
                let beyond = ir.select(above(f.overflow()), lit(F32_NAN), lit(F32_INFINITY));
                ir.select(above(f.largest()), beyond, finite)
            }
            Special::Finite => ir.select(above(f.largest()), lit(F32_NAN), finite),
            Special::Unsigned => {
                let nan = ir.icmp(IntCompare::LLVMIntEQ, code, lit(i64::from(f.nan())));
                ir.select(nan, lit(F32_NAN), finite)
            }
            Special::Numbers => finite,
        }
    }

    /// The byte of an `f32`, rounded to nearest even.
    pub fn to_narrow(&self, value: Value<'ctx>, f: Format) -> Value<'ctx> {
        let ir = self.ir;
        let bits = self.as_bits(value);
        let lit = |n: i64| self.word(bits, n);
        let magnitude = ir.binary(Op::LLVMAnd, bits, lit(i64::from(i32::MAX)));
        let least = i64::from(f.least_exponent() + F32_BIAS) << F32_MANTISSA;
        let is_normal = ir.icmp(IntCompare::LLVMIntUGE, magnitude, lit(least));
        let code = ir.select(is_normal, self.round_normal(magnitude, f), self.round_small(magnitude, f));
        let over = ir.icmp(IntCompare::LLVMIntUGT, code, lit(i64::from(f.largest())));
        let code = ir.select(over, lit(i64::from(f.overflow())), code);
        let sign = ir.binary(Op::LLVMShl, ir.binary(Op::LLVMLShr, bits, lit(31)), lit(i64::from(f.bits - 1)));
        let signed = ir.binary(Op::LLVMOr, code, sign);
        let zero = ir.icmp(IntCompare::LLVMIntEQ, code, lit(0));
        let signed = if f.special == Special::Unsigned { ir.select(zero, code, signed) } else { signed };
        let nan = ir.fcmp(FloatCompare::LLVMRealUNO, value, value);
        self.word_to_byte(ir.select(nan, lit(i64::from(f.nan())), signed))
    }

    /// Adds just below half of the last place kept, plus its parity; a carry raises the exponent by itself.
    fn round_normal(&self, magnitude: Value<'ctx>, f: Format) -> Value<'ctx> {
        let ir = self.ir;
        let lit = |n: i64| self.word(magnitude, n);
        let dropped = F32_MANTISSA - f.mantissa;
        let high = ir.binary(Op::LLVMLShr, magnitude, lit(i64::from(dropped)));
        let odd = ir.binary(Op::LLVMAnd, high, lit(1));
        let half = lit((1 << (dropped - 1)) - 1);
        let up = ir.binary(Op::LLVMAdd, ir.binary(Op::LLVMAdd, magnitude, half), odd);
        let rebias = i64::from(F32_BIAS - f.bias) << f.mantissa;
        ir.binary(Op::LLVMSub, ir.binary(Op::LLVMLShr, up, lit(i64::from(dropped))), lit(rebias))
    }

    /// Counts quanta of the subnormal numbers.
    fn round_small(&self, magnitude: Value<'ctx>, f: Format) -> Value<'ctx> {
        let ir = self.ir;
        let value = self.as_float(magnitude);
        let scale = f64::from(f.mantissa as i32 - f.least_exponent()).exp2();
        let steps =
            ir.pure("llvm.roundeven", &[ir.binary(Op::LLVMFMul, value, ir.float_like(value.get_type(), scale))]);
        ir.cast(Op::LLVMFPToUI, steps, ir.context.i32_type().into())
    }

    /// `e8m0`: the byte is the exponent of a power of two; 255 is NaN.
    pub fn from_scale(&self, byte: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let code = self.byte_to_word(byte);
        let lit = |n: i64| self.word(code, n);
        let bits = ir.binary(Op::LLVMShl, code, lit(i64::from(F32_MANTISSA)));
        let is = |n: i64| ir.icmp(IntCompare::LLVMIntEQ, code, lit(n));
        // The smallest power, 2^-127, is subnormal in `f32`.
        let bits = ir.select(is(0), lit(1 << (F32_MANTISSA - 1)), bits);
        self.as_float(ir.select(is(255), lit(F32_NAN), bits))
    }

    /// Rounds up to a power of two; negative numbers and NaN give 255.
    pub fn to_scale(&self, value: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let bits = self.as_bits(value);
        let lit = |n: i64| self.word(bits, n);
        let fraction = ir.binary(Op::LLVMAnd, bits, lit((1 << F32_MANTISSA) - 1));
        let up = ir.icmp(IntCompare::LLVMIntNE, fraction, lit(0));
        let exponent = ir.binary(Op::LLVMLShr, bits, lit(i64::from(F32_MANTISSA)));
        let code = ir.select(up, ir.binary(Op::LLVMAdd, exponent, lit(1)), exponent);
        let tiny = ir.icmp(IntCompare::LLVMIntULE, bits, lit(1 << (F32_MANTISSA - 1)));
        let code = ir.select(tiny, lit(0), code);
        let valid = ir.icmp(IntCompare::LLVMIntULE, bits, lit(F32_INFINITY));
        let negative_zero = ir.icmp(IntCompare::LLVMIntEQ, bits, lit(i64::from(i32::MIN)));
        let code = ir.select(valid, code, lit(255));
        self.word_to_byte(ir.select(negative_zero, lit(0), code))
    }
}
