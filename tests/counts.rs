//! What a run does, counted: the same results as without counting, the figures of the cost model, and independence of
//! the number of time steps.

use sirius::compile::{self, CompileOptions};
use sirius::report::session::Session;
use sirius::run::count::{Counts, Depth};
use sirius::run::{Loaded, Value};
use sirius_lowering::count::Counting;
use sirius_polyhedral::cost::{self, Tally, Values};
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{ArrayId, DType, Expr, LoopNest, Machine, Nest, Program};
use std::path::PathBuf;
use tempfile::TempDir;

/// A graph in text form, compiled to count.
struct Counted {
    loaded: Loaded,
    program: Program,
    nest: LoopNest,
    machine: Machine,
    file: PathBuf,
    _dir: TempDir,
}

fn options(threads: usize, counting: Counting) -> CompileOptions {
    CompileOptions { cpu: "x86-64-v3".into(), threads: Some(threads), counting, ..CompileOptions::default() }
}

fn counted(graph: &str, threads: usize) -> Counted {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.graph");
    std::fs::write(&file, graph).unwrap();
    let (options, mut session) = (options(threads, Counting::On), Session::default());
    compile::compile(&file, &options, &mut session, dir.path()).unwrap();
    let target = compile::target(&options).unwrap();
    let imported = compile::import(&file, &options, &mut session).unwrap();
    let mut program = compile::extract(&imported, &mut session).unwrap();
    let mut report = compile::optimize(&mut program, &target, &options, &mut session).unwrap();
    let nest = compile::loop_nest(&program, &mut report, &mut session).unwrap();
    Counted { loaded: Loaded::open(dir.path()).unwrap(), program, nest, machine: target.machine, file, _dir: dir }
}

impl Counted {
    fn count(&self, inputs: &[Value]) -> Counts {
        self.loaded.count(inputs, Depth::Everything).unwrap()
    }

    fn values(&self, dims: &[(&str, i64)]) -> Values {
        Values::new(&self.nest.params, &|name| dims.iter().find(|d| d.0 == name).map(|d| d.1))
    }

    fn modelled(&self, dims: &[(&str, i64)]) -> Tally {
        cost::tally(&self.nest, &self.values(dims), &self.machine)
    }
}

fn ramp(shape: &[usize]) -> Value {
    let values: Vec<f64> = (0..shape.iter().product::<usize>()).map(|n| (n % 17) as f64 / 8.0 - 1.0).collect();
    Value::from_floats(DType::F32, shape, &values).unwrap()
}

const PRODUCT: &str = "graph \"net\"\nparam rows = input(0, 0) min 1 hint 48\n\
t0 \"x\" f32[rows, 32]\nt1 \"w\" f32[32, 64]\nt2 \"p\" f32[rows, 64]\nt3 \"y\" f32[rows, 64]\n\
main (t0, t1) -> (t3) {\n  MatMul@13 \"p\" (t0, t1) -> (t2)\n  Relu@14 \"r\" (t2) -> (t3)\n}\n";

const CHAIN: &str = "graph \"net\"\nparam n = input(0, 0) min 1 hint 100\n\
t0 \"x\" f32[n, 24]\nt1 \"a\" f32[n, 24]\nt2 \"b\" f32[n, 24]\nt3 \"s\" f32[n, 24]\nt4 \"y\" f32[n, 24]\n\
main (t0) -> (t4) {\n  Exp@13 \"e\" (t0) -> (t1)\n  Mul@14 \"m\" (t1, t0) -> (t2)\n  Softmax@13 \"s\" (t2) -> (t3) {axis = 1}\n  \
Add@14 \"d\" (t3, t0) -> (t4)\n}\n";

/// Two layers that read each other's rows: a barrier between.
const LAYERS: &str = "graph \"net\"\n\
t0 \"x\" f32[240, 240]\nt1 \"p\" f32[240, 240]\nt2 \"y\" f32[240, 240]\n\
main (t0) -> (t2) {\n  MatMul@13 \"p\" (t0, t0) -> (t1)\n  MatMul@13 \"q\" (t1, t1) -> (t2)\n}\n";

