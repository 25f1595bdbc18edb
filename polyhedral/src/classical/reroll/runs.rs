//! Where the roots of the schedule tree repeat.

use crate::aff::Aff;
use crate::expr::{Access, Expr};
use crate::program::{ArrayId, Program};
use crate::schedule_tree::Node;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// `count` groups of `period` roots each, from root `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub start: usize,
    pub period: usize,
    pub count: usize,
}

impl Run {
    /// The roots of group `i`.
    pub fn group(&self, i: usize) -> std::ops::Range<usize> {
        let from = self.start + i * self.period;
        from..from + self.period
    }
}

/// Runs that are looked at closely, the longest first.
const MOST_CANDIDATES: usize = 256;
/// Places where a run may begin that are compared; a repetition can be cut anywhere.
const MOST_STARTS: usize = 256;

/// Runs of at least `least` groups whose nests have equal shapes, those of the most roots first. Where a run may begin
/// in several places, it begins where the fewest arrays go from one group to the next.
pub fn candidates(program: &Program, least: usize) -> Vec<Run> {
    let shapes: Vec<u64> = program.schedule.roots.iter().map(|node| shape(program, node)).collect();
    let mut stretches = Vec::new();
    for period in 1..=shapes.len() / least {
        let mut start = 0;
        while start + period < shapes.len() {
            let equal = (start..shapes.len() - period).take_while(|n| shapes[*n] == shapes[n + period]).count();
            if equal / period + 1 >= least {
                stretches.push((Run { start, period, count: equal / period + 1 }, equal % period));
            }
            start += equal + 1;
        }
    }
    stretches.sort_by_key(|(run, _)| (std::cmp::Reverse(run.count * run.period), run.period, run.start));
    stretches.truncate(MOST_CANDIDATES);
    let uses: Vec<Uses> = program.schedule.roots.iter().map(|node| Uses::of(program, node)).collect();
    stretches.into_iter().map(|(run, slack)| best_start(&uses, run, slack)).collect()
}

/// The arrays that a root writes and reads.
struct Uses {
    writes: HashSet<ArrayId>,
    reads: HashSet<ArrayId>,
}

impl Uses {
    fn of(program: &Program, node: &Node) -> Uses {
        let mut uses = Uses { writes: HashSet::new(), reads: HashSet::new() };
        for id in node.statements() {
            uses.writes.insert(program.statement(id).target.array);
            program.statement(id).visit_reads(&mut |a| {
                uses.reads.insert(a.array);
            });
        }
        uses
    }
}

fn best_start(uses: &[Uses], run: Run, slack: usize) -> Run {
    let starts = (0..=slack.min(MOST_STARTS)).map(|by| Run { start: run.start + by, ..run });
    starts.min_by_key(|run| (handed_on(uses, run), run.start)).unwrap_or(run)
}

/// How many arrays the second group reads of the first.
fn handed_on(uses: &[Uses], run: &Run) -> usize {
    let written: HashSet<ArrayId> = uses[run.group(0)].iter().flat_map(|u| &u.writes).copied().collect();
    let read: HashSet<ArrayId> = uses[run.group(1)].iter().flat_map(|u| &u.reads).copied().collect();
    written.intersection(&read).count()
}

/// Equal for nests that differ only in the arrays they use and in the constant parts of subscripts.
fn shape(program: &Program, node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash_tree(node, &node.statements(), &mut hasher);
    for id in node.statements() {
        let s = program.statement(id);
        let target = s.target.index.iter().cloned().map(blank);
        let text = format!("{:?} {:?} {:?} {:?}", s.extents, s.constraints, s.kind, target.collect::<Vec<_>>());
        let value = (blank(s.value.clone()), s.guard.clone().map(blank), program.array(s.target.array).dtype);
        format!("{text} {value:?}").hash(&mut hasher);
    }
    hasher.finish()
}

/// The bands and their members, statements by their number in the nest.
fn hash_tree(node: &Node, order: &[crate::program::StatementId], hasher: &mut DefaultHasher) {
    let number = |id| order.iter().position(|s| *s == id);
    match node {
        Node::Leaf(id) => number(*id).hash(hasher),
        Node::Band(band) => {
            band.mark.hash(hasher);
            band.members.iter().for_each(|(id, aff)| (number(*id), aff).hash(hasher));
            band.body.len().hash(hasher);
            band.body.iter().for_each(|inner| hash_tree(inner, order, hasher));
        }
    }
}

/// Without the names of arrays and the constant parts of subscripts.
fn blank(e: Expr) -> Expr {
    e.rewrite(&mut |e| match e {
        Expr::Load(Access { index, .. }) => Expr::load(ArrayId(0), index),
        Expr::Index(aff) => Expr::Index(without_constant(&aff)),
        other => other,
    })
}

pub fn without_constant(aff: &Aff) -> Aff {
    aff.clone() - Aff::constant(aff.offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_begins_where_least_is_handed_on() {
        let array = |n: u32| ArrayId(n);
        let uses = |reads: &[u32], writes: &[u32]| Uses {
            writes: writes.iter().copied().map(array).collect(),
            reads: reads.iter().copied().map(array).collect(),
        };
        // Each group: two parts of the state, then the state from both.
        let group = |n: u32| [uses(&[n], &[n + 1]), uses(&[n], &[n + 2]), uses(&[n + 1, n + 2], &[n + 3])];
        let roots: Vec<Uses> = (0..4).flat_map(|n| group(3 * n)).collect();
        let run = Run { start: 1, period: 3, count: 3 };
        assert_eq!(best_start(&roots, run, 2), Run { start: 3, ..run });
    }
}
