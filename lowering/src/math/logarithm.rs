//! Logarithms.

use super::exponential::{WIDE_LN2_HIGH, WIDE_LN2_LOW};
use super::value::V;
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
    let f = (bits - (e << 23)).as_float() - 1.0;
    let e = e.to_float() - small.select(x.lit(23.0), 0.0);
    let square = f * f;
    let tail = (f * square).fma(f.poly(&P), e * LN2_LOW);
    let y = e.fma(LN2_HIGH, square.fma(-0.5, tail) + f);
    specials(x, y)
}

/// The bits of `sqrt(1/2)` as `f64`.
const WIDE_SQRT_HALF: i64 = 0x3fe6_a09e_667f_3bcd;

/// `(2 atanh(s) - 2 s) / s^3` in `s^2`, error `2^-65.7` of `s`.
pub(super) const ATANH: [f64; 8] = [
    0.6666666666666666,
    0.4000000000000633,
    0.28571428569058505,
    0.2222222265093931,
    0.1818177533256363,
    0.15387105378450353,
    0.1324978704843504,
    0.1325435241456983,
];

/// `x = 2^e (1 + f)` with `1 + f` between `sqrt(1/2)` and `sqrt(2)`: `(e, f)`, for positive finite `x`.
pub(super) fn split_f64<'k, 'c>(x: V<'k, 'c>) -> (V<'k, 'c>, V<'k, 'c>) {
    let small = x.lt(f64::MIN_POSITIVE);
    let bits = small.select(x * 18_014_398_509_481_984.0, x).bits();
    let e = (bits - WIDE_SQRT_HALF).ashr(52);
    let f = (bits - (e << 52)).as_float() - 1.0;
    // Small integers become floats through the low bits of 1.5 * 2^52: AVX2 has no 64-bit conversion.
    let round = x.lit(6_755_399_441_055_744.0);
    let e = (e + round.bits()).as_float() - round;
    (e - small.select(x.lit(54.0), 0.0), f)
}

/// `ln(1 + f) = 2 atanh(s)`, `s = f / (2 + f)`, arranged so that `f` itself is the leading term:
/// `2 s = f - f^2/2 + s f^2/2`.
pub(super) fn log_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let (e, f) = split_f64(x);
    let s = f / (f + 2.0);
    let z = s * s;
    let half_square = f * f * 0.5;
    let tail = s.fma(half_square + z * z.poly(&ATANH), e * WIDE_LN2_LOW);
    specials(x, e.fma(WIDE_LN2_HIGH, f - (half_square - tail)))
}

/// `ln(1 + u)` for `u > -1`: the logarithm of the rounded sum, and what rounding took away.
pub(super) fn log1p_f64<'k, 'c>(u: V<'k, 'c>) -> V<'k, 'c> {
    let v = u + 1.0;
    let lost = u - (v - 1.0);
    let y = log_f64(v) + lost / v;
    // An infinite `u` has lost inf - inf.
    u.lt(f64::INFINITY).select(y, u)
}

/// The values that the reduction cannot give: `ln 0 = -inf`, `ln inf = inf`, NaN for NaN and negatives.
fn specials<'k, 'c>(x: V<'k, 'c>, y: V<'k, 'c>) -> V<'k, 'c> {
    let finite = x.lt(f64::INFINITY).select(y, x);
    let positive = x.gt(0.0).select(finite, f64::NAN);
    x.eq(0.0).select(x.lit(f64::NEG_INFINITY), positive)
}
