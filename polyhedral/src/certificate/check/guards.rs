//! Bodies with tests: the value, and the test that decides whether an instance runs.

use super::*;
use crate::certificate::{ArrayRole, ReadBy};
use std::collections::HashSet;

/// The value of a body, and the test that decides whether the instance runs.
pub fn parts(body: &str) -> (&str, Option<&str>) {
    body.split_once(" if ").map_or((body, None), |(value, guard)| (value, Some(guard)))
}

/// The conditions that a body tests beside those of an earlier one; `None` where value or test are others.
pub fn gained<'a>(new: &'a str, old: &str) -> Option<Vec<&'a str>> {
    let ((value, mut test), (was, before)) = (parts(new), parts(old));
    let mut out = Vec::new();
    while value == was && test != before {
        match (test.and_then(both), before) {
            (Some((rest, condition)), _) => {
                out.push(condition);
                test = Some(rest);
            }
            (None, None) => out.extend(test.take()),
            (None, Some(_)) => return None,
        }
    }
    (value == was).then_some(out)
}

/// The numbers of the reads that the conditions of a body make which an earlier one does not have.
pub fn gained_reads(new: &str, old: &str) -> HashSet<usize> {
    let conditions = gained(new, old).unwrap_or_default();
    let numbers = conditions.into_iter().flat_map(|c| references(c).1).filter(|(kind, _)| *kind == '#');
    numbers.map(|(_, n)| n).collect()
}

/// `a` and `b` of `and(a, b)`.
fn both(test: &str) -> Option<(&str, &str)> {
    let inside = test.strip_prefix("and(")?.strip_suffix(')')?;
    let mut depth = 0;
    for (at, c) in inside.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => return Some((&inside[..at], inside[at + 1..].trim_start())),
            _ => {}
        }
    }
    None
}

/// All conditions of a test.
fn conditions(test: &str) -> Vec<&str> {
    match both(test) {
        Some((a, b)) => [conditions(a), conditions(b)].concat(),
        None => vec![test],
    }
}

/// A statement of the last program tests more than the one of the base: is what it writes read only where that holds?
pub fn read_where_tested(c: &Checker, statement: usize, gained: &[&str]) -> Result<Option<Finding>> {
    let new = &c.last.statements[statement];
    let (id, array) = (c.id(statement), new.write.array.as_str());
    let wrong = |text: String| Ok(Some(Finding { rule: Rule::Values, text, witness: None }));
    if c.last.arrays[array].entry.role != ArrayRole::Temp {
        return wrong(format!("{id} has a test, and what it writes is read by the caller"));
    }
    let back = new.write.may.reverse()?;
    for (n, reader) in c.last.statements.iter().enumerate() {
        for read in reader.reads.iter().filter(|r| r.array == array) {
            let link = read.may.apply_range(&back)?;
            let tests = conditions(parts(&reader.entry.body).1.unwrap_or_default());
            for condition in gained {
                let mut same = link.is_empty()?;
                for test in &tests {
                    same = same || same_test(c, (new, Some(condition)), (reader, Some(test)), &link)?;
                }
                if !same || read.by != ReadBy::Value {
                    return wrong(format!("{} reads what {id} writes where its test may not hold", c.id(n)));
                }
            }
        }
    }
    Ok(None)
}

/// Do two statements, for related instances, run under a test and its opposite (the branches of an `If`), or under tests
/// that never hold together?
pub fn exclusive(c: &Checker, a: &Statement, b: &Statement, relation: &Map) -> Result<bool> {
    let (Some(x), Some(y)) = (parts(&a.entry.body).1, parts(&b.entry.body).1) else { return Ok(false) };
    fn opposite(test: &str) -> Option<&str> {
        test.strip_prefix("not(")?.strip_suffix(')')
    }
    let back = relation.reverse()?;
    let branches = match (opposite(x), opposite(y)) {
        (Some(x), None) => same_test(c, (a, Some(x)), (b, Some(y)), &back)?,
        (None, Some(y)) => same_test(c, (a, Some(x)), (b, Some(y)), &back)?,
        _ => false,
    };
    let here = back.domain()?.identity()?;
    Ok(branches || logic::exclude(&c.last, &[(a, x, back), (b, y, here)])?)
}

/// Are two tests one, where `link` leads from instances of the second statement to instances of the first?
pub fn same_test(
    c: &Checker,
    (first, a): (&Statement, Option<&str>),
    (second, b): (&Statement, Option<&str>),
    link: &Map,
) -> Result<bool> {
    let (Some(a), Some(b)) = (a, b) else { return Ok(false) };
    let (refs_a, refs_b) = (references(a), references(b));
    if refs_a.0 != refs_b.0 {
        return Ok(false);
    }
    let map = |s: &Statement, (kind, n): (char, usize)| -> Result<Map> {
        let lacks = || malformed(format!("{} has no {kind}{n}", s.entry.id));
        if kind == '#' {
            return Ok(s.reads.get(n).ok_or_else(lacks)?.may.clone());
        }
        Map::read(&c.ctx, s.entry.values.get(n).ok_or_else(lacks)?).map_err(malformed)?.intersect_domain(&s.domain)
    };
    for (of_a, of_b) in refs_a.1.into_iter().zip(refs_b.1) {
        let through = link.apply_range(&map(first, of_a)?)?;
        if !through.is_equal(&map(second, of_b)?.intersect_domain(&link.domain()?)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A body without the numbers of its reads and values, and these in order.
fn references(text: &str) -> (String, Vec<(char, usize)>) {
    let (mut shape, mut found) = (String::new(), Vec::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        shape.push(c);
        if c == '#' || c == '@' {
            let mut n = 0;
            while let Some(digit) = rest.peek().and_then(|d| d.to_digit(10)) {
                n = n * 10 + digit as usize;
                rest.next();
            }
            found.push((c, n));
        }
    }
    (shape, found)
}
