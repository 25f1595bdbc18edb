//! Values that stand where a load of them stood.

use super::*;

#[test]
fn what_was_substituted_is_what_was_computed() {
    let text = "\
program classical
array x: f32[8] input 0
array a: f32[8] temp
array b: f32[8] temp
array c: f32[8] temp
array y: f32[8] output 0
inputs x
outputs y
S0 [i: 8]: a[i] = x[i] * 2.0f32
S1 [i: 8]: b[i] = x[i] * 2.0f32
S2 [i: 8]: c[i] = a[7 - i] + 1.0f32
S3 [i: 8]: y[i] = c[i] * b[7 - i]
schedule {
  for [S0: i] { S0 }
  for [S1: i] { S1 }
  for [S2: i] { S2 }
  for [S3: i] { S3 }
}
";
    let program = parse(text);
    let after = |change: &dyn Fn(&mut crate::Program)| {
        let mut recorder = Recorder::new(&program);
        let mut changed = program.clone();
        for name in ["cse", "forward"] {
            let pass = crate::pipeline::find(name).unwrap();
            run_passes(&mut changed, &[pass], &machine(1), DriverOptions::default()).unwrap();
        }
        change(&mut changed);
        recorder.after("forward", &changed);
        verdict(&recorder.finish("test").unwrap())
    };
    let right = after(&|_| {});
    assert!(right.holds() && right.substituted > 1, "{right:?}");
    let last = crate::StatementId(3);
    // Another element, another number, another array: all are seen.
    let wrong: [&dyn Fn(&mut crate::Program); 2] = [
        &|p| {
            let value = p.statement(last).value.clone();
            p.statement_mut(last).value = value.substitute(&|_| crate::Expr::int(0));
        },
        &|p| {
            let value = p.statement(last).value.clone();
            p.statement_mut(last).value = crate::Expr::unary(crate::UnaryOp::Neg, value);
        },
    ];
    for change in wrong {
        let verdict = after(change);
        assert!(
            verdict.findings.iter().any(|f| f.rule == Rule::Values && f.text.contains("the stage before")),
            "{verdict:?}"
        );
    }
}

/// Choices that indices alone decide in all instances, and one that they do not.
#[test]
fn a_choice_goes_where_it_is_decided() {
    let text = "\
program masks
array x: f32[8, 8] input 0
array y: f32[8, 8] output 0
inputs x
outputs y
S0 [i: 8, j: 8] where 6 - i >= 0: y[i, j] = select(and(i + 1 < 8, j >= 0), x[i + 1, j], 0.0f32)
S1 [i: 8, j: 8] where i - 7 >= 0: y[i, j] = select(j < 4, select(j < 5, x[i, j], 1.0f32), 2.0f32)
  if i >= 3
schedule { for [S0: i, S1: i] { for [S0: j, S1: j] { S0 S1 } } }
";
    let program = parse(text);
    let after = |change: &dyn Fn(&mut crate::Program)| {
        let mut recorder = Recorder::new(&program);
        let mut changed = program.clone();
        let pass = crate::pipeline::find("predicates").unwrap();
        run_passes(&mut changed, &[pass], &machine(1), DriverOptions::default()).unwrap();
        assert_ne!(changed, program);
        change(&mut changed);
        recorder.after("predicates", &changed);
        verdict(&recorder.finish("test").unwrap())
    };
    let right = after(&|_| {});
    assert!(right.holds() && right.unproven.is_empty(), "{right:?}");
    let wrong = after(&|p| {
        let statement = p.statement_mut(crate::StatementId(1));
        if let crate::Expr::Select(_, then, _) = statement.value.clone() {
            statement.value = *then;
        }
    });
    assert!(wrong.findings.iter().any(|f| f.rule == Rule::Values), "{wrong:?}");
}

/// Which element a computed subscript reads is not known: what it reads through a substituted value is not proven, and
/// said so.
#[test]
fn a_value_under_a_computed_subscript_is_not_proven() {
    let text = "\
program gather
array idx: i64[8] input 0
array w: f32[64] input 1
array a: f32[4, 16] temp
array y: f32[8] output 0
inputs idx, w
outputs y
S0 [i: 4, j: 16]: a[i, j] = w[16*i + j]
S1 [k: 8]: y[k] = a[idx[k], k]
schedule {
  for [S0: i] { for [S0: j] { S0 } }
  for [S1: k] { S1 }
}
";
    let (certificate, program) = recorded(text, &["forward"], &machine(1));
    assert_eq!(program.statements().count(), 1, "the view is read through");
    let verdict = verdict(&certificate);
    assert!(verdict.holds() && verdict.unproven == ["does S1 compute what it did"], "{verdict:?}");
}

