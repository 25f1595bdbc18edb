//! Two nodes of a list that share their outermost loops as they are: what exact dependences allow, where subscripts say
//! nothing.
//!
//! `fuse-tiles` and `fuse` prove what they do from subscripts (see `axis`). That misses loops of which one is not parallel
//! (a recurrence and what reads its state step by step), and subscripts with the loops around the list in them. Here the
//! merged tree is built and its dependences are checked by isl, which decides it. `obligations` says with that why two
//! nodes are not one, and [`Exact`] merges those for which nothing speaks against it: few, so the cost model is asked
//! first, and the number of checks is bounded.

use super::blocks::{Choice, Declined, Pair};
use super::fuse_tiles::{self, Meeting, fusable, lists, meetings};
use super::touched::Touched;
use super::{group, owner};
use crate::aff::Aff;
use crate::cost::footprint::subscript_range;
use crate::cost::reuse::fixed_around;
use crate::error::Result;
use crate::expr::Access;
use crate::legality::{LegalityCache, Violation};
use crate::machine::Machine;
use crate::pass::PassContext;
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use crate::script::merge;
use crate::transform::{self, Path, children};
use std::collections::HashSet;

/// What no loop of the target can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The outermost loops run over different ranges, of which neither is a multiple of the other in known blocks.
    Ranges,
    /// No number of blocks suits both loops and divides among the workers, who would wait for one another.
    Workers,
    /// The outermost loop of one runs in lockstep: it is rows or lanes of a register tile.
    Registers,
    /// The loop steps along an array without a size, of which a buffer holds only the planes alive.
    Buffers,
}

impl Limit {
    pub fn name(self) -> &'static str {
        match self {
            Limit::Ranges => "ranges",
            Limit::Workers => "workers",
            Limit::Registers => "registers",
            Limit::Buffers => "buffers",
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Limit::Ranges => "their loops run over different ranges, which no blocks divide",
            Limit::Workers => "no number of blocks suits both loops and divides among the workers",
            Limit::Registers => "the outermost loop of one is part of a register tile",
            Limit::Buffers => "the loop of one steps along an array of which a buffer holds only the planes alive",
        })
    }
}

/// The program with two nodes of a list as one; the second moves up to the first. They share their outermost loop, and
/// the one inside where both have one iteration only, and so on. `None` where one of them is no loop.
pub fn merged(program: &Program, list: &[usize], first: usize, second: usize) -> Option<Program> {
    let depth = depth(program, [first, second].map(|n| [list, &[n]].concat()).each_ref());
    let mut merged = program.clone();
    let (nodes, at) = transform::siblings(&mut merged.schedule, &[list, &[first]].concat())?;
    let consumer = nodes.remove(second);
    merge(&mut nodes[at], consumer, depth)?;
    Some(merged)
}

/// What it costs and saves to share the innermost of the loops that [`merged`] shares, or what forbids it whatever the
/// dependences say.
pub fn choice(pair: &Pair, machine: &Machine) -> std::result::Result<Choice, Limit> {
    let program = pair.program;
    let inner = inner(program, &pair.tops);
    let bands: Vec<&Band> = inner.iter().filter_map(|path| transform::band_at(&program.schedule, path)).collect();
    if bands.iter().any(|band| band.mark != Mark::Seq) {
        return Err(Limit::Registers);
    }
    if bands.iter().any(|band| group::steps_along_unlimited(program, band)) {
        return Err(Limit::Buffers);
    }
    let choice = pair.outermost(&inner, machine).ok_or(Limit::Ranges)?;
    if machine.threads > 1 && choice.cycles.gain() > 0.0 && loses_workers(program, &bands) {
        return Err(Limit::Workers);
    }
    Ok(choice)
}

/// The bands that [`merged`] makes one, of which the innermost counts.
fn inner(program: &Program, tops: &[Path; 2]) -> [Path; 2] {
    let depth = depth(program, tops.each_ref());
    tops.each_ref().map(|top| [top.as_slice(), &vec![0; depth - 1]].concat())
}

