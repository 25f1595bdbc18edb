//! `plan-memory`: give every temporary a place in one workspace.
//!
//! Two temporaries may share a slot when no root nest of the schedule tree touches both and their live
//! ranges, counted in root nests, do not overlap. Slots are as large as their largest array at run time, so
//! the plan holds for every value of the parameters and the workspace size is known without running.
//! Greedy, largest first (at typical sizes): within a few percent of optimal on chains, and O(n * slots).
//! Source: Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020).

use super::group::bytes;
use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Placement, Program};
use indexmap::IndexMap;

pub struct PlanMemory;

impl Pass for PlanMemory {
    fn name(&self) -> &'static str {
        "plan-memory"
    }

    fn summary(&self) -> &'static str {
        "place temporaries in one workspace, reusing memory by lifetime"
    }

    fn required(&self) -> bool {
        true
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut live: Vec<(ArrayId, Range)> = ranges(program).into_iter().collect();
        live.retain(|(a, _)| program.array(*a).is_temp() && program.array(*a).placement != Some(Placement::Register));
        live.sort_by_key(|(a, _)| (std::cmp::Reverse(bytes(program, program.array(*a))), *a));
        let mut slots: Vec<Vec<Range>> = Vec::new();
        for (array, range) in &live {
            let free = slots.iter().position(|taken| taken.iter().all(|t| !t.overlaps(range)));
            let slot = free.unwrap_or_else(|| {
                slots.push(Vec::new());
                slots.len() - 1
            });
            slots[slot].push(*range);
            program.array_mut(*array).placement = Some(Placement::Slot(slot));
        }
        let subject = crate::Origin { node: program.name.clone(), op: "model".into() };
        context.applied(self.name(), &subject, format!("{} temporaries in {} slots", live.len(), slots.len()));
        Ok(())
    }
}

/// Root nests from the first to the last that touches an array, inclusive; their number stands for the time after all
/// of them, when the artifact reads what parameters take their values from.
#[derive(Clone, Copy)]
struct Range {
    first: usize,
    last: usize,
}

impl Range {
    fn overlaps(&self, other: &Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

fn ranges(program: &Program) -> IndexMap<ArrayId, Range> {
    let mut out: IndexMap<ArrayId, Range> = IndexMap::new();
    for (at, root) in program.schedule.roots.iter().enumerate() {
        for id in root.statements() {
            let statement = program.statement(id);
            let mut touch = |array: ArrayId| {
                out.entry(array).or_insert(Range { first: at, last: at }).last = at;
            };
            touch(statement.target.array);
            statement.visit_reads(&mut |a| touch(a.array));
            super::group::value_params(program, id).into_iter().for_each(touch);
        }
    }
    for (id, _) in program.arrays().filter(|(_, a)| program.params.read_array(&a.name)) {
        out.entry(id).and_modify(|range| range.last = program.schedule.roots.len());
    }
    out
}
