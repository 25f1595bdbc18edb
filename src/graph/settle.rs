//! Settled branches: an `If` whose condition is a constant is replaced by the nodes of the branch that it takes.
//!
//! Allowed where the results have the same types and shapes as the branch gives them; an `If` whose branches differ
//! in shape keeps its node, since readers were inferred for either.

use super::{Block, Graph, Node, TensorId};
use indexmap::IndexMap;

/// Replaces every settled `If` of the block itself; returns how many.
pub fn settle_branches(graph: &Graph, block: &mut Block) -> usize {
    let mut settled = 0;
    for node in std::mem::take(&mut block.nodes) {
        match branch(graph, &node).cloned() {
            Some(taken) => {
                settled += 1;
                block.nodes.extend(taken.nodes);
                block.nodes.extend(results(&node, &taken.outputs));
            }
            None => block.nodes.push(node),
        }
    }
    settled
}

/// The branch that an `If` is known to take, when its results fit the node's.
fn branch<'a>(graph: &Graph, node: &'a Node) -> Option<&'a Block> {
    if node.op != "If" || !node.domain.is_empty() {
        return None;
    }
    let condition = graph.tensor(node.input(0)?).constant.as_ref()?;
    let taken = *condition.bytes().first()? != 0;
    let block = node.block(if taken { "then_branch" } else { "else_branch" })?;
    let fits = |(result, value): (&Option<TensorId>, &TensorId)| {
        result.is_none_or(|result| {
            let (result, value) = (graph.tensor(result), graph.tensor(*value));
            (result.dtype, &result.shape) == (value.dtype, &value.shape)
        })
    };
    node.outputs.iter().zip(&block.outputs).all(fits).then_some(block)
}

/// The node's results as copies of the branch's.
fn results<'a>(node: &'a Node, values: &'a [TensorId]) -> impl Iterator<Item = Node> + 'a {
    node.outputs.iter().zip(values).filter_map(|(result, value)| {
        Some(Node {
            name: node.name.clone(),
            op: "Identity".to_string(),
            domain: String::new(),
            version: node.version,
            inputs: vec![Some(*value)],
            outputs: vec![Some((*result)?)],
            attributes: IndexMap::new(),
        })
    })
}
