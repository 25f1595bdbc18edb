//! Sums that follow an extreme in blocks.

use super::*;
use crate::machine::Numeric;

/// Softmax over `scores`, times `v`; the sums of a plain softmax too.
const SOFTMAX: &str = "\
program softmax
param n = input(0, 0) in 1.. hint 1000
param d = input(0, 1) in 1.. hint 1000
array x: f32[n, d] input 0
array v: f32[d, 4] input 1
array scores: f32[n, d] temp
array largest: f32[n] temp
array powers: f32[n, d] temp
array total: f32[n] temp
array weights: f32[n, d] temp
array y: f32[n, 4] temp
array z: f32[n, 4] output 0
inputs x, v
outputs z
S0 [i: n, j: d]: scores[i, j] = x[i, j] * 2.0f32
S1 [i: n]: largest[i] = -inf(f32)
S2 [i: n, j: d]: largest[i] max= scores[i, j]
S3 [i: n, j: d]: powers[i, j] = exp(scores[i, j] - largest[i])
S4 [i: n]: total[i] = 0.0f32
S5 [i: n, j: d]: total[i] += powers[i, j]
S6 [i: n, j: d]: weights[i, j] = powers[i, j] / total[i]
S7 [i: n, c: 4]: y[i, c] = 0.0f32
S8 [i: n, c: 4, j: d]: y[i, c] += weights[i, j] * v[j, c]
S9 [i: n, c: 4]: z[i, c] = y[i, c]
schedule {
  for [S0: i] { for [S0: j] { S0 } }
  for [S1: i, S2: i] { S1 for [S2: j] { S2 } }
  for [S3: i] { for [S3: j] { S3 } }
  for [S4: i, S5: i] { S4 for [S5: j] { S5 } }
  for [S6: i] { for [S6: j] { S6 } }
  for [S7: i, S8: i] { for [S7: c, S8: c] { S7 for [S8: j] { S8 } } }
  for [S9: i] { for [S9: c] { S9 } }
}
";

/// The logarithm of a sum of powers: others read the extreme too.
const LOG_SUM: &str = "\
program logsum
param n = input(0, 0) in 1.. hint 1000
param d = input(0, 1) in 1.. hint 1000
array x: f32[n, d] input 0
array smallest: f32[n] temp
array powers: f32[n, d] temp
array total: f32[n] temp
array z: f32[n] output 0
inputs x
outputs z
S0 [i: n]: smallest[i] = inf(f32)
S1 [i: n, j: d]: smallest[i] min= x[i, j]
S2 [i: n, j: d]: powers[i, j] = exp(smallest[i] - x[i, j])
S3 [i: n]: total[i] = 0.0f32
S4 [i: n, j: d]: total[i] += powers[i, j]
S5 [i: n]: z[i] = log(total[i]) - smallest[i]
schedule {
  for [S0: i, S1: i] { S0 for [S1: j] { S1 } }
  for [S2: i] { for [S2: j] { S2 } }
  for [S3: i, S4: i] { S3 for [S4: j] { S4 } }
  for [S5: i] { S5 }
}
";

/// The certificate of `online` alone, on a machine whose caches hold less than a hundred rows.
fn online(text: &str) -> Certificate {
    let sizes = Machine { l1_bytes: 512, l2_bytes: 4096, l3_bytes: 16384, ..machine(1) };
    let (out, _) = recorded(text, &["online"], &Machine { numeric: Numeric::Fast, ..sizes });
    assert!(out.steps[0].online.len() == 1, "no group");
    out
}

/// The later stage after `change`, which changes it.
fn changed(certificate: &Certificate, change: impl Fn(&mut Certificate)) -> Certificate {
    let mut out = certificate.clone();
    change(&mut out);
    assert_ne!(out, *certificate);
    out
}

/// Something about the statement of this id.
fn with(id: &str, from: &str, to: &str) -> impl Fn(&mut Certificate) {
    move |c: &mut Certificate| {
        let s = statement(c, id);
        let maps = s.reads.iter_mut().map(|r| &mut r.map);
        maps.chain([&mut s.domain, &mut s.write, &mut s.body, &mut s.kind]).for_each(|t| *t = t.replace(from, to));
    }
}

