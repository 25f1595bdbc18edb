//! Small graphs that random models (`random_graphs/`) have shrunk to: each once gave a wrong result or none.

#[path = "common/check.rs"]
mod check;

use check::check;
use sirius::run::Value;

fn f32s(shape: &[usize], values: &[f32]) -> Value {
    Value::from_f32(shape, values).unwrap()
}

/// A reduction and its result in one tile of a single lane: the accumulator is a register of that tile.
#[test]
fn a_tile_of_one_element() {
    let source = r#"graph "g"
t0 "axes" i64[1] = [0]
t1 "x" f32[1, 1, 1, 1]
t2 "y" f32[1, 1, 1, 1]
main (t1) -> (t2) {
  ReduceSum@22 "sum" (t1, t0) -> (t2) {keepdims = 1}
}
"#;
    check("tile-of-one", source, &[vec![f32s(&[1, 1, 1, 1], &[56.5])]]);
}

#[test]
fn the_largest_of_one_column() {
    let source = r#"graph "g"
t0 "k" i64[1] = [1]
t1 "x" i64[5, 1]
t2 "values" i64[1, 1]
t3 "places" i64[1, 1]
main (t1) -> (t2) {
  TopK@22 "top" (t1, t0) -> (t2, t3) {axis = 0, largest = 1}
}
"#;
    check("largest-of-one-column", source, &[vec![Value::from_i64(&[5, 1], &[0, 3, 1, 3, 2]).unwrap()]]);
}

/// Five lanes of eight bytes, of which the upper register of an AVX2 processor reads nothing.
#[test]
fn padding_behind_half_a_vector() {
    let source = r#"graph "g"
param n = input(0, 0) min 1 hint 1
t0 "pads" i64[6] = [0, 0, 0, 1, 0, 1]
t1 "x" f64[n, 1, 4]
t2 "y" f64[n + 1, 1, 5]
main (t1) -> (t2) {
  Pad@23 "pad" (t1, t0) -> (t2) {mode = "constant"}
}
"#;
    let x = Value::from_floats(sirius_polyhedral::DType::F64, &[3, 1, 4], &(1..13).map(f64::from).collect::<Vec<_>>());
    check("padding-behind-half-a-vector", source, &[vec![x.unwrap()]]);
}

/// The state of a loop without a limit keeps its planes folded though no step reads it.
#[test]
fn a_state_that_no_step_reads() {
    let source = r#"graph "g"
t0 "count" i64[]
t1 "step" i64[]
t2 "go" bool[]
t3 "state" i64[]
t4 "y" i64[]
t5 "again" bool[]
t6 "next" i64[]
main (t0) -> (t4) {
  Loop@22 "loop" (t0, _, t0) -> (t4)
    : body (t1, t2, t3) -> (t5, t6) {
      Identity@22 "keep" (t2) -> (t5)
      Identity@22 "copy" (t1) -> (t6)
    }
}
"#;
    check("unread-state", source, &[vec![Value::scalar(4)], vec![Value::scalar(0)], vec![Value::scalar(100_000)]]);
}

/// Nothing has the length that would have been counted.
#[test]
fn a_loop_of_no_steps_that_may_end_early() {
    let source = r#"graph "g"
param loop_trips = value("loop_trips") min 0 max 0 hint 0
t0 "none" i64[] = [0]
t1 "x" f32[]
t2 "limit" i64[]
t3 "step" i64[]
t4 "go" bool[]
t5 "state" f32[]
t6 "again" bool[]
t7 "y" f32[]
t8 "flags" bool[0]
t9 "next" f32[]
t10 "flag" bool[]
main (t1, t2) -> (t7) {
  Loop@22 "loop" (t0, _, t1) -> (t7, t8)
    : body (t3, t4, t5) -> (t6, t9, t10) {
      Less@22 "less" (t3, t2) -> (t6)
      Identity@22 "copy" (t1) -> (t9)
      Identity@22 "collect" (t6) -> (t10)
    }
}
"#;
    check("no-steps", source, &[vec![f32s(&[], &[1.5]), Value::scalar(3)]]);
}

