//! From artifact and files to results: tensors, their files, and the comparison of results.

pub mod compare;
pub mod npy;
pub mod pb;
pub mod value;

pub use value::Value;
