//! Lockstep loops: every remainder, register arrays, lane reductions, masks and odd strides.

use crate::support::*;
use sirius_polyhedral::schedule_tree::Mark::*;
use sirius_polyhedral::*;
use std::slice::from_ref;

#[test]
fn elementwise_constant_and_symbolic_remainders() {
    for n in [1, 7, 16, 48, 100, 130] {
        elementwise(c(n), "k", &[]);
    }
    for n in [1, 5, 64, 97] {
        let mut m = Maker::new("s");
        let d = m.dim("n");
        elementwise_in(m, d, &[("n", n)]);
    }
}

fn elementwise(extent: Aff, name: &str, dims: &[(&str, i64)]) {
    elementwise_in(Maker::new(name), extent, dims);
}

fn elementwise_in(mut m: Maker, n: Aff, dims: &[(&str, i64)]) {
    let x = m.input("x", DType::F32, from_ref(&n));
    let y = m.output("y", DType::F32, from_ref(&n));
    let value = Expr::binary(BinaryOp::Max, add(load(x, &[i(1)]), f(0.5)), f(0.0));
    m.nest.body = vec![tiled(0, 1, 48, &n, Lanes(48), vec![assign(at(y, &[i(1)]), value)])];
    check(&m.nest, dims);
}

/// `y = relu(a*b + bias)` with the accumulator in registers.
fn product(m: &mut Maker, [rows, columns, depth]: [Aff; 3], [mr, nr]: [u32; 2], lanes_outside: bool) {
    let a = m.input("a", DType::F32, &[rows.clone(), depth.clone()]);
    let b = m.input("b", DType::F32, &[depth.clone(), columns.clone()]);
    let bias = m.input("bias", DType::F32, from_ref(&columns));
    let y = m.output("y", DType::F32, &[rows.clone(), columns.clone()]);
    let acc = m.register("acc", DType::F32, &[rows.clone(), columns.clone()]);
    let term = mul(load(a, &[i(1), i(4)]), load(b, &[i(4), i(3)]));
    let cell = || at(acc, &[i(1), i(3)]);
    let relu = Expr::binary(BinaryOp::Max, add(Expr::Load(cell()), load(bias, &[i(3)])), f(0.0));
    let body = vec![
        assign(cell(), f(0.0)),
        each(4, depth, Seq, vec![reduce(BinaryOp::Add, cell(), term)]),
        assign(at(y, &[i(1), i(3)]), relu),
    ];
    let (mr64, nr64) = (i64::from(mr), i64::from(nr));
    let row_loop = |body| range(1, i(0) * mr64, vec![i(0) * mr64 + mr64.into(), rows.clone()], Rows(mr), body);
    let lane_loop = |body| range(3, i(2) * nr64, vec![i(2) * nr64 + nr64.into(), columns.clone()], Lanes(nr), body);
    let tile = if lanes_outside { lane_loop(vec![row_loop(body)]) } else { row_loop(vec![lane_loop(body)]) };
    let up = |e: &Aff, n: i64| (e.clone() + (n - 1).into()).floor_div(n);
    let inner = each(2, up(&columns, nr64), Seq, vec![tile]);
    m.nest.body = vec![each(0, up(&rows, mr64), Parallel, vec![inner])];
}

#[test]
fn product_with_every_constant_remainder() {
    for (rows, columns) in [(8, 48), (19, 100), (3, 40), (17, 49), (1, 5)] {
        let mut m = Maker::new("p");
        product(&mut m, [c(rows), c(columns), c(7)], [8, 48], false);
        check(&m.nest, &[]);
    }
}

#[test]
fn product_with_symbolic_extents() {
    let mut m = Maker::new("q");
    let dims = [m.dim("m"), m.dim("n"), m.dim("k")];
    product(&mut m, dims, [6, 32], false);
    for (rows, columns) in [(6, 32), (17, 37), (5, 96), (1, 1)] {
        check(&m.nest, &[("m", rows), ("n", columns), ("k", 9)]);
    }
}

