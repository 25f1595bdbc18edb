//! `wavefront`: run recurrent layers side by side, each some blocks of time steps behind those it reads from.
//!
//! Rewrite: `for t { A }  for t { B }`, where step `t` of `B` needs nothing later than step `t` of `A`, becomes
//! `for w { barrier; section 0: for t in block w { A }  section 1: for t in block w - 1 { B } }`. The sections of one
//! wavefront `w` do not meet, so each runs on a worker of its own, and all wait once per block, not in every step. Nests
//! between the loops that are parallel in time (the input projection of a layer) run block by block in the section that
//! reads them. Time loops that do not read from each other (two directions) are sections of equal lateness. What the
//! pipeline does not need moves in front of it or behind it.
//!
//! Legal when every flow between members is a window of steps that ends with the reader's own (see `window`), and no member
//! writes what an earlier one touches: then an earlier wavefront, or the same section, has made all that a block reads.
//! Wanted when that is faster than sharing the loops inside every step (see `cost::wavefront`): so for layers whose
//! steps are too short to share. Before `contract`, which must see in what order memory is used.
//! Source: wavefronts, Lamport (1974); for recurrent networks Appleyard et al. (2016), section 3.4.

use super::axis::{Axis, axes};
use super::group::{self, reads, writes};
use super::window::Window;
use super::{barriers, fuse_tiles, owner, team};
use crate::aff::{Aff, gcd};
use crate::cost::wavefront::{Passes, Stage, Work, nanoseconds};
use crate::error::Result;
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::band_at;
use indexmap::IndexMap;
use std::collections::HashSet;

pub struct Wavefront;

const NAME: &str = "wavefront";

/// How many nodes in a row may stay out of a pipeline before its search ends.
const REACH: usize = 16;

impl Pass for Wavefront {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "run recurrent layers side by side, some blocks of steps apart (thread teams)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if context.machine.gpu || context.machine.threads < 2 {
            return Ok(());
        }
        let mut at = 0;
        while at < program.schedule.roots.len() {
            if let Some(pipeline) = Pipeline::from(program, at).filter(|p| p.sections() > 1) {
                let subject = fuse_tiles::origin(program, &program.schedule.roots[at]);
                let choice = choose(program, &pipeline, context.machine);
                if choice.is_wanted() {
                    context.applied(NAME, &subject, choice.text(&pipeline));
                    at += apply(program, pipeline, choice.size, context.machine.threads);
                } else {
                    context.missed(NAME, &subject, choice.text(&pipeline));
                    at = pipeline.last();
                }
            }
            at += 1;
        }
        wait_behind(&mut program.schedule.roots);
        Ok(())
    }
}

// ---- what can run side by side --------------------------------------------------------------------------

/// A nest of a pipeline.
struct Member {
    /// Place among the roots.
    node: usize,
    /// The loop along time.
    axis: Axis,
    /// Time steps in one of its iterations.
    steps: i64,
    /// Members that it reads from.
    producers: Vec<usize>,
    /// Does each step need the one before?
    recurrent: bool,
    section: usize,
    /// In which wavefront it runs its first block.
    late: i64,
}

/// Nests along the same time steps.
struct Pipeline {
    members: Vec<Member>,
    /// Nodes behind the first member that run before all of them, and after all of them.
    before: Vec<usize>,
    after: Vec<usize>,
}

/// The arrays of a set of nodes.
#[derive(Default)]
struct Touched {
    reads: HashSet<ArrayId>,
    writes: HashSet<ArrayId>,
}

impl Touched {
    fn of(program: &Program, nodes: &[Node]) -> Touched {
        let mut all = Touched::default();
        nodes.iter().for_each(|node| all.add(program, node));
        all
    }

    fn add(&mut self, program: &Program, node: &Node) {
        self.reads.extend(reads(program, node));
        self.writes.extend(writes(program, node));
    }

    fn overwrites(&self, earlier: &Touched) -> bool {
        !self.writes.is_disjoint(&earlier.reads) || !self.writes.is_disjoint(&earlier.writes)
    }

    fn must_follow(&self, earlier: &Touched) -> bool {
        self.overwrites(earlier) || !self.reads.is_disjoint(&earlier.writes)
    }
}

