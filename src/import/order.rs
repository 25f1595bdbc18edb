//! Topological order of a graph's nodes.

use super::proto::{GraphProto, NodeProto};
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
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
    let mut uses = DiGraphMap::<usize, ()>::new();
    for (n, node) in nodes.iter().enumerate() {
        uses.add_node(n);
        visit_uses(node, &mut |name| {
            if let Some(&p) = producer.get(name) {
                uses.add_edge(p, n, ());
            }
        });
    }
    let order = first_come(&uses);
    if order.len() < nodes.len() {
        return Err(cycle(&uses, nodes));
    }
    Ok(order)
}

/// Topological order that takes the smallest number first, so that a sorted list stays as it is (`petgraph`'s own
/// order does not promise this). What lies on a cycle, or behind one, is missing.
fn first_come(uses: &DiGraphMap<usize, ()>) -> Vec<usize> {
    let mut waiting: Vec<usize> = vec![0; uses.node_count()];
    uses.all_edges().for_each(|(_, user, ())| waiting[user] += 1);
    let mut ready: BinaryHeap<Reverse<usize>> = (0..waiting.len()).filter(|&n| waiting[n] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse(n)) = ready.pop() {
        order.push(n);
        for user in uses.neighbors(n) {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    order
}

/// Names the nodes of one cycle.
fn cycle(uses: &DiGraphMap<usize, ()>, nodes: &[NodeProto]) -> Error {
    let circular = |part: &Vec<usize>| part.len() > 1 || uses.contains_edge(part[0], part[0]);
    let mut members = tarjan_scc(uses).into_iter().find(circular).unwrap_or_default();
    members.sort_unstable();
    let first = members.first().map(|&n| &nodes[n]);
    let origin = first.map_or_else(Origin::default, |n| Origin { node: n.name.clone(), op: n.op_type.clone() });
    let output = |n: &usize| nodes[*n].output.first().map_or("", String::as_str);
    let names: Vec<String> = members.iter().take(8).map(|n| format!("\"{}\"", output(n))).collect();
    let more = if members.len() > 8 { " and others" } else { "" };
    Error::invalid("E104", format!("the graph has a cycle through {}{more}", names.join(", "))).at(&origin)
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
