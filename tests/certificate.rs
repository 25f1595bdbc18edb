//! Certificates on the command line, and those of real models.
//!
//! `SIRIUS_MODELS` names folders of models as in `real_models`; `SIRIUS_CASES` keeps the models whose names contain one of
//! its words. Without them only the tiny committed model is used.

#[path = "common/named_models.rs"]
mod named_models;

use named_models::named_models;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

fn sirius(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sirius")).args(arguments).output().unwrap()
}

/// Compiles and writes the certificate into `dir`.
fn certificate(model: &Path, dir: &Path, more: &[&str]) -> PathBuf {
    let file = dir.join("certificate.json");
    let (model, out, path) = (model.display().to_string(), dir.display().to_string(), file.display().to_string());
    let output = sirius(&[&["compile", &model, "-o", &out, "--certificate", &path], more].concat());
    assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
    file
}

/// The exit code and everything said.
fn verify(file: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = sirius(&[&["verify", "--certificate", file.to_str().unwrap()], more].concat());
    let said = [output.stdout, output.stderr].map(|s| String::from_utf8_lossy(&s).into_owned()).concat();
    (output.status.code(), said)
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/dense.onnx")
}

#[test]
fn a_certificate_holds_until_somebody_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = certificate(&tiny(), dir.path(), &[]);
    let (code, said) = verify(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the certificate holds: 3 statements"), "{said}");

    let original: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let mut tampered = original.clone();
    let schedule = &mut tampered["stages"].as_array_mut().unwrap().last_mut().unwrap()["schedule"];
    schedule.as_array_mut().unwrap().reverse();
    reverse_lists(&mut schedule[0]);
    std::fs::write(&file, tampered.to_string()).unwrap();
    let (code, said) = verify(&file, &[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("violation[Order]") && said.contains("S0[") && said.contains(" and S"), "{said}");
    let (_, said) = verify(&file, &["--json"]);
    let verdict: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(verdict["holds"], false);
    assert_eq!(verdict["violations"][0]["witness"].as_array().map(Vec::len), Some(2), "{said}");

    let mut newer = original;
    newer["version"] = 3.into();
    std::fs::write(&file, newer.to_string()).unwrap();
    let (code, said) = verify(&file, &[]);
    assert!(code == Some(1) && said.contains("E240") && said.contains("version 3"), "{code:?} {said}");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(verify(&file, &[]).0, Some(1));
}

/// A certificate switches nothing off: the artifact is the same, byte for byte.
#[test]
fn the_code_is_that_of_a_plain_compilation() {
    let text = "graph \"net\"\nt0 \"x\" f32[3, 5]\nt1 \"w\" f32[5, 5]\nt2 \"a\" f32[3, 5]\nt3 \"b\" f32[3, 5]\n\
t4 \"c\" f32[3, 5]\nt5 \"d\" f32[3, 5]\nt6 \"e\" f32[3, 5]\nt7 \"f\" f32[3, 5]\nt8 \"g\" f32[3, 5]\n\
t9 \"y\" f32[3, 5]\nmain (t0, t1) -> (t9) {\n\
  MatMul@13 \"m0\" (t0, t1) -> (t2)\n  Tanh@13 \"t0\" (t2) -> (t3)\n\
  MatMul@13 \"m1\" (t3, t1) -> (t4)\n  Tanh@13 \"t1\" (t4) -> (t5)\n\
  MatMul@13 \"m2\" (t5, t1) -> (t6)\n  Tanh@13 \"t2\" (t6) -> (t7)\n\
  MatMul@13 \"m3\" (t7, t1) -> (t8)\n  Tanh@13 \"t3\" (t8) -> (t9)\n}\n";
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let model = with.path().join("net.graph");
    std::fs::write(&model, text).unwrap();
    let file = certificate(&model, with.path(), &[]);
    let output = sirius(&["compile", model.to_str().unwrap(), "-o", without.path().to_str().unwrap()]);
    assert!(output.status.success());
    for name in ["net.so", "net.json", "net.h"] {
        let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        assert!(read(with.path()) == read(without.path()), "{name} differs");
    }
    let said = std::fs::read_to_string(&file).unwrap();
    assert!(said.contains("i0 = 3"), "four steps are one loop");
    let (code, said) = verify(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
}

/// Every list of nodes below runs backwards.
fn reverse_lists(node: &mut Value) {
    if let Some(body) = node.get_mut("body").and_then(Value::as_array_mut) {
        body.reverse();
        body.iter_mut().for_each(reverse_lists);
    }
}

#[test]
fn what_is_not_decided_is_not_called_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = certificate(&tiny(), dir.path(), &[]);
    let (code, said) = verify(&file, &["--budget", "2"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("not decided: ") && said.contains("--budget"), "{said}");
    assert!(!said.contains("violation"), "{said}");
}

#[test]
fn certificates_of_real_models_hold() {
    let mut wrong = Vec::new();
    for (name, model) in named_models(&[]) {
        for threads in ["1", "4"] {
            let dir = tempfile::tempdir().unwrap();
            let file = certificate(&model.join("model.onnx"), dir.path(), &["-O1", "--threads", threads]);
            let (start, bytes) = (Instant::now(), std::fs::metadata(&file).unwrap().len());
            let (code, said) = verify(&file, &[]);
            let seconds = start.elapsed().as_secs_f64();
            println!("{name}, {threads} threads: {bytes} bytes, {seconds:.1} s, {}", said.trim());
            if code != Some(0) {
                wrong.push(format!("{name}, {threads} threads: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A product of bytes with a zero point takes several products at once; constants are compared byte for byte.
#[test]
fn products_of_integers_hold() {
    let weights: Vec<String> = (0..60).map(|n| (n * 7 % 255 - 127).to_string()).collect();
    let text = format!(
        "graph \"net\"\nt0 \"x\" u8[8, 10]\nt1 \"w\" i8[10, 6] = [{}]\nt2 \"zero\" u8[] = [9]\n\
t3 \"y\" i32[8, 6]\nmain (t0) -> (t3) {{\n  MatMulInteger@10 \"op\" (t0, t1, t2) -> (t3)\n}}\n",
        weights.join(", ")
    );
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("net.graph");
    std::fs::write(&model, text).unwrap();
    let file = certificate(&model, dir.path(), &["--certificate-constants"]);
    let (code, said) = verify(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 1 sums regrouped"), "{said}");
}

/// Two layers of attention whose sums are taken while their maximum still grows.
#[test]
fn sums_that_follow_a_maximum_hold() {
    let text = "graph \"net\"\nt0 \"q\" f32[2048, 8]\nt1 \"k\" f32[8, 2048]\nt2 \"v\" f32[2048, 8]\n\
t3 \"s\" f32[2048, 2048]\nt4 \"p\" f32[2048, 2048]\nt5 \"x\" f32[2048, 8]\nt6 \"t\" f32[2048, 2048]\n\
t7 \"r\" f32[2048, 2048]\nt8 \"y\" f32[2048, 8]\nmain (t0, t1, t2) -> (t8) {\n\
  MatMul@13 \"s\" (t0, t1) -> (t3)\n  Softmax@13 \"p\" (t3) -> (t4)\n  MatMul@13 \"x\" (t4, t2) -> (t5)\n\
  MatMul@13 \"t\" (t5, t1) -> (t6)\n  Softmax@13 \"r\" (t6) -> (t7)\n  MatMul@13 \"y\" (t7, t2) -> (t8)\n}\n";
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("net.graph");
    std::fs::write(&model, text).unwrap();
    let file = certificate(&model, dir.path(), &["--numeric", "fast"]);
    let (code, said) = verify(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" 4 sums regrouped"), "{said}");
}
