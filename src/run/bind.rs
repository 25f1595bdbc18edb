//! Values to DLPack tensors and back: the memory that a run works on.

use crate::run::value::{Value, checked_len};
use sirius_lowering::descriptor::dlpack_type;
use sirius_polyhedral::{DType, Error, Result};
use std::ffi::c_void;

/// DLPack's tensor, as in `lowering/runtime/sirius_abi.h`.
#[repr(C)]
#[derive(Debug)]
pub struct DlTensor {
    pub data: *mut c_void,
    pub device_type: i32,
    pub device_id: i32,
    pub ndim: i32,
    pub code: u8,
    pub bits: u8,
    pub lanes: u16,
    pub shape: *mut i64,
    pub strides: *mut i64,
    pub byte_offset: u64,
}

/// One cache line, so that vectors of lines are aligned for every element type and vector width.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A tensor in aligned memory of its own.
pub struct Buffer {
    dtype: DType,
    /// What the buffer has room for; a run may lower `shape` to the extents that it found.
    capacity: Vec<i64>,
    shape: Vec<i64>,
    lines: Vec<Line>,
}

impl Buffer {
    pub fn of(value: &Value) -> Result<Buffer> {
        let mut buffer = Buffer::zeros(value.dtype, value.shape.iter().map(|d| *d as i64).collect())?;
        buffer.bytes_mut()[..value.bytes.len()].copy_from_slice(&value.bytes);
        Ok(buffer)
    }

    pub fn zeros(dtype: DType, shape: Vec<i64>) -> Result<Buffer> {
        let bytes = checked_len(dtype, &extents(&shape)?)? * dtype.size();
        Ok(Buffer { dtype, capacity: shape.clone(), shape, lines: vec![Line([0; 64]); bytes.div_ceil(64)] })
    }

    /// Offers the whole room to the next run. The shape keeps its place in memory: tensors point to it.
    pub fn offer_all(&mut self) {
        self.shape.copy_from_slice(&self.capacity);
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: a line is 64 plain bytes without padding.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * 64) }
    }

    /// The value that the run left here: its shape may have shrunk below the capacity.
    pub fn to_value(&mut self) -> Result<Value> {
        let shape = extents(&self.shape)?;
        let dtype = self.dtype;
        let bytes = checked_len(dtype, &shape)? * dtype.size();
        let all = self.bytes_mut();
        if bytes > all.len() {
            return Err(Error::bug("E810", format!("a run left shape {shape:?} in {} bytes", all.len())));
        }
        Value::new(dtype, shape, all[..bytes].to_vec())
    }

    /// A description of this memory, valid while the buffer is neither moved nor dropped.
    pub fn tensor(&mut self) -> DlTensor {
        let (code, bits) = dlpack_type(self.dtype);
        DlTensor {
            data: self.lines.as_mut_ptr().cast(),
            device_type: 1,
            device_id: 0,
            ndim: self.shape.len() as i32,
            code,
            bits,
            lanes: 1,
            shape: self.shape.as_mut_ptr(),
            strides: std::ptr::null_mut(),
            byte_offset: 0,
        }
    }
}

fn extents(shape: &[i64]) -> Result<Vec<usize>> {
    let convert = |d: &i64| usize::try_from(*d).map_err(|_| Error::bug("E811", format!("an extent of {d}")));
    shape.iter().map(convert).collect()
}
