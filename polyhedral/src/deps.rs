//! Dependences: which statement instance must run before which other.
//!
//! They follow from single assignment alone, whatever the schedule says. For one array element
//!
//! 1. its `Assign` instance runs before every `Reduce` and `Update` instance on it,
//! 2. all of these run before every instance that reads it,
//! 3. `Reduce` instances with one operator commute: their pairs are listed as [`DependenceKind::Reduction`],
//!    which says "not at the same time" (a race) but not "in this order",
//! 4. `Update` instances keep an order. Within one statement that is the lexicographic order of the instances.
//!    Two statements (also `Reduce` with different operators) are compared on their common outer dimensions,
//!    the longest prefix on which name and extent agree, and then by statement id.
//!
//! A subscript that is not affine touches its whole dimension, a guard is assumed to hold, and a parameter that
//! the program computes ([`ParamDef::Value`]) is a read of element 0 by every instance that uses it.

use crate::aff::Aff;
use crate::error::{Error, Result};
use crate::expr::{Access, Expr};
use crate::isl::text::{Names, tuple};
use crate::isl::{Ctx, Map};
use crate::param::ParamDef;
use crate::program::{ArrayId, Program, Statement, StatementId, StatementKind};
use std::collections::{BTreeMap, HashSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DependenceKind {
    /// A written value reaches a reader.
    Flow,
    /// The initial value comes before what is accumulated or written over it.
    Init,
    /// Two updates of one element.
    Update,
    /// A run-time parameter is read: its array must be complete before any loop that needs it.
    Parameter,
    /// Two instances accumulate into one element: any order, not at once.
    Reduction,
}

/// Instances of `source` related to the instances of `sink` that must run after them.
#[derive(Clone, Debug)]
pub struct Dependence {
    pub source: StatementId,
    pub sink: StatementId,
    pub array: ArrayId,
    pub kind: DependenceKind,
    pub relation: Map,
}

/// All dependences of the program, by array, writers and readers in statement order.
pub fn dependences(program: &Program, ctx: &Ctx) -> Result<Vec<Dependence>> {
    Finder::new(program, ctx, Scope::All)?.run()
}

/// The dependences whose source or sink is in `touched`.
pub fn dependences_touching(program: &Program, ctx: &Ctx, touched: &HashSet<StatementId>) -> Result<Vec<Dependence>> {
    Finder::new(program, ctx, Scope::Touching(touched))?.run()
}

/// The dependences whose source and sink are both in `within`.
pub fn dependences_within(program: &Program, ctx: &Ctx, within: &HashSet<StatementId>) -> Result<Vec<Dependence>> {
    Finder::new(program, ctx, Scope::Within(within))?.run()
}

/// Which dependences are wanted.
#[derive(Clone, Copy)]
enum Scope<'a> {
    All,
    /// Source or sink is one of these.
    Touching(&'a HashSet<StatementId>),
    /// Source and sink are among these.
    Within(&'a HashSet<StatementId>),
}

impl Scope<'_> {
    /// May the statement be a source or a sink?
    fn has(self, id: StatementId) -> bool {
        match self {
            Scope::All | Scope::Touching(_) => true,
            Scope::Within(ids) => ids.contains(&id),
        }
    }

    fn wants(self, source: StatementId, sink: StatementId) -> bool {
        match self {
            Scope::All => true,
            Scope::Touching(ids) => ids.contains(&source) || ids.contains(&sink),
            Scope::Within(ids) => ids.contains(&source) && ids.contains(&sink),
        }
    }
}

/// Everything that happens to one array.
#[derive(Default)]
struct Traffic {
    writes: Vec<(StatementId, Map)>,
    reads: Vec<(StatementId, Map, DependenceKind)>,
}

struct Finder<'a> {
    program: &'a Program,
    ctx: &'a Ctx,
    scope: Scope<'a>,
    traffic: BTreeMap<ArrayId, Traffic>,
    found: Vec<Dependence>,
}

