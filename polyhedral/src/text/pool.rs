//! Constant bytes that live beside the text.

use crate::error::{Error, Result};
use crate::program::ConstantData;
use std::io::Write;
use std::sync::Arc;

/// What `constant #N` refers to. Printing fills it, parsing reads it; on disk it is one side file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConstantPool {
    blobs: Vec<ConstantData>,
}

/// The side file starts with this, the number of blobs, and their lengths; then the blobs follow each other.
const MAGIC: &[u8; 8] = b"SIRIUSC1";

impl ConstantPool {
    /// The number of `data`; the same shared bytes get the same number.
    pub fn add(&mut self, data: &ConstantData) -> usize {
        let found = self.blobs.iter().position(|b| Arc::ptr_eq(&b.0, &data.0));
        found.unwrap_or_else(|| {
            self.blobs.push(data.clone());
            self.blobs.len() - 1
        })
    }

    pub fn get(&self, n: usize) -> Option<&ConstantData> {
        self.blobs.get(n)
    }

    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    pub fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(&(self.blobs.len() as u64).to_le_bytes())?;
        for blob in &self.blobs {
            out.write_all(&(blob.bytes().len() as u64).to_le_bytes())?;
        }
        self.blobs.iter().try_for_each(|blob| out.write_all(blob.bytes()))
    }

    /// Reads a side file; sizes that do not fit the file are an error.
    pub fn read(bytes: &[u8]) -> Result<ConstantPool> {
        let broken = || Error::invalid("E211", "this is not the side file of a text form, or it is cut off");
        let word = |n: usize| -> Option<usize> {
            let raw = bytes.get(n.checked_mul(8)?..n.checked_mul(8)?.checked_add(8)?)?;
            u64::from_le_bytes(raw.try_into().ok()?).try_into().ok()
        };
        let count = word(1).filter(|_| bytes.starts_with(MAGIC)).ok_or_else(broken)?;
        let mut at = count.checked_add(2).and_then(|n| n.checked_mul(8)).ok_or_else(broken)?;
        let mut pool = ConstantPool::default();
        for n in 0..count {
            let end = word(n + 2).and_then(|length| at.checked_add(length)).ok_or_else(broken)?;
            let blob = bytes.get(at..end).ok_or_else(broken)?;
            pool.blobs.push(ConstantData::new(blob.to_vec()));
            at = end;
        }
        Ok(pool)
    }
}
