//! Round trips of every construct, and refusals.

use super::{parse, print, weights};
use crate::graph::Graph;
use sirius_polyhedral::{ConstantData, DType, Error};

/// One of everything: parameters, contents, weights, attributes, subgraphs, odd names and odd floats.
const SAMPLE: &str = r#"graph "a \"quoted\" name"
param n = input(0, 0) min 1 hint 64
param m = input(0, 1) min 1 max 512 hint 1
param d2 = mul(n, m + 1) min 2 hint 128
param d3 = floordiv(d2, m) hint 64
param d4 = max(n, m) min 1 hint 64
param d5 = min(-2*n + floor((n + 3)/4), 7) hint 7
param trips = value("A_trips") min 0 hint 16
t0 "x" f32[n, m]
t1 "cond" bool[] = [1]
t2 "shape" i64[2] ~ [n, -m + 3]
t3 "w" f32[2, 2] = [1.5, -inf, NaN, 0x7fc00001]
t4 "big" i8[17] = #0
t5 "then" f32[n, m]
t6 "else" f32[n, m]
t7 "y" f32[n, m]
t8 "half" f16[1] = [0.33325195]
t9 "z" f32[n, m]
main (t0) -> (t7, t9) {
  If@16 "choose" (t1) -> (t7)
    : then_branch () -> (t5) {
      Relu@14 "a" (t0) -> (t5)
    }
    : else_branch () -> (t6) {
      Elu@6 "b" (t0) -> (t6) {alpha = f 0.1}
    }
  "com.example" Odd@1 "odd\u00000a" (t0, _, t3) -> (t9, _) {axis = -1, mode = "up", perm = [1, 0], scales = f [1.0, 2.5e-8], names = s ["p"], value = t4}
}
"#;

fn read(text: &str) -> Result<Graph, Error> {
    parse(text, |n, bytes| (n == 0 && bytes == 17).then(|| ConstantData::new(vec![7u8; 17])))
}

#[test]
fn every_construct_prints_as_it_parses() {
    let graph = read(SAMPLE).unwrap();
    assert_eq!(print(&graph), SAMPLE);
    assert_eq!(weights(&graph), [&ConstantData::new(vec![7u8; 17])]);
    assert_eq!(graph.tensors[3].dtype, DType::F32);
    assert_eq!(graph.tensors[3].constant.as_ref().unwrap().bytes()[12..], 0x7fc0_0001u32.to_le_bytes());
}

#[test]
fn saved_graphs_load_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.graph");
    let graph = read(SAMPLE).unwrap();
    super::save(&graph, &path).unwrap();
    assert_eq!(super::load(&path).unwrap(), graph);
    std::fs::write(folder.path().join("m.graph.bin"), [7u8; 16]).unwrap();
    assert!(super::load(&path).unwrap_err().to_string().contains("weight's data"));
}

#[test]
fn refusals_name_the_line() {
    let change = |from: &str, to: &str| {
        assert!(SAMPLE.contains(from));
        read(&SAMPLE.replace(from, to)).unwrap_err().to_string()
    };
    assert_eq!(change("hint 128", ""), "[E121]: line 5: expected hint, found Word(\"param\")");
    assert!(change("bool[] = [1]", "bool[] = [2.5]").starts_with("[E121]: line 10: expected a literal of type bool"));
    assert!(change("t1 \"cond\"", "t2 \"cond\"").contains("line 10: expected tensor t1"));
    assert!(change("(t0) -> (t5)", "(t6) -> (t5)").contains("\"else\" is used as an input"));
    assert!(change("= [1]", "= [1, 1]").contains("does not have the bytes of its shape"));
    let deep = format!("graph \"g\" param n = input(0, 0) hint 1 t0 \"x\" f32[{}", "floor((".repeat(100_000));
    assert!(read(&deep).unwrap_err().to_string().contains("less nesting"));
}
