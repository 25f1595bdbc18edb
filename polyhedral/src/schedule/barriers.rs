//! Where the workers of a thread team wait for each other: the last step of `team`, not a pass of its own.
//!
//! Between two nodes of a list no barrier is needed when everything they both touch (and one of them writes) is
//! touched by the same worker: the element decides the iteration of the shared loop by the same rule on both sides
//! (see `owner`), or both sides belong to worker 0. Different arrays in one slot of the workspace count as the same
//! memory. A barrier at the head of a loop's body serves the next iteration. Greedy: a barrier goes in front of the
//! first node that needs one, and everything before it is forgotten, which gives the fewest for a list. The
//! legality checker proves the result from exact dependences.

use super::owner::{self, Rule};
use crate::aff::Aff;
use crate::deps::parameter_arrays;
use crate::expr::Access;
use crate::program::{ArrayId, Placement, Program, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use std::collections::HashMap;

/// Puts barriers into a program with shared loops for `size` workers, but without barriers; how many?
pub fn place(program: &mut Program, size: u32) -> usize {
    let mut placer = Placer { program, size: i64::from(size), placed: 0 };
    let (roots, placed) = (placer.roots(), placer.placed);
    program.schedule.roots = roots;
    placed
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

struct Placer<'a> {
    program: &'a Program,
    size: i64,
    placed: usize,
}

impl Placer<'_> {
    fn roots(&mut self) -> Vec<Node> {
        let mut since = Touches::new();
        let mut out = Vec::new();
        for root in &self.program.schedule.roots {
            let root = self.inside(root);
            let touches = self.touches(&[&root]);
            if self.conflict(&since, &touches) {
                since.clear();
                out.push(self.barrier(vec![root]));
            } else {
                out.push(root);
            }
            add(&mut since, touches);
        }
        out
    }

    /// Places barriers in the bodies of the loops that all workers run.
    fn inside(&mut self, node: &Node) -> Node {
        match node {
            Node::Band(band) if node.team() > 1 && !matches!(band.mark, Mark::Team(_)) => {
                let body = band.body.iter().map(|n| self.inside(n)).collect();
                Node::Band(Band { members: band.members.clone(), mark: band.mark, body: self.body(body) })
            }
            other => other.clone(),
        }
    }

    /// The body of a loop: barriers between its nodes, and one at the head where iterations meet.
    fn body(&mut self, nodes: Vec<Node>) -> Vec<Node> {
        let (mut groups, mut current) = (Vec::new(), Vec::new());
        let mut since = Touches::new();
        for node in nodes {
            let touches = self.touches(&[&node]);
            if self.conflict(&since, &touches) {
                since.clear();
                groups.push(std::mem::take(&mut current));
            }
            add(&mut since, touches);
            current.push(node);
        }
        groups.push(current);
        let head = self.touches(&groups[0].iter().collect::<Vec<_>>());
        let meets = self.conflict(&since, &head);
        // Each barrier is around all that follows it, so that it is there whenever something behind it runs.
        let rest = groups
            .split_off(1)
            .into_iter()
            .rev()
            .fold(Vec::new(), |behind, group| vec![self.barrier(group.into_iter().chain(behind).collect())]);
        let all: Vec<Node> = groups.into_iter().flatten().chain(rest).collect();
        if meets { vec![self.barrier(all)] } else { all }
    }

    fn barrier(&mut self, body: Vec<Node>) -> Node {
        self.placed += 1;
        let members = body.iter().flat_map(Node::statements).map(|s| (s, Aff::constant(0))).collect();
        Node::Band(Band { members, mark: Mark::Barrier, body })
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

    fn touches(&self, nodes: &[&Node]) -> Touches {
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
