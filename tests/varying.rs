//! Amounts that are another one in every step of a loop: trips of inner loops, what a body chooses, slices as long as
//! the step's number. Compiled at -O3 with every pass verified, against the reference interpreter and against numbers
//! computed here.

#[path = "common/check.rs"]
mod check;

use check::check;
use sirius::compile::{CompileOptions, compile};
use sirius::graph::{interp, text};
use sirius::report::session::Session;
use sirius::run::{Value, load::Loaded};
use sirius_polyhedral::DType;

fn i64s(shape: &[usize], values: &[i64]) -> Value {
    let values: Vec<i128> = values.iter().map(|v| i128::from(*v)).collect();
    Value::from_ints(DType::I64, shape, &values).unwrap()
}

fn f32s(shape: &[usize], values: &[f32]) -> Value {
    Value::from_f32(shape, values).unwrap()
}

/// The first result by the reference interpreter, which [`check`] compares with machine code.
fn meaning(source: &str, inputs: &[Value]) -> Vec<f64> {
    let graph = text::parse(source, |_, _| None).unwrap();
    interp::run(&graph, inputs).unwrap()[0].floats()
}

/// What a run says that must be refused.
fn refusal(source: &str, inputs: &[Value]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.graph");
    std::fs::write(&path, source).unwrap();
    compile(&path, &CompileOptions::default(), &mut Session::default(), dir.path()).unwrap();
    Loaded::open(dir.path()).unwrap().run(inputs).unwrap_err().to_string()
}

/// `sum` over `times[i]` steps of `x[j]`, for every `i`.
#[test]
fn trips_of_an_inner_loop_that_the_outer_step_gives() {
    let source = r#"graph "g"
param n = input(0, 0) min 0 hint 4
t0 "times" i64[n]
t1 "x" f32[5]
t2 "n" i64[] ~ [n]
t3 "sum" f32[5]
t4 "zero" f32[5] = [0.0, 0.0, 0.0, 0.0, 0.0]
t5 "i" i64[]
t6 "on" bool[]
t7 "total" f32[5]
t8 "still" bool[]
t9 "trips" i64[]
t10 "next" f32[5]
t11 "j" i64[]
t12 "inner_on" bool[]
t13 "part" f32[5]
t14 "inner_still" bool[]
t15 "more" f32[5]
t16 "one" f32[5]
main (t0, t1) -> (t3) {
  Loop@17 "outer" (t2, _, t4) -> (t3)
    : body (t5, t6, t7) -> (t8, t10) {
      Identity@13 "go" (t6) -> (t8)
      Gather@13 "trips" (t0, t5) -> (t9)
      Loop@17 "inner" (t9, _, t7) -> (t10)
        : body (t11, t12, t13) -> (t14, t15) {
          Identity@13 "go_on" (t12) -> (t14)
          Add@14 "add" (t13, t1) -> (t15)
        }
    }
}
"#;
    let source = source.replace("t16 \"one\" f32[5]\n", "");
    let x = f32s(&[5], &[1.0, -2.0, 0.5, 4.0, 3.0]);
    let runs = [vec![3, 0, 2, -1], vec![], vec![0, 0], vec![7]];
    let runs: Vec<Vec<Value>> = runs.iter().map(|t| vec![i64s(&[t.len()], t), x.clone()]).collect();
    check("inner_trips", &source, &runs);
    assert_eq!(meaning(&source, &runs[0]), [5.0, -10.0, 2.5, 20.0, 15.0]);
}

/// Per row: the sum of squares of what is not zero, and how many that is.
#[test]
fn what_a_step_chooses() {
    let source = r#"graph "g"
param n = input(0, 0) min 0 hint 3
param count = value("count") min 0 max 6 hint 3
t0 "x" f32[n, 6]
t1 "n" i64[] ~ [n]
t2 "i" i64[]
t3 "on" bool[]
t4 "row" f32[6]
t5 "at" i64[1, count]
t6 "count" i64[]
t7 "first" i64[] = [0]
t8 "places" i64[count]
t9 "chosen" f32[count]
t10 "squares" f32[count]
t11 "axis" i64[1] = [0]
t12 "sum" f32[]
t13 "shape" i64[1] ~ [count]
t14 "length" i64[]
t15 "again" bool[]
t16 "sums" f32[n]
t17 "lengths" i64[n]
main (t0) -> (t16, t17) {
  Loop@18 "rows" (t1, _) -> (t16, t17)
    : body (t2, t3) -> (t15, t12, t14) {
      Identity@13 "go" (t3) -> (t15)
      Gather@13 "row" (t0, t2) -> (t4)
      NonZero@13 "at" (t4) -> (t5, t6)
      Gather@13 "places" (t5, t7) -> (t8)
      Gather@13 "chosen" (t4, t8) -> (t9)
      Mul@14 "squares" (t9, t9) -> (t10)
      ReduceSum@13 "sum" (t10, t11) -> (t12) {keepdims = 0}
      Gather@13 "length" (t13, t7) -> (t14)
    }
}
"#;
    let x = f32s(&[3, 6], &[1., 0., 2., 0., 0., 3., 0., 0., 0., 0., 0., 0., -1., 1., -1., 1., -1., 5.]);
    check("chosen", source, &[vec![x.clone()], vec![f32s(&[0, 6], &[])]]);
    assert_eq!(meaning(source, &[x]), [14.0, 0.0, 30.0]);
}

