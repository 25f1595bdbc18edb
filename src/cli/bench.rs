//! `sirius bench`: the time of one inference.

use crate::cli::args::BenchArgs;
use crate::cli::data::{self, Case};
use crate::cli::{Outcome, compile, run};
use crate::report::render;
use crate::run::load::Bound;
use crate::run::{Loaded, formula};
use serde::Serialize;
use sirius_polyhedral::{Error, Result};
use std::time::{Duration, Instant};

/// Warm-up: at least this long and this often.
const WARM_UP: (Duration, usize) = (Duration::from_millis(200), 3);

/// Fewest and most inferences that are timed.
const RUNS: (usize, usize) = (5, 100_000);

/// The result for one data set.
#[derive(Serialize)]
struct Measurement {
    model: String,
    data: String,
    threads: u32,
    runs: usize,
    median_us: f64,
    p90_us: f64,
    min_us: f64,
    /// Floating-point operations of the model per second at the median; `null` when they are not known.
    gflops: Option<f64>,
}

pub fn command(args: &BenchArgs) -> Outcome {
    if run::is_model(&args.model) {
        let (_dir, loaded) = compile::compile_and_load(&args.model, &args.compiler)?;
        return bench(args, &loaded);
    }
    bench(args, &Loaded::with_threads(&args.model, args.compiler.threads.map(u32::from))?)
}

fn bench(args: &BenchArgs, loaded: &Loaded) -> Outcome {
    if loaded.manifest.counted.is_some() {
        return Err(Error::invalid("E834", "code that counts is no measure of time").help("leave out --count"));
    }
    let signature = || data::manifest_signature(&loaded.manifest, &args.compiler.open.dims);
    for case in data::cases(&args.data, &loaded.ports()?, signature)? {
        let m = measure(args, loaded, &case)?;
        if args.json {
            let text = serde_json::to_string(&m)
                .map_err(|e| Error::bug("B903", format!("a measurement does not serialize: {e}")))?;
            render::out(&format!("{text}\n"));
        } else {
            render::out(&text(&m));
        }
    }
    Ok(0)
}

fn text(m: &Measurement) -> String {
    let speed = m.gflops.map_or(String::new(), |g| format!(", {g:.1} GFLOP/s"));
    format!(
        "{}, {}: median {:.1} us, p90 {:.1} us, min {:.1} us ({} runs{speed})\n",
        m.model, m.data, m.median_us, m.p90_us, m.min_us, m.runs
    )
}

fn measure(args: &BenchArgs, loaded: &Loaded, case: &Case) -> Result<Measurement> {
    let times = times(loaded, case, Duration::from_secs_f64(args.seconds.clamp(0.01, 3600.0)))?;
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let flops = flops(loaded, case);
    Ok(Measurement {
        model: loaded.manifest.name.clone(),
        data: case.name.clone(),
        threads: loaded.threads,
        runs: times.len(),
        median_us: at(0.5),
        p90_us: at(0.9),
        min_us: times[0],
        gflops: flops.map(|f| f / at(0.5) / 1e3),
    })
}

/// Microseconds of single inferences, the shortest first, for as long as `budget` lasts.
pub fn times(loaded: &Loaded, case: &Case, budget: Duration) -> Result<Vec<f64>> {
    let mut bound = loaded.bind(&case.inputs)?;
    warm_up(&mut bound)?;
    timed(&mut bound, budget, RUNS.0)
}

/// Runs until pages, caches and the clock have settled.
pub fn warm_up(bound: &mut Bound<'_>) -> Result<()> {
    let start = Instant::now();
    let mut count = 0;
    while count < WARM_UP.1 || start.elapsed() < WARM_UP.0 {
        bound.run()?;
        count += 1;
    }
    Ok(())
}

/// The same for one of many turns: after one inference that warms up, or that one where it is longer than the budget.
pub fn few_times(loaded: &Loaded, case: &Case, budget: Duration) -> Result<Vec<f64>> {
    let mut bound = loaded.bind(&case.inputs)?;
    let start = Instant::now();
    bound.run()?;
    match start.elapsed() {
        long if long > budget => Ok(vec![long.as_secs_f64() * 1e6]),
        _ => timed(&mut bound, budget, 1),
    }
}

fn timed(bound: &mut Bound<'_>, budget: Duration, least: usize) -> Result<Vec<f64>> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < least || (start.elapsed() < budget && times.len() < RUNS.1) {
        let before = Instant::now();
        bound.run()?;
        times.push(before.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The model's operation count at the dimensions of this case.
fn flops(loaded: &Loaded, case: &Case) -> Option<f64> {
    let manifest = &loaded.manifest;
    let value = |name: &str| {
        let dim = manifest.dims.iter().find(|d| d.name == name)?;
        data::dim_value(dim, &case.inputs)
    };
    let terms = manifest.flops.iter().map(|text| formula::evaluate(text, &value).ok());
    let total = terms.map(|t| t.map(|v| v as f64)).sum::<Option<f64>>()?;
    (total > 0.0).then_some(total)
}
