//! NaN, infinities, both zeros, numbers below the normal range and the extremes of integers as data: compiled code at
//! -O3 against the reference interpreter. What the operators make of them is in docs/numeric.md.
//!
//! One model per element type has all operators of a kind; every difference is listed. NaN agrees with NaN, an infinity
//! with itself, and a zero must have the sign of the other where the operator is exact.

use sirius::compile::{CompileOptions, compile};
use sirius::graph::{interp, text};
use sirius::report::session::Session;
use sirius::run::{Loaded, Value};
use sirius_polyhedral::{ConstantData, DType};
use std::fmt::Write;

/// An operator with its attributes and the type of its result; `same` is that of the operands.
struct Case {
    /// `Name@version`.
    op: &'static str,
    attributes: &'static str,
    result: &'static str,
    /// Relative error that is allowed; 0 asks for the same number, sign of zero included.
    tolerance: f64,
}

const fn exact(op: &'static str) -> Case {
    Case { op, attributes: "", result: "same", tolerance: 0.0 }
}

const fn near(op: &'static str) -> Case {
    Case { op, attributes: "", result: "same", tolerance: 1e-5 }
}

/// Exact but for the sign of a zero, which is open where two zeros are compared.
const fn signless(op: &'static str) -> Case {
    Case { op, attributes: "", result: "same", tolerance: f64::MIN_POSITIVE }
}

const fn with(case: Case, attributes: &'static str) -> Case {
    Case { attributes, ..case }
}

const fn truth(op: &'static str) -> Case {
    Case { op, attributes: "", result: "bool", tolerance: 0.0 }
}

/// Finite ones are chosen so that no result is near the largest number, where a rounding decides between that and an
/// infinity.
const FLOATS: [f64; 15] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.0,
    -0.0,
    1e-40,
    -1e-40,
    3e38,
    -3e38,
    1.0,
    -1.0,
    0.5,
    -2.5,
    3.0,
    7.25,
];

const UNARY: &[Case] = &[
    exact("Abs@13"),
    exact("Neg@13"),
    exact("Sign@13"),
    exact("Floor@13"),
    exact("Ceil@13"),
    exact("Round@22"),
    near("Sqrt@13"),
    near("Reciprocal@13"),
    near("Exp@13"),
    near("Log@13"),
    near("Tanh@13"),
    near("Erf@13"),
    near("Sigmoid@13"),
    signless("Relu@14"),
    near("Softsign@22"),
    near("Softplus@22"),
    near("HardSigmoid@22"),
    near("HardSwish@22"),
    near("Elu@22"),
    near("Selu@22"),
    near("Celu@12"),
    near("LeakyRelu@16"),
    signless("ThresholdedRelu@22"),
    near("Mish@22"),
    near("Gelu@20"),
    near("Atan@22"),
    near("Asin@22"),
    near("Acos@22"),
    near("Sinh@22"),
    near("Cosh@22"),
    near("Asinh@22"),
    near("Acosh@22"),
    near("Atanh@22"),
    truth("IsNaN@20"),
    truth("IsInf@20"),
    Case { op: "IsInf@20", attributes: "detect_negative = 0", result: "bool", tolerance: 0.0 },
    Case { op: "Cast@13", attributes: "to = 9", result: "bool", tolerance: 0.0 },
    Case { op: "Cast@13", attributes: "to = 1", result: "f32", tolerance: 0.0 },
    Case { op: "Cast@13", attributes: "to = 11", result: "f64", tolerance: 0.0 },
    Case { op: "Cast@13", attributes: "to = 10", result: "f16", tolerance: 0.0 },
    Case { op: "Cast@13", attributes: "to = 16", result: "bf16", tolerance: 0.0 },
    exact("Identity@13"),
];

/// Every number with every other.
const BINARY: &[Case] = &[
    exact("Add@14"),
    exact("Sub@14"),
    exact("Mul@14"),
    near("Div@14"),
    signless("Max@13"),
    signless("Min@13"),
    truth("Equal@13"),
    truth("Less@13"),
    truth("LessOrEqual@16"),
    truth("Greater@13"),
    truth("GreaterOrEqual@16"),
    near("Pow@15"),
    exact("PRelu@16"),
    with(near("Mod@13"), "fmod = 1"),
];

/// Along rows of three.
const ROWS: &[Case] = &[
    near("ReduceSum@13"),
    near("ReduceMean@18"),
    signless("ReduceMax@20"),
    signless("ReduceMin@20"),
    near("ReduceProd@18"),
    near("ReduceL1@18"),
    near("ReduceSumSquare@18"),
];

