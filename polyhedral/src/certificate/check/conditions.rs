//! Conditions on indices alone: in which instances do they hold?

use super::terms::Tree;
use super::*;

/// The instances of `domain` in which the condition `tree` of the statement holds; `None` for conditions on data.
pub fn holds(c: &Checker, statement: &Statement, tree: &Tree, domain: &Set) -> Result<Option<Set>> {
    let of = |child: &Tree| holds(c, statement, child, domain);
    let none = || domain.subtract(domain);
    Ok(match (tree.label, tree.children.as_slice()) {
        ("Int", [value, dtype]) if dtype.label == "Bool" => {
            Some(if value.label == "0" { none()? } else { domain.clone() })
        }
        ("not", [a]) => of(a)?.map(|a| domain.subtract(&a)).transpose()?,
        ("and", [a, b]) => of(a)?.zip(of(b)?).map(|(a, b)| a.intersect(&b)).transpose()?,
        ("or", [a, b]) => of(a)?.zip(of(b)?).map(|(a, b)| a.union(&b)).transpose()?,
        (op, [a, b]) => match (relation(op), index(c, statement, a)?, index(c, statement, b)?) {
            (Some(relation), Some(a), Some(b)) => {
                let related = Map::read(&c.ctx, relation)?;
                Some(a.intersect_domain(domain)?.apply_range(&related)?.intersect(&b)?.domain()?)
            }
            _ => None,
        },
        _ => None,
    })
}

/// The value of a condition in all instances of `domain`, where it has one.
pub fn decided(c: &Checker, statement: &Statement, tree: &Tree, domain: &Set) -> Result<Option<bool>> {
    let Some(holds) = holds(c, statement, tree, domain)? else { return Ok(None) };
    Ok(match (domain.is_subset(&holds)?, holds.is_empty()?) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    })
}

/// The parts of a term of which it is always one, as conditions decide. `Some(true)` for a part that it is in all instances
/// of `domain`, `Some(false)` for one that it is not, `None` where that is a matter of data.
pub fn choices<'t>(
    c: &Checker,
    s: &Statement,
    tree: &'t Tree<'t>,
    domain: &Set,
) -> Result<Vec<(&'t Tree<'t>, Option<bool>)>> {
    let always = |test: &Tree, value: bool| -> Result<Option<bool>> {
        let Some(holds) = holds(c, s, test, domain)? else { return Ok(None) };
        Ok(Some(if value { domain.is_subset(&holds)? } else { holds.is_empty()? }))
    };
    Ok(match (tree.label, tree.children.as_slice()) {
        ("select", [test, then, otherwise]) => vec![(then, always(test, true)?), (otherwise, always(test, false)?)],
        ("and", [a, b]) => vec![(b, always(a, true)?), (a, always(b, true)?)],
        ("or", [a, b]) => vec![(b, always(a, false)?), (a, always(b, false)?)],
        _ => vec![],
    })
}

fn index<'c>(c: &Checker<'c>, statement: &Statement<'c>, tree: &Tree) -> Result<Option<Map>> {
    let Some(n) = tree.number('@') else { return Ok(None) };
    let text = statement.entry.values.get(n);
    let text = text.ok_or_else(|| malformed(format!("{} has no @{n}", statement.entry.id)))?;
    Map::read(&c.ctx, text).map(Some).map_err(malformed)
}

fn relation(op: &str) -> Option<&'static str> {
    Some(match op {
        "eq" => "{ [a] -> [b] : a = b }",
        "ne" => "{ [a] -> [b] : a != b }",
        "lt" => "{ [a] -> [b] : a < b }",
        "le" => "{ [a] -> [b] : a <= b }",
        "gt" => "{ [a] -> [b] : a > b }",
        "ge" => "{ [a] -> [b] : a >= b }",
        _ => return None,
    })
}
