//! Floats of at most 8 bits: what their bits mean, and rounding to them.
//!
//! Each is stored in a byte of its own. Arithmetic on them is arithmetic in `f32`, rounded afterwards; the layouts
//! are those of the OCP formats (`e4m3fn`, `e5m2`, `e2m1`, `e8m0`) and of their `fnuz` variants.

use crate::dtype::DType;

/// How a format spends the codes that are not plain numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// The largest exponent means infinity and NaN.
    Ieee,
    /// No infinity; only the code of all ones is NaN.
    Finite,
    /// No infinity, no negative zero: its code is the only NaN.
    Unsigned,
    /// Numbers only: what is too large becomes the largest.
    Numbers,
}

/// A sign, an exponent and a mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of the whole.
    pub bits: u32,
    pub mantissa: u32,
    pub bias: i32,
    pub special: Special,
}

impl Format {
    /// The format of a narrow float type; `None` for the exponent-only `e8m0` and for all other types.
    pub fn of(dtype: DType) -> Option<Format> {
        let (bits, mantissa, bias, special) = match dtype {
            DType::F8E4M3FN => (8, 3, 7, Special::Finite),
            DType::F8E4M3FNUZ => (8, 3, 8, Special::Unsigned),
            DType::F8E5M2 => (8, 2, 15, Special::Ieee),
            DType::F8E5M2FNUZ => (8, 2, 16, Special::Unsigned),
            DType::F4E2M1 => (4, 1, 1, Special::Numbers),
            _ => return None,
        };
        Some(Format { bits, mantissa, bias, special })
    }

    /// Exponent of the smallest normal number; subnormal numbers share it.
    pub fn least_exponent(self) -> i32 {
        1 - self.bias
    }

    /// The code without its sign of the largest finite number.
    pub fn largest(self) -> u32 {
        let all = (1 << (self.bits - 1)) - 1;
        match self.special {
            Special::Ieee => all - (1 << self.mantissa),
            Special::Finite => all - 1,
            Special::Unsigned | Special::Numbers => all,
        }
    }

    /// What a number beyond the largest becomes, without its sign.
    pub fn overflow(self) -> u32 {
        match self.special {
            Special::Ieee | Special::Finite => self.largest() + 1,
            Special::Unsigned => self.nan(),
            Special::Numbers => self.largest(),
        }
    }

    /// The code of NaN; a format without NaN gives negative zero.
    pub fn nan(self) -> u32 {
        match self.special {
            Special::Ieee | Special::Finite => (1 << (self.bits - 1)) - 1,
            Special::Unsigned | Special::Numbers => 1 << (self.bits - 1),
        }
    }
}

/// Code of NaN in `e8m0`, which holds the exponents -127 to 127 of powers of two.
const SCALE_NAN: u8 = 255;

/// The largest finite value of a narrow float type; `None` for other types.
pub fn largest(dtype: DType) -> Option<f64> {
    if dtype == DType::F8E8M0 {
        return Some(127f64.exp2());
    }
    Format::of(dtype).map(|f| decode(f.largest() as u8, dtype))
}

/// The value of a code; only the low bits of 4-bit types count.
pub fn decode(code: u8, dtype: DType) -> f64 {
    let Some(f) = Format::of(dtype) else {
        return if code == SCALE_NAN { f64::NAN } else { f64::from(i32::from(code) - 127).exp2() };
    };
    let code = u32::from(code) & ((1 << f.bits) - 1);
    let sign_bit = 1 << (f.bits - 1);
    let magnitude = code & (sign_bit - 1);
    let value = match f.special {
        Special::Unsigned if code == sign_bit => return f64::NAN,
        Special::Ieee if magnitude == f.overflow() => f64::INFINITY,
        Special::Ieee | Special::Finite if magnitude > f.largest() => f64::NAN,
        _ => {
            let exponent = (magnitude >> f.mantissa) as i32;
            let fraction = magnitude & ((1 << f.mantissa) - 1);
            let hidden = if exponent > 0 { 1 << f.mantissa } else { 0 };
            let power = f.least_exponent() + (exponent - 1).max(0) - f.mantissa as i32;
            f64::from(fraction + hidden) * f64::from(power).exp2()
        }
    };
    if code & sign_bit != 0 { -value } else { value }
}

/// The nearest code, ties to the even one; `e8m0` rounds up.
pub fn encode(value: f64, dtype: DType) -> u8 {
    match Format::of(dtype) {
        Some(format) => encode_signed(value, format) as u8,
        None => encode_scale(value),
    }
}

fn encode_signed(value: f64, f: Format) -> u32 {
    let sign = if value.is_sign_negative() { 1 << (f.bits - 1) } else { 0 };
    if value.is_nan() {
        return f.nan();
    }
    let exponent = (exponent_of(value)).max(f.least_exponent());
    let steps = (value.abs() * f64::from(f.mantissa as i32 - exponent).exp2()).round_ties_even();
    let code = steps + f64::from((exponent - f.least_exponent()) << f.mantissa);
    let code = if code > f64::from(f.largest()) { f.overflow() } else { code as u32 };
    if f.special == Special::Unsigned && code == 0 { 0 } else { code | sign }
}

fn encode_scale(value: f64) -> u8 {
    if value.is_nan() || value < 0.0 {
        return SCALE_NAN;
    }
    let exponent = exponent_of(value);
    let up = f64::from(exponent).exp2() < value;
    (exponent + i32::from(up) + 127).clamp(0, i32::from(SCALE_NAN)) as u8
}

/// `floor(log2(|value|))`; zero and what is too small for a normal `f64` have -1023, infinity 1024.
fn exponent_of(value: f64) -> i32 {
    ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [DType; 6] =
        [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F8E8M0, DType::F4E2M1];

    #[test]
    fn every_code_survives_its_value() {
        for dtype in TYPES {
            let codes = if dtype == DType::F4E2M1 { 16 } else { 256 };
            for code in (0..codes).map(|c| c as u8) {
                let value = decode(code, dtype);
                let same =
                    encode(value, dtype) == code || value.is_nan() && decode(encode(value, dtype), dtype).is_nan();
                assert!(same, "{dtype} {code:#x} is {value}");
            }
        }
    }

    #[test]
    fn limits_are_those_of_the_standard() {
        let wanted = [448.0, 240.0, 57344.0, 57344.0, 127f64.exp2(), 6.0];
        assert_eq!(TYPES.map(|t| largest(t).unwrap()), wanted);
        assert!(decode(encode(1e6, DType::F8E4M3FN), DType::F8E4M3FN).is_nan());
        assert_eq!(decode(encode(1e6, DType::F8E5M2), DType::F8E5M2), f64::INFINITY);
        assert_eq!(decode(encode(-9.0, DType::F4E2M1), DType::F4E2M1), -6.0);
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        let round = |v: f64, t| decode(encode(v, t), t);
        assert_eq!([0.25, 0.75, 1.25, 2.5, 5.0].map(|v| round(v, DType::F4E2M1)), [0.0, 1.0, 1.0, 2.0, 4.0]);
        assert_eq!(round(-0.0, DType::F8E4M3FNUZ).to_bits(), 0.0f64.to_bits());
        assert_eq!(round(1.1, DType::F8E8M0), 2.0);
    }
}
