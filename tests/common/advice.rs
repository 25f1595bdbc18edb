//! Models whose inputs decide what is compiled: the compiler says which input to fix, the test data says to what.

use sirius::graph::Form;
use sirius::import::{self, Dimension, Given, ImportOptions, Kind, Length, Shape};
use sirius::run::{Value, pb};
use sirius_polyhedral::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// What the refusals have asked for so far.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    pub values: BTreeMap<String, Given>,
    pub lengths: BTreeMap<String, Length>,
    pub shapes: BTreeMap<String, Shape>,
    /// Dimensions that are 0 in the data.
    pub dims: BTreeMap<String, Dimension>,
}

impl Fixed {
    #[allow(dead_code)] // Not every test that includes this file imports only.
    pub fn options(&self) -> ImportOptions {
        let Fixed { values, lengths, shapes, dims } = self.clone();
        ImportOptions { values, lengths, shapes, dims, ..ImportOptions::default() }
    }

    /// The names of the inputs that are fixed.
    #[allow(dead_code)] // Not every test that includes this file tells them.
    pub fn names(&self) -> String {
        let names = self.values.keys().chain(self.lengths.keys()).chain(self.shapes.keys()).chain(self.dims.keys());
        names.cloned().collect::<Vec<_>>().join(", ")
    }

    /// Adds the next option that the error's help names, with what `folder` has for that input. Is there one?
    pub fn follow(&mut self, model: &Path, folder: &Path, error: &Error) -> bool {
        let Some(help) = error.diagnostic().help.as_deref() else { return false };
        let data = Data { model, folder };
        let length = asked(help, "--length ").find(|name| !self.lengths.contains_key(*name));
        if let Some((name, (form, _))) = length.and_then(|name| Some((name, data.read(name)?))) {
            let length = if form == Form::Empty { Length::Empty } else { Length::Elements(form.tensors()) };
            self.lengths.insert(name.to_string(), length);
            return true;
        }
        let shape = asked(help, "--shape ").find(|name| !self.shapes.contains_key(*name));
        if let Some((name, value)) = shape.and_then(|name| Some((name, data.tensor(name)?))) {
            self.shapes.insert(name.to_string(), Shape::from(&value.shape[..]));
            return true;
        }
        let value = asked(help, "--value ").find(|name| !self.values.contains_key(*name));
        if let Some((name, value)) = value.and_then(|name| Some((name, data.tensor(name)?))) {
            self.values.insert(name.to_string(), Given::Tensor(value));
            return true;
        }
        let empty = help.split("--dim ").skip(1).filter_map(|rest| rest.split_once("=0..")).next();
        if let Some((name, _)) = empty.filter(|(name, _)| !self.dims.contains_key(*name)) {
            let from_zero = Dimension::Range { low: 0, high: None, typical: None };
            self.dims.insert(name.to_string(), from_zero);
            return true;
        }
        false
    }
}

/// The names in the help's `OPTION NAME=..`.
fn asked<'h>(help: &'h str, option: &'static str) -> impl Iterator<Item = &'h str> {
    help.split(option).skip(1).filter_map(|rest| rest.split_once('=')).map(|(name, _)| name)
}

struct Data<'a> {
    model: &'a Path,
    folder: &'a Path,
}

impl Data<'_> {
    /// The form and tensors that an input of the model has in the data.
    fn read(&self, name: &str) -> Option<(Form, Vec<Value>)> {
        let inputs = import::inputs(self.model).ok()?;
        let number = inputs.iter().position(|(input, _)| input == name)?;
        let kind = if inputs[number].1 == Kind::OptionalSequence { Kind::Optional } else { inputs[number].1 };
        pb::read_value(&self.folder.join(format!("input_{number}.pb")), kind).ok()
    }

    /// The tensor `name`, or element `name[k]`.
    fn tensor(&self, name: &str) -> Option<Value> {
        let element = name.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
        let whole = || self.read(name)?.1.into_iter().next();
        element.and_then(|(input, k)| self.read(input)?.1.into_iter().nth(k.parse().ok()?)).or_else(whole)
    }
}
