//! A small notation for vector code: the functions of this folder read like formulas.
//!
//! [`V`] is an LLVM value (scalar or vector; float, integer or mask) with operators. Constants are spread over the lanes.

use super::kit::Kit;
use inkwell::builder::BuilderError;
use inkwell::intrinsics::Intrinsic;
use inkwell::types::BasicTypeEnum;
use inkwell::values::{BasicValueEnum, InstructionOpcode};
use inkwell::{FloatPredicate, IntPredicate};
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Shl, Shr, Sub};

/// One value. Arithmetic is on floats or integers by type; `&`, `|`, `!` also on masks.
#[derive(Clone, Copy)]
pub(super) struct V<'k, 'ctx> {
    pub kit: &'k Kit<'k, 'ctx>,
    pub value: BasicValueEnum<'ctx>,
}

/// What may stand beside a [`V`] in an expression: another one, or a literal of its type.
pub(super) trait Operand<'k, 'ctx> {
    fn like(self, other: V<'k, 'ctx>) -> V<'k, 'ctx>;
}

impl<'k, 'ctx> Operand<'k, 'ctx> for V<'k, 'ctx> {
    fn like(self, _: V<'k, 'ctx>) -> V<'k, 'ctx> {
        self
    }
}

impl<'k, 'ctx> Operand<'k, 'ctx> for f64 {
    fn like(self, other: V<'k, 'ctx>) -> V<'k, 'ctx> {
        let value = match other.element() {
            BasicTypeEnum::FloatType(t) => t.const_float(self).into(),
            _ => return other.failed("a float literal beside a value that is no float"),
        };
        other.spread(value)
    }
}

impl<'k, 'ctx> Operand<'k, 'ctx> for i64 {
    fn like(self, other: V<'k, 'ctx>) -> V<'k, 'ctx> {
        let value = match other.element() {
            BasicTypeEnum::IntType(t) => t.const_int(self as u64, true).into(),
            _ => return other.failed("an integer literal beside a value that is no integer"),
        };
        other.spread(value)
    }
}

impl<'k, 'ctx> V<'k, 'ctx> {
    pub fn with(self, value: BasicValueEnum<'ctx>) -> V<'k, 'ctx> {
        V { kit: self.kit, value }
    }

    /// Records the failure; `self` stands in so that the formula can go on.
    pub fn failed(self, message: &str) -> V<'k, 'ctx> {
        self.kit.record(message);
        self
    }

    /// What LLVM made, or `self` and the failure.
    pub fn or_failed(self, result: Result<BasicValueEnum<'ctx>, BuilderError>) -> V<'k, 'ctx> {
        self.kit.keep(result).map_or(self, |value| self.with(value))
    }

