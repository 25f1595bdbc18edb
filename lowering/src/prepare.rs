//! The size program: how an artifact computes derived parameters, tensor extents and workspace slots from the
//! named dimensions.
//!
//! A postfix program for the small stack machine in `runtime/sizes.c`. It is interpreted rather than compiled,
//! because it runs only when the dimensions change and every step must be checked for overflow there.

use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{Aff, Array, DType, Error, LoopNest, ParamDef, Result, Role, Term};
use std::collections::BTreeMap;

/// Numbers of the operations, as in `runtime/descriptor.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Push = 0,
    Param = 1,
    Add = 2,
    Mul = 3,
    FloorDiv = 4,
    Max = 5,
    Min = 6,
    SetParam = 7,
    SetDim = 8,
    GrowSlot = 9,
}

/// Depth of the runtime's stack.
const STACK_DEPTH: usize = 32;

/// The program with the sizes of the tables it fills.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SizeProgram {
    /// Operation and argument, alternating.
    pub words: Vec<i64>,
    /// Extents of the inputs, then of the outputs, each tensor's in order.
    pub dims: usize,
    pub slots: usize,
    depth: usize,
    deepest: usize,
}

/// Builds the size program of a nest; `slots[a]` is the workspace slot of array `a`, if it has one.
pub fn size_program(nest: &LoopNest, slots: &[Option<usize>]) -> Result<SizeProgram> {
    let mut program = SizeProgram::default();
    for (id, param) in nest.params.iter() {
        program.definition(&param.def, id.0 as i64)?;
    }
    for id in nest.inputs.iter().chain(&nest.outputs) {
        for extent in &nest.arrays[id.0 as usize].extents {
            program.aff(extent)?;
            program.store(Op::SetDim, program.dims as i64);
            program.dims += 1;
        }
    }
    program.grow_slots(nest, slots)?;
    if program.deepest > STACK_DEPTH {
        return Err(Error::limit("E501", format!("a size needs {} operands at once", program.deepest)));
    }
    Ok(program)
}

impl SizeProgram {
    fn definition(&mut self, def: &ParamDef, param: i64) -> Result<()> {
        let (op, a, b) = match def {
            ParamDef::Input { .. } | ParamDef::Value { .. } => return Ok(()),
            ParamDef::Mul(a, b) => (Op::Mul, a, b),
            ParamDef::FloorDiv(a, b) => (Op::FloorDiv, a, b),
            ParamDef::Max(a, b) => (Op::Max, a, b),
            ParamDef::Min(a, b) => (Op::Min, a, b),
        };
        self.aff(a)?;
        self.aff(b)?;
        self.binary(op);
        self.store(Op::SetParam, param);
        Ok(())
    }

    /// Pushes the value of an expression of parameters.
    fn aff(&mut self, aff: &Aff) -> Result<()> {
        self.push(Op::Push, aff.offset());
        for (term, coefficient) in aff.terms() {
            match term {
                Term::Param(p) => self.push(Op::Param, p.0 as i64),
                Term::FloorDiv(numerator, divisor) => {
                    self.aff(numerator)?;
                    self.push(Op::Push, *divisor);
                    self.binary(Op::FloorDiv);
                }
                Term::Iter(n) => return Err(Error::bug("E902", format!("an extent mentions loop variable {n}"))),
            }
            if *coefficient != 1 {
                self.push(Op::Push, *coefficient);
                self.binary(Op::Mul);
            }
            self.binary(Op::Add);
        }
        Ok(())
    }

    /// One growth per array whose size is symbolic, and one per slot for all the others together.
    fn grow_slots(&mut self, nest: &LoopNest, slots: &[Option<usize>]) -> Result<()> {
        self.slots = slots.iter().flatten().map(|s| s + 1).max().unwrap_or(0);
        let mut constant: BTreeMap<usize, i64> = BTreeMap::new();
        for (array, slot) in nest.arrays.iter().zip(slots) {
            let Some(slot) = slot else { continue };
            let extents = storage_extents(array);
            match constant_bytes(&extents, array.dtype) {
                Some(bytes) => {
                    let largest = constant.entry(*slot).or_default();
                    *largest = bytes.max(*largest);
                }
                None => self.grow_symbolic(&extents, array.dtype, *slot)?,
            }
        }
        for (slot, bytes) in constant {
            self.push(Op::Push, bytes);
            self.store(Op::GrowSlot, slot as i64);
        }
        Ok(())
    }

    fn grow_symbolic(&mut self, extents: &[Aff], dtype: DType, slot: usize) -> Result<()> {
        self.push(Op::Push, dtype.size() as i64);
        for extent in extents {
            self.aff(extent)?;
            self.binary(Op::Mul);
        }
        self.store(Op::GrowSlot, slot as i64);
        Ok(())
    }

    fn push(&mut self, op: Op, argument: i64) {
        self.words.extend([op as i64, argument]);
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    fn binary(&mut self, op: Op) {
        self.words.extend([op as i64, 0]);
        self.depth -= 1;
    }

    fn store(&mut self, op: Op, argument: i64) {
        self.words.extend([op as i64, argument]);
        self.depth -= 1;
    }
}

/// Extents in memory: a folded dimension keeps its window only.
pub fn storage_extents(array: &Array) -> Vec<Aff> {
    array.extents.iter().zip(&array.fold).map(|(e, fold)| fold.map_or(e.clone(), Aff::constant)).collect()
}

/// Bytes of an array of constant size; saturating, so that an absurd size is refused at run time.
fn constant_bytes(extents: &[Aff], dtype: DType) -> Option<i64> {
    extents.iter().try_fold(dtype.size() as i64, |bytes, e| Some(bytes.saturating_mul(e.as_constant()?)))
}

/// The workspace slot of every array: `used` temporaries that live in memory. Arrays that the planner left
/// alone (it may be switched off) get slots of their own behind the planned ones.
pub fn assign_slots(nest: &LoopNest, used: &[bool]) -> Vec<Option<usize>> {
    let planned = nest.arrays.iter().filter_map(|a| match a.placement {
        Some(Placement::Slot(s)) => Some(s + 1),
        _ => None,
    });
    let mut next = planned.max().unwrap_or(0);
    let mut fresh = || {
        next += 1;
        next - 1
    };
    // An array that an output's extent is read from after the run must not be overwritten by a later tenant.
    let lasts =
        |a: &Array| nest.params.iter().any(|(_, p)| matches!(&p.def, ParamDef::Value { array } if *array == a.name));
    let slot = |(a, used): (&Array, &bool)| match (&a.role, &a.placement) {
        (Role::Temp, Some(Placement::Slot(_))) if *used && lasts(a) => Some(fresh()),
        (Role::Temp, Some(Placement::Slot(s))) if *used => Some(*s),
        (Role::Temp, None) if *used => Some(fresh()),
        _ => None,
    };
    nest.arrays.iter().zip(used).map(slot).collect()
}
