//! The checker of certificates. It reads the certificate's text and isl; nothing of the compiler.
//!
//! Two stages at a time, the earlier called base and the later last:
//! `values`: the last computes what the base computes, with values substituted and equal arrays shared.
//! `instances`: every instance of the base is one of the last program, once, or stands beside others for one (`merged`).
//! A step that runs instances more than once (`Rewrite::Repeated`) is checked from its end to its beginning: there, several
//! instances become one.
//! What regroups sums (`Rewrite::Regrouped`) is checked by `words` and `start` where sums take several products at once, by
//! `online` (`running`, `factors`) where they follow an extreme. No rule covers the rest: it is undecided, and the stages
//! behind it are checked alone.
//! `same`: it computes the same from the same, through copies (`copies`), in arrays laid out anew (`places`), under the
//! same test (`guards`; `logic` knows tests that never hold together).
//! `constants`: constants have the contents that they had, in other places perhaps, or those that a stated statement
//! computes (`made`).
//! `dependences`: what the base orders, memory location by memory location, the last program orders too.
//! `storage`: no two values that are alive at once share a cell, a slot or a register; of the lowered program alone.

mod conditions;
mod constants;
mod copies;
mod dependences;
mod factors;
mod guards;
mod instances;
mod logic;
mod made;
mod merged;
mod online;
mod order;
mod places;
mod ranges;
mod read;
mod running;
mod same;
mod start;
mod storage;
mod terms;
#[cfg(test)]
mod tests;
mod values;
mod words;

use super::{ArrayEntry, Certificate, FORMAT, Listing, Rewrite, Step, VERSION};
use crate::error::{Error, Result};
use crate::isl::{Ctx, Map, Set};
pub use constants::contents;
use order::{Side, before};
use read::{Access, Params, Program, Statement, malformed};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

/// isl operations for one question; one that needs more stays undecided. A healthy one needs thousands.
pub const OPERATIONS: u64 = 20_000_000;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// An instance of the base is not executed, or twice, or there is one too many.
    Instances,
    /// A statement computes something else, or reads or writes other elements.
    Values,
    /// Instances in the wrong order, or not ordered.
    Order,
    /// A value is overwritten before its last read.
    Storage,
    /// Arrays that are in use at once share a slot.
    Place,
    /// The list of dependences lacks one.
    List,
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub text: String,
    /// Two instances that show it, where instances are what it is about.
    pub witness: Option<[String; 2]>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        match &self.witness {
            Some([a, b]) => write!(f, ": {a} and {b}"),
            None => Ok(()),
        }
    }
}

/// What was found, and how much was looked at.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    /// Questions that the budget did not suffice for, or that there is no rule for.
    pub undecided: Vec<String>,
    /// Questions outside of what a certificate is for: values that were substituted under a computed subscript or test.
    pub unproven: Vec<String>,
    pub statements: usize,
    /// Pairs of accesses that are ordered.
    pub dependences: usize,
    /// Arrays with fewer cells than elements, and arrays with a place in the workspace or in registers.
    pub folded: usize,
    pub placed: usize,
    /// Values of the source that were substituted or shared, and arrays that became constants: their contents are not
    /// proven.
    pub substituted: usize,
    /// Sums that take several products at once, or follow an extreme.
    pub regrouped: usize,
    pub assumed: usize,
    /// Constants that are made of others, and those of them that [`contents`] has compared byte for byte.
    pub rearranged: usize,
    pub compared: usize,
}

impl Verdict {
    /// Everything was decided, and nothing is wrong.
    pub fn holds(&self) -> bool {
        self.findings.is_empty() && self.undecided.is_empty()
    }
}

