//! What an artifact refuses because it relies on it, and what its header says: models built here, compiled at -O3 with
//! every pass verified, and the reference interpreter beside them.

use prost::Message;
use sirius::compile::{CompileOptions, compile, import};
use sirius::graph::interp;
use sirius::import::{Given, proto::*};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value, compare::compare, pb};
use sirius_polyhedral::DType;
use std::path::PathBuf;

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const BOOL: i32 = 9;

fn tensor_type(elem_type: i32, dims: &[&str]) -> TensorTypeProto {
    let dim = |d: &&str| Dimension {
        value: Some(d.parse().map_or_else(|_| DimensionValue::Param(d.to_string()), DimensionValue::Value)),
    };
    TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }) }
}

fn info(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let r#type = TypeProto { tensor_type: Some(tensor_type(elem_type, dims)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type) }
}

/// A node called after its first output; names are separated by spaces, `_` is an omitted input.
fn node(op: &str, inputs: &str, outputs: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |list: &str| list.split_whitespace().map(|n| if n == "_" { "" } else { n }.to_string()).collect();
    let name = format!("{op}_of_{}", outputs.split_whitespace().next().unwrap_or_default());
    let (input, output) = (names(inputs), names(outputs));
    NodeProto { op_type: op.into(), name, input, output, attribute, ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i, ..Default::default() }
}

fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 5, g: Some(Box::new(graph)), ..Default::default() }
}

fn constant(name: &str, value: &Value) -> TensorProto {
    TensorProto::decode(pb::encode(name, value).as_slice()).unwrap()
}

fn graph(input: Vec<ValueInfoProto>, constants: Vec<TensorProto>, node: Vec<NodeProto>, outputs: &str) -> GraphProto {
    let output = outputs.split_whitespace().map(|name| info(name, FLOAT, &[])).collect();
    GraphProto { name: "g".into(), input, initializer: constants, node, output, ..Default::default() }
}

/// A compiled model, and its file for the interpreter.
struct Model {
    dir: tempfile::TempDir,
    file: PathBuf,
    options: CompileOptions,
}

impl Model {
    fn new(graph: GraphProto) -> Model {
        Model::with(graph, CompileOptions::default())
    }

    fn with(graph: GraphProto, options: CompileOptions) -> Model {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 18 }];
        let model = ModelProto { ir_version: 8, opset_import, graph: Some(Box::new(graph)), ..Default::default() };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.onnx");
        std::fs::write(&file, model.encode_to_vec()).unwrap();
        let options = CompileOptions { name: Some("model".into()), verify_each: true, ..options };
        compile(&file, &options, &mut Session::default(), dir.path()).unwrap();
        Model { dir, file, options }
    }

    fn interpreted(&self, inputs: &[Value]) -> Result<Vec<Value>, String> {
        let graph = import(&self.file, &self.options, &mut Session::default()).map_err(|e| e.to_string())?;
        interp::run(&graph, inputs).map_err(|e| e.to_string())
    }

    fn run(&self, inputs: &[Value]) -> Result<Vec<Value>, String> {
        Loaded::open(self.dir.path()).unwrap().run(inputs).map_err(|e| e.to_string())
    }

    /// Compiled code and interpreter agree.
    #[track_caller]
    fn agrees(&self, inputs: &[Value]) {
        let (got, wanted) = (self.run(inputs).unwrap(), self.interpreted(inputs).unwrap());
        for (n, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            let comparison = compare(&format!("output {n}"), got, wanted, None);
            assert!(comparison.matches(), "{comparison}");
        }
    }

    /// Both refuse, and the artifact says this.
    #[track_caller]
    fn refuses(&self, inputs: &[Value], said: &str) {
        let error = self.run(inputs).unwrap_err();
        assert!(error.contains(said), "wanted {said:?} in: {error}");
        let interpreted = self.interpreted(inputs);
        assert!(interpreted.is_err(), "the interpreter gives {interpreted:?}");
    }

    fn header(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("model.h")).unwrap()
    }
}

fn floats(values: &[f32]) -> Value {
    Value::from_f32(&[values.len()], values).unwrap()
}

fn number(value: f32) -> Value {
    Value::from_f32(&[], &[value]).unwrap()
}

