//! A graph in text form, compiled at -O3 with every pass verified, against the reference interpreter.

use sirius::compile::{CompileOptions, compile};
use sirius::graph::{interp, text};
use sirius::report::session::Session;
use sirius::run::{Value, compare::compare, load::Loaded};
use sirius_polyhedral::ConstantData;

/// Compiles `source` and compares every result of every run with the interpreter's.
pub fn check(name: &str, source: &str, runs: &[Vec<Value>]) {
    check_on("native", name, source, runs);
}

/// The same on a processor that this one can stand for.
pub fn check_on(cpu: &str, name: &str, source: &str, runs: &[Vec<Value>]) {
    let dir = std::env::temp_dir().join(format!("sirius-check-{}-{name}-{cpu}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("model.graph");
    std::fs::write(&path, source).unwrap();
    let graph = text::parse(source, |_, bytes| Some(ConstantData::new(vec![0u8; bytes]))).unwrap();
    let options = CompileOptions { cpu: cpu.into(), verify_each: true, ..CompileOptions::default() };
    compile(&path, &options, &mut Session::default(), &dir).unwrap();
    let loaded = Loaded::open(&dir).unwrap();
    for (n, inputs) in runs.iter().enumerate() {
        let wanted = interp::run(&graph, inputs).unwrap();
        let got = loaded.run(inputs).unwrap_or_else(|e| panic!("{name}, run {n}: {e}"));
        for (k, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            let comparison = compare(&format!("output {k}"), got, wanted, None);
            assert!(comparison.matches(), "{name}, run {n}: {comparison}\n got {got:?}\nwant {wanted:?}");
        }
    }
    std::fs::remove_dir_all(dir).ok();
}
