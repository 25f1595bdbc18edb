//! A certificate that holds, and what happens when it is tampered with.

mod kit;
mod logic;
mod merging;
mod online;
mod substituted;
mod words;

use super::*;
use crate::certificate::record::Recorder;
use crate::certificate::{DependenceEntry, Place, Tree};
use crate::driver::{DriverOptions, run_passes};
use crate::machine::Machine;
use crate::pipeline::PIPELINE;
use crate::testing::parse;
use kit::*;

/// A product, an activation in another layout, a recurrence over its rows, and a row sum.
const PROGRAM: &str = "\
program net
param n = input(0, 0) in 1..=1000 hint 600
array x: f32[n, 24] input 0
array w: f32[24, 48] input 1
array acc: f32[n, 48] temp
array act: f32[n, 48] temp
array h: f32[n + 1, 48] temp
array sum: f32[n] temp
array y: f32[n] output 0
array z: f32[48] output 1
inputs x, w
outputs y, z
S0 [m: n, j: 48] from MatMul \"mm\": acc[m, j] = 0.0f32
S1 [m: n, j: 48, k: 24] from MatMul \"mm\": acc[m, j] += x[m, k] * w[k, j]
S2 [m: n, j: 48] from Relu \"relu\": act[m, j] = max(acc[m, j], 0.0f32)
S3 [j: 48] from Scan \"scan\": h[0, j] = 0.0f32
S4 [t: n, j: 48] from Scan \"scan\": h[t + 1, j] = h[t, 47 - j] * 0.5f32 + act[t, j]
S5 [m: n] from ReduceSum \"sum\": sum[m] = 0.0f32
S6 [m: n, j: 48] from ReduceSum \"sum\": sum[m] += act[m, j]
S7 [m: n] from Neg \"neg\": y[m] = 0.0f32 - sum[m]
S8 [j: 48] from Output \"z\": z[j] = h[n, j]
schedule {
  for [S0: m, S1: m] { for [S0: j, S1: j] { S0 for [S1: k] { S1 } } }
  for [S2: m] { for [S2: j] { S2 } }
  for [S3: j] { S3 }
  for [S4: t] { for [S4: j] { S4 } }
  for [S5: m, S6: m] { S5 for [S6: j] { S6 } }
  for [S7: m] { S7 }
  for [S8: j] { S8 }
}
";

fn certificate(threads: usize) -> Certificate {
    let mut program = parse(PROGRAM);
    let mut recorder = Recorder::new(&program);
    let mut dump = |_: usize, pass: &str, p: &crate::Program| {
        recorder.after(pass, p);
        Ok(())
    };
    let options = DriverOptions { dump: Some(&mut dump), ..DriverOptions::default() };
    run_passes(&mut program, PIPELINE, &machine(threads), options).unwrap();
    recorder.finish("test").unwrap()
}

#[test]
fn what_the_pipeline_did_holds_for_every_number_of_workers() {
    for threads in [1, 2, 4] {
        let verdict = verdict(&certificate(threads));
        assert!(verdict.holds(), "{threads} workers: {:?} {:?}", verdict.findings, verdict.undecided);
        assert!(verdict.dependences > 10 && verdict.placed > 0 && verdict.folded > 0, "{verdict:?}");
    }
}

#[test]
fn the_mutants_below_are_of_a_program_with_everything() {
    let text = format!("{:?}", certificate(2));
    for what in ["lanes(", "team(2)", "barrier", "Register", "Slot(", "mod 2"] {
        assert!(text.contains(what), "{what}");
    }
}

#[test]
fn two_roots_that_changed_places_are_named_by_two_instances() {
    let mut c = certificate(1);
    last(&mut c).schedule.reverse();
    let found = refused(&c, Rule::Order);
    let [source, sink] = found.witness.clone().unwrap();
    assert!(source.starts_with('S') && sink.ends_with(']'), "{found}");
    assert!(found.to_string().contains("are not in the order of the base"), "{found}");
}

