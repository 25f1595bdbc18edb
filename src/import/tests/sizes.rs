//! Sizes that follow from arithmetic in floats, from multiples, and from the counter of a loop.

use super::kit::*;
use crate::import::ImportOptions;
use crate::import::proto::ModelProto;
use sirius_polyhedral::Aff;

/// Every second element of `x`, twice, must be as long as `x`.
fn halved_and_doubled() -> ModelProto {
    let weights = vec![weight("start", &[1], &[0]), weight("end", &[1], &[1 << 40]), weight("two", &[1], &[2])];
    let nodes = vec![
        node("Slice", "x start end start two", "half", vec![]),
        node("Concat", "half half", "whole", vec![int("axis", 0)]),
        node("Add", "x whole", "y", vec![]),
    ];
    model(graph(vec![value("x", FLOAT, &["n"])], weights, nodes, "y"))
}

#[test]
fn halving_and_doubling_asks_for_even_dimensions() {
    let imported = import(&halved_and_doubled()).unwrap();
    let extent = &imported.tensor(imported.main.outputs[0]).shape[0];
    let half = imported.params.find("n_by_2").unwrap();
    assert_eq!(*extent, Aff::param(half) * 2);
}

#[test]
fn a_bounded_dimension_keeps_its_multiples() {
    let options =
        ImportOptions { dims: [("n".to_string(), "2..640:64".parse().unwrap())].into(), ..Default::default() };
    let imported = import_with(&halved_and_doubled(), &options).unwrap();
    let (whole, half) = (imported.params.find("n").unwrap(), imported.params.find("n_by_2").unwrap());
    let bounds = |p| (imported.params.get(p).min, imported.params.get(p).max);
    assert_eq!((bounds(whole), bounds(half)), ((2, Some(640)), (1, Some(320))));
}

#[test]
fn sizes_pass_through_floats() {
    let weights = vec![weight("zero", &[], &[0]), weight("one", &[], &[1]), weight("patches", &[1], &[49])];
    let nodes = vec![
        node("Shape", "x", "s", vec![]),
        node("Gather", "s zero", "n", vec![int("axis", 0)]),
        node("Cast", "n", "limit", vec![int("to", 1)]),
        node("Cast", "zero", "first", vec![int("to", 1)]),
        node("Cast", "one", "step", vec![int("to", 1)]),
        node("Range", "first limit step", "y", vec![]),
        node("Cast", "patches", "count", vec![int("to", 1)]),
        node("Sqrt", "count", "side", vec![]),
        node("Cast", "side", "sides", vec![int("to", 7)]),
        node("ConstantOfShape", "sides", "z", vec![]),
    ];
    let found = shapes(vec![value("x", FLOAT, &["n"])], weights, nodes, "y z");
    assert_eq!(found, ["y f32[n]", "z f32[7]"]);
}

#[test]
fn a_counter_is_known_in_the_sizes_of_a_loop() {
    let weights = vec![weight("k0", &[], &[0]), weight("one", &[], &[1]), weight("five", &[], &[5])];
    let weights = [weights, vec![weight("axis", &[1], &[0]), weight("fives", &[1], &[5])]].concat();
    let body = vec![
        node("Add", "k one", "next", vec![]),
        node("Unsqueeze", "k axis", "from", vec![]),
        node("Unsqueeze", "next axis", "after", vec![]),
        node("Min", "after fives", "to", vec![]),
        node("Slice", "x from to axis", "part", vec![]),
        node("Less", "next five", "more", vec![]),
    ];
    let inputs = vec![value("i", INT64, &[]), value("go", BOOL, &[]), value("k", INT64, &[])];
    let body = subgraph("body", graph(inputs, vec![], body, "more next part"));
    let nodes = vec![node("Cast", "one", "true", vec![int("to", 9)]), node("Loop", "_ true k0", "last y", vec![body])];
    let imported = import(&model(graph(vec![value("x", FLOAT, &["5"])], weights, nodes, "y"))).unwrap();
    crate::graph::verify::verify(&imported).unwrap();
    assert!(imported.tensor(imported.main.outputs[0]).shape[1].is_constant(1));
}
