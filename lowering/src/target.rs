//! Targets: triple, CPU features, the `Machine` that passes see, and the way from a module to an object.

use crate::features::required_features;
use inkwell::OptimizationLevel;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine, TargetTriple,
};
use sirius_polyhedral::{Error, Machine, Result};
use std::path::Path;
use std::sync::Once;

/// What code is generated for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub triple: String,
    pub cpu: String,
    /// LLVM feature string (`+avx2,-avx512f`); empty where the CPU name says it all.
    pub features: String,
    pub machine: Machine,
}

/// CPU names (prefixes) that LLVM gives AVX-512.
const AVX512: [&str; 14] = [
    "x86-64-v4",
    "znver4",
    "znver5",
    "skylake-avx512",
    "cascadelake",
    "cooperlake",
    "cannonlake",
    "icelake",
    "tigerlake",
    "rocketlake",
    "sapphirerapids",
    "emeraldrapids",
    "graniterapids",
    "diamondrapids",
];

/// CPU names (prefixes) that LLVM gives AVX2 but not AVX-512.
const AVX2: [&str; 14] = [
    "x86-64-v3",
    "haswell",
    "broadwell",
    "skylake",
    "znver1",
    "znver2",
    "znver3",
    "alderlake",
    "raptorlake",
    "meteorlake",
    "arrowlake",
    "lunarlake",
    "core-avx2",
    "gracemont",
];

impl Target {
    /// An x86-64 Linux target; `native` is the machine that compiles.
    pub fn x86(cpu: &str) -> Target {
        initialize();
        let native = cpu == "native";
        let (cpu, features) = match native {
            true => {
                (TargetMachine::get_host_cpu_name().to_string(), TargetMachine::get_host_cpu_features().to_string())
            }
            false => (cpu.to_string(), String::new()),
        };
        let vector_bytes = match native {
            true => host_vector_bytes(&features),
            false => named_vector_bytes(&cpu),
        };
        let machine =
            Machine { byte_dots: has_byte_dots(&cpu, &features, vector_bytes), ..machine(vector_bytes, native) };
        Target { triple: "x86_64-unknown-linux-gnu".into(), cpu, features, machine }
    }

    /// LLVM's description of the target at full optimization, with position-independent code.
    pub fn llvm(&self, level: OptimizationLevel) -> Result<TargetMachine> {
        initialize();
        let triple = TargetTriple::create(&self.triple);
        let target = LlvmTarget::from_triple(&triple)
            .map_err(|e| Error::environment("E600", format!("LLVM does not know {}: {e}", self.triple)))?;
        target
            .create_target_machine(&triple, &self.cpu, &self.features, level, RelocMode::PIC, CodeModel::Default)
            .ok_or_else(|| Error::environment("E601", format!("LLVM has no code generator for {}", self.cpu)))
    }
}

/// LLVM's own version, as loaded into this process.
pub fn llvm_version() -> String {
    let (major, minor, patch) = inkwell::support::get_llvm_version();
    format!("{major}.{minor}.{patch}")
}

/// What to do when LLVM gives up: it would abort the process otherwise. `handler` must not return.
static ON_FATAL: std::sync::OnceLock<fn(&str)> = std::sync::OnceLock::new();

/// Installs `handler` for fatal errors inside LLVM, once per process.
pub fn on_fatal_error(handler: fn(&str)) {
    extern "C" fn forward(message: *const std::ffi::c_char) {
        // SAFETY: LLVM passes a zero-terminated string.
        let text = unsafe { std::ffi::CStr::from_ptr(message) }.to_string_lossy();
        if let Some(handler) = ON_FATAL.get() {
            handler(&text);
        }
    }
    if ON_FATAL.set(handler).is_ok() {
        // SAFETY: the handler is a plain function that lives as long as the process.
        unsafe { inkwell::llvm_sys::error_handling::LLVMInstallFatalErrorHandler(Some(forward)) };
    }
}

fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| LlvmTarget::initialize_x86(&InitializationConfig::default()));
}

fn host_vector_bytes(features: &str) -> usize {
    let has = |name: &str| features.split(',').any(|f| f == name);
    match (has("+avx512f") && has("+avx512vl"), has("+avx2")) {
        (true, _) => 64,
        (_, true) => 32,
        _ => 16,
    }
}

fn named_vector_bytes(cpu: &str) -> usize {
    let starts = |names: &[&str]| names.iter().any(|n| cpu.starts_with(n));
    match (starts(&AVX512), starts(&AVX2)) {
        (true, _) => 64,
        (_, true) => 32,
        _ => 16,
    }
}

