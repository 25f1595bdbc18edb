//! `sirius explain`: the facts about a pair of nodes, and JSON that keeps to the published schema.

#[path = "common/schema.rs"]
mod schema;

use schema::fits;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Two products after one another (the second needs whole rows of the first), an activation, and a sum that stands alone.
const GRAPH: &str = "graph \"net\"\n\
t0 \"x\" f32[40, 24]\n\
t1 \"w\" f32[24, 32]\n\
t2 \"v\" f32[32, 16]\n\
t3 \"a\" f32[40, 32]\n\
t4 \"b\" f32[40, 32]\n\
t5 \"y\" f32[40, 16]\n\
t6 \"z\" f32[24]\n\
main (t0, t1, t2) -> (t5, t6) {\n\
  MatMul@13 \"first\" (t0, t1) -> (t3)\n\
  Relu@14 \"relu\" (t3) -> (t4)\n\
  MatMul@13 \"second\" (t4, t2) -> (t5)\n\
  ReduceSum@11 \"sum\" (t0) -> (t6) {axes = [0], keepdims = 0}\n\
}\n";

fn explain(nodes: &[&str], more: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.graph");
    std::fs::write(&file, GRAPH).unwrap();
    let file = file.display().to_string();
    let arguments = [&["explain", &file], nodes, &["--target-cpu", "x86-64-v3"], more].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_sirius")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_pair_is_fused_absorbed_or_apart_with_reasons() {
    let fused = explain(&["first", "relu"], &[]);
    assert!(fused.contains("fused: in one nest, "), "{fused}");
    assert!(fused.contains("2 loops shared: legal, "), "{fused}");
    let tiles = explain(&["first", "second"], &[]);
    assert!(tiles.contains("fused: in one nest, 1 loop around both"), "{tiles}");
    assert!(tiles.contains("remark[fuse-tiles] applied"), "{tiles}");
    let apart = explain(&["first", "second"], &["--disable-pass", "fuse-tiles"]);
    assert!(apart.contains("apart: "), "{apart}");
    assert!(apart.contains("1 loop shared: legal, ") && apart.contains(" cycles instead of "), "{apart}");
    assert!(apart.contains("2 loops shared: "), "{apart}");
    assert!(apart.contains("as groups: mergeable"), "{apart}");
    let strangers = explain(&["second", "sum"], &[]);
    assert!(strangers.contains("apart: no data flows"), "{strangers}");
}

#[test]
fn json_keeps_to_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/explain.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for nodes in [&["first"][..], &["first", "relu"], &["first", "second"], &["second", "sum"]] {
        let value: Value = serde_json::from_str(&explain(nodes, &["--json"])).unwrap();
        fits(&schema, &value, "$").unwrap_or_else(|why| panic!("{why}\n{value:#}"));
        assert_eq!(value["pair"].is_null(), nodes.len() == 1);
    }
    // The validator itself can say no.
    let wrong = serde_json::json!({ "format": "sirius-explain", "version": 1, "surprise": 0 });
    assert!(fits(&schema, &wrong, "$").is_err());
}
