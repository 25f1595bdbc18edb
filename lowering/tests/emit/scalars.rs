//! Types and operators, in scalar loops and in lanes; storage folds and early exits.

use crate::support::*;
use sirius_polyhedral::schedule_tree::Mark::*;
use sirius_polyhedral::*;
use std::slice::from_ref;

/// Runs `value(x, y)` for all elements of two inputs of type `t`, in a plain loop and in lanes.
fn both_ways(t: DType, result: DType, value: impl Fn(Expr, Expr) -> Expr) {
    let mut m = Maker::new("e");
    let n = c(37);
    let (x, y) = (m.input("x", t, from_ref(&n)), m.input("y", t, from_ref(&n)));
    let (a, b) = (m.output("scalar", result, from_ref(&n)), m.output("lanes", result, from_ref(&n)));
    let here = |v: usize| value(load(x, &[i(v)]), load(y, &[i(v)]));
    m.nest.body = vec![
        each(0, n.clone(), Seq, vec![assign(at(a, &[i(0)]), here(0))]),
        tiled(1, 2, 16, &n, Lanes(16), vec![assign(at(b, &[i(2)]), here(2))]),
    ];
    check(&m.nest, &[]);
}

#[test]
fn arithmetic_of_all_types() {
    use BinaryOp::*;
    // Types narrower than a byte, and floats of 8 bits, are only converted.
    let computed = |t: &DType| *t != DType::Bool && t.bits() >= 8 && !t.is_narrow_float();
    for t in DType::ALL.into_iter().filter(computed) {
        // One expression of all operators, each in its own bits, so that few libraries are built.
        both_ways(t, t, |x, y| {
            let safe = Expr::binary(Max, y.clone(), Expr::literal(1.0, t));
            let sum = add(Expr::binary(Sub, x.clone(), y.clone()), mul(x.clone(), y.clone()));
            let quotient = Expr::binary(Div, x.clone(), safe.clone());
            let rest = add(Expr::binary(Mod, x.clone(), safe.clone()), Expr::binary(Rem, x, safe));
            add(add(sum, quotient), Expr::binary(Min, rest, y))
        });
    }
}

#[test]
fn comparisons_and_logic() {
    use BinaryOp::*;
    for t in [DType::F32, DType::F16, DType::I64, DType::U8, DType::I8] {
        both_ways(t, DType::Bool, |x, y| {
            let less = Expr::binary(Lt, x.clone(), y.clone());
            let equal = Expr::binary(Eq, x.clone(), y.clone());
            let other = Expr::binary(Xor, Expr::binary(Ge, x.clone(), y.clone()), Expr::binary(Ne, x, y));
            Expr::binary(And, Expr::binary(Or, less, equal), Expr::unary(UnaryOp::Not, other))
        });
    }
    for t in [DType::I32, DType::U16] {
        let three = || Expr::literal(3.0, t);
        both_ways(t, t, |x, y| {
            let bits = Expr::binary(Or, Expr::binary(And, x.clone(), three()), Expr::binary(Xor, x.clone(), y));
            add(Expr::binary(Shl, bits.clone(), three()), Expr::binary(Shr, bits, three()))
        });
    }
}

/// Words of all bits, made of small numbers.
fn word(x: Expr) -> Expr {
    let factor = |n: f64| Expr::literal(n, DType::I32);
    add(mul(x, factor(f64::from(0x1357_9bd5))), factor(f64::from(0x2468_ac11)))
}

