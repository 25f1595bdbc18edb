//! Subgraphs as templates: a body that is copied for every use, and loops that are written out.

use super::context::{Context, State, Step, Stop};
use crate::graph::compact::visit_ids;
use crate::graph::{Attribute, Block, Node, Tensor, TensorId, sources};
use sirius_polyhedral::{Aff, DType, Error};
use std::collections::HashMap;

impl Context<'_> {
    /// Appends a copy of `body` for these arguments; the tensors that are its results.
    pub fn apply(&mut self, body: &Block, arguments: &[TensorId], out: &mut Vec<Node>) -> Step<Vec<TensorId>> {
        if body.inputs.len() != arguments.len() {
            let message = format!("a subgraph with {} inputs gets {}", body.inputs.len(), arguments.len());
            return Err(Error::invalid("E113", message).into());
        }
        let copy = self.instantiate(body);
        for (&input, &argument) in copy.inputs.iter().zip(arguments) {
            let root = self.root(argument);
            self.aliases.insert(input, root);
        }
        self.nodes(copy.nodes, out)?;
        Ok(copy.outputs.iter().map(|&id| self.root(id)).collect())
    }

    /// A copy in which everything that the block defines is new.
    fn instantiate(&mut self, block: &Block) -> Block {
        let mut copy = block.clone();
        let mut fresh = HashMap::new();
        for id in defined(block) {
            let tensor = self.graph.tensor(id);
            let name = format!("{}_{}", tensor.name, self.graph.tensors.len());
            self.states.push(State::Open);
            let open = Tensor { name, dtype: DType::F32, shape: vec![], constant: None, symbolic: None };
            fresh.insert(id, self.graph.add_tensor(open));
        }
        visit_ids(&mut copy, &mut |id| *id = fresh.get(id).copied().unwrap_or(*id));
        rename(&mut copy, self.graph.tensors.len());
        copy
    }

    /// Writes out a loop whose carried values are sequences: those have no storage that a step could write.
    pub fn unroll(&mut self, node: &Node, body: &Block, out: &mut Vec<Node>) -> Step {
        let carried = node.inputs.len().saturating_sub(2);
        let steps = self.steps(node, body)?;
        let mut condition = match node.input(1) {
            Some(id) => id,
            None => self.number(node, DType::Bool, 1)?,
        };
        let mut values: Vec<TensorId> = node.inputs[2..].iter().flatten().copied().collect();
        let mut scans = vec![Vec::new(); body.outputs.len().saturating_sub(carried + 1)];
        for step in 0..steps {
            if !self.holds(condition)? {
                break;
            }
            let step = self.number(node, DType::I64, step)?;
            let arguments: Vec<TensorId> = [step, condition].into_iter().chain(values).collect();
            let mut results = self.apply(body, &arguments, out)?.into_iter();
            condition = results.next().unwrap_or(condition);
            values = results.by_ref().take(carried).collect();
            scans.iter_mut().zip(results).for_each(|(scan, value)| scan.push(value));
        }
        for scan in scans {
            let stacked = self.stack(node, scan, out)?;
            values.push(stacked);
        }
        for (output, value) in node.outputs.iter().zip(values) {
            if let Some(output) = output {
                let root = self.root(value);
                self.aliases.insert(*output, root);
            }
        }
        Ok(())
    }

    /// The trip count, which must be known and leave the graph of reasonable size.
    fn steps(&self, node: &Node, body: &Block) -> Step<i64> {
        let given = node.input(0).map(|id| self.graph.tensor(id).ints().and_then(|v| v.first().copied()));
        let Some(Some(steps)) = given else {
            let message = "a Loop that carries sequences needs a trip count that is known when it is compiled";
            return Err(self.advised(message, node.input(0)));
        };
        let nodes = usize::try_from(steps).unwrap_or(0).saturating_mul(body.nodes.len());
        if nodes > self.limits.nodes {
            return Err(Error::unsupported("E110", format!("a Loop that carries sequences for {steps} steps")).into());
        }
        Ok(steps)
    }

    fn holds(&self, condition: TensorId) -> Step<bool> {
        let value = self.graph.tensor(self.root(condition)).ints().and_then(|v| v.first().copied());
        let message = "a Loop that carries sequences may end early, depending on data";
        Ok(value.ok_or_else(|| self.advised(message, Some(condition)))? != 0)
    }

    /// A refusal that tells how the contents of `wanted` could be known.
    fn advised(&self, message: &str, wanted: Option<TensorId>) -> Stop {
        let error = Error::unsupported("E112", message);
        let advice = wanted.map(|id| sources::advice(self.draft, &self.graph.params, id));
        advice.map_or(error.clone(), |advice| error.help(advice)).into()
    }

    fn number(&mut self, node: &Node, dtype: DType, value: i64) -> Step<TensorId> {
        let id = self.add(format!("{}/number", node.name), None);
        self.set_tensor(id, dtype, vec![])?;
        self.graph.tensor_mut(id).symbolic = Some(vec![Aff::constant(value)]);
        Ok(id)
    }

    /// A scan output: the values of all steps along a new first dimension.
    fn stack(&mut self, node: &Node, values: Vec<TensorId>, out: &mut Vec<Node>) -> Step<TensorId> {
        if values.is_empty() {
            return Err(Error::unsupported("E110", "a scan output of a Loop without steps").into());
        }
        let axes = self.vector(&node.name, &[0]);
        let axis = || ("axis", Attribute::Int(0));
        let rows = values.into_iter().map(|v| self.computed(&node.name, "Unsqueeze", &[v, axes], axis(), out));
        let rows = rows.collect::<Step<Vec<_>>>()?;
        self.computed(&node.name, "Concat", &rows, axis(), out)
    }
}

/// Every tensor that the block or a block in it writes.
fn defined(block: &Block) -> Vec<TensorId> {
    let mut found = block.inputs.clone();
    for node in &block.nodes {
        found.extend(node.outputs.iter().flatten());
        for attribute in node.attributes.values() {
            if let Attribute::Block(inner) = attribute {
                found.extend(defined(inner));
            }
        }
    }
    found
}

fn rename(block: &mut Block, number: usize) {
    for node in &mut block.nodes {
        node.name = format!("{}_{number}", node.name);
        for attribute in node.attributes.values_mut() {
            if let Attribute::Block(inner) = attribute {
                rename(inner, number);
            }
        }
    }
}
