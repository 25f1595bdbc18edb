//! Who runs what in a thread team, and what makes one worker wait for another.
//!
//! All workers walk the tree in the same order and skip what is not theirs. So an instance that comes before
//! another in the order of the tree has finished when the other starts if both belong to one worker, or if the
//! second is behind a barrier that the first is not behind. *Behind a barrier* can be read off the path of the
//! second: a band marked `Barrier` around it that is not around the first, or that is entered anew because an
//! outer loop has gone on. Barriers at the root of the tree work between all roots before and behind them, and one in
//! the body of a loop, behind the first instance, comes before all later iterations if it is there in every iteration.

use super::{Path, Violation, equal, piece};
use crate::aff::Aff;
use crate::deps::parameter_arrays;
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::{Mark, Node};
use std::collections::HashMap;

/// The team of a program that has bands for one.
pub struct Team {
    size: u32,
    /// Roots that are barriers, in order.
    barriers: Vec<usize>,
    /// For each root: do all workers walk it?
    shared: Vec<bool>,
}

impl Team {
    /// `None` for a program without bands for a team: one worker runs it.
    pub fn of(program: &Program) -> Option<Team> {
        let (size, roots) = (program.schedule.team(), &program.schedule.roots);
        let barrier = |node: &Node| matches!(node, Node::Band(b) if b.mark == Mark::Barrier);
        let barriers = (0..roots.len()).filter(|n| barrier(&roots[*n])).collect();
        let shared = roots.iter().map(|root| root.team() > 1).collect();
        (size > 1).then_some(Team { size, barriers, shared })
    }

    /// The number that decides the worker.
    pub fn owner(&self, path: &Path) -> Aff {
        let own = path.bands.iter().find(|(_, mark)| matches!(mark, Mark::Team(_)));
        own.map_or(Aff::constant(0), |(value, _)| value.clone())
    }

    /// Do all workers read the array, whoever runs the statement? They evaluate loop bounds and tests.
    pub fn all_read(&self, program: &Program, id: StatementId, path: &Path, array: ArrayId) -> bool {
        let statement = program.statement(id);
        let mut found = parameter_arrays(program, statement).contains(&array);
        statement.guard.iter().for_each(|g| g.visit_loads(&mut |a| found |= a.array == array));
        found && self.shared[path.positions[0]]
    }

    /// Does anybody but worker 0 touch the array where the statement stands?
    pub fn is_shared(&self, program: &Program, id: StatementId, path: &Path, array: ArrayId) -> bool {
        let inside = path.bands.iter().any(|(_, mark)| matches!(mark, Mark::Team(_)));
        inside || self.all_read(program, id, path, array)
    }

    /// Does a barrier stand between the two roots?
    pub fn waits_between(&self, first: usize, second: usize) -> bool {
        self.barriers.iter().any(|at| first < *at && *at <= second)
    }

    /// Does worker 0 alone walk this root?
    pub fn is_alone(&self, root: usize) -> bool {
        !self.shared[root]
    }

    /// When is `first` before `second` in the order of the tree, and may nevertheless run later? A condition on the
    /// values of the `n` shared bands and the owner, `b0..bn` and `e0..en`. With `everyone`, `second` stands for
    /// what all workers do there.
    pub fn unordered(&self, first: &Path, second: &Path, everyone: bool) -> String {
        let n = first.shared_bands(second);
        let waits = |from: usize| second.bands[from..].iter().any(|(_, mark)| *mark == Mark::Barrier);
        let in_order = |d: &usize| matches!(first.bands[*d].1, Mark::Seq | Mark::Unroll);
        let passes = |d: &usize| waits(d + 1) || barrier_on_the_way_out(first, *d);
        let mut pieces: Vec<String> = (0..n).filter(|d| in_order(d) && !passes(d)).map(|d| piece(d, "<")).collect();
        let between = self.waits_between(first.positions[0], second.positions[0]);
        if first.positions < second.positions && !waits(n) && !between {
            pieces.push(equal(n));
        }
        let other = if everyone { "true".into() } else { format!("(b{n} - e{n}) mod {} > 0", self.size) };
        if pieces.is_empty() { "false".into() } else { format!("(({}) and {other})", pieces.join(" or ")) }
    }
}

