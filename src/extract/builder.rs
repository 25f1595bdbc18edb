//! The state of extraction: which expression gives each tensor's elements, and the statements so far.
//!
//! # Conventions
//!
//! `depth()` is the number `p` of host loops around the node being extracted (`Loop`, `Scan`, `LSTM`, ..).
//! Every statement's first `p` iterators are those loops; its own iterators follow, so operator code names its
//! own iterator `d` as [`Builder::iter`]`(d)`. Every array made at depth `p` has `p` leading dimensions, one
//! element per host iteration; [`Builder::load`] and the statement helpers add these subscripts themselves.
//!
//! A tensor is a [`View`]: an expression for one element, over the host iterators around the place where it was
//! bound (`Iter(0..prefix)`) and the tensor's own dimensions (`Iter(prefix..)`). Most views are a `Load`;
//! constants are literals and shapes are affine expressions. A view bound outside a loop stays valid inside it.

use super::names::Names;
use super::simplify::Ranges;
use super::varying::Varying;
use super::view;
use crate::graph::{Graph, TensorId};
use indexmap::IndexMap;
use sirius_polyhedral::{
    Access, Aff, Array, ArrayId, Band, BinaryOp, DType, Error, Expr, Mark, Node as ScheduleNode, Origin, ParamDef,
    ParamId, Program, Result, Role, Statement, StatementId, StatementKind,
};
use std::collections::HashMap;

/// One element of a tensor as an expression; see the module comment for its iterators.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub prefix: usize,
    pub value: Expr,
}

/// Own dimensions of a statement: name and extent.
pub type Dims = Vec<(String, Aff)>;

/// The host control flow around the nodes being extracted.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Name and extent (parameters only) of the enclosing host loops, outermost first.
    pub prefix: Dims,
    /// Condition over the host iterators under which everything here runs.
    pub guard: Option<Expr>,
    /// The schedule of the current body.
    pub roots: Vec<ScheduleNode>,
}

pub struct Builder<'g> {
    pub graph: &'g Graph,
    pub program: Program,
    pub scope: Scope,
    /// The node being extracted.
    pub origin: Origin,
    /// What runs before everything else.
    preamble: Vec<ScheduleNode>,
    /// Every node that could not be extracted.
    pub unsupported: Vec<Error>,
    /// Amounts that are no parameters of the program.
    pub varying: Varying,
    views: HashMap<TensorId, View>,
    /// For every array, how many leading dimensions are host loops.
    prefixes: Vec<usize>,
    names: Names,
}

