//! Shapes with symbolic dimensions: they must stay affine, and shape tensors must be followed.

use super::kit::*;
use crate::import::ImportOptions;
use crate::import::proto::{GraphProto, ModelProto};
use sirius_polyhedral::ParamDef;

fn x(dims: &[&str]) -> Vec<crate::import::proto::ValueInfoProto> {
    vec![value("x", FLOAT, dims)]
}

#[test]
fn reshapes_of_products_give_the_factors_back() {
    let weights = vec![
        weight("heads", &[4], &[0, 0, 12, -1]),
        weight("joined", &[3], &[0, 0, -1]),
        weight("rows", &[2], &[-1, 768]),
        weight("columns", &[2], &[0, -1]),
    ];
    let nodes = vec![
        node("Reshape", "x heads", "split", vec![]),
        node("Reshape", "split joined", "back", vec![]),
        node("Reshape", "x rows", "flat", vec![]),
        node("Shape", "x", "s", vec![]),
        node("Reshape", "flat s", "again", vec![]),
        node("Reshape", "x columns", "wide", vec![]),
    ];
    let found = shapes(x(&["batch", "seq", "768"]), weights, nodes, "split back flat again wide");
    assert_eq!(found[0], "split f32[batch, seq, 12, 64]");
    assert_eq!(found[1], "back f32[batch, seq, 768]");
    assert_eq!(found[2], "flat f32[d2, 768]");
    assert_eq!(found[3], "again f32[batch, seq, 768]");
    assert_eq!(found[4], "wide f32[batch, 768*seq]");
}

#[test]
fn shape_arithmetic_is_followed_through_its_operators() {
    let weights = vec![weight("one", &[], &[1]), weight("two", &[1], &[2]), weight("zero", &[1], &[0])];
    let nodes = vec![
        node("Shape", "x", "s", vec![]),
        node("Gather", "s one", "n", vec![int("axis", 0)]),
        node("Unsqueeze", "n zero", "n1", vec![]),
        node("Mul", "n1 two", "n2", vec![]),
        node("Cast", "n2", "n3", vec![int("to", 6)]),
        node("Cast", "n3", "n4", vec![int("to", 7)]),
        node("Slice", "s zero two", "head", vec![]),
        node("Concat", "head n4", "wanted", vec![int("axis", 0)]),
        node("ConstantOfShape", "wanted", "y", vec![]),
        node("ReduceProd", "s", "all", vec![int("keepdims", 0)]),
        node("Div", "all n", "rest", vec![]),
        node("Range", "one rest one", "z", vec![]),
    ];
    let found = shapes(x(&["b", "n"]), weights, nodes, "y z");
    assert_eq!(found, ["y f32[b, n, 2*n]", "z i64[b - 1]"]);
}

#[test]
fn minus_one_in_a_shape_is_replaced_by_where() {
    let weights = vec![weight("wanted", &[2], &[-1, 4]), weight("ones", &[2], &[1, 1]), weight("minus", &[], &[-1])];
    let nodes = vec![
        node("Equal", "wanted minus", "open", vec![]),
        node("Where", "open ones wanted", "shape", vec![]),
        node("Expand", "x shape", "y", vec![]),
    ];
    assert_eq!(shapes(x(&["n", "1"]), weights, nodes, "y"), ["y f32[n, 4]"]);
}

#[test]
fn convolutions_and_pooling_round_as_the_standard_says() {
    let weights = vec![zeros("w", &[8, 3, 3, 3])];
    let conv = vec![ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])];
    let ceil = vec![ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2]), int("ceil_mode", 1)];
    let nodes = vec![node("Conv", "x w", "y", conv), node("MaxPool", "y", "z", ceil)];
    let found = shapes(x(&["n", "3", "h", "224"]), weights, nodes, "y z");
    assert_eq!(found, ["y f32[n, 8, floor((h + 1)/2), 112]", "z f32[n, 8, floor((h + 1)/4), 56]"]);
}

#[test]
fn a_kernel_bounds_the_input_size_from_below() {
    let nodes = vec![node("Conv", "x w", "y", vec![])];
    let imported = import(&model(graph(x(&["1", "1", "len"]), vec![zeros("w", &[1, 1, 25])], nodes, "y"))).unwrap();
    let len = imported.params.find("len").unwrap();
    assert_eq!(imported.params.get(len).min, 25);
}

