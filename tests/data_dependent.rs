//! Operators with extents, positions or numbers that are data: compiled at -O3, against the reference interpreter,
//! with empty tensors, ties, NaN and negative axes. The conformance tests have the ordinary cases.

#[path = "common/check.rs"]
mod check;

use check::check;
use sirius::compile::{CompileOptions, compile};
use sirius::report::session::Session;
use sirius::run::{Value, load::Loaded};

fn f32s(shape: &[usize], values: &[f32]) -> Value {
    Value::from_f32(shape, values).unwrap()
}

/// Some numbers with repetitions, zeros and both signs.
fn mixed(shape: &[usize]) -> Value {
    let count: usize = shape.iter().product();
    f32s(shape, &(0..count).map(|i| ((i * 7 + 3) % 5) as f32 - 2.0).collect::<Vec<_>>())
}

#[test]
fn what_is_not_zero() {
    let source = r#"graph "g"
param n = input(0, 0) min 0 hint 4
param c = value("count") min 0 hint 4
param d2 = min(c, 3*n) min 0 hint 4
t0 "x" f32[n, 3]
t1 "y" i64[2, d2]
t2 "count" i64[]
main (t0) -> (t1) {
  NonZero@13 "nonzero" (t0) -> (t1, t2)
}
"#;
    let zeros = f32s(&[2, 3], &[0.0; 6]);
    let nan = f32s(&[1, 3], &[f32::NAN, -0.0, f32::INFINITY]);
    check("nonzero", source, &[vec![mixed(&[5, 3])], vec![mixed(&[0, 3])], vec![zeros], vec![nan]]);
}

#[test]
fn chosen_slices_and_elements() {
    let source = r#"graph "g"
param n = input(0, 0) min 0 hint 4
param c = value("count") min 0 max 3 hint 2
param e = value("total") min 0 hint 2
param d3 = min(e, 2) min 0 hint 2
t0 "x" f32[n, 4]
t1 "some" bool[3]
t2 "few" bool[2]
t3 "columns" f32[n, c]
t4 "count" i64[]
t5 "elements" f32[d3]
t6 "total" i64[]
main (t0, t1, t2) -> (t3, t5) {
  Compress@11 "columns" (t0, t1) -> (t3, t4) {axis = -1}
  Compress@11 "elements" (t0, t2) -> (t5, t6)
}
"#;
    let flags = |v: &[bool]| Value::from_bools(&[v.len()], v).unwrap();
    let run = |n: usize, a: [bool; 3], b: [bool; 2]| vec![mixed(&[n, 4]), flags(&a), flags(&b)];
    let runs = [run(3, [true, false, true], [false, true]), run(1, [false; 3], [true; 2])];
    check("compress", source, &runs);
}

#[test]
fn distinct_elements_and_slices() {
    let source = |attributes: &str, shape: &str, extent: &str, result: &str| {
        format!(
            r#"graph "g"
param n = input(0, 0) min 0 hint 4
param c = value("count") min 0 hint 4
param d2 = min(c, {extent}) min 0 hint 4
t0 "x" f32[{shape}]
t1 "y" f32[{result}]
t2 "first" i64[d2]
t3 "inverse" i64[{extent}]
t4 "counts" i64[d2]
t5 "count" i64[]
main (t0) -> (t1, t2, t3, t4) {{
  Unique@11 "unique" (t0) -> (t1, t2, t3, t4, t5) {{{attributes}}}
}}
"#
        )
    };
    let nan = f32s(&[4], &[f32::NAN, 1.0, f32::NAN, f32::NEG_INFINITY]);
    let runs = [vec![mixed(&[9])], vec![mixed(&[0])], vec![mixed(&[1])], vec![nan]];
    check("unique_sorted", &source("sorted = 1", "n", "n", "d2"), &runs);
    check("unique_first", &source("sorted = 0", "n", "n", "d2"), &runs);
    let rows = f32s(&[4, 2], &[3.0, 1.0, 1.0, 2.0, 3.0, 1.0, 1.0, -2.0]);
    check("unique_rows", &source("axis = -2", "n, 2", "n", "d2, 2"), &[vec![rows], vec![mixed(&[0, 2])]]);
}