const INTEGERS: &[Case] = &[
    exact("Add@14"),
    exact("Sub@14"),
    exact("Mul@14"),
    signless("Max@13"),
    signless("Min@13"),
    exact("BitwiseAnd@18"),
    exact("BitwiseXor@18"),
    truth("Equal@13"),
    truth("Less@13"),
    truth("GreaterOrEqual@16"),
];

/// A graph with one node per case; `operands` are the inputs' shapes, all of type `dtype`.
fn source(cases: &[Case], dtype: &str, operands: &[&str], result: &str, more: &str) -> String {
    let mut text = String::from("graph \"g\"\n");
    for (n, shape) in operands.iter().enumerate() {
        writeln!(text, "t{n} \"x{n}\" {dtype}[{shape}]").unwrap();
    }
    let first = operands.len() + usize::from(!more.is_empty());
    if !more.is_empty() {
        writeln!(text, "t{} {more}", operands.len()).unwrap();
    }
    for (n, case) in cases.iter().enumerate() {
        let dtype = if case.result == "same" { dtype } else { case.result };
        writeln!(text, "t{} \"y{n}\" {dtype}[{result}]", first + n).unwrap();
    }
    let names = |range: std::ops::Range<usize>| range.map(|n| format!("t{n}")).collect::<Vec<_>>().join(", ");
    let outputs = names(first..first + cases.len());
    writeln!(text, "main ({}) -> ({outputs}) {{", names(0..operands.len())).unwrap();
    for (n, case) in cases.iter().enumerate() {
        let attributes = if case.attributes.is_empty() { String::new() } else { format!(" {{{}}}", case.attributes) };
        writeln!(text, "  {} \"n{n}\" ({}) -> (t{}){attributes}", case.op, names(0..first), first + n).unwrap();
    }
    text + "}\n"
}

fn agree(got: f64, wanted: f64, tolerance: f64, least: f64) -> bool {
    match tolerance {
        _ if wanted.is_nan() || got.is_nan() => wanted.is_nan() && got.is_nan(),
        0.0 => got == wanted && (wanted != 0.0 || got.is_sign_negative() == wanted.is_sign_negative()),
        _ => got == wanted || (got - wanted).abs() <= (tolerance * wanted.abs()).max(least) && wanted.is_finite(),
    }
}

/// Differences of every case, one line each.
fn differences(cases: &[Case], source: &str, inputs: &[Value], numeric: f64) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.graph");
    std::fs::write(&path, source).unwrap();
    let graph = text::parse(source, |_, bytes| Some(ConstantData::new(vec![0u8; bytes]))).unwrap();
    compile(&path, &CompileOptions::default(), &mut Session::default(), dir.path()).unwrap();
    let (wanted, got) = (interp::run(&graph, inputs).unwrap(), Loaded::open(dir.path()).unwrap().run(inputs).unwrap());
    let mut found = Vec::new();
    for ((case, got), wanted) in cases.iter().zip(&got).zip(&wanted) {
        let tolerance = if case.tolerance < 1e-9 { case.tolerance } else { case.tolerance.max(numeric) };
        let least = if tolerance < 1e-9 { 0.0 } else { numeric * 1e-6 };
        for i in 0..wanted.len() {
            let (g, w) = (got.get_f64(i), wanted.get_f64(i));
            let same = if wanted.dtype.is_float() { agree(g, w, tolerance, least) } else { g == w };
            if !same {
                let operand = |v: &Value| if v.len() == wanted.len() { v.get_f64(i) } else { f64::from(i as u32) };
                let operands: Vec<f64> = inputs.iter().map(operand).collect();
                found.push(format!("{} {}: {operands:?} gives {g}, wanted {w}", case.op, wanted.dtype));
            }
        }
    }
    found
}

fn floats(dtype: DType, shape: &[usize], values: &[f64]) -> Value {
    Value::from_floats(dtype, shape, values).unwrap()
}

/// Names in text form, and how near results are that are no exact ones.
const TYPES: [(DType, &str, f64); 3] =
    [(DType::F32, "f32", 1e-5), (DType::F64, "f64", 1e-5), (DType::F16, "f16", 2e-3)];

#[track_caller]
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}

#[test]
fn functions_of_special_numbers() {
    for (dtype, name, near) in TYPES {
        let text = source(UNARY, name, &["15"], "15", "");
        none(differences(UNARY, &text, &[floats(dtype, &[15], &FLOATS)], near));
    }
}

#[test]
fn pairs_of_special_numbers() {
    let left: Vec<f64> = FLOATS.iter().flat_map(|v| [*v; 15]).collect();
    let right: Vec<f64> = FLOATS.iter().cycle().take(225).copied().collect();
    for (dtype, name, near) in TYPES {
        let text = source(BINARY, name, &["225", "225"], "225", "");
        none(differences(BINARY, &text, &[floats(dtype, &[225], &left), floats(dtype, &[225], &right)], near));
    }
}