#[test]
fn slices_clamp_and_count_from_the_end() {
    let weights = vec![
        weight("first", &[1], &[1]),
        weight("end", &[1], &[i64::MAX]),
        weight("axis", &[1], &[1]),
        weight("minus", &[1], &[-1]),
        weight("start", &[1], &[i64::MIN + 1]),
        weight("far", &[1], &[100]),
    ];
    let nodes = vec![
        node("Slice", "x first end axis", "tail", vec![]),
        node("Slice", "x minus start axis minus", "reversed", vec![]),
        node("Slice", "x minus end axis", "last", vec![]),
        node("Slice", "x first far", "clipped", vec![]),
    ];
    let found = shapes(x(&["10", "n"]), weights, nodes, "tail reversed last clipped");
    assert_eq!(found, ["tail f32[10, n - 1]", "reversed f32[10, n]", "last f32[10, 1]", "clipped f32[9, n]"]);
}

/// Position embeddings: `table[0:n]` added to `x[n]`, a table of 512 rows.
fn positions() -> ModelProto {
    let weights = vec![zeros("table", &[512, 8]), weight("zero", &[1], &[0]), weight("one", &[1], &[1])];
    let nodes = vec![
        node("Shape", "x", "s", vec![]),
        node("Slice", "s zero one", "n", vec![]),
        node("Slice", "table zero n", "rows", vec![]),
        node("Add", "x rows", "y", vec![]),
    ];
    model(graph(x(&["n", "8"]), weights, nodes, "y"))
}

#[test]
fn a_table_bounds_the_sequence_from_above() {
    let imported = import(&positions()).unwrap();
    assert_eq!(show(&imported, imported.main.outputs[0]), "y f32[n, 8]");
    let n = imported.params.find("n").unwrap();
    assert_eq!((imported.params.get(n).min, imported.params.get(n).max), (1, Some(512)));
}

