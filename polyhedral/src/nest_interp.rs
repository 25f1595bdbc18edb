//! A plain interpreter of loop nests: runs every loop in order, one instance at a time.
//!
//! It is the second oracle of the tests (the first is the reference interpreter over graphs): a program must
//! give the same numbers before and after every pass. Lockstep and parallel loops run as ordinary loops;
//! storage folds are applied, so a window that is too small shows. Subscripts out of bounds and reads of
//! cells that were never written are errors that name the statement.

use crate::aff::Aff;
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::expr::{Access, Expr};
use crate::loop_nest::{Bound, Condition, LoopNest, Nest};
use crate::param::{ParamDef, ParamId};
use crate::program::{Array, ArrayId, Role, StatementKind};
use crate::scalar;

/// Runs the nest. `dims` gives the `Input` parameters by name, `inputs` the bytes of every graph input; the
/// result is the bytes of every graph output.
pub fn run(nest: &LoopNest, dims: &[(&str, i64)], inputs: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut machine = Machine::new(nest, dims, inputs)?;
    machine.run_all(&nest.body)?;
    Ok(nest.outputs.iter().map(|id| std::mem::take(&mut machine.memory[id.0 as usize].bytes)).collect())
}

/// One array's storage.
struct Memory {
    bytes: Vec<u8>,
    /// For temporaries and outputs: which cells hold a value.
    written: Option<Vec<bool>>,
}

struct Machine<'a> {
    nest: &'a LoopNest,
    params: Vec<Option<i64>>,
    vars: Vec<i64>,
    memory: Vec<Memory>,
}

/// What a list of nodes ended with.
#[derive(PartialEq)]
enum Flow {
    Next,
    /// `BreakUnless` left the loop.
    Leave,
}

