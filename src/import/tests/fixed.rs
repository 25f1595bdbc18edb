//! Inputs whose contents are fixed at compile time, and operators of old opsets.

use super::kit::*;
use crate::graph::text;
use crate::import::{Given, ImportOptions, proto::GraphProto};
use std::collections::BTreeMap;

fn fixed(name: &str, given: Given) -> ImportOptions {
    ImportOptions { values: BTreeMap::from([(name.to_string(), given)]), ..ImportOptions::default() }
}

fn reshape() -> crate::import::proto::ModelProto {
    let inputs = vec![value("x", FLOAT, &["6"]), value("shape", INT64, &["2"])];
    model(graph(inputs, vec![], vec![node("Reshape", "x shape", "y", vec![])], "y"))
}

#[test]
fn a_fixed_input_decides_shapes_and_stays_an_input() {
    let found = import_with(&reshape(), &fixed("shape", Given::Ints(vec![2, 3]))).unwrap();
    assert_eq!(show(&found, found.main.outputs[0]), "y f32[2, 3]");
    assert_eq!(found.main.inputs.len(), 2);
    assert_eq!(show(&found, found.main.inputs[1]), "shape i64[2]");
    let bytes: Vec<u8> = [2i64, 3].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(found.fixed[&1].bytes(), bytes);
    let printed = text::print(&found);
    assert_eq!(text::parse(&printed, |_, _| None).unwrap().fixed, found.fixed);
}

#[test]
fn values_that_do_not_fit_are_refused() {
    for (name, given) in [("shape", Given::Ints(vec![1, 2, 3])), ("nowhere", Given::Ints(vec![1]))] {
        let error = import_with(&reshape(), &fixed(name, given)).unwrap_err();
        assert_eq!(error.diagnostic().code, "E108", "{error}");
        assert!(error.diagnostic().help.is_some());
    }
}

#[test]
fn old_broadcasts_start_at_their_axis() {
    let inputs = vec![value("x", FLOAT, &["2", "3", "4"]), value("b", FLOAT, &["3"])];
    let add = node("Add", "x b", "y", vec![int("broadcast", 1), int("axis", 1)]);
    let mut old = model(GraphProto { ..graph(inputs, vec![], vec![add], "y") });
    old.opset_import[0].version = 6;
    let found = import(&old).unwrap();
    assert_eq!(show(&found, found.main.outputs[0]), "y f32[2, 3, 4]");
    let operand = found.main.nodes.last().unwrap().input(1).unwrap();
    assert!(show(&found, operand).ends_with("f32[3, 1]"), "{}", show(&found, operand));
}