/// 24 accumulators, 3 columns and a broadcast fill the 32 registers exactly once: nothing goes to the stack.
#[test]
fn a_register_tile_stays_in_registers() {
    let mut m = Maker::new("spill");
    product(&mut m, [c(16), c(96), c(64)], [8, 48], false);
    let context = inkwell::context::Context::create();
    let target = sirius_lowering::Target::x86("x86-64-v4");
    let module =
        sirius_lowering::emit_body(&context, &m.nest, &target, sirius_lowering::count::Counting::Off).expect("emit");
    let level = inkwell::OptimizationLevel::Aggressive;
    let text = sirius_lowering::compile_assembly(&module, &target, level).expect("assembly");
    let spills: Vec<_> = text.lines().filter(|l| l.contains("zmm") && l.contains("(%rsp)")).collect();
    assert!(spills.is_empty(), "{spills:?}");
    assert_eq!(text.matches("vfmadd").count(), 24, "{text}");
}

#[test]
fn lanes_outside_rows_are_the_same_tile() {
    let mut m = Maker::new("o");
    product(&mut m, [c(13), c(50), c(5)], [4, 16], true);
    check(&m.nest, &[]);
}

/// Softmax of rows: lane `l` holds columns `l`, `l + 16`, ...
fn softmax(m: &mut Maker, rows: Aff, columns: Aff) {
    let x = m.input("x", DType::F32, &[rows.clone(), columns.clone()]);
    let y = m.output("y", DType::F32, &[rows.clone(), columns.clone()]);
    let top = m.temp("top", DType::F32, from_ref(&rows));
    let sum = m.temp("sum", DType::F32, from_ref(&rows));
    let column = i(3) * 16 + i(2);
    let strided = |body| {
        let steps = (columns.clone() - i(2) - 1.into()).floor_div(16) + 1.into();
        each(2, 16, Lanes(16), vec![each(3, steps, Seq, vec![body])])
    };
    let shifted = || Expr::binary(BinaryOp::Sub, load(x, &[i(1), column.clone()]), load(top, &[i(1)]));
    let exp = || Expr::unary(UnaryOp::Exp, shifted());
    let quotient = Expr::binary(BinaryOp::Div, load(y, &[i(1), column.clone()]), load(sum, &[i(1)]));
    let here = || at(y, &[i(1), column.clone()]);
    let body = vec![
        assign(at(top, &[i(1)]), f(f64::NEG_INFINITY)),
        strided(reduce(BinaryOp::Max, at(top, &[i(1)]), load(x, &[i(1), column.clone()]))),
        strided(assign(here(), exp())),
        assign(at(sum, &[i(1)]), f(0.0)),
        strided(reduce(BinaryOp::Add, at(sum, &[i(1)]), load(y, &[i(1), column.clone()]))),
        strided(compute(StatementKind::Update, here(), quotient)),
    ];
    m.nest.body = vec![tiled(0, 1, 4, &rows, Rows(4), body)];
}

#[test]
fn softmax_rows_with_lane_reductions() {
    for columns in [16, 50, 64, 5] {
        let mut m = Maker::new("r");
        softmax(&mut m, c(7), c(columns));
        check(&m.nest, &[]);
    }
    let mut m = Maker::new("t");
    let (rows, columns) = (m.dim("rows"), m.dim("columns"));
    softmax(&mut m, rows, columns);
    for n in [3, 16, 41, 96] {
        check(&m.nest, &[("rows", 6), ("columns", n)]);
    }
}