/// Does the first iteration of the second loop seem to read what the last one of the first makes? By boxes around the
/// elements, at typical sizes: no proof, but cheap, and isl would nearly always find the same.
fn reads_ahead(pair: &Pair) -> bool {
    let program = pair.program;
    let around = fixed_around(program, &pair.tops[0]);
    let [first, second] = inner(program, &pair.tops).map(|path| transform::band_at(&program.schedule, &path));
    let (Some(first), Some(second)) = (first, second) else { return true };
    let span = |id: StatementId, access: &Access, dim: usize, value: &Aff, last: bool| {
        let statement = program.statement(id);
        let end = |d: usize| program.params.hint(&statement.extents[d]).max(1) - 1;
        let range = |d: usize| match () {
            _ if around.contains(&(id, d)) => (Some(0), Some(0)),
            _ if value.as_iter() == Some(d) && last => (Some(end(d)), Some(end(d))),
            _ if value.as_iter() == Some(d) => (Some(0), Some(0)),
            _ => (Some(0), Some(end(d))),
        };
        let extent = program.params.hint(&program.array(access.array).extents[dim]).max(1);
        let hint = |p| (Some(program.params.get(p).hint), Some(program.params.get(p).hint));
        subscript_range(&access.index[dim], extent, &hint, &range)
    };
    first.members.iter().any(|(writer, made)| {
        let target = &program.statement(*writer).target;
        second.members.iter().any(|(reader, needed)| {
            group::accesses_after_write(program, *reader, target.array).iter().any(|read| {
                (0..target.index.len()).all(|dim| {
                    let wrote = span(*writer, target, dim, made, true);
                    let reads = span(*reader, read, dim, needed, false);
                    wrote.0 <= reads.1 && reads.0 <= wrote.1
                })
            })
        })
    })
}

/// Could workers share one of the loops by itself, and not all of them as one?
fn loses_workers(program: &Program, bands: &[&Band]) -> bool {
    let members = bands.iter().flat_map(|b| b.members.clone()).collect();
    let both = Band { members, mark: Mark::Seq, body: vec![] };
    bands.iter().any(|band| owner::is_parallel(program, band)) && !owner::is_parallel(program, &both)
}

/// How many loops two nodes share when the innermost of these is the first with more than one iteration.
fn depth(program: &Program, tops: [&Path; 2]) -> usize {
    let chains = tops.map(|top| transform::chain(&program.schedule, top));
    let once = |path: &Path| {
        let band = transform::band_at(&program.schedule, path);
        band.is_some_and(|b| group::runs_once(program, b))
    };
    let both = chains[0].iter().zip(&chains[1]);
    let trivial = both.clone().take_while(|(a, b)| once(a) && once(b)).count();
    (trivial + 1).min(both.count()).max(1)
}

/// What breaks in `merged`, by the dependences of `cache`, for statements that moved.
pub fn violation(cache: &LegalityCache, merged: &Program, moved: &HashSet<StatementId>) -> Result<Option<Violation>> {
    Ok(cache.check(merged, Some(moved))?.err())
}

/// Checks in one program at most: each is some milliseconds, as much as all the rest of `fuse-tiles` takes for a pair.
const CHECKS: usize = 32;

/// Merges pairs that `fuse-tiles` has no blocks for.
pub struct Exact {
    checks: usize,
    /// Pairs that may not become one.
    illegal: HashSet<[Vec<StatementId>; 2]>,
}

impl Default for Exact {
    fn default() -> Exact {
        Exact { checks: CHECKS, illegal: HashSet::new() }
    }
}

impl Exact {
    /// Merges the first pair for which nothing speaks against it, in any list; has there been one?
    pub fn fuse(&mut self, program: &mut Program, apart: &HashSet<ArrayId>, cx: &mut PassContext) -> bool {
        for list in lists(program) {
            let touched: Vec<Touched> =
                children(&program.schedule, &list).iter().map(|node| Touched::of(program, node)).collect();
            for second in 1..touched.len() {
                let wanted = meetings(&touched, second).into_iter().filter(|m| m.is_obligation(second));
                for meeting in wanted {
                    if let Some((fused, why)) = self.fused(program, &list, meeting, second, apart, cx.machine) {
                        let node = &children(&program.schedule, &list)[second];
                        cx.applied(fuse_tiles::NAME, &fuse_tiles::origin(program, node), why);
                        *program = fused;
                        return true;
                    }
                }
            }
        }
        false
    }

