use super::*;
use crate::driver::{DriverOptions, Report, run_passes};
use crate::machine::Machine;
use crate::pass::RemarkKind;
use crate::text::{ConstantPool, parse_program};
use crate::{astgen, legality, nest_interp, scalar, verify};

/// A machine whose caches hold less than a hundred rows.
fn machine(numeric: Numeric) -> Machine {
    Machine {
        vector_bytes: 64,
        vector_registers: 32,
        l1_bytes: 512,
        l2_bytes: 4096,
        l3_bytes: 16384,
        threads: 1,
        barrier_ns: 200.0,
        gpu: false,
        byte_dots: false,
        numeric,
    }
}

/// Softmax over `scores[i, j] = sum_k q[i, k] * k[j, k] + mask[j]`, times `v`.
fn attention() -> String {
    nest(
        "largest[i] = -inf(f32)",
        "largest[i] max= scores[i, j]",
        "powers[i, j] = exp(scores[i, j] - largest[i])",
        "weights[i, j] = powers[i, j] / total[i]",
    )
}

fn nest(clear: &str, extreme: &str, powers: &str, weights: &str) -> String {
    format!(
        "program attention
param n = input(0, 0) in 1.. hint 100
param d = input(1, 0) in 1.. hint 100
array q: f32[n, 3] input 0
array k: f32[d, 3] input 1
array v: f32[d, 4] input 2
array mask: f32[d] input 3
array products: f32[n, d] temp
array scores: f32[n, d] temp
array largest: f32[n] temp
array powers: f32[n, d] temp
array total: f32[n] temp
array weights: f32[n, d] temp
array y: f32[n, 4] temp
array z: f32[n, 4] output 0
inputs q, k, v, mask
outputs z
S0 [i: n, j: d]: products[i, j] = 0.0f32
S1 [i: n, j: d, c: 3]: products[i, j] += q[i, c] * k[j, c]
S2 [i: n, j: d]: scores[i, j] = products[i, j] + mask[j]
S3 [i: n]: {clear}
S4 [i: n, j: d]: {extreme}
S5 [i: n, j: d]: {powers}
S6 [i: n]: total[i] = 0.0f32
S7 [i: n, j: d]: total[i] += powers[i, j]
S8 [i: n, j: d]: {weights}
S9 [i: n, c: 4]: y[i, c] = 0.0f32
S10 [i: n, c: 4, j: d]: y[i, c] += weights[i, j] * v[j, c]
S11 [i: n, c: 4]: z[i, c] = y[i, c]
schedule {{
  for [S0: i, S1: i] {{ for [S0: j, S1: j] {{ S0 for [S1: c] {{ S1 }} }} }}
  for [S2: i] {{ for [S2: j] {{ S2 }} }}
  for [S3: i, S4: i, S5: i, S6: i, S7: i, S8: i] {{
    S3 for [S4: j] {{ S4 }} for [S5: j] {{ S5 }} S6 for [S7: j] {{ S7 }} for [S8: j] {{ S8 }}
  }}
  for [S9: i, S10: i] {{ for [S9: c, S10: c] {{ S9 for [S10: j] {{ S10 }} }} }}
  for [S11: i] {{ for [S11: c] {{ S11 }} }}
}}
"
    )
}

fn parse(text: &str) -> Program {
    let program = parse_program(text, &ConstantPool::default()).unwrap();
    verify::verify(&program).unwrap();
    assert_eq!(legality::check(&program).unwrap(), Ok(()));
    program
}

/// The program after this pass, and what it said.
fn online(text: &str, numeric: Numeric) -> (Program, Report) {
    let mut program = parse(text);
    let options = DriverOptions { verify_each: true, ..DriverOptions::default() };
    let report = run_passes(&mut program, &[&Online], &machine(numeric), options).unwrap();
    (program, report)
}

fn applied(report: &Report) -> bool {
    report.remarks.iter().any(|r| r.kind == RemarkKind::Applied)
}

fn missed(report: &Report) -> String {
    let missed = report.remarks.iter().filter(|r| r.kind == RemarkKind::Missed);
    missed.map(|r| r.reason.clone()).collect::<Vec<_>>().join("; ")
}

