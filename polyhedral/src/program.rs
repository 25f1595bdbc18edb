//! The program: arrays, statements and one schedule tree.

use crate::aff::{Aff, Bounds};
use crate::dtype::DType;
use crate::error::Origin;
use crate::expr::{Access, BinaryOp, Expr};
use crate::param::Params;
use crate::schedule_tree::Schedule;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Prints as `S3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatementId(pub u32);

/// Prints as `A2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArrayId(pub u32);

impl std::fmt::Display for StatementId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S{}", self.0)
    }
}

impl std::fmt::Display for ArrayId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "A{}", self.0)
    }
}

/// The bytes of a constant array, row-major, little-endian; shared with the mapped model file.
#[derive(Clone)]
pub struct ConstantData(pub Arc<dyn AsRef<[u8]> + Send + Sync>);

impl ConstantData {
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> ConstantData {
        ConstantData(Arc::new(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl std::fmt::Debug for ConstantData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.bytes().len())
    }
}

impl PartialEq for ConstantData {
    fn eq(&self, other: &ConstantData) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.bytes() == other.bytes()
    }
}

/// What an array is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Graph input number `n`: written by the caller.
    Input(usize),
    /// Graph output number `n`: read by the caller.
    Output(usize),
    /// Known at compile time.
    Constant(ConstantData),
    /// Lives in the workspace.
    Temp,
}

/// An array, row-major and dense in its extents.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Unique; a C identifier, made from the ONNX tensor name.
    pub name: String,
    pub dtype: DType,
    /// In elements; parameters only.
    pub extents: Vec<Aff>,
    pub role: Role,
    /// Storage: `Some(w)` keeps only `w` planes of this dimension, subscript `i` living in plane `i mod w`.
    /// One entry per dimension. Accesses stay in the unfolded index space; only lowering folds.
    pub fold: Vec<Option<i64>>,
    /// Byte offset in the workspace; set by `plan-memory` for `Temp`.
    pub placement: Option<Placement>,
}

/// Where a temporary lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Shared slot `n` of the workspace; slots follow one another, each as large as its largest array.
    Slot(usize),
    /// Every element lives only inside one instance of a lockstep tile: registers.
    Register,
}

/// How a statement's value reaches its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StatementKind {
    /// `target = value`. The only kind that may write an element first.
    Assign,
    /// `target = target op value`: associative and commutative (`Add`, `Mul`, `Min`, `Max`, `And`, `Or`),
    /// so instances on one element may run in any order.
    Reduce(BinaryOp),
    /// `target = value` over an element that has a value; instances on one element keep their
    /// lexicographic order (scatter, latch of a loop with a data-dependent exit).
    Update,
}

/// `for every i in domain, where guard(i): target[f(i)] <- value(i)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Names of the iterators, for people: `m`, `n`, `k`, `t`.
    pub dims: Vec<String>,
    /// Dimension `d` runs over `0 <= i_d < extents[d]`; may use parameters and earlier iterators.
    pub extents: Vec<Aff>,
    /// Further constraints, each `>= 0`.
    pub constraints: Vec<Aff>,
    pub kind: StatementKind,
    pub target: Access,
    /// The element is read implicitly by `Reduce`; `value` does not mention it.
    pub value: Expr,
    /// A `bool` expression: the instance runs only where it holds. Over-approximated (may) in dependences.
    pub guard: Option<Expr>,
    pub origin: Origin,
}

/// What became of the iterators of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renaming {
    /// Dimension `dim` became dimensions `dim` and `dim + 1`: `old = size * outer + inner - late`.
    Split { statement: StatementId, dim: usize, size: i64, late: i64 },
    /// Dimension `dim` went away: one instance stands for those of all its values.
    Dropped { statement: StatementId, dim: usize },
    /// Dimension `dim`, which had one iteration, went away: its value was 0.
    Unit { statement: StatementId, dim: usize },
    /// The statement got a new first dimension, whose value `k` is the statement that was `steps[k]`.
    Steps { statement: StatementId, steps: Vec<StatementId> },
    /// One instance takes `parts` neighbours of dimension `dim` at once: `old = parts * new + 0, 1, ..`.
    Words { statement: StatementId, dim: usize, parts: u32 },
    /// The instances of `statement` are those of `was`, whose iterators have these values.
    Taken { statement: StatementId, was: StatementId, values: Vec<Aff> },
}

/// An extreme and the sums that follow it, taken in blocks: the statements that do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online {
    pub extreme: Running,
    /// What a block subtracts from its elements, what it multiplies the sums so far with, and its terms.
    pub shift: StatementId,
    pub factor: StatementId,
    pub terms: StatementId,
    pub sums: Vec<Running>,
}

/// A reduction that is taken in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Before the first block.
    pub start: StatementId,
    /// What starts a block, and what reduces it.
    pub clear: StatementId,
    pub reduce: StatementId,
    /// After a block.
    pub step: StatementId,
    /// After all blocks, where somebody reads it.
    pub finish: Option<StatementId>,
}

/// A constant made of another one: its element `i` is element `subscripts(i)` of `from`, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub array: ArrayId,
    pub from: ArrayId,
    pub subscripts: Vec<Aff>,
}

/// A constant that was computed from others: what `by` would leave in `array`, over zeros where it accumulates.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub array: ArrayId,
    pub by: Statement,
}

/// What a certificate needs to name the instance that an instance was, and the element that an element was. Not part of
/// what a program is: it does not print, and programs are equal without it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How instances were renamed since the program was made, in order.
    pub renamings: Vec<Renaming>,
    /// How constants were rearranged.
    pub packed: Vec<Packed>,
    /// How other constants were computed, where a certificate says so.
    pub made: Vec<Made>,
    /// Which reductions were taken in blocks.
    pub online: Vec<Online>,
}

