//! Builds the group: blocks of rows, inside them blocks of keys, inside those one nest per step.

use super::find::{Cluster, Place, Reduction, Role, Sum};
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
use std::collections::BTreeMap;

/// Makes the nest that replaces the statements of the cluster; they are gone from the tree afterwards. `None`, with the
/// program half changed, where a nest that should move is not as expected.
pub fn rewrite(program: &mut Program, cluster: &Cluster, blocks: Blocks) -> Option<Node> {
    let mut builder = Builder::new(program, cluster, blocks);
    let moved = builder.move_nests()?;
    builder.run(moved)
}

/// Makes the statements of the group. Their iterators: the rows, of the last one the blocks; at `inner` the rows of a
/// block; at `block_at` the blocks of keys, where the statement is inside their loop; then the others.
struct Builder<'p> {
    program: &'p mut Program,
    cluster: &'p Cluster,
    blocks: Blocks,
    /// The statement of the extreme as it was.
    like: Statement,
    /// On whose behalf statements are added.
    origin: Origin,
    dtype: DType,
    /// Extents of rows and key.
    rows: Vec<Aff>,
    key: Aff,
    /// Statements inside the loop over keys, and outside.
    inside: Vec<StatementId>,
    outside: Vec<StatementId>,
}

/// Which part of the group a statement belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Once for every block of rows.
    Rows,
    /// Once for every block of keys.
    Keys,
}

