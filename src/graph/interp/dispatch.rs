//! From operator names to the families that evaluate them.

use super::*;

/// Evaluates a node without subgraphs.
pub fn eval(call: &Call) -> Result<Vec<Value>> {
    if !matches!(call.node.domain.as_str(), "" | "ai.onnx") {
        return eval_contrib(call);
    }
    match call.op() {
        "Constant" | "Identity" | "Reshape" => Err(call.unsupported("soon")),
        _ => eval_contrib(call),
    }
}

fn eval_contrib(call: &Call) -> Result<Vec<Value>> {
    let domain = if call.node.domain.is_empty() { "" } else { "." };
    Err(call.unsupported(format!("the interpreter has no operator {}{domain}{}", call.node.domain, call.op())))
}
