//! `sirius explain`: what became of one node, or why two are (not) in one nest, and what the passes had to say.

use crate::cli::args::ExplainArgs;
use crate::cli::{Outcome, compile};
use crate::compile::{CompileOptions, extract, import, optimize, target};
use crate::report::fusion::{self, FusionReport, LAST_PASSES};
use crate::report::{render, session::Session};
use serde::Serialize;
use sirius_lowering::Target;
use sirius_polyhedral::schedule::obligations;
use sirius_polyhedral::schedule::pair::{self, Pair};
use sirius_polyhedral::{Error, Program, Remark, RemarkKind, Result, StatementId, legality, pipeline};

pub fn command(args: &ExplainArgs) -> Outcome {
    let (options, mut session) = (args.compiler.options(), compile::session(&args.compiler));
    let graph = import(&args.model, &options, &mut session)?;
    let extracted = extract(&graph, &mut session)?;
    for node in &args.nodes {
        find(&extracted, node)?;
    }
    let (mut program, target) = (extracted.clone(), target(&options)?);
    if args.nodes.is_empty() {
        return groups(args, program, &target, &options, session);
    }
    let report = optimize(&mut program, &target, &options, &mut session)?;
    let nodes: Vec<NodeStory> = args.nodes.iter().map(|n| story(&extracted, &program, n)).collect();
    let said = report.remarks.iter().filter(|r| concerns(r, &args.nodes));
    let pair = match args.nodes.as_slice() {
        [a, b] => Some(pair_story(&extracted, &program, [a, b], &options, &target, &mut session)?),
        _ => None,
    };
    session.progress = None;
    let explanation = Explanation {
        format: "sirius-explain",
        version: 1,
        model: args.model.display().to_string(),
        nodes,
        pair,
        remarks: said.map(RemarkStory::of).collect(),
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&explanation)
            .map_err(|e| Error::bug("E903", format!("the explanation does not serialize: {e}")))?,
        false => explanation.text(),
    };
    render::out(&format!("{}\n", text.trim_end()));
    Ok(0)
}

/// Every two groups of the program, and why they are not one.
fn groups(
    args: &ExplainArgs,
    mut program: Program,
    target: &Target,
    options: &CompileOptions,
    mut session: Session,
) -> Outcome {
    up_to(&mut program, &LAST_PASSES, options, target, &mut session)?;
    let model = args.model.display().to_string();
    let report = session.phase("pairs", |_| FusionReport::of(&program, &target.machine, &model))?;
    session.progress = None;
    render::out(&if args.json { report.json()? + "\n" } else { report.text() });
    Ok(0)
}

/// The schema is `docs/explain.schema.json`; fields are only added within one version.
#[derive(Serialize)]
struct Explanation {
    format: &'static str,
    version: u32,
    model: String,
    nodes: Vec<NodeStory>,
    pair: Option<PairStory>,
    remarks: Vec<RemarkStory>,
}

#[derive(Serialize)]
struct NodeStory {
    name: String,
    statements_extracted: usize,
    statements_after: usize,
    nests: Vec<NestStory>,
}

/// A root nest with statements of the node, and the other nodes in it.
#[derive(Serialize)]
struct NestStory {
    number: usize,
    statements: Vec<String>,
    with: Vec<String>,
}

#[derive(Serialize)]
struct RemarkStory {
    pass: &'static str,
    applied: bool,
    subject: String,
    reason: String,
}

#[derive(Serialize)]
struct PairStory {
    status: Status,
    /// One sentence.
    why: String,
    /// Loops around both, where they are in one nest.
    shared_loops: usize,
    /// Arrays from the first nest to the second, with bytes at typical sizes: as `fuse` met them where it joined them,
    /// as it left them where not.
    flows: Vec<FlowStory>,
    /// A node whose nest must run between.
    between: Option<String>,
    attempts: Vec<AttemptStory>,
    /// Why the two are not one in the end, as `sirius explain` without nodes says it; where they are neighbours or data
    /// flows.
    obligation: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Fused,
    /// One has no statements of its own any more: its value is computed where it is read.
    Absorbed,
    Apart,
}

#[derive(Serialize)]
struct FlowStory {
    array: String,
    bytes: i64,
}

/// What sharing so many loops would break or cost.
#[derive(Serialize)]
struct AttemptStory {
    loops: usize,
    same_extents: bool,
    legal: bool,
    violation: Option<String>,
    /// Two instances in the wrong order.
    witness: Option<[String; 2]>,
    /// Cycles of the vector loops of the whole program at typical sizes, by the cost model.
    cycles_apart: Option<f64>,
    cycles_fused: Option<f64>,
}

