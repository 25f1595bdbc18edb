//! The numeric contract: strict code gives the bits of the program run in its order, whatever the passes did to it, and
//! either contract gives the same bits for every number of workers.

#[path = "../polyhedral/tests/generate/mod.rs"]
mod generate;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sirius::compile::{CompileOptions, extract, import, lower, target};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value};
use sirius_lowering::artifact::{ArtifactOptions, WeightsPolicy, write_artifact};
use sirius_polyhedral::driver::{DriverOptions, run_passes};
use sirius_polyhedral::text::{ConstantPool, parse_program};
use sirius_polyhedral::{DType, Numeric, Program, astgen, nest_interp, pipeline};

/// Graphs of the operators whose rounding is defined operation by operation.
const GRAPHS: [(&str, &str); 5] = [
    (
        "elementwise",
        "t0 \"x\" f32[37, 19]\nt1 \"b\" f32[19]\nt2 \"p\" f32[37, 19]\nt3 \"s\" f32[37, 19]\nt4 \"y\" f32[37, 19]\n\
         main (t0, t1) -> (t4) {\n  Mul@14 \"mul\" (t0, t1) -> (t2)\n  Add@14 \"add\" (t2, t0) -> (t3)\n  \
         Div@14 \"div\" (t3, t1) -> (t4)\n}\n",
    ),
    (
        "sum",
        "t0 \"x\" f32[23, 500]\nt1 \"y\" f32[23]\n\
         main (t0) -> (t1) {\n  ReduceSum@11 \"sum\" (t0) -> (t1) {axes = [1], keepdims = 0}\n}\n",
    ),
    (
        "mean",
        "t0 \"x\" f32[5, 300, 7]\nt1 \"y\" f32[5, 7]\n\
         main (t0) -> (t1) {\n  ReduceMean@11 \"mean\" (t0) -> (t1) {axes = [1], keepdims = 0}\n}\n",
    ),
    (
        "matmul",
        "t0 \"a\" f32[33, 70]\nt1 \"b\" f32[70, 41]\nt2 \"p\" f32[33, 41]\nt3 \"y\" f32[33, 41]\n\
         main (t0, t1) -> (t3) {\n  MatMul@13 \"mm\" (t0, t1) -> (t2)\n  Relu@14 \"relu\" (t2) -> (t3)\n}\n",
    ),
    (
        "conv",
        "t0 \"x\" f32[2, 5, 17, 13]\nt1 \"w\" f32[9, 5, 3, 3]\nt2 \"b\" f32[9]\nt3 \"y\" f32[2, 9, 17, 13]\n\
         main (t0, t1, t2) -> (t3) {\n  Conv@11 \"conv\" (t0, t1, t2) -> (t3) {pads = [1, 1, 1, 1]}\n}\n",
    ),
];

fn options(numeric: Numeric, threads: usize) -> CompileOptions {
    CompileOptions { numeric, threads: Some(threads), ..CompileOptions::default() }
}

/// The program of a graph.
fn of_graph(name: &str, body: &str) -> Program {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(format!("{name}.graph"));
    std::fs::write(&file, format!("graph \"{name}\"\n{body}")).unwrap();
    let mut session = Session::default();
    let graph = import(&file, &CompileOptions::default(), &mut session).unwrap();
    extract(&graph, &mut session).unwrap()
}

/// Inputs in which sums round: no two orders of a few hundred of them agree to the bit.
fn inputs(program: &Program) -> Vec<Value> {
    let mut state = 0x9E37_79B9u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f64 / (1u64 << 24) as f64 - 0.5) * 3.0
    };
    let one = |id: &sirius_polyhedral::ArrayId| {
        let array = program.array(*id);
        let shape: Vec<usize> = array.extents.iter().map(|e| program.params.hint(e) as usize).collect();
        let count = shape.iter().product();
        match array.dtype {
            DType::Bool => Value::from_bools(&shape, &vec![true; count]).unwrap(),
            dtype => Value::from_floats(dtype, &shape, &(0..count).map(|_| next()).collect::<Vec<f64>>()).unwrap(),
        }
    };
    program.inputs.iter().map(one).collect()
}

/// Every instance in the order of the program as extracted, one operation at a time.
fn in_order(program: &Program, inputs: &[Value]) -> Vec<Vec<u8>> {
    let dims: Vec<(&str, i64)> = program.params.iter().map(|(_, p)| (p.name.as_str(), p.hint)).collect();
    let bytes: Vec<Vec<u8>> = inputs.iter().map(|v| v.bytes.to_vec()).collect();
    nest_interp::run(&astgen::generate(program).unwrap(), &dims, &bytes).unwrap()
}

