//! Element-wise operators of one operand.

use crate::bounds::{Bounds, range};
use crate::maker::*;
use crate::onnx;
use sirius::import::proto::AttributeProto;
use sirius_polyhedral::DType;

/// An attribute's value.
enum Attr {
    F(&'static str, f32),
    I(&'static str, i64),
    S(&'static str, &'static str),
}
use Attr::{F, I, S};

/// How a result follows from the operand's bounds.
enum Image {
    /// The function itself, sampled.
    Of(fn(f64) -> f64),
    /// At most `c + slope * |x|` in magnitude.
    Linear(f64),
    Within(f64, f64),
}
use Image::{Linear, Of, Within};

/// What the operator does to a difference of its operands.
#[derive(PartialEq)]
enum Kind {
    /// Continuous, and rounds: the number of units in the last place that the result may be off by.
    Smooth(f64),
    /// Continuous, without rounding.
    Moves,
    /// Jumps: needs the same bits on both sides, and gives the same bits.
    Jumps,
}
use Kind::{Jumps, Moves, Smooth};

struct Unary {
    op: &'static str,
    types: &'static [DType],
    /// Operands are limited to it: outside, the operator is undefined or too steep.
    domain: (f64, f64),
    /// Largest slope in the domain.
    slope: f64,
    image: Image,
    kind: Kind,
    /// The choices of attributes; the first is the simplest.
    attributes: &'static [&'static [Attr]],
    /// Of the result, where it is not the operand's.
    result: Option<DType>,
}

const WIDE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const NONE: &[&[Attr]] = &[&[]];
/// Inline approximations of the artifacts, `f64` ones included.
const CLOSE: Kind = Smooth(8.0);

const fn entry(
    op: &'static str,
    types: &'static [DType],
    domain: (f64, f64),
    slope: f64,
    image: Image,
    kind: Kind,
) -> Unary {
    Unary { op, types, domain, slope, image, kind, attributes: NONE, result: None }
}

const fn with(entry: Unary, attributes: &'static [&'static [Attr]]) -> Unary {
    Unary { attributes, ..entry }
}

const fn to(entry: Unary, result: DType) -> Unary {
    Unary { result: Some(result), ..entry }
}

#[rustfmt::skip]
static TABLE: &[Unary] = &[
    entry("Relu", SIGNED, WIDE, 1.0, Of(|x| x.max(0.0)), Moves),
    entry("Abs", SIGNED, WIDE, 1.0, Of(f64::abs), Moves),
    entry("Neg", SIGNED, WIDE, 1.0, Of(|x| -x), Moves),
    entry("Identity", ALL, WIDE, 1.0, Of(|x| x), Moves),
    entry("Sign", NUMBERS, WIDE, 0.0, Within(-1.0, 1.0), Jumps),
    entry("Floor", FLOATS, WIDE, 1.0, Linear(1.0), Jumps),
    entry("Ceil", FLOATS, WIDE, 1.0, Linear(1.0), Jumps),
    entry("Round", FLOATS, WIDE, 1.0, Linear(1.0), Jumps),
    entry("Not", BOOL, WIDE, 1.0, Within(0.0, 1.0), Jumps),
    entry("BitwiseNot", INTEGERS, WIDE, 1.0, Within(-1e300, 1e300), Jumps),
    to(entry("IsNaN", FLOATS, WIDE, 0.0, Within(0.0, 1.0), Jumps), DType::Bool),
    with(to(entry("IsInf", FLOATS, WIDE, 0.0, Within(0.0, 1.0), Jumps), DType::Bool), &[&[], &[I("detect_negative", 0)]]),
    entry("Exp", FLOATS, (-6.0, 3.0), 20.1, Of(f64::exp), CLOSE),
    entry("Log", FLOATS, (0.1, 1e4), 10.0, Of(f64::ln), CLOSE),
    entry("Sqrt", FLOATS, (0.05, 1e4), 2.3, Of(f64::sqrt), Smooth(1.0)),
    entry("Reciprocal", FLOATS, (0.2, 1e3), 25.0, Of(f64::recip), Smooth(1.0)),
    entry("Sin", FLOATS, (-20.0, 20.0), 1.0, Within(-1.0, 1.0), CLOSE),
    entry("Cos", FLOATS, (-20.0, 20.0), 1.0, Within(-1.0, 1.0), CLOSE),
    entry("Tan", FLOATS, (-1.0, 1.0), 3.5, Of(f64::tan), CLOSE),
    entry("Asin", FLOATS, (-0.9, 0.9), 2.3, Of(f64::asin), CLOSE),
    entry("Acos", FLOATS, (-0.9, 0.9), 2.3, Of(f64::acos), CLOSE),
    entry("Atan", FLOATS, WIDE, 1.0, Of(f64::atan), CLOSE),
    entry("Sinh", FLOATS, (-3.0, 3.0), 10.1, Of(f64::sinh), CLOSE),
    entry("Cosh", FLOATS, (-3.0, 3.0), 10.1, Of(f64::cosh), CLOSE),
    entry("Asinh", FLOATS, WIDE, 1.0, Of(f64::asinh), CLOSE),
    entry("Acosh", FLOATS, (1.1, 100.0), 2.2, Of(f64::acosh), CLOSE),
    entry("Atanh", FLOATS, (-0.9, 0.9), 5.3, Of(f64::atanh), CLOSE),
    entry("Tanh", FLOATS, WIDE, 1.0, Of(f64::tanh), CLOSE),
    entry("Sigmoid", FLOATS, WIDE, 0.25, Within(0.0, 1.0), CLOSE),
    entry("Erf", FLOATS, WIDE, 1.13, Within(-1.0, 1.0), CLOSE),
    entry("Softplus", FLOATS, (-80.0, 80.0), 1.0, Linear(0.7), CLOSE),
    entry("Softsign", FLOATS, WIDE, 1.0, Within(-1.0, 1.0), Smooth(2.0)),
    with(entry("Elu", FLOATS, WIDE, 1.0, Linear(1.0), CLOSE), &[&[], &[F("alpha", 0.5)]]),
    with(entry("Celu", &[DType::F32], WIDE, 1.0, Linear(2.0), CLOSE), &[&[], &[F("alpha", 2.0)]]),
    entry("Selu", FLOATS, WIDE, 1.76, Linear(1.8), CLOSE),
    with(entry("Gelu", FLOATS, WIDE, 1.13, Linear(0.0), CLOSE), &[&[], &[S("approximate", "tanh")]]),
    entry("Mish", FLOATS, (-40.0, 40.0), 1.1, Linear(0.4), CLOSE),
    with(entry("HardSigmoid", FLOATS, WIDE, 0.5, Within(0.0, 1.0), Smooth(2.0)), &[&[], &[F("alpha", 0.5), F("beta", 0.25)]]),
    entry("HardSwish", FLOATS, WIDE, 1.5, Linear(0.0), Smooth(4.0)),
    with(entry("LeakyRelu", FLOATS, WIDE, 1.0, Linear(0.0), Smooth(1.0)), &[&[], &[F("alpha", 0.25)]]),
    with(entry("ThresholdedRelu", FLOATS, WIDE, 1.0, Linear(0.0), Jumps), &[&[], &[F("alpha", 0.5)]]),
    with(entry("Shrink", FLOATS, WIDE, 1.0, Linear(0.5), Jumps), &[&[], &[F("bias", 0.5), F("lambd", 1.0)]]),
];

