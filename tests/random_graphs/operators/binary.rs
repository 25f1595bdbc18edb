//! Element-wise operators of two operands, which are broadcast.

use crate::bounds::Bounds;
use crate::dim::{broadcast, partner};
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

struct Binary {
    op: &'static str,
    types: &'static [DType],
    /// Operands are limited to these.
    left: (f64, f64),
    right: (f64, f64),
    /// Range and error of the result, before rounding.
    bounds: fn(&Bounds, &Bounds) -> Bounds,
    /// Units in the last place.
    roundings: f64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    /// A result of type bool; the operands must be exact.
    Compare,
    /// The right operand must broadcast to the left one.
    Slopes,
    /// With `fmod = 1` where the operands are floats, which must be exact.
    Remainder,
    Shift,
}
use Kind::{Compare, Number, Remainder, Shift, Slopes};

const WIDE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const BITS: (f64, f64) = (0.0, 7.0);

const fn entry(
    op: &'static str,
    types: &'static [DType],
    bounds: fn(&Bounds, &Bounds) -> Bounds,
    roundings: f64,
) -> Binary {
    Binary { op, types, left: WIDE, right: WIDE, bounds, roundings, kind: Number }
}

const fn kind(entry: Binary, kind: Kind) -> Binary {
    Binary { kind, ..entry }
}

const fn over(entry: Binary, left: (f64, f64), right: (f64, f64)) -> Binary {
    Binary { left, right, ..entry }
}

static TABLE: &[Binary] = &[
    entry("Add", NUMBERS, sum, 1.0),
    entry("Sub", NUMBERS, difference, 1.0),
    entry("Mul", NUMBERS, product, 1.0),
    over(entry("Div", FLOATS, quotient, 1.0), WIDE, (0.5, 8.0)),
    over(entry("Div", &[DType::I64, DType::I32, DType::U8], quotient, 1.0), WIDE, (1.0, 5.0)),
    over(entry("Pow", FLOATS, power, 32.0), (0.25, 4.0), (-2.0, 3.0)),
    entry("Max", NUMBERS, larger, 0.0),
    entry("Min", NUMBERS, smaller, 0.0),
    over(kind(entry("Mod", NUMBERS, remainder, 0.0), Remainder), WIDE, (1.0, 9.0)),
    kind(entry("PRelu", SIGNED, sloped, 1.0), Slopes),
    entry("And", BOOL, truth, 0.0),
    entry("Or", BOOL, truth, 0.0),
    entry("Xor", BOOL, truth, 0.0),
    entry("BitwiseAnd", INTEGERS, bits, 0.0),
    entry("BitwiseOr", INTEGERS, bits, 0.0),
    entry("BitwiseXor", INTEGERS, bits, 0.0),
    over(kind(entry("BitShift", &[DType::U8], bits, 0.0), Shift), WIDE, BITS),
    kind(entry("Equal", ALL, truth, 0.0), Compare),
    kind(entry("Less", NUMBERS, truth, 0.0), Compare),
    kind(entry("LessOrEqual", NUMBERS, truth, 0.0), Compare),
    kind(entry("Greater", NUMBERS, truth, 0.0), Compare),
    kind(entry("GreaterOrEqual", NUMBERS, truth, 0.0), Compare),
];

pub fn add(maker: &mut Maker) -> Option<()> {
    let spec = &TABLE[maker.choices.below(TABLE.len())];
    let exact = matches!(spec.kind, Compare | Remainder);
    let a = if exact { maker.exact(spec.types, 0..=4) } else { maker.any(spec.types, 0..=4) };
    let a = maker.fit(&a, spec.left.0, spec.left.1)?;
    let b = second(maker, spec, &a, exact);
    let b = maker.fit(&b, spec.right.0, spec.right.1)?;
    let dims = broadcast(&a.dims, &b.dims)?;
    let (mut left, mut right) = (&a, &b);
    let turns = spec.left == spec.right && spec.kind != Slopes;
    if turns && maker.choices.chance(40) {
        (left, right) = (&b, &a);
    }
    let dtype = if spec.kind == Compare { DType::Bool } else { a.dtype };
    let bounds = (spec.bounds)(&left.bounds, &right.bounds).rounded(dtype, spec.roundings);
    let attributes = match spec.kind {
        Remainder if a.dtype.is_float() => vec![onnx::int("fmod", 1)],
        Remainder if maker.choices.chance(30) => vec![onnx::int("fmod", 1)],
        Shift => vec![onnx::string("direction", maker.choices.pick(&["LEFT", "RIGHT"]))],
        _ => vec![],
    };
    maker.one(spec.op, &[&left.name, &right.name], attributes, (dtype, dims, bounds))?;
    Some(())
}

