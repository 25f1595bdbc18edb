//! Every function against the `f64` functions of the C library (themselves good to 1 ULP of `f64`).

use super::*;
use inkwell::OptimizationLevel;
use inkwell::execution_engine::JitFunction;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, InitializationConfig, RelocMode, Target, TargetMachine};
use inkwell::values::BasicValue;

unsafe extern "C" {
    fn erf(x: f64) -> f64;
}

type Map = unsafe extern "C" fn(*const u8, *mut u8);
type Emit<'b> = &'b dyn for<'a, 'c> Fn(&MathEmitter<'a, 'c>, BasicValueEnum<'c>) -> Result<BasicValueEnum<'c>>;

/// The two float types, for the tests' generic parts.
trait Float: Copy + Default + PartialEq + std::fmt::Debug {
    const BITS: u32;
    fn from_pattern(bits: u64) -> Self;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    /// Distance in units of the last place of `want`.
    fn ulp(self, want: f64) -> f64;
}

macro_rules! float {
    ($t:ident, $bits:ident, $digits:expr, $least:expr) => {
        impl Float for $t {
            const BITS: u32 = $bits::BITS;
            fn from_pattern(bits: u64) -> $t {
                $t::from_bits((bits >> (64 - $bits::BITS)) as $bits)
            }
            fn of(x: f64) -> $t {
                x as $t
            }
            fn wide(self) -> f64 {
                self as f64
            }
            fn ulp(self, want: f64) -> f64 {
                let (got, rounded) = (self as f64, (want as $t) as f64);
                if got == rounded || (got.is_nan() && want.is_nan()) {
                    return 0.0;
                }
                let exponent = if want == 0.0 { $least } else { want.abs().log2().floor() };
                let unit = exponent.max($least).min($t::MAX_EXP as f64 - 1.0) - $digits;
                let distance = (got - if rounded.is_finite() { want } else { rounded }).abs();
                // In two steps, because the unit itself may be below the least f64.
                let half = (unit / 2.0).floor();
                let distance = distance / 2f64.powf(half) / 2f64.powf(unit - half);
                if distance.is_nan() { f64::INFINITY } else { distance }
            }
        }
    };
}
float!(f32, u32, 23.0, -126.0);
float!(f64, u64, 52.0, -1022.0);

/// Compiles `emit` for vectors of `lanes` (0: scalars) and maps it over `xs`.
fn map<T: Float>(emit: Emit<'_>, lanes: u32, xs: &[T]) -> Vec<T> {
    let context = Context::create();
    let module = context.create_module("m");
    write_map::<T>(&context, &module, emit, lanes);
    module.verify().unwrap_or_else(|e| panic!("{e}\n{}", module.print_to_string().to_string()));
    Target::initialize_native(&InitializationConfig::default()).unwrap();
    let triple = TargetMachine::get_default_triple();
    let target = Target::from_triple(&triple).unwrap();
    let (level, reloc) = (OptimizationLevel::Default, RelocMode::Default);
    let machine = target.create_target_machine(&triple, "generic", "", level, reloc, CodeModel::Default).unwrap();
    module.run_passes("always-inline,default<O1>", &machine, PassBuilderOptions::create()).unwrap();
    let engine = module.create_jit_execution_engine(level).unwrap();
    let f: JitFunction<Map> = unsafe { engine.get_function("map") }.unwrap();
    let step = lanes.max(1) as usize;
    let mut padded = xs.to_vec();
    padded.resize(xs.len().next_multiple_of(step), T::default());
    let mut ys = vec![T::default(); padded.len()];
    for (x, y) in padded.chunks(step).zip(ys.chunks_mut(step)) {
        unsafe { f.call(x.as_ptr().cast(), y.as_mut_ptr().cast()) };
    }
    ys.truncate(xs.len());
    ys
}

fn write_map<'c, T: Float>(context: &'c Context, module: &Module<'c>, emit: Emit<'_>, lanes: u32) {
    let builder = context.create_builder();
    let pointer = context.ptr_type(Default::default());
    let f = module.add_function("map", context.void_type().fn_type(&[pointer.into(), pointer.into()], false), None);
    for (key, value) in [
        ("target-cpu", TargetMachine::get_host_cpu_name()),
        ("target-features", TargetMachine::get_host_cpu_features()),
    ] {
        f.add_attribute(AttributeLoc::Function, context.create_string_attribute(key, value.to_str().unwrap()));
    }
    builder.position_at_end(context.append_basic_block(f, ""));
    let scalar = if T::BITS == 32 { context.f32_type() } else { context.f64_type() };
    let t: BasicTypeEnum = if lanes == 0 { scalar.into() } else { scalar.vec_type(lanes).into() };
    let x = builder.build_load(t, f.get_nth_param(0).unwrap().into_pointer_value(), "x").unwrap();
    x.as_instruction_value().unwrap().set_alignment(4).unwrap();
    let y = emit(&MathEmitter { context, module, builder: &builder }, x).unwrap();
    let store = builder.build_store(f.get_nth_param(1).unwrap().into_pointer_value(), y).unwrap();
    store.set_alignment(4).unwrap();
    builder.build_return(None).unwrap();
}

