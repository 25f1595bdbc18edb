//! Loop nests made by hand, run as machine code and by the interpreter.

use inkwell::context::Context;
use sirius_lowering::count::Counting;
use sirius_lowering::{Target, compile_object, emit_body};
use sirius_polyhedral::schedule_tree::Mark;
use sirius_polyhedral::*;

pub fn i(n: usize) -> Aff {
    Aff::iter(n)
}

pub fn c(n: i64) -> Aff {
    Aff::constant(n)
}

/// A loop nest under construction.
pub struct Maker {
    pub nest: LoopNest,
}

impl Maker {
    pub fn new(name: &str) -> Maker {
        let nest = LoopNest {
            name: name.into(),
            params: Params::default(),
            arrays: vec![],
            inputs: vec![],
            outputs: vec![],
            body: vec![],
            vars: 32,
        };
        Maker { nest }
    }

    pub fn dim(&mut self, name: &str) -> Aff {
        let def = ParamDef::Input { input: 0, axis: 0 };
        Aff::param(self.nest.params.push(Param { name: name.into(), def, min: 1, max: None, hint: 64 }))
    }

    fn array(&mut self, name: &str, t: DType, extents: &[Aff], role: Role) -> ArrayId {
        self.nest.arrays.push(Array::new(name, t, extents.to_vec(), role));
        ArrayId(self.nest.arrays.len() as u32 - 1)
    }

    pub fn input(&mut self, name: &str, t: DType, extents: &[Aff]) -> ArrayId {
        let id = self.array(name, t, extents, Role::Input(self.nest.inputs.len()));
        self.nest.inputs.push(id);
        id
    }

    pub fn output(&mut self, name: &str, t: DType, extents: &[Aff]) -> ArrayId {
        let id = self.array(name, t, extents, Role::Output(self.nest.outputs.len()));
        self.nest.outputs.push(id);
        id
    }

    pub fn temp(&mut self, name: &str, t: DType, extents: &[Aff]) -> ArrayId {
        self.array(name, t, extents, Role::Temp)
    }

    pub fn register(&mut self, name: &str, t: DType, extents: &[Aff]) -> ArrayId {
        let id = self.temp(name, t, extents);
        self.nest.arrays[id.0 as usize].placement = Some(program::Placement::Register);
        id
    }
}

pub fn at(array: ArrayId, index: &[Aff]) -> Access {
    Access { array, index: index.iter().cloned().map(Expr::Index).collect() }
}

pub fn load(array: ArrayId, index: &[Aff]) -> Expr {
    Expr::Load(at(array, index))
}

pub fn f(x: f64) -> Expr {
    Expr::literal(x, DType::F32)
}

pub fn mul(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Mul, a, b)
}

pub fn add(a: Expr, b: Expr) -> Expr {
    Expr::binary(BinaryOp::Add, a, b)
}

pub fn each(var: VarId, extent: impl Into<Aff>, kind: Mark, body: Vec<Nest>) -> Nest {
    range(var, c(0), vec![extent.into()], kind, body)
}

pub fn range(var: VarId, lower: Aff, upper: Vec<Aff>, kind: Mark, body: Vec<Nest>) -> Nest {
    Nest::Loop { var, lower: Bound::one(lower), upper: Bound(upper), kind, body }
}

/// `for tile: for var in tile*n .. min(tile*n + n, extent)`.
pub fn tiled(tile: VarId, var: VarId, n: i64, extent: &Aff, kind: Mark, body: Vec<Nest>) -> Nest {
    let start = i(tile as usize) * n;
    let tiles = (extent.clone() + (n - 1).into()).floor_div(n);
    let inner = range(var, start.clone(), vec![start + n.into(), extent.clone()], kind, body);
    each(tile, tiles, Mark::Seq, vec![inner])
}

pub fn compute(kind: StatementKind, target: Access, value: Expr) -> Nest {
    Nest::Compute { statement: StatementId(0), kind, target, value, origin: Origin::default() }
}

pub fn assign(target: Access, value: Expr) -> Nest {
    compute(StatementKind::Assign, target, value)
}

pub fn reduce(op: BinaryOp, target: Access, value: Expr) -> Nest {
    compute(StatementKind::Reduce(op), target, value)
}

/// Deterministic test data: small integers for integer types, halves in [-4, 4) for floats.
pub fn data(t: DType, count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = vec![0; count * t.size()];
    for n in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (state >> 33) as i64 % 16;
        let value = match t {
            DType::Bool => Scalar::Int(x & 1, t),
            _ if t.is_float() => Scalar::Float(x as f64 / 2.0 - 4.0, t),
            _ if t.is_signed() => Scalar::Int(x - 8, t),
            _ => Scalar::Int(x, t),
        };
        scalar::write(&mut bytes, n, scalar::cast(value, t));
    }
    bytes
}

