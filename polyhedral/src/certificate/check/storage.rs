//! Do values survive until their last read?
//!
//! A cell that holds several elements of an array loses one when another is written. That is wrong when the write is
//! not surely before the one that made the value, and a read of the value is not surely over when the write begins.
//! Arrays in one slot take turns. A register belongs to one iteration of the loops down to its tile.

use super::order::not_over;
use super::*;
use crate::certificate::{ArrayRole, Place};
use std::collections::BTreeMap;

pub fn check(checker: &mut Checker) -> Result<()> {
    let Some(lowered) = checker.certificate.stages.last() else { return Ok(()) };
    let entries = &lowered.arrays;
    let mut slots: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let touched = !accesses(checker, &entry.id).is_empty();
        cells(checker, &entry.id)?;
        match entry.place {
            Some(_) if entry.role != ArrayRole::Temp => {
                checker.say(Rule::Place, format!("{} is not the program's own, but has a place", entry.id));
            }
            Some(Place::Slot(slot)) if touched => slots.entry(slot).or_default().push(&entry.id),
            Some(Place::Register) => register(checker, &entry.id)?,
            _ => {}
        }
        checker.verdict.placed += usize::from(entry.place.is_some() && touched);
    }
    for (slot, arrays) in slots {
        for (n, first) in arrays.iter().enumerate() {
            for second in &arrays[n + 1..] {
                turns(checker, first, second, slot)?;
            }
        }
    }
    Ok(())
}

/// Statement, access, and whether it writes.
type Uses<'a> = Vec<(usize, &'a Access, bool)>;

/// Every access to the array. What accumulates or updates also reads.
fn accesses<'a>(c: &'a Checker, array: &str) -> Uses<'a> {
    let mut out = Vec::new();
    for (statement, s) in c.last.statements.iter().enumerate() {
        if s.write.array == array {
            out.push((statement, &s.write, true));
            if s.entry.kind != "assign" {
                out.push((statement, &s.write, false));
            }
        }
        out.extend(s.reads.iter().filter(|r| r.array == array).map(|r| (statement, r, false)));
    }
    out
}

// ---- cells --------------------------------------------------------------------------------------------

fn cells(checker: &mut Checker, array: &str) -> Result<()> {
    let entry = checker.last.arrays[array].entry;
    let read = Map::read(&checker.ctx, &entry.cells).map_err(malformed)?;
    if read.name_in().as_deref() != Some(array) {
        return Err(malformed(format!("the cells of {array} are not its own")));
    }
    let mut folded = false;
    let mut shares = None;
    checker.ask(
        || format!("do elements of {array} share cells"),
        |c| {
            let map = read.intersect_domain(&c.last.arrays[array].shape)?;
            let lost = c.last.arrays[array].shape.subtract(&map.domain()?)?;
            if let Some(at) = point(&lost, array)? {
                let text = format!("{at} has no cell");
                return Ok(Some(Finding { rule: Rule::Storage, text, witness: None }));
            }
            if map.is_injective()? {
                return Ok(None);
            }
            folded = true;
            let shape = &c.last.arrays[array].shape;
            shares = Some(map.apply_range(&map.reverse()?)?.subtract(&shape.identity()?)?);
            let visible = entry.role != ArrayRole::Temp;
            let text = || format!("{array} ({}) is the caller's, and has too few cells", entry.name);
            Ok(visible.then(|| Finding { rule: Rule::Storage, text: text(), witness: None }))
        },
    )?;
    checker.verdict.folded += usize::from(folded);
    match shares {
        Some(shares) => survive(checker, array, &shares),
        None => Ok(()),
    }
}

/// Every value of the array is read before another element takes its cell.
fn survive(checker: &mut Checker, array: &str, shares: &Map) -> Result<()> {
    let writers: Vec<usize> =
        (0..checker.last.statements.len()).filter(|s| checker.last.statements[*s].write.array == array).collect();
    for taker in &writers {
        for maker in &writers {
            let (first, second) = (checker.id(*taker), checker.id(*maker));
            checker.ask(
                || format!("does {array} keep what {second} writes until {first} overwrites it"),
                |c| lost(c, array, shares, *taker, *maker),
            )?;
        }
    }
    Ok(())
}

