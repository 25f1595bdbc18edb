//! `sirius run`: one inference per data set, compared with what it should give.

use crate::cli::args::RunArgs;
use crate::cli::{Outcome, compile, data};
use crate::compile::import;
use crate::graph::{Graph, Port, interp};
use crate::report::{counts, progress::Progress, render, session::Session};
use crate::run::compare::{Comparison, Tolerance, compare};
use crate::run::count::Depth;
use crate::run::{Loaded, Value, pb};
use sirius_polyhedral::{Error, Result};
use std::path::Path;

pub fn command(args: &RunArgs) -> Outcome {
    if args.reference {
        return reference(args);
    }
    if is_model(&args.model) {
        let (_dir, loaded) = compile::compile_and_load(&args.model, &args.compiler)?;
        return run_loaded(args, &loaded);
    }
    if args.verify {
        return Err(Error::invalid("E833", "an artifact does not contain the model to verify it against")
            .help("name the ONNX file: sirius run MODEL.onnx --verify"));
    }
    run_loaded(args, &Loaded::with_threads(&args.model, args.compiler.threads.map(u32::from))?)
}

/// Everything but a folder or a manifest is taken for a model.
pub fn is_model(path: &Path) -> bool {
    !path.is_dir() && path.extension().is_none_or(|e| e != "json")
}

fn run_loaded(args: &RunArgs, loaded: &Loaded) -> Outcome {
    if args.compiler.count && loaded.manifest.counted.is_none() {
        return Err(Error::invalid("E824", "the artifact was not made to count").help("compile it with --count"));
    }
    let graph = if is_model(&args.model) { Some(load_graph(args)?) } else { None };
    let ports = loaded.ports()?;
    let cases = data::cases(&args.data, &ports, || match &graph {
        Some(graph) => Ok(data::graph_signature(graph)),
        None => data::manifest_signature(&loaded.manifest, &args.compiler.open.dims),
    })?;
    let names: Vec<&str> = loaded.manifest.outputs.iter().map(|t| t.name.as_str()).collect();
    let mut code = 0;
    for case in cases {
        let outputs = loaded.run(&case.inputs)?;
        let expected = match (&graph, args.verify) {
            (Some(graph), true) => by_reference(graph, &case.inputs)?,
            _ => case.expected,
        };
        code = code.max(finish_case(args, &case.name, &names, &ports.outputs, &outputs, &expected)?);
        if let (true, Some(info)) = (args.compiler.count, &loaded.manifest.counted) {
            render::out(&counts::text(&loaded.count(&case.inputs, Depth::Everything)?, info));
        }
    }
    Ok(code)
}

fn reference(args: &RunArgs) -> Outcome {
    if !is_model(&args.model) {
        return Err(Error::invalid("E833", "the reference interpreter needs the ONNX file"));
    }
    let graph = load_graph(args)?;
    let names: Vec<&str> = graph.main.outputs.iter().map(|t| graph.tensor(*t).name.as_str()).collect();
    let mut code = 0;
    for case in data::cases(&args.data, &graph.signature, || Ok(data::graph_signature(&graph)))? {
        let outputs = by_reference(&graph, &case.inputs)?;
        let ports = &graph.signature.outputs;
        code = code.max(finish_case(args, &case.name, &names, ports, &outputs, &case.expected)?);
    }
    Ok(code)
}

fn load_graph(args: &RunArgs) -> Result<Graph> {
    import(&args.model, &args.compiler.options(), &mut Session::default())
}

/// The reference interpreter takes seconds on real models.
fn by_reference(graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
    let progress = Progress::start();
    progress.phase("reference interpreter");
    interp::run(graph, inputs)
}

/// Writes, compares or shows the outputs of one case; 4 when they differ from what they should be.
fn finish_case(args: &RunArgs, case: &str, names: &[&str], ports: &[Port], got: &[Value], wanted: &[Value]) -> Outcome {
    if let Some(dir) = &args.out {
        write_outputs(dir, names, ports, got)?;
    }
    if wanted.is_empty() {
        render::out(&format!("{case}:\n{}", show_outputs(names, got)));
        return Ok(0);
    }
    let comparisons = compare_all(args, names, got, wanted);
    let matches = got.len() == wanted.len() && comparisons.iter().all(Comparison::matches);
    for comparison in &comparisons {
        render::out(&format!("{case}: {comparison}\n"));
    }
    if got.len() != wanted.len() {
        render::out(&format!("{case}: got {} outputs, wanted {}\n", got.len(), wanted.len()));
    }
    Ok(if matches { 0 } else { render::MISMATCH })
}

fn compare_all(args: &RunArgs, names: &[&str], got: &[Value], wanted: &[Value]) -> Vec<Comparison> {
    let one = |(n, (got, wanted)): (usize, (&Value, &Value))| {
        let default = Tolerance::of(wanted.dtype);
        let tolerance = Tolerance {
            relative: args.rtol.unwrap_or(default.relative),
            absolute: args.atol.unwrap_or(default.absolute),
        };
        compare(names.get(n).unwrap_or(&"?"), got, wanted, Some(tolerance))
    };
    got.iter().zip(wanted).enumerate().map(one).collect()
}

fn write_outputs(dir: &Path, names: &[&str], ports: &[Port], outputs: &[Value]) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|e| Error::environment("E611", format!("{}: {e}", dir.display())))?;
    if ports.is_empty() {
        for (n, (name, value)) in names.iter().zip(outputs).enumerate() {
            pb::write(&dir.join(format!("output_{n}.pb")), name, value)?;
        }
    }
    let mut rest = outputs;
    for (n, port) in ports.iter().enumerate() {
        let (values, behind) = rest.split_at(port.form.tensors().min(rest.len()));
        pb::write_port(&dir.join(format!("output_{n}.pb")), port, values)?;
        rest = behind;
    }
    Ok(())
}

/// Name, type and the first elements of every output.
fn show_outputs(names: &[&str], outputs: &[Value]) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    for (name, value) in names.iter().zip(outputs) {
        let float = value.dtype.is_float();
        let element = |i| if float { format!("{:.6}", value.get_f64(i)) } else { value.get_i64(i).to_string() };
        let first: Vec<String> = (0..value.len().min(SHOWN)).map(element).collect();
        let more = if value.len() > SHOWN { ", ..." } else { "" };
        text.push_str(&format!("  {name}: {}{:?} = {}{more}\n", value.dtype, value.shape, first.join(", ")));
    }
    text
}