#[test]
fn what_online_makes_holds() {
    for (text, sums) in [(SOFTMAX, 2), (LOG_SUM, 1)] {
        let verdict = verdict(&online(text));
        assert!(verdict.holds() && verdict.regrouped == sums, "{:?} {:?}", verdict.findings, verdict.undecided);
    }
}

#[test]
fn another_program_is_wrong_or_not_decided() {
    let right = online(SOFTMAX);
    let group = right.steps[0].online[0].clone();
    let (extreme, sum, other) = (&group.extreme, &group.sums[0], &group.sums[1]);
    let finish = other.finish.as_deref().unwrap();
    let cases: [(&str, Certificate); 16] = [
        ("no scale", changed(&right, with(&sum.step, "mul(#0, #1)", "#0"))),
        ("scaled twice", changed(&right, with(&sum.step, "mul(#0, #1)", "mul(mul(#0, #1), #1)"))),
        ("the factor of another extreme", changed(&right, with(&group.factor, "#0, #1", "#1, #0"))),
        ("the extreme of before", changed(&right, with(&group.shift, "[i2 + 1,", "[i2,"))),
        ("not the step before", changed(&right, with(&sum.step, "[i2, ", "[0, "))),
        ("the sum starts with 1", changed(&right, with(&sum.start, "0.0", "1.0"))),
        ("the extreme starts with 0", changed(&right, with(&extreme.start, "-inf", "0.0"))),
        ("a block's extreme starts with 0", changed(&right, with(&extreme.clear, "-inf", "0.0"))),
        ("min for max", changed(&right, with(&extreme.step, "max(", "min("))),
        ("min in a block", changed(&right, with(&extreme.reduce, "max", "min"))),
        ("another power", changed(&right, with(&group.terms, "exp(", "tanh("))),
        ("another factor", changed(&right, with(&other.reduce, "mul(#0, #1)", "#0"))),
        ("no division", changed(&right, with(finish, "div(", "mul("))),
        ("another unit", changed(&right, with(finish, "isneginf", "isposinf"))),
        ("a block is left out", changed(&right, with(&sum.reduce, "0 <= i2 <", "1 <= i2 <"))),
        (
            "terms before the extreme",
            changed(&right, |c| {
                bands(&mut last(c).schedule, &mut |node| {
                    if let Tree::Band { body, .. } = node
                        && body.len() > 4
                    {
                        body.reverse();
                    }
                });
            }),
        ),
    ];
    for (what, certificate) in cases {
        let found = verdict(&certificate);
        let how = if found.findings.is_empty() { "not decided" } else { "wrong" };
        println!("{what}: {how} {:?}", found.findings.first().map(|f| &f.text));
        assert!(!found.holds(), "{what}");
    }
}

#[test]
fn a_term_is_taken_once_and_a_group_is_stated() {
    let right = online(SOFTMAX);
    let sum = right.steps[0].online[0].sums[0].clone();
    let twice = changed(&right, |c| {
        let pieces = c.steps[0].instances.get_mut(&sum.reduce).unwrap();
        pieces.iter_mut().for_each(|p| *p = p.replace(" + i3]", "]"));
    });
    assert!(!verdict(&twice).findings.is_empty());
    let unstated = verdict(&changed(&right, |c| c.steps[0].online.clear()));
    assert!(unstated.findings.is_empty() && !unstated.undecided.is_empty(), "{unstated:?}");
    // Somebody reads a running sum.
    let partial = right.clone();
    let values = {
        let mut c = partial.clone();
        statement(&mut c, &sum.step).write.split("-> ").last().unwrap().split('[').next().unwrap().to_string()
    };
    let seen = changed(&right, |c| {
        let s = statement(c, "S9");
        s.reads[0].map = format!("{{ S9[i0, i1] -> {values}[0, i0, i1] }}");
    });
    assert!(!verdict(&seen).holds());
}
