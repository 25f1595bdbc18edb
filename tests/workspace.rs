//! The workspace as a formula and as a polynomial, against what the artifact says it needs.

use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, formula};

const GRAPH: &str = "graph \"net\"\n\
param batch = input(0, 0) min 1 hint 4\n\
param length = input(0, 1) min 1 hint 50\n\
t0 \"w\" f32[6, 6] = [1.0, 0.0, -1.0, 0.0, 2.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0, 2.0, 0.0, \
0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0, 2.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0]\n\
t1 \"x\" f32[batch, length, 6]\n\
t2 \"q\" f32[batch, length, 6]\n\
t3 \"qt\" f32[batch, 6, length]\n\
t4 \"s\" f32[batch, length, length]\n\
t5 \"p\" f32[batch, length, length]\n\
t6 \"y\" f32[batch, length, 6]\n\
main (t1) -> (t6) {\n\
  MatMul@13 \"q\" (t1, t0) -> (t2)\n\
  Transpose@13 \"qt\" (t2) -> (t3) {perm = [0, 2, 1]}\n\
  MatMul@13 \"s\" (t2, t3) -> (t4)\n\
  Softmax@13 \"p\" (t4) -> (t5)\n\
  MatMul@13 \"y\" (t5, t2) -> (t6)\n\
}\n";

#[test]
fn formula_and_polynomial_agree_with_the_artifact_at_every_size() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.graph");
    std::fs::write(&file, GRAPH).unwrap();
    compile(&file, &CompileOptions::default(), &mut Session::default(), dir.path()).unwrap();
    let loaded = Loaded::open(dir.path()).unwrap();
    let workspace = &loaded.manifest.workspace;
    let (exact, most) = (workspace.formula.as_ref().unwrap(), workspace.polynomial.as_ref().unwrap());
    assert!(most.contains("*batch*length*length"), "attention needs length squared: {most}");
    let header = std::fs::read_to_string(dir.path().join("net.h")).unwrap();
    assert!(header.contains(&format!("workspace: {exact} bytes")) && header.contains(&format!("at most {most} bytes")));
    for (batch, length) in [(1, 1), (1, 2), (2, 16), (3, 17), (8, 64), (5, 1000)] {
        let name = |n: &str| Some(if n == "batch" { batch } else { length });
        let value = |text: &str| formula::evaluate(text, &name).unwrap() as usize;
        let needed = loaded.workspace_bytes(&[batch, length]).unwrap();
        assert_eq!(value(exact), needed, "{exact} at {batch} x {length}");
        assert!(value(most) >= needed, "{most} at {batch} x {length}: {needed}");
        if length >= 64 {
            assert!(value(most) <= needed + needed / 5, "{most} is far from {needed}");
        }
    }
}
