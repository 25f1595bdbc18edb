//! Graph inputs: declared types, and named dimensions to parameters.

use super::proto::{DimensionValue, TensorShapeProto, TensorTypeProto};
use super::shape::Shape;
use super::tensor;
use crate::graph::TensorId;
use sirius_polyhedral::{DType, Error, Result};

/// What the file says about one graph input.
pub struct DeclaredInput {
    pub id: TensorId,
    pub name: String,
    pub dtype: DType,
    pub dims: Vec<DeclaredDim>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DeclaredDim {
    Fixed(i64),
    Named(String),
    /// No name and no usable number. Some exporters write -1 or `?` for "any".
    Unknown,
    /// 0: an empty tensor, or an exporter's "any".
    Zero,
}

impl DeclaredInput {
    /// A tensor of the type that the file declares; `given` is what the user says about its shape.
    pub fn read(name: &str, declared: &TensorTypeProto, given: Option<&Shape>, id: TensorId) -> Result<DeclaredInput> {
        let name = name.to_string();
        let dtype = tensor::dtype(declared.elem_type).map_err(|found| {
            let message = format!("input \"{name}\" has element type {found}, which is not supported");
            tensor::instead(Error::unsupported("E110", message), &found)
        })?;
        let dims = dims(&name, declared.shape.as_ref(), given)?;
        Ok(DeclaredInput { id, name, dtype, dims })
    }
}

/// The declared dimensions where there are any, and what the user says of those that are no numbers.
fn dims(name: &str, declared: Option<&TensorShapeProto>, given: Option<&Shape>) -> Result<Vec<DeclaredDim>> {
    let read = |shape: &TensorShapeProto| shape.dim.iter().map(|d| DeclaredDim::read(d.value.as_ref())).collect();
    let declared: Option<Vec<DeclaredDim>> = declared.map(read);
    match (declared, given) {
        (Some(declared), None) => Ok(declared),
        (None, Some(given)) => Ok(given.0.clone()),
        (Some(declared), Some(given)) => merged(name, declared, given),
        (None, None) => Err(Error::unsupported("E112", format!("input \"{name}\" has no declared rank"))
            .help(format!("say which: --shape {name}=N,M,.. with a number, a name or ? for each dimension"))),
    }
}

fn merged(name: &str, declared: Vec<DeclaredDim>, given: &Shape) -> Result<Vec<DeclaredDim>> {
    let agree = |(a, b): (&DeclaredDim, &DeclaredDim)| match (a, b) {
        (DeclaredDim::Fixed(a), DeclaredDim::Fixed(b)) => a == b,
        _ => true,
    };
    if declared.len() != given.0.len() || !declared.iter().zip(&given.0).all(agree) {
        let message = format!("the shape given for \"{name}\" contradicts the model");
        let help = format!("the model has [{}]; give a number, a name or ? for each", show(&declared));
        return Err(Error::invalid("E109", message).help(help));
    }
    let one = |(a, b): (DeclaredDim, &DeclaredDim)| match (&a, b) {
        (DeclaredDim::Fixed(_), _) | (_, DeclaredDim::Unknown) => a,
        _ => b.clone(),
    };
    Ok(declared.into_iter().zip(&given.0).map(one).collect())
}

/// The dimensions for people, `?` for those without a name.
pub fn show(dims: &[DeclaredDim]) -> String {
    let dim = |d: &DeclaredDim| match d {
        DeclaredDim::Fixed(n) => n.to_string(),
        DeclaredDim::Named(name) => name.clone(),
        DeclaredDim::Unknown | DeclaredDim::Zero => "?".to_string(),
    };
    dims.iter().map(dim).collect::<Vec<_>>().join(", ")
}

impl DeclaredDim {
    fn read(value: Option<&DimensionValue>) -> DeclaredDim {
        match value {
            Some(DimensionValue::Value(n)) if *n > 0 => DeclaredDim::Fixed(*n),
            Some(DimensionValue::Value(0)) => DeclaredDim::Zero,
            Some(DimensionValue::Param(name)) => match name.parse::<i64>() {
                Ok(n) if n > 0 => DeclaredDim::Fixed(n),
                Ok(_) => DeclaredDim::Unknown,
                Err(_) if name.is_empty() || name == "?" => DeclaredDim::Unknown,
                Err(_) => DeclaredDim::Named(name.clone()),
            },
            _ => DeclaredDim::Unknown,
        }
    }
}

/// A C identifier made from any name: `DynamicDimension.0` becomes `DynamicDimension_0`.
pub fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}