impl<'g> Builder<'g> {
    /// A builder that knows the graph's inputs.
    pub fn new(graph: &'g Graph) -> Builder<'g> {
        let mut program = Program::default();
        program.name = graph.name.clone();
        program.params = graph.params.clone();
        let mut builder = Builder {
            graph,
            program,
            scope: Scope::default(),
            origin: Origin::default(),
            preamble: Vec::new(),
            unsupported: Vec::new(),
            varying: Varying::new(),
            views: HashMap::new(),
            prefixes: Vec::new(),
            names: Names::default(),
        };
        for (n, &input) in graph.main.inputs.iter().enumerate() {
            let tensor = graph.tensor(input);
            let id = builder.array(&tensor.name, tensor.dtype, tensor.shape.clone(), Role::Input(n));
            builder.bind_array(input, id);
            builder.program.inputs.push(id);
        }
        builder
    }

    /// Number of host loops around the current node.
    pub fn depth(&self) -> usize {
        self.scope.prefix.len()
    }

    pub fn shape(&self, tensor: TensorId) -> Vec<Aff> {
        self.graph.tensor(tensor).shape.clone()
    }

    pub fn dtype(&self, tensor: TensorId) -> DType {
        self.graph.tensor(tensor).dtype
    }

    /// Own iterator `d` of the current node's statements.
    pub fn iter(&self, d: usize) -> Expr {
        Expr::iter(self.depth() + d)
    }

    /// Own iterator `d` as an affine expression.
    pub fn aff(&self, d: usize) -> Aff {
        Aff::iter(self.depth() + d)
    }

    /// Own iterators `0..rank`: the subscripts of a tensor in a loop over all its elements.
    pub fn iters(&self, rank: usize) -> Vec<Expr> {
        (0..rank).map(|d| self.iter(d)).collect()
    }

    // ----- arrays and views ------------------------------------------------------------------------------

    fn array(&mut self, name: &str, dtype: DType, extents: Vec<Aff>, role: Role) -> ArrayId {
        let name = self.names.unique(name);
        let id = self.program.add_array(Array::new(name, dtype, extents, role));
        self.prefixes.push(0);
        id
    }

    /// A temporary with one copy of `extents` per iteration of the host loops around.
    pub fn temp(&mut self, name: &str, dtype: DType, extents: Vec<Aff>) -> ArrayId {
        let prefix: Vec<Aff> = self.scope.prefix.iter().map(|(_, e)| e.clone()).collect();
        let depth = prefix.len();
        let extents = extents.iter().map(|e| self.room(e)).collect::<Vec<_>>();
        let id = self.array(name, dtype, prefix.into_iter().chain(extents).collect(), Role::Temp);
        self.prefixes[id.0 as usize] = depth;
        id
    }

    /// A compile-time array, the same in every iteration of the host loops.
    pub fn constant(&mut self, name: &str, dtype: DType, extents: Vec<Aff>, bytes: Vec<u8>) -> ArrayId {
        let data = sirius_polyhedral::ConstantData::new(bytes);
        self.array(name, dtype, extents, Role::Constant(data))
    }

    /// The array that holds `tensor`, which the current node computes; registered as the tensor's view.
    pub fn define(&mut self, tensor: TensorId) -> ArrayId {
        let t = self.graph.tensor(tensor);
        let output = self.graph.main.outputs.iter().position(|o| *o == tensor);
        let outside = self.depth() == 0 && self.scope.guard.is_none();
        let id = match output.filter(|_| outside) {
            Some(n) => self.array(&t.name, t.dtype, t.shape.clone(), Role::Output(n)),
            None => self.temp(&t.name, t.dtype, t.shape.clone()),
        };
        self.bind_array(tensor, id);
        id
    }

    /// Makes `tensor` the whole of an array of the same shape (after the array's host dimensions).
    pub fn bind_array(&mut self, tensor: TensorId, array: ArrayId) {
        let value = self.load(array, self.iters(self.graph.tensor(tensor).rank()));
        self.views.insert(tensor, View { prefix: self.depth(), value });
    }

    /// Makes `tensor` a view: `value` gives the element at own iterators `0..rank`.
    pub fn bind(&mut self, tensor: TensorId, value: Expr) {
        let shape = self.shape(tensor);
        let value = self.simplify(value, &shape);
        self.views.insert(tensor, View { prefix: self.depth(), value });
    }

    /// Makes `tensor` a view of `source`: element `i` of `tensor` is element `index(i)` of `source`.
    pub fn alias(&mut self, tensor: TensorId, source: TensorId, index: &[Expr]) -> Result<()> {
        let value = self.read(source, index)?;
        self.bind(tensor, value);
        Ok(())
    }

    /// The view of a tensor; constants and shapes become views when first asked for.
    pub fn view(&mut self, tensor: TensorId) -> Result<View> {
        if let Some(found) = self.views.get(&tensor) {
            return Ok(found.clone());
        }
        let t = self.graph.tensor(tensor);
        let value = match (&t.symbolic, &t.constant) {
            (Some(elements), _) => view::symbolic(elements, &t.shape, t.dtype),
            (None, Some(data)) => match view::literal(t, data.bytes()) {
                Some(literal) => literal,
                None => {
                    let id = self.array(&t.name, t.dtype, t.shape.clone(), Role::Constant(data.clone()));
                    Expr::load(id, (0..t.rank()).map(Expr::iter).collect())
                }
            },
            (None, None) => {
                let message = format!("tensor \"{}\" is read before anything computes it", t.name);
                return Err(Error::bug("E300", message).at(&self.origin));
            }
        };
        let view = View { prefix: 0, value };
        self.views.insert(tensor, view.clone());
        Ok(view)
    }

    /// Element `index` of a tensor, as an expression of the current statement's iterators.
    pub fn read(&mut self, tensor: TensorId, index: &[Expr]) -> Result<Expr> {
        if let Some(element) = view::constant_element(self.graph.tensor(tensor), index) {
            return Ok(element);
        }
        let view = self.view(tensor)?;
        Ok(self.at(&view, index))
    }

    /// Element `index` of a view.
    pub fn at(&self, view: &View, index: &[Expr]) -> Expr {
        view.value.substitute(&|n: usize| match n.checked_sub(view.prefix) {
            None => Expr::iter(n),
            Some(d) => index.get(d).cloned().unwrap_or_else(|| Expr::int(0)),
        })
    }

    /// A view made here whose element at own iterators is `value`.
    pub fn view_of(&self, value: Expr) -> View {
        View { prefix: self.depth(), value }
    }

    /// Element `index` of an array; the subscripts of its host dimensions are added.
    pub fn load(&self, array: ArrayId, index: Vec<Expr>) -> Expr {
        Expr::Load(self.access(array, index))
    }

    fn access(&self, array: ArrayId, index: Vec<Expr>) -> Access {
        let host = self.prefixes.get(array.0 as usize).copied().unwrap_or(0);
        Access { array, index: (0..host).map(Expr::iter).chain(index).collect() }
    }

    /// Simplifies with own iterators inside `extents`.
    pub fn simplify(&self, value: Expr, extents: &[Aff]) -> Expr {
        let extents: Vec<Aff> = self.scope.prefix.iter().map(|(_, e)| e).chain(extents).cloned().collect();
        Ranges { params: &self.program.params, extents: &extents }.expr(value)
    }

    // ----- statements ------------------------------------------------------------------------------------

    /// Adds a statement over the host loops and `dims`, under the current guard. It still needs a place in
    /// the schedule: [`Builder::emit`].
    pub fn statement(
        &mut self,
        kind: StatementKind,
        dims: &[(String, Aff)],
        array: ArrayId,
        index: Vec<Expr>,
        value: Expr,
    ) -> StatementId {
        let own: Vec<Aff> = dims.iter().map(|(_, e)| e.clone()).collect();
        let mut target = self.access(array, index);
        target.index = target.index.into_iter().map(|e| self.plain(e, &own)).collect();
        let value = self.plain(value, &own);
        let rooms: Vec<Aff> = own.iter().map(|e| self.room(e)).collect();
        let names = self.scope.prefix.iter().chain(dims);
        let statement = Statement {
            dims: distinct(names.map(|(n, _)| n.as_str())),
            extents: self.scope.prefix.iter().map(|(_, e)| e.clone()).chain(rooms).collect(),
            constraints: Vec::new(),
            kind,
            target,
            value,
            guard: self.scope.guard.clone().map(|guard| self.settled(guard)),
            origin: self.origin.clone(),
        };
        let id = self.program.add_statement(statement);
        let below = |(d, extent): (usize, &Aff)| extent.clone() - 1.into() - self.aff(d);
        let limits: Vec<Aff> = own.iter().enumerate().filter(|(_, e)| self.varies(e)).map(below).collect();
        self.constrain(id, limits);
        id
    }

    /// Simplified, and without parameters that vary.
    fn plain(&self, value: Expr, own: &[Aff]) -> Expr {
        let value = self.simplify(value, own);
        if self.varying.is_empty() { value } else { self.simplify(self.settled(value), own) }
    }

    pub fn assign(&mut self, dims: &[(String, Aff)], array: ArrayId, index: Vec<Expr>, value: Expr) -> StatementId {
        self.statement(StatementKind::Assign, dims, array, index, value)
    }

    pub fn reduce(
        &mut self,
        op: BinaryOp,
        dims: &[(String, Aff)],
        array: ArrayId,
        index: Vec<Expr>,
        value: Expr,
    ) -> StatementId {
        self.statement(StatementKind::Reduce(op), dims, array, index, value)
    }

    /// `tensor[i] = value(i)` over the whole tensor, as one perfect nest.
    pub fn pointwise(&mut self, tensor: TensorId, value: Expr) -> ArrayId {
        let array = self.define(tensor);
        let shape = self.shape(tensor);
        let dims = dims("i", &shape);
        let index = self.iters(shape.len());
        let id = self.assign(&dims, array, index, value);
        self.emit_perfect(id, dims.len());
        array
    }

    // ----- schedule --------------------------------------------------------------------------------------

    /// Loops over own dimensions `from..to` around `body`, outermost first. All statements in the body have
    /// these dimensions at these positions.
    pub fn bands(&self, dims: std::ops::Range<usize>, body: Vec<ScheduleNode>) -> Vec<ScheduleNode> {
        dims.rev().fold(body, |body, d| vec![band(self.aff(d), body)])
    }

    /// Appends to the current body.
    pub fn emit(&mut self, nodes: Vec<ScheduleNode>) {
        self.scope.roots.extend(nodes);
    }

    /// Appends one statement in loops over its `rank` own dimensions.
    pub fn emit_perfect(&mut self, id: StatementId, rank: usize) {
        let nodes = self.bands(0..rank, vec![ScheduleNode::Leaf(id)]);
        self.emit(nodes);
    }

    // ----- host control flow -----------------------------------------------------------------------------

    /// Extracts `body` inside a host loop: its statements get one more leading iterator, and one sequential
    /// band around them all.
    pub fn in_loop<T>(&mut self, name: &str, extent: Aff, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let depth = self.depth();
        let outer = std::mem::take(&mut self.scope.roots);
        let (room, limit) = (self.room(&extent), self.varies(&extent).then(|| self.spelled(&extent)));
        self.scope.prefix.push((name.to_string(), room));
        let result = match limit {
            Some(limit) => self.in_branch(Expr::binary(BinaryOp::Lt, Expr::iter(depth), limit), body),
            None => body(self),
        };
        self.scope.prefix.pop();
        let inner = std::mem::replace(&mut self.scope.roots, outer);
        if !inner.is_empty() {
            self.scope.roots.push(band(Aff::iter(depth), inner));
        }
        result
    }

    /// Extracts `body` under a further condition over the host iterators.
    pub fn in_branch<T>(&mut self, condition: Expr, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = self.scope.guard.clone();
        self.scope.guard = Some(match outer.clone() {
            Some(guard) => Expr::binary(BinaryOp::And, guard, condition),
            None => condition,
        });
        let result = body(self);
        self.scope.guard = outer;
        result
    }

    /// Extracts `body` at the beginning of the program, outside of all loops and branches.
    pub fn before_all<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let here = std::mem::take(&mut self.scope);
        let result = body(self);
        self.preamble.append(&mut self.scope.roots);
        self.scope = here;
        result
    }

