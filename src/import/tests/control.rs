//! Subgraphs and functions.

use super::kit::*;
use crate::graph::{Attribute, Graph, verify::verify};
use crate::import::proto::*;
use sirius_polyhedral::ParamDef;

fn branches(then: Vec<NodeProto>, then_out: &str, other: Vec<NodeProto>, other_out: &str) -> Vec<AttributeProto> {
    vec![
        subgraph("then_branch", graph(vec![], vec![], then, then_out)),
        subgraph("else_branch", graph(vec![], vec![], other, other_out)),
    ]
}

/// `y = c ? relu(x) : -x`, with equal names inside both branches.
fn choice() -> Vec<AttributeProto> {
    branches(vec![node("Relu", "x", "r", vec![])], "r", vec![node("Neg", "x", "r", vec![])], "r")
}

#[test]
fn a_run_time_if_keeps_both_branches() {
    let inputs = vec![value("c", BOOL, &[]), value("x", FLOAT, &["n"])];
    let imported = import(&model(graph(inputs, vec![], vec![node("If", "c", "y", choice())], "y"))).unwrap();
    verify(&imported).unwrap();
    assert_eq!(show(&imported, imported.main.outputs[0]), "y f32[n]");
    let node = &imported.main.nodes[0];
    let captured = [node.block("then_branch"), node.block("else_branch")].map(|b| b.unwrap().nodes[0].input(0));
    assert_eq!(captured, [Some(imported.main.inputs[1]); 2]);
}

#[test]
fn a_branch_that_cannot_run_is_never_taken() {
    let both = branches(vec![node("MatMul", "x v", "a", vec![])], "a", vec![node("MatMul", "x w", "b", vec![])], "b");
    let inputs = vec![value("c", BOOL, &[]), value("x", FLOAT, &["2", "3"])];
    let weights = vec![zeros("v", &[7, 4]), zeros("w", &[3, 4])];
    let imported = import(&model(graph(inputs, weights, vec![node("If", "c", "y", both)], "y"))).unwrap();
    verify(&imported).unwrap();
    assert_eq!(show(&imported, imported.main.outputs[0]), "y f32[2, 4]");
    assert_eq!(imported.tensor(imported.main.nodes[0].input(1).unwrap()).name, "w");
}

#[test]
fn a_known_condition_inlines_its_branch() {
    let nodes = vec![
        node("Shape", "x", "s", vec![]),
        node("Size", "s", "rank", vec![]),
        node("Equal", "rank two", "c", vec![]),
        node("If", "c", "y", choice()),
    ];
    let weights = vec![weight("two", &[], &[2])];
    let imported = import(&model(graph(vec![value("x", FLOAT, &["n"])], weights, nodes, "y"))).unwrap();
    let last = imported.main.nodes.last().unwrap();
    assert_eq!((last.op.as_str(), imported.tensor(last.outputs[0].unwrap()).name.as_str()), ("Neg", "y"));
}

/// What exporters write for `conv(x).squeeze(2) @ w`: the rest of the graph fits only one rank.
#[test]
fn branches_of_different_rank_bound_the_input() {
    let squeeze =
        branches(vec![node("Squeeze", "f last", "q", vec![])], "q", vec![node("Identity", "f", "i", vec![])], "i");
    let nodes = vec![
        node("Conv", "x k", "f", vec![ints("strides", &[4])]),
        node("Shape", "f", "s", vec![]),
        node("Gather", "s last", "frames", vec![]),
        node("Equal", "frames one", "c", vec![]),
        node("If", "c", "g", squeeze),
        node("Gemm", "g w", "y", vec![]),
    ];
    let weights =
        vec![zeros("k", &[5, 1, 8]), zeros("w", &[5, 2]), weight("last", &[1], &[-1]), weight("one", &[1], &[1])];
    let imported = import(&model(graph(vec![value("x", FLOAT, &["b", "1", "len"])], weights, nodes, "y"))).unwrap();
    assert_eq!(show(&imported, imported.main.outputs[0]), "y f32[b, 2]");
    let len = imported.params.get(imported.params.find("len").unwrap());
    assert_eq!((len.min, len.max), (8, Some(11)));
}

