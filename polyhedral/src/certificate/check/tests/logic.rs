//! Tests that never hold together.

use super::*;

/// Two writes of one element that changed places, one under `first`, the other under `second`.
fn writes(first: &str, second: &str) -> Verdict {
    let text = format!(
        "\
program writes
array x: f32[8] input 0
array p: bool[] input 1
array q: bool[] input 2
array a: bool[] temp
array b: bool[] temp
array y: f32[8] output 0
inputs x, p, q
outputs y
S0 []: a[] = and(p[], q[])
S1 []: b[] = and(not(p[]), q[])
S2 [i: 8]: y[i] = x[i]
  if {first}
S3 [i: 8]: y[i] = 0.0f32
  if {second}
schedule {{
  S0
  S1
  for [S2: i] {{ S2 }}
  for [S3: i] {{ S3 }}
}}
"
    );
    let (mut certificate, _) = recorded(&text, &["dce"], &machine(1));
    let schedule = &mut last(&mut certificate).schedule;
    let end = schedule.len();
    schedule.swap(end - 2, end - 1);
    verdict(&certificate)
}

#[test]
fn writes_under_tests_that_exclude_each_other_may_change_places() {
    for (first, second) in [
        ("p[]", "not(p[])"),
        ("a[]", "b[]"),
        ("a[]", "not(q[])"),
        ("a[]", "or(and(p[], not(a[])), and(not(p[]), not(b[])))"),
    ] {
        let right = writes(first, second);
        assert!(right.holds(), "{first}, {second}: {right:?}");
    }
    for (first, second) in [
        ("a[]", "p[]"),
        ("p[]", "q[]"),
        ("not(a[])", "not(b[])"),
        ("a[]", "or(and(p[], not(b[])), and(not(p[]), not(a[])))"),
        ("x[i] > 0.0f32", "not(x[7 - i] > 0.0f32)"),
    ] {
        let wrong = writes(first, second);
        assert!(wrong.findings.iter().any(|f| f.rule == Rule::Order), "{first}, {second}: {wrong:?}");
    }
}
