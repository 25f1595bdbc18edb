//! `sirius explain`: what became of a node, and what the passes had to say about it.

use crate::cli::args::ExplainArgs;
use crate::cli::{Outcome, compile};
use crate::compile::{extract, import, optimize, target};
use crate::report::render;
use sirius_polyhedral::{Error, Program, Remark, Result, StatementId};

pub fn command(args: &ExplainArgs) -> Outcome {
    let (options, mut session) = (args.compiler.options(), compile::session(&args.compiler));
    let graph = import(&args.model, &options, &mut session)?;
    let mut program = extract(&graph, &mut session)?;
    let before = program.clone();
    let report = optimize(&mut program, &target(&options)?, &options, &mut session)?;
    session.progress = None;
    for node in &args.nodes {
        find(&before, node)?;
        render::out(&story(&before, &program, node));
    }
    let said: Vec<&Remark> = report.remarks.iter().filter(|r| concerns(r, &args.nodes)).collect();
    let lines: Vec<String> = said.iter().map(|r| render::remark(r, render::colour())).collect();
    match lines.as_slice() {
        [] => render::out("no pass had anything to say about it\n"),
        lines => render::out(&format!("{}\n", lines.join("\n"))),
    }
    Ok(0)
}

/// A remark concerns a node when its subject or its reason names it; with two nodes, both must be named.
fn concerns(remark: &Remark, nodes: &[String]) -> bool {
    nodes.iter().all(|n| remark.subject.node.contains(n.as_str()) || remark.reason.contains(n.as_str()))
}

fn find(program: &Program, node: &str) -> Result<()> {
    if program.statements().any(|(_, s)| s.origin.node.contains(node)) {
        return Ok(());
    }
    let mut names: Vec<&str> = program.statements().map(|(_, s)| s.origin.node.as_str()).collect();
    names.dedup();
    let shown = names.iter().take(10).copied().collect::<Vec<_>>().join(", ");
    Err(Error::invalid("E834", format!("no statement comes from a node named like \"{node}\""))
        .help(format!("nodes are: {shown}{}", if names.len() > 10 { ", ..." } else { "" })))
}

/// Statements of the node before and after the passes, and the nests they ended up in.
fn story(before: &Program, after: &Program, node: &str) -> String {
    let of = |program: &Program| -> Vec<StatementId> {
        program.statements().filter(|(_, s)| s.origin.node.contains(node)).map(|(id, _)| id).collect()
    };
    let (old, new) = (of(before), of(after));
    let mut text = format!("{node}: {} statements extracted, {} after the passes\n", old.len(), new.len());
    for (number, root) in after.schedule.roots.iter().enumerate() {
        let inside = root.statements();
        let mine: Vec<String> = inside.iter().filter(|s| new.contains(s)).map(StatementId::to_string).collect();
        if mine.is_empty() {
            continue;
        }
        let mut others: Vec<String> = Vec::new();
        for id in inside.iter().filter(|s| !new.contains(s)) {
            let name = after.statement(*id).origin.to_string();
            if !others.contains(&name) {
                others.push(name);
            }
        }
        let with = if others.is_empty() { "alone".to_string() } else { format!("together with {}", others.join(", ")) };
        text.push_str(&format!("  nest {number}: {} {with}\n", mine.join(", ")));
    }
    text
}
