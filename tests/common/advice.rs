//! Models whose inputs decide shapes: the compiler says which input to fix, the test data says to what.

use sirius::import::{self, Given};
use sirius::run::pb;
use sirius_polyhedral::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// The next input that the error's help says to fix, with the contents that `folder` has for it.
pub fn advised(model: &Path, folder: &Path, error: &Error, known: &BTreeMap<String, Given>) -> Option<(String, Given)> {
    let help = error.diagnostic().help.as_deref()?;
    let names = help.split("--value ").skip(1).filter_map(|rest| rest.split_once("=..")).map(|(name, _)| name);
    let name = names.into_iter().find(|name| !known.contains_key(*name))?;
    let number = import::input_names(model).ok()?.iter().position(|input| input == name)?;
    let value = pb::read(&folder.join(format!("input_{number}.pb"))).ok()?;
    Some((name.to_string(), Given::Tensor(value)))
}
