//! Real models: extraction succeeds, its schedule is legal, and small ones give their recorded answers.
//!
//! `SIRIUS_MODELS` names folders (separated by `:`) of model folders (`model.onnx`, `test_data_set_K`);
//! without it nothing runs. `SIRIUS_CASES` keeps the models whose names contain one of its words;
//! `SIRIUS_EVALUATE=1` also evaluates the programs, which is slow.

mod common;

use common::evaluate::evaluate;
use sirius::extract::extract;
use sirius::import::{ImportOptions, load};
use sirius::run::{compare::compare, pb};
use sirius_polyhedral::{Expr, Program, legality};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[test]
fn models_extract_legally() {
    let Ok(folders) = std::env::var("SIRIUS_MODELS") else { return };
    let words: Vec<String> =
        std::env::var("SIRIUS_CASES").unwrap_or_default().split_whitespace().map(String::from).collect();
    let mut failures = Vec::new();
    for folder in folders.split(':') {
        let mut models: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        models.sort();
        for model in models.iter().filter(|m| m.join("model.onnx").exists()) {
            let name = model.file_name().unwrap().to_string_lossy().to_string();
            if !words.is_empty() && !words.iter().any(|w| name.contains(w)) {
                continue;
            }
            match check(model) {
                Ok(text) => println!("{name}: {text}"),
                Err(text) => {
                    println!("{name}: FAILED {text}");
                    failures.push(name);
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

fn check(model: &Path) -> Result<String, String> {
    let start = Instant::now();
    let graph = load(&model.join("model.onnx"), &ImportOptions::default()).map_err(|e| e.to_string())?;
    let imported = start.elapsed();
    let start = Instant::now();
    let program = extract(&graph).map_err(|e| e.to_string())?;
    let extracted = start.elapsed();
    let start = Instant::now();
    legality::check(&program).map_err(|e| e.to_string())?.map_err(|v| v.to_string())?;
    let legal = start.elapsed();
    let evaluated = if std::env::var("SIRIUS_EVALUATE").is_ok() { answers(&program, model)? } else { 0 };
    Ok(format!(
        "{} statements, {} with data-dependent subscripts; import {imported:.1?}, extract {extracted:.1?}, legality {legal:.1?}; {evaluated} data sets agree",
        program.statements().count(),
        opaque(&program),
    ))
}

/// Statements that read or write at subscripts that dependences cannot see through.
fn opaque(program: &Program) -> usize {
    let affine = |index: &[Expr]| index.iter().all(|e| e.as_aff().is_some());
    let mut count = 0;
    for (id, s) in program.statements() {
        let mut fine = affine(&s.target.index);
        s.visit_reads(&mut |access| fine &= affine(&access.index));
        if !fine {
            count += 1;
            println!("  {id} {} is not affine", s.origin);
        }
    }
    count
}

fn answers(program: &Program, model: &Path) -> Result<usize, String> {
    let mut sets = 0;
    loop {
        let data = model.join(format!("test_data_set_{sets}"));
        if !data.is_dir() {
            return Ok(sets);
        }
        let inputs = pb::read_all(&data, "input").map_err(|e| e.to_string())?;
        let wanted = pb::read_all(&data, "output").map_err(|e| e.to_string())?;
        let got = evaluate(program, &inputs)?;
        for (n, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            let comparison = compare(&format!("output {n}"), got, wanted, None);
            if !comparison.matches() {
                return Err(format!("data set {sets}: {comparison}"));
            }
        }
        sets += 1;
    }
}
