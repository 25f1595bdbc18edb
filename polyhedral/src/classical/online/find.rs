//! What an online reduction is made of: an extreme, sums that follow it, and the nests whose results only these need.

use super::rule::{Factor, RULES, Rule, factors};
use crate::aff::Aff;
use crate::classical::forward::{Users, inverse, is_total};
use crate::expr::{Access, BinaryOp, Expr};
use crate::program::{ArrayId, Program, Statement, StatementId, StatementKind};
use crate::schedule::group::uses;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A reduction with the statement that clears it.
#[derive(Clone)]
pub struct Reduction {
    pub clear: StatementId,
    pub reduce: StatementId,
    pub array: ArrayId,
    /// The iterators of `reduce` that are the rows of the extreme, in the order of its subscripts.
    pub place: Place,
}

/// Which iterators of a statement are the rows, and which one runs over the elements of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub rows: Vec<usize>,
    pub key: usize,
}

impl Place {
    /// What an iterator of the statement is.
    pub fn role(&self, iterator: usize) -> Role {
        let other = if self.key == iterator { Role::Key } else { Role::Other };
        self.rows.iter().position(|d| *d == iterator).map_or(other, Role::Row)
    }
}

/// A sum that follows the extreme: `outer * sum of f(x, m) * inner`.
pub struct Sum {
    pub of: Reduction,
    /// Factors that depend on what is summed over.
    pub inner: Vec<Factor>,
    /// Factors that leave the sum.
    pub outer: Vec<Factor>,
}

/// What an iterator of a statement is, or a subscript of an array for all who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Row(usize),
    Key,
    Other,
}

/// Everything that goes into one group.
pub struct Cluster {
    pub rule: &'static Rule,
    pub extreme: Reduction,
    pub sums: Vec<Sum>,
    /// Statements whose values are part of the sums now, and which nobody else needs.
    pub dropped: BTreeSet<StatementId>,
    /// Statements that make what only the group reads, row by row and key by key.
    pub moved: BTreeMap<StatementId, Place>,
    /// The arrays of those, with the roles of their dimensions.
    pub inside: BTreeMap<ArrayId, Vec<Role>>,
    /// Arrays that depend on the extreme.
    pub later: HashSet<ArrayId>,
}

/// The group around the reduction `id`, where that is an extreme which sums follow.
pub fn cluster(program: &Program, id: StatementId) -> Option<Cluster> {
    let StatementKind::Reduce(op) = program.statement(id).kind else { return None };
    let rule = RULES.iter().find(|r| r.extreme == op)?;
    let users = Users::of(program);
    let target = &program.statement(id).target;
    if !program.array(target.array).dtype.is_float() || !program.array(target.array).is_temp() {
        return None;
    }
    let rows = iterators(target)?;
    let key = only(reduced(program.statement(id)))?;
    let extreme = reduction(program, &users, id, rule.unit, Place { rows, key })?;
    let extents = &program.statement(id).extents;
    // The state of a loop that nothing limits has no size until it is folded: it stays where it is.
    let limited = extents.iter().all(|e| program.params.is_limited(e));
    if extreme.place.rows.is_empty() || may_be_empty(program, &extents[key]) || !limited {
        return None;
    }
    let later = dependents(program, extreme.array);
    let mut cluster = Cluster {
        rule,
        extreme,
        sums: Vec::new(),
        dropped: BTreeSet::new(),
        moved: BTreeMap::new(),
        inside: BTreeMap::new(),
        later,
    };
    let mut expanded = BTreeSet::new();
    for id in program.schedule.statements() {
        if let Some(sum) = sum(program, &users, &cluster, id, &mut expanded) {
            cluster.sums.push(sum);
        }
    }
    if cluster.sums.is_empty() {
        return None;
    }
    cluster.dropped = dropped(program, &users, &cluster, expanded);
    move_inside(program, &users, &mut cluster);
    Some(cluster)
}

/// A parameter may be 0: then the extreme is the unit and the sums are 0, which the online form does not tell from NaN.
fn may_be_empty(program: &Program, extent: &Aff) -> bool {
    let range = |p| crate::transform::param_range(&program.params, p);
    extent.bounds(&range, &|_| (None, None)).0.is_none_or(|least| least < 1)
}

// ---- reductions ---------------------------------------------------------------------------------------

