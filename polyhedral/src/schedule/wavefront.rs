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

use super::axis::{Axis, axes, steers};
use super::group;
use super::touched::Touched;
use super::window::Window;
use super::{barriers, fuse_tiles, owner, team};
use crate::aff::{Aff, gcd};
use crate::cost::wavefront::{Passes, Stage, Work, nanoseconds};
use crate::error::Result;
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform::band_at;
use indexmap::IndexMap;

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
        wait_around(&mut program.schedule.roots);
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

impl Pipeline {
    /// All that can run along the time loop at root `at`.
    fn from(program: &Program, at: usize) -> Option<Pipeline> {
        let roots = &program.schedule.roots;
        let mut pipeline = Pipeline { members: vec![], before: vec![], after: vec![] };
        let axis = time_loop(program, at)?;
        pipeline.members.push(Member::new(at, axis, 1, vec![], true));
        let mut inside = Touched::of(program, &roots[at]);
        let mut behind = Touched::default();
        for (node, root) in roots.iter().enumerate().skip(at + 1) {
            if node > pipeline.last() + REACH {
                break;
            }
            let own = Touched::of(program, root);
            let member = if own.must_follow(&behind) { None } else { pipeline.member(program, node, &own, &inside) };
            match member {
                Some(member) => {
                    pipeline.members.push(member);
                    inside.add(&own);
                }
                None if own.must_follow(&inside) || own.must_follow(&behind) => {
                    pipeline.after.push(node);
                    behind.add(&own);
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
            let flows = own.flows_from(&Touched::of(program, &program.schedule.roots[producer.node]));
            if flows.is_empty() {
                continue;
            }
            let window = Window::between(program, &producer.axis, &axis, &flows)?;
            let pace = producer.steps.checked_mul(window.step)?;
            if window.looks_ahead() || pace % window.made != 0 || steps.is_some_and(|s| s != pace / window.made) {
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
        for (section, member) in self.members.iter_mut().filter(|m| m.recurrent).enumerate() {
            member.section = section;
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
    let extent = group::common_extent(program, band)?;
    let fits = team::is_host_loop(program, band)
        && !extent.has_iters()
        && !owner::is_parallel(program, band)
        && !group::steps_along_unlimited(program, band)
        && !band.members.keys().any(|s| steers(program, *s));
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
        fuse_tiles::put_outermost(program, &member.axis, size.unwrap_or(1) / member.steps);
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

/// All workers are over with what is before a pipeline when it begins (its loop waits inside only), and with the pipeline when
/// the next nest does.
fn wait_around(roots: &mut [Node]) {
    for n in 1..roots.len() {
        let waits = matches!(&roots[n], Node::Band(Band { mark: Mark::Barrier, .. }));
        if !waits && (roots[n - 1].team() > 1 || roots[n].team() > 1) {
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
mod tests;
