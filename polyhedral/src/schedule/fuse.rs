//! `fuse`: merge neighbouring loop nests that touch the same elements.
//!
//! Rewrite: `for i { A }  ...  for i { B }` becomes `for i { A; B }`, for as many outer loops as possible.
//! Legal when every element that `B` reads from `A` is produced in the same iteration of the merged loops
//! (dependence distance zero, proved here from the subscripts and again by the legality checker), and when
//! nothing between the two nests has to run after `A` and before `B`. Wanted when `B` reads what `A` wrote:
//! the element is then still in a register or in the first-level cache, and its array can shrink. Wanted too between
//! *siblings*, which read the same elements: these come from memory once.
//! Declined when only some of the parallel loops of a reduction would merge: its register tile would then be cut
//! to single rows, and the merged loops could no longer become its vector loop. Where any other nests would share only some of
//! their parallel loops, the cost model is asked (see [`crate::cost::merging`]): the loops that are left may make worse vectors. Distance
//! zero also keeps the merged loops parallel.
//! Source: loop fusion by dependence distance (Kennedy and McKinley, 1993).

use super::fuse_tiles::REACH;
use super::group::{self, reads, writes};
use crate::aff::Aff;
use crate::cost::merging::Merging;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program};
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
        "merge loop nests that touch the same elements"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut roots = std::mem::take(&mut program.schedule.roots);
        fuse_list(program, &mut roots, &mut Vec::new(), context);
        program.schedule.roots = roots;
        Ok(())
    }
}

const NAME: &str = "fuse";

/// Fuses within one list of nodes inside the bands `around`, then inside every band of it that was not a target (host
/// loops). The program's own tree is empty meanwhile.
fn fuse_list(program: &mut Program, nodes: &mut Vec<Node>, around: &mut Vec<Band>, context: &mut PassContext) {
    let mut at = 0;
    while at < nodes.len() {
        while let Some((from, depth)) = best_partner(program, nodes, at, around, context) {
            let consumer = nodes.remove(from);
            let subject = first_origin(program, &consumer);
            context.applied(NAME, &subject, format!("{depth} loops merged into {}", first_origin(program, &nodes[at])));
            // `fusable_depth` has counted the loops.
            let _ = merge(&mut nodes[at], consumer, depth);
        }
        at += 1;
    }
    for node in nodes {
        if let Node::Band(band) = node {
            around.push(Band { members: band.members.clone(), mark: band.mark, body: vec![] });
            fuse_list(program, &mut band.body, around, context);
            around.pop();
        }
    }
}

fn first_origin(program: &Program, node: &Node) -> crate::Origin {
    node.statements().first().map(|s| program.statement(*s).origin.clone()).unwrap_or_default()
}

/// The next nest that can be merged into the nest `at`, and how many loops: a consumer, or else a sibling.
fn best_partner(
    program: &mut Program,
    nodes: &[Node],
    at: usize,
    around: &[Band],
    context: &mut PassContext,
) -> Option<(usize, usize)> {
    let produced = writes(program, &nodes[at]);
    let own = reads(program, &nodes[at]);
    let mut between = HashSet::new();
    let mut siblings = Vec::new();
    for (from, node) in nodes.iter().enumerate().skip(at + 1).take(REACH) {
        let needs = reads(program, node);
        let made = writes(program, node);
        if needs.is_disjoint(&between) && made.is_disjoint(&produced) {
            let flows: Vec<ArrayId> = needs.intersection(&produced).copied().collect();
            if !flows.is_empty() {
                let depth = fusable_depth(program, &nodes[at], node);
                let pair = Merging { nodes: [&nodes[at], node], depth, around, settled: false };
                let gains =
                    |p: &mut Program| pair.is_near(p, &flows) && pair.by_flow(p, &flows, context.machine).gain() >= 0.0;
                if depth > 0 && (pair.is_whole(program) || gains(program)) {
                    return Some((from, depth));
                }
            } else if made.is_disjoint(&own) && !needs.is_disjoint(&own) {
                siblings.push(from);
            }
        }
        between.extend(made);
    }
    siblings.into_iter().find_map(|from| {
        let depth = sibling_depth(program, &nodes[at], &nodes[from]);
        let pair = Merging { nodes: [&nodes[at], &nodes[from]], depth, around, settled: false };
        (depth > 0 && pair.by_reads(program, context.machine).gain() > 0.0).then_some((from, depth))
    })
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

/// The same of two nests between which nothing flows. Register tiles want the registers for themselves.
fn sibling_depth(program: &Program, a: &Node, b: &Node) -> usize {
    let depth = fusable_depth(program, a, b);
    let whole = [a, b].map(|node| group::parallel_depth(program, node));
    let contraction = [a, b].iter().any(|node| group::is_contraction(program, node));
    if contraction || whole[0] != whole[1] || depth < whole[0] { 0 } else { whole[0] }
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
    let extent = group::common_extent(program, a);
    extent.is_some() && extent == group::common_extent(program, b)
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
