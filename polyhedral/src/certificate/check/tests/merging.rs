//! Instances that became one, and statements that became steps of one.

use super::*;
use crate::certificate::ReadEntry;
use crate::program::Renaming;

/// `copy` leaves both loops; what stays reads its array.
const STEPS: &str = "\
program steps
param n = input(0, 0) in 0.. hint 8
array x: f32[6] input 0
array copy: f32[n, 3, 6] temp
array part: f32[n, 3, 6] temp
array state: f32[n + 1, 6] temp
array y: f32[6] output 0
inputs x
outputs y
S0 [i: 6]: state[0, i] = 0.0f32
S1 [t: n, r: 3, i: 6]: copy[t, r, i] = x[i] * 2.0f32
S2 [t: n, r: 3, i: 6]: part[t, r, i] = copy[t, r, i] + state[t, i]
S3 [t: n, i: 6]: state[t + 1, i] = part[t, 2, i]
S4 [i: 6]: y[i] = state[n, i]
schedule {
  for [S0: i] { S0 }
  for [S1: t, S2: t, S3: t] {
    for [S1: r, S2: r] { for [S1: i] { S1 } for [S2: i] { S2 } }
    for [S3: i] { S3 }
  }
  for [S4: i] { S4 }
}
";

/// A sum that leaves a loop whose steps may not run, with its test.
const GUARDED: &str = "\
program guarded
array x: f32[6, 4] input 0
array w: f32[4] input 1
array start: f32[] input 2
array runs: bool[9] temp
array sum: f32[8, 6] temp
array state: f32[9, 6] temp
array y: f32[6] output 0
inputs x, w, start
outputs y
S0 [i: 6]: state[0, i] = 0.0f32
S1 []: runs[0] = start[] > 0.0f32
S2 [t: 8, i: 6]: sum[t, i] = 0.0f32 if runs[t]
S3 [t: 8, i: 6, k: 4]: sum[t, i] += x[i, k] * w[k] if runs[t]
S4 [t: 8, i: 6]: state[t + 1, i] = sum[t, i] + state[t, i] if runs[t]
S5 [t: 8]: runs[t + 1] = state[t + 1, 0] < 9.0f32
S6 [i: 6]: y[i] = state[0, i]
schedule {
  for [S0: i] { S0 }
  S1
  for [S2: t, S3: t, S4: t, S5: t] {
    for [S2: i, S3: i] { S2 for [S3: k] { S3 } }
    for [S4: i] { S4 }
    S5
  }
  for [S6: i] { S6 }
}
";

/// Four steps of a recurrence; two arrays of weights with the same contents.
const UNROLLED: &str = "\
program unrolled
array x: f32[8, 3] input 0
array start: f32[3] input 1
array w0: f32[3, 3] constant {1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 1.0}
array w1: f32[3, 3] constant {1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 1.0}
array w2: f32[3, 3] constant {1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 7.0}
array p0: f32[3] temp
array p1: f32[3] temp
array p2: f32[3] temp
array p3: f32[3] temp
array h0: f32[3] temp
array h1: f32[3] temp
array h2: f32[3] temp
array last: f32[3] output 1
array y: f32[4, 3] output 0
inputs x, start
outputs y, last
S0 [n: 3]: p0[n] = 0.0f32
S1 [n: 3, k: 3]: p0[n] += w0[n, k] * start[k]
S2 [i: 3]: h0[i] = tanh(p0[i] + x[0, i])
S3 [n: 3]: p1[n] = 0.0f32
S4 [n: 3, k: 3]: p1[n] += w1[n, k] * h0[k]
S5 [i: 3]: h1[i] = tanh(p1[i] + x[2, i])
S6 [n: 3]: p2[n] = 0.0f32
S7 [n: 3, k: 3]: p2[n] += w0[n, k] * h1[k]
S8 [i: 3]: h2[i] = tanh(p2[i] + x[4, i])
S9 [n: 3]: p3[n] = 0.0f32
S10 [n: 3, k: 3]: p3[n] += w0[n, k] * h2[k]
S11 [i: 3]: last[i] = tanh(p3[i] + x[6, i])
S12 [i: 3]: y[0, i] = h0[i]
S13 [i: 3]: y[1, i] = h1[i]
S14 [i: 3]: y[2, i] = h2[i]
S15 [i: 3]: y[3, i] = last[i]
schedule {
  for [S0: n, S1: n] { S0 for [S1: k] { S1 } }
  for [S2: i] { S2 }
  for [S3: n, S4: n] { S3 for [S4: k] { S4 } }
  for [S5: i] { S5 }
  for [S6: n, S7: n] { S6 for [S7: k] { S7 } }
  for [S8: i] { S8 }
  for [S9: n, S10: n] { S9 for [S10: k] { S10 } }
  for [S11: i] { S11 }
  for [S12: i] { S12 }
  for [S13: i] { S13 }
  for [S14: i] { S14 }
  for [S15: i] { S15 }
}
";

