//! The error function.

use super::kit::V;
use std::f64::consts::{LN_2, LOG2_E};

/// `erf(x) / x` in `x^2`, for `|x| < 1`, error `2^-29`.
const NEAR: [f64; 7] = [1.1283791, -0.37612626, 0.11283585, -0.026853813, 0.0051883277, -0.00080101937, 7.8538615e-5];
/// `-ln(erfc(t))` for `0.95 < t < 3.95`; error of `erf` `2^-29`.
const FAR: [f64; 7] = [0.00025646496, 1.127426, 0.6376002, 0.103566766, -0.022051934, 0.0029995248, -0.00019150249];

/// `e^r` for `|r| < ln 2 / 2`, error `2^-23.6`.
const EXP: [f64; 6] = [1.0000001, 0.9999997, 0.49998885, 0.16667582, 0.04191637, 0.008297519];

/// `x N(x^2)` below 1, `1 - exp(-F(|x|))` above (the form of W. J. Cody, Rational Chebyshev Approximations
/// for the Error Function, 1969, with polynomials and with the exponent fitted as a whole).
pub(super) fn erf_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs();
    let near = x * (x * x).poly(&NEAR);
    let t = a.at_most(3.95);
    let far = (x.lit(1.0) - exp_negative(-t.poly(&FAR))).with_sign_of(x);
    // Last and in this order, so that NaN takes the side that keeps it.
    a.ge(1.0).select(far, near)
}

/// `e^x` for `-20 < x < 0` with an error of `2^-24`, absolute: all that `1 - e^x` can show.
fn exp_negative<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let rounded = x.fma(LOG2_E, 12_582_912.0);
    let n = rounded - 12_582_912.0;
    let r = n.fma(-LN_2, x);
    let p = r.poly(&EXP);
    (p.bits() + (rounded.bits() << 23)).from_bits()
}
