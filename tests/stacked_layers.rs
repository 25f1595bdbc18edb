//! Recurrent layers on top of each other, and both directions of one: side by side on the workers of a team they give the
//! bits of one worker, and what the reference interpreter gives.

#[path = "random_graphs/onnx.rs"]
#[allow(dead_code, reason = "shared with the random models")]
mod onnx;

use sirius::compile::{CompileOptions, compile};
use sirius::graph::interp;
use sirius::import::proto::{DimensionValue, GraphProto, NodeProto, ValueInfoProto};
use sirius::import::{ImportOptions, load};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value, compare::compare};
use sirius_polyhedral::{DType, RemarkKind};
use std::path::Path;

const UNITS: usize = 32;

/// `count` layers of an operator over `steps` steps, each on the results of the one before.
struct Stack {
    op: &'static str,
    gates: usize,
    directions: usize,
    count: usize,
    steps: usize,
}

impl Stack {
    fn file(&self) -> Vec<u8> {
        let (mut node, mut initializer) = (Vec::new(), Vec::new());
        let mut add = |op: &str, inputs: &[String], output: String| -> String {
            let input = inputs.to_vec();
            node.push(NodeProto {
                input,
                output: vec![output.clone()],
                name: output.clone(),
                op_type: op.into(),
                ..Default::default()
            });
            let attribute = match op {
                "Transpose" => vec![onnx::ints("perm", &[0, 2, 1, 3])],
                "Reshape" => vec![],
                _ => {
                    let both = if self.directions == 2 { "bidirectional" } else { "forward" };
                    vec![onnx::int("hidden_size", UNITS as i64), onnx::string("direction", both)]
                }
            };
            node.last_mut().unwrap().attribute = attribute;
            output
        };
        let (rows, mut columns, mut x) = (self.gates * UNITS, UNITS, "x".to_string());
        initializer.push(onnx::initializer("flat", &Value::from_i64(&[3], &[0, 0, -1]).unwrap()));
        for n in 0..self.count {
            for (name, width) in [("W", columns), ("R", UNITS)] {
                let shape = [self.directions, rows, width];
                let value = Value::from_f32(&shape, &numbers(shape.iter().product(), n + width)).unwrap();
                initializer.push(onnx::initializer(&format!("{name}{n}"), &value));
            }
            let y = add(self.op, &[x, format!("W{n}"), format!("R{n}")], format!("layer{n}"));
            let swapped = add("Transpose", &[y], format!("swapped{n}"));
            x = add("Reshape", &[swapped, "flat".into()], format!("x{n}"));
            columns = self.directions * UNITS;
        }
        let input = vec![tensor("x", &[self.steps, 1, UNITS])];
        let output = vec![tensor(&x, &[self.steps, 1, columns])];
        onnx::file(GraphProto { node, name: "stack".into(), initializer, input, output, ..Default::default() })
    }

    fn input(&self) -> Value {
        Value::from_f32(&[self.steps, 1, UNITS], &numbers(self.steps * UNITS, 7)).unwrap()
    }
}

fn tensor(name: &str, dims: &[usize]) -> ValueInfoProto {
    onnx::info(name, DType::F32, Some(dims.iter().map(|d| DimensionValue::Value(*d as i64)).collect()))
}

/// Numbers between -1/4 and 1/4.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|n| ((n * 7919 + seed * 104_729) % 1009) as f32 / 2018.0 - 0.25).collect()
}

/// Compiles for a team with every pass verified; how many pipelines were made.
fn build(model: &Path, threads: usize, out: &Path) -> usize {
    let options = CompileOptions { verify_each: true, threads: Some(threads), ..CompileOptions::default() };
    let compiled = compile(model, &options, &mut Session::default(), out).unwrap();
    let made = |r: &&sirius_polyhedral::Remark| r.pass == "wavefront" && r.kind == RemarkKind::Applied;
    compiled.report.remarks.iter().filter(made).count()
}

fn check(stack: &Stack, pipelines: usize) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.onnx");
    std::fs::write(&model, stack.file()).unwrap();
    let inputs = [stack.input()];
    let graph = load(&model, &ImportOptions::default()).unwrap();
    let wanted = interp::run(&graph, &inputs).unwrap().remove(0);
    let mut alone = None;
    for threads in [1, 2, 3] {
        let out = dir.path().join(threads.to_string());
        assert_eq!(build(&model, threads, &out), if threads > 1 { pipelines } else { 0 }, "{threads} threads");
        for workers in 1..=threads as u32 {
            let got = Loaded::with_threads(&out, Some(workers)).unwrap().run(&inputs).unwrap().remove(0);
            let comparison = compare("y", &got, &wanted, None);
            assert!(comparison.matches(), "made for {threads}, run on {workers}: {comparison}");
            let bits = alone.get_or_insert_with(|| got.bytes.to_vec());
            assert!(*bits == *got.bytes, "made for {threads}, run on {workers}");
        }
    }
}

#[test]
fn layers_run_blocks_of_steps_apart() {
    check(&Stack { op: "LSTM", gates: 4, directions: 1, count: 3, steps: 62 }, 1);
}

#[test]
fn directions_run_side_by_side() {
    check(&Stack { op: "GRU", gates: 3, directions: 2, count: 2, steps: 40 }, 2);
}
