//! `sirius ops`: the operators that the compiler knows.

use crate::cli::Outcome;
use crate::cli::args::OpsArgs;
use crate::import::{Operator, catalog};
use crate::report::render;
use serde_json::json;

pub fn command(args: &OpsArgs) -> Outcome {
    let wanted =
        |o: &Operator| args.filter.as_ref().is_none_or(|part| name(o).to_lowercase().contains(&part.to_lowercase()));
    let operators: Vec<Operator> = catalog().into_iter().filter(wanted).collect();
    render::out(&if args.json { json_lines(&operators) } else { text(&operators) });
    Ok(0)
}

fn name(o: &Operator) -> String {
    if o.domain.is_empty() { o.op.to_string() } else { format!("{}::{}", o.domain, o.op) }
}

fn text(operators: &[Operator]) -> String {
    let width = operators.iter().map(|o| name(o).len()).max().unwrap_or(0);
    let line = |o: &Operator| {
        let types: Vec<&str> = o.types.iter().map(|t| t.name()).collect();
        let versions = o.versions.map_or("any".to_string(), |(first, last)| format!("{first} to {last}"));
        format!("{:width$}  {versions:8}  {}\n", name(o), types.join(" "))
    };
    let title = format!("{:width$}  versions  element types of the first input\n", "operator");
    title + &operators.iter().map(line).collect::<String>()
}

/// One object per line.
fn json_lines(operators: &[Operator]) -> String {
    let line = |o: &Operator| {
        let types: Vec<&str> = o.types.iter().map(|t| t.name()).collect();
        let domain = if o.domain.is_empty() { "ai.onnx" } else { o.domain };
        let (since, until) = (o.versions.map(|v| v.0), o.versions.map(|v| v.1));
        format!("{}\n", json!({"domain": domain, "op": o.op, "since": since, "until": until, "types": types}))
    };
    operators.iter().map(line).collect()
}
