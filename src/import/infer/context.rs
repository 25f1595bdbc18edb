//! The state of one inference attempt.

use super::amounts::Producers;
use super::assume::{Fact, Known, Range, intersect};
use super::sequence::Composite;
use crate::graph::{Graph, TensorId};
use crate::import::Limits;
use sirius_polyhedral::{Aff, DType, Error, ParamDef, ParamId};
use std::collections::HashMap;

/// Why an attempt ends early.
pub enum Stop {
    /// A fact is needed that does not hold yet.
    Restart(Fact),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

pub type Step<T = ()> = Result<T, Stop>;

/// What is known about a tensor so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not inferred yet.
    Open,
    Known,
    /// Its producer is unsupported (already reported); nothing that follows from it is.
    Failed,
    /// A sequence or optional, which has no tensor.
    Composite,
}

pub struct Context<'a> {
    pub graph: Graph,
    /// As the file has it: nothing inferred, all nodes in place.
    pub draft: &'a Graph,
    pub known: &'a Known,
    pub limits: &'a Limits,
    /// By tensor id.
    pub states: Vec<State>,
    /// Tensors that are another one by `Identity` or an inlined branch.
    pub aliases: HashMap<TensorId, TensorId>,
    /// The values of sequences and optionals.
    pub composites: HashMap<TensorId, Composite>,
    /// Bool scalars that are `difference == 0`, where that cannot be decided; negated ones with `false`.
    pub conditions: HashMap<TensorId, (Aff, bool)>,
    /// Contents of small float tensors that are whole numbers, such as a size after `Cast`.
    pub wholes: HashMap<TensorId, Vec<Aff>>,
    /// Pairs of extents that must be equal and that only the run can compare, for `agree` to settle.
    pub unequal: Vec<(Aff, Aff)>,
    /// By branch of an undecided `If`: what must not be negative where it runs.
    pub needs: HashMap<String, Vec<Aff>>,
    /// Unsupported nodes, all to be reported together.
    pub problems: Vec<Error>,
    /// Dimensions of inputs that the file declares as 0: an empty tensor, or "any".
    pub zeros: Vec<String>,
    /// The graph's inputs, and what its tensors follow from.
    pub inputs: Vec<TensorId>,
    pub producers: Producers,
    /// Branches of undecided `If`s that enclose the current node.
    pub branches: Vec<String>,
    /// Ranges of parameters in force inside those branches.
    ranges: Vec<HashMap<ParamId, Range>>,
}

