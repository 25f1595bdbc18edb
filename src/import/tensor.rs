//! `TensorProto` to typed little-endian bytes.

use super::external::External;
use super::proto::TensorProto;
use bytes::Bytes;
use sirius_polyhedral::{Aff, ConstantData, DType, Error, Result};

/// A constant with its shape.
pub struct Constant {
    pub dtype: DType,
    pub shape: Vec<i64>,
    pub data: ConstantData,
}

impl Constant {
    pub fn affs(&self) -> Vec<Aff> {
        self.shape.iter().map(|&n| Aff::constant(n)).collect()
    }

    /// A small integer vector, or a scalar where `shape` is empty.
    pub fn ints(values: &[i64], shape: &[i64]) -> Constant {
        let data = ConstantData::new(le(values, |v| v.to_le_bytes()));
        Constant { dtype: DType::I64, shape: shape.to_vec(), data }
    }

    /// A scalar 0 or false.
    pub fn zero(dtype: DType) -> Constant {
        Constant { dtype, shape: Vec::new(), data: ConstantData::new(vec![0u8; dtype.size()]) }
    }

    pub fn floats(values: &[f32], shape: &[i64]) -> Constant {
        let data = ConstantData::new(le(values, |v| v.to_le_bytes()));
        Constant { dtype: DType::F32, shape: shape.to_vec(), data }
    }

    /// A float scalar, rounded to `dtype`.
    pub fn scalar(value: f64, dtype: DType) -> Constant {
        let data = match dtype {
            DType::F64 => value.to_le_bytes().to_vec(),
            DType::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
            DType::BF16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
            _ => return Constant::floats(&[value as f32], &[]),
        };
        Constant { dtype, shape: Vec::new(), data: ConstantData::new(data) }
    }

    /// A float vector, rounded to `dtype`.
    pub fn reals(values: &[f64], dtype: DType) -> Constant {
        let data = values.iter().flat_map(|value| Constant::scalar(*value, dtype).data.bytes().to_vec());
        Constant { dtype, shape: vec![values.len() as i64], data: ConstantData::new(data.collect::<Vec<u8>>()) }
    }
}

/// Our element type to `TensorProto.DataType`.
pub fn code(wanted: DType) -> i32 {
    (1..=16).find(|&onnx| dtype(onnx).is_ok_and(|t| t == wanted)).unwrap_or(0)
}

/// `TensorProto.DataType` to our element type; the name of the ONNX type where we have none.
pub fn dtype(onnx: i32) -> std::result::Result<DType, String> {
    Ok(match onnx {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        17 => DType::F8E4M3FN,
        18 => DType::F8E4M3FNUZ,
        19 => DType::F8E5M2,
        20 => DType::F8E5M2FNUZ,
        21 => DType::U4,
        22 => DType::I4,
        23 => DType::F4E2M1,
        24 => DType::F8E8M0,
        25 => DType::U2,
        26 => DType::I2,
        other => return Err(unknown_type(other)),
    })
}

fn unknown_type(onnx: i32) -> String {
    let names = [(0, "UNDEFINED"), (8, "STRING"), (14, "COMPLEX64"), (15, "COMPLEX128")];
    names.iter().find(|(n, _)| *n == onnx).map_or_else(|| format!("type {onnx}"), |(_, name)| name.to_string())
}

/// What to do about an element type that machine code has no place for.
pub fn instead(error: Error, found: &str) -> Error {
    match found {
        "STRING" => error.help(
            "keep strings outside: look them up or encode them before the call, and cut the model where numbers begin \
             (onnx.utils.extract_model)",
        ),
        "COMPLEX64" | "COMPLEX128" => error.help("pass real and imaginary parts as a last dimension of 2"),
        _ => error,
    }
}

