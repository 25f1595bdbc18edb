//! Logarithms.

use super::kit::V;
use std::f64::consts::LN_2;

/// `ln 2` split for `f32`: `e * LN2_HIGH` is exact for every exponent.
const LN2_HIGH: f64 = 0.693359375;
const LN2_LOW: f64 = LN_2 - LN2_HIGH;

/// The bits of `sqrt(1/2)` as `f32`: mantissas are taken from `sqrt(1/2)` to `sqrt(2)`, so that `ln` near 1
/// needs no exponent part.
const SQRT_HALF: i64 = 0x3f35_04f3;

/// `(ln(1 + f) - f + f^2/2) / f^3`, error `2^-27` of `f`.
const P: [f64; 8] = [0.33333316, -0.2500081, 0.20002286, -0.16624554, 0.14181194, -0.13128757, 0.12881637, -0.07859587];

/// `x = 2^e (1 + f)`; `ln x = e ln 2 + f - f^2/2 + f^3 P(f)`, smallest parts added first.
pub(super) fn log_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let small = x.lt(f64::from(f32::MIN_POSITIVE));
    let scaled = small.select(x * 8_388_608.0, x);
    let bits = scaled.bits();
    let e = (bits - SQRT_HALF).ashr(23);
    let f = (bits - (e << 23)).from_bits() - 1.0;
    let e = e.to_float() - small.select(x.lit(23.0), 0.0);
    let square = f * f;
    let tail = (f * square).fma(f.poly(&P), e * LN2_LOW);
    let y = e.fma(LN2_HIGH, square.fma(-0.5, tail) + f);
    specials(x, y)
}

/// The values that the reduction cannot give: `ln 0 = -inf`, `ln inf = inf`, NaN for NaN and negatives.
fn specials<'k, 'c>(x: V<'k, 'c>, y: V<'k, 'c>) -> V<'k, 'c> {
    let finite = x.lt(f64::INFINITY).select(y, x);
    let positive = x.gt(0.0).select(finite, f64::NAN);
    x.eq(0.0).select(x.lit(f64::NEG_INFINITY), positive)
}
