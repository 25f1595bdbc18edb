//! `unit-loops`: loops of one iteration are no loops.
//!
//! Rewrite: a band whose iterator takes one value only, in all its statements, is replaced by its body, and the iterator
//! by 0. Such loops come from batches of one and from dimensions that broadcasting or reductions left behind. They cost
//! nothing when they run, but nests that differ only in them look different: `fuse` would have to pair the loop over the
//! channels of a convolution with the loop over the batch of what follows it. Always legal: the order does not change.
//! Extents of arrays stay.

use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, Renaming, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform;
use indexmap::IndexMap;

pub struct UnitLoops;

impl Pass for UnitLoops {
    fn name(&self) -> &'static str {
        "unit-loops"
    }

    fn summary(&self) -> &'static str {
        "loops of one iteration are no loops"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut dropped = Dropped::default();
        let roots = std::mem::take(&mut program.schedule.roots);
        program.schedule.roots = without_units(program, roots, &mut dropped);
        for (&id, dims) in &mut dropped {
            dims.sort_unstable();
            let names: Vec<&str> = dims.iter().map(|d| program.statement(id).dims[*d].as_str()).collect();
            let what = format!("no loop over {}", names.join(", "));
            context.applied(self.name(), &program.statement(id).origin, what);
            let unit = |dim: &usize| Renaming::Unit { statement: id, dim: *dim };
            program.history.renamings.extend(dims.iter().rev().map(unit));
        }
        transform::drop_iterators(program, &dropped);
        Ok(())
    }
}

/// Iterators of statements that have one value.
type Dropped = IndexMap<StatementId, Vec<usize>>;

fn without_units(program: &Program, nodes: Vec<Node>, dropped: &mut Dropped) -> Vec<Node> {
    let mut kept = Vec::new();
    for node in nodes {
        let Node::Band(mut band) = node else {
            kept.push(node);
            continue;
        };
        let body = without_units(program, std::mem::take(&mut band.body), dropped);
        match unit_dims(program, &band) {
            Some(dims) => {
                dims.into_iter().for_each(|(id, d)| dropped.entry(id).or_default().push(d));
                kept.extend(body);
            }
            None => kept.push(Node::Band(Band { body, ..band })),
        }
    }
    kept
}

/// The iterators that a sequential band is, if all have one value.
fn unit_dims(program: &Program, band: &Band) -> Option<IndexMap<StatementId, usize>> {
    let dims = transform::plain_dims(band).filter(|_| band.mark == Mark::Seq)?;
    dims.iter().all(|(id, d)| program.statement(*id).extents[*d].is_constant(1)).then_some(dims)
}
