//! The same LSTM and GRU as an operator, as Loop, as Scan and unrolled: compiled, every form gives what the reference
//! interpreter gives for the operator, and the unrolled one is a loop again, whatever the number of steps.

#[path = "random_graphs/onnx.rs"]
#[allow(dead_code, reason = "shared with the random models")]
mod onnx;

use sirius::compile::{CompileOptions, Compiled, compile};
use sirius::graph::interp;
use sirius::import::proto::{DimensionValue, GraphProto, NodeProto, ValueInfoProto};
use sirius::import::{ImportOptions, load};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value, compare::compare};
use sirius_polyhedral::{DType, RemarkKind};

const BATCH: usize = 2;
const INPUT: usize = 3;
const HIDDEN: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Lstm,
    Gru,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Operator,
    Loop,
    Scan,
    Unrolled,
}

impl Cell {
    fn gates(self) -> usize {
        if self == Cell::Lstm { 4 } else { 3 }
    }

    fn states(self) -> &'static [&'static str] {
        if self == Cell::Lstm { &["h", "c"] } else { &["h"] }
    }
}

// ---- building models ------------------------------------------------------------------------------------

/// Nodes in order; results are named `prefix` and what they are.
struct Nodes {
    prefix: String,
    list: Vec<NodeProto>,
}

impl Nodes {
    fn new(prefix: &str) -> Nodes {
        Nodes { prefix: prefix.to_string(), list: Vec::new() }
    }

    fn raw(&mut self, op: &str, inputs: &[&str], outputs: &[&str]) -> &mut NodeProto {
        let names = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        let (input, output, name) = (names(inputs), names(outputs), outputs[0].to_string());
        self.list.push(NodeProto { input, output, name, op_type: op.to_string(), ..Default::default() });
        self.list.last_mut().unwrap()
    }

    fn add(&mut self, op: &str, inputs: &[&str], name: &str) -> String {
        let output = format!("{}{name}", self.prefix);
        self.raw(op, inputs, &[&output]);
        output
    }

    fn gemm(&mut self, x: &str, weights: &str, bias: &str, name: &str) -> String {
        let output = format!("{}{name}", self.prefix);
        self.raw("Gemm", &[x, weights, bias], &[&output]).attribute.push(onnx::int("transB", 1));
        output
    }

    fn at(&mut self, source: &str, index: &str, name: &str) -> String {
        let output = format!("{}{name}", self.prefix);
        self.raw("Gather", &[source, index], &[&output]).attribute.push(onnx::int("axis", 0));
        output
    }

    fn split(&mut self, source: &str, gates: usize, name: &str) -> Vec<String> {
        let outputs: Vec<String> = (0..gates).map(|n| format!("{}{name}{n}", self.prefix)).collect();
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let node = self.raw("Split", &[source], &names);
        node.attribute = vec![onnx::int("axis", 1), onnx::int("num_outputs", gates as i64)];
        outputs
    }
}

/// One step: the new states from the input `[batch, input]` and the states `[batch, hidden]`.
fn step(cell: Cell, n: &mut Nodes, x: &str, state: &[String]) -> Vec<String> {
    let (ih, hh) = (n.gemm(x, "W", "Wb", "ih"), n.gemm(&state[0], "R", "Rb", "hh"));
    if cell == Cell::Lstm {
        let gates = n.add("Add", &[&hh, &ih], "gates");
        let g = n.split(&gates, 4, "gate");
        let (i, o, f) =
            (n.add("Sigmoid", &[&g[0]], "i"), n.add("Sigmoid", &[&g[1]], "o"), n.add("Sigmoid", &[&g[2]], "f"));
        let candidate = n.add("Tanh", &[&g[3]], "candidate");
        let (kept, new) = (n.add("Mul", &[&f, &state[1]], "kept"), n.add("Mul", &[&i, &candidate], "new"));
        let c = n.add("Add", &[&kept, &new], "c");
        let shown = n.add("Tanh", &[&c], "shown");
        return vec![n.add("Mul", &[&o, &shown], "h"), c];
    }
    let (x, h) = (n.split(&ih, 3, "x_gate"), n.split(&hh, 3, "h_gate"));
    let (z, r) = (n.add("Add", &[&x[0], &h[0]], "z_in"), n.add("Add", &[&x[1], &h[1]], "r_in"));
    let (z, r) = (n.add("Sigmoid", &[&z], "z"), n.add("Sigmoid", &[&r], "r"));
    let reset = n.add("Mul", &[&r, &h[2]], "reset");
    let inner = n.add("Add", &[&x[2], &reset], "inner");
    let candidate = n.add("Tanh", &[&inner], "candidate");
    let share = n.add("Mul", &[&z, &candidate], "share");
    let (rest, old) = (n.add("Sub", &[&candidate, &share], "rest"), n.add("Mul", &[&z, &state[0]], "old"));
    vec![n.add("Add", &[&rest, &old], "h")]
}

