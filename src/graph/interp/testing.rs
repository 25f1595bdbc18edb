//! Helpers of the interpreter's tests: nodes from attributes, values from literals.

use super::evaluate;
use crate::graph::{Attribute, Node};
use crate::run::value::Value;
use sirius_polyhedral::Result;

/// A node of the default domain; inputs and outputs are not needed by `evaluate`.
pub fn node(op: &str, version: i64, attributes: &[(&str, Attribute)]) -> Node {
    Node {
        name: format!("{op}_0"),
        op: op.to_string(),
        domain: String::new(),
        version,
        inputs: Vec::new(),
        outputs: vec![None],
        attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
    }
}

pub fn try_eval(op: &str, version: i64, attributes: &[(&str, Attribute)], inputs: &[&Value]) -> Result<Vec<Value>> {
    let inputs: Vec<Option<&Value>> = inputs.iter().copied().map(Some).collect();
    evaluate(&node(op, version, attributes), &inputs, &[])
}

/// Result 0 of `op` with opset `version`.
pub fn eval(op: &str, version: i64, attributes: &[(&str, Attribute)], inputs: &[&Value]) -> Value {
    try_eval(op, version, attributes, inputs).unwrap().remove(0)
}

pub fn f32s(shape: &[usize], values: &[f32]) -> Value {
    Value::from_f32(shape, values).unwrap()
}

pub fn i64s(shape: &[usize], values: &[i64]) -> Value {
    Value::from_i64(shape, values).unwrap()
}

pub fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

/// Checks shape and contents to 1e-6.
pub fn assert_close(value: &Value, shape: &[usize], wanted: &[f64]) {
    assert_eq!(value.shape, shape);
    for (i, (got, wanted)) in value.floats().iter().zip(wanted).enumerate() {
        assert!((got - wanted).abs() <= 1e-6 * (1.0 + wanted.abs()), "element {i}: got {got}, wanted {wanted}");
    }
}