    /// The program with two nodes as one, and why.
    fn fused(
        &mut self,
        program: &Program,
        list: &Path,
        meeting: Meeting,
        second: usize,
        apart: &HashSet<ArrayId>,
        machine: &Machine,
    ) -> Option<(Program, String)> {
        let Meeting { first, flows, up } = meeting;
        // Past what stands between, only subscripts say that it may move: then the dependences of the two are enough.
        if up != Some(true) {
            return None;
        }
        let nodes = children(&program.schedule, list);
        let both = [&nodes[first], &nodes[second]];
        let (Node::Band(_), Node::Band(_)) = (both[0], both[1]) else { return None };
        let key = both.map(Node::statements);
        if self.illegal.contains(&key) {
            return None;
        }
        let tops = [first, second].map(|n| [list.as_slice(), &[n]].concat());
        let quick = fusable(program, both[0], both[1], &flows);
        let pair = Pair { program, apart, flows, tops };
        let choice = choice(&pair, machine).ok().filter(|choice| choice.cycles.gain() > 0.0)?;
        if reads_ahead(&pair) {
            return None;
        }
        if quick && !matches!(pair.best(machine), Err(Declined::NoLoops)) {
            return None;
        }
        self.checks = self.checks.checked_sub(1)?;
        let fused = merged(program, list, first, second)?;
        let moved: HashSet<StatementId> = key.iter().flatten().copied().collect();
        // What isl does not decide within its budget stays as it is.
        let verdict = LegalityCache::within(program, &moved).and_then(|cache| violation(&cache, &fused, &moved));
        if !matches!(verdict, Ok(None)) {
            self.illegal.insert(key);
            return None;
        }
        let (count, gain, into) = (choice.count, choice.cycles.gain(), fuse_tiles::origins(program, both[0]));
        Some((fused, format!("{count} iterations with {into}: about {gain:.0} cycles saved")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Role;
    use crate::schedule::obligations::{Reason, obligations};
    use crate::testing::{numbers, parse, run_named};
    use crate::{astgen, legality, nest_interp};

    /// A recurrence, and what reads row `read` of its state in step `t`.
    fn recurrence(read: &str) -> Program {
        let text = format!(
            "\
program steps
array x: f32[64, 512] input 0
array h: f32[65, 512] temp
array y: f32[64] output 0
inputs x
outputs y
S0 [j: 512]: h[0, j] = 0.0f32
S1 [t: 64, j: 512]: h[t + 1, j] = h[t, 511 - j] + x[t, j]
S2 [t: 64]: y[t] = 0.0f32
S3 [t: 64, j: 512]: y[t] += h[{read}, j]
schedule {{
  for [S0: j] {{ S0 }}
  for [S1: t] {{ for [S1: j] {{ S1 }} }}
  for [S2: t, S3: t] {{ S2 for [S3: j] {{ S3 }} }}
}}
"
        );
        parse(&text)
    }

    fn machine(threads: usize) -> Machine {
        Machine { vector_bytes: 32, vector_registers: 16, threads, ..crate::testing::machine() }
    }

    fn run(program: &mut Program, passes: &[&str], threads: usize) {
        run_named(program, passes, &machine(threads));
        legality::check(program).unwrap().unwrap();
    }

    fn outputs(program: &Program) -> Vec<Vec<u8>> {
        nest_interp::run(&astgen::generate(program).unwrap(), &[], &[numbers(64 * 512)]).unwrap()
    }

    #[test]
    fn a_state_is_read_in_the_step_that_makes_it() {
        let mut program = recurrence("t + 1");
        let wanted = outputs(&program);
        assert!(
            obligations(&program, &machine(1)).unwrap().iter().any(|o| matches!(o.reason, Reason::Mergeable { .. }))
        );
        run(&mut program, &["fuse-tiles", "contract"], 1);
        assert_eq!(program.schedule.roots.len(), 2);
        assert!(
            !obligations(&program, &machine(1)).unwrap().iter().any(|o| matches!(o.reason, Reason::Mergeable { .. }))
        );
        let state = program.arrays().find(|(_, a)| a.role == Role::Temp).unwrap().1;
        assert_eq!(state.fold[0], Some(2));
        assert_eq!(outputs(&program), wanted);
    }

    /// The last step reads what the first made, or the one behind it what no step before made.
    #[test]
    fn what_exact_dependences_forbid_stays_apart() {
        for read in ["64 - t", "min(t + 2, 64)"] {
            let mut program = recurrence(read);
            run(&mut program, &["fuse-tiles"], 1);
            assert_eq!(program.schedule.roots.len(), 3, "{read}");
        }
    }

    /// Two workers share what reads the state, but not the steps.
    #[test]
    fn a_parallel_loop_stays_parallel() {
        let mut program = recurrence("t + 1");
        run(&mut program, &["fuse-tiles"], 2);
        assert_eq!(program.schedule.roots.len(), 3);
        let found = obligations(&program, &machine(2)).unwrap();
        assert!(found.iter().any(|o| matches!(o.reason, Reason::NotExecutable(Limit::Workers))), "{found:?}");
    }

    /// The list is inside a loop over blocks, and both subscripts say so.
    #[test]
    fn loops_around_the_list_count() {
        let text = "\
program blocks
array x: f32[64, 4096] input 0
array a: f32[64, 4096] temp
array y: f32[64, 4096] output 0
inputs x
outputs y
S0 [b: 4, i: 16, j: 4096]: a[16*b + i, j] = x[16*b + i, j] * 2.0f32
S1 [b: 4, i: 16, j: 4096]: y[16*b + i, j] = a[16*b + i, 4095 - j] + 1.0f32
schedule {
  for [S0: b, S1: b] {
    for [S0: i] { for [S0: j] { S0 } }
    for [S1: i] { for [S1: j] { S1 } }
  }
}
";
        let mut program = parse(text);
        run(&mut program, &["fuse-tiles"], 1);
        assert_eq!(children(&program.schedule, &[0]).len(), 1);
    }
}
