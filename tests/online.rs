//! Attention over long rows in the fast contract: the scores of all rows never exist, and the results are right.

use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value};
use sirius_polyhedral::{DType, Numeric};

const DEPTH: usize = 64;

const GRAPH: &str = "graph \"net\"\n\
param n = input(0, 0) min 1 hint 4096\n\
t0 \"scale\" f32[] = [0.125]\n\
t1 \"q\" f32[n, 64]\n\
t2 \"k\" f32[n, 64]\n\
t3 \"v\" f32[n, 64]\n\
t4 \"mask\" f32[n]\n\
t5 \"kt\" f32[64, n]\n\
t6 \"products\" f32[n, n]\n\
t7 \"scaled\" f32[n, n]\n\
t8 \"scores\" f32[n, n]\n\
t9 \"weights\" f32[n, n]\n\
t10 \"y\" f32[n, 64]\n\
main (t1, t2, t3, t4) -> (t10) {\n\
  Transpose@13 \"kt\" (t2) -> (t5) {perm = [1, 0]}\n\
  MatMul@13 \"products\" (t1, t5) -> (t6)\n\
  Mul@14 \"scaled\" (t6, t0) -> (t7)\n\
  Add@14 \"scores\" (t7, t4) -> (t8)\n\
  Softmax@13 \"weights\" (t8) -> (t9)\n\
  MatMul@13 \"y\" (t9, t3) -> (t10)\n\
}\n";

fn artifact(numeric: Numeric, disabled: &[&str]) -> (tempfile::TempDir, Loaded) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.graph");
    std::fs::write(&file, GRAPH).unwrap();
    let disabled = disabled.iter().map(|p| p.to_string()).collect();
    let options = CompileOptions { numeric, disabled, ..CompileOptions::default() };
    compile(&file, &options, &mut Session::default(), dir.path()).unwrap();
    let loaded = Loaded::open(dir.path()).unwrap();
    (dir, loaded)
}

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        f64::from(((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 3.0)
    };
    (0..count).map(|_| next()).collect()
}

/// `q`, `k`, `v` and a mask that leaves out the keys of `masked`.
fn inputs(n: usize, masked: std::ops::Range<usize>) -> [Vec<f64>; 4] {
    let mask = (0..n).map(|j| if masked.contains(&j) { f64::NEG_INFINITY } else { 0.0 }).collect();
    [numbers(n * DEPTH, 1), numbers(n * DEPTH, 2), numbers(n * DEPTH, 3), mask]
}

/// Row by row, in double precision.
fn expected([q, k, v, mask]: &[Vec<f64>; 4]) -> Vec<f64> {
    let n = mask.len();
    let mut out = Vec::with_capacity(n * DEPTH);
    for i in 0..n {
        let dot = |j: usize| (0..DEPTH).map(|c| q[i * DEPTH + c] * k[j * DEPTH + c]).sum::<f64>();
        let scores: Vec<f64> = (0..n).map(|j| dot(j) * 0.125 + mask[j]).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        out.extend((0..DEPTH).map(|c| (0..n).map(|j| powers[j] * v[j * DEPTH + c]).sum::<f64>() / total));
    }
    out
}

fn run(loaded: &Loaded, inputs: &[Vec<f64>; 4]) -> Vec<f64> {
    let n = inputs[3].len();
    let shape = |at: usize| if at < 3 { vec![n, DEPTH] } else { vec![n] };
    let value = |(at, x): (usize, &Vec<f64>)| Value::from_floats(DType::F32, &shape(at), x).unwrap();
    let values: Vec<Value> = inputs.iter().enumerate().map(value).collect();
    loaded.run(&values).unwrap()[0].floats()
}

fn assert_close(wanted: &[f64], found: &[f64], what: &str) {
    assert_eq!(wanted.len(), found.len(), "{what}");
    for (at, (x, y)) in wanted.iter().zip(found).enumerate() {
        assert!(x.is_nan() && y.is_nan() || (x - y).abs() <= 2e-5, "{what}, element {at}: {x} and {y}");
    }
}

#[test]
fn long_attention_is_right_and_its_workspace_grows_with_the_length() {
    let (_fast, online) = artifact(Numeric::Fast, &[]);
    let (_plain, plain) = artifact(Numeric::Fast, &["online"]);
    let bytes = |loaded: &Loaded, n: i64| loaded.workspace_bytes(&[n]).unwrap();
    for n in [4096, 16384] {
        assert!(bytes(&plain, n) >= (n * n * 4) as usize, "the plain form keeps all scores");
        assert!(bytes(&online, n) <= (n * 64 * 4 * 4) as usize + (4 << 20), "{n}: {} bytes", bytes(&online, n));
    }
    assert!(bytes(&online, 32768) <= 2 * bytes(&online, 16384) + (1 << 16));
    for n in [1, 5, 37, 256, 257, 700] {
        let inputs = inputs(n, 0..0);
        let wanted = expected(&inputs);
        assert_close(&wanted, &run(&online, &inputs), &format!("{n} keys"));
        assert_close(&wanted, &run(&plain, &inputs), &format!("{n} keys, plain"));
    }
}

#[test]
fn masked_blocks_leave_no_trace_and_rows_without_keys_are_nan() {
    let (_dir, online) = artifact(Numeric::Fast, &[]);
    for masked in [0..300, 300..700, 250..600, 1..700, 0..699, 0..700] {
        let inputs = inputs(700, masked.clone());
        assert_close(&expected(&inputs), &run(&online, &inputs), &format!("{masked:?} masked"));
    }
    let mut inputs = inputs(700, 0..0);
    inputs[0][5 * DEPTH] = f64::NAN;
    let found = run(&online, &inputs);
    assert_close(&expected(&inputs), &found, "a row of NaN");
    assert!(found[5 * DEPTH..6 * DEPTH].iter().all(|x| x.is_nan()) && !found[6 * DEPTH].is_nan());
}
