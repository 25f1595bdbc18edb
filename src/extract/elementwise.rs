//! Operators that compute each element from the elements at the same place: a table from ONNX names to
//! expressions. Inputs broadcast as in numpy.

use super::arguments::{broadcast, input, output};
use super::builder::Builder;
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{BinaryOp, DType, Expr, Result, UnaryOp};

/// ONNX operators that are one function of one argument.
const UNARY: [(&str, UnaryOp); 26] = [
    ("Abs", UnaryOp::Abs),
    ("Acos", UnaryOp::Acos),
    ("Acosh", UnaryOp::Acosh),
    ("Asin", UnaryOp::Asin),
    ("Asinh", UnaryOp::Asinh),
    ("Atan", UnaryOp::Atan),
    ("Atanh", UnaryOp::Atanh),
    ("BitwiseNot", UnaryOp::Not),
    ("Ceil", UnaryOp::Ceil),
    ("Cos", UnaryOp::Cos),
    ("Cosh", UnaryOp::Cosh),
    ("Erf", UnaryOp::Erf),
    ("Exp", UnaryOp::Exp),
    ("Floor", UnaryOp::Floor),
    ("IsNaN", UnaryOp::IsNan),
    ("Log", UnaryOp::Log),
    ("Neg", UnaryOp::Neg),
    ("Not", UnaryOp::Not),
    ("Round", UnaryOp::Round),
    ("Sigmoid", UnaryOp::Sigmoid),
    ("Sign", UnaryOp::Sign),
    ("Sin", UnaryOp::Sin),
    ("Sinh", UnaryOp::Sinh),
    ("Sqrt", UnaryOp::Sqrt),
    ("Tan", UnaryOp::Tan),
    ("Tanh", UnaryOp::Tanh),
];

/// ONNX operators that are one function of two arguments, or a fold of it over more.
const BINARY: [(&str, BinaryOp); 19] = [
    ("Add", BinaryOp::Add),
    ("And", BinaryOp::And),
    ("BitwiseAnd", BinaryOp::And),
    ("BitwiseOr", BinaryOp::Or),
    ("BitwiseXor", BinaryOp::Xor),
    ("Div", BinaryOp::Div),
    ("Equal", BinaryOp::Eq),
    ("Greater", BinaryOp::Gt),
    ("GreaterOrEqual", BinaryOp::Ge),
    ("Less", BinaryOp::Lt),
    ("LessOrEqual", BinaryOp::Le),
    ("Max", BinaryOp::Max),
    ("Mean", BinaryOp::Add),
    ("Min", BinaryOp::Min),
    ("Mul", BinaryOp::Mul),
    ("Or", BinaryOp::Or),
    ("Sub", BinaryOp::Sub),
    ("Sum", BinaryOp::Add),
    ("Xor", BinaryOp::Xor),
];

/// Extracts the node if it is in the table.
pub fn extract(b: &mut Builder, node: &Node) -> Result<bool> {
    if !is_known(node) {
        return Ok(false);
    }
    let target = output(node, 0)?;
    let mut arguments = Vec::new();
    let types: Vec<DType> = node.inputs.iter().flatten().map(|t| b.dtype(*t)).collect();
    let index = b.iters(b.graph.tensor(target).rank());
    for tensor in &node.inputs {
        arguments.push(match tensor {
            Some(t) => Some(b.read(*t, &broadcast(&b.shape(*t), &index))?),
            None => None,
        });
    }
    let Some(value) = value(node, &types, b.dtype(target), arguments) else { return Ok(false) };
    b.pointwise(target, value);
    Ok(true)
}

const OTHERS: [&str; 28] = [
    "BitCast",
    "BitShift",
    "Cast",
    "CastLike",
    "Celu",
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "IsInf",
    "LeakyRelu",
    "Mish",
    "Mod",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Shrink",
    "Softplus",
    "Softsign",
    "Swish",
    "ThresholdedRelu",
    "Where",
    "Silu",
    "Identity",
    "FastGelu",
];

fn is_known(node: &Node) -> bool {
    let op = node.op.as_str();
    UNARY.iter().any(|(n, _)| *n == op) || BINARY.iter().any(|(n, _)| *n == op) || OTHERS.contains(&op)
}

