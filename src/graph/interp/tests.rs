//! Whole graphs: parameters, subgraphs, and what is refused.

use super::run;
use crate::graph::{Graph, text};
use crate::run::value::Value;
use sirius_polyhedral::Error;

fn graph(text: &str) -> Graph {
    text::parse(text, |_, _| None).unwrap()
}

fn f32s(shape: &[usize], values: &[f32]) -> Value {
    Value::from_f32(shape, values).unwrap()
}

const DOUBLE: &str = r#"graph "double"
param n = input(0, 0) min 1 max 4 hint 2
param d1 = mul(n, n) hint 4
t0 "x" f32[n]
t1 "two" f32[] = [2.0]
t2 "y" f32[n]
t3 "count" i64[2] ~ [n + 1, d1]
main (t0) -> (t2, t3) {
  Mul@14 "mul" (t0, t1) -> (t2)
}
"#;

#[test]
fn parameters_come_from_input_shapes() {
    let results = run(&graph(DOUBLE), &[f32s(&[3], &[1.0, 2.0, 3.0])]).unwrap();
    assert_eq!(results[0].floats(), [2.0, 4.0, 6.0]);
    assert_eq!(results[1].i64s(), [4, 9]);
}

#[test]
fn inputs_are_checked() {
    let graph = graph(DOUBLE);
    let refused = |inputs: &[Value]| match run(&graph, inputs) {
        Err(Error::Invalid(d)) => d.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[]), "the model has 1 inputs, 0 were given");
    assert_eq!(refused(&[f32s(&[5], &[0.0; 5])]), "dimension n is 5, allowed is 1 to 4");
    assert_eq!(refused(&[Value::vector(&[1])]), "input \"x\" is f32[1], got i64[1]");
    assert_eq!(refused(&[f32s(&[], &[0.0])]), "input 0 has shape [], it needs dimension 0");
    assert_eq!(refused(&[f32s(&[2, 2], &[0.0; 4])]), "input \"x\" is f32[2], got f32[2, 2]");
}

#[test]
fn a_wrong_inferred_shape_is_our_bug() {
    let wrong = graph(&DOUBLE.replace("\"y\" f32[n]", "\"y\" f32[n + 1]"));
    let error = run(&wrong, &[f32s(&[1], &[1.0])]).unwrap_err();
    assert!(matches!(&error, Error::Bug(d) if d.origin.is_some()), "{error}");
    assert!(error.to_string().contains("\"y\" is f32[2], got f32[1]"), "{error}");
}

#[test]
fn errors_name_the_node() {
    let unknown = graph(&DOUBLE.replace("Mul@14", "Frobnicate@14"));
    let error = run(&unknown, &[f32s(&[1], &[1.0])]).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)));
    assert!(error.to_string().contains("Frobnicate \"mul\""), "{error}");
}

#[test]
fn one_branch_is_taken() {
    let graph = graph(
        r#"graph "choose"
t0 "c" bool[]
t1 "x" f32[]
t2 "y" f32[]
t3 "a" f32[]
t4 "b" f32[]
main (t0, t1) -> (t2) {
  If@16 "if" (t0) -> (t2)
    : then_branch () -> (t3) {
      Neg@13 "n" (t1) -> (t3)
    }
    : else_branch () -> (t4) {
      Abs@13 "a" (t1) -> (t4)
    }
}
"#,
    );
    for (condition, wanted) in [(true, -2.0), (false, 2.0)] {
        let c = Value::from_bools(&[], &[condition]).unwrap();
        assert_eq!(run(&graph, &[c, f32s(&[], &[2.0])]).unwrap()[0].floats(), [wanted]);
    }
}

/// Doubles `x` while it is below 10, at most `m` times; the scan output is every value met.
const LOOP: &str = r#"graph "loop"
param trips = value("unknown") min 0 hint 4
t0 "m" i64[]
t1 "x" f32[]
t2 "last" f32[]
t3 "all" f32[trips]
t4 "i" i64[]
t5 "go" bool[]
t6 "v" f32[]
t7 "next" f32[]
t8 "ten" f32[] = [10.0]
t9 "again" bool[]
main (t0, t1) -> (t2, t3) {
  Loop@16 "loop" (t0, _, t1) -> (t2, t3)
    : body (t4, t5, t6) -> (t9, t7, t6) {
      Add@14 "add" (t6, t6) -> (t7)
      Less@13 "less" (t7, t8) -> (t9)
    }
}
"#;

#[test]
fn loops_stop_at_the_limit_or_the_condition() {
    let graph = graph(LOOP);
    let all = |m: i64| {
        let results = run(&graph, &[Value::from_i64(&[], &[m]).unwrap(), f32s(&[], &[3.0])]).unwrap();
        (results[0].get_f64(0), results[1].floats())
    };
    assert_eq!(all(9), (12.0, vec![3.0, 6.0]));
    assert_eq!(all(1), (6.0, vec![3.0]));
    assert_eq!(all(0), (3.0, vec![]));
}

/// Running sums of the columns of `x`, from the right; `sum` is the final state.
const SCAN: &str = r#"graph "scan"
param n = input(0, 1) min 0 hint 3
t0 "x" f32[2, n]
t1 "zero" f32[2] = [0.0, 100.0]
t2 "sum" f32[2]
t3 "sums" f32[2, n]
t4 "state" f32[2]
t5 "column" f32[2]
t6 "new" f32[2]
main (t0) -> (t2, t3) {
  Scan@16 "scan" (t1, t0) -> (t2, t3) {num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1], scan_output_axes = [1], scan_output_directions = [1]}
    : body (t4, t5) -> (t6, t6) {
      Add@14 "add" (t4, t5) -> (t6)
    }
}
"#;

#[test]
fn scans_run_along_any_axis_in_both_directions() {
    let graph = graph(SCAN);
    let results = run(&graph, &[f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])]).unwrap();
    assert_eq!(results[0].floats(), [6.0, 115.0]);
    assert_eq!(results[1].shape, [2, 3]);
    assert_eq!(results[1].floats(), [6.0, 5.0, 3.0, 115.0, 111.0, 106.0]);
    let empty = run(&graph, &[f32s(&[2, 0], &[])]).unwrap();
    assert_eq!((empty[0].floats(), empty[1].shape.clone()), (vec![0.0, 100.0], vec![2, 0]));
}
