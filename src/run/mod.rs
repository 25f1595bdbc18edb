//! From artifact and files to results: tensors, their files, the comparison of results, counts of
//! what a run did, how long its regions took, and what the machine could do.

pub mod bind;
pub mod cache;
pub mod clock;
pub mod compare;
pub mod count;
pub mod footprint;
pub mod formula;
pub mod limits;
pub mod load;
pub mod npy;
pub mod pb;
pub mod stream;
pub mod value;

pub use load::Loaded;
pub use value::Value;