#[test]
fn rows_with_special_numbers() {
    let values = ordinary();
    let mut rows = Vec::new();
    for (a, b, c) in triples(&values) {
        rows.extend([a, b, c]);
    }
    let count = rows.len() / 3;
    for (dtype, name, near) in TYPES {
        let axes = "\"axes\" i64[1] = [1]";
        let (operand, result) = (format!("{count}, 3"), format!("{count}, 1"));
        let text = source(ROWS, name, &[&operand], &result, axes);
        none(differences(ROWS, &text, &[floats(dtype, &[count, 3], &rows)], near));
    }
}

/// Without the numbers whose sums and products are an infinity or 0 in one order of evaluation and not in another.
fn ordinary() -> Vec<f64> {
    FLOATS.iter().copied().filter(|v| !v.is_finite() || *v == 0.0 || (1e-30..1e30).contains(&v.abs())).collect()
}

/// All triples.
fn triples(values: &[f64]) -> Vec<(f64, f64, f64)> {
    let mut out = Vec::new();
    for a in values {
        for b in values {
            out.extend(values.iter().map(|c| (*a, *b, *c)));
        }
    }
    out
}

#[test]
fn sums_of_products_with_special_numbers() {
    let values = ordinary();
    let n = values.len();
    let rows: Vec<f64> = values.iter().flat_map(|v| [*v, 1.0, -0.0, 0.5]).collect();
    let columns: Vec<f64> = [1.0, -2.0, 0.0, 3.0].iter().flat_map(|c| values.iter().map(move |v| c * v)).collect();
    let cases = [near("MatMul@13")];
    for (dtype, name, near) in TYPES {
        let text = format!(
            "graph \"g\"\nt0 \"a\" {name}[{n}, 4]\nt1 \"b\" {name}[4, {n}]\nt2 \"y\" {name}[{n}, {n}]\n\
             main (t0, t1) -> (t2) {{\n  MatMul@13 \"m\" (t0, t1) -> (t2)\n}}\n"
        );
        let inputs = [floats(dtype, &[n, 4], &rows), floats(dtype, &[4, n], &columns)];
        none(differences(&cases, &text, &inputs, near));
    }
}

#[test]
fn softmax_and_pools_of_special_numbers() {
    let values = ordinary();
    let rows: Vec<f64> = triples(&values).into_iter().flat_map(|(a, b, c)| [a, b, c]).collect();
    let count = rows.len() / 3;
    let text = format!(
        "graph \"g\"\nt0 \"x\" f32[1, {count}, 3]\nt1 \"s\" f32[1, {count}, 3]\nt2 \"l\" f32[1, {count}, 3]\n\
         t3 \"m\" f32[1, {count}, 2]\nt4 \"a\" f32[1, {count}, 2]\nmain (t0) -> (t1, t2, t3, t4) {{\n  \
         Softmax@13 \"s\" (t0) -> (t1)\n  LogSoftmax@13 \"l\" (t0) -> (t2)\n  \
         MaxPool@22 \"m\" (t0) -> (t3) {{kernel_shape = [2]}}\n  \
         AveragePool@22 \"a\" (t0) -> (t4) {{kernel_shape = [2]}}\n}}\n"
    );
    let cases = [
        near("Softmax@13"),
        Case { tolerance: 1e-3, ..near("LogSoftmax@13") },
        signless("MaxPool@22"),
        near("AveragePool@22"),
    ];
    none(differences(&cases, &text, &[floats(DType::F32, &[1, count, 3], &rows)], 1e-5));
}

#[test]
fn integers_at_their_ends() {
    for (dtype, name, low, high) in [
        (DType::I64, "i64", i64::MIN, i64::MAX),
        (DType::I32, "i32", i64::from(i32::MIN), i64::from(i32::MAX)),
        (DType::I16, "i16", i64::from(i16::MIN), i64::from(i16::MAX)),
        (DType::I8, "i8", i64::from(i8::MIN), i64::from(i8::MAX)),
        (DType::U8, "u8", 0, 255),
        (DType::U32, "u32", 0, i64::from(u32::MAX)),
    ] {
        let values: Vec<i128> = [low, low + 1, 0, 1, 2, 7, high / 2, high - 1, high].map(i128::from).into();
        let left: Vec<i128> = values.iter().flat_map(|v| [*v; 9]).collect();
        let right: Vec<i128> = values.iter().cycle().take(81).copied().collect();
        let value = |list: &[i128]| Value::from_ints(dtype, &[81], list).unwrap();
        let text = source(INTEGERS, name, &["81", "81"], "81", "");
        none(differences(INTEGERS, &text, &[value(&left), value(&right)], 0.0));
    }
}
