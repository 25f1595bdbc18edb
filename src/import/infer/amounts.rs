//! Amounts that are data: a shape, a count or a bound that a node takes as a tensor whose contents only the run
//! knows.
//!
//! Such a tensor's elements become parameters, and the rules go on with them as with named dimensions. Where the
//! amount follows from small integer graph inputs, these inputs' elements are the parameters: the artifact reads
//! them on entry, and every size is known before the run ([`ParamDef::Content`]). Otherwise the program computes
//! the amount ([`ParamDef::Value`]); the workspace then needs an upper bound, from the operator or by convention.
//! Operators that find out how large their result is (`NonZero`) get one more output, the count.

use super::assume::{Fact, Range, Same, intersect};
use super::context::{Context, State, Step, Stop};
use super::site::Site;
use crate::graph::interp;
use crate::graph::{Block, Graph, Node, Tensor, TensorId};
use crate::import::Dimension;
use crate::import::inputs::{DeclaredDim, DeclaredInput, identifier};
use crate::import::tensor::Constant;
use crate::run::value::Value;
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, DType, Error, Param, ParamDef, ParamId, Term};
use std::collections::{HashMap, HashSet};

/// Longer tensors are data, not amounts.
const MAX_AMOUNTS: i64 = 64;

/// Which tensors every node's result follows from.
#[derive(Default)]
pub struct Producers {
    inputs: HashMap<TensorId, Vec<TensorId>>,
    /// Inputs of loops' bodies: another value in every step.
    steps: HashSet<TensorId>,
}

impl Producers {
    pub fn of(graph: &Graph) -> Producers {
        let mut producers = Producers::default();
        producers.add(&graph.main);
        producers
    }

    /// Notes a node that inference puts into the graph.
    pub fn add_node(&mut self, node: &Node) {
        let inputs: Vec<TensorId> = node.inputs.iter().flatten().copied().collect();
        node.outputs.iter().flatten().for_each(|output| {
            self.inputs.insert(*output, inputs.clone());
        });
    }

    fn add(&mut self, block: &Block) {
        for node in &block.nodes {
            self.add_node(node);
            let blocks = node.attributes.values().filter_map(|a| match a {
                crate::graph::Attribute::Block(block) => Some(block),
                _ => None,
            });
            blocks.for_each(|block| {
                self.steps.extend(&block.inputs);
                self.add(block);
            });
        }
    }

    /// `tensor` and everything it follows from.
    fn ancestors(&self, tensor: TensorId) -> Vec<TensorId> {
        let (mut seen, mut order) = (HashSet::new(), vec![tensor]);
        let mut at = 0;
        while let Some(&id) = order.get(at) {
            at += 1;
            let inputs = self.inputs.get(&id).into_iter().flatten();
            order.extend(inputs.filter(|&&i| seen.insert(i)).copied().collect::<Vec<_>>());
        }
        order
    }
}

/// The name of element `k` of an amount.
fn element_name(tensor: &str, rank: usize, k: usize) -> String {
    let name = identifier(tensor);
    if rank == 0 { format!("{name}_value") } else { format!("{name}_value{k}") }
}

/// The number of elements of a tensor that may hold amounts.
fn amount_count(dtype: DType, shape: &[i64]) -> Option<usize> {
    let fits = dtype.is_integer() && shape.len() <= 1;
    let count = shape.first().copied().unwrap_or(1);
    (fits && (0..=MAX_AMOUNTS).contains(&count)).then_some(count as usize)
}

fn tensor_count(tensor: &Tensor) -> Option<usize> {
    amount_count(tensor.dtype, &tensor.fixed_shape()?)
}

/// The names by which the user may fix the elements of a graph input.
pub fn declared_elements(input: &DeclaredInput) -> Vec<String> {
    let fixed = |dim: &DeclaredDim| match dim {
        DeclaredDim::Fixed(n) => Some(*n),
        _ => None,
    };
    let shape: Option<Vec<i64>> = input.dims.iter().map(fixed).collect();
    let count = shape.and_then(|shape| amount_count(input.dtype, &shape)).unwrap_or(0);
    (0..count).map(|k| element_name(&input.name, input.dims.len(), k)).collect()
}