/// An operand that fits `a`: an earlier tensor, or a new one.
fn second(maker: &mut Maker, spec: &Binary, a: &Tensor, exact: bool) -> Tensor {
    let fits = |t: &Tensor| match (broadcast(&a.dims, &t.dims), spec.kind) {
        (Some(dims), Slopes) => dims == a.dims && t.dims.len() <= a.dims.len(),
        (dims, _) => dims.is_some(),
    };
    if let Some(found) = maker.find(&[a.dtype], |t| fits(t) && (!exact || t.bounds.is_exact())) {
        return found;
    }
    let dims = partner(&mut maker.choices, &a.dims);
    if spec.right == WIDE { maker.fresh(a.dtype, dims) } else { within(maker, a.dtype, dims, spec.right) }
}

fn within(maker: &mut Maker, dtype: DType, dims: Vec<crate::dim::Dim>, (lo, hi): (f64, f64)) -> Tensor {
    let bounds = if dtype.is_float() { Bounds::exact(lo, hi) } else { Bounds::whole(lo.ceil(), hi.floor()) };
    maker.made(dtype, dims, bounds)
}

fn from(corners: [f64; 4], error: f64, whole: bool) -> Bounds {
    let (lo, hi) = corners.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    Bounds { lo, hi, error, whole: whole && error == 0.0 }
}

fn corners(a: &Bounds, b: &Bounds, f: impl Fn(f64, f64) -> f64) -> [f64; 4] {
    [f(a.lo, b.lo), f(a.lo, b.hi), f(a.hi, b.lo), f(a.hi, b.hi)]
}

pub fn sum(a: &Bounds, b: &Bounds) -> Bounds {
    from(corners(a, b, |x, y| x + y), a.error + b.error, a.whole && b.whole)
}

fn difference(a: &Bounds, b: &Bounds) -> Bounds {
    from(corners(a, b, |x, y| x - y), a.error + b.error, a.whole && b.whole)
}

pub fn product(a: &Bounds, b: &Bounds) -> Bounds {
    let error = a.magnitude() * b.error + b.magnitude() * a.error;
    from(corners(a, b, |x, y| x * y), error, a.whole && b.whole)
}

fn quotient(a: &Bounds, b: &Bounds) -> Bounds {
    let error = (a.error + a.magnitude() / b.lo * b.error) / b.lo;
    from(corners(a, b, |x, y| x / y), error, false)
}

fn power(a: &Bounds, b: &Bounds) -> Bounds {
    let all = corners(a, b, f64::powf);
    let largest = all.iter().copied().fold(0.0, f64::max).max(1.0);
    let error = a.error * b.magnitude() * largest / a.lo + b.error * largest * a.lo.ln().abs().max(a.hi.ln().abs());
    from(all, error, false)
}

fn larger(a: &Bounds, b: &Bounds) -> Bounds {
    from(corners(a, b, f64::max), a.error.max(b.error), a.whole && b.whole)
}

fn smaller(a: &Bounds, b: &Bounds) -> Bounds {
    from(corners(a, b, f64::min), a.error.max(b.error), a.whole && b.whole)
}

/// The sign is the dividend's or the divisor's, as `fmod` says.
fn remainder(a: &Bounds, b: &Bounds) -> Bounds {
    Bounds { whole: a.whole && b.whole, ..Bounds::exact(-b.hi, b.hi) }
}

/// `x`, or `slope * x` where `x` is negative.
fn sloped(a: &Bounds, b: &Bounds) -> Bounds {
    product(a, b).or(*a)
}

fn truth(_: &Bounds, _: &Bounds) -> Bounds {
    Bounds::whole(0.0, 1.0)
}

/// Any bits: rounding cuts this to the type's range.
fn bits(_: &Bounds, _: &Bounds) -> Bounds {
    Bounds::whole(-1e300, 1e300)
}
