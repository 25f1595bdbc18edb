//! Arguments of every command, and the help that teaches them.

use crate::compile::{CompileOptions, Output};
use crate::import::{Dimension, Given, Length, Shape};
use crate::run::pb;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sirius_lowering::artifact::WeightsPolicy;
use sirius_lowering::count::Counting;
use sirius_polyhedral::Numeric;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Parser, Debug)]
#[command(
    name = "sirius",
    version,
    about = "Compiles ONNX networks, host control flow and kernels together, as one polyhedral program",
    after_help = "A first session:
  sirius check model.onnx                     is everything in it supported?
  sirius compile model.onnx -o out            model.so, model.h, model.json in out/
  sirius run out --data test_data_set_0       run it and compare with output_*.pb
  sirius bench out --data test_data_set_0     median, p90, min, GFLOP/s

Exit codes: 0 ok, 1 invalid model, 2 wrong usage, 3 unsupported (complete list), 4 results differ,
5 budget exceeded, 6 environment (tool, file, processor), 70 internal error with a reproducer."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Compile a model to a shared object with a C header
    Compile(CompileArgs),
    /// Run a model or an artifact, and compare with expected outputs where there are any
    Run(RunArgs),
    /// List everything in a model that is not supported, with node names
    Check(CheckArgs),
    /// Show inputs, outputs, operators and sizes, or any intermediate form
    Inspect(InspectArgs),
    /// Measure the time of one inference
    Bench(BenchArgs),
    /// Measure what every pass is worth on a model: regions, barriers, bytes, workspace, time
    Ablate(AblateArgs),
    /// Say what became of a node: its loops, and why it was (not) fused
    Explain(ExplainArgs),
    /// List the operators that the compiler knows, with opset versions and element types
    Ops(OpsArgs),
    /// Check the certificate of a compilation
    Verify(VerifyArgs),
    /// Run passes on a `.poly` file and print the result
    Opt(OptArgs),
    /// Check this machine: LLVM, linker, processor, memory
    Doctor,
}

/// Options of the compiler, shared by every command that may compile.
#[derive(Args, Debug, Clone)]
pub struct CompilerArgs {
    /// What to generate
    #[arg(long, value_enum, default_value = "x86-64")]
    pub target: TargetArg,
    /// LLVM's processor name: native, x86-64-v3 (AVX2), x86-64-v4 (AVX-512), znver4 ...
    #[arg(long, default_value = "native", value_name = "CPU")]
    pub target_cpu: String,
    /// Fix a named dimension (batch=1), or bound it and say what to tune for (seq=1..512:128). May be repeated
    #[arg(long = "dim", value_name = "NAME=VALUE|LO..HI[:TYPICAL]", value_parser = parse_dim)]
    pub dims: Vec<(String, Dimension)>,
    /// Fix the contents of an input that decides shapes: numbers (axes=0,2) or a .pb or .npy file. May be repeated
    #[arg(long = "value", value_name = "INPUT=VALUES", value_parser = parse_value)]
    pub values: Vec<(String, Given)>,
    /// How many tensors an input has that is a sequence; 1 or none for an optional. May be repeated
    #[arg(long = "length", value_name = "INPUT=N|none", value_parser = parse_named::<Length>)]
    pub lengths: Vec<(String, Length)>,
    /// Dimensions of an input (or of element NAME[K] of a sequence) that the model leaves open: numbers, names or ?
    #[arg(long = "shape", value_name = "INPUT=N,M,..", value_parser = parse_named::<Shape>)]
    pub shapes: Vec<(String, Shape)>,
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
            dims: self.dims.iter().cloned().collect(),
            values: self.values.iter().cloned().collect(),
            lengths: self.lengths.iter().cloned().collect(),
            shapes: self.shapes.iter().cloned().collect(),
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
            certificate: None,
            certificate_constants: false,
            fusion_report: None,
            counting: if self.count { Counting::On } else { Counting::Off },
        }
    }
}

fn parse_dim(text: &str) -> Result<(String, Dimension), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = named.ok_or("wanted NAME=VALUE or NAME=LO..HI, for example batch=1")?;
    Ok((name.to_string(), value.parse()?))
}

/// `NAME=` and what the type reads.
fn parse_named<T: FromStr<Err = String>>(text: &str) -> Result<(String, T), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = named.ok_or("wanted INPUT=.., for example xs=3")?;
    Ok((name.to_string(), value.parse()?))
}