/// The iterators that are the subscripts; `None` when there are others, or one twice.
fn iterators(access: &Access) -> Option<Vec<usize>> {
    let all = access.index.iter().map(|e| e.as_aff()?.as_iter()).collect::<Option<Vec<usize>>>()?;
    let distinct: HashSet<_> = all.iter().collect();
    (distinct.len() == all.len()).then_some(all)
}

/// The iterators that the target does not have.
fn reduced(statement: &Statement) -> Vec<usize> {
    (0..statement.extents.len()).filter(|d| !uses(&statement.target, *d)).collect()
}

fn only<T: Copy>(list: Vec<T>) -> Option<T> {
    if let [one] = list[..] { Some(one) } else { None }
}

/// Runs over a whole box, always.
fn is_plain(statement: &Statement) -> bool {
    statement.guard.is_none() && statement.constraints.is_empty() && !statement.extents.iter().any(Aff::has_iters)
}

/// The reduction `reduce`, when exactly one other statement writes the array, and sets all of it to `unit`.
fn reduction(program: &Program, users: &Users, reduce: StatementId, unit: f64, place: Place) -> Option<Reduction> {
    let statement = program.statement(reduce);
    let array = statement.target.array;
    let target = iterators(&statement.target)?;
    let [a, b] = users.writers.get(&array)?[..] else { return None };
    let clear = if a == reduce { b } else { a };
    let start = program.statement(clear);
    let cleared = iterators(&start.target)?;
    let whole = cleared.len() == start.extents.len()
        && target.iter().zip(&cleared).all(|(r, c)| statement.extents[*r] == start.extents[*c]);
    let is_unit = matches!(&start.value, Expr::Const(value) if value.as_f64() == unit);
    let plain = is_plain(statement) && is_plain(start) && start.kind == StatementKind::Assign;
    let own = !program.exits.contains(&array) && !program.params.read_array(&program.array(array).name);
    (whole && is_unit && plain && own).then_some(Reduction { clear, reduce, array, place })
}

/// Every array that is computed from `array`.
fn dependents(program: &Program, array: ArrayId) -> HashSet<ArrayId> {
    let mut out = HashSet::from([array]);
    loop {
        let before = out.len();
        for (_, statement) in program.statements() {
            let mut reads = false;
            statement.visit_reads(&mut |a| reads |= out.contains(&a.array));
            if reads {
                out.insert(statement.target.array);
            }
        }
        if out.len() == before {
            return out;
        }
    }
}

// ---- sums ---------------------------------------------------------------------------------------------

/// The sum that statement `id` is, if it follows the extreme. `expanded` collects whose values are now part of it.
fn sum(
    program: &Program,
    users: &Users,
    cluster: &Cluster,
    id: StatementId,
    expanded: &mut BTreeSet<StatementId>,
) -> Option<Sum> {
    let statement = program.statement(id);
    let reads_later = reads_any(&statement.value, &|a| cluster.later.contains(&a));
    if statement.kind != StatementKind::Reduce(BinaryOp::Add) || !reads_later || !is_plain(statement) {
        return None;
    }
    let mut seen = BTreeSet::new();
    let value = expand(program, users, cluster, &statement.value, &mut seen);
    let mut rest = factors(&value);
    let (at, place) = rest.iter().enumerate().find_map(|(n, f)| Some((n, follows(program, cluster, statement, f)?)))?;
    rest.remove(at);
    let summed = reduced(statement);
    let varies = |f: &Factor| summed.iter().any(|d| uses_iter(&f.value, *d));
    let (inner, outer): (Vec<Factor>, Vec<Factor>) = rest.into_iter().partition(varies);
    let known = |a: ArrayId| a == cluster.extreme.array || cluster.sums.iter().any(|s| s.of.array == a);
    let early = |f: &Factor| !reads_any(&f.value, &|a| cluster.later.contains(&a));
    let complete = |f: &Factor| !reads_any(&f.value, &|a| cluster.later.contains(&a) && !known(a));
    if !inner.iter().all(early) || !outer.iter().all(complete) {
        return None;
    }
    let of = reduction(program, users, id, 0.0, place)?;
    expanded.extend(seen);
    Some(Sum { of, inner, outer })
}

