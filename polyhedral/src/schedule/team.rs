//! `team`: choose the loops that the workers of a thread team share, and where they wait for each other.
//!
//! 1. Every list of nodes (the roots, the bodies of host loops) is taken by itself. The outermost chain of parallel
//!    loops of each node is searched for the loop that divides best among the workers: a constant number of
//!    iterations, each worth having; iterations that are too short for that go round in chunks. A node is shared when that
//!    saves more than two barriers cost, or when both its
//!    neighbours are shared, so that the barriers are there anyway. The others stay with worker 0. All workers run a
//!    host loop (time steps) whose body has something to share.
//! 2. Windows inside shared loops get a plane per worker.
//! 3. A barrier is placed in front of every node of a list that all workers run, and at the head of the bodies of their
//!    host loops: right whatever the nodes touch. `barriers` leaves out what no dependence needs.
//!
//! Iterations go round the workers (see [`Mark::Team`]): loops with equal numbers need no barrier between them, and
//! weights stay in the cache of the worker that uses them in every step. Reductions are never split, so results do
//! not depend on the number of workers. Declined around loops that may end early. Runs last, on the final loops and
//! the final memory: a program between sharing and barriers would be wrong.

use super::{barriers, group, owner};
use crate::cost::overhead::{SHARE_NS, grain_ns};
use crate::cost::{balance, time};
use crate::deps::parameter_arrays;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::{self, Path};
use std::collections::HashSet;

pub struct Team;

impl Pass for Team {
    fn name(&self) -> &'static str {
        "team"
    }

    fn summary(&self) -> &'static str {
        "share loops among the workers of a thread team (CPU targets)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let machine = context.machine;
        if machine.gpu || machine.threads < 2 {
            return Ok(());
        }
        // `wavefront` says itself who runs what in its nests, and where they wait. What it makes wait for them will be shared.
        program.schedule.roots.iter_mut().for_each(unwrap);
        let done: Vec<bool> = program.schedule.roots.iter().map(|root| root.team() > 1).collect();
        if share_list(program, &[], &mut Vec::new(), context) || done.contains(&true) {
            wait_everywhere(program, &done);
            let placed = barriers::count(&program.schedule);
            let subject = crate::Origin { node: program.name.clone(), op: "model".into() };
            context.applied(self.name(), &subject, format!("{placed} barriers"));
        }
        Ok(())
    }
}

/// Takes a barrier off a nest that no worker shares yet.
fn unwrap(root: &mut Node) {
    if let Node::Band(Band { mark: Mark::Barrier, body, .. }) = root
        && let [only] = body.as_mut_slice()
        && only.team() == 1
    {
        *root = only.clone();
    }
}

// ---- 1. what is shared --------------------------------------------------------------------------------

/// A loop that could be shared.
struct Candidate {
    path: Path,
    /// Iterations that go round as one.
    chunk: i64,
    /// Of its iterations, with all workers.
    speedup: f64,
}

/// Chunks of one worker at typical sizes: fewer would not divide at others.
const CHUNKS: i64 = 8;

/// The best that can be done with one node of a list.
struct Plan {
    total_ns: f64,
    best: Option<Candidate>,
    shared: bool,
}

impl Plan {
    fn saved_ns(&self) -> f64 {
        self.best.as_ref().map_or(0.0, |b| self.total_ns * (1.0 - 1.0 / b.speedup))
    }

    /// Does sharing save more than the barriers before and after it cost?
    fn pays(&self, machine: &Machine) -> bool {
        self.saved_ns() > 2.0 * machine.barrier_ns
    }
}

/// Shares nodes of the list whose parent is at `parent`, inside the loops at `around`. Has any been shared?
fn share_list(program: &mut Program, parent: &[usize], around: &mut Vec<Path>, context: &mut PassContext) -> bool {
    let count = transform::children(&program.schedule, parent).len();
    let paths: Vec<Path> = (0..count).map(|n| [parent, &[n]].concat()).collect();
    let mut plans: Vec<Plan> = paths.iter().map(|p| plan(program, p, around, context.machine)).collect();
    for (path, plan) in paths.iter().zip(&mut plans) {
        plan.shared = match plan.best {
            None => share_host_loop(program, path, around, context),
            Some(_) => plan.pays(context.machine),
        };
    }
    let big: Vec<bool> = plans.iter().map(|p| p.shared).collect();
    let loops_back = |n: usize| if parent.is_empty() { None } else { Some(n % count) };
    for (n, plan) in plans.iter_mut().enumerate() {
        let before = if n > 0 { Some(n - 1) } else { loops_back(count - 1) };
        let after = if n + 1 < count { Some(n + 1) } else { loops_back(0) };
        let between = [before, after].iter().all(|m| m.is_some_and(|m| big[m]));
        plan.shared |= between && plan.saved_ns() > SHARE_NS;
    }
    for (path, plan) in paths.iter().zip(&plans) {
        settle(program, path, plan, context);
    }
    plans.iter().any(|p| p.shared)
}

