//! `sink`: what only one branch of an `If` reads is computed only where that branch runs.
//!
//! Rewrite: where every reader of a nest's arrays runs under a condition `g` that is fixed for one iteration of the
//! loops around the nest, the nest's statements get the guard `g` too; a nest that stands before the condition moves
//! down to its first reader. Nests are visited backwards, so a chain of producers sinks as a whole.
//! Allowed: the arrays are temporaries that neither the caller, an exit nor a run-time parameter reads; no reader uses
//! them in a guard of its own; what a nest moves past neither reads its results nor writes what it reads or writes.
//! Declined for single values, which cost no more than the test.
//! Legal: an instance whose results nobody reads has no effect. Source: partial dead code elimination (Knoop, Rüthing
//! and Steffen, 1994), on arrays instead of variables.

use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{BinaryOp, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule::group;
use crate::schedule_tree::Node;
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};

pub struct Sink;

impl Pass for Sink {
    fn name(&self) -> &'static str {
        "sink"
    }

    fn summary(&self) -> &'static str {
        "compute under a branch's condition what only the branch reads"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if program.statements().all(|(_, s)| s.guard.is_none()) {
            return Ok(());
        }
        let mut roots = std::mem::take(&mut program.schedule.roots);
        let mut readers = readers(program);
        sink_list(program, &mut roots, &mut Vec::new(), &mut readers, context);
        program.schedule.roots = roots;
        Ok(())
    }
}

/// Value of every loop around a list of nodes for the statements in it, outermost first.
type Around = Vec<IndexMap<StatementId, Aff>>;
type Readers = HashMap<ArrayId, HashSet<StatementId>>;

fn readers(program: &Program) -> Readers {
    let mut readers = Readers::new();
    for (id, statement) in program.statements() {
        statement.visit_reads(&mut |a| {
            readers.entry(a.array).or_default().insert(id);
        });
    }
    readers
}

fn sink_list(
    program: &mut Program,
    nodes: &mut Vec<Node>,
    around: &mut Around,
    readers: &mut Readers,
    context: &mut PassContext,
) {
    let mut homes = homes(nodes);
    for n in (0..nodes.len()).rev() {
        let Some((guard, first)) = guard_of_readers(program, nodes, n, &homes, around, readers) else { continue };
        let Some(place) = place(program, nodes, n, first, &guard) else { continue };
        add_guard(program, &nodes[n], &guard, around, readers, context);
        if place != n {
            let node = nodes.remove(n);
            nodes.insert(place, node);
            homes = self::homes(nodes);
        }
    }
    for node in nodes {
        if let Node::Band(band) = node {
            around.push(band.members.clone());
            sink_list(program, &mut band.body, around, readers, context);
            around.pop();
        }
    }
}

/// The node of the list that each statement is in.
fn homes(nodes: &[Node]) -> HashMap<StatementId, usize> {
    let statements = |(n, node): (usize, &Node)| node.statements().into_iter().map(move |s| (s, n)).collect::<Vec<_>>();
    nodes.iter().enumerate().flat_map(statements).collect()
}

/// The conditions under which all readers of node `n` run and it does not, over the loops around the list (iterator
/// `k` is loop `k`), and the first node with a reader.
fn guard_of_readers(
    program: &Program,
    nodes: &[Node],
    n: usize,
    homes: &HashMap<StatementId, usize>,
    around: &Around,
    readers: &Readers,
) -> Option<(Vec<Expr>, usize)> {
    let Node::Band(_) = &nodes[n] else { return None };
    let made = group::writes(program, &nodes[n]);
    let own: HashSet<StatementId> = nodes[n].statements().into_iter().collect();
    let hidden = |a: &ArrayId| {
        let array = program.array(*a);
        array.is_temp() && !program.exits.contains(a) && !program.params.read_array(&array.name)
    };
    if !made.iter().all(hidden) {
        return None;
    }
    let users: HashSet<StatementId> = made.iter().flat_map(|a| readers.get(a)).flatten().copied().collect();
    let mut common: Option<Vec<Expr>> = None;
    let mut first = usize::MAX;
    for user in users.difference(&own) {
        let guard = program.statement(*user).guard.as_ref()?;
        let mut tests_it = false;
        guard.visit_loads(&mut |a| tests_it |= made.contains(&a.array));
        first = first.min(*homes.get(user)?);
        if tests_it {
            return None;
        }
        let of_user = guard.conjuncts().into_iter().filter_map(|g| lifted(g, *user, around)).collect::<Vec<_>>();
        common = Some(match common {
            None => of_user,
            Some(others) => others.into_iter().filter(|g| of_user.contains(g)).collect(),
        });
    }
    let known = |g: &Expr| {
        own.iter().all(|id| {
            let guard = program.statement(*id).guard.as_ref();
            guard.is_some_and(|have| have.conjuncts().into_iter().any(|h| lifted(h, *id, around).as_ref() == Some(g)))
        })
    };
    let new: Vec<Expr> = common?.into_iter().filter(|g| !known(g)).collect();
    (!new.is_empty() && first > n).then_some((new, first))
}

/// A condition of a statement over the loops around; `None` where it depends on a loop further inside.
fn lifted(condition: &Expr, of: StatementId, around: &Around) -> Option<Expr> {
    let of_iter: HashMap<usize, usize> =
        around.iter().enumerate().filter_map(|(k, loops)| Some((loops.get(&of)?.as_iter()?, k))).collect();
    let mut fixed = true;
    condition.visit_affs(&mut |a| fixed &= a.all_iters(&|d| of_iter.contains_key(&d)));
    fixed.then(|| condition.substitute_aff(&|d| Aff::iter(of_iter[&d])))
}

/// Where node `n` can test the condition: where it is, or before node `first`; `None` if neither is allowed.
fn place(program: &Program, nodes: &[Node], n: usize, first: usize, guard: &[Expr]) -> Option<usize> {
    let mut tested = HashSet::new();
    guard.iter().for_each(|g| {
        g.visit_loads(&mut |a| {
            tested.insert(a.array);
        })
    });
    let decides = |node: &Node| !group::writes(program, node).is_disjoint(&tested);
    if decides(&nodes[n]) || decides(&nodes[first]) {
        return None;
    }
    if !nodes[n + 1..first].iter().any(decides) {
        return Some(n);
    }
    let (made, read) = (group::writes(program, &nodes[n]), group::reads(program, &nodes[n]));
    let passable = |node: &Node| {
        let writes = group::writes(program, node);
        writes.is_disjoint(&made) && writes.is_disjoint(&read)
    };
    nodes[n + 1..first].iter().all(passable).then_some(first - 1)
}

fn add_guard(
    program: &mut Program,
    node: &Node,
    guard: &[Expr],
    around: &Around,
    readers: &mut Readers,
    context: &mut PassContext,
) {
    for id in node.statements() {
        let statement = program.statement_mut(id);
        let mut all: Vec<Expr> = statement.guard.iter().flat_map(Expr::conjuncts).cloned().collect();
        // What the statement tests already comes first: the new conditions may be there only where it holds.
        for condition in guard.iter().map(|g| g.substitute_aff(&|k| around[k][&id].clone())) {
            if !all.contains(&condition) {
                all.push(condition);
            }
        }
        statement.guard = all.into_iter().reduce(|a, b| Expr::binary(BinaryOp::And, a, b));
        statement.visit_reads(&mut |a| {
            readers.entry(a.array).or_default().insert(id);
        });
    }
    if let Some(id) = node.statements().first() {
        let origin = program.statement(*id).origin.clone();
        context.applied("sink", &origin, "computed only where a branch reads it");
    }
}
