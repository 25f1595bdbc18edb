//! Sequences and optionals, which inference turns into tensors.

use super::kit::*;
use crate::graph::{Graph, verify::verify};
use crate::import::proto::*;

fn imported(weights: Vec<TensorProto>, nodes: Vec<NodeProto>, outputs: &str) -> sirius_polyhedral::Result<Graph> {
    let inputs = vec![value("x", FLOAT, &["n", "3"]), value("y", FLOAT, &["m", "3"])];
    let graph = import(&model(graph(inputs, weights, nodes, outputs)))?;
    verify(&graph).unwrap();
    Ok(graph)
}

#[test]
fn positions_count_from_both_ends() {
    let nodes = vec![
        node("SequenceConstruct", "x y", "s", vec![]),
        node("SequenceInsert", "s y zero", "t", vec![]),
        node("SequenceErase", "t last", "u", vec![]),
        node("SequenceAt", "u last", "a", vec![]),
        node("ConcatFromSequence", "t", "b", vec![int("axis", 0)]),
        node("SequenceLength", "u", "c", vec![]),
    ];
    let weights = vec![weight("zero", &[], &[0]), weight("last", &[], &[-1])];
    let graph = imported(weights, nodes, "a b c").unwrap();
    let shown: Vec<String> = graph.main.outputs.iter().map(|&id| show(&graph, id)).collect();
    assert_eq!(shown[1..], ["b f32[n + 2*m, 3]", "c i64[]"]);
    assert!(shown[0].ends_with("f32[n, 3]"), "{shown:?}");
}

#[test]
fn a_loop_that_carries_a_sequence_is_written_out() {
    let body = vec![
        node("Add", "x x", "d", vec![]),
        node("SequenceInsert", "v d", "next", vec![]),
        node("Identity", "go", "again", vec![]),
    ];
    let inputs = vec![value("i", INT64, &[]), value("go", BOOL, &[]), value("v", FLOAT, &[])];
    let body = subgraph("body", graph(inputs, vec![], body, "again next"));
    let nodes = vec![
        node("SequenceConstruct", "y", "s", vec![]),
        node("Loop", "two _ s", "t", vec![body]),
        node("ConcatFromSequence", "t", "b", vec![int("axis", 0)]),
    ];
    let graph = imported(vec![weight("two", &[], &[2])], nodes, "b").unwrap();
    assert_eq!(show(&graph, graph.main.outputs[0]), "b f32[2*n + m, 3]");
    assert_eq!(graph.main.nodes.iter().filter(|n| n.op == "Add").count(), 2);
}

#[test]
fn a_map_copies_its_body() {
    let body =
        graph(vec![value("e", FLOAT, &[]), value("f", FLOAT, &[])], vec![], vec![node("Add", "e f", "r", vec![])], "r");
    let nodes = vec![
        node("SequenceConstruct", "x y", "s", vec![]),
        node("SequenceMap", "s s", "t", vec![subgraph("body", body)]),
        node("ConcatFromSequence", "t", "b", vec![int("axis", 0)]),
    ];
    let graph = imported(vec![], nodes, "b").unwrap();
    assert_eq!(show(&graph, graph.main.outputs[0]), "b f32[n + m, 3]");
}

#[test]
fn what_only_the_run_could_tell_is_refused() {
    let at = vec![
        node("SequenceConstruct", "x y", "s", vec![]),
        node("ReduceMax", "x", "r", vec![]),
        node("Cast", "r", "p", vec![int("to", 7)]),
        node("SequenceAt", "s p", "a", vec![]),
    ];
    assert!(imported(vec![], at, "a").unwrap_err().to_string().contains("position"));
    let out = vec![node("SequenceConstruct", "x y", "s", vec![])];
    assert!(imported(vec![], out, "s").unwrap_err().to_string().contains("only tensors can be outputs"));
    let add = vec![node("SequenceConstruct", "x y", "s", vec![]), node("Add", "s x", "a", vec![])];
    assert!(imported(vec![], add, "a").unwrap_err().to_string().contains("Add of a sequence"));
}

#[test]
fn optionals_are_decided() {
    let nodes = vec![
        node("Optional", "x", "o", vec![]),
        node("OptionalHasElement", "o", "has", vec![]),
        node("OptionalGetElement", "o", "e", vec![]),
        node("Neg", "e", "a", vec![]),
    ];
    let graph = imported(vec![], nodes, "a has").unwrap();
    assert_eq!(show(&graph, graph.main.outputs[0]), "a f32[n, 3]");
}