#[test]
fn a_range_of_the_user_meets_the_models_own() {
    let ranged = |text: &str| {
        let options = ImportOptions { dims: [("n".to_string(), text.parse().unwrap())].into(), ..Default::default() };
        import_with(&positions(), &options)
    };
    let bounds = |text: &str| {
        let imported = ranged(text).unwrap();
        let n = imported.params.get(imported.params.find("n").unwrap());
        (n.min, n.max, n.hint)
    };
    assert_eq!(bounds("2..128:100"), (2, Some(128), 100));
    assert_eq!(bounds("1..4096:600"), (1, Some(512), 512));
    assert_eq!(bounds("0.."), (0, Some(512), 1));
    let error = ranged("600..700").unwrap_err();
    assert!(error.to_string().contains("dimensions n and 512 must be equal"), "{error}");
    let inputs = vec![value("x", FLOAT, &["n", "3"]), value("axes", INT64, &["1"])];
    let file = model(graph(inputs, vec![], vec![node("ReduceSum", "x axes", "y", vec![])], "y"));
    let dims = [("axes_value0".to_string(), "5..9".parse().unwrap())];
    let error = import_with(&file, &ImportOptions { dims: dims.into(), ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("given as 5..9, and the model leaves from 5 to 1"), "{error}");
}

#[test]
fn no_index_fits_into_an_empty_dimension() {
    let inputs = vec![value("x", FLOAT, &["n", "3"]), value("at", INT64, &["m"])];
    let file = model(graph(inputs, vec![], vec![node("Gather", "x at", "y", vec![])], "y"));
    let checks = |low: &str| {
        let dims = ["n", "m"].map(|name| (name.to_string(), low.parse().unwrap()));
        let options = ImportOptions { dims: dims.into(), ..Default::default() };
        let imported = import_with(&file, &options).unwrap();
        imported.params.iter().filter(|(_, p)| (p.min, p.max) == (0, Some(0))).count()
    };
    assert_eq!((checks("1.."), checks("0..")), (0, 1));
}

#[test]
fn dimensions_can_be_fixed_by_name() {
    let mut options = ImportOptions::default();
    options.dims.insert("n".into(), 7.into());
    let fixed = import_with(&positions(), &options).unwrap();
    assert_eq!(show(&fixed, fixed.main.outputs[0]), "y f32[7, 8]");
    assert!(fixed.params.is_empty());
    options.dims.insert("n".into(), 513.into());
    assert!(import_with(&positions(), &options).unwrap_err().to_string().contains("513"));
    options.dims.insert("m".into(), 1.into());
    let error = import_with(&positions(), &options).unwrap_err();
    assert_eq!(error.diagnostic().help.as_deref(), Some("it has n"));
}

#[test]
fn dimensions_that_must_agree_become_one_parameter() {
    let inputs = vec![value("a", FLOAT, &["n", "?"]), value("b", FLOAT, &["?", "4"])];
    let imported = import(&model(graph(inputs, vec![], vec![node("MatMul", "a b", "y", vec![])], "y"))).unwrap();
    assert_eq!(show(&imported, imported.main.inputs[1]), "b f32[a_1, 4]");
    assert_eq!(imported.params.len(), 2);
    assert!(imported.params.iter().all(|(_, p)| matches!(p.def, ParamDef::Input { input: 0, .. })));
}

#[test]
fn names_become_identifiers_and_share_by_name() {
    let inputs = vec![value("a:0", FLOAT, &["Dyn.0", "0"]), value("b", FLOAT, &["Dyn.0", "-1"])];
    let imported = import(&model(graph(inputs, vec![], vec![node("Neg", "a:0", "y", vec![])], "y"))).unwrap();
    assert_eq!(show(&imported, imported.main.inputs[0]), "a:0 f32[Dyn_0, a_0_1]");
    assert_eq!(show(&imported, imported.main.inputs[1]), "b f32[Dyn_0, b_1]");
}

#[test]
fn recurrent_layers_tie_states_to_inputs() {
    let inputs = vec![value("x", FLOAT, &["time", "batch", "3"]), value("h", FLOAT, &["?", "?", "?"])];
    let weights = vec![zeros("w", &[2, 15, 3]), zeros("r", &[2, 15, 5])];
    let attributes = vec![crate::import::proto::AttributeProto {
        name: "direction".into(),
        r#type: 3,
        s: "bidirectional".into(),
        ..Default::default()
    }];
    let nodes = vec![node("GRU", "x w r _ _ h", "y last", attributes)];
    let imported = import(&model(graph(inputs, weights, nodes, "y last"))).unwrap();
    let shown: Vec<String> = imported.main.outputs.iter().map(|&id| show(&imported, id)).collect();
    assert_eq!(shown, ["y f32[time, 2, batch, 5]", "last f32[2, batch, 5]"]);
    assert_eq!(show(&imported, imported.main.inputs[1]), "h f32[2, batch, 5]");
}

#[test]
fn identities_vanish_and_outputs_keep_their_names() {
    let nodes = vec![
        node("Identity", "x", "a", vec![]),
        node("Relu", "a", "b", vec![]),
        node("Identity", "b", "y", vec![]),
        node("Identity", "y", "z", vec![]),
        node("Identity", "a", "same", vec![]),
    ];
    let imported = import(&model(graph(x(&["4"]), vec![], nodes, "y z same"))).unwrap();
    let names: Vec<&str> = imported.main.outputs.iter().map(|&id| imported.tensor(id).name.as_str()).collect();
    assert_eq!(names, ["y", "z", "same"]);
    let ops: Vec<&str> = imported.main.nodes.iter().map(|n| n.op.as_str()).collect();
    assert_eq!(ops, ["Relu", "Identity", "Identity"]);
}

#[test]
fn initializers_that_are_also_inputs_are_weights() {
    let weights = vec![zeros("w", &[3])];
    let mut old = model(graph(x(&["3"]), weights, vec![node("Add", "x w", "y", vec![])], "y"));
    old.graph.as_mut().unwrap().input.insert(0, value("w", FLOAT, &["3"]));
    let imported = import(&old).unwrap();
    assert_eq!(imported.main.inputs.len(), 1);
    assert_eq!(show(&imported, imported.main.inputs[0]), "x f32[3]");
}

#[test]
fn shapes_from_data_say_which_input_and_how_to_go_on() {
    let inputs = vec![value("x", FLOAT, &["4", "6", "n"]), value("split", INT64, &[])];
    let nodes = vec![
        node("SplitToSequence", "x split", "s", vec![]),
        node("ConcatFromSequence", "s", "y", vec![int("axis", 0)]),
    ];
    let error = import(&model(GraphProto { ..graph(inputs, vec![], nodes, "y") })).unwrap_err();
    assert_eq!(error.diagnostic().code, "E112");
    assert!(error.to_string().contains("SplitToSequence takes its split (input 1, \"split\") at run time"), "{error}");
    let help = error.diagnostic().help.clone().unwrap();
    assert!(help.contains("--value split=..") && help.contains("for n, split_value"), "{help}");
}

#[test]
fn contents_of_small_inputs_are_parameters() {
    let inputs = || vec![value("x", FLOAT, &["n", "6"]), value("k", INT64, &[])];
    let weights = vec![weight("one", &[1], &[1])];
    let nodes = || {
        vec![
            node("Unsqueeze", "k zero", "list", vec![]),
            node("Concat", "one list", "shape", vec![int("axis", 0)]),
            node("Expand", "x shape", "y", vec![]),
            node("TopK", "x list", "best at", vec![]),
        ]
    };
    let all = [weights, vec![weight("zero", &[1], &[0])]].concat();
    let found = shapes(inputs(), all.clone(), nodes(), "y best");
    // 6 columns are expanded to 6 or by 1; the best k are at most 6.
    assert_eq!(found[0], "y f32[n, 6]");
    assert!(found[1].starts_with("best f32[n, d"), "{found:?}");
    let options = ImportOptions { dims: [("k_value".to_string(), 2.into())].into(), ..ImportOptions::default() };
    let nodes = vec![node("Unsqueeze", "k zero", "list", vec![]), node("TopK", "x list", "best at", vec![])];
    let fixed = import_with(&model(graph(inputs(), all, nodes, "best")), &options).unwrap();
    assert_eq!(show(&fixed, fixed.main.outputs[0]), "best f32[n, 2]");
    assert_eq!(fixed.params.find("k_value").map(|p| fixed.params.get(p).max), Some(Some(2)));
}

#[test]
fn what_data_chooses_is_as_long_as_the_run_says() {
    let inputs = vec![value("x", FLOAT, &["n", "3"]), value("c", BOOL, &["2"])];
    let nodes = vec![
        node("NonZero", "x", "places", vec![]),
        node("Compress", "x c", "some", vec![int("axis", 1)]),
        node("Unique", "x", "kinds", vec![]),
    ];
    let found = shapes(inputs, vec![], nodes, "places some kinds");
    assert!(found[0].starts_with("places i64[2, d"), "{found:?}");
    assert!(found[1].starts_with("some f32[n, Compress_of_some_count"), "{found:?}");
    assert!(found[2].starts_with("kinds f32[d"), "{found:?}");
    // Constants are looked at now.
    let found = shapes(vec![], vec![weight("w", &[3], &[4, 0, 5])], vec![node("NonZero", "w", "y", vec![])], "y");
    assert_eq!(found, ["y i64[1, 2]"]);
}

#[test]
fn einsum_and_functions() {
    let equation = crate::import::proto::AttributeProto {
        name: "equation".into(),
        r#type: 3,
        s: "...ij,...jk->...ik".into(),
        ..Default::default()
    };
    let inputs = vec![value("a", FLOAT, &["b", "2", "3"]), value("c", FLOAT, &["1", "3", "k"])];
    let imported =
        import(&model(graph(inputs, vec![], vec![node("Einsum", "a c", "y", vec![equation])], "y"))).unwrap();
    assert_eq!(show(&imported, imported.main.outputs[0]), "y f32[b, 2, k]");
}

/// A computed extent may be 0, which copies the input's: the same where the two are one.
#[test]
fn a_reshape_to_a_computed_extent_that_the_input_has() {
    let x = || vec![value("x", FLOAT, &["n"])];
    let rows = || {
        vec![
            node("NonZero", "x", "places", vec![]),
            node("Transpose", "places", "rows", vec![]),
            node("Concat", "rows rows", "pairs", vec![int("axis", 1)]),
            node("Shape", "rows", "s", vec![]),
        ]
    };
    let alike = [rows(), vec![node("Reshape", "rows s", "y", vec![])]].concat();
    assert!(shapes(x(), vec![], alike, "y")[0].ends_with(", 1]"));
    let transposed = vec![node("ConvTranspose", "images w", "y", vec![])];
    let images = vec![
        node("Cast", "pairs", "floats", vec![int("to", FLOAT.into())]),
        node("Unsqueeze", "floats last", "images", vec![]),
    ];
    let weights = vec![weight("last", &[1], &[2]), zeros("w", &[2, 3, 4])];
    let found = shapes(x(), weights, [rows(), images, transposed].concat(), "y");
    assert!(found[0].ends_with(", 3, 4]"), "{found:?}");
    // Here a count of 0 would copy a 1, and the refusal names sizes that only this node has.
    let across = [rows(), vec![node("Shape", "places", "across", vec![]), node("Reshape", "rows across", "y", vec![])]];
    let error = import(&model(graph(x(), vec![], across.concat(), "y"))).unwrap_err();
    assert_eq!(error.diagnostic().code, "E112", "{error}");
}
