//! Programs in overlapping blocks are legal, give the same numbers on any team, and wrong blocks are caught.

use super::*;
use crate::certificate::check::{OPERATIONS, Verdict, check};
use crate::certificate::record::Recorder;
use crate::legality;
use crate::machine::Machine;
use crate::testing::{applied, numbers, parse, run_named, windows};
use crate::text::{ConstantPool, print_program};
use crate::{Remark, astgen, nest_interp};

/// Caches that a few rows of 256 numbers fill, and barriers that cost as much as some rows.
fn machine(threads: usize) -> Machine {
    let (l1_bytes, l2_bytes, l3_bytes) = (4 << 10, 128 << 10, 1 << 20);
    let (vector_bytes, vector_registers, barrier_ns) = (32, 16, 2_000.0);
    let base = crate::testing::machine();
    Machine { vector_bytes, vector_registers, l1_bytes, l2_bytes, l3_bytes, threads, barrier_ns, ..base }
}

fn run(program: &mut Program, passes: &[&str], threads: usize) -> Vec<Remark> {
    run_named(program, passes, &machine(threads))
}

/// The outputs for inputs that differ everywhere, or what is read before it is written.
fn outputs(program: &Program, images: i64, rows: i64) -> Result<Vec<Vec<u8>>> {
    nest_interp::run(&astgen::generate(program)?, &[("images", images)], &[numbers(images * rows * 256)])
}

const BEHIND: [&str; 5] = ["fuse-tiles", "contract", "plan-memory", "team", "barriers"];

#[test]
fn windows_of_any_shape_give_the_same_numbers_on_any_team() {
    let mut chains = 0;
    // 251, 190 and 187 rows leave a part of a block over.
    for (images, rows, pad, taps, step) in [
        ("1", 256, 1, 3, 1),
        ("1", 256, 1, 3, 2),
        ("images", 251, 1, 3, 2),
        ("1", 190, 0, 4, 3),
        ("1", 187, 2, 5, 1),
        ("1", 256, 3, 7, 2),
        ("1", 256, 0, 17, 1),
    ] {
        for threads in [2, 3, 4] {
            let mut program = windows(images, rows, pad, taps, step);
            let images = if images == "1" { 1 } else { 3 };
            let wanted = outputs(&program, images, rows).unwrap();
            let case = format!("{rows} rows, pad {pad}, {taps} taps, step {step}, {threads} workers");
            let remarks = run(&mut program, &[NAME], threads);
            chains += applied(&remarks, NAME);
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{case}: {v}"));
            assert_eq!(outputs(&program, images, rows).unwrap(), wanted, "{case}");
            run(&mut program, &BEHIND, threads);
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{case}, shared: {v}"));
            assert_eq!(outputs(&program, images, rows).unwrap(), wanted, "{case}");
        }
    }
    assert!(chains > 14, "{chains} of 21");
}

/// `c` reads windows of `b`, which reads windows of `a`.
fn two_windows(steps: [i64; 2]) -> Program {
    let b = (253 - 3) / steps[0] + 1;
    let c = (b - 3) / steps[1] + 1;
    let text = format!(
        "\
program two
array x: f32[253, 256] input 0
array a: f32[253, 256] temp
array b: f32[{b}, 256] temp
array c: f32[{c}, 256] output 0
inputs x
outputs c
S0 [i: 253, j: 256]: a[i, j] = max(x[i, j], 0.0f32)
S1 [i: {b}, j: 256]: b[i, j] = 0.0f32
S2 [i: {b}, j: 256, k: 3]: b[i, j] += a[{s}*i + k, 255 - j]
S3 [i: {c}, j: 256]: c[i, j] = 0.0f32
S4 [i: {c}, j: 256, k: 3]: c[i, j] += b[{t}*i + k, 255 - j]
schedule {{
  for [S0: i] {{ for [S0: j] {{ S0 }} }}
  for [S1: i, S2: i] {{ for [S1: j, S2: j] {{ S1 for [S2: k] {{ S2 }} }} }}
  for [S3: i, S4: i] {{ for [S3: j, S4: j] {{ S3 for [S4: k] {{ S4 }} }} }}
}}
",
        s = steps[0],
        t = steps[1]
    );
    parse(&text)
}

