//! Builds the group: blocks of rows, inside them blocks of keys, inside those one nest per step.

mod moved;
mod space;

use super::find::{Cluster, Reduction, Role, Sum};
use super::rule::{Factor, product};
use crate::aff::Aff;
use crate::cost::online::Blocks;
use crate::dtype::DType;
use crate::error::Origin;
use crate::expr::{Access, BinaryOp, Expr};
use crate::program::{
    Array, ArrayId, Online, Program, Renaming, Role as ArrayRole, Running, Statement, StatementId, StatementKind,
};
use crate::schedule_tree::{Band, Mark, Node};
use crate::transform;
use space::{Frame, Level, Space, named};
use std::collections::BTreeMap;

/// Makes the nest that replaces the statements of the cluster; they are gone from the tree afterwards. `None`, with the
/// program half changed, where a nest that should move is not as expected.
pub fn rewrite(program: &mut Program, cluster: &Cluster, blocks: Blocks) -> Option<Node> {
    let mut builder = Builder::new(program, cluster, blocks);
    let moved = builder.move_nests()?;
    builder.run(moved)
}

/// Makes the statements of the group.
struct Builder<'p> {
    program: &'p mut Program,
    cluster: &'p Cluster,
    space: Space<'p>,
    /// The statement of the extreme as it was.
    like: Statement,
    /// On whose behalf statements are added.
    origin: Origin,
    dtype: DType,
    /// Statements inside the loop over keys, and outside.
    inside: Vec<StatementId>,
    outside: Vec<StatementId>,
}

