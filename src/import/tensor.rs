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
        other => return Err(unknown_type(other)),
    })
}

fn unknown_type(onnx: i32) -> String {
    let names = [
        (0, "UNDEFINED"),
        (8, "STRING"),
        (14, "COMPLEX64"),
        (15, "COMPLEX128"),
        (17, "FLOAT8E4M3FN"),
        (18, "FLOAT8E4M3FNUZ"),
        (19, "FLOAT8E5M2"),
        (20, "FLOAT8E5M2FNUZ"),
        (21, "UINT4"),
        (22, "INT4"),
        (23, "FLOAT4E2M1"),
    ];
    names.iter().find(|(n, _)| *n == onnx).map_or_else(|| format!("type {onnx}"), |(_, name)| name.to_string())
}

/// Reads a constant. `name` is for messages.
pub fn read(proto: &TensorProto, name: &str, external: &mut External) -> Result<Constant> {
    let dtype = dtype(proto.data_type).map_err(|found| {
        Error::unsupported("E110", format!("constant \"{name}\" has element type {found}, which is not supported"))
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
    let data = if dtype == DType::Bool { normalize_bools(data) } else { data };
    Ok(Constant { dtype, shape: proto.dims.clone(), data: ConstantData::new(data) })
}

fn byte_length(dims: &[i64], dtype: DType, name: &str) -> Result<usize> {
    let product = dims.iter().try_fold(dtype.size(), |size, &n| size.checked_mul(usize::try_from(n).ok()?));
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
        DType::I8 | DType::U8 => le(&proto.int32_data, |v| [*v as u8]),
        DType::Bool => le(&proto.int32_data, |v| [u8::from(*v != 0)]),
    }
}

fn le<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}