fn truth(value: bool) -> Value {
    Value::from_bools(&[], &[value]).unwrap()
}

/// The places of what is not 0 in `x` and in `y`, in one node.
fn places(last: Vec<NodeProto>) -> Model {
    let mut nodes = vec![node("NonZero", "x", "a", vec![]), node("NonZero", "y", "b", vec![])];
    nodes.extend(last);
    Model::new(graph(vec![info("x", FLOAT, &["n"]), info("y", FLOAT, &["m"])], vec![], nodes, "z"))
}

#[test]
fn counts_that_must_be_equal_are_compared() {
    let casts = || vec![node("Cast", "a", "c", vec![int("to", 1)]), node("Cast", "b", "d", vec![int("to", 1)])];
    let product = [casts(), vec![node("Transpose", "d", "e", vec![]), node("MatMul", "c e", "z", vec![])]].concat();
    let three = vec![node("Concat", "a b a", "z", vec![int("axis", 0)])];
    let branch = |from: &str| graph(vec![], vec![], vec![node("Add", &format!("{from} b"), "s", vec![])], "s");
    let both = vec![body("then_branch", branch("a")), body("else_branch", branch("a"))];
    let chosen = [casts(), vec![node("ReduceMax", "d", "f", vec![int("keepdims", 0)])]].concat();
    let chosen = [chosen, vec![node("Cast", "f", "g", vec![int("to", 9)]), node("If", "g", "z", both)]].concat();
    for (last, said) in [
        (vec![node("Add", "a b", "z", vec![])], "node \"Add_of_z\" (Add): extents 3 and 2 must be equal"),
        (product, "node \"MatMul_of_z\" (MatMul): extents 3 and 2 must be equal"),
        (three, "node \"Concat_of_z\" (Concat): extents 3 and 2 must be equal"),
        (chosen, "(Add): extents 3 and 2 must be equal"),
    ] {
        let model = places(last);
        let (x, y) = (floats(&[1.0, 0.0, 2.0, 3.0]), floats(&[0.0, 1.0, 1.0, 0.0, 7.0]));
        model.agrees(&[x.clone(), y]);
        model.refuses(&[x, floats(&[0.0, 1.0, 1.0])], said);
    }
}

#[test]
fn a_count_and_a_named_dimension_are_compared() {
    let nodes = vec![
        node("NonZero", "x", "a", vec![]),
        node("Cast", "a", "c", vec![int("to", 1)]),
        node("Add", "c y", "z", vec![]),
    ];
    let model = Model::new(graph(vec![info("x", FLOAT, &["n"]), info("y", FLOAT, &["m"])], vec![], nodes, "z"));
    let x = floats(&[1.0, 0.0, 2.0, 3.0]);
    model.agrees(&[x.clone(), floats(&[0.5, 1.5, 2.5])]);
    model.refuses(&[x.clone(), floats(&[0.5, 1.5])], "extents 3 and 2 must be equal");
    model.refuses(&[x, floats(&[0.5; 9])], "extents 9 and 3 must be equal");
}

#[test]
fn a_name_means_one_number_in_all_inputs() {
    let nodes = vec![node("Relu", "x", "a", vec![]), node("Neg", "y", "b", vec![])];
    let model = Model::new(graph(vec![info("x", FLOAT, &["n"]), info("y", FLOAT, &["n"])], vec![], nodes, "a b"));
    model.agrees(&[floats(&[1.0, -2.0]), floats(&[3.0, 4.0])]);
    model.refuses(&[floats(&[1.0, -2.0]), floats(&[3.0])], "input \"y\": dimension 0: wanted 2 (n), got 1");
}

/// The first `many` elements, where there are as many, or their number.
fn first(many: &str) -> GraphProto {
    let limits = vec![
        constant("zero", &Value::vector(&[0])),
        constant(many, &Value::vector(&[many.trim_start_matches('m').parse().unwrap()])),
    ];
    let nodes = vec![
        node("Slice", &format!("x zero {many}"), "part", vec![]),
        node("Reshape", &format!("part {many}"), "whole", vec![]),
        node("ReduceSum", "whole", "sum", vec![int("keepdims", 0)]),
    ];
    graph(vec![], limits, nodes, "sum")
}

