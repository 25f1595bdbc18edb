//! Graph inputs: declared types, and named dimensions to parameters.

use super::proto::{DimensionValue, ValueInfoProto};
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
    pub fn read(info: &ValueInfoProto, id: TensorId) -> Result<DeclaredInput> {
        let name = info.name.clone();
        let Some(tensor_type) = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
            return Err(Error::unsupported(
                "E110",
                format!("input \"{name}\" is a sequence, optional or map; only tensors can be inputs"),
            ));
        };
        let dtype = tensor::dtype(tensor_type.elem_type).map_err(|found| {
            Error::unsupported("E110", format!("input \"{name}\" has element type {found}, which is not supported"))
        })?;
        let Some(shape) = &tensor_type.shape else {
            return Err(Error::unsupported("E112", format!("input \"{name}\" has no declared rank"))
                .help("export the model with the input's shape; dimensions may be symbolic"));
        };
        let dims = shape.dim.iter().map(|d| DeclaredDim::read(d.value.as_ref())).collect();
        Ok(DeclaredInput { id, name, dtype, dims })
    }
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
