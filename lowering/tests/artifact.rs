//! The artifact's C interface, end to end: a hand-made nest and body, linked, loaded and called like a C program does.

use libloading::Library;
use sirius_lowering::Target;
use sirius_lowering::artifact::{ArtifactOptions, WeightsPolicy, write_artifact};
use sirius_lowering::metadata::Manifest;
use sirius_polyhedral::{
    Access, Aff, Array, ArrayId, ConstantData, DType, Expr, LoopNest, Nest, Origin, Param, ParamDef, Params, Role,
    StatementId, StatementKind,
};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

/// `y[b, i] = x[b, i] * w[i]` through a temporary of the same size as `x`, with symbolic `b`.
fn scaling_nest() -> LoopNest {
    let mut params = Params::default();
    let def = ParamDef::Input { input: 0, axis: 0 };
    let batch = Aff::param(params.push(Param { name: "batch".into(), def, min: 1, max: Some(1 << 40), hint: 2 }));
    let weights: Vec<u8> = [1f32, 10.0, 100.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let pair = vec![batch, Aff::constant(3)];
    let arrays = vec![
        Array::new("x", DType::F32, pair.clone(), Role::Input(0)),
        Array::new("w", DType::F32, vec![Aff::constant(3)], Role::Constant(ConstantData::new(weights))),
        Array::new("t", DType::F32, pair.clone(), Role::Temp),
        Array::new("y", DType::F32, pair, Role::Output(0)),
    ];
    let body = [(2, 0), (2, 1), (3, 2)].map(|(to, from)| copy(ArrayId(to), ArrayId(from))).to_vec();
    let (inputs, outputs) = (vec![ArrayId(0)], vec![ArrayId(3)]);
    LoopNest { name: "scale".into(), params, arrays, inputs, outputs, body, vars: 0 }
}

/// Only says which arrays the code touches; the code itself is `BODY`.
fn copy(to: ArrayId, from: ArrayId) -> Nest {
    Nest::Compute {
        statement: StatementId(0),
        kind: StatementKind::Assign,
        target: Access { array: to, index: vec![] },
        value: Expr::load(from, vec![]),
        origin: Origin { node: "scale".into(), op: "Mul".into() },
    }
}

/// `t = x * w; y = t` over `3 * batch` elements.
const BODY: &str = r#"
define i32 @scale_body(ptr %tensors, ptr %params) {
  %tp = getelementptr ptr, ptr %tensors, i64 2
  %wp = getelementptr ptr, ptr %tensors, i64 1
  %yp = getelementptr ptr, ptr %tensors, i64 3
  %x = load ptr, ptr %tensors
  %w = load ptr, ptr %wp
  %t = load ptr, ptr %tp
  %y = load ptr, ptr %yp
  %batch = load i64, ptr %params
  %n = mul i64 %batch, 3
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %j, %loop ]
  %k = urem i64 %i, 3
  %xi = getelementptr float, ptr %x, i64 %i
  %wi = getelementptr float, ptr %w, i64 %k
  %ti = getelementptr float, ptr %t, i64 %i
  %yi = getelementptr float, ptr %y, i64 %i
  %a = load float, ptr %xi
  %b = load float, ptr %wi
  %c = fmul float %a, %b
  store float %c, ptr %ti
  %d = load float, ptr %ti
  store float %d, ptr %yi
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %n
  br i1 %more, label %loop, label %end
end:
  ret i32 0
}
"#;

fn object() -> Vec<u8> {
    let context = inkwell::context::Context::create();
    let buffer = inkwell::memory_buffer::MemoryBuffer::create_from_memory_range_copy(BODY.as_bytes(), "body");
    let module = context.create_module_from_ir(buffer).unwrap();
    let level = inkwell::OptimizationLevel::Aggressive;
    sirius_lowering::compile_object(&module, &Target::x86("x86-64"), level).unwrap()
}

fn build(dir: &Path, weights: WeightsPolicy, cpu: &str) -> Manifest {
    let options = ArtifactOptions {
        name: "scale".into(),
        tag: "scale".into(),
        inputs: vec!["x:0".into()],
        outputs: vec![],
        input_values: vec![],
        output_values: vec![],
        fixed: Default::default(),
        weights,
        target: Target::x86(cpu),
        fp_policy: "strict".into(),
        flops: vec![],
        counting: Default::default(),
    };
    write_artifact(&scaling_nest(), &object(), "scale_body", &options, dir).unwrap()
}

