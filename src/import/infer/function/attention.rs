//! `Attention` and `FlexAttention`: softmax(q k^T + bias) v, for heads in groups.
//!
//! Narrow floats are widened first: the scores of long sequences overflow `f16`, and the conversions fuse into
//! the products. Query heads that share a head of keys become one more dimension of the product, so nothing is
//! repeated in memory.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};

pub const FUNCTIONS: &[Function] = &[
    Function {
        domain: "",
        op: "Attention",
        inputs: &["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"],
        outputs: &["Y", "present_key", "present_value", "qk_matmul_output"],
        body: attention,
    },
    Function { domain: "ai.onnx.preview", op: "FlexAttention", inputs: &["Q", "K", "V"], outputs: &["Y"], body: flex },
];

fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn attention(f: &mut Body) -> Step {
    let dtype = f.dtype("Q")?;
    f.float = wide(dtype);
    let flat = f.rank("Q")? == 3;
    for (from, to, heads) in [("Q", "q4", "q_num_heads"), ("K", "k4", "kv_num_heads"), ("V", "v4", "kv_num_heads")] {
        split_heads(f, from, to, heads)?;
    }
    for (past, new, present) in [("past_key", "k4", "present_key"), ("past_value", "v4", "present_value")] {
        f.add(&match f.has(past) {
            true => format!("{present} = Concat<axis = 2>({past}, {new})"),
            false => format!("{present} = Identity({new})"),
        })?;
    }
    for (from, to) in [("q4", "q"), ("present_key", "k"), ("present_value", "v")] {
        f.cast(to, from, f.float)?;
    }
    scores(f, f.node.float("scale"))?;
    let cap = f.node.float("softcap").unwrap_or(0.0);
    f.scalar("cap", cap.into());
    f.add(if cap > 0.0 { "capped = Mul(Tanh(Div(scores, cap)), cap)" } else { "capped = Identity(scores)" })?;
    bias(f)?;
    softmax(f, "biased", "weights")?;
    weigh(f, "weights")?;
    if f.wants("qk_matmul_output") {
        let stages = ["scores", "capped", "biased", "weights"];
        let mode = f.node.int("qk_matmul_output_mode").unwrap_or(0);
        let stage = usize::try_from(mode).ok().and_then(|mode| stages.get(mode));
        let stage = stage.ok_or_else(|| f.invalid(format!("qk_matmul_output_mode is {mode}; 0 to 3 are known")))?;
        f.cast("qk_matmul_output", stage, dtype)?;
    }
    if flat {
        f.add("heads_last = Reshape(Transpose<perm = [0, 2, 1, 3]>(weighed), [0, 0, -1])")?;
        return f.cast("Y", "heads_last", dtype);
    }
    f.cast("Y", "weighed", dtype)
}

/// `[batch, sequence, heads * size]` to `[batch, heads, sequence, size]`; other inputs have that form already.
fn split_heads(f: &mut Body, from: &str, to: &str, attribute: &str) -> Step {
    match (f.rank(from)?, f.node.int(attribute)) {
        (4, _) => f.add(&format!("{to} = Identity({from})")),
        (3, Some(heads)) if heads > 0 => {
            f.add(&format!("{to} = Transpose<perm = [0, 2, 1, 3]>(Reshape({from}, [0, 0, {heads}, -1]))"))
        }
        (3, _) => Err(f.invalid(format!("input \"{from}\" with 3 dimensions needs a positive `{attribute}`"))),
        (rank, _) => Err(f.invalid(format!("input \"{from}\" has {rank} dimensions, 3 or 4 are possible"))),
    }
}

/// `scores = scale * q k^T` for `q` and `k`; the scale is `1 / sqrt(size)` where none is given.
fn scores(f: &mut Body, scale: Option<f32>) -> Step {
    let (q, k) = (f.ranked("q", 4)?, f.ranked("k", 4)?);
    match (scale, q[3].as_constant()) {
        (Some(scale), _) => f.scalar("scale", scale.into()),
        (None, Some(size)) => f.scalar("scale", 1.0 / (size as f64).sqrt()),
        (None, None) => return Err(f.site().unsupported("the size of a head must be a fixed number")),
    }
    let Some(group) = group(f, &q, &k)? else {
        return f.add("scores = MatMul(Mul(q, scale), Transpose<perm = [0, 1, 3, 2]>(k))");
    };
    f.affs("grouped", vec![q[0].clone(), k[1].clone(), group, q[2].clone(), q[3].clone()])?;
    f.affs("whole", vec![q[0].clone(), q[1].clone(), q[2].clone(), k[2].clone()])?;
    f.add(
        "columns = Transpose<perm = [0, 1, 2, 4, 3]>(Unsqueeze(k, [2]))
         scores = Reshape<allowzero = 1>(MatMul(Reshape<allowzero = 1>(Mul(q, scale), grouped), columns), whole)",
    )
}

