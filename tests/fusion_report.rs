//! The groups that fusion made, and the reason for every pair that stays apart.
//!
//! `SIRIUS_MODELS` names folders of models as in `real_models`; `SIRIUS_CASES` keeps the models whose names contain one of
//! its words. Without them only a small graph is used.

#[path = "common/named_models.rs"]
mod named_models;
#[path = "common/schema.rs"]
mod schema;

use named_models::named_models;
use schema::fits;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Products one after another, a window over rows, a sum over columns, and a stranger.
const GRAPH: &str = "graph \"net\"\n\
t0 \"x\" f32[40, 24]\n\
t1 \"w\" f32[24, 32]\n\
t2 \"v\" f32[32, 16]\n\
t3 \"a\" f32[40, 32]\n\
t4 \"b\" f32[40, 32]\n\
t5 \"y\" f32[40, 16]\n\
t6 \"z\" f32[24]\n\
t7 \"s\" f32[32]\n\
t8 \"r\" f32[40, 32]\n\
t9 \"q\" f32[40, 24]\n\
t10 \"u\" f32[40, 24]\n\
main (t0, t1, t2, t9) -> (t5, t6, t8, t10) {\n\
  MatMul@13 \"first\" (t0, t1) -> (t3)\n\
  Relu@14 \"relu\" (t3) -> (t4)\n\
  MatMul@13 \"second\" (t4, t2) -> (t5)\n\
  ReduceSum@11 \"sum\" (t0) -> (t6) {axes = [0], keepdims = 0}\n\
  ReduceSum@11 \"columns\" (t4) -> (t7) {axes = [0], keepdims = 0}\n\
  Add@14 \"shift\" (t4, t7) -> (t8)\n\
  Tanh@13 \"stranger\" (t9) -> (t10)\n\
}\n";

fn sirius(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sirius")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The report of a compilation, which keeps to the schema.
fn report(model: &Path, more: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let (out, file) = (dir.path().display().to_string(), dir.path().join("fusion.json"));
    let (model, path) = (model.display().to_string(), file.display().to_string());
    sirius(&[&["compile", &model, "-o", &out, "--fusion-report", &path], more].concat());
    let value: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fusion.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    fits(&schema, &value, "$").unwrap_or_else(|why| panic!("{why}\n{value:#}"));
    value
}

/// Neighbours without exactly one reason, and pairs for which nothing is said.
fn incomplete(report: &Value) -> Vec<String> {
    let pairs = report["pairs"].as_array().unwrap();
    let mut out = Vec::new();
    for list in report["lists"].as_array().unwrap() {
        for second in 1..list["groups"].as_array().unwrap().len() {
            let of = |p: &&Value| p["list"] == list["path"] && p["first"] == second - 1 && p["second"] == second;
            if pairs.iter().filter(of).count() != 1 {
                out.push(format!("{} {second}", list["path"]));
            }
        }
    }
    for pair in pairs {
        let proven = match pair["reason"].as_str().unwrap() {
            "illegal" => pair["witness"].is_array(),
            "not-executable" => pair["limit"].is_string(),
            "slower" => pair["cycles_fused"].as_f64() >= pair["cycles_apart"].as_f64(),
            "no-loop" => true,
            _ => false,
        };
        if !proven {
            out.push(pair.to_string());
        }
    }
    out
}

fn graph(dir: &tempfile::TempDir) -> PathBuf {
    let file = dir.path().join("net.graph");
    std::fs::write(&file, GRAPH).unwrap();
    file
}

#[test]
fn every_pair_that_stays_apart_has_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = graph(&dir);
    let found = report(&file, &["--target-cpu", "x86-64-v3"]);
    assert_eq!(incomplete(&found), Vec::<String>::new(), "{found:#}");
    let reasons: Vec<&str> = found["pairs"].as_array().unwrap().iter().map(|p| p["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"illegal") && reasons.contains(&"slower"), "{found:#}");
    // Without the passes that merge there is something to merge.
    let apart = report(&file, &["--target-cpu", "x86-64-v3", "--disable-pass", "fuse", "--disable-pass", "fuse-tiles"]);
    assert!(!incomplete(&apart).is_empty(), "{apart:#}");
}

#[test]
fn explain_without_nodes_is_the_report_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let file = graph(&dir).display().to_string();
    let text = sirius(&["explain", &file, "--target-cpu", "x86-64-v3"]);
    assert!(text.contains("illegal, S") && text.contains("slower, ") && text.contains("0 mergeable"), "{text}");
    let json: Value =
        serde_json::from_str(&sirius(&["explain", &file, "--target-cpu", "x86-64-v3", "--json"])).unwrap();
    let pairs = report(Path::new(&file), &["--target-cpu", "x86-64-v3"])["pairs"].clone();
    assert_eq!(json["pairs"], pairs);
}

#[test]
fn real_models_have_a_reason_for_every_pair() {
    let mut wrong = Vec::new();
    for (name, model) in named_models(&[]) {
        let found = report(&model.join("model.onnx"), &["-O1"]);
        println!("{name}: {} pairs", found["pairs"].as_array().unwrap().len());
        wrong.extend(incomplete(&found).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
