//! The error function.

use super::exponential::{exp_f64, one_less_exp_of_minus};
use super::value::V;
use std::f64::consts::FRAC_2_SQRT_PI;

/// `-ln(1 - erf(t)) / t` for `0 < t < 3.95`; error of `erf` `2^-24.8`.
const EXPONENT: [f64; 8] = [
    1.128379207052403,
    0.6366164966981143,
    0.10281441103355637,
    -0.01932171702348192,
    0.000205717421019584,
    0.0012517456586318295,
    -0.0003810003040561388,
    4.070788041615974e-05,
];

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

/// `1 - exp(-F(|x|))` everywhere, which loses nothing near 0 with `F(t) = c t + t^2 G(t)` and with `e^r - 1` for the
/// exponential; 1 from 3.95 on. (W. J. Cody, Rational Chebyshev Approximations for the Error Function, 1969, has this form
/// for large arguments, with rational functions.)
pub(super) fn erf_f32<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let t = x.abs().at_most(3.95);
    let exponent = t.fma(EXPONENT[0], (t * t) * t.poly(&EXPONENT[1..]));
    one_less_exp_of_minus(exponent).with_sign_of(x)
}
