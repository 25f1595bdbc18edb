//! `sirius ablate`: what every pass is worth on a model, in counts and in time.

use crate::cli::args::AblateArgs;
use crate::cli::data::{self, Case};
use crate::cli::{Outcome, bench};
use crate::compile::{CompileOptions, compile, target};
use crate::report::{progress::Progress, render, session::Session};
use crate::run::Loaded;
use crate::run::count::{Counts, Depth};
use crate::run::limits::Limits;
use serde::Serialize;
use sirius_lowering::count::Counting;
use sirius_polyhedral::{Error, Result, pipeline};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Passes without which every operator is a kernel of its own, tiled and in registers as well as the others.
const UNFUSED: [&str; 14] = [
    "dce",
    "cse",
    "fold",
    "reroll",
    "sink",
    "forward",
    "predicates",
    "online",
    "distribute",
    "fuse",
    "fuse-tiles",
    "overlap",
    "hoist",
    "wavefront",
];

/// Passes that do nothing for one thread of this processor, and need two to be worth a row. `barriers` has one: barriers
/// are counted with two threads.
const ELSEWHERE: [&str; 2] = ["map-gpu", "team"];

/// Rounds in which the variants are timed in turn, so that all meet the same weather.
const ROUNDS: usize = 5;

/// Longer inferences are timed in one round: no weather matters to what is so slow.
const TOO_LONG_US: f64 = 2e6;

/// The compiler with some passes off.
struct Variant {
    name: String,
    disabled: BTreeSet<String>,
}

/// What one variant came to.
#[derive(Clone, Serialize)]
struct Row {
    model: String,
    data: String,
    /// `all passes`, `without PASS`, `unfused`, or `no optional pass`.
    variant: String,
    regions: u64,
    loops: u64,
    /// With two threads.
    barriers: u64,
    /// Bytes of all accesses.
    loaded_bytes: u64,
    stored_bytes: u64,
    /// Distinct bytes, region by region.
    read_bytes: u64,
    written_bytes: u64,
    /// Bytes between the second level of cache and what is behind it, both ways.
    behind_l2_bytes: u64,
    operations: u64,
    workspace_bytes: Option<u64>,
    /// What these operations and bytes take on this core at least, region by region; `null` as below.
    limit_us: Option<f64>,
    /// `null` where no time was asked for.
    median_us: Option<f64>,
    min_us: Option<f64>,
    compile_s: f64,
    /// An earlier variant with the very same artifact, whose figures these are.
    same_as: Option<String>,
}

pub fn command(args: &AblateArgs) -> Outcome {
    let progress = Progress::start();
    let limits =
        if args.seconds > 0.0 { Some(Limits::measure(&target(&args.compiler.options())?.machine)) } else { None };
    let mut kinds: Vec<Kind> = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for variant in variants(&args.only)? {
        progress.phase(&variant.name);
        let made = make(args, &variant)?;
        let row = match kinds.iter_mut().find(|k| k.made.print == made.print) {
            Some(kind) => {
                kind.rows.push(rows.len());
                let first = &rows[kind.rows[0]];
                let barriers = barriers(args, &variant, &kind.case)?;
                let same_as = first.same_as.clone().or(Some(first.variant.clone()));
                let compile_s = made.time.as_secs_f64();
                Row { variant: variant.name, barriers, compile_s, same_as, ..first.clone() }
            }
            None => {
                let case = data::first_case(&args.data, &made.loaded)?;
                let row = count(args, &variant, &made, &case, limits)?;
                kinds.push(Kind { made, case, rows: vec![rows.len()] });
                row
            }
        };
        rows.push(row);
    }
    if args.seconds > 0.0 {
        progress.phase("times");
        time(args, &kinds, &mut rows)?;
    }
    drop(progress);
    render::out(&if args.json { json(&rows)? } else { text(&rows) });
    Ok(0)
}

