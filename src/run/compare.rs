//! Comparison of a computed tensor with the wanted one.
//!
//! Floats agree when `|got - wanted| <= atol + rtol * |wanted|`, as in `numpy.allclose`; NaN agrees with NaN and
//! an infinity with the same infinity. Integers and booleans must be equal.

use crate::run::value::Value;
use sirius_polyhedral::DType;
use std::fmt;

/// Allowed difference of floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

impl Tolerance {
    /// What the models are held to: `rtol` 1e-3 and `atol` 1e-5 for `f32` and `f64`; the half types, whose
    /// own rounding is larger than that, get twice their epsilon.
    pub fn of(dtype: DType) -> Tolerance {
        match dtype {
            DType::F16 => Tolerance { relative: 2e-3, absolute: 1e-3 },
            DType::BF16 => Tolerance { relative: 1.6e-2, absolute: 1e-2 },
            _ => Tolerance { relative: 1e-3, absolute: 1e-5 },
        }
    }

    fn allows(self, got: f64, wanted: f64) -> bool {
        if got == wanted || (got.is_nan() && wanted.is_nan()) {
            return true;
        }
        // Against an infinity the bound is infinite too, and would allow everything.
        wanted.is_finite() && (got - wanted).abs() <= self.absolute + self.relative * wanted.abs()
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The output's name.
    pub name: String,
    /// Set when types or shapes differ; then nothing else was looked at.
    pub structure: Option<String>,
    pub elements: usize,
    /// Number of elements outside the tolerance.
    pub differing: usize,
    /// The first of them in row-major order.
    pub first: Option<Difference>,
    /// Largest distance over all elements, in units in the last place of the element type.
    pub max_ulp: u64,
    pub max_absolute: f64,
    /// `|got - wanted| / |wanted|`, over the elements where `wanted` is not zero.
    pub max_relative: f64,
}

/// One element outside the tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub index: Vec<usize>,
    pub got: String,
    pub wanted: String,
}

impl Comparison {
    pub fn matches(&self) -> bool {
        self.structure.is_none() && self.differing == 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(structure) = &self.structure {
            return write!(f, "{}: {structure}", self.name);
        }
        write!(f, "{}: ", self.name)?;
        match &self.first {
            None => write!(f, "{} elements agree", self.elements)?,
            Some(d) => write!(
                f,
                "{} of {} elements differ, first at {:?}: got {}, wanted {}",
                self.differing, self.elements, d.index, d.got, d.wanted
            )?,
        }
        write!(f, " (max {} ULP, {:.3e} absolute, {:.3e} relative)", self.max_ulp, self.max_absolute, self.max_relative)
    }
}

/// Compares `got` with `wanted`; `tolerance` is `None` for the default of the element type.
pub fn compare(name: &str, got: &Value, wanted: &Value, tolerance: Option<Tolerance>) -> Comparison {
    let mut result = Comparison { name: name.to_string(), elements: wanted.len(), ..Comparison::default() };
    if (got.dtype, &got.shape) != (wanted.dtype, &wanted.shape) {
        let message = format!("got {}{:?}, wanted {}{:?}", got.dtype, got.shape, wanted.dtype, wanted.shape);
        result.structure = Some(message);
        return result;
    }
    let tolerance = tolerance.unwrap_or(Tolerance::of(wanted.dtype));
    for i in 0..wanted.len() {
        if got.element(i) != wanted.element(i) {
            result.add(i, got, wanted, tolerance);
        }
    }
    result
}

impl Comparison {
    /// Takes element `i`, whose bits differ, into account.
    fn add(&mut self, i: usize, got: &Value, wanted: &Value, tolerance: Tolerance) {
        let (g, w) = (got.get_f64(i), wanted.get_f64(i));
        let ok = if wanted.dtype.is_float() { tolerance.allows(g, w) } else { got.get_i64(i) == wanted.get_i64(i) };
        let distance = (g - w).abs();
        // An element that passes as NaN or infinity has no distance worth reporting.
        if !(ok && distance.is_nan()) {
            self.max_ulp = self.max_ulp.max(ulp_distance(got, wanted, i));
            self.max_absolute = self.max_absolute.max(if distance.is_nan() { f64::INFINITY } else { distance });
            if w != 0.0 {
                self.max_relative = self.max_relative.max((distance / w.abs()).min(f64::INFINITY));
            }
        }
        if !ok {
            self.differing += 1;
            self.first.get_or_insert_with(|| Difference {
                index: unravel(i, &wanted.shape),
                got: show(got, i),
                wanted: show(wanted, i),
            });
        }
    }
}