    // ----- the end ---------------------------------------------------------------------------------------

    /// The finished program: every graph output has an array of its own.
    pub fn finish(mut self) -> Result<Program> {
        for (n, &tensor) in self.graph.main.outputs.iter().enumerate() {
            let id = match self.output_array(n) {
                Some(id) => id,
                None => self.copy_output(n, tensor)?,
            };
            self.program.outputs.push(id);
        }
        self.program.schedule.roots = std::mem::take(&mut self.preamble);
        self.program.schedule.roots.append(&mut self.scope.roots);
        self.settle_counts()?;
        Ok(self.program)
    }

    /// A count that no statement computes, because nothing has the length that it gives, is the least that it can be.
    fn settle_counts(&mut self) -> Result<()> {
        let arrays: Vec<String> = self.program.arrays().map(|(_, a)| a.name.clone()).collect();
        let ids: Vec<_> = self.program.params.iter().map(|(id, _)| id).collect();
        for id in ids {
            let param = self.program.params.get(id);
            if !matches!(&param.def, ParamDef::Value { array } if !arrays.contains(array)) {
                continue;
            }
            if self.mentions(id) {
                let message =
                    format!("the length {} of what a loop collects is used, but not what it collects", param.name);
                return Err(
                    Error::unsupported("E310", message).help("make the collected values an output of the model")
                );
            }
            let least = Aff::constant(param.min);
            self.program.params.get_mut(id).def = ParamDef::Max(least.clone(), least);
        }
        Ok(())
    }

