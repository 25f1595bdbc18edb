//! Matrix products: `MatMul`, `Gemm`, `MatMulInteger`, `QLinearMatMul`'s core.
//!
//! The inner loop is a dot product of two contiguous `f64` rows, so that networks of 100 million weights run in
//! seconds; integers up to 32 bits are exact in `f64` sums up to 2^53, wider ones use integers.

use super::Call;
use super::index::{broadcast, broadcast_strides, expand, offsets, product};
use crate::run::value::Value;
use sirius_polyhedral::{DType, Result};

/// Sum of products; four partial sums, because one would wait for every addition.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0f64; 4];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    for (x, y) in a.iter().zip(b) {
        sums[0] += x[0] * y[0];
        sums[1] += x[1] * y[1];
        sums[2] += x[2] * y[2];
        sums[3] += x[3] * y[3];
    }
    sums[0] + sums[1] + (sums[2] + sums[3]) + rest
}

/// `a[m,k]` times the transpose of `b[n,k]`: row `i` of the result holds the dot products of row `i` of `a` with
/// all rows of `b`. Eight rows of `a` go together, so that `b` is read from memory an eighth as often. `k > 0`.
pub fn rows_times_rows(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let n = b.len() / k;
    let mut out = vec![0.0; a.len() / k * n];
    for (block, rows) in a.chunks(8 * k).enumerate() {
        for (j, y) in b.chunks_exact(k).enumerate() {
            for (i, x) in rows.chunks_exact(k).enumerate() {
                out[(block * 8 + i) * n + j] = dot(x, y);
            }
        }
    }
    out
}

/// `b[k,n]` as `[n,k]`.
pub fn transposed(b: &[f64], k: usize, n: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(b.len());
    for j in 0..n {
        out.extend((0..k).map(|i| b[i * n + j]));
    }
    out
}

/// A product as numpy's `matmul` forms it, in `f64`.
pub struct Product {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// The extents of a matrix product after vectors became matrices.
struct Plan {
    m: usize,
    k: usize,
    n: usize,
    /// The broadcast leading dimensions, and for each matrix of the result the numbers of its factors.
    batch: Vec<usize>,
    of_a: Vec<usize>,
    of_b: Vec<usize>,
}

impl Plan {
    fn new(call: &Call, a: &[usize], b: &[usize]) -> Result<Plan> {
        let wrong = || call.invalid(format!("a matrix product of shapes {a:?} and {b:?}"));
        let (Some(first), Some(last)) = (a.split_last(), b.split_last()) else { return Err(wrong()) };
        let (k, rows) = first;
        let (m, batch_a) = rows.split_last().map_or((1, rows), |(m, batch)| (*m, batch));
        let (n, kb, batch_b) = match last.1.split_last() {
            Some((kb, batch)) => (*last.0, *kb, batch),
            None => (1, *last.0, last.1),
        };
        let batch = broadcast(batch_a, batch_b).filter(|_| *k == kb).ok_or_else(wrong)?;
        let of_a = offsets(&batch, &broadcast_strides(batch_a, &batch));
        let of_b = offsets(&batch, &broadcast_strides(batch_b, &batch));
        Ok(Plan { m, k: *k, n, batch, of_a, of_b })
    }

    /// The result's shape: dimensions made up for vectors disappear.
    fn shape(&self, rank_a: usize, rank_b: usize) -> Vec<usize> {
        let mut shape = self.batch.clone();
        shape.extend((rank_a > 1).then_some(self.m));
        shape.extend((rank_b > 1).then_some(self.n));
        shape
    }
}

/// `a @ b` of numpy on `f64` contents.
pub fn matmul(call: &Call, a: (&[usize], &[f64]), b: (&[usize], &[f64])) -> Result<Product> {
    let plan = Plan::new(call, a.0, b.0)?;
    let (m, k, n) = (plan.m, plan.k, plan.n);
    let shape = plan.shape(a.0.len(), b.0.len());
    crate::run::value::checked_len(DType::F64, &shape)?;
    if k == 0 {
        return Ok(Product { values: vec![0.0; product(&shape)], shape });
    }
    let columns: Vec<f64> = b.1.chunks(k * n.max(1)).flat_map(|matrix| transposed(matrix, k, n)).collect();
    let mut values = Vec::with_capacity(product(&shape));
    for (i, j) in plan.of_a.iter().zip(&plan.of_b) {
        let (left, right) = (&a.1[i * m * k..(i + 1) * m * k], &columns[j * k * n..(j + 1) * k * n]);
        values.extend(rows_times_rows(left, right, k));
    }
    Ok(Product { shape, values })
}

/// The product of integer matrices, wrapping.
fn matmul_ints(call: &Call, a: &Value, b: &Value) -> Result<Vec<i128>> {
    let plan = Plan::new(call, &a.shape, &b.shape)?;
    let (x, y) = (a.ints(), b.ints());
    let mut values = Vec::new();
    for (i, j) in plan.of_a.iter().zip(&plan.of_b) {
        for (row, column) in (0..plan.m).flat_map(|r| (0..plan.n).map(move |c| (r, c))) {
            let term =
                |l: usize| x[(i * plan.m + row) * plan.k + l].wrapping_mul(y[(j * plan.k + l) * plan.n + column]);
            values.push((0..plan.k).map(term).fold(0, i128::wrapping_add));
        }
    }
    Ok(values)
}

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    call.require(a.dtype == b.dtype, || format!("element types {} and {} differ", a.dtype, b.dtype))?;
    if !a.dtype.is_float() {
        let shape = Plan::new(call, &a.shape, &b.shape)?.shape(a.rank(), b.rank());
        return Ok(vec![Value::from_ints(a.dtype, &shape, &matmul_ints(call, a, b)?)?]);
    }
    let found = matmul(call, (&a.shape, &a.floats()), (&b.shape, &b.floats()))?;
    Ok(vec![Value::from_floats(a.dtype, &found.shape, &found.values)?])
}

