//! `barriers`: leave out the barriers of a thread team that no dependence needs.
//!
//! Rewrite: a band marked `Barrier` gives way to what is in it. Legal between two nodes of a list when everything they
//! both touch (and one of them writes) is touched by the same worker: the element decides the iteration of the shared
//! loop by the same rule on both sides (see `owner`), or both sides belong to worker 0. Different arrays in one slot of
//! the workspace count as the same memory. A barrier at the head of a loop's body serves the next iteration. Always
//! wanted: a barrier costs what it costs, and holds up all workers for the slowest.
//!
//! Greedy: of the barriers of a list the first stays that stands before nodes (up to the next one) which need it, and
//! everything before it is forgotten; that gives the fewest. None is added: a program that lacks one stays wrong. The
//! legality checker proves the result from exact dependences.

use super::owner::{self, Rule};
use crate::aff::Aff;
use crate::deps::parameter_arrays;
use crate::error::{Origin, Result};
use crate::expr::Access;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Placement, Program, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node, Schedule};
use std::collections::HashMap;

pub struct Barriers;

impl Pass for Barriers {
    fn name(&self) -> &'static str {
        "barriers"
    }

    fn summary(&self) -> &'static str {
        "leave out barriers of a thread team that no dependence needs (CPU targets)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let (size, before) = (program.schedule.team(), count(&program.schedule));
        if size < 2 || before == 0 {
            return Ok(());
        }
        program.schedule.roots = Sieve { program, size: i64::from(size) }.roots();
        let (removed, subject) =
            (before - count(&program.schedule), Origin { node: program.name.clone(), op: "model".into() });
        match removed {
            0 => context.missed(self.name(), &subject, format!("all {before} barriers are needed")),
            _ => context.applied(self.name(), &subject, format!("{removed} of {before} barriers removed")),
        }
        Ok(())
    }
}

/// Barriers in the tree, each counted once, however often it is met.
pub fn count(schedule: &Schedule) -> usize {
    fn below(node: &Node) -> usize {
        let Node::Band(band) = node else { return 0 };
        usize::from(band.mark == Mark::Barrier) + band.body.iter().map(below).sum::<usize>()
    }
    schedule.roots.iter().map(below).sum()
}

/// All workers wait for each other, then go through `body`.
pub fn barrier(body: Vec<Node>) -> Node {
    let members = body.iter().flat_map(Node::statements).map(|s| (s, Aff::constant(0))).collect();
    Node::Band(Band { members, mark: Mark::Barrier, body })
}

/// A node of a list without barriers, and whether one stood before it.
struct Step {
    waits: bool,
    node: Node,
}

/// A list with its barriers taken apart.
fn steps(nodes: &[Node]) -> Vec<Step> {
    let step = |node: &Node| match node {
        Node::Band(band) if band.mark == Mark::Barrier => {
            let mut inside = steps(&band.body);
            inside.iter_mut().take(1).for_each(|first| first.waits = true);
            inside
        }
        other => vec![Step { waits: false, node: other.clone() }],
    };
    nodes.iter().flat_map(step).collect()
}

/// The nodes between barriers: one serves all that follow it, not the first alone.
fn runs(steps: Vec<Step>) -> Vec<Vec<Node>> {
    let mut runs: Vec<Vec<Node>> = Vec::new();
    for Step { waits, node } in steps {
        match runs.last_mut() {
            Some(run) if !waits => run.push(node),
            _ => runs.push(vec![node]),
        }
    }
    runs
}

/// What has been touched since the last barrier, by memory.
type Touches = HashMap<Memory, Vec<Touch>>;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Memory {
    Array(ArrayId),
    Slot(usize),
}

#[derive(Clone, PartialEq)]
struct Touch {
    array: ArrayId,
    how: How,
    who: Who,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Reads,
    /// The only write of the element.
    Assigns,
    Updates,
}

/// The worker that touches an element.
#[derive(Clone, PartialEq)]
enum Who {
    First,
    /// All rules by which the element decides the iteration, and so the worker; perhaps none.
    ByElement(Vec<Rule>),
    /// Loop bounds and tests, which every worker evaluates.
    All,
}

/// Keeps what is needed.
struct Sieve<'a> {
    program: &'a Program,
    size: i64,
}