/// The count that the run compares with its bounds is not dead, though no statement reads it.
#[test]
fn a_count_that_only_the_check_reads() {
    let source = r#"graph "g"
param loop_trips = value("loop_trips") min 0 max 4096 hint 16
t0 "count" i64[]
t1 "x" i64[]
t2 "step" i64[]
t3 "go" bool[]
t4 "state" i64[]
t5 "final" i64[]
t6 "all" i64[loop_trips]
t7 "again" bool[]
t8 "next" i64[]
t9 "one" i64[]
t10 "image" f32[1, 2, 3]
t11 "kernel" f32[1, 2, 2]
t12 "folded" f32[1, 1, 3]
main (t0, t1, t10, t11) -> (t6, t12) {
  Loop@22 "loop" (t0, _, t0) -> (t5, t6)
    : body (t2, t3, t4) -> (t7, t8, t9) {
      Identity@22 "keep" (t3) -> (t7)
      Identity@22 "copy" (t2) -> (t8)
      Add@22 "add" (t1, t2) -> (t9)
    }
  Conv@22 "pads" (t10, t11) -> (t12) {pads = [0, 1]}
}
"#;
    let (image, kernel) = (f32s(&[1, 2, 3], &[-1.5; 6]), f32s(&[1, 2, 2], &[1.0, -1.0, 2.0, 0.5]));
    let run = |steps: i64| vec![Value::scalar(steps), Value::scalar(7), image.clone(), kernel.clone()];
    check("checked-count", source, &[run(4), run(0)]);
}

/// What the second loop carries is as long as the first one ran; its own results have no length of that name.
#[test]
fn a_loop_that_carries_what_another_collected() {
    let source = r#"graph "g"
param first_trips = value("first_trips") min 0 max 4096 hint 16
t0 "none" i64[] = [0]
t1 "count" i64[]
t2 "limit" i64[]
t3 "step" i64[]
t4 "go" bool[]
t5 "state" i64[]
t6 "final" i64[]
t7 "all" i64[first_trips]
t8 "again" bool[]
t9 "next" i64[]
t10 "one" i64[]
t11 "step2" i64[]
t12 "go2" bool[]
t13 "state2" i64[first_trips]
t14 "again2" bool[]
t15 "next2" i64[first_trips]
t16 "flag" bool[]
t17 "y" i64[first_trips]
t18 "flags" bool[0]
main (t1, t2) -> (t17, t18) {
  Loop@22 "first" (t1, _, t1) -> (t6, t7)
    : body (t3, t4, t5) -> (t8, t9, t10) {
      Identity@22 "keep" (t4) -> (t8)
      Identity@22 "copy" (t5) -> (t9)
      Identity@22 "collect" (t3) -> (t10)
    }
  Loop@22 "second" (t0, _, t7) -> (t17, t18)
    : body (t11, t12, t13) -> (t14, t15, t16) {
      Less@22 "less" (t11, t2) -> (t14)
      Identity@22 "copy2" (t7) -> (t15)
      Identity@22 "collect2" (t14) -> (t16)
    }
}
"#;
    check("two-lengths", source, &[vec![Value::scalar(4), Value::scalar(2)]]);
}

/// Only a later result of an operator is used: its first one says what shape that has.
#[test]
fn later_results_alone() {
    let source = r#"graph "g"
t0 "scale" f32[2, 3] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
t1 "x" f32[1, 2, 3]
t2 "largest" f32[1, 2, 2]
t3 "places" i64[1, 2, 2]
t4 "y" f32[1, 2, 3]
t5 "mean" f32[1, 1, 1]
t6 "inverse" f32[1, 1, 1]
main (t1) -> (t3, t6) {
  MaxPool@22 "pool" (t1) -> (t2, t3) {kernel_shape = [2]}
  LayerNormalization@22 "norm" (t1, t0) -> (t4, t5, t6) {axis = 1}
}
"#;
    check("later-results", source, &[vec![f32s(&[1, 2, 3], &[1.0, 3.0, 2.0, -1.0, 0.5, -4.0])]]);
}

/// A start before the first element is clamped to it: forwards with a step that ends with the extent, and backwards.
#[test]
fn slices_that_start_too_early() {
    let source = r#"graph "g"
t0 "early" i64[1] = [-2]
t1 "end" i64[1] = [1]
t2 "axis" i64[1] = [0]
t3 "two" i64[1] = [2]
t4 "before" i64[1] = [-9]
t5 "back" i64[1] = [-2]
t6 "x" f32[1]
t7 "forwards" f32[1]
t8 "backwards" f32[1]
t9 "y" f32[1]
t10 "z" f32[1]
main (t6) -> (t9, t10) {
  Slice@22 "forwards" (t6, t0, t1, t2, t3) -> (t7)
  Slice@22 "backwards" (t6, t0, t4, t2, t5) -> (t8)
  Neg@22 "first" (t7) -> (t9)
  Neg@22 "second" (t8) -> (t10)
}
"#;
    check("early-slices", source, &[vec![f32s(&[1], &[3.5])]]);
}

