//! Operators of the domain `com.microsoft` that optimizers and quantizers write into files, as compositions of
//! standard ones. Their meaning is that of ONNX Runtime's `ContribOperators.md`.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;

pub const FUNCTIONS: &[Function] = &[
    plain("BiasGelu", &["A", "B"], &["C"], |f| {
        f.add("sum = Add(A, B)")?;
        exact_gelu(f, "sum", "C")
    }),
    plain("FastGelu", &["X", "bias"], &["Y"], fast_gelu),
    plain("FusedMatMul", &["A", "B"], &["Y"], fused_matmul),
    plain("Gelu", &["X"], &["Y"], |f| exact_gelu(f, "X", "Y")),
    plain("QuickGelu", &["X"], &["Y"], quick_gelu),
    plain(
        "SkipLayerNormalization",
        &["input", "skip", "gamma", "beta", "bias"],
        &["output", "mean", "inv_std_var", "input_skip_bias_sum"],
        |f| skip_normalization(f, "LayerNormalization"),
    ),
    plain(
        "SkipSimplifiedLayerNormalization",
        &["input", "skip", "gamma", "bias"],
        &["output", "mean", "inv_std_var", "input_skip_bias_sum"],
        |f| skip_normalization(f, "RMSNormalization"),
    ),
];

const fn plain(
    op: &'static str,
    inputs: &'static [&'static str],
    outputs: &'static [&'static str],
    body: fn(&mut Body) -> Step,
) -> Function {
    Function { domain: "com.microsoft", op, inputs, outputs, body }
}

fn exact_gelu(f: &mut Body, x: &str, y: &str) -> Step {
    f.scalar("shrink", std::f64::consts::FRAC_1_SQRT_2);
    f.add(&format!("{y} = Mul(Mul({x}, 0.5), Add(Erf(Mul({x}, shrink)), 1.0))"))
}

/// The approximation by `tanh`, of the input plus an optional bias.
fn fast_gelu(f: &mut Body) -> Step {
    f.add(if f.has("bias") { "x = Add(X, bias)" } else { "x = Identity(X)" })?;
    f.scalar("inner", (2.0 / std::f64::consts::PI).sqrt());
    f.add("cube = Mul(Mul(Mul(x, x), x), 0.044715)")?;
    f.add("Y = Mul(Mul(x, 0.5), Add(Tanh(Mul(Add(x, cube), inner)), 1.0))")
}

fn quick_gelu(f: &mut Body) -> Step {
    f.scalar("alpha", f.node.float("alpha").unwrap_or(1.702).into());
    f.add("Y = Mul(X, Sigmoid(Mul(X, alpha)))")
}

/// `alpha * A' B'`, where `'` transposes the last two dimensions if the node says so.
fn fused_matmul(f: &mut Body) -> Step {
    let on = |f: &Body, name: &str| f.node.int(name).unwrap_or(0) != 0;
    if on(f, "transBatchA") || on(f, "transBatchB") {
        return Err(f.site().unsupported("FusedMatMul with transposed batch dimensions is not supported"));
    }
    for (side, attribute) in [("A", "transA"), ("B", "transB")] {
        let rank = f.rank(side)?;
        let swapped = on(f, attribute) && rank > 1;
        let mut perm: Vec<usize> = (0..rank).collect();
        if swapped {
            perm.swap(rank - 2, rank - 1);
        }
        let call = if swapped { format!("Transpose<perm = {perm:?}>({side})") } else { format!("Identity({side})") };
        f.add(&format!("{side}_used = {call}"))?;
    }
    match f.node.float("alpha").unwrap_or(1.0) {
        1.0 => f.add("Y = MatMul(A_used, B_used)"),
        alpha => {
            f.scalar("alpha", alpha.into());
            f.add("Y = Mul(MatMul(A_used, B_used), alpha)")
        }
    }
}

/// The normalized sum of two or three tensors; the sum itself is the last output.
fn skip_normalization(f: &mut Body, normalization: &str) -> Step {
    let (sum, beta) = (f.has("bias"), f.has("beta"));
    f.add(if sum { "sum = Add(Add(input, skip), bias)" } else { "sum = Add(input, skip)" })?;
    if f.wants("input_skip_bias_sum") {
        f.add("input_skip_bias_sum = Identity(sum)")?;
    }
    let epsilon = f.node.float("epsilon").unwrap_or(1e-12);
    let beta = if beta { ", beta" } else { "" };
    f.add(&format!("output = {normalization}<axis = -1, epsilon = {epsilon:e}>(sum, gamma{beta})"))
}
