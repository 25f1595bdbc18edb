//! `Einsum`: sums of products over labelled dimensions, as numpy defines them, with ellipses.

use super::Call;
use super::index::{offsets, product, strides};
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::{DType, Result};

/// A dimension's name: a letter of the equation, or dimension `n` from the end of the ellipsis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

/// The labels of one term for a tensor of `rank` dimensions; an ellipsis stands for those without a letter.
fn labels(term: &str, rank: usize) -> Option<Vec<Label>> {
    let letters = |s: &str| s.chars().map(Label::Letter).collect::<Vec<_>>();
    let all = match term.split_once("...") {
        Some((head, tail)) => {
            let covered = rank.checked_sub(head.chars().count() + tail.chars().count())?;
            let middle = (0..covered).rev().map(Label::Ellipsis).collect();
            [letters(head), middle, letters(tail)].concat()
        }
        None => letters(term),
    };
    (all.len() == rank).then_some(all)
}

/// The output of an equation without an arrow: the ellipsis, then the letters that occur once, in order.
fn implicit(terms: &[Vec<Label>]) -> Vec<Label> {
    let all: Vec<Label> = terms.iter().flatten().copied().collect();
    let once = |l: &Label| all.iter().filter(|m| *m == l).count() == 1;
    let mut kept: Vec<Label> = all.iter().filter(|l| matches!(l, Label::Ellipsis(_)) || once(l)).copied().collect();
    kept.sort_by_key(|l| match l {
        Label::Ellipsis(n) => (0, usize::MAX - n, ' '),
        Label::Letter(c) => (1, 0, *c),
    });
    kept.dedup();
    kept
}

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let all = call.all()?;
    let equation: String = call.string("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let wrong = || call.invalid(format!("equation \"{equation}\" does not fit its inputs"));
    let (left, right) = equation.split_once("->").map_or((equation.as_str(), None), |(l, r)| (l, Some(r)));
    let parts: Vec<&str> = left.split(',').collect();
    call.require(parts.len() == all.len(), || format!("equation \"{equation}\" for {} inputs", all.len()))?;
    let terms = parts.iter().zip(&all).map(|(term, v)| labels(term, v.rank()));
    let terms = terms.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    let covered = terms.iter().flatten().filter_map(|l| if let Label::Ellipsis(n) = l { Some(n + 1) } else { None });
    let covered = covered.max().unwrap_or(0);
    let output = match right {
        None => implicit(&terms),
        Some(r) => labels(r, r.replace("...", "").chars().count() + if r.contains("...") { covered } else { 0 })
            .ok_or_else(wrong)?,
    };
    contract(call, &all, &terms, &output)
}

/// Sums over all labels that are not in `output`.
fn contract(call: &Call, all: &[&Value], terms: &[Vec<Label>], output: &[Label]) -> Result<Vec<Value>> {
    let mut order = output.to_vec();
    for label in terms.iter().flatten() {
        if !order.contains(label) {
            order.push(*label);
        }
    }
    let extents: Vec<usize> = order.iter().map(|l| extent(call, *l, all, terms)).collect::<Result<_>>()?;
    let dtype = all[0].dtype;
    checked_len(DType::F64, &extents)?;
    let shape = extents[..output.len()].to_vec();
    let (points, inner) = (checked_len(dtype, &shape)?, product(&extents[output.len()..]));
    let sources: Vec<Vec<usize>> =
        all.iter().zip(terms).map(|(v, t)| offsets(&extents, &steps(&order, v, t))).collect();
    let values: Vec<Vec<f64>> = all.iter().map(|v| v.floats()).collect();
    let factor = |i: usize| sources.iter().zip(&values).map(|(s, v)| v[s[i]]).product::<f64>();
    let sums: Vec<f64> = (0..points).map(|p| (p * inner..(p + 1) * inner).map(factor).sum::<f64>() + 0.0).collect();
    Ok(vec![Value::from_floats(dtype, &shape, &sums)?])
}

/// The extent of a label: equal in all inputs, but for ones, which broadcast.
fn extent(call: &Call, label: Label, all: &[&Value], terms: &[Vec<Label>]) -> Result<usize> {
    let places = all.iter().zip(terms).flat_map(|(v, t)| t.iter().zip(&v.shape));
    let mut found = places.filter(|(l, _)| **l == label).map(|(_, n)| *n).filter(|n| *n != 1);
    let extent = found.next().unwrap_or(1);
    call.require(found.all(|n| n == extent), || format!("extents of {label:?} differ"))?;
    Ok(extent)
}

/// How far each label of `order` moves in `v`; a label that repeats in a term moves along the diagonal.
fn steps(order: &[Label], v: &Value, term: &[Label]) -> Vec<usize> {
    let own = strides(&v.shape);
    let along =
        |label: &Label| (0..term.len()).filter(|d| term[*d] == *label && v.shape[*d] != 1).map(|d| own[d]).sum();
    order.iter().map(along).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn einsum(equation: &str, inputs: &[&Value]) -> Value {
        eval("Einsum", 12, &[("equation", Attribute::String(equation.into()))], inputs)
    }

    #[test]
    fn equations_sum_transpose_and_multiply() {
        let a = f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        assert_close(&einsum("ij->ji", &[&a]), &[2, 2], &[1.0, 3.0, 2.0, 4.0]);
        assert_close(&einsum("ij->", &[&a]), &[], &[10.0]);
        assert_close(&einsum("ii->i", &[&a]), &[2], &[1.0, 4.0]);
        assert_close(&einsum("ij,jk", &[&a, &a]), &[2, 2], &[7.0, 10.0, 15.0, 22.0]);
        assert_close(&einsum("...j, j -> ...", &[&a, &f32s(&[2], &[1.0, 10.0])]), &[2], &[21.0, 43.0]);
    }

    #[test]
    fn equations_must_fit() {
        let a = f32s(&[2, 3], &[0.0; 6]);
        for equation in ["i->i", "ijk->", "ii->i", "ij,jk->ik"] {
            let attributes = [("equation", Attribute::String(equation.into()))];
            assert!(try_eval("Einsum", 12, &attributes, &[&a]).is_err(), "{equation}");
        }
    }
}