fn tensor(name: &str, dtype: DType, dims: &[usize]) -> ValueInfoProto {
    onnx::info(name, dtype, Some(dims.iter().map(|d| DimensionValue::Value(*d as i64)).collect()))
}

/// The model file: inputs `x` and the initial states, output `y` `[steps, batch, hidden]`.
fn model(cell: Cell, form: Form, steps: usize) -> Vec<u8> {
    let starts: Vec<String> = cell.states().iter().map(|s| format!("start_{s}")).collect();
    let mut nodes = Nodes::new("");
    match form {
        Form::Operator => operator(cell, &mut nodes, &starts),
        Form::Unrolled => unrolled(cell, &mut nodes, &starts, steps),
        Form::Loop | Form::Scan => looped(cell, form, &mut nodes, &starts),
    }
    let states = starts.iter().map(|s| tensor(s, DType::F32, &[BATCH, HIDDEN]));
    let input = [tensor("x", DType::F32, &[steps, BATCH, INPUT])].into_iter().chain(states).collect();
    let output = vec![tensor("y", DType::F32, &[steps, BATCH, HIDDEN])];
    let mut initializer: Vec<_> = weights(cell).iter().map(|(name, v)| onnx::initializer(name, v)).collect();
    initializer.extend((0..steps).map(|t| onnx::initializer(&format!("at{t}"), &Value::scalar(t as i64))));
    initializer.push(onnx::initializer("count", &Value::scalar(steps as i64)));
    initializer.push(onnx::initializer("true", &Value::from_bools(&[], &[true]).unwrap()));
    initializer.push(onnx::initializer("first", &Value::from_i64(&[1], &[0]).unwrap()));
    initializer.push(onnx::initializer("second", &Value::from_i64(&[1], &[1]).unwrap()));
    onnx::file(GraphProto { node: nodes.list, name: "cell".into(), initializer, input, output, ..Default::default() })
}

/// The weights of all forms, and with a leading direction (`Wd`, `Rd`, `Bd`) those of the operator.
fn weights(cell: Cell) -> Vec<(&'static str, Value)> {
    let rows = cell.gates() * HIDDEN;
    let of = |shape: &[usize], seed: u32| Value::from_f32(shape, &numbers(shape.iter().product(), seed)).unwrap();
    let both = [numbers(rows, 3), numbers(rows, 4)].concat();
    vec![
        ("W", of(&[rows, INPUT], 1)),
        ("R", of(&[rows, HIDDEN], 2)),
        ("Wb", of(&[rows], 3)),
        ("Rb", of(&[rows], 4)),
        ("Wd", of(&[1, rows, INPUT], 1)),
        ("Rd", of(&[1, rows, HIDDEN], 2)),
        ("Bd", Value::from_f32(&[1, 2 * rows], &both).unwrap()),
    ]
}

/// Numbers between -1/2 and 1/2.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn operator(cell: Cell, nodes: &mut Nodes, starts: &[String]) {
    let planes: Vec<String> =
        starts.iter().map(|s| nodes.add("Unsqueeze", &[s, "first"], &format!("plane_{s}"))).collect();
    let inputs: Vec<&str> = ["x", "Wd", "Rd", "Bd", ""].into_iter().chain(planes.iter().map(String::as_str)).collect();
    let op = if cell == Cell::Lstm { "LSTM" } else { "GRU" };
    let node = nodes.raw(op, &inputs, &["y4"]);
    node.attribute.push(onnx::int("hidden_size", HIDDEN as i64));
    if cell == Cell::Gru {
        node.attribute.push(onnx::int("linear_before_reset", 1));
    }
    nodes.raw("Squeeze", &["y4", "second"], &["y"]);
}

