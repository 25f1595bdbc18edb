//! `Einsum`: equations with the number of operands that they take.

use super::{binary, linear::dot};
use crate::dim::{Dim, volume};
use crate::maker::*;
use crate::onnx;
use std::collections::BTreeMap;

const EQUATIONS: &[&str] = &[
    "ij->ji",
    "ij->i",
    "ij->",
    "ii->i",
    "i,j->ij",
    "ij,jk->ik",
    "ij,kj->ik",
    "ijk,ikl->ijl",
    "ij,ij->ij",
    "ij,ij->",
    "i,i->",
    "ijk,kl->lij",
    "ij,jk",
];

pub fn add(maker: &mut Maker) -> Option<()> {
    let equation = maker.choices.pick(EQUATIONS);
    let (operands, result) = equation.split_once("->").unwrap_or((equation, "ik"));
    let mut extents: BTreeMap<char, Dim> = BTreeMap::new();
    let dtype = maker.dtype(FLOATS);
    let mut all: Vec<Tensor> = Vec::new();
    for labels in operands.split(',') {
        let known = |t: &Tensor| {
            let mut seen = extents.clone();
            t.dims.len() == labels.len() && labels.chars().zip(&t.dims).all(|(l, d)| *seen.entry(l).or_insert(*d) == *d)
        };
        let x = match maker.find(&[dtype], known) {
            Some(found) => found,
            None => {
                for label in labels.chars().filter(|l| !extents.contains_key(l)).collect::<Vec<_>>() {
                    extents.insert(label, maker.dim());
                }
                let dims: Vec<Dim> = labels.chars().map(|l| extents[&l]).collect();
                let x = maker.fresh(dtype, dims.clone());
                (x.dims == dims).then_some(x)?
            }
        };
        extents.extend(labels.chars().zip(x.dims.iter().copied()));
        all.push(x);
    }
    let dims: Vec<Dim> = result.chars().map(|l| extents[&l]).collect();
    let summed: Vec<Dim> = extents.iter().filter(|(l, _)| !result.contains(**l)).map(|(_, d)| *d).collect();
    let n = volume(&summed);
    let bounds = match all.as_slice() {
        [x] if summed.is_empty() => x.bounds,
        [x] => dot(&x.bounds, &crate::bounds::Bounds::whole(1.0, 1.0), n, dtype),
        [x, y] if summed.is_empty() => binary::product(&x.bounds, &y.bounds).rounded(dtype, 1.0),
        [x, y, ..] => dot(&x.bounds, &y.bounds, n, dtype),
        [] => return None,
    };
    let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
    maker.one("Einsum", &names, vec![onnx::string("equation", equation)], (dtype, dims, bounds)).map(|_| ())
}
