//! `sirius compile`, and what every compiling command shows about a compilation.

use crate::cli::Outcome;
use crate::cli::args::{CompileArgs, CompilerArgs, RemarksArg};
use crate::compile::{CompileOptions, Compiled, Output, compile, compile_gpu};
use crate::report::{progress::Progress, render, session::Session};
use crate::run::Loaded;
use sirius_polyhedral::driver::Report;
use sirius_polyhedral::{Error, RemarkKind, Result};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

pub fn command(args: &CompileArgs) -> Outcome {
    let mut session = session(&args.compiler);
    let (certificate, fusion_report) = (args.certificate.clone(), args.fusion_report.clone());
    let certificate_constants = args.certificate_constants;
    let options = CompileOptions { certificate, certificate_constants, fusion_report, ..args.compiler.options() };
    if options.output == Output::Nvptx {
        if args.fusion_report.is_some() {
            return Err(Error::unsupported("E303", "the fusion report is for x86-64 only").help(
                "leave out --fusion-report, or --target nvptx: the cost model behind it is that of a processor",
            ));
        }
        return command_gpu(args, &options, &mut session);
    }
    let compiled = compile(&args.model, &options, &mut session, &args.output)?;
    session.progress = None;
    show(&args.compiler, &compiled.report, &session);
    render::out(&summary(&compiled, &args.output, &session));
    Ok(0)
}

fn command_gpu(args: &CompileArgs, options: &CompileOptions, session: &mut Session) -> Outcome {
    let (artifact, report) = compile_gpu(&args.model, options, session, &args.output)?;
    session.progress = None;
    show(&args.compiler, &report, session);
    let total: f64 = session.times.iter().map(|(_, t)| t.as_secs_f64()).sum();
    let plan = &artifact.plan;
    let (ptx, weights) = plan.files.as_ref().map_or(("", 0), |f| (f.ptx.as_str(), f.weights_bytes));
    let file = args.output.join(ptx);
    let (kernels, architecture) = (plan.kernels.len(), &plan.architecture);
    let weights = size(weights);
    render::out(&format!(
        "{} in {total:.1} s\n  {kernels} kernels for {architecture}, weights {weights}\n",
        file.display()
    ));
    Ok(0)
}

/// A session that reports progress and dumps as the arguments say.
pub fn session(args: &CompilerArgs) -> Session {
    Session::new(args.dump_dir.clone(), Some(Progress::start()))
}

/// Compiles into a temporary folder and loads the result; the folder must outlive the use.
pub fn compile_and_load(model: &Path, args: &CompilerArgs) -> Result<(tempfile::TempDir, Loaded)> {
    load_as(model, args, &args.options())
}

/// The same, with other options than those of the command line.
pub fn load_as(model: &Path, args: &CompilerArgs, options: &CompileOptions) -> Result<(tempfile::TempDir, Loaded)> {
    let dir = tempfile::tempdir().map_err(|e| Error::environment("E611", format!("no temporary folder: {e}")))?;
    let mut session = session(args);
    let compiled = compile(model, options, &mut session, dir.path())?;
    session.progress = None;
    show(args, &compiled.report, &session);
    let loaded = Loaded::open(dir.path())?;
    Ok((dir, loaded))
}

/// Prints remarks and times where asked for, on standard error.
pub fn show(args: &CompilerArgs, report: &Report, session: &Session) {
    let colour = std::io::stderr().is_terminal();
    for remark in &report.remarks {
        let wanted = match args.remarks {
            None => false,
            Some(RemarksArg::All) => true,
            Some(RemarksArg::Applied) => remark.kind == RemarkKind::Applied,
            Some(RemarksArg::Missed) => remark.kind == RemarkKind::Missed,
        };
        if wanted {
            eprintln!("{}", render::remark(remark, colour));
        }
    }
    if args.time_passes {
        eprint!("{}", times(report, session));
    }
}

fn times(report: &Report, session: &Session) -> String {
    let ms = |d: Duration| format!("{:.1}", d.as_secs_f64() * 1e3);
    let mut rows = vec![["phase", "ms", "statements", "applied", "missed"].map(String::from).to_vec()];
    for (phase, time) in &session.times {
        rows.push(vec![phase.clone(), ms(*time)]);
        if phase == "passes" {
            let pass = |t: &sirius_polyhedral::driver::Timing| {
                let time = if t.skipped { "skipped".to_string() } else { ms(t.time) };
                let statements = format!("{} -> {}", t.statements_before, t.statements_after);
                vec![format!("  {}", t.pass), time, statements, t.applied.to_string(), t.missed.to_string()]
            };
            rows.extend(report.timings.iter().map(pass));
        }
    }
    let total: Duration = session.times.iter().map(|(_, t)| *t).sum();
    rows.push(vec!["total".to_string(), ms(total)]);
    render::table(&rows)
}

/// Two lines about the artifact.
fn summary(compiled: &Compiled, dir: &Path, session: &Session) -> String {
    let m = &compiled.manifest;
    let total: f64 = session.times.iter().map(|(_, t)| t.as_secs_f64()).sum();
    let dims: Vec<&str> = m.dims.iter().map(|d| d.name.as_str()).collect();
    let symbolic = if dims.is_empty() { "none".to_string() } else { dims.join(", ") };
    let workspace = m.workspace.bytes.map_or("by dimensions".to_string(), size);
    format!(
        "{} in {:.1} s\n  weights {}{}, workspace {workspace}, symbolic dimensions: {symbolic}, processor {}\n",
        dir.join(&m.library).display(),
        total,
        size(m.weights.bytes),
        m.weights.file.as_ref().map_or(String::new(), |f| format!(" in {f}")),
        m.target.cpu,
    )
}

/// `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
