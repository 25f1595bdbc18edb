//! Sequences and optionals: lists of tensors that exist only while shapes are inferred.
//!
//! A sequence whose length is known is a list of tensors, and an optional is a tensor (or list) or nothing. So
//! every operator on them disappears, into other names for tensors or into operators on tensors. What only
//! the run could tell (a position, a length) is refused.

use super::context::{Context, State, Step, Stop};
use super::site::Site;
use crate::graph::{Attribute, Block, Form, Node, TensorId, sources};
use sirius_polyhedral::{Aff, DType, Error};

/// A value that is not a tensor.
#[derive(Clone, Debug)]
pub enum Composite {
    List(Vec<TensorId>),
    Optional(Option<TensorId>),
}

type Rule = fn(&mut Context, &Node, &mut Vec<Node>) -> Step;

const RULES: [(&str, Rule); 12] = [
    ("ConcatFromSequence", concat),
    ("Optional", optional),
    ("OptionalGetElement", get_element),
    ("OptionalHasElement", has_element),
    ("SequenceAt", at),
    ("SequenceConstruct", construct),
    ("SequenceEmpty", construct),
    ("SequenceErase", erase),
    ("SequenceInsert", insert),
    ("SequenceLength", length),
    ("SequenceMap", map),
    ("SplitToSequence", split),
];

pub fn names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}

pub fn find(op: &str) -> Option<Rule> {
    RULES.iter().find(|(name, _)| *name == op).map(|(_, rule)| *rule)
}

pub fn infer(cx: &mut Context, node: &Node, out: &mut Vec<Node>) -> Step {
    find(&node.op).map_or(Ok(()), |rule| rule(cx, node, out))
}

/// Must the node be told that an input is no tensor?
pub fn refuses(cx: &Context, node: &Node) -> bool {
    let passes = matches!(node.op.as_str(), "Identity" | "Loop") || find(&node.op).is_some();
    !passes && node.inputs.iter().flatten().any(|&id| cx.state(id) == State::Composite)
}

pub fn error(node: &Node) -> Error {
    Error::unsupported("E110", format!("{} of a sequence or optional is not supported", node.op))
        .help("take its elements first: SequenceAt, OptionalGetElement, ConcatFromSequence or SequenceMap")
}

