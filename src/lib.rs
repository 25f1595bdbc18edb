//! Sirius: ONNX graphs, host control flow and kernels together, as one polyhedral program.
//!
//! Data passes the modules in this order: `import` (bytes to [`graph::Graph`]), `graph` (rewrites and the
//! reference interpreter), `extract` (graph to `Program`), then the crates `sirius-polyhedral` and
//! `sirius-lowering`, and `run` (artifact to results).

pub mod cli;
pub mod compile;
pub mod extract;
pub mod graph;
pub mod import;
pub mod report;
pub mod run;