#[test]
fn sums_of_products_in_words() {
    for op in [BinaryOp::Dot2, BinaryOp::Dot4] {
        both_ways(DType::I32, DType::I32, |x, y| Expr::binary(op, word(x), word(y)));
        // A sum in registers, for tiles of every width.
        for lanes in [1, 2, 3, 4, 8, 16, 48] {
            let mut m = Maker::new("d");
            let (n, k) = (c(lanes), c(5));
            let (x, y) = (m.input("x", DType::I32, from_ref(&k)), m.input("y", DType::I32, &[k.clone(), n.clone()]));
            let out = m.output("out", DType::I32, from_ref(&n));
            let value = Expr::binary(op, word(load(x, &[i(1)])), word(load(y, &[i(1), i(0)])));
            let sum = reduce(BinaryOp::Add, at(out, &[i(0)]), value);
            let first = assign(at(out, &[i(0)]), Expr::literal(f64::from(i32::MAX), DType::I32));
            let body = vec![first, each(1, k, Seq, vec![sum])];
            m.nest.body = vec![each(0, n, Lanes(lanes as u32), body)];
            check(&m.nest, &[]);
        }
    }
}

/// Every second, third and fourth byte, to the end of the array.
#[test]
fn bytes_at_a_distance() {
    for step in [2, 3, 4] {
        let mut m = Maker::new("b");
        let x = m.input("x", DType::U8, &[c(15 * step + 1)]);
        let y = m.output("y", DType::I32, &[c(16)]);
        let value = Expr::cast(DType::I32, load(x, &[i(0) * step]));
        m.nest.body = vec![each(0, 16, Lanes(16), vec![assign(at(y, &[i(0)]), value)])];
        check(&m.nest, &[]);
    }
}

/// Floats beyond the limits of short integers, and none.
#[test]
fn floats_saturate_to_short_integers() {
    let special =
        [0.0, -0.0, 0.99, -0.99, 126.5, 127.9, 128.0, -128.9, -129.0, 254.9, 255.5, 256.0, 65535.9, 1e9, -1e9];
    let floats = special.into_iter().chain([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 32767.5, -32768.9]);
    let bytes: Vec<u8> = floats.flat_map(f32::to_le_bytes).collect();
    let n = c(20);
    for t in [DType::U8, DType::I8, DType::U16, DType::I16] {
        let mut m = Maker::new("s");
        let x = m.input("x", DType::F32, from_ref(&n));
        let y = m.output("y", t, from_ref(&n));
        m.nest.body =
            vec![tiled(0, 1, 16, &n, Lanes(16), vec![assign(at(y, &[i(1)]), Expr::cast(t, load(x, &[i(1)])))])];
        for target in targets() {
            let got = &run_compiled(&m.nest, &[], from_ref(&bytes), &target)[0];
            let (low, high) =
                if t.is_signed() { (-(1 << (t.bits() - 1)), 1 << (t.bits() - 1)) } else { (0, 1 << t.bits()) };
            for (at, float) in bytes.chunks(4).enumerate() {
                let float = f64::from(f32::from_le_bytes([float[0], float[1], float[2], float[3]]));
                let wanted = (float as i64).clamp(low, high - 1);
                assert_eq!(scalar::read(got, at, t), Scalar::Int(wanted, t), "{float} as {t} on {}", target.cpu);
            }
        }
    }
}

#[test]
fn casts_between_all_types() {
    let n = c(21);
    for from in DType::ALL {
        let mut m = Maker::new("e");
        let x = m.input("x", from, from_ref(&n));
        // Negative floats have no place in unsigned integers; floats of 8 and 4 bits are for storage, not arithmetic.
        let wide = |x: Expr| if from.is_narrow_float() { Expr::cast(DType::F32, x) } else { x };
        let positive = |x: Expr| if from.is_float() { mul(wide(x.clone()), wide(x)) } else { x };
        for to in DType::ALL {
            let (a, b) =
                (m.output(&format!("s_{to}"), to, from_ref(&n)), m.output(&format!("l_{to}"), to, from_ref(&n)));
            let here = |v: usize| Expr::cast(to, positive(load(x, &[i(v)])));
            m.nest.body.push(each(0, n.clone(), Seq, vec![assign(at(a, &[i(0)]), here(0))]));
            m.nest.body.push(tiled(1, 2, 16, &n, Lanes(16), vec![assign(at(b, &[i(2)]), here(2))]));
        }
        check(&m.nest, &[]);
    }
}

