//! A tensor in memory: the currency between files, the interpreter, constant folding and the runtime.

use half::{bf16, f16};
use sirius_polyhedral::{ConstantData, DType, Error, Result, narrow};

/// No single tensor of a reference run may be larger; a broken model must not take the machine down. The limit on
/// elements keeps the index lists of the interpreter, 8 bytes for each, in bounds too.
const MAX_BYTES: usize = 1 << 34;
const MAX_ELEMENTS: usize = 1 << 30;

/// A dense tensor, row-major and little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub dtype: DType,
    /// Extents; a scalar has none.
    pub shape: Vec<usize>,
    /// `product(shape) * dtype.size()` bytes.
    pub bytes: Vec<u8>,
}

/// Number of elements of `shape`, or an error when a tensor of it could not be held. Extents of 0 do not excuse
/// the others: loops run over the outer ones before they meet the empty one.
pub fn checked_len(dtype: DType, shape: &[usize]) -> Result<usize> {
    let bound = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)));
    match bound {
        Some(n) if n <= MAX_ELEMENTS && n * dtype.size() <= MAX_BYTES => Ok(shape.iter().product()),
        _ => Err(Error::limit("E701", format!("a tensor {dtype}{shape:?} is larger than {MAX_BYTES} bytes"))),
    }
}