/// The bits that compiled code gives.
fn compiled(program: &Program, numeric: Numeric, threads: usize, inputs: &[Value]) -> Vec<Vec<u8>> {
    let options = options(numeric, threads);
    let mut target = target(&options).unwrap();
    // Even little is worth sharing, or small programs would run on one worker.
    target.machine.barrier_ns = 0.001;
    let mut program = program.clone();
    run_passes(&mut program, pipeline::PIPELINE, &target.machine, DriverOptions::default()).unwrap();
    let mut nest = astgen::generate(&program).unwrap();
    nest.name = "numeric".into();
    let code = lower(&nest, &target, &options, false, &mut Session::default()).unwrap();
    let artifact = ArtifactOptions {
        name: "numeric".into(),
        tag: "numeric".into(),
        inputs: vec![],
        outputs: vec![],
        input_values: vec![],
        output_values: vec![],
        fixed: Default::default(),
        weights: WeightsPolicy::Embed,
        target,
        fp_policy: String::new(),
        flops: vec![],
        counting: Default::default(),
    };
    let dir = tempfile::tempdir().unwrap();
    let manifest = write_artifact(&nest, &code.object, &code.symbol, &artifact, dir.path()).unwrap();
    assert_eq!(manifest.numeric, numeric);
    let header = std::fs::read_to_string(dir.path().join("numeric.h")).unwrap();
    assert!(header.contains(&format!("numeric contract {}", numeric.name())));
    let loaded = Loaded::open(dir.path()).unwrap();
    loaded.run(inputs).unwrap().iter().map(|v| v.bytes.to_vec()).collect()
}

#[test]
fn strict_code_gives_the_bits_of_the_program_in_order() {
    let mut differing = Vec::new();
    for (name, body) in GRAPHS {
        let program = of_graph(name, body);
        let inputs = inputs(&program);
        let wanted = in_order(&program, &inputs);
        for threads in [1, 2, 3] {
            let got = compiled(&program, Numeric::Strict, threads, &inputs);
            assert!(got == wanted, "{name} with {threads} workers");
        }
        if compiled(&program, Numeric::Contract, 1, &inputs) != wanted {
            differing.push(name);
        }
    }
    // The test would be worth nothing if nothing ever differed.
    assert_eq!(differing, ["sum", "matmul", "conv"], "where the contract rounds otherwise");
}

#[test]
fn the_contract_gives_the_same_bits_for_every_number_of_workers() {
    for (name, body) in GRAPHS {
        let program = of_graph(name, body);
        let inputs = inputs(&program);
        let alone = compiled(&program, Numeric::Contract, 1, &inputs);
        for threads in [2, 3] {
            assert!(compiled(&program, Numeric::Contract, threads, &inputs) == alone, "{name} with {threads} workers");
        }
    }
}

/// Other bits, the same numbers: a few roundings apart, and NaN and infinities where they were.
#[test]
fn fast_code_regroups_and_keeps_nan_and_infinities() {
    let mut differing = Vec::new();
    for (name, body) in GRAPHS {
        let program = of_graph(name, body);
        let mut inputs = inputs(&program);
        if name == "elementwise" {
            let mut x = inputs[0].floats();
            (x[0], x[1], x[2]) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
            inputs[0] = Value::from_floats(DType::F32, &[37, 19], &x).unwrap();
        }
        let exact = floats(&compiled(&program, Numeric::Contract, 1, &inputs)[0]);
        let fast = floats(&compiled(&program, Numeric::Fast, 1, &inputs)[0]);
        for (n, (a, b)) in exact.iter().zip(&fast).enumerate() {
            let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-4 + 1e-5 * a.abs();
            assert!(close, "{name}[{n}]: {a} and {b}");
        }
        if exact.iter().zip(&fast).any(|(a, b)| a.to_bits() != b.to_bits() && !a.is_nan()) {
            differing.push(name);
        }
    }
    assert!(differing.contains(&"elementwise"), "nothing was regrouped: {differing:?}");
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn strict_code_of_random_programs_gives_the_bits_of_the_program_in_order() {
    let mut runner = TestRunner::deterministic();
    let strategy = generate::text(19, vec![3, 8, 32], any::<bool>());
    for _ in 0..20 {
        // `exp` is an approximation of its own.
        let text = strategy.new_tree(&mut runner).unwrap().current().replace("exp(", "abs(");
        let program = parse_program(&text, &ConstantPool::default()).unwrap();
        let inputs = inputs(&program);
        let wanted = in_order(&program, &inputs);
        for threads in [1, 3] {
            assert!(compiled(&program, Numeric::Strict, threads, &inputs) == wanted, "{threads} workers:\n{text}");
        }
    }
}

#[test]
fn a_contract_that_does_not_exist_is_refused() {
    let sirius = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sirius"));
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny/dense.onnx");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    let (code, said) = sirius(&["compile", model, "-o", out, "--numeric", "loose"]);
    assert!(code == Some(2) && said.contains("strict, contract, fast"), "{code:?} {said}");
    for numeric in ["strict", "fast"] {
        let (code, said) = sirius(&["compile", model, "-o", out, "--numeric", numeric, "--target", "nvptx"]);
        assert!(code == Some(3) && said.contains("E302"), "{code:?} {said}");
    }
}
