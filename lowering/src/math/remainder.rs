//! The remainder of float division, in `f64` (`f32` goes through it).

use super::exponential::power_of_two_f64;
use super::value::V;

/// C's `fmod`: `x - n y` with the sign of `x`, exact. This is long division with 51 quotient bits a step. A
/// quotient that rounding made one too large gives a negative remainder; both signs are exact, because the
/// remainder is a multiple of the divisor's last place and not larger than the divisor.
pub(super) fn fmod_f64<'k, 'c>(x: V<'k, 'c>, y: V<'k, 'c>) -> V<'k, 'c> {
    let divisor = y.abs();
    let defined = divisor.gt(0.0) & x.abs().lt(f64::INFINITY);
    let start = defined.select(x.abs(), 0.0);
    let rest = start.repeat(|rest| {
        let next = rest.ge(divisor).select(step(rest, divisor), rest);
        (next.ge(divisor) & divisor.gt(0.0), next)
    });
    defined.select(rest.with_sign_of(x), f64::NAN)
}

/// `rest - q d 2^k` for the largest `k >= 0` such that the quotient has at most 52 bits.
fn step<'k, 'c>(rest: V<'k, 'c>, divisor: V<'k, 'c>) -> V<'k, 'c> {
    let k = (exponent(rest) - exponent(divisor) - 51).at_least(0);
    let quarter = k >> 2;
    let scale = power_of_two_f64(quarter);
    let d = divisor * scale * scale * scale * power_of_two_f64(k - quarter * 3);
    let q = (rest / d).trunc();
    let next = (-q).fma(d, rest);
    next.lt(0.0).select(next + d, next)
}

/// The exponent of a value that is not negative, subnormal numbers included, up to a constant.
fn exponent<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let small = x.lt(f64::MIN_POSITIVE);
    let normal = x.bits() >> 52;
    let subnormal = ((x * 18_014_398_509_481_984.0).bits() >> 52) - 54;
    small.select(subnormal, normal)
}