/// The largest of each prefix `x[:i + 1]`: the extent is the step's number, and the domain a triangle.
#[test]
fn prefixes_as_long_as_the_step() {
    let source = r#"graph "g"
param i = value("i") min 0 max 4 hint 2
t0 "x" f32[5]
t1 "trips" i64[] = [5]
t2 "i" i64[] ~ [i]
t3 "on" bool[]
t4 "zero" i64[1] = [0]
t5 "end" i64[1] ~ [i + 1]
t6 "prefix" f32[i + 1]
t7 "most" f32[]
t8 "again" bool[]
t9 "y" f32[5]
main (t0) -> (t9) {
  Loop@18 "steps" (t1, _) -> (t9)
    : body (t2, t3) -> (t8, t7) {
      Identity@13 "go" (t3) -> (t8)
      Slice@13 "prefix" (t0, t4, t5) -> (t6)
      ReduceMax@13 "most" (t6) -> (t7) {keepdims = 0}
    }
}
"#;
    let x = f32s(&[5], &[1.0, -3.0, 4.0, 2.0, 7.0]);
    check("prefixes", source, &[vec![x.clone()]]);
    assert_eq!(meaning(source, &[x]), [1.0, 1.0, 4.0, 4.0, 7.0]);
}

/// An inner loop that ends by its condition or its count, collects a value per step, and stands in a branch.
#[test]
fn loops_in_branches_in_loops() {
    let source = r#"graph "g"
param n = input(0, 0) min 0 hint 3
param steps = value("inner_trips") min 0 max 4096 hint 3
t0 "limits" i64[n]
t1 "n" i64[] ~ [n]
t2 "i" i64[]
t3 "on" bool[]
t4 "limit" i64[]
t5 "four" i64[] = [4]
t6 "small" bool[]
t7 "zero" i64[] = [0]
t8 "result" i64[]
t9 "again" bool[]
t10 "y" i64[n]
t11 "j" i64[]
t12 "inner_on" bool[]
t13 "v" i64[]
t14 "two" i64[] = [2]
t15 "one" i64[] = [1]
t16 "double" i64[]
t17 "next" i64[]
t18 "more" bool[]
t19 "kept" i64[]
t20 "last" i64[]
t21 "all" i64[steps]
t22 "total" i64[]
t23 "other" i64[]
main (t0) -> (t10) {
  Loop@18 "outer" (t1, _) -> (t10)
    : body (t2, t3) -> (t9, t8) {
      Identity@13 "go" (t3) -> (t9)
      Gather@13 "limit" (t0, t2) -> (t4)
      Less@13 "small" (t4, t5) -> (t6)
      If@13 "if" (t6) -> (t8)
        : then_branch () -> (t22) {
          Loop@18 "inner" (t4, _, t7) -> (t20, t21)
            : body (t11, t12, t13) -> (t18, t17, t19) {
              Mul@14 "double" (t13, t14) -> (t16)
              Add@14 "next" (t16, t15) -> (t17)
              Less@13 "more" (t17, t5) -> (t18)
              Identity@13 "kept" (t17) -> (t19)
            }
          ReduceSum@13 "total" (t21) -> (t22) {keepdims = 0}
        }
        : else_branch () -> (t23) {
          Neg@13 "other" (t4) -> (t23)
        }
    }
}
"#;
    let limits = i64s(&[5], &[1, 9, 3, 0, 2]);
    check("branches", source, &[vec![limits.clone()], vec![i64s(&[0], &[])]]);
    // 1; 1 + 3; nothing; 1 + 3 + 7, but the third is past the condition.
    assert_eq!(meaning(source, &[limits]), [1.0, -9.0, 11.0, 0.0, 4.0]);
}

