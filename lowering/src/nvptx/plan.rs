//! The launch plan: all that a host program needs to run the kernels, as JSON.
//!
//! Numbers are expressions over the network's parameters and the plan's loop variables, because sizes may be
//! known at run time only. A runner allocates `buffers`, computes `params` in order, and walks `steps`.

use serde::{Deserialize, Serialize};

/// Version of this format.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    pub version: u32,
    pub network: String,
    /// `sm_80`: what the kernels need at least.
    pub architecture: String,
    /// Set when the artifact is written.
    pub files: Option<Files>,
    pub params: Vec<PlanParam>,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
    pub buffers: Vec<Buffer>,
    pub kernels: Vec<Kernel>,
    pub steps: Vec<Step>,
}

/// Names of the files beside the plan; the hash is the XXH64 of all weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    pub ptx: String,
    pub weights: String,
    pub weights_bytes: u64,
    pub weights_xxh64: String,
}

/// An integer; variables are spelled `c3`. Division rounds down and its divisor is at least 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Number {
    Int(i64),
    Param(String),
    Var(String),
    Add(Vec<Number>),
    Mul(Vec<Number>),
    FloorDiv(Box<Number>, Box<Number>),
    Max(Vec<Number>),
    Min(Vec<Number>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanParam {
    pub name: String,
    pub source: ParamSource,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamSource {
    /// Extent `axis` of input `input`.
    Input {
        input: usize,
        axis: usize,
    },
    /// Element `at` of the contents of input `input`.
    Content {
        input: usize,
        at: usize,
    },
    /// Element 0 of a buffer, read again before every step that mentions the parameter.
    Value {
        buffer: String,
        dtype: String,
    },
    Computed(Number),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<Number>,
    pub buffer: String,
}

/// Device memory, at least 16-byte aligned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    pub name: String,
    pub role: BufferRole,
    pub bytes: Number,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BufferRole {
    Input,
    Output,
    /// Bytes of the weights file from `offset` on.
    Constant {
        offset: u64,
    },
    /// Temporaries that are never needed together.
    Workspace,
    /// One byte that a kernel leaves for the host.
    Predicate,
}

/// One launch: one-dimensional, no shared memory. Nothing is launched when `grid` is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    pub name: String,
    pub grid: Number,
    pub block: u32,
    /// In order; buffers as 64-bit pointers, the others as 64-bit integers.
    pub args: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Argument {
    Buffer(String),
    Param(String),
    Var(String),
}

/// What the host does, in order, on one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Launch(String),
    /// `for var in lower..upper`.
    Loop {
        var: String,
        lower: Number,
        upper: Number,
        body: Vec<Step>,
    },
    If {
        condition: Test,
        body: Vec<Step>,
    },
    /// Leaves the innermost loop when the test fails.
    BreakUnless(Test),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// All are `>= 0`.
    NonNegative(Vec<Number>),
    /// The element (one byte) of a buffer is not 0.
    Element { buffer: String, index: Number },
    /// Launch the kernel; the byte in the buffer is not 0.
    Computed { kernel: String, buffer: String },
}

impl Number {
    /// The product of all factors; constants are folded.
    pub fn product(factors: Vec<Number>) -> Number {
        let constant = factors.iter().fold(1i64, |p, f| if let Number::Int(n) = f { p.saturating_mul(*n) } else { p });
        let mut rest: Vec<Number> = factors.into_iter().filter(|f| !matches!(f, Number::Int(_))).collect();
        if constant == 0 || rest.is_empty() {
            return Number::Int(constant);
        }
        if constant != 1 {
            rest.insert(0, Number::Int(constant));
        }
        if rest.len() == 1 { rest.remove(0) } else { Number::Mul(rest) }
    }

    /// The sum of all terms; constants are folded.
    pub fn sum(terms: Vec<Number>) -> Number {
        let constant = terms.iter().fold(0i64, |s, t| if let Number::Int(n) = t { s.saturating_add(*n) } else { s });
        let mut rest: Vec<Number> = terms.into_iter().filter(|t| !matches!(t, Number::Int(_))).collect();
        if constant != 0 || rest.is_empty() {
            rest.push(Number::Int(constant));
        }
        if rest.len() == 1 { rest.remove(0) } else { Number::Add(rest) }
    }

    /// `floor(self / divisor)`.
    pub fn floor_div(self, divisor: Number) -> Number {
        match (&self, &divisor) {
            (Number::Int(a), Number::Int(b)) => Number::Int(a.div_euclid((*b).max(1))),
            _ => Number::FloorDiv(Box::new(self), Box::new(divisor)),
        }
    }

    /// The largest of the numbers, which are at least one.
    pub fn largest(mut all: Vec<Number>) -> Number {
        match constants(&all) {
            Some(values) => Number::Int(values.into_iter().max().unwrap_or(0)),
            None if all.len() == 1 => all.remove(0),
            None => Number::Max(all),
        }
    }

    /// The smallest of the numbers, which are at least one.
    pub fn smallest(mut all: Vec<Number>) -> Number {
        match constants(&all) {
            Some(values) => Number::Int(values.into_iter().min().unwrap_or(0)),
            None if all.len() == 1 => all.remove(0),
            None => Number::Min(all),
        }
    }

    /// The value, where `name` gives parameters and variables; saturates.
    pub fn eval(&self, name: &dyn Fn(&str) -> i64) -> i64 {
        let all = |list: &[Number]| list.iter().map(|n| n.eval(name)).collect::<Vec<_>>();
        match self {
            Number::Int(n) => *n,
            Number::Param(n) | Number::Var(n) => name(n),
            Number::Add(list) => all(list).into_iter().fold(0, i64::saturating_add),
            Number::Mul(list) => all(list).into_iter().fold(1, i64::saturating_mul),
            Number::FloorDiv(a, b) => a.eval(name).div_euclid(b.eval(name).max(1)),
            Number::Max(list) => all(list).into_iter().max().unwrap_or(0),
            Number::Min(list) => all(list).into_iter().min().unwrap_or(0),
        }
    }
}

fn constants(all: &[Number]) -> Option<Vec<i64>> {
    all.iter().map(|n| if let Number::Int(v) = n { Some(*v) } else { None }).collect()
}
