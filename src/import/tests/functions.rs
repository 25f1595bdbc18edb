//! Operators that are expanded into others.

use super::kit::*;
use crate::graph::{Graph, verify::verify};
use crate::import::proto::*;

/// The only node of the model is `node`, of opset 23.
fn expanded(inputs: Vec<ValueInfoProto>, node: NodeProto, outputs: &str) -> Graph {
    let mut model = model(graph(inputs, vec![], vec![node], outputs));
    model.opset_import[0].version = 23;
    let graph = import(&model).unwrap();
    verify(&graph).unwrap();
    graph
}

fn outputs(graph: &Graph) -> Vec<String> {
    graph.main.outputs.iter().map(|&id| show(graph, id)).collect()
}

fn count(graph: &Graph, op: &str) -> usize {
    graph.main.nodes.iter().filter(|n| n.op == op).count()
}

#[test]
fn attention_with_a_cache_keeps_every_length_symbolic() {
    let inputs = vec![
        value("q", FLOAT, &["b", "s", "32"]),
        value("k", FLOAT, &["b", "s", "16"]),
        value("v", FLOAT, &["b", "s", "16"]),
        value("pk", FLOAT, &["b", "2", "past", "8"]),
        value("pv", FLOAT, &["b", "2", "past", "8"]),
    ];
    let attributes = vec![int("q_num_heads", 4), int("kv_num_heads", 2), int("is_causal", 1)];
    let graph = expanded(inputs, node("Attention", "q k v _ pk pv", "y nk nv", attributes), "y nk nv");
    let wanted = ["y f32[b, s, 32]", "nk f32[b, 2, s + past, 8]", "nv f32[b, 2, s + past, 8]"];
    assert_eq!(outputs(&graph), wanted);
    // Shared heads of keys are one more dimension of the product: nothing is repeated.
    assert_eq!([count(&graph, "MatMul"), count(&graph, "Expand"), count(&graph, "Attention")], [2, 0, 0]);
}

#[test]
fn a_body_may_call_another_function() {
    let inputs = vec![value("x", FLOAT, &["n", "5"]), value("t", INT64, &["n"])];
    let graph = expanded(inputs, node("SoftmaxCrossEntropyLoss", "x t", "loss log", vec![]), "loss log");
    assert_eq!(outputs(&graph), ["loss f32[]", "log f32[n, 5]"]);
}

#[test]
fn what_does_not_fit_is_told_with_the_name_of_the_call() {
    let inputs = vec![
        value("q", FLOAT, &["1", "3", "4", "8"]),
        value("k", FLOAT, &["1", "2", "4", "8"]),
        value("v", FLOAT, &["1", "2", "4", "8"]),
    ];
    let node = node("Attention", "q k v", "y", vec![]);
    let mut model = model(graph(inputs, vec![], vec![node], "y"));
    model.opset_import[0].version = 23;
    let error = import(&model).unwrap_err().to_string();
    assert!(error.contains("3 heads of queries for 2 heads of keys") && error.contains("Attention_of_y"), "{error}");
}