/// What a node costs as this pass would share it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Nanoseconds without barriers.
    pub work_ns: f64,
    pub barriers: f64,
}

/// The node at `path`, for one iteration of the bands around it.
pub fn estimate(program: &Program, path: &Path, around: &mut Vec<Path>, machine: &Machine) -> Estimate {
    let plan = plan(program, path, around, machine);
    match transform::band_at(&program.schedule, path) {
        _ if plan.pays(machine) => Estimate { work_ns: plan.total_ns - plan.saved_ns(), barriers: 1.0 },
        Some(band) if plan.best.is_none() && is_host_loop(program, band) => {
            let trips = band.members.iter().next().and_then(|(id, value)| group::extent_of(program, *id, value));
            let trips = trips.map_or(1, |e| program.params.hint(&e).max(1)) as f64;
            around.push(path.clone());
            let nodes = (0..band.body.len()).map(|n| estimate(program, &[path, &[n][..]].concat(), around, machine));
            let step = nodes.fold(Estimate::default(), |sum, node| Estimate {
                work_ns: sum.work_ns + node.work_ns,
                barriers: sum.barriers + node.barriers,
            });
            around.pop();
            Estimate { work_ns: trips * step.work_ns, barriers: trips * step.barriers }
        }
        _ => Estimate { work_ns: plan.total_ns, barriers: 0.0 },
    }
}

/// Nanoseconds of the node at `path` as this pass would share it, for one iteration of the bands around it.
pub fn of_node(program: &Program, path: &Path, machine: &Machine) -> f64 {
    estimate(program, path, &mut around(path), machine).work_ns
}

/// The loop of the node at `path` that this pass would share.
pub fn shared_loop(program: &Program, path: &Path, machine: &Machine) -> Option<Path> {
    let plan = plan(program, path, &around(path), machine);
    plan.pays(machine).then(|| plan.best.map(|best| best.path)).flatten()
}

/// The loops around a node.
fn around(path: &Path) -> Vec<Path> {
    (1..path.len()).map(|n| path[..n].to_vec()).collect()
}

fn plan(program: &Program, path: &Path, around: &[Path], machine: &Machine) -> Plan {
    let mut best: Option<Candidate> = None;
    for candidate in candidates(program, path, around, machine) {
        // The outermost of those that are about as good.
        if best.as_ref().is_none_or(|b| candidate.speedup > 1.05 * b.speedup) {
            best = Some(candidate);
        }
    }
    Plan { total_ns: nanoseconds(program, path, around, machine), best, shared: false }
}

/// Marks the chosen loop, and says what was decided.
fn settle(program: &mut Program, path: &Path, plan: &Plan, context: &mut PassContext) {
    let Some(band) = transform::band_at(&program.schedule, path) else { return };
    let subject = band.members.keys().next().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    let (ns, workers) = (plan.total_ns, context.machine.threads);
    match &plan.best {
        Some(best) if plan.shared => {
            if best.chunk > 1 {
                transform::strip_mine(program, &best.path, best.chunk);
            }
            widen_windows(program, &best.path, workers as i64);
            if let Some(band) = transform::band_at_mut(&mut program.schedule, &best.path) {
                band.mark = Mark::Team(workers as u32);
            }
            context.applied("team", &subject, format!("{ns:.0} ns, {:.2} times faster", best.speedup));
        }
        Some(_) => context.missed("team", &subject, format!("{ns:.0} ns are not worth a barrier")),
        None if plan.shared || band.body.iter().any(|n| n.team() > 1) => {}
        None => context.missed("team", &subject, format!("{ns:.0} ns, no parallel loop that divides")),
    }
}