impl Context<'_> {
    /// The fact that would give `wanted` contents, if there is one.
    pub fn amount_fact(&self, wanted: TensorId) -> Option<Fact> {
        let open = |id: &&TensorId| {
            let tensor = self.graph.tensor(**id);
            tensor_count(tensor).is_some() && tensor.affs().is_none() && !self.known.is_amount(&tensor.name)
        };
        let name = |id: &TensorId| self.graph.tensor(*id).name.clone();
        let ancestors = self.producers.ancestors(wanted);
        if let Some(empty) = self.inputs.iter().filter(|id| ancestors.contains(id)).find_map(|id| self.is_empty(*id)) {
            return Some(Fact::Same(empty, Same::Fixed(0)));
        }
        let given: Vec<String> =
            self.inputs.iter().filter(|id| ancestors.contains(id)).filter(open).map(name).collect();
        if !given.is_empty() {
            return Some(Fact::Amounts(given));
        }
        let found = self.producers.inputs.contains_key(&wanted) || self.producers.steps.contains(&wanted);
        let computed = found && open(&&wanted);
        computed.then(|| Fact::Amounts(vec![name(&wanted)]))
    }

    /// The dimension that makes an input an empty vector, if the file means its 0: its contents are asked for, and
    /// nothing else says how many they are.
    fn is_empty(&self, input: TensorId) -> Option<String> {
        let [extent] = self.graph.tensor(input).shape.as_slice() else { return None };
        let name = &self.graph.params.get(extent.as_param()?).name;
        self.zeros.contains(name).then(|| name.clone())
    }

    /// Gives graph input number `input` contents where it is an amount; `given` are elements
    /// that the user fixes or bounds.
    pub fn declare_amount(&mut self, input: usize, id: TensorId, given: impl Fn(&str) -> Option<Dimension>) {
        let tensor = self.graph.tensor(id).clone();
        let Some(count) = tensor_count(&tensor) else { return };
        let names: Vec<String> = (0..count).map(|k| element_name(&tensor.name, tensor.rank(), k)).collect();
        if !self.known.is_amount(&tensor.name) && names.iter().all(|n| given(n).is_none()) {
            return;
        }
        let mut contents = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let given = given(&name);
            let range = given.map_or((None, None), |given| given.range());
            let range = intersect(range, self.known_range(&name));
            let param = self.amount_param(name, ParamDef::Content { input, at }, range);
            if let Some(typical) = given.and_then(|given| given.typical()) {
                self.graph.params.get_mut(param).hint = typical;
            }
            contents.push(given.and_then(|given| given.fixed()).map_or(Aff::param(param), Aff::constant));
        }
        self.graph.tensor_mut(id).symbolic = Some(contents);
    }

    pub fn known_range(&self, name: &str) -> Range {
        self.known.ranges(None).find(|(dim, _)| *dim == name).map_or((None, None), |(_, range)| range)
    }

    fn amount_param(&mut self, name: String, def: ParamDef, (low, high): Range) -> ParamId {
        let mut unique = name;
        while self.graph.params.find(&unique).is_some() {
            unique.push('_');
        }
        let least = low.unwrap_or(0);
        let (min, hint) = (low.unwrap_or(i64::MIN), 16.clamp(least, high.unwrap_or(16).max(least)));
        self.graph.params.push(Param { name: unique, def, min, max: high, hint })
    }

    /// Behind the node that computes an amount: every element as a scalar that defines a parameter. Readers of
    /// the amount get the parameters.
    /// For an input of a body, the same before the body's nodes.
    pub fn define_amount(&mut self, parent: &str, output: TensorId, out: &mut Vec<Node>) -> Step {
        let tensor = self.graph.tensor(output).clone();
        let open = self.state(output) == State::Known && tensor.affs().is_none();
        let Some(count) = tensor_count(&tensor).filter(|_| open && self.known.is_amount(&tensor.name)) else {
            return Ok(());
        };
        let mut contents = Vec::new();
        for k in 0..count {
            let name = element_name(&tensor.name, tensor.rank(), k);
            let scalar = if tensor.rank() == 0 { output } else { self.element(parent, output, k, out)? };
            let def = ParamDef::Value { array: self.graph.tensor(scalar).name.clone() };
            let range = self.known_range(&name);
            contents.push(Aff::param(self.amount_param(name, def, range)));
        }
        let known = Tensor { name: format!("{}_known", tensor.name), symbolic: Some(contents), ..tensor };
        let name = self.unique_tensor(&known.name);
        self.states.push(State::Known);
        let known = self.graph.add_tensor(Tensor { name, ..known });
        self.aliases.insert(output, known);
        Ok(())
    }

    fn unique_tensor(&self, name: &str) -> String {
        format!("{name}_{}", self.graph.tensors.len())
    }

    /// Element `k` of a vector as a scalar.
    fn element(&mut self, parent: &str, vector: TensorId, k: usize, out: &mut Vec<Node>) -> Step<TensorId> {
        let name = self.graph.tensor(vector).name.clone();
        let at = self.add(format!("{name}_place{k}"), Some(Constant::ints(&[k as i64], &[])));
        let scalar = self.add(format!("{name}_value{k}"), None);
        let gather = Node {
            name: format!("{parent}/Gather_{scalar}"),
            op: "Gather".into(),
            domain: String::new(),
            version: 13,
            inputs: vec![Some(vector), Some(at)],
            outputs: vec![Some(scalar)],
            attributes: IndexMap::new(),
        };
        self.nodes(vec![gather], out)?;
        Ok(scalar)
    }

    /// Does `aff` depend on an amount?
    pub fn uses_amount(&self, aff: &Aff) -> bool {
        let params = &self.graph.params;
        params.follows(aff, &|p| matches!(params.get(p).def, ParamDef::Content { .. } | ParamDef::Value { .. }))
    }

    /// Does `aff` change from step to step of the loop whose body has the parameters from number `first` on?
    pub fn is_local(&self, aff: &Aff, first: usize) -> bool {
        let params = &self.graph.params;
        params.follows(aff, &|p| p.0 as usize >= first && matches!(params.get(p).def, ParamDef::Value { .. }))
    }

    /// An extent must be at least 0, and the workspace needs an upper bound for it before the run.
    pub fn check_extent(&self, extent: &Aff) -> Step {
        if !self.uses_amount(extent) {
            return Ok(());
        }
        self.at_least(extent, 0)?;
        match self.unbounded(extent) {
            None => Ok(()),
            Some(p) => {
                let param = self.graph.params.get(p);
                let low = (param.min == i64::MIN).then_some(-self.limits.room);
                let range = (low, Some(param.max.unwrap_or(self.limits.room)));
                Err(Stop::Restart(Fact::Range { branch: None, dim: param.name.clone(), range }))
            }
        }
    }

    /// Asks for amounts with which `aff` is at least `low`, where that depends on one of them only.
    pub fn at_least(&self, aff: &Aff, low: i64) -> Step {
        if self.range(aff).0.is_some_and(|l| l >= low) {
            return Ok(());
        }
        let ([(Term::Param(p), 1)], offset) = (aff.terms(), aff.offset()) else { return Ok(()) };
        let param = self.graph.params.get(*p);
        if !matches!(param.def, ParamDef::Content { .. } | ParamDef::Value { .. }) {
            return Ok(());
        }
        let range = (Some(low - offset), None);
        Err(Stop::Restart(Fact::Range { branch: None, dim: param.name.clone(), range }))
    }

    /// Asks for an amount inside these bounds, where `aff` is one: the artifact then refuses others by name.
    pub fn within(&self, aff: &Aff, low: i64, high: i64) -> Step {
        let Some(p) = aff.as_param() else { return Ok(()) };
        let (least, most) = self.range(aff);
        if least.is_some_and(|l| l >= low) && most.is_some_and(|m| m <= high) {
            return Ok(());
        }
        let (dim, range) = (self.graph.params.get(p).name.clone(), (Some(low), Some(high)));
        Err(Stop::Restart(Fact::Range { branch: None, dim, range }))
    }

    /// An upper bound of an extent that is known when the run begins.
    pub fn limit(&mut self, aff: &Aff) -> Option<Aff> {
        let mut limit = Aff::constant(aff.offset());
        for (term, factor) in aff.terms() {
            let atom = match term {
                Term::Param(p) => Aff::param(*p),
                Term::FloorDiv(a, d) => a.floor_div(*d),
                Term::Iter(_) => return None,
            };
            let part = match term {
                _ if !self.graph.params.is_computed(&atom) => atom,
                Term::Param(p) if *factor > 0 => self.limit_of(*p)?,
                _ if *factor > 0 => self.range(&atom).1?.into(),
                _ => self.range(&atom).0?.into(),
            };
            limit = limit + part * *factor;
        }
        Some(limit)
    }

    fn limit_of(&mut self, id: ParamId) -> Option<Aff> {
        if let Some(most) = self.param_range(id).1 {
            return Some(most.into());
        }
        match self.graph.params.get(id).def.clone() {
            ParamDef::Min(a, b) => match (self.limit(&a), self.limit(&b)) {
                (Some(a), Some(b)) => Some(self.min(&a, &b)),
                (a, b) => a.or(b),
            },
            ParamDef::Max(a, b) => {
                let (a, b) = (self.limit(&a)?, self.limit(&b)?);
                Some(self.max(&a, &b))
            }
            ParamDef::Mul(a, b) => {
                let (a, b) = (self.limit(&a)?, self.limit(&b)?);
                Some(self.mul(&a, &b))
            }
            ParamDef::FloorDiv(a, _) => self.limit(&a),
            _ => None,
        }
    }

    /// A computed parameter that leaves `aff` without an upper bound in the caller's dimensions.
    fn unbounded(&self, aff: &Aff) -> Option<ParamId> {
        aff.terms().iter().find_map(|(term, c)| match term {
            Term::Param(p) if *c > 0 => self.unbounded_param(*p),
            Term::Param(p) => self.unbounded_below(*p),
            Term::FloorDiv(a, _) => self.unbounded(a),
            Term::Iter(_) => None,
        })
    }

    fn unbounded_below(&self, id: ParamId) -> Option<ParamId> {
        let param = self.graph.params.get(id);
        (matches!(param.def, ParamDef::Value { .. }) && param.min == i64::MIN).then_some(id)
    }

    fn unbounded_param(&self, id: ParamId) -> Option<ParamId> {
        let param = self.graph.params.get(id);
        match &param.def {
            ParamDef::Input { .. } | ParamDef::Content { .. } => None,
            ParamDef::Value { .. } => param.max.is_none().then_some(id),
            ParamDef::Min(a, b) => self.unbounded(a).and(self.unbounded(b)),
            ParamDef::Mul(a, b) | ParamDef::Max(a, b) => self.unbounded(a).or_else(|| self.unbounded(b)),
            ParamDef::FloorDiv(a, _) => self.unbounded(a),
        }
    }
}

