//! The list of refused cases, `expected.txt`: one line each, name and reason.

use crate::cases::Case;
use crate::protocol::Verdict;
use crate::report;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const HEADER: &str = "# Cases of the ONNX backend tests that the compiler refuses, and why. A refusal that is not listed here fails\n\
# the test. Made by: SIRIUS_BLESS=1 cargo test --test conformance\n";

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn list() -> PathBuf {
    in_repository("tests/conformance/expected.txt")
}

pub fn blessing() -> bool {
    std::env::var_os("SIRIUS_BLESS").is_some()
}

/// Name to reason.
pub fn read() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(list()).unwrap_or_default();
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines.filter_map(|l| l.split_once(": ")).map(|(name, why)| (name.to_string(), why.to_string())).collect()
}

/// After a run of all cases: writes list and table, or says that they are behind.
pub fn settle(cases: &[Case], verdicts: &BTreeMap<String, Verdict>, listed: &BTreeMap<String, String>) {
    println!("{}", report::summary(verdicts));
    let files = [
        (list(), format!("{HEADER}{}", lines(verdicts))),
        (in_repository("docs/conformance.md"), report::table(cases, verdicts)),
    ];
    if blessing() {
        for (path, text) in files {
            let folder = path.parent().expect("a file in the repository has a folder");
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&path, text))
                .expect("the repository is writable");
        }
        return;
    }
    let passing = |name: &&String| matches!(verdicts.get(*name), Some(Verdict::Passed | Verdict::PassedFixed(_)));
    let better: Vec<&String> = listed.keys().filter(passing).collect();
    if !better.is_empty() {
        println!(
            "{} cases listed as refused pass now; SIRIUS_BLESS=1 takes them off the list: {better:?}",
            better.len()
        );
    }
}

fn lines(verdicts: &BTreeMap<String, Verdict>) -> String {
    let line = |(name, verdict): (&String, &Verdict)| match verdict {
        Verdict::Refused(why) => Some(format!("{name}: {why}\n")),
        _ => None,
    };
    verdicts.iter().filter_map(line).collect()
}
