//! Constants that were computed from others: the stated statement is run.

use super::constants::{Extents, Steps, advance};
use super::guards::parts;
use super::ranges::{Range, number, whole};
use super::terms::Tree;
use super::*;
use crate::certificate::{ArrayEntry, StatementEntry};

/// What a comparison came to.
pub enum Compared {
    Same,
    Differs(Finding),
    /// The bytes of something that it is made of are not there.
    Unknown,
}

/// The first integer outside of what is said about a constant.
pub fn range(array: &ArrayEntry, bytes: &[u8]) -> Option<Finding> {
    let ([least, greatest], size, range) = (array.range?, size(&array.dtype)?, whole(&array.dtype));
    let outside = |bytes: &[u8]| !(least..=greatest).contains(&integer(bytes, range));
    let at = bytes.chunks_exact(size).position(outside)?;
    let text = format!("element {at} of {} ({}) is not in {least}..={greatest}", array.id, array.name);
    Some(Finding { rule: Rule::Values, text, witness: None })
}

/// The bytes of arrays, by name.
type Known<'a, 'k> = &'k dyn Fn(&str) -> Option<(&'a ArrayEntry, &'a [u8])>;

/// Runs the statement `by` and compares what it leaves with the bytes of the array.
///
/// # Errors
/// `Invalid` when it cannot be run.
pub fn first_difference(
    ctx: &Ctx,
    (array, bytes): (&ArrayEntry, &[u8]),
    by: &StatementEntry,
    known: Known,
) -> Result<Compared> {
    let accumulates = by.kind == "add";
    let unclear = || malformed(format!("{} is made by `{}`", array.id, by.body));
    let (body, None, true) = (parts(&by.body).0, parts(&by.body).1, accumulates || by.kind == "assign") else {
        return Err(unclear());
    };
    let (size, range) = (size(&array.dtype).ok_or_else(unclear)?, whole(&array.dtype));
    let extents = Extents::of(ctx, &array.shape)?;
    let steps = |text: &str| Steps::of(ctx, &Map::read(ctx, text).map_err(malformed)?);
    let mut reads = Vec::new();
    for read in &by.reads {
        let name = Map::read(ctx, &read.map).map_err(malformed)?.name_out().unwrap_or_default();
        let Some((of, bytes)) = known(&name) else { return Ok(Compared::Unknown) };
        let (dtype, range) = (&of.dtype, whole(&of.dtype));
        reads.push(Read { steps: steps(&read.map)?, extents: Extents::of(ctx, &of.shape)?, dtype, range, bytes });
    }
    let values = by.values.iter().map(|text| steps(text)).collect::<Result<Vec<_>>>()?;
    let tree = Tree::parse(body).ok_or_else(unclear)?;
    let code = Code::of(&tree, &reads, &values).ok_or_else(unclear)?.0;
    let (write, domain) = (steps(&by.write)?, Extents::of(ctx, &by.domain)?);
    let count = extents.count().ok_or_else(unclear)?;
    let mut out: Vec<Option<i64>> = vec![accumulates.then_some(0); count];
    let mut at = vec![0; domain.0.len()];
    for _ in 0..domain.count().ok_or_else(unclear)? {
        let element = write.offset(&at, &extents).ok_or_else(unclear)?;
        let value = code.run(&at, &reads, &values).ok_or_else(unclear)?;
        let sum = if accumulates { out[element].unwrap_or(0) } else { 0 };
        out[element] = Some(wrap(sum.wrapping_add(value), range));
        advance(&mut at, &domain.0);
    }
    if bytes.len() != count * size {
        return Err(malformed("the bytes of a constant are not those of its shape"));
    }
    let right = |(value, bytes): (&Option<i64>, &[u8])| *value == Some(integer(bytes, range));
    let wrong = out.iter().zip(bytes.chunks_exact(size)).position(|pair| !right(pair));
    let Some(wrong) = wrong else { return Ok(Compared::Same) };
    let text = format!("element {wrong} of {} ({}) is not what `{}` makes", array.id, array.name, by.body);
    Ok(Compared::Differs(Finding { rule: Rule::Values, text, witness: None }))
}