#[repr(C)]
struct DLTensor {
    data: *mut c_void,
    device: [i32; 2],
    ndim: i32,
    dtype: (u8, u8, u16),
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

fn tensor(data: &mut [f32], shape: &mut [i64]) -> DLTensor {
    let (data, ndim) = (data.as_mut_ptr().cast(), shape.len() as i32);
    let (shape, strides) = (shape.as_mut_ptr(), std::ptr::null_mut());
    DLTensor { data, device: [1, 0], ndim, dtype: (2, 32, 1), shape, strides, byte_offset: 0 }
}

type Ptr = *mut c_void;

/// The loaded artifact; every test calls its functions by name, as C does.
struct Model {
    library: Library,
    model: Ptr,
    context: Ptr,
}

impl Model {
    fn open(dir: &Path) -> Result<Model, c_int> {
        let mut loaded = Model { library: load(dir), model: std::ptr::null_mut(), context: std::ptr::null_mut() };
        let model = &raw mut loaded.model;
        match unsafe { loaded.get::<fn(*const c_char, *mut Ptr) -> c_int>("open")(std::ptr::null(), model) } {
            0 => {}
            status => return Err(status),
        }
        let context = &raw mut loaded.context;
        let create = unsafe { loaded.get::<fn(Ptr, Ptr, *mut Ptr) -> c_int>("context_create") };
        assert_eq!(create(loaded.model, std::ptr::null_mut(), context), 0);
        Ok(loaded)
    }

    unsafe fn get<T: Copy>(&self, name: &str) -> T {
        unsafe { *self.library.get::<T>(format!("sirius_scale_{name}").as_bytes()).unwrap() }
    }

    fn run(&self, input: &DLTensor, output: &mut DLTensor) -> Result<(), String> {
        let run = unsafe { self.get::<fn(Ptr, *const DLTensor, usize, *mut DLTensor, usize) -> c_int>("run") };
        let last_error = unsafe { self.get::<fn(Ptr) -> *const c_char>("last_error") };
        match run(self.context, input, 1, output, 1) {
            0 => Ok(()),
            _ => Err(unsafe { CStr::from_ptr(last_error(self.context)) }.to_str().unwrap().to_string()),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe {
            self.get::<fn(Ptr)>("context_destroy")(self.context);
            self.get::<fn(Ptr)>("close")(self.model);
        }
    }
}

fn load(dir: &Path) -> Library {
    unsafe { Library::new(dir.join("scale.so")) }.unwrap()
}

fn run_batches(dir: &Path) {
    let model = Model::open(dir).unwrap();
    for batch in [2usize, 1, 5] {
        let mut x: Vec<f32> = (0..3 * batch).map(|i| i as f32).collect();
        let mut y = vec![0f32; 3 * batch];
        let (mut shape, mut shape2) = ([batch as i64, 3], [batch as i64, 3]);
        model.run(&tensor(&mut x, &mut shape), &mut tensor(&mut y, &mut shape2)).unwrap();
        let wanted: Vec<f32> = x.iter().zip([1f32, 10.0, 100.0].iter().cycle()).map(|(a, b)| a * b).collect();
        assert_eq!(y, wanted, "batch {batch}");
    }
}

#[test]
fn runs_with_embedded_weights_and_any_batch() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = build(dir.path(), WeightsPolicy::Auto, "x86-64");
    assert_eq!(manifest.weights.file, None);
    assert_eq!(manifest.inputs[0].shape, ["batch", "3"]);
    assert_eq!(manifest.workspace.slots, [["4*(batch)*(3)"]]);
    run_batches(dir.path());
}

#[test]
fn finds_its_weights_file_and_refuses_a_wrong_one() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = build(dir.path(), WeightsPolicy::Sidecar, "x86-64");
    assert_eq!(manifest.weights.file.as_deref(), Some("scale.weights"));
    run_batches(dir.path());
    let weights = dir.path().join("scale.weights");
    std::fs::write(&weights, [0u8; 12]).unwrap();
    assert_eq!(Model::open(dir.path()).err(), Some(5));
    std::fs::remove_file(&weights).unwrap();
    assert_eq!(Model::open(dir.path()).err(), Some(4));
}