#[test]
fn functions() {
    use UnaryOp::*;
    for op in [Neg, Abs, Sign, Floor, Ceil, Round, Exp, Tanh, Erf, Sigmoid, Sin] {
        both_ways(DType::F32, DType::F32, |x, _| Expr::unary(op, x));
    }
    both_ways(DType::F32, DType::F32, |x, y| {
        let positive = Expr::unary(Abs, x);
        add(Expr::unary(Sqrt, positive.clone()), Expr::binary(BinaryOp::Pow, add(positive, f(1.0)), y))
    });
    for op in [Neg, Abs, Sign] {
        both_ways(DType::I32, DType::I32, |x, _| Expr::unary(op, x));
    }
    both_ways(DType::F32, DType::Bool, |x, y| Expr::unary(IsNan, Expr::binary(BinaryOp::Div, x, y)));
}

#[test]
fn affine_values_with_floor_divisions() {
    let mut m = Maker::new("a");
    let x = m.output("x", DType::I64, &[c(40)]);
    let y = m.output("y", DType::I64, &[c(40)]);
    let value = |v: usize| (i(v) * 3 - 50.into()).floor_div(7) * 100 + (i(v) - 20.into()).floor_div(4);
    m.nest.body = vec![
        each(0, 40, Seq, vec![assign(at(x, &[i(0)]), Expr::Index(value(0)))]),
        tiled(1, 2, 16, &c(40), Lanes(16), vec![assign(at(y, &[i(2)]), Expr::Index(value(2)))]),
    ];
    check(&m.nest, &[]);
}

/// `h[t + 1] = h[t] * x[t]` in a window of two, left at the first step whose flag is false.
#[test]
fn folded_storage_and_an_early_exit() {
    let mut m = Maker::new("f");
    let n = m.dim("n");
    let x = m.input("x", DType::F32, &[n.clone(), c(20)]);
    let go = m.input("go", DType::Bool, from_ref(&n));
    let y = m.output("y", DType::F32, &[c(20)]);
    let h = m.temp("h", DType::F32, &[n.clone() + 1.into(), c(20)]);
    m.nest.arrays[h.0 as usize].fold[0] = Some(2);
    let lanes = |body| tiled(2, 3, 16, &c(20), Lanes(16), vec![body]);
    let step = assign(at(h, &[i(1) + 1.into(), i(3)]), add(load(h, &[i(1), i(3)]), load(x, &[i(1), i(3)])));
    let out = compute(StatementKind::Update, at(y, &[i(3)]), load(h, &[i(1) + 1.into(), i(3)]));
    let body = vec![Nest::BreakUnless(load(go, &[i(1)])), lanes(step), lanes(out)];
    m.nest.body =
        vec![lanes(assign(at(h, &[c(0), i(3)]), f(1.0))), lanes(assign(at(y, &[i(3)]), f(0.0))), each(1, n, Seq, body)];
    let values = data(DType::F32, 9 * 20, 5);
    for stop in [0, 4, 9] {
        let go: Vec<u8> = (0..9).map(|t| u8::from(t < stop)).collect();
        check_with(&m.nest, &[("n", 9)], &[values.clone(), go]);
    }
}

#[test]
fn a_trip_count_that_the_program_computes() {
    let mut m = Maker::new("d");
    let ids = m.input("ids", DType::I32, &[c(3)]);
    let trips = m.temp("trips", DType::I64, &[]);
    let y = m.output("y", DType::F32, &[c(50)]);
    let def = ParamDef::Value { array: "trips".into() };
    let p = m.nest.params.push(Param { name: "trips_value".into(), def, min: 0, max: Some(50), hint: 10 });
    let last = Expr::cast(DType::I64, Expr::unary(UnaryOp::Abs, load(ids, &[c(1)])));
    m.nest.body = vec![
        assign(at(trips, &[]), last),
        each(0, 50, Seq, vec![assign(at(y, &[i(0)]), f(0.0))]),
        each(0, Aff::param(p), Seq, vec![compute(StatementKind::Update, at(y, &[i(0)]), f(2.0))]),
    ];
    check(&m.nest, &[]);
}
