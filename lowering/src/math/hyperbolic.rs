//! sinh, cosh and the inverse hyperbolic functions, in `f64` (`f32` goes through it).
//!
//! The inverses are logarithms of sums that are taken as `ln(1 + u)`, so that small arguments keep their
//! relative accuracy (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 1.14).

use super::exponential::half_exp_f64;
use super::logarithm::{log_f64, log1p_f64};
use super::value::V;
use std::f64::consts::LN_2;

/// `(sinh(x) / x - 1) / x^2` in `x^2`, for `|x| < 1`.
const SINH: [f64; 9] = [
    0.16666666666666666,
    0.008333333333333333,
    0.0001984126984126984,
    2.7557319223985698e-06,
    2.5052108385514926e-08,
    1.6059043819895924e-10,
    7.647166141842021e-13,
    2.8112505936794563e-15,
    8.318450344236497e-18,
];

/// Beyond this, `1 + x^2` is `x^2` in `f64`.
const HUGE: f64 = 268_435_456.0;

pub(super) fn sinh_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs();
    let z = x * x;
    let near = (x * z).fma(z.poly(&SINH), x);
    let e = half_exp_f64(a);
    let far = (e - x.lit(0.25) / e).with_sign_of(x);
    a.ge(1.0).select(far, near)
}

pub(super) fn cosh_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let e = half_exp_f64(x.abs());
    e + x.lit(0.25) / e
}

/// `ln(a + sqrt(a^2 + 1))` as `ln(1 + a + a^2 / (1 + sqrt(a^2 + 1)))`.
pub(super) fn asinh_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs();
    let square = a * a;
    let near = log1p_f64(a + square / ((square + 1.0).sqrt() + 1.0));
    let far = log_f64(a) + LN_2;
    a.gt(HUGE).select(far, near).with_sign_of(x)
}

/// `ln(x + sqrt(x^2 - 1))` with `t = x - 1`; NaN below 1, where the root is of a negative number or `t < -2`.
pub(super) fn acosh_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let t = x - 1.0;
    let near = log1p_f64(t + t.fma(t, t + t).sqrt());
    let far = log_f64(x) + LN_2;
    let y = x.gt(HUGE).select(far, near);
    x.lt(1.0).select(x.lit(f64::NAN), y)
}

/// `ln((1 + a) / (1 - a)) / 2` as `ln(1 + 2 a / (1 - a)) / 2`.
pub(super) fn atanh_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs();
    let u = (a + a) / (a.lit(1.0) - a);
    let y = (log1p_f64(u) * 0.5).with_sign_of(x);
    a.gt(1.0).select(x.lit(f64::NAN), y)
}
