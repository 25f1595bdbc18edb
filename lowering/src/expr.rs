//! Scalar operators as LLVM code, for scalars and vectors of lanes.
//!
//! In registers `f16`, `bf16` and the floats of 8 and 4 bits are `f32`, and `bool` is `i1`; they take their own form only in memory.

use crate::dot::Dots;
use crate::ir::{FloatCompare, IntCompare, Ir, Op, Type, Value, scalar_of};
use crate::math::{MathEmitter, emit_floor_mod, emit_fmod, emit_pow, emit_unary};
use inkwell::module::Module;
use sirius_polyhedral::narrow::Format;
use sirius_polyhedral::{BinaryOp, DType, Numeric, Result, Scalar, UnaryOp};

/// Writes operators at one position.
#[derive(Clone, Copy)]
pub struct Operators<'a, 'ctx> {
    pub ir: Ir<'a, 'ctx>,
    pub module: &'a Module<'ctx>,
    pub numeric: Numeric,
    pub dots: Dots,
    /// May code use AVX-512?
    pub avx512: bool,
}

impl<'ctx> Operators<'_, 'ctx> {
    /// The type of one element in memory.
    pub fn memory_type(&self, t: DType) -> Type<'ctx> {
        let c = self.ir.context;
        match t {
            DType::F64 => c.f64_type().into(),
            DType::F32 => c.f32_type().into(),
            DType::F16 => c.f16_type().into(),
            DType::BF16 => c.i16_type().into(),
            DType::I64 | DType::U64 => c.i64_type().into(),
            DType::I32 | DType::U32 => c.i32_type().into(),
            DType::I16 | DType::U16 => c.i16_type().into(),
            _ => c.i8_type().into(),
        }
    }

    /// The type of one element in registers.
    pub fn type_of(&self, t: DType) -> Type<'ctx> {
        let c = self.ir.context;
        match t {
            DType::F16 | DType::BF16 => c.f32_type().into(),
            t if t.is_narrow_float() => c.f32_type().into(),
            DType::Bool => c.bool_type().into(),
            other => self.memory_type(other),
        }
    }

    pub fn constant(&self, s: Scalar) -> Value<'ctx> {
        let ty = self.type_of(s.dtype());
        match s {
            Scalar::Float(x, t) => self.ir.float_like(ty, rounded(x, t)),
            Scalar::Int(n, DType::Bool) => self.ir.int_like(ty, i64::from(n != 0)),
            Scalar::Int(n, _) => self.ir.int_like(ty, n),
        }
    }

    /// The register form of what was loaded.
    pub fn loaded(&self, v: Value<'ctx>, t: DType) -> Value<'ctx> {
        let ir = self.ir;
        match t {
            DType::F16 => ir.cast(Op::LLVMFPExt, v, self.type_of(t)),
            DType::BF16 => {
                let i32 = ir.context.i32_type().into();
                let wide = ir.cast(Op::LLVMZExt, v, i32);
                let bits = ir.binary(Op::LLVMShl, wide, ir.int_like(wide.get_type(), 16));
                ir.cast(Op::LLVMBitCast, bits, self.type_of(t))
            }
            DType::Bool => ir.icmp(IntCompare::LLVMIntNE, v, ir.zero(v.get_type())),
            DType::F8E8M0 => self.from_scale(v),
            _ => Format::of(t).map_or(v, |format| self.from_narrow(v, format)),
        }
    }

    /// The memory form of a value; rounds to nearest even.
    pub fn stored(&self, v: Value<'ctx>, t: DType) -> Value<'ctx> {
        let ir = self.ir;
        match t {
            DType::F16 => ir.cast(Op::LLVMFPTrunc, v, self.memory_type(t)),
            DType::BF16 => self.bf16_bits(v),
            DType::Bool => ir.cast(Op::LLVMZExt, v, self.memory_type(t)),
            DType::F8E8M0 => self.to_scale(v),
            _ => Format::of(t).map_or(v, |format| self.to_narrow(v, format)),
        }
    }

    /// LLVM calls a library function for this truncation where the CPU lacks it, so it is integer code:
    /// add just below half of the last place kept, plus its parity. A NaN keeps its sign and becomes quiet.
    fn bf16_bits(&self, v: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let bits = ir.cast(Op::LLVMBitCast, v, ir.context.i32_type().into());
        let lit = |n| ir.int_like(bits.get_type(), n);
        let high = ir.binary(Op::LLVMLShr, bits, lit(16));
        let odd = ir.binary(Op::LLVMAnd, high, lit(1));
        let up = ir.binary(Op::LLVMAdd, bits, ir.binary(Op::LLVMAdd, odd, lit(0x7fff)));
        let rounded = ir.binary(Op::LLVMLShr, up, lit(16));
        let quiet = ir.binary(Op::LLVMOr, high, lit(0x40));
        let nan = ir.fcmp(FloatCompare::LLVMRealUNO, v, v);
        ir.cast(Op::LLVMTrunc, ir.select(nan, quiet, rounded), ir.context.i16_type().into())
    }

    pub fn unary(&self, op: UnaryOp, t: DType, x: Value<'ctx>) -> Result<Value<'ctx>> {
        if op == UnaryOp::Bits {
            return Ok(self.ir.cast(Op::LLVMBitCast, x, self.type_of(op.result(t))));
        }
        if t.is_float() {
            return self.float_unary(op, x);
        }
        let ir = self.ir;
        let zero = ir.zero(x.get_type());
        Ok(match op {
            UnaryOp::Neg => ir.binary(Op::LLVMSub, zero, x),
            UnaryOp::Abs if t.is_signed() => {
                let negative = ir.icmp(IntCompare::LLVMIntSLT, x, zero);
                ir.select(negative, ir.binary(Op::LLVMSub, zero, x), x)
            }
            UnaryOp::Sign => self.integer_sign(t, x),
            UnaryOp::Not => ir.binary(Op::LLVMXor, x, ir.int_like(x.get_type(), -1)),
            UnaryOp::IsNan | UnaryOp::IsPosInf | UnaryOp::IsNegInf => ir.icmp(IntCompare::LLVMIntNE, x, x),
            UnaryOp::Abs | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => x,
            other => {
                let wide = self.cast(t, DType::F64, x);
                self.cast(DType::F64, t, self.float_unary(other, wide)?)
            }
        })
    }

    /// What LLVM turns into one instruction stays here; the rest is `math`.
    fn float_unary(&self, op: UnaryOp, x: Value<'ctx>) -> Result<Value<'ctx>> {
        let ir = self.ir;
        Ok(match op {
            UnaryOp::Neg => ir.fneg(x),
            UnaryOp::Abs => ir.pure("llvm.fabs", &[x]),
            UnaryOp::Floor => ir.pure("llvm.floor", &[x]),
            UnaryOp::Ceil => ir.pure("llvm.ceil", &[x]),
            UnaryOp::Round => ir.pure("llvm.roundeven", &[x]),
            UnaryOp::Sqrt => ir.pure("llvm.sqrt", &[x]),
            UnaryOp::IsNan => ir.fcmp(FloatCompare::LLVMRealUNO, x, x),
            other => emit_unary(&self.math(), other, x)?,
        })
    }

    fn math(&self) -> MathEmitter<'_, 'ctx> {
        let Operators { ir, module, avx512, .. } = *self;
        MathEmitter { context: ir.context, module, builder: ir.builder, avx512 }
    }

    fn integer_sign(&self, t: DType, x: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let ty = x.get_type();
        let nonzero = ir.cast(Op::LLVMZExt, ir.icmp(IntCompare::LLVMIntNE, x, ir.zero(ty)), scalar_of(ty));
        if !t.is_signed() {
            return nonzero;
        }
        let negative = ir.icmp(IntCompare::LLVMIntSLT, x, ir.zero(ty));
        ir.select(negative, ir.int_like(ty, -1), nonzero)
    }

    /// A binary operator on operands of type `t`; scalars meet vectors by spreading over the lanes.
    pub fn binary(&self, op: BinaryOp, t: DType, a: Value<'ctx>, b: Value<'ctx>) -> Result<Value<'ctx>> {
        let lanes = self.ir.lanes(a).or(self.ir.lanes(b));
        let (a, b) = match lanes {
            Some(n) => (self.ir.widen(a, n), self.ir.widen(b, n)),
            None => (a, b),
        };
        match t.is_float() {
            true => self.float_binary(op, a, b),
            false => self.integer_binary(op, t, a, b),
        }
    }

    /// One step of a reduction: its tree of partial results is fixed under every contract. (Regrouping it would also
    /// pull register tiles apart.)
    pub fn combine(&self, op: BinaryOp, t: DType, a: Value<'ctx>, b: Value<'ctx>) -> Result<Value<'ctx>> {
        Operators { numeric: Numeric::Contract, ..*self }.binary(op, t, a, b)
    }

    fn float_binary(&self, op: BinaryOp, a: Value<'ctx>, b: Value<'ctx>) -> Result<Value<'ctx>> {
        let ir = self.ir;
        use FloatCompare::*;
        Ok(match op {
            BinaryOp::Add => self.arithmetic(Op::LLVMFAdd, a, b),
            BinaryOp::Sub => self.arithmetic(Op::LLVMFSub, a, b),
            BinaryOp::Mul => self.arithmetic(Op::LLVMFMul, a, b),
            BinaryOp::Div => self.arithmetic(Op::LLVMFDiv, a, b),
            BinaryOp::Rem => emit_fmod(&self.math(), a, b)?,
            BinaryOp::Mod => emit_floor_mod(&self.math(), a, b)?,
            BinaryOp::Pow => emit_pow(&self.math(), a, b)?,
            BinaryOp::Max => self.extremum(LLVMRealOGT, a, b),
            BinaryOp::Min => self.extremum(LLVMRealOLT, a, b),
            BinaryOp::Eq => ir.fcmp(LLVMRealOEQ, a, b),
            BinaryOp::Ne => ir.fcmp(LLVMRealUNE, a, b),
            BinaryOp::Lt => ir.fcmp(LLVMRealOLT, a, b),
            BinaryOp::Le => ir.fcmp(LLVMRealOLE, a, b),
            BinaryOp::Gt => ir.fcmp(LLVMRealOGT, a, b),
            BinaryOp::Ge => ir.fcmp(LLVMRealOGE, a, b),
            BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::Shl
            | BinaryOp::Shr
            | BinaryOp::Dot2
            | BinaryOp::Dot4 => {
                let code = "E710";
                return Err(sirius_polyhedral::Error::bug(code, format!("{} of floats", op.name())));
            }
        })
    }

    /// One operation of the program; the polynomials of `math` depend on their order and are not written by this.
    fn arithmetic(&self, op: Op, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let result = self.ir.binary(op, a, b);
        if self.numeric == Numeric::Fast {
            self.ir.allow_regrouping(result);
        }
        result
    }

    /// `better(c, x) ? c : x` is one `vmaxps` and keeps a NaN in `x`; a NaN in `c` needs two instructions
    /// more, unless `c` is a constant. The `freeze` keeps LLVM from joining both selections into four instructions.
    fn extremum(&self, better: FloatCompare, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let (c, x) = if is_constant(b) { (b, a) } else { (a, b) };
        let best = ir.select(ir.fcmp(better, c, x), c, x);
        if is_constant(c) {
            return best;
        }
        ir.select(ir.fcmp(FloatCompare::LLVMRealUNO, c, c), c, ir.freeze(best))
    }

    fn integer_binary(&self, op: BinaryOp, t: DType, a: Value<'ctx>, b: Value<'ctx>) -> Result<Value<'ctx>> {
        let ir = self.ir;
        use IntCompare::*;
        let compare = |signed, unsigned| {
            let p = if t.is_signed() { signed } else { unsigned };
            ir.icmp(p, a, b)
        };
        Ok(match op {
            BinaryOp::Add if t == DType::Bool => ir.binary(Op::LLVMOr, a, b),
            BinaryOp::Mul if t == DType::Bool => ir.binary(Op::LLVMAnd, a, b),
            BinaryOp::Add => ir.binary(Op::LLVMAdd, a, b),
            BinaryOp::Sub => ir.binary(Op::LLVMSub, a, b),
            BinaryOp::Mul => ir.binary(Op::LLVMMul, a, b),
            BinaryOp::Div => self.divide(t, a, b),
            BinaryOp::Rem => self.remainder(t, a, b),
            BinaryOp::Mod => self.floor_mod(t, a, b),
            BinaryOp::Pow => {
                let (wa, wb) = (self.cast(t, DType::F64, a), self.cast(t, DType::F64, b));
                self.cast(DType::F64, t, emit_pow(&self.math(), wa, wb)?)
            }
            BinaryOp::Max => ir.select(compare(LLVMIntSGT, LLVMIntUGT), a, b),
            BinaryOp::Min => ir.select(compare(LLVMIntSLT, LLVMIntULT), a, b),
            BinaryOp::Eq => ir.icmp(LLVMIntEQ, a, b),
            BinaryOp::Ne => ir.icmp(LLVMIntNE, a, b),
            BinaryOp::Lt => compare(LLVMIntSLT, LLVMIntULT),
            BinaryOp::Le => compare(LLVMIntSLE, LLVMIntULE),
            BinaryOp::Gt => compare(LLVMIntSGT, LLVMIntUGT),
            BinaryOp::Ge => compare(LLVMIntSGE, LLVMIntUGE),
            BinaryOp::And => ir.binary(Op::LLVMAnd, a, b),
            BinaryOp::Or => ir.binary(Op::LLVMOr, a, b),
            BinaryOp::Xor => ir.binary(Op::LLVMXor, a, b),
            BinaryOp::Shl => self.shift(Op::LLVMShl, t, a, b),
            BinaryOp::Dot2 | BinaryOp::Dot4 => self.dot_add(op, ir.zero(a.get_type()), a, b),
            BinaryOp::Shr => self.shift(if t.is_signed() { Op::LLVMAShr } else { Op::LLVMLShr }, t, a, b),
        })
    }

    /// A shift by the width or more gives 0, as ONNX runtimes have it, and not poison.
    fn shift(&self, op: Op, t: DType, a: Value<'ctx>, by: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let ty = a.get_type();
        let small = ir.icmp(IntCompare::LLVMIntULT, by, ir.int_like(ty, t.size() as i64 * 8));
        let amount = ir.select(small, by, ir.zero(ty));
        ir.select(small, ir.binary(op, a, amount), ir.zero(ty))
    }

    /// The processor traps at a zero divisor and at the most negative number over -1; neither may stop a
    /// run, least of all from a lane that is switched off. Division by zero gives the dividend.
    fn divide(&self, t: DType, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let ty = b.get_type();
        if !t.is_signed() {
            return ir.binary(Op::LLVMUDiv, a, self.nonzero(b));
        }
        if is_constant(b) && !self.is_zero_or_minus_one(b) {
            return ir.binary(Op::LLVMSDiv, a, b);
        }
        let minus = ir.icmp(IntCompare::LLVMIntEQ, b, ir.int_like(ty, -1));
        let safe = self.nonzero(ir.select(minus, ir.int_like(ty, 1), b));
        let quotient = ir.binary(Op::LLVMSDiv, a, safe);
        ir.select(minus, ir.binary(Op::LLVMSub, ir.zero(ty), a), quotient)
    }

    fn nonzero(&self, b: Value<'ctx>) -> Value<'ctx> {
        let ty = b.get_type();
        let zero = self.ir.icmp(IntCompare::LLVMIntEQ, b, self.ir.zero(ty));
        self.ir.select(zero, self.ir.int_like(ty, 1), b)
    }

    fn is_zero_or_minus_one(&self, b: Value<'ctx>) -> bool {
        let ty = b.get_type();
        b == self.ir.zero(ty) || b == self.ir.int_like(ty, -1)
    }

    fn remainder(&self, t: DType, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let whole = self.ir.binary(Op::LLVMMul, self.divide(t, a, b), b);
        self.ir.binary(Op::LLVMSub, a, whole)
    }

    fn floor_mod(&self, t: DType, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let rest = self.remainder(t, a, b);
        if !t.is_signed() {
            return rest;
        }
        let zero = ir.zero(rest.get_type());
        let differ = ir.icmp(IntCompare::LLVMIntSLT, ir.binary(Op::LLVMXor, rest, b), zero);
        let nonzero = ir.icmp(IntCompare::LLVMIntNE, rest, zero);
        ir.select(ir.binary(Op::LLVMAnd, differ, nonzero), ir.binary(Op::LLVMAdd, rest, b), rest)
    }

    /// `Cast` between register forms. Floats outside an integer type's range saturate, NaN gives 0.
    pub fn cast(&self, from: DType, to: DType, x: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let ty = self.type_of(to);
        match (from, to) {
            _ if from == to => x,
            (DType::Bool, _) if to.is_float() => ir.cast(Op::LLVMUIToFP, x, ty),
            (DType::Bool, _) => ir.cast(Op::LLVMZExt, x, ty),
            (_, DType::Bool) if from.is_float() => ir.fcmp(FloatCompare::LLVMRealUNE, x, ir.zero(x.get_type())),
            (_, DType::Bool) => ir.icmp(IntCompare::LLVMIntNE, x, ir.zero(x.get_type())),
            _ if from.is_float() && to.is_float() => self.cast_float(from, to, x),
            _ if from.is_float() => self.float_to_integer(to, x),
            _ if to.is_float() => {
                let op = if from.is_signed() { Op::LLVMSIToFP } else { Op::LLVMUIToFP };
                self.narrowed(ir.cast(op, x, ty), to)
            }
            _ => self.cast_integer(from, to, x),
        }
    }

    fn cast_float(&self, from: DType, to: DType, x: Value<'ctx>) -> Value<'ctx> {
        let ty = self.type_of(to);
        let same = match (from, to) {
            (DType::F64, DType::F64) => x,
            (DType::F64, _) => self.ir.cast(Op::LLVMFPTrunc, x, ty),
            (_, DType::F64) => self.ir.cast(Op::LLVMFPExt, x, ty),
            _ => x,
        };
        self.narrowed(same, to)
    }

    /// Rounds to what memory would keep, for the types computed in `f32`.
    fn narrowed(&self, x: Value<'ctx>, to: DType) -> Value<'ctx> {
        match to {
            DType::F16 | DType::BF16 => self.loaded(self.stored(x, to), to),
            t if t.is_narrow_float() => self.loaded(self.stored(x, t), t),
            _ => x,
        }
    }

    fn float_to_integer(&self, to: DType, x: Value<'ctx>) -> Value<'ctx> {
        if (8..=16).contains(&to.bits()) {
            return self.float_to_short(to, x);
        }
        let ty = self.ir.shaped(self.type_of(to), self.ir.lanes(x));
        // Narrower integers than a byte wrap from a signed one, as in the standard's test data.
        let signed = to.is_signed() || to.bits() < 8;
        let name = if signed { "llvm.fptosi.sat" } else { "llvm.fptoui.sat" };
        self.wrapped(to, self.ir.intrinsic(name, &[ty, x.get_type()], &[x]).unwrap_or(x))
    }

    /// LLVM takes vectors apart for saturation to 8 or 16 bits; 32 bits hold what is inside their limits.
    fn float_to_short(&self, to: DType, x: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir;
        let span = f64::from(to.bits()).exp2();
        let least = if to.is_signed() { -span / 2.0 } else { 0.0 };
        let bound = |limit: f64| ir.float_like(x.get_type(), limit);
        let (low, high) = (bound(least), bound(least + span - 1.0));
        // NaN compares as false and becomes `low`, which is 0 for unsigned types.
        let above = ir.select(ir.fcmp(FloatCompare::LLVMRealOGT, x, low), x, low);
        let inside = ir.select(ir.fcmp(FloatCompare::LLVMRealOLT, above, high), above, high);
        let wide = ir.cast(Op::LLVMFPToSI, inside, ir.context.i32_type().into());
        let number = match to.is_signed() {
            true => ir.select(ir.fcmp(FloatCompare::LLVMRealUNO, x, x), ir.zero(wide.get_type()), wide),
            false => wide,
        };
        ir.cast(Op::LLVMTrunc, number, self.type_of(to))
    }

    fn cast_integer(&self, from: DType, to: DType, x: Value<'ctx>) -> Value<'ctx> {
        let op = match (to.size().cmp(&from.size()), from.is_signed()) {
            (std::cmp::Ordering::Equal, _) => return self.wrapped(to, x),
            (std::cmp::Ordering::Less, _) => Op::LLVMTrunc,
            (_, true) => Op::LLVMSExt,
            (_, false) => Op::LLVMZExt,
        };
        self.wrapped(to, self.ir.cast(op, x, self.type_of(to)))
    }

    /// Keeps the low bits of an integer narrower than its byte, extended as its type wants.
    fn wrapped(&self, t: DType, x: Value<'ctx>) -> Value<'ctx> {
        let unused = 8 * t.size() as i64 - i64::from(t.bits());
        if unused == 0 {
            return x;
        }
        let by = self.ir.int_like(x.get_type(), unused);
        let back = if t.is_signed() { Op::LLVMAShr } else { Op::LLVMLShr };
        self.ir.binary(back, self.ir.binary(Op::LLVMShl, x, by), by)
    }

    /// `target op value`; a sum of products of one float type is one fused multiply-add.
    pub fn fma(&self, a: Value<'ctx>, b: Value<'ctx>, sum: Value<'ctx>) -> Value<'ctx> {
        let lanes = [a, b, sum].into_iter().find_map(|v| self.ir.lanes(v));
        let wide = |v| lanes.map_or(v, |n| self.ir.widen(v, n));
        self.ir.pure("llvm.fma", &[wide(a), wide(b), wide(sum)])
    }

    /// The value that changes nothing under `op`.
    pub fn identity(&self, op: BinaryOp, t: DType) -> Value<'ctx> {
        let ty = self.type_of(t);
        let bits = t.size() as u32 * 8;
        let (least, most) = match t.is_signed() {
            true => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
            false => (0, -1),
        };
        match (op, t.is_float()) {
            (BinaryOp::Max, true) => self.ir.float_like(ty, f64::NEG_INFINITY),
            (BinaryOp::Min, true) => self.ir.float_like(ty, f64::INFINITY),
            (BinaryOp::Mul, true) => self.ir.float_like(ty, 1.0),
            (_, true) => self.ir.float_like(ty, 0.0),
            (BinaryOp::Max, _) => self.ir.int_like(ty, least),
            (BinaryOp::Min, _) => self.ir.int_like(ty, most),
            (BinaryOp::Mul, _) => self.ir.int_like(ty, 1),
            (BinaryOp::And, _) => self.ir.int_like(ty, -1),
            _ => self.ir.int_like(ty, 0),
        }
    }
}

/// A float literal as its type keeps it. `f16` and `bf16` literals come from such data and are exact.
fn rounded(x: f64, t: DType) -> f64 {
    if t == DType::F64 { x } else { f64::from(x as f32) }
}

fn is_constant(v: Value<'_>) -> bool {
    use inkwell::values::BasicValueEnum::*;
    match v {
        FloatValue(v) => v.is_const(),
        IntValue(v) => v.is_const(),
        VectorValue(v) => v.is_const(),
        _ => false,
    }
}
