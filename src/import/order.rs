//! Topological order of a graph's nodes.

use super::proto::{GraphProto, NodeProto};
use sirius_polyhedral::{Error, Origin, Result};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Indices of `nodes` in an order in which every value is produced before it is used. ONNX demands that the
/// file has this order already, and then it is kept; some exporters do not.
pub fn sort(nodes: &[NodeProto]) -> Result<Vec<usize>> {
    let mut producer = HashMap::new();
    for (n, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            producer.insert(output.as_str(), n);
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut users = vec![Vec::new(); nodes.len()];
    for (n, node) in nodes.iter().enumerate() {
        let mut sources = HashSet::new();
        visit_uses(node, &mut |name| {
            if let Some(&p) = producer.get(name) {
                sources.insert(p);
            }
        });
        waiting[n] = sources.len();
        sources.into_iter().for_each(|p| users[p].push(n));
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len()).filter(|&n| waiting[n] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(n)) = ready.pop() {
        order.push(n);
        for &user in &users[n] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    match (0..nodes.len()).find(|&n| waiting[n] > 0) {
        None => Ok(order),
        Some(n) => Err(cycle(&nodes[n])),
    }
}

fn cycle(node: &NodeProto) -> Error {
    let origin = Origin { node: node.name.clone(), op: node.op_type.clone() };
    let output = node.output.first().map_or("", String::as_str);
    Error::invalid("E104", format!("the graph has a cycle: \"{output}\" depends on itself")).at(&origin)
}

/// Calls `visit` with every name that the node reads, in its subgraphs too where they do not define it.
fn visit_uses<'a>(node: &'a NodeProto, visit: &mut dyn FnMut(&'a str)) {
    node.input.iter().for_each(|name| visit(name));
    for graph in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
        let defined = definitions(graph);
        let mut free = |name: &'a str| {
            if !defined.contains(name) {
                visit(name);
            }
        };
        graph.node.iter().for_each(|inner| visit_uses(inner, &mut free));
        graph.output.iter().for_each(|o| free(&o.name));
    }
}

fn definitions(graph: &GraphProto) -> HashSet<&str> {
    let inputs = graph.input.iter().map(|i| i.name.as_str());
    let weights = graph.initializer.iter().map(|i| i.name.as_str());
    let outputs = graph.node.iter().flat_map(|n| n.output.iter().map(String::as_str));
    inputs.chain(weights).chain(outputs).collect()
}
