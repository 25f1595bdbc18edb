//! Loop-carried values that need not be carried.
//!
//! Exporters hand everything that a body uses through the loop, weights included. A value that every step
//! returns unchanged is the initial one; a value that no step reads is only the last step's, so the initial
//! value may even have another type when the loop runs at least once.

use super::context::{Context, Step};
use crate::graph::compact::visit_ids;
use crate::graph::{Attribute, Block, Node, TensorId};
use crate::import::tensor::Constant;
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, DType};

/// Takes the values that never change out of the loop.
pub fn drop_unchanged(cx: &mut Context, node: &mut Node, body: &mut Block) {
    let carried = node.inputs.len().saturating_sub(2);
    if body.inputs.len() != carried + 2 || body.outputs.len() < carried + 1 {
        return;
    }
    for k in (0..carried).rev() {
        let (Some(initial), input) = (node.inputs[2 + k], body.inputs[2 + k]) else { continue };
        if source(body, body.outputs[1 + k]) != input {
            continue;
        }
        node.inputs.remove(2 + k);
        body.inputs.remove(2 + k);
        body.outputs.remove(1 + k);
        let output = if k < node.outputs.len() { node.outputs.remove(k) } else { None };
        cx.aliases.insert(input, initial);
        output.map(|output| cx.aliases.insert(output, initial));
    }
}

/// What `id` is a copy of inside the block.
fn source(body: &Block, mut id: TensorId) -> TensorId {
    while let Some(copy) = body.nodes.iter().find(|n| n.op == "Identity" && n.output(0) == Some(id)) {
        let Some(from) = copy.input(0) else { break };
        id = from;
    }
    id
}

/// Does no step read the block input `input`?
pub fn is_unread(body: &Block, input: TensorId) -> bool {
    let mut uses = 0;
    visit_ids(&mut body.clone(), &mut |id| uses += usize::from(*id == input));
    uses == 1
}

/// Does the loop run its body at least once, whatever the inputs are?
pub fn runs(cx: &Context, node: &Node) -> bool {
    let starts = node.input(1).is_none_or(|id| cx.graph.tensor(id).ints() == Some(vec![1]));
    let count = node.input(0).map(|id| cx.graph.tensor(id).affs().and_then(|v| v.first().cloned()));
    starts && count.is_none_or(|count| count.and_then(|count| cx.range(&count).0).is_some_and(|low| low >= 1))
}

/// Zeros of the given type in the place of an initial value that nothing reads.
pub fn placeholder(cx: &mut Context, name: &str, dtype: DType, shape: Vec<Aff>, out: &mut Vec<Node>) -> Step<TensorId> {
    let extents = cx.add(format!("{name}_shape"), None);
    cx.set_tensor(extents, DType::I64, vec![Aff::constant(shape.len() as i64)])?;
    cx.graph.tensor_mut(extents).symbolic = Some(shape);
    let zero = cx.add(format!("{name}_zero"), Some(Constant::zero(dtype)));
    let zeros = cx.add(format!("{name}_unread"), None);
    let node = Node {
        name: cx.graph.tensor(zeros).name.clone(),
        op: "ConstantOfShape".to_string(),
        domain: String::new(),
        version: 23,
        inputs: vec![Some(extents)],
        outputs: vec![Some(zeros)],
        attributes: IndexMap::from([("value".to_string(), Attribute::Tensor(zero))]),
    };
    cx.nodes(vec![node], out)?;
    Ok(zeros)
}
