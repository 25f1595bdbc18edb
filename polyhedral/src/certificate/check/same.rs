//! Does every statement compute what it did, from the same elements?
//!
//! A statement keeps its body, and under the map of its instances each of its accesses. Temporaries may have been laid
//! out anew (`places`): all accesses must agree. A read may go to a copy instead (`copies`), or to a constant that is
//! rearranged or has the same contents. All accesses of some statements to an array may go to a new one in its stead,
//! which a new statement copies back, one element to one element. A test may be left out where nobody misses it: what
//! an instance writes that did not run is not read; and one may be new where all that is written is read under it only.

use super::copies::{back, copier};
use super::guards::{gained, gained_reads, parts, read_where_tested, same_test};
use super::places::{Places, moved_arrays};
use super::*;
use crate::certificate::{ArrayRole, ReadBy};
use std::collections::HashSet;

pub fn check(checker: &mut Checker) -> Result<()> {
    instances::check(checker)?;
    for statement in (0..checker.last.statements.len()).filter(|s| checker.is_new(*s)).collect::<Vec<_>>() {
        copies::check(checker, statement)?;
    }
    constants::check(checker);
    merged::check(checker)?;
    let moved = moved_arrays(checker)?;
    for statement in 0..checker.last.statements.len() {
        self::statement(checker, statement, &moved)?;
    }
    Ok(())
}

/// Does a statement compute what those did that it is?
pub fn statement(checker: &mut Checker, statement: usize, moved: &Places) -> Result<()> {
    for piece in 0..checker.origins[statement].len() {
        accesses(checker, statement, piece, moved)?;
    }
    Ok(())
}

/// What the base accesses, as a map from instances of the last program. What is outside the array is never read: it
/// belongs to the side of a select that is not taken.
pub fn mapped(map: &Map, program: &Program, old: &Access) -> Result<Map> {
    let shape = &program.arrays[old.array.as_str()].shape;
    if !old.exact.domain_is_wrapping()? {
        return map.apply_range(&old.exact)?.intersect_range(shape);
    }
    // The computed subscripts are the same variables on both sides.
    let variables = old.exact.domain()?.unwrap()?.dims_out();
    let names: Vec<String> = (0..variables).map(|n| format!("e{n}")).collect();
    let tuple = names.join(", ");
    let same = Map::read(map.ctx(), &format!("{{ [{tuple}] -> [{tuple}] }}"))?;
    map.product(&same)?.apply_range(&old.exact)?.intersect_range(shape)
}

/// What the last program accesses, on the instances of a piece.
pub fn now(checker: &Checker, piece: &Piece, access: &Access) -> Result<Map> {
    mapped(&piece.map.domain()?.identity()?, &checker.last, access)
}

/// Has a statement of the base a test that the one of the last program has not?
fn lost_test(new: &Statement, old: &Statement) -> bool {
    parts(&new.entry.body).1.is_none() && parts(&old.entry.body).1.is_some()
}

/// The accesses of two statements that stand for each other, the writes first. Those of a test that is gone, and of
/// conditions that are new, are left out.
pub fn pairs<'a>(new: &'a Statement, old: &'a Statement) -> Vec<(&'a Access, &'a Access)> {
    let lost = lost_test(new, old);
    let kept = old.reads.iter().filter(|r| !lost || r.by != ReadBy::Guard);
    let gained = gained_reads(&new.entry.body, &old.entry.body);
    let stayed = new.reads.iter().enumerate().filter(|(n, _)| !gained.contains(n)).map(|(_, r)| r);
    let reads = stayed.zip(kept);
    [(&new.write, &old.write)].into_iter().chain(reads).collect()
}

/// Body, values and accesses of a statement, where it is the statement of the base that the piece says.
fn accesses(checker: &mut Checker, statement: usize, piece: usize, moved: &Places) -> Result<()> {
    let id = checker.id(statement);
    if checker.last.statements[statement].reads.iter().any(|r| is_computed_anew(checker, &r.array)) {
        checker.verdict.undecided.push(format!("what does {id} compute from what is computed anew"));
        return Ok(());
    }
    let base = checker.origins[statement][piece].base;
    let (new, old) = (&checker.last.statements[statement], &checker.base.statements[base]);
    let lost = lost_test(new, old);
    let gained = match lost && new.entry.body == parts(&old.entry.body).0 {
        true => Some(Vec::new()),
        false => gained(&new.entry.body, &old.entry.body),
    };
    let kinds = |s: &Statement, without: &HashSet<usize>| -> Vec<ReadBy> {
        let left = s.reads.iter().enumerate().filter(|(n, _)| !without.contains(n));
        left.map(|(_, r)| r.by).filter(|by| !lost || *by != ReadBy::Guard).collect()
    };
    let extra = gained_reads(&new.entry.body, &old.entry.body);
    let reads_same = kinds(new, &extra) == kinds(old, &HashSet::new());
    let values = new.entry.values.len().min(old.entry.values.len());
    let Some(gained) = gained.filter(|_| new.entry.kind == old.entry.kind) else {
        let text = format!("{id} computes `{}`, the base `{}`", new.entry.body, old.entry.body);
        checker.say(Rule::Values, text);
        return Ok(());
    };
    let more = if gained.is_empty() { new.entry.values.len() } else { 0 };
    if !reads_same || more > values || (!lost && old.entry.values.len() > values) {
        checker.say(Rule::Values, format!("{id} reads other things than in the base"));
        return Ok(());
    }
    let reads = pairs(new, old).len() - 1;
    if !gained.is_empty() {
        checker.ask(|| format!("may {id} have a test"), |c| read_where_tested(c, statement, &gained))?;
    }
    if lost {
        checker.ask(|| format!("may {id} do without its test"), |c| untested(c, base))?;
    }
    for n in 0..values {
        checker.ask(|| format!("is value {n} of {id} the same"), |c| same_value(c, statement, piece, n))?;
    }
    for n in 0..=reads {
        checker
            .ask(|| format!("does {id} access the same elements"), |c| same_access(c, statement, piece, n, moved))?;
    }
    Ok(())
}