#[test]
fn two_windows_are_one_loop_without_barriers() {
    for steps in [[1, 1], [2, 1], [1, 2], [2, 2]] {
        for (threads, size) in [(1, 128), (2, 128), (3, 84)] {
            let mut program = two_windows(steps);
            let wanted = outputs(&program, 1, 253).unwrap();
            let plan = planned(&program, size, threads).unwrap();
            apply(&mut program, &[], &plan);
            let case = format!("steps {steps:?}, {threads} workers: {:?}", run(&mut program, &BEHIND, threads));
            assert_eq!(program.schedule.roots.len(), 1, "{case}");
            assert_eq!(program.schedule.team(), threads as u32, "{case}");
            assert_eq!(crate::schedule::barriers::count(&program.schedule), 0, "{case}");
            legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{case}: {v}"));
            let plane = |name: &str| program.arrays().find(|(_, a)| a.name == name).unwrap().1.fold[0];
            assert_eq!([plane("a"), plane("b")], [Some(threads as i64); 2], "{case}");
            assert_eq!(outputs(&program, 1, 253).unwrap(), wanted, "{case}");
        }
    }
}

/// The number of chains that start at any root.
fn chains(text: &str) -> usize {
    let program = parse(text);
    let (apart, machine, parent) = (HashSet::new(), machine(2), Path::new());
    let model = Model { program: &program, parent: &parent, apart: &apart, machine: &machine };
    (0..program.schedule.roots.len()).map(|at| chain::starting_at(&model, at).len()).sum()
}

/// Windows along what lies side by side in memory would cut it into short pieces.
#[test]
fn columns_are_not_cut() {
    let text = |row: &str| {
        format!(
            "\
program columns
array x: f32[64, 256] input 0
array a: f32[64, 256] temp
array y: f32[64, 254] output 0
inputs x
outputs y
S0 [i: 64, j: 256]: a[i, j] = max(x[i, j], 0.0f32)
S1 [j: 254, i: 62]: y[i, j] = a[{row}, j] + a[{row}, j + 2]
schedule {{
  for [S0: j] {{ for [S0: i] {{ S0 }} }}
  for [S1: j] {{ for [S1: i] {{ S1 }} }}
}}
"
        )
    };
    assert_eq!(chains(&text("63 - i")), 0);
    assert_eq!(chains(&text("i + 2")), 1);
}

/// Two recurrent layers could run a step apart, but their time loops are not parallel: `wavefront` takes them.
#[test]
fn time_loops_are_no_chain() {
    let stack = "\
program stack
array x: f32[200, 256] input 0
array g: f32[201, 256] temp
array h: f32[201, 256] temp
array y: f32[200, 256] output 0
inputs x
outputs y
S0 [j: 256]: g[0, j] = 0.0f32
S1 [t: 200, j: 256]: g[t + 1, j] = g[t, 255 - j] + x[t, j]
S2 [j: 256]: h[0, j] = 0.0f32
S3 [t: 200, j: 256]: h[t + 1, j] = h[t, 255 - j] + g[t + 1, j]
S4 [t: 200, j: 256]: y[t, j] = h[t + 1, j]
schedule {
  for [S0: j] { S0 }
  for [S1: t] { for [S1: j] { S1 } }
  for [S2: j] { S2 }
  for [S3: t] { for [S3: j] { S3 } }
  for [S4: t] { for [S4: j] { S4 } }
}
";
    assert_eq!(chains(stack), 0);
}

#[test]
fn one_worker_is_left_alone() {
    let mut program = windows("1", 256, 1, 3, 1);
    let before = program.clone();
    assert_eq!(applied(&run(&mut program, &[NAME], 1), NAME), 0);
    assert_eq!(program, before);
}

/// After all passes that come before it, too: register tiles stay whole.
#[test]
fn tiled_windows_give_the_same_numbers() {
    for threads in [2, 3] {
        let mut program = windows("images", 251, 1, 3, 1);
        let wanted = outputs(&program, 2, 251).unwrap();
        let passes = ["tile", NAME, "fuse-tiles", "hoist", "scalar-replace", "contract", "plan-memory", "team"];
        let remarks = run(&mut program, &passes, threads);
        assert!(applied(&remarks, NAME) > 0, "{remarks:?}");
        legality::check(&program).unwrap().unwrap();
        assert_eq!(outputs(&program, 2, 251).unwrap(), wanted);
    }
}