impl<'a> Finder<'a> {
    fn new(program: &'a Program, ctx: &'a Ctx, scope: Scope<'a>) -> Result<Finder<'a>> {
        let mut finder = Finder { program, ctx, scope, traffic: BTreeMap::new(), found: Vec::new() };
        let relevant = finder.relevant_arrays();
        for (id, statement) in program.statements().filter(|(id, _)| scope.has(*id)) {
            finder.collect(id, statement, &relevant).map_err(|e| e.at(&statement.origin))?;
        }
        Ok(finder)
    }

    /// Arrays that carry dependences: written by a statement, and used by a touched one where that matters.
    fn relevant_arrays(&self) -> HashSet<ArrayId> {
        let statements = self.program.statements().filter(|(id, _)| self.scope.has(*id));
        let written: HashSet<ArrayId> = statements.map(|(_, s)| s.target.array).collect();
        let Scope::Touching(touched) = self.scope else { return written };
        let mut out = HashSet::new();
        for (_, statement) in self.program.statements().filter(|(id, _)| touched.contains(id)) {
            out.insert(statement.target.array);
            out.extend(reads(self.program, statement).into_iter().map(|(access, _)| access.array));
        }
        out.intersection(&written).copied().collect()
    }

    fn collect(&mut self, id: StatementId, statement: &Statement, relevant: &HashSet<ArrayId>) -> Result<()> {
        let wanted = |a: ArrayId| relevant.contains(&a);
        let names = Names::new(self.program);
        if wanted(statement.target.array) {
            let map = names.access(self.ctx, id, &statement.target)?;
            self.traffic.entry(statement.target.array).or_default().writes.push((id, map));
        }
        for (access, kind) in reads(self.program, statement) {
            if wanted(access.array) {
                let map = names.access(self.ctx, id, &access)?;
                self.traffic.entry(access.array).or_default().reads.push((id, map, kind));
            }
        }
        Ok(())
    }

    fn run(mut self) -> Result<Vec<Dependence>> {
        for (array, traffic) in std::mem::take(&mut self.traffic) {
            for (at, (source, write)) in traffic.writes.iter().enumerate() {
                let origin = &self.program.statement(*source).origin;
                for (sink, read, kind) in &traffic.reads {
                    self.add((*source, write), (*sink, read), array, *kind).map_err(|e| e.at(origin))?;
                }
                self.between_writes(array, &traffic.writes, at).map_err(|e| e.at(origin))?;
            }
        }
        Ok(self.found)
    }

    fn add(
        &mut self,
        (source, write): (StatementId, &Map),
        (sink, access): (StatementId, &Map),
        array: ArrayId,
        kind: DependenceKind,
    ) -> Result<()> {
        if !self.scope.wants(source, sink) {
            return Ok(());
        }
        let _budget = self.ctx.budget(crate::legality::OPERATIONS);
        let relation = write.apply_range(&access.reverse()?)?;
        let relation = match kind {
            DependenceKind::Update | DependenceKind::Reduction => relation.intersect(&self.order(source, sink)?)?,
            _ => relation,
        };
        if !relation.is_empty()? {
            self.found.push(Dependence { source, sink, array, kind, relation });
        }
        Ok(())
    }

    /// Rules 1, 3 and 4: the writes number `at` against the writes from there on.
    fn between_writes(&mut self, array: ArrayId, writes: &[(StatementId, Map)], at: usize) -> Result<()> {
        use StatementKind::{Assign, Reduce};
        let (a, ref map_a) = writes[at];
        for (b, map_b) in &writes[at..] {
            let (first, second) = (self.program.statement(a).kind, self.program.statement(*b).kind);
            let (a, b) = ((a, map_a), (*b, map_b));
            match (first, second) {
                (Assign, Assign) => {}
                (Assign, _) => self.add(a, b, array, DependenceKind::Init)?,
                (_, Assign) => self.add(b, a, array, DependenceKind::Init)?,
                (Reduce(f), Reduce(g)) if f == g => self.add(a, b, array, DependenceKind::Reduction)?,
                _ => {
                    self.add(a, b, array, DependenceKind::Update)?;
                    if a.0 != b.0 {
                        self.add(b, a, array, DependenceKind::Update)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The pairs of instances that rule 4 orders. Between two commuting statements: all pairs.
    fn order(&self, source: StatementId, sink: StatementId) -> Result<Map> {
        let (s, t) = (self.program.statement(source), self.program.statement(sink));
        let commute = matches!((s.kind, t.kind), (StatementKind::Reduce(f), StatementKind::Reduce(g)) if f == g);
        let common = (0..s.dims.len().min(t.dims.len()))
            .take_while(|&d| s.dims[d] == t.dims[d] && s.extents[d] == t.extents[d])
            .count();
        let common = if source == sink { s.extents.len() } else { common };
        let mut pieces: Vec<String> = (0..common).map(|d| lex_piece(d, "<")).collect();
        if source != sink && commute {
            pieces = vec!["true".into()];
        } else if source < sink {
            pieces.push(lex_piece(common, "="));
        }
        let condition = if pieces.is_empty() { "false".into() } else { pieces.join(" or ") };
        let (from, to) = (tuple(source, s.extents.len(), "i"), tuple(sink, t.extents.len(), "e"));
        Map::read(self.ctx, &format!("{{ {from} -> {to} : {condition} }}"))
    }
}

/// `i0 = e0 and .. and i_d < e_d`; with "=" only the equalities before `d`.
fn lex_piece(d: usize, last: &str) -> String {
    let mut parts: Vec<String> = (0..d).map(|n| format!("i{n} = e{n}")).collect();
    match last {
        "=" => parts.push("true".into()),
        _ => parts.push(format!("i{d} {last} e{d}")),
    }
    format!("({})", parts.join(" and "))
}

/// What a statement reads: each different access once, run-time parameters included.
fn reads(program: &Program, statement: &Statement) -> Vec<(Access, DependenceKind)> {
    let mut out: Vec<(Access, DependenceKind)> = Vec::new();
    statement.visit_reads(&mut |access| {
        let seen = out.iter().any(|(a, _)| a.array == access.array && a == access);
        if !seen {
            out.push((access.clone(), DependenceKind::Flow));
        }
    });
    for array in parameter_arrays(program, statement) {
        let index = vec![Expr::int(0); program.array(array).extents.len()];
        out.push((Access { array, index }, DependenceKind::Parameter));
    }
    out
}

/// The arrays that define run-time parameters the statement uses, also through other parameters.
pub(crate) fn parameter_arrays(program: &Program, statement: &Statement) -> Vec<ArrayId> {
    let mut pending = Vec::new();
    let mut visit = |a: &Aff| a.visit_params(&mut |p| pending.push(p));
    statement.extents.iter().chain(&statement.constraints).for_each(&mut visit);
    for expr in statement.target.index.iter().chain([&statement.value]).chain(&statement.guard) {
        expr.visit_affs(&mut visit);
    }
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        match &program.params.get(id).def {
            ParamDef::Value { array } => out.extend(find_array(program, array)),
            ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
                a.visit_params(&mut |p| pending.push(p));
                b.visit_params(&mut |p| pending.push(p));
            }
            ParamDef::Input { .. } | ParamDef::Content { .. } => {}
        }
    }
    out.sort();
    out
}

fn find_array(program: &Program, name: &str) -> Option<ArrayId> {
    program.arrays().find(|(_, a)| a.name == name).map(|(id, _)| id)
}

/// Fails when a run-time parameter names an array that does not exist.
pub fn check_parameters(program: &Program) -> Result<()> {
    for (_, param) in program.params.iter() {
        if let ParamDef::Value { array } = &param.def
            && find_array(program, array).is_none()
        {
            return Err(Error::bug(
                "E910",
                format!("parameter {} reads array {array}, which does not exist", param.name),
            ));
        }
    }
    Ok(())
}
