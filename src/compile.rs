//! The whole compiler on one screen: [`compile`], and the stages that the commands share.

use crate::extract;
use crate::graph::{self, Graph, Port};
use crate::import::{self, Dimension, Given, ImportOptions, Length, Shape};
use crate::report::fusion::{self, FusionReport};
use crate::report::{forms, session::Session, work};
use sirius_lowering::Target;
use sirius_lowering::artifact::{ArtifactOptions, WeightsPolicy, tag_of, write_artifact};
use sirius_lowering::code::{Code, CodeOptions, compile_body};
use sirius_lowering::count::Counting;
use sirius_lowering::metadata::{Manifest, PortInfo};
use sirius_lowering::nvptx::{self, GpuArtifact};
use sirius_polyhedral::certificate::record::Recorder;
use sirius_polyhedral::driver::{DriverOptions, Report, run_passes};
use sirius_polyhedral::{Error, LoopNest, Numeric, Param, ParamDef, Pass, Program, Result, astgen, pipeline};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// A shared object for x86-64 Linux.
    #[default]
    X86,
    /// PTX and a launch plan.
    Nvptx,
}

/// Everything that can be chosen about a compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    pub output: Output,
    /// LLVM's name of the processor, or `native`.
    pub cpu: String,
    /// Dimensions that are fixed or bounded, by name.
    pub dims: BTreeMap<String, Dimension>,
    /// Inputs whose contents are fixed, by name.
    pub values: BTreeMap<String, Given>,
    /// How many tensors an input has that is a sequence or optional, by name.
    pub lengths: BTreeMap<String, Length>,
    /// The largest amount that the program may compute where nothing bounds it ([`import::Limits::room`]).
    pub room: i64,
    /// Dimensions that the file leaves open, by the name of the input or element.
    pub shapes: BTreeMap<String, Shape>,
    pub threads: Option<usize>,
    /// What a barrier of the team costs, in nanoseconds, in place of the target's figure. With 0 everything that can be
    /// shared is, however small: for tests.
    pub barrier_ns: Option<f64>,
    /// 0 to 3.
    pub level: u8,
    /// Replaces the passes of the level.
    pub passes: Option<String>,
    pub disabled: BTreeSet<String>,
    /// Run only the first `n` optional passes.
    pub pass_limit: Option<usize>,
    pub verify_each: bool,
    pub weights: WeightsPolicy,
    pub numeric: Numeric,
    /// Stem of the files; from the model's file name where missing.
    pub name: Option<String>,
    /// Write here what the passes did, in a form that `sirius verify` checks.
    pub certificate: Option<PathBuf>,
    /// Write the bytes of rearranged constants beside it.
    pub certificate_constants: bool,
    /// Write here the groups that fusion made, and why no two of them are one.
    pub fusion_report: Option<PathBuf>,
    /// Make code that reports what it does.
    pub counting: Counting,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            output: Output::X86,
            cpu: "native".to_string(),
            dims: BTreeMap::new(),
            values: BTreeMap::new(),
            lengths: BTreeMap::new(),
            room: import::ROOM,
            shapes: BTreeMap::new(),
            threads: None,
            barrier_ns: None,
            level: 3,
            passes: None,
            disabled: BTreeSet::new(),
            pass_limit: None,
            verify_each: false,
            weights: WeightsPolicy::Auto,
            numeric: Numeric::Contract,
            name: None,
            certificate: None,
            certificate_constants: false,
            fusion_report: None,
            counting: Counting::Off,
        }
    }
}

/// An artifact on disk, and how it came to be.
pub struct Compiled {
    pub manifest: Manifest,
    pub report: Report,
}

/// ONNX file to artifact in `dir`.
pub fn compile(path: &Path, options: &CompileOptions, session: &mut Session, dir: &Path) -> Result<Compiled> {
    refuse_gpu(options)?;
    let target = target(options)?;
    let graph = import(path, options, session)?;
    let mut program = extract(&graph, session)?;
    let flops = work::flops(&program);
    let mut report = optimize(&mut program, &target, options, session)?;
    let mut nest = loop_nest(&program, &mut report, session)?;
    let name = artifact_name(path, options);
    nest.name = tag_of(&name);
    let code = lower(&nest, &target, options, false, session)?;
    let artifact = ArtifactOptions {
        tag: nest.name.clone(),
        name,
        inputs: names(&graph, &graph.main.inputs),
        outputs: names(&graph, &graph.main.outputs),
        input_values: ports(&graph.signature.inputs),
        output_values: ports(&graph.signature.outputs),
        fixed: graph.fixed.iter().map(|(n, data)| (*n, data.bytes().to_vec())).collect(),
        weights: options.weights,
        target,
        fp_policy: fp_policy(options.numeric).to_string(),
        flops,
        counting: options.counting,
    };
    let manifest = session.phase("link", |_| write_artifact(&nest, &code.object, &code.symbol, &artifact, dir))?;
    Ok(Compiled { manifest, report })
}

