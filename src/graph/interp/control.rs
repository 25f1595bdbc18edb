//! `If`, `Loop` (opset 1 and up) and `Scan` (opset 9 and up): nodes whose work is in their blocks.

use super::index::{pick, split_at, transpose};
use super::machine::Machine;
use crate::graph::{Attribute, Block, COUNTERS, Node};
use crate::run::value::Value;
use sirius_polyhedral::{Error, Result};
use std::rc::Rc;

type Values = Vec<Rc<Value>>;

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid("E710", message)
}

fn block<'g>(node: &'g Node, name: &str) -> Result<&'g Block> {
    node.block(name).ok_or_else(|| invalid(format!("attribute `{name}` is missing")))
}

/// The truth of a one-element tensor.
fn truth(value: &Value) -> Result<bool> {
    value.bools().first().copied().ok_or_else(|| invalid("the condition is an empty tensor"))
}

pub fn branch<'g>(machine: &mut Machine<'g>, node: &'g Node, inputs: &[Option<Rc<Value>>]) -> Result<Values> {
    let condition = inputs.first().cloned().flatten().ok_or_else(|| invalid("the condition is missing"))?;
    let (taken, needs) = if truth(&condition)? { ("then_branch", "then_needs") } else { ("else_branch", "else_needs") };
    if let Some(Attribute::Tensor(needs)) = node.attributes.get(needs) {
        let needs = machine.value(*needs)?;
        if (0..needs.len()).any(|k| needs.get_i64(k) < 0) {
            return Err(invalid(format!("its {taken} has no meaning for inputs of these sizes")));
        }
    }
    let results = machine.block(block(node, taken)?, Vec::new())?;
    bind_results(machine, node, &results);
    Ok(results)
}

/// Results decide their own extents where branches or steps give them different ones.
fn bind_results(machine: &mut Machine, node: &Node, results: &[Rc<Value>]) {
    for (n, value) in results.iter().enumerate() {
        machine.bind_extents(&value.shape, |d| node.extent_name(n, d));
    }
}

/// `Loop(M, cond, carried...)`: runs while fewer than `M` times and the condition holds. Results are the final
/// carried values, then the scan outputs stacked along a new first dimension.
pub fn repeat<'g>(machine: &mut Machine<'g>, node: &'g Node, inputs: &[Option<Rc<Value>>]) -> Result<Values> {
    let body = block(node, "body")?;
    let limit = match inputs.first().cloned().flatten() {
        Some(m) if !m.is_empty() => m.get_i64(0),
        _ => i64::MAX,
    };
    let mut go = inputs.get(1).cloned().flatten().map_or(Ok(true), |c| truth(&c))?;
    let carried = inputs.get(2..).unwrap_or_default().iter().cloned();
    let mut carried = carried.collect::<Option<Values>>().ok_or_else(|| invalid("a carried value is missing"))?;
    let scans = body.outputs.len().checked_sub(carried.len() + 1).ok_or_else(|| invalid("too few body outputs"))?;
    let mut collected: Vec<Values> = vec![Vec::new(); scans];
    let mut count = 0;
    while go && count < limit {
        in_range(node, &carried)?;
        let mut arguments = vec![Rc::new(Value::from_i64(&[], &[count])?), Rc::new(Value::from_bools(&[], &[true])?)];
        for (k, value) in carried.iter().enumerate() {
            machine.bind_extents(&value.shape, |d| node.carried_name(k, d));
        }
        arguments.extend(carried.iter().cloned());
        let mut results = machine.block(body, arguments)?;
        let rest = results.split_off(carried.len() + 1);
        go = truth(&results[0])?;
        carried = results.split_off(1);
        for (list, item) in collected.iter_mut().zip(rest) {
            list.push(item);
        }
        count += 1;
    }
    bind_results(machine, node, &carried);
    for collected in node.outputs.iter().skip(carried.len()).flatten() {
        machine.bind_steps(*collected, count);
    }
    let ids = &body.outputs[body.outputs.len() - scans..];
    for (id, list) in ids.iter().zip(&collected) {
        carried.push(Rc::new(if list.is_empty() { empty_stack(machine, *id)? } else { stack(list)? }));
    }
    Ok(carried)
}

/// Do the counters have values that the sizes inside the loop allow?
fn in_range(node: &Node, carried: &Values) -> Result<()> {
    for rule in node.ints(COUNTERS).unwrap_or_default().chunks_exact(3) {
        let counter = usize::try_from(rule[0]).ok().and_then(|k| carried.get(k)).filter(|v| !v.is_empty());
        let value = counter.map_or(0, |v| v.get_i64(0));
        if !(rule[1]..=rule[2]).contains(&value) {
            let message =
                format!("carried value {} is {value}, for which there is no room: {} to {}", rule[0], rule[1], rule[2]);
            return Err(invalid(message));
        }
    }
    Ok(())
}

