//! Golden tests: one text file, one test.
//!
//! A file in `tests/golden/<stage>/` reads from top to bottom: a `//` sentence of intent, `#!` options of the
//! stage, `#~ must: TEXT` and `#~ must not: TEXT` demands on the result, the input, and the blessed result in
//! lines that start with `#>`. `SIRIUS_BLESS=1 cargo test --test golden` rewrites the `#>` lines and nothing
//! else, so a demand can only be changed by hand. A file that no stage knows fails.

#[path = "../polyhedral/tests/support/mod.rs"]
mod support;

use libtest_mimic::{Arguments, Failed, Trial};
use sirius::graph::{self, Graph};
use sirius::import::{self, Dimension, ImportOptions};
use sirius_lowering::Target;
use sirius_lowering::{code, nvptx};
use sirius_polyhedral::driver::{DriverOptions, run_passes};
use sirius_polyhedral::text::{ConstantPool, parse_nest, parse_program, print_nest, print_program};
use sirius_polyhedral::{Machine, Numeric, Program, RemarkKind, Result, astgen, deps, isl, legality, pipeline, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// From golden file to result text.
type Stage = fn(&Golden) -> std::result::Result<String, Failed>;

const STAGES: &[(&str, &[&str], Stage)] = &[
    ("import", &["model"], import),
    ("fold", &["graph"], fold),
    ("extract", &["graph"], extract),
    ("parse", &["poly", "loop"], parse),
    ("verify", &["poly"], refusals),
    ("deps", &["poly"], dependences),
    ("legality", &["poly"], verdict),
    ("pass", &["poly"], passes),
    ("astgen", &["poly"], loops),
    ("code", &["loop"], code),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let trial = |file: PathBuf| {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        Trial::test(name, move || check(&file))
    };
    libtest_mimic::run(&Arguments::from_args(), files.into_iter().map(trial).collect()).exit()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("tests/golden can be read") {
        let path = entry.expect("tests/golden can be listed").path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// The parts of a golden file.
struct Golden {
    extension: String,
    options: Vec<(String, String)>,
    /// Wanted or unwanted, and the text.
    demands: Vec<(bool, String)>,
    /// Everything but the options, demands and result.
    input: String,
    /// The file up to the blessed result.
    head: String,
    blessed: String,
}

fn read(file: &Path) -> std::result::Result<Golden, Failed> {
    let text = fs::read_to_string(file)?;
    let extension = file.extension().unwrap_or_default().to_string_lossy().into_owned();
    let (options, demands) = (vec![], vec![]);
    let (input, head, blessed) = (String::new(), String::new(), String::new());
    let mut golden = Golden { extension, options, demands, input, head, blessed };
    if !text.starts_with("// ") {
        return Err("the first line must be a // sentence that says what this test is for".into());
    }
    for line in text.lines() {
        if let Some(result) = line.strip_prefix("#>") {
            golden.blessed.push_str(result.strip_prefix(' ').unwrap_or(result));
            golden.blessed.push('\n');
            continue;
        }
        golden.head.push_str(&format!("{line}\n"));
        // Options and demands become blank lines, so that errors give line numbers of the file.
        let option = line.starts_with("#!") || line.starts_with("#~");
        golden.input.push_str(if option { "" } else { line });
        golden.input.push('\n');
        if let Some(option) = line.strip_prefix("#!") {
            let (key, value) = option.split_once(':').ok_or("an option is written #! key: value")?;
            golden.options.push((key.trim().into(), value.trim().into()));
        } else if let Some(demand) = line.strip_prefix("#~") {
            golden.demands.push(read_demand(demand.trim())?);
        }
    }
    Ok(golden)
}

fn read_demand(text: &str) -> std::result::Result<(bool, String), Failed> {
    if let Some(text) = text.strip_prefix("must not: ") {
        return Ok((false, text.into()));
    }
    let text = text.strip_prefix("must: ").ok_or("a demand is written #~ must: TEXT or #~ must not: TEXT")?;
    Ok((true, text.into()))
}

fn check(file: &Path) -> std::result::Result<(), Failed> {
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let golden = read(file)?;
    let stage =
        STAGES.iter().find(|(name, extensions, _)| *name == folder && extensions.contains(&golden.extension.as_str()));
    let (_, _, run) = stage.ok_or("no stage reads this file")?;
    if golden.demands.is_empty() {
        return Err("a golden test needs at least one #~ demand".into());
    }
    let result = run(&golden)?;
    for (wanted, text) in &golden.demands {
        if result.contains(text.as_str()) != *wanted {
            let verb = if *wanted { "lacks" } else { "contains" };
            return Err(format!("the result {verb} {text:?}:\n{result}").into());
        }
    }
    compare(file, &golden, &result)
}

fn compare(file: &Path, golden: &Golden, result: &str) -> std::result::Result<(), Failed> {
    if golden.blessed.trim_end() == result.trim_end() {
        return Ok(());
    }
    if std::env::var_os("SIRIUS_BLESS").is_some() {
        let lines: String = result.trim_end().lines().map(|l| format!("#> {l}").trim_end().to_owned() + "\n").collect();
        return Ok(fs::write(file, format!("{}{lines}", golden.head))?);
    }
    let diff = similar::TextDiff::from_lines(golden.blessed.as_str(), result);
    let diff = diff.unified_diff().header("blessed", "now").to_string();
    Err(format!("{diff}\nif the new result is right: SIRIUS_BLESS=1 cargo test --test golden").into())
}

impl Golden {
    fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn program(&self) -> Result<Program> {
        parse_program(&self.input, &ConstantPool::default())
    }

    /// The machine that passes see: `#! machine: gpu` or `one-thread`, `#! dots: bytes`, `#! numeric: fast`, and `#! cache: BYTES` of the second level, with
    /// the other levels in proportion.
    fn machine(&self) -> std::result::Result<Machine, Failed> {
        let mut machine = support::machine(self.option("machine") == Some("gpu"));
        if self.option("machine") == Some("one-thread") {
            machine.threads = 1;
        }
        machine.byte_dots = self.option("dots") == Some("bytes");
        if self.option("numeric") == Some("fast") {
            machine.numeric = Numeric::Fast;
        }
        if let Some(bytes) = self.option("cache") {
            machine.l2_bytes = bytes.parse()?;
            (machine.l1_bytes, machine.l3_bytes) = (machine.l2_bytes / 8, machine.l2_bytes * 4);
        }
        Ok(machine)
    }

    /// A program that is well-formed, as most stages need.
    fn verified(&self) -> Result<Program> {
        let program = self.program()?;
        verify::verify(&program)?;
        Ok(program)
    }
}

fn failed(error: sirius_polyhedral::Error) -> Failed {
    error.to_string().into()
}

/// The graph of the ONNX file `#! file:` (below `models/tiny`) with the dimensions `#! dims: NAME=VALUE, ..` fixed, or
/// the error.
fn import(golden: &Golden) -> std::result::Result<String, Failed> {
    let name = golden.option("file").ok_or("#! file: NAME.onnx is missing")?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny").join(name);
    let mut options = ImportOptions::default();
    for dim in golden.option("dims").unwrap_or_default().split(',').filter(|d| !d.trim().is_empty()) {
        let (name, value) = dim.split_once('=').ok_or("a dimension is written NAME=VALUE")?;
        options.dims.insert(name.trim().into(), value.trim().parse::<Dimension>()?);
    }
    let here = format!("{}/", path.parent().unwrap_or(&path).display());
    let text = import::load(&path, &options).map_or_else(|error| error.to_string(), |graph| graph::text::print(&graph));
    Ok(text.replace(&here, ""))
}

impl Golden {
    /// A well-formed graph without weights beside it.
    fn graph(&self) -> Result<Graph> {
        let graph = graph::text::parse(&self.input, |_, _| None)?;
        graph::verify::verify(&graph)?;
        Ok(graph)
    }
}

/// The graph with its constants folded.
fn fold(golden: &Golden) -> std::result::Result<String, Failed> {
    let mut graph = golden.graph().map_err(failed)?;
    graph::fold::fold_constants(&mut graph).map_err(failed)?;
    graph::verify::verify(&graph).map_err(failed)?;
    Ok(graph::text::print(&graph))
}

/// The program of the graph, which is valid and legal; or why there is none.
fn extract(golden: &Golden) -> std::result::Result<String, Failed> {
    let program = match sirius::extract::extract(&golden.graph().map_err(failed)?) {
        Ok(program) => program,
        Err(error) => return Ok(error.to_string()),
    };
    verify::verify(&program).map_err(failed)?;
    legality::check(&program).map_err(failed)?.map_err(|v| format!("extracted an illegal schedule: {v}"))?;
    Ok(print_program(&program, &mut ConstantPool::default()))
}

/// LLVM IR for the processor `#! cpu:`, or for the GPU `#! gpu:`.
fn code(golden: &Golden) -> std::result::Result<String, Failed> {
    let nest = parse_nest(&golden.input, &ConstantPool::default()).map_err(failed)?;
    if let Some(gpu) = golden.option("gpu") {
        return Ok(nvptx::llvm_text(&nest, &nvptx::target(gpu)).map_err(failed)?.0);
    }
    let target = Target::x86(golden.option("cpu").ok_or("#! cpu: NAME or #! gpu: NAME is missing")?);
    let options = code::CodeOptions { level: 0, want_text: true, ..code::CodeOptions::default() };
    Ok(code::compile_body(&nest, &target, options).map_err(failed)?.llvm)
}

/// The canonical text, or the error.
fn parse(golden: &Golden) -> std::result::Result<String, Failed> {
    let (text, mut pool) = (&golden.input, ConstantPool::default());
    let printed = if golden.extension == "loop" {
        parse_nest(text, &pool).map(|nest| print_nest(&nest, &mut pool))
    } else {
        parse_program(text, &pool).map(|program| print_program(&program, &mut pool))
    };
    Ok(printed.unwrap_or_else(|error| error.to_string()))
}

fn refusals(golden: &Golden) -> std::result::Result<String, Failed> {
    let program = golden.program().map_err(failed)?;
    Ok(verify::verify(&program).map_or_else(|error| error.to_string(), |()| "valid".into()))
}

fn dependences(golden: &Golden) -> std::result::Result<String, Failed> {
    let program = golden.verified().map_err(failed)?;
    let ctx = isl::Ctx::new().map_err(failed)?;
    let found = deps::dependences(&program, &ctx).map_err(failed)?;
    let line = |d: &deps::Dependence| {
        let array = &program.array(d.array).name;
        format!("{} -> {} {:?} {array}: {}\n", d.source, d.sink, d.kind, d.relation)
    };
    Ok(found.iter().map(line).collect())
}

fn verdict(golden: &Golden) -> std::result::Result<String, Failed> {
    let program = golden.verified().map_err(failed)?;
    let verdict = legality::check(&program).map_err(failed)?;
    Ok(verdict.map_or_else(|violation| violation.to_string(), |()| "legal".into()))
}

/// The program after the passes and what they said. Input and result must be legal and compute the same numbers.
fn passes(golden: &Golden) -> std::result::Result<String, Failed> {
    let mut program = golden.verified().map_err(failed)?;
    legality::check(&program).map_err(failed)?.map_err(|v| format!("the input is not legal: {v}"))?;
    let before = support::outputs(&program).map_err(failed)?;
    let list =
        pipeline::parse_list(golden.option("passes").ok_or("#! passes: NAME, .. is missing")?).map_err(failed)?;
    let machine = golden.machine()?;
    let options = DriverOptions { verify_each: true, ..DriverOptions::default() };
    let report = run_passes(&mut program, &list, &machine, options).map_err(failed)?;
    let after = support::outputs(&program).map_err(failed)?;
    if let Some(difference) = support::difference(&before, &after) {
        return Err(difference.into());
    }
    let mut out = print_program(&program, &mut ConstantPool::default());
    for remark in &report.remarks {
        let kind = if remark.kind == RemarkKind::Applied { "applied" } else { "missed" };
        out.push_str(&format!("// {kind} [{}] {}: {}\n", remark.pass, remark.subject, remark.reason));
    }
    Ok(out)
}

fn loops(golden: &Golden) -> std::result::Result<String, Failed> {
    let program = golden.verified().map_err(failed)?;
    legality::check(&program).map_err(failed)?.map_err(|v| format!("the input is not legal: {v}"))?;
    let nest = astgen::generate(&program).map_err(failed)?;
    let printed = print_nest(&nest, &mut ConstantPool::default());
    let parsed = parse_nest(&printed, &ConstantPool::default()).map_err(failed)?;
    if parsed != nest {
        return Err(format!("the nest does not survive its text:\n{printed}").into());
    }
    Ok(printed)
}