#[test]
fn the_best_by_selection_and_by_counting() {
    let source = |n: usize, k: usize, largest: i64| {
        format!(
            r#"graph "g"
param m = input(0, 0) min 0 hint 4
t0 "x" f32[m, {n}, 2]
t1 "k" i64[1] = [{k}]
t2 "best" f32[m, {k}, 2]
t3 "at" i64[m, {k}, 2]
main (t0) -> (t2, t3) {{
  TopK@11 "topk" (t0, t1) -> (t2, t3) {{axis = -2, largest = {largest}}}
}}
"#
        )
    };
    let mut nan = mixed(&[2, 7, 2]);
    (0..28).step_by(5).for_each(|i| nan.set_f64(i, f64::NAN));
    nan.set_f64(1, f64::INFINITY);
    let runs = [vec![mixed(&[3, 7, 2])], vec![mixed(&[0, 7, 2])], vec![nan]];
    for (k, largest) in [(2, 1), (7, 1), (2, 0), (5, 0), (0, 1)] {
        check(&format!("topk_{k}_{largest}"), &source(7, k, largest), &runs);
    }
}

#[test]
fn running_sums_along_an_axis_that_is_data() {
    let source = |attributes: &str| {
        format!(
            r#"graph "g"
param n = input(0, 0) min 0 hint 4
t0 "x" f32[n, 3]
t1 "axis" i64[]
t2 "sums" f32[n, 3]
t3 "products" f32[n, 3]
main (t0, t1) -> (t2, t3) {{
  CumSum@14 "sum" (t0, t1) -> (t2) {{{attributes}}}
  CumProd@26 "product" (t0, t1) -> (t3) {{{attributes}}}
}}
"#
        )
    };
    let runs: Vec<Vec<Value>> =
        [(4, 0), (4, -1), (0, 1), (1, -2)].map(|(n, axis)| vec![mixed(&[n, 3]), Value::scalar(axis)]).into();
    check("cumulative", &source("exclusive = 0"), &runs);
    check("cumulative_back", &source("exclusive = 1, reverse = 1"), &runs);
}

#[test]
fn boxes_that_do_not_overlap() {
    let source = r#"graph "g"
param n = input(0, 1) min 0 hint 4
param c = value("count") min 0 hint 4
param d2 = min(3, n) min 0 hint 3
param d3 = min(c, 4*d2) min 0 hint 4
t0 "boxes" f32[2, n, 4]
t1 "scores" f32[2, 2, n]
t2 "most" i64[1] = [3]
t3 "limit" f32[1]
t4 "least" f32[1]
t5 "kept" i64[d3, 3]
t6 "count" i64[]
main (t0, t1, t3, t4) -> (t5) {
  NonMaxSuppression@11 "nms" (t0, t1, t2, t3, t4) -> (t5, t6)
}
"#;
    let run = |n: usize, limit: f32, least: f32| {
        let corner = |i: usize| [(i / 2) as f32, 0.0, (i / 2) as f32 + 1.0, 1.0 + (i % 2) as f32 * 0.2];
        let boxes: Vec<f32> = (0..2 * n).flat_map(corner).collect();
        let scores: Vec<f32> = (0..4 * n).map(|i| ((i * 13) % 11) as f32 / 10.0).collect();
        vec![f32s(&[2, n, 4], &boxes), f32s(&[2, 2, n], &scores), f32s(&[1], &[limit]), f32s(&[1], &[least])]
    };
    check("nms", source, &[run(8, 0.5, 0.3), run(8, 0.9, 0.0), run(0, 0.5, 0.0), run(3, 0.1, 2.0)]);
}

#[test]
fn places_between_pixels() {
    let source = |mode: &str, padding: &str| {
        format!(
            r#"graph "g"
param n = input(0, 0) min 0 hint 2
t0 "x" f32[n, 2, 3, 4]
t1 "grid" f32[n, 2, 2, 2]
t2 "y" f32[n, 2, 2, 2]
main (t0, t1) -> (t2) {{
  GridSample@20 "sample" (t0, t1) -> (t2) {{mode = "{mode}", padding_mode = "{padding}", align_corners = 0}}
}}
"#
        )
    };
    let grid = |n: usize| {
        let at = [-0.9, 0.3, 0.05, -1.7, 1.2, 0.6, 5.0, -5.0];
        f32s(&[n, 2, 2, 2], &at.iter().cycle().take(8 * n).copied().collect::<Vec<_>>())
    };
    for mode in ["nearest", "linear", "cubic"] {
        for padding in ["zeros", "border", "reflection"] {
            check(&format!("grid_{mode}_{padding}"), &source(mode, padding), &[vec![mixed(&[2, 2, 3, 4]), grid(2)]]);
        }
    }
}