#[test]
fn a_branch_is_refused_the_sizes_that_it_cannot_have() {
    let both = vec![body("then_branch", first("m5")), body("else_branch", first("m2"))];
    let inputs = vec![info("c", BOOL, &[]), info("x", FLOAT, &["n"])];
    let model = Model::new(graph(inputs, vec![], vec![node("If", "c", "y", both)], "y"));
    let x = |n: usize| floats(&(0..n).map(|i| i as f32 + 1.0).collect::<Vec<_>>());
    model.agrees(&[truth(true), x(5)]);
    model.agrees(&[truth(true), x(8)]);
    model.agrees(&[truth(false), x(3)]);
    let said = "node \"If_of_y\" (If): the branch that it takes has no meaning for inputs of these sizes";
    model.refuses(&[truth(true), x(3)], said);
}

#[test]
fn the_only_branch_that_can_run_must_be_chosen() {
    let product = |weight: &str| graph(vec![], vec![], vec![node("MatMul", &format!("x {weight}"), "p", vec![])], "p");
    let both = vec![body("then_branch", product("v")), body("else_branch", product("w"))];
    let weight = |name: &str, rows: usize| constant(name, &Value::from_f32(&[rows, 4], &vec![0.5; rows * 4]).unwrap());
    let inputs = vec![info("c", BOOL, &[]), info("x", FLOAT, &["2", "3"])];
    let nodes = vec![node("If", "c", "y", both)];
    let model = Model::new(graph(inputs, vec![weight("v", 7), weight("w", 3)], nodes, "y"));
    let x = Value::from_f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    model.agrees(&[truth(false), x.clone()]);
    model.refuses(&[truth(true), x], "node \"If_of_y\" (If): the branch that it takes has no meaning");
}

/// `sum += numbers[max(k, 20)]` filled with 1, while it is below `limit`; `k` grows by `step`. Sizes rely on a `k` that
/// is at most what there is room for.
fn counting(step: i64, start: i64, collects: bool) -> GraphProto {
    let scalar = |name: &str, value: i64| constant(name, &Value::scalar(value));
    let nodes = vec![
        node("Max", "k twenty", "extent", vec![]),
        node("Reshape", "extent one", "extents", vec![]),
        node("Expand", "unit extents", "numbers", vec![]),
        node("ReduceSum", "numbers", "more", vec![int("keepdims", 0)]),
        node("Add", "sum more", "total", vec![]),
        node("Add", "k step", "next", vec![]),
        node("Less", "total limit", "again", vec![]),
    ];
    let inputs = vec![info("i", INT64, &[]), info("go", BOOL, &[]), info("k", INT64, &[]), info("sum", FLOAT, &[])];
    let inside = graph(inputs, vec![], nodes, if collects { "again next total more" } else { "again next total" });
    let constants = vec![
        scalar("twenty", 20),
        constant("one", &Value::vector(&[1])),
        constant("unit", &floats(&[1.0])),
        scalar("step", step),
        scalar("start", start),
        constant("true", &truth(true)),
        constant("zero", &number(0.0)),
    ];
    let outputs = if collects { "last total_sum all" } else { "last total_sum" };
    let nodes = vec![node("Loop", "_ true start zero", outputs, vec![body("body", inside)])];
    graph(vec![info("limit", FLOAT, &[])], constants, nodes, outputs)
}

#[test]
fn a_counter_stays_where_there_is_room() {
    let narrow = || CompileOptions { room: 16, ..CompileOptions::default() };
    let said = "node \"Loop_of_last\" (Loop): a counter of its steps leaves the range";
    let up = Model::with(counting(1, 0, false), narrow());
    up.agrees(&[number(100.0)]);
    up.refuses(&[number(1000.0)], said);
    let down = Model::with(counting(-1, 3, false), narrow());
    down.agrees(&[number(100.0)]);
    down.refuses(&[number(1000.0)], said);
    Model::with(counting(1, 30, false), narrow()).refuses(&[number(1.0)], said);
}