    /// Does an extent, a subscript or a value of the program follow from the parameter? What follows from it and is itself
    /// of no use (the shapes of what nobody reads) does not count.
    fn mentions(&self, id: ParamId) -> bool {
        let mut found = false;
        let mut look = |a: &Aff| found |= self.program.params.follows(a, &|p| p == id);
        self.program.arrays().flat_map(|(_, a)| &a.extents).for_each(&mut look);
        for (_, statement) in self.program.statements() {
            statement.extents.iter().chain(&statement.constraints).for_each(&mut look);
            statement.value.visit_affs(&mut look);
            statement.target.index.iter().for_each(|e| e.visit_affs(&mut look));
        }
        found
    }

    fn output_array(&self, n: usize) -> Option<ArrayId> {
        self.program.arrays().find(|(_, a)| a.role == Role::Output(n)).map(|(id, _)| id)
    }

    /// An output that is a view, an input, a constant or another output is copied.
    fn copy_output(&mut self, n: usize, tensor: TensorId) -> Result<ArrayId> {
        let t = self.graph.tensor(tensor);
        let (shape, name) = (t.shape.clone(), t.name.clone());
        self.origin = Origin { node: name.clone(), op: "Output".into() };
        let index = self.iters(shape.len());
        let value = self.read(tensor, &index)?;
        let array = self.array(&name, t.dtype, shape.clone(), Role::Output(n));
        let dims = dims("i", &shape);
        let id = self.assign(&dims, array, index, value);
        self.emit_perfect(id, dims.len());
        Ok(array)
    }
}

