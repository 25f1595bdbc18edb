//! One root of the schedule tree in isl's notation, so that equal roots are recognized.
//!
//! Statements are numbered in the order in which the root mentions them. The layers of a network then have equal
//! text, and isl makes loops only for the first of them: its time grows with the number of *different* roots.

use crate::aff::Aff;
use crate::error::Result;
use crate::isl::text::Names;
use crate::isl::{Ctx, Schedule};
use crate::program::{Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use std::collections::{BTreeSet, HashMap};

/// Nodes that run one after another, as isl will read them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tree(Vec<TreeNode>);

#[derive(Clone, PartialEq, Eq, Hash)]
enum TreeNode {
    /// The statement's domain.
    Leaf(String),
    /// The partial schedule, and the number of the band's mark: `Root::marks`.
    Band { partial: String, mark: Option<usize>, body: Tree },
    /// A barrier is a mark and no dimension: with one for each of many nested barriers, isl takes minutes.
    Barrier { mark: usize, body: Tree },
}

/// A band that is not sequential: how its loop is marked, and the loop's depth, which is its number in isl. A barrier has no
/// loop.
#[derive(Clone)]
pub struct MarkedBand {
    pub mark: Mark,
    pub depth: Option<usize>,
    /// The value of the band at the instances of each statement: that of its only iteration is found from any of them.
    pub values: HashMap<StatementId, Aff>,
}

/// A root: what isl sees of it, and what it does not.
pub struct Root {
    pub tree: Tree,
    /// What `S0`, `S1`, .. of the tree are.
    pub statements: Vec<StatementId>,
    pub marks: Vec<MarkedBand>,
    /// The barrier around everything, or `Seq`. isl would leave out a barrier with nothing to run inside; at the
    /// root all the others rely on it.
    pub around: Mark,
}

impl Root {
    pub fn new(program: &Program, node: &Node) -> Root {
        let statements = node.statements();
        let mut builder = Builder { names: Names::local(program, &statements), marks: Vec::new() };
        let (around, tree) = match node {
            Node::Band(Band { mark: Mark::Barrier, body, .. }) => (Mark::Barrier, builder.list(body, 0)),
            other => (Mark::Seq, builder.list(std::slice::from_ref(other), 0)),
        };
        let marks = builder.marks;
        Root { tree, statements, marks, around }
    }
}

impl Tree {
    pub fn schedule(&self, ctx: &Ctx) -> Result<Schedule> {
        Schedule::sequence(self.0.iter().map(|n| n.schedule(ctx)).collect::<Result<Vec<_>>>()?)
    }
}

impl TreeNode {
    fn schedule(&self, ctx: &Ctx) -> Result<Schedule> {
        match self {
            TreeNode::Leaf(domain) => Schedule::leaf(ctx, domain),
            TreeNode::Band { partial, mark, body } => {
                let band = body.schedule(ctx)?.band(partial)?;
                match mark {
                    Some(mark) => band.marked(&format!("m{mark}")),
                    None => Ok(band),
                }
            }
            TreeNode::Barrier { mark, body } => body.schedule(ctx)?.marked(&format!("m{mark}")),
        }
    }
}

/// Bands that are not sequential get a mark `m<number in marks>`.
struct Builder<'a> {
    names: Names<'a>,
    marks: Vec<MarkedBand>,
}

impl Builder<'_> {
    fn list(&mut self, nodes: &[Node], depth: usize) -> Tree {
        Tree(nodes.iter().map(|n| self.node(n, depth)).collect())
    }

    fn node(&mut self, node: &Node, depth: usize) -> TreeNode {
        match node {
            Node::Leaf(id) => TreeNode::Leaf(self.names.domain_text(*id)),
            Node::Band(Band { mark: Mark::Barrier, body, .. }) => {
                let body = self.list(body, depth);
                let band = MarkedBand { mark: Mark::Barrier, depth: None, values: HashMap::new() };
                TreeNode::Barrier { mark: self.mark(band), body }
            }
            Node::Band(band) => {
                let body = self.list(&band.body, depth + 1);
                let mark = (band.mark != Mark::Seq).then(|| {
                    let values = band.members.iter().map(|(id, value)| (*id, value.clone())).collect();
                    self.mark(MarkedBand { mark: band.mark, depth: Some(depth), values })
                });
                TreeNode::Band { partial: self.partial(band), mark, body }
            }
        }
    }

    fn mark(&mut self, band: MarkedBand) -> usize {
        self.marks.push(band);
        self.marks.len() - 1
    }

    /// `[N] -> [{ S1[i0] -> [(i0)]; S2[i0] -> [(i0 + 1)] }]`.
    fn partial(&self, band: &Band) -> String {
        let mut params = BTreeSet::new();
        let member = |(id, value): (&StatementId, &Aff)| {
            value.visit_params(&mut |p| {
                params.insert(p);
            });
            format!("{} -> [({})]", self.names.tuple(*id), self.names.aff(value))
        };
        let members: Vec<String> = band.members.iter().map(member).collect();
        format!("{}[{{ {} }}]", self.names.header(&params), members.join("; "))
    }
}
