//! What remains after the walk: outputs that alias other tensors, and the collected problems.

use super::context::{Context, State, Step};
use crate::graph::{Block, Form, Graph, Node, Port, Signature, Tensor, TensorId};
use crate::import::build::Draft;
use indexmap::IndexMap;
use sirius_polyhedral::{DType, Error};
use std::collections::HashSet;

impl Context<'_> {
    /// Infers the main block. The tensors of outputs that are sequences or optionals become outputs; with the ids
    /// whose names the outputs are to have.
    pub fn main_block(&mut self, main: Block, draft: &Draft) -> Step<(Block, Vec<TensorId>)> {
        let mut main = self.open_block(main)?;
        let (mut outputs, mut names, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for output in std::mem::take(&mut main.outputs) {
            let name = self.graph.tensor(output).name.clone();
            let (form, tensors) = self.spread(output);
            match form {
                Form::Tensor => names.push(output),
                _ => names.extend((0..tensors.len()).map(|k| self.named(format!("{name}[{k}]")))),
            }
            outputs.extend(tensors);
            ports.push(Port { name, form });
        }
        main.outputs = outputs;
        self.graph.signature = Signature::of(draft.ports.clone(), ports);
        self.settle_outputs(&mut main);
        Ok((main, names))
    }

    /// A tensor of this name, or of one like it where it is taken.
    fn named(&mut self, mut name: String) -> TensorId {
        while self.graph.tensors.iter().any(|t| t.name == name) {
            name.push('\'');
        }
        self.states.push(State::Open);
        self.graph.add_tensor(Tensor { name, dtype: DType::F32, shape: vec![], constant: None, symbolic: None })
    }

    /// Makes every output of a subgraph a tensor that a node of this block produces, each once: where an
    /// output is a block input, a constant, an outer tensor or a duplicate, an `Identity` stays.
    pub fn settle_outputs(&mut self, block: &mut Block) {
        let produced: HashSet<TensorId> =
            block.nodes.iter().flat_map(|n| n.outputs.iter().flatten().copied()).collect();
        let mut used = HashSet::new();
        for output in &mut block.outputs {
            let (name, root) = (*output, self.root(*output));
            *output = root;
            if self.state(root) != State::Known || produced.contains(&root) && used.insert(root) {
                continue;
            }
            *output = self.copy_of(root, name);
            block.nodes.push(identity(root, *output, &self.graph.tensor(*output).name));
        }
    }

    /// A fresh tensor like `source`, named after `wanted`.
    fn copy_of(&mut self, source: TensorId, wanted: TensorId) -> TensorId {
        let (dtype, shape) = self.type_of(source);
        let name = format!("{}_copy{}", self.graph.tensor(wanted).name, self.graph.tensors.len());
        self.states.push(State::Known);
        self.graph.add_tensor(Tensor { name, dtype, shape, constant: None, symbolic: None })
    }

    /// The finished graph, or every problem that was found.
    pub fn finish(mut self, mut main: Block, names: &[TensorId]) -> Step<Graph> {
        if let Some(error) = combine(std::mem::take(&mut self.problems)) {
            return Err(error.into());
        }
        self.name_outputs(&mut main, names);
        self.graph.main = main;
        Ok(self.graph)
    }

    /// Graph outputs keep their names: the settled tensor takes the name that the file gives the output.
    fn name_outputs(&mut self, main: &mut Block, names: &[TensorId]) {
        let mut kept: HashSet<TensorId> = main.inputs.iter().copied().collect();
        for (&output, &wanted) in main.outputs.iter().zip(names) {
            if kept.insert(wanted) && output != wanted {
                let old = std::mem::take(&mut self.graph.tensor_mut(output).name);
                let name = std::mem::replace(&mut self.graph.tensor_mut(wanted).name, old);
                self.graph.tensor_mut(output).name = name;
            }
        }
    }
}

fn identity(from: TensorId, to: TensorId, name: &str) -> Node {
    Node {
        name: format!("{name}/Identity"),
        op: "Identity".to_string(),
        domain: String::new(),
        version: 23,
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        attributes: IndexMap::new(),
    }
}

/// One error that lists every unsupported node. Nodes with the same message are counted, not repeated.
fn combine(problems: Vec<Error>) -> Option<Error> {
    /// More node names than this per message help nobody.
    const NAMES: usize = 8;
    let first = problems.first()?.clone();
    if problems.len() == 1 {
        return Some(first);
    }
    let mut groups: IndexMap<String, Vec<String>> = IndexMap::new();
    for problem in &problems {
        let diagnostic = problem.diagnostic();
        let node = diagnostic.origin.as_ref().map_or_else(String::new, |o| format!("\"{}\"", o.node));
        groups.entry(diagnostic.message.clone()).or_default().push(node);
    }
    let lines = groups.iter().map(|(message, nodes)| {
        let more = nodes.len().saturating_sub(NAMES);
        let names = nodes.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("\n  - {message}: {names}{tail}")
    });
    let message = format!("{} nodes are not supported:{}", problems.len(), lines.collect::<String>());
    let help = first.diagnostic().help.clone();
    let error = Error::unsupported(first.diagnostic().code, message);
    Some(match help {
        Some(help) => error.help(help),
        None => error,
    })
}
