//! Plans and kernels of small nests: their form, their numbers on a stand-in device, and NVIDIA's assembler.

mod device;
mod nests;

use super::plan::*;
use super::*;
use nests::*;
use sirius_polyhedral::nest_interp;
use std::path::PathBuf;
use std::process::Command;

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Runs plan and kernels, and the nest interpreter; compares, and gives the number of launches.
#[track_caller]
fn check_numbers(nest: &LoopNest, dims: &[(&str, i64)], inputs: &[Vec<u8>]) -> usize {
    let (ir, plan) = llvm_text(nest, &target("sm_80")).unwrap();
    let (got, launches) = device::run(&ir, &plan, nest, dims, inputs);
    let want = nest_interp::run(nest, dims, inputs).unwrap();
    for (got, want) in got.iter().zip(&want) {
        assert_eq!(got.len(), want.len());
        for (n, (g, w)) in got.chunks(4).zip(want.chunks(4)).enumerate() {
            let [g, w] = [g, w].map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            assert!((g - w).abs() <= 1e-5 * w.abs().max(1.0), "{}[{n}]: {g}, want {w}", nest.name);
        }
    }
    launches
}

#[test]
fn threads_cover_symbolic_extents() {
    for batch in [1i64, 60, 700] {
        let x = floats((0..batch * 5).map(|n| n as f32 * 0.01 - 1.0));
        assert_eq!(check_numbers(&elementwise(), &[("batch", batch)], &[x]), 1);
    }
}

#[test]
fn reductions_stay_in_a_thread() {
    let x = floats((0..140).map(|n| (n * 37 % 41) as f32 * 0.1));
    assert_eq!(check_numbers(&product(), &[], &[x]), 2);
}

#[test]
fn time_loops_stay_on_the_host() {
    // The exit comes after 5 steps; without it there would be 24. Before the loop there are two launches.
    let x = floats([0.5, 1.0, -1.0, 2.0, 0.25, 0.0]);
    assert_eq!(check_numbers(&recurrence(), &[], &[x]), 2 + 3 * 5);
    let x = floats([0.0; 6]);
    assert_eq!(check_numbers(&recurrence(), &[], &[x]), 2 + 3 * 24);
}

#[test]
fn guards_are_tested_by_the_host() {
    for first in [0.5f32, 2.0] {
        let x = floats((0..300).map(|n| if n == 0 { first } else { n as f32 * 0.01 }));
        assert_eq!(check_numbers(&guarded(), &[], &[x]), 3);
    }
}

#[test]
fn a_plan_says_what_to_launch() {
    let plan = lower(&elementwise(), &target("sm_80")).unwrap().plan;
    let json = serde_json::to_string(&plan).unwrap();
    let kernel = r#"{"name":"elementwise_k0_Test","grid":{"min":[{"int":1048576},{"floor_div":[{"add":[{"mul":[{"int":5},{"max":[{"int":0},{"param":"batch"}]}]},{"int":255}]},{"int":256}]}]},"block":256,"args":[{"buffer":"x"},{"buffer":"w"},{"buffer":"y"},{"param":"batch"}]}"#;
    assert!(json.contains(kernel), "{json}");
    assert!(json.contains(r#""steps":[{"launch":"elementwise_k0_Test"}]"#), "{json}");
    let back: LaunchPlan = serde_json::from_str(&json).unwrap();
    assert_eq!(back, plan);
}

#[test]
fn a_host_loop_reads_trip_count_and_exit() {
    let plan = lower(&recurrence(), &target("sm_80")).unwrap().plan;
    let json = serde_json::to_string(&plan).unwrap();
    let steps = r#"{"loop":{"var":"c1","lower":{"int":0},"upper":{"param":"trips"},"body":[{"break_unless":{"element":{"buffer":"slot2","index":{"var":"c1"}}}},{"launch":"#;
    assert!(json.contains(steps), "{json}");
    assert!(json.contains(r#"{"name":"trips","source":{"value":{"buffer":"slot1","dtype":"i64"}}}"#), "{json}");
}

#[test]
fn kernels_are_entries_for_the_architecture() {
    let ptx = lower(&elementwise(), &target("sm_80")).unwrap().ptx;
    assert!(ptx.contains(".target sm_80") && ptx.contains(".version 8.0"), "{ptx}");
    assert!(ptx.contains(".visible .entry elementwise_k0_Test("), "{ptx}");
    // Everything is inlined, and LLVM knows that the pointers are to global memory.
    assert!(!ptx.contains("call.uni") && ptx.contains("ld.global"), "{ptx}");
}

#[test]
fn unknown_architectures_are_refused() {
    let error = lower(&elementwise(), &target("sm_999")).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains("sm_90a"), "{error}");
}

#[test]
fn an_artifact_is_three_files() {
    let (nest, dir) = (elementwise(), tempfile::tempdir().unwrap());
    let mut artifact = lower(&nest, &target("sm_80")).unwrap();
    write_artifact(&nest, &mut artifact, "net", dir.path()).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let plan: LaunchPlan = serde_json::from_slice(&read("net.json")).unwrap();
    assert_eq!(plan.files.as_ref().unwrap().weights_bytes, 20);
    assert!(plan.buffers.iter().any(|b| b.name == "w" && b.role == BufferRole::Constant { offset: 0 }));
    assert_eq!(read("net.weights"), floats([0.0, 0.5, 1.0, 1.5, 2.0]));
    assert_eq!(String::from_utf8(read("net.ptx")).unwrap(), artifact.ptx);
}

#[test]
fn register_placement_is_refused() {
    let mut nest = recurrence();
    nest.arrays[1].placement = Some(Placement::Register);
    let error = lower(&nest, &target("sm_80")).unwrap_err();
    assert!(error.to_string().contains("h is placed in registers"), "{error}");
}

/// NVIDIA's assembler, where `models/fetch_ptxas.sh` puts it, or what `SIRIUS_PTXAS` names.
fn ptxas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SIRIUS_PTXAS") {
        return Some(path.into());
    }
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    Some(cache.join("sirius/ptxas-12.9.86/ptxas")).filter(|p| p.exists())
}

#[test]
fn the_assembler_accepts_all_kernels() {
    let Some(ptxas) = ptxas() else {
        println!("skipped: no ptxas; models/fetch_ptxas.sh fetches it");
        return;
    };
    for nest in [elementwise(), product(), recurrence(), guarded(), everything()] {
        let artifact = lower(&nest, &target("sm_80")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("k.ptx"), folder.path().join("k.cubin"));
        std::fs::write(&from, &artifact.ptx).unwrap();
        let run = Command::new(&ptxas).args(["-arch=sm_80", "-O1"]).arg(&from).arg("-o").arg(&to).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && to.exists(), "{}: {said}", nest.name);
        assert_eq!(artifact.ptx.matches(".visible .entry").count(), artifact.plan.kernels.len());
    }
}
