//! Execution of a graph: parameters, the values of tensors, blocks of nodes.

use super::{control, evaluate};
use crate::graph::{Block, Graph, Node, TensorId};
use crate::run::value::Value;
use sirius_polyhedral::{Aff, Error, ParamDef, ParamId, Result};
use std::cell::Cell;
use std::rc::Rc;

/// The state of one run. Tensors are written once per execution of their block; a loop body overwrites its own.
pub struct Machine<'g> {
    pub graph: &'g Graph,
    /// Parameters known from the input shapes; those that the graph computes are looked up when needed.
    params: Vec<Option<i64>>,
    values: Vec<Option<Rc<Value>>>,
}

impl<'g> Machine<'g> {
    /// Binds the parameters and checks the inputs against the graph.
    pub fn new(graph: &'g Graph, inputs: &[Value]) -> Result<Machine<'g>> {
        if inputs.len() != graph.main.inputs.len() {
            let message = format!("the model has {} inputs, {} were given", graph.main.inputs.len(), inputs.len());
            return Err(Error::invalid("E720", message));
        }
        let mut machine = Machine { graph, params: Vec::new(), values: vec![None; graph.tensors.len()] };
        for (id, param) in graph.params.iter() {
            let value = match &param.def {
                ParamDef::Input { input, axis } => bind(inputs, *input, *axis)?,
                ParamDef::Content { input, at } => inputs.get(*input).filter(|v| *at < v.len()).map(|v| v.get_i64(*at)),
                ParamDef::Value { .. } => None,
                _ => machine.param(id),
            };
            if let Some(v) =
                value.filter(|v| param.def.is_given() && (*v < param.min || param.max.is_some_and(|max| *v > max)))
            {
                let bounds = param.max.map_or(format!("at least {}", param.min), |m| format!("{} to {m}", param.min));
                return Err(Error::invalid("E721", format!("dimension {} is {v}, allowed is {bounds}", param.name)));
            }
            machine.params.push(value);
        }
        for (id, value) in graph.main.inputs.iter().zip(inputs) {
            machine.check(*id, value).map_err(|m| Error::invalid("E722", format!("input {m}")))?;
        }
        Ok(machine)
    }

    pub fn run(mut self, inputs: &[Value]) -> Result<Vec<Value>> {
        let arguments = inputs.iter().cloned().map(Rc::new).collect();
        let graph = self.graph;
        let results = self.block(&graph.main, arguments)?;
        Ok(results.into_iter().map(|v| (*v).clone()).collect())
    }

    /// Runs one block with `arguments` for its inputs.
    pub fn block(&mut self, block: &'g Block, arguments: Vec<Rc<Value>>) -> Result<Vec<Rc<Value>>> {
        if block.inputs.len() != arguments.len() {
            let message = format!("a block with {} inputs is given {}", block.inputs.len(), arguments.len());
            return Err(Error::invalid("E723", message));
        }
        for (id, argument) in block.inputs.iter().zip(arguments) {
            self.values[id.0 as usize] = Some(argument);
        }
        for node in &block.nodes {
            self.node(node).map_err(|e| e.at(&node.origin()))?;
        }
        block.outputs.iter().map(|id| self.value(*id)).collect()
    }

    fn node(&mut self, node: &'g Node) -> Result<()> {
        let inputs = node.inputs.iter().map(|id| id.map(|id| self.value(id)).transpose());
        let inputs = inputs.collect::<Result<Vec<Option<Rc<Value>>>>>()?;
        let results = match node.op.as_str() {
            "If" => control::branch(self, node, &inputs)?,
            "Loop" => control::repeat(self, node, &inputs)?,
            "Scan" => control::scan(self, node, &inputs)?,
            _ => {
                let borrowed: Vec<Option<&Value>> = inputs.iter().map(|v| v.as_deref()).collect();
                evaluate(node, &borrowed, &self.graph.tensors)?.into_iter().map(Rc::new).collect()
            }
        };
        self.store(node, results)
    }

    /// Stores the results that the node names, each checked against its inferred type and shape. In a loop, shapes may
    /// follow from a result of this very step: all are stored first.
    fn store(&mut self, node: &Node, results: Vec<Rc<Value>>) -> Result<()> {
        for (n, id) in node.outputs.iter().enumerate() {
            let Some(id) = id else { continue };
            let Some(value) = results.get(n) else {
                return Err(Error::unsupported("E711", format!("output {n} is not computed")));
            };
            self.values[id.0 as usize] = Some(value.clone());
        }
        for (id, value) in node.outputs.iter().zip(&results) {
            let Some(id) = id else { continue };
            self.check(*id, value).map_err(|m| Error::bug("E791", format!("inferred and computed differ: {m}")))?;
        }
        Ok(())
    }

    /// The contents of a tensor: computed, constant, or known as expressions of parameters.
    pub fn value(&mut self, id: TensorId) -> Result<Rc<Value>> {
        if let Some(value) = &self.values[id.0 as usize] {
            return Ok(value.clone());
        }
        let tensor = self.graph.tensor(id);
        let missing = || Error::bug("E792", format!("tensor \"{}\" is read before it is written", tensor.name));
        let shape = self.shape(id).ok_or_else(missing)?;
        let value = match (&tensor.constant, &tensor.symbolic) {
            (Some(data), _) => Value::from_constant(tensor.dtype, &shape, data)?,
            (None, Some(symbolic)) => {
                let elements = symbolic.iter().map(|a| self.evaluate(a).map(i128::from)).collect::<Option<Vec<_>>>();
                Value::from_ints(tensor.dtype, &shape, &elements.ok_or_else(missing)?)?
            }
            _ => return Err(missing()),
        };
        let value = Rc::new(value);
        // Only constants are kept: a symbolic value may depend on what a loop computes.
        if tensor.constant.is_some() {
            self.values[id.0 as usize] = Some(value.clone());
        }
        Ok(value)
    }

    /// The inferred shape with the parameters as far as they are known now.
    pub fn shape(&self, id: TensorId) -> Option<Vec<usize>> {
        self.known_extents(id).into_iter().collect()
    }

    /// The same, extent by extent.
    pub fn known_extents(&self, id: TensorId) -> Vec<Option<usize>> {
        let extents = self.graph.tensor(id).shape.iter();
        extents.map(|a| usize::try_from(self.evaluate(a)?).ok()).collect()
    }

    /// A loop ran `steps` times: the length of `collected`, a result that has an element for each step.
    pub fn bind_steps(&mut self, collected: TensorId, steps: i64) {
        let Some(id) = self.graph.tensor(collected).shape.first().and_then(Aff::as_param) else { return };
        let counts = |array: &String| !self.graph.tensors.iter().any(|t| t.name == *array);
        if matches!(&self.graph.params.get(id).def, ParamDef::Value { array } if counts(array)) {
            self.params[id.0 as usize] = Some(steps);
        }
    }

    /// Binds the parameters that are extents of a tensor with this shape; `name` gives theirs.
    pub fn bind_extents(&mut self, shape: &[usize], name: impl Fn(usize) -> String) {
        for (d, &extent) in shape.iter().enumerate() {
            if let Some(id) = self.graph.params.of_array(&name(d)) {
                self.params[id.0 as usize] = Some(extent as i64);
            }
        }
    }

    /// The value of `aff`; `None` when one of its parameters is not known yet.
    fn evaluate(&self, aff: &Aff) -> Option<i64> {
        if let Some(constant) = aff.as_constant() {
            return Some(constant);
        }
        let unknown = Cell::new(false);
        let value = aff.eval(
            &|id| {
                self.param(id).unwrap_or_else(|| {
                    unknown.set(true);
                    1
                })
            },
            &|_| 0,
        );
        (!unknown.get()).then_some(value)
    }

    fn param(&self, id: ParamId) -> Option<i64> {
        if let Some(value) = self.params.get(id.0 as usize).copied().flatten() {
            return Some(value);
        }
        let of = |a: &Aff| self.evaluate(a);
        Some(match &self.graph.params.get(id).def {
            ParamDef::Input { .. } | ParamDef::Content { .. } => return None,
            ParamDef::Value { array } => {
                let n = self.graph.tensors.iter().position(|t| t.name == *array)?;
                self.values[n].as_ref().filter(|v| !v.is_empty())?.get_i64(0)
            }
            ParamDef::Mul(a, b) => of(a)?.checked_mul(of(b)?)?,
            ParamDef::FloorDiv(a, b) => of(a)?.checked_div_euclid(of(b)?)?,
            ParamDef::Max(a, b) => of(a)?.max(of(b)?),
            ParamDef::Min(a, b) => of(a)?.min(of(b)?),
        })
    }

    /// Compares a value with the type and shape of its tensor; extents not known yet are not compared.
    fn check(&self, id: TensorId, value: &Value) -> std::result::Result<(), String> {
        let tensor = self.graph.tensor(id);
        let known: Vec<Option<i64>> = tensor.shape.iter().map(|a| self.evaluate(a)).collect();
        let agree = known.len() == value.rank()
            && known.iter().zip(&value.shape).all(|(k, extent)| k.is_none_or(|k| k == *extent as i64));
        if tensor.dtype == value.dtype && agree {
            return Ok(());
        }
        let wanted = known.iter().map(|k| k.map_or("?".to_string(), |k| k.to_string())).collect::<Vec<_>>().join(", ");
        Err(format!("\"{}\" is {}[{wanted}], got {}{:?}", tensor.name, tensor.dtype, value.dtype, value.shape))
    }
}

/// Extent `axis` of input `input`; `None` for a parameter of an input that does not exist.
fn bind(inputs: &[Value], input: usize, axis: usize) -> Result<Option<i64>> {
    let Some(value) = inputs.get(input) else { return Ok(None) };
    let extent = value.shape.get(axis).ok_or_else(|| {
        Error::invalid("E722", format!("input {input} has shape {:?}, it needs dimension {axis}", value.shape))
    })?;
    Ok(Some(*extent as i64))
}