impl Context<'_> {
    pub fn set_value(&mut self, id: TensorId, value: Composite) {
        self.states[id.0 as usize] = State::Composite;
        self.composites.insert(id, value);
    }

    fn set_composite(&mut self, node: &Node, value: Composite) {
        if let Some(id) = node.output(0) {
            self.set_value(id, value);
        }
    }

    /// The form of a value, and its tensors.
    pub fn spread(&self, id: TensorId) -> (Form, Vec<TensorId>) {
        match self.composite(Some(id)) {
            None => (Form::Tensor, vec![id]),
            Some(Composite::List(list)) => (Form::Sequence(list.len()), list.clone()),
            Some(Composite::Optional(None)) => (Form::Empty, vec![]),
            Some(Composite::Optional(Some(inner))) => match self.composite(Some(*inner)) {
                Some(Composite::List(list)) => (Form::OptionalSequence(list.len()), list.clone()),
                _ => (Form::Optional, vec![*inner]),
            },
        }
    }

    /// Makes `id` the value of this form with new tensors, which are returned.
    fn gather(&mut self, id: TensorId, form: Form) -> Vec<TensorId> {
        let name = self.graph.tensor(id).name.clone();
        let tensors: Vec<TensorId> = (0..form.tensors()).map(|k| self.add(format!("{name}[{k}]"), None)).collect();
        let value = match form {
            Form::Tensor => return vec![id],
            Form::Sequence(_) => Composite::List(tensors.clone()),
            Form::Empty | Form::Optional => Composite::Optional(tensors.first().copied()),
            Form::OptionalSequence(_) => {
                let list = self.add(format!("{name}.value"), None);
                self.set_value(list, Composite::List(tensors.clone()));
                Composite::Optional(Some(list))
            }
        };
        self.set_value(id, value);
        tensors
    }

    /// An undecided `If` gives the tensors of sequences and optionals one by one: its outputs, and its branches',
    /// become these.
    pub fn spread_branches(&mut self, node: &mut Node, branches: [&mut Block; 2]) -> Step {
        let state = |cx: &Context, id: TensorId| cx.state(cx.root(id));
        let [first, second] = branches;
        let whole = node.outputs.len() <= first.outputs.len().min(second.outputs.len());
        if !whole || !first.outputs.iter().chain(&second.outputs).any(|id| state(self, *id) == State::Composite) {
            return Ok(());
        }
        let (mut outputs, mut left, mut right) = (Vec::new(), Vec::new(), Vec::new());
        for (n, (&a, &b)) in first.outputs.iter().zip(&second.outputs).enumerate() {
            let ((form, a), (other, b)) = match state(self, a) == State::Failed || state(self, b) == State::Failed {
                true => ((Form::Tensor, vec![a]), (Form::Tensor, vec![b])),
                false => (self.spread(a), self.spread(b)),
            };
            if form != other {
                return Err(self.differing(node, n, form, other));
            }
            match node.output(n) {
                Some(id) => outputs.extend(self.gather(id, form).into_iter().map(Some)),
                None => outputs.extend(a.iter().map(|_| None)),
            }
            left.extend(a);
            right.extend(b);
        }
        (node.outputs, first.outputs, second.outputs) = (outputs, left, right);
        self.settle_outputs(first);
        self.settle_outputs(second);
        Ok(())
    }

    fn differing(&self, node: &Node, n: usize, form: Form, other: Form) -> Stop {
        let message = format!("the branches of an If give output {n} the forms {form} and {other}");
        let error = Error::unsupported("E112", message);
        let advice = node.input(0).map(|id| sources::advice(self.draft, &self.graph.params, id));
        advice.map_or(error.clone(), |advice| error.help(advice)).into()
    }

    fn composite(&self, id: Option<TensorId>) -> Option<&Composite> {
        self.composites.get(&self.root(id?))
    }

    /// The elements of input `n`.
    fn list(&self, node: &Node, n: usize) -> Step<Vec<TensorId>> {
        match self.composite(node.input(n)) {
            Some(Composite::List(list)) => Ok(list.clone()),
            _ => Err(Error::invalid("E113", format!("input {n} of {} must be a sequence", node.op)).into()),
        }
    }

    /// Makes the node's output another name for `id`.
    fn alias_output(&mut self, node: &Node, id: TensorId) {
        if let Some(output) = node.output(0) {
            let root = self.root(id);
            self.aliases.insert(output, root);
        }
    }

    /// A scalar whose value is known.
    fn known_output(&mut self, node: &Node, dtype: DType, value: i64) -> Step {
        let mut site = Site { node, cx: self };
        site.set(0, dtype, vec![])?;
        site.set_contents(0, Some(vec![Aff::constant(value)]));
        Ok(())
    }

    /// Position `n` among `length` elements; `past` allows the place behind the last.
    fn position(&mut self, node: &Node, n: usize, places: usize) -> Step<usize> {
        let length = places as i64;
        let given = Site { node, cx: self }.need_ints(n, "position")?;
        let at = given.first().copied().unwrap_or(0);
        // Negative positions count from the end of the list, which an insertion does not include.
        let list = if node.op == "SequenceInsert" { length - 1 } else { length };
        let index = if at < 0 { at + list } else { at };
        if (0..length).contains(&index) {
            return Ok(index as usize);
        }
        Err(Error::invalid("E113", format!("position {at} in a sequence of {list} elements")).into())
    }
}

fn construct(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    cx.set_composite(node, Composite::List(node.inputs.iter().flatten().copied().collect()));
    Ok(())
}

fn insert(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    let mut list = cx.list(node, 0)?;
    let element = node.input(1).ok_or_else(|| Error::invalid("E113", "SequenceInsert needs a tensor"))?;
    let at = if node.input(2).is_some() { cx.position(node, 2, list.len() + 1)? } else { list.len() };
    list.insert(at, element);
    cx.set_composite(node, Composite::List(list));
    Ok(())
}

fn erase(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    let mut list = cx.list(node, 0)?;
    if list.is_empty() {
        return Err(Error::invalid("E113", "SequenceErase of an empty sequence").into());
    }
    let at = if node.input(1).is_some() { cx.position(node, 1, list.len())? } else { list.len() - 1 };
    list.remove(at);
    cx.set_composite(node, Composite::List(list));
    Ok(())
}

fn at(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    let list = cx.list(node, 0)?;
    let at = cx.position(node, 1, list.len())?;
    cx.alias_output(node, list[at]);
    Ok(())
}

fn length(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    let length = cx.list(node, 0)?.len() as i64;
    cx.known_output(node, DType::I64, length)
}

/// `Concat`, after a new dimension for each element where `new_axis` asks for one.
fn concat(cx: &mut Context, node: &Node, out: &mut Vec<Node>) -> Step {
    let mut list = cx.list(node, 0)?;
    let axis = node.int("axis").unwrap_or(0);
    if node.int("new_axis") == Some(1) {
        let axes = cx.vector(&node.name, &[axis]);
        for element in &mut list {
            *element = cx.computed(&node.name, "Unsqueeze", &[*element, axes], ("axis", Attribute::Int(axis)), out)?;
        }
    }
    if list.is_empty() {
        return Err(Error::invalid("E113", "ConcatFromSequence of an empty sequence").into());
    }
    let joined = cx.computed(&node.name, "Concat", &list, ("axis", Attribute::Int(axis)), out)?;
    cx.alias_output(node, joined);
    Ok(())
}

