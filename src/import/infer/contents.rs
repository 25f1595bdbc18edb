//! Moving and combining the known contents of small integer tensors. Row-major throughout.

use sirius_polyhedral::Aff;

/// Floats as integers, where all of them are whole and exact in every float type that may hold them.
pub fn whole(values: &[f64]) -> Option<Vec<Aff>> {
    let exact = |v: &f64| (v.fract() == 0.0 && v.abs() <= f64::from(1 << 24)).then(|| Aff::constant(*v as i64));
    values.iter().map(exact).collect()
}

/// Row-major strides.
pub fn strides(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// All index tuples of `shape` in order, with their position.
pub fn for_each_index(shape: &[i64], mut visit: impl FnMut(&[i64])) {
    let count: i64 = shape.iter().product();
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        visit(&index);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
}

/// The tensor of `shape` whose element at `i` is `source[from(i)]`. `None` if any subscript is outside.
pub fn gather(source: &[Aff], shape: &[i64], from: impl Fn(&[i64]) -> Option<i64>) -> Option<Vec<Aff>> {
    let mut out = Vec::new();
    let mut inside = true;
    for_each_index(shape, |index| {
        let at = from(index).and_then(|at| source.get(usize::try_from(at).ok()?));
        inside &= at.is_some();
        out.extend(at.cloned());
    });
    inside.then_some(out)
}

/// `source` of shape `from`, broadcast to `to`.
pub fn broadcast(source: &[Aff], from: &[i64], to: &[i64]) -> Option<Vec<Aff>> {
    let offset = to.len().checked_sub(from.len())?;
    let strides = strides(from);
    gather(source, to, |index| {
        let parts = index[offset..].iter().zip(from).zip(&strides);
        Some(parts.map(|((i, n), s)| if *n == 1 { 0 } else { i * s }).sum())
    })
}

/// Joins tensors along `axis`; each part is its contents and shape.
pub fn concat(parts: &[(Vec<Aff>, Vec<i64>)], axis: usize) -> Vec<Aff> {
    let Some((_, first)) = parts.first() else { return Vec::new() };
    let outer: i64 = first[..axis].iter().product();
    let mut out = Vec::new();
    for row in 0..outer as usize {
        for (values, shape) in parts {
            let length = shape[axis..].iter().product::<i64>() as usize;
            out.extend(values[row * length..(row + 1) * length].iter().cloned());
        }
    }
    out
}
