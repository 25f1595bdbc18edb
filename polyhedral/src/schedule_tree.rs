//! The schedule tree: in which order, and how, the statements run.
//!
//! Plain data that maps one to one to an isl schedule tree: a [`Band`] is a band node with one member (and
//! a mark above it), a list of nodes is a sequence of filters, a leaf is a statement.

use crate::aff::Aff;
use crate::program::StatementId;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The tree; the roots run one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    pub roots: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Band(Band),
    Leaf(StatementId),
}

/// One loop around `body`. Every statement below is listed with the value of the loop at its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// `statement -> value of this loop`, over the statement's own iterators and parameters.
    pub members: IndexMap<StatementId, Aff>,
    pub mark: Mark,
    pub body: Vec<Node>,
}

/// How a band runs. Everything but `Seq` needs the band to carry no dependence (reductions aside).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mark {
    /// In order, one after another.
    #[default]
    Seq,
    /// In any order, by the threads of a GPU launch.
    Parallel,
    /// Shared among the workers of a thread team: iteration `v` runs on worker `v mod workers`, for any number of
    /// workers that divides `n`. Nobody waits at the end. What is in no such band runs on worker 0.
    Team(u32),
    /// One iteration, before which all workers of the team wait for each other. Never inside a `Team` band. At the
    /// root of the tree they wait even when there is nothing to run inside.
    Barrier,
    /// At most `n` iterations, in lockstep, unrolled into registers: the rows of a register tile.
    /// The iterations below it (sequential bands included) run for all rows together.
    Rows(u32),
    /// At most `n` iterations, in lockstep, in vector registers. A `Reduce` whose target does not depend on
    /// this band keeps one partial result per lane and combines the lanes in a fixed tree at the end.
    Lanes(u32),
    /// A constant number of iterations, copied out. Only `unroll` uses it, which runs by name: docs/counting.md has the figures.
    Unroll,
}

impl Mark {
    /// Do the iterations run in lockstep?
    pub fn is_lockstep(self) -> bool {
        matches!(self, Mark::Rows(_) | Mark::Lanes(_))
    }
}

impl Schedule {
    /// The largest number of workers that the bands allow; 1 without bands for a team.
    pub fn team(&self) -> u32 {
        self.roots.iter().map(Node::team).max().unwrap_or(1)
    }

    /// All statements in tree order.
    pub fn statements(&self) -> Vec<StatementId> {
        let mut out = Vec::new();
        for node in &self.roots {
            node.collect(&mut out);
        }
        out
    }

    /// Removes a statement; bands left without statements disappear.
    pub fn remove(&mut self, id: StatementId) {
        remove_from(&mut self.roots, id);
    }
}

fn remove_from(nodes: &mut Vec<Node>, id: StatementId) {
    nodes.retain_mut(|node| match node {
        Node::Leaf(s) => *s != id,
        Node::Band(band) => {
            if band.members.shift_remove(&id).is_some() {
                remove_from(&mut band.body, id);
            }
            !band.members.is_empty()
        }
    });
}

impl Node {
    fn collect(&self, out: &mut Vec<StatementId>) {
        match self {
            Node::Leaf(s) => out.push(*s),
            Node::Band(band) => band.body.iter().for_each(|n| n.collect(out)),
        }
    }

    /// As [`Schedule::team`], for one node.
    pub fn team(&self) -> u32 {
        match self {
            Node::Band(Band { mark: Mark::Team(n), .. }) => *n,
            Node::Band(band) => band.body.iter().map(Node::team).max().unwrap_or(1),
            Node::Leaf(_) => 1,
        }
    }

    /// The statements below (or at) this node, in tree order.
    pub fn statements(&self) -> Vec<StatementId> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }

    /// A perfect nest of sequential bands around `body`; `members[d]` lists the value of loop `d`.
    pub fn nest(loops: Vec<IndexMap<StatementId, Aff>>, body: Vec<Node>) -> Vec<Node> {
        loops.into_iter().rev().fold(body, |body, members| vec![Node::Band(Band { members, mark: Mark::Seq, body })])
    }

    /// One statement in loops over its dimensions `from..to`, outermost first.
    pub fn loops_of(id: StatementId, from: usize, to: usize) -> Vec<Node> {
        let loops = (from..to).map(|d| IndexMap::from([(id, Aff::iter(d))])).collect();
        Node::nest(loops, vec![Node::Leaf(id)])
    }
}
