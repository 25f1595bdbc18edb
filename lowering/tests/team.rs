//! The thread team of an artifact, end to end: barriers under load, many contexts, threads of the caller, a fork.

use libloading::Library;
use sirius_lowering::Target;
use sirius_lowering::artifact::{ArtifactOptions, WeightsPolicy, write_artifact};
use sirius_lowering::code::{CodeOptions, compile_body};
use sirius_polyhedral::text::{ConstantPool, parse_nest};
use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Elements of the ring that the test turns.
const WIDTH: usize = 65;

/// `steps` times around: `h[t + 1, i] = h[t, i + 1]`, a barrier before each, in two planes of memory. A worker that
/// does not wait reads old elements or overwrites what another still reads.
fn ring(steps: usize) -> String {
    format!(
        "nest ring vars 8
array x: f32[{WIDTH}] input 0
array h: f32[{}, {WIDTH}] temp fold [2, _] slot 0
array y: f32[{WIDTH}] output 0
inputs x
outputs y
body {{
  for c0 in 0..{WIDTH} team(4) {{ S0: h[0, c0] = x[c0] }}
  for c1 in 0..{steps} {{
    for c2 in 0..1 barrier {{
      for c3 in 0..{} team(4) {{ S1: h[c1 + 1, c3] = h[c1, c3 + 1] }}
      S2: h[c1 + 1, {}] = h[c1, 0]
    }}
  }}
  for c4 in 0..1 barrier {{ for c5 in 0..{WIDTH} team(4) {{ S3: y[c5] = h[{steps}, c5] }} }}
}}
",
        steps + 1,
        WIDTH - 1,
        WIDTH - 1
    )
}

fn build(dir: &Path, steps: usize) {
    let nest = parse_nest(&ring(steps), &ConstantPool::default()).unwrap();
    let target = Target::x86("x86-64-v3");
    let code = compile_body(&nest, &target, CodeOptions::default()).unwrap();
    let options = ArtifactOptions {
        name: "ring".into(),
        tag: "ring".into(),
        inputs: vec![],
        outputs: vec![],
        weights: WeightsPolicy::Auto,
        target,
        fp_policy: "strict".into(),
        flops: vec![],
        counting: Default::default(),
        input_values: vec![],
        output_values: vec![],
        fixed: Default::default(),
    };
    let manifest = write_artifact(&nest, &code.object, &code.symbol, &options, dir).unwrap();
    assert_eq!(manifest.threads, 4);
}

type Ptr = *mut c_void;
type Task = extern "C" fn(Ptr, u32);

#[repr(C)]
struct Options {
    size: usize,
    unused: [usize; 4],
    threads: u32,
    parallel: Option<extern "C" fn(Ptr, u32, Task, Ptr)>,
    user: Ptr,
}

fn options(threads: u32) -> Options {
    let size = std::mem::size_of::<Options>();
    Options { size, unused: [0; 4], threads, parallel: None, user: std::ptr::null_mut() }
}

#[repr(C)]
struct DLTensor {
    data: *mut f32,
    device: [i32; 2],
    ndim: i32,
    dtype: (u8, u8, u16),
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

fn tensor(data: &mut [f32], shape: &mut [i64; 1]) -> DLTensor {
    let (data, shape, strides) = (data.as_mut_ptr(), shape.as_mut_ptr(), std::ptr::null_mut());
    DLTensor { data, device: [1, 0], ndim: 1, dtype: (2, 32, 1), shape, strides, byte_offset: 0 }
}

/// An opened model; contexts may be made from any thread.
struct Model {
    library: Library,
    model: Ptr,
    steps: usize,
    _dir: tempfile::TempDir,
}

unsafe impl Sync for Model {}

/// One context. Dropping it ends its threads.
struct Context<'a>(&'a Model, Ptr);

impl Model {
    fn new(steps: usize) -> Model {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), steps);
        let library = unsafe { Library::new(dir.path().join("ring.so")) }.unwrap();
        let mut model = Model { library, model: std::ptr::null_mut(), steps, _dir: dir };
        let open = model.get::<fn(*const c_char, *mut Ptr) -> c_int>("open");
        assert_eq!(open(std::ptr::null(), &mut model.model), 0);
        model
    }

    fn get<T: Copy>(&self, name: &str) -> T {
        unsafe { *self.library.get::<T>(format!("sirius_ring_{name}").as_bytes()).unwrap() }
    }

    fn context(&self, options: &Options) -> Context<'_> {
        let mut context = std::ptr::null_mut();
        let create = self.get::<fn(Ptr, *const Options, *mut Ptr) -> c_int>("context_create");
        assert_eq!(create(self.model, options, &mut context), 0);
        Context(self, context)
    }
}

