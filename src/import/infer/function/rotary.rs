//! `RotaryEmbedding`: pairs of elements turned by an angle that depends on the position.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use sirius_polyhedral::Aff;

pub const FUNCTIONS: &[Function] = &[Function {
    domain: "",
    op: "RotaryEmbedding",
    inputs: &["X", "cos_cache", "sin_cache", "position_ids"],
    outputs: &["Y"],
    body: rotary,
}];

/// With 4 dimensions the input is `[batch, heads, sequence, size]`, with 3 it is `[batch, sequence, heads * size]`;
/// the caches get a dimension where the heads are.
fn rotary(f: &mut Body) -> Step {
    let shape = f.shape("X")?;
    let heads = f.node.int("num_heads").unwrap_or(0);
    let heads_at = match shape.len() {
        4 => {
            f.add("x = Identity(X)")?;
            1
        }
        3 if heads > 0 => {
            f.add(&format!("x = Reshape(X, [0, 0, {heads}, -1])"))?;
            2
        }
        3 => return Err(f.invalid("an input with 3 dimensions needs a positive `num_heads`")),
        rank => return Err(f.invalid(format!("the input has {rank} dimensions, 3 or 4 are possible"))),
    };
    for (cache, name) in [("cos_cache", "cos"), ("sin_cache", "sin")] {
        let rows = if f.has("position_ids") { format!("Gather({cache}, position_ids)") } else { cache.to_string() };
        f.add(&format!("{name} = Unsqueeze({rows}, [{heads_at}])"))?;
    }
    halves(f)?;
    f.affs("shape", shape)?;
    f.add("Y = Reshape<allowzero = 1>(turned, shape)")
}

/// `turned`: the rotated part of each head, then what `rotary_embedding_dim` leaves as it is.
fn halves(f: &mut Body) -> Step {
    let size = f.shape("x")?[3].clone();
    let part = match f.node.int("rotary_embedding_dim") {
        Some(part) if part > 0 => part,
        _ => size.as_constant().ok_or_else(|| f.site().unsupported("the size of a head must be a fixed number"))?,
    };
    if part % 2 != 0 || size.as_constant().is_some_and(|size| size < part) {
        return Err(f.invalid(format!("{part} elements of a head cannot be rotated in pairs")));
    }
    let rest = size - Aff::constant(part);
    f.affs("end", vec![rest.clone() + Aff::constant(part)])?;
    let middle = part / 2;
    let interleaved = f.node.int("interleaved") == Some(1);
    f.add(&match interleaved {
        true => format!("a = Slice(x, [0], [{part}], [3], [2]) b = Slice(x, [1], [{part}], [3], [2])"),
        false => format!("a = Slice(x, [0], [{middle}], [3]) b = Slice(x, [{middle}], [{part}], [3])"),
    })?;
    f.add("real = Sub(Mul(cos, a), Mul(sin, b)) imaginary = Add(Mul(sin, a), Mul(cos, b))")?;
    f.add(&match interleaved {
        true => format!(
            "pairs = Concat<axis = -1>(Unsqueeze(real, [4]), Unsqueeze(imaginary, [4]))
             rotated = Reshape(pairs, [0, 0, 0, {part}])"
        ),
        false => "rotated = Concat<axis = -1>(real, imaginary)".to_string(),
    })?;
    f.add(&match rest.is_constant(0) {
        true => "turned = Identity(rotated)".to_string(),
        false => format!("turned = Concat<axis = -1>(rotated, Slice(x, [{part}], end, [3]))"),
    })
}