/// A substituted body reads later than the statement that was substituted: nothing may have been written in between.
#[test]
fn a_value_is_not_substituted_past_an_update() {
    let text = "\
program late
array x: f32[8] input 0
array s: f32[8] temp
array a: f32[8] temp
array y: f32[8] output 0
inputs x
outputs y
S0 [i: 8]: s[i] = x[i]
S1 [i: 8]: a[i] = s[i] + 1.0f32
S2 [i: 8]: s[i] := 0.0f32
S3 [i: 8]: y[i] = a[i]
schedule {
  for [S0: i] { S0 }
  for [S1: i] { S1 }
  for [S2: i] { S2 }
  for [S3: i] { S3 }
}
";
    let program = parse(text);
    let mut after = program.clone();
    after.statement_mut(crate::StatementId(3)).value = program.statement(crate::StatementId(1)).value.clone();
    after.remove_statement(crate::StatementId(1));
    let mut recorder = Recorder::new(&program);
    recorder.after("forward", &after);
    let verdict = verdict(&recorder.finish("test").unwrap());
    assert!(verdict.findings.iter().any(|f| f.rule == Rule::Values), "{verdict:?}");
}

/// A side of a choice that is the test itself has there the value that the side is taken for.
#[test]
fn a_test_is_known_on_the_sides_of_its_choice() {
    let text = "\
program sides
array a: bool[8] input 0
array b: bool[8] input 1
array y: bool[8] output 0
array z: bool[8] output 1
inputs a, b
outputs y, z
S0 [i: 8]: y[i] = select(a[i], b[i], a[i])
S1 [i: 8]: z[i] = select(a[i], a[i], b[i])
schedule { for [S0: i, S1: i] { S0 S1 } }
";
    let (certificate, _) = recorded(text, &["predicates"], &machine(1));
    assert!(certificate.stages[1].statements.iter().all(|s| s.body.contains("Bool")), "{certificate:?}");
    let right = verdict(&certificate);
    assert!(right.holds() && right.unproven.is_empty(), "{right:?}");
    for (id, is, other) in [("S0", "Int(0, Bool)", "Int(1, Bool)"), ("S1", "Int(1, Bool)", "Int(0, Bool)")] {
        let mut wrong = certificate.clone();
        let body = &mut entry(&mut wrong, 1, id).body;
        *body = body.replace(is, other);
        refused(&wrong, Rule::Values);
    }
    // The side is another element of the tested array.
    for (id, read) in [("S0", 2), ("S1", 1)] {
        let mut wrong = certificate.clone();
        entry(&mut wrong, 0, id).reads[read].map = format!("{{ {id}[i0] -> A0[7 - i0] }}");
        refused(&wrong, Rule::Values);
    }
}

/// A statement whose test fails for all indices, or contradicts itself, may go, though its array is read; one that runs once may not.
#[test]
fn a_statement_that_never_runs_may_go() {
    let text = |test: &str| {
        format!(
            "\
program never
array x: f32[8] input 0
array c: bool[8] input 1
array s: f32[8] temp
array y: f32[8] output 0
inputs x, c
outputs y
S0 [i: 8]: s[i] = x[i]
S1 [i: 8]: s[i] := 0.0f32
  if {test}
S2 [i: 8]: y[i] = s[i]
schedule {{
  for [S0: i] {{ S0 }}
  for [S1: i] {{ S1 }}
  for [S2: i] {{ S2 }}
}}
"
        )
    };
    let without = |test: &str| {
        let program = parse(&text(test));
        let mut after = program.clone();
        after.remove_statement(crate::StatementId(1));
        let mut recorder = Recorder::new(&program);
        recorder.after("predicates", &after);
        verdict(&recorder.finish("test").unwrap())
    };
    for never in ["false", "i < 0", "and(c[i], not(c[i]))"] {
        let right = without(never);
        assert!(right.holds(), "{right:?}");
    }
    for sometimes in ["i > 6", "x[i] > x[7 - i]", "and(c[i], not(c[7 - i]))", "or(c[i], not(c[i]))"] {
        let wrong = without(sometimes);
        assert!(wrong.findings.iter().any(|f| f.rule == Rule::Instances), "{wrong:?}");
    }
}