/// The element of the result from the elements of the inputs (`None` for an omitted input).
fn value(node: &Node, types: &[DType], out: DType, arguments: Vec<Option<Expr>>) -> Option<Expr> {
    match node.op.as_str() {
        "Cast" | "CastLike" => {
            let value = arguments.into_iter().next()??;
            return Some(convert_saturated(*types.first()?, out, value, node.int("saturate")));
        }
        "BitCast" => return Some(bit_cast(*types.first()?, out, arguments.into_iter().next()??)),
        "Where" => {
            let mut all = arguments.into_iter().flatten();
            return Some(Expr::select(all.next()?, all.next()?, all.next()?));
        }
        "Pow" => return power(types, arguments),
        "Clip" => return clip(node, *types.first()?, arguments),
        _ => {}
    }
    let first = *types.first()?;
    let dtype = wide(first);
    let widened = arguments.into_iter().flatten().map(|a| convert(first, dtype, a)).collect();
    let value = formula(node, dtype, widened)?;
    let predicate = out == DType::Bool && first != DType::Bool;
    Some(if predicate { value } else { convert(dtype, out, value) })
}

/// The formula in a type that is wide enough to compute in.
fn formula(node: &Node, t: DType, mut arguments: Vec<Expr>) -> Option<Expr> {
    if let Some((_, op)) = BINARY.iter().find(|(name, _)| *name == node.op) {
        let count = arguments.len();
        let folded = arguments.into_iter().reduce(|a, b| Expr::binary(*op, a, b))?;
        return Some(if node.op == "Mean" { div(folded, lit(count as f64, t)) } else { folded });
    }
    if arguments.len() == 2 {
        let second = arguments.pop()?;
        return two(node, t, arguments.pop()?, second);
    }
    let x = arguments.pop()?;
    if let Some((_, op)) = UNARY.iter().find(|(name, _)| *name == node.op) {
        return Some(Expr::unary(*op, x));
    }
    activation(node, t, x)
}

/// The same bits in another type of the same size; floats by way of the signed integer.
fn bit_cast(from: DType, to: DType, x: Expr) -> Expr {
    let wide = if to.size() == 8 { DType::I64 } else { DType::I32 };
    match (from.is_float(), to.is_float()) {
        (true, false) => convert(wide, to, Expr::unary(UnaryOp::Bits, x)),
        (false, true) => Expr::unary(UnaryOp::Bits, convert(from, wide, x)),
        _ => convert(from, to, x),
    }
}

fn two(node: &Node, t: DType, a: Expr, b: Expr) -> Option<Expr> {
    Some(match node.op.as_str() {
        "Mod" if node.int("fmod") == Some(1) => Expr::binary(BinaryOp::Rem, a, b),
        "Mod" => modulo(a, b),
        "PRelu" => Expr::select(lt(a.clone(), lit(0.0, t)), mul(b, a.clone()), a),
        "BitShift" if node.string("direction") == Some("LEFT") => Expr::binary(BinaryOp::Shl, a, b),
        "BitShift" => Expr::binary(BinaryOp::Shr, a, b),
        _ => return None,
    })
}

/// Functions with parameters and compositions, after the ONNX operator reference.
fn activation(node: &Node, t: DType, x: Expr) -> Option<Expr> {
    let c = |value: f64| lit(value, t);
    // Defaults are numbers of the attribute's type, as written values are: 0.01 is 0.01f32 in f64 arithmetic, too.
    let attribute = |name: &str, default: f32| lit(f64::from(node.float(name).unwrap_or(default)), t);
    let copy = || x.clone();
    let zero = || lit(0.0, t);
    let expm1 = |e: Expr| sub(exp(e), lit(1.0, t));
    Some(match node.op.as_str() {
        "Relu" => max(x, zero()),
        "Reciprocal" => div(c(1.0), x),
        "LeakyRelu" => Expr::select(lt(copy(), zero()), mul(attribute("alpha", 0.01), copy()), x),
        "ThresholdedRelu" => Expr::select(gt(copy(), attribute("alpha", 1.0)), x, zero()),
        "HardSigmoid" => clamp01(add(mul(attribute("alpha", 0.2), x), attribute("beta", 0.5)), t),
        "HardSwish" => mul(copy(), clamp01(add(mul(c(1.0 / 6.0), x), c(0.5)), t)),
        "Swish" | "Silu" => mul(copy(), sigmoid(mul(attribute("alpha", 1.0), x))),
        "Elu" => Expr::select(lt(copy(), zero()), mul(attribute("alpha", 1.0), expm1(copy())), x),
        "Selu" => {
            let negative = mul(attribute("alpha", 1.673_263_2), expm1(copy()));
            mul(attribute("gamma", 1.050_701), Expr::select(le(copy(), zero()), negative, x))
        }
        "Celu" => {
            let alpha = || attribute("alpha", 1.0);
            add(max(zero(), copy()), min(zero(), mul(alpha(), expm1(div(x, alpha())))))
        }
        "Softplus" => softplus(x, t),
        "Softsign" => div(copy(), add(c(1.0), abs(x))),
        "Mish" => mul(copy(), tanh(softplus(x, t))),
        "Gelu" | "FastGelu" => gelu(node, x, t),
        "Shrink" => {
            let (bias, edge) = (attribute("bias", 0.0), node.float("lambd").map_or(0.5, f64::from));
            let upper = Expr::select(gt(copy(), c(edge)), sub(copy(), bias.clone()), zero());
            Expr::select(lt(copy(), c(-edge)), add(x, bias), upper)
        }
        "IsInf" => is_infinite(node, x),
        _ => return None,
    })
}

