//! ONNX file to [`Graph`]: protobuf, external data, functions, subgraphs, and every shape as affine
//! expressions of the named dimensions.
//!
//! The stages, one folder or file each: `file` (bytes, memory-mapped), `prescan` (structure limits before
//! anything is allocated), `proto` (messages), `build` (names to tensor ids; functions inlined), `infer`
//! (types, shapes and the contents of shape tensors). Errors have these codes:
//!
//! | code | meaning |
//! | --- | --- |
//! | E100 | the file cannot be read |
//! | E101 | the file is not an ONNX model, or is damaged |
//! | E102 | the model is larger or deeper than the limits allow |
//! | E103 | an opset version outside the supported range |
//! | E104 | a broken graph: cycle, unknown name, name defined twice |
//! | E105 | a constant whose data does not fit its type and shape |
//! | E106 | external data missing, short, or outside the model's directory |
//! | E107 | `--dim` names a dimension that the model does not have, or contradicts it |
//! | E108 | `--value` names an input that the model does not have, or does not fit it |
//! | E109 | `--length` or `--shape` names an input that the model does not have, or does not fit it |
//! | E110 | operators or element types that the compiler does not know (complete list) |
//! | E112 | a shape that depends on data at run time |
//! | E113 | shapes or types that do not fit together |

mod attribute;
mod build;
mod catalog;
mod dimension;
pub(crate) mod external;
mod file;
mod fixed;
mod infer;
mod inputs;
mod operators;
mod order;
mod ports;
mod prescan;
pub mod proto;
mod shape;
pub(crate) mod tensor;
#[cfg(test)]
mod tests;

pub use catalog::{NEWEST, Operator, catalog};
pub use dimension::Dimension;
pub use fixed::Given;
pub use operators::{OperatorUse, inputs, operators};
pub use ports::{Kind, Length};
pub use shape::Shape;

use crate::graph::Graph;
use sirius_polyhedral::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// How to import a model.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `--dim name=..`: dimensions that the user fixes or bounds, by ONNX name or by parameter name.
    pub dims: BTreeMap<String, Dimension>,
    /// `--value name=..`: inputs whose contents are fixed.
    pub values: BTreeMap<String, Given>,
    /// `--length name=..`: how many tensors an input has that is a sequence or optional.
    pub lengths: BTreeMap<String, Length>,
    /// `--shape name=..`: dimensions of inputs (or of sequences' elements) that the file leaves open.
    pub shapes: BTreeMap<String, Shape>,
    pub limits: Limits,
}

/// What a file may ask for before it is refused. The defaults keep a hostile file under 256 MiB.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Nodes, in all subgraphs and after functions are inlined.
    pub nodes: usize,
    /// Subgraphs and function calls inside one another.
    pub depth: usize,
    /// Estimated bytes of the decoded messages beyond four times the file's size; raw payloads not counted.
    pub structure_bytes: usize,
    /// Bytes of one tensor, intermediate or constant.
    pub tensor_bytes: i64,
    /// The largest amount that the program may compute where nothing bounds it: the workspace has a size before the
    /// run, which refuses larger ones. At least 1.
    pub room: i64,
}

/// [`Limits::room`] unless the user says otherwise.
pub const ROOM: i64 = 1 << 12;

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes: 200_000, depth: 32, structure_bytes: 112 << 20, tensor_bytes: 1 << 40, room: ROOM }
    }
}

/// Reads `path` and everything it refers to.
pub fn load(path: &Path, options: &ImportOptions) -> Result<Graph> {
    let bytes = file::map(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    load_bytes(bytes, directory, options)
}

/// Reads a model from memory; external data is looked for in `directory`.
pub fn load_bytes(bytes: bytes::Bytes, directory: &Path, options: &ImportOptions) -> Result<Graph> {
    prescan::check(&bytes, &options.limits)?;
    let model = file::decode(bytes)?;
    let mut draft = build::build(&model, directory, options)?;
    fixed::fix(&mut draft, &options.values)?;
    drop(model);
    infer::infer(draft, options)
}
