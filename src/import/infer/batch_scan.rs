//! `Scan` as opset 8 had it: every value has a batch dimension in front, and the body works on one item of it.
//!
//! Today's `Scan` has no batch, so the old one is two of today's: the outer runs over the batch and keeps no state,
//! the inner over the sequence.

use super::context::{Context, Step};
use crate::graph::{Attribute, Block, Node, TensorId};
use indexmap::IndexMap;
use sirius_polyhedral::Error;

/// The first version without a batch dimension.
const MODERN: i64 = 9;

pub fn modernize(cx: &mut Context, mut node: Node) -> Step<Node> {
    if node.input(0).is_some() {
        let message = "Scan of opset 8 with lengths of its sequences is not supported";
        return Err(Error::unsupported("E110", message).help("convert the model with onnx.version_converter").into());
    }
    let inputs: Vec<TensorId> = node.inputs.iter().skip(1).flatten().copied().collect();
    let mut fresh = |count: usize, role: &str| -> Vec<TensorId> {
        (0..count).map(|n| cx.add(format!("{}_{role}{n}", node.name), None)).collect()
    };
    let (items, results) = (fresh(inputs.len(), "item"), fresh(node.outputs.len(), "result"));
    let all = |ids: &[TensorId]| ids.iter().map(|id| Some(*id)).collect();
    let mut attributes = std::mem::take(&mut node.attributes);
    if let Some(directions) = attributes.shift_remove("directions") {
        attributes.insert("scan_input_directions".into(), directions);
    }
    let inner = Node {
        name: format!("{}/item", node.name),
        version: MODERN,
        inputs: all(&items),
        outputs: all(&results),
        attributes,
        ..node.clone()
    };
    let body = Block { inputs: items, nodes: vec![inner], outputs: results };
    let count = Attribute::Int(inputs.len() as i64);
    let attributes = IndexMap::from([("num_scan_inputs".into(), count), ("body".into(), Attribute::Block(body))]);
    Ok(Node { version: MODERN, inputs: all(&inputs), attributes, ..node })
}
