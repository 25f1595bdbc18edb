//! The command line: one file per command, arguments in `args`, and what must never happen in `guard`.

mod ablate;
mod args;
mod bench;
mod check;
mod compile;
mod data;
mod doctor;
mod explain;
mod guard;
mod inspect;
mod ops;
mod opt;
mod profile;
mod run;
mod verify;

use crate::report::render;
use args::{Cli, Command};
use clap::Parser;
use sirius_polyhedral::Result;
use std::process::ExitCode;

/// Runs the command of this process. Exit codes: 0 ok, 1 invalid model, 2 usage, 3 unsupported, 4 mismatch,
/// 5 budget, 6 environment, 70 internal error with a reproducer.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_log();
    ExitCode::from(guard::run(move || finish(dispatch(&cli))))
}

/// What a command ended with: 0, or the exit code of a failed comparison.
type Outcome = Result<u8>;

fn dispatch(cli: &Cli) -> Outcome {
    match &cli.command {
        Command::Compile(args) => compile::command(args),
        Command::Run(args) => run::command(args),
        Command::Check(args) => check::command(args),
        Command::Inspect(args) => inspect::command(args),
        Command::Bench(args) => bench::command(args),
        Command::Profile(args) => profile::command(args),
        Command::Ablate(args) => ablate::command(args),
        Command::Explain(args) => explain::command(args),
        Command::Ops(args) => ops::command(args),
        Command::Verify(args) => verify::command(args),
        Command::Opt(args) => opt::command(args),
        Command::Doctor => doctor::command(),
    }
}

fn finish(outcome: Outcome) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            render::print_error(&error);
            guard::report_bug(&error);
            render::exit_code(&error)
        }
    }
}

/// `SIRIUS_LOG=debug` shows what the stages do, on standard error.
fn init_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("SIRIUS_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    // A second subscriber only fails in tests that call this twice.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
