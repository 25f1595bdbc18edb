//! Which instances of an earlier program the instances of a later one are, by the renamings between.

use crate::aff::Aff;
use crate::isl::text::{Names, tuple};
use crate::program::{Program, Renaming, StatementId};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Iterators from this number on may have any value.
const FREE: usize = 1000;

/// The instances of one earlier statement.
#[derive(Clone)]
struct Piece {
    statement: StatementId,
    /// Its iterators in those of the later statement.
    values: Vec<Aff>,
    /// Where the later statement is this one: iterators and their values.
    fixed: Vec<(Aff, i64)>,
}

impl Piece {
    fn rename(&mut self, by: &impl Fn(usize) -> Aff) {
        let affs = self.values.iter_mut().chain(self.fixed.iter_mut().map(|(aff, _)| aff));
        affs.for_each(|aff| *aff = aff.substitute(by));
    }
}

/// For every statement of `last` that is one of `base` or several, the relations to their instances.
pub fn instances(base: &Program, last: &Program) -> BTreeMap<String, Vec<String>> {
    let whole = |(id, s): (StatementId, &crate::Statement)| {
        let values = (0..s.extents.len()).map(Aff::iter).collect();
        (id, vec![Piece { statement: id, values, fixed: vec![] }])
    };
    let mut found: BTreeMap<StatementId, Vec<Piece>> = base.statements().map(whole).collect();
    let renamings = &last.history.renamings[base.history.renamings.len()..];
    for (n, renaming) in renamings.iter().enumerate() {
        apply(&mut found, renaming, FREE + n);
    }
    let there = found.into_iter().filter(|(id, _)| last.get_statement(*id).is_some());
    there.map(|(id, pieces)| (id.to_string(), pieces.iter().map(|p| text(last, id, p)).collect())).collect()
}

fn apply(found: &mut BTreeMap<StatementId, Vec<Piece>>, renaming: &Renaming, free: usize) {
    match renaming {
        Renaming::Split { statement, dim, size, late } => {
            let by = |n: usize| match n.cmp(dim) {
                _ if n >= FREE => Aff::iter(n),
                Ordering::Less => Aff::iter(n),
                Ordering::Equal => Aff::iter(n) * *size + Aff::iter(n + 1) - Aff::constant(*late),
                Ordering::Greater => Aff::iter(n + 1),
            };
            found.entry(*statement).or_default().iter_mut().for_each(|p| p.rename(&by));
        }
        Renaming::Dropped { statement, dim } => without(found.entry(*statement).or_default(), *dim, Aff::iter(free)),
        Renaming::Unit { statement, dim } => without(found.entry(*statement).or_default(), *dim, Aff::constant(0)),
        Renaming::Steps { statement, steps } => {
            let by = |n: usize| Aff::iter(if n >= FREE { n } else { n + 1 });
            let mut all = Vec::new();
            for (step, was) in steps.iter().enumerate() {
                for mut piece in found.remove(was).unwrap_or_default() {
                    piece.rename(&by);
                    piece.fixed.push((Aff::iter(0), step as i64));
                    all.push(piece);
                }
            }
            found.insert(*statement, all);
        }
        Renaming::Words { statement, dim, parts } => {
            let all = found.remove(statement).unwrap_or_default();
            let lane = |piece: &Piece, n: u32| {
                let mut piece = piece.clone();
                let by = |d: usize| {
                    if d == *dim {
                        Aff::iter(d) * i64::from(*parts) + Aff::constant(i64::from(n))
                    } else {
                        Aff::iter(d)
                    }
                };
                piece.rename(&by);
                piece
            };
            let lanes = all.iter().flat_map(|piece| (0..*parts).map(move |n| lane(piece, n)));
            found.insert(*statement, lanes.collect());
        }
        Renaming::Taken { statement, was, values } => {
            let mut all = found.get(was).cloned().unwrap_or_default();
            let by = |n: usize| values.get(n).cloned().unwrap_or_else(|| Aff::iter(n));
            all.iter_mut().for_each(|p| p.rename(&by));
            found.insert(*statement, all);
        }
    }
}

/// Dimension `dim` went away; it had this value.
fn without(pieces: &mut [Piece], dim: usize, value: Aff) {
    let by = |n: usize| match n.cmp(&dim) {
        _ if n >= FREE => Aff::iter(n),
        Ordering::Less => Aff::iter(n),
        Ordering::Equal => value.clone(),
        Ordering::Greater => Aff::iter(n - 1),
    };
    pieces.iter_mut().for_each(|p| p.rename(&by));
}

/// `{ S3[i0, i1] -> S7[i1] : i0 = 4 }`.
fn text(last: &Program, id: StatementId, piece: &Piece) -> String {
    let names = Names::new(last);
    let from = names.tuple(id);
    let mut conditions: Vec<String> = piece.fixed.iter().map(|(aff, n)| format!("{} = {n}", names.aff(aff))).collect();
    let free: Vec<String> = (FREE..FREE + last.history.renamings.len())
        .filter(|n| piece.values.iter().any(|v| v.uses_iter(*n)))
        .map(|n| format!("i{n}"))
        .collect();
    let values: Vec<String> = piece.values.iter().map(|v| names.aff(v)).collect();
    if free.is_empty() {
        let condition = if conditions.is_empty() { String::new() } else { format!(" : {}", conditions.join(" and ")) };
        return format!("{{ {from} -> {}[{}]{condition} }}", piece.statement, values.join(", "));
    }
    conditions.extend(values.iter().enumerate().map(|(d, v)| format!("o{d} = {v}")));
    let to = tuple(piece.statement, values.len(), "o");
    format!("{{ {from} -> {to} : exists ({} : {}) }}", free.join(", "), conditions.join(" and "))
}