/// Every step keeps what is positive and takes one off.
fn shrinking(condition: &str) -> String {
    r#"graph "g"
param n = input(0, 0) min 0 hint 4
param size = value("loop#carried0.0") min 0 max 64 hint 4
param count = value("count") min 0 max 64 hint 4
param kept = min(count, size) min 0 hint 4
param after = value("loop#0.0") min 0 max 64 hint 4
t0 "x" f32[n]
t1 "trips" i64[] = [3]
t2 "y" f32[after]
t3 "i" i64[]
t4 "on" bool[]
t5 "v" f32[size]
t6 "again" bool[]
t7 "positive" bool[size]
t8 "zero" f32[] = [0.0]
t9 "kept" f32[kept]
t10 "count" i64[]
t11 "one" f32[] = [1.0]
t12 "next" f32[kept]
t13 "last" i64[] = [1]
main (t0) -> (t2) {
  Loop@17 "loop" (t1, _, t0) -> (t2)
    : body (t3, t4, t5) -> (t6, t12) {
      CONDITION
      Greater@13 "positive" (t5, t8) -> (t7)
      Compress@11 "kept" (t5, t7) -> (t9, t10) {axis = 0}
      Sub@14 "less" (t9, t11) -> (t12)
    }
}
"#
    .replace("CONDITION", condition)
}

#[test]
fn carried_values_change_their_size() {
    let all = shrinking(r#"Identity@13 "go" (t4) -> (t6)"#);
    let early = shrinking(r#"Less@13 "go" (t3, t13) -> (t6)"#);
    let x = f32s(&[6], &[5.0, 1.0, 2.0, -1.0, 3.0, 8.0]);
    let runs = [vec![x.clone()], vec![f32s(&[2], &[-5.0, 1.0])], vec![f32s(&[0], &[])]];
    check("shrinking", &all, &runs);
    check("shrinking_early", &early, &runs);
    assert_eq!(meaning(&all, &runs[0]), [2.0, 0.0, 5.0]);
    assert_eq!(meaning(&early, &runs[0]), [3.0, 0.0, 1.0, 6.0]);
    let said = refusal(&all, &[f32s(&[65], &[1.0; 65])]);
    assert!(said.contains("above 64"), "{said}");
}

#[test]
fn branches_of_different_sizes() {
    let source = r#"graph "g"
param n = input(0, 0) min 0 hint 4
param count = value("count") min 0 hint 4
param d2 = min(count, n) min 0 hint 4
param size = value("if#0.1") min 0 hint 4
param d4 = min(size, 2*n) min 0 hint 4
t0 "x" f32[n]
t1 "go" bool[]
t2 "y" f32[2, d4]
t3 "zero" f32[] = [0.0]
t4 "positive" bool[n]
t5 "some" f32[d2]
t6 "count" i64[]
t7 "rows" f32[2, d2]
t8 "twice" f32[2*n]
t9 "list" i64[2] ~ [2, d2]
t10 "wide" i64[2] ~ [2, 2*n]
t11 "others" f32[2, 2*n]
main (t0, t1) -> (t2) {
  If@13 "if" (t1) -> (t2)
    : then_branch () -> (t7) {
      Greater@13 "positive" (t0, t3) -> (t4)
      Compress@11 "some" (t0, t4) -> (t5, t6) {axis = 0}
      Expand@13 "rows" (t5, t9) -> (t7)
    }
    : else_branch () -> (t11) {
      Concat@13 "twice" (t0, t0) -> (t8) {axis = 0}
      Expand@13 "others" (t8, t10) -> (t11)
    }
}
"#;
    let x = f32s(&[4], &[1.0, -2.0, 3.0, 0.0]);
    let go = |go: bool| Value::from_bools(&[], &[go]).unwrap();
    let runs = [vec![x.clone(), go(true)], vec![x, go(false)], vec![f32s(&[0], &[]), go(false)]];
    check("sizes_of_branches", source, &runs);
    assert_eq!(meaning(source, &runs[0]), [1.0, 3.0, 1.0, 3.0]);
}

/// `SAME` padding depends on the size: the odd element goes to the end or the beginning, and a stride longer than the
/// window needs none.
#[test]
fn automatic_padding_of_symbolic_sizes() {
    let pool = |op: &str, kernel: i64, stride: i64, mode: &str| {
        format!(
            r#"graph "g"
param h = input(0, 2) min 1 hint 7
t0 "x" f32[1, 2, h]
t1 "y" f32[1, 2, floor((h + {})/{stride})]
main (t0) -> (t1) {{
  {op}@19 "pool" (t0) -> (t1) {{kernel_shape = [{kernel}], strides = [{stride}], auto_pad = "{mode}"}}
}}
"#,
            stride - 1
        )
    };
    let x = |h: usize| f32s(&[1, 2, h], &(0..2 * h).map(|i| ((i * 7 + 3) % 5) as f32 - 2.0).collect::<Vec<_>>());
    let runs: Vec<Vec<Value>> = [1, 2, 3, 6, 7].map(|h| vec![x(h)]).into();
    for (n, (op, kernel, stride)) in [("MaxPool", 3, 2), ("AveragePool", 4, 2), ("MaxPool", 2, 3)].iter().enumerate() {
        for mode in ["SAME_UPPER", "SAME_LOWER"] {
            check(&format!("padding{n}_{mode}"), &pool(op, *kernel, *stride, mode), &runs);
        }
    }
}
