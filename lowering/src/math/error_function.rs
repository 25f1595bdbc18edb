//! The error function.

use super::exponential::exp_f64;
use super::kit::V;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LOG2_E};

/// `erf(x) / x` in `x^2`, for `|x| < 1`, error `2^-29`.
const NEAR: [f64; 7] =
    [FRAC_2_SQRT_PI, -0.37612626, 0.11283585, -0.026853813, 0.0051883277, -0.00080101937, 7.8538615e-5];
/// `-ln(erfc(t))` for `0.95 < t < 3.95`; error of `erf` `2^-29`.
const FAR: [f64; 7] = [0.00025646496, 1.127426, 0.6376002, 0.103566766, -0.022051934, 0.0029995248, -0.00019150249];

/// `e^r` for `|r| < ln 2 / 2`, error `2^-23.6`.
const EXP: [f64; 6] = [1.0000001, 0.9999997, 0.49998885, 0.16667582, 0.04191637, 0.008297519];

/// `erf(x) / x` in `x^2`, for `|x| < 1`, error `2^-68`.
const WIDE_NEAR: [f64; 14] = [
    FRAC_2_SQRT_PI,
    -0.37612638903183754,
    0.11283791670955119,
    -0.026866170645129733,
    0.005223977625422086,
    -0.0008548327021853197,
    0.00012055332899358075,
    -1.4925647465128699e-05,
    1.6462043408127443e-06,
    -1.6364614427418176e-07,
    1.4792145818725815e-08,
    -1.2163042370085709e-09,
    8.703791599076563e-11,
    -4.2228991389171636e-12,
];

/// `-ln(erfc(t))` for `0.97 < t < 6`; error of `erf` `2^-62`.
const WIDE_FAR: [f64; 21] = [
    -2.4072213207654568e-08,
    1.1283794777068228,
    0.6366178777852972,
    0.10277987063668682,
    -0.01914811970073133,
    -0.00016922337438627546,
    0.001632927738934591,
    -0.0005101850447751389,
    -5.593483558620761e-05,
    0.0001328786973438694,
    -7.64736367043088e-05,
    2.934251793550954e-05,
    -8.564887125761527e-06,
    1.9767434489749215e-06,
    -3.6385711022335663e-07,
    5.3037408174992135e-08,
    -6.001585914718326e-09,
    5.0889629827378e-10,
    -3.043132718113603e-11,
    1.144054349523719e-12,
    -2.03266258223593e-14,
];

/// As [`erf_f32`].
pub(super) fn erf_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs();
    let near = x * (x * x).poly(&WIDE_NEAR);
    let far = (x.lit(1.0) - exp_f64(-a.at_most(6.0).poly(&WIDE_FAR))).with_sign_of(x);
    a.ge(1.0).select(far, near)
}

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
    (p.bits() + (rounded.bits() << 23)).as_float()
}