fn clamp01(x: Expr, t: DType) -> Expr {
    max(lit(0.0, t), min(lit(1.0, t), x))
}

/// `log(1 + exp(x))` without overflow: `max(x, 0) + log(1 + exp(-|x|))`.
fn softplus(x: Expr, t: DType) -> Expr {
    add(max(x.clone(), lit(0.0, t)), log(add(lit(1.0, t), exp(neg(abs(x))))))
}

fn gelu(node: &Node, x: Expr, t: DType) -> Expr {
    let c = |value: f64| lit(value, t);
    let inner = if node.string("approximate") == Some("tanh") || node.op == "FastGelu" {
        let cube = mul(x.clone(), mul(x.clone(), x.clone()));
        tanh(mul(c((2.0 / std::f64::consts::PI).sqrt()), add(x.clone(), mul(c(0.044715), cube))))
    } else {
        erf(mul(x.clone(), c(std::f64::consts::FRAC_1_SQRT_2)))
    };
    mul(mul(c(0.5), x), add(c(1.0), inner))
}

fn is_infinite(node: &Node, x: Expr) -> Expr {
    let positive = node.int("detect_positive") != Some(0);
    let negative = node.int("detect_negative") != Some(0);
    let up = || Expr::unary(UnaryOp::IsPosInf, x.clone());
    let down = || Expr::unary(UnaryOp::IsNegInf, x.clone());
    match (positive, negative) {
        (true, true) => or(up(), down()),
        (true, false) => up(),
        (false, true) => down(),
        (false, false) => super::simplify::bool_literal(false),
    }
}

/// `Clip`: bounds are attributes before version 11, optional inputs after it.
fn clip(node: &Node, t: DType, arguments: Vec<Option<Expr>>) -> Option<Expr> {
    let mut arguments = arguments.into_iter();
    let x = arguments.next()??;
    let attribute = |name: &str| node.float(name).map(|v| lit(f64::from(v), t));
    let low = arguments.next().flatten().or_else(|| attribute("min"));
    let high = arguments.next().flatten().or_else(|| attribute("max"));
    let x = low.map_or(x.clone(), |low| max(x, low));
    Some(high.map_or(x.clone(), |high| min(x, high)))
}

/// `Pow`: the result has the base's type; common exponents become products and roots.
fn power(types: &[DType], arguments: Vec<Option<Expr>>) -> Option<Expr> {
    let [base, exponent] = [*types.first()?, *types.get(1)?];
    let mut arguments = arguments.into_iter().flatten();
    let (x, y) = (arguments.next()?, arguments.next()?);
    let known = match &y {
        Expr::Const(s) => Some(s.as_f64()),
        other => other.as_aff().and_then(|a| a.as_constant()).map(|v| v as f64),
    };
    match known {
        Some(1.0) => return Some(x),
        Some(2.0) => return Some(mul(x.clone(), x)),
        Some(3.0) => return Some(mul(mul(x.clone(), x.clone()), x)),
        Some(0.5) if base.is_float() => return Some(convert(wide(base), base, sqrt(convert(base, wide(base), x)))),
        _ => {}
    }
    let t = if base.is_float() { wide(base) } else { DType::F64 };
    Some(convert(t, base, pow(convert(base, t, x), convert(exponent, t, y))))
}

/// `Identity` and `Cast` to the same type rename; `Dropout` does nothing at inference.
pub fn is_rename(b: &Builder, node: &Node) -> Result<bool> {
    let same = |b: &Builder| Ok(b.dtype(input(node, 0)?) == b.dtype(output(node, 0)?));
    match node.op.as_str() {
        "Identity" | "Dropout" => Ok(true),
        "Cast" | "CastLike" => same(b),
        "Sum" | "Mean" | "Max" | "Min" => Ok(node.inputs.len() == 1),
        "Pow" => Ok(false),
        _ => Ok(false),
    }
}
