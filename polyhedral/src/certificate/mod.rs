//! What a compilation did to a program, in a form that can be checked without the compiler.
//!
//! A [`Certificate`] holds the program at several stages as isl text: as extracted first, as lowered last. Beside them:
//! for every step from one stage to the next, which instances of the earlier stage the instances of the later one are,
//! and the dependences that the passes kept. `record.rs` writes it (`pieces.rs`: the instances); `check/` checks it and
//! shares no code with passes, dependences, legality or storage: it reads this text alone and knows isl.
//!
//! What a certificate that holds proves is listed in `docs/certificate.md`, and what it does not prove too.

pub mod check;
mod pieces;
pub mod record;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The value of [`Certificate::format`].
pub const FORMAT: &str = "sirius-certificate";
/// The value of [`Certificate::version`]; fields are only added within one version.
pub const VERSION: u32 = 2;

/// The file. Relations are isl text; statements are `S3`, arrays `A2`, iterators `i0, i1, ..`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub format: String,
    pub version: u32,
    /// Name and version of the compiler.
    pub tool: String,
    pub program: String,
    /// Every pass that ran, in order.
    pub passes: Vec<PassEntry>,
    pub params: Vec<ParamEntry>,
    /// The program as extracted, after passes in between, and as it is lowered.
    pub stages: Vec<Listing>,
    /// Step `n` leads from stage `n` to stage `n + 1`.
    pub steps: Vec<Step>,
    /// What must run before what in the last stage, as the compiler found it. The checker finds its own, and compares.
    pub dependences: Vec<DependenceEntry>,
}

/// One pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassEntry {
    pub name: String,
    /// Statements that the pass removed, added, and changed in value, domain or accesses.
    pub removed: Vec<String>,
    pub added: Vec<String>,
    pub changed: Vec<String>,
}

/// From one stage to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub rule: Rewrite,
    /// Statement of the later stage to the instances that its instances were, one relation for every statement of the
    /// earlier stage that it was. Statements that are missing here are copies.
    pub instances: BTreeMap<String, Vec<String>>,
    /// Which statements take sums while the extreme that their terms depend on still grows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub online: Vec<OnlineEntry>,
}

/// An extreme and the sums that follow it, taken in blocks: the statements of the later stage that do it. Their roles are
/// those of [`crate::program::Online`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineEntry {
    pub extreme: RunningEntry,
    pub shift: String,
    pub factor: String,
    pub terms: String,
    pub sums: Vec<RunningEntry>,
}

/// A reduction that is taken in blocks: [`crate::program::Running`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningEntry {
    pub start: String,
    pub clear: String,
    pub reduce: String,
    pub step: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<String>,
}

/// What a step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rewrite {
    /// Values are substituted and shared; instances and their order stay.
    Values,
    /// Instances get other names, places, times and storage, several may become one; each computes what it did.
    Instances,
    /// Instances run more than once. The step from the later stage to the earlier is one of `Instances`, where several
    /// become one.
    Repeated,
    /// Sums are regrouped: other statements compute the same, in integers that wrap or in real numbers.
    Regrouped,
}

/// A parameter and its bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamEntry {
    pub name: String,
    pub min: i64,
    pub max: Option<i64>,
}

/// A program at one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The pass after which this was.
    pub stage: String,
    pub arrays: Vec<ArrayEntry>,
    pub statements: Vec<StatementEntry>,
    pub schedule: Vec<Tree>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayEntry {
    pub id: String,
    pub name: String,
    pub role: ArrayRole,
    pub dtype: String,
    /// `{ A2[o0, o1] : 0 <= o0 < 4 and .. }`.
    pub shape: String,
    /// From elements to the cells that hold them: `{ A2[o0, o1] -> [o0 mod 2, o1] }`.
    pub cells: String,
    /// Of a constant: the 64-bit xxHash of its bytes, row-major and little-endian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
    /// Of a constant that is another one rearranged: from its elements to those of the other, `{ A9[i0, i1] ->
    /// A3[8*i1 + i0] }`. What is outside of the other is never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rearranged: Option<String>,
    /// Of a constant that was computed from others: the statement that would, over zeros where it accumulates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<StatementEntry>,
    /// Of a constant of integers: the least and the greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[i64; 2]>,
    /// Where a temporary lives; arrays of the caller and constants have no place.
    pub place: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayRole {
    Input,
    Output,
    Constant,
    Temp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Slot number `n` of the workspace.
    Slot(usize),
    /// Registers of one instance of a lockstep tile.
    Register,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatementEntry {
    pub id: String,
    /// ONNX operator and node.
    pub origin: String,
    pub domain: String,
    /// `assign`, `update`, or the operator of a reduction (`add`, `max`, ..).
    pub kind: String,
    /// Instances to the element written. A subscript that the program computes is a variable `e0`, ..:
    /// `{ [S3[i0] -> [e0]] -> A2[e0, i0] }`.
    pub write: String,
    pub reads: Vec<ReadEntry>,
    /// Affine integers of the body, as maps from instances.
    pub values: Vec<String>,
    /// The value, and the test after ` if `; `#n` is read `n`, `@n` value `n`. Where subscripts are computed, by
    /// `#n[..]` for a read and `put([..], value)` for the write.
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadEntry {
    pub by: ReadBy,
    /// As `write`.
    pub map: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadBy {
    Value,
    /// Decides whether the instance runs; all workers of a team evaluate it.
    Guard,
    /// A loop bound that the program computes: complete before any loop that needs it, evaluated by all workers.
    Parameter,
}

/// A node of the schedule: a statement, or a loop around nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tree {
    Leaf(String),
    Band {
        /// `seq`, `parallel`, `unroll`, `barrier`, `rows(8)`, `lanes(16)`, `team(4)`.
        mark: String,
        /// The value of the loop at the instances of every statement below.
        values: BTreeMap<String, String>,
        body: Vec<Tree>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DependenceEntry {
    pub source: String,
    pub sink: String,
    pub array: String,
    pub kind: Ordering,
    pub relation: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// A write reaches a read.
    Flow,
    /// A read comes before a later write of the element.
    Anti,
    /// Two writes of one element.
    Output,
    /// Two accumulations into one element: any order, not at once.
    Reduction,
}

/// What stands for the contents of a constant: [`ArrayEntry::contents`].
pub fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh64::xxh64(bytes, bytes.len() as u64))
}