/// All passes; each optional one off; unfused; all optional ones off.
fn variants(only: &[String]) -> Result<Vec<Variant>> {
    let optional: Vec<&str> = pipeline::all().iter().filter(|p| !p.required()).map(|p| p.name()).collect();
    let variant = |name: String, disabled: &[&str]| Variant {
        name,
        disabled: disabled.iter().map(|p| (*p).to_string()).collect(),
    };
    let mut all = vec![variant("all passes".into(), &[])];
    let own = optional.iter().filter(|p| !ELSEWHERE.contains(p));
    all.extend(own.map(|p| variant(format!("without {p}"), &[p])));
    all.push(variant("unfused".into(), &UNFUSED));
    all.push(variant("no optional pass".into(), &optional));
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|v| v.name != **name)) {
        let names: Vec<_> = all.iter().map(|v| v.name.as_str()).collect();
        return Err(Error::invalid("E835", format!("there is no variant \"{unknown}\""))
            .help(format!("variants are: {}", names.join(", "))));
    }
    all.retain(|v| only.is_empty() || only.contains(&v.name));
    Ok(all)
}

/// A loaded artifact, and the folder that it lives in.
struct Made {
    _dir: TempDir,
    loaded: Loaded,
    time: Duration,
    /// Equal for equal artifacts.
    print: (Vec<u8>, String),
}

/// An artifact that differs from all others, and the variants that it is the result of.
struct Kind {
    made: Made,
    case: Case,
    rows: Vec<usize>,
}

fn make(args: &AblateArgs, variant: &Variant) -> Result<Made> {
    make_as(&options(args, variant), args)
}

fn options(args: &AblateArgs, variant: &Variant) -> CompileOptions {
    let base = args.compiler.options();
    let disabled = base.disabled.union(&variant.disabled).cloned().collect();
    CompileOptions { disabled, threads: Some(1), ..base }
}

fn make_as(options: &CompileOptions, args: &AblateArgs) -> Result<Made> {
    let dir = tempfile::tempdir().map_err(|e| Error::environment("E611", format!("no temporary folder: {e}")))?;
    let start = Instant::now();
    compile(&args.model, options, &mut Session::default(), dir.path())?;
    let time = start.elapsed();
    let loaded = Loaded::open(dir.path())?;
    let print = print(dir.path(), &loaded)?;
    Ok(Made { _dir: dir, loaded, time, print })
}

/// The contents of the library, and the hash of weights beside it.
fn print(dir: &Path, loaded: &Loaded) -> Result<(Vec<u8>, String)> {
    let file = dir.join(&loaded.manifest.library);
    let library =
        std::fs::read(&file).map_err(|e| Error::environment("E611", format!("cannot read {}: {e}", file.display())))?;
    Ok((library, loaded.manifest.weights.xxh64.clone()))
}

/// Counts with one thread, and barriers with two.
fn count(args: &AblateArgs, variant: &Variant, made: &Made, case: &Case, limits: Option<Limits>) -> Result<Row> {
    let counting = CompileOptions { counting: Counting::On, ..options(args, variant) };
    let one = make_as(&counting, args)?.loaded.count(&case.inputs, Depth::Everything)?;
    let limit_us = limits.map(|l| l.nanoseconds(&one.phases).iter().sum::<f64>() / 1e3);
    Ok(Row { limit_us, ..row(variant, made, case, &one, barriers(args, variant, case)?) })
}

/// The passes decide anew for two threads, so this is asked of every variant.
fn barriers(args: &AblateArgs, variant: &Variant, case: &Case) -> Result<u64> {
    let counting = CompileOptions { counting: Counting::On, threads: Some(2), ..options(args, variant) };
    Ok(make_as(&counting, args)?.loaded.count(&case.inputs, Depth::Control)?.barriers)
}