/// `Split` into pieces whose number is known; without `split`, pieces of one, whose dimension `keepdims` may drop.
fn split(cx: &mut Context, node: &Node, out: &mut Vec<Node>) -> Step {
    let mut site = Site { node, cx };
    let shape = site.shape(0)?;
    let axis = site.axis_attribute(0, shape.len())?;
    let (split, count) = match listed_sizes(&site)? {
        Some(listed) => listed,
        None => {
            let sizes = equal_sizes(&mut site, &shape[axis])?;
            (cx.vector(&node.name, &sizes), sizes.len())
        }
    };
    let axis_attribute = || ("axis", Attribute::Int(axis as i64));
    let mut pieces: Vec<TensorId> = (0..count).map(|_| cx.add(format!("{}/piece", node.name), None)).collect();
    if let (Some(input), false) = (node.input(0), pieces.is_empty()) {
        cx.emit(&node.name, "Split", &[input, split], &pieces, axis_attribute(), out)?;
    }
    if node.input(1).is_none() && node.int("keepdims") == Some(0) {
        let axes = cx.vector(&node.name, &[axis as i64]);
        for piece in &mut pieces {
            *piece = cx.computed(&node.name, "Squeeze", &[*piece, axes], axis_attribute(), out)?;
        }
    }
    cx.set_composite(node, Composite::List(pieces));
    Ok(())
}

/// The sizes that a vector gives for the pieces, and how many they are; only the run may know the sizes themselves.
fn listed_sizes(site: &Site) -> Step<Option<(TensorId, usize)>> {
    let Some(sizes) = site.node.input(1).filter(|_| site.rank(1).is_ok_and(|rank| rank > 0)) else { return Ok(None) };
    match site.shape(1)?[0].as_constant() {
        Some(count) => Ok(Some((sizes, count as usize))),
        None => Err(site.unsupported("a sequence has as many elements as a symbolic dimension says")),
    }
}

/// Pieces of one size (1 where none is given), the last perhaps smaller.
fn equal_sizes(site: &mut Site, extent: &Aff) -> Step<Vec<i64>> {
    let Some(extent) = extent.as_constant() else {
        let message = format!("a sequence has as many elements as the dimension {} says", site.cx.show(extent));
        return Err(Error::unsupported("E112", message).help("fix the dimension: --dim NAME=N").into());
    };
    let size = if site.has(1) { site.need_ints(1, "split")?.first().copied().unwrap_or(0) } else { 1 };
    if size <= 0 {
        return Err(site.invalid("the size of the pieces must be positive"));
    }
    let full = vec![size; (extent / size) as usize];
    Ok(full.into_iter().chain((extent % size > 0).then_some(extent % size)).collect())
}

/// The body once for every element of the first sequence.
fn map(cx: &mut Context, node: &Node, out: &mut Vec<Node>) -> Step {
    let Some(body) = node.block("body") else {
        return Err(Error::invalid("E113", "SequenceMap needs a subgraph \"body\"").into());
    };
    let count = cx.list(node, 0)?.len();
    let mut results = vec![Vec::new(); body.outputs.len()];
    for n in 0..count {
        let mut arguments = Vec::new();
        for &input in node.inputs.iter().flatten() {
            arguments.push(match cx.composite(Some(input)) {
                Some(Composite::List(list)) => list.get(n).copied().ok_or_else(uneven)?,
                _ => input,
            });
        }
        let values = cx.apply(body, &arguments, out)?;
        results.iter_mut().zip(values).for_each(|(result, value)| result.push(value));
    }
    for (output, result) in node.outputs.iter().zip(results) {
        if let Some(output) = output {
            cx.states[output.0 as usize] = State::Composite;
            cx.composites.insert(*output, Composite::List(result));
        }
    }
    Ok(())
}

fn uneven() -> Error {
    Error::invalid("E113", "the sequences of a SequenceMap have different lengths")
}

fn optional(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    cx.set_composite(node, Composite::Optional(node.input(0)));
    Ok(())
}

/// Since version 18 the input may be no optional at all.
fn get_element(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    let input = node.input(0);
    let element = match cx.composite(input) {
        Some(Composite::Optional(element)) => *element,
        _ => input,
    };
    let element = element.ok_or_else(|| Error::invalid("E113", "OptionalGetElement of an empty optional"))?;
    cx.alias_output(node, element);
    Ok(())
}

fn has_element(cx: &mut Context, node: &Node, _: &mut Vec<Node>) -> Step {
    let input = node.input(0);
    let full = match cx.composite(input) {
        Some(Composite::Optional(element)) => element.is_some(),
        _ => input.is_some(),
    };
    cx.known_output(node, DType::Bool, full.into())
}