#[test]
fn counting_changes_no_result() {
    for (graph, inputs) in [(PRODUCT, vec![ramp(&[13, 32]), ramp(&[32, 64])]), (CHAIN, vec![ramp(&[7, 24])])] {
        let counted = counted(graph, 1);
        let dir = tempfile::tempdir().unwrap();
        compile::compile(&counted.file, &options(1, Counting::Off), &mut Session::default(), dir.path()).unwrap();
        let plain = Loaded::open(dir.path()).unwrap();
        assert_eq!(plain.run(&inputs).unwrap(), counted.loaded.run(&inputs).unwrap());
        assert!(plain.count(&inputs, Depth::Everything).unwrap_err().to_string().contains("not made to count"));
    }
}

#[test]
fn the_cost_model_counts_what_a_run_counts() {
    for (graph, dim, sizes) in [(PRODUCT, "rows", [48, 96, 13, 1]), (CHAIN, "n", [16, 100, 7, 1])] {
        let counted = counted(graph, 1);
        for size in sizes {
            let mut inputs = vec![ramp(&[size, if dim == "rows" { 32 } else { 24 }])];
            inputs.extend((dim == "rows").then(|| ramp(&[32, 64])));
            let (counts, model) = (counted.count(&inputs), counted.modelled(&[(dim, size as i64)]));
            let what = format!("{dim} = {size}");
            assert!(model.exact, "{what}");
            for (n, (got, wanted)) in counts.arrays.iter().zip(&model.arrays).enumerate() {
                let name = &counted.nest.arrays[n].name;
                assert_eq!((got.loaded, got.stored), (wanted.loaded, wanted.stored), "{name}, {what}");
            }
            assert_eq!((counts.operations, counts.regions), (model.operations, model.regions), "{what}");
        }
    }
}

#[test]
fn footprints_are_the_distinct_bytes_of_a_run() {
    for (graph, dim, inputs) in
        [(PRODUCT, ("rows", 48), vec![ramp(&[48, 32]), ramp(&[32, 64])]), (CHAIN, ("n", 100), vec![ramp(&[100, 24])])]
    {
        let counted = counted(graph, 1);
        let (counts, values) = (counted.count(&inputs), counted.values(&[dim]));
        let regions = counted.nest.body.iter().map(std::slice::from_ref);
        let footprints: Vec<_> =
            regions.map(|r| cost::footprint(&counted.nest, r, &values, &Default::default())).collect();
        for (n, got) in counts.arrays.iter().enumerate() {
            let id = ArrayId(n as u32);
            let bytes = footprints.iter().map(|f| f.bytes(&counted.nest, id));
            let (read, written) = bytes.fold((0, 0), |sum, b| (sum.0 + b.read, sum.1 + b.written));
            assert_eq!((got.read, got.written), (read, written), "{}", counted.nest.arrays[n].name);
        }
    }
}

/// What `fuse-tiles` decides by: the boxes that the roots of a program touch at typical sizes.
#[test]
fn footprints_of_a_program_are_the_distinct_bytes_of_a_run() {
    for (graph, inputs) in [(PRODUCT, vec![ramp(&[48, 32]), ramp(&[32, 64])]), (CHAIN, vec![ramp(&[100, 24])])] {
        let Counted { program, loaded, .. } = counted(graph, 1);
        let counts = loaded.count(&inputs, Depth::Everything).unwrap();
        let in_registers = |(id, _): &(ArrayId, _)| program.array(*id).placement == Some(Placement::Register);
        let apart = program.arrays().filter(in_registers).map(|(id, _)| id).collect();
        let all = |_, _| None;
        let roots = program.schedule.roots.iter();
        let touched: Vec<_> = roots.map(|r| cost::reuse::footprint(&program, &r.statements(), &apart, &all)).collect();
        for (id, array) in program.arrays() {
            let wanted: f64 = touched.iter().filter_map(|t| t.get(&id)).sum();
            let got = counts.arrays[id.0 as usize];
            assert_eq!((got.read + got.written) as f64, wanted, "{}", array.name);
        }
    }
}

