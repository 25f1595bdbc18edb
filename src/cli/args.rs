//! Arguments of every command, and the help that teaches them.

mod compiler;
mod open;

pub use compiler::{CompilerArgs, RemarksArg};

use clap::{Args, Parser, Subcommand, ValueEnum};
use open::OpenArgs;
use std::path::PathBuf;

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
    /// Measure where the time of one inference goes: region by region, with the nodes in each and what it takes at least
    Profile(ProfileArgs),
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
    #[command(flatten)]
    pub open: OpenArgs,
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
    after_help = "Compiles the model so that it reports when a region (a root loop nest) begins, and runs it again and again; prints the
regions that take longest, first those:
  us, share     median time of worker 0, its waits included, and the part of all regions that it is
  limit us      what the region's operations and bytes take on this core at least: they are counted in one run of
                another compilation, and set against peaks measured here and now (one thread only)
  of limit      how near the region comes to that
  busiest us    of several workers, the median time of the one that works longest
  waits us      worker 0's time at barriers, in the region and behind it; in the first region also until the others
                have started, which here every run does anew
Examples:
  sirius profile model.onnx --data test_data_set_0
  sirius profile model.onnx --threads 4 --all
  sirius profile model.onnx --json | jq '.regions[0]'      one object; regions in order of execution"
)]
pub struct ProfileArgs {
    /// The ONNX file
    pub model: PathBuf,
    #[command(flatten)]
    pub data: DataArgs,
    /// Seconds to measure
    #[arg(long, default_value = "2", value_name = "S")]
    pub seconds: f64,
    /// Every region, not only the twenty that take longest
    #[arg(long)]
    pub all: bool,
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
    use crate::import::Dimension;
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
