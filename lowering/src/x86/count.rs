//! Reports of what the code does, where somebody counts (see `crate::count`).

use super::Emitter;
use super::access::{Address, Step};
use super::space::{At, Mask};
use crate::count::{self, Elements, Event, Words};
use crate::emit::Stride;
use crate::ir::{Op, Value};
use sirius_polyhedral::{Access, DType, Expr, Nest, Result, VarId};

/// Floating-point operations of the code written since the last report.
#[derive(Default)]
pub struct Operations<'ctx> {
    /// Of positions that run whole.
    whole: i64,
    /// Of positions under a mask: how many lanes run.
    masked: Vec<Value<'ctx>>,
}

/// What one iteration of an innermost loop does, to be reported once when the loop is over.
pub struct Batch<'ctx> {
    var: VarId,
    records: Vec<Words<'ctx>>,
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn count_event(&mut self, event: Event, number: Value<'ctx>) -> Result<()> {
        let Some(to) = self.frame.observers.work else { return Ok(()) };
        let ir = self.ir();
        match &mut self.batch {
            Some(batch) => batch.records.push(count::event_record(ir, event, number)),
            None => count::event(ir, to, event, number)?,
        }
        Ok(())
    }

    /// The batch of a loop, where every iteration reports the same with addresses a fixed distance further: statements
    /// only, affine subscripts, and no mask that the loop decides.
    pub fn batch(&self, var: VarId, body: &[Nest]) -> Option<Batch<'ctx>> {
        let straight = |node: &Nest| {
            let Nest::Compute { target, value, .. } = node else { return false };
            let mut steady = self.is_steady(target, var) && !has_select(value);
            value.visit_loads(&mut |a| steady &= self.is_steady(a, var));
            steady
        };
        let wanted = self.frame.observers.work.is_some() && body.iter().all(straight);
        wanted.then(|| Batch { var, records: Vec::new() })
    }

    /// Does the address change by the same distance in every iteration?
    fn is_steady(&self, access: &Access, var: VarId) -> bool {
        let folds = &self.frame.array(access.array).fold;
        let steady = |(index, fold): (&Expr, &Option<i64>)| {
            let linear = |a: &sirius_polyhedral::Aff| !a.divides_iter(var as usize);
            index.as_aff().is_some_and(|a| linear(&a) && (fold.is_none_or(|w| w == 1) || !a.uses_iter(var as usize)))
        };
        self.is_register(access.array) || access.index.iter().zip(folds).all(steady)
    }

    /// Bytes from the element of one iteration of the batch's loop to that of the next.
    fn step_along(&self, access: &Access, var: VarId) -> Value<'ctx> {
        let (ir, array) = (self.ir(), self.frame.array(access.array));
        let mut step = ir.i64(0);
        for ((index, fold), stride) in access.index.iter().zip(&array.fold).zip(self.frame.strides(access.array)) {
            let along = index.as_aff().filter(|_| fold.is_none()).map_or(0, |a| a.coefficient(var as usize));
            let bytes = ir.i64(along * array.dtype.size() as i64);
            step = match stride {
                _ if along == 0 => step,
                Stride::Constant(s) => ir.add(step, ir.mul(bytes, ir.i64(s))),
                Stride::Dynamic(s) => ir.add(step, ir.mul(bytes, s)),
            };
        }
        step
    }

    /// Reports a batch where its loop is over.
    pub fn report_batch(&self, batch: &Batch<'ctx>, iterations: Value<'ctx>) -> Result<()> {
        let Some(to) = self.frame.observers.work.filter(|_| !batch.records.is_empty()) else { return Ok(()) };
        let table = self.frame.cell(count::table_type(self.ir(), batch.records.len()));
        count::repeat(self.ir(), to, table, iterations, &batch.records)
    }

    /// Reports an access to an array in memory: `lanes` positions, of which those in `mask` want it.
    pub fn count_access(
        &mut self,
        event: Event,
        access: &Access,
        address: &Address<'ctx>,
        lanes: u32,
        mask: Option<Mask<'ctx>>,
    ) -> Result<()> {
        let Some(to) = self.frame.observers.work else { return Ok(()) };
        let (ir, array) = (self.ir(), access.array);
        let step = self.batch.as_ref().map(|b| self.step_along(access, b.var));
        let t = self.frame.array(array).dtype;
        let element = self.frame.operators.memory_type(t);
        let bytes = ir.i64(t.size() as i64);
        let set = count::lane_set(ir, mask.map(|m| m.value), lanes);
        let number = self.frame.array_number(array);
        let batch = &mut self.batch;
        let mut one = |at, stride, lanes| {
            let elements = Elements { array: number, at, stride, lanes };
            match (batch.as_mut(), step) {
                (Some(batch), Some(step)) => batch.records.push(count::access_record(ir, event, elements, step)),
                _ => count::access(ir, to, event, elements)?,
            }
            Ok(())
        };
        match address.step {
            Step::Constant(s) => one(address.base, ir.i64(s * t.size() as i64), set),
            Step::Dynamic(s) => one(address.base, ir.mul(s, bytes), set),
            Step::Scattered(index) => (0..lanes).try_for_each(|lane| {
                let index = ir.lanes(index).map_or(index, |_| ir.extract(index, lane));
                let bit = ir.binary(Op::LLVMLShr, set, ir.i64(i64::from(lane)));
                let bit = ir.binary(Op::LLVMAnd, bit, ir.i64(1));
                one(ir.element(element, address.base, index), ir.i64(0), bit)
            }),
        }
    }

    /// Notes `each` operations on type `t` for every lane of `result` that runs at a position.
    pub fn note_operations(&mut self, t: DType, each: i64, result: Value<'ctx>, at: At) {
        if self.frame.observers.work.is_none() || !t.is_float() {
            return;
        }
        let ir = self.ir();
        match (ir.lanes(result), self.mask(at)) {
            (None, _) => self.operations.whole += each,
            (Some(n), None) => self.operations.whole += each * i64::from(n),
            (Some(n), Some(mask)) => {
                let running = ir.pure("llvm.ctpop", &[count::lane_set(ir, Some(mask.value), n)]);
                self.operations.masked.push(ir.mul(running, ir.i64(each)));
            }
        }
    }

    /// Notes `count` operations on type `t` outside the lanes.
    pub fn note_combined(&mut self, t: DType, count: i64) {
        if self.frame.observers.work.is_some() && t.is_float() {
            self.operations.whole += count;
        }
    }

    /// Reports the operations noted so far; the code since must run as a whole.
    pub fn report_operations(&mut self) -> Result<()> {
        let Operations { whole, masked } = std::mem::take(&mut self.operations);
        if whole == 0 && masked.is_empty() {
            return Ok(());
        }
        let total = masked.into_iter().fold(self.ir().i64(whole), |sum, n| self.ir().add(sum, n));
        self.count_event(Event::Operations, total)
    }
}

fn has_select(e: &Expr) -> bool {
    matches!(e, Expr::Select(..)) || e.children().into_iter().any(has_select)
}