impl Explanation {
    fn text(&self) -> String {
        let mut out = String::new();
        for node in &self.nodes {
            let (before, after) = (node.statements_extracted, node.statements_after);
            out.push_str(&format!("{}: {before} statements extracted, {after} after the passes\n", node.name));
            for nest in &node.nests {
                let with = match nest.with.as_slice() {
                    [] => "alone".to_string(),
                    with => format!("together with {}", with.join(", ")),
                };
                out.push_str(&format!("  nest {}: {} {with}\n", nest.number, nest.statements.join(", ")));
            }
        }
        self.pair.iter().for_each(|pair| out.push_str(&pair.text()));
        let line = |r: &RemarkStory| {
            let word = if r.applied { "applied" } else { "missed " };
            format!("remark[{}] {word} {}: {}\n", r.pass, r.subject, r.reason)
        };
        match self.remarks.as_slice() {
            [] => out.push_str("no pass had anything to say about it\n"),
            remarks => remarks.iter().for_each(|r| out.push_str(&line(r))),
        }
        out
    }
}

impl RemarkStory {
    fn of(remark: &Remark) -> RemarkStory {
        RemarkStory {
            pass: remark.pass,
            applied: remark.kind == RemarkKind::Applied,
            subject: remark.subject.to_string(),
            reason: remark.reason.clone(),
        }
    }
}

impl PairStory {
    fn text(&self) -> String {
        let mut out = format!("{}: {}\n", format!("{:?}", self.status).to_lowercase(), self.why);
        for flow in &self.flows {
            out.push_str(&format!("  {} carries {}\n", flow.array, compile::size(flow.bytes.max(0) as u64)));
        }
        for a in &self.attempts {
            out.push_str(&format!("  {} shared: {}\n", plural(a.loops), a.text()));
        }
        self.obligation.iter().for_each(|why| out.push_str(&format!("  as groups: {why}\n")));
        out
    }
}

impl AttemptStory {
    fn of(attempt: &pair::Attempt) -> AttemptStory {
        let mut story = AttemptStory {
            loops: attempt.loops,
            same_extents: true,
            legal: false,
            violation: None,
            witness: None,
            cycles_apart: None,
            cycles_fused: None,
        };
        match &attempt.outcome {
            pair::Outcome::Extents => story.same_extents = false,
            pair::Outcome::Illegal { text, witness } => {
                story.violation = Some(text.clone());
                story.witness = witness.as_ref().map(|pair| pair.each_ref().map(ToString::to_string));
            }
            pair::Outcome::Legal { apart, fused } => {
                story.legal = true;
                (story.cycles_apart, story.cycles_fused) = (Some(*apart), Some(*fused));
            }
        }
        story
    }

    fn text(&self) -> String {
        match (&self.violation, self.cycles_apart.zip(self.cycles_fused)) {
            _ if !self.same_extents => "the loops run over different ranges".into(),
            (Some(violation), _) => format!("illegal, {violation}"),
            (None, Some((apart, fused))) => format!("legal, {fused:.0} cycles instead of {apart:.0} for the program"),
            (None, None) => "not tried".into(),
        }
    }
}

