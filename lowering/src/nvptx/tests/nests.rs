//! Nests written by hand, one per feature of the mapping.

use sirius_polyhedral::*;

pub fn i(n: usize) -> Expr {
    Expr::iter(n)
}

pub fn f(x: f64) -> Expr {
    Expr::float(x, DType::F32)
}

pub fn at(array: u32, index: Vec<Expr>) -> Access {
    Access { array: ArrayId(array), index }
}

pub fn load(array: u32, index: Vec<Expr>) -> Expr {
    Expr::Load(at(array, index))
}

pub fn assign(target: Access, value: Expr) -> Nest {
    compute(StatementKind::Assign, target, value)
}

pub fn compute(kind: StatementKind, target: Access, value: Expr) -> Nest {
    let origin = Origin { node: "n".into(), op: "Test".into() };
    Nest::Compute { statement: StatementId(0), kind, target, value, origin }
}

pub fn for_each(kind: Mark, var: u32, upper: Aff, body: Vec<Nest>) -> Nest {
    Nest::Loop { var, lower: Bound::one(0.into()), upper: Bound::one(upper), kind, body }
}

pub fn array(name: &str, dtype: DType, extents: &[Aff], role: Role) -> Array {
    Array::new(name, dtype, extents.to_vec(), role)
}

pub fn nest(name: &str, arrays: Vec<Array>, body: Vec<Nest>) -> LoopNest {
    let of = |wanted: fn(&Role) -> bool| {
        let ids = arrays.iter().enumerate().filter(move |(_, a)| wanted(&a.role));
        ids.map(|(n, _)| ArrayId(n as u32)).collect::<Vec<_>>()
    };
    let (inputs, outputs) = (of(|r| matches!(r, Role::Input(_))), of(|r| matches!(r, Role::Output(_))));
    LoopNest { name: name.into(), params: Params::default(), arrays, inputs, outputs, body, vars: 8 }
}

pub fn dimension(nest: &mut LoopNest, name: &str, input: usize, axis: usize) -> ParamId {
    let def = ParamDef::Input { input, axis };
    nest.params.push(Param { name: name.into(), def, min: 1, max: None, hint: 8 })
}

/// `y[b, j] = tanh(x[b, j]) + w[j]`, `b` symbolic.
pub fn elementwise() -> LoopNest {
    let b = Aff::param(ParamId(0));
    let bytes: Vec<u8> = (0..5).flat_map(|n| (n as f32 * 0.5).to_le_bytes()).collect();
    let arrays = vec![
        array("x", DType::F32, &[b.clone(), 5.into()], Role::Input(0)),
        array("w", DType::F32, &[5.into()], Role::Constant(ConstantData::new(bytes))),
        array("y", DType::F32, &[b.clone(), 5.into()], Role::Output(0)),
    ];
    let tanh = Expr::unary(UnaryOp::Tanh, load(0, vec![i(0), i(1)]));
    let value = Expr::binary(BinaryOp::Add, tanh, load(1, vec![i(1)]));
    let inner = for_each(Mark::Parallel, 1, 5.into(), vec![assign(at(2, vec![i(0), i(1)]), value)]);
    let mut nest = nest("elementwise", arrays, vec![for_each(Mark::Parallel, 0, b, vec![inner])]);
    dimension(&mut nest, "batch", 0, 0);
    nest
}

/// `y = x * x^T` for a 20 x 7 matrix: a reduction in every thread; then the trace in one thread.
pub fn product() -> LoopNest {
    let arrays = vec![
        array("x", DType::F32, &[20.into(), 7.into()], Role::Input(0)),
        array("y", DType::F32, &[20.into(), 20.into()], Role::Output(0)),
        array("trace", DType::F32, &[], Role::Output(1)),
    ];
    let (row, target) = (at(1, vec![i(0), i(1)]), at(2, vec![]));
    let value = Expr::binary(BinaryOp::Mul, load(0, vec![i(0), i(2)]), load(0, vec![i(1), i(2)]));
    let sum = for_each(Mark::Seq, 2, 7.into(), vec![compute(StatementKind::Reduce(BinaryOp::Add), row.clone(), value)]);
    let columns = for_each(Mark::Parallel, 1, 20.into(), vec![assign(row, f(0.0)), sum]);
    let add = compute(StatementKind::Reduce(BinaryOp::Add), target.clone(), load(1, vec![i(3), i(3)]));
    let body = vec![
        for_each(Mark::Parallel, 0, 20.into(), vec![columns]),
        assign(target, f(0.0)),
        for_each(Mark::Seq, 3, 20.into(), vec![add]),
    ];
    nest("product", arrays, body)
}