/// Does a worker that has run `path` meet a barrier before the next iteration of band `d`?
fn barrier_on_the_way_out(path: &Path, d: usize) -> bool {
    let step = |level: &usize| path.bands[d + 1..*level].iter().all(|(_, mark)| *mark == Mark::Barrier);
    (d + 1..=path.bands.len()).take_while(step).any(|level| path.barrier_behind[level])
}

/// Sets [`Path::barrier_behind`].
pub fn find_barriers(program: &Program, paths: &mut HashMap<StatementId, Path>) {
    let mut behind: HashMap<StatementId, Vec<bool>> = HashMap::new();
    visit_lists(&program.schedule.roots, 0, &mut |nodes, level| {
        for (n, node) in nodes.iter().enumerate() {
            let later: Vec<StatementId> =
                nodes[n + 1..].iter().filter(|b| is_barrier(b)).flat_map(Node::statements).collect();
            for id in node.statements() {
                let always = |other: &&StatementId| runs_whenever(program, paths, **other, id, level);
                behind.entry(id).or_default().push(later.iter().find(always).is_some());
            }
        }
    });
    for (id, path) in paths {
        path.barrier_behind = behind.remove(id).unwrap_or_default();
    }
}

fn is_barrier(node: &Node) -> bool {
    matches!(node, Node::Band(band) if band.mark == Mark::Barrier)
}

fn visit_lists(nodes: &[Node], level: usize, visit: &mut impl FnMut(&[Node], usize)) {
    visit(nodes, level);
    for node in nodes {
        if let Node::Band(band) = node {
            visit_lists(&band.body, level + 1, visit);
        }
    }
}

/// Does `other` have an instance in every iteration of the first `bands` bands in which `id` has one? Judged by extents.
fn runs_whenever(
    program: &Program,
    paths: &HashMap<StatementId, Path>,
    other: StatementId,
    id: StatementId,
    bands: usize,
) -> bool {
    let (Some(a), Some(b)) = (paths.get(&other), paths.get(&id)) else { return false };
    let (s, t) = (program.statement(other), program.statement(id));
    let mut fixed = Vec::new();
    for ((x, _), (y, _)) in a.bands[..bands].iter().zip(&b.bands[..bands]) {
        match (x.as_iter(), y.as_iter()) {
            (Some(d), Some(e)) if s.extents[d] == t.extents[e] && !s.extents[d].has_iters() => fixed.push(d),
            _ if x.as_constant().is_some() && x == y => {}
            _ => return false,
        }
    }
    let range = |p| crate::transform::param_range(&program.params, p);
    let least = |aff: &Aff| aff.substitute(&|_| Aff::constant(0)).bounds(&range, &|_| (None, None)).0;
    let free = |aff: &Aff| aff.all_iters(&|d| !fixed.contains(&d));
    let some = |d: usize| fixed.contains(&d) || (free(&s.extents[d]) && least(&s.extents[d]).is_some_and(|n| n > 0));
    let allowed = |c: &Aff| free(c) && least(c).is_some_and(|n| n >= 0);
    (0..s.extents.len()).all(some) && s.constraints.iter().all(allowed)
}

/// What is wrong with the bands of a team themselves.
pub fn structure(program: &Program, paths: &HashMap<StatementId, Path>) -> Option<Violation> {
    let size = program.schedule.team();
    let mut ids: Vec<&StatementId> = paths.keys().collect();
    ids.sort();
    ids.into_iter().find_map(|id| misplaced(&paths[id], size).map(|why| Violation::Structure(format!("{id}: {why}"))))
}

fn misplaced(path: &Path, size: u32) -> Option<&'static str> {
    let mut inside = false;
    for (value, mark) in &path.bands {
        match mark {
            Mark::Team(_) | Mark::Barrier if inside => {
                return Some("a band of the team inside one that is not in step");
            }
            Mark::Team(n) if *n != size => return Some("teams of different sizes in one program"),
            Mark::Team(_) if value.as_iter().is_none() && value.as_constant().is_none() => {
                return Some("a band of the team that is neither a plain loop nor one iteration of a known number");
            }
            Mark::Barrier if !value.is_constant(0) => return Some("a barrier that is a loop"),
            Mark::Seq | Mark::Unroll | Mark::Barrier => {}
            _ => inside = true,
        }
    }
    None
}
