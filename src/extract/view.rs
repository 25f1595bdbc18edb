//! Tensors whose elements are known: literals and expressions of parameters.

use crate::graph::Tensor;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Scalar};

/// Constants up to this many elements that repeat one value become a literal.
const UNIFORM_LIMIT: usize = 1 << 16;

/// The literal for a constant all of whose elements are equal.
pub fn literal(tensor: &Tensor, bytes: &[u8]) -> Option<Expr> {
    let size = tensor.dtype.size();
    let first = bytes.get(..size)?;
    let uniform = bytes.len() <= UNIFORM_LIMIT * size && bytes.chunks_exact(size).all(|c| c == first);
    if uniform { element(tensor, 0) } else { None }
}

/// Element `n` of a constant as a literal.
pub fn element(tensor: &Tensor, n: usize) -> Option<Expr> {
    let size = tensor.dtype.size();
    let bytes = tensor.constant.as_ref()?.bytes().get(n.checked_mul(size)?..)?.get(..size)?;
    let one = Tensor {
        shape: vec![],
        symbolic: None,
        name: String::new(),
        dtype: tensor.dtype,
        constant: Some(sirius_polyhedral::ConstantData::new(bytes.to_vec())),
    };
    match one.ints() {
        Some(v) => Some(integer(*v.first()?, tensor.dtype)),
        None => Some(Expr::Const(Scalar::Float(*one.floats()?.first()?, tensor.dtype))),
    }
}

/// An integer literal; `i64` literals are affine so that they may be subscripts.
pub fn integer(value: i64, dtype: DType) -> Expr {
    if dtype == DType::I64 { Expr::int(value) } else { Expr::Const(Scalar::Int(value, dtype)) }
}

/// The element of a known tensor at constant subscripts.
pub fn constant_element(tensor: &Tensor, index: &[Expr]) -> Option<Expr> {
    if tensor.constant.is_none() && tensor.symbolic.is_none() {
        return None;
    }
    let mut linear = 0i64;
    for (extent, i) in tensor.fixed_shape()?.iter().zip(index) {
        let i = i.as_aff()?.as_constant()?;
        if !(0..*extent).contains(&i) {
            return None;
        }
        linear = linear.checked_mul(*extent)?.checked_add(i)?;
    }
    match &tensor.symbolic {
        Some(elements) => Some(typed(elements.get(linear as usize)?, tensor.dtype)),
        None => element(tensor, linear as usize),
    }
}

fn typed(aff: &Aff, dtype: DType) -> Expr {
    match aff.as_constant() {
        Some(v) => integer(v, dtype),
        None if dtype == DType::I64 => Expr::Index(aff.clone()),
        None => Expr::cast(dtype, Expr::Index(aff.clone())),
    }
}

/// A tensor of affine elements: a chain of selects on the linear position (shapes are short).
pub fn symbolic(elements: &[Aff], shape: &[Aff], dtype: DType) -> Expr {
    let mut linear = Aff::constant(0);
    for (d, extent) in shape.iter().enumerate() {
        linear = linear * extent.as_constant().unwrap_or(1) + Aff::iter(d);
    }
    let Some((last, before)) = elements.split_last() else { return integer(0, dtype) };
    let mut value = typed(last, dtype);
    for (n, element) in before.iter().enumerate().rev() {
        let here = Expr::binary(BinaryOp::Eq, Expr::Index(linear.clone()), Expr::int(n as i64));
        value = Expr::select(here, typed(element, dtype), value);
    }
    value
}
