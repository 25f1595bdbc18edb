//! The invariants of a graph, numbered; every stage may rely on them.
//!
//! | code | invariant |
//! | --- | --- |
//! | G01 | tensor ids are inside the table, parameter ids inside the parameter table |
//! | G02 | tensor names and node names are unique and not empty |
//! | G03 | a tensor is written at most once: as a block input or by a node; constants never |
//! | G04 | a node reads only tensors that are known, or written before it in its block or an enclosing one |
//! | G05 | a constant has a fixed shape and exactly its bytes |
//! | G06 | symbolic contents belong to integer or bool tensors and fit their fixed shape |
//! | G07 | shapes and contents use parameters only, no iterators |
//! | G08 | subgraphs stand only on `If`, `Loop` and `Scan`, and these have them, with enough outputs |
//! | G09 | parameters have unique C identifiers, refer to earlier ones, and name existing input dimensions |

use super::{Attribute, Block, Graph, Node, TensorId};
use sirius_polyhedral::{Aff, Error, ParamDef, Result};
use std::collections::HashSet;

/// Checks all invariants; the error names the first that is broken.
pub fn verify(graph: &Graph) -> Result<()> {
    params(graph)?;
    tensors(graph)?;
    let mut checker =
        Checker { graph, known: vec![false; graph.tensors.len()], written: HashSet::new(), names: HashSet::new() };
    for (n, tensor) in graph.tensors.iter().enumerate() {
        checker.known[n] = tensor.constant.is_some() || tensor.symbolic.is_some();
    }
    checker.block(&graph.main)
}

fn broken(code: &'static str, message: impl Into<String>) -> Error {
    Error::bug(code, format!("the graph is broken: {}", message.into()))
}

fn params(graph: &Graph) -> Result<()> {
    let mut names = HashSet::new();
    for (id, param) in graph.params.iter() {
        let name = &param.name;
        let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !identifier || !names.insert(name) {
            return Err(broken("G09", format!("parameter name \"{name}\" is no identifier, or used twice")));
        }
        let earlier = |aff: &Aff| {
            let mut ok = !aff.has_iters();
            aff.visit_params(&mut |p| ok &= p < id);
            ok
        };
        let ok = match &param.def {
            ParamDef::Input { input, axis } => {
                let tensor = graph.main.inputs.get(*input).and_then(|t| graph.tensors.get(t.0 as usize));
                tensor.is_some_and(|t| *axis < t.rank())
            }
            ParamDef::Content { input, at } => {
                let tensor = graph.main.inputs.get(*input).and_then(|t| graph.tensors.get(t.0 as usize));
                let elements = tensor.and_then(|t| Some(t.fixed_shape()?.iter().product::<i64>()));
                elements.is_some_and(|n| (*at as i64) < n)
            }
            ParamDef::Value { .. } => true,
            ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
                earlier(a) && earlier(b)
            }
        };
        if !ok {
            return Err(broken("G09", format!("parameter {name} is defined by what does not exist")));
        }
    }
    Ok(())
}

fn tensors(graph: &Graph) -> Result<()> {
    let mut names = HashSet::new();
    for tensor in &graph.tensors {
        let name = &tensor.name;
        if name.is_empty() || !names.insert(name) {
            return Err(broken("G02", format!("tensor name \"{name}\" is empty or used twice")));
        }
        let affs = tensor.shape.iter().chain(tensor.symbolic.iter().flatten());
        affs.into_iter().try_for_each(|aff| parameters_only(graph, aff, name))?;
        let elements = tensor.fixed_shape().and_then(|shape| {
            shape.iter().try_fold(1usize, |product, &n| product.checked_mul(usize::try_from(n).ok()?))
        });
        let bytes = elements.and_then(|n| n.checked_mul(tensor.dtype.size()));
        if tensor.constant.as_ref().is_some_and(|data| Some(data.bytes().len()) != bytes) {
            return Err(broken("G05", format!("constant \"{name}\" does not have the bytes of its shape")));
        }
        let float = tensor.dtype.is_float();
        if tensor.symbolic.as_ref().is_some_and(|values| Some(values.len()) != elements || float) {
            return Err(broken("G06", format!("the contents of \"{name}\" do not fit its type and shape")));
        }
    }
    Ok(())
}

fn parameters_only(graph: &Graph, aff: &Aff, name: &str) -> Result<()> {
    if aff.has_iters() {
        return Err(broken("G07", format!("\"{name}\" has an iterator in its shape or contents")));
    }
    let mut inside = true;
    aff.visit_params(&mut |p| inside &= (p.0 as usize) < graph.params.len());
    if inside { Ok(()) } else { Err(broken("G01", format!("\"{name}\" uses a parameter outside the table"))) }
}

struct Checker<'g> {
    graph: &'g Graph,
    /// Readable here, by tensor id.
    known: Vec<bool>,
    written: HashSet<TensorId>,
    names: HashSet<&'g str>,
}

