//! Loops without isl, for a root on which isl reached its operation quota.
//!
//! Every band becomes a loop over the hull of its statements' extents, and every statement is tested against its own
//! domain: correct for the same programs, slower where domains differ, linear in the size of the tree. Bands must be
//! plain loops (their members are iterators), as they are unless a pass shifted or skewed them.

use super::convert::Converter;
use crate::aff::Aff;
use crate::error::{Error, Result};
use crate::loop_nest::{Bound, Condition, Nest};
use crate::program::{Program, Statement, StatementId};
use crate::schedule_tree::{Band, Node};
use std::collections::HashMap;

/// For every statement, the value of each of its iterators in the loops so far.
type Values = HashMap<StatementId, Vec<Option<Aff>>>;

pub fn scan(program: &Program, converter: &mut Converter, root: &Node) -> Result<Vec<Nest>> {
    let open = |id: StatementId| (id, vec![None; program.statement(id).extents.len()]);
    let values = root.statements().into_iter().map(open).collect();
    node(program, converter, root, &values)
}

fn node(program: &Program, converter: &mut Converter, node: &Node, values: &Values) -> Result<Vec<Nest>> {
    match node {
        Node::Leaf(id) => instance(program, converter, *id, &values[id]).map(|n| vec![n]),
        Node::Band(band) => band_loop(program, converter, band, values).map(|n| vec![n]),
    }
}

fn band_loop(program: &Program, converter: &mut Converter, band: &Band, values: &Values) -> Result<Nest> {
    let upper = hull(program, converter, band, values)?;
    let var = converter.new_var(&[Aff::constant(0)], std::slice::from_ref(&upper));
    let mut inner = values.clone();
    for (id, member) in band.members.iter().filter(|_| !runs_once(band)) {
        let d = member.as_iter().ok_or_else(too_hard)?;
        inner.get_mut(id).ok_or_else(too_hard)?[d] = Some(Aff::iter(var));
    }
    let mut body = Vec::new();
    for child in &band.body {
        body.extend(node(program, converter, child, &inner)?);
    }
    Ok(Nest::Loop {
        var: var as u32,
        lower: Bound::one(Aff::constant(0)),
        upper: Bound::one(upper),
        kind: band.mark,
        body,
    })
}

/// A band that only bears a mark: a barrier, whose value is 0 everywhere.
fn runs_once(band: &Band) -> bool {
    band.members.values().all(|member| member.is_constant(0))
}

/// An upper bound of the extents of all members: the extent itself where they agree, else the largest constant.
fn hull(program: &Program, converter: &Converter, band: &Band, values: &Values) -> Result<Aff> {
    if runs_once(band) {
        return Ok(Aff::constant(1));
    }
    let mut extents = Vec::new();
    for (id, member) in &band.members {
        let d = member.as_iter().ok_or_else(too_hard)?;
        extents.push(at(&program.statement(*id).extents[d], &values[id])?);
    }
    extents.dedup();
    match extents.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let largest = several.iter().map(|e| converter.range(e).1).collect::<Option<Vec<i64>>>();
            largest.and_then(|all| all.into_iter().max()).map(Aff::constant).ok_or_else(too_hard)
        }
    }
}

/// One instance under the tests of its domain that the loops do not imply.
fn instance(program: &Program, converter: &Converter, id: StatementId, values: &[Option<Aff>]) -> Result<Nest> {
    let statement = program.statement(id);
    let own: Vec<Aff> = (0..values.len()).map(|d| value(statement, values, d)).collect::<Result<_>>()?;
    let mut tests = Vec::new();
    for (d, extent) in statement.extents.iter().enumerate() {
        tests.push(at(extent, values)? - own[d].clone() - Aff::constant(1));
    }
    for constraint in &statement.constraints {
        tests.push(at(constraint, values)?);
    }
    let compute = converter.compute(id, &own);
    match converter.simplified(Condition::NonNegative(tests)) {
        Condition::NonNegative(none) if none.is_empty() => Ok(compute),
        condition => Ok(Nest::If { condition, body: vec![compute] }),
    }
}

/// The value of iterator `d`; an iterator without a loop has one value.
fn value(statement: &Statement, values: &[Option<Aff>], d: usize) -> Result<Aff> {
    match &values[d] {
        Some(value) => Ok(value.clone()),
        None if statement.extents[d].is_constant(1) => Ok(Aff::constant(0)),
        None => Err(too_hard()),
    }
}

/// An expression over the statement's iterators, in terms of the loops.
fn at(aff: &Aff, values: &[Option<Aff>]) -> Result<Aff> {
    let bound = aff.all_iters(&|n| values.get(n).is_some_and(Option::is_some));
    let replaced = aff.substitute(&|n| values.get(n).cloned().flatten().unwrap_or_default());
    bound.then_some(replaced).ok_or_else(too_hard)
}

fn too_hard() -> Error {
    Error::limit("E902", "isl reached its operation quota on a loop nest that is no plain nest of loops")
        .help("find the pass that made the nest with --pass-limit, and leave it out with --disable-pass")
}
