//! The body of one function operator while it is built: names, and nodes that are inferred as they come.

use super::text::{self, Call, Operand, Statement, Value};
use crate::graph::{Attribute, Block, Node, TensorId};
use crate::import::infer::compose::VERSION;
use crate::import::infer::context::{Context, State, Step, Stop};
use crate::import::infer::site::Site;
use crate::import::tensor::{self, Constant};
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, DType, Error};
use std::collections::HashMap;

pub struct Body<'b, 'c> {
    /// The call that is expanded.
    pub node: &'b Node,
    pub cx: &'b mut Context<'c>,
    /// The type of float literals.
    pub float: DType,
    names: HashMap<String, TensorId>,
    /// The call's outputs that no node of the body computes yet.
    results: HashMap<String, TensorId>,
    blocks: HashMap<String, Block>,
    out: &'b mut Vec<Node>,
    /// Nodes of the subgraph that is being written: the node that contains it infers them.
    inner: Option<Vec<Node>>,
}

impl<'b, 'c> Body<'b, 'c> {
    /// `inputs` and `outputs` are formal names, in the operator's order.
    pub fn new(
        node: &'b Node,
        cx: &'b mut Context<'c>,
        out: &'b mut Vec<Node>,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Body<'b, 'c> {
        let bind = |names: &[&str], ids: &[Option<TensorId>]| {
            names.iter().zip(ids).filter_map(|(name, id)| Some((name.to_string(), (*id)?))).collect()
        };
        let float = node.input(0).map(|id| cx.graph.tensor(id).dtype).filter(|t| t.is_float());
        Body {
            float: float.unwrap_or(DType::F32),
            names: bind(inputs, &node.inputs),
            results: bind(outputs, &node.outputs),
            blocks: HashMap::new(),
            inner: None,
            node,
            cx,
            out,
        }
    }