/// Shares what is inside a loop that all workers run.
fn share_host_loop(program: &mut Program, path: &Path, around: &mut Vec<Path>, context: &mut PassContext) -> bool {
    let host = transform::band_at(&program.schedule, path).is_some_and(|band| is_host_loop(program, band));
    if !host {
        return false;
    }
    around.push(path.clone());
    let shared = share_list(program, path, around, context);
    around.pop();
    shared
}

/// A sequential loop around nests, which ends when its range does.
pub fn is_host_loop(program: &Program, band: &Band) -> bool {
    let may_leave = |id: &StatementId| {
        let mut found = false;
        let mut note = |a: &Access| found |= program.exits.contains(&a.array);
        program.statement(*id).guard.iter().for_each(|g| g.visit_loads(&mut note));
        found
    };
    let nests = band.body.iter().any(|n| matches!(n, Node::Band(_)));
    band.mark == Mark::Seq && nests && !band.members.keys().any(may_leave)
}

/// The parallel loops from `path` down, each containing only the next.
fn candidates(program: &Program, path: &Path, around: &[Path], machine: &Machine) -> Vec<Candidate> {
    let mut out = Vec::new();
    for path in transform::chain(&program.schedule, path) {
        let Some(band) = transform::band_at(&program.schedule, &path) else { break };
        let inside: Vec<Path> = around.iter().cloned().chain((1..=path.len()).map(|n| path[..n].to_vec())).collect();
        let grain = nanoseconds(program, &path, &inside, machine);
        let parallel = owner::is_parallel(program, band)
            && !group::steps_along_unlimited(program, band)
            && !computes_its_tests(program, band);
        if band.mark != Mark::Seq || !parallel {
            break;
        }
        if grain < grain_ns(machine) {
            out.extend(in_chunks(program, band, grain, machine).map(|(chunk, speedup)| Candidate {
                path,
                chunk,
                speedup,
            }));
            break;
        }
        if let Some(speedup) = speedup(program, band, machine) {
            out.push(Candidate { path, chunk: 1, speedup });
        }
    }
    out
}

/// How many iterations of `grain` nanoseconds go round as one, and how much faster that is; `None` where they do not divide,
/// or where a window steps along them.
fn in_chunks(program: &Program, band: &Band, grain: f64, machine: &Machine) -> Option<(i64, f64)> {
    speedup(program, band, machine)?;
    let (dims, extent) = (transform::plain_dims(band)?, group::common_extent(program, band)?);
    let (count, workers) = (program.params.hint(&extent), machine.threads as i64);
    let worth = (grain_ns(machine) / grain.max(1e-3)).ceil() as i64;
    let chunk = worth.max((count + CHUNKS * workers - 1) / (CHUNKS * workers));
    let speedup = balance::certainty(program, &extent) * balance::blocks(count, chunk, workers);
    let windows = dims.iter().any(|(id, d)| steps_through_window(program, *id, *d));
    (speedup > 1.0 && !windows).then_some((chunk, speedup))
}

/// Does the statement touch an array of which less than all is kept along iterator `d`?
fn steps_through_window(program: &Program, id: StatementId, d: usize) -> bool {
    let mut found = false;
    program.statement(id).visit_accesses(&mut |access| {
        let folds = access.index.iter().zip(&program.array(access.array).fold);
        for (index, _) in folds.filter(|(_, fold)| fold.is_some()) {
            index.visit_affs(&mut |a| found |= a.uses_iter(d));
        }
    });
    found
}

/// Does the band write what its tests or loop bounds read? All workers evaluate those (code generation moves tests out of
/// loops), and nobody waits inside a shared loop.
fn computes_its_tests(program: &Program, band: &Band) -> bool {
    let written: HashSet<ArrayId> = band.members.keys().map(|id| program.statement(*id).target.array).collect();
    band.members.keys().any(|id| {
        let statement = program.statement(*id);
        let mut tested = parameter_arrays(program, statement);
        statement.guard.iter().for_each(|g| g.visit_loads(&mut |a| tested.push(a.array)));
        tested.iter().any(|array| written.contains(array))
    })
}

/// How much faster are the iterations of a band with all workers? `None` when they may be a single one.
fn speedup(program: &Program, band: &Band, machine: &Machine) -> Option<f64> {
    let (dims, extent) = (transform::plain_dims(band)?, group::common_extent(program, band)?);
    let most = extent.bounds(&|p| transform::param_range(&program.params, p), &|_| (None, None)).1;
    let (count, workers) = (program.params.hint(&extent), machine.threads as i64);
    if count < 2 || most.is_some_and(|m| m < 2) {
        return None;
    }
    let speedup = balance::certainty(program, &extent) * balance::speedup(program, &dims, count, workers);
    Some(speedup).filter(|s| *s > 1.0)
}