impl<'a> Context<'a> {
    pub fn new(draft: &'a Graph, known: &'a Known, limits: &'a Limits) -> Context<'a> {
        let is_known = |t: &crate::graph::Tensor| if t.constant.is_some() { State::Known } else { State::Open };
        let graph = draft.clone();
        let states = graph.tensors.iter().map(is_known).collect();
        Context {
            inputs: graph.main.inputs.clone(),
            producers: Producers::of(&graph),
            graph,
            draft,
            known,
            limits,
            states,
            aliases: HashMap::new(),
            composites: HashMap::new(),
            conditions: HashMap::new(),
            wholes: HashMap::new(),
            unequal: Vec::new(),
            needs: HashMap::new(),
            problems: Vec::new(),
            zeros: Vec::new(),
            branches: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// The tensor that `id` stands for.
    pub fn root(&self, mut id: TensorId) -> TensorId {
        while let Some(&next) = self.aliases.get(&id) {
            id = next;
        }
        id
    }

    pub fn state(&self, id: TensorId) -> State {
        self.states.get(id.0 as usize).copied().unwrap_or(State::Open)
    }

    pub fn fail(&mut self, id: TensorId) {
        self.states[id.0 as usize] = State::Failed;
    }

    /// Records type and shape of a tensor.
    pub fn set_tensor(&mut self, id: TensorId, dtype: DType, shape: Vec<Aff>) -> Step {
        let shape: Vec<Aff> = shape.iter().map(|a| self.simplify(a)).collect();
        shape.iter().try_for_each(|extent| self.check_extent(extent))?;
        self.check_size(&shape, dtype)?;
        let tensor = self.graph.tensor_mut(id);
        tensor.dtype = dtype;
        tensor.shape = shape;
        tensor.symbolic = None;
        self.states[id.0 as usize] = State::Known;
        Ok(())
    }

    /// Sizes are kept far from overflow, so that no later stage has to check its products. Symbolic
    /// dimensions count as their smallest value.
    fn check_size(&self, shape: &[Aff], dtype: DType) -> Step {
        let mut bytes = dtype.size() as i64;
        for dim in shape {
            let (low, high) = self.range(dim);
            if high.is_some_and(|h| h < 0) {
                let message = format!("a dimension would be negative: [{}]", self.show_shape(shape));
                return Err(Error::invalid("E113", message).into());
            }
            let least = low.unwrap_or(1).max(1);
            let known = bytes.checked_mul(least).filter(|&b| b <= self.limits.tensor_bytes);
            bytes = known.ok_or_else(|| {
                let limit = self.limits.tensor_bytes >> 30;
                let message = format!("a tensor of shape [{}] has more than {limit} GiB", self.show_shape(shape));
                Error::invalid("E102", message)
            })?;
            let huge = |v: i64| v.unsigned_abs() > 1 << 48;
            if huge(dim.offset()) || dim.terms().iter().any(|(_, c)| huge(*c)) {
                return Err(Error::invalid("E102", "a dimension has an absurdly large coefficient").into());
            }
        }
        Ok(())
    }

    pub fn show(&self, aff: &Aff) -> String {
        aff.display(&|p| self.graph.params.get(p).name.clone(), &|n| format!("i{n}"))
    }

    pub fn show_shape(&self, shape: &[Aff]) -> String {
        shape.iter().map(|a| self.show(a)).collect::<Vec<_>>().join(", ")
    }

    /// Bounds of a parameter here. Derived ones also follow from their definition.
    pub fn param_range(&self, id: ParamId) -> Range {
        let param = self.graph.params.get(id);
        let declared = ((param.min > i64::MIN).then_some(param.min), param.max);
        let scoped = self.ranges.iter().rev().find_map(|scope| scope.get(&id)).copied().unwrap_or_default();
        let range = intersect(declared, scoped);
        if self.ranges.is_empty() { range } else { intersect(range, self.definition_range(&param.def)) }
    }

    pub fn definition_range(&self, def: &ParamDef) -> Range {
        match def {
            ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => (None, None),
            ParamDef::Mul(a, b) => product_range(self.range(a), self.range(b)),
            ParamDef::FloorDiv(a, b) => quotient_range(self.range(a), self.range(b)),
            ParamDef::Max(a, b) => {
                let ((al, ah), (bl, bh)) = (self.range(a), self.range(b));
                ([al, bl].into_iter().flatten().max(), ah.zip(bh).map(|(x, y)| x.max(y)))
            }
            ParamDef::Min(a, b) => {
                let ((al, ah), (bl, bh)) = (self.range(a), self.range(b));
                (al.zip(bl).map(|(x, y)| x.min(y)), [ah, bh].into_iter().flatten().min())
            }
        }
    }

    /// Bounds of an expression.
    pub fn range(&self, aff: &Aff) -> Range {
        aff.bounds(&|p| self.param_range(p), &|_| (None, None))
    }

    pub fn simplify(&self, aff: &Aff) -> Aff {
        let simple = aff.simplify(&|p| self.param_range(p), &|_| (None, None));
        match self.range(&simple) {
            (Some(low), Some(high)) if low == high => Aff::constant(low),
            _ => simple,
        }
    }

    /// Runs `inside` as the branch `key`: the facts of that branch hold, and new ones are recorded there.
    pub fn in_branch<T>(&mut self, key: &str, inside: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        self.branches.push(key.to_string());
        self.apply_ranges(Some(key));
        let result = inside(self);
        self.ranges.pop();
        self.branches.pop();
        result
    }

    /// Puts the known ranges in force: in the parameter table, or in the scope of a branch.
    pub fn apply_ranges(&mut self, branch: Option<&str>) {
        let mut scope = HashMap::new();
        for (name, range) in self.known.ranges(branch) {
            let Some(id) = self.graph.params.find(name) else { continue };
            if branch.is_some() {
                scope.insert(id, intersect(range, self.param_range(id)));
                continue;
            }
            let param = self.graph.params.get_mut(id);
            param.min = range.0.map_or(param.min, |low| low.max(param.min));
            param.max = [param.max, range.1].into_iter().flatten().min();
            param.hint = param.hint.clamp(param.min, param.max.unwrap_or(i64::MAX).max(param.min));
        }
        if branch.is_some() {
            self.ranges.push(scope);
        }
    }
}

fn product_range(a: Range, b: Range) -> Range {
    match (a, b) {
        ((Some(al), ah), (Some(bl), bh)) if al >= 0 && bl >= 0 => {
            (al.checked_mul(bl), ah.zip(bh).and_then(|(x, y)| x.checked_mul(y)))
        }
        _ => (None, None),
    }
}

/// Divisors are positive.
fn quotient_range(a: Range, b: Range) -> Range {
    match (a, b.0.map(|low| low.max(1))) {
        ((Some(al), ah), Some(bl)) if al >= 0 => (Some(0), ah.map(|h| h / bl)),
        _ => (None, None),
    }
}