/// The model knows no lines and no conflicts: it is right within a factor of 2 where rows do not fall into few sets.
#[test]
fn bytes_moved_into_a_cache_are_close_to_a_simulated_one() {
    let mut counted = counted(LAYERS, 1);
    let caches = [4 << 10, 64 << 10, 1 << 20];
    counted.loaded.manifest.counted.as_mut().unwrap().caches = caches;
    let counts = counted.count(&[ramp(&[240, 240])]);
    for (moved, bytes) in counts.moved.iter().zip(caches) {
        let model = cost::moved(&counted.nest, &counted.values(&[]), bytes as u64) as f64;
        let ratio = moved.filled as f64 / model;
        assert!((0.5..=2.0).contains(&ratio), "{bytes} bytes: {} moved, {model} by the model", moved.filled);
    }
}

#[test]
fn barriers_of_a_team_are_counted_and_modelled() {
    let counted = counted(LAYERS, 2);
    assert_eq!(counted.loaded.threads, 2);
    let inputs = [ramp(&[240, 240])];
    let counts = counted.count(&inputs);
    assert!(counts.barriers > 0);
    assert_eq!(counts.barriers, counted.modelled(&[]).barriers);
    assert_eq!(counts.barriers, counted.loaded.count(&inputs, Depth::Control).unwrap().barriers);
}

/// A recurrent layer of `hidden` units over 64 inputs.
fn recurrent(op: &str, rows: usize, hidden: usize) -> String {
    format!(
        "graph \"net\"\nparam steps = input(0, 0) min 1 hint 50\n\
t0 \"x\" f32[steps, 1, 64]\nt1 \"w\" f32[1, {rows}, 64]\nt2 \"r\" f32[1, {rows}, {hidden}]\n\
t3 \"y\" f32[steps, 1, 1, {hidden}]\n\
main (t0, t1, t2) -> (t3) {{\n  {op}@14 \"net\" (t0, t1, t2) -> (t3) {{hidden_size = {hidden}}}\n}}\n"
    )
}

/// The array that the code multiplies with: the input itself, or what a plain copy of it was written to.
fn copy_of(nest: &LoopNest, name: &str) -> usize {
    let mut at = nest.arrays.iter().position(|a| a.name == name).unwrap();
    for root in &nest.body {
        root.visit(&mut |node| match node {
            Nest::Compute { target, value: Expr::Load(read), .. } if read.array.0 as usize == at => {
                at = target.array.0 as usize;
            }
            _ => {}
        });
    }
    at
}

/// A time loop is one region however often it turns, and what does not depend on the state is computed for all steps
/// at once before it: the weights of the input projection come into a cache once that holds neither them nor the
/// sequence (but for lines that two of its tiles share), while those of the recurrence come in every step.
#[test]
fn regions_and_projection_weights_do_not_grow_with_the_number_of_steps() {
    // 208 and 240 floats are 13 and 15 lines: rows that do not fall into few sets.
    for (op, rows, hidden) in [("LSTM", 208, 52), ("GRU", 240, 80)] {
        let mut counted = counted(&recurrent(op, rows, hidden), 1);
        counted.loaded.manifest.counted.as_mut().unwrap().caches = [1 << 10, 32 << 10, 64 << 10];
        let (w, r) = (copy_of(&counted.nest, "w"), copy_of(&counted.nest, "r"));
        let run = |steps: usize| {
            let counts = counted.count(&[ramp(&[steps, 1, 64]), ramp(&[1, rows, 64]), ramp(&[1, rows, hidden])]);
            (counts.regions, counts.arrays[w].fetched, counts.arrays[r].fetched)
        };
        let (one, ten, hundred, four_hundred) = (run(1), run(10), run(100), run(400));
        assert_eq!([one.0, ten.0, hundred.0], [four_hundred.0; 3], "{op}");
        let projection = (rows * 64 * 4) as u64;
        for fetched in [hundred.1, four_hundred.1] {
            assert!(fetched <= projection * 2, "{op}: {fetched} of {projection} bytes");
        }
        assert!(hundred.2 > 20 * one.2.max(1), "{op}: {} and {}", one.2, hundred.2);
    }
}
