//! Code for a thread team: which worker runs it, waiting for the others, and roots that worker 0 runs alone.
//!
//! All workers call the body. `worker` points to a `sirius_worker` (see `runtime/descriptor.h`).

use crate::count::{self, Event};
use crate::ir::{IntCompare, Ir, Value};
use inkwell::AddressSpace;
use inkwell::basic_block::BasicBlock;
use inkwell::values::{BasicMetadataValueEnum, FunctionValue, GlobalValue, PointerValue};
use sirius_polyhedral::schedule_tree::Mark;
use sirius_polyhedral::{Error, LoopNest, Nest, Result};

/// Field `at` of the worker: 0 its number, 1 the number of workers.
pub fn field<'ctx>(ir: Ir<'_, 'ctx>, worker: Value<'ctx>, at: i64) -> Value<'ctx> {
    let i64 = ir.context.i64_type().into();
    ir.load(i64, ir.element(i64, worker, ir.i64(at)), 8)
}

/// Calls the barrier. To LLVM it may read and write all memory, so nothing moves across.
pub fn wait<'ctx>(ir: Ir<'_, 'ctx>, worker: Value<'ctx>, observer: Option<GlobalValue<'ctx>>) -> Result<()> {
    if let Some(observer) = observer {
        count::event(ir, observer, Event::Barrier, field(ir, worker, 0))?;
    }
    let pointer = ir.context.ptr_type(AddressSpace::default());
    let function = ir.load(pointer.into(), ir.element(pointer.into(), worker, ir.i64(2)), 8);
    let signature = ir.context.void_type().fn_type(&[pointer.into()], false);
    let call = ir.builder.build_indirect_call(signature, function.into_pointer_value(), &[worker.into()], "");
    call.map_err(|e| Error::bug("E704", e.to_string()))?;
    observer.map_or(Ok(()), |o| count::event(ir, o, Event::Resume, field(ir, worker, 0)))
}

/// The nests to call for a root: what follows where it is a barrier.
pub fn inside(root: &Nest) -> &[Nest] {
    match root {
        Nest::Loop { kind: Mark::Barrier, body, .. } => body,
        other => std::slice::from_ref(other),
    }
}

/// Writes the calls of the parts into the body.
pub struct Caller<'a, 'ctx> {
    ir: Ir<'a, 'ctx>,
    body: FunctionValue<'ctx>,
    /// Worker 0 or not; `None` in code for a single worker.
    is_first: Option<Value<'ctx>>,
    /// Where all workers go on, while a block of worker 0 alone is open.
    after: Option<BasicBlock<'ctx>>,
    observer: Option<GlobalValue<'ctx>>,
    /// Regions called so far.
    regions: usize,
}

impl<'a, 'ctx> Caller<'a, 'ctx> {
    pub fn new(
        ir: Ir<'a, 'ctx>,
        body: FunctionValue<'ctx>,
        nest: &LoopNest,
        observer: Option<GlobalValue<'ctx>>,
    ) -> Caller<'a, 'ctx> {
        let mut caller = Caller { ir, body, is_first: None, after: None, observer, regions: 0 };
        if nest.body.iter().any(Nest::is_shared) {
            caller.is_first = Some(ir.icmp(IntCompare::LLVMIntEQ, field(ir, caller.worker(), 0), ir.i64(0)));
        }
        caller
    }

    fn worker(&self) -> Value<'ctx> {
        self.body.get_nth_param(2).unwrap_or_else(|| self.ir.i64(0))
    }

    /// Waits where `root` is a barrier; what there is to call.
    pub fn enter<'n>(&mut self, root: &'n Nest) -> Result<&'n [Nest]> {
        if matches!(root, Nest::Loop { kind: Mark::Barrier, .. }) {
            self.all();
            wait(self.ir, self.worker(), self.observer)?;
        }
        Ok(inside(root))
    }

    /// Calls the function of a part.
    pub fn call(&mut self, function: FunctionValue<'ctx>, arrays: PointerValue<'ctx>, part: &Nest) -> Result<()> {
        match self.is_first {
            Some(is_first) if !part.is_shared() => self.first(is_first),
            _ => self.all(),
        }
        if let Some(observer) = self.observer {
            count::region(self.ir, observer, field(self.ir, self.worker(), 0), self.regions)?;
        }
        self.regions += 1;
        let mut arguments: Vec<BasicMetadataValueEnum> = self.body.get_param_iter().map(Into::into).collect();
        arguments.insert(2, arrays.into());
        let call = self.ir.builder.build_call(function, &arguments, "");
        call.map(|_| ()).map_err(|e| Error::bug("E704", e.to_string()))
    }

    fn first(&mut self, is_first: Value<'ctx>) {
        if self.after.is_none() {
            let (then, after) = (self.ir.block("first"), self.ir.block("all"));
            self.ir.cond_br(is_first, then, after);
            self.ir.goto(then);
            self.after = Some(after);
        }
    }

    /// The end of the body.
    pub fn finish(&mut self) -> Result<()> {
        self.all();
        let number = |caller: &Self| field(caller.ir, caller.worker(), 0);
        self.observer.map_or(Ok(()), |o| count::event(self.ir, o, Event::Finish, number(self)))
    }

    /// From here on for all workers.
    fn all(&mut self) {
        if let Some(after) = self.after.take() {
            self.ir.br(after);
            self.ir.goto(after);
        }
    }
}
