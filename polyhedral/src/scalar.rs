//! What every scalar operation means, in plain Rust: the definition that code generation is tested against.
//!
//! Floats narrower than `f64` compute in `f64` and round once, integers wrap to their width.

use crate::aff::Aff;
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::expr::{BinaryOp, Expr, UnaryOp};
use crate::narrow;
use crate::program::ArrayId;

/// The value of an expression; `aff` evaluates affine parts and `load` array elements. Only the chosen side
/// of a `Select` is evaluated.
pub fn eval(
    expr: &Expr,
    aff: &dyn Fn(&Aff) -> Result<i64>,
    load: &dyn Fn(ArrayId, &[i64]) -> Result<Scalar>,
) -> Result<Scalar> {
    let go = |e: &Expr| eval(e, aff, load);
    Ok(match expr {
        Expr::Const(value) => *value,
        Expr::Index(a) => Scalar::Int(aff(a)?, DType::I64),
        Expr::Load(access) => {
            let index = access.index.iter().map(|e| go(e).map(to_int)).collect::<Result<Vec<i64>>>()?;
            load(access.array, &index)?
        }
        Expr::Unary(op, a) => unary(*op, go(a)?),
        Expr::Binary(op, a, b) => binary(*op, go(a)?, go(b)?),
        Expr::Select(c, a, b) => go(if to_int(go(c)?) != 0 { a } else { b })?,
        Expr::Cast(t, a) => cast(go(a)?, *t),
    })
}

/// An integer or truth value as `i64`.
pub fn to_int(value: Scalar) -> i64 {
    match value {
        Scalar::Int(v, _) => v,
        Scalar::Float(v, _) => v as i64,
    }
}

/// `value` as an element of `dtype`: floats rounded, integers wrapped, `bool` 0 or 1.
pub fn cast(value: Scalar, dtype: DType) -> Scalar {
    match (value, dtype) {
        (v, t) if t.is_float() => Scalar::Float(round(v.as_f64(), t), t),
        (Scalar::Float(v, _), DType::Bool) => Scalar::Int(i64::from(v != 0.0), DType::Bool),
        (Scalar::Int(v, _), DType::Bool) => Scalar::Int(i64::from(v != 0), DType::Bool),
        (Scalar::Float(v, _), DType::U64) => Scalar::Int(v as u64 as i64, DType::U64),
        (Scalar::Float(v, _), t) => Scalar::Int(wrap(v as i64, t), t),
        (Scalar::Int(v, _), t) => Scalar::Int(wrap(v, t), t),
    }
}

/// The nearest value of a float type.
fn round(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => half::f16::from_f64(value).to_f64(),
        DType::BF16 => half::bf16::from_f64(value).to_f64(),
        t if t.is_narrow_float() => narrow::decode(narrow::encode(f64::from(value as f32), t), t),
        _ => value,
    }
}

/// The low bits of an integer, sign- or zero-extended as the type wants.
fn wrap(value: i64, dtype: DType) -> i64 {
    match dtype {
        DType::I8 => i64::from(value as i8),
        DType::I16 => i64::from(value as i16),
        DType::I32 => i64::from(value as i32),
        DType::U8 => i64::from(value as u8),
        DType::U16 => i64::from(value as u16),
        DType::U32 => i64::from(value as u32),
        DType::Bool => i64::from(value != 0),
        DType::I4 | DType::I2 => value << (64 - dtype.bits()) >> (64 - dtype.bits()),
        DType::U4 | DType::U2 => value & ((1 << dtype.bits()) - 1),
        _ => value,
    }
}

pub fn unary(op: UnaryOp, value: Scalar) -> Scalar {
    match value {
        _ if op == UnaryOp::Bits => same_bits(value),
        Scalar::Float(x, _) if op.is_predicate() => Scalar::Int(i64::from(float_predicate(op, x)), DType::Bool),
        Scalar::Float(x, t) => Scalar::Float(round(float_unary(op, x), t), t),
        Scalar::Int(_, _) if op.is_predicate() => Scalar::Int(0, DType::Bool),
        Scalar::Int(x, t) => Scalar::Int(wrap(int_unary(op, x, t), t), t),
    }
}