impl PartialEq for History {
    fn eq(&self, _: &History) -> bool {
        true
    }
}

/// A whole network as one polyhedral program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    pub name: String,
    pub params: Params,
    arrays: Vec<Array>,
    /// `None` once removed: ids stay stable through passes, dumps and remarks.
    statements: Vec<Option<Statement>>,
    pub schedule: Schedule,
    /// Arrays of type `bool` whose element `[t]` says whether iteration `t` of a host loop runs, and which
    /// stay false once false: lowering may leave the loop at the first false.
    pub exits: Vec<ArrayId>,
    /// The shape of every graph output; entry `n` belongs to `Role::Output(n)`.
    pub outputs: Vec<ArrayId>,
    pub inputs: Vec<ArrayId>,
    pub history: History,
}

impl Program {
    pub fn add_array(&mut self, array: Array) -> ArrayId {
        self.arrays.push(array);
        ArrayId(self.arrays.len() as u32 - 1)
    }

    pub fn add_statement(&mut self, statement: Statement) -> StatementId {
        self.statements.push(Some(statement));
        StatementId(self.statements.len() as u32 - 1)
    }

    /// Uses up a statement id without a statement, as if it had been removed (programs read from text).
    pub fn skip_statement(&mut self) {
        self.statements.push(None);
    }

    /// The statement, unless it was removed or never existed.
    pub fn get_statement(&self, id: StatementId) -> Option<&Statement> {
        self.statements.get(id.0 as usize)?.as_ref()
    }

    /// The array, unless the id is dangling.
    pub fn get_array(&self, id: ArrayId) -> Option<&Array> {
        self.arrays.get(id.0 as usize)
    }

    pub fn array(&self, id: ArrayId) -> &Array {
        &self.arrays[id.0 as usize]
    }

    pub fn array_mut(&mut self, id: ArrayId) -> &mut Array {
        &mut self.arrays[id.0 as usize]
    }

    /// # Panics
    /// When the statement was removed: a bug of the caller.
    pub fn statement(&self, id: StatementId) -> &Statement {
        self.statements[id.0 as usize].as_ref().unwrap_or_else(|| panic!("{id} was removed"))
    }

    pub fn statement_mut(&mut self, id: StatementId) -> &mut Statement {
        self.statements[id.0 as usize].as_mut().unwrap_or_else(|| panic!("{id} was removed"))
    }

    /// Removes the statement from the program and from the schedule tree.
    pub fn remove_statement(&mut self, id: StatementId) {
        self.statements[id.0 as usize] = None;
        self.schedule.remove(id);
    }

    /// Statements that exist, in id order.
    pub fn statements(&self) -> impl Iterator<Item = (StatementId, &Statement)> {
        self.statements.iter().enumerate().filter_map(|(i, s)| Some((StatementId(i as u32), s.as_ref()?)))
    }

    pub fn arrays(&self) -> impl Iterator<Item = (ArrayId, &Array)> {
        self.arrays.iter().enumerate().map(|(i, a)| (ArrayId(i as u32), a))
    }

    /// One past the largest statement id ever used.
    pub fn statement_capacity(&self) -> usize {
        self.statements.len()
    }

    pub fn dtype(&self, expr: &Expr) -> DType {
        expr.dtype(&|a| self.array(a).dtype)
    }
}

impl Array {
    pub fn new(name: impl Into<String>, dtype: DType, extents: Vec<Aff>, role: Role) -> Array {
        let fold = vec![None; extents.len()];
        Array { name: name.into(), dtype, extents, role, fold, placement: None }
    }

    pub fn is_temp(&self) -> bool {
        self.role == Role::Temp
    }
}

impl Statement {
    /// Everything read, guard and subscripts included; `Reduce`'s own element is not listed.
    pub fn visit_reads(&self, visit: &mut dyn FnMut(&Access)) {
        self.value.visit_loads(visit);
        for index in &self.target.index {
            index.visit_loads(visit);
        }
        if let Some(guard) = &self.guard {
            guard.visit_loads(visit);
        }
    }

    /// Every access: the target, and everything read.
    pub fn visit_accesses(&self, visit: &mut dyn FnMut(&Access)) {
        visit(&self.target);
        self.visit_reads(visit);
    }

    /// Inclusive constant range of iterator `d`; `None` where the extent is symbolic.
    pub fn range(&self, d: usize) -> Bounds {
        (Some(0), self.extents.get(d).and_then(|e| e.as_constant()).map(|e| e - 1))
    }

    /// Applies `f` to value, guard and target subscripts.
    pub fn map_exprs(&mut self, f: &mut dyn FnMut(Expr) -> Expr) {
        let value = std::mem::replace(&mut self.value, Expr::int(0));
        self.value = f(value);
        self.guard = self.guard.take().map(&mut *f);
        for index in &mut self.target.index {
            let old = std::mem::replace(index, Expr::int(0));
            *index = f(old);
        }
    }
}

impl Statement {
    /// Does this statement run only where `producer` runs? True for unguarded producers, and where this one tests
    /// all that the producer tests, over the shared outer iterators.
    pub fn guard_covers(&self, producer: &Statement) -> bool {
        let own = self.guard.as_ref().map(Expr::conjuncts).unwrap_or_default();
        producer.guard.iter().flat_map(Expr::conjuncts).all(|g| own.contains(&g))
    }
}
