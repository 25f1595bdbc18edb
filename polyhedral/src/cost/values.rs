//! The values of parameters for which a cost is asked.

use crate::aff::Aff;
use crate::loop_nest::Bound;
use crate::param::{ParamDef, ParamId, Params};
use std::collections::HashMap;

/// One value for every parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(Vec<i64>);

impl Values {
    /// What `given` says about the named dimensions; typical values for the others and for what only a run can tell.
    pub fn new(params: &Params, given: &dyn Fn(&str) -> Option<i64>) -> Values {
        let mut values = Vec::with_capacity(params.len());
        for (_, param) in params.iter() {
            let value = match &param.def {
                ParamDef::Input { .. } | ParamDef::Content { .. } => given(&param.name).unwrap_or(param.hint),
                ParamDef::Value { .. } => param.hint,
                derived => params.evaluate(derived, |p, _| values[p.0 as usize]),
            };
            values.push(value);
        }
        Values(values)
    }

    pub fn param(&self, id: ParamId) -> i64 {
        self.0[id.0 as usize]
    }

    /// The value of an expression, where `vars` has the loop variables; 0 for others.
    pub fn eval(&self, aff: &Aff, vars: &HashMap<u32, i64>) -> i64 {
        aff.eval(&|p| self.param(p), &|n| vars.get(&(n as u32)).copied().unwrap_or(0))
    }

    /// First value of a loop and the one behind its last.
    pub fn range(&self, lower: &Bound, upper: &Bound, vars: &HashMap<u32, i64>) -> (i64, i64) {
        let of = |bound: &Bound| bound.0.iter().map(|a| self.eval(a, vars)).collect::<Vec<_>>();
        let (lower, upper) = (of(lower), of(upper));
        (lower.into_iter().max().unwrap_or(0), upper.into_iter().min().unwrap_or(0))
    }
}
