//! Matrix products and Einsum.

use super::context::Step;
use super::site::Site;
use super::table::Family;
use sirius_polyhedral::{Aff, DType};
use std::collections::HashMap;

pub const RULES: Family = &[
    ("MatMul", |s| matmul(s, None, 1)),
    ("MatMulInteger", |s| matmul(s, Some(DType::I32), 1)),
    ("QLinearMatMul", qlinear_matmul),
    ("Gemm", gemm),
    ("Einsum", einsum),
    ("Det", det),
];

/// Numpy's product of inputs 0 and `right`.
fn matmul(site: &mut Site, result: Option<DType>, right: usize) -> Step {
    let dtype = match result {
        Some(dtype) => dtype,
        None => site.dtype(0)?,
    };
    let (mut a, mut b) = (site.shape(0)?, site.shape(right)?);
    if a.is_empty() || b.is_empty() {
        return Err(site.invalid("a matrix product needs inputs of rank 1 at least"));
    }
    let (row, column) = (a.len() == 1, b.len() == 1);
    if row {
        a.insert(0, Aff::constant(1));
    }
    if column {
        b.push(Aff::constant(1));
    }
    site.same(&a[a.len() - 1], &b[b.len() - 2])?;
    let (m, n) = (a[a.len() - 2].clone(), b[b.len() - 1].clone());
    let mut shape = site.broadcast_shapes(a[..a.len() - 2].to_vec(), b[..b.len() - 2].to_vec())?;
    shape.extend((!row).then_some(m));
    shape.extend((!column).then_some(n));
    site.set(0, dtype, shape)
}

/// Inputs: a, its scale and zero point, b, its scale and zero point, the result's scale and zero point.
fn qlinear_matmul(site: &mut Site) -> Step {
    let dtype = site.dtype(7)?;
    matmul(site, Some(dtype), 3)
}

fn gemm(site: &mut Site) -> Step {
    let dtype = site.dtype(0)?;
    let (mut a, mut b) = (site.shape(0)?, site.shape(1)?);
    if a.len() != 2 || b.len() != 2 {
        return Err(site.invalid(format!("Gemm needs matrices, not ranks {} and {}", a.len(), b.len())));
    }
    if site.flag("transA", false) {
        a.swap(0, 1);
    }
    if site.flag("transB", false) {
        b.swap(0, 1);
    }
    site.same(&a[1], &b[0])?;
    let shape = vec![a[0].clone(), b[1].clone()];
    if site.has(2) {
        let bias = site.shape(2)?;
        if bias.len() > 2 {
            return Err(site.invalid("the bias of Gemm has more than two dimensions"));
        }
        site.broadcast_shapes(shape.clone(), bias)?;
    }
    site.set(0, dtype, shape)
}

fn det(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    let rank = shape.len().checked_sub(2).ok_or_else(|| site.invalid("Det needs matrices"))?;
    site.set(0, dtype, shape[..rank].to_vec())
}

/// `ij,jk->ik`, with `...` for broadcast dimensions.
fn einsum(site: &mut Site) -> Step {
    let equation: String = site.node.string("equation").unwrap_or("").chars().filter(|c| *c != ' ').collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (equation.clone(), None),
    };
    let operands: Vec<&str> = left.split(',').collect();
    if operands.len() != site.node.inputs.len() {
        return Err(site.invalid(format!("equation \"{equation}\" does not fit {} inputs", site.node.inputs.len())));
    }
    let mut extents: HashMap<char, Aff> = HashMap::new();
    let mut ellipsis = Vec::new();
    for (n, operand) in operands.iter().enumerate() {
        let shape = site.shape(n)?;
        ellipsis = operand_extents(site, operand, shape, &mut extents, ellipsis)?;
    }
    let output = right.unwrap_or_else(|| implicit_output(&left));
    let mut result = Vec::new();
    for part in split_ellipsis(&output) {
        match part {
            None => result.extend(ellipsis.iter().cloned()),
            Some(label) => {
                let extent = extents.get(&label).cloned();
                result.push(extent.ok_or_else(|| site.invalid(format!("\"{label}\" is in no input")))?);
            }
        }
    }
    let dtype = site.dtype(0)?;
    site.set(0, dtype, result)
}

/// Labels in order; `None` stands for `...`.
fn split_ellipsis(operand: &str) -> Vec<Option<char>> {
    operand.replace("...", ".").chars().map(|c| (c != '.').then_some(c)).collect()
}

fn operand_extents(
    site: &mut Site,
    operand: &str,
    shape: Vec<Aff>,
    extents: &mut HashMap<char, Aff>,
    ellipsis: Vec<Aff>,
) -> Step<Vec<Aff>> {
    let labels = split_ellipsis(operand);
    let named = labels.iter().flatten().count();
    let free = shape.len().checked_sub(named).filter(|&n| n == 0 || named < labels.len());
    let free = free.ok_or_else(|| site.invalid(format!("\"{operand}\" does not fit rank {}", shape.len())))?;
    let mut dims = shape.into_iter();
    let mut ellipsis = ellipsis;
    for label in labels {
        match label {
            None => {
                let part: Vec<Aff> = dims.by_ref().take(free).collect();
                ellipsis = site.broadcast_shapes(ellipsis, part)?;
            }
            Some(label) => {
                let Some(dim) = dims.next() else { continue };
                let merged = match extents.get(&label).cloned() {
                    Some(known) => site.broadcast_shapes(vec![known], vec![dim])?.remove(0),
                    None => dim,
                };
                extents.insert(label, merged);
            }
        }
    }
    Ok(ellipsis)
}

/// Without `->`, the labels that occur once, in alphabetical order, after `...`.
fn implicit_output(left: &str) -> String {
    let mut labels: Vec<char> = left.chars().filter(char::is_ascii_alphabetic).collect();
    labels.sort_unstable();
    let once = labels.iter().filter(|c| labels.iter().filter(|d| d == c).count() == 1);
    let prefix = if left.contains("...") { "..." } else { "" };
    prefix.chars().chain(once.copied()).collect()
}
