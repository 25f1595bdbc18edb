//! Compiles the artifacts' C runtime once; `artifact.rs` embeds the object and links it into every model.

use std::path::{Path, PathBuf};

fn main() {
    for file in [
        "sirius_runtime.c",
        "descriptor.h",
        "sirius_abi.h",
        "system.c",
        "text.c",
        "weights.c",
        "sizes.c",
        "check.c",
        "team.c",
    ] {
        println!("cargo::rerun-if-changed=runtime/{file}");
    }
    let object = runtime_object();
    let kept = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("sirius_runtime.o");
    std::fs::copy(&object, kept).expect("copying the runtime's object inside the build folder");
}

/// Baseline x86-64 without a C library: the artifact must load anywhere and then check the processor itself.
fn runtime_object() -> PathBuf {
    let mut build = cc::Build::new();
    build.file(Path::new("runtime/sirius_runtime.c")).opt_level(2).debug(false).pic(true).warnings_into_errors(true);
    for flag in ["-std=c11", "-ffreestanding", "-fno-builtin", "-fvisibility=hidden", "-fno-stack-protector"] {
        build.flag(flag);
    }
    // Without it gcc would turn the loop in memmove into a call of memmove.
    build.flag_if_supported("-fno-tree-loop-distribute-patterns");
    build.flag_if_supported("-fno-asynchronous-unwind-tables");
    build.compile_intermediates().into_iter().next().expect("one source file makes one object")
}
