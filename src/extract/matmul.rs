//! Matrix products: `MatMul`, `Gemm`, `MatMulInteger`, `QLinearMatMul` and `Einsum`.

use super::arguments::*;
use super::builder::{Builder, Dims, View};
use super::contraction::{Reduction, reduction};
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result};

/// The dimensions of a product with numpy's rules: batch dimensions, rows `m` unless the left side is a
/// vector, columns `n` unless the right side is one, then the summed `k`.
pub struct Product {
    pub dims: Dims,
    pub parallel: usize,
    left: Vec<Expr>,
    right: Vec<Expr>,
}

impl Product {
    pub fn new(b: &Builder, node: &Node, left: &[Aff], right: &[Aff], result: &[Aff]) -> Result<Product> {
        let (rows, columns) = (left.len() > 1, right.len() > 1);
        let matrix = usize::from(rows) + usize::from(columns);
        let (Some(k), false) = (left.last(), right.is_empty() || result.len() < matrix) else {
            return Err(invalid(node, "the operands of a matrix product need at least one dimension"));
        };
        let batch = result.len() - matrix;
        let mut dims: Dims = result[..batch].iter().enumerate().map(|(d, e)| (format!("b{d}"), e.clone())).collect();
        let names = [("m", rows), ("n", columns)].into_iter().filter(|(_, there)| *there);
        dims.extend(names.zip(&result[batch..]).map(|((name, _), e)| (name.to_string(), e.clone())));
        dims.push(("k".to_string(), k.clone()));
        let outer = b.iters(batch);
        let summed = b.iter(result.len());
        let mut at_left = broadcast(&left[..left.len().saturating_sub(2)], &outer);
        at_left.extend(rows.then(|| b.iter(batch)));
        at_left.push(summed.clone());
        let mut at_right = broadcast(&right[..right.len().saturating_sub(2)], &outer);
        at_right.push(summed);
        at_right.extend(columns.then(|| b.iter(batch + usize::from(rows))));
        Ok(Product { dims, parallel: result.len(), left: at_left, right: at_right })
    }
}

/// `MatMul` over floats or integers.
pub fn matmul(b: &mut Builder, node: &Node) -> Result<()> {
    let (left, right) = (input(node, 0)?, input(node, 1)?);
    let target = output(node, 0)?;
    let (left, right) = (b.view(left).map(|v| (v, left))?, b.view(right).map(|v| (v, right))?);
    let acc = wide(b.dtype(target));
    let out = b.dtype(target);
    product(b, node, [left, right], acc, |_, total| convert(acc, out, total))
}

/// A product of two operands given as views (with the tensor for the shape), accumulated in `acc`.
pub fn product(
    b: &mut Builder,
    node: &Node,
    operands: [(View, TensorId); 2],
    acc: DType,
    finish: impl FnOnce(&mut Builder, Expr) -> Expr,
) -> Result<()> {
    let target = output(node, 0)?;
    let shape = b.shape(target);
    let p = Product::new(b, node, &b.shape(operands[0].1), &b.shape(operands[1].1), &shape)?;
    let [x, y] = [(&operands[0].0, &p.left), (&operands[1].0, &p.right)].map(|(view, at)| {
        let value = b.at(view, at);
        convert(b.program.dtype(&value), acc, value)
    });
    let array = b.define(target);
    let place = b.iters(p.parallel);
    let r = Reduction {
        name: &format!("{}_acc", b.graph.tensor(target).name),
        dtype: acc,
        op: BinaryOp::Add,
        init: lit(0.0, acc),
        dims: &p.dims,
        parallel: p.parallel,
        value: mul(x, y),
    };
    reduction(b, r, array, place, finish);
    Ok(())
}

/// `Gemm`: `alpha * A' * B' + beta * C`.
pub fn gemm(b: &mut Builder, node: &Node) -> Result<()> {
    let (left, right, target) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
    let t = b.dtype(target);
    let acc = wide(t);
    let (swap_left, swap_right) = (node.int("transA") == Some(1), node.int("transB") == Some(1));
    let shape = b.shape(target);
    let k = b.shape(left).get(usize::from(!swap_left)).cloned().unwrap_or_default();
    let dims = super::builder::named_dims(&["m", "n", "k"], &[shape[0].clone(), shape[1].clone(), k]);
    let [m, n, k] = [b.iter(0), b.iter(1), b.iter(2)];
    let at = |swap: bool, r: &Expr, c: &Expr| if swap { [c.clone(), r.clone()] } else { [r.clone(), c.clone()] };
    let x = b.read(left, &at(swap_left, &m, &k))?;
    let y = b.read(right, &at(swap_right, &k, &n))?;
    let bias = match node.input(2) {
        Some(c) => Some(b.read(c, &broadcast(&b.shape(c), &[m, n]))?),
        None => None,
    };
    let scale = |name: &str, value: Expr| match node.float(name) {
        Some(v) if v != 1.0 => mul(lit(f64::from(v), acc), value),
        _ => value,
    };
    let name = format!("{}_acc", b.graph.tensor(target).name);
    let value = mul(convert(t, acc, x), convert(t, acc, y));
    let array = b.define(target);
    let place = b.iters(2);
    let r =
        Reduction { name: &name, dtype: acc, op: BinaryOp::Add, init: lit(0.0, acc), dims: &dims, parallel: 2, value };
    reduction(b, r, array, place, |_, total| {
        let total = scale("alpha", total);
        let sum = match bias {
            Some(c) => add(total, scale("beta", convert(t, acc, c))),
            None => total,
        };
        convert(acc, t, sum)
    });
    Ok(())
}
