//! Graph inputs that are sequences or optionals.
//!
//! Machine code has no place for a list whose length it does not know: every step of such a model would wait for the
//! allocator. So the user says how many elements there are (`--length NAME=N`), and each becomes an input of its own,
//! `NAME[0]`, `NAME[1]` and so on, of any shape that the type admits.

use super::ImportOptions;
use super::inputs::{DeclaredDim, DeclaredInput};
use super::proto::{TensorTypeProto, ValueInfoProto};
use crate::graph::{Form, Port};
use sirius_polyhedral::{Error, Result};
use std::str::FromStr;

/// The number of elements of a sequence; 1 or none for an optional tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// An optional without a value.
    Empty,
    Elements(usize),
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Length, String> {
        /// More inputs than any caller passes, and few enough for a table of them.
        const MOST: usize = 65_536;
        let count = text.parse().ok().filter(|n| *n <= MOST).map(Length::Elements);
        let length = if text == "none" { Some(Length::Empty) } else { count };
        length.ok_or_else(|| format!("\"{text}\" is no length: wanted 0 to {MOST}, or none for an empty optional"))
    }
}

/// The type of an input without its tensors' types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tensor,
    Sequence,
    Optional,
    OptionalSequence,
}

/// The kind of an input, and the type of its tensors.
pub fn read(info: &ValueInfoProto) -> Result<(Kind, &TensorTypeProto)> {
    let ty = info.r#type.as_ref();
    let sequence = ty.and_then(|t| t.sequence_type.as_ref()?.elem_type.as_ref()?.tensor_type.as_ref());
    let inside = ty.and_then(|t| t.optional_type.as_ref()?.elem_type.as_ref());
    let optional = inside.and_then(|t| t.tensor_type.as_ref());
    let optional_sequence = inside.and_then(|t| t.sequence_type.as_ref()?.elem_type.as_ref()?.tensor_type.as_ref());
    let found = [
        (Kind::Tensor, ty.and_then(|t| t.tensor_type.as_ref())),
        (Kind::Sequence, sequence),
        (Kind::Optional, optional),
        (Kind::OptionalSequence, optional_sequence),
    ];
    found.into_iter().find_map(|(kind, tensor)| Some((kind, tensor?))).ok_or_else(|| {
        let message = format!("input \"{}\" is no tensor, sequence of tensors, or optional of these", info.name);
        Error::unsupported("E110", message).help("replace a map by two tensors, its keys and its values")
    })
}

/// The form of the input `name`, from what the user says about its length.
pub fn form(name: &str, kind: Kind, length: Option<Length>) -> Result<Form> {
    let what = match kind {
        Kind::Tensor => return Ok(Form::Tensor),
        Kind::Sequence => "a sequence",
        Kind::Optional => "an optional tensor",
        Kind::OptionalSequence => "an optional sequence",
    };
    let values = match kind {
        Kind::Optional => "1, or none where it is empty",
        Kind::OptionalSequence => "N, its number of elements, or none where it is empty",
        _ => "N, its number of elements",
    };
    let Some(length) = length else {
        let message = format!("input \"{name}\" is {what}, and how many tensors it has decides what is compiled");
        return Err(Error::unsupported("E112", message).help(format!("say it: --length {name}={values}")));
    };
    match (kind, length) {
        (Kind::Sequence, Length::Elements(n)) => Ok(Form::Sequence(n)),
        (Kind::OptionalSequence, Length::Elements(n)) => Ok(Form::OptionalSequence(n)),
        (Kind::Optional, Length::Elements(1)) => Ok(Form::Optional),
        (Kind::Optional | Kind::OptionalSequence, Length::Empty) | (Kind::Optional, Length::Elements(0)) => {
            Ok(Form::Empty)
        }
        _ => Err(Error::invalid("E109", format!("the length given for \"{name}\" does not fit {what}"))
            .help(format!("give {values}"))),
    }
}

/// Element `k` as an input of its own. Dimensions that the file names may differ from element to element.
pub fn element(
    port: &Port,
    k: usize,
    declared: &TensorTypeProto,
    options: &ImportOptions,
    id: crate::graph::TensorId,
) -> Result<DeclaredInput> {
    let name = format!("{}[{k}]", port.name);
    let given = options.shapes.get(&name).or_else(|| options.shapes.get(&port.name));
    let mut input = DeclaredInput::read(&name, declared, given, id)?;
    for (axis, dim) in input.dims.iter_mut().enumerate() {
        let from_user = given.is_some_and(|given| given.0[axis] == *dim);
        if let (DeclaredDim::Named(dim), false) = (dim, from_user) {
            *dim = format!("{dim}[{k}]");
        }
    }
    Ok(input)
}

/// Options that name no input, or one that they do not fit.
pub fn check(ports: &[Port], options: &ImportOptions) -> Result<()> {
    let list = |fits: &dyn Fn(&Port) -> bool| {
        let names: Vec<&str> = ports.iter().filter(|p| fits(p)).map(|p| p.name.as_str()).collect();
        if names.is_empty() { "there is none".to_string() } else { format!("there is {}", names.join(", ")) }
    };
    for name in options.lengths.keys() {
        if !ports.iter().any(|p| p.name == *name && p.form != Form::Tensor) {
            let message = format!("--length {name}: the model has no input \"{name}\" that is a sequence or optional");
            return Err(Error::invalid("E109", message).help(list(&|p| p.form != Form::Tensor)));
        }
    }
    for name in options.shapes.keys() {
        let element = |p: &Port| (0..p.form.tensors()).any(|k| *name == format!("{}[{k}]", p.name));
        if !ports.iter().any(|p| p.name == *name || p.form != Form::Tensor && element(p)) {
            let message = format!("--shape {name}: the model has no input \"{name}\"");
            return Err(Error::invalid("E109", message).help(list(&|_| true)));
        }
    }
    Ok(())
}
