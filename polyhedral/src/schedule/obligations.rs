//! Why no two groups of nests can be merged: the reason for every pair that stays apart.
//!
//! A *group* is a node of a list that `fuse-tiles` works on: a root, or a node inside a host loop or inside blocks. Pairs
//! are neighbours in a list, and nodes of which the second reads what the first writes ([`REACH`](super::fuse_tiles::REACH)
//! nodes apart at most). A pair stays apart because merging it is illegal (with two instances that would run in the wrong order, as
//! the legality checker finds them), because no loop could run it (a limit), or because the cost model of `fuse-tiles`
//! says that it would be slower (with both figures). Where none of this holds, the pair is said to be mergeable.
//!
//! Cost: dependences of the program once; for a pair that the cost model does not decide, one check of its two nodes.

use super::blocks::{Choice, Declined, Pair};
use super::fuse_tiles::{Meeting, fusable, in_registers, lists, meetings};
use super::group;
use super::outermost::{self, Limit, merged};
use super::touched::Touched;
use crate::cost::Cycles;
use crate::error::Result;
use crate::legality::{LegalityCache, Violation};
use crate::machine::Machine;
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::Node;
use crate::transform::{Path, children};
use std::collections::HashSet;

/// Two groups and why they are not one.
#[derive(Clone, Debug)]
pub struct Obligation {
    /// The loop around the list; empty for the roots.
    pub list: Path,
    /// Places in the list.
    pub first: usize,
    pub second: usize,
    /// Arrays that the first writes and the second reads, with their bytes at typical sizes.
    pub flows: Vec<(ArrayId, i64)>,
    pub reason: Reason,
}

#[derive(Clone, Debug)]
pub enum Reason {
    /// The two would share a loop in which something runs before what it needs.
    Illegal(Violation),
    NotExecutable(Limit),
    /// Sharing a loop of `count` iterations would cost more.
    Slower {
        count: i64,
        cycles: Cycles,
    },
    /// One of them is a statement: it has no loop of its own that it could share.
    NoLoop,
    /// Nothing speaks against it.
    Mergeable {
        count: i64,
        cycles: Cycles,
    },
}

/// The obligations of a program as `fuse-tiles` leaves it, list by list.
///
/// # Errors
/// As [`LegalityCache::new`].
pub fn obligations(program: &Program, machine: &Machine) -> Result<Vec<Obligation>> {
    let judge = Judge::new(program, machine)?;
    let mut out = Vec::new();
    for list in lists(program) {
        let nodes: Vec<Touched> =
            children(&program.schedule, &list).iter().map(|node| Touched::of(program, node)).collect();
        for second in 1..nodes.len() {
            for meeting in meetings(&nodes, second) {
                if meeting.is_obligation(second) {
                    out.push(judge.obligation(&list, meeting, second)?);
                }
            }
        }
    }
    Ok(out)
}

/// The obligation of the two closest nodes of one list of which the one has a statement of `a` and the other one of `b`;
/// `None` where there are none within [`REACH`](super::fuse_tiles::REACH).
///
/// # Errors
/// As [`LegalityCache::new`].
pub fn between(
    program: &Program,
    a: &[StatementId],
    b: &[StatementId],
    machine: &Machine,
) -> Result<Option<Obligation>> {
    for list in lists(program) {
        let nodes = children(&program.schedule, &list);
        let with = |ids: &[StatementId]| -> Vec<usize> {
            (0..nodes.len()).filter(|n| nodes[*n].statements().iter().any(|s| ids.contains(s))).collect()
        };
        let (of_a, of_b) = (with(a), with(b));
        let all = of_a.iter().flat_map(|x| of_b.iter().map(move |y| (*x.min(y), *x.max(y))));
        let Some((first, second)) = all.filter(|(x, y)| x != y).min_by_key(|(x, y)| y - x) else { continue };
        let touched: Vec<Touched> = nodes.iter().map(|node| Touched::of(program, node)).collect();
        let meeting = meetings(&touched, second).into_iter().find(|m| m.first == first);
        return meeting.map(|m| Judge::new(program, machine)?.obligation(&list, m, second)).transpose();
    }
    Ok(None)
}