impl<'p> Builder<'p> {
    fn new(program: &'p mut Program, cluster: &'p Cluster, blocks: Blocks) -> Builder<'p> {
        let like = program.statement(cluster.extreme.reduce).clone();
        let place = &cluster.extreme.place;
        let rows = place.rows.iter().map(|d| like.extents[*d].clone()).collect();
        let key = like.extents[place.key].clone();
        let dtype = program.array(cluster.extreme.array).dtype;
        let origin = like.origin.clone();
        Builder { program, cluster, blocks, like, origin, dtype, rows, key, inside: vec![], outside: vec![] }
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
        let keys = Node::Band(self.band(&self.inside, self.block_at(), parts.body));
        let body: Vec<Node> = parts.first.into_iter().chain([keys]).chain(parts.last).collect();
        let all: Vec<StatementId> = self.inside.iter().chain(&self.outside).copied().collect();
        let rows = (0..self.rows.len()).rev();
        rows.fold(body, |body, r| vec![Node::Band(self.band(&all, r, body))]).pop()
    }

    // ---- iterators and arrays ---------------------------------------------------------------------------

    fn last_row(&self) -> usize {
        self.rows.len() - 1
    }

    fn inner(&self) -> usize {
        self.rows.len()
    }

    fn block_at(&self) -> usize {
        self.rows.len() + 1
    }

    /// The first iterator behind rows and blocks.
    fn free(&self, level: Level) -> usize {
        self.rows.len() + if level == Level::Keys { 2 } else { 1 }
    }

    fn row_blocks(&self) -> Aff {
        count(&self.rows[self.last_row()], self.blocks.rows)
    }

    fn key_blocks(&self) -> Aff {
        count(&self.key, self.blocks.keys)
    }

    /// Extents of the rows as arrays of the group have them: blocks of the last row, rows of a block.
    fn row_extents(&self) -> Vec<Aff> {
        let outer = self.rows[..self.last_row()].iter().cloned();
        outer.chain([self.row_blocks(), Aff::constant(self.blocks.rows)]).collect()
    }

    /// The rows as subscripts of such arrays.
    fn row_index(&self) -> Vec<Expr> {
        (0..=self.inner()).map(Expr::iter).collect()
    }

    /// What row number `r` was.
    fn old_row(&self, r: usize) -> Aff {
        if r == self.last_row() { Aff::iter(r) * self.blocks.rows + Aff::iter(self.inner()) } else { Aff::iter(r) }
    }

    fn temp(&mut self, of: ArrayId, what: &str, extents: Vec<Aff>) -> ArrayId {
        let wanted = format!("{}_{what}", self.program.array(of).name);
        let name = transform::unused_name(self.program, &wanted);
        self.program.add_array(Array::new(name, self.dtype, extents, ArrayRole::Temp))
    }

    /// An assignment over rows, blocks of keys if it is inside their loop, and `free` iterators.
    fn add(&mut self, level: Level, free: Vec<(String, Aff)>, target: Access, value: Expr) -> StatementId {
        let (dims, extents) = self.dims(level).into_iter().chain(free).unzip();
        let (constraints, kind) = (self.row_constraint(), StatementKind::Assign);
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

    fn dims(&self, level: Level) -> Vec<(String, Aff)> {
        let place = &self.cluster.extreme.place;
        let name = |d: usize| self.like.dims[d].clone();
        let mut out: Vec<(String, Aff)> = place.rows.iter().map(|d| name(*d)).zip(self.row_extents()).collect();
        let row = name(place.rows[self.last_row()]);
        out.push((format!("{row}_in"), Aff::constant(self.blocks.rows)));
        if level == Level::Keys {
            out.push((name(place.key), self.key_blocks()));
        }
        out
    }

    /// No rows beyond the last one.
    fn row_constraint(&self) -> Vec<Aff> {
        let last = self.last_row();
        beyond(&self.rows[last], self.blocks.rows, last, self.inner()).into_iter().collect()
    }

    /// Iterators for an old statement: rows, blocks of keys, and then `order` of its old ones, of which the key becomes the
    /// key inside a block.
    fn frame(&self, old: &Statement, place: &Place, order: &[usize]) -> Frame {
        let free = self.free(Level::Keys);
        let key = free + order.iter().position(|d| *d == place.key).unwrap_or(0);
        let mut map = vec![Aff::default(); old.extents.len()];
        place.rows.iter().enumerate().for_each(|(r, d)| map[*d] = self.old_row(r));
        order.iter().enumerate().for_each(|(n, d)| map[*d] = Aff::iter(free + n));
        map[place.key] = Aff::iter(self.block_at()) * self.blocks.keys + Aff::iter(key);
        let mut own = named(old, order);
        own[key - free] = (format!("{}_in", old.dims[place.key]), Aff::constant(self.blocks.keys));
        let mut constraints = self.row_constraint();
        constraints.extend(beyond(&self.key, self.blocks.keys, self.block_at(), key));
        let dims = self.dims(Level::Keys).into_iter().chain(own).collect();
        Frame { dims, constraints, map, key }
    }

    /// An expression of an old statement in the new one.
    fn renamed(&self, e: &Expr, frame: &Frame) -> Expr {
        e.substitute_aff(&|d| frame.map[d].clone()).rewrite(&mut |e| match e {
            Expr::Load(access) => Expr::Load(self.in_blocks(access, frame.key)),
            other => other,
        })
    }

    /// Arrays that move have blocks and places in blocks as subscripts.
    fn in_blocks(&self, access: Access, key: usize) -> Access {
        let Some(roles) = self.cluster.inside.get(&access.array) else { return access };
        let split = |(index, role): (Expr, &Role)| match role {
            Role::Row(r) if *r == self.last_row() => vec![Expr::iter(*r), Expr::iter(self.inner())],
            Role::Key => vec![Expr::iter(self.block_at()), Expr::iter(key)],
            _ => vec![index],
        };
        Access { array: access.array, index: access.index.into_iter().zip(roles).flat_map(split).collect() }
    }

    // ---- loops ------------------------------------------------------------------------------------------

    fn band(&self, statements: &[StatementId], iterator: usize, body: Vec<Node>) -> Band {
        let members = statements.iter().map(|s| (*s, Aff::iter(iterator))).collect();
        Band { members, mark: Mark::Seq, body }
    }

    /// Loops over the rows of a block and `free` further iterators around statements, the reductions among them in loops
    /// over their other iterators.
    fn nest(&self, level: Level, free: usize, statements: &[StatementId]) -> Node {
        let from = self.free(level);
        let leaf = |s: &StatementId| {
            let dims = self.program.statement(*s).extents.len();
            Node::loops_of(*s, from + free, dims)
        };
        let body: Vec<Node> = statements.iter().flat_map(leaf).collect();
        let loops = [self.inner()].into_iter().chain(from..from + free);
        let around = loops.rev().fold(body, |body, d| vec![Node::Band(self.band(statements, d, body))]);
        // There is always the loop over rows.
        around.into_iter().next().unwrap_or(Node::Leaf(statements[0]))
    }

    // ---- nests that move inside ---------------------------------------------------------------------------

    /// Gives the statements that move their new iterators, and their nests only the loops inside a block.
    fn move_nests(&mut self) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        for root in &self.program.schedule.roots {
            let mut kept = crate::schedule_tree::Schedule { roots: vec![root.clone()] };
            root.statements().iter().filter(|s| !self.cluster.moved.contains_key(*s)).for_each(|s| kept.remove(*s));
            nodes.extend(kept.roots);
        }
        let mut maps = BTreeMap::new();
        for (id, place) in &self.cluster.moved {
            let old = self.program.statement(*id).clone();
            let others = (0..old.extents.len()).filter(|d| !place.rows.contains(d) && *d != place.key);
            let order: Vec<usize> = [place.key].into_iter().chain(others).collect();
            let frame = self.frame(&old, place, &order);
            let index = old.target.index.iter().map(|e| self.renamed(e, &frame)).collect();
            let target = self.in_blocks(Access { array: old.target.array, index }, frame.key);
            let value = self.renamed(&old.value, &frame);
            let (dims, extents) = frame.dims.into_iter().unzip();
            let mut new = Statement { dims, extents, constraints: frame.constraints, target, value, ..old };
            transform::simplify(&mut new, &self.program.params);
            *self.program.statement_mut(*id) = new;
            self.program.schedule.remove(*id);
            self.inside.push(*id);
            let values = frame.map.clone();
            self.program.history.renamings.push(Renaming::Taken { statement: *id, was: *id, values });
            maps.insert(*id, frame.map);
        }
        for (array, roles) in &self.cluster.inside {
            let extents = &self.program.array(*array).extents;
            let new: Vec<Aff> = extents.iter().zip(roles).flat_map(|(e, role)| self.split_extent(e, *role)).collect();
            let array = self.program.array_mut(*array);
            array.fold = vec![None; new.len()];
            array.extents = new;
        }
        let nodes = nodes.into_iter().map(|node| self.inner_loops(node, &maps)).collect::<Option<Vec<Vec<Node>>>>()?;
        Some(nodes.concat())
    }

    fn split_extent(&self, extent: &Aff, role: Role) -> Vec<Aff> {
        match role {
            Role::Row(r) if r == self.last_row() => vec![self.row_blocks(), Aff::constant(self.blocks.rows)],
            Role::Key => vec![self.key_blocks(), Aff::constant(self.blocks.keys)],
            _ => vec![extent.clone()],
        }
    }

    /// The loops of a nest that moves: those over rows and keys run inside a block, or are around all already.
    fn inner_loops(&self, node: Node, maps: &BTreeMap<StatementId, Vec<Aff>>) -> Option<Vec<Node>> {
        let Node::Band(band) = node else { return Some(vec![node]) };
        let mut roles = band.members.iter().map(|(s, value)| {
            let (d, place) = (value.as_iter()?, &self.cluster.moved[s]);
            Some(
                place
                    .rows
                    .iter()
                    .position(|r| *r == d)
                    .map_or(if place.key == d { Role::Key } else { Role::Other }, Role::Row),
            )
        });
        let role = roles.next()??;
        if band.mark != Mark::Seq || !roles.all(|r| r == Some(role)) {
            return None;
        }
        let body = band.body.into_iter().map(|n| self.inner_loops(n, maps)).collect::<Option<Vec<Vec<Node>>>>()?;
        let value = |s: &StatementId, old: &Aff| match role {
            Role::Row(_) => Aff::iter(self.inner()),
            Role::Key => Aff::iter(self.free(Level::Keys)),
            Role::Other => old.substitute(&|d| maps[s][d].clone()),
        };
        match role {
            Role::Row(r) if r != self.last_row() => Some(body.concat()),
            _ => {
                let members = band.members.iter().map(|(s, old)| (*s, value(s, old))).collect();
                Some(vec![Node::Band(Band { members, mark: Mark::Seq, body: body.concat() })])
            }
        }
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
        let extents = self.row_extents().into_iter().chain([self.key_blocks()]).collect();
        let array = self.temp(of, what, extents);
        let index = self.row_index().into_iter().chain([Expr::iter(self.block_at())]).collect();
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
        let planes = self.key_blocks() + Aff::constant(1);
        let own = free.iter().map(|(_, e)| e.clone());
        let extents = [planes].into_iter().chain(self.row_extents()).chain(own).collect();
        let array = self.temp(of, "running", extents);
        let from = self.free(Level::Rows);
        let index =
            [Expr::int(0)].into_iter().chain(self.row_index()).chain((0..free.len()).map(|d| Expr::iter(from + d)));
        let target = Access { array, index: index.collect() };
        let id = self.add(Level::Rows, free.to_vec(), target, start);
        parts.first.push(self.nest(Level::Rows, free.len(), &[id]));
        (array, id)
    }

    /// The running value `ahead` of block `b`, in a statement of that block.
    fn plane(&self, array: ArrayId, ahead: i64, free: usize) -> Access {
        let from = self.free(Level::Keys);
        let plane = Expr::Index(Aff::iter(self.block_at()) + Aff::constant(ahead));
        let own = (from..from + free).map(Expr::iter);
        Access { array, index: [plane].into_iter().chain(self.row_index()).chain(own).collect() }
    }

    /// The running value after the last block, for rows and `free` subscripts of a statement outside the loop over keys.
    fn at_end(&self, array: ArrayId, free: &[Expr]) -> Expr {
        let plane = Expr::Index(self.key_blocks());
        Expr::load(array, [plane].into_iter().chain(self.row_index()).chain(free.iter().cloned()).collect())
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
        let extents = self.row_extents().into_iter().chain([self.key_blocks()]).chain(own).collect();
        let array = self.temp(of.array, "block", extents);
        let from = self.free(Level::Keys);
        let places = [self.block_at()].into_iter().chain(from..from + free.len());
        let target = Access { array, index: self.row_index().into_iter().chain(places.map(Expr::iter)).collect() };
        let unit = self.program.statement(of.clear).value.clone();
        let clear = self.add(Level::Keys, dims, target.clone(), unit);
        let known = |d: &usize| of.place.rows.contains(d) || free.contains(d) || *d == of.place.key;
        let others = (0..old.extents.len()).filter(|d| !known(d));
        let order: Vec<usize> = free.iter().copied().chain([of.place.key]).chain(others).collect();
        let frame = self.frame(&old, &of.place, &order);
        let value = value(self, frame.key, &|e| self.renamed(e, &frame));
        let reduce = self.add_placed((of.reduce, &old), frame, target.clone(), value);
        (target, [clear, reduce])
    }

    // ---- the sums -----------------------------------------------------------------------------------------

    /// `f(x, m)` for all rows and keys of a block: what the sums share.
    fn terms(&mut self, growing: &Growing, body: &mut Vec<Node>) -> (ArrayId, StatementId) {
        let of = &self.cluster.extreme;
        let inner = [self.key_blocks(), Aff::constant(self.blocks.keys)];
        let extents = self.row_extents().into_iter().chain(inner).collect();
        let array = self.temp(of.array, "terms", extents);
        let old = Statement { kind: StatementKind::Assign, ..self.like.clone() };
        let frame = self.frame(&old, &of.place, &[of.place.key]);
        let element = self.renamed(&old.value, &frame);
        let value = self.cluster.rule.term(element, Expr::Load(growing.shift.clone()));
        let target = self.term(array, frame.key);
        let id = self.add_placed((of.reduce, &old), frame, target, value);
        body.push(self.nest(Level::Keys, 1, &[id]));
        (array, id)
    }

    fn term(&self, array: ArrayId, key: usize) -> Access {
        let own = [self.block_at(), key].into_iter().map(Expr::iter);
        Access { array, index: self.row_index().into_iter().chain(own).collect() }
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
        let from = self.free(Level::Rows);
        let map: BTreeMap<usize, Aff> = (rows.iter().enumerate().map(|(r, d)| (*d, self.old_row(r))))
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

/// Where the iterators of an old statement are in a new one.
struct Frame {
    dims: Vec<(String, Aff)>,
    constraints: Vec<Aff>,
    /// The old iterators in terms of the new ones.
    map: Vec<Aff>,
    /// The iterator of the key inside its block.
    key: usize,
}

fn as_iter(index: &Expr) -> Option<usize> {
    index.as_aff()?.as_iter()
}

fn named(statement: &Statement, dims: &[usize]) -> Vec<(String, Aff)> {
    dims.iter().map(|d| (statement.dims[*d].clone(), statement.extents[*d].clone())).collect()
}

/// The number of blocks of `size`.
fn count(extent: &Aff, size: i64) -> Aff {
    (extent.clone() + Aff::constant(size - 1)).floor_div(size)
}

/// What keeps the last block from running beyond the extent.
fn beyond(extent: &Aff, size: i64, block: usize, inside: usize) -> Option<Aff> {
    let even = extent.as_constant().is_some_and(|e| e % size == 0);
    (!even).then(|| extent.clone() - Aff::constant(1) - Aff::iter(block) * size - Aff::iter(inside))
}