    /// The node that is expanded, as the inference rules see one.
    pub fn site(&mut self) -> Site<'_, 'c> {
        Site { node: self.node, cx: &mut *self.cx }
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub fn wants(&self, output: &str) -> bool {
        self.results.contains_key(output)
    }

    pub fn id(&self, name: &str) -> Step<TensorId> {
        let id = self.names.get(name).map(|&id| self.cx.root(id));
        id.ok_or_else(|| Error::invalid("E113", format!("input \"{name}\" of {} is missing", self.node.op)).into())
    }

    /// A tensor whose type is known; one that failed has been reported already.
    fn known(&self, name: &str) -> Step<TensorId> {
        let id = self.id(name)?;
        let missing = || Error::unsupported("E110", format!("the body of {} cannot be expanded", self.node.op));
        if self.cx.state(id) == State::Known { Ok(id) } else { Err(missing().into()) }
    }

    pub fn shape(&self, name: &str) -> Step<Vec<Aff>> {
        Ok(self.cx.graph.tensor(self.known(name)?).shape.clone())
    }

    pub fn rank(&self, name: &str) -> Step<usize> {
        Ok(self.cx.graph.tensor(self.known(name)?).rank())
    }

    pub fn dtype(&self, name: &str) -> Step<DType> {
        Ok(self.cx.graph.tensor(self.known(name)?).dtype)
    }

    /// The shape of an input that must have `rank` dimensions.
    pub fn ranked(&mut self, name: &str, rank: usize) -> Step<Vec<Aff>> {
        let shape = self.shape(name)?;
        if shape.len() == rank {
            return Ok(shape);
        }
        let message = format!("input \"{name}\" has {} dimensions, {rank} are needed", shape.len());
        Err(self.site().invalid(message))
    }

    pub fn invalid(&mut self, message: impl Into<String>) -> Stop {
        self.site().invalid(message)
    }

    /// An `i64` vector of known expressions.
    pub fn affs(&mut self, name: &str, values: Vec<Aff>) -> Step {
        let shape = vec![Aff::constant(values.len() as i64)];
        self.contents(name, values, shape)
    }

    /// An `i64` scalar.
    pub fn aff(&mut self, name: &str, value: Aff) -> Step {
        self.contents(name, vec![value], vec![])
    }

    fn contents(&mut self, name: &str, values: Vec<Aff>, shape: Vec<Aff>) -> Step {
        let id = self.cx.known_contents(format!("{}/{name}", self.node.name), values, shape)?;
        self.names.insert(name.to_string(), id);
        Ok(())
    }

    /// `name = value`, a scalar of the body's float type.
    pub fn scalar(&mut self, name: &str, value: f64) {
        self.constant(name, Constant::scalar(value, self.float));
    }

    /// A constant tensor.
    pub fn constant(&mut self, name: &str, constant: Constant) {
        let id = self.literal(constant);
        self.names.insert(name.to_string(), id);
    }

    /// `to = Cast(from)`.
    pub fn cast(&mut self, to: &str, from: &str, dtype: DType) -> Step {
        let source = self.id(from)?;
        let target = self.target(to);
        let code = Attribute::Int(tensor::code(dtype).into());
        self.push("Cast", vec![Some(source)], vec![Some(target)], IndexMap::from([("to".to_string(), code)]))
    }

    /// Another name for a tensor.
    pub fn alias(&mut self, name: &str, tensor: TensorId) {
        self.names.insert(name.to_string(), tensor);
    }

    /// The nodes of `text`, in the notation of [`text`].
    pub fn add(&mut self, text: &str) -> Step {
        for Statement { outputs, call } in text::parse(text)? {
            let inputs = self.operands(&call)?;
            let outputs = outputs.iter().map(|name| Some(self.target(name))).collect();
            self.emit(&call, inputs, outputs)?;
        }
        Ok(())
    }

    /// A subgraph, to be named in an attribute.
    pub fn block(&mut self, name: &str, inputs: &[&str], text: &str, outputs: &[&str]) -> Step {
        let (names, results) = (self.names.clone(), std::mem::take(&mut self.results));
        let inputs = inputs.iter().map(|name| self.target(name)).collect();
        self.inner = Some(Vec::new());
        self.add(text)?;
        let nodes = self.inner.take().unwrap_or_default();
        let outputs = outputs.iter().map(|name| self.id(name)).collect::<Step<_>>()?;
        (self.names, self.results) = (names, results);
        self.blocks.insert(name.to_string(), Block { inputs, nodes, outputs });
        Ok(())
    }

    /// The result `to` of the call's own subgraph `name` for the argument `from`.
    pub fn apply(&mut self, name: &str, from: &str, to: &str) -> Step {
        let Some(block) = self.node.block(name) else {
            let from = self.id(from)?;
            self.alias(to, from);
            return Ok(());
        };
        let ([input], [output]) = (block.inputs.as_slice(), block.outputs.as_slice()) else {
            return Err(self.invalid(format!("subgraph \"{name}\" must have one input and one output")));
        };
        let from = self.id(from)?;
        self.cx.aliases.insert(*input, from);
        self.cx.nodes(block.nodes.clone(), self.out)?;
        self.alias(to, *output);
        Ok(())
    }

    /// Every output must have been computed.
    pub fn finish(self) -> Step {
        match self.results.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Error::unsupported("E110", format!("output \"{name}\" of {} is not supported", self.node.op))
                    .into())
            }
        }
    }

    fn operands(&mut self, call: &Call) -> Step<Vec<Option<TensorId>>> {
        call.inputs.iter().map(|operand| self.operand(operand).map(Some)).collect()
    }

    fn operand(&mut self, operand: &Operand) -> Step<TensorId> {
        Ok(match operand {
            Operand::Name(name) => self.id(name)?,
            Operand::Int(v) => self.literal(Constant::ints(&[*v], &[])),
            Operand::Ints(v) => self.literal(Constant::ints(v, &[v.len() as i64])),
            Operand::Float(v) => self.literal(Constant::scalar(*v, self.float)),
            Operand::Call(call) => {
                let inputs = self.operands(call)?;
                let output = self.fresh(&call.op);
                self.emit(call, inputs, vec![Some(output)])?;
                output
            }
        })
    }

    fn emit(&mut self, call: &Call, inputs: Vec<Option<TensorId>>, outputs: Vec<Option<TensorId>>) -> Step {
        let mut attributes = IndexMap::new();
        for (name, value) in &call.attributes {
            let value = match value {
                Value::Plain(plain) => plain.clone(),
                Value::Block(block) => {
                    let found = self.blocks.remove(block);
                    Attribute::Block(found.ok_or_else(|| Error::bug("E119", format!("no subgraph \"{block}\"")))?)
                }
            };
            attributes.insert(name.clone(), value);
        }
        self.push(&call.op, inputs, outputs, attributes)
    }

    /// Appends a node, here or to the subgraph that is being written.
    pub fn push(
        &mut self,
        op: &str,
        inputs: Vec<Option<TensorId>>,
        outputs: Vec<Option<TensorId>>,
        attributes: IndexMap<String, Attribute>,
    ) -> Step {
        let number = outputs.iter().flatten().next().map_or(0, |id| id.0);
        let name = format!("{}/{op}_{number}", self.node.name);
        let (op, domain) = (op.to_string(), String::new());
        let node = Node { name, op, domain, version: VERSION, inputs, outputs, attributes };
        match &mut self.inner {
            Some(nodes) => nodes.push(node),
            None => self.cx.nodes(vec![node], self.out)?,
        }
        Ok(())
    }

    /// The tensor that the next node computes as `name`: an output of the call, or a new one.
    pub fn target(&mut self, name: &str) -> TensorId {
        let id = self.results.remove(name).unwrap_or_else(|| self.fresh(name));
        self.names.insert(name.to_string(), id);
        id
    }

    fn fresh(&mut self, name: &str) -> TensorId {
        self.cx.add(format!("{}/{name}", self.node.name), None)
    }

    fn literal(&mut self, constant: Constant) -> TensorId {
        self.cx.add(format!("{}/literal", self.node.name), Some(constant))
    }
}
