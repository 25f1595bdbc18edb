//! Parameters: run-time integers that are constant during one inference.

use crate::aff::Aff;
use serde::{Deserialize, Serialize};

/// Index into [`Params`]; prints as the parameter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ParamId(pub u32);

/// Where a parameter's value comes from. Definitions only refer to earlier parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParamDef {
    /// A named dimension, read from the shape of the graph input `input` at `axis`.
    Input {
        input: usize,
        axis: usize,
    },
    /// An amount that the caller passes as data: element `at` of the graph input `input`, read on entry.
    Content {
        input: usize,
        at: usize,
    },
    /// Non-affine combinations, computed on entry. Divisors are positive; division is floor.
    Mul(Aff, Aff),
    FloorDiv(Aff, Aff),
    Max(Aff, Aff),
    Min(Aff, Aff),
    /// An integer that the program itself computes (a trip count): element 0 of the array named here,
    /// read when the first loop that needs it is entered.
    Value {
        array: String,
    },
}

impl ParamDef {
    /// Does the caller give the value, in the shape or the contents of an input?
    pub fn is_given(&self) -> bool {
        matches!(self, ParamDef::Input { .. } | ParamDef::Content { .. })
    }
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Unique, and a C identifier (`batch`, `p2o_Dyn_0`), so that every text form can spell it.
    pub name: String,
    pub def: ParamDef,
    /// Inclusive bounds that hold at run time (checked on entry for `Input` and `Content`).
    pub min: i64,
    pub max: Option<i64>,
    /// A typical value, used by cost models only.
    pub hint: i64,
}

/// The parameter table of a graph or program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params(Vec<Param>);

impl Params {
    pub fn push(&mut self, param: Param) -> ParamId {
        self.0.push(param);
        ParamId(self.0.len() as u32 - 1)
    }

    /// The parameter with definition `def`, made on demand. Equal definitions share one parameter, so
    /// `batch*seq` computed twice in a graph is recognised as the same extent.
    pub fn derived(&mut self, def: ParamDef) -> ParamId {
        if let Some(found) = self.iter().find(|(_, p)| p.def == def) {
            return found.0;
        }
        let hint = self.evaluate(&def, |id, params| params.get(id).hint);
        let name = format!("d{}", self.0.len());
        self.push(Param { name, def, min: i64::MIN, max: None, hint })
    }

    pub fn get(&self, id: ParamId) -> &Param {
        &self.0[id.0 as usize]
    }

    pub fn get_mut(&mut self, id: ParamId) -> &mut Param {
        &mut self.0[id.0 as usize]
    }

    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.0.iter().position(|p| p.name == name).map(|i| ParamId(i as u32))
    }

    /// The first parameter that takes its value from the array `name`.
    pub fn of_array(&self, name: &str) -> Option<ParamId> {
        let reads = |p: &Param| matches!(&p.def, ParamDef::Value { array } if array == name);
        self.iter().find(|(_, p)| reads(p)).map(|(id, _)| id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &Param)> {
        self.0.iter().enumerate().map(|(i, p)| (ParamId(i as u32), p))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `aff` (parameters only) at the hints.
    pub fn hint(&self, aff: &Aff) -> i64 {
        aff.eval(&|id| self.get(id).hint, &|_| 0)
    }

    /// Does a parameter take its value from the array `name`? The artifact reads such arrays after the run, too.
    pub fn read_array(&self, name: &str) -> bool {
        self.of_array(name).is_some()
    }

    /// Does `aff` depend on a parameter of this kind, itself or through what its parameters are made of?
    pub fn follows(&self, aff: &Aff, kind: &dyn Fn(ParamId) -> bool) -> bool {
        let mut found = false;
        aff.visit_params(&mut |id| {
            found |= kind(id)
                || match &self.get(id).def {
                    ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
                        self.follows(a, kind) || self.follows(b, kind)
                    }
                    ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => false,
                }
        });
        found
    }

    /// Does `aff` depend on what the program computes?
    pub fn is_computed(&self, aff: &Aff) -> bool {
        self.follows(aff, &|id| matches!(self.get(id).def, ParamDef::Value { .. }))
    }

    /// Does `aff` have a largest value once the inputs' shapes are known? Not where it counts what only the run finds,
    /// with nothing that limits it.
    pub fn is_limited(&self, aff: &Aff) -> bool {
        let mut limited = true;
        aff.visit_params(&mut |id| limited &= self.is_limited_param(id));
        limited
    }

    fn is_limited_param(&self, id: ParamId) -> bool {
        let param = self.get(id);
        param.max.is_some()
            || match &param.def {
                ParamDef::Input { .. } | ParamDef::Content { .. } => true,
                ParamDef::Value { .. } => false,
                ParamDef::Min(a, b) => self.is_limited(a) || self.is_limited(b),
                ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) => {
                    self.is_limited(a) && self.is_limited(b)
                }
            }
    }

    /// The value of a derived definition where `value` gives the parameters; the others give 1.
    pub fn evaluate(&self, def: &ParamDef, value: impl Fn(ParamId, &Params) -> i64) -> i64 {
        let of = |aff: &Aff| aff.eval(&|id| value(id, self), &|_| 0);
        match def {
            ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => 1,
            ParamDef::Mul(a, b) => of(a).saturating_mul(of(b)),
            ParamDef::FloorDiv(a, b) => of(a).div_euclid(of(b).max(1)),
            ParamDef::Max(a, b) => of(a).max(of(b)),
            ParamDef::Min(a, b) => of(a).min(of(b)),
        }
    }
}
