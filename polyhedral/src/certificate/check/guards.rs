//! Bodies with tests: the value, and the test that decides whether an instance runs.

use super::*;

/// The value of a body, and the test that decides whether the instance runs.
pub fn parts(body: &str) -> (&str, Option<&str>) {
    body.split_once(" if ").map_or((body, None), |(value, guard)| (value, Some(guard)))
}

/// Do two statements, for related instances, run under a test and its opposite: the branches of an `If`?
pub fn exclusive(c: &Checker, a: &Statement, b: &Statement, relation: &Map) -> Result<bool> {
    let (Some(x), Some(y)) = (parts(&a.entry.body).1, parts(&b.entry.body).1) else { return Ok(false) };
    fn opposite(test: &str) -> Option<&str> {
        test.strip_prefix("not(")?.strip_suffix(')')
    }
    let back = || relation.reverse();
    match (opposite(x), opposite(y)) {
        (Some(x), None) => same_test(c, (a, Some(x)), (b, Some(y)), &back()?),
        (None, Some(y)) => same_test(c, (a, Some(x)), (b, Some(y)), &back()?),
        _ => Ok(false),
    }
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