impl<'a> Machine<'a> {
    fn new(nest: &'a LoopNest, dims: &[(&str, i64)], inputs: &[Vec<u8>]) -> Result<Machine<'a>> {
        let mut machine =
            Machine { nest, params: vec![None; nest.params.len()], vars: vec![0; nest.vars as usize], memory: vec![] };
        for (id, param) in nest.params.iter() {
            machine.params[id.0 as usize] = match &param.def {
                ParamDef::Input { .. } | ParamDef::Content { .. } => {
                    dims.iter().find(|(n, _)| *n == param.name).map(|(_, v)| *v)
                }
                ParamDef::Value { .. } => None,
                derived => {
                    let known = &machine.params;
                    Some(nest.params.evaluate(derived, |p, _| known[p.0 as usize].unwrap_or(0)))
                }
            };
        }
        for array in &nest.arrays {
            let memory = machine.allocate(array, inputs)?;
            machine.memory.push(memory);
        }
        Ok(machine)
    }

    fn allocate(&self, array: &Array, inputs: &[Vec<u8>]) -> Result<Memory> {
        let count = self.extents(array)?.iter().try_fold(1i64, |n, e| n.checked_mul(*e));
        let bytes = count.and_then(|n| usize::try_from(n).ok()?.checked_mul(array.dtype.size()));
        let bytes = bytes.filter(|b| *b < 1 << 32).ok_or_else(|| too_large(array))?;
        Ok(match &array.role {
            Role::Input(n) => Memory { bytes: inputs.get(*n).cloned().unwrap_or_default(), written: None },
            Role::Constant(data) => Memory { bytes: data.bytes().to_vec(), written: None },
            Role::Output(_) | Role::Temp => {
                Memory { bytes: vec![0xCB; bytes], written: Some(vec![false; bytes / array.dtype.size()]) }
            }
        })
    }

    /// Stored extents: folds applied.
    fn extents(&self, array: &Array) -> Result<Vec<i64>> {
        let extent = |(e, fold): (&Aff, &Option<i64>)| match fold {
            Some(window) => Ok(*window),
            None => self.aff(e),
        };
        array.extents.iter().zip(&array.fold).map(extent).collect()
    }

    fn run_all(&mut self, nodes: &[Nest]) -> Result<Flow> {
        for node in nodes {
            if self.run(node)? == Flow::Leave {
                return Ok(Flow::Leave);
            }
        }
        Ok(Flow::Next)
    }

    fn run(&mut self, node: &Nest) -> Result<Flow> {
        match node {
            Nest::Loop { var, lower, upper, body, .. } => {
                let (from, to) = (self.bound(lower, i64::max)?, self.bound(upper, i64::min)?);
                for value in from..to {
                    self.vars[*var as usize] = value;
                    if self.run_all(body)? == Flow::Leave {
                        break;
                    }
                }
                Ok(Flow::Next)
            }
            Nest::If { condition, body } => {
                if self.holds(condition)? {
                    self.run_all(body)
                } else {
                    Ok(Flow::Next)
                }
            }
            Nest::BreakUnless(guard) => Ok(if self.truth(guard)? { Flow::Next } else { Flow::Leave }),
            Nest::Compute { kind, target, value, origin, .. } => {
                self.compute(*kind, target, value).map_err(|e| e.at(origin))?;
                Ok(Flow::Next)
            }
        }
    }

    fn compute(&mut self, kind: StatementKind, target: &Access, value: &Expr) -> Result<()> {
        let value = self.eval(value)?;
        let at = self.address(target)?;
        let id = target.array.0 as usize;
        let dtype = self.nest.arrays[id].dtype;
        let value = match kind {
            StatementKind::Reduce(op) => scalar::binary(op, self.read(target.array, at)?, value),
            StatementKind::Assign | StatementKind::Update => value,
        };
        scalar::write(&mut self.memory[id].bytes, at, scalar::cast(value, dtype));
        if let Some(written) = &mut self.memory[id].written {
            written[at] = true;
        }
        Ok(())
    }

    fn element(&self, array: ArrayId, index: &[i64]) -> Result<Scalar> {
        self.read(array, self.offset(array, index)?)
    }

    fn read(&self, array: ArrayId, at: usize) -> Result<Scalar> {
        let memory = &self.memory[array.0 as usize];
        if memory.written.as_ref().is_some_and(|w| !w[at]) {
            return Err(Error::bug("B910", format!("read of {} before any write", self.name(array))));
        }
        Ok(scalar::read(&memory.bytes, at, self.nest.arrays[array.0 as usize].dtype))
    }

    fn address(&self, access: &Access) -> Result<usize> {
        let index = access.index.iter().map(|e| self.int(e)).collect::<Result<Vec<i64>>>()?;
        self.offset(access.array, &index)
    }

    /// Element number in storage.
    fn offset(&self, array: ArrayId, index: &[i64]) -> Result<usize> {
        let array = &self.nest.arrays[array.0 as usize];
        let mut at = 0i64;
        for ((i, extent), fold) in index.iter().zip(&array.extents).zip(&array.fold) {
            let extent = self.aff(extent)?;
            if *i < 0 || *i >= extent {
                let message = format!("subscript {i} of {} is outside 0..{extent}", array.name);
                return Err(Error::bug("B911", message));
            }
            at = match fold {
                Some(window) => at * window + i.rem_euclid(*window),
                None => at * extent + i,
            };
        }
        Ok(at as usize)
    }

    fn name(&self, id: ArrayId) -> &str {
        &self.nest.arrays[id.0 as usize].name
    }

    fn eval(&self, expr: &Expr) -> Result<Scalar> {
        scalar::eval(expr, &|a| self.aff(a), &|array, index| self.element(array, index))
    }

    fn int(&self, expr: &Expr) -> Result<i64> {
        self.eval(expr).map(scalar::to_int)
    }

    fn truth(&self, expr: &Expr) -> Result<bool> {
        Ok(self.int(expr)? != 0)
    }

    fn holds(&self, condition: &Condition) -> Result<bool> {
        match condition {
            Condition::NonNegative(all) => {
                for a in all {
                    if self.aff(a)? < 0 {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Condition::Guard(guard) => self.truth(guard),
        }
    }

    fn bound(&self, bound: &Bound, pick: fn(i64, i64) -> i64) -> Result<i64> {
        let mut values = bound.0.iter().map(|a| self.aff(a));
        let first = values.next().ok_or_else(|| Error::bug("B912", "a loop without bounds"))??;
        values.try_fold(first, |best, v| Ok(pick(best, v?)))
    }

    fn aff(&self, aff: &Aff) -> Result<i64> {
        let mut missing = None;
        aff.visit_params(&mut |p| {
            if self.param(p).is_none() {
                missing = Some(p);
            }
        });
        if let Some(p) = missing {
            let name = &self.nest.params.get(p).name;
            return Err(Error::invalid("E210", format!("parameter {name} has no value")));
        }
        Ok(aff.eval(&|p| self.param(p).unwrap_or(0), &|n| self.vars[n]))
    }

    /// A parameter's value; `Value` parameters are read from their array.
    fn param(&self, id: ParamId) -> Option<i64> {
        match &self.nest.params.get(id).def {
            ParamDef::Value { array } => {
                let at = self.nest.arrays.iter().position(|a| a.name == *array)?;
                let memory = self.memory.get(at)?;
                match scalar::read(&memory.bytes, 0, self.nest.arrays[at].dtype) {
                    Scalar::Int(v, _) => Some(v),
                    Scalar::Float(..) => None,
                }
            }
            _ => self.params[id.0 as usize],
        }
    }
}

fn too_large(array: &Array) -> Error {
    Error::limit("L210", format!("array {} is too large for the interpreter", array.name))
}
