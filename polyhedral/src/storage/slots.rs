//! Do arrays that share a slot of the workspace take turns?
//!
//! An array is in use from the first root of the schedule tree that touches it to the last, or to the end where the
//! artifact reads it after the run. That is coarse, and it is what `plan-memory` promises. Where a thread team runs the program, a barrier must stand between.

use crate::deps::parameter_arrays;
use crate::legality::workers::Team;
use crate::legality::{Path, Violation};
use crate::program::{ArrayId, Placement, Program, StatementId};
use std::collections::{BTreeMap, HashMap};

pub fn check(program: &Program, paths: &HashMap<StatementId, Path>) -> Option<Violation> {
    let team = Team::of(program);
    let mut slots: BTreeMap<usize, Vec<(Use, ArrayId)>> = BTreeMap::new();
    for (array, range) in uses(program, paths, team.as_ref()) {
        if let Some(Placement::Slot(slot)) = program.array(array).placement {
            slots.entry(slot).or_default().push((range, array));
        }
    }
    let waits = |a: usize, b: usize| team.as_ref().is_none_or(|t| t.waits_between(a, b));
    // Ordered by their first use, each must end before the next begins. Worker 0 need not wait for itself.
    let meet = |a: &Use, b: &Use| {
        a.last >= b.first
            || a.last_shared.is_some_and(|last| !waits(last, b.first))
            || b.first_shared.is_some_and(|first| !waits(a.last, first))
    };
    for (slot, mut arrays) in slots {
        arrays.sort();
        if let Some(pair) = arrays.windows(2).find(|pair| meet(&pair[0].0, &pair[1].0)) {
            return Some(Violation::Slot { first: pair[0].1, second: pair[1].1, slot });
        }
    }
    None
}

/// The first and the last root that touches an array, and those among them where not only worker 0 does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    first: usize,
    last: usize,
    first_shared: Option<usize>,
    last_shared: Option<usize>,
}

fn uses(program: &Program, paths: &HashMap<StatementId, Path>, team: Option<&Team>) -> HashMap<ArrayId, Use> {
    let mut out = HashMap::new();
    for (root, node) in program.schedule.roots.iter().enumerate() {
        for id in node.statements() {
            let statement = program.statement(id);
            let mut touch = |array: ArrayId| {
                let new = Use { first: root, last: root, first_shared: None, last_shared: None };
                let range: &mut Use = out.entry(array).or_insert(new);
                let shared = team.filter(|t| t.is_shared(program, id, &paths[&id], array)).map(|_| root);
                range.last = root;
                range.first_shared = range.first_shared.or(shared);
                range.last_shared = shared.or(range.last_shared);
            };
            touch(statement.target.array);
            statement.visit_reads(&mut |access| touch(access.array));
            parameter_arrays(program, statement).into_iter().for_each(&mut touch);
        }
    }
    for (id, _) in program.arrays().filter(|(_, a)| program.params.read_array(&a.name)) {
        out.entry(id).and_modify(|range| range.last = program.schedule.roots.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::legality::check;
    use crate::param::ParamDef;
    use crate::program::{Placement, Program, StatementKind};
    use crate::schedule_tree::Node;
    use crate::testing::*;

    #[test]
    fn a_slot_is_free_after_the_last_read() {
        let mut p = Program::default();
        let arrays: Vec<_> = (0..4).map(|k| array(&mut p, &format!("x{k}"), &[c(8)])).collect();
        for k in 0..4 {
            let value = if k == 0 { zero() } else { load(arrays[k - 1], &[i(0)]) };
            let s = statement(&mut p, &[c(8)], StatementKind::Assign, at(arrays[k], &[i(0)]), value);
            p.schedule.roots.extend(Node::loops_of(s, 0, 1));
        }
        for (k, slot) in [0, 1, 0, 1].into_iter().enumerate() {
            p.array_mut(arrays[k]).placement = Some(Placement::Slot(slot));
        }
        assert!(check(&p).unwrap().is_ok());
        p.array_mut(arrays[1]).placement = Some(Placement::Slot(0));
        let violation = check(&p).unwrap().unwrap_err();
        assert_eq!(violation.to_string(), "A0 and A1 share slot 0 while both are in use");
    }

    /// The artifact compares every computed parameter with its bounds when all is done.
    #[test]
    fn what_a_parameter_is_read_from_stays_to_the_end() {
        let mut p = Program::default();
        let arrays = [array(&mut p, "count", &[]), array(&mut p, "later", &[])];
        for a in arrays {
            let s = statement(&mut p, &[], StatementKind::Assign, at(a, &[]), zero());
            p.schedule.roots.push(Node::Leaf(s));
            p.array_mut(a).placement = Some(Placement::Slot(0));
        }
        assert!(check(&p).unwrap().is_ok());
        p.params.derived(ParamDef::Value { array: "count".into() });
        let violation = check(&p).unwrap().unwrap_err();
        assert_eq!(violation.to_string(), "A0 and A1 share slot 0 while both are in use");
    }
}