/// `axes=0,2`, `scale=0.5`, `shape=` (no elements), or `axes=FILE.pb`.
fn parse_value(text: &str) -> Result<(String, Given), String> {
    let (name, value) = text.split_once('=').ok_or("wanted INPUT=VALUES, for example axes=0,2")?;
    if value.ends_with(".pb") || value.ends_with(".npy") {
        let tensor = pb::read(Path::new(value)).map_err(|e| e.to_string())?;
        return Ok((name.to_string(), Given::Tensor(tensor)));
    }
    let words = || value.split(',').map(str::trim).filter(|w| !w.is_empty());
    let ints: Result<Vec<i128>, _> = words().map(str::parse).collect();
    let floats = || words().map(str::parse).collect::<Result<Vec<f64>, _>>();
    let given = ints.map(Given::Ints).or_else(|_| floats().map(Given::Floats));
    let given =
        given.map_err(|_| format!("\"{value}\" is neither numbers with commas between nor a .pb or .npy file"))?;
    Ok((name.to_string(), given))
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sirius compile bert.onnx -o out                      symbolic batch and sequence stay symbolic
  sirius compile bert.onnx -o out --dim batch=1        fixes one dimension
  sirius compile bert.onnx -o out --dim seq=1..512:128 refuses others, and is tuned for 128
  sirius compile m.onnx -o out --length xs=3           three tensors in the sequence xs: inputs xs[0], xs[1], xs[2]
  sirius compile m.onnx -o out --target-cpu x86-64-v3  for any processor with AVX2
  sirius compile m.onnx -o out --remarks missed        what could not be fused, and why
  sirius compile m.onnx -o out --dump-dir dumps        every form on the way")]
pub struct CompileArgs {
    /// The ONNX file
    pub model: PathBuf,
    /// Folder of the artifact: NAME.so, NAME.h, NAME.json and, for large weights, NAME.weights
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    pub output: PathBuf,
    /// Write dependences, schedule and storage maps to this file, for `sirius verify`
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Write the bytes of constants that are made of others beside the certificate (FILE.bin), for `sirius verify` to compare
    #[arg(long, requires = "certificate")]
    pub certificate_constants: bool,
    /// Write the groups that fusion made, and why no two of them are one, to this file (docs/fusion.schema.json)
    #[arg(long, value_name = "FILE")]
    pub fusion_report: Option<PathBuf>,
    #[command(flatten)]
    pub compiler: CompilerArgs,
}

/// Where inputs come from.
#[derive(Args, Debug, Clone)]
pub struct DataArgs {
    /// Folder with input_0.pb (or .npy), input_1.pb ... and optionally output_0.pb ...; or a folder of
    /// test_data_set_* folders. Without it inputs are made up
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Seed of made-up inputs
    #[arg(long, default_value = "1", value_name = "N")]
    pub seed: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sirius run out --data test_data_set_0         run, and compare with output_*.pb
  sirius run model.onnx --data test_data_set_0  compile first
  sirius run model.onnx --reference             by the slow reference interpreter, on made-up inputs
  sirius run model.onnx --verify                compiled code against the reference interpreter
  sirius run model.onnx --count                 bytes, operations, regions and barriers of one inference
Exit code 4 when an output differs; the message names output, index, got, wanted, ULP.")]
pub struct RunArgs {
    /// An ONNX file, an artifact's folder, or an artifact's manifest (.json)
    pub model: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Allowed relative difference of floats
    #[arg(long, value_name = "X")]
    pub rtol: Option<f64>,
    /// Allowed absolute difference of floats
    #[arg(long, value_name = "X")]
    pub atol: Option<f64>,
    /// Write outputs here as output_0.pb ...
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Use the reference interpreter instead of compiled code (ONNX files only)
    #[arg(long)]
    pub reference: bool,
    /// Compare compiled code with the reference interpreter (ONNX files only)
    #[arg(long, conflicts_with = "reference")]
    pub verify: bool,
    #[command(flatten)]
    pub compiler: CompilerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Prints the complete list at once and exits with 3 when there is anything on it.")]
pub struct CheckArgs {
    /// The ONNX file
    pub model: PathBuf,
    #[arg(long = "dim", value_name = "NAME=VALUE|LO..HI", value_parser = parse_dim, help = "Fix or bound a named dimension")]
    pub dims: Vec<(String, Dimension)>,
    #[arg(long = "value", value_name = "INPUT=VALUES", value_parser = parse_value, help = "Fix the contents of an input")]
    pub values: Vec<(String, Given)>,
    #[arg(long = "length", value_name = "INPUT=N|none", value_parser = parse_named::<Length>, help = "How many tensors a sequence has")]
    pub lengths: Vec<(String, Length)>,
    #[arg(long = "shape", value_name = "INPUT=N,M,..", value_parser = parse_named::<Shape>, help = "Dimensions that the model leaves open")]
    pub shapes: Vec<(String, Shape)>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The model after import and constant folding
    Graph,
    /// The polyhedral program as extracted
    Poly,
    /// The same after all passes
    Optimized,
    /// The loops that are lowered
    Loop,
    /// LLVM IR
    Llvm,
    /// Assembly
    Asm,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sirius inspect model.onnx                  summary
  sirius inspect out                         summary of an artifact
  sirius inspect model.onnx --stage asm      assembly")]
pub struct InspectArgs {
    /// An ONNX file, an artifact's folder, or a manifest
    pub model: PathBuf,
    /// Print this intermediate form instead of the summary
    #[arg(long, value_enum)]
    pub stage: Option<Stage>,
    #[command(flatten)]
    pub compiler: CompilerArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Warms up, then times single inferences. --json prints one object: median_us, p90_us, min_us, gflops."
)]
pub struct BenchArgs {
    /// An ONNX file, an artifact's folder, or a manifest
    pub model: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Seconds to measure
    #[arg(long, default_value = "2", value_name = "S")]
    pub seconds: f64,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compiler: CompilerArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Compiles the model with all passes, with each optional pass off, `unfused` (dce, cse, fold, reroll, sink, forward,
distribute, fuse, fuse-tiles and hoist off: every operator a kernel of its own, with tiles, layouts and registers as before),
and with no optional pass; runs each and prints one line for each:
  regions    root loop nests that were run            loops    sequential loops entered
  barriers   of two threads, on each path             loaded, stored    bytes of all accesses to arrays in memory
  read, written   distinct bytes, summed over the regions: the traffic of an ideal cache
  behind L2  bytes in and out of a simulated second-level cache, from cold
  workspace  bytes of temporaries at these sizes      median us, compile s    time, one thread
docs/counting.md says what the figures mean, docs/ablation.md has them for real models.
Examples:
  sirius ablate model.onnx --data test_data_set_0
  sirius ablate model.onnx --seconds 0 --json             counts only, one JSON object per line
  sirius ablate model.onnx --only 'all passes' --only unfused"
)]
pub struct AblateArgs {
    /// The ONNX file
    pub model: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Seconds to measure each variant; 0: counts only
    #[arg(long, default_value = "1", value_name = "S")]
    pub seconds: f64,
    /// Only this variant, by the name that the table has. May be repeated
    #[arg(long, value_name = "VARIANT")]
    pub only: Vec<String>,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compiler: CompilerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sirius explain model.onnx                              every two groups of nests: why they are not one
  sirius explain model.onnx /encoder/MatMul              what became of one node
  sirius explain model.onnx /encoder/MatMul /encoder/Add why they share loops or not, with two instances or the cost
  sirius explain model.onnx /encoder/MatMul --json       the same facts; docs/explain.schema.json is the schema
  sirius explain model.onnx --json                       docs/fusion.schema.json is the schema")]
pub struct ExplainArgs {
    /// The ONNX file
    pub model: PathBuf,
    /// Name of a node, or a part of it; two for why they share loops or not
    #[arg(num_args = 0..=2)]
    pub nodes: Vec<String>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compiler: CompilerArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sirius ops           every operator
  sirius ops reduce    those whose names contain `reduce`
  sirius ops --json    one JSON object per line
`sirius check MODEL` tells whether a model's own use of them is supported.")]
pub struct OpsArgs {
    /// Part of a name
    pub filter: Option<String>,
    /// One JSON object per line
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  sirius compile m.onnx -o out --certificate out/m.cert.json
  sirius verify --certificate out/m.cert.json
Exit codes: 0 it holds, 1 it cannot be read, 4 it does not hold (two instances are named), 5 some question was not
decided within the budget and nothing is known to be wrong. docs/certificate.md says what is proven.")]
pub struct VerifyArgs {
    /// The file that `sirius compile --certificate` wrote
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// isl operations for each question
    #[arg(long, value_name = "N", default_value_t = sirius_polyhedral::certificate::check::OPERATIONS)]
    pub budget: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = pass_list())]
pub struct OptArgs {
    /// The `.poly` file, `-` for standard input
    pub file: PathBuf,
    /// Passes to run, in order; none: only parse, verify and print
    #[arg(long, value_name = "PASS,..", default_value = "")]
    pub passes: String,
    /// Check the schedule's legality after every pass
    #[arg(long)]
    pub verify_each: bool,
    /// Print the loops instead of the program
    #[arg(long)]
    pub loops: bool,
    /// Print decisions of the passes on standard error
    #[arg(long)]
    pub remarks: bool,
    /// LLVM's processor name, for the machine that passes see
    #[arg(long, default_value = "native", value_name = "CPU")]
    pub target_cpu: String,
}

fn pass_list() -> String {
    let passes = sirius_polyhedral::pipeline::all();
    let width = passes.iter().map(|p| p.name().len()).max().unwrap_or(0);
    let line = |p: &&dyn sirius_polyhedral::Pass| format!("  {:width$}  {}", p.name(), p.summary());
    let lines = |passes: &[&dyn sirius_polyhedral::Pass]| passes.iter().map(line).collect::<Vec<_>>().join("\n");
    let by_name = lines(sirius_polyhedral::pipeline::BY_NAME);
    format!("Passes, in the order of the standard pipeline:\n{}\n\nBy name only:\n{by_name}", lines(&passes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn levels_dims_and_remarks_parse() {
        let line = "sirius compile m.onnx -o d -O0 --dim n=4 --remarks --disable-pass fuse --disable-pass tile";
        let cli = Cli::parse_from(line.split(' '));
        let Command::Compile(args) = cli.command else { panic!("not compile") };
        let options = args.compiler.options();
        assert_eq!((options.level, options.dims["n"]), (0, Dimension::Fixed(4)));
        assert_eq!(options.disabled.len(), 2);
        assert_eq!(args.compiler.remarks, Some(RemarksArg::All));
        assert!(Cli::try_parse_from("sirius compile m.onnx -o d --dim n=0".split(' ')).is_err());
        assert!(Cli::try_parse_from("sirius compile m.onnx -o d -O4".split(' ')).is_err());
    }
}
