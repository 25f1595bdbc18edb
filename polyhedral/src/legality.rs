//! Does the schedule tree run every dependence's source before its sink? The checker shares no code with passes.
//!
//! For one dependence, only the bands that enclose both statements matter. With `b` their values at the source
//! and `b'` at the sink, the pair is in order when `b` is lexicographically before `b'`, or equal and the source
//! comes first in the list where the statements part. A band that is not sequential must moreover carry nothing:
//! no pair may agree on all bands outside it and differ on it. Under a lockstep band (rows, lanes) the statements
//! run one after another for all its iterations together, which that same rule makes safe. Accumulations into
//! one element may meet in lanes (one partial result per lane) but not in parallel bands or rows.
//!
//! Where a thread team runs the program, order in the tree is not enough: `workers` says what else it takes.
//!
//! Storage is a second question, answered by `storage.rs`.

use crate::aff::Aff;
use crate::deps::{
    Dependence, DependenceKind, check_parameters, dependences, dependences_touching, dependences_within,
};
use crate::error::{Error, Result};
use crate::isl::text::Names;
use crate::isl::{Ctx, Map};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::{Mark, Node};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use workers::Team;

pub(crate) mod workers;

/// One statement instance; prints as `S41[3,31]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub statement: StatementId,
    pub at: Vec<i64>,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at: Vec<String> = self.at.iter().map(i64::to_string).collect();
        write!(f, "{}[{}]", self.statement, at.join(","))
    }
}

/// Why a schedule is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The tree and the statements do not fit together.
    Structure(String),
    /// `source` must run before `sink`, and does not.
    Order { source: Instance, sink: Instance, array: ArrayId, name: String },
    /// A band that is not sequential carries the dependence.
    Carried { source: Instance, sink: Instance, array: ArrayId, name: String, mark: Mark },
    /// Source and sink may belong to different workers of the team, and nothing makes the sink's worker wait.
    Race { source: Instance, sink: Instance, array: ArrayId, name: String },
    /// A run-time parameter is computed inside a loop that also encloses its use.
    Parameter { source: Instance, sink: Instance, name: String },
    /// Two instances of one statement have the same time.
    SameTime { first: Instance, second: Instance },
    /// Two arrays share workspace memory while both are in use.
    Slot { first: ArrayId, second: ArrayId, slot: usize },
    /// `writer` overwrites a value (of another element in the same cell) that `reader` still needs.
    Storage { writer: Instance, reader: Instance, array: ArrayId, name: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Structure(text) => f.write_str(text),
            Violation::Order { source, sink, array, name } => {
                write!(f, "{source} -> {sink} through {array} ({name}): the sink runs before the source")
            }
            Violation::Carried { source, sink, array, name, mark } => {
                write!(f, "{source} -> {sink} through {array} ({name}): carried by a band marked {mark:?}")
            }
            Violation::Race { source, sink, array, name } => {
                write!(f, "{source} -> {sink} through {array} ({name}): on different workers, no barrier between")
            }
            Violation::Parameter { source, sink, name } => {
                write!(f, "{source} computes {name}, a loop bound of {sink}, inside a loop around both")
            }
            Violation::SameTime { first, second } => write!(f, "{first} and {second} have the same time"),
            Violation::Slot { first, second, slot } => {
                write!(f, "{first} and {second} share slot {slot} while both are in use")
            }
            Violation::Storage { writer, reader, array, name } => {
                write!(
                    f,
                    "{writer} overwrites a value of {array} ({name}) that {reader} still reads: the fold is too small"
                )
            }
        }
    }
}

impl Violation {
    /// The error for a pass or a program that breaks the rules.
    pub fn into_error(self) -> Error {
        Error::bug("E911", format!("the schedule is not legal: {self}"))
    }
}

/// The verdict, apart from failures of the checker itself.
pub type Verdict = std::result::Result<(), Violation>;

