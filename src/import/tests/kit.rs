//! Small models built in memory.

use crate::graph::{Graph, TensorId};
use crate::import::proto::*;
use crate::import::{ImportOptions, load_bytes};
use bytes::Bytes;
use prost::Message;
use sirius_polyhedral::Result;
use std::path::Path;

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;
pub const BOOL: i32 = 9;

/// `x`, `dims` of numbers and names: `value("x", FLOAT, &["batch", "3"])`; `?` is an unnamed dimension.
pub fn value(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| {
        let value = match d.parse::<i64>() {
            Ok(n) => Some(DimensionValue::Value(n)),
            Err(_) if *d == "?" => None,
            Err(_) => Some(DimensionValue::Param(d.to_string())),
        };
        Dimension { value }
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type, ..Default::default() }) }
}

/// An input that is a sequence of such tensors; `None` leaves their rank open.
pub fn sequence(name: &str, elem_type: i32, dims: Option<&[&str]>) -> ValueInfoProto {
    let tensor = value(name, elem_type, dims.unwrap_or_default()).r#type.and_then(|t| t.tensor_type);
    let tensor_type = tensor.map(|t| TensorTypeProto { shape: t.shape.filter(|_| dims.is_some()), ..t });
    let sequence_type = Some(SequenceTypeProto { elem_type: Some(ElementTypeProto { tensor_type }) });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { sequence_type, ..Default::default() }) }
}

/// An input that is an optional of the other's type.
pub fn optional(of: ValueInfoProto) -> ValueInfoProto {
    let inner =
        of.r#type.map(|t| OptionalElementTypeProto { tensor_type: t.tensor_type, sequence_type: t.sequence_type });
    let optional_type = Some(OptionalTypeProto { elem_type: inner });
    ValueInfoProto { r#type: Some(TypeProto { optional_type, ..Default::default() }), ..of }
}

/// A node; names are separated by spaces, `_` is an omitted input.
pub fn node(op: &str, inputs: &str, outputs: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |list: &str| list.split_whitespace().map(|n| if n == "_" { "" } else { n }.to_string()).collect();
    NodeProto {
        op_type: op.into(),
        name: format!("{op}_of_{outputs}"),
        input: names(inputs),
        output: names(outputs),
        attribute,
        ..Default::default()
    }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i, ..Default::default() }
}

pub fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 7, ints: ints.to_vec(), ..Default::default() }
}

pub fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 5, g: Some(Box::new(graph)), ..Default::default() }
}

/// An `i64` initializer.
pub fn weight(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: INT64,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A float initializer of zeros.
pub fn zeros(name: &str, dims: &[i64]) -> TensorProto {
    let bytes = dims.iter().product::<i64>() as usize * 4;
    let raw_data = Some(Bytes::from(vec![0; bytes]));
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: FLOAT, raw_data, ..Default::default() }
}

pub fn graph(
    input: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
    node: Vec<NodeProto>,
    outputs: &str,
) -> GraphProto {
    let output = outputs.split_whitespace().map(|name| value(name, FLOAT, &[])).collect();
    GraphProto { name: "test".into(), input, initializer, node, output, ..Default::default() }
}

pub fn model(graph: GraphProto) -> ModelProto {
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { ir_version: 8, opset_import, graph: Some(Box::new(graph)), ..Default::default() }
}

pub fn import(model: &ModelProto) -> Result<Graph> {
    import_with(model, &ImportOptions::default())
}

pub fn import_with(model: &ModelProto, options: &ImportOptions) -> Result<Graph> {
    load_bytes(Bytes::from(model.encode_to_vec()), Path::new("."), options)
}

/// The graph of `nodes` over `inputs` and `weights`, its outputs as `name dtype[dims]`.
pub fn shapes(
    inputs: Vec<ValueInfoProto>,
    weights: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
    outputs: &str,
) -> Vec<String> {
    let imported = import(&model(graph(inputs, weights, nodes, outputs))).unwrap();
    crate::graph::verify::verify(&imported).unwrap();
    imported.main.outputs.iter().map(|&id| show(&imported, id)).collect()
}

pub fn show(graph: &Graph, id: TensorId) -> String {
    let tensor = graph.tensor(id);
    let dims = tensor.shape.iter().map(|a| a.display(&|p| graph.params.get(p).name.clone(), &|_| String::new()));
    format!("{} {}[{}]", tensor.name, tensor.dtype, dims.collect::<Vec<_>>().join(", "))
}