#[test]
fn refusals_name_argument_wanted_and_got() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), WeightsPolicy::Auto, "x86-64");
    let model = Model::open(dir.path()).unwrap();
    let refuse = |change: &dyn Fn(&mut DLTensor, &mut DLTensor)| {
        let (mut x, mut y, mut strides) = ([0f32; 8], [0f32; 8], [1i64, 2]);
        let (mut shape, mut shape2) = ([2i64, 3], [2i64, 3]);
        let (mut a, mut b) = (tensor(&mut x, &mut shape), tensor(&mut y, &mut shape2));
        change(&mut a, &mut b);
        if a.byte_offset == 77 {
            (a.byte_offset, a.strides) = (0, strides.as_mut_ptr());
        }
        model.run(&a, &mut b).unwrap_err()
    };
    let set = |t: &mut DLTensor, axis: usize, extent: i64| unsafe { *t.shape.add(axis) = extent };
    let messages = [
        refuse(&|a, _| a.ndim = 1),
        refuse(&|a, _| a.dtype = (0, 64, 1)),
        refuse(&|a, _| a.device = [2, 0]),
        refuse(&|a, _| set(a, 1, 4)),
        refuse(&|a, _| set(a, 0, 0)),
        refuse(&|_, b| set(b, 0, 3)),
        refuse(&|a, _| a.byte_offset = 77),
        refuse(&|a, _| a.byte_offset = 2),
        refuse(&|a, _| a.data = std::ptr::null_mut()),
        refuse(&|a, b| b.data = a.data),
    ];
    let wanted = [
        "input \"x:0\": wanted 2 dimensions, got 1",
        "input \"x:0\": wanted element type float32, got int64 (lanes 1)",
        "input \"x:0\": wanted device 1 (CPU), got device 2",
        "input \"x:0\": dimension 1: wanted 3 (3), got 4",
        "input \"x:0\": dimension 0 (batch): wanted 1 to 1099511627776, got 0",
        "output \"y\": dimension 0: wanted 2 (batch), got 3",
        "input \"x:0\": dimension 1: wanted stride 1 (row-major, dense), got 2",
        "input \"x:0\": wanted data aligned to 4 bytes",
        "input \"x:0\": wanted 24 bytes, data is NULL",
        "output \"y\": wanted memory of its own, got memory of input \"x:0\"",
    ];
    assert_eq!(messages, wanted);
}

#[test]
fn an_absurd_size_is_refused_before_anything_is_allocated() {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), WeightsPolicy::Auto, "x86-64");
    let model = Model::open(dir.path()).unwrap();
    let (mut x, mut y) = ([0f32; 3], [0f32; 3]);
    let (mut shape, mut shape2) = ([1i64 << 40, 3], [1i64 << 40, 3]);
    let said = model.run(&tensor(&mut x, &mut shape), &mut tensor(&mut y, &mut shape2)).unwrap_err();
    assert!(said.starts_with("workspace: "), "{said}");
    let bytes = unsafe { model.get::<fn(Ptr, *const i64, usize) -> usize>("workspace_bytes") };
    assert_eq!(bytes(model.model, [7].as_ptr(), 1), 128);
    assert_eq!(bytes(model.model, [7].as_ptr(), 0), usize::MAX);
    assert_eq!(bytes(model.model, [i64::MAX].as_ptr(), 1), usize::MAX);
}

#[test]
fn the_host_check_asks_for_what_the_code_uses() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = build(dir.path(), WeightsPolicy::Auto, "native");
    let library = load(dir.path());
    let check = unsafe { library.get::<fn(*mut *const c_char) -> c_int>(b"sirius_scale_check_host") }.unwrap();
    let mut why = std::ptr::null();
    assert_eq!(check(&mut why), 0, "this machine runs code for this machine");
    assert!(why.is_null());
    assert!(manifest.target.features.contains(&"sse4.2".to_string()));
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    build(a.path(), WeightsPolicy::Sidecar, "x86-64-v3");
    build(b.path(), WeightsPolicy::Sidecar, "x86-64-v3");
    for file in ["scale.so", "scale.h", "scale.json", "scale.weights"] {
        assert_eq!(std::fs::read(a.path().join(file)).unwrap(), std::fs::read(b.path().join(file)).unwrap(), "{file}");
    }
    assert_eq!(std::fs::read_dir(a.path()).unwrap().count(), 4, "no temporary file is left behind");
}
