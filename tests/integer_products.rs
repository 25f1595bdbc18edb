//! Products of 8-bit integers, with and without zero points, at sizes that fill no word: compiled against interpreted.

#[path = "common/check.rs"]
mod check;

use check::{check, check_on};
use sirius::run::Value;
use sirius_polyhedral::DType::{self, I8, U8};

/// This processor, and one without products of bytes.
const CPUS: [&str; 2] = ["native", "x86-64-v3"];

fn limits(t: DType) -> (i128, i128) {
    if t == I8 { (-128, 127) } else { (0, 255) }
}

/// Any values of the type; `seed` 0 and 1 take its limits alone.
fn bytes(t: DType, count: usize, seed: u64) -> Vec<i128> {
    let (low, high) = limits(t);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + i128::from(state >> 40) % (high - low + 1)
    };
    match seed {
        0 => vec![low; count],
        1 => vec![high; count],
        _ => (0..count).map(|_| next()).collect(),
    }
}

fn value(t: DType, shape: &[usize], seed: u64) -> Value {
    Value::from_ints(t, shape, &bytes(t, shape.iter().product(), seed)).unwrap()
}

/// A tensor of the text form with its data.
fn constant(id: &str, t: DType, shape: &[usize], seed: u64) -> String {
    let numbers: Vec<String> = bytes(t, shape.iter().product(), seed).iter().map(ToString::to_string).collect();
    format!("{id} \"{id}\" {t}{shape:?} = [{}]\n", numbers.join(", "))
}

/// `op` on data and weights; `zeros` are the shapes of their zero points.
struct Case<'a> {
    op: &'a str,
    types: [DType; 2],
    shapes: [&'a [usize]; 2],
    result: &'a [usize],
    zeros: [&'a [usize]; 2],
    attributes: &'a str,
}

impl Case<'_> {
    fn run(&self, name: &str) {
        let Case { op, types: [a, b], shapes: [data, weights], result, zeros, attributes } = self;
        let zeros = constant("t2", *a, zeros[0], 7) + &constant("t3", *b, zeros[1], 9);
        let nodes = |inputs: &str| format!("  {op} \"op\" ({inputs}) -> (t4) {attributes}\n}}\n");
        let declared = format!("t0 \"t0\" {a}{data:?}\n");
        let rest = format!("{zeros}t4 \"t4\" i32{result:?}\n");
        for (seed, cpu) in (0..3).flat_map(|seed| CPUS.map(|cpu| (seed, cpu))) {
            // Weights that are known, and weights that are not.
            let known = constant("t1", *b, weights, 2 - seed);
            let fixed =
                format!("graph \"g\"\n{declared}{known}{rest}main (t0) -> (t4) {{\n{}", nodes("t0, t1, t2, t3"));
            let inputs = vec![value(*a, data, seed)];
            check_on(cpu, &format!("{name}-{seed}-known"), &fixed, std::slice::from_ref(&inputs));
            let weights = value(*b, weights, 2 - seed);
            let open = format!(
                "graph \"g\"\n{declared}t1 \"t1\" {b}{:?}\n{rest}main (t0, t1) -> (t4) {{\n{}",
                self.shapes[1],
                nodes("t0, t1, t2, t3")
            );
            check_on(cpu, &format!("{name}-{seed}-open"), &open, &[[inputs, vec![weights]].concat()]);
        }
    }
}

fn product(types: [DType; 2], k: usize, zeros: [&[usize]; 2], name: &str) {
    let shapes: [&[usize]; 2] = [&[5, k], &[k, 20]];
    Case { op: "MatMulInteger@10", types, shapes, result: &[5, 20], zeros, attributes: "" }.run(name);
}

#[test]
fn all_lengths_of_the_sum() {
    for k in [0, 1, 2, 3, 4, 5, 7, 8, 33] {
        product([U8, I8], k, [&[], &[]], &format!("length-{k}"));
    }
}

#[test]
fn all_types() {
    for (n, types) in [[U8, U8], [I8, I8], [I8, U8]].into_iter().enumerate() {
        product(types, 9, [&[], &[]], &format!("types-{n}"));
    }
}

#[test]
fn zero_points_of_rows_and_columns() {
    product([U8, I8], 6, [&[5], &[]], "zero-of-rows");
    product([U8, I8], 6, [&[], &[20]], "zero-of-columns");
    product([U8, U8], 7, [&[5], &[20]], "zero-of-both");
}

#[test]
fn batches() {
    let shapes: [&[usize]; 2] = [&[3, 5, 6], &[3, 6, 20]];
    let case = Case {
        op: "MatMulInteger@10",
        types: [U8, I8],
        shapes,
        result: &[3, 5, 20],
        zeros: [&[], &[]],
        attributes: "",
    };
    case.run("batches");
}

#[test]
fn convolutions() {
    for channels in [1, 2, 4, 5] {
        let shapes: [&[usize]; 2] = [&[1, channels, 6, 7], &[8, channels, 3, 3]];
        let case = Case {
            op: "ConvInteger@10",
            types: [U8, if channels == 4 { I8 } else { U8 }],
            shapes,
            result: &[1, 8, 6, 7],
            zeros: [&[], &[]],
            attributes: "{pads = [1, 1, 1, 1]}",
        };
        case.run(&format!("channels-{channels}"));
    }
}

/// One artifact for all lengths, none of them known to the compiler.
#[test]
fn a_sum_of_unknown_length() {
    let source = "graph \"g\"
param n = input(0, 1) min 0 hint 9
t0 \"t0\" u8[5, n]
t1 \"t1\" i8[n, 20]
t2 \"t2\" u8[] = [131]
t3 \"t3\" i32[5, 20]
main (t0, t1) -> (t3) {
  MatMulInteger@10 \"op\" (t0, t1, t2) -> (t3)
}
";
    let runs: Vec<Vec<Value>> = [0, 1, 2, 3, 4, 6, 7, 40]
        .into_iter()
        .flat_map(|n| (0..3).map(move |seed| vec![value(U8, &[5, n], seed), value(I8, &[n, 20], 2 - seed)]))
        .collect();
    check("unknown-length", source, &runs);
    check_on("x86-64-v3", "unknown-length", source, &runs);
}