fn row(variant: &Variant, made: &Made, case: &Case, counts: &Counts, barriers: u64) -> Row {
    let total = counts.total();
    let behind_l2 = counts.moved.get(1).map_or(0, |m| m.filled + m.written_back);
    let manifest = &made.loaded.manifest;
    let dims = data::dim_values(manifest, &case.inputs);
    Row {
        model: manifest.name.clone(),
        data: case.name.clone(),
        variant: variant.name.clone(),
        regions: counts.regions,
        loops: counts.loops,
        barriers,
        loaded_bytes: total.loaded,
        stored_bytes: total.stored,
        read_bytes: total.read,
        written_bytes: total.written,
        behind_l2_bytes: behind_l2,
        operations: counts.operations,
        workspace_bytes: dims.and_then(|d| made.loaded.workspace_bytes(&d)).map(|b| b as u64),
        limit_us: None,
        median_us: None,
        min_us: None,
        compile_s: made.time.as_secs_f64(),
        same_as: None,
    }
}

/// Times all artifacts in turn, several times: the median of each one's medians, and its best time.
fn time(args: &AblateArgs, kinds: &[Kind], rows: &mut [Row]) -> Result<()> {
    let share = Duration::from_secs_f64(args.seconds.min(3600.0) / ROUNDS as f64);
    let mut medians = vec![Vec::new(); kinds.len()];
    let mut best = vec![f64::INFINITY; kinds.len()];
    for _ in 0..ROUNDS {
        for (n, kind) in kinds.iter().enumerate() {
            if best[n].is_finite() && best[n] > TOO_LONG_US {
                continue;
            }
            let times = bench::few_times(&kind.made.loaded, &kind.case, share)?;
            medians[n].push(times[times.len() / 2]);
            best[n] = best[n].min(times[0]);
        }
    }
    for ((kind, mut medians), best) in kinds.iter().zip(medians).zip(best) {
        medians.sort_by(f64::total_cmp);
        for row in &kind.rows {
            rows[*row].median_us = Some(medians[medians.len() / 2]);
            rows[*row].min_us = Some(best);
        }
    }
    Ok(())
}

fn json(rows: &[Row]) -> Result<String> {
    let line = |row: &Row| serde_json::to_string(row).map(|text| format!("{text}\n"));
    let lines: std::result::Result<String, _> = rows.iter().map(line).collect();
    lines.map_err(|e| Error::bug("B903", format!("a row does not serialize: {e}")))
}

fn text(rows: &[Row]) -> String {
    let head = [
        "variant",
        "regions",
        "loops",
        "barriers",
        "loaded",
        "stored",
        "read",
        "written",
        "behind L2",
        "workspace",
        "limit us",
        "median us",
        "min us",
        "compile s",
        "same as",
    ];
    let mut table = vec![head.map(String::from).to_vec()];
    table.extend(rows.iter().map(|r| {
        let counts = [r.regions, r.loops, r.barriers].map(|n| n.to_string());
        let bytes = [r.loaded_bytes, r.stored_bytes, r.read_bytes, r.written_bytes, r.behind_l2_bytes];
        let bytes = bytes.map(super::compile::size);
        let workspace = r.workspace_bytes.map_or("-".into(), super::compile::size);
        let [limit, median, min] =
            [r.limit_us, r.median_us, r.min_us].map(|t| t.map_or("-".into(), |t| format!("{t:.1}")));
        let same_as = r.same_as.clone().unwrap_or_default();
        let rest = [workspace, limit, median, min, format!("{:.2}", r.compile_s), same_as];
        [r.variant.clone()].into_iter().chain(counts).chain(bytes).chain(rest).collect()
    }));
    render::table(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_optional_pass_has_a_variant() {
        let all = variants(&[]).unwrap();
        for pass in pipeline::all().iter().filter(|p| !p.required() && !ELSEWHERE.contains(&p.name())) {
            assert_eq!(all.iter().filter(|v| v.disabled.len() == 1 && v.disabled.contains(pass.name())).count(), 1);
        }
        assert!(UNFUSED.iter().all(|p| pipeline::find(p).is_ok_and(|p| !p.required())));
        assert!(variants(&["without spoon".to_string()]).is_err());
    }
}
