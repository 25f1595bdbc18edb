//! The reference interpreter: slow, obvious, and independent of the compiler.
//!
//! It is the numeric oracle of the tests and the evaluator of constant folding, so it follows the text of the
//! ONNX operator specification and shares no code with extraction or lowering. Float operators compute in `f64`
//! and round once to the element type of the result: sums, products and means of `f32` data are therefore more
//! exact than any `f32` kernel. Integer operators wrap as in C.

mod binary;
mod call;
mod control;
mod conv;
mod deform;
mod dispatch;
mod einsum;
mod gather;
mod index;
mod layout;
mod machine;
mod matmul;
mod norm;
mod pad;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod scatter;
mod shape;
mod special;
mod suppression;
mod unary;
mod window;

pub use call::Call;

use crate::graph::{Graph, Node, Tensor};
use crate::run::value::Value;
use sirius_polyhedral::Result;

/// Runs the whole graph. Parameters are bound from the shapes of `inputs`, which are checked against the
/// graph's; the shape of every intermediate result is checked against the one that import inferred.
pub fn run(graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
    machine::Machine::new(graph, inputs)?.run(inputs)
}

/// Evaluates one node that has no subgraphs. `tensors` is the table of the graph, for tensor attributes.
/// Result `n` belongs to output `n`; there may be more results than the node names.
pub fn evaluate(node: &Node, inputs: &[Option<&Value>], tensors: &[Tensor]) -> Result<Vec<Value>> {
    let call = Call { node, inputs, tensors };
    dispatch::eval(&call).map_err(|e| e.at(&node.origin()))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
