//! Carried values that grow: `xs = concat(xs, x)` in every step of a `Loop`.
//!
//! Such a list is a scan output in disguise: the steps' `x` are stacked, and after the loop the stack is
//! flattened and appended to the initial list. Storage then has a known place for every step, and the body
//! no longer copies the list.

use super::context::{Context, Step};
use crate::graph::compact::visit_ids;
use crate::graph::{Attribute, Block, Node, TensorId};
use sirius_polyhedral::{Aff, Error};

/// One rewritten list.
pub struct Growth {
    node: String,
    axis: i64,
    initial: TensorId,
    /// The steps' pieces, stacked.
    stack: TensorId,
    output: TensorId,
}

/// Turns every growing carried value of the loop into a scan output.
pub fn rewrite(cx: &mut Context, node: &mut Node, body: &mut Block) -> Vec<Growth> {
    let carried = node.inputs.len().saturating_sub(2);
    if body.inputs.len() != carried + 2 || body.outputs.len() < carried + 1 {
        return Vec::new();
    }
    let mut found = Vec::new();
    for k in (0..carried).rev() {
        if let Some(at) = append_node(body, body.inputs[2 + k], body.outputs[1 + k]) {
            found.extend(move_to_scan(cx, node, body, k, at));
        }
    }
    found
}

/// The position of the only node that uses `list`: a `Concat` of it and one more value into `next`, which
/// has no other use.
fn append_node(body: &Block, list: TensorId, next: TensorId) -> Option<usize> {
    let at = body.nodes.iter().position(|n| n.outputs == [Some(next)])?;
    let node = &body.nodes[at];
    let appends = node.op == "Concat" && node.inputs.len() == 2 && node.input(0) == Some(list);
    let mut uses = (0, 0);
    visit_ids(&mut body.clone(), &mut |id| {
        uses.0 += usize::from(*id == list);
        uses.1 += usize::from(*id == next);
    });
    // The list: block input and operand. Its successor: result and block output.
    (appends && uses == (2, 2)).then_some(at)
}

fn move_to_scan(cx: &mut Context, node: &mut Node, body: &mut Block, k: usize, at: usize) -> Option<Growth> {
    let append = body.nodes.remove(at);
    let piece = append.input(1)?;
    let initial = node.inputs.remove(2 + k)?;
    body.inputs.remove(2 + k);
    body.outputs.remove(1 + k);
    let output = if k < node.outputs.len() { node.outputs.remove(k) } else { None }?;
    body.outputs.push(piece);
    let stack = cx.add(format!("{}_stack", cx.graph.tensor(output).name), None);
    node.outputs.resize(body.outputs.len() - 2, None);
    node.outputs.push(Some(stack));
    let axis = append.int("axis").unwrap_or(0);
    Some(Growth { node: node.name.clone(), axis, initial, stack, output })
}

impl Growth {
    pub fn output(&self) -> TensorId {
        self.output
    }

    /// Appends the nodes that make the final list from the stack.
    pub fn restore(self, cx: &mut Context, out: &mut Vec<Node>) -> Step {
        let (_, shape) = cx.type_of(self.stack);
        let rank = shape.len() as i64 - 1;
        let axis = if self.axis < 0 { self.axis + rank } else { self.axis };
        if !(0..rank).contains(&axis) {
            return Err(Error::invalid("E113", format!("axis {} is outside a tensor of rank {rank}", self.axis)).into());
        }
        let axis = axis as usize;
        let mut value = self.stack;
        if axis > 0 {
            let perm = (1..=axis).chain([0]).chain(axis + 1..shape.len()).map(|a| a as i64).collect();
            value = cx.computed(&self.node, "Transpose", &[value], ("perm", Attribute::Ints(perm)), out)?;
        }
        let empty = cx.type_of(self.initial).1.get(axis).is_some_and(|n| n.is_constant(0));
        let flat = if empty { self.output } else { cx.add(format!("{}_flat", self.node), None) };
        let target = cx.vector(&self.node, &flat_shape(&shape[1..], axis)?);
        cx.emit(&self.node, "Reshape", &[value, target], &[flat], ("allowzero", Attribute::Int(0)), out)?;
        if !empty {
            let axis = Attribute::Int(axis as i64);
            cx.emit(&self.node, "Concat", &[self.initial, flat], &[self.output], ("axis", axis), out)?;
        }
        Ok(())
    }
}

/// The stack's shape with the step dimension merged into `axis`: 0 copies what lies before.
fn flat_shape(piece: &[Aff], axis: usize) -> Step<Vec<i64>> {
    let mut shape = vec![0; axis];
    shape.push(-1);
    for dim in &piece[axis + 1..] {
        let message = "a list that grows in a loop has pieces of symbolic size";
        shape.push(dim.as_constant().ok_or_else(|| Error::unsupported("E112", message))?);
    }
    Ok(shape)
}