/// A read of what `maker` wrote that is not over when `taker` writes the cell.
fn lost(c: &Checker, array: &str, shares: &Map, taker: usize, maker: usize) -> Result<Option<Finding>> {
    let team = c.last.team.as_ref();
    let condition = not_over(team, c.side(taker, None), c.side(maker, None));
    if condition == "false" {
        return Ok(None);
    }
    let later = c.pairs(taker, maker, &condition)?;
    let (took, made) = (&c.last.statements[taker].write.may, &c.last.statements[maker].write.may);
    // Elements to the writes that take their cells: of those that are not before the one that made the value.
    let taken = shares.apply_range(&took.reverse()?)?;
    let taken = taken.intersect(&made.reverse()?.apply_range(&later.reverse()?)?)?;
    if taken.is_empty()? {
        return Ok(None);
    }
    for (reader, read, _) in accesses(c, array).into_iter().filter(|(_, _, writes)| !writes) {
        let condition = not_over(team, c.side(reader, Some(read)), c.side(taker, None));
        let mut relation = read.may.apply_range(&taken)?;
        if reader == taker {
            // An instance reads before it writes.
            relation = relation.subtract(&c.last.statements[reader].domain.identity()?)?;
        }
        if let Some(bad) = c.meets(&relation, reader, taker, &condition)? {
            let name = &c.last.arrays[array].entry.name;
            let text = || format!("the cells of {array} ({name}) are too few: a value is read after it is overwritten");
            return witness(&bad, [c.id(reader), c.id(taker)], Rule::Storage, text);
        }
    }
    Ok(None)
}

// ---- registers ----------------------------------------------------------------------------------------

/// All accesses stand in one tile, and element and iteration of the tile determine each other.
fn register(checker: &mut Checker, array: &str) -> Result<()> {
    checker.ask(
        || format!("does {array} fit into registers"),
        |c| {
            let uses = accesses(c, array);
            let Some((first, _, _)) = uses.first() else { return Ok(None) };
            let path = &c.last.statements[*first].path;
            let lockstep = |m: &order::Band| matches!(m.mark, order::Mark::Lanes | order::Mark::AnyOrder);
            let depth = path.bands.iter().rposition(lockstep).map_or(0, |at| at + 1);
            let name = &c.last.arrays[array].entry.name;
            let apart = |text: String| Ok(Some(Finding { rule: Rule::Place, text, witness: None }));
            if let Some((other, _, _)) = uses.iter().find(|(s, _, _)| c.last.statements[*s].path.shared(path) < depth) {
                return apart(format!("{array} ({name}) is in registers, but {} is outside its tile", c.id(*other)));
            }
            let mut element: Option<Map> = None;
            for (statement, access, _) in &uses {
                let here = c.time(*statement, depth)?.reverse()?.apply_range(&access.may)?;
                element = Some(match element {
                    Some(known) => known.union(&here)?,
                    None => here,
                });
            }
            let Some(element) = element else { return Ok(None) };
            if element.is_single_valued()? && element.is_injective()? {
                return Ok(None);
            }
            apart(format!(
                "{array} ({name}) is in registers, but an iteration of its tile has not one element of its own"
            ))
        },
    )
}

// ---- slots --------------------------------------------------------------------------------------------

/// One array is done with before the other begins.
fn turns(checker: &mut Checker, first: &str, second: &str, slot: usize) -> Result<()> {
    checker.ask(
        || format!("do {first} and {second} take turns in slot {slot}"),
        |c| {
            let (a, b) = (accesses(c, first), accesses(c, second));
            let Some(forward) = clash(c, &a, &b)? else { return Ok(None) };
            let Some(_) = clash(c, &b, &a)? else { return Ok(None) };
            let text = format!("{first} and {second} share slot {slot} while both are in use");
            Ok(Some(Finding { rule: Rule::Place, text, witness: Some(forward) }))
        },
    )
}

/// Two instances where an access of `a` is not over when one of `b` begins.
fn clash(c: &Checker, a: &Uses, b: &Uses) -> Result<Option<[String; 2]>> {
    for (s, x, writes) in a {
        for (t, y, also) in b.iter().filter(|(_, _, also)| *writes || *also) {
            let _ = also;
            let condition = not_over(c.last.team.as_ref(), c.side(*s, Some(x)), c.side(*t, Some(y)));
            if condition == "false" {
                continue;
            }
            let bad = c.pairs(*s, *t, &condition)?;
            if let Some((i, j)) = bad.sample()? {
                return Ok(Some([instance(c.id(*s), &i), instance(c.id(*t), &j)]));
            }
        }
    }
    Ok(None)
}
