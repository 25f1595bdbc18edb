//! Constant folding: nodes whose inputs are all constant are evaluated with the reference interpreter, whole
//! weight subgraphs (transposed, cast, dequantized weights) included; then dead nodes and tensors go.
//!
//! Declined where the result would be larger than 16 MiB and twice the inputs: then computing it again costs
//! less than storing it (an embedding table kept as bytes, a broadcast zero).

use super::compact::compact;
use super::{Attribute, Block, Graph, Node, Tensor, TensorId, interp};
use crate::run::value::Value;
use sirius_polyhedral::{Aff, ConstantData, DType, ParamDef, ParamId, Result};
use std::collections::HashSet;

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
    // An input stays one, also where its contents are known.
    let inputs: HashSet<TensorId> = graph.main.inputs.iter().copied().collect();
    let tensors = graph.tensors.iter_mut().enumerate();
    tensors.filter(|(n, _)| !inputs.contains(&TensorId(*n as u32))).for_each(|(_, tensor)| materialize(tensor));
    let mut main = std::mem::take(&mut graph.main);
    fold_block(graph, &mut main, &mut folded)?;
    let live: Vec<bool> = graph.tensors.iter().map(|t| graph.defines_param(&t.name)).collect();
    let mut needs = Needs { touched: live.clone(), live };
    remove_dead(graph, &mut main, &mut needs, &mut folded);
    graph.main = main;
    compact(graph);
    Ok(folded)
}

/// Evaluates a node whose inputs are known numbers, when its results are small: the shape arithmetic that
/// inference must follow through floats, such as the square root of a number of patches. `true` where the
/// results are constants now, so that the node has no more work.
pub fn fold_small(graph: &mut Graph, node: &Node, elements: usize) -> Result<bool> {
    let small = |id: &TensorId| bytes_of(graph, *id).is_some_and(|n| n <= elements * graph.tensor(*id).dtype.size());
    let open = |id: &TensorId| graph.tensor(*id).symbolic.is_none();
    let (mut results, mut inputs) = (node.outputs.iter().flatten(), node.inputs.iter().flatten());
    let wanted = results.clone().all(small) && results.any(open) && inputs.all(small);
    Ok(wanted && can_fold(graph, node) && evaluate(graph, node)?)
}

/// Contents that turned out to be plain numbers become constants.
fn materialize(tensor: &mut Tensor) {
    if tensor.constant.is_none()
        && let Some(data) = numbers(tensor)
    {
        tensor.constant = Some(data);
        tensor.symbolic = None;
    }
}

/// The contents, when they are plain numbers.
fn numbers(tensor: &Tensor) -> Option<ConstantData> {
    tensor.constant.clone().or_else(|| {
        let values: Vec<i64> = tensor.symbolic.as_ref()?.iter().map(Aff::as_constant).collect::<Option<_>>()?;
        Some(ConstantData::new(values.iter().flat_map(|&v| int_bytes(v, tensor.dtype)).collect::<Vec<u8>>()))
    })
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
    if node.inputs.iter().flatten().any(|id| numbers(graph.tensor(*id)).is_none())
        || node.attributes.values().any(is_block)
    {
        return false;
    }
    let defines = |id: &TensorId| graph.defines_param(&graph.tensor(*id).name);
    if node.outputs.iter().flatten().any(defines) {
        return false;
    }
    if !node.outputs.iter().flatten().any(open) || is_random(node) {
        return false;
    }
    let inputs: usize = node.inputs.iter().flatten().filter_map(|id| bytes_of(graph, *id)).sum();
    let outputs: Option<Vec<usize>> = node.outputs.iter().flatten().map(|id| bytes_of(graph, *id)).collect();
    outputs.is_some_and(|sizes| sizes.iter().sum::<usize>() <= ALWAYS_BYTES.max(2 * inputs))
}