/// The stack of what was never computed: its shape as inferred, with extents that are still unknown as 0.
fn empty_stack(machine: &Machine, id: crate::graph::TensorId) -> Result<Value> {
    let tensor = machine.graph.tensor(id);
    let mut shape = vec![0];
    shape.extend(machine.known_extents(id).into_iter().map(|extent| extent.unwrap_or(0)));
    Value::zeros(tensor.dtype, &shape)
}

/// Equal-shaped values side by side along a new first dimension.
fn stack(items: &[Rc<Value>]) -> Result<Value> {
    let first = items.first().ok_or_else(|| invalid("nothing to stack"))?;
    if let Some(other) = items.iter().find(|v| v.shape != first.shape) {
        return Err(invalid(format!("scan outputs of shapes {:?} and {:?}", first.shape, other.shape)));
    }
    let mut shape = vec![items.len()];
    shape.extend(&first.shape);
    Value::new(first.dtype, shape, items.iter().flat_map(|v| v.bytes.iter().copied()).collect())
}

/// `Scan` over `num_scan_inputs` sequences; state first, then one element of each sequence per step.
pub fn scan<'g>(machine: &mut Machine<'g>, node: &'g Node, inputs: &[Option<Rc<Value>>]) -> Result<Values> {
    if node.version < 9 {
        return Err(Error::unsupported("E711", "Scan of opset 8").help("convert the model to opset 9 or later"));
    }
    let body = block(node, "body")?;
    let inputs = inputs.iter().cloned().collect::<Option<Values>>().ok_or_else(|| invalid("an input is missing"))?;
    let sequences = node.int("num_scan_inputs").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let states = inputs.len().checked_sub(sequences).ok_or_else(|| invalid("too few inputs"))?;
    let outputs = body.outputs.len().checked_sub(states).ok_or_else(|| invalid("too few body outputs"))?;
    let steps = steps(node, &inputs[states..])?;
    let mut state = inputs[..states].to_vec();
    let mut collected: Vec<Values> = vec![Vec::new(); outputs];
    for t in 0..steps {
        let mut arguments = state;
        for (n, sequence) in inputs[states..].iter().enumerate() {
            let reverse = item(node, "scan_input_directions", n) != 0;
            let axis = scan_axis(item(node, "scan_input_axes", n), sequence.rank())?;
            arguments.push(Rc::new(slice(sequence, axis, if reverse { steps - 1 - t } else { t })?));
        }
        state = machine.block(body, arguments)?;
        for (list, item) in collected.iter_mut().zip(state.split_off(states)) {
            list.push(item);
        }
    }
    for (n, mut list) in collected.into_iter().enumerate() {
        if item(node, "scan_output_directions", n) != 0 {
            list.reverse();
        }
        let id = body.outputs[states + n];
        let stacked = if list.is_empty() { empty_stack(machine, id)? } else { stack(&list)? };
        state.push(Rc::new(unstack_axis(&stacked, item(node, "scan_output_axes", n))?));
    }
    Ok(state)
}

/// Entry `n` of an integer list that defaults to zeros.
fn item(node: &Node, name: &str, n: usize) -> i64 {
    node.ints(name).and_then(|list| list.get(n)).copied().unwrap_or(0)
}

fn scan_axis(axis: i64, rank: usize) -> Result<usize> {
    let found = if axis < 0 { axis + rank as i64 } else { axis };
    let found = usize::try_from(found).ok().filter(|a| *a < rank);
    found.ok_or_else(|| invalid(format!("scan axis {axis} of a tensor with {rank} dimensions")))
}

/// The common length of the sequences.
fn steps(node: &Node, sequences: &[Rc<Value>]) -> Result<usize> {
    let mut lengths = Vec::new();
    for (n, sequence) in sequences.iter().enumerate() {
        lengths.push(sequence.shape[scan_axis(item(node, "scan_input_axes", n), sequence.rank())?]);
    }
    match lengths.as_slice() {
        [] => Err(invalid("a Scan without scan inputs")),
        [first, rest @ ..] if rest.iter().all(|l| l == first) => Ok(*first),
        _ => Err(invalid(format!("sequences of lengths {lengths:?}"))),
    }
}

/// The sub-tensor at `position` of `axis`, without that axis.
fn slice(value: &Value, axis: usize, position: usize) -> Result<Value> {
    let (outer, n, inner) = split_at(&value.shape, axis);
    let mut shape = value.shape.clone();
    shape.remove(axis);
    let source = (0..outer).flat_map(|o| (0..inner).map(move |i| (o * n + position) * inner + i));
    pick(value, &shape, &source.collect::<Vec<_>>())
}

/// Moves the first dimension to `axis`.
fn unstack_axis(value: &Value, axis: i64) -> Result<Value> {
    let axis = scan_axis(axis, value.rank())?;
    let mut perm: Vec<usize> = (1..value.rank()).collect();
    perm.insert(axis, 0);
    transpose(value, &perm)
}
