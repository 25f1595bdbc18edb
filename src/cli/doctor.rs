//! `sirius doctor`: is everything here that compiling and running needs?

use crate::cli::Outcome;
use crate::report::render;
use sirius_lowering::{Target, features, link, target};

pub fn command() -> Outcome {
    let linker = link::find_linker();
    let host = Target::x86("native");
    let vector = match host.machine.vector_bytes {
        64 => "AVX-512",
        32 => "AVX2",
        _ => "SSE",
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let cache = |bytes: usize| format!("{} KiB", bytes >> 10);
    let found = match &linker {
        Ok(path) => format!("{} ({})", path.display(), link::linker_version(path).unwrap_or_default()),
        Err(_) => "MISSING".to_string(),
    };
    let names: Vec<&str> = features::parse_features(&host.features).iter().map(|f| f.name).collect();
    let lines = [
        ("sirius", env!("CARGO_PKG_VERSION").to_string()),
        ("LLVM", target::llvm_version()),
        ("linker", found),
        ("processor", format!("{}, {vector}, {cores} cores", host.cpu)),
        (
            "caches",
            format!(
                "L1 {}, L2 {}, L3 {}",
                cache(host.machine.l1_bytes),
                cache(host.machine.l2_bytes),
                cache(host.machine.l3_bytes)
            ),
        ),
        ("features", names.join(" ")),
        ("temporary files", std::env::temp_dir().display().to_string()),
    ];
    for (what, value) in lines {
        render::out(&format!("{what:<16} {value}\n"));
    }
    linker.map(|_| 0)
}