/// Proves the whole program: structure, order, parallel bands, times, storage.
pub fn check(program: &Program) -> Result<Verdict> {
    let cache = LegalityCache::new(program)?;
    let order = cache.check(program, None)?;
    if order.is_err() {
        return Ok(order);
    }
    crate::storage::check(program, &cache.ctx)
}

/// isl operations for one dependence: seconds. A healthy check needs thousands; nested floor divisions that were
/// projected out can need without end.
pub(crate) const OPERATIONS: u64 = 5_000_000;

/// Dependences of a program, kept while its schedule changes.
pub struct LegalityCache {
    ctx: Ctx,
    dependences: Vec<Dependence>,
    /// Relations on times that no dependence may meet, by shape: they are the same for most pairs.
    forbidden: RefCell<HashMap<Shape, Map>>,
}

/// What decides the forbidden relation: the marks of the shared bands and what happens at equal times.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Shape {
    marks: Vec<Mark>,
    /// Is the source before the sink where all shared bands agree?
    source_first: bool,
    kind: DependenceKind,
}

/// One way from the root to a statement.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Position in the list of nodes at each level; one more than there are bands.
    pub positions: Vec<usize>,
    /// Value and mark of the bands, outermost first.
    pub bands: Vec<(Aff, Mark)>,
    /// For the list at each level: does a barrier stand in it, behind the node, in every iteration of the bands around?
    pub(crate) barrier_behind: Vec<bool>,
}

impl Path {
    /// Number of bands around both, for paths in one tree.
    pub fn shared_bands(&self, other: &Path) -> usize {
        let same = self.positions.iter().zip(&other.positions).take_while(|(a, b)| a == b).count();
        same.min(self.bands.len()).min(other.bands.len())
    }
}

/// The paths of all statements in the tree, or what is wrong with the tree.
pub fn paths(program: &Program) -> std::result::Result<HashMap<StatementId, Path>, Violation> {
    let mut out = HashMap::new();
    walk(&program.schedule.roots, &Path::default(), &mut Vec::new(), &mut out)?;
    workers::find_barriers(program, &mut out);
    for (id, _) in program.statements() {
        if !out.contains_key(&id) {
            return Err(Violation::Structure(format!("{id} is not in the schedule tree")));
        }
    }
    match out.keys().find(|id| !program.statements().any(|(s, _)| s == **id)) {
        Some(id) => Err(Violation::Structure(format!("{id} is in the schedule tree but was removed"))),
        None => Ok(out),
    }
}

/// `bands` are the enclosing bands, for the values of each statement found below.
fn walk<'a>(
    nodes: &'a [Node],
    path: &Path,
    bands: &mut Vec<&'a crate::schedule_tree::Band>,
    out: &mut HashMap<StatementId, Path>,
) -> std::result::Result<(), Violation> {
    for (position, node) in nodes.iter().enumerate() {
        let mut path = path.clone();
        path.positions.push(position);
        match node {
            Node::Leaf(id) => {
                for band in bands.iter() {
                    let value = band.members.get(id);
                    let missing = || Violation::Structure(format!("{id} has no value in a band around it"));
                    path.bands.push((value.ok_or_else(missing)?.clone(), band.mark));
                }
                if out.insert(*id, path).is_some() {
                    return Err(Violation::Structure(format!("{id} is in the schedule tree twice")));
                }
            }
            Node::Band(band) => {
                bands.push(band);
                walk(&band.body, &path, bands, out)?;
                bands.pop();
            }
        }
    }
    Ok(())
}

impl LegalityCache {
    pub fn new(program: &Program) -> Result<LegalityCache> {
        check_parameters(program)?;
        let ctx = Ctx::new()?;
        let dependences = dependences(program, &ctx)?;
        Ok(LegalityCache { ctx, dependences, forbidden: RefCell::default() })
    }