/// A loop over `v`, carried from `init`, with scan output `out`.
fn looped(trip: &str, condition: &str, body: Vec<NodeProto>, outputs: &str, results: &str) -> NodeProto {
    let inputs = vec![value("i", INT64, &[]), value("go", BOOL, &[]), value("v", FLOAT, &["?", "?"])];
    let body = graph(inputs, vec![], body, outputs);
    node("Loop", &format!("{trip} {condition} x"), results, vec![subgraph("body", body)])
}

#[test]
fn a_counted_loop_gives_its_scan_outputs_the_trip_count() {
    let body = vec![
        node("Identity", "go", "go_on", vec![]),
        node("Tanh", "v", "w", vec![]),
        node("ReduceSum", "w", "total", vec![int("keepdims", 0)]),
    ];
    let nodes = vec![
        node("Shape", "x", "s", vec![]),
        node("Gather", "s zero", "n", vec![]),
        looped("n", "_", body, "go_on w total", "final sums"),
    ];
    let found = shapes(vec![value("x", FLOAT, &["n", "3"])], vec![weight("zero", &[], &[0])], nodes, "final sums");
    assert_eq!(found, ["final f32[n, 3]", "sums f32[n]"]);
}

fn ending_loop(extra: Vec<NodeProto>, outputs: &str, results: &str) -> NodeProto {
    let mut body =
        vec![node("ReduceSum", "v", "total", vec![int("keepdims", 0)]), node("Less", "total limit", "more", vec![])];
    body.extend(extra);
    looped("max", "_", body, outputs, results)
}

#[test]
fn a_loop_with_an_exit_has_a_run_time_trip_count() {
    let body = ending_loop(vec![node("Tanh", "v", "w", vec![])], "more w total", "final sums");
    let inputs = vec![value("x", FLOAT, &["2", "3"]), value("limit", FLOAT, &[])];
    let imported = import(&model(graph(inputs, vec![weight("max", &[], &[50])], vec![body], "final sums"))).unwrap();
    let (_, trips) = imported.params.iter().next().unwrap();
    assert!(matches!(&trips.def, ParamDef::Value { array } if array.ends_with("_trips")));
    assert_eq!((trips.min, trips.max), (0, Some(50)));
    assert_eq!(show(&imported, imported.main.outputs[1]), format!("sums f32[{}]", trips.name));
}

#[test]
fn a_list_that_grows_becomes_a_scan_output() {
    let body = ending_loop(
        vec![node("Slice", "v a b c", "piece", vec![]), node("Concat", "v piece", "w", vec![int("axis", 1)])],
        "more w",
        "final",
    );
    // The list itself is read elsewhere in the body, so it cannot be a scan output: its length is one of every step.
    let weights = || {
        let list = [("a", 0), ("b", 1), ("c", 1), ("max", 9)];
        list.iter().map(|(name, n)| weight(name, if *name == "max" { &[] } else { &[1] }, &[*n])).collect::<Vec<_>>()
    };
    let inputs = vec![value("x", FLOAT, &["2", "3"]), value("limit", FLOAT, &[])];
    let imported = import(&model(graph(inputs, weights(), vec![body], "final"))).unwrap();
    crate::graph::verify::verify(&imported).unwrap();
    let shown = show(&imported, imported.main.outputs[0]);
    assert!(shown.starts_with("final f32[2, ") && shown.contains("_size0_1"), "{shown}");

    let body = vec![
        node("Identity", "go", "go_on", vec![]),
        node("Cast", "i", "f", vec![int("to", 1)]),
        node("Add", "f block", "piece", vec![]),
        node("Concat", "v piece", "w", vec![int("axis", 1)]),
    ];
    let mut constants = weights();
    constants.push(zeros("block", &[2, 4]));
    let nodes = vec![looped("max", "_", body, "go_on w", "final")];
    assert_eq!(shapes(vec![value("x", FLOAT, &["2", "3"])], constants, nodes, "final"), ["final f32[2, 39]"]);
}