/// The plan for all nests in blocks of `size` rows.
fn planned(program: &Program, size: i64, threads: usize) -> Option<Plan> {
    let (apart, machine, parent) = (HashSet::new(), machine(threads), Path::new());
    let model = Model { program, parent: &parent, apart: &apart, machine: &machine };
    let chains = chain::starting_at(&model, 0);
    let whole = chains.iter().max_by_key(|c| c.members.len()).unwrap();
    Plan::new(&model, whole, size)
}

/// No order is broken by it, but the interpreter sees what nobody wrote.
#[test]
fn one_row_less_is_caught() {
    for (first, last) in [(0, 0), (0, 1), (1, 0)] {
        let mut program = two_windows([1, 1]);
        let mut plan = planned(&program, 64, 2).unwrap();
        plan.spans[1].first += first;
        plan.spans[1].last -= last;
        apply(&mut program, &[], &plan);
        let found = outputs(&program, 1, 253);
        assert_eq!(found.is_ok(), first + last == 0, "{first} {last}");
    }
}

#[test]
fn little_work_is_done_twice() {
    let plan = planned(&two_windows([1, 1]), 64, 2).unwrap();
    // 253, 251 and 249 rows for windows of 3, and in three of four blocks 4 rows more of `a` and 2 more of `b`.
    assert_eq!(plan.spans.iter().map(Span::length).collect::<Vec<_>>(), [68, 66, 64]);
    assert!(1.0 < plan.price.factor && plan.price.factor < 1.04, "{}", plan.price.factor);
    assert!(planned(&two_windows([1, 1]), 8, 2).is_none());
}

/// What is computed twice would be written twice where others see it.
#[test]
fn what_others_read_stays() {
    for (role, reader) in [("output 1", ""), ("temp", "S5 [i: 253]: d[i] = a[252 - i, 7]\n")] {
        let mut text = print_program(&two_windows([1, 1]), &mut ConstantPool::default());
        text = text.replace("array a: f32[253, 256] temp", &format!("array a: f32[253, 256] {role}"));
        if reader.is_empty() {
            text = text.replace("outputs c", "outputs c, a");
        } else {
            text =
                text.replace("inputs x", "array d: f32[253] output 1\ninputs x").replace("outputs c", "outputs c, d");
            text = text.replace("schedule {", &format!("{reader}schedule {{"));
            let end = text.rfind('}').unwrap();
            text.insert_str(end, "  for [S5: i] { S5 }\n");
        }
        let mut program = parse(&text);
        run(&mut program, &[NAME], 2);
        let a = program.arrays().find(|(_, array)| array.name == "a").unwrap().1;
        assert_eq!(a.extents.len(), 2, "{role}");
    }
}

/// A certificate of a plan for blocks of `size` rows, with `less` rows less in member `at`, and of what comes behind it.
fn certified(mut program: Program, size: i64, at: usize, less: i64) -> Verdict {
    let mut recorder = Recorder::new(&program);
    let mut plan = planned(&program, size, 2).unwrap();
    plan.spans[at].last -= less;
    apply(&mut program, &[], &plan);
    recorder.after(NAME, &program);
    for pass in BEHIND {
        run(&mut program, &[pass], 2);
        recorder.after(pass, &program);
    }
    check(&recorder.finish("test").unwrap(), OPERATIONS).unwrap()
}

/// The checker of certificates goes from the blocks back to the rows.
#[test]
fn certificates_hold_and_a_row_less_does_not() {
    // Nobody reads the first row of `a` and the last: no block computes them.
    let unread = "\
program unread
array x: f32[130, 256] input 0
array a: f32[130, 256] temp
array y: f32[128, 256] output 0
inputs x
outputs y
S0 [i: 130, j: 256]: a[i, j] = max(x[i, j], 0.0f32)
S1 [i: 128, j: 256]: y[i, j] = a[i + 1, j] + a[i + 1, 255 - j]
schedule {
  for [S0: i] { for [S0: j] { S0 } }
  for [S1: i] { for [S1: j] { S1 } }
}
";
    let unread = parse(unread);
    for (program, size, at) in [(two_windows([2, 1]), 128, 1), (unread, 32, 0)] {
        let verdict = certified(program.clone(), size, at, 0);
        assert!(verdict.holds(), "{:?} {:?}", verdict.findings, verdict.undecided);
        let verdict = certified(program, size, at, 1);
        assert!(!verdict.findings.is_empty(), "{:?}", verdict.undecided);
    }
}