    /// The type of one lane.
    fn element(self) -> BasicTypeEnum<'ctx> {
        match self.value {
            BasicValueEnum::VectorValue(v) => v.get_type().get_element_type(),
            v => v.get_type(),
        }
    }

    fn is_float(self) -> bool {
        matches!(self.element(), BasicTypeEnum::FloatType(_))
    }

    /// Bits of one lane.
    pub fn width(self) -> u32 {
        match self.element() {
            BasicTypeEnum::FloatType(t) => t.get_bit_width(),
            BasicTypeEnum::IntType(t) => t.get_bit_width(),
            _ => 0,
        }
    }

    pub fn is_f64(self) -> bool {
        self.is_float() && self.width() == 64
    }

    fn spread(self, scalar: BasicValueEnum<'ctx>) -> V<'k, 'ctx> {
        match self.kit.lanes {
            Some(n) => self.with(inkwell::types::VectorType::const_vector(&vec![scalar; n as usize]).into()),
            None => self.with(scalar),
        }
    }

    /// A literal of this value's type.
    pub fn lit(self, value: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        value.like(self)
    }

    fn op(self, op: InstructionOpcode, other: V<'k, 'ctx>) -> V<'k, 'ctx> {
        if self.value.get_type() != other.value.get_type() {
            return self.failed("operands of unequal type");
        }
        self.or_failed(self.kit.builder.build_binop(op, self.value, other.value, ""))
    }

    fn by_type(self, float: InstructionOpcode, int: InstructionOpcode, other: V<'k, 'ctx>) -> V<'k, 'ctx> {
        self.op(if self.is_float() { float } else { int }, other)
    }

    fn cast(self, op: InstructionOpcode, to: BasicTypeEnum<'ctx>) -> V<'k, 'ctx> {
        self.or_failed(self.kit.builder.build_cast(op, self.value, to, ""))
    }

    fn float_type(self, bits: u32) -> BasicTypeEnum<'ctx> {
        let c = self.kit.context;
        self.kit.float(if bits == 64 { c.f64_type() } else { c.f32_type() })
    }

    fn int_type(self, bits: u32) -> BasicTypeEnum<'ctx> {
        let c = self.kit.context;
        self.kit.int(if bits == 64 { c.i64_type() } else { c.i32_type() })
    }

    /// The bit pattern of a float, as an integer of equal width.
    pub fn bits(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::BitCast, self.int_type(self.width()))
    }

    /// The float with this bit pattern.
    pub fn as_float(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::BitCast, self.float_type(self.width()))
    }

    pub fn widen(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::FPExt, self.float_type(64))
    }

    pub fn narrow(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::FPTrunc, self.float_type(32))
    }

    /// Signed integer to the float of equal width.
    pub fn to_float(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::SIToFP, self.float_type(self.width()))
    }

    /// Shift right, filling with the sign.
    pub fn ashr(self, by: i64) -> V<'k, 'ctx> {
        self.op(InstructionOpcode::AShr, self.lit(by))
    }

    /// A call of LLVM's intrinsic `name`, overloaded on this type.
    pub fn intrinsic(self, name: &str, others: &[V<'k, 'ctx>]) -> V<'k, 'ctx> {
        let found = Intrinsic::find(name).and_then(|i| i.get_declaration(self.kit.module, &[self.value.get_type()]));
        let Some(function) = found else { return self.failed(name) };
        let args: Vec<_> = std::iter::once(&self).chain(others).map(|v| v.value.into()).collect();
        let call = self.kit.keep(self.kit.builder.build_call(function, &args, ""));
        call.and_then(|c| c.try_as_basic_value().basic()).map_or(self, |value| self.with(value))
    }

    /// `self * b + c`, rounded once.
    pub fn fma(self, b: impl Operand<'k, 'ctx>, c: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        self.intrinsic("llvm.fma", &[self.lit(b), self.lit(c)])
    }

    pub fn abs(self) -> V<'k, 'ctx> {
        self.intrinsic("llvm.fabs", &[])
    }

    pub fn sqrt(self) -> V<'k, 'ctx> {
        self.intrinsic("llvm.sqrt", &[])
    }

    pub fn floor(self) -> V<'k, 'ctx> {
        self.intrinsic("llvm.floor", &[])
    }

    pub fn ceil(self) -> V<'k, 'ctx> {
        self.intrinsic("llvm.ceil", &[])
    }

    pub fn trunc(self) -> V<'k, 'ctx> {
        self.intrinsic("llvm.trunc", &[])
    }

    /// To the nearest integer, half to even.
    pub fn round(self) -> V<'k, 'ctx> {
        self.intrinsic("llvm.roundeven", &[])
    }

    /// The sign bit alone, as an integer.
    pub fn sign_bit(self) -> V<'k, 'ctx> {
        let sign = if self.width() == 64 { i64::MIN } else { i64::from(i32::MIN) };
        self.bits() & sign
    }

    /// This (not negative) magnitude with the sign of `other`.
    pub fn with_sign_of(self, other: V<'k, 'ctx>) -> V<'k, 'ctx> {
        (self.bits() | other.sign_bit()).as_float()
    }

    /// The smaller of the two; NaN stays NaN. The literal comes first so that one `vminps` does it.
    pub fn at_most(self, limit: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        let limit = self.lit(limit);
        limit.lt(self).select(limit, self)
    }

    /// The larger of the two; NaN stays NaN.
    pub fn at_least(self, limit: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        let limit = self.lit(limit);
        limit.gt(self).select(limit, self)
    }

    fn compare(self, float: FloatPredicate, int: IntPredicate, other: V<'k, 'ctx>) -> V<'k, 'ctx> {
        use BasicValueEnum::{FloatValue, IntValue, VectorValue};
        let b = &self.kit.builder;
        let mask = match (self.value, other.value) {
            (FloatValue(x), FloatValue(y)) => b.build_float_compare(float, x, y, "").map(Into::into),
            (IntValue(x), IntValue(y)) => b.build_int_compare(int, x, y, "").map(Into::into),
            (VectorValue(x), VectorValue(y)) if self.is_float() => {
                b.build_float_compare(float, x, y, "").map(Into::into)
            }
            (VectorValue(x), VectorValue(y)) => b.build_int_compare(int, x, y, "").map(Into::into),
            _ => return self.failed("comparison of unequal types"),
        };
        self.or_failed(mask)
    }

    /// Comparisons are false for NaN; integers compare as signed.
    pub fn lt(self, other: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        self.compare(FloatPredicate::OLT, IntPredicate::SLT, self.lit(other))
    }

    pub fn le(self, other: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        self.compare(FloatPredicate::OLE, IntPredicate::SLE, self.lit(other))
    }

    pub fn gt(self, other: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        self.compare(FloatPredicate::OGT, IntPredicate::SGT, self.lit(other))
    }

    pub fn ge(self, other: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        self.compare(FloatPredicate::OGE, IntPredicate::SGE, self.lit(other))
    }

    pub fn eq(self, other: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        self.compare(FloatPredicate::OEQ, IntPredicate::EQ, self.lit(other))
    }

    pub fn is_nan(self) -> V<'k, 'ctx> {
        self.compare(FloatPredicate::UNO, IntPredicate::NE, self)
    }

    /// Lane by lane: `then` where this mask is true.
    pub fn select(self, then: V<'k, 'ctx>, otherwise: impl Operand<'k, 'ctx>) -> V<'k, 'ctx> {
        let otherwise = then.lit(otherwise);
        let b = &self.kit.builder;
        self.or_failed(match self.value {
            BasicValueEnum::IntValue(c) => b.build_select(c, then.value, otherwise.value, ""),
            BasicValueEnum::VectorValue(c) => b.build_select(c, then.value, otherwise.value, ""),
            _ => return self.failed("a condition that is no mask"),
        })
    }

    /// A 64-bit integer as the low half of a 128-bit one; scalars only.
    pub fn zext128(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::ZExt, self.kit.context.i128_type().into())
    }

    /// The low half of a 128-bit integer.
    pub fn low64(self) -> V<'k, 'ctx> {
        self.cast(InstructionOpcode::Trunc, self.kit.context.i64_type().into())
    }

    /// Zero bits above the highest one; at most the width.
    pub fn leading_zeros(self) -> V<'k, 'ctx> {
        let zero_is_undefined = self.kit.context.bool_type().const_zero();
        self.intrinsic("llvm.ctlz", &[self.with(zero_is_undefined.into())])
    }

    /// Element `self` of a constant table; scalars only.
    pub fn look_up(self, name: &str, table: &[u64]) -> V<'k, 'ctx> {
        let global = self.kit.table(name, table);
        let t = self.kit.context.i64_type();
        let BasicValueEnum::IntValue(at) = self.value else { return self.failed("a table's index") };
        // SAFETY: the caller keeps the index inside the table.
        let place = unsafe { self.kit.builder.build_in_bounds_gep(t, global.as_pointer_value(), &[at], "") };
        let Some(place) = self.kit.keep(place) else { return self };
        self.or_failed(self.kit.builder.build_load(t, place, ""))
    }

    /// `c[0] + c[1]*x + c[2]*x^2 + ..` by Horner's rule.
    pub fn poly(self, c: &[f64]) -> V<'k, 'ctx> {
        let Some((&last, rest)) = c.split_last() else { return self.lit(0.0) };
        rest.iter().rev().fold(self.lit(last), |sum, &c| sum.fma(self, c))
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident $float:ident $int:ident;)*) => {$(
        impl<'k, 'ctx, T: Operand<'k, 'ctx>> $trait<T> for V<'k, 'ctx> {
            type Output = V<'k, 'ctx>;
            fn $method(self, other: T) -> V<'k, 'ctx> {
                self.by_type(InstructionOpcode::$float, InstructionOpcode::$int, self.lit(other))
            }
        }
    )*};
}

operator! {
    Add add FAdd Add;
    Sub sub FSub Sub;
    Mul mul FMul Mul;
    Div div FDiv SDiv;
    BitAnd bitand And And;
    BitOr bitor Or Or;
    BitXor bitxor Xor Xor;
    Shl shl Shl Shl;
    Shr shr LShr LShr;
}

impl<'k, 'ctx> Neg for V<'k, 'ctx> {
    type Output = V<'k, 'ctx>;
    fn neg(self) -> V<'k, 'ctx> {
        let b = &self.kit.builder;
        self.or_failed(match self.value {
            BasicValueEnum::FloatValue(x) => b.build_float_neg(x, "").map(Into::into),
            BasicValueEnum::VectorValue(x) if self.is_float() => b.build_float_neg(x, "").map(Into::into),
            _ => return self.lit(0) - self,
        })
    }
}

/// Of masks and integers.
impl<'k, 'ctx> Not for V<'k, 'ctx> {
    type Output = V<'k, 'ctx>;
    fn not(self) -> V<'k, 'ctx> {
        self ^ -1
    }
}
