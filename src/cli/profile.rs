//! `sirius profile`: where the time of one inference goes, region by region.

use crate::cli::args::ProfileArgs;
use crate::cli::data::{self, Case};
use crate::cli::{Outcome, bench, compile};
use crate::compile::{CompileOptions, target};
use crate::report::render;
use crate::run::Loaded;
use crate::run::clock::Span;
use crate::run::count::{Depth, Phase};
use crate::run::limits::Limits;
use serde::Serialize;
use sirius_lowering::count::Counting;
use sirius_lowering::metadata::RegionInfo;
use sirius_polyhedral::{Error, Result};
use std::time::{Duration, Instant};

/// Fewest and most inferences that are timed.
const RUNS: (usize, usize) = (5, 1000);

/// Regions in the table, unless all are asked for.
const LONGEST: usize = 20;

/// The result for one data set.
#[derive(Serialize)]
struct Profile {
    model: String,
    data: String,
    threads: u32,
    runs: usize,
    /// Of the medians of all regions.
    sum_us: f64,
    /// In order of execution.
    regions: Vec<Region>,
}

#[derive(Serialize)]
struct Region {
    number: usize,
    /// Operator and name.
    nodes: Vec<String>,
    /// Median of worker 0, with its waits.
    us: f64,
    /// `null` for several workers.
    limit: Option<Limit>,
    /// Medians of every worker.
    workers: Vec<Worker>,
}

/// What a region takes at least, and why.
#[derive(Serialize)]
struct Limit {
    us: f64,
    /// Floating-point operations.
    operations: u64,
    /// Bytes from the second level of cache, the third, and memory, or to them, whichever are more.
    bytes: [u64; 3],
}

#[derive(Serialize)]
struct Worker {
    busy_us: f64,
    waited_us: f64,
}

impl Region {
    fn busiest_us(&self) -> f64 {
        self.workers.iter().map(|w| w.busy_us).fold(0.0, f64::max)
    }

    /// Where no barrier follows, worker 0 may be far ahead of another.
    fn longest_us(&self) -> f64 {
        self.us.max(self.busiest_us())
    }
}

pub fn command(args: &ProfileArgs) -> Outcome {
    let reporting = |counting| CompileOptions { counting, ..args.compiler.options() };
    let (_dir, loaded) = compile::load_as(&args.model, &args.compiler, &reporting(Counting::Regions))?;
    let case = data::first_case(&args.data, &loaded)?;
    let runs = clock(&loaded, &case, Duration::from_secs_f64(args.seconds.clamp(0.01, 3600.0)))?;
    let mut profile = profile(&loaded, &case, &runs);
    if loaded.threads == 1 {
        let (_dir, counted) = compile::load_as(&args.model, &args.compiler, &reporting(Counting::On))?;
        let limits = Limits::measure(&target(&args.compiler.options())?.machine);
        set_limits(&mut profile, limits, &counted.count(&case.inputs, Depth::Everything)?.phases);
    }
    if args.json {
        let text = serde_json::to_string(&profile)
            .map_err(|e| Error::bug("B903", format!("a profile does not serialize: {e}")))?;
        render::out(&format!("{text}\n"));
    } else {
        render::out(&text(&profile, if args.all { usize::MAX } else { LONGEST }));
    }
    Ok(0)
}

/// The spans of every worker in every region, run by run.
type Runs = Vec<Vec<Vec<Span>>>;

fn clock(loaded: &Loaded, case: &Case, budget: Duration) -> Result<Runs> {
    let mut bound = loaded.bind(&case.inputs)?;
    bench::warm_up(&mut bound)?;
    let (start, mut runs) = (Instant::now(), Runs::new());
    while runs.len() < RUNS.0 || (start.elapsed() < budget && runs.len() < RUNS.1) {
        runs.push(bound.clocked()?);
    }
    Ok(runs)
}

fn profile(loaded: &Loaded, case: &Case, runs: &Runs) -> Profile {
    let info = loaded.manifest.counted.as_ref().map_or(&[][..], |c| &c.regions);
    let regions: Vec<Region> = info.iter().enumerate().map(|(n, info)| region(n, info, loaded.threads, runs)).collect();
    Profile {
        model: loaded.manifest.name.clone(),
        data: case.name.clone(),
        threads: loaded.threads,
        runs: runs.len(),
        sum_us: regions.iter().map(|r| r.us).sum(),
        regions,
    }
}

fn region(number: usize, info: &RegionInfo, threads: u32, runs: &Runs) -> Region {
    let of = |worker: usize, time: fn(&Span) -> Duration| {
        let mut times: Vec<Duration> = runs.iter().map(|run| time(&run[worker][number])).collect();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let workers = (0..threads as usize).map(|w| Worker { busy_us: of(w, |s| s.busy), waited_us: of(w, |s| s.waited) });
    let (us, workers) = (of(0, |s| s.busy + s.waited), workers.collect());
    Region { number, nodes: info.nodes.clone(), us, limit: None, workers }
}

fn set_limits(profile: &mut Profile, limits: Limits, phases: &[Phase]) {
    for (phase, ns) in phases.iter().zip(limits.nanoseconds(phases)) {
        if let Some(region) = profile.regions.get_mut(phase.region) {
            region.limit = Some(Limit { us: ns / 1e3, operations: phase.operations, bytes: phase.moved });
        }
    }
}

fn text(profile: &Profile, most: usize) -> String {
    let alone = profile.threads == 1;
    let own: &[&str] = if alone { &["limit us", "of limit", "GFLOP/s"] } else { &["busiest us", "waits us"] };
    let mut table = vec![[&["region", "us", "share"], own].concat().into_iter().map(String::from).collect()];
    let mut order: Vec<&Region> = profile.regions.iter().collect();
    order.sort_by(|a, b| b.longest_us().total_cmp(&a.longest_us()));
    table.extend(order.iter().take(most).map(|r| row(r, profile.sum_us, alone)));
    let Profile { model, data, runs, sum_us, .. } = profile;
    let left_out = order.len().saturating_sub(most);
    let rest = if left_out > 0 { format!("{left_out} shorter regions (--all shows them)\n") } else { String::new() };
    format!(
        "{}{rest}{model}, {data}: {} regions, {sum_us:.1} us in all ({runs} runs)\n",
        render::table(&table),
        order.len()
    )
}

fn row(region: &Region, sum_us: f64, alone: bool) -> Vec<String> {
    let share = format!("{:.1} %", 100.0 * region.us / sum_us.max(f64::MIN_POSITIVE));
    let one = |us: f64| format!("{us:.1}");
    let own = match (&region.limit, alone) {
        (Some(limit), true) => vec![
            one(limit.us),
            format!("{:.0} %", 100.0 * limit.us / region.us),
            one(limit.operations as f64 / region.us / 1e3),
        ],
        (None, true) => vec!["-".to_string(); 3],
        (_, false) => vec![one(region.busiest_us()), one(region.workers[0].waited_us)],
    };
    [vec![label(region), one(region.us), share], own].concat()
}

/// `17 Conv "a" and 2 more`.
fn label(region: &Region) -> String {
    let first = region.nodes.first().map_or("", String::as_str);
    let first: String = if first.chars().count() > LABEL {
        first.chars().take(LABEL - 2).chain("..".chars()).collect()
    } else {
        first.into()
    };
    match region.nodes.len() {
        0 | 1 => format!("{} {first}", region.number),
        n => format!("{} {first} and {} more", region.number, n - 1),
    }
}

/// Characters of a node in the table.
const LABEL: usize = 60;