fn unary<T: Float>(op: UnaryOp, lanes: u32, xs: &[T]) -> Vec<T> {
    map(&|m, x| emit_unary(m, op, x), lanes, xs)
}

/// About `count` bit patterns from the whole range, by a stride that is odd in every sense.
fn sweep<T: Float>(count: u64) -> Vec<T> {
    let step = (u64::MAX / count) | 1;
    (0..count).map(|i| T::from_pattern(i.wrapping_mul(step).wrapping_add(step / 3))).collect()
}

fn specials<T: Float>() -> Vec<T> {
    let positive = [0.0, 1e-310, 1e-40, 1e-30, 0.5, 1.0, 1.5, 2.0, 10.0, 88.7, 88.8, 104.0, 709.0, 710.0, 1e10, 3e38];
    let values = positive.into_iter().chain([f64::INFINITY, f64::NAN]);
    values.flat_map(|x| [T::of(x), T::of(-x)]).collect()
}

/// The largest error over a sweep, where it is, and the same check on special values.
fn worst<T: Float>(op: UnaryOp, want: impl Fn(f64) -> f64, xs: &[T]) -> (f64, T) {
    let ys = unary(op, 8, xs);
    let errors = xs.iter().zip(&ys).map(|(&x, &y)| (y.ulp(want(x.wide())), x));
    errors.fold((0.0, T::default()), |a, b| if b.0 > a.0 { b } else { a })
}

#[track_caller]
fn check<T: Float>(op: UnaryOp, limit: f64, want: impl Fn(f64) -> f64) {
    let mut xs = sweep::<T>(600_000);
    xs.extend(specials::<T>());
    let (error, at) = worst(op, want, &xs);
    println!("{:8} {} {error:.2} at {at:?}", op.name(), std::any::type_name::<T>());
    assert!(error <= limit, "{} of {at:?}: {error} ULP, {:?}", op.name(), unary(op, 0, &[at]));
}

/// What these functions do with results that `f32` has only with gradual underflow.
fn flush(y: f64) -> f64 {
    if y.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { y }
}

#[test]
fn exp_f32() {
    check::<f32>(UnaryOp::Exp, 1.1, |x| flush(x.exp()));
}

#[test]
fn log_f32() {
    check::<f32>(UnaryOp::Log, 2.0, f64::ln);
}

#[test]
fn tanh_f32() {
    check::<f32>(UnaryOp::Tanh, 2.6, f64::tanh);
}

#[test]
fn sigmoid_f32() {
    check::<f32>(UnaryOp::Sigmoid, 2.5, |x| flush(1.0 / (1.0 + (-x).exp())));
}

#[test]
fn erf_f32() {
    check::<f32>(UnaryOp::Erf, 2.5, |x| unsafe { erf(x) });
}
