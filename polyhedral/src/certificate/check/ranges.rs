//! Which integers a term of the base can have. Every element that is read was written.

use super::terms::{Term, Tree, read};
use super::*;
use crate::certificate::ArrayRole;

/// Inclusive.
pub type Range = (i64, i64);

/// `None` where the term may be anything that its type holds, and the type has more than 16 bits or is none of integers.
pub fn of(term: Term) -> Result<Option<Range>> {
    within(term, &mut Vec::new())
}

fn within(term: Term, seen: &mut Vec<String>) -> Result<Option<Range>> {
    let mut child = |n: usize| within(Term { tree: &term.tree.children[n], ..term }, seen);
    let found = match (term.tree.label, term.tree.children.len()) {
        ("Int", 2) => number(&term.tree.children[0]).map(|n| (n, n)),
        ("select", 3) => child(1)?.zip(child(2)?).map(|(a, b)| hull(a, b)),
        ("neg", 1) => child(0)?.map(|(low, high)| (-high, -low)),
        ("add", 2) => child(0)?.zip(child(1)?).map(|(a, b)| (a.0 + b.0, a.1 + b.1)),
        ("sub", 2) => child(0)?.zip(child(1)?).map(|(a, b)| (a.0 - b.1, a.1 - b.0)),
        ("min", 2) => child(0)?.zip(child(1)?).map(|(a, b)| (a.0.min(b.0), a.1.min(b.1))),
        ("max", 2) => child(0)?.zip(child(1)?).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))),
        (label, 1) if whole(label).is_some() => child(0)?,
        (_, 0) => match term.tree.number('#') {
            Some(n) => array(term.program, &read(term.statement, n)?.array, seen)?,
            None => None,
        },
        _ => None,
    };
    let Some(whole) = dtype(term)?.as_deref().and_then(whole) else { return Ok(None) };
    // What does not fit wraps.
    let fits = found.filter(|found| whole.0 <= found.0 && found.1 <= whole.1);
    Ok(fits.or(Some(whole).filter(|whole| whole.1 < 1 << 16)))
}

/// What the array holds: as stated of a constant, as its writers say of others.
fn array(program: &Program, id: &str, seen: &mut Vec<String>) -> Result<Option<Range>> {
    let entry = program.arrays[id].entry;
    if let (ArrayRole::Constant, Some([least, greatest])) = (entry.role, entry.range) {
        return Ok(Some((least, greatest)));
    }
    // An array that is computed from itself has no range of its own, nor has what the caller writes.
    if matches!(entry.role, ArrayRole::Constant | ArrayRole::Input) || seen.iter().any(|s| s == id) {
        return Ok(None);
    }
    seen.push(id.to_string());
    let mut found: Option<Range> = None;
    for statement in program.statements.iter().filter(|s| s.write.array == id) {
        let value = Tree::parse(statement.value()).filter(|_| statement.reduces().is_none());
        let Some(tree) = value else { return Ok(None) };
        let Some(range) = within(Term { program, statement, tree: &tree }, seen)? else { return Ok(None) };
        found = Some(found.map_or(range, |known| hull(known, range)));
    }
    seen.pop();
    Ok(found)
}

fn hull(a: Range, b: Range) -> Range {
    (a.0.min(b.0), a.1.max(b.1))
}

pub fn number(tree: &Tree) -> Option<i64> {
    tree.label.parse().ok()
}

/// The type of a term, where it is one of integers of at most 32 bits.
pub fn dtype(term: Term) -> Result<Option<String>> {
    let of = |n: usize| dtype(Term { tree: &term.tree.children[n], ..term });
    Ok(match (term.tree.label, term.tree.children.len()) {
        ("Int", 2) => Some(term.tree.children[1].label.to_lowercase()),
        ("select", 3) => of(1)?,
        ("neg", 1) | ("add" | "sub" | "mul" | "min" | "max" | "and" | "or" | "shl", 2) => of(0)?,
        (label, 1) if whole(label).is_some() => Some(label.to_string()),
        (_, 0) => match term.tree.number('#') {
            Some(n) => Some(term.program.arrays[read(term.statement, n)?.array.as_str()].entry.dtype.clone()),
            None => None,
        },
        _ => None,
    })
}

/// Everything that an integer type of at most 32 bits holds.
pub fn whole(dtype: &str) -> Option<Range> {
    Some(match dtype {
        "i8" => (-(1 << 7), (1 << 7) - 1),
        "u8" => (0, (1 << 8) - 1),
        "i16" => (-(1 << 15), (1 << 15) - 1),
        "u16" => (0, (1 << 16) - 1),
        "i32" => (-(1 << 31), (1 << 31) - 1),
        "u32" => (0, (1 << 32) - 1),
        _ => return None,
    })
}
