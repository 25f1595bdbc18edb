//! Operators of the domain `com.microsoft` on 8-bit integers, as compositions of standard ones.
//!
//! Those on quantized tensors compute on the real values in between: dequantize, apply, quantize. Products
//! accumulate in `i32`, exactly.

use super::Function;
use super::body::Body;
use crate::graph::{Attribute, Node};
use crate::import::infer::context::Step;
use indexmap::IndexMap;

pub const FUNCTIONS: &[Function] = &[
    binary("QLinearAdd", |f| apply_binary(f, "Add")),
    binary("QLinearMul", |f| apply_binary(f, "Mul")),
    unary("QLinearSigmoid", |f| apply(f, "Sigmoid(real)")),
    unary("QLinearLeakyRelu", |f| {
        let alpha = f.node.float("alpha").unwrap_or(0.01);
        apply(f, &format!("LeakyRelu<alpha = {alpha:e}>(real)"))
    }),
    unary("QLinearGlobalAveragePool", |f| match f.node.int("channels_last").unwrap_or(0) {
        0 => apply(f, "GlobalAveragePool(real)"),
        _ => Err(f.site().unsupported("QLinearGlobalAveragePool with channels last is not supported")),
    }),
    Function { domain: DOMAIN, op: "QLinearConcat", inputs: &["Y_scale", "Y_zero"], outputs: &["Y"], body: concat },
    Function { domain: DOMAIN, op: "QGemm", inputs: GEMM, outputs: &["Y"], body: gemm },
    Function {
        domain: DOMAIN,
        op: "MatMulIntegerToFloat",
        inputs: &["A", "B", "A_scale", "B_scale", "A_zero", "B_zero", "bias"],
        outputs: &["Y"],
        body: |f| product_to_float(f, "A"),
    },
    Function {
        domain: DOMAIN,
        op: "DynamicQuantizeMatMul",
        inputs: &["X", "B", "B_scale", "B_zero", "bias"],
        outputs: &["Y"],
        body: |f| {
            f.add("A, A_scale, A_zero = DynamicQuantizeLinear(X)")?;
            product_to_float(f, "A")
        },
    },
    Function { domain: DOMAIN, op: "QuantizeLinear", inputs: &["x", "s", "z"], outputs: &["y"], body: standard },
    Function { domain: DOMAIN, op: "DequantizeLinear", inputs: &["x", "s", "z"], outputs: &["y"], body: standard },
];

const DOMAIN: &str = "com.microsoft";

const GEMM: &[&str] = &["A", "A_scale", "A_zero", "B", "B_scale", "B_zero", "C", "Y_scale", "Y_zero"];

const fn binary(op: &'static str, body: fn(&mut Body) -> Step) -> Function {
    let inputs = &["A", "A_scale", "A_zero", "B", "B_scale", "B_zero", "Y_scale", "Y_zero"];
    Function { domain: DOMAIN, op, inputs, outputs: &["Y"], body }
}

const fn unary(op: &'static str, body: fn(&mut Body) -> Step) -> Function {
    Function { domain: DOMAIN, op, inputs: &["X", "X_scale", "X_zero", "Y_scale", "Y_zero"], outputs: &["Y"], body }
}

/// `, NAME` for an optional last operand.
fn last(f: &Body, name: &str) -> String {
    if f.has(name) { format!(", {name}") } else { String::new() }
}

/// The type of a quantized result without a zero point is that of the quantized operand.
fn quantize(f: &mut Body, real: &str, like: &str) -> Step {
    if !f.has("Y_zero") {
        f.add("zero_like = ConstantOfShape(empty)")?;
        let dtype = f.dtype(like)?;
        f.cast("Y_zero", "zero_like", dtype)?;
    }
    f.add(&format!("Y = QuantizeLinear({real}, Y_scale, Y_zero)"))
}

fn apply(f: &mut Body, call: &str) -> Step {
    f.affs("empty", vec![])?;
    let zero = last(f, "X_zero");
    f.add(&format!("real = DequantizeLinear(X, X_scale{zero}) result = {call}"))?;
    quantize(f, "result", "X")
}

fn apply_binary(f: &mut Body, op: &str) -> Step {
    f.affs("empty", vec![])?;
    let (a, b) = (last(f, "A_zero"), last(f, "B_zero"));
    f.add(&format!("a = DequantizeLinear(A, A_scale{a}) b = DequantizeLinear(B, B_scale{b})"))?;
    f.add(&format!("result = {op}(a, b)"))?;
    quantize(f, "result", "A")
}

/// Inputs after the result's scale and zero point: a tensor, its scale and its zero point, again and again.
fn concat(f: &mut Body) -> Step {
    let mut parts = Vec::new();
    for (n, part) in f.node.inputs[2..].chunks(3).enumerate() {
        let [Some(x), Some(scale), Some(zero)] = part else {
            return Err(f.invalid("every tensor needs a scale and a zero point"));
        };
        for (name, id) in [("x", x), ("s", scale), ("z", zero)] {
            f.alias(&format!("{name}{n}"), *id);
        }
        f.add(&format!("real{n} = DequantizeLinear(x{n}, s{n}, z{n})"))?;
        parts.push(format!("real{n}"));
    }
    let axis = f.node.int("axis").unwrap_or(0);
    f.add(&format!("result = Concat<axis = {axis}>({})", parts.join(", ")))?;
    f.add("Y = QuantizeLinear(result, Y_scale, Y_zero)")
}

/// `alpha * A' B' + C` with exact sums; without a scale of the result, a float.
fn gemm(f: &mut Body) -> Step {
    for (side, attribute) in [("A", "transA"), ("B", "transB")] {
        let swap = f.node.int(attribute).unwrap_or(0) != 0;
        let call = if swap { "Transpose<perm = [1, 0]>" } else { "Identity" };
        f.add(&format!("{side}_used = {call}({side})"))?;
    }
    f.add("total = MatMulInteger(A_used, B_used, A_zero, B_zero)")?;
    f.add(if f.has("C") { "sum = Add(total, C)" } else { "sum = Identity(total)" })?;
    f.scalar("alpha", f.node.float("alpha").unwrap_or(1.0).into());
    let real = if f.has("Y_scale") { "real" } else { "Y" };
    f.add(&format!("{real} = Mul(Cast<to = 1>(sum), Mul(Mul(A_scale, B_scale), alpha))"))?;
    if f.has("Y_scale") { f.add("Y = QuantizeLinear(real, Y_scale, Y_zero)") } else { Ok(()) }
}

/// The exact product of two quantized matrices as floats, plus an optional bias.
fn product_to_float(f: &mut Body, left: &str) -> Step {
    let dtype = f.dtype(left)?;
    if f.has("B_zero") && !f.has("A_zero") {
        f.add("zero_like = ConstantOfShape(empty)")?;
        f.cast("A_zero", "zero_like", dtype)?;
    }
    let zeros = last(f, "A_zero") + &last(f, "B_zero");
    f.add(&format!("total = MatMulInteger({left}, B{zeros})"))?;
    f.add("real = Mul(Cast<to = 1>(total), Mul(A_scale, B_scale))")?;
    f.add(if f.has("bias") { "Y = Add(real, bias)" } else { "Y = Identity(real)" })
}

/// An operator that means the same as the standard one of its name.
fn standard(f: &mut Body) -> Step {
    let Node { op, inputs, attributes, .. } = f.node;
    let attributes: IndexMap<String, Attribute> = attributes.clone();
    let output = f.target("y");
    f.push(op, inputs.clone(), vec![Some(output)], attributes)
}
