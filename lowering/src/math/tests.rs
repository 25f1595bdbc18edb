//! Every function against the `f64` functions of the C library (themselves good to 1 ULP of `f64`).

use super::*;
use inkwell::OptimizationLevel;
use inkwell::attributes::AttributeLoc;
use inkwell::execution_engine::JitFunction;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, InitializationConfig, RelocMode, Target, TargetMachine};
use inkwell::values::BasicValue;

unsafe extern "C" {
    fn erf(x: f64) -> f64;
    // Rust's own versions of these are not good to 1 ULP.
    fn asinh(x: f64) -> f64;
    fn acosh(x: f64) -> f64;
    fn atanh(x: f64) -> f64;
}

type Map = unsafe extern "C" fn(*const u8, *mut u8);
type Emit<'b> = &'b dyn for<'a, 'c> Fn(&MathEmitter<'a, 'c>, BasicValueEnum<'c>) -> Result<BasicValueEnum<'c>>;

type EmitPair<'b> =
    &'b dyn for<'a, 'c> Fn(&MathEmitter<'a, 'c>, BasicValueEnum<'c>, BasicValueEnum<'c>) -> Result<BasicValueEnum<'c>>;

type Reference<'b> = &'b dyn Fn(f64) -> f64;

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

/// Maps a function of two arguments; vectors hold `x` lanes, then `y` lanes.
fn map_pairs<T: Float>(emit: EmitPair<'_>, lanes: u32, xs: &[T], ys: &[T]) -> Vec<T> {
    let chunk = lanes as usize;
    let mixed: Vec<T> = xs.chunks(chunk).zip(ys.chunks(chunk)).flat_map(|(x, y)| padded(x, y, chunk)).collect();
    let both = map(&|m, v| on_halves(m, v, emit), lanes * 2, &mixed);
    both.chunks(chunk * 2).flat_map(|c| c[..chunk].to_vec()).take(xs.len()).collect()
}

fn padded<T: Float>(x: &[T], y: &[T], to: usize) -> Vec<T> {
    let mut both = [x.to_vec(), y.to_vec()];
    both.iter_mut().for_each(|v| v.resize(to, T::default()));
    both.concat()
}

fn on_halves<'c>(m: &MathEmitter<'_, 'c>, v: BasicValueEnum<'c>, emit: EmitPair<'_>) -> Result<BasicValueEnum<'c>> {
    let v = v.into_vector_value();
    let n = v.get_type().get_size();
    let i32 = m.context.i32_type();
    let pick = |from: u32, count: u32| {
        let order: Vec<_> = (from..from + count).map(|i| i32.const_int(u64::from(i % n), false)).collect();
        inkwell::types::VectorType::const_vector(&order)
    };
    let half = |from| m.builder.build_shuffle_vector(v, v, pick(from, n / 2), "").unwrap();
    let y = emit(m, half(0).into(), half(n / 2).into())?.into_vector_value();
    Ok(m.builder.build_shuffle_vector(y, y, pick(0, n), "").unwrap().into())
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
    let y = emit(&MathEmitter { context, module, builder: &builder, avx512: false }, x).unwrap();
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

/// The bound of every function and type, in ULP; [`super`] has the table.
#[test]
fn exp_and_log() {
    check::<f32>(UnaryOp::Exp, 1.1, |x| flush(x.exp()));
    check::<f64>(UnaryOp::Exp, 1.5, f64::exp);
    check::<f32>(UnaryOp::Log, 1.0, f64::ln);
    check::<f64>(UnaryOp::Log, 1.5, f64::ln);
}

#[test]
fn activations() {
    check::<f32>(UnaryOp::Tanh, 2.5, f64::tanh);
    check::<f64>(UnaryOp::Tanh, 3.5, f64::tanh);
    check::<f32>(UnaryOp::Sigmoid, 2.5, |x| flush(1.0 / (1.0 + (-x).exp())));
    check::<f64>(UnaryOp::Sigmoid, 3.5, |x| 1.0 / (1.0 + (-x).exp()));
    check::<f32>(UnaryOp::Erf, 2.5, |x| unsafe { erf(x) });
    check::<f64>(UnaryOp::Erf, 3.5, |x| unsafe { erf(x) });
}

/// The forms for AVX-512: the same bounds, whatever the width.
#[test]
fn exponentials_of_avx512() {
    if !std::is_x86_feature_detected!("avx512dq") {
        return;
    }
    let of = |op, lanes, xs: &[f32]| map(&|m, x| emit_unary(&MathEmitter { avx512: true, ..*m }, op, x), lanes, xs);
    let dense = (0..400_000).map(|i| i as f32 * 4.5e-4 - 90.0);
    let xs: Vec<f32> = sweep(600_000).into_iter().chain(specials()).chain(dense).collect();
    let sigmoid = |x: f64| flush(1.0 / (1.0 + (-x).exp()));
    let functions: [(UnaryOp, f64, Reference); 2] =
        [(UnaryOp::Exp, 1.1, &|x| flush(x.exp())), (UnaryOp::Sigmoid, 2.5, &sigmoid)];
    for (op, limit, want) in functions {
        let ys = of(op, 16, &xs);
        let errors = xs.iter().zip(&ys).map(|(&x, &y)| (y.ulp(want(x.wide())), x));
        let (error, at) = errors.fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
        println!("{:8} avx512 {error:.2} at {at:?}", op.name());
        assert!(error <= limit, "{} of {at:?}: {error} ULP", op.name());
        for lanes in [0, 1, 3, 8] {
            let narrow = of(op, lanes, &xs[590_000..]);
            let same = narrow.iter().zip(&ys[590_000..]).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{} with {lanes} lanes", op.name());
        }
    }
}

#[test]
fn trigonometric_functions() {
    both(UnaryOp::Sin, 2.0, f64::sin);
    both(UnaryOp::Cos, 2.0, f64::cos);
    both(UnaryOp::Tan, 3.0, f64::tan);
    both(UnaryOp::Asin, 3.0, f64::asin);
    both(UnaryOp::Acos, 3.0, f64::acos);
    both(UnaryOp::Atan, 2.0, f64::atan);
}

#[test]
fn hyperbolic_functions() {
    both(UnaryOp::Sinh, 3.0, f64::sinh);
    both(UnaryOp::Cosh, 2.0, f64::cosh);
    both(UnaryOp::Asinh, 4.0, |x| unsafe { asinh(x) });
    both(UnaryOp::Acosh, 4.0, |x| unsafe { acosh(x) });
    both(UnaryOp::Atanh, 4.0, |x| unsafe { atanh(x) });
}

/// `f32` results go through `f64` and are rounded once more.
#[track_caller]
fn both(op: UnaryOp, limit: f64, want: impl Fn(f64) -> f64 + Copy) {
    check::<f32>(op, 0.51, want);
    check::<f64>(op, limit, want);
}

#[test]
fn simple_functions_are_exact() {
    both(UnaryOp::Neg, 0.0, |x| -x);
    both(UnaryOp::Abs, 0.0, f64::abs);
    both(UnaryOp::Sign, 0.0, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() });
    both(UnaryOp::Floor, 0.0, f64::floor);
    both(UnaryOp::Ceil, 0.0, f64::ceil);
    both(UnaryOp::Round, 0.0, f64::round_ties_even);
    both(UnaryOp::Sqrt, 0.51, f64::sqrt);
}

/// Pairs from a sweep against values of ordinary size, and all pairs of special values.
fn pairs<T: Float>() -> (Vec<T>, Vec<T>) {
    let ordinary = (0..200_000).map(|i| T::of(f64::from(i % 1777) * 0.0437 - 38.0));
    let mut all: Vec<(T, T)> = sweep::<T>(200_000).into_iter().zip(ordinary).collect();
    all.extend((0..200_000).map(|i| (T::of(1.0 + f64::from(i) * 1.1e-5), T::of(f64::from(i % 3571) * 0.02 - 30.0))));
    let ends = specials::<T>();
    all.extend(ends.iter().flat_map(|&x| ends.iter().map(move |&y| (x, y))));
    all.extend((-5..=5).flat_map(|n| ends.iter().map(move |&x| (x, T::of(f64::from(n))))));
    all.into_iter().unzip()
}

#[track_caller]
fn check_pairs<T: Float>(name: &str, emit: EmitPair<'_>, limit: f64, want: impl Fn(f64, f64) -> f64) {
    let (xs, ys) = pairs::<T>();
    let got = map_pairs(emit, 8, &xs, &ys);
    let mut worst = (0.0, 0);
    for i in 0..xs.len() {
        let error = got[i].ulp(want(xs[i].wide(), ys[i].wide()));
        worst = if error > worst.0 { (error, i) } else { worst };
    }
    let (error, i) = worst;
    println!("{name:8} {} {error:.2} at {:?}, {:?}", std::any::type_name::<T>(), xs[i], ys[i]);
    assert!(error <= limit, "{name}({:?}, {:?}): {error} ULP, {:?}", xs[i], ys[i], got[i]);
}

#[test]
fn powers() {
    check_pairs::<f32>("pow", &|m, x, y| emit_pow(m, x, y), 0.51, f64::powf);
    check_pairs::<f64>("pow", &|m, x, y| emit_pow(m, x, y), 1.5, f64::powf);
}

#[test]
fn remainders() {
    check_pairs::<f32>("fmod", &|m, x, y| emit_fmod(m, x, y), 0.0, |x, y| x % y);
    check_pairs::<f64>("fmod", &|m, x, y| emit_fmod(m, x, y), 0.0, |x, y| x % y);
}

#[test]
fn constant_powers_need_no_logarithm() {
    for n in [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0] {
        let emit: Emit<'_> = &|m, x| {
            let y = inkwell::types::VectorType::const_vector(&[m.context.f32_type().const_float(n); 4]);
            let result = emit_pow(m, x, y.into());
            assert!(m.module.get_function("sirius.pow.v4f32").is_none());
            result
        };
        let xs: Vec<f32> = vec![0.0, -0.0, 1.5, 9.0, 2.25, 1e-20, f32::INFINITY, f32::NEG_INFINITY];
        for (x, got) in xs.iter().zip(map(emit, 4, &xs)) {
            assert!(got.ulp(f64::from(*x).powf(n)) <= 1.5, "{x}^{n} = {got}");
        }
    }
}

