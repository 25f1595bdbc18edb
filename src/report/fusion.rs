//! The groups that fusion made, and for every pair that stays apart the reason: `compile --fusion-report`, and
//! `explain` without nodes.

use serde::Serialize;
use sirius_polyhedral::schedule::fuse_tiles::lists;
use sirius_polyhedral::schedule::obligations::{Obligation, Reason, obligations};
use sirius_polyhedral::schedule::pair::witness;
use sirius_polyhedral::schedule_tree::Node;
use sirius_polyhedral::transform::children;
use sirius_polyhedral::{Error, Machine, Program, Result};
use std::path::Path;

/// The passes behind which groups are final.
pub const LAST_PASSES: [&str; 2] = ["fuse", "fuse-tiles"];

/// The schema is `docs/fusion.schema.json`; fields are only added within one version.
#[derive(Serialize)]
pub struct FusionReport {
    format: &'static str,
    version: u32,
    model: String,
    lists: Vec<ListStory>,
    pairs: Vec<PairStory>,
}

/// Groups one after another: the roots, or what is inside a loop.
#[derive(Serialize)]
struct ListStory {
    /// Child numbers from the roots down to the loop; empty for the roots.
    path: Vec<usize>,
    groups: Vec<GroupStory>,
}

#[derive(Serialize)]
struct GroupStory {
    nodes: Vec<String>,
    statements: Vec<String>,
}

#[derive(Serialize)]
struct PairStory {
    /// The list, and places in it.
    list: Vec<usize>,
    first: usize,
    second: usize,
    neighbours: bool,
    flows: Vec<FlowStory>,
    reason: Kind,
    /// One sentence.
    why: String,
    /// Two instances that would run in the wrong order.
    witness: Option<[String; 2]>,
    /// What no loop of the target can do.
    limit: Option<&'static str>,
    /// Iterations of the loop that would be shared.
    iterations: Option<i64>,
    cycles_apart: Option<f64>,
    cycles_fused: Option<f64>,
}

#[derive(Serialize)]
struct FlowStory {
    array: String,
    bytes: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Illegal,
    NotExecutable,
    Slower,
    NoLoop,
    Mergeable,
}

impl FusionReport {
    /// Of a program as the last of [`LAST_PASSES`] leaves it.
    pub fn of(program: &Program, machine: &Machine, model: &str) -> Result<FusionReport> {
        let list = |path: Vec<usize>| {
            let groups = children(&program.schedule, &path).iter().map(|node| group(program, node)).collect();
            ListStory { path, groups }
        };
        let pairs = obligations(program, machine)?.iter().map(|o| PairStory::of(program, o)).collect();
        Ok(FusionReport {
            format: "sirius-fusion",
            version: 1,
            model: model.into(),
            lists: lists(program).into_iter().map(list).collect(),
            pairs,
        })
    }

    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|e| Error::bug("E903", format!("the fusion report does not serialize: {e}")))
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.json()? + "\n")
            .map_err(|e| Error::environment("E611", format!("cannot write {}: {e}", path.display())))
    }

    /// Two lines for every pair, and how often each reason holds.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for pair in &self.pairs {
            let group = |n: usize| {
                let list = self.lists.iter().find(|l| l.path == pair.list);
                list.map_or(String::new(), |l| l.groups[n].short())
            };
            let place = pair.list.iter().map(|n| format!("{n}.")).collect::<String>();
            let (first, second) = (pair.first, pair.second);
            out.push_str(&format!("{place}{first} {}\n", group(first)));
            out.push_str(&format!("  and {place}{second} {}: {}\n", group(second), pair.why));
        }
        let groups: usize = self.lists.iter().map(|l| l.groups.len()).sum();
        let count = |kind: Kind| self.pairs.iter().filter(|p| p.reason == kind).count();
        out.push_str(&format!(
            "{groups} groups in {} lists, {} pairs apart: {} illegal, {} not executable, {} slower, {} without a loop \
             to share, {} mergeable\n",
            self.lists.len(),
            self.pairs.len(),
            count(Kind::Illegal),
            count(Kind::NotExecutable),
            count(Kind::Slower),
            count(Kind::NoLoop),
            count(Kind::Mergeable)
        ));
        out
    }
}

fn group(program: &Program, node: &Node) -> GroupStory {
    let ids = node.statements();
    let mut nodes: Vec<String> = ids.iter().map(|id| program.statement(*id).origin.to_string()).collect();
    nodes.dedup();
    GroupStory { nodes, statements: ids.iter().map(ToString::to_string).collect() }
}

impl GroupStory {
    /// The first node, and how many more there are.
    fn short(&self) -> String {
        match self.nodes.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, more @ ..] => format!("{first} and {} more", more.len()),
        }
    }
}

impl PairStory {
    fn of(program: &Program, obligation: &Obligation) -> PairStory {
        let Obligation { list, first, second, flows, reason } = obligation;
        let flow = |(id, bytes): &(_, i64)| FlowStory { array: program.array(*id).name.clone(), bytes: *bytes };
        let mut story = PairStory {
            list: list.clone(),
            first: *first,
            second: *second,
            neighbours: first + 1 == *second,
            flows: flows.iter().map(flow).collect(),
            reason: Kind::NoLoop,
            why: why(reason),
            witness: None,
            limit: None,
            iterations: None,
            cycles_apart: None,
            cycles_fused: None,
        };
        match reason {
            Reason::NoLoop => {}
            Reason::Illegal(violation) => {
                story.reason = Kind::Illegal;
                story.witness = witness(violation).map(|pair| pair.map(|instance| instance.to_string()));
            }
            Reason::NotExecutable(limit) => {
                story.reason = Kind::NotExecutable;
                story.limit = Some(limit.name());
            }
            Reason::Slower { count, cycles } | Reason::Mergeable { count, cycles } => {
                let slower = matches!(reason, Reason::Slower { .. });
                story.reason = if slower { Kind::Slower } else { Kind::Mergeable };
                story.iterations = Some(*count);
                (story.cycles_apart, story.cycles_fused) = (Some(cycles.apart), Some(cycles.fused));
            }
        }
        story
    }
}

/// The reason as a sentence.
pub fn why(reason: &Reason) -> String {
    match reason {
        Reason::Illegal(violation) => format!("illegal, {violation}"),
        Reason::NotExecutable(limit) => format!("not executable, {limit}"),
        Reason::Slower { count, cycles } => {
            format!(
                "slower, {:.0} cycles instead of {:.0} with a loop of {count} around both",
                cycles.fused, cycles.apart
            )
        }
        Reason::NoLoop => "one is a single statement, which has no loop to share".into(),
        Reason::Mergeable { count, cycles } => {
            format!("mergeable, {:.0} cycles instead of {:.0} in a loop of {count}", cycles.fused, cycles.apart)
        }
    }
}
