//! Powers: `x^y = e^(y ln |x|)`, with the sign and the special cases of C99 (annex F.10.4.4).
//!
//! The exponent of an `f64` result can be 745, so the logarithm is kept to about 66 bits as a sum of two floats
//! (T. J. Dekker, A Floating-Point Technique for Extending the Available Precision, 1971). An `f32` result needs
//! no more than the `f64` logarithm.

use super::exponential::{WIDE_LN2_HIGH, WIDE_LN2_LOW, exp_f64, exp_sum_f64};
use super::logarithm::{ATANH, log_f64, split_f64};
use super::value::V;

/// A sum of two floats, the second far smaller.
type Pair<'k, 'c> = (V<'k, 'c>, V<'k, 'c>);

/// What rounding took from `2.0 / 3.0`.
const TWO_THIRDS_REST: f64 = 3.700743415417188e-17;

pub(super) fn pow_f64<'k, 'c>(x: V<'k, 'c>, y: V<'k, 'c>) -> V<'k, 'c> {
    let (high, low) = log_pair(x.abs());
    let product = y * high;
    let rest = y.fma(high, -product) + y * low;
    let rest = product.abs().lt(1000.0).select(rest, 0.0);
    finish(x, y, exp_sum_f64(product, rest))
}

/// For an `f32` result: `x` and `y` are widened `f32` values.
pub(super) fn pow_f32<'k, 'c>(x: V<'k, 'c>, y: V<'k, 'c>) -> V<'k, 'c> {
    let (wide_x, wide_y) = (x.widen(), y.widen());
    finish(wide_x, wide_y, exp_f64(wide_y * log_f64(wide_x.abs()))).narrow()
}

/// Sign and special cases, from the magnitude `|x|^y`.
fn finish<'k, 'c>(x: V<'k, 'c>, y: V<'k, 'c>, magnitude: V<'k, 'c>) -> V<'k, 'c> {
    let half = y * 0.5;
    let whole = y.trunc().eq(y);
    let odd = whole & !half.trunc().eq(half);
    let signed = odd.select(magnitude.with_sign_of(x), magnitude);
    // A negative finite base needs a whole exponent; infinity and NaN speak for themselves.
    let undefined = x.lt(0.0) & x.gt(f64::NEG_INFINITY) & !(whole | y.is_nan());
    let defined = undefined.select(x.lit(f64::NAN), signed);
    // |x| = 1 with an infinite y would be the product 0 * inf.
    let one = x.eq(1.0) | y.eq(0.0) | (x.eq(-1.0) & y.abs().eq(f64::INFINITY));
    one.select(x.lit(1.0), defined)
}

fn two_sum<'k, 'c>(a: V<'k, 'c>, b: V<'k, 'c>) -> Pair<'k, 'c> {
    let sum = a + b;
    let second = sum - a;
    (sum, (a - (sum - second)) + (b - second))
}

fn product<'k, 'c>(a: Pair<'k, 'c>, b: Pair<'k, 'c>) -> Pair<'k, 'c> {
    let high = a.0 * b.0;
    (high, a.0.fma(b.0, -high) + (a.0 * b.1 + a.1 * b.0))
}

/// `ln x` for `x >= 0`, with the limits at 0 and infinity.
fn log_pair<'k, 'c>(x: V<'k, 'c>) -> Pair<'k, 'c> {
    let (e, f) = split_f64(x);
    let s = quotient(f);
    let square = product(s, s);
    let two_thirds = (f.lit(2.0 / 3.0), f.lit(TWO_THIRDS_REST));
    let cube = product(product(square, two_thirds), s);
    // The series from s^5 on weighs less than 2^-12 of the whole: one float is enough.
    let tail = s.0 * square.0 * square.0 * square.0.poly(&ATANH[1..]);
    let (high, low) = two_sum(s.0 + s.0, cube.0);
    let low = low + (s.1 + s.1 + cube.1 + tail);
    let (sum, rest) = two_sum(e * WIDE_LN2_HIGH, high);
    let (high, low) = two_sum(sum, rest + (low + e * WIDE_LN2_LOW));
    let limit = x.eq(0.0).select(x.lit(f64::NEG_INFINITY), x);
    let ordinary = x.gt(0.0) & x.lt(f64::INFINITY);
    (ordinary.select(high, limit), ordinary.select(low, 0.0))
}

/// `f / (2 + f)`.
fn quotient<'k, 'c>(f: V<'k, 'c>) -> Pair<'k, 'c> {
    let d = f + 2.0;
    let lost = f - (d - 2.0);
    let s = f / d;
    let rest = s.fma(-d, f) - s * lost;
    (s, rest / d)
}
