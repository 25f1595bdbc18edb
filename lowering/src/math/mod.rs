//! Mathematical functions as inline LLVM IR, for scalars and vectors of any length, on every target.
//!
//! LLVM's own `llvm.exp`, `llvm.sin`, `llvm.pow` end in one library call per lane on x86 and in an abort on
//! NVPTX, so everything here is made of arithmetic, `fma`, comparisons and integer work on the bits. A
//! function is written once per module and vector type, as an internal `alwaysinline` function such as
//! `@sirius.exp.v16f32`, so that the IR that calls it stays readable. NaN gives NaN everywhere. On processors with AVX-512
//! exp and sigmoid of `f32` use its permutations and scalings (`avx512`) at every width, so that equal arguments give equal bits.
//!
//! Largest error measured, in units of the last place, over 600,000 bit patterns spread evenly over the
//! whole type (the tests hold these bounds; the reference for `f64` has an error of its own below 1):
//!
//! | function | `f32` | `f64` |
//! | --- | --- | --- |
//! | exp | 0.95, AVX-512 0.97 (0 below `2^-126`) | 1 |
//! | log | 0.76 | 1 |
//! | tanh | 2.01 | 3 |
//! | sigmoid | 1.96, AVX-512 2.30 (0 below `2^-126`) | 2 |
//! | erf | 2.23 | 2 |
//! | sin, cos (any argument), acos, sinh, cosh, asinh, pow | 0.5 | 1 |
//! | tan, asin, atan, acosh, atanh | 0.5 | 2 |
//! | fmod, sqrt, floor, ceil, round | exact | exact |

mod avx512;
mod control;
mod error_function;
mod exponential;
mod hyperbolic;
mod inverse_trigonometric;
mod kit;
mod logarithm;
mod power;
mod remainder;
#[cfg(test)]
mod tests;
mod trigonometric;
mod value;

use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::types::{BasicTypeEnum, VectorType};
use inkwell::values::{BasicValueEnum, FunctionValue, VectorValue};
use kit::{Body, declare, write_body};
use sirius_polyhedral::error::{Error, Result};
use sirius_polyhedral::expr::UnaryOp;
use value::V;

/// Where calls are inserted; the width comes from the operands.
#[derive(Clone, Copy)]
pub struct MathEmitter<'a, 'ctx> {
    pub context: &'ctx Context,
    pub module: &'a Module<'ctx>,
    pub builder: &'a Builder<'ctx>,
    /// May code use AVX-512?
    pub avx512: bool,
}

/// A function of one float, for a value of type `f32` or `f64` (or a vector of these). The predicates give
/// `i1` (or a vector of `i1`).
pub fn emit_unary<'ctx>(
    m: &MathEmitter<'_, 'ctx>,
    op: UnaryOp,
    x: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>> {
    let of = |x, body: Unary| m.call(&op.name(), &[x], op.is_predicate(), &|args| body(args[0]));
    let fits = element_name(x.get_type())? == "f32" && lanes(x.get_type()).is_none_or(|n| n <= avx512::LANES);
    match avx512::body(op).filter(|_| m.avx512 && fits) {
        Some(body) => m.in_lanes(avx512::LANES, x, &|x| of(x, body)),
        None => of(x, unary_body(op)?),
    }
}

/// `x - floor(x / y) * y`: the remainder with the sign of the divisor.
pub fn emit_floor_mod<'ctx>(
    m: &MathEmitter<'_, 'ctx>,
    x: BasicValueEnum<'ctx>,
    y: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>> {
    m.call("mod", &[x, y], false, &|args| args[0] - (args[0] / args[1]).floor() * args[1])
}

/// `x^y` with C99's special cases. Small constant exponents (-1, 0, 0.5, 1, 2, 3, 4) become products and roots.
pub fn emit_pow<'ctx>(
    m: &MathEmitter<'_, 'ctx>,
    x: BasicValueEnum<'ctx>,
    y: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>> {
    if let Some((name, body)) = constant_exponent(y).and_then(simple_power) {
        return m.call(name, &[x], false, &|args| body(args[0]));
    }
    let wide = element_name(x.get_type())? == "f64";
    let body = if wide { power::pow_f64 } else { power::pow_f32 };
    m.call("pow", &[x, y], false, &|args| body(args[0], args[1]))
}