/// Reads a constant. `name` is for messages.
pub fn read(proto: &TensorProto, name: &str, external: &mut External) -> Result<Constant> {
    let dtype = dtype(proto.data_type).map_err(|found| {
        let message = format!("constant \"{name}\" has element type {found}, which is not supported");
        instead(Error::unsupported("E110", message), &found)
    })?;
    let bytes = byte_length(&proto.dims, dtype, name)?;
    let data = if proto.data_location == 1 {
        external.read(&proto.external_data, bytes, name)?
    } else {
        match &proto.raw_data {
            Some(raw) => raw.clone(),
            None => Bytes::from(typed_bytes(proto, dtype)),
        }
    };
    if data.len() != bytes {
        let message = format!(
            "constant \"{name}\" is {dtype}{:?} and needs {bytes} bytes, but the file has {}",
            proto.dims,
            data.len()
        );
        return Err(Error::invalid("E105", message));
    }
    let data = match dtype {
        DType::Bool => normalize_bools(data),
        t if t.bits() < 8 => Bytes::from(unpacked(&data, t, element_count(&proto.dims, name)?)),
        _ => data,
    };
    Ok(Constant { dtype, shape: proto.dims.clone(), data: ConstantData::new(data) })
}

/// Bytes in the file, where elements narrower than a byte are packed.
fn byte_length(dims: &[i64], dtype: DType, name: &str) -> Result<usize> {
    let elements = element_count(dims, name)?;
    if dtype.bits() < 8 {
        return Ok(elements.div_ceil(8 / dtype.bits() as usize));
    }
    let bytes = elements.checked_mul(dtype.size());
    bytes.ok_or_else(|| Error::invalid("E105", format!("constant \"{name}\" has an impossible shape {dims:?}")))
}

/// One byte for each element, the first in the lowest bits of its byte in the file.
fn unpacked(data: &[u8], dtype: DType, count: usize) -> Vec<u8> {
    let bits = dtype.bits();
    let per_byte = 8 / bits as usize;
    let element = |i: usize| {
        let low = data[i / per_byte] >> (i % per_byte * bits as usize) & ((1u16 << bits) - 1) as u8;
        if dtype.is_signed() { ((low << (8 - bits)) as i8 >> (8 - bits)) as u8 } else { low }
    };
    (0..count).map(element).collect()
}

/// The inverse of `unpacked`.
pub fn packed(data: &[u8], dtype: DType) -> Vec<u8> {
    let bits = dtype.bits();
    let one = |group: &[u8]| {
        let place = |(i, byte): (usize, &u8)| (byte & ((1u16 << bits) - 1) as u8) << (i * bits as usize);
        group.iter().enumerate().map(place).fold(0, |all, part| all | part)
    };
    data.chunks(8 / bits as usize).map(one).collect()
}

fn element_count(dims: &[i64], name: &str) -> Result<usize> {
    let product = dims.iter().try_fold(1usize, |size, &n| size.checked_mul(usize::try_from(n).ok()?));
    product.ok_or_else(|| Error::invalid("E105", format!("constant \"{name}\" has an impossible shape {dims:?}")))
}

/// A bool is one byte, 0 or 1, everywhere behind the importer.
fn normalize_bools(data: Bytes) -> Bytes {
    if data.iter().all(|&b| b <= 1) {
        return data;
    }
    Bytes::from(data.iter().map(|&b| u8::from(b != 0)).collect::<Vec<u8>>())
}

/// The payload of the typed `*_data` fields: which field holds which type is fixed by onnx.proto.
fn typed_bytes(proto: &TensorProto, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => le(&proto.float_data, |v| v.to_le_bytes()),
        DType::F64 => le(&proto.double_data, |v| v.to_le_bytes()),
        DType::I64 => le(&proto.int64_data, |v| v.to_le_bytes()),
        DType::U64 => le(&proto.uint64_data, |v| v.to_le_bytes()),
        DType::U32 => le(&proto.uint64_data, |v| (*v as u32).to_le_bytes()),
        DType::I32 => le(&proto.int32_data, |v| v.to_le_bytes()),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => le(&proto.int32_data, |v| (*v as u16).to_le_bytes()),
        DType::Bool => le(&proto.int32_data, |v| [u8::from(*v != 0)]),
        _ => le(&proto.int32_data, |v| [*v as u8]),
    }
}

fn le<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}
