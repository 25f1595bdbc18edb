//! Is what the base orders ordered in the last program?
//!
//! Two instances that touch one element, one of them writing, keep the order that they have in the base; no single
//! assignment is assumed. Accumulations with one operator may change places, but not go on at once (except in lanes,
//! which keep partial results). A copy stands where its readers stand. What a new test reads is complete before.

use super::guards::gained_reads;
use super::order::{at_once, not_over};
use super::*;
use crate::certificate::{ArrayRole, Ordering, ReadBy};
use std::collections::{BTreeMap, HashSet};

/// What becomes of the recorded list of dependences.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// It must lack nothing.
    Compared,
    /// It is about another program.
    Ignored,
}

pub fn check(checker: &mut Checker, list: List) -> Result<()> {
    let listed = if list == List::Compared { Some(Listed::read(checker)?) } else { None };
    let touches = touches(checker);
    for all in touches.values().filter(|all| all.iter().any(|t| t.writes)) {
        for first in all {
            for second in all.iter().filter(|second| first.writes || second.writes) {
                pair(checker, listed.as_ref(), *first, *second)?;
            }
        }
    }
    Ok(())
}

/// The recorded dependences, by source, sink and array.
struct Listed(HashMap<(String, String, String), Vec<Map>>);

impl Listed {
    fn read(checker: &Checker) -> Result<Listed> {
        let mut out: HashMap<_, Vec<Map>> = HashMap::new();
        for entry in checker.certificate.dependences.iter().filter(|e| e.kind != Ordering::Reduction) {
            let map = Map::read(&checker.ctx, &entry.relation).map_err(malformed)?;
            out.entry((entry.source.clone(), entry.sink.clone(), entry.array.clone())).or_default().push(map);
        }
        Ok(Listed(out))
    }

    /// The part of `relation` that is not on the list.
    fn missing(&self, source: &str, sink: &str, array: &str, relation: &Map) -> Result<Map> {
        let known = self.0.get(&(source.into(), sink.into(), array.into())).map_or(&[][..], Vec::as_slice);
        known.iter().try_fold(relation.clone(), |rest, map| rest.subtract(map))
    }
}

/// One access of one statement: read number `read`, or the write.
#[derive(Clone, Copy)]
pub struct Touch {
    pub statement: usize,
    read: usize,
    pub writes: bool,
    /// A read for a condition that the base does not test.
    gained: bool,
}

impl Touch {
    fn access<'a>(&self, checker: &'a Checker) -> &'a Access {
        let statement = &checker.last.statements[self.statement];
        if self.writes { &statement.write } else { &statement.reads[self.read] }
    }
}

/// The different accesses to every array.
fn touches(checker: &Checker) -> BTreeMap<String, Vec<Touch>> {
    let mut out: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
    for (statement, s) in checker.last.statements.iter().enumerate() {
        let mut seen = HashSet::new();
        out.entry(s.write.array.clone()).or_default().push(Touch { statement, read: 0, writes: true, gained: false });
        let old = checker.origins[statement].first().map(|p| checker.base.statements[p.base].entry);
        let new = old.map_or(HashSet::new(), |old| gained_reads(&s.entry.body, &old.body));
        for (read, access) in s.reads.iter().enumerate() {
            let gained = new.contains(&read);
            if seen.insert((&s.entry.reads[read].map, access.by, gained)) {
                out.entry(access.array.clone()).or_default().push(Touch { statement, read, writes: false, gained });
            }
        }
    }
    out
}