impl Context<'_> {
    /// Gives a node the further output that tells how long its results are.
    pub fn add_count(&mut self, node: &mut Node) {
        let Some(declared) = node.count_output().filter(|_| node.domain.is_empty()) else { return };
        node.outputs.resize(declared, None);
        let count = self.add(format!("{}_count", identifier(&node.name)), None);
        node.outputs.push(Some(count));
    }
}

impl Context<'_> {
    /// A depth of `OneHot` may be a float; as an extent it is an integer.
    pub fn whole_depth(&mut self, node: &mut Node, out: &mut Vec<Node>) -> Step {
        let depth = match node.input(1) {
            Some(depth) if node.op == "OneHot" && self.type_of(depth).0.is_float() => depth,
            _ => return Ok(()),
        };
        let whole = self.add(format!("{}_depth", identifier(&node.name)), None);
        let name = format!("{}/Cast_{whole}", node.name);
        let cast = Node {
            op: "Cast".into(),
            domain: String::new(),
            version: 13,
            inputs: vec![Some(depth)],
            outputs: vec![Some(whole)],
            attributes: IndexMap::from([("to".to_string(), crate::graph::Attribute::Int(7))]),
            name,
        };
        self.nodes(vec![cast], out)?;
        node.inputs[1] = Some(self.root(whole));
        Ok(())
    }
}

