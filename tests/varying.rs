//! Amounts that are another one in every step of a loop: trips of inner loops, what a body chooses, slices as long as
//! the step's number. Compiled at -O3 with every pass verified, against the reference interpreter and against numbers
//! computed here.

#[path = "common/check.rs"]
mod check;

use check::check;
use sirius::run::Value;
use sirius_polyhedral::DType;

fn i64s(shape: &[usize], values: &[i64]) -> Value {
    let values: Vec<i128> = values.iter().map(|v| i128::from(*v)).collect();
    Value::from_ints(DType::I64, shape, &values).unwrap()
}

fn f32s(shape: &[usize], values: &[f32]) -> Value {
    Value::from_f32(shape, values).unwrap()
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
}