/// A GPU artifact is no shared object: only `compile_gpu` makes it, and nothing here runs it.
fn refuse_gpu(options: &CompileOptions) -> Result<()> {
    match options.output {
        Output::X86 => Ok(()),
        Output::Nvptx => Err(Error::unsupported("E301", "PTX cannot be run here")
            .help("`sirius compile --target nvptx` writes PTX and a launch plan for a program with a CUDA driver")),
    }
}

/// ONNX file to PTX and launch plan in `dir`.
pub fn compile_gpu(
    path: &Path,
    options: &CompileOptions,
    session: &mut Session,
    dir: &Path,
) -> Result<(GpuArtifact, Report)> {
    let target = target(options)?;
    let graph = import(path, options, session)?;
    let mut program = extract(&graph, session)?;
    drop_marks(&mut program);
    let mut report = optimize(&mut program, &target, options, session)?;
    let mut nest = loop_nest(&program, &mut report, session)?;
    let name = artifact_name(path, options);
    nest.name = tag_of(&name);
    session.dump("code", "ll", || nvptx::llvm_text(&nest, &target).map_or(String::new(), |(text, _)| text))?;
    let mut artifact = session.phase("code", |_| nvptx::lower(&nest, &target))?;
    session.phase("write", |_| nvptx::write_artifact(&nest, &mut artifact, &name, dir))?;
    Ok((artifact, report))
}

/// Nothing of ours runs beside a launch plan that could look at the marks of wrong data after the run, so no kernel
/// makes them: what must be 0 is taken to be.
fn drop_marks(program: &mut Program) {
    let is_mark = |p: &Param| matches!(p.def, ParamDef::Value { .. }) && (p.min, p.max) == (0, Some(0));
    let marks: Vec<_> = program.params.iter().filter(|(_, p)| is_mark(p)).map(|(id, _)| id).collect();
    marks.into_iter().for_each(|id| program.params.get_mut(id).def = ParamDef::Mul(0.into(), 0.into()));
}

/// How far results may differ from evaluating every operation in order, in its own type.
fn fp_policy(numeric: Numeric) -> &'static str {
    match numeric {
        Numeric::Strict => {
            "every operation of the program in its order, rounded once; exp, log, tanh, erf and the like are inline \
             approximations; the same bits for every number of threads"
        }
        Numeric::Contract => {
            "no fast-math flags; products and sums may be fused (FMA), a reduction is one fixed tree of partial sums; \
             exp, log, tanh, erf and the like are inline approximations; the same bits for every number of threads"
        }
        Numeric::Fast => {
            "sums, products and quotients of one expression may be regrouped, reordered and fused, x / y may be x * (1 / y), \
             zeros may have either sign; NaN and infinities stay; a reduction is one fixed tree of partial sums; exp, log, \
             tanh, erf and the like are inline approximations"
        }
    }
}

/// ONNX file (or a dumped `.graph`) to graph, constants folded.
pub fn import(path: &Path, options: &CompileOptions, session: &mut Session) -> Result<Graph> {
    let import_options = ImportOptions {
        dims: options.dims.clone(),
        values: options.values.clone(),
        lengths: options.lengths.clone(),
        shapes: options.shapes.clone(),
        limits: import::Limits { room: options.room, ..import::Limits::default() },
    };
    let mut graph = session.phase("import", |_| match path.extension().is_some_and(|e| e == "graph") {
        true => graph::text::load(path),
        false => import::load(path, &import_options),
    })?;
    session.dump_file("import", "graph", |to| graph::text::save(&graph, to))?;
    if options.level > 0 {
        session.phase("fold", |_| graph::fold::fold_constants(&mut graph))?;
        session.dump_file("fold", "graph", |to| graph::text::save(&graph, to))?;
    }
    graph::verify::verify(&graph)?;
    Ok(graph)
}

/// Graph to polyhedral program.
pub fn extract(graph: &Graph, session: &mut Session) -> Result<Program> {
    let program = session.phase("extract", |_| extract::extract(graph))?;
    session.dump_file("extract", "poly", |to| forms::save_program(&program, to))?;
    Ok(program)
}