impl Pipeline {
    /// All that can run along the time loop at root `at`.
    fn from(program: &Program, at: usize) -> Option<Pipeline> {
        let roots = &program.schedule.roots;
        let mut pipeline = Pipeline { members: vec![], before: vec![], after: vec![] };
        let axis = time_loop(program, at)?;
        pipeline.members.push(Member::new(at, axis, 1, vec![], true));
        let mut inside = Touched::of(program, &roots[at..=at]);
        let mut behind = Touched::default();
        for (node, root) in roots.iter().enumerate().skip(at + 1) {
            if node > pipeline.last() + REACH {
                break;
            }
            let own = Touched::of(program, std::slice::from_ref(root));
            let member = if own.must_follow(&behind) { None } else { pipeline.member(program, node, &own, &inside) };
            match member {
                Some(member) => {
                    pipeline.members.push(member);
                    inside.add(program, root);
                }
                None if own.must_follow(&inside) || own.must_follow(&behind) => {
                    pipeline.after.push(node);
                    behind.add(program, root);
                }
                None => pipeline.before.push(node),
            }
        }
        let last = pipeline.last();
        pipeline.before.retain(|n| *n < last);
        pipeline.after.retain(|n| *n < last);
        pipeline.settle();
        Some(pipeline)
    }

    /// The last member's place among the roots.
    fn last(&self) -> usize {
        self.members.last().map_or(0, |m| m.node)
    }

    fn sections(&self) -> usize {
        self.members.iter().filter(|m| m.recurrent).count()
    }

    /// The node as one more member.
    fn member(&self, program: &Program, node: usize, own: &Touched, inside: &Touched) -> Option<Member> {
        let count = |id| group::value_params(program, id);
        let counted = program.schedule.roots[node].statements().into_iter().flat_map(count);
        if own.overwrites(inside) || counted.into_iter().any(|array| inside.writes.contains(&array)) {
            return None;
        }
        if let Some(axis) = time_loop(program, node) {
            return self.along(program, node, axis, own, true);
        }
        axes(program, &[node]).into_iter().find_map(|axis| self.along(program, node, axis, own, false))
    }

    /// The node with its loop along time, if it keeps pace with all members that it reads from.
    fn along(&self, program: &Program, node: usize, axis: Axis, own: &Touched, recurrent: bool) -> Option<Member> {
        let (mut producers, mut steps) = (Vec::new(), None);
        for (n, producer) in self.members.iter().enumerate() {
            let made = writes(program, &program.schedule.roots[producer.node]);
            let mut flows: Vec<ArrayId> = own.reads.intersection(&made).copied().collect();
            if flows.is_empty() {
                continue;
            }
            flows.sort();
            let window = Window::between(program, &producer.axis, &axis, &flows)?;
            let pace = producer.steps.checked_mul(window.step)?;
            if window.late_after(0) > 0 || pace % window.made != 0 || steps.is_some_and(|s| s != pace / window.made) {
                return None;
            }
            steps = Some(pace / window.made);
            producers.push(n);
        }
        // Two recurrences without a flow between them are as long as each other.
        let beside = recurrent && axis.extent == self.members[0].axis.extent;
        let steps = steps.or_else(|| beside.then_some(1))?;
        Some(Member::new(node, axis, steps, producers, recurrent))
    }

    /// Sections and lateness: every time loop is a section with what it alone is made ready by.
    fn settle(&mut self) {
        let mut sections = 0;
        for member in self.members.iter_mut().filter(|m| m.recurrent) {
            member.section = sections;
            sections += 1;
        }
        for n in (0..self.members.len()).rev().filter(|n| !self.members[*n].recurrent).collect::<Vec<_>>() {
            let readers = self.members.iter().filter(|m| m.producers.contains(&n)).map(|m| m.section);
            let producers = self.members[n].producers.iter().map(|p| self.members[*p].section);
            self.members[n].section = readers.min().or(producers.max()).unwrap_or(0);
        }
        for n in 0..self.members.len() {
            let own = self.members[n].section;
            let after = |p: &usize| self.members[*p].late + i64::from(self.members[*p].section != own);
            self.members[n].late = self.members[n].producers.iter().map(after).max().unwrap_or(0);
        }
    }
}

impl Member {
    fn new(node: usize, axis: Axis, steps: i64, producers: Vec<usize>, recurrent: bool) -> Member {
        Member { node, axis, steps, producers, recurrent, section: 0, late: 0 }
    }
}

