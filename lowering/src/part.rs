//! One root of a nest as a function of the arrays that it uses.
//!
//! The layers of a network repeat: twelve attention layers are the same loops over other arrays. Here a root gets
//! arrays and loop variables numbered in the order in which it mentions them, and sees every array from the first row
//! that it touches (see `view`); two roots with equal text are then one function, called with two lists of arrays. Code size and the time that LLVM takes grow with the
//! number of *different* roots.

use crate::view;
use indexmap::IndexMap;
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{
    Access, Aff, Array, ArrayId, Bound, Condition, Expr, LoopNest, Nest, Origin, ParamDef, StatementId, VarId,
};
use std::collections::HashMap;

/// A root, renumbered.
pub struct Part {
    /// The root alone, over its own arrays.
    pub nest: LoopNest,
    /// For each array of `nest`, the array of the whole nest, and at how many bytes of it the part's begins.
    pub arrays: Vec<(ArrayId, i64)>,
    /// Equal for parts that need the same code.
    pub key: String,
}

/// The part that `root` is.
pub fn part(nest: &LoopNest, root: &Nest) -> Part {
    let mut numbers = Numbers { rows: view::skipped_rows(nest, root), ..Numbers::default() };
    // Code may read the arrays of parameters anywhere, by name.
    let of_params = arrays_of_params(nest);
    numbers.rows.retain(|id, _| !of_params.contains(id));
    let body = numbers.nest(root);
    for array in of_params {
        numbers.array(array);
    }
    let whole = |id: &ArrayId| &nest.arrays[id.0 as usize];
    let rows = |id: &ArrayId| numbers.rows.get(id).copied().unwrap_or(0);
    let arrays: Vec<Array> = numbers.arrays.keys().map(|id| view::view(whole(id), rows(id))).collect();
    let begin = |id: &ArrayId| (*id, view::offset(whole(id), rows(id)).unwrap_or(0));
    let begins = numbers.arrays.keys().map(begin).collect();
    let key = key(&body, &arrays);
    let local = LoopNest {
        name: nest.name.clone(),
        params: nest.params.clone(),
        arrays,
        inputs: Vec::new(),
        outputs: Vec::new(),
        body: vec![body],
        vars: numbers.vars.len() as u32,
    };
    Part { nest: local, arrays: begins, key }
}

/// Arrays whose first element is a parameter.
fn arrays_of_params(nest: &LoopNest) -> Vec<ArrayId> {
    let named = |name: &str| nest.arrays.iter().position(|a| a.name == name).map(|n| ArrayId(n as u32));
    let defs = nest.params.iter().filter_map(|(_, p)| match &p.def {
        ParamDef::Value { array } => named(array),
        _ => None,
    });
    defs.collect()
}

/// Everything that code depends on. Where statements come from, whose memory an array is and what constants contain
/// does not matter; which arrays share memory does.
fn key(body: &Nest, arrays: &[Array]) -> String {
    let memory = |n: usize| {
        let slot = arrays[n].placement.as_ref().filter(|p| matches!(p, Placement::Slot(_)));
        slot.and_then(|_| arrays.iter().position(|a| a.placement.as_ref() == slot)).unwrap_or(n)
    };
    let facts = arrays.iter().enumerate().map(|(n, a)| {
        let register = a.placement == Some(Placement::Register);
        (a.dtype, &a.extents, &a.fold, register, memory(n))
    });
    format!("{:?}\n{:?}", anonymous(body), facts.collect::<Vec<_>>())
}

fn anonymous(nest: &Nest) -> Nest {
    let list = |body: &[Nest]| body.iter().map(anonymous).collect();
    match nest.clone() {
        Nest::Loop { var, lower, upper, kind, body } => Nest::Loop { var, lower, upper, kind, body: list(&body) },
        Nest::If { condition, body } => Nest::If { condition, body: list(&body) },
        Nest::Compute { kind, target, value, .. } => {
            Nest::Compute { statement: StatementId(0), kind, target, value, origin: Origin::default() }
        }
        leave @ Nest::BreakUnless(_) => leave,
    }
}

/// New numbers, in order of first mention.
#[derive(Default)]
struct Numbers {
    arrays: IndexMap<ArrayId, u32>,
    /// The first row that the part sees of an array, where that is not 0.
    rows: HashMap<ArrayId, i64>,
    vars: IndexMap<VarId, u32>,
}

impl Numbers {
    fn array(&mut self, id: ArrayId) -> ArrayId {
        let next = self.arrays.len() as u32;
        ArrayId(*self.arrays.entry(id).or_insert(next))
    }

    fn var(&mut self, var: VarId) -> VarId {
        let next = self.vars.len() as u32;
        *self.vars.entry(var).or_insert(next)
    }

    fn nest(&mut self, nest: &Nest) -> Nest {
        match nest {
            Nest::Loop { var, lower, upper, kind, body } => Nest::Loop {
                lower: self.bound(lower),
                upper: self.bound(upper),
                var: self.var(*var),
                kind: *kind,
                body: self.nests(body),
            },
            Nest::If { condition, body } => Nest::If { condition: self.condition(condition), body: self.nests(body) },
            Nest::BreakUnless(guard) => Nest::BreakUnless(self.expr(guard)),
            Nest::Compute { statement, kind, target, value, origin } => Nest::Compute {
                statement: *statement,
                kind: *kind,
                value: self.expr(value),
                target: self.access(target),
                origin: origin.clone(),
            },
        }
    }

    fn nests(&mut self, body: &[Nest]) -> Vec<Nest> {
        body.iter().map(|n| self.nest(n)).collect()
    }

    fn bound(&mut self, bound: &Bound) -> Bound {
        Bound(bound.0.iter().map(|a| self.aff(a)).collect())
    }

    fn condition(&mut self, condition: &Condition) -> Condition {
        match condition {
            Condition::NonNegative(affs) => Condition::NonNegative(affs.iter().map(|a| self.aff(a)).collect()),
            Condition::Guard(guard) => Condition::Guard(self.expr(guard)),
        }
    }

    /// Every variable has been met by then: its loop is around.
    fn aff(&mut self, aff: &Aff) -> Aff {
        aff.substitute(&|n| Aff::iter(self.vars.get(&(n as VarId)).map_or(n, |v| *v as usize)))
    }

    fn access(&mut self, access: &Access) -> Access {
        let index = access.index.iter().map(|e| self.expr(e)).collect();
        self.renumbered(Access { array: access.array, index })
    }

    fn renumbered(&mut self, access: Access) -> Access {
        let rows = self.rows.get(&access.array).copied().unwrap_or(0);
        view::seen_from(Access { array: self.array(access.array), index: access.index }, rows)
    }

    fn expr(&mut self, expr: &Expr) -> Expr {
        expr.clone().rewrite(&mut |e| match e {
            Expr::Index(aff) => Expr::Index(self.aff(&aff)),
            Expr::Load(access) => Expr::Load(self.renumbered(access)),
            other => other,
        })
    }
}