fn after(text: &str, pass: &str) -> Certificate {
    recorded(text, &[pass], &machine(1)).0
}

/// One text of the certificate in the place of another, which must be there.
fn tampered(certificate: &Certificate, from: &str, to: &str) -> Certificate {
    let text = format!("{certificate:?}");
    assert!(text.contains(from), "no {from} in {text}");
    let mut out = certificate.clone();
    let change = |text: &mut String| *text = text.replace(from, to);
    for stage in &mut out.stages {
        for s in &mut stage.statements {
            s.reads.iter_mut().for_each(|r| change(&mut r.map));
            [&mut s.domain, &mut s.write, &mut s.body].into_iter().for_each(change);
        }
    }
    out.steps.iter_mut().flat_map(|s| s.instances.values_mut().flatten()).for_each(change);
    out
}

fn holds(certificate: &Certificate) {
    let verdict = verdict(certificate);
    assert!(verdict.holds() && verdict.unproven.is_empty(), "{verdict:?}");
}

#[test]
fn what_every_step_computed_is_computed_once() {
    let right = after(STEPS, "hoist");
    assert!(right.steps[0].instances["S1"][0].contains("exists"), "{:?}", right.steps);
    holds(&right);
    holds(&after(GUARDED, "hoist"));
    assert!(!format!("{:?}", after(GUARDED, "hoist").stages[1]).contains("S2[i0, i1]"));
}

#[test]
fn what_differs_from_step_to_step_is_not() {
    let right = after(STEPS, "hoist");
    // The copied value varies with the step: `state[t]` for `x`, in both stages.
    let mut varies = right.clone();
    for (stage, read) in ["{ S1[i0, i1, i2] -> A3[i0, i2] }", "{ S1[i0] -> A3[0, i0] }"].iter().enumerate() {
        entry(&mut varies, stage, "S1").reads[0].map = read.to_string();
    }
    assert!(refused(&varies, Rule::Values).text.contains("that read different elements of A3"));
    // The same element, which every step writes anew.
    let mut written = right.clone();
    for (stage, read) in ["{ S1[i0, i1, i2] -> A3[0, i2] }", "{ S1[i0] -> A3[0, i0] }"].iter().enumerate() {
        entry(&mut written, stage, "S1").reads[0].map = read.to_string();
        let s = &mut written.stages[stage].statements;
        s.iter_mut().find(|s| s.id == "S3").unwrap().write = "{ S3[i0, i1] -> A3[0, i1] }".into();
    }
    let found = refused(&written, Rule::Values);
    assert!(found.text.contains("was written since") && found.witness.is_some(), "{found}");
    // One step only is said to be among those that became one.
    let mut lost = right.clone();
    lost.steps[0].instances.insert("S1".into(), vec!["{ S1[i0] -> S1[o0, o1, i0] : o0 >= 1 }".into()]);
    assert!(refused(&lost, Rule::Instances).text.contains("is not executed"));
    // Whoever reads the array reads another element.
    refused(&tampered(&right, "-> A1[i2]", "-> A1[5 - i2]"), Rule::Values);
    // Instances that are none of the base write what is read.
    let mut more = right;
    entry(&mut more, 1, "S1").domain = "{ S1[i0] : -2 <= i0 < 6 }".into();
    let (write, read) = ("{ S1[i0] -> A1[(i0 + 6) mod 6] }", "{ S1[i0] -> A0[(i0 + 6) mod 6] }");
    let s1 = entry(&mut more, 1, "S1");
    (s1.write, s1.reads[0].map) = (write.into(), read.into());
    more.steps[0].instances.insert("S1".into(), vec!["{ S1[i0] -> S1[o0, o1, i0] : i0 >= 0 }".into()]);
    assert!(refused(&more, Rule::Instances).text.contains("uses what it writes"));
}

