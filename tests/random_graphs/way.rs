//! How models are compiled. Environment variables choose what the usual run leaves out:
//!
//! * `SIRIUS_TEAMS=1,2,16`: these numbers of threads for every seed. The first is compared with the interpreter, the
//!   others with the first: bit for bit, where the numeric contract promises it.
//! * `SIRIUS_NUMERIC=strict` (or `fast`).
//! * `SIRIUS_LARGE=1`: extents up to 64 in place of 9, for tiles, blocks and what only larger nests get.
//! * `SIRIUS_VERIFY_EACH=1`: every pass is checked.
//! * `SIRIUS_DUMP=DIR`: every form on the way of the last model, in a folder for each team.
//! * `SIRIUS_REFUSALS=1`: a refusal is a failure, and shrunk.
//! * `SIRIUS_CERTIFICATE=1`: certificates are written, and must hold; a question that is not decided is no failure.

use sirius::compile::{CompileOptions, compile};
use sirius::report::forms;
use sirius::report::session::Session;
use sirius::run::Loaded;
use sirius_polyhedral::certificate::check::check;
use sirius_polyhedral::{Error, Numeric, Result};
use std::path::Path;

/// Steps of isl for one question about a certificate.
const BUDGET: u64 = 10_000_000;

pub struct Way {
    numeric: Numeric,
    verify_each: bool,
    certificate: bool,
}

/// The teams that a seed's code is made for.
pub fn teams(seed: u64) -> Vec<usize> {
    const SIZES: [usize; 4] = [2, 3, 4, 8];
    match std::env::var("SIRIUS_TEAMS") {
        Ok(list) => list.split(',').map(|n| n.parse().expect("SIRIUS_TEAMS has numbers with commas between")).collect(),
        Err(_) if seed % 4 == 3 => vec![1, SIZES[(seed / 4) as usize % SIZES.len()]],
        Err(_) => vec![1],
    }
}

/// Is a refusal to be shrunk and shown?
pub fn refusals_fail() -> bool {
    is_set("SIRIUS_REFUSALS")
}

/// Are fixed extents up to 64?
pub fn extents_are_large() -> bool {
    is_set("SIRIUS_LARGE")
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

impl Way {
    pub fn from_environment() -> Way {
        let numeric = match std::env::var("SIRIUS_NUMERIC").as_deref() {
            Ok("strict") => Numeric::Strict,
            Ok("fast") => Numeric::Fast,
            Ok("contract") | Err(_) => Numeric::Contract,
            Ok(other) => panic!("SIRIUS_NUMERIC is strict, contract or fast, not {other}"),
        };
        Way { numeric, verify_each: is_set("SIRIUS_VERIFY_EACH"), certificate: is_set("SIRIUS_CERTIFICATE") }
    }

    /// Does the contract promise the same bits for every team?
    pub fn same_bits(&self) -> bool {
        self.numeric != Numeric::Fast
    }

    /// The artifact of the model at `path` for a team that shares all that can be shared.
    pub fn machine_code(&self, path: &Path, threads: usize) -> Result<Loaded> {
        let dir = path.with_file_name(format!("threads_{threads}"));
        let certificate = self.certificate.then(|| dir.join("certificate.json"));
        let options = CompileOptions {
            name: Some("case".to_string()),
            threads: Some(threads),
            barrier_ns: Some(0.0),
            numeric: self.numeric,
            verify_each: self.verify_each,
            certificate: certificate.clone(),
            ..CompileOptions::default()
        };
        std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let dump = std::env::var_os("SIRIUS_DUMP").map(|all| Path::new(&all).join(format!("threads_{threads}")));
        compile(path, &options, &mut Session::new(dump, None), &dir)?;
        certificate.map_or(Ok(()), |path| holds(&path))?;
        Loaded::open(&dir)
    }
}

fn holds(path: &Path) -> Result<()> {
    let (certificate, _) = forms::load_certificate(path)?;
    let verdict = check(&certificate, BUDGET)?;
    match verdict.findings.first() {
        Some(finding) => Err(Error::invalid("E240", format!("the certificate: {:?}: {finding}", finding.rule))),
        None => Ok(()),
    }
}