#[test]
fn time_must_not_run_backwards_nor_in_any_order() {
    let time = |change: fn(&mut String, &mut String)| {
        let mut c = certificate(1);
        bands(&mut last(&mut c).schedule, &mut |node| {
            if let Tree::Band { mark, values, .. } = node
                && mark == "seq"
                && let Some(value) = values.get_mut("S4").filter(|v| *v == "i0")
            {
                change(mark, value);
            }
        });
        refused(&c, Rule::Order)
    };
    assert!(time(|_, value| *value = "-i0".into()).text.contains("(h)"));
    assert!(time(|mark, _| *mark = "parallel".into()).text.contains("(h)"));
}

#[test]
fn a_barrier_that_was_taken_out_is_missed() {
    let mut c = certificate(2);
    bands(&mut last(&mut c).schedule, &mut |node| {
        if let Tree::Band { mark, .. } = node
            && mark == "barrier"
        {
            *mark = "seq".into();
        }
    });
    refused(&c, Rule::Order);
}

#[test]
fn a_smaller_window_loses_values() {
    let mut c = certificate(1);
    let array = last(&mut c).arrays.iter_mut().find(|a| a.name == "h").unwrap();
    assert!(array.cells.contains("mod 2"), "{}", array.cells);
    array.cells = array.cells.replace("o0 mod 2", "0");
    assert!(refused(&c, Rule::Storage).text.contains("too few"));
}

#[test]
fn two_arrays_in_use_do_not_share_a_slot() {
    let mut c = certificate(1);
    for array in &mut last(&mut c).arrays {
        if let Some(Place::Slot(slot)) = &mut array.place {
            *slot = 0;
        }
    }
    assert!(refused(&c, Rule::Place).text.contains("share slot 0"));
}

#[test]
fn registers_are_for_tiles() {
    let mut c = certificate(1);
    last(&mut c).arrays.iter_mut().find(|a| a.name == "h").unwrap().place = Some(Place::Register);
    assert!(refused(&c, Rule::Place).text.contains("registers"));
}

#[test]
fn no_instance_is_left_out_or_run_twice() {
    let mut c = certificate(1);
    let domain = &mut statement(&mut c, "S4").domain;
    *domain = domain.replace("0 <= i0 <", "1 <= i0 <");
    assert!(refused(&c, Rule::Instances).text.contains("is not executed"));

    let mut c = certificate(1);
    last(&mut c).statements.retain(|s| s.id != "S7");
    bands(&mut last(&mut c).schedule, &mut |node| {
        if let Tree::Band { body, values, .. } = node {
            body.retain(|n| *n != Tree::Leaf("S7".into()));
            values.remove("S7");
        }
    });
    assert!(refused(&c, Rule::Instances).text.contains("S7 is not executed"));

    let mut c = certificate(1);
    bands(&mut last(&mut c).schedule, &mut |node| {
        if let Tree::Band { values, .. } = node {
            values.insert("S7".into(), "0".into());
        }
    });
    assert!(refused(&c, Rule::Instances).text.contains("one time"));
}

#[test]
fn another_value_or_another_element_is_another_program() {
    let mut c = certificate(1);
    let body = &mut statement(&mut c, "S1").body;
    *body = body.replace("mul", "add");
    assert!(refused(&c, Rule::Values).text.contains("computes"));

    let mut c = certificate(1);
    let read = statement(&mut c, "S1").reads.iter_mut().find(|r| r.map.contains("A1[")).unwrap();
    read.map = read.map.replace("A1[", "A1[1 + ");
    refused(&c, Rule::Values);
}

