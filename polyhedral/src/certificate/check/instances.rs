//! Is every instance of the base one of the last program, and runs each once?
//!
//! A statement may be several of the base, each for some of its instances, and an instance may stand for several of one
//! statement: `merged` says when that is right. Instances that are none of the base (a loop that does not run at all had
//! none) write only what nobody touches. A statement may be missing when nothing reads what it wrote, or when it never runs: its
//! test fails in all instances. In a step that is checked backwards, instances that are none of the base are those that the pass
//! left out: nothing that it kept touches what they write.

use super::conditions::decided;
use super::guards::parts;
use super::terms::Tree;
use super::*;
use crate::certificate::ArrayRole;
use std::collections::HashSet;

pub fn check(checker: &mut Checker) -> Result<()> {
    executed(checker, &HashSet::new())?;
    for statement in 0..checker.last.statements.len() {
        if !checker.is_new(statement) {
            own(checker, statement)?;
        }
        once(checker, statement)?;
    }
    Ok(())
}

/// Every statement of the base is in the last program with all of its instances, or nobody misses it. `replaced` are
/// those whose array is computed by other statements.
pub fn executed(checker: &mut Checker, replaced: &HashSet<usize>) -> Result<()> {
    let read: HashSet<String> =
        checker.last.statements.iter().flat_map(|s| &s.reads).map(|access| access.array.clone()).collect();
    for base in (0..checker.base.statements.len()).filter(|base| !replaced.contains(base)) {
        if checker.pieces().any(|(_, p)| p.base == base) {
            covered(checker, base)?;
            continue;
        }
        let statement = &checker.base.statements[base];
        let array = statement.write.array.as_str();
        let output = checker.base.arrays[array].entry.role == ArrayRole::Output;
        if checker.last.arrays.get(array).is_some_and(|a| a.entry.role == ArrayRole::Constant) {
            checker.verdict.assumed += 1;
            continue;
        }
        if output || read.contains(array) {
            let id = statement.entry.id.as_str();
            let text = format!("{id} is not executed, but {array}, which it writes, is needed");
            let finding = Finding { rule: Rule::Instances, text, witness: None };
            checker.ask(|| format!("does {id} never run"), |c| Ok((!never_runs(c, base)?).then_some(finding)))?;
        }
    }
    Ok(())
}

/// Does the test of a statement of the base fail in all of its instances, as indices decide, or against itself?
fn never_runs(c: &Checker, base: usize) -> Result<bool> {
    let statement = &c.base.statements[base];
    let Some(test) = parts(&statement.entry.body).1 else { return Ok(false) };
    let Some(tree) = Tree::parse(test) else { return Ok(false) };
    let by_indices = decided(c, statement, &tree, &statement.domain)? == Some(false);
    Ok(by_indices || logic::exclude(&c.base, &[(statement, test, statement.domain.identity()?)])?)
}

/// The instances of a statement of the base are divided among those of the last program.
fn covered(checker: &mut Checker, base: usize) -> Result<()> {
    let id = checker.base.statements[base].entry.id.as_str();
    checker.ask(
        || format!("is every instance of {id} executed"),
        |c| {
            let old = &c.base.statements[base];
            let wrong = |text: String| Ok(Some(Finding { rule: Rule::Instances, text, witness: None }));
            let mut left = old.domain.clone();
            for (statement, piece) in c.pieces().filter(|(_, p)| p.base == base) {
                let image = piece.all.as_ref().unwrap_or(&piece.map).range()?;
                let rest = left.subtract(&image)?;
                let beyond = image.subtract(&left)?;
                if let Some(at) = point(&beyond.intersect(&old.domain)?, id)? {
                    return wrong(format!("two statements claim to be {at}"));
                }
                if let Some(at) = point(&beyond, id)? {
                    return wrong(format!("{} executes {at}", c.id(statement)));
                }
                left = rest;
            }
            match point(&left, id)? {
                Some(at) => wrong(format!("{at} of the base is not executed")),
                None => Ok(None),
            }
        },
    )
}

/// Each instance of a statement is one of the base, or some that are nobody else's.
pub fn own(checker: &mut Checker, statement: usize) -> Result<()> {
    let id = checker.id(statement);
    checker.ask(
        || format!("are the instances of {id} those of the base"),
        |c| {
            let domain = &c.last.statements[statement].domain;
            let mut left = domain.clone();
            for piece in &c.origins[statement] {
                let here = piece.map.domain()?;
                if let Some(at) = point(&here.intersect(&domain.subtract(&left)?)?, id)? {
                    let text = format!("{at} is said to be an instance of two statements");
                    return Ok(Some(Finding { rule: Rule::Instances, text, witness: None }));
                }
                left = left.subtract(&here)?;
                let map = match &piece.all {
                    Some(all) if all.reverse()?.is_single_valued()? => continue,
                    Some(all) => all,
                    None => &piece.map,
                };
                if let Some(bad) = collision(&c.ctx, map)? {
                    return witness(&bad, [id, id], Rule::Instances, || "two instances are one of the base".into());
                }
            }
            match left.is_empty()? {
                true => Ok(None),
                false => unseen(c, statement, &left),
            }
        },
    )
}

/// Instances that are none of the base: no other instance touches what they write.
fn unseen(c: &Checker, statement: usize, extra: &Set) -> Result<Option<Finding>> {
    let new = &c.last.statements[statement];
    let array = &c.last.arrays[new.write.array.as_str()].entry;
    let id = c.id(statement);
    let at = || Ok(point(extra, id)?.unwrap_or_else(|| id.to_string()));
    let wrong = |text: String| Ok(Some(Finding { rule: Rule::Instances, text, witness: None }));
    let merged = |n: usize| c.origins[n].iter().any(|p| p.all.is_some());
    if array.role != ArrayRole::Temp || !(c.backwards || merged(statement)) {
        return wrong(format!("{} is no instance of the base", at()?));
    }
    let written = new.write.may.intersect_domain(extra)?.range()?;
    for (other, s) in c.last.statements.iter().enumerate() {
        let mut known = s.domain.clone();
        if c.backwards || other == statement || merged(other) {
            let pieces = c.origins[other].iter().map(|p| p.map.domain()).collect::<Result<Vec<Set>>>()?;
            let Some((first, rest)) = pieces.split_first() else { continue };
            known = rest.iter().try_fold(first.clone(), |all, p| all.union(p))?;
        }
        for access in s.accesses().filter(|a| a.array == array.id) {
            if !access.may.intersect_domain(&known)?.range()?.intersect(&written)?.is_empty()? {
                return wrong(format!("{} is no instance of the base, but {} uses what it writes", at()?, c.id(other)));
            }
        }
    }
    Ok(None)
}

/// No two instances have one time.
pub fn once(checker: &mut Checker, statement: usize) -> Result<()> {
    let id = checker.id(statement);
    checker.ask(
        || format!("do the instances of {id} have different times"),
        |c| {
            let path = &c.last.statements[statement].path;
            match collision(&c.ctx, &c.time(statement, path.bands.len())?)? {
                Some(bad) => witness(&bad, [id, id], Rule::Instances, || "two instances have one time".into()),
                None => Ok(None),
            }
        },
    )
}
