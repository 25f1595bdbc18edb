use super::*;
use crate::legality::{self, Violation};
use crate::testing::{applied, numbers, parse, run_named};
use crate::{Remark, astgen, nest_interp};

/// Barriers that cost next to nothing, for layers that are next to nothing.
fn machine(threads: usize) -> Machine {
    Machine { threads, barrier_ns: 1.0, ..crate::testing::machine() }
}

/// Two recurrent layers over `steps` steps, the second reading the first at step `t + ahead`, and their last
/// states.
fn stack(steps: &str, ahead: i64) -> Program {
    let text = format!(
        "\
program stack
param steps = input(0, 0) in 1.. hint 60
array x: f32[{steps}, 64] input 0
array a: f32[{steps} + 2, 64] temp
array b: f32[{steps}, 64] temp
array d: f32[{steps} + 1, 64] temp
array last: f32[64] output 0
array y: f32[{steps}, 64] output 1
inputs x
outputs last, y
S0 [j: 64]: a[0, j] = 0.0f32
S1 [t: {steps}, j: 64]: a[t + 1, j] = 0.5f32 * a[t, 63 - j] + x[t, j]
S2 [j: 64]: last[j] = a[{steps}, j]
S3 [j: 64]: d[0, j] = 1.0f32
S4 [t: {steps}, j: 64]: b[t, j] = a[t + {ahead}, j] * 2.0f32
S5 [t: {steps}, j: 64]: d[t + 1, j] = 0.25f32 * d[t, 63 - j] + b[t, j]
S6 [t: {steps}, j: 64]: y[t, j] = d[t + 1, j] + 1.0f32
schedule {{
  for [S0: j] {{ S0 }}
  for [S1: t] {{ for [S1: j] {{ S1 }} }}
  for [S2: j] {{ S2 }}
  for [S3: j] {{ S3 }}
  for [S4: t] {{ for [S4: j] {{ S4 }} }}
  for [S5: t] {{ for [S5: j] {{ S5 }} }}
  for [S6: t] {{ for [S6: j] {{ S6 }} }}
}}
"
    );
    parse(&text)
}

fn run(program: &mut Program, passes: &[&str], threads: usize) -> Vec<Remark> {
    run_named(program, passes, &machine(threads))
}

fn outputs(program: &Program, steps: i64) -> Vec<Vec<u8>> {
    nest_interp::run(&astgen::generate(program).unwrap(), &[("steps", steps)], &[numbers(steps * 64)]).unwrap()
}

#[test]
fn layers_run_side_by_side_and_give_the_same_numbers() {
    for (extent, steps) in [("60", 60), ("61", 61), ("steps", 60), ("steps", 7), ("steps", 1)] {
        let mut program = stack(extent, 1);
        let wanted = outputs(&program, steps);
        assert_eq!(applied(&run(&mut program, &[NAME], 3), NAME), 1, "{extent}");
        legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{extent}: {v}"));
        run(&mut program, &["contract", "plan-memory", "team", "barriers"], 3);
        legality::check(&program).unwrap().unwrap_or_else(|v| panic!("{extent}, with all workers: {v}"));
        assert_eq!(outputs(&program, steps), wanted, "{extent} {steps}");
    }
}

#[test]
fn what_is_not_needed_inside_stands_before_or_behind() {
    let program = stack("60", 1);
    let pipeline = Pipeline::from(&program, 1).unwrap();
    let members: Vec<_> = pipeline.members.iter().map(|m| (m.node, m.section, m.late)).collect();
    assert_eq!(members, [(1, 0, 0), (4, 1, 1), (5, 1, 1), (6, 1, 1)]);
    assert_eq!((pipeline.before, pipeline.after), (vec![3], vec![2]));
}

#[test]
fn a_block_too_early_is_caught() {
    for (n, early) in [(1, "the projection"), (2, "the recurrence")] {
        let mut program = stack("60", 1);
        let mut pipeline = Pipeline::from(&program, 1).unwrap();
        pipeline.members[n].late -= 1;
        apply(&mut program, pipeline, Some(10), 2);
        let verdict = legality::check(&program).unwrap();
        assert!(matches!(verdict, Err(Violation::Race { .. } | Violation::Order { .. })), "{early}: {verdict:?}");
    }
}

#[test]
fn what_reads_ahead_waits_for_all_steps() {
    let members = |ahead| Pipeline::from(&stack("60", ahead), 1).unwrap().members.len();
    assert_eq!([0, 1, 2].map(members), [4, 4, 1]);
}

/// Two directions over the same steps.
#[test]
fn loops_that_do_not_meet_need_no_blocks() {
    let text = "\
program directions
array x: f32[40, 64] input 0
array f: f32[41, 64] temp
array b: f32[41, 64] temp
array y: f32[40, 64] output 0
inputs x
outputs y
S0 [j: 64]: f[0, j] = 0.0f32
S1 [j: 64]: b[0, j] = 0.0f32
S2 [t: 40, j: 64]: f[t + 1, j] = 0.5f32 * f[t, 63 - j] + x[t, j]
S3 [t: 40, j: 64]: b[t + 1, j] = 0.5f32 * b[t, 63 - j] + x[39 - t, j]
S4 [t: 40, j: 64]: y[t, j] = f[t + 1, j] + b[40 - t, j]
schedule {
  for [S0: j] { S0 }
  for [S1: j] { S1 }
  for [S2: t] { for [S2: j] { S2 } }
  for [S3: t] { for [S3: j] { S3 } }
  for [S4: t] { for [S4: j] { S4 } }
}
";
    let mut program = parse(text);
    let wanted = outputs(&program, 40);
    let remarks = run(&mut program, &[NAME, "contract", "plan-memory", "team", "barriers"], 2);
    assert_eq!(applied(&remarks, NAME), 1);
    legality::check(&program).unwrap().unwrap();
    assert_eq!(program.statement(StatementId(2)).extents.len(), 2, "no blocks");
    assert_eq!(barriers::count(&program.schedule), 2);
    assert_eq!(outputs(&program, 40), wanted);
}

#[test]
fn one_worker_keeps_its_loops() {
    let mut program = stack("60", 1);
    let before = program.clone();
    assert!(run(&mut program, &[NAME], 1).is_empty());
    assert_eq!(program, before);
    // Barriers that cost more than all the work, too.
    let costly = Machine { threads: 2, barrier_ns: 1e6, ..crate::testing::machine() };
    let remarks = run_named(&mut program, &[NAME], &costly);
    assert_eq!(program, before);
    assert!(remarks.iter().any(|r| r.reason.contains("2 loops side by side")), "{:?}", remarks);
}