/// The sequential loop that root `node` is: around nests, of a bounded length that is known when it starts.
fn time_loop(program: &Program, node: usize) -> Option<Axis> {
    let band = band_at(&program.schedule, &[node])?;
    let mut extents = band.members.iter().map(|(id, value)| group::extent_of(program, *id, value));
    let extent = extents.next()??;
    let ends = |id: &StatementId| program.exits.contains(&program.statement(*id).target.array);
    let fits = team::is_host_loop(program, band)
        && extents.all(|e| e.as_ref() == Some(&extent))
        && !extent.has_iters()
        && !owner::is_parallel(program, band)
        && !group::steps_along_unlimited(program, band)
        && !band.members.keys().any(ends);
    fits.then(|| Axis { path: vec![node], depth: 0, extent })
}

// ---- whether it pays --------------------------------------------------------------------------------------

/// The best block, and what the pipeline takes with it and without.
struct Choice {
    /// Time steps in a block; `None` for all of them.
    size: Option<i64>,
    /// Infinite where a block would be all steps, and some loops must wait for others.
    fused_ns: f64,
    apart_ns: f64,
}

impl Choice {
    fn is_wanted(&self) -> bool {
        self.fused_ns < self.apart_ns
    }

    fn text(&self, pipeline: &Pipeline) -> String {
        let (count, [apart, fused]) = (pipeline.sections(), [self.apart_ns, self.fused_ns].map(|ns| ns / 1e3));
        match self.size {
            _ if self.fused_ns.is_infinite() => format!("{count} loops of too few steps for blocks"),
            None => format!("{count} loops side by side: {fused:.0} us, {apart:.0} one after the other"),
            Some(n) => {
                format!(
                    "{count} loops side by side in blocks of {n} steps: {fused:.0} us, {apart:.0} one after the other"
                )
            }
        }
    }
}

fn choose(program: &Program, pipeline: &Pipeline, machine: &Machine) -> Choice {
    let steps = program.params.hint(&pipeline.members[0].axis.extent).max(1);
    let stage = |m: &Member| {
        let passes = if m.recurrent { Passes::Steps(steps as f64) } else { Passes::Blocks };
        let work = Work::of(program, &program.schedule.roots[m.node].statements(), passes, machine);
        Stage { work, section: m.section, late: m.late }
    };
    let stages: Vec<Stage> = pipeline.members.iter().map(stage).collect();
    let apart = pipeline.members.iter().zip(&stages).map(|(m, stage)| apart_ns(program, m, &stage.work, machine));
    let mut best = Choice { size: None, apart_ns: apart.sum(), fused_ns: f64::INFINITY };
    let common = pipeline.members.iter().fold(1, |n, m| n / gcd(n, m.steps) * m.steps);
    let sizes = (0..40).map(|n| common << n).take_while(|size| *size < steps).map(Some);
    let whole = pipeline.members.iter().all(|m| m.late == 0).then_some(None);
    for size in sizes.chain(whole) {
        let blocks = size.map_or(1, |size| (steps + size - 1) / size);
        let fused_ns = nanoseconds(&stages, blocks, machine);
        if fused_ns < best.fused_ns {
            best = Choice { size, fused_ns, ..best };
        }
    }
    best
}

/// A member by itself, shared among the workers where `team` would do so.
fn apart_ns(program: &Program, member: &Member, work: &Work, machine: &Machine) -> f64 {
    let shared = team::estimate(program, &vec![member.node], &mut Vec::new(), machine);
    let workers = if shared.barriers > 0.0 { machine.threads } else { 1 };
    work.shared_ns(shared.work_ns, workers, machine) + shared.barriers * machine.barrier_ns
}

// ---- the rewrite ------------------------------------------------------------------------------------------

/// Makes one root of the members; how many roots now stand before it that stood behind the first member.
fn apply(program: &mut Program, pipeline: Pipeline, size: Option<i64>, threads: usize) -> usize {
    for member in pipeline.members.iter().filter(|_| size.is_some()) {
        fuse_tiles::put_outermost(program, &member.axis, size.unwrap_or(1) / member.steps, 0);
    }
    let mut roots: Vec<Option<Node>> = std::mem::take(&mut program.schedule.roots).into_iter().map(Some).collect();
    let (first, last, before) = (pipeline.members[0].node, pipeline.last(), pipeline.before.len());
    let mut take = |n: &usize| roots[*n].take();
    let leaders: Vec<Node> = pipeline.before.iter().filter_map(&mut take).collect();
    let followers: Vec<Node> = pipeline.after.iter().filter_map(&mut take).collect();
    let nodes: Vec<Node> = pipeline.members.iter().filter_map(|m| take(&m.node)).collect();
    let wave = wave(nodes, &pipeline.members, size.is_some(), threads);
    let rest = roots.split_off(last + 1);
    let head = roots.into_iter().take(first).flatten();
    let all = head.chain(leaders).chain([wave]).chain(followers).chain(rest.into_iter().flatten());
    program.schedule.roots = all.collect();
    before
}