/// Dimensions named `i0`, `i1`, .. with the given extents.
pub fn dims(name: &str, extents: &[Aff]) -> Dims {
    extents.iter().enumerate().map(|(d, e)| (format!("{name}{d}"), e.clone())).collect()
}

/// Dimensions with names of their own.
pub fn named_dims(names: &[&str], extents: &[Aff]) -> Dims {
    names.iter().zip(extents).map(|(n, e)| (n.to_string(), e.clone())).collect()
}

pub fn leaf(id: StatementId) -> ScheduleNode {
    ScheduleNode::Leaf(id)
}

/// A sequential loop around `body` whose value is `member` in every statement.
fn band(member: Aff, body: Vec<ScheduleNode>) -> ScheduleNode {
    let ids = body.iter().flat_map(|n| n.statements());
    let members: IndexMap<StatementId, Aff> = ids.map(|id| (id, member.clone())).collect();
    ScheduleNode::Band(Band { members, mark: Mark::Seq, body })
}

/// Iterator names made different by a number where they repeat (nested loops of the same kind).
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for name in names {
        let mut candidate = name.to_string();
        let mut n = 2;
        while out.contains(&candidate) {
            candidate = format!("{name}_{n}");
            n += 1;
        }
        out.push(candidate);
    }
    out
}
