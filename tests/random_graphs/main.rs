//! Random valid models through the whole compiler at `-O3`, against the reference interpreter.
//!
//! A seed is a model: 5 to 40 operators (and what they need around them) with extents from 0 to 9, broadcasts, mixed
//! element types, optional inputs, several outputs, named dimensions in a third of the models, and control flow. Every
//! model is a file that is imported, compiled (every fourth one also for a team of threads that share whatever can be
//! shared, however small), loaded and run twice, with new values for the named dimensions. Results must be equal, floats
//! within the bound that the generator derives for each output (`bounds.rs`); operators with jumps get operands that are the
//! same bits on both sides.
//!
//! `SIRIUS_SEEDS=17` runs one seed, `SIRIUS_SEEDS=0..20000` many; without it the first 2,000 run. A failing model is
//! shrunk and printed as text; `SIRIUS_KEEP=DIR` writes it there as an ONNX file. `way.rs` says which variables choose
//! other teams and numeric contracts, and have passes and certificates checked. Refusals are counted by reason, and must stay
//! few.
//!
//! Left out: NaN and infinities as data (bounds say nothing about them; `tests/special_values.rs` has them), and random
//! and signal operators with outputs that are not determined up to rounding.

mod bounds;
mod choices;
mod data;
mod dim;
mod job;
mod maker;
mod model;
mod onnx;
mod operators;
#[path = "../common/pool.rs"]
mod pool;
mod shrink;
mod way;

use job::{Outline, Request, Verdict};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use pool::Pool;
use shrink::{Failing, shrink};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a run of `cargo test` tries.
const SEEDS: std::ops::Range<u64> = 0..2000;

/// Of 100 models, at most this many may be refused.
const REFUSED: usize = 3;

/// A model takes well under a second of processor time.
const LIMIT: Duration = Duration::from_secs(60);

/// Failures of a run that are shrunk: it takes minutes where many models fail for one reason.
const SHRUNK: usize = 3;

/// What was refused, by reason: how often, and the first seed.
type Refusals = Arc<Mutex<BTreeMap<String, (usize, u64)>>>;

