//! Short names for building expressions, so that operator formulas read like formulas.

use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, UnaryOp, narrow};

macro_rules! binary {
    ($($name:ident => $op:ident),*) => {$(
        pub fn $name(a: Expr, b: Expr) -> Expr {
            Expr::binary(BinaryOp::$op, a, b)
        }
    )*};
}

macro_rules! unary {
    ($($name:ident => $op:ident),*) => {$(
        pub fn $name(a: Expr) -> Expr {
            Expr::unary(UnaryOp::$op, a)
        }
    )*};
}

binary!(add => Add, sub => Sub, mul => Mul, div => Div, modulo => Mod, pow => Pow, min => Min, max => Max,
        eq => Eq, lt => Lt, le => Le, gt => Gt, ge => Ge, and => And, or => Or);
unary!(neg => Neg, abs => Abs, sqrt => Sqrt, exp => Exp, log => Log, tanh => Tanh, erf => Erf, round => Round,
       sigmoid => Sigmoid);

/// `value` as a literal of type `dtype`.
pub fn lit(value: f64, dtype: DType) -> Expr {
    if dtype == DType::I64 { Expr::int(value as i64) } else { Expr::literal(value, dtype) }
}

pub fn index(aff: Aff) -> Expr {
    Expr::Index(aff)
}

/// Conversion that is left out where the type is right already.
pub fn convert(from: DType, to: DType, value: Expr) -> Expr {
    if from == to { value } else { Expr::cast(to, value) }
}

/// Conversion as `Cast` and `QuantizeLinear` do it: a float of at most 8 bits saturates, unless `saturate` is 0.
pub fn convert_saturated(from: DType, to: DType, value: Expr, saturate: Option<i64>) -> Expr {
    let Some(limit) = narrow::largest(to).filter(|_| saturate != Some(0)) else { return convert(from, to, value) };
    let below = min(convert(from, DType::F32, value), lit(limit, DType::F32));
    // The format of scales has no negative numbers: they become NaN.
    let clamped = if to == DType::F8E8M0 { below } else { max(below, lit(-limit, DType::F32)) };
    convert(DType::F32, to, clamped)
}

/// The type in which sums and functions of `dtype` are computed: 16-bit floats and what is narrower than a byte are
/// too narrow.
pub fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        narrow if narrow.is_narrow_float() => DType::F32,
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => DType::I32,
        other => other,
    }
}

/// The product of extents as a value of type `dtype`.
pub fn volume(extents: &[Aff], dtype: DType) -> Expr {
    let constant: i64 = extents.iter().filter_map(Aff::as_constant).fold(1, i64::saturating_mul);
    let known = lit(constant as f64, dtype);
    extents
        .iter()
        .filter(|e| e.as_constant().is_none())
        .fold(known, |product, extent| mul(product, convert(DType::I64, dtype, index(extent.clone()))))
}

/// The smallest value of `dtype`: what a maximum starts from.
pub fn lowest(dtype: DType) -> Expr {
    match dtype {
        t if t.is_float() => Expr::float(f64::NEG_INFINITY, t),
        DType::I64 => Expr::int(i64::MIN),
        t if t.is_signed() => lit(-((t.bits() - 1) as f64).exp2(), dtype),
        _ => lit(0.0, dtype),
    }
}

/// The largest value of `dtype`: what a minimum starts from.
pub fn highest(dtype: DType) -> Expr {
    use sirius_polyhedral::Scalar;
    let all_ones = |bits: u32| Expr::Const(Scalar::Int((1i64 << bits) - 1, dtype));
    match dtype {
        t if t.is_float() => Expr::float(f64::INFINITY, t),
        DType::I64 => Expr::int(i64::MAX),
        DType::U64 => Expr::Const(Scalar::Int(-1, dtype)),
        DType::Bool => all_ones(1),
        t => all_ones(t.bits() - u32::from(t.is_signed())),
    }
}