/// `x += 1` while it is below `limit`; every step's value is kept.
fn collecting() -> GraphProto {
    let nodes = vec![node("Add", "v unit", "w", vec![]), node("Less", "w limit", "again", vec![])];
    let inputs = vec![info("i", INT64, &[]), info("go", BOOL, &[]), info("v", FLOAT, &[])];
    let inside = graph(inputs, vec![], [nodes, vec![node("Neg", "w", "kept", vec![])]].concat(), "again w kept");
    let constants =
        vec![constant("unit", &number(1.0)), constant("true", &truth(true)), constant("zero", &number(0.0))];
    let nodes = vec![node("Loop", "_ true zero", "last all", vec![body("body", inside)])];
    graph(vec![info("limit", FLOAT, &[])], constants, nodes, "last all")
}

#[test]
fn a_loop_that_collects_has_room_for_what_it_is_given() {
    let usual = Model::new(collecting());
    usual.agrees(&[number(4096.0)]);
    let error = usual.run(&[number(4097.0)]).unwrap_err();
    assert!(error.contains("above 4096, for which it has room; compiling with --room N"), "{error}");
    Model::with(collecting(), CompileOptions { room: 5000, ..CompileOptions::default() }).agrees(&[number(5000.0)]);
}

#[test]
fn a_fixed_input_refuses_other_contents() {
    let inputs = vec![info("x", FLOAT, &["6"]), info("shape", INT64, &["2"])];
    let options =
        CompileOptions { values: [("shape".to_string(), Given::Ints(vec![2, 3]))].into(), ..CompileOptions::default() };
    let nodes = vec![node("Reshape", "x shape", "y", vec![])];
    let model = Model::with(graph(inputs, vec![], nodes, "y"), options);
    let x = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let got = model.run(&[x.clone(), Value::vector(&[2, 3])]).unwrap();
    assert_eq!((got[0].shape.as_slice(), got[0].dtype), ([2, 3].as_slice(), DType::F32));
    for wrong in [[3, 2], [2, -1], [0, 0]] {
        let error = model.run(&[x.clone(), Value::vector(&wrong)]).unwrap_err();
        assert!(error.contains("shape"), "{error}");
    }
}

#[test]
fn the_header_tells_which_tensors_are_a_sequence() {
    let elements =
        || SequenceTypeProto { elem_type: Some(ElementTypeProto { tensor_type: Some(tensor_type(FLOAT, &["n"])) }) };
    let list = TypeProto { sequence_type: Some(elements()), ..Default::default() };
    let maybe = OptionalElementTypeProto { tensor_type: Some(tensor_type(FLOAT, &["n"])), sequence_type: None };
    let maybe = TypeProto { optional_type: Some(OptionalTypeProto { elem_type: Some(maybe) }), ..Default::default() };
    let inputs = vec![
        ValueInfoProto { name: "xs".into(), r#type: Some(list) },
        ValueInfoProto { name: "o".into(), r#type: Some(maybe) },
    ];
    let nodes = vec![
        node("SequenceAt", "xs zero", "first", vec![]),
        node("OptionalGetElement", "o", "value", vec![]),
        node("Add", "first value", "y", vec![]),
        node("SequenceConstruct", "y first", "ys", vec![]),
    ];
    let lengths = [("xs", "2"), ("o", "1")].map(|(name, n)| (name.to_string(), n.parse().unwrap()));
    let options = CompileOptions { lengths: lengths.into(), ..CompileOptions::default() };
    let mut g = graph(inputs, vec![constant("zero", &Value::scalar(0))], nodes, "y");
    let ys = TypeProto { sequence_type: Some(elements()), ..Default::default() };
    g.output.push(ValueInfoProto { name: "ys".into(), r#type: Some(ys) });
    let model = Model::with(g, options);
    let x = |v: f32| floats(&[v, v]);
    model.agrees(&[x(1.0), x(2.0), x(3.0)]);
    let header = model.header();
    for line in [
        " * in [0] xs[0]: f32[n_0_]\n",
        " * in [1] xs[1]: f32[n_1_]\n",
        " * in [2] o[0]: f32[n_0_]\n",
        " * xs, seq(2): in [0] to in [1]\n",
        " * o, optional(tensor): in [2]\n",
        " * ys, seq(2): out[1] to out[2]\n",
    ] {
        assert!(header.contains(line), "wanted {line:?} in:\n{}", &header[..header.len().min(1500)]);
    }
}