struct Judge<'p> {
    program: &'p Program,
    machine: &'p Machine,
    /// Arrays that never reach memory.
    apart: HashSet<ArrayId>,
    legality: LegalityCache,
}

impl<'p> Judge<'p> {
    fn new(program: &'p Program, machine: &'p Machine) -> Result<Judge<'p>> {
        Ok(Judge { program, machine, apart: in_registers(program), legality: LegalityCache::new(program)? })
    }

    fn obligation(&self, list: &Path, meeting: Meeting, second: usize) -> Result<Obligation> {
        let Meeting { first, flows, up } = meeting;
        let tops = [first, second].map(|n| [list.as_slice(), &[n]].concat());
        let pair = Pair { program: self.program, apart: &self.apart, flows: flows.clone(), tops };
        let reason = self.reason(&pair, list, [first, second], up.is_some())?;
        let bytes = |id: ArrayId| (id, group::bytes(self.program, self.program.array(id)));
        Ok(Obligation { list: list.clone(), first, second, flows: flows.into_iter().map(bytes).collect(), reason })
    }

    fn reason(&self, pair: &Pair, list: &Path, at: [usize; 2], meet: bool) -> Result<Reason> {
        let nodes = children(&self.program.schedule, list);
        let [first, second] = at.map(|n| &nodes[n]);
        if !matches!((first, second), (Node::Band(_), Node::Band(_))) {
            return Ok(Reason::NoLoop);
        }
        if meet && fusable(self.program, first, second, &pair.flows) {
            match pair.best(self.machine) {
                Ok(Choice { count, cycles, .. }) => return Ok(Reason::Mergeable { count, cycles }),
                Err(Declined::Slower { count, cycles }) => return Ok(Reason::Slower { count, cycles }),
                Err(Declined::NoCount) => return Ok(Reason::NotExecutable(Limit::Workers)),
                // Decided by what the subscripts say; now exactly.
                Err(Declined::NoLoops) => {}
            }
        }
        if let Some(violation) = self.violation(list, at)? {
            return Ok(Reason::Illegal(violation));
        }
        Ok(match outermost::choice(pair, self.machine) {
            Err(limit) => Reason::NotExecutable(limit),
            Ok(Choice { count, cycles, .. }) if cycles.gain() > 0.0 => Reason::Mergeable { count, cycles },
            Ok(Choice { count, cycles, .. }) => Reason::Slower { count, cycles },
        })
    }

    /// What breaks when the two are [`merged`].
    fn violation(&self, list: &Path, [first, second]: [usize; 2]) -> Result<Option<Violation>> {
        let Some(merged) = merged(self.program, list, first, second) else { return Ok(None) };
        let nodes = children(&self.program.schedule, list);
        let moved: HashSet<StatementId> = [first, second].iter().flat_map(|n| nodes[*n].statements()).collect();
        outermost::violation(&self.legality, &merged, &moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legality;
    use crate::schedule::pair::witness;
    use crate::script::Script;
    use crate::testing::{parse, run_named};

    /// A product, a window over its rows, a sum over all columns, a stranger, and a recurrence that needs both.
    const PROGRAM: &str = "\
program groups
array x: f32[64, 24] input 0
array w: f32[24, 48] input 1
array acc: f32[64, 48] temp
array win: f32[62, 48] temp
array total: f32[48] temp
array h: f32[63, 48] temp
array other: f32[4000, 7] input 2
array far: f32[4000, 7] output 0
array y: f32[48] output 1
inputs x, w, other
outputs far, y
S0 [m: 64, j: 48]: acc[m, j] = 0.0f32
S1 [m: 64, j: 48, k: 24]: acc[m, j] += x[m, k] * w[k, j]
S2 [m: 62, j: 48]: win[m, j] = acc[m, j] + acc[m + 2, j]
S3 [j: 48]: total[j] = 0.0f32
S4 [m: 62, j: 48]: total[j] += win[m, j]
S5 [i: 4000, j: 7]: far[i, j] = other[i, j] * 2.0f32
S6 [j: 48]: h[0, j] = total[j]
S7 [t: 62, j: 48]: h[t + 1, j] = h[t, 47 - j] + win[t, j]
S8 [j: 48]: y[j] = h[62, j]
schedule {
  for [S0: m, S1: m] { for [S0: j, S1: j] { S0 for [S1: k] { S1 } } }
  for [S2: m] { for [S2: j] { S2 } }
  for [S3: j] { S3 }
  for [S4: m] { for [S4: j] { S4 } }
  for [S5: i] { for [S5: j] { S5 } }
  for [S6: j] { S6 }
  for [S7: t] { for [S7: j] { S7 } }
  for [S8: j] { S8 }
}
";

    fn machine() -> Machine {
        Machine { vector_bytes: 32, vector_registers: 16, ..crate::testing::machine() }
    }

    fn after(passes: &[&str]) -> Program {
        let mut program = parse(PROGRAM);
        run_named(&mut program, passes, &machine());
        program
    }

    #[test]
    fn no_pair_of_neighbours_is_without_a_reason() {
        let program = after(&["fuse", "tile", "fuse-tiles"]);
        let found = obligations(&program, &machine()).unwrap();
        for list in lists(&program) {
            for second in 1..children(&program.schedule, &list).len() {
                let is_it = |o: &&Obligation| o.list == list && (o.first, o.second) == (second - 1, second);
                assert_eq!(found.iter().filter(is_it).count(), 1, "{list:?} {second}");
            }
        }
        let mergeable = found.iter().find(|o| matches!(o.reason, Reason::Mergeable { .. }));
        assert!(mergeable.is_none(), "{mergeable:?}");
        assert!(found.iter().any(|o| matches!(o.reason, Reason::Illegal(_))), "{found:?}");
        assert!(found.iter().any(|o| matches!(o.reason, Reason::Slower { .. })), "{found:?}");
    }

    /// The script, which checks the whole program, refuses what is said to be illegal, with the same witness.
    #[test]
    fn what_is_illegal_is_refused_with_that_witness() {
        let program = after(&["fuse", "tile", "fuse-tiles"]);
        let mut refused = 0;
        for o in obligations(&program, &machine()).unwrap() {
            let Reason::Illegal(violation) = &o.reason else { continue };
            let mut script = Script::new(program.clone(), machine()).unwrap();
            let merged = merged(&program, &o.list, o.first, o.second).unwrap();
            let verdict = script
                .step(|p| {
                    *p = merged;
                    Ok(())
                })
                .unwrap();
            assert_eq!(verdict.err().as_ref().map(witness), Some(witness(violation)), "{o:?}");
            refused += 1;
        }
        assert!(refused > 1, "{refused}");
    }

    /// Without the passes that merge them there are pairs that could be merged, and these are legal.
    #[test]
    fn what_is_mergeable_is_legal() {
        let text = "\
program large
array x: f32[512, 512] input 0
array a: f32[512, 512] temp
array y: f32[512, 512] output 0
inputs x
outputs y
S0 [i: 512, j: 512]: a[i, j] = x[i, j] * 2.0f32
S1 [i: 512, j: 512]: y[i, j] = a[i, j] + 1.0f32
schedule {
  for [S0: i] { for [S0: j] { S0 } }
  for [S1: i] { for [S1: j] { S1 } }
}
";
        let program = parse(text);
        let found = obligations(&program, &machine()).unwrap();
        assert!(matches!(found[..], [Obligation { reason: Reason::Mergeable { .. }, .. }]), "{found:?}");
        assert!(legality::check(&merged(&program, &[], 0, 1).unwrap()).unwrap().is_ok());
    }
}