/// A time loop with a state of two planes, a computed trip count and a data-dependent exit:
/// `h[t + 1] = h[t] + x` while the first element stays below a limit, `t` up to `n[0] = 4 * (x.len() = 6)`.
pub fn recurrence() -> LoopNest {
    let t1 = Expr::Index(Aff::iter(1) + 1.into());
    let mut h = array("h", DType::F32, &[25.into(), 6.into()], Role::Temp);
    h.fold[0] = Some(2);
    let arrays = vec![
        array("x", DType::F32, &[6.into()], Role::Input(0)),
        h,
        array("n", DType::I64, &[], Role::Temp),
        array("go", DType::Bool, &[26.into()], Role::Temp),
        array("y", DType::F32, &[6.into()], Role::Output(0)),
    ];
    let next = Expr::binary(BinaryOp::Add, load(1, vec![i(1), i(2)]), load(0, vec![i(2)]));
    let below = Expr::binary(BinaryOp::Lt, load(1, vec![t1.clone(), Expr::int(0)]), f(3.0));
    let latch = assign(at(4, vec![i(3)]), load(1, vec![t1.clone(), i(3)]));
    let body = vec![
        Nest::BreakUnless(load(3, vec![i(1)])),
        for_each(Mark::Parallel, 2, 6.into(), vec![assign(at(1, vec![t1.clone(), i(2)]), next)]),
        assign(at(3, vec![t1]), below),
        for_each(Mark::Parallel, 3, 6.into(), vec![latch]),
    ];
    let start = assign(at(1, vec![Expr::int(0), i(0)]), f(0.5));
    let steps = vec![
        for_each(Mark::Parallel, 0, 6.into(), vec![start]),
        assign(at(2, vec![]), Expr::int(24)),
        assign(at(3, vec![Expr::int(0)]), Expr::Const(Scalar::Int(1, DType::Bool))),
        for_each(Mark::Seq, 1, Aff::param(ParamId(0)), body),
    ];
    let mut nest = nest("recurrence", arrays, steps);
    let def = ParamDef::Value { array: "n".into() };
    nest.params.push(Param { name: "trips".into(), def, min: 0, max: Some(24), hint: 24 });
    nest
}

/// `y[j] = x[0] > 1 ? exp(x[j]) : x[j - 1]` by two guards that the host tests, and a `Select` whose other side
/// is out of bounds.
pub fn guarded() -> LoopNest {
    let arrays = vec![
        array("x", DType::F32, &[300.into()], Role::Input(0)),
        array("y", DType::F32, &[300.into()], Role::Output(0)),
    ];
    let large = || Expr::binary(BinaryOp::Gt, load(0, vec![Expr::int(0)]), f(1.0));
    let exp = Expr::unary(UnaryOp::Exp, load(0, vec![i(0)]));
    let before = load(0, vec![Expr::Index(Aff::iter(1) - 1.into())]);
    let inside = Expr::binary(BinaryOp::Ge, i(1), Expr::int(1));
    let branch = |condition, var, value| {
        let statement = assign(at(1, vec![i(var)]), value);
        let body = vec![for_each(Mark::Parallel, var as u32, 300.into(), vec![statement])];
        Nest::If { condition: Condition::Guard(condition), body }
    };
    let otherwise = Expr::unary(UnaryOp::Not, large());
    let body = vec![branch(large(), 0, exp), branch(otherwise, 1, Expr::select(inside, before, f(-1.0)))];
    nest("guarded", arrays, body)
}

/// Every operator in every type, and conversions between all types, one kernel per type: for the assembler.
pub fn everything() -> LoopNest {
    let mut arrays = Vec::new();
    let mut body = Vec::new();
    for (n, t) in DType::ALL.into_iter().enumerate() {
        arrays.push(array(&format!("x{n}"), t, &[64.into()], Role::Input(n)));
    }
    for (n, t) in DType::ALL.into_iter().enumerate() {
        let (target, values) = (arrays.len() as u32, all_values(n as u32, t));
        arrays.push(array(&format!("y{n}"), t, &[(values.len() as i64).into(), 64.into()], Role::Output(n)));
        let rows = values.into_iter().enumerate();
        let statements = rows.map(|(k, value)| assign(at(target, vec![Expr::int(k as i64), i(0)]), value)).collect();
        body.push(for_each(Mark::Parallel, 0, 64.into(), statements));
    }
    nest("everything", arrays, body)
}

/// All that can be computed from array `n` of type `t`, and the conversions to `t`.
fn all_values(n: u32, t: DType) -> Vec<Expr> {
    let x = || load(n, vec![i(0)]);
    // The narrow floats compute in `f32`.
    let computes = matches!(t, DType::F32 | DType::F64);
    let unary = UnaryOp::ALL.into_iter().filter(|op| computes && *op != UnaryOp::Not).map(|op| Expr::unary(op, x()));
    let binary = BinaryOp::ALL.into_iter().filter(|op| fits(*op, t)).map(|op| Expr::binary(op, x(), x()));
    let casts = (0..DType::ALL.len() as u32).map(|from| Expr::cast(t, load(from, vec![i(0)])));
    unary.chain(binary).chain(casts).collect()
}

fn fits(op: BinaryOp, t: DType) -> bool {
    use BinaryOp::*;
    match op {
        And | Or | Xor => !t.is_float(),
        Shl | Shr => t.is_integer(),
        Add | Sub | Mul | Div | Mod | Rem | Pow | Min | Max => t != DType::Bool,
        _ => true,
    }
}
