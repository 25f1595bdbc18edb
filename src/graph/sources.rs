//! Which inputs of the graph decide the contents of a tensor: what a user could fix where contents are needed.

use super::{Attribute, Block, Graph, Node, TensorId};
use sirius_polyhedral::Params;
use std::collections::{HashMap, HashSet};

/// The names of the graph inputs that `tensor` is computed from. What only reads shapes is not followed.
pub fn sources(graph: &Graph, tensor: TensorId) -> Vec<&str> {
    let mut producers = HashMap::new();
    collect(&graph.main, &mut producers);
    let (mut seen, mut open) = (HashSet::from([tensor]), vec![tensor]);
    while let Some(id) = open.pop() {
        let inputs = producers.get(&id).into_iter().flatten();
        open.extend(inputs.copied().filter(|input| seen.insert(*input)));
    }
    let inputs = graph.main.inputs.iter().filter(|id| seen.contains(id));
    inputs.map(|id| graph.tensor(*id).name.as_str()).collect()
}

/// Every written tensor with what its producer reads, subgraphs included.
fn collect(block: &Block, producers: &mut HashMap<TensorId, Vec<TensorId>>) {
    for node in &block.nodes {
        let mut read: Vec<TensorId> = node.inputs.iter().flatten().copied().collect();
        for (value, read) in carried(node) {
            producers.insert(value, read);
        }
        for attribute in node.attributes.values() {
            if let Attribute::Block(inner) = attribute {
                collect(inner, producers);
                read.extend(&inner.outputs);
            }
        }
        if matches!(node.op.as_str(), "Shape" | "Size") {
            read.clear();
        }
        node.outputs.iter().flatten().for_each(|id| drop(producers.insert(*id, read.clone())));
    }
}

/// What the inputs of a `Loop`'s body follow from: the step's number from the trip count, a carried value from its start.
fn carried(node: &Node) -> Vec<(TensorId, Vec<TensorId>)> {
    let Some(Attribute::Block(body)) = node.attributes.get("body").filter(|_| node.op == "Loop") else { return vec![] };
    let starts = node.inputs.iter().zip(&body.inputs);
    starts.filter_map(|(start, input)| Some((*input, vec![(*start)?]))).collect()
}

/// The advice that goes with an error about contents that are needed at compile time.
pub fn advice(graph: &Graph, params: &Params, tensor: TensorId) -> String {
    let mut ways: Vec<String> = sources(graph, tensor).iter().map(|name| format!("--value {name}=..")).collect();
    let names: Vec<&str> = params.iter().map(|(_, p)| p.name.as_str()).collect();
    if !names.is_empty() {
        ways.push(format!("--dim NAME=N for {}", names.join(", ")));
    }
    if ways.is_empty() {
        return "the model computes it from its data: no option can fix it".to_string();
    }
    format!("fix it at compile time: {}", ways.join(" or "))
}