fn same_value(c: &Checker, statement: usize, piece: usize, n: usize) -> Result<Option<Finding>> {
    let piece = &c.origins[statement][piece];
    let (new, old) = (c.last.statements[statement].entry, c.base.statements[piece.base].entry);
    let read = |text: &str| Map::read(&c.ctx, text).map_err(malformed);
    let now = read(&new.values[n])?.intersect_domain(&piece.map.domain()?)?;
    let same = piece.map.apply_range(&read(&old.values[n])?)?.is_equal(&now)?;
    let text = || format!("value {n} of {} is {}, in the base {}", new.id, new.values[n], old.values[n]);
    Ok((!same).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
}

/// May a statement of the base run where its test does not hold? Then all that is written to its elements has that
/// test, so that they hold nothing where it does not, and its subscripts are known to be inside.
fn untested(c: &Checker, statement: usize) -> Result<Option<Finding>> {
    let old = &c.base.statements[statement];
    let array = old.write.array.as_str();
    let mut fine = c.base.arrays[array].entry.role == ArrayRole::Temp;
    for access in old.accesses().filter(|a| a.by == ReadBy::Value) {
        fine &= !access.exact.domain_is_wrapping()?;
    }
    let test = parts(&old.entry.body).1;
    for writer in c.base.statements.iter().filter(|s| s.write.array == array) {
        let link = old.write.may.apply_range(&writer.write.may.reverse()?)?;
        if !link.is_empty()? {
            fine &= same_test(c, (writer, parts(&writer.entry.body).1), (old, test), &link)?;
        }
    }
    let text = || format!("{} runs where its test does not hold, and {array} has other writes", old.entry.id);
    Ok((!fine).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
}

/// Does a new statement that is no copy write the array?
fn is_computed_anew(c: &Checker, array: &str) -> bool {
    c.writers(array).any(|(n, s)| c.is_new(n) && !c.grouped.contains(&n) && parts(&s.entry.body).0 != "#0")
}

/// Access `n` of a statement: its write, then its reads.
fn same_access(c: &Checker, statement: usize, piece: usize, n: usize, moved: &Places) -> Result<Option<Finding>> {
    let piece = &c.origins[statement][piece];
    let (new, old) = (&c.last.statements[statement], &c.base.statements[piece.base]);
    let (here, then) = pairs(new, old)[n];
    let (id, to, was) = (&new.entry.id, here.array.as_str(), then.array.as_str());
    let mut wanted = mapped(&piece.map, &c.base, then)?;
    if let Some(places) = moved.get(was) {
        wanted = wanted.apply_range(places)?;
    }
    let from = wanted.name_out().unwrap_or_else(|| was.into());
    let from = from.as_str();
    let found = now(c, piece, here)?;
    let differs = |text: String| Ok(Some(Finding { rule: Rule::Values, text, witness: None }));
    if to == from {
        let same = wanted.is_equal(&found)?;
        return if same { Ok(None) } else { differs(format!("{id} accesses {found}, in the base {wanted}")) };
    }
    if c.last.arrays[to].entry.dtype != c.base.arrays[was].entry.dtype {
        return differs(format!("{id} accesses {to}, in the base {was}, which is of another type"));
    }
    let constant = |p: &Program, a: &str| p.arrays[a].entry.role == ArrayRole::Constant;
    if constant(&c.last, to) && constant(&c.base, was) {
        return constants::same(c, (to, &found), (was, &wanted), id);
    }
    if let Some(copy) = copier(c, to, from) {
        // The array stands in for the one of the base.
        let through = found.apply_range(&back(copy)?)?;
        let text = || format!("{id} accesses {through} through {to}, in the base {wanted}");
        return if through.is_equal(&wanted)? { Ok(None) } else { differs(text()) };
    }
    let Some(copy) = copier(c, from, to) else { return differs(format!("{id} accesses {to}, in the base {from}")) };
    let through = found.apply_range(&copy.write.may.reverse()?)?.apply_range(&copy.reads[0].may)?;
    let text = || format!("{id} reads {through} through {to}, in the base {wanted}");
    if through.is_equal(&wanted)? { Ok(None) } else { differs(text()) }
}

/// `{ A3[o0, o1] -> A2[o0, o1] }`.
pub fn rename(ctx: &Ctx, from: &str, to: &str, dims: usize) -> Result<Map> {
    let variables: Vec<String> = (0..dims).map(|d| format!("o{d}")).collect();
    let tuple = variables.join(", ");
    Map::read(ctx, &format!("{{ {from}[{tuple}] -> {to}[{tuple}] }}"))
}
