//! `sirius opt`: passes on a `.poly` file, for tests and for trying things out.

use crate::cli::Outcome;
use crate::cli::args::OptArgs;
use crate::report::render;
use sirius_lowering::Target;
use sirius_polyhedral::driver::{DriverOptions, run_passes};
use sirius_polyhedral::{Error, Result, astgen, pipeline, text};
use std::io::Read;

pub fn command(args: &OptArgs) -> Outcome {
    let mut program = text::parse(&read(args)?)?;
    let passes = pipeline::parse_list(&args.passes)?;
    let options = DriverOptions { verify_each: args.verify_each, ..DriverOptions::default() };
    let report = run_passes(&mut program, &passes, &Target::x86(&args.target_cpu).machine, options)?;
    if args.remarks {
        report.remarks.iter().for_each(|r| eprintln!("{}", render::remark(r, false)));
    }
    render::out(&match args.loops {
        true => text::print_loops(&astgen::generate(&program)?),
        false => text::print(&program),
    });
    Ok(0)
}

fn read(args: &OptArgs) -> Result<String> {
    let result = match args.file.to_str() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        _ => std::fs::read_to_string(&args.file),
    };
    result.map_err(|e| Error::environment("E835", format!("{}: {e}", args.file.display())))
}