impl Context<'_> {
    fn turns_right(&self) -> bool {
        let mut x: Vec<f32> = (0..WIDTH).map(|i| i as f32).collect();
        let mut y = vec![-1.0; WIDTH];
        let (mut shape, mut shape2) = ([WIDTH as i64], [WIDTH as i64]);
        let run = self.0.get::<fn(Ptr, *const DLTensor, usize, *mut DLTensor, usize) -> c_int>("run");
        let status = run(self.1, &tensor(&mut x, &mut shape), 1, &mut tensor(&mut y, &mut shape2), 1);
        let wanted = |i: usize| ((i + self.0.steps) % WIDTH) as f32;
        status == 0 && (0..WIDTH).all(|i| y[i] == wanted(i))
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        self.0.get::<fn(Ptr)>("context_destroy")(self.1);
    }
}

/// Tests that count threads cannot run beside others that make them.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|t| std::fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.trim() == "sirius worker")).count()
}

#[test]
fn a_hundred_thousand_barriers_hold() {
    let _alone = alone();
    for (steps, threads) in [(100_000, [1, 2]), (10_000, [3, 4]), (10_000, [0, 9])] {
        let model = Model::new(steps);
        for n in threads {
            assert!(model.context(&options(n)).turns_right(), "{n} threads");
        }
    }
}

#[test]
fn a_thousand_contexts_leave_no_thread_behind() {
    let _alone = alone();
    let model = Model::new(20);
    for n in 0..1000 {
        let context = model.context(&options(0));
        assert!(n % 10 > 0 || context.turns_right());
    }
    assert_eq!(workers(), 0);
    let _three = [2, 2, 2].map(|n| model.context(&options(n)));
    assert!(_three.iter().all(Context::turns_right));
    assert_eq!(workers(), 3);
}

#[test]
fn contexts_run_beside_each_other() {
    let _alone = alone();
    let model = Model::new(300);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let context = model.context(&options(2));
                (0..50).for_each(|_| assert!(context.turns_right()));
            });
        }
    });
}

extern "C" fn on_scoped_threads(calls: Ptr, n: u32, task: Task, argument: Ptr) {
    unsafe { *calls.cast::<u32>() += 1 };
    let argument = argument as usize;
    std::thread::scope(|scope| {
        (0..n).for_each(|i| drop(scope.spawn(move || task(argument as Ptr, i))));
    });
}

#[test]
fn a_caller_lends_its_threads() {
    let _alone = alone();
    let model = Model::new(300);
    let mut calls = 0u32;
    let lent = Options { parallel: Some(on_scoped_threads), user: (&raw mut calls).cast(), ..options(4) };
    let context = model.context(&lent);
    assert!(context.turns_right() && context.turns_right());
    assert_eq!((calls, workers()), (2, 0));
}

#[test]
fn a_caller_from_before_lent_threads_is_served() {
    let _alone = alone();
    let model = Model::new(30);
    let old =
        Options { size: std::mem::offset_of!(Options, parallel), parallel: Some(on_scoped_threads), ..options(2) };
    assert!(model.context(&old).turns_right());
    let create = model.get::<fn(Ptr, *const Options, *mut Ptr) -> c_int>("context_create");
    let (mut context, short) = (std::ptr::null_mut(), Options { size: 8, ..options(2) });
    assert_eq!(create(model.model, &short, &mut context), 1);
}

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

#[test]
fn a_forked_child_runs_alone() {
    let _alone = alone();
    let model = Model::new(300);
    let context = model.context(&options(4));
    assert!(context.turns_right());
    // SAFETY: the child calls the model and leaves.
    let child = unsafe { fork() };
    if child == 0 {
        let right = context.turns_right();
        drop(context);
        unsafe { _exit(if right { 0 } else { 1 }) };
    }
    let mut status = -1;
    unsafe { waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    assert!(context.turns_right());
}
