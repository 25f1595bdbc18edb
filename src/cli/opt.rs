//! `sirius opt`: passes on a `.poly` file, for tests and for trying things out.

use crate::cli::Outcome;
use crate::cli::args::OptArgs;
use crate::report::{forms, render};
use sirius_lowering::Target;
use sirius_polyhedral::driver::{DriverOptions, run_passes};
use sirius_polyhedral::text::{ConstantPool, parse_program, print_nest, print_program};
use sirius_polyhedral::{Error, Program, Remark, Result, astgen, pipeline};
use std::io::Read;

pub fn command(args: &OptArgs) -> Outcome {
    let mut program = read(args)?;
    let passes = pipeline::parse_list(&args.passes)?;
    let options = DriverOptions { verify_each: args.verify_each, ..DriverOptions::default() };
    let report = run_passes(&mut program, &passes, &Target::x86(&args.target_cpu).machine, options)?;
    say(args, &report.remarks);
    let mut pool = ConstantPool::default();
    if args.loops {
        let (nest, remarks) = astgen::generate_within(&program, astgen::OPERATIONS)?;
        say(args, &remarks);
        render::out(&print_nest(&nest, &mut pool));
    } else {
        render::out(&print_program(&program, &mut pool));
    }
    Ok(0)
}

/// Prints remarks on standard error, where they are asked for.
fn say(args: &OptArgs, remarks: &[Remark]) {
    if args.remarks {
        remarks.iter().for_each(|r| eprintln!("{}", render::remark(r, false)));
    }
}

fn read(args: &OptArgs) -> Result<Program> {
    if args.file.as_os_str() != "-" {
        return forms::load_program(&args.file);
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Error::environment("E835", format!("standard input: {e}")))?;
    parse_program(&text, &ConstantPool::default())
}
