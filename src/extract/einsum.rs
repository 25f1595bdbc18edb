//! `Einsum`: one nest over all letters; letters missing in the result are summed.

use super::arguments::*;
use super::builder::{Builder, Dims};
use super::contraction::{Reduction, reduction};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, BinaryOp, Expr, Result};

/// Subscript labels: a letter, or dimension `n` (from the right) of the ellipsis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

pub fn einsum(b: &mut Builder, node: &Node) -> Result<()> {
    let equation = node.string("equation").ok_or_else(|| invalid(node, "`equation` is missing"))?;
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, result) = match equation.split_once("->") {
        Some((terms, result)) => (terms, Some(result)),
        None => (equation.as_str(), None),
    };
    let ranks: Vec<usize> = node.inputs.iter().flatten().map(|t| b.shape(*t).len()).collect();
    let operands: Vec<Vec<Label>> = terms.split(',').zip(&ranks).map(|(t, r)| labels(t, *r)).collect();
    if operands.len() != ranks.len() || operands.iter().zip(&ranks).any(|(o, r)| o.len() != *r) {
        return Err(invalid(node, format!("equation `{equation}` does not fit the inputs")));
    }
    let target = output(node, 0)?;
    let results = result.map_or_else(|| implicit(&operands), |r| labels(r, ellipsis(r, &operands)));
    let (dims, order) = nest(b, node, &operands, &results);
    contract(b, node, &operands, dims, &order, results.len(), target)
}

/// The labels of one term; the ellipsis stands for what the letters leave of `rank`.
fn labels(term: &str, rank: usize) -> Vec<Label> {
    let letters = term.chars().filter(|c| *c != '.').count();
    let mut out = Vec::new();
    let mut chars = term.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '.' {
            out.push(Label::Letter(c));
            continue;
        }
        while chars.next_if_eq(&'.').is_some() {}
        out.extend((0..rank.saturating_sub(letters)).rev().map(Label::Ellipsis));
    }
    out
}

/// The rank of the result term: its letters and the widest ellipsis.
fn ellipsis(result: &str, operands: &[Vec<Label>]) -> usize {
    let letters = result.chars().filter(|c| *c != '.').count();
    let dots = |o: &Vec<Label>| o.iter().filter(|l| matches!(l, Label::Ellipsis(_))).count();
    letters + if result.contains('.') { operands.iter().map(dots).max().unwrap_or(0) } else { 0 }
}

/// Without `->`: the ellipsis, then every letter that occurs once, in alphabetical order.
fn implicit(operands: &[Vec<Label>]) -> Vec<Label> {
    let all: Vec<Label> = operands.iter().flatten().copied().collect();
    let mut dots: Vec<Label> = all.iter().filter(|l| matches!(l, Label::Ellipsis(_))).copied().collect();
    dots.sort_by(|x, y| y.cmp(x));
    dots.dedup();
    let once = |l: &&Label| matches!(l, Label::Letter(_)) && all.iter().filter(|m| m == l).count() == 1;
    let mut letters: Vec<Label> = all.iter().filter(once).copied().collect();
    letters.sort();
    dots.into_iter().chain(letters).collect()
}

/// The loops: the result's labels first, then the summed ones.
fn nest(b: &Builder, node: &Node, operands: &[Vec<Label>], results: &[Label]) -> (Dims, Vec<Label>) {
    let mut order = results.to_vec();
    for label in operands.iter().flatten() {
        if !order.contains(label) {
            order.push(*label);
        }
    }
    let dims = order.iter().map(|label| {
        let name = match label {
            Label::Letter(c) => c.to_string(),
            Label::Ellipsis(n) => format!("b{n}"),
        };
        (name, extent(b, node, operands, *label))
    });
    (dims.collect(), order)
}

/// The extent of a label: the first that is not 1.
fn extent(b: &Builder, node: &Node, operands: &[Vec<Label>], label: Label) -> Aff {
    let mut found = Aff::constant(1);
    for (labels, tensor) in operands.iter().zip(node.inputs.iter().flatten()) {
        let shape = b.shape(*tensor);
        let here = labels.iter().zip(shape).find(|(l, e)| **l == label && !e.is_constant(1));
        if let (Some((_, e)), true) = (here, found.is_constant(1)) {
            found = e;
        }
    }
    found
}

fn contract(
    b: &mut Builder,
    node: &Node,
    operands: &[Vec<Label>],
    dims: Dims,
    order: &[Label],
    parallel: usize,
    target: crate::graph::TensorId,
) -> Result<()> {
    let t = b.dtype(target);
    let acc = wide(t);
    let mut value: Option<Expr> = None;
    for (labels, tensor) in operands.iter().zip(node.inputs.iter().flatten()) {
        let place = |l: &Label| order.iter().position(|o| o == l).unwrap_or(0);
        let at: Vec<Expr> = labels.iter().map(|l| b.iter(place(l))).collect();
        let factor = convert(t, acc, b.read(*tensor, &broadcast(&b.shape(*tensor), &at))?);
        value = Some(value.map_or(factor.clone(), |v| mul(v, factor)));
    }
    let value = value.ok_or_else(|| invalid(node, "no inputs"))?;
    if parallel == dims.len() {
        b.pointwise(target, convert(acc, t, value));
        return Ok(());
    }
    let name = format!("{}_acc", b.graph.tensor(target).name);
    let array = b.define(target);
    let place = b.iters(parallel);
    let r = Reduction { name: &name, dtype: acc, op: BinaryOp::Add, init: lit(0.0, acc), dims: &dims, parallel, value };
    reduction(b, r, array, place, |_, total| convert(acc, t, total));
    Ok(())
}
