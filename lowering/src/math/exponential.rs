//! exp and what follows from it: sigmoid and tanh.
//!
//! All use the reduction `x = n ln 2 + r`, `|r| <= ln 2 / 2`, with ln 2 split in two parts so that the first
//! product is exact (W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980, chapter 6),
//! and a minimax polynomial for `(e^r - 1 - r) / r^2`.

use super::value::V;
use std::f64::consts::{LN_2, LOG2_E};

/// `ln 2` split for `f32`: the first part has 9 significant bits.
pub(super) const LN2_HIGH: f64 = 0.693359375;
pub(super) const LN2_LOW: f64 = LN_2 - LN2_HIGH;

/// `1.5 * 2^23`: adding it to an `f32` below `2^22` rounds that to an integer, held in the low bits.
const ROUND: f64 = 12_582_912.0;

/// The exponent field of `1.0f32`.
const ONE: i64 = 0x3f80_0000;

/// `e^x` is below `2^-126` before this.
pub(super) const FLUSHED: f64 = -87.336_540_22;

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
    ((n << 23) + ONE).as_float()
}

/// `e^r` for a reduced argument.
fn exp_reduced<'k, 'c>(r: V<'k, 'c>) -> V<'k, 'c> {
    (r * r).fma(r.poly(&EXP_Q), r) + 1.0
}

/// `e^r - 1` for a reduced argument.
fn expm1_reduced<'k, 'c>(r: V<'k, 'c>) -> V<'k, 'c> {
    (r * r).fma(r.poly(&EXPM1_Q), r)
}

/// The same to `2^-26` of `r`: enough where `e^r - 1` is one of several roundings.
const SHORT_Q: [f64; 5] = [0.49999998, 0.16666543, 0.0416672, 0.008366580, 0.001388251];

/// `1 - e^-y` for `0 <= y < 20`, to about a unit in the last place.
pub(super) fn one_less_exp_of_minus<'k, 'c>(y: V<'k, 'c>) -> V<'k, 'c> {
    let rounded = y.fma(-LOG2_E, ROUND);
    let n = rounded - ROUND;
    // One product with ln 2: what it loses grows with `n` and is scaled by `2^n`.
    let r = n.fma(-LN_2, -y);
    let scale = power_of_two(rounded.bits());
    let e = (r * r).fma(r.poly(&SHORT_Q), r);
    e.fma(-scale, e.lit(1.0) - scale)
}

/// `ln 2` split for `f64`: the first part has 32 significant bits, so that its product with an exponent is exact.
pub(super) const WIDE_LN2_HIGH: f64 = 0.693_147_180_369_123_8;
pub(super) const WIDE_LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `1.5 * 2^52`: [`ROUND`] for `f64`.
const WIDE_ROUND: f64 = 6_755_399_441_055_744.0;

/// `(e^r - 1 - r) / r^2`, error `2^-61.7` of `r`.
const WIDE_Q: [f64; 11] = [
    0.5,
    0.16666666666666677,
    0.0416666666666667,
    0.008333333333321436,
    0.0013888888888866481,
    0.00019841269886673553,
    2.480158736126061e-05,
    2.7557243609070147e-06,
    2.755724215755887e-07,
    2.5109261839037337e-08,
    2.0924629508749252e-09,
];

/// `x = n ln 2 + r + tail`: `(r, tail, n)`, `n` as an integer.
pub(super) fn reduce_f64<'k, 'c>(x: V<'k, 'c>) -> (V<'k, 'c>, V<'k, 'c>, V<'k, 'c>) {
    let rounded = x.fma(LOG2_E, WIDE_ROUND);
    let n = rounded - WIDE_ROUND;
    let first = n.fma(-WIDE_LN2_HIGH, x);
    let second = n * WIDE_LN2_LOW;
    let r = first - second;
    let tail = (first - r) - second;
    (r, tail, rounded.bits() - rounded.lit(WIDE_ROUND).bits())
}

/// `e^r - 1` for a reduced argument.
fn expm1_reduced_f64<'k, 'c>(r: V<'k, 'c>) -> V<'k, 'c> {
    (r * r).fma(r.poly(&WIDE_Q), r)
}

/// `2^n` as a float, for `n` in `-1022..=1023`.
pub(super) fn power_of_two_f64<'k, 'c>(n: V<'k, 'c>) -> V<'k, 'c> {
    ((n + 1023) << 52).as_float()
}

/// `y 2^n` in two steps, so that results too small for a full exponent are rounded once.
pub(super) fn scale_f64<'k, 'c>(y: V<'k, 'c>, n: V<'k, 'c>) -> V<'k, 'c> {
    let half = n.ashr(1);
    y * power_of_two_f64(half) * power_of_two_f64(n - half)
}

/// `e^(x + more)`, `more` far smaller than 1; with gradual underflow.
pub(super) fn exp_sum_f64<'k, 'c>(x: V<'k, 'c>, more: V<'k, 'c>) -> V<'k, 'c> {
    let (r, tail, n) = reduce_f64(x.at_most(1000.0).at_least(-1000.0));
    let e = expm1_reduced_f64(r);
    let tail = tail + more;
    scale_f64((tail.fma(e, tail) + e) + 1.0, n)
}

pub(super) fn exp_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    exp_sum_f64(x, x.lit(0.0))
}

/// `e^x / 2`, which is finite a little longer than `e^x`.
pub(super) fn half_exp_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let (r, tail, n) = reduce_f64(x.at_most(1000.0).at_least(-1000.0));
    scale_f64((expm1_reduced_f64(r) + tail) + 1.0, n - 1)
}

pub(super) fn sigmoid_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    x.lit(1.0) / (exp_f64(-x) + 1.0)
}

/// As [`tanh_f32`]; 1 from 19.1 on.
pub(super) fn tanh_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs().at_most(19.1);
    let (r, tail, n) = reduce_f64(a + a);
    let scale = power_of_two_f64(n);
    let e = (expm1_reduced_f64(r) + tail).fma(scale, scale - 1.0);
    (e / (e + 2.0)).with_sign_of(x)
}

/// Results below `2^-126` become 0: gradual underflow costs a slow path in every processor for values that
/// no sum notices.
pub(super) fn exp_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let (r, n) = reduce(x);
    let y = (exp_reduced(r).bits() + (n << 23)).as_float();
    // Above, `x + inf` is infinity, and NaN for NaN.
    let y = x.le(88.722_839_355).select(y, x + f64::INFINITY);
    x.lt(FLUSHED).select(x.lit(0.0), y)
}

/// `1 / (1 + e^-x)`; 0 where the true value is below `2^-126`.
pub(super) fn sigmoid_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let minus = -x;
    let (r, n) = reduce(minus.at_most(87.4).at_least(-88.0));
    let y = x.lit(1.0) / exp_reduced(r).fma(power_of_two(n), 1.0);
    x.lt(FLUSHED).select(x.lit(0.0), y)
}

/// `e / (e + 2)` with `e = e^(2|x|) - 1`, which loses nothing near 0; 1 from 9.02 on.
pub(super) fn tanh_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs().at_most(9.02);
    let (r, n) = reduce(a + a);
    let scale = power_of_two(n);
    let e = expm1_reduced(r).fma(scale, scale - 1.0);
    (e / (e + 2.0)).with_sign_of(x)
}
