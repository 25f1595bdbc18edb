//! Inputs whose contents are fixed when the model is compiled: shapes, axes and paddings that a model takes as
//! inputs, though its loops depend on them.
//!
//! A fixed input stays an input, so that callers pass what they always did; nothing reads it, and a run refuses
//! other contents than these.

use super::build::Draft;
use super::inputs::{DeclaredDim, DeclaredInput, show};
use crate::graph::{Tensor, TensorId};
use crate::run::value::Value;
use sirius_polyhedral::{Aff, ConstantData, Error, Result};
use std::collections::BTreeMap;

/// The contents of an input, as given on the command line or from a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Tensor(Value),
    /// For an input of rank 0 or 1, in its own element type.
    Ints(Vec<i128>),
    Floats(Vec<f64>),
}

/// Makes the named inputs constants; returns their contents by input number.
pub fn fix(draft: &mut Draft, values: &BTreeMap<String, Given>) -> Result<()> {
    for (name, given) in values {
        let Some(n) = draft.inputs.iter().position(|i| i.name == *name) else {
            let names: Vec<&str> = draft.inputs.iter().map(|i| i.name.as_str()).collect();
            let error = Error::invalid("E108", format!("the model has no input \"{name}\" whose value could be fixed"));
            return Err(error.help(format!("its inputs are {}", names.join(", "))));
        };
        let value = resolve(&draft.inputs[n], given)?;
        let unread = replace(draft, draft.inputs[n].id, &value);
        draft.graph.main.inputs[n] = unread;
        draft.inputs[n].id = unread;
        draft.inputs[n].dims = value.shape.iter().map(|d| DeclaredDim::Fixed(*d as i64)).collect();
        draft.graph.fixed.insert(n, ConstantData::new(value.bytes));
    }
    Ok(())
}

/// The value in the input's own type and rank.
fn resolve(input: &DeclaredInput, given: &Given) -> Result<Value> {
    let value = match given {
        Given::Tensor(value) => value.clone(),
        Given::Ints(list) => Value::from_ints(input.dtype, &list_shape(input, list.len()), list)?,
        Given::Floats(list) => Value::from_floats(input.dtype, &list_shape(input, list.len()), list)?,
    };
    let fits = |(dim, n): (&DeclaredDim, &usize)| match dim {
        DeclaredDim::Fixed(wanted) => *wanted == *n as i64,
        _ => true,
    };
    let agrees = value.rank() == input.dims.len() && input.dims.iter().zip(&value.shape).all(fits);
    if value.dtype != input.dtype || !agrees {
        let wanted = format!("{}[{}]", input.dtype, show(&input.dims));
        let message = format!("the value for input \"{}\" is {}{:?}", input.name, value.dtype, value.shape);
        return Err(Error::invalid("E108", message).help(format!("the model takes {wanted}")));
    }
    Ok(value)
}

fn list_shape(input: &DeclaredInput, len: usize) -> Vec<usize> {
    if input.dims.is_empty() && len == 1 { vec![] } else { vec![len] }
}

/// Readers keep the id, which becomes the constant; the input itself becomes a tensor that nothing reads.
fn replace(draft: &mut Draft, id: TensorId, value: &Value) -> TensorId {
    let shape: Vec<Aff> = value.shape.iter().map(|d| Aff::constant(*d as i64)).collect();
    let tensor = draft.graph.tensor_mut(id);
    let name = tensor.name.clone();
    tensor.dtype = value.dtype;
    tensor.shape = shape.clone();
    tensor.constant = Some(ConstantData::new(value.bytes.clone()));
    let mut fresh = format!("{name}:fixed");
    while draft.graph.tensors.iter().any(|t| t.name == fresh) {
        fresh.push('\'');
    }
    draft.graph.tensor_mut(id).name = fresh;
    draft.graph.add_tensor(Tensor { name, dtype: value.dtype, shape, constant: None, symbolic: None })
}
