//! Reports of what the code does, where somebody counts (see `crate::count`).

use super::Emitter;
use super::access::{Address, Step};
use super::space::{At, Mask};
use crate::count::{self, Elements, Event};
use crate::ir::{Op, Value};
use sirius_polyhedral::{ArrayId, DType, Result};

/// Floating-point operations of the code written since the last report.
#[derive(Default)]
pub struct Operations<'ctx> {
    /// Of positions that run whole.
    whole: i64,
    /// Of positions under a mask: how many lanes run.
    masked: Vec<Value<'ctx>>,
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn count_event(&self, event: Event, number: Value<'ctx>) -> Result<()> {
        self.frame.observer.map_or(Ok(()), |to| count::event(self.ir(), to, event, number))
    }

    /// Reports an access to an array in memory: `lanes` positions, of which those in `mask` want it.
    pub fn count_access(
        &self,
        event: Event,
        array: ArrayId,
        address: &Address<'ctx>,
        lanes: u32,
        mask: Option<Mask<'ctx>>,
    ) -> Result<()> {
        let Some(to) = self.frame.observer else { return Ok(()) };
        let ir = self.ir();
        let t = self.frame.array(array).dtype;
        let element = self.frame.operators.memory_type(t);
        let bytes = ir.i64(t.size() as i64);
        let set = count::lane_set(ir, mask.map(|m| m.value), lanes);
        let number = self.frame.array_number(array);
        let one = |at, stride, lanes| count::access(ir, to, event, Elements { array: number, at, stride, lanes });
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
        if self.frame.observer.is_none() || !t.is_float() {
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
        if self.frame.observer.is_some() && t.is_float() {
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
