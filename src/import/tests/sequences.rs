//! Sequences and optionals, which inference turns into tensors.

use super::kit::*;
use crate::graph::{Form, Graph, text, verify::verify};
use crate::import::proto::*;
use crate::import::{Given, ImportOptions};

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

fn lengths(list: &[(&str, &str)]) -> ImportOptions {
    let lengths = list.iter().map(|(name, length)| (name.to_string(), length.parse().unwrap())).collect();
    ImportOptions { lengths, ..ImportOptions::default() }
}

fn shown(graph: &Graph, ids: &[crate::graph::TensorId]) -> Vec<String> {
    ids.iter().map(|&id| show(graph, id)).collect()
}

/// `y = SequenceMap(xs, Neg)`.
fn negated(xs: ValueInfoProto) -> ModelProto {
    let body = graph(vec![value("e", FLOAT, &[])], vec![], vec![node("Neg", "e", "r", vec![])], "r");
    model(graph(vec![xs], vec![], vec![node("SequenceMap", "xs", "y", vec![subgraph("body", body)])], "y"))
}

#[test]
fn sequences_at_the_border_become_tensors() {
    let found = import_with(&negated(sequence("xs", FLOAT, Some(&["n", "3"]))), &lengths(&[("xs", "2")])).unwrap();
    verify(&found).unwrap();
    assert_eq!(shown(&found, &found.main.inputs), ["xs[0] f32[n_0_, 3]", "xs[1] f32[n_1_, 3]"]);
    assert_eq!(shown(&found, &found.main.outputs), ["y[0] f32[n_0_, 3]", "y[1] f32[n_1_, 3]"]);
    assert_eq!(found.signature.inputs[0].form, Form::Sequence(2));
    assert_eq!(found.signature.outputs[0].form, Form::Sequence(2));
    assert_eq!(text::parse(&text::print(&found), |_, _| None).unwrap(), found);
    let none = import_with(&negated(sequence("xs", FLOAT, Some(&["n"]))), &lengths(&[("xs", "0")])).unwrap();
    assert!(none.main.inputs.is_empty() && none.main.outputs.is_empty());
}

#[test]
fn a_length_or_shape_that_is_missing_is_asked_for() {
    let file = negated(sequence("xs", FLOAT, None));
    let help = |options: &ImportOptions| {
        let error = import_with(&file, options).unwrap_err();
        assert_eq!(error.diagnostic().code, "E112", "{error}");
        error.diagnostic().help.clone().unwrap()
    };
    assert!(help(&ImportOptions::default()).contains("--length xs=N"));
    let mut options = lengths(&[("xs", "2")]);
    assert!(help(&options).contains("--shape xs[0]=N,M,.."));
    options.shapes = [("xs".to_string(), "n,3".parse().unwrap()), ("xs[1]".to_string(), "?".parse().unwrap())].into();
    let found = import_with(&file, &options).unwrap();
    assert_eq!(shown(&found, &found.main.inputs), ["xs[0] f32[n, 3]", "xs[1] f32[xs_1__0]"]);
}

#[test]
fn lengths_and_shapes_that_do_not_fit_are_refused() {
    let file = negated(sequence("xs", FLOAT, Some(&["2"])));
    let shape = |name: &str, text: &str| ImportOptions {
        shapes: [(name.to_string(), text.parse().unwrap())].into(),
        ..lengths(&[("xs", "1")])
    };
    let wrong =
        [lengths(&[("xs", "none")]), lengths(&[("xs", "1"), ("y", "1")]), shape("xs[1]", "2"), shape("xs[0]", "3")];
    for options in wrong {
        let error = import_with(&file, &options).unwrap_err();
        assert_eq!(error.diagnostic().code, "E109", "{error}");
        assert!(error.diagnostic().help.is_some());
    }
}

#[test]
fn optional_inputs_are_there_or_not() {
    let nodes = || vec![node("OptionalHasElement", "o", "has", vec![]), node("Identity", "o", "p", vec![])];
    let import = |input: ValueInfoProto, length: &str| {
        import_with(&model(graph(vec![optional(input)], vec![], nodes(), "has p")), &lengths(&[("o", length)])).unwrap()
    };
    let has = |found: &Graph| {
        found.tensor(found.main.outputs[0]).ints().or_else(|| {
            found
                .main
                .nodes
                .iter()
                .find(|n| n.outputs == [Some(found.main.outputs[0])])
                .and_then(|n| found.tensor(n.input(0)?).ints())
        })
    };
    let full = import(value("o", FLOAT, &["4"]), "1");
    assert_eq!((has(&full), full.signature.outputs[1].form), (Some(vec![1]), Form::Optional));
    let empty = import(value("o", FLOAT, &["4"]), "none");
    assert_eq!((has(&empty), empty.signature.outputs[1].form), (Some(vec![0]), Form::Empty));
    let list = import(sequence("o", FLOAT, Some(&["4"])), "3");
    assert_eq!((has(&list), list.signature.outputs[1].form), (Some(vec![1]), Form::OptionalSequence(3)));
    assert_eq!(list.main.outputs.len(), 4);
}

/// `t = If(c, [x, y], ELSE)`.
fn chosen(otherwise: &str) -> ModelProto {
    let branch = |inputs: &str, name: &str| {
        let nodes = vec![node("SequenceConstruct", inputs, name, vec![])];
        graph(vec![], vec![], nodes, name)
    };
    let blocks = vec![subgraph("then_branch", branch("x y", "a")), subgraph("else_branch", branch(otherwise, "b"))];
    let inputs = vec![value("c", BOOL, &[]), value("x", FLOAT, &["2"]), value("y", FLOAT, &["3"])];
    model(graph(inputs, vec![], vec![node("If", "c", "t", blocks)], "t"))
}

#[test]
fn an_if_selects_element_by_element() {
    let found = import(&chosen("x y")).unwrap();
    verify(&found).unwrap();
    assert_eq!(shown(&found, &found.main.outputs), ["t[0] f32[2]", "t[1] f32[3]"]);
    assert_eq!(found.main.nodes.iter().filter(|n| n.op == "If").count(), 1);
}

#[test]
fn an_if_between_lists_of_different_lengths_needs_its_condition() {
    let error = import(&chosen("x")).unwrap_err();
    assert!(error.to_string().contains("seq(2) and seq(1)"), "{error}");
    assert!(error.diagnostic().help.as_deref().unwrap().contains("--value c=.."));
    let values = [("c".to_string(), Given::Ints(vec![0]))].into();
    let found = import_with(&chosen("x"), &ImportOptions { values, ..ImportOptions::default() }).unwrap();
    assert_eq!(shown(&found, &found.main.outputs), ["t[0] f32[2]"]);
}

#[test]
fn the_run_may_tell_the_sizes_of_pieces() {
    let inputs = vec![value("x", FLOAT, &["n"]), value("sizes", INT64, &["2"])];
    let nodes = vec![node("SplitToSequence", "x sizes", "s", vec![]), node("SequenceLength", "s", "c", vec![])];
    let found = import(&model(graph(inputs, vec![], nodes, "s c"))).unwrap();
    assert_eq!(found.signature.outputs[0].form, Form::Sequence(2));
    let shapes = shown(&found, &found.main.outputs);
    assert_eq!(shapes[..2], ["s[0] f32[sizes_value0]", "s[1] f32[sizes_value1]"]);
}
