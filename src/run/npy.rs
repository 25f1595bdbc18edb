//! NumPy `.npy` files, for people who prepare inputs with numpy.
//!
//! `npyz` parses the header; the contents are then the bytes of a [`Value`] already (little-endian, C order).

use crate::run::value::Value;
use npyz::{DType as NpyType, NpyHeader, Order};
use sirius_polyhedral::{DType, Error, Result};

/// numpy's spelling of each element type (`bf16` and what is narrower than `i8` or not `f16` has none).
fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::I16 => "<i2",
        DType::I8 => "|i1",
        DType::U64 => "<u8",
        DType::U32 => "<u4",
        DType::U16 => "<u2",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
        _ => return None,
    })
}

/// Parses the bytes of a `.npy` file.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let mut rest = bytes;
    let header =
        NpyHeader::from_reader(&mut rest).map_err(|e| Error::invalid("E704", format!("not a .npy file: {e}")))?;
    let spelled = match header.dtype() {
        NpyType::Plain(t) => t.to_string(),
        _ => return Err(Error::unsupported("E705", "a .npy file with a structured element type")),
    };
    let Some(dtype) = DType::ALL.into_iter().find(|t| descr(*t) == Some(&spelled)) else {
        return Err(Error::unsupported("E705", format!("a .npy file with element type '{spelled}'")));
    };
    let shape: Option<Vec<usize>> = header.shape().iter().map(|d| usize::try_from(*d).ok()).collect();
    let shape = shape.ok_or_else(|| Error::invalid("E704", "a .npy file with an extent beyond memory"))?;
    if header.order() == Order::Fortran && shape.len() > 1 {
        return Err(Error::unsupported("E705", "a .npy file in Fortran order").help("save np.ascontiguousarray(x)"));
    }
    Value::new(dtype, shape, rest.to_vec())
}

/// The bytes of a `.npy` file, format version 1.0.
pub fn encode(value: &Value) -> Result<Vec<u8>> {
    let descr = descr(value.dtype).ok_or_else(|| {
        Error::unsupported("E705", format!("{} in a .npy file", value.dtype)).help("write a .pb file instead")
    })?;
    let extents: String = value.shape.iter().map(|d| format!("{d},")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    // The format wants the contents to start at a multiple of 64 bytes, and a newline before them.
    let start = (10 + header.len() + 1).next_multiple_of(64);
    header.push_str(&" ".repeat(start - 11 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(&value.bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_numpy_is_read() {
        let mut bytes = b"\x93NUMPY\x01\x00\x3e\x00".to_vec();
        bytes.extend(format!("{:<61}\n", "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1), }").bytes());
        bytes.extend([1, 0, 0, 0, 255, 255, 255, 255]);
        let value = decode(&bytes).unwrap();
        assert_eq!((value.dtype, value.shape.clone(), value.i64s()), (DType::I32, vec![2, 1], vec![1, -1]));
    }

    #[test]
    fn scalars_and_matrices_survive() {
        for shape in [vec![], vec![1], vec![2, 3], vec![0, 4]] {
            let value = Value::zeros(DType::F16, &shape).unwrap();
            assert_eq!(decode(&encode(&value).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(decode(b"hello"), Err(Error::Invalid(_))));
        assert!(matches!(encode(&Value::zeros(DType::BF16, &[1]).unwrap()), Err(Error::Unsupported(_))));
    }
}