/// Runs the passes of the level, or those that the user named.
pub fn optimize(
    program: &mut Program,
    target: &Target,
    options: &CompileOptions,
    session: &mut Session,
) -> Result<Report> {
    let passes = passes(options)?;
    let mut recorder = options.certificate.as_ref().map(|_| Recorder::new(program));
    let mut groups: Option<Program> = None;
    let report = session.phase("passes", |session| {
        let mut dump = |_: usize, pass: &str, program: &Program| {
            recorder.iter_mut().for_each(|r| r.after(pass, program));
            if options.fusion_report.is_some() && fusion::LAST_PASSES.contains(&pass) {
                groups = Some(program.clone());
            }
            session.dump_file(pass, "poly", |to| forms::save_program(program, to))
        };
        let driver = DriverOptions {
            disabled: options.disabled.clone(),
            bisect_limit: options.pass_limit,
            verify_each: options.verify_each,
            dump: Some(&mut dump),
        };
        run_passes(program, &passes, &target.machine, driver)
    })?;
    if let (Some(recorder), Some(path)) = (recorder, &options.certificate) {
        session.phase("certificate", |_| {
            let constants = if options.certificate_constants { recorder.rearranged() } else { Vec::new() };
            forms::save_certificate(&recorder.finish(TOOL)?, &constants, path)
        })?;
    }
    if let Some(path) = &options.fusion_report {
        let groups = groups.as_ref().unwrap_or(program);
        session.phase("fusion report", |_| FusionReport::of(groups, &target.machine, &program.name)?.save(path))?;
    }
    Ok(report)
}

/// Name and version of the compiler.
const TOOL: &str = concat!("sirius ", env!("CARGO_PKG_VERSION"));

fn passes(options: &CompileOptions) -> Result<Vec<&'static dyn Pass>> {
    for name in &options.disabled {
        if pipeline::find(name)?.required() {
            return Err(Error::invalid("E202", format!("pass \"{name}\" is required and cannot be disabled")));
        }
    }
    match &options.passes {
        Some(list) => pipeline::parse_list(list),
        None => Ok(pipeline::for_level(options.level)),
    }
}

/// Schedule tree to loops. The report gets what is to be remarked about them.
pub fn loop_nest(program: &Program, report: &mut Report, session: &mut Session) -> Result<LoopNest> {
    let (nest, remarks) = session.phase("loops", |_| astgen::generate_within(program, astgen::OPERATIONS))?;
    report.remarks.extend(remarks);
    session.dump_file("loops", "loop", |to| forms::save_nest(&nest, to))?;
    Ok(nest)
}

/// Loops to machine code.
pub fn lower(
    nest: &LoopNest,
    target: &Target,
    options: &CompileOptions,
    want_text: bool,
    session: &mut Session,
) -> Result<Code> {
    refuse_gpu(options)?;
    let want_text = want_text || session.dump_dir.is_some();
    let code_options = CodeOptions { level: options.level, want_text, counting: options.counting };
    let code = session.phase("code", |_| compile_body(nest, target, code_options))?;
    session.dump("code", "ll", || code.llvm.clone())?;
    session.dump("code", "s", || code.assembly.clone())?;
    Ok(code)
}

/// The processor that code is generated for.
pub fn target(options: &CompileOptions) -> Result<Target> {
    let mut target = match options.output {
        Output::X86 => Target::x86(&options.cpu),
        Output::Nvptx => nvptx::target(if options.cpu == "native" { "sm_80" } else { &options.cpu }),
    };
    if let Some(threads) = options.threads {
        target.machine.threads = threads;
    }
    if let Some(barrier_ns) = options.barrier_ns {
        target.machine.barrier_ns = barrier_ns;
    }
    if target.machine.gpu && options.numeric != Numeric::Contract {
        let message = format!("the {} numeric contract is for x86-64 only", options.numeric.name());
        return Err(Error::unsupported("E302", message).help("leave out --numeric, or --target nvptx"));
    }
    target.machine.numeric = options.numeric;
    Ok(target)
}

/// The artifact's name: as asked for, else the model's file name, else (for `model.onnx`) its folder's.
fn artifact_name(path: &Path, options: &CompileOptions) -> String {
    let stem = |p: &Path| p.file_stem().map(|s| s.to_string_lossy().into_owned());
    let from_path = || {
        let own = stem(path).unwrap_or_default();
        let folder = std::path::absolute(path).ok().and_then(|p| stem(p.parent()?));
        if own == "model" { folder.unwrap_or(own) } else { own }
    };
    options.name.clone().unwrap_or_else(from_path)
}

fn names(graph: &Graph, ids: &[crate::graph::TensorId]) -> Vec<String> {
    ids.iter().map(|id| graph.tensor(*id).name.clone()).collect()
}

fn ports(ports: &[Port]) -> Vec<PortInfo> {
    let info = |p: &Port| PortInfo { name: p.name.clone(), form: p.form.to_string(), tensors: p.form.tensors() };
    ports.iter().map(info).collect()
}