/// The remainder with the sign of `x` (C's `fmod`), exact.
pub fn emit_fmod<'ctx>(
    m: &MathEmitter<'_, 'ctx>,
    x: BasicValueEnum<'ctx>,
    y: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>> {
    let wide = element_name(x.get_type())? == "f64";
    m.call("fmod", &[x, y], false, &|args| match wide {
        true => remainder::fmod_f64(args[0], args[1]),
        false => remainder::fmod_f64(args[0].widen(), args[1].widen()).narrow(),
    })
}

type Unary = for<'k, 'c> fn(V<'k, 'c>) -> V<'k, 'c>;

/// What the function's IR is made by; looks at the type of its argument.
fn unary_body(op: UnaryOp) -> Result<Unary> {
    Ok(match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => |x| x.abs(),
        UnaryOp::Sign => |x| x.gt(0.0).select(x.lit(1.0), x.lt(0.0).select(x.lit(-1.0), x)),
        UnaryOp::Floor => |x| x.floor(),
        UnaryOp::Ceil => |x| x.ceil(),
        UnaryOp::Round => |x| x.round(),
        UnaryOp::Sqrt => |x| x.sqrt(),
        UnaryOp::IsNan => |x| x.is_nan(),
        UnaryOp::IsPosInf => |x| x.eq(f64::INFINITY),
        UnaryOp::IsNegInf => |x| x.eq(f64::NEG_INFINITY),
        UnaryOp::Exp => |x| if x.is_f64() { exponential::exp_f64(x) } else { exponential::exp_f32(x) },
        UnaryOp::Sigmoid => |x| if x.is_f64() { exponential::sigmoid_f64(x) } else { exponential::sigmoid_f32(x) },
        UnaryOp::Tanh => |x| if x.is_f64() { exponential::tanh_f64(x) } else { exponential::tanh_f32(x) },
        UnaryOp::Log => |x| if x.is_f64() { logarithm::log_f64(x) } else { logarithm::log_f32(x) },
        UnaryOp::Erf => |x| if x.is_f64() { error_function::erf_f64(x) } else { error_function::erf_f32(x) },
        UnaryOp::Sin => |x| through_f64(x, trigonometric::sin_f64),
        UnaryOp::Cos => |x| through_f64(x, trigonometric::cos_f64),
        UnaryOp::Tan => |x| through_f64(x, trigonometric::tan_f64),
        UnaryOp::Asin => |x| through_f64(x, inverse_trigonometric::asin_f64),
        UnaryOp::Acos => |x| through_f64(x, inverse_trigonometric::acos_f64),
        UnaryOp::Atan => |x| through_f64(x, inverse_trigonometric::atan_f64),
        UnaryOp::Sinh => |x| through_f64(x, hyperbolic::sinh_f64),
        UnaryOp::Cosh => |x| through_f64(x, hyperbolic::cosh_f64),
        UnaryOp::Asinh => |x| through_f64(x, hyperbolic::asinh_f64),
        UnaryOp::Acosh => |x| through_f64(x, hyperbolic::acosh_f64),
        UnaryOp::Atanh => |x| through_f64(x, hyperbolic::atanh_f64),
        UnaryOp::Not | UnaryOp::Bits => {
            return Err(Error::bug("E720", format!("`{}` is no function of floats", op.name())));
        }
    })
}

/// Functions that are rare in networks have one implementation, in `f64`.
fn through_f64<'k, 'c>(x: V<'k, 'c>, f: Unary) -> V<'k, 'c> {
    if x.is_f64() { f(x) } else { f(x.widen()).narrow() }
}

/// The value of a constant (of all lanes).
fn constant_exponent(y: BasicValueEnum<'_>) -> Option<f64> {
    let value = match y {
        BasicValueEnum::FloatValue(v) => v.get_constant()?.0,
        BasicValueEnum::VectorValue(v) if v.is_const() => splat_value(v)?,
        _ => return None,
    };
    Some(value)
}

fn splat_value(v: inkwell::values::VectorValue<'_>) -> Option<f64> {
    // LLVM has elements of plain data only; it stores a vector of zeros otherwise.
    if v.is_null() {
        return Some(0.0);
    }
    if !v.is_constant_data_vector() {
        return None;
    }
    let mut lanes = (0..v.get_type().get_size()).map(|i| match v.get_element_as_constant(i) {
        BasicValueEnum::FloatValue(lane) => lane.get_constant().map(|c| c.0),
        _ => None,
    });
    let first = lanes.next()??;
    lanes.all(|lane| lane == Some(first)).then_some(first)
}