/// Drawn anew in every loop iteration.
fn is_random(node: &Node) -> bool {
    node.op.starts_with("Random") || matches!(node.op.as_str(), "Bernoulli" | "Multinomial")
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
        Value::from_constant(tensor.dtype, &shape, &numbers(tensor)?).ok()
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

/// Operators whose first result may be left out; the others need it for the sake of what they say about the rest.
const FIRST_IS_OPTIONAL: [&str; 7] = ["GRU", "If", "LSTM", "Loop", "RNN", "Scan", "Split"];

/// What the nodes that stay need, by tensor.
struct Needs {
    /// Somebody has to write it.
    live: Vec<bool>,
    /// It occurs; perhaps its contents are known.
    touched: Vec<bool>,
}

impl Needs {
    /// Is the tensor read, or, where a loop collects it, its length? The length is that of the steps that ran, which
    /// the program counts with what it collects.
    fn has(&self, graph: &Graph, node: &Node, n: usize, id: TensorId) -> bool {
        let collected = node.op == "Loop" && n + 2 >= node.inputs.len();
        let length = graph.tensor(id).shape.first().and_then(Aff::as_param).filter(|_| collected);
        let counted = length.filter(|p| matches!(graph.params.get(*p).def, ParamDef::Value { .. }));
        self.live[id.0 as usize] || counted.is_some_and(|param| self.mention(graph, param))
    }

    fn mention(&self, graph: &Graph, param: ParamId) -> bool {
        let touched = graph.tensors.iter().zip(&self.touched).filter(|(_, touched)| **touched);
        let mut affs = touched.flat_map(|(t, _)| t.shape.iter().chain(t.symbolic.iter().flatten()));
        affs.any(|aff| graph.params.follows(aff, &|id| id == param))
    }

    fn touch(&mut self, node: &Node) {
        let tensors = node.inputs.iter().chain(&node.outputs).flatten();
        tensors.for_each(|id| self.touched[id.0 as usize] = true);
    }
}

/// Keeps the nodes whose results are needed. Known contents need no producer, except where they leave the
/// block: an output is always written.
fn remove_dead(graph: &mut Graph, block: &mut Block, needs: &mut Needs, folded: &mut Folded) {
    for id in &block.outputs {
        (needs.live[id.0 as usize], needs.touched[id.0 as usize]) = (true, true);
    }
    let before = block.nodes.len();
    let mut kept = Vec::with_capacity(before);
    for mut node in std::mem::take(&mut block.nodes).into_iter().rev() {
        let needed: Vec<bool> =
            node.outputs.iter().enumerate().map(|(n, o)| o.is_some_and(|id| needs.has(graph, &node, n, id))).collect();
        if !needed.contains(&true) {
            continue;
        }
        let first = usize::from(!FIRST_IS_OPTIONAL.contains(&node.op.as_str()));
        node.outputs.iter_mut().zip(&needed).skip(first).for_each(|(o, needed)| *o = o.filter(|_| *needed));
        needs.touch(&node);
        for attribute in node.attributes.values_mut() {
            if let Attribute::Block(inner) = attribute {
                remove_dead(graph, inner, needs, folded);
            }
        }
        for id in node.inputs.iter().flatten() {
            let tensor = graph.tensor(*id);
            needs.live[id.0 as usize] |= tensor.constant.is_none() && tensor.symbolic.is_none();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{text, verify};

    fn folded(source: &str) -> (Folded, Graph) {
        let mut graph = text::parse(source, |_, n| Some(ConstantData::new(vec![1u8; n]))).unwrap();
        let folded = fold_constants(&mut graph).unwrap();
        verify::verify(&graph).unwrap();
        (folded, graph)
    }

    fn ops(block: &Block) -> Vec<&str> {
        block.nodes.iter().map(|n| n.op.as_str()).collect()
    }

    #[test]
    fn a_weight_subgraph_becomes_one_constant() {
        let (folded, graph) = folded(
            r#"graph "g"
t0 "x" f32[2]
t1 "q" i8[2] = [3, -4]
t2 "scale" f32[] = [0.5]
t3 "f" f32[2]
t4 "w" f32[2]
t5 "y" f32[2]
t6 "unused" f32[2]
main (t0) -> (t5) {
  Cast@13 "a" (t1) -> (t3) {to = 1}
  Mul@14 "b" (t3, t2) -> (t4)
  Add@14 "c" (t0, t4) -> (t5)
  Neg@13 "d" (t5) -> (t6)
}
"#,
        );
        assert_eq!(folded, Folded { evaluated: 2, removed: 3 });
        assert_eq!(ops(&graph.main), ["Add"]);
        let names: Vec<&str> = graph.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["x", "w", "y"]);
        assert_eq!(graph.tensors[1].floats(), Some(vec![1.5, -2.0]));
    }

    #[test]
    fn known_contents_need_no_producer_but_outputs_keep_theirs() {
        let (folded, graph) = folded(
            r#"graph "g"
param n = input(0, 0) min 1 hint 1
t0 "x" f32[n, 2]
t1 "s" i64[2] ~ [n, 2]
t2 "m" i64[2] = [0, -1]
t3 "y" f32[n, 2]
t4 "neg" i64[2]
main (t0) -> (t3, t4) {
  Shape@15 "a" (t0) -> (t1)
  Reshape@14 "b" (t0, t1) -> (t3)
  Neg@13 "c" (t2) -> (t4)
}
"#,
        );
        assert_eq!(folded, Folded { evaluated: 1, removed: 1 });
        assert_eq!(ops(&graph.main), ["Reshape", "Neg"]);
    }

    #[test]
    fn results_much_larger_than_their_inputs_stay_computed() {
        let (folded, graph) = folded(
            r#"graph "g"
t0 "shape" i64[2] = [4096, 4096]
t1 "one" f32[1] = [1.0]
t2 "big" f32[4096, 4096]
t3 "y" f32[4096, 4096]
main () -> (t3) {
  Expand@13 "a" (t1, t0) -> (t2)
  Neg@13 "b" (t2) -> (t3)
}
"#,
        );
        assert_eq!(folded.evaluated, 0);
        assert_eq!(ops(&graph.main), ["Expand", "Neg"]);
    }

    #[test]
    fn bodies_fold_too_and_captures_stay_alive() {
        let (_, graph) = folded(
            r#"graph "g"
t0 "x" f32[]
t1 "c" bool[]
t2 "two" f32[] = [2.0]
t3 "four" f32[]
t4 "r" f32[]
t5 "n" f32[]
t6 "m" f32[]
t7 "y" f32[]
main (t0, t1) -> (t7) {
  Relu@14 "a" (t0) -> (t4)
  If@16 "i" (t1) -> (t7)
    : then_branch () -> (t5) {
      Mul@14 "b" (t2, t2) -> (t3)
      Mul@14 "d" (t4, t3) -> (t5)
    }
    : else_branch () -> (t6) {
      Neg@13 "e" (t4) -> (t6)
    }
}
"#,
        );
        assert_eq!(ops(&graph.main), ["Relu", "If"]);
        assert_eq!(ops(graph.main.nodes[1].block("then_branch").unwrap()), ["Mul"]);
    }
}