/// A read of a constant.
struct Read<'a> {
    steps: Steps,
    extents: Extents,
    dtype: &'a str,
    /// What the type holds.
    range: Option<Range>,
    bytes: &'a [u8],
}

/// A body of integers, ready to run.
enum Code {
    Int(i64),
    Read(usize, usize),
    Value(usize),
    Cast(Option<Range>, Box<Code>),
    Binary(fn(i64, i64) -> i64, Option<Range>, [Box<Code>; 2]),
    Less([Box<Code>; 2]),
    Select([Box<Code>; 3]),
}

impl Code {
    /// The code and its type; `None` for what is no function of integers of at most 32 bits.
    fn of(tree: &Tree, reads: &[Read], values: &[Steps]) -> Option<(Code, String)> {
        let of = |n: usize| Code::of(&tree.children[n], reads, values).map(|(code, dtype)| (Box::new(code), dtype));
        let binary = |f: fn(i64, i64) -> i64| {
            let ((a, dtype), (b, _)) = (of(0)?, of(1)?);
            Some((Code::Binary(f, whole(&dtype), [a, b]), dtype))
        };
        match (tree.label, tree.children.len()) {
            ("Int", 2) => Some((Code::Int(number(&tree.children[0])?), tree.children[1].label.to_lowercase())),
            ("add", 2) => binary(i64::wrapping_add),
            ("sub", 2) => binary(i64::wrapping_sub),
            ("mul", 2) => binary(i64::wrapping_mul),
            ("and", 2) => binary(|a, b| a & b),
            ("or", 2) => binary(|a, b| a | b),
            ("min", 2) => binary(i64::min),
            ("max", 2) => binary(i64::max),
            ("shl", 2) => binary(|a, b| u32::try_from(b).ok().and_then(|b| a.checked_shl(b)).unwrap_or(0)),
            ("lt", 2) => Some((Code::Less([of(0)?.0, of(1)?.0]), "bool".into())),
            ("select", 3) => {
                let (then, dtype) = of(1)?;
                Some((Code::Select([of(0)?.0, then, of(2)?.0]), dtype))
            }
            (label, 1) if whole(label).is_some() => Some((Code::Cast(whole(label), of(0)?.0), label.into())),
            (_, 0) => match (tree.number('#'), tree.number('@')) {
                (Some(n), _) => {
                    let dtype = reads.get(n)?.dtype;
                    Some((Code::Read(n, size(dtype)?), dtype.into()))
                }
                (_, Some(n)) => values.get(n).map(|_| (Code::Value(n), "i64".into())),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value at a point; `None` where an element is outside.
    fn run(&self, at: &[i64], reads: &[Read], values: &[Steps]) -> Option<i64> {
        let of = |code: &Code| code.run(at, reads, values);
        Some(match self {
            Code::Int(n) => *n,
            Code::Read(n, size) => {
                let Read { steps, extents, range, bytes, .. } = &reads[*n];
                let from = steps.offset(at, extents)? * size;
                integer(bytes.get(from..from + size)?, *range)
            }
            Code::Value(n) => values[*n].subscript(0, at),
            Code::Cast(range, a) => wrap(of(a)?, *range),
            Code::Binary(f, range, [a, b]) => wrap(f(of(a)?, of(b)?), *range),
            Code::Less([a, b]) => i64::from(of(a)? < of(b)?),
            Code::Select([test, then, otherwise]) => of(if of(test)? != 0 { then } else { otherwise })?,
        })
    }
}

/// Bytes of one element, where it is an integer of at most 32 bits.
fn size(dtype: &str) -> Option<usize> {
    whole(dtype).and_then(|_| dtype[1..].parse::<usize>().ok()).map(|bits| bits / 8)
}

/// A little-endian integer of the type.
fn integer(bytes: &[u8], range: Option<Range>) -> i64 {
    wrap(bytes.iter().rev().fold(0, |value, byte| value << 8 | i64::from(*byte)), range)
}

/// What is left of an integer in the type.
fn wrap(value: i64, range: Option<Range>) -> i64 {
    match range {
        Some((least, greatest)) => (value - least).rem_euclid(greatest - least + 1) + least,
        None => value,
    }
}
