//! `map-team`: choose the loops that the workers of a thread team share.
//!
//! Every root is taken by itself. Its outermost chain of parallel loops is searched for the one that divides best
//! among the workers: a constant number of iterations, many of them, each worth having. Where the outermost loop is
//! a host loop (time steps), all workers run it and the nests inside are shared, if the work of one step is worth
//! the wait at its end. Roots that are not worth a barrier stay with worker 0. Iterations go round the workers
//! (see [`Mark::Team`]), so a part of the program whose loops have equal numbers needs no barrier inside, and
//! weights stay in the cache of the worker that uses them in every step. Reductions are never split: results do
//! not depend on the number of workers. Runs before `contract`, which keeps windows private to workers;
//! `barriers` makes the result correct.

use super::{owner, work};
use crate::error::Result;
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::{self, Path};

pub struct MapTeam;

/// Shorter iterations are not handed round: neighbours would fight for cache lines.
const GRAIN_NS: f64 = 16.0;

/// What is left of a speed-up when the number of iterations is only known at run time.
const SYMBOLIC: f64 = 0.8;

impl Pass for MapTeam {
    fn name(&self) -> &'static str {
        "map-team"
    }

    fn summary(&self) -> &'static str {
        "share loops among the workers of a thread team (CPU targets)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu && context.machine.threads > 1 {
            for root in 0..program.schedule.roots.len() {
                share(program, &vec![root], &mut Vec::new(), context);
            }
        }
        Ok(())
    }
}

/// A loop that could be shared.
struct Candidate {
    path: Path,
    speedup: f64,
}

/// Shares the node at `path`, which runs inside the sequential loops at `around`.
fn share(program: &mut Program, path: &Path, around: &mut Vec<Path>, context: &mut PassContext) {
    let Some(band) = transform::band_at(&program.schedule, path) else { return };
    let subject = band.members.keys().next().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
    let machine = context.machine;
    let total = nanoseconds(program, path, around, machine);
    match best(&candidates(program, path, around, machine)) {
        Some(best) if total * (1.0 - 1.0 / best.speedup) > 2.0 * machine.barrier_ns => {
            let reason =
                format!("{total:.0} ns shared by {} workers, {:.2} times faster", machine.threads, best.speedup);
            let path = best.path.clone();
            if let Some(band) = transform::band_at_mut(&mut program.schedule, &path) {
                band.mark = Mark::Team(machine.threads as u32);
            }
            context.applied("map-team", &subject, reason);
        }
        Some(_) => context.missed("map-team", &subject, format!("{total:.0} ns are not worth a barrier")),
        None if is_host_loop(program, band) => {
            let children = band.body.len();
            around.push(path.clone());
            for child in 0..children {
                share(program, &[path.as_slice(), &[child]].concat(), around, context);
            }
            around.pop();
        }
        None => context.missed("map-team", &subject, "no loop without dependences that divides well"),
    }
}

/// A sequential loop around nests, which ends when its range does.
fn is_host_loop(program: &Program, band: &Band) -> bool {
    let exits = |id: &StatementId| {
        let mut found = false;
        program
            .statement(*id)
            .guard
            .iter()
            .for_each(|g| g.visit_loads(&mut |a| found |= program.exits.contains(&a.array)));
        found
    };
    band.mark == Mark::Seq && band.body.iter().any(|n| matches!(n, Node::Band(_))) && !band.members.keys().any(exits)
}

/// The parallel loops from `path` down, each containing only the next.
fn candidates(program: &Program, path: &Path, around: &[Path], machine: &Machine) -> Vec<Candidate> {
    let mut out = Vec::new();
    for path in transform::chain(&program.schedule, path) {
        let Some(band) = transform::band_at(&program.schedule, &path) else { break };
        if band.mark != Mark::Seq || !owner::is_parallel(program, band) {
            break;
        }
        let outer: Vec<Path> = around.iter().cloned().chain((1..=path.len()).map(|n| path[..n].to_vec())).collect();
        if nanoseconds(program, &path, &outer, machine) < GRAIN_NS {
            break;
        }
        if let Some(speedup) = speedup(program, band, machine) {
            out.push(Candidate { path, speedup });
        }
    }
    out
}

/// How much faster are the iterations of a band with all workers? `None` when they may be a single one.
fn speedup(program: &Program, band: &Band, machine: &Machine) -> Option<f64> {
    let dims = transform::plain_dims(band)?;
    let (first, dim) = dims.first()?;
    let extent = &program.statement(*first).extents[*dim];
    if dims.iter().any(|(s, d)| program.statement(*s).extents[*d] != *extent) {
        return None;
    }
    let (least, most) = extent.bounds(&|p| transform::param_range(&program.params, p), &|_| (None, None));
    let (count, workers) = (program.params.hint(extent), machine.threads as i64);
    if count < 2 || most.is_some_and(|m| m < 2) {
        return None;
    }
    let rounds = (count + workers - 1) / workers;
    let certain = if least == most { 1.0 } else { SYMBOLIC };
    Some(certain * count as f64 / rounds as f64).filter(|s| *s > 1.0)
}

/// The outermost of those that are as good as the best.
fn best(candidates: &[Candidate]) -> Option<&Candidate> {
    let most = candidates.iter().map(|c| c.speedup).fold(0.0, f64::max);
    candidates.iter().find(|c| c.speedup >= 0.95 * most)
}

/// The time of the node at `path` for one iteration of the bands at `fixed`.
fn nanoseconds(program: &Program, path: &Path, fixed: &[Path], machine: &Machine) -> f64 {
    let Some(band) = transform::band_at(&program.schedule, path) else { return 0.0 };
    let bands: Vec<&Band> = fixed.iter().filter_map(|p| transform::band_at(&program.schedule, p)).collect();
    let iterators = |id: StatementId| bands.iter().filter_map(|b| b.members.get(&id)?.as_iter()).collect::<Vec<_>>();
    band.members.keys().map(|id| work::nanoseconds(program, *id, &iterators(*id), machine)).sum()
}
