//! Walks over every tensor id of a graph, and removal of unused tensors.

use super::{Attribute, Block, Graph, TensorId};
use std::collections::HashMap;

/// Removes tensors that nothing uses and renumbers the rest in order.
pub fn compact(graph: &mut Graph) {
    let mut used = vec![false; graph.tensors.len()];
    visit_ids(&mut graph.main, &mut |id| used[id.0 as usize] = true);
    let mut renamed = HashMap::new();
    let mut kept = Vec::new();
    for (n, tensor) in std::mem::take(&mut graph.tensors).into_iter().enumerate() {
        if used[n] {
            renamed.insert(TensorId(n as u32), TensorId(kept.len() as u32));
            kept.push(tensor);
        }
    }
    graph.tensors = kept;
    visit_ids(&mut graph.main, &mut |id| *id = renamed[id]);
}

/// Calls `visit` on every tensor id in a block.
pub fn visit_ids(block: &mut Block, visit: &mut dyn FnMut(&mut TensorId)) {
    block.inputs.iter_mut().chain(&mut block.outputs).for_each(&mut *visit);
    for node in &mut block.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).flatten().for_each(&mut *visit);
        for attribute in node.attributes.values_mut() {
            match attribute {
                Attribute::Tensor(id) => visit(id),
                Attribute::Block(inner) => visit_ids(inner, visit),
                _ => {}
            }
        }
    }
}