/// The time of the node at `path` for one iteration of the bands at `fixed`.
fn nanoseconds(program: &Program, path: &Path, fixed: &[Path], machine: &Machine) -> f64 {
    let Some(band) = transform::band_at(&program.schedule, path) else { return 0.0 };
    let bands: Vec<&Band> = fixed.iter().filter_map(|p| transform::band_at(&program.schedule, p)).collect();
    let iterators = |id: StatementId| bands.iter().filter_map(|b| b.members.get(&id)?.as_iter()).collect::<Vec<_>>();
    band.members.keys().map(|id| time::nanoseconds(program, *id, &iterators(*id), machine)).sum()
}

// ---- 2. a window for every worker ---------------------------------------------------------------------

/// Arrays of which one plane (or block) is alive per iteration of the loop at `path` keep one per worker. As iterations
/// go round, plane `v mod workers` is always the same worker's.
fn widen_windows(program: &mut Program, path: &Path, workers: i64) {
    let Some(band) = transform::band_at(&program.schedule, path) else { return };
    let mut windows: HashSet<(ArrayId, usize, i64)> = HashSet::new();
    for (id, value) in &band.members {
        let statement = program.statement(*id);
        let mut note = |access: &Access| {
            let fold = &program.array(access.array).fold;
            let moves = |e: &Expr| matches!(e, Expr::Index(a) if (a.clone() - value.clone()).as_constant().is_some());
            let dims = (0..fold.len()).filter(|d| fold[*d] == Some(1) && moves(&access.index[*d]));
            windows.extend(dims.map(|d| (access.array, d, 1)));
            let rules = value.as_iter().map(|d| owner::rules(program, *id, access, d)).unwrap_or_default();
            let blocks = rules.iter().filter(|r| r.block > 1 && fold[r.dim] == Some(r.block));
            windows.extend(blocks.map(|r| (access.array, r.dim, r.block)));
        };
        statement.visit_accesses(&mut note);
    }
    for (array, dim, planes) in windows {
        program.array_mut(array).fold[dim] = Some(planes * workers);
    }
}

// ---- 3. everybody waits for everybody -----------------------------------------------------------------

/// `done`: the roots in which everybody waits already.
fn wait_everywhere(program: &mut Program, done: &[bool]) {
    let roots = std::mem::take(&mut program.schedule.roots).into_iter().enumerate();
    let waits = |node: &Node| matches!(node, Node::Band(band) if band.mark == Mark::Barrier);
    let waiting = roots.map(|(n, root)| {
        let root = if done[n] { root } else { wait_inside(root) };
        if n == 0 || waits(&root) { root } else { barriers::barrier(vec![root]) }
    });
    program.schedule.roots = waiting.collect();
}

/// In the bodies of the loops that all workers run. Each barrier is around all that follows it, so that it is there
/// whenever something behind it runs.
fn wait_inside(node: Node) -> Node {
    match node {
        Node::Band(band) if !matches!(band.mark, Mark::Team(_)) && band.body.iter().any(|n| n.team() > 1) => {
            let nodes = band.body.into_iter().map(wait_inside).rev();
            let body = nodes.fold(vec![], |behind, node| vec![barriers::barrier([vec![node], behind].concat())]);
            Node::Band(Band { body, ..band })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn constant_extents_count_fully_and_symbolic_ones_less() {
        let mut p = Program::default();
        let n = dimension(&mut p, "n");
        let x = array(&mut p, "x", &[c(5), n.clone()]);
        let s = statement(&mut p, &[c(5), n], crate::program::StatementKind::Assign, at(x, &[i(0), i(1)]), zero());
        p.schedule.roots = Node::loops_of(s, 0, 2);
        let machine = Machine { threads: 2, ..machine() };
        let of = |path: &[usize]| speedup(&p, transform::band_at(&p.schedule, path).unwrap(), &machine).unwrap();
        assert!((of(&[0]) - 5.0 / 3.0).abs() < 1e-9);
        assert!((of(&[0, 0]) - 1.6).abs() < 1e-9);
    }
}
