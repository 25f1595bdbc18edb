//! What passes between the run and its worker processes: a line for a case, a line for its verdict.

use crate::cases::{Case, Data};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What became of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Passed,
    /// The same, with the contents of these inputs fixed at compile time (and checked when the case ran).
    PassedFixed(String),
    /// The compiler's error: code and message.
    Refused(String),
    /// A wrong result, an error that is no refusal, a crash or a hang.
    Wrong(String),
}

pub fn request(case: &Case) -> String {
    let (kind, data) = match &case.data {
        Data::Files(path) => ("files", path),
        Data::Ramp(path) => ("ramp", path),
    };
    json!({"name": case.name, "model": case.model, "kind": kind, "data": data}).to_string()
}

pub fn parse_request(line: &str) -> Option<Case> {
    let parsed: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| Some(parsed.get(key)?.as_str()?.to_string());
    let data = PathBuf::from(text("data")?);
    let data = if text("kind")? == "ramp" { Data::Ramp(data) } else { Data::Files(data) };
    Some(Case { name: text("name")?, model: text("model")?.into(), data })
}

pub fn answer(verdict: &Verdict) -> String {
    let (kind, text) = match verdict {
        Verdict::Passed => ("passed", ""),
        Verdict::PassedFixed(inputs) => ("fixed", inputs.as_str()),
        Verdict::Refused(why) => ("refused", why.as_str()),
        Verdict::Wrong(what) => ("wrong", what.as_str()),
    };
    json!({"verdict": kind, "text": text}).to_string()
}

/// Of a worker's answer, or of its failure to give one.
pub fn verdict(answer: Result<String, String>) -> Verdict {
    match answer {
        Ok(line) => parse_answer(&line).unwrap_or(Verdict::Wrong(line)),
        Err(how) => Verdict::Wrong(how),
    }
}

fn parse_answer(line: &str) -> Option<Verdict> {
    let parsed: Value = serde_json::from_str(line).ok()?;
    let text = parsed.get("text")?.as_str()?.to_string();
    Some(match parsed.get("verdict")?.as_str()? {
        "passed" => Verdict::Passed,
        "fixed" => Verdict::PassedFixed(text),
        "refused" => Verdict::Refused(text),
        _ => Verdict::Wrong(text),
    })
}