/// A sum in registers that is copied back: the copy writes all of it, to its own place, and after the sum.
#[test]
fn what_stands_in_for_an_array_is_copied_back() {
    let text = "\
program sums
array x: f32[32, 24] input 0
array w: f32[24, 48] input 1
array sum: f32[32, 48] temp
array y: f32[48, 32] output 0
inputs x, w
outputs y
S0 [m: 32, n: 48]: sum[m, n] = 0.0f32
S1 [m: 32, n: 48, k: 24]: sum[m, n] += x[m, k] * w[k, n]
S2 [n: 48, m: 32]: y[n, m] = sum[m, n]
schedule {
  for [S0: m, S1: m] { for [S0: n, S1: n] { S0 for [S1: k] { S1 } } }
  for [S2: n] { for [S2: m] { S2 } }
}
";
    let (right, _) = recorded(text, &["tile", "scalar-replace", "contract"], &machine(1));
    assert!(verdict(&right).holds(), "{:?}", verdict(&right));
    let copy = right
        .stages
        .last()
        .unwrap()
        .statements
        .iter()
        .find(|s| !right.steps.last().unwrap().instances.contains_key(&s.id))
        .unwrap()
        .id
        .clone();

    let mut elsewhere = right.clone();
    let write = &mut statement(&mut elsewhere, &copy).write;
    *write = write.replace("A2[", "A2[31 - ").replace("[31 - 8*i0 + i1", "[31 - 8*i0 - i1");
    refused(&elsewhere, Rule::Values);

    let mut early = right.clone();
    bands(&mut last(&mut early).schedule, &mut |node| {
        if let Tree::Band { body, .. } = node
            && let Some(at) = body.iter().position(|n| *n == Tree::Leaf(copy.clone()))
        {
            let leaf = body.remove(at);
            body.insert(0, leaf);
        }
    });
    assert!(refused(&early, Rule::Order).witness.is_some());
}

#[test]
fn the_list_of_dependences_is_complete() {
    let mut c = certificate(1);
    let flow = |d: &DependenceEntry| d.source == "S4" && d.sink == "S4";
    assert!(c.dependences.iter().any(flow));
    c.dependences.retain(|d| !flow(d));
    let found = refused(&c, Rule::List);
    assert!(found.witness.is_some(), "{found}");
}

#[test]
fn nonsense_is_malformed_and_a_small_budget_decides_nothing() {
    let spoilt = |change: fn(&mut Certificate)| {
        let mut c = certificate(1);
        change(&mut c);
        check(&c, OPERATIONS).unwrap_err().to_string()
    };
    assert!(spoilt(|c| c.version = 99).contains("version 99"));
    assert!(spoilt(|c| last(c).statements[0].domain = "{ S0[i0 : }".into()).contains("E240"));
    assert!(spoilt(|c| last(c).statements[0].write = "{ S9[] -> A0[] }".into()).contains("E240"));
    assert!(spoilt(|c| last(c).schedule.truncate(1)).contains("not in the schedule"));
    let verdict = check(&certificate(1), 3).unwrap();
    assert!(verdict.findings.is_empty() && !verdict.undecided.is_empty(), "{verdict:?}");
    assert!(!verdict.holds());
}

/// An array that is updated in place and read between the updates: no single assignment, and still the order of the
/// base is what counts.
#[test]
fn reads_between_updates_in_place_keep_their_place() {
    let text = "\
program inplace
array x: f32[8] input 0
array s: f32[8] temp
array y: f32[8] output 0
array z: f32[8] output 1
inputs x
outputs y, z
S0 [i: 8]: s[i] = x[i]
S1 [i: 8]: y[i] = s[i]
S2 [i: 8]: s[i] := s[i] * 2.0f32
S3 [i: 8]: z[i] = s[i]
schedule {
  for [S0: i] { S0 }
  for [S1: i] { S1 }
  for [S2: i] { S2 }
  for [S3: i] { S3 }
}
";
    let program = parse(text);
    let with_order = |order: [usize; 4]| {
        let mut recorder = Recorder::new(&program);
        let mut after = program.clone();
        after.schedule.roots = order.iter().map(|n| program.schedule.roots[*n].clone()).collect();
        recorder.after("order", &after);
        verdict(&recorder.finish("test").unwrap())
    };
    assert!(with_order([0, 1, 2, 3]).findings.is_empty(), "{:?}", with_order([0, 1, 2, 3]));
    let moved = with_order([0, 2, 1, 3]);
    let found = moved.findings.iter().find(|f| f.rule == Rule::Order).unwrap();
    let [read, update] = found.witness.clone().unwrap();
    assert!(read.starts_with("S1[") && update == read.replace("S1", "S2"), "{moved:?}");
}
