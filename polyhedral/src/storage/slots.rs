//! Do arrays that share a slot of the workspace take turns?
//!
//! An array is in use from the first root of the schedule tree that touches it to the last. That is coarse, and it
//! is what `plan-memory` promises.

use crate::deps::parameter_arrays;
use crate::legality::Violation;
use crate::program::{ArrayId, Placement, Program};
use std::collections::{BTreeMap, HashMap};

pub fn check(program: &Program) -> Option<Violation> {
    let mut slots: BTreeMap<usize, Vec<(usize, usize, ArrayId)>> = BTreeMap::new();
    for (array, (first, last)) in uses(program) {
        if let Some(Placement::Slot(slot)) = program.array(array).placement {
            slots.entry(slot).or_default().push((first, last, array));
        }
    }
    for (slot, mut arrays) in slots {
        // Ordered by their first use, each must end before the next begins.
        arrays.sort();
        if let Some(pair) = arrays.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
            return Some(Violation::Slot { first: pair[0].2, second: pair[1].2, slot });
        }
    }
    None
}

/// The first and the last root that touches each array.
fn uses(program: &Program) -> HashMap<ArrayId, (usize, usize)> {
    let mut out = HashMap::new();
    for (root, node) in program.schedule.roots.iter().enumerate() {
        for id in node.statements() {
            let statement = program.statement(id);
            let mut touch = |array: ArrayId| out.entry(array).or_insert((root, root)).1 = root;
            touch(statement.target.array);
            statement.visit_reads(&mut |access| touch(access.array));
            parameter_arrays(program, statement).into_iter().for_each(&mut touch);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::legality::check;
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
}
