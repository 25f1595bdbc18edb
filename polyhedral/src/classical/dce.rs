//! `dce`: remove statements whose results nobody reads.
//!
//! An array is live when it is a graph output, when it decides whether a loop goes on, when it holds a
//! run-time parameter (the artifact compares each with its bounds after the run), or when a live statement reads it;
//! a statement is live when its target is. Computed backwards to a fixpoint, so chains and cycles through loop-carried
//! state die too.
//! Source: mark and sweep over the data-flow graph (Muchnick 1997, section 18.10).

use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::{Array, ArrayId, Program, Role, StatementId};
use crate::schedule::group;
use std::collections::{HashMap, HashSet};

pub struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }

    fn summary(&self) -> &'static str {
        "remove statements whose results nobody reads"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let live = live_arrays(program);
        let dead: Vec<StatementId> =
            program.statements().filter(|(_, s)| !live.contains(&s.target.array)).map(|(id, _)| id).collect();
        for id in dead {
            let origin = program.statement(id).origin.clone();
            program.remove_statement(id);
            context.applied(self.name(), &origin, "result is never read");
        }
        program.exits.retain(|a| live.contains(a));
        Ok(())
    }
}

fn live_arrays(program: &Program) -> HashSet<ArrayId> {
    let mut writers: HashMap<ArrayId, Vec<StatementId>> = HashMap::new();
    for (id, statement) in program.statements() {
        writers.entry(statement.target.array).or_default().push(id);
    }
    let is_read_after = |a: &Array| matches!(a.role, Role::Output(_)) || program.params.read_array(&a.name);
    let roots = program.arrays().filter(|(_, a)| is_read_after(a));
    let mut live = HashSet::new();
    let mut work: Vec<ArrayId> = roots.map(|(id, _)| id).collect();
    while let Some(array) = work.pop() {
        if !live.insert(array) {
            continue;
        }
        for id in writers.get(&array).into_iter().flatten() {
            program.statement(*id).visit_reads(&mut |a| work.push(a.array));
            work.extend(group::value_params(program, *id));
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::live_arrays;
    use crate::param::ParamDef;
    use crate::program::{Program, StatementKind};
    use crate::schedule_tree::Node;
    use crate::testing::*;

    /// No statement reads the count, but the artifact compares it with its bounds after the run.
    #[test]
    fn what_a_parameter_is_read_from_is_live() {
        let mut p = Program::default();
        let count = array(&mut p, "count", &[]);
        let s = statement(&mut p, &[], StatementKind::Assign, at(count, &[]), zero());
        p.schedule.roots.push(Node::Leaf(s));
        assert!(!live_arrays(&p).contains(&count));
        p.params.derived(ParamDef::Value { array: "count".into() });
        assert!(live_arrays(&p).contains(&count));
    }
}
