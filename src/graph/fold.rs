//! Constant folding: nodes whose inputs are all constant are evaluated with the reference interpreter, whole
//! weight subgraphs (transposed, cast, dequantized weights) included; then dead nodes and tensors go.
//!
//! Declined where the result would be larger than 16 MiB and twice the inputs: then computing it again costs
//! less than storing it (an embedding table kept as bytes, a broadcast zero).

use super::compact::compact;
use super::{Attribute, Block, Graph, Node, TensorId, interp};
use crate::run::value::Value;
use sirius_polyhedral::{Aff, ConstantData, DType, Result};

/// Results up to this size are always folded.
const ALWAYS_BYTES: usize = 16 << 20;

/// What folding did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Nodes evaluated.
    pub evaluated: usize,
    /// Nodes removed: evaluated ones, and those whose results nobody needs or import already knows.
    pub removed: usize,
}

pub fn fold_constants(graph: &mut Graph) -> Result<Folded> {
    let mut folded = Folded::default();
    materialize(graph);
    let mut main = std::mem::take(&mut graph.main);
    fold_block(graph, &mut main, &mut folded)?;
    let mut live = vec![false; graph.tensors.len()];
    remove_dead(graph, &mut main, &mut live, &mut folded);
    graph.main = main;
    compact(graph);
    Ok(folded)
}

/// Contents that turned out to be plain numbers become constants.
fn materialize(graph: &mut Graph) {
    for tensor in &mut graph.tensors {
        let values: Option<Vec<i64>> = tensor.symbolic.as_ref().and_then(|s| s.iter().map(Aff::as_constant).collect());
        if let (Some(values), None) = (values, &tensor.constant) {
            let bytes: Vec<u8> = values.iter().flat_map(|&v| int_bytes(v, tensor.dtype)).collect();
            tensor.constant = Some(ConstantData::new(bytes));
            tensor.symbolic = None;
        }
    }
}

/// The low bytes of `value`.
fn int_bytes(value: i64, dtype: DType) -> Vec<u8> {
    value.to_le_bytes()[..dtype.size()].to_vec()
}

fn fold_block(graph: &mut Graph, block: &mut Block, folded: &mut Folded) -> Result<()> {
    for node in &mut block.nodes {
        for attribute in node.attributes.values_mut() {
            if let Attribute::Block(inner) = attribute {
                fold_block(graph, inner, folded)?;
            }
        }
        if can_fold(graph, node) && evaluate(graph, node)? {
            folded.evaluated += 1;
        }
    }
    Ok(())
}

/// All inputs constant, results not known yet, of fixed shape and not too large.
fn can_fold(graph: &Graph, node: &Node) -> bool {
    let open = |id: &TensorId| graph.tensor(*id).constant.is_none();
    let is_block = |a: &Attribute| matches!(a, Attribute::Block(_));
    if node.inputs.iter().flatten().any(open) || node.attributes.values().any(is_block) {
        return false;
    }
    if !node.outputs.iter().flatten().any(open) || node.op.starts_with("Random") || node.op == "Bernoulli" {
        return false;
    }
    let inputs: usize = node.inputs.iter().flatten().filter_map(|id| bytes_of(graph, *id)).sum();
    let outputs: Option<Vec<usize>> = node.outputs.iter().flatten().map(|id| bytes_of(graph, *id)).collect();
    outputs.is_some_and(|sizes| sizes.iter().sum::<usize>() <= ALWAYS_BYTES.max(2 * inputs))
}

/// Bytes of a tensor of fixed shape.
fn bytes_of(graph: &Graph, id: TensorId) -> Option<usize> {
    let tensor = graph.tensor(id);
    let shape = tensor.fixed_shape()?;
    shape.iter().try_fold(tensor.dtype.size(), |size, &n| size.checked_mul(usize::try_from(n).ok()?))
}

/// Evaluates a node into constants. `false` where the interpreter does not know the operator: then the
/// node stays, and the extractor may still know it.
fn evaluate(graph: &mut Graph, node: &Node) -> Result<bool> {
    let value = |id: TensorId| {
        let tensor = graph.tensor(id);
        let shape: Vec<usize> = tensor.fixed_shape()?.iter().map(|&n| n as usize).collect();
        Value::from_constant(tensor.dtype, &shape, tensor.constant.as_ref()?).ok()
    };
    let inputs: Vec<Option<Value>> = node.inputs.iter().map(|id| id.and_then(value)).collect();
    let borrowed: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
    let results = match interp::evaluate(node, &borrowed, &graph.tensors) {
        Ok(results) => results,
        Err(sirius_polyhedral::Error::Unsupported(_)) => return Ok(false),
        Err(error) => return Err(error.at(&node.origin())),
    };
    let fits = |(id, result): (&Option<TensorId>, &Value)| {
        id.is_none_or(|id| {
            let tensor = graph.tensor(id);
            let shape: Vec<i64> = result.shape.iter().map(|&n| n as i64).collect();
            tensor.dtype == result.dtype && tensor.fixed_shape() == Some(shape)
        })
    };
    if results.len() < node.outputs.len() || !node.outputs.iter().zip(&results).all(fits) {
        tracing::warn!("{}: the interpreter and shape inference differ; the node is not folded", node.origin());
        return Ok(false);
    }
    for (id, result) in node.outputs.iter().zip(results) {
        if let Some(id) = id {
            graph.tensor_mut(*id).constant = Some(ConstantData::new(result.bytes));
        }
    }
    Ok(true)
}

/// Keeps the nodes whose results are needed. Known contents need no producer, except where they leave the
/// block: an output is always written.
fn remove_dead(graph: &mut Graph, block: &mut Block, live: &mut [bool], folded: &mut Folded) {
    block.outputs.iter().for_each(|id| live[id.0 as usize] = true);
    let before = block.nodes.len();
    let mut kept = Vec::with_capacity(before);
    for mut node in std::mem::take(&mut block.nodes).into_iter().rev() {
        if !node.outputs.iter().flatten().any(|id| live[id.0 as usize]) {
            continue;
        }
        node.outputs.iter_mut().for_each(|o| *o = o.filter(|id| live[id.0 as usize]));
        for attribute in node.attributes.values_mut() {
            if let Attribute::Block(inner) = attribute {
                remove_dead(graph, inner, live, folded);
            }
        }
        for id in node.inputs.iter().flatten() {
            let tensor = graph.tensor(*id);
            live[id.0 as usize] |= tensor.constant.is_none() && tensor.symbolic.is_none();
        }
        own_result(graph, &node);
        kept.push(node);
    }
    kept.reverse();
    folded.removed += before - kept.len();
    block.nodes = kept;
}

/// A tensor that a node writes is no constant: the contents stay with the tensor only where no node is left.
fn own_result(graph: &mut Graph, node: &Node) {
    for id in node.outputs.iter().flatten() {
        graph.tensor_mut(*id).constant = None;
    }
}
