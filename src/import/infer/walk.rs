//! Inference over the nodes of a block, in order.

use super::axes;
use super::context::{Context, State, Step, Stop};
use super::function;
use super::legacy;
use super::resize;
use super::sequence;
use super::site::MAX_CONTENTS;
use super::table;
use crate::graph::fold::fold_small;
use crate::graph::{Attribute, Block, Node, TensorId};
use crate::import::catalog;
use sirius_polyhedral::{Aff, DType, Error};

impl Context<'_> {
    /// Infers a block whose inputs are set. Nodes that inference resolves (identities, decided branches) are
    /// gone from the result.
    pub fn block(&mut self, block: Block) -> Step<Block> {
        let mut result = self.open_block(block)?;
        self.settle_outputs(&mut result);
        Ok(result)
    }

    /// The same with outputs that may be aliases, sequences or optionals.
    pub fn open_block(&mut self, block: Block) -> Step<Block> {
        let mut nodes = Vec::with_capacity(block.nodes.len());
        for &input in &block.inputs {
            let name = self.graph.tensor(input).name.clone();
            self.define_amount(&name, input, &mut nodes)?;
        }
        self.nodes(block.nodes, &mut nodes)?;
        Ok(Block { inputs: block.inputs, nodes, outputs: block.outputs })
    }

    /// Infers `nodes` and appends what remains of them to `out`.
    pub fn nodes(&mut self, nodes: Vec<Node>, out: &mut Vec<Node>) -> Step {
        for node in nodes {
            let (origin, inputs) = (node.origin(), node.inputs.clone());
            self.node(node, out).map_err(|stop| match stop {
                Stop::Error(error) => Stop::Error(self.with_operands(error, &inputs).at(&origin)),
                restart => restart,
            })?;
        }
        Ok(())
    }

    /// A model that contradicts itself is mended by whoever sees the operands: they become the help.
    fn with_operands(&self, error: Error, inputs: &[Option<TensorId>]) -> Error {
        if !matches!(&error, Error::Invalid(d) if d.help.is_none() && d.origin.is_none()) {
            return error;
        }
        let known = inputs.iter().flatten().filter(|id| self.state(self.root(**id)) == State::Known);
        let operands: Vec<String> = known
            .map(|id| {
                let tensor = self.graph.tensor(self.root(*id));
                format!("\"{}\" {}[{}]", tensor.name, tensor.dtype, self.show_shape(&tensor.shape))
            })
            .collect();
        match operands.is_empty() {
            true => error,
            false => error.help(format!("correct the model; the operands are {}", operands.join(", "))),
        }
    }

    fn node(&mut self, mut node: Node, out: &mut Vec<Node>) -> Step {
        for input in node.inputs.iter_mut().flatten() {
            *input = self.root(*input);
        }
        if node.inputs.iter().flatten().any(|&id| self.state(id) == State::Failed) {
            // Its inputs are unknown, but whether the operator is known is worth telling at once.
            if !is_known(&node) {
                self.problems.push(unknown(&node));
            }
            self.fail_outputs(&node);
            return Ok(());
        }
        self.add_count(&mut node);
        self.producers.add_node(&node);
        self.whole_depth(&mut node, out)?;
        let origin = node.origin();
        let outputs = node.outputs.clone();
        let amounts = outputs.iter().flatten().any(|id| self.known.is_amount(&self.graph.tensor(*id).name));
        let copy = amounts.then(|| node.clone());
        let done = self.supported_node(node, out);
        if let (Ok(()), Some(node)) = (&done, copy) {
            outputs.iter().flatten().try_for_each(|&id| self.define_amount(&node.name, id, out))?;
        }
        match done {
            Err(Stop::Error(error @ Error::Unsupported(_))) => {
                self.problems.push(error.at(&origin));
                outputs.into_iter().flatten().for_each(|id| self.fail(id));
                Ok(())
            }
            other => other,
        }
    }

    fn supported_node(&mut self, mut node: Node, out: &mut Vec<Node>) -> Step {
        if !is_known(&node) {
            return Err(unknown(&node).into());
        }
        if node.domain.is_empty() {
            let known = node.input(0).filter(|id| self.state(*id) == State::Known);
            catalog::check(&node.op, node.version, known.map(|id| self.graph.tensor(id).dtype))?;
        }
        if sequence::refuses(self, &node) {
            return Err(sequence::error(&node).into());
        }
        let before = self.unequal.len();
        legacy::modernize(self, &mut node, out)?;
        axes::settle(self, &mut node, out)?;
        resize::settle(self, &mut node, out)?;
        if let Some(function) = function::find(&node) {
            function.expand(&node, self, out)?;
            return self.all_compared(before);
        }
        match node.op.as_str() {
            "Identity" => self.identity(&node),
            "If" => self.if_node(node, out),
            "Loop" => self.loop_node(node, out),
            "Scan" => self.scan_node(node, out),
            op if sequence::find(op).is_some() => sequence::infer(self, &node, out),
            op => {
                let rule = table::find(op).ok_or_else(|| unknown(&node))?;
                self.apply_rule(&mut node, rule, out)?;
                self.check_outputs(&node)?;
                let settled = node.outputs.iter().flatten().all(|id| self.graph.tensor(*id).constant.is_some());
                if !settled && !fold_small(&mut self.graph, &node, MAX_CONTENTS)? {
                    out.push(node);
                }
                Ok(())
            }
        }?;
        self.all_compared(before)
    }

    fn identity(&mut self, node: &Node) -> Step {
        match (node.input(0), node.output(0)) {
            (Some(source), Some(output)) => {
                self.aliases.insert(output, source);
                Ok(())
            }
            _ => Err(Error::invalid("E113", "Identity needs an input and an output").into()),
        }
    }

    pub fn fail_outputs(&mut self, node: &Node) {
        node.outputs.iter().flatten().for_each(|&id| self.fail(id));
    }

    /// A rule that leaves an output open means an output that its operator does not have.
    fn check_outputs(&self, node: &Node) -> Step {
        match node.outputs.iter().position(|o| o.is_some_and(|id| self.state(id) == State::Open)) {
            None => Ok(()),
            Some(n) => {
                let message = format!("output {n} of {} (opset {}) is not supported", node.op, node.version);
                Err(Error::unsupported("E110", message).into())
            }
        }
    }

    /// Takes a subgraph out of a node's attributes.
    pub fn take_block(node: &mut Node, name: &str) -> Step<Block> {
        match node.attributes.get_mut(name) {
            Some(Attribute::Block(block)) => Ok(std::mem::take(block)),
            _ => Err(Error::invalid("E113", format!("{} needs a subgraph \"{name}\"", node.op)).into()),
        }
    }

    pub fn put_block(node: &mut Node, name: &str, block: Block) {
        node.attributes.insert(name.to_string(), Attribute::Block(block));
    }

    pub fn type_of(&self, id: TensorId) -> (DType, Vec<Aff>) {
        let tensor = self.graph.tensor(id);
        (tensor.dtype, tensor.shape.clone())
    }
}

fn is_known(node: &Node) -> bool {
    let control = matches!(node.op.as_str(), "Identity" | "If" | "Loop" | "Scan") || sequence::find(&node.op).is_some();
    function::find(node).is_some() || node.domain.is_empty() && (control || table::find(&node.op).is_some())
}

fn unknown(node: &Node) -> Error {
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    let message = format!("operator {} of domain {domain}, opset {}, is not supported", node.op, node.version);
    Error::unsupported("E110", message).at(&node.origin()).help(instead(&node.op))
}

/// What to do about an operator that there is no rule for.
fn instead(op: &str) -> &'static str {
    match op {
        "Gradient" => {
            "export the gradient as operators: compile the training graph that the framework makes, not Gradient"
        }
        "ImageDecoder" => {
            "decode the image before the call, and cut the model behind this node (onnx.utils.extract_model)"
        }
        "RegexFullMatch" | "StringConcat" | "StringNormalizer" | "StringSplit" => {
            "keep strings outside: cut the model where numbers begin (onnx.utils.extract_model)"
        }
        _ => {
            "`sirius ops` lists what is supported; write the node as a function of these in the model file \
             (onnx.helper.make_function), or cut the model there (onnx.utils.extract_model)"
        }
    }
}
