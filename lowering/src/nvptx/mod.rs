//! NVPTX: kernels as PTX text and a launch plan for the host.
//!
//! A first mapping, but of whole networks: loops that the passes marked `Parallel` become the threads of a
//! launch, control flow around them stays on the host (`split`), and every kernel is plain code per thread
//! (`kernel`). No shared memory, no tensor cores. The plan (`plan`) is data: any runner with the CUDA driver can
//! follow it.

mod files;
mod host;
mod kernel;
pub mod plan;
mod split;
#[cfg(test)]
mod tests;
mod uses;

use crate::prepare::assign_slots;
use crate::target::Target;
use crate::weights;
pub use files::write_artifact;
use host::Planner;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine, TargetTriple,
};
use plan::LaunchPlan;
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{ArrayId, Error, LoopNest, Machine, Result};
use std::sync::Once;

/// What the compiler makes for a GPU; the constants' bytes go into a weights file (`weights::layout`).
#[derive(Clone, Debug, PartialEq)]
pub struct GpuArtifact {
    pub ptx: String,
    pub plan: LaunchPlan,
}

/// What LLVM 19 generates for. A newer GPU runs what was made for `sm_80` to `sm_90`.
const ARCHITECTURES: [&str; 7] = ["sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_90a"];

/// The GPU `cpu` (`sm_80`). PTX 8.0 is read by every driver since 12.0.
pub fn target(cpu: &str) -> Target {
    let machine = Machine {
        vector_bytes: 4,
        vector_registers: 255,
        l1_bytes: 128 << 10,
        l2_bytes: 40 << 20,
        l3_bytes: 40 << 20,
        threads: 108 * 2048,
        barrier_ns: 5000.0,
        gpu: true,
        byte_dots: false,
        numeric: sirius_polyhedral::Numeric::Contract,
    };
    Target { triple: "nvptx64-nvidia-cuda".into(), cpu: cpu.into(), features: "+ptx80".into(), machine }
}

/// The kernels as LLVM text before optimization, for dumps, and the plan.
pub fn llvm_text(nest: &LoopNest, target: &Target) -> Result<(String, LaunchPlan)> {
    let context = Context::create();
    let (module, plan) = emit(&context, nest, target)?;
    Ok((module.print_to_string().to_string(), plan))
}

/// Kernels and plan for a nest whose parallel loops are marked.
pub fn lower(nest: &LoopNest, target: &Target) -> Result<GpuArtifact> {
    let context = Context::create();
    let (module, plan) = emit(&context, nest, target)?;
    Ok(GpuArtifact { ptx: generate(&module, target)?, plan })
}

/// The kernels as unoptimized IR, and the plan.
fn emit<'ctx>(context: &'ctx Context, nest: &LoopNest, target: &Target) -> Result<(Module<'ctx>, LaunchPlan)> {
    check_architecture(target)?;
    refuse_registers(nest)?;
    let used = weights::used_arrays(nest);
    let slots = assign_slots(nest, &used);
    let module = context.create_module(&nest.name);
    let steps = split::split(nest, &nest.body);
    let mut planner =
        Planner { context, module: &module, nest, slots: &slots, kernels: Vec::new(), uses_predicate: false };
    let steps = planner.steps(&steps)?;
    let (kernels, predicate) = (planner.kernels, planner.uses_predicate);
    let buffer = |id: ArrayId| host::buffer_name(nest, &slots, id);
    let plan = LaunchPlan {
        version: plan::VERSION,
        network: nest.name.clone(),
        architecture: target.cpu.clone(),
        files: None,
        params: host::plan_params(nest, &buffer),
        inputs: host::tensors(nest, &nest.inputs, &buffer),
        outputs: host::tensors(nest, &nest.outputs, &buffer),
        buffers: host::buffers(nest, &slots, &weights::layout(nest, &used).offsets, predicate),
        kernels,
        steps,
    };
    module.verify().map_err(|e| Error::bug("E732", format!("emitted invalid LLVM IR: {e}")))?;
    Ok((module, plan))
}

/// LLVM takes an unknown name for its oldest architecture, with a warning only.
fn check_architecture(target: &Target) -> Result<()> {
    if ARCHITECTURES.contains(&target.cpu.as_str()) {
        return Ok(());
    }
    let message = format!("there is no GPU architecture \"{}\"", target.cpu);
    Err(Error::invalid("E735", message).help(format!("choose one of {}", ARCHITECTURES.join(", "))))
}

/// Arrays in registers belong to lockstep tiles, which this mapping does not have.
fn refuse_registers(nest: &LoopNest) -> Result<()> {
    match nest.arrays.iter().find(|a| a.placement == Some(Placement::Register)) {
        Some(array) => Err(Error::bug("E733", format!("{} is placed in registers of a vector target", array.name))),
        None => Ok(()),
    }
}

fn generate(module: &Module, target: &Target) -> Result<String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| LlvmTarget::initialize_nvptx(&InitializationConfig::default()));
    let machine = llvm_machine(target)?;
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    module
        .run_passes("always-inline,default<O2>", &machine, PassBuilderOptions::create())
        .map_err(|e| Error::bug("E732", format!("LLVM refused the pass list: {e}")))?;
    let buffer = machine
        .write_to_memory_buffer(module, FileType::Assembly)
        .map_err(|e| Error::bug("E732", format!("LLVM could not generate PTX: {e}")))?;
    let text = buffer.as_slice();
    // inkwell counts the terminating zero that LLVM keeps behind every buffer.
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    String::from_utf8(text.to_vec()).map_err(|_| Error::bug("E732", "PTX is not UTF-8"))
}

fn llvm_machine(target: &Target) -> Result<TargetMachine> {
    let triple = TargetTriple::create(&target.triple);
    let llvm = LlvmTarget::from_triple(&triple)
        .map_err(|e| Error::environment("E600", format!("LLVM does not know {}: {e}", target.triple)))?;
    let (level, reloc) = (OptimizationLevel::Aggressive, RelocMode::Default);
    llvm.create_target_machine(&triple, &target.cpu, &target.features, level, reloc, CodeModel::Default)
        .ok_or_else(|| Error::environment("E601", format!("LLVM has no code generator for {}", target.cpu)))
}