impl<'p> Builder<'p> {
    fn new(program: &'p mut Program, cluster: &'p Cluster, blocks: Blocks) -> Builder<'p> {
        let space = Space::new(program, cluster, blocks);
        let like = program.statement(cluster.extreme.reduce).clone();
        let dtype = program.array(cluster.extreme.array).dtype;
        let origin = like.origin.clone();
        Builder { program, cluster, space, like, origin, dtype, inside: vec![], outside: vec![] }
    }

    fn run(mut self, moved: Vec<Node>) -> Option<Node> {
        let cluster = self.cluster;
        let mut parts = Parts { first: vec![], body: moved, last: vec![] };
        let (growing, mut extreme) = self.extreme(&mut parts);
        if cluster.extreme_is_read(self.program) {
            let clear = self.program.statement(cluster.extreme.clear).clone();
            let rows: Vec<usize> = clear.target.index.iter().filter_map(as_iter).collect();
            let id = self.finish(&clear, &rows, &[], &|b, _, _| b.at_end(growing.extreme, &[]), &mut parts);
            extreme.finish = Some(id);
        }
        let (array, terms) = self.terms(&growing, &mut parts.body);
        let sums = cluster.sums.iter().map(|sum| self.sum(sum, &growing, array, &mut parts)).collect();
        let [shift, factor] = growing.statements;
        self.program.history.online.push(Online { extreme, shift, factor, terms, sums });
        let replaced = cluster.statements().into_iter().filter(|id| !cluster.moved.contains_key(id));
        replaced.for_each(|id| self.program.remove_statement(id));
        let keys = Node::Band(self.band(&self.inside, self.space.block_at(), parts.body));
        let body: Vec<Node> = parts.first.into_iter().chain([keys]).chain(parts.last).collect();
        let all: Vec<StatementId> = self.inside.iter().chain(&self.outside).copied().collect();
        let rows = (0..self.space.rows()).rev();
        rows.fold(body, |body, r| vec![Node::Band(self.band(&all, r, body))]).pop()
    }

    // ---- arrays and statements --------------------------------------------------------------------------

    fn temp(&mut self, of: ArrayId, what: &str, extents: Vec<Aff>) -> ArrayId {
        let wanted = format!("{}_{what}", self.program.array(of).name);
        let name = transform::unused_name(self.program, &wanted);
        self.program.add_array(Array::new(name, self.dtype, extents, ArrayRole::Temp))
    }

    /// An assignment over rows, blocks of keys if it is inside their loop, and `free` iterators.
    fn add(&mut self, level: Level, free: Vec<(String, Aff)>, target: Access, value: Expr) -> StatementId {
        let (dims, extents) = self.space.dims(level).into_iter().chain(free).unzip();
        let (constraints, kind) = (self.space.row_constraint(), StatementKind::Assign);
        let origin = self.origin.clone();
        let statement = Statement { dims, extents, constraints, kind, target, value, guard: None, origin };
        self.push(level, statement)
    }

    /// The new form of an old statement inside the loop over keys.
    fn add_placed(&mut self, of: (StatementId, &Statement), frame: Frame, target: Access, value: Expr) -> StatementId {
        let (dims, extents) = frame.dims.into_iter().unzip();
        let (was, old) = of;
        let statement = Statement { dims, extents, constraints: frame.constraints, target, value, ..old.clone() };
        let statement = self.push(Level::Keys, statement);
        self.program.history.renamings.push(Renaming::Taken { statement, was, values: frame.map });
        statement
    }

    fn push(&mut self, level: Level, mut statement: Statement) -> StatementId {
        transform::simplify(&mut statement, &self.program.params);
        let id = self.program.add_statement(statement);
        self.list(level).push(id);
        id
    }

    fn list(&mut self, level: Level) -> &mut Vec<StatementId> {
        if level == Level::Keys { &mut self.inside } else { &mut self.outside }
    }

    // ---- loops ------------------------------------------------------------------------------------------

    fn band(&self, statements: &[StatementId], iterator: usize, body: Vec<Node>) -> Band {
        let members = statements.iter().map(|s| (*s, Aff::iter(iterator))).collect();
        Band { members, mark: Mark::Seq, body }
    }

    /// Loops over the rows of a block and `free` further iterators around statements, the reductions among them in loops
    /// over their other iterators.
    fn nest(&self, level: Level, free: usize, statements: &[StatementId]) -> Node {
        let from = self.space.free(level);
        let leaf = |s: &StatementId| {
            let dims = self.program.statement(*s).extents.len();
            Node::loops_of(*s, from + free, dims)
        };
        let body: Vec<Node> = statements.iter().flat_map(leaf).collect();
        let loops = [self.space.inner()].into_iter().chain(from..from + free);
        let around = loops.rev().fold(body, |body, d| vec![Node::Band(self.band(statements, d, body))]);
        // There is always the loop over rows.
        around.into_iter().next().unwrap_or(Node::Leaf(statements[0]))
    }

    // ---- the extreme --------------------------------------------------------------------------------------

    /// `running[0] = unit`, and for every block `b`: the block's own extreme, `running[b + 1]` of both, what to subtract
    /// in this block, and the factor for the sums of those before.
    fn extreme(&mut self, parts: &mut Parts) -> (Growing, Running) {
        let (rule, array, dtype) = (self.cluster.rule, self.cluster.extreme.array, self.dtype);
        let (extreme, start) = self.running(array, &[], Expr::literal(rule.unit, dtype), parts);
        let element = self.like.value.clone();
        let (own, [clear, reduce]) = self.partial(&self.cluster.extreme, &[], &|_, _, renamed| renamed(&element));
        let (before, after) = (self.plane(extreme, 0, 0), self.plane(extreme, 1, 0));
        let both = Expr::binary(rule.extreme, Expr::Load(before.clone()), Expr::Load(own));
        let step = self.add(Level::Keys, vec![], after.clone(), both);
        let (shift, shift_id) = self.per_block(array, "shift", rule.finite(Expr::Load(after), dtype));
        let scale = rule.term(Expr::Load(before), Expr::Load(shift.clone()));
        let (factor, factor_id) = self.per_block(array, "factor", scale);
        parts.body.push(self.nest(Level::Keys, 0, &[clear, reduce, step, shift_id, factor_id]));
        let running = Running { start, clear, reduce, step, finish: None };
        (Growing { extreme, shift, factor, statements: [shift_id, factor_id] }, running)
    }

    /// A value for every row and block of keys.
    fn per_block(&mut self, of: ArrayId, what: &str, value: Expr) -> (Access, StatementId) {
        let extents = self.space.row_extents().into_iter().chain([self.space.key_blocks()]).collect();
        let array = self.temp(of, what, extents);
        let index = self.space.row_index().into_iter().chain([Expr::iter(self.space.block_at())]).collect();
        let access = Access { array, index };
        let id = self.add(Level::Keys, vec![], access.clone(), value);
        (access, id)
    }

    /// An array with a plane for every number of blocks done, and the statement that sets the first.
    fn running(
        &mut self,
        of: ArrayId,
        free: &[(String, Aff)],
        start: Expr,
        parts: &mut Parts,
    ) -> (ArrayId, StatementId) {
        let planes = self.space.key_blocks() + Aff::constant(1);
        let own = free.iter().map(|(_, e)| e.clone());
        let extents = [planes].into_iter().chain(self.space.row_extents()).chain(own).collect();
        let array = self.temp(of, "running", extents);
        let from = self.space.free(Level::Rows);
        let index = [Expr::int(0)]
            .into_iter()
            .chain(self.space.row_index())
            .chain((0..free.len()).map(|d| Expr::iter(from + d)));
        let target = Access { array, index: index.collect() };
        let id = self.add(Level::Rows, free.to_vec(), target, start);
        parts.first.push(self.nest(Level::Rows, free.len(), &[id]));
        (array, id)
    }

    /// The running value `ahead` of block `b`, in a statement of that block.
    fn plane(&self, array: ArrayId, ahead: i64, free: usize) -> Access {
        let from = self.space.free(Level::Keys);
        let plane = Expr::Index(Aff::iter(self.space.block_at()) + Aff::constant(ahead));
        let own = (from..from + free).map(Expr::iter);
        Access { array, index: [plane].into_iter().chain(self.space.row_index()).chain(own).collect() }
    }

    /// The running value after the last block, for rows and `free` subscripts of a statement outside the loop over keys.
    fn at_end(&self, array: ArrayId, free: &[Expr]) -> Expr {
        let plane = Expr::Index(self.space.key_blocks());
        Expr::load(array, [plane].into_iter().chain(self.space.row_index()).chain(free.iter().cloned()).collect())
    }

    /// The reduction over the keys of one block alone: its element, and the two statements. `value` gets the iterator of
    /// the key inside its block, and what brings expressions of the old statement to the iterators of the new one.
    fn partial(
        &mut self,
        of: &Reduction,
        free: &[usize],
        value: &dyn Fn(&Self, usize, Renamed) -> Expr,
    ) -> (Access, [StatementId; 2]) {
        let old = self.program.statement(of.reduce).clone();
        let dims = named(&old, free);
        let own = dims.iter().map(|(_, e)| e.clone());
        let extents = self.space.row_extents().into_iter().chain([self.space.key_blocks()]).chain(own).collect();
        let array = self.temp(of.array, "block", extents);
        let from = self.space.free(Level::Keys);
        let places = [self.space.block_at()].into_iter().chain(from..from + free.len());
        let target =
            Access { array, index: self.space.row_index().into_iter().chain(places.map(Expr::iter)).collect() };
        let unit = self.program.statement(of.clear).value.clone();
        let clear = self.add(Level::Keys, dims, target.clone(), unit);
        let others = (0..old.extents.len()).filter(|d| of.place.role(*d) == Role::Other && !free.contains(d));
        let order: Vec<usize> = free.iter().copied().chain([of.place.key]).chain(others).collect();
        let frame = self.space.frame(&old, &of.place, &order);
        let value = value(self, frame.key, &|e| self.space.renamed(e, &frame));
        let reduce = self.add_placed((of.reduce, &old), frame, target.clone(), value);
        (target, [clear, reduce])
    }

    // ---- the sums -----------------------------------------------------------------------------------------

    /// `f(x, m)` for all rows and keys of a block: what the sums share.
    fn terms(&mut self, growing: &Growing, body: &mut Vec<Node>) -> (ArrayId, StatementId) {
        let of = &self.cluster.extreme;
        let inner = [self.space.key_blocks(), Aff::constant(self.space.blocks.keys)];
        let extents = self.space.row_extents().into_iter().chain(inner).collect();
        let array = self.temp(of.array, "terms", extents);
        let old = Statement { kind: StatementKind::Assign, ..self.like.clone() };
        let frame = self.space.frame(&old, &of.place, &[of.place.key]);
        let element = self.space.renamed(&old.value, &frame);
        let value = self.cluster.rule.term(element, Expr::Load(growing.shift.clone()));
        let target = self.term(array, frame.key);
        let id = self.add_placed((of.reduce, &old), frame, target, value);
        body.push(self.nest(Level::Keys, 1, &[id]));
        (array, id)
    }

    fn term(&self, array: ArrayId, key: usize) -> Access {
        let own = [self.space.block_at(), key].into_iter().map(Expr::iter);
        Access { array, index: self.space.row_index().into_iter().chain(own).collect() }
    }

    /// The sum of a block, the running sum, and the result.
    fn sum(&mut self, sum: &Sum, growing: &Growing, terms: ArrayId, parts: &mut Parts) -> Running {
        let old = self.program.statement(sum.of.reduce).clone();
        self.origin = old.origin.clone();
        let rows = &sum.of.place.rows;
        let free: Vec<usize> = old.target.index.iter().filter_map(as_iter).filter(|d| !rows.contains(d)).collect();
        let dims = named(&old, &free);
        let (total, start) = self.running(sum.of.array, &dims, Expr::literal(0.0, self.dtype), parts);
        let (own, [clear, reduce]) = self.partial(&sum.of, &free, &|builder, key, renamed| {
            let factors: Vec<Factor> = sum.inner.iter().map(|f| f.map(renamed)).collect();
            product(Expr::Load(builder.term(terms, key)), &factors)
        });
        let (before, after) = (self.plane(total, 0, free.len()), self.plane(total, 1, free.len()));
        let scaled = Expr::binary(BinaryOp::Mul, Expr::Load(before), Expr::Load(growing.factor.clone()));
        let value = Expr::binary(BinaryOp::Add, scaled, Expr::Load(own));
        let step = self.add(Level::Keys, dims, after, value);
        parts.body.push(self.nest(Level::Keys, free.len(), &[clear, reduce, step]));
        let complete = |builder: &Self, places: &[Expr], renamed: Renamed| {
            let (total, extreme) = (builder.at_end(total, places), builder.at_end(growing.extreme, &[]));
            let factors: Vec<Factor> = sum.outer.iter().map(|f| f.map(renamed)).collect();
            product(builder.cluster.rule.complete(total, extreme, builder.dtype), &factors)
        };
        let finish = Some(self.finish(&old, rows, &free, &complete, parts));
        Running { start, clear, reduce, step, finish }
    }

    /// What statements outside the group read: all elements of `old`'s target, whose iterators are rows and `free` ones.
    /// `value` gets the latter, and what brings expressions of the old statement to the iterators of the new one.
    fn finish(
        &mut self,
        old: &Statement,
        rows: &[usize],
        free: &[usize],
        value: &dyn Fn(&Self, &[Expr], Renamed) -> Expr,
        parts: &mut Parts,
    ) -> StatementId {
        let from = self.space.free(Level::Rows);
        let map: BTreeMap<usize, Aff> = (rows.iter().enumerate().map(|(r, d)| (*d, self.space.old_row(r))))
            .chain(free.iter().enumerate().map(|(n, d)| (*d, Aff::iter(from + n))))
            .collect();
        let renamed = |e: &Expr| e.substitute_aff(&|d| map.get(&d).cloned().unwrap_or_default());
        let places: Vec<Expr> = (from..from + free.len()).map(Expr::iter).collect();
        let value = value(self, &places, &renamed);
        let index = old.target.index.iter().map(renamed).collect();
        let target = Access { array: old.target.array, index };
        let id = self.add(Level::Rows, named(old, free), target, value);
        parts.last.push(self.nest(Level::Rows, free.len(), &[id]));
        id
    }
}

/// Brings an expression of an old statement to the iterators of a new one.
type Renamed<'r> = &'r dyn Fn(&Expr) -> Expr;

/// The nests of the group, in their order: once for a block of rows, for every block of keys, once again.
struct Parts {
    first: Vec<Node>,
    body: Vec<Node>,
    last: Vec<Node>,
}

/// What the sums need of the extreme.
struct Growing {
    /// The array with a plane for every number of blocks done.
    extreme: ArrayId,
    /// What is subtracted from the elements of a block.
    shift: Access,
    /// What the sums of the blocks before are multiplied with.
    factor: Access,
    /// What computes these two.
    statements: [StatementId; 2],
}

fn as_iter(index: &Expr) -> Option<usize> {
    index.as_aff()?.as_iter()
}