impl Value {
    /// A tensor from its parts; the number of bytes must fit the shape.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Value> {
        let expected = checked_len(dtype, &shape)? * dtype.size();
        if expected != bytes.len() {
            let message = format!("{dtype}{shape:?} needs {expected} bytes, found {}", bytes.len());
            return Err(Error::invalid("E702", message));
        }
        Ok(Value { dtype, shape, bytes })
    }

    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Value> {
        let len = checked_len(dtype, shape)?;
        Ok(Value { dtype, shape: shape.to_vec(), bytes: vec![0; len * dtype.size()] })
    }

    /// Rounds each of `values` to `dtype`; there must be as many as the shape says.
    pub fn from_floats(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Value> {
        Value::new(dtype, shape.to_vec(), encode_floats(dtype, values))
    }

    /// Wraps each of `values` to `dtype` as C does (floats: rounds).
    pub fn from_ints(dtype: DType, shape: &[usize], values: &[i128]) -> Result<Value> {
        Value::new(dtype, shape.to_vec(), encode_ints(dtype, values))
    }

    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Value> {
        Value::new(DType::F32, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn from_i64(shape: &[usize], values: &[i64]) -> Result<Value> {
        Value::new(DType::I64, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn from_bools(shape: &[usize], values: &[bool]) -> Result<Value> {
        Value::new(DType::Bool, shape.to_vec(), values.iter().map(|v| *v as u8).collect())
    }

    /// One integer, of rank 0.
    pub fn scalar(value: i64) -> Value {
        Value { dtype: DType::I64, shape: Vec::new(), bytes: value.to_le_bytes().to_vec() }
    }

    /// A one-dimensional `i64` tensor.
    pub fn vector(values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Value { dtype: DType::I64, shape: vec![values.len()], bytes }
    }

    /// A copy of a constant's bytes.
    pub fn from_constant(dtype: DType, shape: &[usize], data: &ConstantData) -> Result<Value> {
        Value::new(dtype, shape.to_vec(), data.bytes().to_vec())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The same elements in another shape.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Value> {
        Value::new(self.dtype, shape.to_vec(), self.bytes.clone())
    }

    /// Element `i` of the row-major order. Panics when `i` is out of range, as indexing a slice does.
    pub fn get_f64(&self, i: usize) -> f64 {
        decode_float(self.dtype, self.element(i))
    }

    /// Element `i` as an integer: floats truncate, `u64` by its bits.
    pub fn get_i64(&self, i: usize) -> i64 {
        decode_int(self.dtype, self.element(i)) as i64
    }

    pub fn set_f64(&mut self, i: usize, value: f64) {
        let encoded = encode_floats(self.dtype, &[value]);
        self.element_mut(i).copy_from_slice(&encoded);
    }

    pub fn set_i64(&mut self, i: usize, value: i64) {
        let encoded = encode_ints(self.dtype, &[value as i128]);
        self.element_mut(i).copy_from_slice(&encoded);
    }

    /// The bytes of element `i`.
    pub fn element(&self, i: usize) -> &[u8] {
        let size = self.dtype.size();
        &self.bytes[i * size..(i + 1) * size]
    }

    fn element_mut(&mut self, i: usize) -> &mut [u8] {
        let size = self.dtype.size();
        &mut self.bytes[i * size..(i + 1) * size]
    }

    /// All elements as `f64` (exact for all types but the wide integers).
    pub fn floats(&self) -> Vec<f64> {
        let (dtype, size) = (self.dtype, self.dtype.size());
        match dtype {
            DType::F32 => {
                self.bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]) as f64).collect()
            }
            _ => self.bytes.chunks_exact(size).map(|c| decode_float(dtype, c)).collect(),
        }
    }

    /// All elements as integers wide enough for every integer type.
    pub fn ints(&self) -> Vec<i128> {
        self.bytes.chunks_exact(self.dtype.size()).map(|c| decode_int(self.dtype, c)).collect()
    }

    /// All elements as `i64`: the form of shapes, axes and indices.
    pub fn i64s(&self) -> Vec<i64> {
        self.bytes.chunks_exact(self.dtype.size()).map(|c| decode_int(self.dtype, c) as i64).collect()
    }

    /// All elements as truth values: anything but zero is true.
    pub fn bools(&self) -> Vec<bool> {
        if self.dtype.is_float() {
            return self.floats().into_iter().map(|v| v != 0.0).collect();
        }
        self.bytes.chunks_exact(self.dtype.size()).map(|c| c.iter().any(|b| *b != 0)).collect()
    }

    /// Conversion as ONNX `Cast` does it: floats truncate toward zero, integers wrap, to `bool` is `!= 0`.
    pub fn cast(&self, dtype: DType) -> Result<Value> {
        if dtype == DType::Bool {
            return Value::from_bools(&self.shape, &self.bools());
        }
        if self.dtype.is_float() {
            Value::from_floats(dtype, &self.shape, &self.floats())
        } else {
            Value::from_ints(dtype, &self.shape, &self.ints())
        }
    }
}

/// The first `N` bytes of an element; the caller knows that there are as many.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

fn decode_float(dtype: DType, bytes: &[u8]) -> f64 {
    match dtype {
        DType::F64 => f64::from_le_bytes(first(bytes)),
        DType::F32 => f32::from_le_bytes(first(bytes)) as f64,
        DType::F16 => f16::from_le_bytes(first(bytes)).to_f64(),
        DType::BF16 => bf16::from_le_bytes(first(bytes)).to_f64(),
        t if t.is_narrow_float() => narrow::decode(bytes[0], t),
        // Narrower than 128 bits where that is enough: whole weight tensors pass here.
        DType::U64 => u64::from_le_bytes(first(bytes)) as f64,
        _ => decode_int(dtype, bytes) as i64 as f64,
    }
}

fn decode_int(dtype: DType, bytes: &[u8]) -> i128 {
    match dtype {
        DType::I64 => i64::from_le_bytes(first(bytes)) as i128,
        DType::I32 => i32::from_le_bytes(first(bytes)) as i128,
        DType::I16 => i16::from_le_bytes(first(bytes)) as i128,
        DType::I8 | DType::I4 | DType::I2 => bytes[0] as i8 as i128,
        DType::U64 => u64::from_le_bytes(first(bytes)) as i128,
        DType::U32 => u32::from_le_bytes(first(bytes)) as i128,
        DType::U16 => u16::from_le_bytes(first(bytes)) as i128,
        DType::U8 | DType::U4 | DType::U2 => bytes[0] as i128,
        DType::Bool => (bytes[0] != 0) as i128,
        _ => decode_float(dtype, bytes) as i128,
    }
}

/// Rounds to nearest even for floats. For integers truncates; what does not fit in 64 bits saturates there
/// (NaN is 0) and then wraps, where C leaves the result undefined.
fn encode_floats(dtype: DType, values: &[f64]) -> Vec<u8> {
    match dtype {
        DType::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F32 => values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|v| f16::from_f64(*v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|v| bf16::from_f64(*v).to_le_bytes()).collect(),
        DType::Bool => values.iter().map(|v| (*v != 0.0) as u8).collect(),
        t if t.is_narrow_float() => values.iter().map(|v| narrow::encode(*v, t)).collect(),
        DType::U64 => values.iter().flat_map(|v| float_to_u64(*v).to_le_bytes()).collect(),
        _ => {
            let wide: Vec<i128> = values.iter().map(|v| *v as i64 as i128).collect();
            encode_ints(dtype, &wide)
        }
    }
}

fn float_to_u64(v: f64) -> u64 {
    if v < 0.0 { v as i64 as u64 } else { v as u64 }
}

fn encode_ints(dtype: DType, values: &[i128]) -> Vec<u8> {
    match dtype.size() {
        _ if dtype == DType::Bool => values.iter().map(|v| (*v != 0) as u8).collect(),
        _ if dtype.is_float() => encode_floats(dtype, &values.iter().map(|v| *v as f64).collect::<Vec<_>>()),
        8 => values.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect(),
        4 => values.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect(),
        2 => values.iter().flat_map(|v| (*v as i16).to_le_bytes()).collect(),
        _ => values.iter().map(|v| low_bits(*v as u8, dtype)).collect(),
    }
}

/// The element in a byte that an integer of at most 8 bits wraps to, extended as its type wants.
fn low_bits(byte: u8, dtype: DType) -> u8 {
    let unused = 8 - dtype.bits();
    let high = byte << unused;
    if dtype.is_signed() { (high as i8 >> unused) as u8 } else { high >> unused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_keeps_small_integers() {
        // The format of scales has powers of two only.
        for dtype in DType::ALL.into_iter().filter(|t| *t != DType::F8E8M0) {
            let value = Value::from_ints(dtype, &[3], &[0, 1, 1]).unwrap();
            assert_eq!(value.i64s(), [0, 1, 1], "{dtype}");
            assert_eq!(value.floats(), [0.0, 1.0, 1.0], "{dtype}");
        }
    }

    #[test]
    fn casts_truncate_wrap_and_round() {
        let floats = Value::from_f32(&[4], &[-1.9, 2.9, 300.0, f32::NAN]).unwrap();
        assert_eq!(floats.cast(DType::I32).unwrap().i64s(), [-1, 2, 300, 0]);
        assert_eq!(floats.cast(DType::U8).unwrap().i64s(), [255, 2, 44, 0]);
        assert_eq!(floats.cast(DType::Bool).unwrap().bools(), [true, true, true, true]);
        let wide = Value::from_ints(DType::U64, &[1], &[u64::MAX as i128]).unwrap();
        assert_eq!(wide.cast(DType::I8).unwrap().i64s(), [-1]);
        assert_eq!(wide.cast(DType::F32).unwrap().floats(), [18446744073709551616.0]);
    }

    #[test]
    fn shape_and_bytes_must_agree() {
        assert!(matches!(Value::new(DType::F32, vec![2], vec![0; 7]), Err(Error::Invalid(_))));
        assert!(matches!(Value::zeros(DType::F32, &[1 << 32, 1 << 32]), Err(Error::Limit(_))));
        assert!(matches!(Value::zeros(DType::F32, &[1 << 40, 0]), Err(Error::Limit(_))));
    }

    #[test]
    fn elements_are_set_in_place() {
        let mut value = Value::zeros(DType::F16, &[2]).unwrap();
        value.set_f64(1, 1.5);
        assert_eq!(value.floats(), [0.0, 1.5]);
        let mut value = Value::zeros(DType::I16, &[2]).unwrap();
        value.set_i64(0, -7);
        assert_eq!((value.get_i64(0), value.get_f64(0)), (-7, -7.0));
    }
}