/// Two counts that the run finds are read when it is over, and a loop that other work keeps running may end early.
#[test]
fn a_loop_that_never_starts_beside_one_that_did() {
    let source = r#"graph "g"
param first_trips = value("first_trips") min 0 max 1 hint 1
param second_trips = value("second_trips") min 0 max 2 hint 2
t0 "one" i64[] = [1]
t1 "two" i64[] = [2]
t2 "x" f32[2]
t3 "limit" i64[]
t4 "start" bool[]
t5 "step" i64[]
t6 "go" bool[]
t7 "state" f32[2]
t8 "again" bool[]
t9 "final" f32[2]
t10 "flags" bool[first_trips]
t11 "step2" i64[]
t12 "go2" bool[]
t13 "state2" bool[first_trips]
t14 "again2" bool[]
t15 "y" bool[first_trips]
t16 "more" bool[second_trips]
t17 "next" f32[2]
t18 "flag" bool[]
t19 "next2" bool[first_trips]
t20 "flag2" bool[]
main (t2, t3, t4) -> (t9, t15, t16) {
  Loop@22 "first" (t0, _, t2) -> (t9, t10)
    : body (t5, t6, t7) -> (t8, t17, t18) {
      Less@22 "less" (t5, t3) -> (t8)
      Identity@22 "keep" (t2) -> (t17)
      Identity@22 "collect" (t8) -> (t18)
    }
  Loop@22 "second" (t1, t4, t10) -> (t15, t16)
    : body (t11, t12, t13) -> (t14, t19, t20) {
      Less@22 "less2" (t11, t3) -> (t14)
      Identity@22 "keep2" (t10) -> (t19)
      Identity@22 "collect2" (t14) -> (t20)
    }
}
"#;
    let run = |limit: i64, start: bool| {
        vec![f32s(&[2], &[1.0, 2.0]), Value::scalar(limit), Value::from_bools(&[], &[start]).unwrap()]
    };
    check("never-starts", source, &[run(3, true), run(1, false), run(0, true), run(4, false)]);
}

/// The default of an attribute is a number of the attribute's type: 0.01f32, in f64 arithmetic, too.
#[test]
fn a_default_in_double_precision() {
    let source = r#"graph "g"
t0 "x" f64[2]
t1 "y" f64[2]
t2 "scale" f64[] = [1e12]
t3 "scaled" f64[2]
t4 "near" f64[] = [9999999776.482582]
t5 "rest" f64[2]
main (t0) -> (t5) {
  LeakyRelu@22 "leaky" (t0) -> (t1)
  Mul@22 "enlarge" (t1, t2) -> (t3)
  Add@22 "compare" (t3, t4) -> (t5)
}
"#;
    check(
        "default-in-f64",
        source,
        &[vec![Value::from_floats(sirius_polyhedral::DType::F64, &[2], &[-1.0, 2.0]).unwrap()]],
    );
}

/// Sizes that follow from a count, of something that nobody reads.
#[test]
fn a_count_that_only_unused_sizes_follow() {
    let source = r#"graph "g"
param n = input(0, 0) min 1 hint 8
param count = value("found") min 0 hint 16
param few = min(count, 2*n) min 0 hint 16
t0 "x" i64[2, n]
t1 "s" f32[]
t2 "b" bool[]
t3 "places" i64[2, few]
t4 "inner" f32[]
t5 "y" i64[2, n]
t6 "then" i64[2, n]
t7 "found" i64[]
t8 "inner_then" f32[]
t9 "inner_else" f32[]
t10 "else" i64[2, n]
main (t0, t1, t2) -> (t5) {
  If@23 "outer" (t2) -> (t5)
    : then_branch () -> (t6) {
      Identity@23 "keep" (t0) -> (t6)
    }
    : else_branch () -> (t10) {
      If@23 "unused" (t2) -> (t4)
        : then_branch () -> (t8) {
          NonZero@23 "find" (t0) -> (t3, t7)
          Identity@23 "inner_keep" (t1) -> (t8)
        }
        : else_branch () -> (t9) {
          Identity@23 "inner_other" (t1) -> (t9)
        }
      Identity@23 "other" (t0) -> (t10)
    }
}
"#;
    let run = |which: bool| {
        vec![
            Value::from_i64(&[2, 2], &[1, 0, 3, 4]).unwrap(),
            f32s(&[], &[5.0]),
            Value::from_bools(&[], &[which]).unwrap(),
        ]
    };
    check("unused-count", source, &[run(true), run(false)]);
}