    /// The dependences among some statements only: enough to check changes that reorder no others.
    pub fn within(program: &Program, statements: &HashSet<StatementId>) -> Result<LegalityCache> {
        let ctx = Ctx::new()?;
        let dependences = dependences_within(program, &ctx, statements)?;
        Ok(LegalityCache { ctx, dependences, forbidden: RefCell::default() })
    }

    pub fn dependences(&self) -> &[Dependence] {
        &self.dependences
    }

    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Recomputes the dependences of statements whose domain or accesses changed (also: removed, added).
    pub fn update(&mut self, program: &Program, touched: &HashSet<StatementId>) -> Result<()> {
        self.dependences.retain(|d| !touched.contains(&d.source) && !touched.contains(&d.sink));
        self.dependences.extend(dependences_touching(program, &self.ctx, touched)?);
        Ok(())
    }

    /// Is the schedule legal as far as dependences go? `only` restricts the check to the dependences of the
    /// statements whose place in the tree changed.
    pub fn check(&self, program: &Program, only: Option<&HashSet<StatementId>>) -> Result<Verdict> {
        let paths = match paths(program) {
            Ok(paths) => paths,
            Err(violation) => return Ok(Err(violation)),
        };
        if let Some(violation) = workers::structure(program, &paths) {
            return Ok(Err(violation));
        }
        let wanted = |id: &StatementId| only.is_none_or(|o| o.contains(id));
        // A statement that was removed since the dependences were computed orders nothing.
        let exists = |d: &Dependence| paths.contains_key(&d.source) && paths.contains_key(&d.sink);
        let team = Team::of(program);
        let mut checker = Checker { program, cache: self, paths: &paths, team, times: HashMap::new() };
        for (id, _) in program.statements().filter(|(id, _)| wanted(id)) {
            if let Some(violation) = checker.same_time(id)? {
                return Ok(Err(violation));
            }
        }
        for dependence in self.dependences.iter().filter(|d| exists(d) && (wanted(&d.source) || wanted(&d.sink))) {
            let _budget = self.ctx.budget(OPERATIONS);
            let origin = &program.statement(dependence.source).origin;
            if let Some(violation) = checker.dependence(dependence).map_err(|e| e.at(origin))? {
                return Ok(Err(violation));
            }
            if let Some(violation) = checker.race(dependence).map_err(|e| e.at(origin))? {
                return Ok(Err(violation));
            }
        }
        Ok(Ok(()))
    }

    fn forbidden(&self, shape: &Shape) -> Result<Map> {
        if let Some(map) = self.forbidden.borrow().get(shape) {
            return Ok(map.clone());
        }
        let map = Map::read(&self.ctx, &shape.text(|_| true))?;
        self.forbidden.borrow_mut().insert(shape.clone(), map.clone());
        Ok(map)
    }
}

/// One reason why a pair of times is forbidden.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Order,
    Carried(usize),
}

impl Shape {
    /// The forbidden pairs of times for the reasons that `wanted` selects.
    fn text(&self, wanted: impl Fn(Reason) -> bool) -> String {
        let n = self.marks.len();
        let reduction = self.kind == DependenceKind::Reduction;
        let mut pieces = Vec::new();
        if !reduction && wanted(Reason::Order) {
            pieces.extend((0..n).map(|d| piece(d, ">")));
            if !self.source_first {
                pieces.push(equal(n));
            }
        }
        for d in self.carried_by().filter(|d| wanted(Reason::Carried(*d))) {
            pieces.push(piece(d, "<"));
            // The opposite direction is forbidden as disorder already, except among accumulations.
            if reduction {
                pieces.push(piece(d, ">"));
            }
        }
        let condition = if pieces.is_empty() { "false".into() } else { pieces.join(" or ") };
        format!("{{ [{}] -> [{}] : {condition} }}", variables("b", n), variables("e", n))
    }