/// `Gemm`: `alpha A' B' + beta C` of two-dimensional matrices.
pub fn gemm(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    call.require(a.rank() == 2 && b.rank() == 2, || format!("Gemm of shapes {:?} and {:?}", a.shape, b.shape))?;
    let (mut x, mut y) = (a.floats(), b.floats());
    let (mut shape_a, mut shape_b) = (a.shape.clone(), b.shape.clone());
    if call.flag("transA", false) {
        x = transposed(&x, shape_a[0], shape_a[1]);
        shape_a.reverse();
    }
    if call.flag("transB", false) {
        y = transposed(&y, shape_b[0], shape_b[1]);
        shape_b.reverse();
    }
    let mut found = matmul(call, (&shape_a, &x), (&shape_b, &y))?;
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    found.values.iter_mut().for_each(|v| *v *= alpha);
    if let Some(c) = call.optional(2) {
        let fits = broadcast(&c.shape, &found.shape).as_ref() == Some(&found.shape);
        call.require(fits, || format!("C of shape {:?} does not broadcast to {:?}", c.shape, found.shape))?;
        let c = expand(c, &found.shape)?.floats();
        found.values.iter_mut().zip(c).for_each(|(v, c)| *v += beta * c);
    }
    Ok(vec![Value::from_floats(a.dtype, &found.shape, &found.values)?])
}

/// `Det` of the matrices in the last two dimensions, by elimination with the largest pivot.
pub fn determinant(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    let (batch, matrix) = x.shape.split_at(x.rank() - 2);
    let n = matrix[0];
    call.require(n == matrix[1], || format!("the determinant of {matrix:?}"))?;
    let all = x.floats();
    let found: Vec<f64> = (0..product(batch)).map(|b| eliminate(all[b * n * n..(b + 1) * n * n].to_vec(), n)).collect();
    Ok(vec![Value::from_floats(x.dtype, batch, &found)?])
}

fn eliminate(mut a: Vec<f64>, n: usize) -> f64 {
    let mut determinant = 1.0;
    for k in 0..n {
        let pivot = (k..n).fold(k, |best, i| if a[i * n + k].abs() > a[best * n + k].abs() { i } else { best });
        if a[pivot * n + k] == 0.0 {
            return 0.0;
        }
        if pivot != k {
            (0..n).for_each(|j| a.swap(k * n + j, pivot * n + j));
            determinant = -determinant;
        }
        determinant *= a[k * n + k];
        for i in k + 1..n {
            let factor = a[i * n + k] / a[k * n + k];
            (k..n).for_each(|j| a[i * n + j] -= factor * a[k * n + j]);
        }
    }
    determinant
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, eval, f32s, i64s, try_eval};
    use super::*;
    use crate::graph::Attribute;

    #[test]
    fn dot_covers_every_remainder() {
        for n in 0..10 {
            let a: Vec<f64> = (0..n).map(|i| i as f64).collect();
            assert_eq!(dot(&a, &a), (0..n).map(|i| (i * i) as f64).sum::<f64>());
        }
    }

    #[test]
    fn matrices_vectors_and_batches_multiply() {
        let a = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = f32s(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_close(&eval("MatMul", 13, &[], &[&a, &b]), &[2, 2], &[4.0, 5.0, 10.0, 11.0]);
        let v = f32s(&[3], &[1.0, 1.0, 1.0]);
        assert_close(&eval("MatMul", 13, &[], &[&a, &v]), &[2], &[6.0, 15.0]);
        assert_close(&eval("MatMul", 13, &[], &[&v, &b]), &[2], &[2.0, 2.0]);
        assert_close(&eval("MatMul", 13, &[], &[&v, &v]), &[], &[3.0]);
        let batch = f32s(&[2, 1, 3], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_close(&eval("MatMul", 13, &[], &[&batch, &b]), &[2, 1, 2], &[1.0, 0.0, 1.0, 1.0]);
        assert!(try_eval("MatMul", 13, &[], &[&a, &a]).is_err());
    }

    #[test]
    fn integers_multiply_exactly() {
        let a = i64s(&[1, 2], &[1 << 40, 1]);
        let b = i64s(&[2, 1], &[1 << 20, 1]);
        assert_eq!(eval("MatMul", 13, &[], &[&a, &b]).i64s(), [(1 << 60) + 1]);
    }

    #[test]
    fn determinants_change_sign_with_rows() {
        let x = f32s(&[2, 2, 2], &[0.0, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0, 4.0]);
        assert_close(&eval("Det", 11, &[], &[&x]), &[2], &[-6.0, 0.0]);
    }

    #[test]
    fn an_empty_sum_is_zero() {
        let a = f32s(&[2, 0], &[]);
        assert_close(&eval("MatMul", 13, &[], &[&a, &f32s(&[0, 1], &[])]), &[2, 1], &[0.0, 0.0]);
    }

    #[test]
    fn gemm_transposes_scales_and_adds() {
        let a = f32s(&[2, 1], &[1.0, 2.0]);
        let b = f32s(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let attributes = [
            ("transA", Attribute::Int(1)),
            ("transB", Attribute::Int(1)),
            ("alpha", Attribute::Float(2.0)),
            ("beta", Attribute::Float(0.5)),
        ];
        let y = eval("Gemm", 13, &attributes, &[&a, &b, &f32s(&[3], &[2.0, 4.0, 6.0])]);
        assert_close(&y, &[1, 3], &[3.0, 6.0, 9.0]);
    }
}
