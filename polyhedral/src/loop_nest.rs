//! The loop nest: what the schedule tree looks like as a program. No isl type, no LLVM type.

use crate::aff::Aff;
use crate::error::Origin;
use crate::expr::{Access, Expr};
use crate::param::Params;
use crate::program::{Array, ArrayId, StatementId, StatementKind};
use crate::schedule_tree::Mark;

/// Loop variable; `Term::Iter(n)` in a nest's expressions is variable `n`. Prints as `c3`.
pub type VarId = u32;

/// A program ready for lowering.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopNest {
    pub name: String,
    pub params: Params,
    /// Indexed by `ArrayId`, as in the program.
    pub arrays: Vec<Array>,
    pub inputs: Vec<ArrayId>,
    pub outputs: Vec<ArrayId>,
    pub body: Vec<Nest>,
    /// One past the largest loop variable.
    pub vars: u32,
}

/// A loop kind is the mark of the band it came from.
pub type LoopKind = Mark;

/// `max` (lower) or `min` (upper) of affine expressions over parameters and outer variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound(pub Vec<Aff>);

/// A run-time test.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// All of these are `>= 0`.
    NonNegative(Vec<Aff>),
    /// A `bool` expression (the predicate of an ONNX `If`, a loop's exit).
    Guard(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Nest {
    /// `for var in max(lower) .. min(upper), upper exclusive, step 1`.
    Loop {
        var: VarId,
        lower: Bound,
        upper: Bound,
        kind: LoopKind,
        body: Vec<Nest>,
    },
    If {
        condition: Condition,
        body: Vec<Nest>,
    },
    /// Leaves the innermost enclosing sequential loop when the guard is false.
    BreakUnless(Expr),
    /// One statement instance; iterators are loop variables.
    Compute {
        statement: StatementId,
        kind: StatementKind,
        target: Access,
        value: Expr,
        origin: Origin,
    },
}

impl LoopNest {
    /// The largest number of workers that may run the nest.
    pub fn team(&self) -> u32 {
        self.body.iter().map(Nest::team).max().unwrap_or(1)
    }
}

impl Nest {
    /// The largest number of workers that its loops are shared among; 1 when worker 0 does it all.
    pub fn team(&self) -> u32 {
        let mut team = 1;
        self.visit(&mut |n| {
            if let Nest::Loop { kind: Mark::Team(n), .. } = n {
                team = team.max(*n);
            }
        });
        team
    }

    /// Do all workers of a team walk this node? Worker 0 alone runs the others.
    pub fn is_shared(&self) -> bool {
        let mut found = false;
        self.visit(&mut |n| found |= matches!(n, Nest::Loop { kind: Mark::Team(_) | Mark::Barrier, .. }));
        found
    }

    /// Calls `visit` on this node and everything below, outermost first.
    pub fn visit(&self, visit: &mut dyn FnMut(&Nest)) {
        visit(self);
        if let Nest::Loop { body, .. } | Nest::If { body, .. } = self {
            body.iter().for_each(|n| n.visit(visit));
        }
    }
}

impl Nest {
    /// Calls `visit` on every access of this node and everything below: targets, loads, loads in subscripts and guards.
    pub fn visit_accesses(&self, visit: &mut dyn FnMut(&Access)) {
        self.visit(&mut |nest| match nest {
            Nest::Compute { target, value, .. } => {
                visit(target);
                target.index.iter().chain([value]).for_each(|e| e.visit_loads(visit));
            }
            Nest::If { condition: Condition::Guard(e), .. } | Nest::BreakUnless(e) => e.visit_loads(visit),
            Nest::If { .. } | Nest::Loop { .. } => {}
        });
    }
}

impl Bound {
    pub fn one(aff: Aff) -> Bound {
        Bound(vec![aff])
    }

    /// The value of a single constant bound.
    pub fn as_constant(&self) -> Option<i64> {
        match self.0.as_slice() {
            [aff] => aff.as_constant(),
            _ => None,
        }
    }
}
