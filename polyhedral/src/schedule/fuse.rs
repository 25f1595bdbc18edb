//! `fuse`: merge neighbouring loop nests that produce and consume the same elements.
//!
//! Rewrite: `for i { A }  ...  for i { B }` becomes `for i { A; B }`, for as many outer loops as possible.
//! Legal when every element that `B` reads from `A` is produced in the same iteration of the merged loops
//! (dependence distance zero, proved here from the subscripts and again by the legality checker), and when
//! nothing between the two nests has to run after `A` and before `B`. Wanted when `B` reads what `A` wrote:
//! the element is then still in a register or in the first-level cache, and its array can shrink.
//! Declined when only some of the parallel loops of a reduction would merge: its register tile would then be cut
//! to single rows, and the merged loops could no longer become its vector loop. Distance zero also keeps the merged loops parallel.
//! Source: loop fusion by dependence distance (Kennedy and McKinley, 1993).

use super::group::{self, reads, writes};
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::Program;
use crate::schedule_tree::{Band, Mark, Node};
use crate::script::merge;
use indexmap::IndexMap;
use std::collections::HashSet;

pub struct Fuse;

impl Pass for Fuse {
    fn name(&self) -> &'static str {
        "fuse"
    }

    fn summary(&self) -> &'static str {
        "merge loop nests that produce and consume the same elements"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut roots = std::mem::take(&mut program.schedule.roots);
        fuse_list(self.name(), program, &mut roots, context);
        program.schedule.roots = roots;
        Ok(())
    }
}

/// Fuses within one list of nodes, then inside every band of it that was not a target (host loops).
fn fuse_list(pass: &'static str, program: &Program, nodes: &mut Vec<Node>, context: &mut PassContext) {
    let mut at = 0;
    while at < nodes.len() {
        while let Some((from, depth)) = best_consumer(program, nodes, at) {
            let consumer = nodes.remove(from);
            let subject = first_origin(program, &consumer);
            context.applied(pass, &subject, format!("{depth} loops merged into {}", first_origin(program, &nodes[at])));
            // `fusable_depth` has counted the loops.
            let _ = merge(&mut nodes[at], consumer, depth);
        }
        at += 1;
    }
    for node in nodes {
        if let Node::Band(band) = node {
            fuse_list(pass, program, &mut band.body, context);
        }
    }
}

fn first_origin(program: &Program, node: &Node) -> crate::Origin {
    node.statements().first().map(|s| program.statement(*s).origin.clone()).unwrap_or_default()
}

/// The next consumer of the nest `at` that can be merged into it, and how many loops.
fn best_consumer(program: &Program, nodes: &[Node], at: usize) -> Option<(usize, usize)> {
    let produced = writes(program, &nodes[at]);
    let mut between = HashSet::new();
    for (from, node) in nodes.iter().enumerate().skip(at + 1) {
        let needs = reads(program, node);
        let touches = writes(program, node).iter().any(|a| produced.contains(a));
        if needs.iter().any(|a| produced.contains(a)) && needs.is_disjoint(&between) && !touches {
            let depth = fusable_depth(program, &nodes[at], node);
            if depth > 0 {
                return Some((from, depth));
            }
        }
        between.extend(writes(program, node));
        // A nest far away gains nothing from the cache, and every candidate costs a scan.
        if from > at + 24 {
            break;
        }
    }
    None
}

/// The number of outer loops that may be merged, 0 when fusion is not possible or not wanted.
fn fusable_depth(program: &Program, a: &Node, b: &Node) -> usize {
    let (outer_a, outer_b) = (loops(a), loops(b));
    let mut depth = 0;
    while depth < outer_a.len().min(outer_b.len())
        && same_extent(program, outer_a[depth], outer_b[depth])
        && zero_distance(program, outer_a[depth], outer_b[depth])
    {
        depth += 1;
    }
    let whole = |node: &Node| group::parallel_depth(program, node);
    let contraction = group::is_contraction(program, a) || group::is_contraction(program, b);
    let cuts_tile = contraction && (depth < whole(a) || depth < whole(b));
    let cuts_window = |node: &Node| depth < whole(node) && group::has_reduction(program, node);
    if cuts_tile || cuts_window(a) || cuts_window(b) { 0 } else { depth }
}

/// The chain of sequential bands at the top of a nest.
fn loops(node: &Node) -> Vec<&Band> {
    let mut out = Vec::new();
    let mut node = node;
    while let Node::Band(band) = node {
        if band.mark != Mark::Seq {
            break;
        }
        out.push(band);
        if band.body.len() != 1 {
            break;
        }
        node = &band.body[0];
    }
    out
}

/// Do both loops run over the same constant or symbolic range?
fn same_extent(program: &Program, a: &Band, b: &Band) -> bool {
    let extents = |band: &Band| {
        let mut all: Vec<Option<Aff>> =
            band.members.iter().map(|(s, aff)| group::extent_of(program, *s, aff)).collect();
        all.dedup();
        all
    };
    let (a, b) = (extents(a), extents(b));
    a.len() == 1 && a == b && a[0].is_some()
}

/// Does every element that flows from the statements of `a` to those of `b` stay in one iteration?
fn zero_distance(program: &Program, a: &Band, b: &Band) -> bool {
    a.members.iter().all(|(source, value)| {
        let written = &program.statement(*source).target;
        b.members.iter().all(|(sink, wanted)| {
            group::accesses_after_write(program, *sink, written.array)
                .iter()
                .all(|read| transported(written, value, read).is_some_and(|v| v == *wanted))
        })
    })
}

/// The value of the source's loop at the instance that wrote what `read` reads, over the sink's iterators.
/// `None` when the subscripts do not determine it.
fn transported(written: &Access, value: &Aff, read: &Access) -> Option<Aff> {
    let mut source: IndexMap<usize, Aff> = IndexMap::new();
    for (w, r) in written.index.iter().zip(&read.index) {
        if let (Expr::Index(w), Expr::Index(r)) = (w, r)
            && let Some(d) = w.as_iter()
        {
            source.insert(d, r.clone());
        }
    }
    let determined = value.all_iters(&|n| source.contains_key(&n));
    determined.then(|| value.substitute(&|n| source[&n].clone()))
}