fn same_bits(value: Scalar) -> Scalar {
    match value {
        Scalar::Float(x, DType::F64) => Scalar::Int(x.to_bits() as i64, DType::I64),
        Scalar::Float(x, _) => Scalar::Int(i64::from((x as f32).to_bits() as i32), DType::I32),
        Scalar::Int(x, DType::I64) => Scalar::Float(f64::from_bits(x as u64), DType::F64),
        Scalar::Int(x, _) => Scalar::Float(f64::from(f32::from_bits(x as u32)), DType::F32),
    }
}

fn float_predicate(op: UnaryOp, x: f64) -> bool {
    match op {
        UnaryOp::IsNan => x.is_nan(),
        UnaryOp::IsPosInf => x == f64::INFINITY,
        _ => x == f64::NEG_INFINITY,
    }
}

fn float_unary(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign if x == 0.0 || x.is_nan() => x,
        UnaryOp::Sign => x.signum(),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tan => x.tan(),
        UnaryOp::Asin => x.asin(),
        UnaryOp::Acos => x.acos(),
        UnaryOp::Atan => x.atan(),
        UnaryOp::Sinh => x.sinh(),
        UnaryOp::Cosh => x.cosh(),
        UnaryOp::Asinh => x.asinh(),
        UnaryOp::Acosh => x.acosh(),
        UnaryOp::Atanh => x.atanh(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Erf => libm::erf(x),
        UnaryOp::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryOp::Not | UnaryOp::IsNan | UnaryOp::IsPosInf | UnaryOp::IsNegInf | UnaryOp::Bits => f64::NAN,
    }
}

fn int_unary(op: UnaryOp, x: i64, dtype: DType) -> i64 {
    match op {
        UnaryOp::Neg => x.wrapping_neg(),
        UnaryOp::Abs if dtype.is_signed() => x.wrapping_abs(),
        UnaryOp::Sign if dtype.is_signed() => x.signum(),
        UnaryOp::Sign => i64::from(x != 0),
        UnaryOp::Not if dtype == DType::Bool => i64::from(x == 0),
        UnaryOp::Not => !x,
        _ => x,
    }
}

pub fn binary(op: BinaryOp, a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::Int(x, t), Scalar::Int(y, _)) => int_binary(op, x, y, t),
        _ => float_binary(op, a.as_f64(), b.as_f64(), a.dtype()),
    }
}

fn float_binary(op: BinaryOp, x: f64, y: f64, t: DType) -> Scalar {
    use BinaryOp::*;
    let truth = |v: bool| Scalar::Int(i64::from(v), DType::Bool);
    let value = match op {
        Eq => return truth(x == y),
        Ne => return truth(x != y),
        Lt => return truth(x < y),
        Le => return truth(x <= y),
        Gt => return truth(x > y),
        Ge => return truth(x >= y),
        Add => x + y,
        Sub => x - y,
        Mul => x * y,
        Div => x / y,
        Mod => x - (x / y).floor() * y,
        Rem => x % y,
        Pow => x.powf(y),
        Min | Max if x.is_nan() || y.is_nan() => f64::NAN,
        Min => x.min(y),
        Max => x.max(y),
        And | Or | Xor | Shl | Shr | Dot2 | Dot4 => f64::NAN,
    };
    Scalar::Float(round(value, t), t)
}

