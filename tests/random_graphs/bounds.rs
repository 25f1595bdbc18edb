//! What is known about the numbers in a tensor: the range they lie in and how far two correct evaluations can be apart.
//!
//! The bound on the difference is a running error analysis, made while the model is generated: a result's error is its
//! operands' errors times the operator's slope on their range, plus the operator's own roundings. So the judge has a
//! tolerance for each output that comes from its graph, not from a guess, and operators with jumps (rounding,
//! comparison, arg-max) are put on exact operands only, where both sides see the same bits.

use sirius_polyhedral::DType;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub lo: f64,
    pub hi: f64,
    /// Two evaluations differ by at most this, to first order; 0 means that they have the same bits.
    pub error: f64,
    /// Whole numbers only.
    pub whole: bool,
}

impl Bounds {
    pub const fn exact(lo: f64, hi: f64) -> Bounds {
        Bounds { lo, hi, error: 0.0, whole: false }
    }

    pub const fn whole(lo: f64, hi: f64) -> Bounds {
        Bounds { lo, hi, error: 0.0, whole: true }
    }

    pub const fn of(lo: f64, hi: f64, error: f64) -> Bounds {
        Bounds { lo, hi, error, whole: false }
    }

    pub fn magnitude(&self) -> f64 {
        self.lo.abs().max(self.hi.abs())
    }

    pub fn is_exact(&self) -> bool {
        self.error == 0.0
    }

    pub fn inside(&self, lo: f64, hi: f64) -> bool {
        lo <= self.lo && self.hi <= hi
    }

    /// Elements from either.
    pub fn or(self, other: Bounds) -> Bounds {
        Bounds {
            lo: self.lo.min(other.lo),
            hi: self.hi.max(other.hi),
            error: self.error.max(other.error),
            whole: self.whole && other.whole,
        }
    }

    /// Elements that may also be `value`.
    pub fn or_value(self, value: f64) -> Bounds {
        self.or(Bounds { whole: value.fract() == 0.0, ..Bounds::exact(value, value) })
    }

    /// The result of arithmetic in `dtype` that rounds up to `roundings` times. Whole floats that the type represents
    /// stay exact in every order of evaluation; integers wrap.
    pub fn rounded(self, dtype: DType, roundings: f64) -> Bounds {
        if !dtype.is_float() {
            let (lo, hi) = range(dtype);
            let fits = self.inside(lo, hi);
            return if fits { Bounds::whole(self.lo, self.hi) } else { Bounds::whole(lo, hi) };
        }
        let unit = roundoff(dtype);
        if roundings == 0.0 || self.whole && self.is_exact() && self.magnitude() <= 1.0 / unit {
            return self;
        }
        let error = self.error + roundings * (unit * self.magnitude() + smallest(dtype));
        Bounds { error, whole: false, ..self }
    }

    /// May more be computed from this? Ranges must not overflow, and an error must stay a small part of the range,
    /// or the comparison would say nothing.
    pub fn useful(&self, dtype: DType) -> bool {
        let (largest, part) = match dtype {
            DType::F64 => (1e12, 1e-8),
            DType::F32 => (1e8, 2e-3),
            DType::F16 => (4e3, 0.1),
            _ => return true,
        };
        let magnitude = self.magnitude();
        magnitude <= largest && self.error <= part * magnitude
    }
}

/// Half the distance from 1 to the next number.
pub fn roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F32 => 2f64.powi(-24),
        _ => 2f64.powi(-11),
    }
}

/// The distance of the numbers next to zero.
fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 0.0,
        DType::F32 => 2f64.powi(-149),
        _ => 2f64.powi(-24),
    }
}

/// Of an integer type or `bool`.
pub fn range(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::Bool => (0.0, 1.0),
        t if t.is_signed() => (-(2f64.powi(t.bits() as i32 - 1)), 2f64.powi(t.bits() as i32 - 1) - 1.0),
        t => (0.0, 2f64.powi(t.bits() as i32) - 1.0),
    }
}
