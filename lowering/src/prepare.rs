//! The size program: how an artifact computes derived parameters, tensor extents and workspace slots from the
//! named dimensions.
//!
//! A postfix program for the small stack machine in `runtime/sizes.c`. It is interpreted rather than compiled,
//! because it runs only when the dimensions change.
//!
//! What the run itself finds out (`ParamDef::Value`) is an interval while planning: the program computes upper
//! bounds of extents from the bounds of such parameters. After the run it runs again, with the values.

use crate::descriptor::is_known_after_run;
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{Aff, Array, DType, Error, LoopNest, ParamDef, ParamId, Params, Result, Role, Term};
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
    /// The least value of a parameter that is not known yet, else its value.
    ParamLow = 10,
}

/// An end of the interval in which an expression lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Low,
    High,
}

impl Side {
    fn other(self) -> Side {
        if self == Side::Low { Side::High } else { Side::Low }
    }

    /// The operation that picks this end.
    fn pick(self) -> Op {
        if self == Side::Low { Op::Min } else { Op::Max }
    }
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
        if !is_known_after_run(&Aff::param(id), &nest.params) {
            program.definition(&param.def, id.0 as i64)?;
        }
    }
    for id in nest.inputs.iter().chain(&nest.outputs) {
        for extent in &nest.arrays[id.0 as usize].extents {
            program.extent(extent, &nest.params)?;
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
            ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => return Ok(()),
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

    /// Pushes an extent, or its upper bound where only the run can tell.
    fn extent(&mut self, extent: &Aff, params: &Params) -> Result<()> {
        if !is_known_after_run(extent, params) {
            return self.aff(extent);
        }
        self.push(Op::Push, 0);
        self.bound(extent, Side::High, params)?;
        self.binary(Op::Max);
        Ok(())
    }

    /// Pushes a bound of an expression of parameters.
    fn bound(&mut self, aff: &Aff, side: Side, params: &Params) -> Result<()> {
        self.push(Op::Push, aff.offset());
        for (term, coefficient) in aff.terms() {
            let side = if *coefficient < 0 { side.other() } else { side };
            match term {
                Term::Param(p) => self.param_bound(*p, side, params)?,
                Term::FloorDiv(numerator, divisor) => {
                    self.bound(numerator, side, params)?;
                    self.push(Op::Push, *divisor);
                    self.binary(Op::FloorDiv);
                }
                Term::Iter(n) => return Err(Error::bug("E902", format!("an extent mentions loop variable {n}"))),
            }
            self.push(Op::Push, *coefficient);
            self.binary(Op::Mul);
            self.binary(Op::Add);
        }
        Ok(())
    }

    fn param_bound(&mut self, id: ParamId, side: Side, params: &Params) -> Result<()> {
        match &params.get(id).def {
            _ if !is_known_after_run(&Aff::param(id), params) => self.push(Op::Param, id.0 as i64),
            ParamDef::Value { .. } if side == Side::Low => self.push(Op::ParamLow, id.0 as i64),
            ParamDef::Input { .. } | ParamDef::Content { .. } | ParamDef::Value { .. } => {
                self.push(Op::Param, id.0 as i64);
            }
            ParamDef::Max(a, b) => self.both(a, b, side, Op::Max, params)?,
            ParamDef::Min(a, b) => self.both(a, b, side, Op::Min, params)?,
            ParamDef::Mul(a, b) if is_counted(a, params) && is_counted(b, params) => {
                self.both(a, b, side, Op::Mul, params)?;
            }
            ParamDef::Mul(a, b) => {
                let ends = [Side::Low, Side::High];
                for (n, (x, y)) in ends.iter().flat_map(|x| ends.iter().map(move |y| (x, y))).enumerate() {
                    self.bound(a, *x, params)?;
                    self.bound(b, *y, params)?;
                    self.binary(Op::Mul);
                    if n > 0 {
                        self.binary(side.pick());
                    }
                }
            }
            ParamDef::FloorDiv(a, b) => {
                for divisor in [Side::Low, Side::High] {
                    self.bound(a, side, params)?;
                    self.bound(b, divisor, params)?;
                    self.push(Op::Push, 1);
                    self.binary(Op::Max);
                    self.binary(Op::FloorDiv);
                }
                self.binary(side.pick());
            }
        }
        Ok(())
    }

    /// `a op b` for an operation that grows with both.
    fn both(&mut self, a: &Aff, b: &Aff, side: Side, op: Op, params: &Params) -> Result<()> {
        self.bound(a, side, params)?;
        self.bound(b, side, params)?;
        self.binary(op);
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
                None => self.grow_symbolic(&extents, array.dtype, *slot, &nest.params)?,
            }
        }
        for (slot, bytes) in constant {
            self.push(Op::Push, bytes);
            self.store(Op::GrowSlot, slot as i64);
        }
        Ok(())
    }

    fn grow_symbolic(&mut self, extents: &[Aff], dtype: DType, slot: usize, params: &Params) -> Result<()> {
        self.push(Op::Push, dtype.size() as i64);
        for extent in extents {
            self.extent(extent, params)?;
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

/// Is the expression never negative, as the bounds of its parameters tell?
fn is_counted(aff: &Aff, params: &Params) -> bool {
    let range = |p: ParamId| (Some(params.get(p).min).filter(|min| *min > i64::MIN), params.get(p).max);
    aff.bounds(&range, &|_| (None, None)).0.is_some_and(|low| low >= 0)
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
