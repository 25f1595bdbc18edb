//! The operators and inputs of a model as its file names them, without reading its weights: also of models that are refused.

use super::ports::{self, Kind};
use super::{Limits, file, prescan};
use sirius_polyhedral::Result;
use std::path::Path;

/// One node's operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorUse {
    /// Empty for the default domain.
    pub domain: String,
    pub op: String,
    /// Opset version of the domain that the model imports; 0 where it imports none.
    pub version: i64,
}

/// The model's inputs in order, by name and kind; weights that are listed as inputs too are none.
pub fn inputs(path: &Path) -> Result<Vec<(String, Kind)>> {
    let bytes = file::map(path)?;
    prescan::check(&bytes, &Limits::default())?;
    let model = file::decode(bytes)?;
    let Some(graph) = &model.graph else { return Ok(vec![]) };
    let is_weight = |name: &str| graph.initializer.iter().any(|w| w.name == name);
    let inputs = graph.input.iter().filter(|i| !is_weight(&i.name));
    inputs.map(|i| Ok((i.name.clone(), ports::read(i)?.0))).collect()
}

/// The operators of the main graph, node by node; functions are named, not opened.
pub fn operators(path: &Path) -> Result<Vec<OperatorUse>> {
    let bytes = file::map(path)?;
    prescan::check(&bytes, &Limits::default())?;
    let model = file::decode(bytes)?;
    let plain = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_string() };
    let version =
        |domain: &str| model.opset_import.iter().find(|i| plain(&i.domain) == domain).map_or(0, |i| i.version);
    let nodes = model.graph.iter().flat_map(|g| &g.node);
    let used = nodes.map(|n| {
        let domain = plain(&n.domain);
        OperatorUse { version: version(&domain), op: n.op_type.clone(), domain }
    });
    Ok(used.collect())
}