    /// The shared bands that must not carry this dependence.
    fn carried_by(&self) -> impl Iterator<Item = usize> + '_ {
        let reduction = self.kind == DependenceKind::Reduction;
        (0..self.marks.len()).filter(move |d| match self.marks[*d] {
            Mark::Seq | Mark::Unroll | Mark::Barrier => false,
            Mark::Parallel | Mark::Team(_) | Mark::Rows(_) => true,
            Mark::Lanes(_) => !reduction,
        })
    }
}

fn variables(prefix: &str, n: usize) -> String {
    (0..n).map(|d| format!("{prefix}{d}")).collect::<Vec<_>>().join(", ")
}

/// Equal on the bands before `d`, and in relation `relation` on band `d`.
fn piece(d: usize, relation: &str) -> String {
    let parts = (0..d).map(|n| format!("b{n} = e{n} and ")).collect::<String>();
    format!("({parts}b{d} {relation} e{d})")
}

fn equal(n: usize) -> String {
    let parts: Vec<String> = (0..n).map(|d| format!("b{d} = e{d}")).collect();
    if parts.is_empty() { "true".into() } else { format!("({})", parts.join(" and ")) }
}

struct Checker<'a> {
    program: &'a Program,
    cache: &'a LegalityCache,
    paths: &'a HashMap<StatementId, Path>,
    team: Option<Team>,
    /// Instances to the values of their first `n` bands.
    times: HashMap<(StatementId, usize), Map>,
}

