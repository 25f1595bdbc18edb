//! Nodes that inference itself puts in the place of others.

use super::context::{Context, State, Step};
use crate::graph::{Attribute, Node, Tensor, TensorId};
use crate::import::tensor::Constant;
use indexmap::IndexMap;
use sirius_polyhedral::DType;

/// The version whose meaning these nodes have.
pub const VERSION: i64 = 23;

impl Context<'_> {
    /// A new tensor, open or constant.
    pub fn add(&mut self, name: String, constant: Option<Constant>) -> TensorId {
        let name = format!("{name}_{}", self.graph.tensors.len());
        let (state, tensor) = match constant {
            None => (State::Open, Tensor { name, dtype: DType::F32, shape: vec![], constant: None, symbolic: None }),
            Some(c) => {
                let (dtype, shape) = (c.dtype, c.affs());
                (State::Known, Tensor { name, dtype, shape, constant: Some(c.data), symbolic: None })
            }
        };
        self.states.push(state);
        self.graph.add_tensor(tensor)
    }

    /// A constant `i64` vector for a part of the node `parent`.
    pub fn vector(&mut self, parent: &str, values: &[i64]) -> TensorId {
        self.add(format!("{parent}/constant"), Some(Constant::ints(values, &[values.len() as i64])))
    }

    /// Infers a node of the default domain that does a part of the work of `parent`.
    pub fn emit(
        &mut self,
        parent: &str,
        op: &str,
        inputs: &[TensorId],
        outputs: &[TensorId],
        (attribute, value): (&str, Attribute),
        out: &mut Vec<Node>,
    ) -> Step {
        let number = outputs.first().map_or(0, |id| id.0);
        let made = Node {
            name: format!("{parent}/{op}_{number}"),
            op: op.to_string(),
            domain: String::new(),
            version: VERSION,
            inputs: inputs.iter().map(|&id| Some(id)).collect(),
            outputs: outputs.iter().map(|&id| Some(id)).collect(),
            attributes: IndexMap::from([(attribute.to_string(), value)]),
        };
        self.nodes(vec![made], out)
    }

    /// The same with one new output.
    pub fn computed(
        &mut self,
        parent: &str,
        op: &str,
        inputs: &[TensorId],
        attribute: (&str, Attribute),
        out: &mut Vec<Node>,
    ) -> Step<TensorId> {
        let output = self.add(format!("{parent}/{op}"), None);
        self.emit(parent, op, inputs, &[output], attribute, out)?;
        Ok(output)
    }
}
