//! Index arithmetic on row-major tensors, shared by the operator families.

use crate::run::value::Value;
use sirius_polyhedral::Result;

/// Row-major strides in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

pub fn product(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The common shape of numpy broadcasting; `None` when two extents differ and neither is 1.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |s: &[usize], d: usize| (d + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|d| match (extent(a, d), extent(b, d)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Strides that read a tensor of shape `from` as one of shape `to`, to which it broadcasts: 0 along stretched
/// dimensions.
pub fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let missing = to.len() - from.len();
    (0..to.len()).map(|d| if d < missing || from[d - missing] == 1 { 0 } else { own[d - missing] }).collect()
}

/// For every element of a row-major tensor of `shape`, the offset that `strides` give it.
pub fn offsets(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    let mut all = vec![0];
    for (extent, stride) in shape.iter().zip(strides) {
        let mut next = Vec::with_capacity(all.len() * extent);
        for base in &all {
            next.extend((0..*extent).map(|i| base + i * stride));
        }
        all = next;
    }
    all
}

/// The tensor whose element `i` is element `source[i]` of `value`.
pub fn pick(value: &Value, shape: &[usize], source: &[usize]) -> Result<Value> {
    let size = value.dtype.size();
    let mut bytes = Vec::with_capacity(source.len() * size);
    for i in source {
        bytes.extend_from_slice(value.element(*i));
    }
    Value::new(value.dtype, shape.to_vec(), bytes)
}

/// `value` broadcast to `shape`, to which it must broadcast.
pub fn expand(value: &Value, shape: &[usize]) -> Result<Value> {
    if value.shape == shape {
        return Ok(value.clone());
    }
    crate::run::value::checked_len(value.dtype, shape)?;
    pick(value, shape, &offsets(shape, &broadcast_strides(&value.shape, shape)))
}

/// Extents before, at and after `axis`: a tensor seen as `[outer, n, inner]`.
pub fn split_at(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (product(&shape[..axis]), shape[axis], product(&shape[axis + 1..]))
}

/// Subscripts of element `i` of a row-major tensor.
pub fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, extent) in index.iter_mut().zip(shape).rev() {
        *slot = i % extent.max(&1);
        i /= extent.max(&1);
    }
    index
}

/// All subscripts of `shape` in row-major order.
pub fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..product(shape)).map(|i| unravel(i, shape))
}

/// `value` with its dimensions in the order `perm`.
pub fn transpose(value: &Value, perm: &[usize]) -> Result<Value> {
    let own = strides(&value.shape);
    let shape: Vec<usize> = perm.iter().map(|p| value.shape[*p]).collect();
    let permuted: Vec<usize> = perm.iter().map(|p| own[*p]).collect();
    pick(value, &shape, &offsets(&shape, &permuted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_in_numpy() {
        assert_eq!(broadcast(&[3, 1], &[2]), Some(vec![3, 2]));
        assert_eq!(broadcast(&[], &[4]), Some(vec![4]));
        assert_eq!(broadcast(&[1], &[0]), Some(vec![0]));
        assert_eq!(broadcast(&[3], &[2]), None);
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 2]), [0, 1, 0]);
    }

    #[test]
    fn offsets_follow_strides() {
        assert_eq!(offsets(&[2, 3], &[1, 2]), [0, 2, 4, 1, 3, 5]);
        assert_eq!(offsets(&[], &[]), [0]);
        assert!(offsets(&[2, 0], &[1, 1]).is_empty());
    }

    #[test]
    fn a_transpose_moves_elements() {
        let value = Value::vector(&[1, 2, 3, 4, 5, 6]).reshaped(&[2, 3]).unwrap();
        assert_eq!(transpose(&value, &[1, 0]).unwrap().i64s(), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn indices_count_in_row_major_order() {
        assert_eq!(indices(&[2, 2]).collect::<Vec<_>>(), [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(indices(&[]).count(), 1);
    }
}