#[test]
fn determinants_of_any_matrix() {
    let source = r#"graph "g"
param b = input(0, 0) min 0 hint 2
t0 "x" f32[b, 3, 3]
t1 "y" f32[b]
main (t0) -> (t1) {
  Det@22 "det" (t0) -> (t1)
}
"#;
    let swaps = f32s(&[1, 3, 3], &[0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 5.0, 0.0, 0.0]);
    let singular = f32s(&[1, 3, 3], &[1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 0.0, 1.0, 1.0]);
    check("det", source, &[vec![mixed(&[3, 3, 3])], vec![swaps], vec![singular], vec![mixed(&[0, 3, 3])]]);
}

#[test]
fn windows_that_data_moves() {
    let source = r#"graph "g"
t0 "x" f32[1, 4, 4, 3]
t1 "w" f32[2, 2, 2, 2]
t2 "offset" f32[1, 16, 3, 2]
t3 "bias" f32[2]
t4 "mask" f32[1, 8, 3, 2]
t5 "y" f32[1, 2, 3, 2]
t6 "columns" f32[1, 8, 6]
t7 "image" i64[2] = [4, 3]
t8 "block" i64[2] = [2, 2]
t9 "z" f32[1, 2, 4, 3]
main (t0, t1, t2, t3, t4, t6) -> (t5, t9) {
  DeformConv@19 "deform" (t0, t1, t2, t3, t4) -> (t5) {group = 2, offset_group = 2}
  Col2Im@18 "col2im" (t6, t7, t8) -> (t9)
}
"#;
    let mut offsets = mixed(&[1, 16, 3, 2]);
    (0..96).for_each(|i| offsets.set_f64(i, offsets.get_f64(i) * 0.37));
    let inputs =
        vec![mixed(&[1, 4, 4, 3]), mixed(&[2, 2, 2, 2]), offsets, mixed(&[2]), mixed(&[1, 8, 3, 2]), mixed(&[1, 8, 6])];
    check("deform", source, &[inputs]);
}

#[test]
fn random_numbers_follow_the_documented_generator() {
    let source = r#"graph "g"
t0 "p" f32[3, 50]
t1 "uniform" f32[40]
t2 "normal" f32[3, 50]
t3 "hits" i32[3, 50]
t4 "classes" i64[3, 9]
main (t0) -> (t1, t2, t3, t4) {
  RandomUniform@22 "u" () -> (t1) {shape = [40], low = f -1.0, high = f 3.0, seed = f 7.0}
  RandomNormalLike@22 "n" (t0) -> (t2) {mean = f 2.0, scale = f 0.5}
  Bernoulli@22 "b" (t0) -> (t3) {dtype = 6, seed = f 1.0}
  Multinomial@22 "m" (t0) -> (t4) {dtype = 7, sample_size = 9, seed = f 3.0}
}
"#;
    let p: Vec<f32> = (0..150).map(|i| (i % 10) as f32 / 10.0).collect();
    check("random", source, &[vec![f32s(&[3, 50], &p)], vec![f32s(&[3, 50], &p)]]);
}

/// Compiles a graph and runs it on data that it must refuse: what it says.
fn refusal(name: &str, source: &str, inputs: &[Value]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.graph");
    std::fs::write(&path, source).unwrap();
    let options = CompileOptions { verify_each: true, ..CompileOptions::default() };
    compile(&path, &options, &mut Session::default(), dir.path()).unwrap();
    let loaded = Loaded::open(dir.path()).unwrap();
    match loaded.run(inputs) {
        Ok(results) => panic!("{name}: not refused, but {results:?}"),
        Err(error) => error.to_string(),
    }
}

fn i64s(shape: &[usize], values: &[i64]) -> Value {
    let values: Vec<i128> = values.iter().map(|v| i128::from(*v)).collect();
    Value::from_ints(sirius_polyhedral::DType::I64, shape, &values).unwrap()
}