impl Sieve<'_> {
    fn roots(&self) -> Vec<Node> {
        let groups = self.groups(steps(&self.program.schedule.roots)).into_iter().enumerate();
        let waiting = groups.flat_map(|(n, mut group)| {
            // A barrier at the root is around one node: those behind it are behind it without being inside.
            if n > 0 {
                let first = group.remove(0);
                group.insert(0, barrier(vec![first]));
            }
            group
        });
        waiting.collect()
    }

    /// The loops that all workers run, with fewer barriers in their bodies.
    fn inside(&self, node: Node) -> Node {
        match node {
            Node::Band(band) if !matches!(band.mark, Mark::Team(_)) && band.body.iter().any(|n| n.team() > 1) => {
                Node::Band(Band { body: self.body(&band.body), ..band })
            }
            other => other,
        }
    }

    /// The body of a loop: barriers between its nodes, and one at the head where iterations meet.
    fn body(&self, nodes: &[Node]) -> Vec<Node> {
        let steps = steps(nodes);
        let waits = steps.first().is_some_and(|s| s.waits);
        let groups = self.groups(steps);
        let touches = |group: Option<&Vec<Node>>| group.map(|g| self.touches(g)).unwrap_or_default();
        let meets = waits && self.conflict(&touches(groups.last()), &touches(groups.first()));
        let last = groups.len().saturating_sub(1);
        // Each barrier is around all that follows it, so that it is there whenever something behind it runs.
        let mut behind: Vec<Node> = Vec::new();
        for (n, mut group) in groups.into_iter().enumerate().rev() {
            group.extend((n < last).then(|| barrier(std::mem::take(&mut behind))));
            behind = group;
        }
        if meets { vec![barrier(behind)] } else { behind }
    }

    /// The nodes between the barriers that are needed within a list.
    fn groups(&self, steps: Vec<Step>) -> Vec<Vec<Node>> {
        let (mut groups, mut current): (Vec<Vec<Node>>, Vec<Node>) = (Vec::new(), Vec::new());
        let mut since = Touches::new();
        for run in runs(steps) {
            let run: Vec<Node> = run.into_iter().map(|node| self.inside(node)).collect();
            let touches = self.touches(&run);
            if !current.is_empty() && self.conflict(&since, &touches) {
                since.clear();
                groups.push(std::mem::take(&mut current));
            }
            add(&mut since, touches);
            current.extend(run);
        }
        groups.push(current);
        groups
    }

    /// Can two workers meet in memory that one of them writes?
    fn conflict(&self, before: &Touches, after: &Touches) -> bool {
        after.iter().any(|(memory, touches)| {
            let earlier = before.get(memory).map_or(&[][..], Vec::as_slice);
            touches.iter().any(|b| earlier.iter().any(|a| self.meet(a, b)))
        })
    }

    fn meet(&self, a: &Touch, b: &Touch) -> bool {
        let writes = a.how != How::Reads || b.how != How::Reads;
        let reused = a.array != b.array || self.program.array(a.array).fold.iter().any(Option::is_some);
        let different = !reused && a.how == How::Assigns && b.how == How::Assigns;
        writes && !different && !self.same_worker(a, b)
    }

    fn same_worker(&self, a: &Touch, b: &Touch) -> bool {
        match (&a.who, &b.who) {
            (Who::First, Who::First) => true,
            (Who::ByElement(x), Who::ByElement(y)) if a.array == b.array => {
                x.iter().any(|rule| y.contains(rule) && self.survives_fold(a.array, rule))
            }
            _ => false,
        }
    }

    /// Do elements that share a cell belong to one worker? A fold by a multiple of the team's size keeps them apart.
    fn survives_fold(&self, array: ArrayId, rule: &Rule) -> bool {
        self.program.array(array).fold[rule.dim].is_none_or(|window| rule.block == 1 && window % self.size == 0)
    }

    fn touches(&self, nodes: &[Node]) -> Touches {
        let mut out = Touches::new();
        for node in nodes {
            let shared = node.team() > 1;
            self.collect(node, None, shared, &mut out);
        }
        out
    }

    fn collect(&self, node: &Node, team: Option<&Band>, shared: bool, out: &mut Touches) {
        match node {
            Node::Leaf(id) => self.statement(*id, team, shared, out),
            Node::Band(band) => {
                let team = if matches!(band.mark, Mark::Team(_)) { Some(band) } else { team };
                band.body.iter().for_each(|n| self.collect(n, team, shared, out));
            }
        }
    }

    fn statement(&self, id: StatementId, team: Option<&Band>, shared: bool, out: &mut Touches) {
        let statement = self.program.statement(id);
        let who = |access: &Access| match team {
            None => Who::First,
            Some(band) => Who::ByElement(
                band.members
                    .get(&id)
                    .and_then(Aff::as_iter)
                    .map_or(vec![], |d| owner::rules(self.program, id, access, d)),
            ),
        };
        let assigns = statement.kind == StatementKind::Assign;
        let how = if assigns { How::Assigns } else { How::Updates };
        self.touch(out, statement.target.array, how, who(&statement.target));
        statement.visit_reads(&mut |a| self.touch(out, a.array, How::Reads, who(a)));
        let everyone = if shared { Who::All } else { Who::First };
        let note = |array| self.touch(out, array, How::Reads, everyone.clone());
        let mut tested = parameter_arrays(self.program, statement);
        statement.guard.iter().for_each(|g| g.visit_loads(&mut |a| tested.push(a.array)));
        tested.into_iter().for_each(note);
    }

    fn touch(&self, out: &mut Touches, array: ArrayId, how: How, who: Who) {
        let memory = match self.program.array(array).placement {
            Some(Placement::Register) => return,
            Some(Placement::Slot(slot)) => Memory::Slot(slot),
            None => Memory::Array(array),
        };
        let (list, touch) = (out.entry(memory).or_default(), Touch { array, how, who });
        if !list.contains(&touch) {
            list.push(touch);
        }
    }
}

fn add(to: &mut Touches, more: Touches) {
    for (memory, touches) in more {
        to.entry(memory).or_default().extend(touches);
    }
}
