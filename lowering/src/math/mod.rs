//! Mathematical functions as inline LLVM IR, for scalars and vectors of any length, on every target.
//!
//! LLVM's own `llvm.exp`, `llvm.sin`, `llvm.pow` end in one library call per lane on x86 and in an abort on
//! NVPTX, so everything here is made of arithmetic, `fma`, comparisons and integer work on the bits. A
//! function is written once per module and vector type, as an internal `alwaysinline` function such as
//! `@sirius.exp.v16f32`, so that the IR that calls it stays readable. NaN gives NaN everywhere.

mod error_function;
mod exponential;
mod kit;
mod logarithm;
#[cfg(test)]
mod tests;

use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::types::{BasicType, BasicTypeEnum};
use inkwell::values::{BasicValueEnum, FunctionValue};
use kit::{Kit, V};
use sirius_polyhedral::error::{Error, Result};
use sirius_polyhedral::expr::UnaryOp;

/// Where calls are inserted; the width comes from the operands.
#[derive(Clone, Copy)]
pub struct MathEmitter<'a, 'ctx> {
    pub context: &'ctx Context,
    pub module: &'a Module<'ctx>,
    pub builder: &'a Builder<'ctx>,
}

/// A function of one float, for a value of type `f32` or `f64` (or a vector of these). The predicates give
/// `i1` (or a vector of `i1`).
pub fn emit_unary<'ctx>(
    m: &MathEmitter<'_, 'ctx>,
    op: UnaryOp,
    x: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>> {
    let body = unary_body(op, x.get_type())?;
    m.call(&op.name(), &[x], &|args| body(args[0]))
}

/// `x - floor(x / y) * y`: the remainder with the sign of the divisor.
pub fn emit_floor_mod<'ctx>(
    m: &MathEmitter<'_, 'ctx>,
    x: BasicValueEnum<'ctx>,
    y: BasicValueEnum<'ctx>,
) -> Result<BasicValueEnum<'ctx>> {
    m.call("mod", &[x, y], &|args| args[0] - (args[0] / args[1]).floor() * args[1])
}

type Unary = for<'k, 'c> fn(V<'k, 'c>) -> V<'k, 'c>;

/// What the function's IR is made by.
fn unary_body(op: UnaryOp, t: BasicTypeEnum<'_>) -> Result<Unary> {
    let wide = element_name(t)? == "f64";
    Ok(match (op, wide) {
        (UnaryOp::Neg, _) => |x| -x,
        (UnaryOp::Abs, _) => |x| x.abs(),
        (UnaryOp::Sign, _) => |x| x.gt(0.0).select(x.lit(1.0), x.lt(0.0).select(x.lit(-1.0), x)),
        (UnaryOp::Floor, _) => |x| x.floor(),
        (UnaryOp::Ceil, _) => |x| x.ceil(),
        (UnaryOp::Round, _) => |x| x.round(),
        (UnaryOp::Sqrt, _) => |x| x.sqrt(),
        (UnaryOp::IsNan, _) => |x| x.is_nan(),
        (UnaryOp::IsPosInf, _) => |x| x.eq(f64::INFINITY),
        (UnaryOp::IsNegInf, _) => |x| x.eq(f64::NEG_INFINITY),
        (UnaryOp::Exp, false) => exponential::exp_f32,
        (UnaryOp::Sigmoid, false) => exponential::sigmoid_f32,
        (UnaryOp::Tanh, false) => exponential::tanh_f32,
        (UnaryOp::Log, false) => logarithm::log_f32,
        (UnaryOp::Erf, false) => error_function::erf_f32,
        (op, _) => return Err(Error::bug("E701", format!("no {} for {t}", op.name()))),
    })
}

/// `f32` or `f64`.
fn element_name(t: BasicTypeEnum<'_>) -> Result<&'static str> {
    let element = if let BasicTypeEnum::VectorType(v) = t { v.get_element_type() } else { t };
    match element {
        BasicTypeEnum::FloatType(f) if f.get_bit_width() == 32 => Ok("f32"),
        BasicTypeEnum::FloatType(f) if f.get_bit_width() == 64 => Ok("f64"),
        _ => Err(Error::bug("E702", format!("float function of a value of type {t}"))),
    }
}

fn lanes(t: BasicTypeEnum<'_>) -> Option<u32> {
    if let BasicTypeEnum::VectorType(v) = t { Some(v.get_size()) } else { None }
}

type Body<'b> = &'b dyn for<'k, 'c> Fn(&[V<'k, 'c>]) -> V<'k, 'c>;

impl<'ctx> MathEmitter<'_, 'ctx> {
    /// Calls `sirius.<name>.<type>`, and defines it first if the module lacks it.
    fn call(&self, name: &str, args: &[BasicValueEnum<'ctx>], body: Body<'_>) -> Result<BasicValueEnum<'ctx>> {
        let t = args[0].get_type();
        let vector = lanes(t).map_or(String::new(), |n| format!("v{n}"));
        let name = format!("sirius.{name}.{vector}{}", element_name(t)?);
        let function = match self.module.get_function(&name) {
            Some(function) => function,
            None => self.define(&name, t, args.len(), body)?,
        };
        let args: Vec<_> = args.iter().map(|&a| a.into()).collect();
        let call = self.builder.build_call(function, &args, "").map_err(|e| Error::bug("E703", e.to_string()))?;
        call.try_as_basic_value().basic().ok_or_else(|| Error::bug("E703", format!("{name} gives no value")))
    }

    /// Writes the function. Its type is found by writing the body first into a function of the argument's
    /// type: predicates are the only other case.
    fn define(&self, name: &str, t: BasicTypeEnum<'ctx>, arity: usize, body: Body<'_>) -> Result<FunctionValue<'ctx>> {
        let predicate = [UnaryOp::IsNan, UnaryOp::IsPosInf, UnaryOp::IsNegInf].iter();
        let is_predicate = predicate.into_iter().any(|op| name.starts_with(&format!("sirius.{}.", op.name())));
        let bool_type = self.context.bool_type();
        let result = match lanes(t) {
            Some(n) if is_predicate => bool_type.vec_type(n).into(),
            None if is_predicate => bool_type.into(),
            _ => t,
        };
        let function = self.declare(name, result, t, arity);
        let kit = Kit::new(self.context, self.module, lanes(t));
        kit.builder.position_at_end(self.context.append_basic_block(function, ""));
        let args: Vec<V> = function.get_params().into_iter().map(|value| V { kit: &kit, value }).collect();
        let value = body(&args).value;
        kit.keep(kit.builder.build_return(Some(&value)));
        match kit.failure.take() {
            Some(message) => Err(Error::bug("E703", format!("{name}: {message}"))),
            None => Ok(function),
        }
    }

    fn declare(
        &self,
        name: &str,
        result: BasicTypeEnum<'ctx>,
        t: BasicTypeEnum<'ctx>,
        arity: usize,
    ) -> FunctionValue<'ctx> {
        let function_type = result.fn_type(&vec![t.into(); arity], false);
        let function = self.module.add_function(name, function_type, Some(Linkage::Internal));
        for attribute in ["alwaysinline", "nounwind"] {
            let kind = Attribute::get_named_enum_kind_id(attribute);
            function.add_attribute(AttributeLoc::Function, self.context.create_enum_attribute(kind, 0));
        }
        function
    }
}
