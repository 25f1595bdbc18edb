//! Operators as they were before opset 7, in today's form: broadcasting had to be asked for and could be aligned
//! at an axis, and training was chosen by an attribute.

use super::context::{Context, Step};
use crate::graph::{Attribute, Node, TensorId};
use indexmap::IndexMap;
use sirius_polyhedral::Error;

/// The first version with today's forms of everything here.
const MODERN: i64 = 7;

const BROADCAST: [&str; 11] = ["Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less"];

/// Rewrites `node`; what it then reads besides its inputs is appended to `out`.
pub fn modernize(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>) -> Step {
    if node.version >= MODERN || !node.domain.is_empty() {
        return Ok(());
    }
    match node.op.as_str() {
        op if BROADCAST.contains(&op) => align(cx, node, out),
        "PRelu" => channel_slope(cx, node, out),
        "Cast" => cast(node),
        "Concat" if node.version < 4 => {
            node.attributes.entry("axis".to_string()).or_insert(Attribute::Int(1));
            Ok(())
        }
        "Upsample" => upsample(node),
        "BatchNormalization" | "Dropout" if node.int("is_test").unwrap_or(0) == 0 => {
            Err(refused(node, "training mode (`is_test` is 0)"))
        }
        "BatchNormalization" if node.int("spatial") == Some(0) => Err(refused(node, "`spatial` 0")),
        _ => Ok(()),
    }
}

fn refused(node: &Node, what: &str) -> super::context::Stop {
    Error::unsupported("E110", format!("{what} of {} (opset {}) is not supported", node.op, node.version)).into()
}

/// The second operand's dimensions start at `axis` of the first's; without it they end together, as today.
fn align(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>) -> Step {
    let axis = node.attributes.shift_remove("axis");
    node.attributes.shift_remove("broadcast");
    let (Some(Attribute::Int(axis)), Some(a), Some(b)) = (axis, node.input(0), node.input(1)) else { return Ok(()) };
    let (whole, part) = (cx.graph.tensor(a).rank() as i64, cx.graph.tensor(b).rank() as i64);
    let front = if axis < 0 { axis + whole } else { axis };
    if front < 0 || front + part > whole {
        let message = format!("axis {axis} does not fit operands of rank {whole} and {part}");
        return Err(Error::invalid("E113", message).into());
    }
    let trailing = whole - front - part;
    node.inputs[1] = Some(unsqueezed(cx, node, b, part..part + trailing, out)?);
    Ok(())
}

/// One slope per channel, dimension 1.
fn channel_slope(cx: &mut Context, node: &mut Node, out: &mut Vec<Node>) -> Step {
    let (Some(x), Some(slope)) = (node.input(0), node.input(1)) else { return Ok(()) };
    let rank = cx.graph.tensor(x).rank() as i64;
    let per_channel = matches!(cx.graph.tensor(slope).shape.as_slice(), [n] if !n.is_constant(1));
    if per_channel && rank > 2 {
        node.inputs[1] = Some(unsqueezed(cx, node, slope, 1..rank - 1, out)?);
    }
    Ok(())
}

/// `tensor` with dimensions of extent 1 at these places of the result.
fn unsqueezed(
    cx: &mut Context,
    node: &Node,
    tensor: TensorId,
    axes: std::ops::Range<i64>,
    out: &mut Vec<Node>,
) -> Step<TensorId> {
    if axes.is_empty() {
        return Ok(tensor);
    }
    let result = cx.add(format!("{}_aligned", node.name), None);
    let insert = Node {
        name: format!("{}/Unsqueeze_{result}", node.name),
        op: "Unsqueeze".to_string(),
        domain: String::new(),
        version: node.version,
        inputs: vec![Some(tensor)],
        outputs: vec![Some(result)],
        attributes: IndexMap::from([("axes".to_string(), Attribute::Ints(axes.collect()))]),
    };
    cx.nodes(vec![insert], out)?;
    Ok(result)
}

/// The type was a name.
fn cast(node: &mut Node) -> Step {
    const NAMES: [(&str, i64); 12] = [
        ("FLOAT", 1),
        ("UINT8", 2),
        ("INT8", 3),
        ("UINT16", 4),
        ("INT16", 5),
        ("INT32", 6),
        ("INT64", 7),
        ("BOOL", 9),
        ("FLOAT16", 10),
        ("DOUBLE", 11),
        ("UINT32", 12),
        ("UINT64", 13),
    ];
    let code = node.string("to").and_then(|name| NAMES.iter().find(|(n, _)| *n == name)).map(|(_, code)| *code);
    if let Some(code) = code {
        node.attributes.insert("to".to_string(), Attribute::Int(code));
    }
    Ok(())
}

fn upsample(node: &mut Node) -> Step {
    if let (Some(height), Some(width)) = (node.float("height_scale"), node.float("width_scale")) {
        node.attributes.insert("scales".to_string(), Attribute::Floats(vec![1.0, 1.0, height, width]));
    }
    Ok(())
}