/// The value as a person would write it: integers without a fraction, floats with all their digits.
fn show(value: &Value, i: usize) -> String {
    match value.dtype {
        DType::F32 => format!("{:?}", value.get_f64(i) as f32),
        DType::U64 => format!("{}", value.get_i64(i) as u64),
        t if t.is_float() => format!("{:?}", value.get_f64(i)),
        _ => format!("{}", value.get_i64(i)),
    }
}

/// Subscripts of element `i` of a row-major tensor.
fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, extent) in index.iter_mut().zip(shape).rev() {
        *slot = i % extent.max(&1);
        i /= extent.max(&1);
    }
    index
}

/// Number of representable values between the two elements; saturates for NaN.
fn ulp_distance(got: &Value, wanted: &Value, i: usize) -> u64 {
    if got.get_f64(i).is_nan() != wanted.get_f64(i).is_nan() {
        return u64::MAX;
    }
    ordered(got, i).abs_diff(ordered(wanted, i)).min(u64::MAX as u128) as u64
}

/// A number that counts representable values in order: the bits, mirrored below zero.
fn ordered(value: &Value, i: usize) -> i128 {
    if !value.dtype.is_float() {
        return value.get_i64(i) as i128;
    }
    let mut wide = [0u8; 8];
    let bytes = value.element(i);
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide) as i128;
    let sign = 1i128 << (8 * bytes.len() - 1);
    if bits & sign != 0 { sign - bits } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(values: &[f32]) -> Value {
        Value::from_f32(&[values.len()], values).unwrap()
    }

    #[test]
    fn equal_values_match_and_nan_equals_nan() {
        let a = f32s(&[1.0, f32::NAN, f32::INFINITY, 0.0]);
        let b = f32s(&[1.0 + 1e-6, -f32::NAN, f32::INFINITY, -0.0]);
        let found = compare("y", &a, &b, None);
        assert!(found.matches(), "{found}");
        assert_eq!(found.max_ulp, 8);
    }

    #[test]
    fn the_first_difference_is_named() {
        let got = Value::from_f32(&[2, 2], &[1.0, 2.0, 3.5, 5.0]).unwrap();
        let wanted = Value::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let found = compare("y", &got, &wanted, None);
        assert_eq!(found.differing, 2);
        assert_eq!(found.first.as_ref().map(|d| d.index.clone()), Some(vec![1, 0]));
        assert_eq!(found.max_absolute, 1.0);
        assert_eq!(found.max_relative, 0.25);
        assert!(found.to_string().contains("first at [1, 0]: got 3.5, wanted 3.0"), "{found}");
    }

    #[test]
    fn infinities_and_nan_do_not_pass_for_numbers() {
        for (got, wanted) in [(1.0, f32::INFINITY), (f32::NAN, 1.0), (f32::INFINITY, f32::NEG_INFINITY)] {
            assert!(!compare("y", &f32s(&[got]), &f32s(&[wanted]), None).matches(), "{got} {wanted}");
        }
    }

    #[test]
    fn integers_are_exact_and_shapes_matter() {
        let a = Value::vector(&[1 << 60]);
        let b = Value::vector(&[(1 << 60) + 1]);
        assert_eq!(compare("n", &a, &b, None).differing, 1);
        let scalar = a.reshaped(&[]).unwrap();
        assert!(compare("n", &scalar, &a, None).structure.is_some());
    }

    #[test]
    fn ulps_cross_zero() {
        let tiny = f32::from_bits(1);
        let found = compare("y", &f32s(&[-tiny]), &f32s(&[tiny]), None);
        assert_eq!(found.max_ulp, 2);
        assert!(found.matches());
    }
}
