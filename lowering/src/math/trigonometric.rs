//! sin, cos and tan, in `f64` (`f32` goes through it), for arguments of any size.
//!
//! Below `2^23` the multiple of `pi/2` is subtracted in three parts (Cody and Waite, Software Manual for the
//! Elementary Functions, 1980, chapter 8); larger arguments are rare and take a scalar function that multiplies
//! by as many bits of `2/pi` as matter (M. Payne and R. Hanek, Radian Reduction for Trigonometric Functions,
//! SIGNUM Newsletter 18, 1983).

use super::value::V;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// `pi/2` is [`FRAC_PI_2`] plus these two.
const PI_2_SECOND: f64 = 6.123233995736766e-17;
const PI_2_THIRD: f64 = -1.4973849048591698e-33;

const ROUND: f64 = 6_755_399_441_055_744.0;

/// From here on the reduction in parts is not exact.
const LARGE: f64 = 8_388_608.0;

/// `(sin(r) / r - 1) / r^2` in `r^2`, for `|r| < pi/4`, error `2^-68`.
const SIN: [f64; 7] = [
    -0.16666666666666666,
    0.008333333333333323,
    -0.0001984126984125499,
    2.755731921414897e-06,
    -2.5052104900563853e-08,
    1.6058365195758121e-10,
    -7.578625601403752e-13,
];

/// `(cos(r) - 1 + r^2 / 2) / r^4` in `r^2`, error `2^-75`.
const COS: [f64; 7] = [
    0.041666666666666664,
    -0.0013888888888888874,
    2.480158730157138e-05,
    -2.7557319215325707e-07,
    2.0876754354671527e-09,
    -1.1470291941146646e-11,
    4.738048327990361e-14,
];

/// The binary digits of `2/pi` after 64 zeros.
const TWO_OVER_PI: [u64; 20] = [
    0x0000000000000000,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
];

/// `x = quarter pi/2 + r + tail`, `|r| <= pi/4`; only the two lowest bits of `quarter` count.
#[derive(Clone, Copy)]
struct Angle<'k, 'c> {
    quarter: V<'k, 'c>,
    r: V<'k, 'c>,
    tail: V<'k, 'c>,
}

pub(super) fn sin_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    with_large(x, "sirius.sin.large", |angle| sin_of(angle))
}

pub(super) fn cos_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    with_large(x, "sirius.cos.large", |angle| cos_of(angle))
}

pub(super) fn tan_f64<'k, 'c>(x: V<'k, 'c>) -> V<'k, 'c> {
    with_large(x, "sirius.tan.large", |angle| sin_of(angle) / cos_of(angle))
}

fn with_large<'k, 'c>(x: V<'k, 'c>, name: &str, f: impl for<'i> Fn(Angle<'i, 'c>) -> V<'i, 'c>) -> V<'k, 'c> {
    let y = f(reduce_small(x));
    // Infinities take this way too, and become NaN.
    let large = x.abs().ge(LARGE);
    match x.kit.scalar_f64_function(name, &|x| f(reduce_large(x))) {
        Some(function) => y.patched(large, x, function),
        None => y,
    }
}

fn reduce_small<'k, 'c>(x: V<'k, 'c>) -> Angle<'k, 'c> {
    let rounded = x.fma(FRAC_2_PI, ROUND);
    let n = rounded - ROUND;
    // Exact: the difference is small and a multiple of the last place of pi/2.
    let first = n.fma(-FRAC_PI_2, x);
    let second = n * PI_2_SECOND;
    let lost = n.fma(PI_2_SECOND, -second) + n * PI_2_THIRD;
    let r = first - second;
    let tail = ((first - r) - second) - lost;
    Angle { quarter: rounded.bits(), r, tail }
}

/// For finite `|x| >= 2^23`, `x = m 2^e`: digits of `2/pi` of weight above `2^(2 - e)` give multiples of 4 and
/// are skipped, the next 192 are multiplied by `m`.
fn reduce_large<'k, 'c>(x: V<'k, 'c>) -> Angle<'k, 'c> {
    let x = x - x.abs().eq(f64::INFINITY).select(x, 0.0);
    let bits = x.abs().bits();
    let m = (bits & ((1 << 52) - 1)) | (1 << 52);
    // Position of the first digit in the table: e + 62, and e is at least -29.
    let position = ((bits >> 52) - (1075 - 62)).at_least(0);
    let [high, middle, low] = digits(position);
    let m = m.zext128();
    // The product's upper 128 of 192 bits: 2 of the quarter, 126 of the fraction.
    let product = ((m * low.zext128()) >> 64) + m * middle.zext128() + ((m * high.zext128()) << 64);
    let fraction = product << 2;
    let upper = fraction.ashr(127);
    let quarter = (product >> 126).low64() - upper.low64();
    let (r, tail) = fraction_to_angle((fraction ^ upper) - upper);
    let negative = (upper.low64() << 63) ^ x.sign_bit();
    let flip = |v: V<'k, 'c>| (v.bits() ^ negative).as_float();
    let quarter = x.lt(0.0).select(-quarter, quarter);
    // Keeps NaN: it has no digits to multiply.
    Angle { quarter, r: flip(r) + x * 0.0, tail: flip(tail) }
}

/// Three words of digits from a bit position of the table.
fn digits<'k, 'c>(position: V<'k, 'c>) -> [V<'k, 'c>; 3] {
    let (word, shift) = ((position >> 6).at_most(16), position & 63);
    let at = |n: i64| (word + n).look_up("sirius.two_over_pi", &TWO_OVER_PI);
    [0, 1, 2].map(|n| (at(n) << shift) | ((at(n + 1) >> 1) >> (shift ^ 63)))
}

/// `pi/2` times a 128-bit fraction, as a sum of two floats.
fn fraction_to_angle<'k, 'c>(fraction: V<'k, 'c>) -> (V<'k, 'c>, V<'k, 'c>) {
    let zeros = fraction.leading_zeros();
    let normal = fraction << zeros;
    let high = (normal >> 75).low64().to_float() * 2f64.powi(-53);
    let low = ((normal >> 22).low64() & ((1 << 53) - 1)).to_float() * 2f64.powi(-106);
    let scale = ((zeros.low64() * -1 + 1023) << 52).as_float();
    let r = high * FRAC_PI_2;
    let tail = high.fma(FRAC_PI_2, -r) + high.fma(PI_2_SECOND, low * FRAC_PI_2);
    (r * scale, tail * scale)
}

fn sin_of<'k, 'c>(a: Angle<'k, 'c>) -> V<'k, 'c> {
    quadrant(a, a.quarter)
}

fn cos_of<'k, 'c>(a: Angle<'k, 'c>) -> V<'k, 'c> {
    quadrant(a, a.quarter + 1)
}

/// `sin(quarter pi/2 + r + tail)`.
fn quadrant<'k, 'c>(a: Angle<'k, 'c>, quarter: V<'k, 'c>) -> V<'k, 'c> {
    let z = a.r * a.r;
    let sin = (a.r * z).fma(z.poly(&SIN), z.fma(-0.5, 1.0) * a.tail) + a.r;
    let half = z * 0.5;
    let top = z.lit(1.0) - half;
    let cos = top + ((z.lit(1.0) - top - half) + (z * z).fma(z.poly(&COS), -(a.r * a.tail)));
    let y = (quarter & 1).eq(0).select(sin, cos);
    (y.bits() ^ ((quarter & 2) << 62)).as_float()
}