/// Every width gives the same bits: rare lanes, odd widths and scalars included.
#[test]
fn widths_agree() {
    let mut xs = sweep::<f32>(96);
    xs.extend(specials::<f32>());
    for op in [UnaryOp::Exp, UnaryOp::Log, UnaryOp::Tanh, UnaryOp::Erf, UnaryOp::Sigmoid, UnaryOp::Sin] {
        let want: Vec<u32> = unary(op, 8, &xs).iter().map(|y: &f32| y.to_bits()).collect();
        for lanes in [0, 1, 3, 16] {
            let got: Vec<u32> = unary(op, lanes, &xs).iter().map(|y: &f32| y.to_bits()).collect();
            assert_eq!(got, want, "{} with {lanes} lanes", op.name());
        }
    }
}

/// What LLVM could turn into a library call must not be there.
#[test]
fn no_library_calls() {
    let context = Context::create();
    for op in UnaryOp::ALL {
        let module = context.create_module("m");
        if op != UnaryOp::Not {
            write_map::<f32>(&context, &module, &|m, x| Ok(mask_to_float(m, emit_unary(m, op, x)?)), 8);
        }
        let text = module.print_to_string().to_string();
        for line in text.lines().filter(|l| l.starts_with("declare")) {
            let known =
                ["fma.", "fabs.", "sqrt.", "floor.", "ceil.", "trunc.", "roundeven.", "vector.reduce.or", "ctlz."];
            assert!(known.iter().any(|k| line.contains(&format!("@llvm.{k}"))), "{line}");
        }
    }
}

fn mask_to_float<'c>(m: &MathEmitter<'_, 'c>, y: BasicValueEnum<'c>) -> BasicValueEnum<'c> {
    match y {
        BasicValueEnum::VectorValue(v) if v.get_type().get_element_type().is_int_type() => {
            let t = m.context.f32_type().vec_type(v.get_type().get_size());
            m.builder.build_unsigned_int_to_float(v, t, "").unwrap().into()
        }
        other => other,
    }
}

#[test]
fn predicates() {
    let xs = [0.0f32, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3e38, -3e38, 1e-45];
    let is = |op| map::<f32>(&|m, x| Ok(mask_to_float(m, emit_unary(m, op, x)?)), 8, &xs);
    assert_eq!(is(UnaryOp::IsNan), xs.map(|x| x.is_nan() as u8 as f32));
    assert_eq!(is(UnaryOp::IsPosInf), xs.map(|x| (x == f32::INFINITY) as u8 as f32));
    assert_eq!(is(UnaryOp::IsNegInf), xs.map(|x| (x == f32::NEG_INFINITY) as u8 as f32));
}