/// Exponents with a short exact form, and the name of the function for each.
fn simple_power(y: f64) -> Option<(&'static str, Unary)> {
    Some(match y {
        0.0 => ("one", |x| x.lit(1.0)),
        -1.0 => ("reciprocal", |x| x.lit(1.0) / x),
        // C99 wants pow(-0, 1/2) = 0 and pow(-inf, 1/2) = inf.
        0.5 => ("root", |x| x.eq(f64::NEG_INFINITY).select(x.lit(f64::INFINITY), (x + 0.0).sqrt())),
        1.0 => ("identity", |x| x),
        2.0 => ("square", |x| x * x),
        3.0 => ("cube", |x| x * x * x),
        4.0 => ("fourth", |x| (x * x) * (x * x)),
        _ => return None,
    })
}

/// `f32` or `f64`.
fn element_name(t: BasicTypeEnum<'_>) -> Result<&'static str> {
    let element = if let BasicTypeEnum::VectorType(v) = t { v.get_element_type() } else { t };
    match element {
        BasicTypeEnum::FloatType(f) if f.get_bit_width() == 32 => Ok("f32"),
        BasicTypeEnum::FloatType(f) if f.get_bit_width() == 64 => Ok("f64"),
        _ => Err(Error::bug("E721", format!("float function of a value of type {t}"))),
    }
}

fn lanes(t: BasicTypeEnum<'_>) -> Option<u32> {
    if let BasicTypeEnum::VectorType(v) = t { Some(v.get_size()) } else { None }
}

impl<'ctx> MathEmitter<'_, 'ctx> {
    /// `f` of `x` filled up to `to` lanes, for functions that exist at one width.
    fn in_lanes(
        &self,
        to: u32,
        x: BasicValueEnum<'ctx>,
        f: &dyn Fn(BasicValueEnum<'ctx>) -> Result<BasicValueEnum<'ctx>>,
    ) -> Result<BasicValueEnum<'ctx>> {
        let b = self.builder;
        let zero = self.context.i32_type().const_zero();
        let wrong = |e: inkwell::builder::BuilderError| Error::bug("E722", e.to_string());
        let resized = |v: VectorValue<'ctx>, to: u32| {
            let last = u64::from(v.get_type().get_size() - 1);
            let order = (0..u64::from(to)).map(|lane| self.context.i32_type().const_int(lane.min(last), false));
            b.build_shuffle_vector(v, v, VectorType::const_vector(&order.collect::<Vec<_>>()), "").map_err(wrong)
        };
        match x {
            BasicValueEnum::VectorValue(v) if v.get_type().get_size() == to => f(x),
            BasicValueEnum::VectorValue(v) => {
                let y = f(resized(v, to)?.into())?.into_vector_value();
                Ok(resized(y, v.get_type().get_size())?.into())
            }
            _ => {
                let empty = x.get_type().into_float_type().vec_type(to).get_undef();
                let y = f(b.build_insert_element(empty, x, zero, "").map_err(wrong)?.into())?.into_vector_value();
                b.build_extract_element(y, zero, "").map_err(wrong)
            }
        }
    }

    /// Calls `sirius.<name>.<type>`, and defines it first if the module lacks it.
    fn call(
        &self,
        name: &str,
        args: &[BasicValueEnum<'ctx>],
        predicate: bool,
        body: Body<'_, 'ctx>,
    ) -> Result<BasicValueEnum<'ctx>> {
        let t = args[0].get_type();
        let vector = lanes(t).map_or(String::new(), |n| format!("v{n}"));
        let name = format!("sirius.{name}.{vector}{}", element_name(t)?);
        let function = match self.module.get_function(&name) {
            Some(function) => function,
            None => self.define(&name, t, args.len(), predicate, body)?,
        };
        let args: Vec<_> = args.iter().map(|&a| a.into()).collect();
        let call = self.builder.build_call(function, &args, "").map_err(|e| Error::bug("E722", e.to_string()))?;
        call.try_as_basic_value().basic().ok_or_else(|| Error::bug("E722", format!("{name} gives no value")))
    }

    fn define(
        &self,
        name: &str,
        t: BasicTypeEnum<'ctx>,
        arity: usize,
        predicate: bool,
        body: Body<'_, 'ctx>,
    ) -> Result<FunctionValue<'ctx>> {
        let bit = self.context.bool_type();
        let result = match (predicate, lanes(t)) {
            (false, _) => t,
            (true, Some(n)) => bit.vec_type(n).into(),
            (true, None) => bit.into(),
        };
        let function = declare(self.context, self.module, name, result, &vec![t; arity], "alwaysinline");
        write_body(self.context, self.module, function, lanes(t), body)
            .map_err(|message| Error::bug("E722", format!("{name}: {message}")))?;
        Ok(function)
    }
}