fn count(nest: &LoopNest, id: ArrayId, dims: &[(&str, i64)]) -> usize {
    let value = |p: ParamId| dims.iter().find(|d| d.0 == nest.params.get(p).name).map_or(1, |d| d.1);
    nest.arrays[id.0 as usize].extents.iter().map(|e| e.eval(&value, &|_| 0) as usize).product()
}

/// Compares machine code with the interpreter, for wide and narrow vectors, on data made here.
pub fn check(nest: &LoopNest, dims: &[(&str, i64)]) {
    let inputs = nest.inputs.iter().enumerate();
    let inputs: Vec<Vec<u8>> =
        inputs.map(|(n, &id)| data(nest.arrays[id.0 as usize].dtype, count(nest, id, dims), n as u64 + 1)).collect();
    check_with(nest, dims, &inputs);
}

pub fn check_with(nest: &LoopNest, dims: &[(&str, i64)], inputs: &[Vec<u8>]) {
    let expected = nest_interp::run(nest, dims, inputs).expect("interpreter");
    for target in targets() {
        let got = run_compiled(nest, dims, inputs, &target);
        for (n, &id) in nest.outputs.iter().enumerate() {
            compare(&nest.arrays[id.0 as usize], &expected[n], &got[n], &target.cpu);
        }
    }
}

/// What this machine can run.
pub fn targets() -> Vec<Target> {
    vec![Target::x86("x86-64-v3"), Target::x86("native")]
}

fn compare(array: &Array, expected: &[u8], got: &[u8], cpu: &str) {
    assert_eq!(expected.len(), got.len());
    let (t, size) = (array.dtype, array.dtype.size());
    let tolerance = match t {
        DType::F16 | DType::BF16 => 1e-2,
        _ => 2e-5,
    };
    for n in 0..expected.len() / size {
        let (a, b) = (scalar::read(expected, n, t), scalar::read(got, n, t));
        let (x, y) = (a.as_f64(), b.as_f64());
        let same =
            a == b || (x.is_nan() && y.is_nan()) || (t.is_float() && (x - y).abs() <= tolerance * x.abs().max(1.0));
        assert!(same, "{}[{n}] on {cpu}: expected {a:?}, got {b:?}", array.name);
    }
}

pub fn run_compiled(nest: &LoopNest, dims: &[(&str, i64)], inputs: &[Vec<u8>], target: &Target) -> Vec<Vec<u8>> {
    let library = build(nest, target);
    let mut memory: Vec<Vec<u8>> = (0..nest.arrays.len())
        .map(|n| match &nest.arrays[n].role {
            Role::Input(k) => inputs[*k].clone(),
            Role::Constant(data) => data.bytes().to_vec(),
            _ => vec![0xCB; count(nest, ArrayId(n as u32), dims) * nest.arrays[n].dtype.size()],
        })
        .collect();
    let tensors: Vec<*mut u8> = memory.iter_mut().map(|m| m.as_mut_ptr()).collect();
    let params: Vec<i64> =
        nest.params.iter().map(|(_, p)| dims.iter().find(|d| d.0 == p.name).map_or(0, |d| d.1)).collect();
    // SAFETY: the function has this signature and the arrays have the sizes it was compiled for.
    unsafe {
        let body: libloading::Symbol<unsafe extern "C" fn(*const *mut u8, *const i64) -> i32> =
            library.get(format!("{}_body", nest.name).as_bytes()).expect("symbol");
        assert_eq!(body(tensors.as_ptr(), params.as_ptr()), 0);
    }
    nest.outputs.iter().map(|id| memory[id.0 as usize].clone()).collect()
}

/// The nest as a loaded library.
pub fn build(nest: &LoopNest, target: &Target) -> libloading::Library {
    let context = Context::create();
    let module = emit_body(&context, nest, target, Counting::Off).expect("emit");
    if let Some(body) = module.get_function(&format!("{}_body", nest.name)) {
        body.as_global_value().set_visibility(inkwell::GlobalVisibility::Default);
    }
    let bytes = compile_object(&module, target, inkwell::OptimizationLevel::Aggressive).expect("object");
    let folder = tempfile::tempdir().expect("folder");
    let (object, library) = (folder.path().join("x.o"), folder.path().join("x.so"));
    std::fs::write(&object, bytes).expect("write");
    sirius_lowering::link::link(&[object], "x.so", &library).expect("link");
    // SAFETY: loading runs no initialiser: the library has none.
    unsafe { libloading::Library::new(&library).expect("load") }
}