/// Checks a certificate with at most `operations` isl operations for each question.
///
/// # Errors
/// `Invalid` when the certificate cannot be read.
pub fn check(certificate: &Certificate, operations: u64) -> Result<Verdict> {
    if certificate.format != FORMAT || certificate.version != VERSION {
        let what = format!("it is {} version {}", certificate.format, certificate.version);
        return Err(malformed(what).help(format!("this compiler reads {FORMAT} version {VERSION}")));
    }
    if certificate.steps.is_empty() || certificate.stages.len() != certificate.steps.len() + 1 {
        return Err(malformed("there is not one step between every two stages"));
    }
    let mut verdict = Verdict::default();
    for (n, step) in certificate.steps.iter().enumerate() {
        let repeated = step.rule == Rewrite::Repeated;
        let (earlier, later) = (&certificate.stages[n], &certificate.stages[n + 1]);
        let stages = if repeated { [later, earlier] } else { [earlier, later] };
        let mut checker = Checker::new(certificate, stages, step, operations)?;
        checker.verdict = Verdict { dependences: 0, ..verdict };
        let (last, mut covered) = (n + 1 == certificate.steps.len(), true);
        let list = if last && !repeated { dependences::List::Compared } else { dependences::List::Ignored };
        match step.rule {
            Rewrite::Values => values::check(&mut checker)?,
            Rewrite::Instances | Rewrite::Repeated => same::check(&mut checker)?,
            Rewrite::Regrouped if words::are_there(&checker) => words::check(&mut checker)?,
            Rewrite::Regrouped => covered = online::check(&mut checker, &step.online)?,
        }
        if covered {
            dependences::check(&mut checker, list)?;
        } else {
            let pass = &certificate.stages[n + 1].stage;
            checker.verdict.undecided.push(format!("does \"{pass}\" keep the values, where it regroups sums"));
        }
        if last && repeated {
            checker.verdict.undecided.push("is the storage large enough where instances run more than once".into());
        } else if last {
            storage::check(&mut checker)?;
        }
        checker.verdict.statements = checker.last.statements.len();
        verdict = checker.verdict;
    }
    let lowered = certificate.stages.iter().last();
    let facts = |a: &ArrayEntry| usize::from(a.rearranged.is_some()) + usize::from(a.made.is_some());
    verdict.rearranged = lowered.map_or(0, |l| l.arrays.iter().map(facts).sum());
    Ok(verdict)
}

/// The instances of one statement of the base that instances of a statement of the last program are.
struct Piece {
    /// The statement of the base.
    base: usize,
    /// From instances of the last program to those of the base; the first where they are several.
    map: Map,
    /// To all of them, where they are several.
    all: Option<Map>,
}

/// Statements of the base, each with the map to its instances.
type Stands = Vec<(usize, Map)>;

/// Everything that the parts share.
struct Checker<'c> {
    certificate: &'c Certificate,
    ctx: Ctx,
    operations: u64,
    params: Params<'c>,
    base: Program<'c>,
    last: Program<'c>,
    /// For every statement of `last`: the statements of `base` that it is, none for a copy.
    origins: Vec<Vec<Piece>>,
    /// Is `base` the later stage?
    backwards: bool,
    /// Statements of `last` that take a reduction in blocks.
    grouped: HashSet<usize>,
    verdict: Verdict,
    /// Times of the last program, and of the base.
    times: RefCell<HashMap<(usize, usize), Map>>,
    base_times: RefCell<HashMap<(usize, usize), Map>>,
    /// What decides where a statement stands.
    stands: RefCell<HashMap<usize, Rc<Stands>>>,
    /// Pairs of times, by number of loops and condition.
    conditions: RefCell<HashMap<(usize, String), Map>>,
}

impl<'c> Checker<'c> {
    /// For two stages of the certificate, the earlier first (the later where it repeats), and the step between.
    fn new(
        certificate: &'c Certificate,
        [base, last]: [&'c Listing; 2],
        step: &Step,
        operations: u64,
    ) -> Result<Checker<'c>> {
        let ctx = Ctx::new()?;
        let params = Params(&certificate.params);
        let base = Program::read(&ctx, &params, base)?;
        let last = Program::read(&ctx, &params, last)?;
        let mut origins: Vec<Vec<Piece>> = last.statements.iter().map(|_| Vec::new()).collect();
        for (id, text) in step.instances.iter().flat_map(|(id, texts)| texts.iter().map(move |text| (id, text))) {
            let written = Map::read(&ctx, text).map_err(malformed)?;
            if written.name_in().as_ref() != Some(id) {
                return Err(malformed(format!("{text} is no map from {id}")));
            }
            let relation = match (step.rule, base.index.get(id.as_str())) {
                (Rewrite::Repeated, Some(n)) => written.intersect_domain(&base.statements[*n].domain)?.reverse()?,
                _ => written,
            };
            // Statements that are gone may be listed.
            let Some(own) = last.index.get(relation.name_in().unwrap_or_default().as_str()).copied() else { continue };
            let partial = step.rule == Rewrite::Regrouped;
            origins[own].push(piece(&base, &last.statements[own], (&relation, partial), text)?);
        }
        let mut checker = Checker {
            certificate,
            ctx,
            operations,
            params,
            base,
            last,
            origins,
            backwards: step.rule == Rewrite::Repeated,
            grouped: HashSet::new(),
            verdict: Verdict::default(),
            times: RefCell::default(),
            base_times: RefCell::default(),
            stands: RefCell::default(),
            conditions: RefCell::default(),
        };
        checker.find_barriers()?;
        Ok(checker)
    }