fn plural(loops: usize) -> String {
    if loops == 1 { "1 loop".into() } else { format!("{loops} loops") }
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

fn statements_of(program: &Program, node: &str) -> Vec<StatementId> {
    program.statements().filter(|(_, s)| s.origin.node.contains(node)).map(|(id, _)| id).collect()
}

/// Statements of the node before and after the passes, and the nests they ended up in.
fn story(before: &Program, after: &Program, node: &str) -> NodeStory {
    let (old, new) = (statements_of(before, node), statements_of(after, node));
    let mut nests = Vec::new();
    for (number, root) in after.schedule.roots.iter().enumerate() {
        let (mine, others): (Vec<_>, Vec<_>) = root.statements().into_iter().partition(|s| new.contains(s));
        if mine.is_empty() {
            continue;
        }
        let mut with: Vec<String> = Vec::new();
        for name in others.iter().map(|id| after.statement(*id).origin.to_string()) {
            if !with.contains(&name) {
                with.push(name);
            }
        }
        nests.push(NestStory { number, statements: mine.iter().map(StatementId::to_string).collect(), with });
    }
    NodeStory { name: node.into(), statements_extracted: old.len(), statements_after: new.len(), nests }
}

fn pair_story(
    extracted: &Program,
    after: &Program,
    nodes: [&str; 2],
    options: &CompileOptions,
    target: &Target,
    session: &mut Session,
) -> Result<PairStory> {
    let [a, b] = nodes.map(|n| statements_of(after, n));
    let shared_loops = shared_loops(after, &a, &b)?;
    let mut story = PairStory {
        status: Status::Apart,
        why: String::new(),
        shared_loops: shared_loops.unwrap_or(0),
        flows: vec![],
        between: None,
        attempts: vec![],
        obligation: None,
    };
    if a.is_empty() || b.is_empty() {
        let gone = if a.is_empty() { nodes[0] } else { nodes[1] };
        story.status = Status::Absorbed;
        story.why = format!("\"{gone}\" has no statements of its own any more");
        return Ok(story);
    }
    if let Some(loops) = shared_loops {
        story.status = Status::Fused;
        story.why = format!("in one nest, {} around both", plural(loops));
    }
    let program = around_fuse(extracted, story.status, options, target, session)?;
    let [a, b] = nodes.map(|n| statements_of(&program, n));
    if let Some(pair) = pair::pair(&program, &a, &b, &target.machine)? {
        let flow = |(id, bytes): &(_, i64)| FlowStory { array: program.array(*id).name.clone(), bytes: *bytes };
        story.flows = pair.flows.iter().map(flow).collect();
        story.between = pair.between.as_ref().map(ToString::to_string);
        story.attempts = pair.attempts.iter().map(AttemptStory::of).collect();
        if story.status == Status::Apart {
            story.why = why_apart(&pair, &story);
            let mut groups = extracted.clone();
            up_to(&mut groups, &LAST_PASSES, options, target, session)?;
            let [a, b] = nodes.map(|n| statements_of(&groups, n));
            let found = obligations::between(&groups, &a, &b, &target.machine)?;
            story.obligation = found.map(|o| fusion::why(&o.reason));
        }
    }
    Ok(story)
}

/// The loops around a statement of each, where they are in one nest: the most of any two.
fn shared_loops(program: &Program, a: &[StatementId], b: &[StatementId]) -> Result<Option<usize>> {
    let paths = legality::paths(program).map_err(legality::Violation::into_error)?;
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    let together = pairs.filter(|(x, y)| paths[x].positions[0] == paths[y].positions[0]);
    Ok(together.map(|(x, y)| paths[x].shared_bands(&paths[y])).max())
}

/// The program as `fuse` meets it, where it joined the two; as `fuse` leaves it, where they stayed apart.
fn around_fuse(
    extracted: &Program,
    status: Status,
    options: &CompileOptions,
    target: &Target,
    session: &mut Session,
) -> Result<Program> {
    let mut program = extracted.clone();
    let until: &[&str] = if status == Status::Fused { &[] } else { &["fuse"] };
    up_to(&mut program, until, options, target, session)?;
    Ok(program)
}

/// Runs the passes before `fuse`, and those from it to the last of `names`.
fn up_to(
    program: &mut Program,
    names: &[&str],
    options: &CompileOptions,
    target: &Target,
    session: &mut Session,
) -> Result<()> {
    let all = match &options.passes {
        Some(list) => pipeline::parse_list(list)?,
        None => pipeline::for_level(options.level),
    };
    let fuse = all.iter().position(|p| p.name() == "fuse").unwrap_or(all.len());
    let count = all.iter().rposition(|p| names.contains(&p.name())).map_or(fuse, |last| last + 1);
    let names: Vec<&str> = all[..count].iter().map(|p| p.name()).collect();
    let options = CompileOptions { passes: Some(names.join(",")), ..options.clone() };
    optimize(program, target, &options, session)?;
    Ok(())
}

/// The first reason that applies.
fn why_apart(pair: &Pair, story: &PairStory) -> String {
    if let Some(between) = &story.between {
        return format!("{between} must run between them");
    }
    if pair.flows.is_empty() {
        return "no data flows from one nest to the other: sharing loops would save nothing".into();
    }
    let Some(best) = story.attempts.iter().rev().find(|a| a.legal) else {
        return match story.attempts.first() {
            Some(first) => first.text(),
            None => "one of them is not inside a loop".into(),
        };
    };
    match best.cycles_apart.zip(best.cycles_fused) {
        Some((apart, fused)) if fused > apart => {
            format!(
                "{} could be shared, but the vector loops would cost {:.0} cycles more",
                plural(best.loops),
                fused - apart
            )
        }
        _ => format!(
            "{} could be shared, but that would cut the register tile of a reduction, whose other loops do not merge",
            plural(best.loops)
        ),
    }
}
