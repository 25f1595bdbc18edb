//! Errors and the place in the model that they speak about.

use std::fmt;

/// Where in the ONNX model something comes from; copied onto every statement, loop and remark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// ONNX node name; generated (`MatMul_12`) when the file has none.
    pub node: String,
    /// ONNX operator type, for example `MatMul`.
    pub op: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.op, self.node)
    }
}

/// What went wrong, by who can mend it. The command line maps each kind to an exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input is wrong: the user can fix it. Exit code 1 (2 for command-line usage).
    #[error("{0}")]
    Invalid(Diagnostic),
    /// The input is right but this compiler cannot do it. Exit code 3.
    #[error("{0}")]
    Unsupported(Diagnostic),
    /// A stated limit (time, memory, operations) was reached. Exit code 5.
    #[error("{0}")]
    Limit(Diagnostic),
    /// Missing tool, file access, or CPU feature. Exit code 6.
    #[error("{0}")]
    Environment(Diagnostic),
    /// A broken invariant of ours. Exit code 70.
    #[error("{0}")]
    Bug(Diagnostic),
}

pub type Result<T> = std::result::Result<T, Error>;

/// The text of one error: what, where, and first of all how to fix it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code such as `E112`.
    pub code: &'static str,
    pub message: String,
    pub origin: Option<Origin>,
    /// How to fix it, in the imperative.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]: {}", self.code, self.message)?;
        if let Some(origin) = &self.origin {
            write!(f, "\n  --> {origin}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   = help: {help}")?;
        }
        Ok(())
    }
}

macro_rules! constructors {
    ($($name:ident => $variant:ident),*) => {$(
        pub fn $name(code: &'static str, message: impl Into<String>) -> Error {
            Error::$variant(Diagnostic { code, message: message.into(), ..Diagnostic::default() })
        }
    )*};
}

impl Error {
    constructors!(invalid => Invalid, unsupported => Unsupported, limit => Limit,
                  environment => Environment, bug => Bug);

    pub fn diagnostic(&self) -> &Diagnostic {
        match self {
            Error::Invalid(d) | Error::Unsupported(d) | Error::Limit(d) | Error::Environment(d) | Error::Bug(d) => d,
        }
    }

    fn diagnostic_mut(&mut self) -> &mut Diagnostic {
        match self {
            Error::Invalid(d) | Error::Unsupported(d) | Error::Limit(d) | Error::Environment(d) | Error::Bug(d) => d,
        }
    }

    /// Adds the place, unless a more precise one is already there.
    pub fn at(mut self, origin: &Origin) -> Error {
        self.diagnostic_mut().origin.get_or_insert_with(|| origin.clone());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.diagnostic_mut().help = Some(help.into());
        self
    }
}
