//! What the values of a model's inputs and outputs are made of. A graph has tensors only: a sequence or optional is as
//! many of them as its form says.

use std::fmt;
use std::str::FromStr;

/// The structure of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Tensor,
    /// Of that many tensors.
    Sequence(usize),
    /// An optional without a value.
    Empty,
    /// An optional with a tensor.
    Optional,
    /// An optional with a sequence of that many tensors.
    OptionalSequence(usize),
}

/// An input or output of the model: its name in the file, and its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub form: Form,
}

/// The inputs and outputs as the file has them, where one of them is no tensor; else empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

impl Form {
    /// The number of tensors.
    pub fn tensors(self) -> usize {
        match self {
            Form::Tensor | Form::Optional => 1,
            Form::Sequence(n) | Form::OptionalSequence(n) => n,
            Form::Empty => 0,
        }
    }

    pub fn is_optional(self) -> bool {
        matches!(self, Form::Empty | Form::Optional | Form::OptionalSequence(_))
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Form::Tensor => f.write_str("tensor"),
            Form::Sequence(n) => write!(f, "seq({n})"),
            Form::Empty => f.write_str("optional()"),
            Form::Optional => f.write_str("optional(tensor)"),
            Form::OptionalSequence(n) => write!(f, "optional(seq({n}))"),
        }
    }
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Form, String> {
        let inside = |text: &str, name: &str| {
            let rest = text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
            Some(rest.to_string())
        };
        let count = |text: &str| inside(text, "seq").and_then(|n| n.parse().ok());
        let form = match (text, inside(text, "optional").as_deref()) {
            ("tensor", _) => Some(Form::Tensor),
            (_, Some("")) => Some(Form::Empty),
            (_, Some("tensor")) => Some(Form::Optional),
            (_, Some(inner)) => count(inner).map(Form::OptionalSequence),
            _ => count(text).map(Form::Sequence),
        };
        form.ok_or_else(|| format!("\"{text}\" is no form of a value: wanted tensor, seq(N), optional(..)"))
    }
}

impl Signature {
    /// Of these ports; empty where each is one tensor.
    pub fn of(inputs: Vec<Port>, outputs: Vec<Port>) -> Signature {
        match inputs.iter().chain(&outputs).all(|p| p.form == Form::Tensor) {
            true => Signature::default(),
            false => Signature { inputs, outputs },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_they_print() {
        let forms = [Form::Tensor, Form::Sequence(3), Form::Empty, Form::Optional, Form::OptionalSequence(0)];
        for form in forms {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
        assert!("seq(x)".parse::<Form>().unwrap_err().contains("seq(x)"));
    }
}