/// Two accesses to one array, the first before the second in the base.
fn pair(checker: &mut Checker, listed: Option<&Listed>, first: Touch, second: Touch) -> Result<()> {
    let operator = |t: &Touch| checker.last.statements[t.statement].reduces();
    let both_write = first.writes && second.writes;
    let commute = both_write && operator(&first).is_some() && operator(&first) == operator(&second);
    // A new condition has no place in the base: it is complete before it is tested.
    if first.gained || (commute && first.statement > second.statement) {
        return Ok(());
    }
    let (source, sink) = (checker.id(first.statement), checker.id(second.statement));
    let mut found = false;
    checker.ask(
        || format!("does {source} come before {sink}"),
        |c| {
            let (a, b) = (&c.last.statements[first.statement], &c.last.statements[second.statement]);
            let (from, to) = (first.access(c), second.access(c));
            let (earlier, later) = (c.side(first.statement, Some(from)), c.side(second.statement, Some(to)));
            let team = c.last.team.as_ref();
            let mut relation = from.may.apply_range(&to.may.reverse()?)?;
            let condition = if commute {
                at_once(team, earlier, later)
            } else {
                if !second.gained {
                    relation = match c.grouped.contains(&first.statement) || c.grouped.contains(&second.statement) {
                        true if online::goes_first(c, first, second) => relation,
                        true => relation.subtract(&relation)?,
                        false => base_ordered(c, first.statement, second.statement, &from.array, relation)?,
                    };
                }
                let inside = to.by == ReadBy::Parameter && earlier.path.shared(later.path) > 0;
                if inside { "true".into() } else { not_over(team, earlier, later) }
            };
            if relation.is_empty()? || (both_write && guards::exclusive(c, a, b, &relation)?) {
                return Ok(None);
            }
            found = true;
            let (array, name) = (&from.array, &c.last.arrays[from.array.as_str()].entry.name);
            if let Some(bad) = c.meets(&relation, first.statement, second.statement, &condition)? {
                let how = if commute { "accumulate at once" } else { "are not in the order of the base" };
                let text = || format!("through {array} ({name}), two instances {how}");
                if let Some(finding) = witness(&bad, [source, sink], Rule::Order, text)? {
                    return Ok(Some(finding));
                }
            }
            let assigns = both_write && a.entry.kind == "assign" && b.entry.kind == "assign";
            let Some(listed) = listed.filter(|_| first.writes && !commute && !assigns) else { return Ok(None) };
            let missing = listed.missing(source, sink, array, &relation)?;
            witness(&missing, [source, sink], Rule::List, || format!("a dependence through {array} is not listed"))
        },
    )?;
    checker.verdict.dependences += usize::from(found);
    Ok(())
}

/// The part of `relation` that the base runs in this order.
fn base_ordered(c: &Checker, first: usize, second: usize, array: &str, relation: Map) -> Result<Map> {
    let nothing = |relation: &Map| relation.subtract(relation);
    let (copies, copied) = (c.is_new(first), c.is_new(second));
    // Everything about a copy's own elements is: first the copy, then the readers.
    if copies && c.last.statements[first].write.array == array {
        return if first == second { nothing(&relation) } else { Ok(relation) };
    }
    if copied && c.last.statements[second].write.array == array {
        return nothing(&relation);
    }
    // The caller reads an output at the end: what is copied back to it is complete.
    let target = &c.last.statements[second].write.array;
    if copied && c.last.arrays[target.as_str()].entry.role == ArrayRole::Output {
        return Ok(relation);
    }
    let mut all: Option<Map> = None;
    let (from, to) = (stands_for(c, first)?, stands_for(c, second)?);
    for (p, to_p) in from.iter() {
        let some = if from.len() > 1 { relation.intersect_domain(&to_p.domain()?)? } else { relation.clone() };
        if some.is_empty()? {
            continue;
        }
        for (q, to_q) in to.iter() {
            let Some(order) = c.base_order(*p, *q)? else { continue };
            let some = if to.len() > 1 { some.intersect_range(&to_q.domain()?)? } else { some.clone() };
            if some.is_empty()? {
                continue;
            }
            let part = some.intersect(&to_p.apply_range(&order)?.apply_range(&to_q.reverse()?)?)?;
            all = Some(match all {
                Some(known) => known.union(&part)?,
                None => part,
            });
        }
    }
    all.map_or_else(|| nothing(&relation), Ok)
}

/// The statements of the base that decide where this one stands, each with the map to its instances: those that it is,
/// or those of the readers of a copy, through further copies too.
fn stands_for(c: &Checker, statement: usize) -> Result<Rc<Stands>> {
    if let Some(known) = c.stands.borrow().get(&statement) {
        return Ok(known.clone());
    }
    let found = Rc::new(through(c, statement, &[])?);
    c.stands.borrow_mut().insert(statement, found.clone());
    Ok(found)
}

/// As [`stands_for`], after the copies `seen`: a copy that leads back to itself has no reader there.
fn through(c: &Checker, statement: usize, seen: &[usize]) -> Result<Stands> {
    if !c.is_new(statement) {
        return Ok(c.origins[statement].iter().map(|p| (p.base, p.map.clone())).collect());
    }
    let write = &c.last.statements[statement].write;
    let mut out = Vec::new();
    for (reader, s) in c.last.statements.iter().enumerate() {
        for read in s.reads.iter().filter(|r| r.array == write.array) {
            let link = write.may.apply_range(&read.may.reverse()?)?;
            if reader == statement || seen.contains(&reader) || link.is_empty()? {
                continue;
            }
            for (stands, further) in through(c, reader, &[seen, &[statement]].concat())? {
                out.push((stands, link.apply_range(&further)?));
            }
        }
    }
    Ok(out)
}