pub fn add(maker: &mut Maker) -> Option<()> {
    let spec = &TABLE[maker.choices.below(TABLE.len())];
    let (lo, hi) = spec.domain;
    let x = if spec.kind == Jumps { maker.exact(spec.types, 0..=4) } else { maker.any(spec.types, 0..=4) };
    let x = maker.fit(&x, lo, hi)?;
    let choice = &spec.attributes[maker.choices.below(spec.attributes.len())];
    let attributes = choice.iter().map(attribute).collect();
    let dtype = spec.result.unwrap_or(x.dtype);
    maker.one(spec.op, &[&x.name], attributes, (dtype, x.dims.clone(), spec.bounds(&x, dtype)))?;
    Some(())
}

fn attribute(attr: &Attr) -> AttributeProto {
    match attr {
        F(name, value) => onnx::float(name, *value),
        I(name, value) => onnx::int(name, *value),
        S(name, value) => onnx::string(name, value),
    }
}

impl Unary {
    fn bounds(&self, x: &Tensor, result: DType) -> Bounds {
        let (lo, hi) = match self.image {
            Of(f) => sampled(f, &x.bounds, self.slope),
            Within(lo, hi) => (lo, hi),
            Linear(c) => {
                let most = c + self.slope * x.bounds.magnitude();
                (-most, most)
            }
        };
        let error = self.slope * x.bounds.error;
        match self.kind {
            Smooth(units) => Bounds::of(lo, hi, error).rounded(result, 2.0 * units),
            Moves => Bounds { lo, hi, error, whole: x.bounds.whole }.rounded(result, 0.0),
            Jumps if result.is_float() => {
                let steps = matches!(self.op, "Floor" | "Ceil" | "Round" | "Sign");
                Bounds { whole: steps, ..Bounds::exact(lo, hi) }
            }
            Jumps => {
                let (least, most) = range(result);
                Bounds::whole(lo.max(least), hi.min(most))
            }
        }
    }
}

/// The range of a function with this slope, from 33 samples and what may lie between them.
fn sampled(f: fn(f64) -> f64, x: &Bounds, slope: f64) -> (f64, f64) {
    let step = (x.hi - x.lo) / 32.0;
    let values = (0..33).map(|n| f(x.lo + step * n as f64));
    let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
    // Monotone functions have their extremes at the ends; |x| and relu have theirs at 0.
    let kink = if x.lo < 0.0 && x.hi > 0.0 { f(0.0) } else { lo };
    let slack = if slope == 1.0 { 0.0 } else { slope * step / 2.0 };
    (lo.min(kink) - slack, hi + slack)
}