impl Checker<'_> {
    fn time(&mut self, id: StatementId, bands: usize) -> Result<Map> {
        if let Some(map) = self.times.get(&(id, bands)) {
            return Ok(map.clone());
        }
        let values: Vec<Aff> = self.paths[&id].bands[..bands].iter().map(|(value, _)| value.clone()).collect();
        let map = Names::new(self.program).values(&self.cache.ctx, id, &values)?;
        self.times.insert((id, bands), map.clone());
        Ok(map)
    }

    fn dependence(&mut self, dependence: &Dependence) -> Result<Option<Violation>> {
        let (source, sink) = (&self.paths[&dependence.source], &self.paths[&dependence.sink]);
        let n = source.shared_bands(sink);
        if dependence.kind == DependenceKind::Parameter && n > 0 {
            return self.witness(dependence, &dependence.relation, |source, sink, name, _| Violation::Parameter {
                source,
                sink,
                name,
            });
        }
        let shape = Shape {
            marks: source.bands[..n].iter().map(|(_, mark)| *mark).collect(),
            source_first: source.positions < sink.positions,
            kind: dependence.kind,
        };
        if n == 0 && (shape.source_first || dependence.kind == DependenceKind::Reduction) {
            return Ok(None);
        }
        let (from, to) = (self.time(dependence.source, n)?, self.time(dependence.sink, n)?);
        let times = dependence.relation.apply_domain(&from)?.apply_range(&to)?;
        if times.intersect(&self.cache.forbidden(&shape)?)?.is_empty()? {
            return Ok(None);
        }
        self.explain(dependence, &shape, &from, &to)
    }

    /// Two instances in order whose workers do not wait for each other. Accumulations meet in either order.
    fn race(&mut self, dependence: &Dependence) -> Result<Option<Violation>> {
        let Some(team) = &self.team else { return Ok(None) };
        let (source, sink) = (&self.paths[&dependence.source], &self.paths[&dependence.sink]);
        if team.is_alone(source.positions[0]) && team.is_alone(sink.positions[0]) {
            return Ok(None);
        }
        let everyone = team.all_read(self.program, dependence.sink, sink, dependence.array);
        let n = source.shared_bands(sink);
        let (from, to) = (self.owned_time(dependence.source, n)?, self.owned_time(dependence.sink, n)?);
        let mut times = vec![self.times_text(n, &team.unordered(source, sink, everyone))?];
        if dependence.kind == DependenceKind::Reduction {
            times.push(self.times_text(n, &team.unordered(sink, source, false))?.reverse()?);
        }
        for times in times {
            let pairs = from.apply_range(&times)?.apply_range(&to.reverse()?)?;
            let bad = dependence.relation.intersect(&pairs)?;
            let race = |source, sink, name, array| Violation::Race { source, sink, array, name };
            if let Some(violation) = self.witness(dependence, &bad, race)? {
                return Ok(Some(violation));
            }
        }
        Ok(None)
    }

    /// Pairs of times with an owner for which `condition` holds.
    fn times_text(&self, n: usize, condition: &str) -> Result<Map> {
        let text = format!("{{ [{}] -> [{}] : {condition} }}", variables("b", n + 1), variables("e", n + 1));
        Map::read(&self.cache.ctx, &text)
    }

    /// Instances to the values of their first bands and the number that decides the worker.
    fn owned_time(&self, id: StatementId, bands: usize) -> Result<Map> {
        let path = &self.paths[&id];
        let mut values: Vec<Aff> = path.bands[..bands].iter().map(|(value, _)| value.clone()).collect();
        values.extend(self.team.as_ref().map(|team| team.owner(path)));
        Names::new(self.program).values(&self.cache.ctx, id, &values)
    }

    /// Finds two instances, for the first reason that applies.
    fn explain(&self, dependence: &Dependence, shape: &Shape, from: &Map, to: &Map) -> Result<Option<Violation>> {
        let reasons = std::iter::once(Reason::Order).chain(shape.carried_by().map(Reason::Carried));
        for reason in reasons {
            let forbidden = Map::read(&self.cache.ctx, &shape.text(|r| r == reason))?;
            let pairs = from.apply_range(&forbidden)?.apply_range(&to.reverse()?)?;
            let bad = dependence.relation.intersect(&pairs)?;
            let violation = self.witness(dependence, &bad, |source, sink, name, array| match reason {
                Reason::Order => Violation::Order { source, sink, array, name },
                Reason::Carried(d) => Violation::Carried { source, sink, array, name, mark: shape.marks[d] },
            })?;
            if violation.is_some() {
                return Ok(violation);
            }
        }
        Err(Error::bug("E912", "a dependence is violated but has no witness"))
    }

    fn witness(
        &self,
        dependence: &Dependence,
        bad: &Map,
        make: impl Fn(Instance, Instance, String, ArrayId) -> Violation,
    ) -> Result<Option<Violation>> {
        let name = self.program.array(dependence.array).name.clone();
        Ok(bad.sample()?.map(|(source, sink)| {
            let source = Instance { statement: dependence.source, at: source };
            let sink = Instance { statement: dependence.sink, at: sink };
            make(source, sink, name, dependence.array)
        }))
    }

    /// Two instances of `id` with equal times.
    fn same_time(&mut self, id: StatementId) -> Result<Option<Violation>> {
        let statement = self.program.statement(id);
        let path = &self.paths[&id];
        let own_band = |d: usize| path.bands.iter().any(|(value, _)| value.as_iter() == Some(d));
        if (0..statement.extents.len()).all(|d| own_band(d) || statement.extents[d].is_constant(1)) {
            return Ok(None);
        }
        let time = self.time(id, path.bands.len())?;
        if time.is_injective()? {
            return Ok(None);
        }
        let pairs = time.apply_range(&time.reverse()?)?;
        let order: Vec<String> = (0..statement.extents.len()).map(|d| piece(d, "<")).collect();
        let n = statement.extents.len();
        let text = format!("{{ {id}[{}] -> {id}[{}] : {} }}", variables("b", n), variables("e", n), order.join(" or "));
        let bad = pairs.intersect(&Map::read(&self.cache.ctx, &text)?)?;
        Ok(bad.sample()?.map(|(first, second)| Violation::SameTime {
            first: Instance { statement: id, at: first },
            second: Instance { statement: id, at: second },
        }))
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