fn main() -> ExitCode {
    if let Some(code) = pool::serve(job::answer, job::panicked) {
        return code;
    }
    let mut arguments = Arguments::from_args();
    let threads = *arguments.test_threads.get_or_insert_with(pool::processors);
    let pool = Arc::new(Pool::new(threads, LIMIT));
    let refusals = Refusals::default();
    let seeds = seeds();
    let mut trials: Vec<Trial> = seeds.clone().map(|seed| trial(seed, &pool, &refusals)).collect();
    trials.push(Trial::test("a_wrong_operator_is_found_and_shrunk", move || wrong_operator(&pool)));
    trials.push(Trial::test("the_models_are_varied", varied));
    let conclusion = libtest_mimic::run(&arguments, trials);
    settle(&conclusion, &refusals.lock().expect("no trial panics"), seeds.count())
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SIRIUS_SEEDS") else { return SEEDS };
    let number = |t: &str| t.parse::<u64>().expect("SIRIUS_SEEDS is a number, or two with `..` between them");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

fn trial(seed: u64, pool: &Arc<Pool>, refusals: &Refusals) -> Trial {
    let (pool, refusals) = (pool.clone(), refusals.clone());
    Trial::test(format!("seed_{seed}"), move || {
        let request = Request::seed(seed);
        match ask(&pool, &request) {
            Verdict::Agrees => Ok(()),
            Verdict::Refused(why) => {
                let mut refusals = refusals.lock().expect("no trial panics");
                refusals.entry(why).or_insert((0, seed)).0 += 1;
                Ok(())
            }
            verdict => Err(report(seed, Failing { request, verdict }, &pool)),
        }
    })
}

fn ask(pool: &Pool, request: &Request) -> Verdict {
    Verdict::from_answer(pool.ask(&request.to_line()))
}

/// The smallest model that fails in the same way. `SIRIUS_KEEP` names a folder for it as an ONNX file.
fn report(seed: u64, failing: Failing, pool: &Pool) -> Failed {
    static SO_FAR: AtomicUsize = AtomicUsize::new(0);
    let first = failing.verdict.clone();
    let rerun = format!("rerun: SIRIUS_SEEDS={seed} cargo test --test random_graphs");
    if SO_FAR.fetch_add(1, Ordering::Relaxed) >= SHRUNK {
        return format!("{first:?}\nnot shrunk: {SHRUNK} others were; {rerun}").into();
    }
    let small = shrink(failing, &|request| ask(pool, request));
    if let Some(folder) = std::env::var_os("SIRIUS_KEEP") {
        let path = std::path::Path::new(&folder).join(format!("seed_{seed}.onnx"));
        std::fs::write(&path, small.request.file()).expect("SIRIUS_KEEP is a folder");
    }
    let text = small.request.explain();
    format!("{first:?}\nshrunk: {:?}\n{text}{rerun} (SIRIUS_KEEP=DIR writes the small model there)", small.verdict)
        .into()
}

/// The seeds hold what they are meant to: every operator, control flow inside control flow, named dimensions, and
/// models of the intended size.
fn varied() -> Result<(), Failed> {
    let outlines: Vec<Outline> = SEEDS.map(|seed| Request::seed(seed).outline()).collect();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    outlines.iter().flat_map(|o| &o.operators).for_each(|op| *uses.entry(op).or_default() += 1);
    let share = |test: &dyn Fn(&Outline) -> bool| 100 * outlines.iter().filter(|o| test(o)).count() / outlines.len();
    let control = share(&|o| o.operators.iter().any(|op| matches!(op.as_str(), "If" | "Loop" | "Scan")));
    let (nested, named) = (share(&|o| o.is_nested), share(&|o| o.is_symbolic));
    let sized = share(&|o| (5..=60).contains(&o.operators.len()));
    let mut sizes: Vec<usize> = outlines.iter().map(|o| o.operators.len()).collect();
    sizes.sort_unstable();
    let found = format!(
        "{} operators; of 100 models {control} have control flow, {nested} nested, {named} named dimensions; {sized} have \
         5 to 60 nodes, half have {} or more\n{uses:?}",
        uses.len(),
        sizes[sizes.len() / 2]
    );
    println!("{found}");
    let enough = uses.len() >= 130 && control >= 25 && nested >= 5 && named >= 20 && sized >= 90;
    if enough { Ok(()) } else { Err(found.into()) }
}

/// The judge and the shrinker can fail a model: `Sub` compiled as `Add` is found, and little else is left.
fn wrong_operator(pool: &Pool) -> Result<(), Failed> {
    for seed in 0..200 {
        let request = Request { sabotage: true, ..Request::seed(seed) };
        if !request.outline().operators.iter().any(|op| op == "Sub") {
            continue;
        }
        let verdict = ask(pool, &request);
        if !matches!(&verdict, Verdict::Wrong(why) if why.starts_with("output ")) {
            continue;
        }
        let small = shrink(Failing { request, verdict }, &|request| ask(pool, request));
        let left = small.request.outline().operators;
        return match left.len() <= 3 && left.iter().any(|op| op == "Sub") {
            true => Ok(()),
            false => Err(format!("seed {seed} shrank to {left:?} only").into()),
        };
    }
    Err("no difference was found".into())
}

/// Prints what was refused; too much of it fails the run.
fn settle(conclusion: &Conclusion, refusals: &BTreeMap<String, (usize, u64)>, seeds: usize) -> ExitCode {
    let total: usize = refusals.values().map(|(count, _)| count).sum();
    println!("{total} of {seeds} models were refused");
    for (why, (count, seed)) in refusals {
        println!("  {count} (seed {seed}): {why}");
    }
    if total * 100 > seeds * REFUSED && seeds >= 100 {
        println!("that is more than {REFUSED} of 100");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