#[test]
fn a_scan_slices_its_sequences() {
    let body = graph(
        vec![value("h", FLOAT, &[]), value("e", FLOAT, &[])],
        vec![],
        vec![node("Add", "h e", "next", vec![]), node("Identity", "next", "out", vec![])],
        "next out",
    );
    let attributes = vec![subgraph("body", body), int("num_scan_inputs", 1), ints("scan_input_axes", &[1])];
    let inputs = vec![value("h0", FLOAT, &["b", "4"]), value("xs", FLOAT, &["b", "time", "4"])];
    let found = shapes(inputs, vec![], vec![node("Scan", "h0 xs", "h ys", attributes)], "h ys");
    assert_eq!(found, ["h f32[b, 4]", "ys f32[time, b, 4]"]);
}

#[test]
fn functions_are_inlined_with_their_attributes() {
    let reference =
        AttributeProto { name: "axis".into(), r#type: 2, ref_attr_name: "dim".into(), ..Default::default() };
    let function = FunctionProto {
        name: "Twice".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Concat", "a a", "t", vec![reference]), node("Relu", "t", "b", vec![])],
        ..Default::default()
    };
    let call = |input: &str, output: &str, dim: i64| NodeProto {
        domain: "local".into(),
        ..node("Twice", input, output, vec![int("dim", dim)])
    };
    let nodes = vec![call("x", "m", 0), call("m", "y", 1)];
    let mut calling = model(graph(vec![value("x", FLOAT, &["n", "3"])], vec![], nodes, "y"));
    calling.functions.push(function);
    let imported = import(&calling).unwrap();
    verify(&imported).unwrap();
    assert_eq!(show(&imported, imported.main.outputs[0]), "y f32[2*n, 6]");
    assert_eq!(imported.main.nodes.len(), 4);
    assert_eq!(imported.main.nodes[2].attributes["axis"], Attribute::Int(1));
}

/// A loop of `trips` steps that takes element `i` of `x`, five of them, by a slice.
fn sliced(trips: Vec<TensorProto>, inputs: Vec<ValueInfoProto>) -> sirius_polyhedral::Result<Graph> {
    let body = vec![
        node("Identity", "go", "again", vec![]),
        node("Add", "i one", "end", vec![]),
        node("Unsqueeze", "i zero", "from", vec![]),
        node("Unsqueeze", "end zero", "to", vec![]),
        node("Slice", "x from to", "piece", vec![]),
    ];
    let weights = vec![weight("one", &[], &[1]), weight("zero", &[1], &[0])];
    let body = graph(vec![value("i", INT64, &[]), value("go", BOOL, &[])], weights, body, "again piece");
    let nodes = vec![node("Loop", "trips _", "y", vec![subgraph("body", body)])];
    let inputs = inputs.into_iter().chain([value("x", FLOAT, &["5"])]).collect();
    import(&model(graph(inputs, trips, nodes, "y")))
}

#[test]
fn a_slice_at_the_step_has_one_element() {
    let found = sliced(vec![weight("trips", &[], &[4])], vec![]).unwrap();
    crate::graph::verify::verify(&found).unwrap();
    assert_eq!(show(&found, found.main.outputs[0]), "y f32[4, 1]");
}

#[test]
fn what_a_loop_collects_may_not_change_in_size() {
    // Steps 5 and 6 would take nothing.
    let error = sliced(vec![weight("trips", &[], &[7])], vec![]).unwrap_err();
    assert!(error.to_string().contains("sizes of their own"), "{error}");
    let error = sliced(vec![], vec![value("trips", INT64, &[])]).unwrap_err();
    assert!(error.diagnostic().help.as_deref().unwrap().contains("--value trips=.."), "{error}");
}
