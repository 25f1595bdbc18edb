//! exp and sigmoid with a table in one register of AVX-512.
//!
//! `x = n ln 2 + r` with `n` a multiple of 1/16: `e^x = 2^floor(n) T (1 + r + r^2 q(r))`, `T = 2^(n - floor(n))` being one of
//! 16 floats, which `vpermps` picks by the low bits of the rounded `n`, and `|r| <= ln 2 / 32` so that `q` is linear (P. T. P.
//! Tang, Table-driven implementation of the exponential function in IEEE floating-point arithmetic, 1989). `vscalefps`
//! multiplies with `2^floor(n)` and knows overflow and NaN. What multiplies is scarce in a processor, permutations, scalings and
//! comparisons of signed integers are not: this has 7 products where the general form has 9 and two comparisons.

use super::Unary;
use super::exponential::{FLUSHED, LN2_HIGH, LN2_LOW};
use super::value::V;
use inkwell::intrinsics::Intrinsic;
use inkwell::types::VectorType;
use inkwell::values::BasicValueEnum;
use sirius_polyhedral::expr::UnaryOp;
use std::f64::consts::LOG2_E;

/// The only width that these functions have.
pub(super) const LANES: u32 = 16;

/// `1.5 * 2^19`: adding it rounds an `f32` below `2^18` to a multiple of 1/16, held in the low bits.
const ROUND: f64 = 786_432.0;

/// `(e^r - 1 - r) / r^2`, error `2^-29` of `e^r`.
const Q: [f64; 2] = [0.500_016_25, 0.166_670_44];

/// What there is for `f32`.
pub(super) fn body(op: UnaryOp) -> Option<Unary> {
    match op {
        UnaryOp::Exp => Some(exp),
        UnaryOp::Sigmoid => Some(sigmoid),
        _ => None,
    }
}

/// Beyond this everything has overflowed or become 0; infinities have no remainder.
const LIMIT: f64 = 100.0;

/// Results below `2^-126` become 0, as in the general form.
fn exp<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let x = x.at_most(LIMIT).at_least(-LIMIT);
    let Reduced { n, power, rest } = reduced(x);
    let y = rest.fma(power, power);
    y.scaled(flushed(-x).select(n.lit(f64::NEG_INFINITY), n))
}

/// `1 / (1 + e^-x)`; 0 where the true value is below `2^-126`.
fn sigmoid<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    // Below -80 the power is nothing beside 1.
    let minus = (-x).at_most(LIMIT).at_least(-80.0);
    let Reduced { n, power, rest } = reduced(minus);
    let power = power.scaled(n);
    // In this order a large power is rounded once.
    let y = x.lit(1.0) / (rest.fma(power, 1.0) + power);
    flushed(minus).select(x.lit(0.0), y)
}

/// `e^x = 2^floor(n) power (1 + rest)`.
struct Reduced<'k, 'c> {
    n: V<'k, 'c>,
    power: V<'k, 'c>,
    rest: V<'k, 'c>,
}

fn reduced<'k, 'c>(x: V<'k, 'c>) -> Reduced<'k, 'c> {
    let rounded = x.fma(LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, x));
    let power = rounded.bits().picked(&std::array::from_fn(|n| (n as f64 / 16.0).exp2()));
    Reduced { n, power, rest: (r * r).fma(r.poly(&Q), r) }
}

/// Is `e^-x` below the normal numbers, for `x <= LIMIT`? The bits of positive floats are in the order of the floats.
/// Added to them is what lies between [`LIMIT`] and the largest integer, so that a NaN, which is above, wraps around and
/// is not among them: `vscalefps` by an infinity would lose it.
fn flushed<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let bits = |x: f64| i64::from((x as f32).to_bits());
    let above = i64::from(i32::MAX) - bits(LIMIT);
    (x.bits() + above).gt(bits(-FLUSHED) + above)
}

impl<'k, 'c> V<'k, 'c> {
    /// Of a table, the element that the low four bits say.
    fn picked(self, table: &[f64; LANES as usize]) -> V<'k, 'c> {
        let f32 = self.kit.context.f32_type();
        let table = VectorType::const_vector(&table.map(|x| f32.const_float(x)));
        self.with(table.into()).machine("llvm.x86.avx512.permvar.sf.512", &[self.value])
    }

    /// `self 2^floor(n)`, rounded once.
    fn scaled(self, n: V<'k, 'c>) -> V<'k, 'c> {
        let c = self.kit.context;
        let (all, as_set) = (c.i16_type().const_all_ones(), c.i32_type().const_int(4, false));
        let args = [n.value, self.value, all.into(), as_set.into()];
        self.machine("llvm.x86.avx512.mask.scalef.ps.512", &args)
    }

    /// A call of an intrinsic of the processor with this value as its first argument.
    fn machine(self, name: &str, others: &[BasicValueEnum<'c>]) -> V<'k, 'c> {
        let found = Intrinsic::find(name).and_then(|i| i.get_declaration(self.kit.module, &[]));
        let Some(function) = found else { return self.failed(name) };
        let args: Vec<_> = std::iter::once(&self.value).chain(others).map(|&v| v.into()).collect();
        let call = self.kit.keep(self.kit.builder.build_call(function, &args, ""));
        call.and_then(|c| c.try_as_basic_value().basic()).map_or(self, |value| self.with(value))
    }
}