    /// Which barriers behind a statement are met in every iteration in which it runs?
    fn find_barriers(&mut self) -> Result<()> {
        if self.last.team.is_none() {
            return Ok(());
        }
        for statement in 0..self.last.statements.len() {
            let mut met = vec![false];
            for level in 1..self.last.statements[statement].path.positions.len() {
                let mut found = false;
                for other in &self.last.statements[statement].path.barriers[level] {
                    let other = self.last.index.get(other.as_str()).copied();
                    let other = other.ok_or_else(|| malformed("a barrier around a statement that is not there"))?;
                    found = found || self.iterations(statement, level)?.is_subset(&self.iterations(other, level)?)?;
                }
                met.push(found);
            }
            self.last.statements[statement].path.meets_barrier = met;
        }
        Ok(())
    }

    /// The iterations of the first `bands` loops in which a statement runs.
    fn iterations(&self, statement: usize, bands: usize) -> Result<Set> {
        self.time(statement, bands)?.project_out(bands, 1)?.range()
    }

    /// Answers one question within the budget. `what` is said when that does not suffice.
    fn ask(
        &mut self,
        what: impl FnOnce() -> String,
        question: impl FnOnce(&Self) -> Result<Option<Finding>>,
    ) -> Result<()> {
        let budget = self.ctx.budget(self.operations);
        let answer = question(self);
        drop(budget);
        match answer {
            Ok(finding) => self.verdict.findings.extend(finding),
            Err(Error::Limit(_)) => self.verdict.undecided.push(what()),
            // isl refuses relations that do not fit together: the text is at fault.
            Err(Error::Bug(diagnostic)) => return Err(malformed(format!("{}: {}", what(), diagnostic.message))),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn say(&mut self, rule: Rule, text: String) {
        self.verdict.findings.push(Finding { rule, text, witness: None });
    }

    fn id(&self, statement: usize) -> &'c str {
        &self.last.statements[statement].entry.id
    }

    /// Is the statement one that the base does not have?
    fn is_new(&self, statement: usize) -> bool {
        self.origins[statement].is_empty()
    }

    /// Every statement of the last program with every statement of the base that it is.
    fn pieces(&self) -> impl Iterator<Item = (usize, &Piece)> {
        self.origins.iter().enumerate().flat_map(|(statement, pieces)| pieces.iter().map(move |p| (statement, p)))
    }

    /// The statements of the last program that write the array.
    fn writers<'a>(&'a self, array: &'a str) -> impl Iterator<Item = (usize, &'a Statement<'c>)> {
        self.last.statements.iter().enumerate().filter(move |(_, s)| s.write.array == array)
    }

    fn base_time(&self, statement: usize, bands: usize) -> Result<Map> {
        let make = || self.base.statements[statement].time(&self.ctx, &self.params, bands);
        remembered(&self.base_times, (statement, bands), make)
    }

    /// The pairs of instances of two statements of the base that it runs in this order; `None` when there are none.
    fn base_order(&self, first: usize, second: usize) -> Result<Option<Map>> {
        let (a, b) = (&self.base.statements[first].path, &self.base.statements[second].path);
        let (bands, condition) = (a.shared(b), before(a, b));
        if condition == "false" {
            return Ok(None);
        }
        let (from, to) = (self.base_time(first, bands)?, self.base_time(second, bands)?);
        from.apply_range(&self.condition(bands, &condition)?)?.apply_range(&to.reverse()?).map(Some)
    }

    fn time(&self, statement: usize, bands: usize) -> Result<Map> {
        let make = || self.last.statements[statement].time(&self.ctx, &self.params, bands);
        remembered(&self.times, (statement, bands), make)
    }

    /// Pairs of times of `n` loops, and what decides the worker.
    fn condition(&self, n: usize, text: &str) -> Result<Map> {
        let variables = |p: &str| (0..=n).map(|d| format!("{p}{d}")).collect::<Vec<_>>().join(", ");
        let relation = || format!("{{ [{}] -> [{}] : {text} }}", variables("b"), variables("e"));
        remembered(&self.conditions, (n, text.to_string()), || Map::read(&self.ctx, &relation()))
    }

