//! Values of one element whose rank the run would decide.
//!
//! Exporters mix scalars and vectors of one element: the branches of an `If` give one or the other, or a
//! carried scalar comes out of a step as a vector. The element is what counts, so such a value gets one rank.

use super::context::{Context, State, Step};
use crate::graph::{Block, Node, TensorId};
use crate::import::tensor::Constant;
use indexmap::IndexMap;
use sirius_polyhedral::Aff;

/// Gives output `n` of both branches the larger rank, where both have one element.
pub fn same_rank(cx: &mut Context, branches: [&mut Block; 2], n: usize) -> Step {
    let rank = branches.iter().map(|block| cx.type_of(block.outputs[n]).1.len()).max().unwrap_or(0);
    if branches.iter().all(|block| is_single(cx, block.outputs[n])) {
        branches.into_iter().try_for_each(|block| fit_rank(cx, block, n, rank))?;
    }
    Ok(())
}

/// Gives output `n` of the block the wanted rank, where it has one element.
pub fn fit_rank(cx: &mut Context, block: &mut Block, n: usize, rank: usize) -> Step {
    let value = block.outputs[n];
    if !is_single(cx, value) || cx.type_of(value).1.len() == rank {
        return Ok(());
    }
    let name = cx.graph.tensor(value).name.clone();
    tracing::warn!("\"{name}\" has one element and a rank that differs: it is taken to have rank {rank}");
    let ones = cx.add(format!("{name}_rank"), Some(Constant::ints(&vec![1; rank], &[rank as i64])));
    let target = cx.add(format!("{name}_fitted"), None);
    let node = Node {
        name: cx.graph.tensor(target).name.clone(),
        op: "Reshape".to_string(),
        domain: String::new(),
        version: 13,
        inputs: vec![Some(value), Some(ones)],
        outputs: vec![Some(target)],
        attributes: IndexMap::new(),
    };
    cx.nodes(vec![node], &mut block.nodes)?;
    block.outputs[n] = target;
    Ok(())
}

fn is_single(cx: &Context, id: TensorId) -> bool {
    cx.state(id) == State::Known && cx.graph.tensor(id).shape.iter().all(|extent: &Aff| extent.is_constant(1))
}
