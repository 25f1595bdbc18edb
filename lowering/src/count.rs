//! Code that tells what it does: every access to an array, arithmetic, loops, regions and barriers.
//!
//! A *counted* artifact runs the same loops, tiles and masks as any other, and reports events to an observer on the
//! way, so its figures come from a run and not from a model. Code may also report regions and waits alone, at next to no
//! cost, for somebody who looks at the clock. The observer is the exported symbol
//! `sirius_<tag>_observer`, whose function does nothing until somebody who wants to listen sets both fields:
//!
//! ```c
//! struct { void *state; void (*event)(void *state, int64_t kind, int64_t number, const void *at, int64_t stride,
//!                                     uint64_t lanes); };
//! ```
//!
//! Events are those of the emitted code, before LLVM keeps in registers what it can; what the compiler itself keeps in
//! registers is never an event. An innermost loop whose iterations differ in their addresses only, each by a fixed
//! distance, reports once, when it is over: `Event::Repeat`. Such code is several times slower, and its time means nothing.

use crate::ir::{Ir, Type, Value};
use inkwell::AddressSpace;
use inkwell::context::ContextRef;
use inkwell::module::{Linkage, Module};
use inkwell::types::FunctionType;
use inkwell::values::{BasicMetadataValueEnum, GlobalValue};
use sirius_polyhedral::{Error, Result};

/// Which events does the code report?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    #[default]
    Off,
    /// `Region`, `Barrier`, `Resume` and `Finish`: nothing from inside a loop nest, which runs as fast as any.
    Regions,
    On,
}

/// What happened. The fields of an event mean what is said here; others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Array `number` of the manifest's list was read: lane `l` of the bit set `lanes` at `at + l * stride` bytes.
    Load = 0,
    /// The same, written.
    Store = 1,
    /// `number` floating-point operations were done.
    Operations = 2,
    /// A sequential loop was entered.
    Loop = 3,
    /// Worker `number` began region `stride` of the manifest's list.
    Region = 4,
    /// Worker `number` came to a barrier.
    Barrier = 5,
    /// A loop is over: in each of its `number` iterations the events of a table happened, one after another. `at` is
    /// the table, `lanes` the number of its [`Record`]s.
    Repeat = 6,
    /// Worker `number` goes on behind a barrier.
    Resume = 7,
    /// Worker `number` has done its part of the run.
    Finish = 8,
}

/// One event of a loop's table, as it was in the last iteration.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    /// `Load`, `Store` or `Operations`.
    pub kind: i64,
    pub number: i64,
    pub at: u64,
    pub stride: i64,
    pub lanes: u64,
    /// Bytes from an iteration's `at` to that of the next one.
    pub step: i64,
}

/// 64-bit words of a [`Record`].
const WORDS: usize = 6;

impl Event {
    /// The event of a number that code passed.
    pub fn of(kind: i64) -> Option<Event> {
        use Event::*;
        const ALL: [Event; 9] = [Load, Store, Operations, Loop, Region, Barrier, Repeat, Resume, Finish];
        ALL.get(usize::try_from(kind).ok()?).copied()
    }
}

/// The name of the exported observer.
pub fn observer_symbol(tag: &str) -> String {
    format!("sirius_{tag}_observer")
}

/// Declares the observer in the module; `None` where nothing is to be counted.
pub fn observer<'ctx>(module: &Module<'ctx>, tag: &str, counting: Counting) -> Result<Option<GlobalValue<'ctx>>> {
    if counting == Counting::Off {
        return Ok(None);
    }
    let context = module.get_context();
    let nobody = module.add_function("nobody_listens", signature(&context), Some(Linkage::Internal));
    let builder = context.create_builder();
    builder.position_at_end(context.append_basic_block(nobody, ""));
    builder.build_return(None).map_err(|e| Error::bug("E704", e.to_string()))?;
    let state = context.ptr_type(AddressSpace::default()).const_null();
    let fields = [state.into(), nobody.as_global_value().as_pointer_value().into()];
    let words = context.const_struct(&fields, false);
    let global = module.add_global(words.get_type(), None, &observer_symbol(tag));
    global.set_initializer(&words);
    Ok(Some(global))
}

/// `void event(state, kind, number, at, stride, lanes)`.
fn signature<'ctx>(context: &ContextRef<'ctx>) -> FunctionType<'ctx> {
    let (word, pointer) = (context.i64_type().into(), context.ptr_type(AddressSpace::default()).into());
    context.void_type().fn_type(&[pointer, word, word, pointer, word, word], false)
}

