//! What it costs and saves to give two nests their outer loops in common: the model behind `fuse`.
//!
//! Vector loops may become longer to choose from or shorter (`vector`); what both touch stays near (`reuse`). Cycles at the
//! parameters' typical values.

use super::Cycles;
use super::reuse::{Footprint, cycles_per_byte, footprint, total};
use super::vector;
use crate::aff::Aff;
use crate::expr::{Access, Expr};
use crate::machine::Machine;
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule::{group, layout};
use crate::schedule_tree::{Band, Node};
use crate::script::merge;
use indexmap::IndexMap;
use std::collections::{BTreeSet, HashSet};

/// The least part of what two nests touch that must flow, or be read by both, for sharing only some of their loops.
const LEAST_NEAR: f64 = 0.01;

/// Two nests of a list that would share their `depth` outer loops, inside the bands `around` (whose own bodies are empty).
pub struct Merging<'a> {
    pub nodes: [&'a Node; 2],
    pub depth: usize,
    pub around: &'a [Band],
    /// Have layouts been chosen?
    pub settled: bool,
}

impl Merging<'_> {
    /// Do they share all their parallel loops? What flows is then in a register, which no figure here says.
    pub fn is_whole(&self, program: &Program) -> bool {
        self.nodes.iter().all(|node| long_depth(program, node) <= self.depth)
    }

    /// Is what flows or what both read a noticeable part of what both touch? A vector that scales an image saves nothing by
    /// sharing a loop with it, and takes the loop from those that `layout` and `tile` choose among.
    pub fn is_near(&self, program: &Program, flows: &[ArrayId]) -> bool {
        let whole = self.whole(program);
        let near: BTreeSet<ArrayId> = flows.iter().copied().chain(self.shared(program)).collect();
        let bytes: f64 = near.iter().filter_map(|a| whole.get(a)).sum();
        bytes >= LEAST_NEAR * total(&whole)
    }

    /// The second reads the arrays `flows` that the first writes. The program's tree is taken apart meanwhile, and left empty.
    pub fn by_flow(&self, program: &mut Program, flows: &[ArrayId], machine: &Machine) -> Cycles {
        // Written and read.
        self.cycles(program, flows, 2.0, machine)
    }

    /// Both read the same elements, once less when merged. The program's tree as above.
    pub fn by_reads(&self, program: &mut Program, machine: &Machine) -> Cycles {
        let shared = self.shared(program);
        self.cycles(program, &shared, 1.0, machine)
    }

    fn cycles(&self, program: &mut Program, near: &[ArrayId], times: f64, machine: &Machine) -> Cycles {
        let loops = self.loops();
        let whole = self.whole(program);
        let step = self.footprint(program, &|s, d| loops.iter().any(|members| members.get(&s) == Some(&d)));
        let bytes: f64 = near.iter().map(|a| whole.get(a).copied().unwrap_or(0.0)).sum();
        let moved = |all: &Footprint| times * bytes * cycles_per_byte(total(all), machine);
        let mut first = self.nodes[0].clone();
        let apart = vec![first.clone(), self.nodes[1].clone()];
        let merged = match merge(&mut first, self.nodes[1].clone(), self.depth) {
            Some(()) => vec![first],
            None => apart.clone(),
        };
        let mut vectors = |nodes: Vec<Node>| self.vector_cycles(program, nodes, machine);
        Cycles { apart: vectors(apart) + moved(&whole), fused: vectors(merged) + moved(&step) }
    }

    /// What both touch in one iteration of the bands around.
    fn whole(&self, program: &Program) -> Footprint {
        self.footprint(program, &|_, _| false)
    }

    /// The same, with one iteration of the loops that are `fixed` too.
    fn footprint(&self, program: &Program, fixed: &dyn Fn(StatementId, usize) -> bool) -> Footprint {
        let statements: Vec<StatementId> = self.nodes.iter().flat_map(|n| n.statements()).collect();
        let outer =
            |s: StatementId, d: usize| self.around.iter().any(|b| b.members.get(&s).and_then(Aff::as_iter) == Some(d));
        footprint(program, &statements, &HashSet::new(), &|s, d| (outer(s, d) || fixed(s, d)).then_some(1))
    }

    fn vector_cycles(&self, program: &mut Program, nodes: Vec<Node>, machine: &Machine) -> f64 {
        let own: HashSet<StatementId> = nodes.iter().flat_map(Node::statements).collect();
        let wrap = |body: Vec<Node>, band: &Band| {
            let members = band.members.iter().filter(|(s, _)| own.contains(s)).map(|(s, v)| (*s, v.clone())).collect();
            vec![Node::Band(Band { members, mark: band.mark, body })]
        };
        program.schedule.roots = self.around.iter().rev().fold(nodes, wrap);
        let cycles = match !self.settled && self.leaves_short_loops(program, machine) {
            true => vector::cycles(&layout::foreseen(program, machine), machine),
            false => vector::cycles(program, machine),
        };
        program.schedule.roots.clear();
        cycles
    }

    /// Are all loops that would not be shared shorter than a vector? One of the others is the vector loop, then, as long as the
    /// nests are apart and `layout` puts its elements side by side; so layouts are looked at before they are chosen. (Elsewhere
    /// they are as likely to change by what lies around the two nests, which is not seen here.)
    fn leaves_short_loops(&self, program: &Program, machine: &Machine) -> bool {
        let mut inner = self.nodes.iter().flat_map(|node| extents_below(program, node, self.depth)).peekable();
        inner.peek().is_some() && inner.all(|extent| extent < machine.lanes(4) as i64)
    }

    /// The iterator of every statement in each of the shared loops; loops that are no iterators are left out.
    fn loops(&self) -> Vec<IndexMap<StatementId, usize>> {
        let mut out = vec![IndexMap::new(); self.depth];
        for node in self.nodes {
            let mut node = node;
            for loops in &mut out {
                let Node::Band(band) = node else { break };
                loops.extend(band.members.iter().filter_map(|(s, v)| Some((*s, v.as_iter()?))));
                let Some(next) = band.body.first() else { break };
                node = next;
            }
        }
        out
    }

    /// The arrays of which both nests read the same elements in one iteration of the shared loops, as far as subscripts tell:
    /// loops inside count as one.
    fn shared(&self, program: &Program) -> Vec<ArrayId> {
        let loops = self.loops();
        let reads = |node: &Node| -> BTreeSet<(ArrayId, Vec<String>)> {
            let mut out = BTreeSet::new();
            for s in node.statements() {
                let place = |d: usize| loops.iter().position(|l| l.get(&s) == Some(&d)).unwrap_or(self.depth);
                let subscript = |e: &Expr| match e {
                    Expr::Index(aff) => format!("{:?}", aff.substitute(&|d| Aff::iter(place(d)))),
                    other => format!("{other:?}"),
                };
                let mut note = |a: &Access| {
                    out.insert((a.array, a.index.iter().map(subscript).collect()));
                };
                program.statement(s).visit_reads(&mut note);
            }
            out
        };
        let [first, second] = self.nodes.map(reads);
        let both: BTreeSet<ArrayId> = first.intersection(&second).map(|(array, _)| *array).collect();
        both.into_iter().collect()
    }
}

/// The typical lengths of a statement's loops inside of the `depth` outer loops of its nest, for all its statements.
fn extents_below(program: &Program, node: &Node, depth: usize) -> Vec<i64> {
    match node {
        Node::Band(band) => {
            let own = |(s, value): (&StatementId, &Aff)| group::extent_of(program, *s, value);
            let own = band.members.iter().filter_map(own).map(|e| program.params.hint(&e)).filter(|_| depth == 0);
            let below = band.body.iter().flat_map(|n| extents_below(program, n, depth.saturating_sub(1)));
            own.chain(below).collect()
        }
        _ => vec![],
    }
}

/// The number of parallel loops down to the last one of more than one iteration.
fn long_depth(program: &Program, node: &Node) -> usize {
    let mut loops = Vec::new();
    let mut node = node;
    for _ in 0..group::parallel_depth(program, node) {
        let Node::Band(band) = node else { break };
        loops.push(band);
        let Some(next) = band.body.first() else { break };
        node = next;
    }
    loops.len() - loops.iter().rev().take_while(|band| group::runs_once(program, band)).count()
}