#[test]
fn a_nan_survives_maxima_over_lanes() {
    let mut m = Maker::new("nan");
    let x = m.input("x", DType::F32, &[c(40)]);
    let y = m.output("y", DType::F32, &[c(1)]);
    let top = reduce(BinaryOp::Max, at(y, &[c(0)]), load(x, &[i(0)]));
    m.nest.body = vec![assign(at(y, &[c(0)]), f(-1.0)), each(0, 40, Lanes(40), vec![top])];
    for place in [0, 17, 39] {
        let mut bytes = data(DType::F32, 40, 3);
        scalar::write(&mut bytes, place, Scalar::Float(f64::NAN, DType::F32));
        check_with(&m.nest, &[], &[bytes]);
    }
}

#[test]
fn strides_other_than_one() {
    let subscripts = [i(1) * 2, c(69) - i(1), i(1) * 3 + 1.into(), i(1).floor_div(3), i(1).modulo(7)];
    for subscript in subscripts {
        for extent in [32, 23] {
            let mut m = Maker::new("g");
            let x = m.input("x", DType::F32, &[c(5), c(100)]);
            let y = m.output("y", DType::F32, &[c(5), c(extent)]);
            let z = m.output("z", DType::F32, &[c(extent), c(5)]);
            let value = load(x, &[i(2), subscript.clone()]);
            let body = vec![assign(at(y, &[i(2), i(1)]), value.clone()), assign(at(z, &[i(1), i(2)]), value)];
            m.nest.body = vec![each(2, 5, Rows(5), vec![tiled(0, 1, 16, &c(extent), Lanes(16), body)])];
            check(&m.nest, &[]);
        }
    }
}

#[test]
fn symbolic_transpose() {
    let mut m = Maker::new("u");
    let (a, b) = (m.dim("a"), m.dim("b"));
    let x = m.input("x", DType::F32, &[a.clone(), b.clone()]);
    let y = m.output("y", DType::F32, &[b.clone(), a.clone()]);
    let copy = assign(at(y, &[i(2), i(1)]), load(x, &[i(1), i(2)]));
    m.nest.body = vec![each(2, b, Seq, vec![tiled(0, 1, 16, &a, Lanes(16), vec![copy])])];
    check(&m.nest, &[("a", 35), ("b", 9)]);
}

#[test]
fn triangular_masks_and_guards() {
    let mut m = Maker::new("v");
    let n = 37;
    let x = m.input("x", DType::F32, &[c(n), c(n)]);
    let keep = m.input("keep", DType::Bool, &[c(n)]);
    let y = m.output("y", DType::F32, &[c(n), c(n)]);
    let z = m.output("z", DType::F32, &[c(n)]);
    let triangle = Condition::NonNegative(vec![i(1) - i(3)]);
    let kept = Condition::Guard(load(keep, &[i(3)]));
    let one = |value| compute(StatementKind::Update, at(y, &[i(1), i(3)]), value);
    let body = vec![
        assign(at(y, &[i(1), i(3)]), f(9.0)),
        Nest::If {
            condition: triangle,
            body: vec![one(load(x, &[i(1), i(3)])), reduce(BinaryOp::Add, at(z, &[i(1)]), f(1.0))],
        },
        Nest::If { condition: kept, body: vec![one(mul(load(x, &[i(3), i(1)]), f(2.0)))] },
    ];
    let rows =
        tiled(0, 1, 4, &c(n), Rows(4), vec![assign(at(z, &[i(1)]), f(0.0)), tiled(2, 3, 16, &c(n), Lanes(16), body)]);
    m.nest.body = vec![rows];
    check(&m.nest, &[]);
}

