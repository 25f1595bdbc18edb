//! A generated model, and the smaller models inside it.

use crate::maker::Tensor;
use crate::{dim::Dim, onnx};
use sirius::import::proto::{DimensionValue, GraphProto, NodeProto};
use std::collections::HashSet;

/// Graph inputs; their data lies within their bounds.
#[derive(Clone, Debug)]
pub struct Model {
    /// Nodes and constants; inputs and outputs are in the lists beside it.
    pub graph: GraphProto,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    /// Everything in the main graph.
    pub tensors: Vec<Tensor>,
}

impl Model {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut graph = self.graph.clone();
        let input = |t: &Tensor| onnx::info(&t.name, t.dtype, Some(t.dims.iter().map(declared).collect()));
        graph.input = self.inputs.iter().map(input).collect();
        graph.output = self.outputs.iter().map(|t| onnx::info(&t.name, t.dtype, None)).collect();
        onnx::file(graph)
    }

    /// The part that computes the outputs named in `keep` (all where it is empty) from the tensors named in `cut`,
    /// which become inputs, and from the inputs that are still needed.
    pub fn part(&self, keep: &[String], cut: &[String]) -> Model {
        let mut model = self.clone();
        let find = |name: &String| self.tensors.iter().find(|t| t.name == *name).cloned();
        if !keep.is_empty() {
            model.outputs = keep.iter().filter_map(find).collect();
        }
        model.outputs.retain(|t| !cut.contains(&t.name));
        model.inputs.extend(cut.iter().filter_map(find));
        let mut needed: HashSet<String> = model.outputs.iter().map(|t| t.name.clone()).collect();
        let mut nodes: Vec<NodeProto> = Vec::new();
        for node in self.graph.node.iter().rev() {
            if node.output.iter().any(|o| needed.contains(o) && !cut.contains(o)) {
                needed.extend(names_read(std::slice::from_ref(node)));
                nodes.push(node.clone());
            }
        }
        nodes.reverse();
        // A node that is kept for one of its results also writes the others.
        let written: HashSet<&String> = nodes.iter().flat_map(|n| &n.output).collect();
        model.inputs.retain(|t| needed.contains(&t.name) && !written.contains(&t.name));
        model.graph.initializer.retain(|t| needed.contains(&t.name));
        model.graph.node = nodes;
        model
    }

    /// The same with one operator in place of another, bodies included.
    pub fn renamed(&self, from: &str, to: &str) -> Model {
        let mut model = self.clone();
        rename(&mut model.graph.node, from, to);
        model
    }

    /// A line for each node: for models that the importer does not read.
    pub fn sketch(&self) -> String {
        let line = |n: &NodeProto| format!("{} ({}) -> ({})\n", n.op_type, n.input.join(", "), n.output.join(", "));
        self.graph.node.iter().map(line).collect()
    }
}

fn rename(nodes: &mut [NodeProto], from: &str, to: &str) {
    for node in nodes {
        if node.op_type == from {
            node.op_type = to.into();
        }
        node.attribute.iter_mut().filter_map(|a| a.g.as_deref_mut()).for_each(|body| rename(&mut body.node, from, to));
    }
}

fn declared(dim: &Dim) -> DimensionValue {
    match dim {
        Dim::Fixed(n) => DimensionValue::Value(*n as i64),
        Dim::Named(name) => DimensionValue::Param(name.to_string()),
        Dim::Derived { id, .. } => DimensionValue::Param(format!("d{id}")),
    }
}

/// Every name that nodes read, those in subgraphs included.
pub fn names_read(nodes: &[NodeProto]) -> HashSet<String> {
    let mut names = HashSet::new();
    for node in nodes {
        names.extend(node.input.iter().filter(|n| !n.is_empty()).cloned());
        for body in node.attribute.iter().filter_map(|a| a.g.as_deref()) {
            names.extend(names_read(&body.node));
            names.extend(body.output.iter().map(|o| o.name.clone()));
        }
    }
    names
}