/// Values that depend on the extreme, with what they are made of in their place.
fn expand(program: &Program, users: &Users, cluster: &Cluster, value: &Expr, seen: &mut BTreeSet<StatementId>) -> Expr {
    let mut made = |access: &Access| {
        let writer = only(users.writers.get(&access.array)?.clone())?;
        let producer = program.statement(writer);
        let later = cluster.later.contains(&access.array) && access.array != cluster.extreme.array;
        if !later || producer.guard.is_some() || !is_total(program, users, producer) {
            return None;
        }
        let position = inverse(producer)?;
        seen.insert(writer);
        let value = producer.value.substitute(&|d| access.index[position[d]].clone());
        Some(expand(program, users, cluster, &value, seen))
    };
    value.clone().rewrite(&mut |e| match &e {
        Expr::Load(access) => made(access).unwrap_or(e),
        _ => e,
    })
}

/// Where the rows and the key of the extreme are in a statement, if the factor is `f(x, m)` with the `x` and `m` of the
/// extreme.
fn follows(program: &Program, cluster: &Cluster, statement: &Statement, factor: &Factor) -> Option<Place> {
    let extreme = &cluster.extreme;
    let (element, m) = cluster.rule.parts(&factor.value)?;
    let Expr::Load(m) = m else { return None };
    if factor.divides || m.array != extreme.array {
        return None;
    }
    let rows = iterators(m)?;
    let of = program.statement(extreme.reduce);
    let same = |place: &Place| {
        let from = |n: usize| match extreme.place.role(n) {
            Role::Row(r) => Aff::iter(place.rows[r]),
            _ => Aff::iter(place.key),
        };
        let own = place.rows.iter().chain([&place.key]);
        let theirs = extreme.place.rows.iter().chain([&extreme.place.key]);
        own.zip(theirs).all(|(a, b)| statement.extents[*a] == of.extents[*b])
            && of.value.substitute_aff(&from) == *element
    };
    if !rows.iter().all(|d| uses(&statement.target, *d)) {
        return None;
    }
    let places = reduced(statement).into_iter().map(|key| Place { rows: rows.clone(), key });
    places.into_iter().find(same)
}

/// The statements whose results only the sums read, or others that are dropped.
fn dropped(
    program: &Program,
    users: &Users,
    cluster: &Cluster,
    expanded: BTreeSet<StatementId>,
) -> BTreeSet<StatementId> {
    let mut out = expanded;
    loop {
        let unneeded = |id: &StatementId| {
            let gone = |r: &StatementId| out.contains(r) || cluster.sums.iter().any(|s| s.of.reduce == *r);
            let array = program.statement(*id).target.array;
            let read = users.readers.get(&array).is_some_and(|r| !r.iter().all(gone));
            !read && !program.params.read_array(&program.array(array).name)
        };
        let kept: BTreeSet<StatementId> = out.iter().copied().filter(unneeded).collect();
        if kept.len() == out.len() {
            return out;
        }
        out = kept;
    }
}

// ---- what moves inside --------------------------------------------------------------------------------

/// Collects arrays that only the group reads, element by element, and the statements that make them.
fn move_inside(program: &Program, users: &Users, cluster: &mut Cluster) {
    let readers = [&cluster.extreme].into_iter().chain(cluster.sums.iter().map(|s| &s.of));
    let mut pending: Vec<(StatementId, Place)> = readers.map(|r| (r.reduce, r.place.clone())).collect();
    while let Some((id, place)) = pending.pop() {
        let statement = program.statement(id);
        statement.visit_reads(&mut |access| {
            let Some(roles) = roles(access, &place) else { return };
            if cluster.inside.contains_key(&access.array) || cluster.later.contains(&access.array) {
                return;
            }
            let Some(writers) = makers(program, users, access.array, &roles, cluster) else { return };
            cluster.inside.insert(access.array, roles);
            pending.extend(writers.iter().cloned());
            cluster.moved.extend(writers);
        });
    }
    keep_private(program, users, cluster);
}

/// The roles of an access's subscripts: every row and the key once, as they are.
fn roles(access: &Access, place: &Place) -> Option<Vec<Role>> {
    let role = |e: &Expr| {
        let own = e.as_aff().and_then(|a| a.as_iter()).map_or(Role::Other, |d| place.role(d));
        let mixed = place.rows.iter().chain([&place.key]).any(|d| uses_iter(e, *d));
        (own != Role::Other || !mixed).then_some(own)
    };
    let all = access.index.iter().map(role).collect::<Option<Vec<Role>>>()?;
    let count = |wanted: Role| all.iter().filter(|r| **r == wanted).count();
    let once = (0..place.rows.len()).map(Role::Row).chain([Role::Key]).all(|r| count(r) == 1);
    once.then_some(all)
}

