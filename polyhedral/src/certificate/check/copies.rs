//! Statements that the base does not have: copies, element by element.
//!
//! A copy goes into elements that nobody else writes: of a new array, or of one of the base that a new array stands in
//! for. One that runs only where a test holds is read only where the same test holds.

use super::guards::{parts, same_test};
use super::*;
use crate::certificate::ArrayRole;

/// A statement without a counterpart: an element-by-element copy into elements of its own.
pub fn check(checker: &mut Checker, statement: usize) -> Result<()> {
    let (id, entry) = (checker.id(statement), checker.last.statements[statement].entry);
    let (value, guard) = parts(&entry.body);
    if value != "#0" || entry.kind != "assign" {
        checker.verdict.undecided.push(format!("what does {id} compute, which is new and no copy"));
        return Ok(());
    }
    if guard.is_some() {
        there_when_read(checker, statement)?;
    }
    let array = checker.last.statements[statement].write.array.clone();
    let dtype = |array: &str| &checker.last.arrays[array].entry.dtype;
    if dtype(&array) != dtype(&checker.last.statements[statement].reads[0].array) {
        checker.say(Rule::Values, format!("{id} copies between arrays of different types"));
        return Ok(());
    }
    if checker.base.arrays.contains_key(array.as_str()) {
        return copy_back(checker, statement);
    }
    own_elements(checker, statement)
}

/// A new statement writes elements of its own, each once.
pub fn own_elements(checker: &mut Checker, statement: usize) -> Result<()> {
    let id = checker.id(statement);
    let array = checker.last.statements[statement].write.array.clone();
    checker.ask(
        || format!("does {id} write every element once, and alone"),
        |c| {
            let write = &c.last.statements[statement].write.may;
            if let Some(bad) = collision(&c.ctx, write)? {
                let text = || format!("a new statement writes an element of {array} twice");
                return witness(&bad, [id, id], Rule::Values, text);
            }
            let new = !c.base.arrays.contains_key(array.as_str());
            let temp = c.last.arrays[array.as_str()].entry.role == ArrayRole::Temp;
            if new && temp && writes_alone(c, statement)? {
                return Ok(None);
            }
            let text = format!("{id} writes into {array}, which is not its own");
            Ok(Some(Finding { rule: Rule::Values, text, witness: None }))
        },
    )
}

/// Does no other statement write what this one writes?
fn writes_alone(c: &Checker, statement: usize) -> Result<bool> {
    let own = &c.last.statements[statement].write;
    let written = own.may.range()?;
    for (_, other) in c.writers(&own.array).filter(|(n, _)| *n != statement) {
        if !other.write.may.range()?.intersect(&written)?.is_empty()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A copy into an array of the base, from a new one that stands in for it: one element to one element, and nobody else
/// writes these elements.
fn copy_back(checker: &mut Checker, copy: usize) -> Result<()> {
    let id = checker.id(copy);
    checker.ask(
        || format!("is {id} the only one that writes what it copies back"),
        |c| {
            let new = &c.last.statements[copy];
            let (to, from) = (new.write.array.as_str(), new.reads[0].array.as_str());
            let text = || format!("{id} copies {from} into {to}, which is not its own");
            let wrong = || Ok(Some(Finding { rule: Rule::Values, text: text(), witness: None }));
            let elements = back(new)?;
            if c.base.arrays.contains_key(from) || !elements.is_single_valued()? || !elements.is_injective()? {
                return wrong();
            }
            if writes_alone(c, copy)? { Ok(None) } else { wrong() }
        },
    )
}

/// From the elements that a copy reads to those that it writes.
pub fn back(copy: &Statement) -> Result<Map> {
    copy.reads[0].may.reverse()?.apply_range(&copy.write.may)
}

/// The new statement that copies `from` to `to`.
pub fn copier<'a, 'c>(c: &'a Checker<'c>, from: &str, to: &str) -> Option<&'a Statement<'c>> {
    let copies = |n: usize, s: &Statement| {
        let copy = c.is_new(n) && !c.grouped.contains(&n) && parts(&s.entry.body).0 == "#0";
        copy && s.write.array == to && s.reads.first().is_some_and(|r| r.array == from)
    };
    c.last.statements.iter().enumerate().find(|(n, s)| copies(*n, s)).map(|(_, s)| s)
}

/// A copy that runs only where a test holds: whoever reads it makes the same test on the same values.
fn there_when_read(checker: &mut Checker, copy: usize) -> Result<()> {
    let id = checker.id(copy);
    let array = checker.last.statements[copy].write.array.clone();
    for reader in 0..checker.last.statements.len() {
        for n in 0..checker.last.statements[reader].reads.len() {
            if checker.last.statements[reader].reads[n].array != array {
                continue;
            }
            let by = checker.id(reader);
            checker.ask(
                || format!("is the copy {id} there when {by} reads it"),
                |c| {
                    let (made, read) = (&c.last.statements[copy], &c.last.statements[reader]);
                    let link = read.reads[n].may.apply_range(&made.write.may.reverse()?)?;
                    let same =
                        same_test(c, (made, parts(&made.entry.body).1), (read, parts(&read.entry.body).1), &link)?;
                    let text = || format!("{by} reads the copy {id} where that may not have run");
                    Ok((!same).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
                },
            )?;
        }
    }
    Ok(())
}