impl<'g> Checker<'g> {
    fn block(&mut self, block: &'g Block) -> Result<()> {
        let mut local = Vec::new();
        for &input in &block.inputs {
            self.write(input, "a block input")?;
            local.push(input);
        }
        for node in &block.nodes {
            self.node(node, &mut local).map_err(|e| e.at(&node.origin()))?;
        }
        for &output in &block.outputs {
            self.read(output, "a block output")?;
        }
        // Behind its block a tensor is out of scope.
        for id in local {
            self.known[id.0 as usize] = false;
        }
        Ok(())
    }

    fn node(&mut self, node: &'g Node, local: &mut Vec<TensorId>) -> Result<()> {
        if node.name.is_empty() || !self.names.insert(&node.name) {
            return Err(broken("G02", format!("node name \"{}\" is empty or used twice", node.name)));
        }
        node.inputs.iter().flatten().try_for_each(|&id| self.read(id, "an input"))?;
        self.attributes(node)?;
        for &output in node.outputs.iter().flatten() {
            self.write(output, "an output")?;
            local.push(output);
        }
        Ok(())
    }

    fn attributes(&mut self, node: &'g Node) -> Result<()> {
        for (name, attribute) in &node.attributes {
            match attribute {
                Attribute::Tensor(id) => self.read(*id, "an attribute")?,
                Attribute::Block(block) if !block_names(&node.op).contains(&name.as_str()) => {
                    let message = format!("{} has a subgraph \"{name}\" of {} nodes", node.op, block.nodes.len());
                    return Err(broken("G08", message));
                }
                Attribute::Block(block) => self.block(block)?,
                _ => {}
            }
        }
        for name in block_names(&node.op) {
            let outputs = node.block(name).map(|block| block.outputs.len());
            // A Loop's body has its condition before the values.
            let wanted = node.outputs.len() + usize::from(node.op == "Loop");
            if outputs.is_none_or(|n| n < wanted) {
                return Err(broken("G08", format!("subgraph \"{name}\" is missing or has too few outputs")));
            }
        }
        Ok(())
    }

    fn read(&self, id: TensorId, role: &str) -> Result<()> {
        match self.known.get(id.0 as usize) {
            Some(true) => Ok(()),
            Some(false) => {
                let name = &self.graph.tensor(id).name;
                Err(broken("G04", format!("\"{name}\" is used as {role} where nothing has written it")))
            }
            None => Err(broken("G01", format!("{id} is outside the tensor table"))),
        }
    }

    fn write(&mut self, id: TensorId, role: &str) -> Result<()> {
        let tensor = self.graph.tensors.get(id.0 as usize);
        let tensor = tensor.ok_or_else(|| broken("G01", format!("{id} is outside the tensor table")))?;
        if !self.written.insert(id) || tensor.constant.is_some() {
            return Err(broken("G03", format!("\"{}\" is {role}, but is written elsewhere", tensor.name)));
        }
        self.known[id.0 as usize] = true;
        Ok(())
    }
}

fn block_names(op: &str) -> &'static [&'static str] {
    match op {
        "If" => &["then_branch", "else_branch"],
        "Loop" | "Scan" => &["body"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text;

    const GOOD: &str = r#"graph "g"
param n = input(0, 0) min 1 hint 1
t0 "x" f32[n]
t1 "y" f32[n]
t2 "z" f32[n]
t3 "s" i64[1] ~ [n]
main (t0) -> (t2) {
  Relu@14 "a" (t0) -> (t1)
  Relu@14 "b" (t1) -> (t2)
}
"#;

    fn code(change: impl Fn(&mut Graph)) -> Option<&'static str> {
        let mut graph = text::parse(GOOD, |_, _| None).unwrap();
        change(&mut graph);
        verify(&graph).err().map(|e| e.diagnostic().code)
    }

    #[test]
    fn each_invariant_is_checked() {
        assert_eq!(code(|_| {}), None);
        assert_eq!(code(|g| g.main.nodes[0].inputs[0] = Some(TensorId(9))), Some("G01"));
        assert_eq!(code(|g| g.tensors[1].shape = vec![Aff::param(sirius_polyhedral::ParamId(7))]), Some("G01"));
        assert_eq!(code(|g| g.tensors[1].name = "x".into()), Some("G02"));
        assert_eq!(code(|g| g.main.nodes[1].name = "a".into()), Some("G02"));
        assert_eq!(code(|g| g.main.nodes[1].outputs[0] = Some(TensorId(1))), Some("G03"));
        assert_eq!(code(|g| g.main.nodes.swap(0, 1)), Some("G04"));
        let short = || Some(sirius_polyhedral::ConstantData::new(vec![0u8; 3]));
        assert_eq!(code(|g| g.tensors[3].constant = short()), Some("G05"));
        assert_eq!(code(|g| g.tensors[3].symbolic = Some(vec![])), Some("G06"));
        assert_eq!(code(|g| g.tensors[2].shape = vec![Aff::iter(0)]), Some("G07"));
        assert_eq!(code(|g| g.main.nodes[0].op = "If".into()), Some("G08"));
        let far = ParamDef::Input { input: 0, axis: 1 };
        assert_eq!(code(|g| g.params.get_mut(sirius_polyhedral::ParamId(0)).def = far.clone()), Some("G09"));
    }
}