/// Numbers from -1 to 1.
fn numbers(count: i64, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// `z` for the given sizes; `change` may put special values into `q`, `k`, `v` and `mask`.
fn run(program: &Program, n: i64, d: i64, change: &dyn Fn(&mut [Vec<f32>])) -> Vec<f64> {
    let mut inputs = vec![numbers(n * 3, 1), numbers(d * 3, 2), numbers(d * 4, 3), numbers(d, 4)];
    inputs[0].iter_mut().for_each(|x| *x *= 8.0);
    change(&mut inputs);
    let bytes: Vec<Vec<u8>> = inputs.iter().map(|x| x.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let nest = astgen::generate(program).unwrap();
    let out = nest_interp::run(&nest, &[("n", n), ("d", d)], &bytes).unwrap();
    (0..out[0].len() / 4).map(|at| scalar::read(&out[0], at, crate::DType::F32).as_f64()).collect()
}

fn assert_same(before: &[f64], after: &[f64], what: &str) {
    assert_eq!(before.len(), after.len());
    for (n, (x, y)) in before.iter().zip(after).enumerate() {
        let same = x.is_nan() && y.is_nan() || x == y || (x - y).abs() <= 1e-5 * (1.0 + x.abs());
        assert!(same, "{what}: element {n} was {x} and is {y}");
    }
}

#[test]
fn all_sizes_and_partial_blocks_give_the_same() {
    let plain = parse(&attention());
    let (found, report) = online(&attention(), Numeric::Fast);
    assert!(applied(&report), "{}", missed(&report));
    for (n, d) in [(1, 1), (1, 100), (3, 5), (6, 8), (7, 15), (13, 16), (12, 17), (5, 64), (40, 33)] {
        assert_same(&run(&plain, n, d, &|_| {}), &run(&found, n, d, &|_| {}), &format!("{n} rows of {d}"));
    }
}

#[test]
fn infinities_and_nan_come_out_as_before() {
    let plain = parse(&attention());
    let (found, _) = online(&attention(), Numeric::Fast);
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let mask = |range: std::ops::Range<usize>, value: f32| {
        move |inputs: &mut [Vec<f32>]| inputs[3][range.clone()].iter_mut().for_each(|x| *x = value)
    };
    let row = |value: f32| move |inputs: &mut [Vec<f32>]| inputs[0][3..6].iter_mut().for_each(|x| *x = value);
    let value = |value: f32| move |inputs: &mut [Vec<f32>]| inputs[2][9] = value;
    type Change = Box<dyn Fn(&mut [Vec<f32>])>;
    let cases: [(&str, Change); 14] = [
        ("the first blocks are masked", Box::new(mask(0..20, -inf))),
        ("the last blocks are masked", Box::new(mask(20..41, -inf))),
        ("blocks in the middle are masked", Box::new(mask(8..33, -inf))),
        ("all but one is masked", Box::new(|x| (0..41).filter(|n| *n != 30).for_each(|n| x[3][n] = f32::NEG_INFINITY))),
        ("everything is masked", Box::new(mask(0..41, -inf))),
        ("an infinite element at the start", Box::new(mask(0..1, inf))),
        ("an infinite element later", Box::new(mask(30..31, inf))),
        ("everything is infinite", Box::new(mask(0..41, inf))),
        ("infinite and masked elements", Box::new(move |x| (x[3][3], x[3][9]) = (inf, -inf))),
        ("NaN at the end", Box::new(mask(40..41, nan))),
        ("NaN at the start", Box::new(mask(0..1, nan))),
        ("a row with NaN", Box::new(row(nan))),
        ("a row with infinity", Box::new(row(inf))),
        ("an infinite value", Box::new(value(inf))),
    ];
    for (what, change) in cases {
        let (before, after) = (run(&plain, 9, 41, &*change), run(&found, 9, 41, &*change));
        assert_same(&before, &after, what);
    }
}

#[test]
fn the_whole_pipeline_keeps_one_block_of_scores() {
    let plain = parse(&attention());
    let mut program = plain.clone();
    let options = DriverOptions { verify_each: true, ..DriverOptions::default() };
    let report = run_passes(&mut program, crate::pipeline::PIPELINE, &machine(Numeric::Fast), options).unwrap();
    assert!(report.remarks.iter().any(|r| r.pass == NAME && r.kind == RemarkKind::Applied));
    for (n, d) in [(7, 15), (40, 33)] {
        assert_same(&run(&plain, n, d, &|_| {}), &run(&program, n, d, &|_| {}), "after all passes");
    }
    let used: HashSet<ArrayId> = program.statements().map(|(_, s)| s.target.array).collect();
    let large = |p: &Program, hint: i64| {
        let mut p = p.clone();
        let ids: Vec<_> = p.params.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| p.params.get_mut(id).hint = hint);
        let in_memory = |a: &crate::Array| a.is_temp() && a.placement != Some(crate::program::Placement::Register);
        let temps = p.arrays().filter(|(id, a)| in_memory(a) && used.contains(id));
        temps.map(|(_, a)| group::bytes(&p, a)).max().unwrap()
    };
    assert!(large(&program, 10_000) <= 4 * 4 * 10_000 + 4096, "{} bytes", large(&program, 10_000));
}

#[test]
fn a_minimum_may_fall_as_a_maximum_may_grow() {
    let text = nest(
        "largest[i] = inf(f32)",
        "largest[i] min= scores[i, j]",
        "powers[i, j] = exp(largest[i] - scores[i, j])",
        "weights[i, j] = powers[i, j] / total[i]",
    );
    let (plain, (found, report)) = (parse(&text), online(&text, Numeric::Fast));
    assert!(applied(&report), "{}", missed(&report));
    for change in [f32::INFINITY, f32::NEG_INFINITY, 0.5] {
        let set = move |x: &mut [Vec<f32>]| x[3][0..20].iter_mut().for_each(|m| *m = change);
        assert_same(&run(&plain, 9, 41, &set), &run(&found, 9, 41, &set), "minimum");
    }
}

#[test]
fn only_fast_numerics_regroup_sums() {
    for numeric in [Numeric::Strict, Numeric::Contract] {
        let (program, report) = online(&attention(), numeric);
        assert!(report.remarks.is_empty() && program == parse(&attention()));
    }
}

/// Not the form of a rule: another function, another extreme, a term that is a sum, a weight that depends on the sum.
#[test]
fn other_terms_stay() {
    let good = ["largest[i] max= scores[i, j]", "powers[i, j] = exp(scores[i, j] - largest[i])"];
    let weights = "weights[i, j] = powers[i, j] / total[i]";
    for (extreme, powers, weights) in [
        (good[0], "powers[i, j] = tanh(scores[i, j] - largest[i])", weights),
        (good[0], "powers[i, j] = exp(largest[i] - scores[i, j])", weights),
        (good[0], "powers[i, j] = exp(products[i, j] - largest[i])", weights),
        ("largest[i] min= scores[i, j]", good[1], weights),
        (good[0], good[1], "weights[i, j] = powers[i, j] + total[i]"),
    ] {
        let (program, report) = online(&nest("largest[i] = -inf(f32)", extreme, powers, weights), Numeric::Fast);
        let whole = program.statements().filter(|(_, s)| s.extents.len() == 2).count();
        assert!(!applied(&report) && whole > 2, "{extreme}, {powers}, {weights}");
    }
}

#[test]
fn what_others_read_is_kept() {
    let text = attention()
        .replace("outputs z", "outputs z, seen")
        .replace("array z:", "array seen: f32[n, d] output 1\narray z:")
        .replace("schedule {", "S12 [i: n, j: d]: seen[i, j] = weights[i, j]\nschedule {\n")
        .replace("  for [S11: i] {", "  for [S12: i] { for [S12: j] { S12 } }\n  for [S11: i] {");
    let (program, report) = online(&text, Numeric::Fast);
    assert!(!applied(&report), "{:?}", program.statements().count());
}

#[test]
fn short_rows_stay_whole() {
    let (_, report) = online(&attention().replace("hint 100", "hint 8"), Numeric::Fast);
    assert!(!applied(&report));
    assert!(missed(&report).contains("one block of"), "{}", missed(&report));
}

#[test]
fn a_row_that_may_be_empty_stays() {
    let (_, report) =
        online(&attention().replace("param d = input(1, 0) in 1..", "param d = input(1, 0) in 0.."), Numeric::Fast);
    assert!(report.remarks.is_empty(), "{}", missed(&report));
}
