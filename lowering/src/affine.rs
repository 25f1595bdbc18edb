//! Quasi-affine expressions as 64-bit integer code, for scalars and vectors.

use crate::ir::{IntCompare, Ir, Op, Value};
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::values::IntValue;
use sirius_polyhedral::{Aff, ParamId, Term};

/// Where the atoms of an affine expression come from.
pub struct Atoms<'x, 'ctx> {
    pub param: &'x dyn Fn(ParamId) -> Value<'ctx>,
    /// Scalar or vector, 64 bits.
    pub iter: &'x dyn Fn(u32) -> Value<'ctx>,
    /// Is this numerator known not to be negative? Then its division is unsigned.
    pub non_negative: &'x dyn Fn(&Aff) -> bool,
}

/// The value of `aff` for scalar atoms.
pub fn emit_aff<'ctx>(
    context: &'ctx Context,
    builder: &Builder<'ctx>,
    aff: &Aff,
    params: &dyn Fn(ParamId) -> IntValue<'ctx>,
    iters: &dyn Fn(u32) -> IntValue<'ctx>,
) -> IntValue<'ctx> {
    let ir = Ir::new(context, builder);
    let atoms = Atoms { param: &|p| params(p).into(), iter: &|n| iters(n).into(), non_negative: &|_| false };
    emit(ir, aff, &atoms).into_int_value()
}

/// The value of `aff`: a vector as soon as one atom is.
pub fn emit<'ctx>(ir: Ir<'_, 'ctx>, aff: &Aff, atoms: &Atoms<'_, 'ctx>) -> Value<'ctx> {
    let mut sum: Option<Value<'ctx>> = None;
    for (term, coefficient) in aff.terms() {
        let atom = match term {
            Term::Param(p) => (atoms.param)(*p),
            Term::Iter(n) => (atoms.iter)(*n),
            Term::FloorDiv(a, d) => floor_div(ir, emit(ir, a, atoms), *d, (atoms.non_negative)(a)),
        };
        let part = scaled(ir, atom, *coefficient);
        sum = Some(match sum {
            None => part,
            Some(s) => ir.add(s, part),
        });
    }
    match (sum, aff.offset()) {
        (None, c) => ir.i64(c),
        (Some(s), 0) => s,
        (Some(s), c) => ir.add(s, ir.i64(c)),
    }
}

fn scaled<'ctx>(ir: Ir<'_, 'ctx>, atom: Value<'ctx>, by: i64) -> Value<'ctx> {
    if by == 1 { atom } else { ir.mul(atom, ir.i64(by)) }
}

/// `floor(a / d)`, `d` positive. Shifting right rounds down for negative numbers too.
pub fn floor_div<'ctx>(ir: Ir<'_, 'ctx>, a: Value<'ctx>, d: i64, non_negative: bool) -> Value<'ctx> {
    let ty = a.get_type();
    if d == 1 {
        return a;
    }
    if d.count_ones() == 1 {
        return ir.binary(Op::LLVMAShr, a, ir.int_like(ty, i64::from(d.trailing_zeros())));
    }
    let by = ir.int_like(ty, d);
    if non_negative {
        return ir.binary(Op::LLVMUDiv, a, by);
    }
    let quotient = ir.binary(Op::LLVMSDiv, a, by);
    let rest = ir.binary(Op::LLVMSub, a, ir.binary(Op::LLVMMul, quotient, by));
    ir.binary(Op::LLVMAdd, quotient, ir.binary(Op::LLVMAShr, rest, ir.int_like(ty, 63)))
}

/// `a mod d` in `0..d`, `d` positive.
pub fn modulo<'ctx>(ir: Ir<'_, 'ctx>, a: Value<'ctx>, d: i64) -> Value<'ctx> {
    let ty = a.get_type();
    if d.count_ones() == 1 {
        return ir.binary(Op::LLVMAnd, a, ir.int_like(ty, d - 1));
    }
    let rest = ir.binary(Op::LLVMSRem, a, ir.int_like(ty, d));
    let negative = ir.icmp(IntCompare::LLVMIntSLT, rest, ir.int_like(ty, 0));
    ir.select(negative, ir.binary(Op::LLVMAdd, rest, ir.int_like(ty, d)), rest)
}
