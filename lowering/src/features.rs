//! Instruction set extensions: how to ask the processor for each, for the artifact's host check.

/// One CPUID bit, by LLVM's name of the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub leaf: u32,
    pub subleaf: u32,
    pub register: Register,
    pub bit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Eax = 0,
    Ebx = 1,
    Ecx = 2,
    Edx = 3,
}

const fn feature(name: &'static str, leaf: u32, subleaf: u32, register: Register, bit: u32) -> Feature {
    Feature { name, leaf, subleaf, register, bit }
}

use Register::{Eax, Ebx, Ecx, Edx};

/// Every extension that LLVM may use in ordinary code, vectors included (Intel SDM volume 2A, CPUID; AMD APM
/// volume 3, appendix E). Extensions outside this list are reached by explicit intrinsics only, which are not used.
pub const FEATURES: [Feature; 38] = [
    feature("sse3", 1, 0, Ecx, 0),
    feature("pclmul", 1, 0, Ecx, 1),
    feature("ssse3", 1, 0, Ecx, 9),
    feature("fma", 1, 0, Ecx, 12),
    feature("cx16", 1, 0, Ecx, 13),
    feature("sse4.1", 1, 0, Ecx, 19),
    feature("sse4.2", 1, 0, Ecx, 20),
    feature("movbe", 1, 0, Ecx, 22),
    feature("popcnt", 1, 0, Ecx, 23),
    feature("aes", 1, 0, Ecx, 25),
    feature("avx", 1, 0, Ecx, 28),
    feature("f16c", 1, 0, Ecx, 29),
    feature("bmi", 7, 0, Ebx, 3),
    feature("avx2", 7, 0, Ebx, 5),
    feature("bmi2", 7, 0, Ebx, 8),
    feature("avx512f", 7, 0, Ebx, 16),
    feature("avx512dq", 7, 0, Ebx, 17),
    feature("adx", 7, 0, Ebx, 19),
    feature("avx512ifma", 7, 0, Ebx, 21),
    feature("avx512cd", 7, 0, Ebx, 28),
    feature("sha", 7, 0, Ebx, 29),
    feature("avx512bw", 7, 0, Ebx, 30),
    feature("avx512vl", 7, 0, Ebx, 31),
    feature("avx512vbmi", 7, 0, Ecx, 1),
    feature("avx512vbmi2", 7, 0, Ecx, 6),
    feature("gfni", 7, 0, Ecx, 8),
    feature("vaes", 7, 0, Ecx, 9),
    feature("vpclmulqdq", 7, 0, Ecx, 10),
    feature("avx512vnni", 7, 0, Ecx, 11),
    feature("avx512bitalg", 7, 0, Ecx, 12),
    feature("avx512vpopcntdq", 7, 0, Ecx, 14),
    feature("avx512vp2intersect", 7, 0, Edx, 8),
    feature("avx512fp16", 7, 0, Edx, 23),
    feature("avxvnni", 7, 1, Eax, 4),
    feature("avx512bf16", 7, 1, Eax, 5),
    feature("avxifma", 7, 1, Eax, 23),
    feature("lzcnt", 0x8000_0001, 0, Ecx, 5),
    feature("sse4a", 0x8000_0001, 0, Ecx, 6),
];

/// The extensions in an LLVM feature string (`+avx2,-sse4a,+fma`).
pub fn parse_features(llvm: &str) -> Vec<&'static Feature> {
    let wanted: Vec<&str> = llvm.split(',').filter_map(|f| f.trim().strip_prefix('+')).collect();
    FEATURES.iter().filter(|f| wanted.contains(&f.name)).collect()
}

const V2: &str = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16";
const V3: &str = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe";
const V4: &str = "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl";
const ICE_LAKE: &str =
    "+avx512ifma,+avx512vbmi,+avx512vbmi2,+avx512vnni,+avx512bitalg,+avx512vpopcntdq,+gfni,+vaes,+vpclmulqdq";

/// What processors with 512-bit vectors have beyond the psABI level x86-64-v4, by prefix of LLVM's name.
const BEYOND_V4: [(&str, &str); 11] = [
    ("cascadelake", "+avx512vnni"),
    ("cooperlake", "+avx512vnni,+avx512bf16"),
    ("icelake", ICE_LAKE),
    ("tigerlake", ICE_LAKE),
    ("rocketlake", ICE_LAKE),
    ("znver4", ICE_LAKE),
    ("znver5", ICE_LAKE),
    ("sapphirerapids", ICE_LAKE),
    ("emeraldrapids", ICE_LAKE),
    ("graniterapids", ICE_LAKE),
    ("diamondrapids", ICE_LAKE),
];

/// What code for the processor `cpu` may use: its LLVM feature string where there is one (`native`), else the psABI
/// level of its vector width and what its family adds. Asking for too much only refuses a machine; asking for
/// too little would end in an illegal instruction.
pub fn required_features(cpu: &str, llvm: &str, vector_bytes: usize) -> Vec<&'static Feature> {
    if !llvm.is_empty() {
        return parse_features(llvm);
    }
    let mut wanted = match (vector_bytes, cpu) {
        (64, _) => format!("{V2},{V3},{V4}"),
        (32, _) => format!("{V2},{V3}"),
        (_, "x86-64") => String::new(),
        _ => V2.to_string(),
    };
    for (_, more) in BEYOND_V4.iter().filter(|(prefix, _)| cpu.starts_with(prefix)) {
        wanted.push(',');
        wanted.push_str(more);
    }
    if ["znver4", "znver5", "sapphirerapids", "emeraldrapids", "graniterapids"].iter().any(|p| cpu.starts_with(p)) {
        wanted.push_str(",+avx512bf16");
    }
    parse_features(&wanted)
}

/// Bits of XCR0 that must be set: the operating system saves the 256-bit and the 512-bit registers.
pub fn saved_state(features: &[&Feature]) -> u64 {
    let any = |prefix: &str| features.iter().any(|f| f.name.starts_with(prefix));
    match (any("avx512"), any("avx")) {
        (true, _) => 0xe6,
        (false, true) => 0x6,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_extensions_are_found_and_disabled_ones_are_not() {
        let names: Vec<_> = parse_features("+avx2,-avx512f,+fma,+unheard-of").iter().map(|f| f.name).collect();
        assert_eq!(names, ["fma", "avx2"]);
    }

    #[test]
    fn a_named_processor_asks_for_its_level() {
        let has = |cpu: &str, bytes, name| required_features(cpu, "", bytes).iter().any(|f| f.name == name);
        assert!(required_features("x86-64", "", 16).is_empty());
        assert!(has("x86-64-v3", 32, "bmi2") && !has("x86-64-v3", 32, "avx512f"));
        assert!(has("znver4", 64, "avx512vbmi") && !has("x86-64-v4", 64, "avx512vbmi"));
    }

    #[test]
    fn wide_registers_need_the_operating_system() {
        assert_eq!(saved_state(&parse_features("+sse4.2")), 0);
        assert_eq!(saved_state(&parse_features("+avx,+fma")), 0x6);
        assert_eq!(saved_state(&parse_features("+avx2,+avx512f")), 0xe6);
    }
}