#[test]
fn a_test_is_left_out_only_where_all_writes_have_it() {
    let right = after(GUARDED, "hoist");
    holds(&right);
    let mut partly = right.clone();
    let first = entry(&mut partly, 0, "S2");
    first.body = first.body.split(" if ").next().unwrap().to_string();
    first.reads.clear();
    assert!(refused(&partly, Rule::Values).text.contains("does not hold"));
}

#[test]
fn repeated_statements_are_steps_of_one() {
    let right = after(UNROLLED, "reroll");
    assert_eq!(right.steps[0].instances["S1"].len(), 4, "{:?}", right.steps);
    holds(&right);
}

#[test]
fn no_step_is_left_out_or_reads_something_else() {
    let right = after(UNROLLED, "reroll");
    let mut lost = right.clone();
    lost.steps[0].instances.get_mut("S1").unwrap().remove(2);
    refused(&lost, Rule::Instances);
    let mut twice = right.clone();
    let steps = twice.steps[0].instances.get_mut("S1").unwrap();
    steps[2] = steps[1].replace("i0 = 1", "i0 = 2");
    refused(&twice, Rule::Instances);
    // Steps that changed places; a slice of another step; a state of another step.
    let mut mixed = right.clone();
    for steps in mixed.steps[0].instances.values_mut().filter(|s| s.len() == 4) {
        (steps[1], steps[2]) = (steps[2].replace("i0 = 2", "i0 = 1"), steps[1].replace("i0 = 1", "i0 = 2"));
    }
    refused(&mixed, Rule::Values);
    refused(&tampered(&right, "A0[2*i0, i1]", "A0[2*i0 + 1, i1]"), Rule::Values);
    // Weights with other contents.
    let mut other = right.clone();
    let s1 = entry(&mut other, 1, "S1");
    let weights = s1.reads.iter_mut().find(|r| r.map.contains("A2[")).unwrap();
    weights.map = weights.map.replace("A2[", "A4[");
    assert!(refused(&other, Rule::Values).text.contains("other contents"));
    let mut changed = right.clone();
    changed.stages[1].arrays.iter_mut().find(|a| a.id == "A2").unwrap().contents = Some("0".into());
    refused(&changed, Rule::Values);
    // The start is copied into the wrong plane.
    refused(&tampered(&right, "[0, i0] }", "[1, i0] }"), Rule::Values);
}

/// Weights in another order: the certificate says which element is which, and the bytes are compared.
#[test]
fn rearranged_weights_are_the_same_numbers() {
    let text = "\
program packed
array x: f32[32, 3] input 0
array w: f32[3, 4] constant {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0}
array y: f32[32, 4] output 0
inputs x
outputs y
S0 [m: 32, n: 4]: y[m, n] = 0.0f32
S1 [m: 32, n: 4, k: 3]: y[m, n] += x[m, k] * w[2 - k, n]
schedule {
  for [S0: m, S1: m] { for [S0: n, S1: n] { S0 for [S1: k] { S1 } } }
}
";
    let (right, program) = recorded(text, &["tile"], &machine(1));
    let blobs = constants(&program);
    let found = compared(&right, &blobs);
    assert!(found.holds() && (found.rearranged, found.compared) == (1, 1), "{found:?}");
    // Without the bytes nothing is compared, and nothing is wrong.
    let found = compared(&right, &blobs[..1]);
    assert!(found.holds() && (found.rearranged, found.compared) == (1, 0), "{found:?}");
    // The map of another slice: some access is another one.
    let mut slice = right.clone();
    let entry = last(&mut slice).arrays.iter_mut().find(|a| a.rearranged.is_some()).unwrap();
    let text = entry.rearranged.clone().unwrap();
    entry.rearranged = Some(text.replace("-> A1[", "-> A1[1 + "));
    assert_ne!(entry.rearranged, Some(text));
    refused(&slice, Rule::Values);
    // Other numbers under the name of these.
    let mut other = right.clone();
    let mut bytes = blobs[1].clone();
    bytes[0] ^= 1;
    let entry = last(&mut other).arrays.iter_mut().find(|a| a.rearranged.is_some()).unwrap();
    entry.contents = Some(crate::certificate::hash(&bytes));
    let found = compared(&other, &[blobs[0].clone(), bytes]);
    assert!(found.findings.iter().any(|f| f.text.contains("rearranged")), "{found:?}");
}