/// VNNI for vectors of `vector_bytes`.
fn has_byte_dots(cpu: &str, features: &str, vector_bytes: usize) -> bool {
    let wanted = if vector_bytes == 64 { "avx512vnni" } else { "avxvnni" };
    vector_bytes > 16 && required_features(cpu, features, vector_bytes).iter().any(|f| f.name == wanted)
}

/// Cache sizes are read from the system for the native target; the defaults are one core of a current server.
fn machine(vector_bytes: usize, native: bool) -> Machine {
    let cache = |index: usize, default: usize| match native {
        true => cache_bytes(index).unwrap_or(default),
        false => default,
    };
    Machine {
        vector_bytes,
        vector_registers: if vector_bytes == 64 { 32 } else { 16 },
        l1_bytes: cache(0, 32 << 10),
        l2_bytes: cache(2, 1 << 20),
        l3_bytes: cache(3, 32 << 20),
        // A library starts threads only when it was asked to.
        threads: 1,
        // 120 ns from one core to another and back (Zen 4, measured), and what comes late.
        barrier_ns: 250.0,
        gpu: false,
        byte_dots: false,
        numeric: sirius_polyhedral::Numeric::Contract,
    }
}

fn cache_bytes(index: usize) -> Option<usize> {
    let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
    let text = std::fs::read_to_string(Path::new(&path)).ok()?;
    text.trim().strip_suffix('K')?.parse::<usize>().ok().map(|k| k << 10)
}

/// The passes after emission. Loops are not unrolled, vectorised or rewritten: emission has already chosen
/// the register tile, and LLVM's unroller makes it spill (28 % of peak lost on a 512^3 product).
const PASSES: &str = "always-inline,function(sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,\
    loop-mssa(licm),early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg)";

/// Optimizes the module in place.
pub fn optimize(module: &Module, target: &Target) -> Result<()> {
    let machine = target.llvm(OptimizationLevel::Aggressive)?;
    let options = PassBuilderOptions::create();
    module
        .run_passes(PASSES, &machine, options)
        .map_err(|e| Error::bug("E700", format!("LLVM refused the pass list: {e}")))
}

/// A relocatable ELF object; the module is optimized first unless `level` is `None`.
pub fn compile_object(module: &Module, target: &Target, level: OptimizationLevel) -> Result<Vec<u8>> {
    generate(module, target, level, FileType::Object)
}

/// The same code as text.
pub fn compile_assembly(module: &Module, target: &Target, level: OptimizationLevel) -> Result<String> {
    let bytes = generate(module, target, level, FileType::Assembly)?;
    String::from_utf8(bytes).map_err(|_| Error::bug("E701", "assembly is not UTF-8"))
}

fn generate(module: &Module, target: &Target, level: OptimizationLevel, kind: FileType) -> Result<Vec<u8>> {
    let machine = target.llvm(level)?;
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    module.verify().map_err(|e| Error::bug("E702", format!("emitted invalid LLVM IR: {e}")))?;
    if level != OptimizationLevel::None {
        optimize(module, target)?;
    }
    let buffer = machine
        .write_to_memory_buffer(module, kind)
        .map_err(|e| Error::bug("E703", format!("LLVM could not generate code: {e}")))?;
    let bytes = buffer.as_slice();
    // inkwell counts the terminating zero that LLVM keeps behind every buffer.
    let end = if kind == FileType::Assembly { bytes.len() - usize::from(bytes.ends_with(&[0])) } else { bytes.len() };
    Ok(bytes[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_vector_width() {
        assert_eq!(Target::x86("x86-64-v4").machine.vector_bytes, 64);
        assert_eq!(Target::x86("znver4").machine.vector_registers, 32);
        assert_eq!(Target::x86("x86-64-v3").machine.vector_bytes, 32);
        assert_eq!(Target::x86("skylake-avx512").machine.vector_bytes, 64);
        assert_eq!(Target::x86("x86-64").machine.vector_bytes, 16);
    }

    #[test]
    fn names_tell_what_there_is_for_products_of_bytes() {
        assert!(Target::x86("znver4").machine.byte_dots && Target::x86("cascadelake").machine.byte_dots);
        assert!(["x86-64-v4", "x86-64-v3", "x86-64"].iter().all(|cpu| !Target::x86(cpu).machine.byte_dots));
    }
}
