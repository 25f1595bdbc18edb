//! A walk over the protobuf wire format that only counts, before the decoder allocates anything.
//!
//! Two bytes in the file can become hundreds in memory (an empty node, an empty string), so a small file may
//! ask for gigabytes. This walk estimates the decoded size, and measures how deep subgraphs nest.

use super::Limits;
use sirius_polyhedral::{Error, Result};

/// The messages that matter; everything else is opaque.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Opaque,
}

struct Scan<'a> {
    limits: &'a Limits,
    /// Bytes of memory that this file may take.
    allowed: usize,
    nodes: usize,
    bytes: usize,
}

/// Refuses files that would need too much memory or nest too deep. Damaged files pass, up to the damage:
/// the decoder words the error.
pub fn check(file: &[u8], limits: &Limits) -> Result<()> {
    // Payloads that the file spells out in full may cost a few times their size.
    let allowed = limits.structure_bytes.saturating_add(file.len().saturating_mul(4));
    let mut scan = Scan { limits, allowed, nodes: 0, bytes: 0 };
    scan.message(file, Kind::Model, 0)
}

impl Scan<'_> {
    fn message(&mut self, mut at: &[u8], kind: Kind, depth: usize) -> Result<()> {
        if depth > self.limits.depth {
            return Err(too_large(format!("subgraphs nest deeper than {} levels", self.limits.depth)));
        }
        while let Some((field, payload)) = next_field(&mut at) {
            let Payload::Bytes(inner) = payload else { continue };
            let (child, weight) = child(kind, field, inner.len());
            self.count(child, weight)?;
            let opens_graph = matches!((kind, child), (Kind::Attribute, Kind::Graph));
            if !matches!(child, Kind::Opaque) {
                self.message(inner, child, depth + usize::from(opens_graph))?;
            }
        }
        Ok(())
    }

    fn count(&mut self, child: Kind, weight: usize) -> Result<()> {
        self.nodes += usize::from(matches!(child, Kind::Node));
        self.bytes = self.bytes.saturating_add(weight);
        if self.nodes > self.limits.nodes {
            return Err(too_large(format!("more than {} nodes", self.limits.nodes)));
        }
        if self.bytes > self.allowed {
            let limit = self.allowed >> 20;
            return Err(too_large(format!(
                "nodes, names and small tensors would take more than {limit} MiB of memory"
            )));
        }
        Ok(())
    }
}

fn too_large(what: String) -> Error {
    Error::invalid("E102", format!("the model is too large: {what}"))
        .help("simplify the exported graph, or raise the limit")
}

/// The kind of a length-delimited field and the memory that its decoded form takes.
fn child(parent: Kind, field: u64, length: usize) -> (Kind, usize) {
    match (parent, field) {
        (Kind::Model, 7) | (Kind::Attribute, 6 | 11) => (Kind::Graph, 256),
        (Kind::Model, 25) => (Kind::Function, 256),
        (Kind::Graph, 1) | (Kind::Function, 7) => (Kind::Node, 256),
        (Kind::Node, 5) | (Kind::Function, 11) => (Kind::Attribute, 256),
        (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) => (Kind::Tensor, 320),
        (Kind::Graph, 11 | 12) => (Kind::ValueInfo, 512 + 8 * length),
        // Raw payloads are shared with the map.
        (Kind::Tensor, 9) | (Kind::Attribute, 4) => (Kind::Opaque, 32),
        // Packed varints grow from one byte to four or eight, and are converted once more.
        (Kind::Tensor, 5) => (Kind::Opaque, 8 * length),
        (Kind::Tensor, 1 | 7 | 11) | (Kind::Attribute, 8) => (Kind::Opaque, 16 * length),
        // What the importer does not read is skipped without allocation.
        (Kind::Model, 14 | 20 | 26) | (Kind::Graph, 10 | 13 | 14 | 16) => (Kind::Opaque, 0),
        (Kind::Node, 6 | 9 | 10) | (Kind::Tensor, 12 | 16) => (Kind::Opaque, 0),
        _ => (Kind::Opaque, 64 + 2 * length),
    }
}

enum Payload<'a> {
    Bytes(&'a [u8]),
    Scalar,
}

/// Reads one field; `None` at the end and at damage.
fn next_field<'a>(at: &mut &'a [u8]) -> Option<(u64, Payload<'a>)> {
    let key = varint(at)?;
    let payload = match key & 7 {
        0 => varint(at).map(|_| Payload::Scalar)?,
        1 => take(at, 8).map(|_| Payload::Scalar)?,
        2 => {
            let length = usize::try_from(varint(at)?).ok()?;
            Payload::Bytes(take(at, length)?)
        }
        5 => take(at, 4).map(|_| Payload::Scalar)?,
        _ => return None,
    };
    Some((key >> 3, payload))
}

fn take<'a>(at: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = at.split_at_checked(length)?;
    *at = tail;
    Some(head)
}

fn varint(at: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = at.split_first()?;
        *at = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