    /// The pairs of instances of `relation` whose times meet the condition; `None` when there are none.
    fn meets(&self, relation: &Map, first: usize, second: usize, condition: &str) -> Result<Option<Map>> {
        if condition == "false" {
            return Ok(None);
        }
        let n = self.last.statements[first].path.shared(&self.last.statements[second].path);
        let (from, to) = (self.time(first, n)?, self.time(second, n)?);
        let condition = self.condition(n, condition)?;
        if relation.apply_domain(&from)?.apply_range(&to)?.intersect(&condition)?.is_empty()? {
            return Ok(None);
        }
        let pairs = from.apply_range(&condition)?.apply_range(&to.reverse()?)?;
        Ok(Some(relation.intersect(&pairs)?))
    }

    /// Pairs of instances whose times meet the condition.
    fn pairs(&self, first: usize, second: usize, condition: &str) -> Result<Map> {
        let n = self.last.statements[first].path.shared(&self.last.statements[second].path);
        let (from, to) = (self.time(first, n)?, self.time(second, n)?);
        from.apply_range(&self.condition(n, condition)?)?.apply_range(&to.reverse()?)
    }

    fn side(&self, statement: usize, access: Option<&Access>) -> Side<'_> {
        let path = &self.last.statements[statement].path;
        let read_by_all = access.is_some_and(|a| a.by != super::ReadBy::Value);
        let walks = self.last.team.as_ref().is_some_and(|t| t.walks(path));
        Side { path, everyone: read_by_all && walks }
    }
}

/// One relation of a step, from a statement of the last program to one of the base. What is no instance of either belongs
/// to a `partial` one only on paper.
fn piece(base: &Program, statement: &Statement, (relation, partial): (&Map, bool), text: &str) -> Result<Piece> {
    let to = base.index.get(relation.name_out().unwrap_or_default().as_str());
    let to = *to.ok_or_else(|| malformed(format!("{text} leads to no statement")))?;
    let mut map = relation.intersect_domain(&statement.domain)?;
    if partial {
        map = map.intersect_range(&base.statements[to].domain)?;
    }
    if map.is_single_valued()? {
        return Ok(Piece { base: to, map, all: None });
    }
    let all = map.intersect_range(&base.statements[to].domain)?;
    Ok(Piece { base: to, map: all.lexmin()?, all: Some(all) })
}

/// The map of this key, made when it is first asked for.
fn remembered<K: Eq + Hash>(
    maps: &RefCell<HashMap<K, Map>>,
    key: K,
    make: impl FnOnce() -> Result<Map>,
) -> Result<Map> {
    if let Some(map) = maps.borrow().get(&key) {
        return Ok(map.clone());
    }
    let map = make()?;
    maps.borrow_mut().insert(key, map.clone());
    Ok(map)
}

/// `S3[0,4]`.
fn instance(name: &str, at: &[i64]) -> String {
    format!("{name}[{}]", at.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
}

/// A finding with one pair of the relation, when it is not empty.
fn witness(relation: &Map, names: [&str; 2], rule: Rule, text: impl FnOnce() -> String) -> Result<Option<Finding>> {
    Ok(relation.sample()?.map(|(a, b)| Finding {
        rule,
        text: text(),
        witness: Some([instance(names[0], &a), instance(names[1], &b)]),
    }))
}

/// A point of the set by name.
fn point(set: &Set, name: &str) -> Result<Option<String>> {
    Ok(set.sample()?.map(|at| instance(name, &at)))
}

/// Two different instances with one image under the map, in terms of its domain.
fn collision(ctx: &Ctx, map: &Map) -> Result<Option<Map>> {
    if map.is_injective()? {
        return Ok(None);
    }
    let same = map.apply_range(&map.reverse()?)?;
    let n = map.dims_in();
    let name = map.name_in().unwrap_or_default();
    let variables = |p: &str| (0..n).map(|d| format!("{p}{d}")).collect::<Vec<_>>().join(", ");
    let earlier: Vec<String> = (0..n)
        .map(|d| (0..d).map(|m| format!("b{m} = e{m} and ")).collect::<String>() + &format!("b{d} < e{d}"))
        .map(|piece| format!("({piece})"))
        .collect();
    let text = format!("{{ {name}[{}] -> {name}[{}] : {} }}", variables("b"), variables("e"), earlier.join(" or "));
    Ok(Some(same.intersect(&Map::read(ctx, &text)?)?))
}
