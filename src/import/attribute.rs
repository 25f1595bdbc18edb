//! Attributes: the value of an `AttributeProto`, subgraphs excepted.

use super::proto::{AttributeProto, TensorProto};
use crate::graph::Attribute;
use sirius_polyhedral::{Error, Result};

/// What an attribute holds.
pub enum Value<'a> {
    Plain(Attribute),
    Tensor(&'a TensorProto),
    Graph(&'a super::proto::GraphProto),
}

/// Is it the element type of an optional? Types are inferred.
pub fn is_type(proto: &AttributeProto) -> bool {
    matches!(proto.r#type, 13 | 14)
}

pub fn value<'a>(proto: &'a AttributeProto) -> Result<Value<'a>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let plain = match kind(proto) {
        1 => Attribute::Float(proto.f),
        2 => Attribute::Int(proto.i),
        3 => Attribute::String(text(&proto.s)),
        4 => return proto.t.as_deref().map(Value::Tensor).ok_or_else(|| empty(proto)),
        5 => return proto.g.as_deref().map(Value::Graph).ok_or_else(|| empty(proto)),
        6 => Attribute::Floats(proto.floats.clone()),
        7 => Attribute::Ints(proto.ints.clone()),
        8 => Attribute::Strings(proto.strings.iter().map(|s| text(s)).collect()),
        other => {
            let message = format!("attribute \"{}\" has kind {other}, which is not supported", proto.name);
            return Err(Error::unsupported("E110", message));
        }
    };
    Ok(Value::Plain(plain))
}

/// The declared kind. Files of IR version 1 leave it out; then the filled field tells.
fn kind(proto: &AttributeProto) -> i32 {
    let filled = [
        (4, proto.t.is_some()),
        (5, proto.g.is_some()),
        (6, !proto.floats.is_empty()),
        (7, !proto.ints.is_empty()),
        (8, !proto.strings.is_empty()),
        (3, !proto.s.is_empty()),
        (1, proto.f != 0.0),
    ];
    match proto.r#type {
        0 => filled.iter().find(|(_, is)| *is).map_or(2, |(kind, _)| *kind),
        declared => declared,
    }
}

fn empty(proto: &AttributeProto) -> Error {
    Error::invalid("E101", format!("attribute \"{}\" is declared but has no value", proto.name))
}
