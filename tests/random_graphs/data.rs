//! Numbers for inputs and constants.

use crate::bounds::Bounds;
use crate::choices::Random;
use crate::dim::Dim;
use crate::maker::Tensor;
use sirius::run::Value;
use sirius_polyhedral::DType;
use std::collections::BTreeMap;

/// Elements within `bounds`, which leave room for the rounding of the type.
pub fn values(random: &mut Random, dtype: DType, shape: &[usize], bounds: Bounds) -> Value {
    let count: usize = shape.iter().product();
    if dtype.is_float() {
        let list: Vec<f64> = (0..count).map(|_| number(random, bounds)).collect();
        return Value::from_floats(dtype, shape, &list).expect("as many as the shape says");
    }
    let list: Vec<i128> = (0..count).map(|_| number(random, Bounds { whole: true, ..bounds }) as i128).collect();
    Value::from_ints(dtype, shape, &list).expect("as many as the shape says")
}

fn number(random: &mut Random, bounds: Bounds) -> f64 {
    let value = bounds.lo + random.unit() * (bounds.hi - bounds.lo);
    if bounds.whole { value.round().clamp(bounds.lo, bounds.hi) } else { value }
}

/// Data for `inputs`; a named dimension is the same everywhere.
pub fn inputs(random: &mut Random, inputs: &[Tensor]) -> Vec<Value> {
    let mut extents: BTreeMap<String, usize> = BTreeMap::new();
    let mut extent = |random: &mut Random, dim: &Dim| match dim {
        Dim::Fixed(n) => *n,
        other => {
            let (low, high) = (other.min(), other.max());
            *extents.entry(format!("{other:?}")).or_insert_with(|| low + random.below(high - low + 1))
        }
    };
    let mut made = Vec::new();
    for input in inputs {
        let shape: Vec<usize> = input.dims.iter().map(|d| extent(random, d)).collect();
        made.push(values(random, input.dtype, &shape, input.bounds));
    }
    made
}
