//! asin, acos and atan, in `f64` (`f32` goes through it).
//!
//! Half-angle and addition formulas bring the argument near 0, a polynomial does the rest (Cody and Waite,
//! Software Manual for the Elementary Functions, 1980, chapters 10 and 11).

use super::value::V;
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// What rounding took from [`FRAC_PI_2`].
const PI_2_REST: f64 = 6.123233995736766e-17;

/// `(asin(x) / x - 1) / x^2` in `x^2`, for `|x| < 1/2`, error `2^-67`.
const ASIN: [f64; 15] = [
    0.16666666666666669,
    0.07499999999999785,
    0.04464285714316421,
    0.03038194442224731,
    0.02237216004504504,
    0.01735273777276695,
    0.013965354185890561,
    0.011544870668650632,
    0.00982958576870863,
    0.0079050841990421,
    0.009823288281790188,
    -0.0028004088950579474,
    0.029046713471255634,
    -0.03188125933033557,
    0.03499310778453337,
];

/// `(atan(x) / x - 1) / x^2` in `x^2`, for `|x| < tan(pi / 8)`, error `2^-73`.
const ATAN: [f64; 14] = [
    -0.3333333333333333,
    0.19999999999999996,
    -0.14285714285713239,
    0.1111111111101188,
    -0.09090909085331493,
    0.07692307489040524,
    -0.06666661600936728,
    0.058822637392341025,
    -0.05262027224581709,
    0.047515123584223454,
    -0.04278777018083873,
    0.03673117078982464,
    -0.02631506038554308,
    0.011144128972115107,
];

/// `asin(a)` for `a <= 1/2`, and `asin(sqrt((1 - a) / 2))` above: the value, and whether it is the second.
fn asin_core<'k, 'c>(a: V<'k, 'c>) -> (V<'k, 'c>, V<'k, 'c>) {
    let large = a.gt(0.5);
    let half = (a.lit(1.0) - a) * 0.5;
    let s = large.select(half.sqrt(), a);
    let z = large.select(half, a * a);
    ((s * z).fma(z.poly(&ASIN), s), large)
}

/// `pi/2 - 2 asin(sqrt((1 - a) / 2))` above 1/2; NaN above 1, from the root.
pub(super) fn asin_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let (y, large) = asin_core(x.abs());
    let far = (y.lit(PI_2_REST) - (y + y)) + FRAC_PI_2;
    large.select(far, y).with_sign_of(x)
}

pub(super) fn acos_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let (y, large) = asin_core(x.abs());
    let near = (y.with_sign_of(-x) + PI_2_REST) + FRAC_PI_2;
    let far = y + y;
    let far = x.lt(0.0).select((far.lit(2.0 * PI_2_REST) - far) + PI, far);
    large.select(far, near)
}

/// `atan(a) = pi/4 + atan((a - 1) / (a + 1)) = pi/2 - atan(1 / a)`.
pub(super) fn atan_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    let a = x.abs();
    let (middle, large) = (a.gt(0.4142135623730951), a.gt(2.414213562373095));
    let t = middle.select((a - 1.0) / (a + 1.0), a);
    let t = large.select(a.lit(-1.0) / a, t);
    let z = t * t;
    let y = (t * z).fma(z.poly(&ATAN), t);
    let base = large.select(x.lit(FRAC_PI_2), middle.select(x.lit(FRAC_PI_4), 0.0));
    let rest = large.select(x.lit(PI_2_REST), middle.select(x.lit(PI_2_REST / 2.0), 0.0));
    (base + (y + rest)).with_sign_of(x)
}