/// The elements of an access.
#[derive(Clone, Copy)]
pub struct Elements<'ctx> {
    /// The array's number in the whole nest.
    pub array: Value<'ctx>,
    /// The address of lane 0.
    pub at: Value<'ctx>,
    /// Bytes from lane to lane.
    pub stride: Value<'ctx>,
    /// One bit per lane.
    pub lanes: Value<'ctx>,
}

/// Writes the report of an access.
pub fn access<'ctx>(ir: Ir<'_, 'ctx>, to: GlobalValue<'ctx>, event: Event, e: Elements<'ctx>) -> Result<()> {
    report(ir, to, event, [e.array, e.at, e.stride, e.lanes])
}

/// Writes the report that a worker begins a region.
pub fn region<'ctx>(ir: Ir<'_, 'ctx>, to: GlobalValue<'ctx>, worker: Value<'ctx>, region: usize) -> Result<()> {
    let null = ir.context.ptr_type(AddressSpace::default()).const_null().into();
    report(ir, to, Event::Region, [worker, null, ir.i64(region as i64), ir.i64(0)])
}

/// Writes the report of an event that has a number at most.
pub fn event<'ctx>(ir: Ir<'_, 'ctx>, to: GlobalValue<'ctx>, event: Event, number: Value<'ctx>) -> Result<()> {
    let null = ir.context.ptr_type(AddressSpace::default()).const_null().into();
    report(ir, to, event, [number, null, ir.i64(0), ir.i64(0)])
}

/// A record's words; `what` as `report` takes it.
pub type Words<'ctx> = [Value<'ctx>; WORDS];

/// The words of a record of an access.
pub fn access_record<'ctx>(ir: Ir<'_, 'ctx>, event: Event, e: Elements<'ctx>, step: Value<'ctx>) -> Words<'ctx> {
    [ir.i64(event as i64), e.array, e.at, e.stride, e.lanes, step]
}

/// The words of a record of an event that has a number at most.
pub fn event_record<'ctx>(ir: Ir<'_, 'ctx>, event: Event, number: Value<'ctx>) -> Words<'ctx> {
    let zero = ir.i64(0);
    [ir.i64(event as i64), number, zero, zero, zero, zero]
}

/// The type of a table of `count` records.
pub fn table_type<'ctx>(ir: Ir<'_, 'ctx>, count: usize) -> Type<'ctx> {
    ir.context.i64_type().array_type((count * WORDS) as u32).into()
}

/// Writes the report of a loop that is over into `table` and sends it.
pub fn repeat<'ctx>(
    ir: Ir<'_, 'ctx>,
    to: GlobalValue<'ctx>,
    table: Value<'ctx>,
    iterations: Value<'ctx>,
    records: &[Words<'ctx>],
) -> Result<()> {
    let word: Type = ir.context.i64_type().into();
    for (n, value) in records.iter().flatten().enumerate() {
        ir.store(*value, ir.element(word, table, ir.i64(n as i64)), 8);
    }
    report(ir, to, Event::Repeat, [iterations, table, ir.i64(0), ir.i64(records.len() as i64)])
}

fn report<'ctx>(ir: Ir<'_, 'ctx>, to: GlobalValue<'ctx>, event: Event, what: [Value<'ctx>; 4]) -> Result<()> {
    let pointer: Type = ir.context.ptr_type(AddressSpace::default()).into();
    let fields: Value = to.as_pointer_value().into();
    let field = |at| ir.load(pointer, ir.element(pointer, fields, ir.i64(at)), 8);
    let (state, function) = (field(0), field(1).into_pointer_value());
    let arguments: Vec<BasicMetadataValueEnum> =
        [state, ir.i64(event as i64)].into_iter().chain(what).map(Into::into).collect();
    let signature = signature(&function.get_type().get_context());
    let call = ir.builder.build_indirect_call(signature, function, &arguments, "");
    call.map(|_| ()).map_err(|e| Error::bug("E704", e.to_string()))
}

/// The set of lanes that a mask lets run: all `lanes` of them without one.
pub fn lane_set<'ctx>(ir: Ir<'_, 'ctx>, mask: Option<Value<'ctx>>, lanes: u32) -> Value<'ctx> {
    let bit = |lane: u32| ir.i64(1 << lane);
    let Some(mask) = mask else {
        return ir.i64((0..lanes).fold(0, |set, lane| set | 1 << lane));
    };
    let bits = ir.constant_vector(&(0..lanes).map(bit).collect::<Vec<_>>());
    let set = ir.select(ir.widen(mask, lanes), bits, ir.zero(bits.get_type()));
    ir.intrinsic("llvm.vector.reduce.or", &[bits.get_type()], &[set]).unwrap_or(set)
}
