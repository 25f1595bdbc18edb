//! Times one core on a matrix product whose second factor is packed in panels of 48 columns.
//!
//! `cargo run -p sirius-lowering --example product -- [M N K] [cpu]`

use inkwell::context::Context;
use sirius_lowering::count::Counting;
use sirius_lowering::{Target, compile_assembly, compile_object, emit_body};
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::schedule_tree::Mark;
use sirius_polyhedral::*;
use std::time::Instant;

const PANEL: i64 = 48;
const ROWS: i64 = 8;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = |n: usize| arguments.get(n).and_then(|a| a.parse().ok()).unwrap_or(512);
    let (m, n, k) = (size(0), size(1), size(2));
    let target = Target::x86(arguments.get(3).map_or("native", |s| s.as_str()));
    let nest = product(m, n, k);
    let context = Context::create();
    let start = Instant::now();
    let module = emit_body(&context, &nest, &target, Counting::Off)?;
    if let Some(body) = module.get_function("product_body") {
        body.as_global_value().set_visibility(inkwell::GlobalVisibility::Default);
    }
    let object = compile_object(&module, &target, inkwell::OptimizationLevel::Aggressive)?;
    println!("compiled in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    if std::env::var_os("SHOW").is_some() {
        let module = emit_body(&context, &nest, &target, Counting::Off)?;
        println!("{}", compile_assembly(&module, &target, inkwell::OptimizationLevel::Aggressive)?);
    }
    let seconds = time(&object, m, n, k)?;
    println!("{m} x {n} x {k}: {:.1} us, {:.1} GFLOP/s", seconds * 1e6, 2e-9 * (m * n * k) as f64 / seconds);
    Ok(())
}

/// `C[i, j] = sum over k of A[i, k] * B[j / 48, k, j mod 48]`.
fn product(m: i64, n: i64, k: i64) -> LoopNest {
    let c = Aff::constant;
    let i = Aff::iter;
    let array = |name: &str, extents: Vec<Aff>, role| Array::new(name, DType::F32, extents, role);
    let panels = (n + PANEL - 1) / PANEL;
    let mut acc = array("acc", vec![c(m), c(n)], Role::Temp);
    acc.placement = Some(Placement::Register);
    let arrays = vec![
        array("a", vec![c(m), c(k)], Role::Input(0)),
        array("b", vec![c(panels), c(k), c(PANEL)], Role::Input(1)),
        array("c", vec![c(m), c(n)], Role::Output(0)),
        acc,
    ];
    let access = |array: u32, index: Vec<Aff>| Access {
        array: ArrayId(array),
        index: index.into_iter().map(Expr::Index).collect(),
    };
    // c0: panel, c1: row tile, c2: row, c3: column, c4: depth.
    let a = Expr::Load(access(0, vec![i(2), i(4)]));
    let b = Expr::Load(access(1, vec![i(3).floor_div(PANEL), i(4), i(3).modulo(PANEL)]));
    let cell = || access(3, vec![i(2), i(3)]);
    let zero = Expr::literal(0.0, DType::F32);
    let compute = |kind, target, value| Nest::Compute {
        statement: StatementId(0),
        kind,
        target,
        value,
        origin: Origin::default(),
    };
    let range = |var, lower: Aff, upper: Vec<Aff>, kind, body| Nest::Loop {
        var,
        lower: Bound::one(lower),
        upper: Bound(upper),
        kind,
        body,
    };
    let sum = compute(StatementKind::Reduce(BinaryOp::Add), cell(), Expr::binary(BinaryOp::Mul, a, b));
    let body = vec![
        compute(StatementKind::Assign, cell(), zero),
        range(4, c(0), vec![c(k)], Mark::Seq, vec![sum]),
        compute(StatementKind::Assign, access(2, vec![i(2), i(3)]), Expr::Load(cell())),
    ];
    let panel = i(0) * PANEL;
    let lanes = range(3, panel.clone(), vec![panel + PANEL.into(), c(n)], Mark::Lanes(PANEL as u32), body);
    let first = i(1) * ROWS;
    let rows = range(2, first.clone(), vec![first + ROWS.into(), c(m)], Mark::Rows(ROWS as u32), vec![lanes]);
    let tiles = range(1, c(0), vec![c((m + ROWS - 1) / ROWS)], Mark::Seq, vec![rows]);
    LoopNest {
        name: "product".into(),
        params: Params::default(),
        arrays,
        inputs: vec![ArrayId(0), ArrayId(1)],
        outputs: vec![ArrayId(2)],
        body: vec![range(0, c(0), vec![c(panels)], Mark::Seq, vec![tiles])],
        vars: 5,
    }
}

/// Seconds of the fastest of many runs.
fn time(object: &[u8], m: i64, n: i64, k: i64) -> std::result::Result<f64, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (o, so) = (folder.path().join("x.o"), folder.path().join("x.so"));
    std::fs::write(&o, object)?;
    sirius_lowering::link::link(&[o], "x.so", &so)?;
    let floats = |count: i64| (0..count).map(|n| (n % 7) as f32 * 0.25 - 0.5).collect::<Vec<f32>>();
    let (mut a, mut b, mut c) = (floats(m * k), floats((n + PANEL - 1) / PANEL * PANEL * k), floats(m * n));
    let tensors = [a.as_mut_ptr(), b.as_mut_ptr(), c.as_mut_ptr(), std::ptr::null_mut()];
    // SAFETY: the library exports this function with this signature, and the arrays have its sizes.
    unsafe {
        let library = libloading::Library::new(&so)?;
        let run: libloading::Symbol<unsafe extern "C" fn(*const *mut f32, *const i64) -> i32> =
            library.get(b"product_body")?;
        let once = || {
            let start = Instant::now();
            run(tensors.as_ptr(), std::ptr::null());
            start.elapsed().as_secs_f64()
        };
        Ok((0..200).map(|_| once()).fold(f64::INFINITY, f64::min))
    }
}