/// All workers are over with a pipeline when the next nest begins.
fn wait_behind(roots: &mut [Node]) {
    for n in 1..roots.len() {
        if roots[n - 1].team() > 1 && roots[n].team() == 1 {
            roots[n] = barriers::barrier(vec![roots[n].clone()]);
        }
    }
}

/// The wavefronts around the sections; without blocks there is a single one.
fn wave(nodes: Vec<Node>, members: &[Member], blocks: bool, threads: usize) -> Node {
    let mut values: IndexMap<StatementId, Aff> = IndexMap::new();
    let mut sections: Vec<Vec<Node>> = vec![vec![]; members.iter().filter(|m| m.recurrent).count()];
    for (node, member) in nodes.into_iter().zip(members) {
        match node {
            Node::Band(band) if blocks => {
                let late = Aff::constant(member.late);
                values.extend(band.members.into_iter().map(|(id, block)| (id, block + late.clone())));
                sections[member.section].extend(band.body);
            }
            whole => sections[member.section].push(whole),
        }
    }
    let section = |(n, body): (usize, Vec<Node>)| {
        let ids = body.iter().flat_map(Node::statements);
        let members = ids.map(|id| (id, Aff::constant(n as i64))).collect();
        Node::Band(Band { members, mark: Mark::Team(threads as u32), body })
    };
    let side_by_side = barriers::barrier(sections.into_iter().enumerate().map(section).collect());
    match blocks {
        true => Node::Band(Band { members: values, mark: Mark::Seq, body: vec![side_by_side] }),
        false => side_by_side,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{DriverOptions, run_passes};
    use crate::legality::{self, Violation};
    use crate::text::{ConstantPool, parse_program};
    use crate::{Remark, RemarkKind, astgen, nest_interp};

    /// Barriers that cost next to nothing, for layers that are next to nothing.
    fn machine(threads: usize) -> Machine {
        Machine { threads, barrier_ns: 1.0, ..crate::testing::machine() }
    }

    /// Two recurrent layers over `steps` steps, the second reading `h1` of the first at step `t + ahead`, and their last
    /// states.
    fn stack(steps: &str, ahead: i64) -> Program {
        let text = format!(
            "\
program stack
param steps = input(0, 0) in 1.. hint 60
array x: f32[{steps}, 64] input 0
array a: f32[{steps} + 2, 64] temp
array b: f32[{steps}, 64] temp
array d: f32[{steps} + 1, 64] temp
array last: f32[64] output 0
array y: f32[{steps}, 64] output 1
inputs x
outputs last, y
S0 [j: 64]: a[0, j] = 0.0f32
S1 [t: {steps}, j: 64]: a[t + 1, j] = 0.5f32 * a[t, 63 - j] + x[t, j]
S2 [j: 64]: last[j] = a[{steps}, j]
S3 [j: 64]: d[0, j] = 1.0f32
S4 [t: {steps}, j: 64]: b[t, j] = a[t + {ahead}, j] * 2.0f32
S5 [t: {steps}, j: 64]: d[t + 1, j] = 0.25f32 * d[t, 63 - j] + b[t, j]
S6 [t: {steps}, j: 64]: y[t, j] = d[t + 1, j] + 1.0f32
schedule {{
  for [S0: j] {{ S0 }}
  for [S1: t] {{ for [S1: j] {{ S1 }} }}
  for [S2: j] {{ S2 }}
  for [S3: j] {{ S3 }}
  for [S4: t] {{ for [S4: j] {{ S4 }} }}
  for [S5: t] {{ for [S5: j] {{ S5 }} }}
  for [S6: t] {{ for [S6: j] {{ S6 }} }}
}}
"
        );
        parse_program(&text, &ConstantPool::default()).unwrap()
    }

    fn run(program: &mut Program, passes: &[&str], threads: usize) -> Vec<Remark> {
        let passes: Vec<_> = passes.iter().map(|p| crate::pipeline::find(p).unwrap()).collect();
        run_passes(program, &passes, &machine(threads), DriverOptions::default()).unwrap().remarks
    }

    fn applied(remarks: &[Remark]) -> usize {
        remarks.iter().filter(|r| r.pass == NAME && r.kind == RemarkKind::Applied).count()
    }

    fn outputs(program: &Program, steps: i64) -> Vec<Vec<u8>> {
        let value = |n: i64| ((n * 37 % 101 - 50) as f32).to_le_bytes();
        let input = (0..steps * 64).flat_map(value).collect();
        nest_interp::run(&astgen::generate(program).unwrap(), &[("steps", steps)], &[input]).unwrap()
    }

    #[test]
    fn layers_run_side_by_side_and_give_the_same_numbers() {
        for (extent, steps) in [("60", 60), ("61", 61), ("steps", 60), ("steps", 7), ("steps", 1)] {
            let mut program = stack(extent, 1);
            let wanted = outputs(&program, steps);
            assert_eq!(applied(&run(&mut program, &[NAME], 3)), 1, "{extent}");
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{extent}: {v}"));
            run(&mut program, &["contract", "plan-memory", "team", "barriers"], 3);
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{extent}, with all workers: {v}"));
            assert_eq!(outputs(&program, steps), wanted, "{extent} {steps}");
        }
    }

    #[test]
    fn what_is_not_needed_inside_stands_before_or_behind() {
        let program = stack("60", 1);
        let pipeline = Pipeline::from(&program, 1).unwrap();
        let members: Vec<_> = pipeline.members.iter().map(|m| (m.node, m.section, m.late)).collect();
        assert_eq!(members, [(1, 0, 0), (4, 1, 1), (5, 1, 1), (6, 1, 1)]);
        assert_eq!((pipeline.before, pipeline.after), (vec![3], vec![2]));
    }

    #[test]
    fn a_block_too_early_is_caught() {
        for (n, early) in [(1, "the projection"), (2, "the recurrence")] {
            let mut program = stack("60", 1);
            let mut pipeline = Pipeline::from(&program, 1).unwrap();
            pipeline.members[n].late -= 1;
            apply(&mut program, pipeline, Some(10), 2);
            let verdict = legality::check(&program).unwrap();
            assert!(matches!(verdict, Err(Violation::Race { .. } | Violation::Order { .. })), "{early}: {verdict:?}");
        }
    }

    #[test]
    fn what_reads_ahead_waits_for_all_steps() {
        let members = |ahead| Pipeline::from(&stack("60", ahead), 1).unwrap().members.len();
        assert_eq!([0, 1, 2].map(members), [4, 4, 1]);
    }

    /// Two directions over the same steps.
    #[test]
    fn loops_that_do_not_meet_need_no_blocks() {
        let text = "\
program directions
array x: f32[40, 64] input 0
array f: f32[41, 64] temp
array b: f32[41, 64] temp
array y: f32[40, 64] output 0
inputs x
outputs y
S0 [j: 64]: f[0, j] = 0.0f32
S1 [j: 64]: b[0, j] = 0.0f32
S2 [t: 40, j: 64]: f[t + 1, j] = 0.5f32 * f[t, 63 - j] + x[t, j]
S3 [t: 40, j: 64]: b[t + 1, j] = 0.5f32 * b[t, 63 - j] + x[39 - t, j]
S4 [t: 40, j: 64]: y[t, j] = f[t + 1, j] + b[40 - t, j]
schedule {
  for [S0: j] { S0 }
  for [S1: j] { S1 }
  for [S2: t] { for [S2: j] { S2 } }
  for [S3: t] { for [S3: j] { S3 } }
  for [S4: t] { for [S4: j] { S4 } }
}
";
        let mut program = parse_program(text, &ConstantPool::default()).unwrap();
        let wanted = outputs(&program, 40);
        assert_eq!(applied(&run(&mut program, &[NAME, "contract", "plan-memory", "team", "barriers"], 2)), 1);
        legality::check(&program).unwrap().unwrap();
        assert_eq!(program.statement(StatementId(2)).extents.len(), 2, "no blocks");
        assert_eq!(barriers::count(&program.schedule), 2);
        assert_eq!(outputs(&program, 40), wanted);
    }

    #[test]
    fn one_worker_keeps_its_loops() {
        let mut program = stack("60", 1);
        let before = program.clone();
        assert!(run(&mut program, &[NAME], 1).is_empty());
        assert_eq!(program, before);
        // Barriers that cost more than all the work, too.
        let costly = Machine { threads: 2, barrier_ns: 1e6, ..crate::testing::machine() };
        let report = run_passes(&mut program, &[&Wavefront], &costly, DriverOptions::default()).unwrap();
        assert_eq!(program, before);
        assert!(report.remarks.iter().any(|r| r.reason.contains("2 loops side by side")), "{:?}", report.remarks);
    }
}
