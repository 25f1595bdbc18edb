//! From artifact and files to results: tensors, their files, and the comparison of results.

pub mod bind;
pub mod compare;
pub mod formula;
pub mod load;
pub mod npy;
pub mod pb;
pub mod value;

pub use load::Loaded;
pub use value::Value;
