//! Why two nests are one, or not: the facts behind `fuse`, found by trying, for `sirius explain`.
//!
//! Every number of shared loops is tried on the program as `fuse` meets it. An attempt is illegal with two instances as
//! witness, or legal with what the vector loops would cost (`cost::vector::cycles`) and which bytes would stay on chip.

use super::group;
use crate::cost::vector::cycles;
use crate::error::{Origin, Result};
use crate::legality::{self, Instance, Violation};
use crate::machine::Machine;
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::Node;
use crate::script::merge;
use std::collections::HashSet;

/// What is known about two root nests, the first before the second.
#[derive(Clone, Debug)]
pub struct Pair {
    pub first: usize,
    pub second: usize,
    /// Arrays that the first writes and the second reads, with their bytes at typical sizes.
    pub flows: Vec<(ArrayId, i64)>,
    /// A nest between them that needs the first and is needed by the second.
    pub between: Option<Origin>,
    /// One for every number of loops that could be shared.
    pub attempts: Vec<Attempt>,
}

/// The two nests with `loops` loops around both.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub loops: usize,
    pub outcome: Outcome,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// The loops run over different ranges.
    Extents,
    Illegal {
        text: String,
        witness: Option<[Instance; 2]>,
    },
    /// Cycles of all vector loops at typical sizes, as `tile` would choose them.
    Legal {
        apart: f64,
        fused: f64,
    },
}

/// The facts about the first root nest with a statement of `a` and the first other one with a statement of `b`; `None`
/// when there are no two.
pub fn pair(program: &Program, a: &[StatementId], b: &[StatementId], machine: &Machine) -> Result<Option<Pair>> {
    let roots = |ids: &[StatementId]| -> Vec<usize> {
        let has = |n: &usize| program.schedule.roots[*n].statements().iter().any(|s| ids.contains(s));
        (0..program.schedule.roots.len()).filter(has).collect()
    };
    let (of_a, of_b) = (roots(a), roots(b));
    // The closest two: that is where fusion would happen.
    let all = of_a.iter().flat_map(|x| of_b.iter().map(move |y| (*x.min(y), *x.max(y))));
    let Some((first, second)) = all.filter(|(x, y)| x != y).min_by_key(|(x, y)| y - x) else { return Ok(None) };
    let attempts = attempts(program, first, second, machine)?;
    Ok(Some(Pair {
        first,
        second,
        flows: flows(program, first, second),
        between: between(program, first, second),
        attempts,
    }))
}

fn reads(program: &Program, root: usize) -> HashSet<ArrayId> {
    group::reads(program, &program.schedule.roots[root])
}

fn flows(program: &Program, first: usize, second: usize) -> Vec<(ArrayId, i64)> {
    let read = reads(program, second);
    let mut both: Vec<ArrayId> =
        group::writes(program, &program.schedule.roots[first]).into_iter().filter(|a| read.contains(a)).collect();
    both.sort();
    both.into_iter().map(|id| (id, group::bytes(program, program.array(id)))).collect()
}

fn between(program: &Program, first: usize, second: usize) -> Option<Origin> {
    let wanted = reads(program, second);
    let mut made = group::writes(program, &program.schedule.roots[first]);
    for root in first + 1..second {
        if reads(program, root).is_disjoint(&made) {
            continue;
        }
        let own = group::writes(program, &program.schedule.roots[root]);
        if !own.is_disjoint(&wanted) {
            let id = *program.schedule.roots[root].statements().first()?;
            return Some(program.statement(id).origin.clone());
        }
        made.extend(own);
    }
    None
}

fn attempts(program: &Program, first: usize, second: usize, machine: &Machine) -> Result<Vec<Attempt>> {
    let apart = cycles(program, machine);
    let mut out = Vec::new();
    for loops in 1.. {
        // The second nest moves up to the first.
        let mut fused = program.clone();
        let node = fused.schedule.roots.remove(second);
        let extents = equal_extents(program, first, second, loops);
        if merge(&mut fused.schedule.roots[first], node, loops).is_none() {
            break;
        }
        let outcome = match extents {
            false => Outcome::Extents,
            true => match legality::check(&fused)? {
                Ok(()) => Outcome::Legal { apart, fused: cycles(&fused, machine) },
                Err(violation) => Outcome::Illegal { text: violation.to_string(), witness: witness(&violation) },
            },
        };
        out.push(Attempt { loops, outcome });
        if !extents {
            break;
        }
    }
    Ok(out)
}

/// Do the outer loops number `loops` of both nests run over one range?
fn equal_extents(program: &Program, first: usize, second: usize, loops: usize) -> bool {
    let extent = |root: usize| {
        let mut node = &program.schedule.roots[root];
        for _ in 1..loops {
            let Node::Band(band) = node else { return None };
            node = band.body.first()?;
        }
        let Node::Band(band) = node else { return None };
        group::common_extent(program, band)
    };
    extent(first).is_some_and(|e| Some(e) == extent(second))
}

/// The two instances of a violation.
pub fn witness(violation: &Violation) -> Option<[Instance; 2]> {
    match violation {
        Violation::Order { source, sink, .. }
        | Violation::Carried { source, sink, .. }
        | Violation::Race { source, sink, .. }
        | Violation::Parameter { source, sink, .. } => Some([source.clone(), sink.clone()]),
        Violation::SameTime { first, second } => Some([first.clone(), second.clone()]),
        Violation::Storage { writer, reader, .. } => Some([writer.clone(), reader.clone()]),
        Violation::Structure(_) | Violation::Slot { .. } => None,
    }
}