impl Site<'_, '_> {
    /// The length that the run finds, from `least` to `limit`.
    pub fn counted(&mut self, least: i64, limit: &Aff) -> Step<Aff> {
        let last = self.node.count_output().unwrap_or(0);
        let count = self.node.output(last).ok_or_else(|| self.invalid("the count has no tensor"))?;
        self.set(last, DType::I64, vec![])?;
        let constant = limit.as_constant().or(self.cx.range(limit).1);
        let name = self.cx.graph.tensor(count).name.clone();
        let range = (Some(least), constant.map(|h| h.max(least)));
        let def = ParamDef::Value { array: name.clone() };
        let count = Aff::param(self.cx.amount_param(name, def, range));
        Ok(if limit.as_constant().is_some() { count } else { self.cx.min(&count, limit) })
    }

    /// Where all inputs are constant, so are the results: their extents are then numbers. `false` otherwise.
    pub fn evaluate_constants(&mut self) -> Step<bool> {
        let graph = &self.cx.graph;
        let value = |id: TensorId| {
            let tensor = graph.tensor(id);
            let shape: Vec<usize> = tensor.fixed_shape()?.iter().map(|&n| n as usize).collect();
            Value::from_constant(tensor.dtype, &shape, tensor.constant.as_ref()?).ok()
        };
        let inputs: Vec<Option<Value>> = self.node.inputs.iter().map(|id| id.and_then(value)).collect();
        let known = self.node.inputs.iter().zip(&inputs).all(|(id, value)| id.is_none() || value.is_some());
        if !known || self.node.inputs.is_empty() {
            return Ok(false);
        }
        let borrowed: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
        let results = match interp::evaluate(self.node, &borrowed, &graph.tensors) {
            Ok(results) => results,
            Err(Error::Unsupported(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for (n, value) in results.into_iter().enumerate() {
            let Some(output) = self.node.output(n) else { continue };
            self.set(n, value.dtype, value.shape.iter().map(|&e| Aff::constant(e as i64)).collect())?;
            self.cx.graph.tensor_mut(output).constant = Some(sirius_polyhedral::ConstantData::new(value.bytes));
        }
        Ok(true)
    }
}
