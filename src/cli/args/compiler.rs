//! Options of the compiler, for every command that may compile.

use super::open::OpenArgs;
use crate::compile::{CompileOptions, Output};
use clap::{Args, ValueEnum};
use sirius_lowering::artifact::WeightsPolicy;
use sirius_lowering::count::Counting;
use sirius_polyhedral::Numeric;
use std::path::PathBuf;

#[derive(Args, Debug, Clone)]
pub struct CompilerArgs {
    /// What to generate
    #[arg(long, value_enum, default_value = "x86-64")]
    pub target: TargetArg,
    /// LLVM's processor name: native, x86-64-v3 (AVX2), x86-64-v4 (AVX-512), znver4 ...
    #[arg(long, default_value = "native", value_name = "CPU")]
    pub target_cpu: String,
    #[command(flatten)]
    pub open: OpenArgs,
    /// Room for amounts that the model computes and nothing bounds, such as the steps of a loop that collects: a run
    /// refuses larger ones
    #[arg(long, value_name = "N", default_value_t = crate::import::ROOM, value_parser = clap::value_parser!(i64).range(1..=1 << 40))]
    pub room: i64,
    /// Worker threads: how many the code is made for, and runs on (a divisor of that runs too) [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Optimization level
    #[arg(short = 'O', value_name = "LEVEL", default_value = "3", value_parser = clap::value_parser!(u8).range(0..=3))]
    pub level: u8,
    /// Run exactly these passes, in this order (see `sirius opt --help`)
    #[arg(long, value_name = "PASS,..")]
    pub passes: Option<String>,
    /// Skip an optional pass. May be repeated
    #[arg(long = "disable-pass", value_name = "PASS")]
    pub disabled: Vec<String>,
    /// Run only the first N optional passes: halve N to find the pass that breaks a model
    #[arg(long, value_name = "N")]
    pub pass_limit: Option<usize>,
    /// Write every intermediate form into this folder; each is a valid input of `sirius opt`
    #[arg(long, value_name = "DIR")]
    pub dump_dir: Option<PathBuf>,
    /// Verify the program and prove the schedule legal after every pass
    #[arg(long)]
    pub verify_each: bool,
    /// Print how long each phase and pass took
    #[arg(long)]
    pub time_passes: bool,
    /// Print decisions of the passes
    #[arg(long, value_enum, value_name = "WHICH", num_args = 0..=1, default_missing_value = "all")]
    pub remarks: Option<RemarksArg>,
    /// Constant weights inside the library or in a file beside it (auto: beside it from 64 MiB)
    #[arg(long, value_enum, default_value = "auto")]
    pub weights: WeightsArg,
    /// What code may do to rounding. strict: every operation in the program's order, rounded once; contract: fused
    /// multiply-adds, and a fixed tree of partial sums. Both give the same bits for every number of threads. fast: as
    /// contract, and the operators of one expression may be regrouped and divisions may become products with reciprocals
    #[arg(long, value_enum, default_value = "contract")]
    pub numeric: NumericArg,
    /// Make code that counts what it does (`sirius run --count` shows it): several times slower
    #[arg(long)]
    pub count: bool,
    /// Name of the artifact's files and symbols; default: the model's
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetArg {
    #[value(name = "x86-64")]
    X86,
    Nvptx,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarksArg {
    All,
    Applied,
    Missed,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsArg {
    Auto,
    Embed,
    Sidecar,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumericArg {
    Strict,
    Contract,
    Fast,
}

impl CompilerArgs {
    pub fn options(&self) -> CompileOptions {
        CompileOptions {
            output: match self.target {
                TargetArg::X86 => Output::X86,
                TargetArg::Nvptx => Output::Nvptx,
            },
            cpu: self.target_cpu.clone(),
            room: self.room,
            threads: self.threads.map(usize::from),
            barrier_ns: None,
            level: self.level,
            passes: self.passes.clone(),
            disabled: self.disabled.iter().cloned().collect(),
            pass_limit: self.pass_limit,
            verify_each: self.verify_each,
            weights: match self.weights {
                WeightsArg::Auto => WeightsPolicy::Auto,
                WeightsArg::Embed => WeightsPolicy::Embed,
                WeightsArg::Sidecar => WeightsPolicy::Sidecar,
            },
            numeric: match self.numeric {
                NumericArg::Strict => Numeric::Strict,
                NumericArg::Contract => Numeric::Contract,
                NumericArg::Fast => Numeric::Fast,
            },
            name: self.name.clone(),
            counting: if self.count { Counting::On } else { Counting::Off },
            ..self.open.options()
        }
    }
}
