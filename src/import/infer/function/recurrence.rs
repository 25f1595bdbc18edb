//! `LinearAttention`: a recurrent state of key-value products instead of scores between all pairs.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use sirius_polyhedral::{Aff, DType};

pub const FUNCTIONS: &[Function] = &[Function {
    domain: "",
    op: "LinearAttention",
    inputs: &["query", "key", "value", "past_state", "decay", "beta"],
    outputs: &["output", "present_state"],
    body: linear_attention,
}];

/// What happens to the state in one step.
struct Rule {
    gated: bool,
    delta: bool,
}

fn linear_attention(f: &mut Body) -> Step {
    let rule = rule(f)?;
    let attribute = |name: &str| f.node.int(name).filter(|heads| *heads > 0);
    let (queries, keys) = match (attribute("q_num_heads"), attribute("kv_num_heads")) {
        (Some(queries), Some(keys)) if queries % keys == 0 => (queries, keys),
        _ => return Err(f.invalid("`q_num_heads` must be a positive multiple of `kv_num_heads`")),
    };
    let (dtype, state_type) = (f.dtype("query")?, f.dtype(if f.has("past_state") { "past_state" } else { "query" })?);
    f.float = DType::F32;
    let (batch, key_size, value_size) = sizes(f, keys)?;
    match f.node.float("scale").filter(|scale| *scale != 0.0) {
        Some(scale) => f.scalar("scale", scale.into()),
        None => f.scalar("scale", 1.0 / (key_size as f64).sqrt()),
    }
    let state = [batch, keys.into(), key_size.into(), value_size.into()];
    initial_state(f, &state)?;
    steps(f, &rule, [queries, keys])?;
    f.cast("present_state", "last", state_type)?;
    f.add("flat = Reshape(Mul(stacked, scale), [0, 0, -1])")?;
    f.cast("output", "flat", dtype)
}

fn rule(f: &mut Body) -> Step<Rule> {
    let name = f.node.string("update_rule").unwrap_or("gated_delta");
    let rule = match name {
        "linear" => Rule { gated: false, delta: false },
        "gated" => Rule { gated: true, delta: false },
        "delta" => Rule { gated: false, delta: true },
        "gated_delta" => Rule { gated: true, delta: true },
        _ => return Err(f.invalid(format!("update_rule \"{name}\" is not known"))),
    };
    if (rule.gated, rule.delta) != (f.has("decay"), f.has("beta")) {
        return Err(f.invalid(format!("update_rule \"{name}\" does not fit the inputs decay and beta that are given")));
    }
    Ok(rule)
}

/// Batch size, and the sizes of a key and of a value.
fn sizes(f: &mut Body, heads: i64) -> Step<(Aff, i64, i64)> {
    let (key, value) = (f.ranked("key", 3)?, f.ranked("value", 3)?);
    let size = |f: &mut Body, width: &Aff| match width.as_constant() {
        Some(width) if width % heads == 0 => Ok(width / heads),
        Some(width) => Err(f.invalid(format!("{width} elements in {heads} heads"))),
        None => Err(f.site().unsupported("the size of a head must be a fixed number")),
    };
    Ok((key[0].clone(), size(f, &key[2])?, size(f, &value[2])?))
}

fn initial_state(f: &mut Body, shape: &[Aff]) -> Step {
    if f.has("past_state") {
        return f.cast("first", "past_state", DType::F32);
    }
    f.affs("state_shape", shape.to_vec())?;
    f.add("first = ConstantOfShape(state_shape)")
}

/// One step per element of the sequence. In a step the state is `[batch, heads, key, value]`, and everything
/// else `[batch, heads, 1, ..]`, the queries of a group in the place of the 1.
fn steps(f: &mut Body, rule: &Rule, [queries, keys]: [i64; 2]) -> Step {
    let group = queries / keys;
    let mut slices = vec![("query", "q", format!("[0, 0, {keys}, {group}, -1]"))];
    slices.push(("key", "k", format!("[0, 0, {keys}, 1, -1]")));
    slices.push(("value", "v", format!("[0, 0, {keys}, 1, -1]")));
    if rule.gated {
        slices.push(("decay", "g", format!("[0, 0, {keys}, -1, 1]")));
    }
    if rule.delta {
        slices.push(("beta", "b", "[0, 0, -1, 1, 1]".to_string()));
    }
    let mut arguments = String::new();
    for (input, slice, shape) in &slices {
        f.cast(&format!("{input}_wide"), input, DType::F32)?;
        f.add(&format!("{slice}_all = Reshape({input}_wide, {shape})"))?;
        arguments += &format!(", {slice}_all");
    }
    let names: Vec<&str> = ["state"].into_iter().chain(slices.iter().map(|s| s.1)).collect();
    let kept = if rule.gated { "kept = Mul(state, Exp(g))" } else { "kept = Identity(state)" };
    let new = if rule.delta { "new = Mul(b, Sub(v, MatMul(k, kept)))" } else { "new = Identity(v)" };
    let rest = "next = Add(kept, Mul(Transpose<perm = [0, 1, 3, 2]>(k), new)) read = MatMul(q, next)";
    f.block("step", &names, &format!("{kept} {new} {rest}"), &["next", "read"])?;
    let axes = vec!["1"; slices.len()].join(", ");
    f.add(&format!(
        "last, stacked = Scan<body = step, num_scan_inputs = {}, scan_input_axes = [{axes}], scan_output_axes = [1]>
         (first{arguments})",
        slices.len()
    ))
}
