//! The command line as its users meet it: exit codes, messages, artifacts, and the example programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tiny(name: &str) -> String {
    root().join("models/tiny").join(name).display().to_string()
}

fn sirius(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sirius")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compiles `dense.onnx` into `dir`.
fn compile_dense(dir: &Path, more: &[&str]) -> Output {
    let (model, dir) = (tiny("dense.onnx"), dir.display().to_string());
    sirius(&[&["compile", &model, "-o", &dir], more].concat())
}

#[track_caller]
fn expect(output: &Output, code: i32, said: &str) {
    let text = stdout(output) + &stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "wanted {said:?} in: {text}");
}

#[test]
fn every_kind_of_failure_has_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().display().to_string();
    let broken = dir.path().join("broken.onnx");
    std::fs::write(&broken, b"\x08\x08\xff\xff").unwrap();
    expect(&sirius(&["check", broken.to_str().unwrap()]), 1, "error[E101]");
    expect(&sirius(&["compile"]), 2, "Usage");
    expect(&sirius(&["compile", &tiny("dense.onnx"), "-o", &out, "--dim", "batch=no"]), 2, "positive integer");
    expect(&sirius(&["check", &tiny("exotic.onnx")]), 3, "Frobnicate");
    expect(&sirius(&["check", "no-such-file.onnx"]), 6, "no-such-file.onnx");
    expect(&sirius(&["run", &out]), 1, "no artifact");
    expect(&sirius(&["compile", &tiny("dense.onnx"), "-o", "/proc/nowhere"]), 6, "cannot write");
    expect(&sirius(&["compile", &tiny("dense.onnx"), "-o", &out, "--disable-pass", "fuss"]), 1, "no pass \"fuss\"");
}

#[test]
fn compiled_code_agrees_with_the_reference_at_every_level() {
    for level in ["-O0", "-O1", "-O2", "-O3"] {
        expect(&sirius(&["run", &tiny("dense.onnx"), "--verify", level]), 0, "3 elements agree");
    }
    let output = sirius(&["run", &tiny("dense.onnx"), "--verify", "--target-cpu", "x86-64-v3", "--verify-each"]);
    // A machine without AVX2 refuses politely.
    assert!([Some(0), Some(6)].contains(&output.status.code()), "{}", stderr(&output));
}

/// A pass that changes nothing on a model is not measured again: its artifact says so.
#[test]
fn ablate_shares_the_figures_of_equal_artifacts() {
    let only = ["all passes", "without reroll", "unfused", "without tile"].map(|v| ["--only", v]).concat();
    let dense = tiny("dense.onnx");
    let fixed = ["ablate", &dense, "--seconds", "0", "--json", "--dim", "batch=5"];
    let output = sirius(&[fixed.as_slice(), &only].concat());
    expect(&output, 0, "same_as");
    let text = stdout(&output);
    let row = |variant: &str| {
        let rows = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        rows.into_iter().find(|r| r["variant"] == variant).unwrap()
    };
    let (all, same) = (row("all passes"), row("without reroll"));
    assert_eq!((&same["same_as"], &same["loaded_bytes"]), (&serde_json::json!("all passes"), &all["loaded_bytes"]));
    assert!(all["same_as"].is_null() && row("without tile")["same_as"].is_null());
    assert_ne!(row("without tile")["stored_bytes"], all["stored_bytes"]);
}

#[test]
fn every_pass_has_its_counters() {
    let dir = tempfile::tempdir().unwrap();
    let output = compile_dense(dir.path(), &["--time-passes"]);
    let text = stderr(&output);
    assert!(text.contains("applied  missed"), "{text}");
    let tile = text.lines().find(|l| l.trim_start().starts_with("tile ")).unwrap();
    let applied: usize = tile.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert!(applied > 0, "{tile}");
}

#[test]
fn a_wrong_result_is_named_and_ends_with_4() {
    let dir = tempfile::tempdir().unwrap();
    expect(&compile_dense(dir.path(), &[]), 0, "dense.so");
    let (artifact, data) = (dir.path().display().to_string(), dir.path().join("data").display().to_string());
    expect(&sirius(&["run", &artifact, "--seed", "5", "--dim", "batch=2", "--out", &data]), 0, "y: f32[2, 3]");
    let run = sirius::run::pb::read(&Path::new(&data).join("output_0.pb")).unwrap();
    let x = sirius::run::Value::from_f32(&[2, 4], &[1.0; 8]).unwrap();
    sirius::run::pb::write(&Path::new(&data).join("input_0.pb"), "x", &x).unwrap();
    let output = sirius(&["run", &artifact, "--data", &data]);
    expect(&output, 4, "elements differ, first at [0, ");
    for word in ["y: ", "got ", "wanted ", "ULP"] {
        assert!(stdout(&output).contains(word), "{word} in {}", stdout(&output));
    }
    assert_eq!(run.shape, [2, 3]);
}

#[test]
fn a_wrong_input_is_refused_by_the_artifact_itself() {
    let dir = tempfile::tempdir().unwrap();
    expect(&compile_dense(dir.path(), &["--dim", "batch=2"]), 0, "symbolic dimensions: none");
    let x = sirius::run::Value::from_f32(&[3, 4], &[1.0; 12]).unwrap();
    sirius::run::pb::write(&dir.path().join("input_0.pb"), "x", &x).unwrap();
    let artifact = dir.path().display().to_string();
    expect(&sirius(&["run", &artifact, "--data", &artifact]), 1, "input \"x\": dimension 0: wanted 2 (2), got 3");
}

