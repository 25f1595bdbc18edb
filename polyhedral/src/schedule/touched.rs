//! The arrays that a part of a program reads and writes, and what they say of its place among other parts.

use super::group;
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::Node;
use std::collections::HashSet;

#[derive(Clone, Default)]
pub struct Touched {
    /// Also accumulators, and what run-time parameters of domains come from.
    pub reads: HashSet<ArrayId>,
    pub writes: HashSet<ArrayId>,
    /// Those of the writes that a test of data decides.
    pub tested: HashSet<ArrayId>,
}

impl Touched {
    pub fn of(program: &Program, node: &Node) -> Touched {
        let tested = node.statements().into_iter().map(|id| program.statement(id)).filter(|s| s.guard.is_some());
        let tested = tested.map(|s| s.target.array).collect();
        Touched { reads: group::reads(program, node), writes: group::writes(program, node), tested }
    }

    pub fn of_statements(program: &Program, statements: impl Iterator<Item = StatementId>) -> Touched {
        let mut all = Touched::default();
        statements.for_each(|id| all.add(&Touched::of(program, &Node::Leaf(id))));
        all
    }

    pub fn add(&mut self, other: &Touched) {
        self.reads.extend(&other.reads);
        self.writes.extend(&other.writes);
        self.tested.extend(&other.tested);
    }

    /// What this reads and `earlier` writes, in the order of the arrays' numbers.
    pub fn flows_from(&self, earlier: &Touched) -> Vec<ArrayId> {
        let mut flows: Vec<ArrayId> = self.reads.intersection(&earlier.writes).copied().collect();
        flows.sort();
        flows
    }

    /// Does this write what `earlier` reads or writes?
    pub fn overwrites(&self, earlier: &Touched) -> bool {
        !self.writes.is_disjoint(&earlier.reads) || !self.writes.is_disjoint(&earlier.writes)
    }

    /// Do the two touch an array that one of them writes, so that they keep their order?
    pub fn must_follow(&self, earlier: &Touched) -> bool {
        self.overwrites(earlier) || !self.reads.is_disjoint(&earlier.writes)
    }
}