/// The statements that write the array, each with its rows and key; `None` when one of them cannot move.
fn makers(
    program: &Program,
    users: &Users,
    array: ArrayId,
    roles: &[Role],
    cluster: &Cluster,
) -> Option<Vec<(StatementId, Place)>> {
    let facts = program.array(array);
    if !facts.is_temp() || program.exits.contains(&array) || program.params.read_array(&facts.name) {
        return None;
    }
    let place = |id: &StatementId| {
        let statement = program.statement(*id);
        let at = |role: Role| statement.target.index[roles.iter().position(|r| *r == role)?].as_aff()?.as_iter();
        let rows = (0..cluster.extreme.place.rows.len()).map(|r| at(Role::Row(r))).collect::<Option<Vec<usize>>>()?;
        let place = Place { rows, key: at(Role::Key)? };
        let of = program.statement(cluster.extreme.reduce);
        let own = place.rows.iter().chain([&place.key]);
        let theirs = cluster.extreme.place.rows.iter().chain([&cluster.extreme.place.key]);
        let same = own.zip(theirs).all(|(a, b)| statement.extents[*a] == of.extents[*b]);
        let fits = same && is_plain(statement) && statement.kind != StatementKind::Update;
        let agrees = cluster.moved.get(id).is_none_or(|p| *p == place);
        (fits && agrees && self::roles(&statement.target, &place)? == roles).then_some((*id, place))
    };
    users.writers.get(&array)?.iter().map(place).collect()
}

/// Takes out again what others read too, or read in another way.
fn keep_private(program: &Program, users: &Users, cluster: &mut Cluster) {
    loop {
        let shared = cluster.inside.iter().find(|(array, roles)| {
            let fine = |id: &StatementId| {
                let place = cluster.place(*id);
                let mut same = true;
                program.statement(*id).visit_reads(&mut |a| {
                    let own = place.and_then(|p| self::roles(a, p));
                    same &= a.array != **array || own.as_ref() == Some(*roles);
                });
                cluster.dropped.contains(id) || same
            };
            let moves = |id: &StatementId| cluster.moved.contains_key(id);
            !users.readers[*array].iter().all(fine) || !users.writers[*array].iter().all(moves)
        });
        let Some(array) = shared.map(|(array, _)| *array) else { return };
        cluster.inside.remove(&array);
        cluster.moved.retain(|id, _| program.statement(*id).target.array != array);
    }
}

impl Cluster {
    /// Rows and key of a statement that stays in the group.
    fn place(&self, id: StatementId) -> Option<&Place> {
        let sums = self.sums.iter().map(|s| &s.of);
        let reduction = [&self.extreme].into_iter().chain(sums).find(|r| r.reduce == id);
        reduction.map(|r| &r.place).or_else(|| self.moved.get(&id))
    }

    /// Does anybody outside the sums' terms read the extreme?
    pub fn extreme_is_read(&self, program: &Program) -> bool {
        let reads = |e: &Expr| reads_any(e, &|a| a == self.extreme.array);
        let gone = self.statements();
        let by_others = program.statements().filter(|(id, _)| !gone.contains(id)).any(|(_, s)| {
            let mut found = false;
            s.visit_reads(&mut |a| found |= a.array == self.extreme.array);
            found
        });
        by_others || self.sums.iter().any(|s| s.outer.iter().any(|f| reads(&f.value)))
    }

    /// Every statement that the group replaces or moves.
    pub fn statements(&self) -> BTreeSet<StatementId> {
        let reductions = [&self.extreme].into_iter().chain(self.sums.iter().map(|s| &s.of));
        let both = reductions.flat_map(|r| [r.clear, r.reduce]);
        both.chain(self.dropped.iter().copied()).chain(self.moved.keys().copied()).collect()
    }
}

fn uses_iter(e: &Expr, d: usize) -> bool {
    let mut found = false;
    e.visit_affs(&mut |a| found |= a.uses_iter(d));
    found
}

fn reads_any(e: &Expr, test: &dyn Fn(ArrayId) -> bool) -> bool {
    let mut found = false;
    e.visit_loads(&mut |a| found |= test(a.array));
    found
}