fn int_binary(op: BinaryOp, x: i64, y: i64, t: DType) -> Scalar {
    use BinaryOp::*;
    let truth = |v: bool| Scalar::Int(i64::from(v), DType::Bool);
    let order = if t == DType::U64 { (x as u64).cmp(&(y as u64)) } else { x.cmp(&y) };
    let value = match op {
        Eq => return truth(x == y),
        Ne => return truth(x != y),
        Lt => return truth(order.is_lt()),
        Le => return truth(order.is_le()),
        Gt => return truth(order.is_gt()),
        Ge => return truth(order.is_ge()),
        Add => x.wrapping_add(y),
        Sub => x.wrapping_sub(y),
        Mul => x.wrapping_mul(y),
        Div | Mod | Rem => divide(op, x, y, t),
        Pow => power(x, y),
        Min => {
            if order.is_le() {
                x
            } else {
                y
            }
        }
        Max => {
            if order.is_ge() {
                x
            } else {
                y
            }
        }
        And => x & y,
        Or => x | y,
        Xor => x ^ y,
        Shl => x.checked_shl(y as u32).unwrap_or(0),
        Shr if t.is_signed() => x >> y.clamp(0, 63),
        Shr => (x as u64).checked_shr(y as u32).unwrap_or(0) as i64,
        Dot2 => [0, 16].map(|by| i64::from((x >> by) as i16) * i64::from((y >> by) as i16)).iter().sum(),
        Dot4 => [0, 8, 16, 24].map(|by| i64::from((x >> by) as u8) * i64::from((y >> by) as i8)).iter().sum(),
    };
    Scalar::Int(wrap(value, t), t)
}

/// Division by zero gives zero: ONNX leaves it undefined, and a trap would kill the caller.
fn divide(op: BinaryOp, x: i64, y: i64, t: DType) -> i64 {
    if y == 0 {
        return 0;
    }
    if t == DType::U64 {
        let (x, y) = (x as u64, y as u64);
        return if op == BinaryOp::Div { (x / y) as i64 } else { (x % y) as i64 };
    }
    match op {
        BinaryOp::Div => x.wrapping_div(y),
        BinaryOp::Rem => x.wrapping_rem(y),
        _ => {
            let rest = x.wrapping_rem(y);
            if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest }
        }
    }
}

/// Integer power by squaring; a negative exponent truncates toward zero.
fn power(base: i64, exponent: i64) -> i64 {
    match (exponent, base) {
        (n, _) if n >= 0 => squaring(base, n as u64),
        (_, 1) => 1,
        (n, -1) => {
            if n % 2 == 0 {
                1
            } else {
                -1
            }
        }
        _ => 0,
    }
}

fn squaring(mut base: i64, mut exponent: u64) -> i64 {
    let mut power = 1i64;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        exponent >>= 1;
    }
    power
}

/// Reads element `at` of row-major little-endian bytes.
pub fn read(bytes: &[u8], at: usize, dtype: DType) -> Scalar {
    let cell = &bytes[at * dtype.size()..(at + 1) * dtype.size()];
    let mut wide = [0u8; 8];
    wide[..cell.len()].copy_from_slice(cell);
    let bits = u64::from_le_bytes(wide);
    match dtype {
        DType::F64 => Scalar::Float(f64::from_bits(bits), dtype),
        DType::F32 => Scalar::Float(f64::from(f32::from_bits(bits as u32)), dtype),
        DType::F16 => Scalar::Float(half::f16::from_bits(bits as u16).to_f64(), dtype),
        DType::BF16 => Scalar::Float(half::bf16::from_bits(bits as u16).to_f64(), dtype),
        t if t.is_narrow_float() => Scalar::Float(narrow::decode(bits as u8, t), t),
        _ => Scalar::Int(wrap(bits as i64, dtype), dtype),
    }
}

/// Writes element `at`.
pub fn write(bytes: &mut [u8], at: usize, value: Scalar) {
    let dtype = value.dtype();
    let bits = match value {
        Scalar::Float(v, DType::F64) => v.to_bits(),
        Scalar::Float(v, DType::F16) => u64::from(half::f16::from_f64(v).to_bits()),
        Scalar::Float(v, DType::BF16) => u64::from(half::bf16::from_f64(v).to_bits()),
        Scalar::Float(v, t) if t.is_narrow_float() => u64::from(narrow::encode(f64::from(v as f32), t)),
        Scalar::Float(v, _) => u64::from((v as f32).to_bits()),
        Scalar::Int(v, _) => v as u64,
    };
    let size = dtype.size();
    bytes[at * size..(at + 1) * size].copy_from_slice(&bits.to_le_bytes()[..size]);
}
