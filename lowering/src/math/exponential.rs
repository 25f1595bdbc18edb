//! exp and what follows from it: sigmoid, tanh, sinh, cosh.
//!
//! All use the reduction `x = n ln 2 + r`, `|r| <= ln 2 / 2`, with ln 2 split in two parts so that the first
//! product is exact (W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980, chapter 6),
//! and a minimax polynomial for `(e^r - 1 - r) / r^2`.

use super::kit::V;
use std::f64::consts::{LN_2, LOG2_E};

/// `ln 2` split for `f32`: the first part has 9 significant bits.
const LN2_HIGH: f64 = 0.693359375;
const LN2_LOW: f64 = LN_2 - LN2_HIGH;

/// `1.5 * 2^23`: adding it to an `f32` below `2^22` rounds that to an integer, held in the low bits.
const ROUND: f64 = 12_582_912.0;

/// The exponent field of `1.0f32`.
const ONE: i64 = 0x3f80_0000;

/// `(e^r - 1 - r) / r^2`, for `e^r` (error `2^-28` of `e^r`).
const EXP_Q: [f64; 5] = [0.49999994, 0.1666652, 0.0416684, 0.00836885, 0.0013814326];

/// The same, weighted for `e^r - 1` (error `2^-32` of `r`).
const EXPM1_Q: [f64; 6] = [0.5, 0.16666667, 0.04166635, 0.008333272, 0.00139412, 0.00019914446];

/// `x = n ln 2 + r`, for `|x| < 2^21`: `r`, and the bits of a float whose low bits are the integer `n`.
fn reduce<'k, 'c>(x: V<'k, 'c>) -> (V<'k, 'c>, V<'k, 'c>) {
    let rounded = x.fma(LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.fma(-LN2_LOW, n.fma(-LN2_HIGH, x));
    (r, rounded.bits())
}

/// `2^n` as a float, for `n` in `-126..=127`.
fn power_of_two<'k, 'c>(n: V<'k, 'c>) -> V<'k, 'c> {
    ((n << 23) + ONE).from_bits()
}

/// `e^r` for a reduced argument.
fn exp_reduced<'k, 'c>(r: V<'k, 'c>) -> V<'k, 'c> {
    (r * r).fma(r.poly(&EXP_Q), r) + 1.0
}

/// `e^r - 1` for a reduced argument.
fn expm1_reduced<'k, 'c>(r: V<'k, 'c>) -> V<'k, 'c> {
    (r * r).fma(r.poly(&EXPM1_Q), r)
}

/// Results below `2^-126` become 0: gradual underflow costs a slow path in every processor for values that
/// no sum notices.
pub(super) fn exp_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let (r, n) = reduce(x);
    let y = (exp_reduced(r).bits() + (n << 23)).from_bits();
    // Above, `x + inf` is infinity, and NaN for NaN.
    let y = x.le(88.722_839_355).select(y, x + f64::INFINITY);
    x.lt(-87.336_540_22).select(x.lit(0.0), y)
}

/// `1 / (1 + e^-x)`; 0 where the true value is below `2^-126`.
pub(super) fn sigmoid_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let minus = -x;
    let (r, n) = reduce(minus.at_most(87.4).at_least(-88.0));
    let y = x.lit(1.0) / exp_reduced(r).fma(power_of_two(n), 1.0);
    x.lt(-87.336_540_22).select(x.lit(0.0), y)
}

/// `e / (e + 2)` with `e = e^(2|x|) - 1`, which loses nothing near 0; 1 from 9.02 on.
pub(super) fn tanh_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs().at_most(9.02);
    let (r, n) = reduce(a + a);
    let scale = power_of_two(n);
    let e = expm1_reduced(r).fma(scale, scale - 1.0);
    (e / (e + 2.0)).with_sign_of(x)
}