fn unrolled(cell: Cell, nodes: &mut Nodes, starts: &[String], steps: usize) {
    let (mut state, mut rows) = (starts.to_vec(), Vec::new());
    for t in 0..steps {
        nodes.prefix = format!("t{t}_");
        let x = nodes.at("x", &format!("at{t}"), "x");
        state = step(cell, nodes, &x, &state);
        rows.push(nodes.add("Unsqueeze", &[&state[0], "first"], "row"));
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    nodes.raw("Concat", &rows, &["y"]).attribute.push(onnx::int("axis", 0));
}

fn looped(cell: Cell, form: Form, nodes: &mut Nodes, starts: &[String]) {
    let mut body = Nodes::new("");
    let inside: Vec<String> = cell.states().iter().map(|s| format!("{s}_in")).collect();
    let state = |name: &String| tensor(name, DType::F32, &[BATCH, HIDDEN]);
    let mut input: Vec<ValueInfoProto> = inside.iter().map(state).collect();
    if form == Form::Loop {
        body.at("x", "t", "x_t");
        body.add("Identity", &["go"], "again");
        input.splice(0..0, [tensor("t", DType::I64, &[]), tensor("go", DType::Bool, &[])]);
    } else {
        input.push(tensor("x_t", DType::F32, &[BATCH, INPUT]));
    }
    let new = step(cell, &mut body, "x_t", &inside);
    let row = body.add("Identity", &[&new[0]], "row");
    let mut output: Vec<ValueInfoProto> = new.iter().chain([&row]).map(state).collect();
    if form == Form::Loop {
        output.insert(0, tensor("again", DType::Bool, &[]));
    }
    let graph = GraphProto { node: body.list, name: "step".into(), input, output, ..Default::default() };
    let before = if form == Form::Loop { vec!["count", "true"] } else { vec![] };
    let after = if form == Form::Loop { vec![] } else { vec!["x"] };
    let starts = starts.iter().map(String::as_str);
    let inputs: Vec<&str> = before.into_iter().chain(starts).chain(after).collect();
    let ends: Vec<String> = cell.states().iter().map(|s| format!("last_{s}")).collect();
    let outputs: Vec<&str> = ends.iter().map(String::as_str).chain(["y"]).collect();
    let op = if form == Form::Loop { "Loop" } else { "Scan" };
    let node = nodes.raw(op, &inputs, &outputs);
    node.attribute.push(onnx::graph("body", graph));
    if form == Form::Scan {
        node.attribute.push(onnx::int("num_scan_inputs", 1));
    }
}

// ---- tests ----------------------------------------------------------------------------------------------

fn inputs(cell: Cell, steps: usize) -> Vec<Value> {
    let shapes = [vec![steps, BATCH, INPUT], vec![BATCH, HIDDEN], vec![BATCH, HIDDEN]];
    let of = |(n, shape): (usize, &Vec<usize>)| Value::from_f32(shape, &numbers(shape.iter().product(), 9 + n as u32));
    shapes.iter().take(1 + cell.states().len()).enumerate().map(|s| of(s).unwrap()).collect()
}

/// Compiles with every pass verified, and runs; `threads` is the team that the code is made for.
fn run(cell: Cell, form: Form, steps: usize, threads: usize) -> (Compiled, Value) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, model(cell, form, steps)).unwrap();
    let options = CompileOptions { verify_each: true, threads: Some(threads), ..CompileOptions::default() };
    let compiled = compile(&path, &options, &mut Session::default(), dir.path())
        .unwrap_or_else(|e| panic!("{cell:?} as {form:?}: {e}"));
    let results = Loaded::open(dir.path()).unwrap().run(&inputs(cell, steps)).unwrap();
    (compiled, results.into_iter().next().unwrap())
}

/// What the reference interpreter gives for the operator.
fn reference(cell: Cell, steps: usize) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, model(cell, Form::Operator, steps)).unwrap();
    let graph = load(&path, &ImportOptions::default()).unwrap();
    interp::run(&graph, &inputs(cell, steps)).unwrap().into_iter().next().unwrap()
}

fn statements(compiled: &Compiled) -> usize {
    compiled.report.timings.last().unwrap().statements_after
}

#[test]
fn all_forms_give_the_same() {
    for cell in [Cell::Lstm, Cell::Gru] {
        let wanted = reference(cell, 6);
        for form in [Form::Operator, Form::Loop, Form::Scan, Form::Unrolled] {
            for threads in [1, 2] {
                let (_, got) = run(cell, form, 6, threads);
                let comparison = compare("y", &got, &wanted, None);
                assert!(comparison.matches(), "{cell:?} as {form:?}, {threads} threads: {comparison}");
            }
        }
    }
}

#[test]
fn an_unrolled_network_is_a_loop_again_whatever_its_length() {
    for cell in [Cell::Lstm, Cell::Gru] {
        let (short, _) = run(cell, Form::Unrolled, 4, 1);
        let (long, _) = run(cell, Form::Unrolled, 9, 1);
        let rolled = |c: &Compiled| {
            let rolls = |r: &&sirius_polyhedral::Remark| r.pass == "reroll" && r.kind == RemarkKind::Applied;
            c.report.remarks.iter().filter(rolls).count()
        };
        assert_eq!((rolled(&short), rolled(&long)), (2, 2), "{cell:?}: the steps, and the copies of their results");
        assert_eq!(statements(&short), statements(&long), "{cell:?}");
    }
}
