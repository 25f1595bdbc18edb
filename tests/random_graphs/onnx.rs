//! Pieces of ONNX files.

use prost::Message;
use sirius::import::proto::*;
use sirius::run::{Value, pb};
use sirius_polyhedral::DType;

/// The version of the default domain that every model uses.
const OPSET: i64 = 23;

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i: value, ..Default::default() }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 1, f: value, ..Default::default() }
}

pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 3, s: value.as_bytes().to_vec().into(), ..Default::default() }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 7, ints: values.to_vec(), ..Default::default() }
}

pub fn tensor(name: &str, value: &Value) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 4, t: Some(Box::new(initializer("", value))), ..Default::default() }
}

pub fn graph(name: &str, body: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 5, g: Some(Box::new(body)), ..Default::default() }
}

pub fn initializer(name: &str, value: &Value) -> TensorProto {
    TensorProto::decode(pb::encode(name, value).as_slice()).expect("what was just encoded")
}

/// The number of an element type in files.
pub fn code(dtype: DType) -> i32 {
    initializer("", &Value::zeros(dtype, &[]).expect("a scalar")).data_type
}

/// `dims` of `None` leaves the shape open.
pub fn info(name: &str, dtype: DType, dims: Option<Vec<DimensionValue>>) -> ValueInfoProto {
    let shape =
        dims.map(|dims| TensorShapeProto { dim: dims.into_iter().map(|d| Dimension { value: Some(d) }).collect() });
    let tensor_type = TensorTypeProto { elem_type: code(dtype), shape };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type), ..Default::default() }),
    }
}

/// The bytes of a file.
pub fn file(graph: GraphProto) -> Vec<u8> {
    let opset = OperatorSetIdProto { domain: String::new(), version: OPSET };
    let graph = Some(Box::new(graph));
    ModelProto { ir_version: 10, opset_import: vec![opset], graph, ..Default::default() }.encode_to_vec()
}