#[test]
fn indices_outside_are_refused_by_name() {
    let source = |op: &str, positions: &str, result: &str| {
        format!(
            r#"graph "g"
param n = input(0, 0) min 0 hint 4
param m = input(1, 0) min 0 hint 4
t0 "x" f32[n, 3]
t1 "at" i64[{positions}]
t2 "y" f32[{result}]
main (t0, t1) -> (t2) {{
  {op} "look" (t0, t1) -> (t2)
}}
"#
        )
    };
    let (rows, elements) = (source("Gather@13", "m", "m, 3"), source("GatherElements@13", "m, 3", "m, 3"));
    let subscripts = source("GatherND@13", "m, 2", "m");
    check("gather", &rows, &[vec![mixed(&[4, 3]), i64s(&[3], &[-4, 0, 3])], vec![mixed(&[0, 3]), i64s(&[0], &[])]]);
    check("subscripts", &subscripts, &[vec![mixed(&[4, 3]), i64s(&[2, 2], &[-4, 2, 3, -3])]]);
    for (source, n, at) in [
        (&rows, 4, i64s(&[2], &[4, 0])),
        (&rows, 4, i64s(&[1], &[-5])),
        (&elements, 2, i64s(&[1, 3], &[0, 1, 2])),
        (&subscripts, 4, i64s(&[2, 2], &[0, 0, 3, 3])),
        (&subscripts, 4, i64s(&[2, 2], &[0, 0, -5, 0])),
    ] {
        let said = refusal("outside", source, &[mixed(&[n, 3]), at]);
        assert!(said.contains("node \"look\" (Gather") && said.contains("outside the dimension"), "{said}");
    }
}

/// A step that never comes does not count; one in a loop does.
#[test]
fn indices_in_loops_and_branches_count_where_they_run() {
    let source = r#"graph "g"
t0 "x" f32[4]
t1 "at" i64[3]
t2 "go" bool[]
t3 "y" f32[3]
t4 "trips" i64[] = [3]
t5 "all" f32[3]
t6 "i" i64[]
t7 "on" bool[]
t8 "one" i64[]
t9 "found" f32[]
t10 "still" bool[]
t11 "zeros" f32[3] = [0.0, 0.0, 0.0]
t12 "none" f32[3]
main (t0, t1, t2) -> (t3) {
  If@13 "if" (t2) -> (t3)
    : then_branch () -> (t5) {
      Loop@17 "loop" (t4, _) -> (t5)
        : body (t6, t7) -> (t10, t9) {
          Identity@13 "go_on" (t7) -> (t10)
          Gather@13 "which" (t1, t6) -> (t8)
          Gather@13 "look" (t0, t8) -> (t9)
        }
    }
    : else_branch () -> (t12) {
      Identity@13 "nothing" (t11) -> (t12)
    }
}
"#;
    let inputs = |at: [i64; 3], go: bool| vec![mixed(&[4]), i64s(&[3], &at), Value::from_bools(&[], &[go]).unwrap()];
    check("loop", source, &[inputs([0, -1, 3], true), inputs([9, 9, 9], false)]);
    let said = refusal("loop", source, &inputs([0, 1, 4], true));
    assert!(said.contains("node \"look\" (Gather)"), "{said}");
}

/// The workspace has room for a bounded amount; a larger one is refused, not cut off.
#[test]
fn an_amount_beyond_its_bound_is_refused() {
    let source = r#"graph "g"
param c = value("count") min 0 max 8 hint 4
t0 "x" f32[2]
t1 "sum" f32[]
t2 "count" i64[]
t3 "known" i64[1] ~ [c]
t4 "y" f32[c]
main (t0) -> (t4) {
  ReduceSum@13 "sum" (t0) -> (t1) {keepdims = 0}
  Cast@13 "count" (t1) -> (t2) {to = 7}
  ConstantOfShape@9 "fill" (t3) -> (t4)
}
"#;
    check("amount", source, &[vec![f32s(&[2], &[3.0, 5.0])], vec![f32s(&[2], &[0.0, 0.0])]]);
    let said = refusal("amount", source, &[f32s(&[2], &[3.0, 6.0])]);
    assert!(said.contains("above 8"), "{said}");
}
