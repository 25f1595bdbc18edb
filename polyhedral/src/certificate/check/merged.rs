//! Instances of the base that became one of the last program: did they all do the same?
//!
//! The first of them stands for all. Each of the others reads the elements that the first reads, and nothing writes
//! these between the two. What they write they have for themselves: arrays of which every write is of such instances, and
//! element by element the writes before an access are, each taken for the first of its kind, those before the access of the
//! first, and those before it to the element of the first; no two of a kind write one element. By induction over the order
//! of the base, each then computes what the first computes, and whoever reads one of their elements may read that of the
//! first.

use super::guards::parts;
use super::same::mapped;
use super::*;
use crate::certificate::{ArrayRole, ReadBy};
use std::collections::BTreeSet;

pub fn check(checker: &mut Checker) -> Result<()> {
    let merged: BTreeSet<usize> =
        checker.pieces().filter(|(_, p)| p.all.is_some()).map(|(_, piece)| piece.base).collect();
    let arrays: BTreeSet<String> = merged.iter().map(|s| checker.base.statements[*s].write.array.clone()).collect();
    for statement in &merged {
        let id = checker.base.statements[*statement].entry.id.as_str();
        checker.ask(
            || format!("do the instances of {id} that became one compute the same"),
            |c| same_operands(c, *statement, &arrays),
        )?;
    }
    for array in &arrays {
        checker.ask(
            || format!("do all elements of {array} that became one hold the same"),
            |c| own_array(c, array, &merged),
        )?;
        for statement in 0..checker.base.statements.len() {
            for n in 0..=checker.base.statements[statement].reads.len() {
                if access(&checker.base.statements[statement], n).array == *array {
                    let id = checker.base.statements[statement].entry.id.as_str();
                    checker.ask(
                        || format!("does {id} find in {array} what the first instance wrote"),
                        |c| same_writes(c, array, statement, n),
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// From instances of a statement of the base to the first of those that became one with it; `None` where none did.
fn first_of(c: &Checker, base: usize) -> Result<Option<Map>> {
    if c.pieces().all(|(_, p)| p.base != base || p.all.is_none()) {
        return Ok(None);
    }
    let mut out: Option<Map> = None;
    for (_, piece) in c.pieces().filter(|(_, p)| p.base == base) {
        let map = piece.all.as_ref().unwrap_or(&piece.map).reverse()?.apply_range(&piece.map)?;
        out = Some(match out {
            Some(known) => known.union(&map)?,
            None => map,
        });
    }
    Ok(out)
}

/// From elements of an array of the base to those that the first instances wrote; `None` where no instances that became
/// one write it.
pub fn firsts_of(c: &Checker, array: &str) -> Result<Option<Map>> {
    let mut out: Option<Map> = None;
    for (n, statement) in c.base.statements.iter().enumerate().filter(|(_, s)| s.write.array == array) {
        let Some(first) = first_of(c, n)? else { continue };
        let write = &statement.write.may;
        let map = write.reverse()?.apply_range(&first)?.apply_range(write)?;
        out = Some(match out {
            Some(known) => known.union(&map)?,
            None => map,
        });
    }
    Ok(out)
}

/// Read `n` of a statement, or the write behind its reads.
fn access<'a>(statement: &'a Statement, n: usize) -> &'a Access {
    statement.reads.get(n).unwrap_or(&statement.write)
}

fn finding(text: String) -> Result<Option<Finding>> {
    Ok(Some(Finding { rule: Rule::Values, text, witness: None }))
}

/// Only instances that became one write the array, element for element, and it is the program's own.
fn own_array(c: &Checker, array: &str, merged: &BTreeSet<usize>) -> Result<Option<Finding>> {
    let others = c.base.statements.iter().enumerate().find(|(n, s)| s.write.array == array && !merged.contains(n));
    if let Some((_, other)) = others {
        return finding(format!("{} writes {array}, of which other elements became one", other.entry.id));
    }
    let plain = firsts_of(c, array)?.is_some_and(|first| first.is_single_valued().unwrap_or(false));
    if !plain || c.base.arrays[array].entry.role != ArrayRole::Temp {
        return finding(format!("elements of {array} became one that are not one to each"));
    }
    for (n, writer) in c.base.statements.iter().enumerate().filter(|(_, s)| s.write.array == array) {
        let Some(first) = first_of(c, n)? else { continue };
        let write = &writer.write.may;
        let twice = first.apply_range(&first.reverse()?)?.intersect(&write.apply_range(&write.reverse()?)?)?;
        if !twice.subtract(&writer.domain.identity()?)?.is_empty()? {
            return finding(format!("instances of {} became one that write one element of {array}", writer.entry.id));
        }
    }
    Ok(None)
}

/// Outside of `arrays`, does every instance read what the first reads, unchanged?
fn same_operands(c: &Checker, statement: usize, arrays: &BTreeSet<String>) -> Result<Option<Finding>> {
    let (old, Some(first)) = (&c.base.statements[statement], first_of(c, statement)?) else { return Ok(None) };
    let id = &old.entry.id;
    if old.write.exact.domain_is_wrapping()? {
        return finding(format!("{id} computes where it writes, and its instances became one"));
    }
    let tested = c.pieces().any(|(s, p)| p.base == statement && parts(&c.last.statements[s].entry.body).1.is_some());
    let values = c.pieces().find(|(_, p)| p.base == statement).map(|(s, _)| c.last.statements[s].entry.values.len());
    for text in old.entry.values.iter().take(values.unwrap_or(0)) {
        let value = Map::read(&c.ctx, text).map_err(malformed)?.intersect_domain(&old.domain)?;
        if !first.apply_range(&value)?.is_equal(&value)? {
            return finding(format!("a value of {id} differs between instances that became one: {text}"));
        }
    }
    for read in old.reads.iter().filter(|r| tested || r.by != ReadBy::Guard) {
        let (mine, its) = (mapped(&old.domain.identity()?, &c.base, read)?, mapped(&first, &c.base, read)?);
        if arrays.contains(&read.array) {
            let Some(firsts) = firsts_of(c, &read.array)? else { continue };
            if !mine.apply_range(&firsts)?.is_equal(&its.apply_range(&firsts)?)? {
                return finding(format!("{id} reads other elements of {} than the first instance", read.array));
            }
            continue;
        }
        if let Some(bad) = mine.subtract(&its)?.sample()? {
            let text = format!("instances of {id} became one that read different elements of {}", read.array);
            let at = instance(&read.array, &bad.1);
            return finding(format!("{text}: {at}"));
        }
        if let Some(found) = written_between(c, statement, read, &first)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A write to what an instance reads, between it and the first.
fn written_between(c: &Checker, reader: usize, read: &Access, first: &Map) -> Result<Option<Finding>> {
    let old = &c.base.statements[reader];
    for (n, writer) in c.base.statements.iter().enumerate().filter(|(_, w)| w.write.array == read.array) {
        let touch = read.may.apply_range(&writer.write.may.reverse()?)?;
        let (Some(after), Some(before)) = (c.base_order(reader, n)?, c.base_order(n, reader)?) else { continue };
        let before = before.reverse()?;
        let forth = first.apply_range(&after)?.intersect(&before)?;
        let back = first.apply_range(&before)?.intersect(&after)?;
        let bad = touch.intersect(&forth.union(&back)?)?;
        let names = [old.entry.id.as_str(), writer.entry.id.as_str()];
        let text = || format!("what an instance reads of {} was written since the first read it", read.array);
        if let Some(found) = witness(&bad, names, Rule::Values, text)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Are the writes before an access to the array those before the access of the first instance, and does that find them
/// where the first instances wrote?
fn same_writes(c: &Checker, array: &str, statement: usize, n: usize) -> Result<Option<Finding>> {
    let (user, Some(firsts)) = (&c.base.statements[statement], firsts_of(c, array)?) else { return Ok(None) };
    let touched = access(user, n);
    let all = user.domain.identity()?;
    let first = first_of(c, statement)?;
    let mine = mapped(&all, &c.base, touched)?;
    for (w, writer) in c.base.statements.iter().enumerate().filter(|(_, s)| s.write.array == array) {
        let (Some(order), Some(leads)) = (c.base_order(w, statement)?, first_of(c, w)?) else { continue };
        let (order, writes) = (order.reverse()?, writer.write.may.reverse()?);
        let made = mine.apply_range(&writes)?.intersect(&lifted(user, touched, &order)?)?.apply_range(&leads)?;
        // What runs is the first instance, and it finds the elements of first instances.
        let runs = first.as_ref().map_or_else(|| Ok(all.clone()), |first| first.range()?.identity())?;
        let there = lifted(user, touched, &order)?;
        let found = mine.apply_range(&firsts)?.apply_range(&writes)?.intersect(&there)?;
        let runs = lifted(user, touched, &runs)?.domain()?;
        let mut same = made.intersect_domain(&runs)?.is_equal(&found.intersect_domain(&runs)?)?;
        if let Some(first) = &first {
            let order = lifted(user, touched, &first.apply_range(&order)?)?;
            let its = mapped(first, &c.base, touched)?.apply_range(&writes)?.intersect(&order)?;
            same = same && made.is_equal(&its.apply_range(&leads)?)?;
        }
        if !same {
            let (id, by) = (&user.entry.id, &writer.entry.id);
            return finding(format!("{id} finds in {array} something else than the first instance of {by} wrote"));
        }
    }
    Ok(None)
}

/// A relation from instances as one from instances and the values of computed subscripts, where the access has some.
fn lifted(statement: &Statement, access: &Access, relation: &Map) -> Result<Map> {
    if !access.exact.domain_is_wrapping()? {
        return Ok(relation.clone());
    }
    let variables = access.exact.domain()?.unwrap()?.dims_out();
    let tuple = |p: &str, n: usize| (0..n).map(|d| format!("{p}{d}")).collect::<Vec<_>>().join(", ");
    let own = format!("{}[{}]", statement.entry.id, tuple("i", statement.domain.dims()));
    let text = format!("{{ [{own} -> [{}]] -> {own} }}", tuple("e", variables));
    Map::read(relation.ctx(), &text)?.apply_range(relation)
}
