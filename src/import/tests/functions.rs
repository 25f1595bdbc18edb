//! Operators that are expanded into others.

use super::kit::*;
use crate::graph::interp::{self, testing};
use crate::graph::{Attribute, Graph, verify::verify};
use crate::import::proto::*;
use crate::run::value::Value;

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

/// The expanded nodes against the interpreter's own way, which lets every input element spread: strides, holes,
/// kernels that the stride does not divide, padding on both sides, groups.
#[test]
fn a_transposed_convolution_is_a_convolution_and_a_renaming() {
    let numbers = |shape: &[usize], seed: usize| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i * 7 + seed) % 11) as f32 - 5.0).collect();
        Value::from_f32(shape, &values).unwrap()
    };
    for n in 0..96 {
        let [stride, dilation, kernel, groups] = [1 + n % 3, 1 + n / 3 % 2, 1 + n / 6 % 4, 1 + n / 24 % 2];
        let [before, after, more] = [n / 48, n % 2, (n % stride).min(1)];
        if before + after > (kernel - 1) * dilation {
            continue;
        }
        let (x, w) = ([2, 2 * groups, 4, 3], [2 * groups, 3, kernel, 2]);
        let lists = [
            ("strides", vec![stride as i64, 2]),
            ("dilations", vec![dilation as i64, 1]),
            ("pads", vec![before as i64, 1, after as i64, 0]),
            ("output_padding", vec![more as i64, 1]),
        ];
        let given: Vec<AttributeProto> = lists.iter().map(|(name, list)| ints(name, list)).collect();
        let given = [given, vec![int("group", groups as i64)]].concat();
        let shaped = |name: &str, shape: &[usize]| {
            let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
            value(name, FLOAT, &dims.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let inputs = vec![shaped("x", &x), shaped("w", &w), shaped("b", &[3 * groups])];
        let graph = expanded(inputs, node("ConvTranspose", "x w b", "y", given), "y");
        assert_eq!(count(&graph, "ConvTranspose"), 0);
        let data = [numbers(&x, 1), numbers(&w, 3), numbers(&[3 * groups], 5)];
        let got = interp::run(&graph, &data).unwrap().remove(0);
        let mut attributes: Vec<(&str, Attribute)> =
            lists.iter().map(|(name, list)| (*name, Attribute::Ints(list.clone()))).collect();
        attributes.push(("group", Attribute::Int(groups as i64)));
        let wanted = testing::eval("ConvTranspose", 22, &attributes, &data.iter().collect::<Vec<_>>());
        assert_eq!((&got.shape, got.floats()), (&wanted.shape, wanted.floats()), "{lists:?}, {groups} groups");
    }
}