/// Copies and what reads the third of them, which became one of each, in the order `before` and `after`.
fn became_one(before: &str, after: &str) -> Certificate {
    let text = |statements: &str, schedule: &str| {
        let arrays = "array x: f32[6] input 0\narray copy: f32[3, 6] temp\narray double: f32[4, 6] temp\n\
array y: f32[6] output 0\ninputs x\noutputs y\n";
        let rest = "S2 [i: 6]: y[i] = double[0, i]\n";
        let text =
            format!("program copies\n{arrays}{statements}{rest}schedule {{ {schedule} for [S2: i] {{ S2 }} }}\n");
        parse(&text)
    };
    let several = "S0 [r: 3, i: 6]: copy[r, i] = x[i]\nS1 [q: 4, i: 6]: double[q, i] = copy[2, i] * 2.0f32\n";
    let one = "S0 [i: 6]: copy[0, i] = x[i]\nS1 [i: 6]: double[0, i] = copy[0, i] * 2.0f32\n";
    let mut last = text(one, after);
    let dropped = |id| Renaming::Dropped { statement: crate::StatementId(id), dim: 0 };
    last.history.renamings.extend([0, 1].map(dropped));
    let mut recorder = Recorder::new(&text(several, before));
    recorder.after("hoist", &last);
    recorder.finish("test").unwrap()
}

#[test]
fn what_became_one_finds_the_elements_that_became_one() {
    let (copy, double) = ("for [S0: i] { S0 }", "for [S1: i] { S1 }");
    holds(&became_one(&format!("for [S0: r] {{ {copy} }} for [S1: q] {{ {double} }}"), &format!("{copy} {double}")));
    // Backwards the first copy is written last: what is left of the readers runs before there is anything to read.
    let backwards = format!("for [S0: 2 - r, S1: 0] {{ {copy} for [S1: q] {{ {double} }} }}");
    let found = refused(&became_one(&backwards, &format!("{double} {copy}")), Rule::Values);
    assert!(found.text.contains("S1 finds in A1"), "{found}");
}

/// What only one branch reads is computed where that branch runs, behind the condition.
#[test]
fn a_test_is_new_where_all_readers_have_it() {
    let text = "\
program branches
array x: f32[6] input 0
array go: bool[] input 1
array scaled: f32[6] temp
array both: f32[6] temp
array condition: bool[] temp
array y: f32[6] output 0
inputs x, go
outputs y
S0 [i: 6]: scaled[i] = x[i] * 2.0f32
S1 [i: 6]: both[i] = -x[i]
S2 []: condition[] = go[]
S3 [i: 6]: y[i] = scaled[i] + both[i] if condition[]
S4 [i: 6]: y[i] = both[i] if not(condition[])
schedule {
  for [S0: i] { S0 }
  for [S1: i] { S1 }
  S2
  for [S3: i] { S3 }
  for [S4: i] { S4 }
}
";
    let right = after(text, "sink");
    let tests = |c: &Certificate, id: &str| c.stages[1].statements.iter().find(|s| s.id == id).unwrap().body.clone();
    assert!(tests(&right, "S0").contains(" if ") && !tests(&right, "S1").contains(" if "), "{right:?}");
    holds(&right);
    // Another condition, one for what the other branch reads too, and one that is tested before it is known.
    let mut opposite = right.clone();
    let body = &mut entry(&mut opposite, 1, "S0").body;
    *body = body.replace(" if #1", " if not(#1)");
    assert!(refused(&opposite, Rule::Values).text.contains("where its test may not hold"));
    let mut more = right.clone();
    let read = more.stages[1].statements.iter().find(|s| s.id == "S0").unwrap().reads[1].clone();
    let shared = entry(&mut more, 1, "S1");
    shared.body += " if #1";
    shared.reads.push(ReadEntry { map: read.map.replace("S0[", "S1["), ..read });
    assert!(refused(&more, Rule::Values).text.contains("where its test may not hold"));
    let mut early = right;
    early.stages[1].schedule = early.stages[0].schedule.clone();
    assert!(refused(&early, Rule::Order).witness.is_some());
}
