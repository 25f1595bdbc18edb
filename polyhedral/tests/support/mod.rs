//! Runs programs on made-up inputs, so that two of them can be compared by their numbers.

use sirius_polyhedral::*;

/// A machine with fixed numbers: what a pass does in a test must not depend on where the test runs.
pub fn machine(gpu: bool) -> Machine {
    Machine {
        vector_bytes: if gpu { 4 } else { 64 },
        vector_registers: 32,
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        l3_bytes: 32 << 20,
        threads: 4,
        barrier_ns: 200.0,
        gpu,
        byte_dots: false,
        numeric: Numeric::Contract,
    }
}

/// The outputs of the program on inputs that depend only on their types and sizes; dimensions take their hints.
pub fn outputs(program: &Program) -> Result<Vec<Vec<f64>>> {
    outputs_of(program, &astgen::generate(program)?)
}

/// The same for a nest of the program.
pub fn outputs_of(program: &Program, nest: &LoopNest) -> Result<Vec<Vec<f64>>> {
    let dims: Vec<(&str, i64)> = program
        .params
        .iter()
        .filter(|(_, p)| matches!(p.def, ParamDef::Input { .. }))
        .map(|(_, p)| (p.name.as_str(), p.hint))
        .collect();
    let inputs: Vec<Vec<u8>> = program.inputs.iter().map(|id| input(program, program.array(*id))).collect();
    let bytes = nest_interp::run(nest, &dims, &inputs)?;
    Ok(bytes.iter().zip(&program.outputs).map(|(b, id)| values(b, program.array(*id).dtype)).collect())
}

fn input(program: &Program, array: &Array) -> Vec<u8> {
    let count: i64 = array.extents.iter().map(|e| program.params.hint(e)).product();
    let mut state = 0x2545_F491u64;
    let mut bytes = vec![0; count as usize * array.dtype.size()];
    for at in 0..count as usize {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let step = ((state >> 40) % 17) as f64;
        let value = if array.dtype.is_float() { step / 8.0 - 1.0 } else { step % 2.0 };
        scalar::write(&mut bytes, at, Scalar::of(value, array.dtype));
    }
    bytes
}

fn values(bytes: &[u8], dtype: DType) -> Vec<f64> {
    (0..bytes.len() / dtype.size()).map(|at| scalar::read(bytes, at, dtype).as_f64()).collect()
}

/// The first difference beyond what another order of sums explains.
pub fn difference(before: &[Vec<f64>], after: &[Vec<f64>]) -> Option<String> {
    if before.len() != after.len() {
        return Some(format!("{} outputs became {}", before.len(), after.len()));
    }
    for (n, (x, y)) in before.iter().zip(after).enumerate() {
        let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-4 * (1.0 + a.abs()) || a.is_nan() != b.is_nan();
        if let Some(at) = x.iter().zip(y).position(far) {
            return Some(format!("output {n} element {at}: {} became {}", x[at], y[at]));
        }
        if x.len() != y.len() {
            return Some(format!("output {n} has {} elements, had {}", y.len(), x.len()));
        }
    }
    None
}
