//! `sirius inspect`: a summary of a model or artifact, or any intermediate form as text.

use crate::cli::args::{InspectArgs, Stage};
use crate::cli::{Outcome, check, compile, run};
use crate::compile::{extract, import, loop_nest, lower, optimize, target};
use crate::graph::{Graph, TensorId};
use crate::report::render;
use crate::run::load;
use sirius_lowering::metadata::{Manifest, TensorInfo};
use sirius_polyhedral::Result;
use sirius_polyhedral::text::{ConstantPool, print_nest, print_program};
use std::collections::BTreeMap;

pub fn command(args: &InspectArgs) -> Outcome {
    if !run::is_model(&args.model) {
        let manifest = load::read_manifest(&load::manifest_path(&args.model)?)?;
        render::out(&artifact_summary(&manifest));
        return Ok(0);
    }
    match args.stage {
        Some(stage) => render::out(&stage_text(args, stage)?),
        None => {
            let graph = import(&args.model, &args.compiler.options(), &mut compile::session(&args.compiler))?;
            render::out(&model_summary(&graph));
        }
    }
    Ok(0)
}

fn stage_text(args: &InspectArgs, stage: Stage) -> Result<String> {
    let (options, mut session) = (args.compiler.options(), compile::session(&args.compiler));
    let graph = import(&args.model, &options, &mut session)?;
    if stage == Stage::Graph {
        return Ok(crate::graph::text::print(&graph));
    }
    let mut program = extract(&graph, &mut session)?;
    if stage == Stage::Poly {
        return Ok(print_program(&program, &mut ConstantPool::default()));
    }
    let target = target(&options)?;
    let mut report = optimize(&mut program, &target, &options, &mut session)?;
    if stage == Stage::Optimized {
        return Ok(print_program(&program, &mut ConstantPool::default()));
    }
    let nest = loop_nest(&program, &mut report, &mut session)?;
    if stage == Stage::Loop {
        return Ok(print_nest(&nest, &mut ConstantPool::default()));
    }
    let code = lower(&nest, &target, &options, true, &mut session)?;
    Ok(if stage == Stage::Llvm { code.llvm } else { code.assembly })
}

fn model_summary(graph: &Graph) -> String {
    let mut text = format!("{}: {} nodes\n", graph.name, check::count_nodes(graph));
    let tensor = |id: &TensorId| {
        let t = graph.tensor(*id);
        let shape = t.shape.iter().map(|e| sirius_lowering::descriptor::extent_text(e, &graph.params));
        format!("{}: {}[{}]", t.name, t.dtype, shape.collect::<Vec<_>>().join(", "))
    };
    for (role, ids) in [("in ", &graph.main.inputs), ("out", &graph.main.outputs)] {
        for id in ids {
            text.push_str(&format!("  {role} {}\n", tensor(id)));
        }
    }
    let constants: u64 = graph.tensors.iter().filter_map(|t| t.constant.as_ref()).map(|c| c.bytes().len() as u64).sum();
    text.push_str(&format!("  constants: {}\n", compile::size(constants)));
    let mut operators: BTreeMap<String, usize> = BTreeMap::new();
    check::visit_nodes(&graph.main, &mut |node| *operators.entry(node.op.clone()).or_default() += 1);
    let mut sorted: Vec<_> = operators.into_iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    let list: Vec<String> = sorted.iter().map(|(name, count)| format!("{name} {count}")).collect();
    text.push_str(&format!("  operators: {}\n", list.join(", ")));
    text
}

fn artifact_summary(m: &Manifest) -> String {
    let mut text = format!("{}: artifact by {}, interface {}, symbols sirius_{}_*\n", m.name, m.tool, m.abi, m.tag);
    let tensor = |t: &TensorInfo| {
        let late = if t.known_after_run { " (known after the run; shape gives the capacity)" } else { "" };
        format!("{}: {}[{}]{late}", t.name, t.dtype, t.shape.join(", "))
    };
    for (role, tensors) in [("in ", &m.inputs), ("out", &m.outputs)] {
        for t in tensors {
            text.push_str(&format!("  {role} {}\n", tensor(t)));
        }
    }
    for d in &m.dims {
        text.push_str(&format!("  dim {} {}\n", d.name, d.bounds()));
    }
    let place = m.weights.file.clone().unwrap_or_else(|| "inside the library".to_string());
    text.push_str(&format!("  weights: {} ({place})\n", compile::size(m.weights.bytes)));
    let workspace = match m.workspace.bytes {
        Some(bytes) => compile::size(bytes),
        None => format!("sum of {} slots, by the dimensions (see the manifest)", m.workspace.slots.len()),
    };
    text.push_str(&format!(
        "  workspace: {workspace}\n  processor: {} ({})\n",
        m.target.cpu,
        m.target.features.join(" ")
    ));
    text
}
