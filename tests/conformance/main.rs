//! The ONNX backend tests, one named case each, through the compiler at `-O3`: import, passes, machine code, load,
//! run, and comparison at the reference runner's tolerances.
//!
//! A case passes, or is refused with a code and a reason, or fails (a wrong result, a crash, a hang). Refused cases
//! are listed in `expected.txt`: a refusal that is not listed fails, so that what once passed stays passing.
//!
//! The suite is `models/fetched/conformance` (`python3 models/fetch.py conformance`) or the folder that
//! `SIRIUS_CONFORMANCE` names. `cargo test --test conformance reduce_` runs the cases whose names contain `reduce_`.
//! `SIRIUS_BLESS=1` on a run of all cases rewrites `expected.txt` and `docs/conformance.md`.

#[path = "../common/advice.rs"]
mod advice;
mod cases;
mod judge;
#[path = "../common/pool.rs"]
mod pool;
mod protocol;
mod ratchet;
mod report;
mod tolerances;
mod worker;

use cases::Case;
use libtest_mimic::{Arguments, Failed, Trial};
use pool::Pool;
use protocol::Verdict;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The largest case takes 8 s of processor time; a machine that is shared with ten other programs has taken 200 s.
const LIMIT: Duration = Duration::from_secs(600);

/// What the run has found so far, by case.
type Verdicts = Arc<Mutex<BTreeMap<String, Verdict>>>;

fn main() -> ExitCode {
    if let Some(code) = pool::serve(worker::answer, worker::panicked) {
        return code;
    }
    let mut arguments = Arguments::from_args();
    let threads = *arguments.test_threads.get_or_insert_with(pool::processors);
    let Some(root) = cases::root() else {
        let name = "the suite is not here: python3 models/fetch.py conformance";
        return libtest_mimic::run(&arguments, vec![Trial::test(name, || Ok(())).with_ignored_flag(true)]).exit_code();
    };
    let cases = cases::all(&root);
    let verdicts = Verdicts::default();
    let pool = Arc::new(Pool::new(threads, LIMIT));
    let listed = Arc::new(ratchet::read());
    let trial = |case: &Case| {
        let (case, pool, verdicts, listed) = (case.clone(), pool.clone(), verdicts.clone(), listed.clone());
        Trial::test(case.name.clone(), move || {
            let verdict = protocol::verdict(pool.ask(&protocol::request(&case)));
            let result = judge(&case, &verdict, &listed);
            verdicts.lock().expect("no trial panics").insert(case.name, verdict);
            result
        })
    };
    let conclusion = libtest_mimic::run(&arguments, cases.iter().map(trial).collect());
    let verdicts = verdicts.lock().expect("no trial panics");
    if verdicts.len() == cases.len() {
        ratchet::settle(&cases, &verdicts, &listed);
    }
    conclusion.exit_code()
}

/// A refusal is a pass where it is listed, or while the list is being made.
fn judge(case: &Case, verdict: &Verdict, listed: &BTreeMap<String, String>) -> Result<(), Failed> {
    match verdict {
        Verdict::Passed | Verdict::PassedFixed(_) => Ok(()),
        Verdict::Refused(_) if listed.contains_key(&case.name) || ratchet::blessing() => Ok(()),
        Verdict::Refused(why) => {
            Err(format!("refused, but not listed in tests/conformance/expected.txt: {why}").into())
        }
        Verdict::Wrong(what) => Err(what.into()),
    }
}