#[test]
fn a_range_bounds_what_the_artifact_takes_and_names_what_it_is_tuned_for() {
    let dir = tempfile::tempdir().unwrap();
    expect(&compile_dense(dir.path(), &["--dim", "batch=0..64:32"]), 0, "symbolic dimensions: batch");
    let artifact = dir.path().display().to_string();
    let said = "from 0 to 64, tuned for 32";
    expect(&sirius(&["inspect", &artifact]), 0, &format!("dim batch {said}"));
    let header = std::fs::read_to_string(dir.path().join("dense.h")).unwrap();
    assert!(header.contains(&format!("dim batch: {said}")), "{header}");
    let run = |rows: usize| {
        let x = sirius::run::Value::from_f32(&[rows, 4], &vec![1.0; 4 * rows]).unwrap();
        sirius::run::pb::write(&dir.path().join("input_0.pb"), "x", &x).unwrap();
        sirius(&["run", &artifact, "--data", &artifact])
    };
    expect(&run(65), 1, "input \"x\": dimension 0 (batch): wanted 0 to 64, got 65");
    expect(&run(64), 0, "y: f32[64, 3]");
    expect(&run(0), 0, "y: f32[0, 3]");
    // Made-up inputs have the extent that the code is tuned for.
    expect(&sirius(&["run", &artifact]), 0, "y: f32[32, 3]");
    expect(&compile_dense(dir.path(), &["--dim", "batch=8..4"]), 2, "ends before it begins");
    expect(&compile_dense(dir.path(), &["--dim", "rows=1..4"]), 1, "no symbolic dimension \"rows\"");
}

#[test]
fn bench_prints_one_json_object() {
    let dir = tempfile::tempdir().unwrap();
    expect(&compile_dense(dir.path(), &[]), 0, "dense.so");
    let artifact = dir.path().display().to_string();
    let output = sirius(&["bench", &artifact, "--json", "--seconds", "0.05", "--dim", "batch=7"]);
    let parsed: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let number = |key: &str| parsed[key].as_f64().unwrap_or_else(|| panic!("{key} in {parsed}"));
    assert!(number("min_us") <= number("median_us") && number("median_us") <= number("p90_us"));
    assert!(number("gflops") > 0.0);
}

#[test]
fn profile_names_the_nodes_of_every_region() {
    let dense = tiny("dense.onnx");
    for threads in ["1", "2"] {
        let args = ["profile", &dense, "--seconds", "0.05", "--threads", threads, "--dim", "batch=65536"];
        let output = sirius(&[&args[..], &["--json"]].concat());
        let parsed: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        let regions = parsed["regions"].as_array().unwrap();
        assert!(regions.iter().any(|r| r["nodes"].to_string().contains("product")), "{parsed}");
        let sum: f64 = regions.iter().map(|r| r["us"].as_f64().unwrap()).sum();
        assert!(sum > 0.0 && (sum - parsed["sum_us"].as_f64().unwrap()).abs() < 1e-6);
        let alone = threads == "1";
        assert!(regions.iter().all(|r| r["limit"]["us"].is_number() == alone), "{parsed}");
        expect(&sirius(&args), 0, if alone { "of limit" } else { "busiest us" });
    }
}

#[test]
fn artifacts_are_the_same_bytes_every_time() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&a, &b] {
        expect(&compile_dense(dir.path(), &["--target-cpu", "x86-64-v3", "--weights", "sidecar"]), 0, "dense.so");
    }
    for file in ["dense.so", "dense.h", "dense.json", "dense.weights"] {
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
        assert_eq!(read(&a), read(&b), "{file}");
    }
}

#[test]
fn every_dump_is_a_valid_input() {
    let dir = tempfile::tempdir().unwrap();
    let dumps = dir.path().join("dumps").display().to_string();
    expect(&compile_dense(dir.path(), &["--dump-dir", &dumps]), 0, "dense.so");
    let mut files: Vec<String> =
        std::fs::read_dir(&dumps).unwrap().map(|e| e.unwrap().path().display().to_string()).collect();
    files.sort();
    let polys: Vec<&String> = files.iter().filter(|f| f.ends_with(".poly")).collect();
    assert!(polys.len() > 5, "{files:?}");
    for file in polys {
        let printed = sirius(&["opt", file]);
        expect(&printed, 0, "schedule {");
        assert_eq!(stdout(&printed), std::fs::read_to_string(file).unwrap(), "{file}");
    }
    expect(&sirius(&["run", &files[0], "--verify"]), 0, "3 elements agree");
}

#[test]
fn explain_tells_where_a_node_went() {
    let output = sirius(&["explain", &tiny("dense.onnx"), "relu"]);
    expect(&output, 0, "relu: 1 statements extracted");
    expect(&sirius(&["explain", &tiny("dense.onnx"), "nobody"]), 1, "nodes are: product");
}

const EXAMPLE_OUTPUT: &str = "2.5 3 13\n0 0 0\nrefused: input \"x\": dimension 1: wanted 4 (4), got 5\n";

#[test]
fn the_c_example_builds_without_warnings_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    expect(&compile_dense(dir.path(), &[]), 0, "dense.so");
    let program = dir.path().join("call");
    let built = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(dir.path())
        .arg(root().join("examples/call_from_c/main.c"))
        .arg(dir.path().join("dense.so"))
        .arg(format!("-Wl,-rpath,{}", dir.path().display()))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", stderr(&built));
    assert_eq!(stdout(&Command::new(&program).output().unwrap()), EXAMPLE_OUTPUT);
}

#[test]
fn the_python_example_says_the_same() {
    let has_numpy = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: python3 has no numpy");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    expect(&compile_dense(dir.path(), &[]), 0, "dense.so");
    let output =
        Command::new("python3").arg(root().join("examples/call_from_python/main.py")).arg(dir.path()).output().unwrap();
    assert_eq!(stdout(&output), EXAMPLE_OUTPUT, "{}", stderr(&output));
}