/// A padded sum over neighbours: the condition depends on rows (a branch) or on lanes (a mask).
#[test]
fn padding_by_branch_and_by_mask() {
    for rows_vary in [true, false] {
        let mut m = Maker::new("w");
        let x = m.input("x", DType::F32, &[c(20), c(20)]);
        let y = m.output("y", DType::F32, &[c(20), c(20)]);
        let place = if rows_vary { [i(1), i(3)] } else { [i(3), i(1)] };
        let moved = place[0].clone() + i(4) - 1.into();
        let inside = Condition::NonNegative(vec![moved.clone(), c(19) - moved.clone()]);
        let cell = || at(y, &place);
        let sum = reduce(BinaryOp::Add, cell(), load(x, &[moved.clone(), place[1].clone()]));
        let taps = each(4, 3, Seq, vec![Nest::If { condition: inside, body: vec![sum] }]);
        let body = vec![assign(cell(), f(0.0)), taps];
        let lanes = tiled(2, 3, 16, &c(20), Lanes(16), body);
        m.nest.body = vec![tiled(0, 1, 5, &c(20), Rows(5), vec![lanes])];
        check(&m.nest, &[]);
    }
}

#[test]
fn select_reads_only_the_side_it_takes() {
    let mut m = Maker::new("sel");
    let x = m.input("x", DType::F32, &[c(10)]);
    let y = m.output("y", DType::F32, &[c(30)]);
    let z = m.output("z", DType::F32, &[c(30)]);
    let far = |k: i64| i(1) * k - 1_000_000_000.into();
    let inside = Expr::binary(BinaryOp::Lt, Expr::iter(1), Expr::int(10));
    let value = |index: Aff| Expr::select(inside.clone(), load(x, &[index]), f(-1.0));
    let wild = Expr::select(inside.clone(), f(2.0), load(x, &[far(50_000_000)]));
    m.nest.body = vec![
        tiled(0, 1, 16, &c(30), Lanes(16), vec![assign(at(y, &[i(1)]), value(i(1)))]),
        each(1, 30, Seq, vec![assign(at(z, &[i(1)]), value(i(1)))]),
    ];
    check(&m.nest, &[]);
    let never = Expr::select(Expr::binary(BinaryOp::Lt, Expr::iter(1), Expr::int(100)), f(2.0), wild);
    m.nest.body[1] = each(1, 30, Seq, vec![assign(at(z, &[i(1)]), never)]);
    check(&m.nest, &[]);
}

#[test]
fn scattered_rows_and_histograms() {
    let mut m = Maker::new("h");
    let ids = m.input("ids", DType::I64, &[c(40)]);
    let table = m.input("table", DType::F32, &[c(8), c(24)]);
    let y = m.output("y", DType::F32, &[c(40), c(24)]);
    let counts = m.output("counts", DType::I32, &[c(8)]);
    let row = |v: usize| Expr::binary(BinaryOp::Mod, load(ids, &[i(v)]), Expr::int(8));
    let embed = Expr::load(table, vec![row(0), Expr::iter(1)]);
    let hit = Access { array: counts, index: vec![row(1)] };
    m.nest.body = vec![
        each(0, 40, Seq, vec![each(1, 24, Lanes(24), vec![assign(at(y, &[i(0), i(1)]), embed)])]),
        each(0, 8, Seq, vec![assign(at(counts, &[i(0)]), Expr::literal(0.0, DType::I32))]),
        tiled(0, 1, 16, &c(40), Lanes(16), vec![reduce(BinaryOp::Add, hit, Expr::literal(1.0, DType::I32))]),
    ];
    check(&m.nest, &[]);
}

#[test]
fn unrolled_loops_keep_register_elements_apart() {
    let mut m = Maker::new("un");
    let x = m.input("x", DType::F32, &[c(3), c(20)]);
    let y = m.output("y", DType::F32, &[c(3), c(20)]);
    let t = m.register("t", DType::F32, &[c(3), c(20)]);
    let fill = assign(at(t, &[i(2), i(1)]), mul(load(x, &[i(2), i(1)]), f(3.0)));
    let drain = assign(at(y, &[i(3), i(1)]), load(t, &[c(2) - i(3), i(1)]));
    let body = vec![each(2, 3, Unroll, vec![fill]), each(3, 3, Unroll, vec![drain])];
    m.nest.body = vec![tiled(0, 1, 8, &c(20), Lanes(8), body)];
    check(&m.nest, &[]);
}
