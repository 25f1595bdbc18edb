//! Operators that are expanded into others: those whose meaning ONNX gives as a function body, and those that
//! are a composition and need no loop nest of their own.
//!
//! Types and shapes are known when a body is built, so it contains no case distinctions that the shapes decide,
//! and its sizes are expressions instead of `Shape` and `Gather` nodes. The nodes of a body are inferred one by
//! one like those of the file; a body may call other functions.

mod attention;
mod body;
mod contrib;
mod convolution;
mod dynamic_lstm;
mod fit;
mod grid;
mod loss;
mod ml;
mod quantized;
mod recurrence;
mod rotary;
mod scatter;
mod signal;
mod spectrum;
mod text;
mod training;
mod transposed;
mod tree;

use super::context::{Context, Step};
use crate::graph::Node;
use body::Body;

/// One operator and the names of its inputs and outputs in its body.
pub struct Function {
    /// Empty for the default domain.
    pub domain: &'static str,
    pub op: &'static str,
    pub inputs: &'static [&'static str],
    pub outputs: &'static [&'static str],
    pub body: fn(&mut Body) -> Step,
}

const FAMILIES: [&[Function]; 17] = [
    attention::FUNCTIONS,
    contrib::FUNCTIONS,
    convolution::FUNCTIONS,
    dynamic_lstm::FUNCTIONS,
    fit::FUNCTIONS,
    grid::FUNCTIONS,
    loss::FUNCTIONS,
    ml::FUNCTIONS,
    quantized::FUNCTIONS,
    recurrence::FUNCTIONS,
    rotary::FUNCTIONS,
    scatter::FUNCTIONS,
    signal::FUNCTIONS,
    spectrum::FUNCTIONS,
    training::FUNCTIONS,
    transposed::FUNCTIONS,
    tree::FUNCTIONS,
];

/// Domain and name of every function.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|f| (f.domain, f.op))
}

/// The function that the node calls.
pub fn find(node: &Node) -> Option<&'static Function> {
    if training::is_inference(node) {
        return None;
    }
    let mut all = FAMILIES.iter().flat_map(|family| family.iter());
    all.find(|f| f.op == node.op && f.domain == node.domain)
}

impl Function {
    /// Appends the inferred nodes of the body to `out`, in the call's place.
    pub fn expand(&self, node: &Node, cx: &mut Context, out: &mut Vec<Node>) -> Step {
        let mut body = Body::new(node, cx, out, self.inputs, self.outputs);
        (self.body)(&mut body)?;
        body.finish()
    }
}
