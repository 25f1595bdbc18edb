//! What a piece of a nest refers to: the arguments that its kernel needs.

use crate::prepare::storage_extents;
use sirius_polyhedral::{Access, Aff, ArrayId, Bound, Condition, Expr, LoopNest, Nest, ParamId, Term, VarId};
use std::collections::BTreeSet;

/// Arrays, parameters and variables of the code outside it, each in order.
#[derive(Default)]
pub struct Uses {
    pub arrays: BTreeSet<ArrayId>,
    pub params: BTreeSet<ParamId>,
    pub vars: BTreeSet<VarId>,
    /// Variables of loops inside.
    bound: BTreeSet<VarId>,
}

impl Uses {
    pub fn of(nest: &LoopNest, nodes: &[&Nest]) -> Uses {
        let mut uses = Uses::default();
        for root in nodes {
            root.visit(&mut |node| uses.node(node));
        }
        uses.finish(nest)
    }

    pub fn of_expr(nest: &LoopNest, expr: &Expr) -> Uses {
        let mut uses = Uses::default();
        uses.expr(expr);
        uses.finish(nest)
    }

    /// Adds the loops of threads around the nodes.
    pub fn with_range(mut self, var: VarId, bounds: [&Bound; 2]) -> Uses {
        bounds.into_iter().for_each(|b| self.bound(b));
        self.vars.remove(&var);
        self
    }

    /// Addressing an array needs the parameters in its extents; inner variables are no arguments.
    fn finish(mut self, nest: &LoopNest) -> Uses {
        for id in self.arrays.clone() {
            storage_extents(&nest.arrays[id.0 as usize]).iter().for_each(|e| self.aff(e));
        }
        self.vars = &self.vars - &self.bound;
        self
    }

    fn node(&mut self, node: &Nest) {
        match node {
            Nest::Loop { var, lower, upper, .. } => {
                self.bound.insert(*var);
                [lower, upper].into_iter().for_each(|b| self.bound(b));
            }
            Nest::If { condition: Condition::NonNegative(all), .. } => all.iter().for_each(|a| self.aff(a)),
            Nest::If { condition: Condition::Guard(guard), .. } | Nest::BreakUnless(guard) => self.expr(guard),
            Nest::Compute { target, value, .. } => {
                self.access(target);
                self.expr(value);
            }
        }
    }

    fn bound(&mut self, bound: &Bound) {
        bound.0.iter().for_each(|a| self.aff(a));
    }

    fn access(&mut self, access: &Access) {
        self.arrays.insert(access.array);
        access.index.iter().for_each(|e| self.expr(e));
    }

    fn expr(&mut self, expr: &Expr) {
        expr.visit_loads(&mut |a| {
            self.arrays.insert(a.array);
        });
        expr.visit_affs(&mut |a| self.aff(a));
    }

    fn aff(&mut self, aff: &Aff) {
        aff.visit_params(&mut |p| {
            self.params.insert(p);
        });
        self.iters(aff);
    }

    fn iters(&mut self, aff: &Aff) {
        for (term, _) in aff.terms() {
            match term {
                Term::Iter(n) => {
                    self.vars.insert(*n);
                }
                Term::FloorDiv(a, _) => self.iters(a),
                Term::Param(_) => {}
            }
        }
    }
}