/// The number of query heads per head of keys, unless it is one.
fn group(f: &mut Body, q: &[Aff], k: &[Aff]) -> Step<Option<Aff>> {
    let (Some(queries), Some(keys)) = (q[1].as_constant(), k[1].as_constant()) else {
        f.cx.same(&q[1], &k[1])?;
        return Ok(None);
    };
    if keys <= 0 || queries % keys != 0 {
        return Err(f.invalid(format!("{queries} heads of queries for {keys} heads of keys")));
    }
    Ok((queries != keys).then(|| Aff::constant(queries / keys)))
}

/// `weighed = <weights> v`.
fn weigh(f: &mut Body, weights: &str) -> Step {
    f.cast("shares", weights, f.float)?;
    let (q, v) = (f.ranked("q", 4)?, f.ranked("v", 4)?);
    let Some(group) = group(f, &q, &v)? else {
        return f.add("weighed = MatMul(shares, v)");
    };
    f.affs("grouped_shares", vec![q[0].clone(), v[1].clone(), group, q[2].clone(), v[2].clone()])?;
    f.affs("weighed_shape", vec![q[0].clone(), q[1].clone(), q[2].clone(), v[3].clone()])?;
    f.add(
        "sums = MatMul(Reshape<allowzero = 1>(shares, grouped_shares), Unsqueeze(v, [2]))
         weighed = Reshape<allowzero = 1>(sums, weighed_shape)",
    )
}

/// A softmax over keys, in `softmax_precision` where that is wider than the scores.
fn softmax(f: &mut Body, from: &str, to: &str) -> Step {
    let code = f.node.int("softmax_precision").and_then(|code| i32::try_from(code).ok());
    let asked = code.and_then(|code| tensor::dtype(code).ok()).map_or(f.float, wide);
    f.cast("exact", from, if asked == DType::F64 { asked } else { f.float })?;
    f.add(&format!("{to} = Softmax<axis = -1>(exact)"))
}

/// `biased`: the scores under the mask, the causal triangle and the lengths of the key sequences.
fn bias(f: &mut Body) -> Step {
    f.add("biased = Identity(capped)")?;
    f.scalar("never", f64::NEG_INFINITY);
    let (q, k) = (f.shape("q")?, f.shape("k")?);
    f.aff("keys", k[2].clone())?;
    if f.has("attn_mask") {
        mask(f, &k[2])?;
    }
    if f.node.int("is_causal") == Some(1) {
        f.aff("queries", q[2].clone())?;
        let past = if f.has("past_key") { f.shape("past_key")?[2].clone() } else { Aff::constant(0) };
        f.aff("past", past)?;
        f.add(
            "row = Unsqueeze(Add(Range(0, queries, 1), past), [1])
             biased = Where(LessOrEqual(Range(0, keys, 1), row), biased, never)",
        )?;
    }
    if f.has("nonpad_kv_seqlen") {
        f.add(
            "end = Reshape(Cast<to = 7>(nonpad_kv_seqlen), [-1, 1, 1, 1])
             biased = Where(Less(Range(0, keys, 1), end), biased, never)",
        )?;
    }
    Ok(())
}

/// A mask shorter than the keys hides the rest of them (since version 24).
fn mask(f: &mut Body, keys: &Aff) -> Step {
    let shape = f.shape("attn_mask")?;
    let last = shape.last().cloned().unwrap_or(Aff::constant(1));
    let missing = (keys.clone() - last).as_constant().filter(|n| *n > 0 && f.node.version >= 24);
    let boolean = f.dtype("attn_mask")? == DType::Bool;
    f.add("filled = Identity(attn_mask)")?;
    if !boolean {
        f.cast("filled", "attn_mask", f.float)?;
    }
    if let Some(missing) = missing {
        let pads = (0..2 * shape.len()).map(|n| if n + 1 == 2 * shape.len() { missing } else { 0 });
        f.affs("pads", pads.map(Aff::constant).collect())?;
        f.add(if boolean { "hidden = Cast<to = 9>(0)" } else { "hidden = Identity(never)" })?;
        f.add("filled = Pad(filled, pads, hidden)")?;
    }
    f.add(if boolean { "biased = Where(filled, biased, never)" } else { "biased = Add(biased, filled)" })
}

/// The subgraphs `score_mod` and `prob_mod` work in the type of the softmax.
fn flex(f: &mut Body) -> Step {
    let dtype = f.dtype("Q")?;
    let asked = f.node.int("softmax_precision").and_then(|code| tensor::dtype(i32::try_from(code).ok()?).ok());
    f.float = wide(dtype);
    for (from, to) in [("Q", "q"), ("K", "k"), ("V", "v")] {
        f.ranked(from, 4)?;
        f.cast(to, from, f.float)?;
    }
    scores(f, f.node.float("scale"))?;
    let inside = asked.unwrap_or(f.float);
    f.cast("plain", "scores", inside)?;
    f.apply("score_mod", "plain", "modified")?;
    f.add("chances = Softmax<axis = -1>(modified)")?;
    f.apply("prob_mod", "chances", "weights")?;
    weigh(f, "weights")?;
    f.cast("Y", "weighed", dtype)
}
