//! LoopNest to an LLVM module, and what every function of it shares: arrays, strides, parameters.
//!
//! `@<name>_body(tensors, params, worker)` calls one internal function per root of the nest, so that LLVM's
//! super-linear passes see one root at a time; roots that need the same code share a function (see `part`).
//! `tensors[a]` points to array `a` of the nest, `params[p]` is parameter `p`, `worker` says which thread of a team
//! this is (see `team`), and `arrays[2n]` is the number in the nest of the function's own array `n`, which begins at byte
//! `arrays[2n + 1]` of it.

use crate::affine::{self, Atoms};
use crate::artifact::tag_of;
use crate::count::{self, Counting};
use crate::dot::Dots;
use crate::expr::Operators;
use crate::ir::{IntCompare, Ir, Op, Type, Value};
use crate::part;
use crate::target::Target;
use crate::team::{self, Caller};
use crate::x86;
use inkwell::AddressSpace;
use inkwell::OptimizationLevel;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::values::{BasicValueEnum, FunctionValue, GlobalValue, InstructionValue, MetadataValue, PointerValue};
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::{Aff, Array, ArrayId, DType, Error, LoopNest, Nest, Numeric, ParamDef, ParamId, Result};
use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

/// The module with `define hidden i32 @<name>_body(ptr noalias %tensors, ptr noalias %params, ptr noalias %worker)`.
pub fn emit_body<'ctx>(
    context: &'ctx Context,
    nest: &LoopNest,
    target: &Target,
    counting: Counting,
) -> Result<Module<'ctx>> {
    let module = context.create_module(&nest.name);
    if target.machine.vector_bytes < 32 {
        let message = format!("{} lacks AVX2, FMA or F16C", target.cpu);
        return Err(Error::unsupported("E602", message).help("choose x86-64-v3 or a later CPU"));
    }
    let machine = target.llvm(OptimizationLevel::Default)?;
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    let tag = tag_of(&nest.name);
    let observer = count::observer(&module, &tag, counting)?;
    let body = declare(context, &module, &format!("{tag}_body"), &["tensors", "params", "worker"]);
    body.as_global_value().set_visibility(inkwell::GlobalVisibility::Hidden);
    let builder = context.create_builder();
    builder.position_at_end(context.append_basic_block(body, "entry"));
    let mut known = HashMap::new();
    let mut caller = Caller::new(Ir::new(context, &builder), body, nest, observer);
    for root in &nest.body {
        for root in caller.enter(root)? {
            let part = part::part(nest, root);
            let name = format!("{tag}_part{}", known.len());
            let function = match known.entry(part.key.clone()) {
                Entry::Occupied(same) => *same.get(),
                Entry::Vacant(new) => *new.insert(emit_part(
                    context,
                    &module,
                    &name,
                    &part.nest,
                    target,
                    Observers::of(observer, counting),
                )?),
            };
            let arrays = array_list(context, &module, &part.arrays);
            caller.call(function, arrays, root)?;
        }
    }
    caller.finish()?;
    let zero = context.i32_type().const_zero();
    builder.build_return(Some(&zero)).map_err(|e| Error::bug("E704", e.to_string()))?;
    module.verify().map_err(|e| Error::bug("E702", format!("emitted invalid LLVM IR: {e}")))?;
    Ok(module)
}

/// The function of one part.
fn emit_part<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    name: &str,
    nest: &LoopNest,
    target: &Target,
    observers: Observers<'ctx>,
) -> Result<FunctionValue<'ctx>> {
    let function = declare(context, module, name, &["tensors", "params", "arrays", "worker"]);
    function.set_linkage(Linkage::Internal);
    prevent_inlining(context, function);
    let (main, entry) = (context.create_builder(), context.create_builder());
    let frame = Frame::new(context, module, [&main, &entry], nest, function);
    let (machine, dots) = (&target.machine, Dots::of(&target.machine));
    let avx512 = machine.vector_bytes == 64;
    let operators = Operators { numeric: machine.numeric, dots, avx512, ..frame.operators };
    let frame = Frame { operators, observers, ..frame };
    nest.body.iter().try_for_each(|root| x86::emit_root(&frame, &target.machine, root))?;
    frame.finish();
    Ok(function)
}

/// A constant table: for each of a part's arrays, its number in the whole nest and the byte at which the part begins.
fn array_list<'ctx>(context: &'ctx Context, module: &Module<'ctx>, arrays: &[(ArrayId, i64)]) -> PointerValue<'ctx> {
    let i64 = context.i64_type();
    let entry = |(id, begin): &(ArrayId, i64)| [u64::from(id.0), *begin as u64];
    let entries: Vec<_> = arrays.iter().flat_map(entry).map(|n| i64.const_int(n, false)).collect();
    let table = i64.const_array(&entries);
    let global = module.add_global(table.get_type(), None, "arrays");
    global.set_initializer(&table);
    global.set_constant(true);
    global.set_linkage(Linkage::Private);
    global.as_pointer_value()
}

/// `i32 name(ptr noalias ..)`, one pointer for each of `parameters`.
fn declare<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    name: &str,
    parameters: &[&str],
) -> FunctionValue<'ctx> {
    let pointer = context.ptr_type(AddressSpace::default());
    let signature = context.i32_type().fn_type(&vec![pointer.into(); parameters.len()], false);
    let function = module.add_function(name, signature, None);
    for (n, name) in parameters.iter().enumerate() {
        let noalias = Attribute::get_named_enum_kind_id("noalias");
        function.add_attribute(AttributeLoc::Param(n as u32), context.create_enum_attribute(noalias, 0));
        if let Some(p) = function.get_nth_param(n as u32) {
            p.set_name(name);
        }
    }
    let nounwind = Attribute::get_named_enum_kind_id("nounwind");
    function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(nounwind, 0));
    function
}

/// Parts that meet again in one function would undo the split.
fn prevent_inlining(context: &Context, function: FunctionValue) {
    let kind = Attribute::get_named_enum_kind_id("noinline");
    function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
}

/// Distance, in elements, between neighbours along one dimension of an array.
#[derive(Clone, Copy)]
pub enum Stride<'ctx> {
    Constant(i64),
    Dynamic(Value<'ctx>),
}

/// Who is told what the code of a function does.
#[derive(Clone, Copy, Default)]
pub struct Observers<'ctx> {
    /// Everything but waits.
    pub work: Option<GlobalValue<'ctx>>,
    pub waits: Option<GlobalValue<'ctx>>,
}

impl<'ctx> Observers<'ctx> {
    fn of(observer: Option<GlobalValue<'ctx>>, counting: Counting) -> Observers<'ctx> {
        Observers { work: observer.filter(|_| counting == Counting::On), waits: observer }
    }
}

/// One function being written. `entry` holds what is computed once: base pointers, parameters, strides and
/// stack cells; the main builder starts in a second block.
pub struct Frame<'a, 'ctx> {
    pub operators: Operators<'a, 'ctx>,
    pub nest: &'a LoopNest,
    pub observers: Observers<'ctx>,
    entry: Ir<'a, 'ctx>,
    start: inkwell::basic_block::BasicBlock<'ctx>,
    function: FunctionValue<'ctx>,
    bases: RefCell<HashMap<ArrayId, Value<'ctx>>>,
    numbers: RefCell<HashMap<ArrayId, Value<'ctx>>>,
    params: RefCell<HashMap<ParamId, Value<'ctx>>>,
    /// Values of parameters that the program computes, while a loop that uses them is open.
    computed: RefCell<HashMap<ParamId, Value<'ctx>>>,
    strides: RefCell<HashMap<ArrayId, Vec<Stride<'ctx>>>>,
    scopes: RefCell<HashMap<ArrayId, [MetadataValue<'ctx>; 2]>>,
    spare: Cell<Option<Value<'ctx>>>,
    late: Vec<bool>,
    used: BTreeSet<u32>,
}

impl<'a, 'ctx> Frame<'a, 'ctx> {
    fn new(
        context: &'ctx Context,
        module: &'a Module<'ctx>,
        [main, entry]: [&'a Builder<'ctx>; 2],
        nest: &'a LoopNest,
        function: FunctionValue<'ctx>,
    ) -> Frame<'a, 'ctx> {
        entry.position_at_end(context.append_basic_block(function, "entry"));
        let start = context.append_basic_block(function, "start");
        main.position_at_end(start);
        Frame {
            operators: Operators {
                ir: Ir::new(context, main),
                module,
                numeric: Numeric::default(),
                dots: Dots::default(),
                avx512: false,
            },
            nest,
            observers: Observers::default(),
            entry: Ir::new(context, entry),
            start,
            function,
            bases: RefCell::default(),
            numbers: RefCell::default(),
            params: RefCell::default(),
            computed: RefCell::default(),
            strides: RefCell::default(),
            scopes: RefCell::default(),
            spare: Cell::new(None),
            late: late_params(nest),
            used: used_arrays(&nest.body),
        }
    }

    fn finish(&self) {
        self.entry.br(self.start);
        let zero = self.ir().context.i32_type().const_zero();
        // The main builder stands in the last block, which has no terminator yet.
        let _ = self.ir().builder.build_return(Some(&zero));
    }

    pub fn ir(&self) -> Ir<'a, 'ctx> {
        self.operators.ir
    }

    pub fn array(&self, id: ArrayId) -> &'a Array {
        &self.nest.arrays[id.0 as usize]
    }

    fn argument(&self, n: u32) -> Value<'ctx> {
        self.function.get_nth_param(n).unwrap_or_else(|| self.entry.i64(0))
    }

    /// The thread of a team that runs this.
    pub fn worker(&self) -> Value<'ctx> {
        self.argument(3)
    }

    /// Its number, and how many there are.
    pub fn place_in_team(&self) -> [Value<'ctx>; 2] {
        [0, 1].map(|at| team::field(self.entry, self.worker(), at))
    }

    /// A stack cell; promoted to a register by LLVM's SROA.
    pub fn cell(&self, ty: Type<'ctx>) -> Value<'ctx> {
        self.entry.alloca(ty)
    }

    /// Eight zero bytes: where a load that must not happen reads from.
    pub fn spare(&self) -> Value<'ctx> {
        self.spare.get().unwrap_or_else(|| {
            let i64 = self.ir().context.i64_type().into();
            let cell = self.entry.alloca(i64);
            self.entry.store(self.entry.i64(0), cell, 8);
            self.spare.set(Some(cell));
            cell
        })
    }

    /// The address of the first element of an array that the function sees.
    pub fn base(&self, id: ArrayId) -> Value<'ctx> {
        *self.bases.borrow_mut().entry(id).or_insert_with(|| {
            let context = self.ir().context;
            let pointer: Type = context.ptr_type(AddressSpace::default()).into();
            let i8: Type = context.i8_type().into();
            let [number, begin] = [0, 1].map(|field| self.array_word(id, field));
            let whole = self.entry.load(pointer, self.entry.element(pointer, self.argument(0), number), 8);
            self.entry.element(i8, whole, begin)
        })
    }

    /// Word `field` of what the caller says about an array: its number in the whole nest, and where its part begins.
    fn array_word(&self, id: ArrayId, field: i64) -> Value<'ctx> {
        let i64 = self.ir().context.i64_type().into();
        let at = self.entry.i64(2 * i64::from(id.0) + field);
        self.entry.load(i64, self.entry.element(i64, self.argument(2), at), 8)
    }

    /// The number in the whole nest of an array that the function sees.
    pub fn array_number(&self, id: ArrayId) -> Value<'ctx> {
        *self.numbers.borrow_mut().entry(id).or_insert_with(|| self.array_word(id, 0))
    }

    /// Is this parameter (or one it is made from) computed by the program itself?
    pub fn is_late(&self, p: ParamId) -> bool {
        self.late[p.0 as usize]
    }

    pub fn has_late_params(&self) -> bool {
        self.late.iter().any(|&l| l)
    }

    /// The value of a parameter.
    pub fn param(&self, p: ParamId) -> Value<'ctx> {
        if self.is_late(p) {
            let known = self.computed.borrow().get(&p).copied();
            return known.unwrap_or_else(|| self.compute_param(p));
        }
        *self.params.borrow_mut().entry(p).or_insert_with(|| {
            let i64 = self.ir().context.i64_type().into();
            let at = self.entry.element(i64, self.argument(1), self.entry.i64(i64::from(p.0)));
            self.entry.load(i64, at, 8)
        })
    }

    /// Computes a late parameter here and keeps it until `forget_param`. False when it is already known.
    pub fn remember_param(&self, p: ParamId) -> bool {
        if self.computed.borrow().contains_key(&p) {
            return false;
        }
        let value = self.compute_param(p);
        self.computed.borrow_mut().insert(p, value);
        true
    }

    pub fn forget_param(&self, p: ParamId) {
        self.computed.borrow_mut().remove(&p);
    }

    fn compute_param(&self, p: ParamId) -> Value<'ctx> {
        let ir = self.ir();
        let of = |a: &Aff| self.aff(ir, a);
        match &self.nest.params.get(p).def {
            ParamDef::Value { array } => self.first_element(array),
            ParamDef::Input { .. } | ParamDef::Content { .. } => self.param(p),
            ParamDef::Mul(a, b) => ir.mul(of(a), of(b)),
            ParamDef::FloorDiv(a, b) => self.floor_quotient(of(a), of(b)),
            ParamDef::Max(a, b) => ir.pure("llvm.smax", &[of(a), of(b)]),
            ParamDef::Min(a, b) => ir.pure("llvm.smin", &[of(a), of(b)]),
        }
    }

    fn floor_quotient(&self, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let ir = self.ir();
        let b = ir.pure("llvm.smax", &[b, ir.i64(1)]);
        let quotient = ir.binary(Op::LLVMSDiv, a, b);
        let rest = ir.binary(Op::LLVMSub, a, ir.binary(Op::LLVMMul, quotient, b));
        let one_less = ir.binary(Op::LLVMSub, quotient, ir.i64(1));
        ir.select(ir.icmp(IntCompare::LLVMIntSLT, rest, ir.i64(0)), one_less, quotient)
    }

    fn first_element(&self, name: &str) -> Value<'ctx> {
        let ir = self.ir();
        let Some(n) = self.nest.arrays.iter().position(|a| a.name == name) else {
            return ir.i64(0);
        };
        let (id, t) = (ArrayId(n as u32), self.nest.arrays[n].dtype);
        let loaded = ir.load(self.operators.memory_type(t), self.base(id), t.size() as u32);
        self.operators.cast(t, DType::I64, self.operators.loaded(loaded, t))
    }

    /// A value over parameters only.
    fn aff(&self, ir: Ir<'_, 'ctx>, aff: &Aff) -> Value<'ctx> {
        let atoms = Atoms { param: &|p| self.param(p), iter: &|_| ir.i64(0), non_negative: &|_| false };
        affine::emit(ir, aff, &atoms)
    }

    /// Row-major strides of the storage: folded dimensions count their planes only.
    pub fn strides(&self, id: ArrayId) -> Vec<Stride<'ctx>> {
        if let Some(known) = self.strides.borrow().get(&id) {
            return known.clone();
        }
        let array = self.array(id);
        let mut strides = vec![Stride::Constant(1); array.extents.len()];
        let mut late = false;
        for d in (1..array.extents.len()).rev() {
            let extent = match array.fold[d] {
                Some(planes) => Aff::constant(planes),
                None => array.extents[d].clone(),
            };
            extent.visit_params(&mut |p| late |= self.is_late(p));
            strides[d - 1] = self.product(strides[d], &extent, late);
        }
        if !late {
            self.strides.borrow_mut().insert(id, strides.clone());
        }
        strides
    }

    fn product(&self, stride: Stride<'ctx>, extent: &Aff, late: bool) -> Stride<'ctx> {
        let ir = if late { self.ir() } else { self.entry };
        match (stride, extent.as_constant()) {
            (Stride::Constant(a), Some(b)) => Stride::Constant(a.saturating_mul(b)),
            (Stride::Constant(1), None) => Stride::Dynamic(self.aff(ir, extent)),
            (Stride::Constant(a), None) => Stride::Dynamic(ir.mul(self.aff(ir, extent), ir.i64(a))),
            (Stride::Dynamic(a), _) => Stride::Dynamic(ir.mul(a, self.aff(ir, extent))),
        }
    }

    /// Tells LLVM which arrays an access cannot touch: all but those that share its memory.
    pub fn tag(&self, access: Value<'ctx>, id: ArrayId) {
        if let Some(instruction) = instruction_of(access) {
            self.tag_instruction(instruction, id);
        }
    }

    pub fn tag_instruction(&self, instruction: InstructionValue<'ctx>, id: ArrayId) {
        let [own, others] = *self.scopes.borrow_mut().entry(id).or_insert_with(|| self.scopes_of(id));
        let context = self.ir().context;
        for (name, node) in [("alias.scope", own), ("noalias", others)] {
            // Only fails for values that are not instructions.
            let _ = instruction.set_metadata(node, context.get_kind_id(name));
        }
    }

    fn scopes_of(&self, id: ArrayId) -> [MetadataValue<'ctx>; 2] {
        let context = self.ir().context;
        let domain = context.metadata_node(&[context.metadata_string(&self.nest.name).into()]);
        let scope = |n: usize| {
            let name = context.metadata_string(&memory_name(n, &self.nest.arrays[n]));
            context.metadata_node(&[name.into(), domain.into()])
        };
        let own = memory_name(id.0 as usize, self.array(id));
        let used = self.used.iter().map(|&n| n as usize);
        let others: Vec<_> =
            used.filter(|&n| memory_name(n, &self.nest.arrays[n]) != own).map(|n| scope(n).into()).collect();
        [context.metadata_node(&[scope(id.0 as usize).into()]), context.metadata_node(&others)]
    }
}

/// Every array that the code may touch.
fn used_arrays(body: &[Nest]) -> BTreeSet<u32> {
    let mut used = BTreeSet::new();
    body.iter().for_each(|root| {
        root.visit_accesses(&mut |a| {
            used.insert(a.array.0);
        })
    });
    used
}

/// Arrays with equal names share memory.
fn memory_name(n: usize, array: &Array) -> String {
    match array.placement {
        Some(Placement::Slot(slot)) => format!("slot{slot}"),
        _ => format!("A{n}"),
    }
}

fn instruction_of(v: Value<'_>) -> Option<InstructionValue<'_>> {
    match v {
        BasicValueEnum::IntValue(v) => v.as_instruction(),
        BasicValueEnum::FloatValue(v) => v.as_instruction(),
        BasicValueEnum::VectorValue(v) => v.as_instruction(),
        BasicValueEnum::PointerValue(v) => v.as_instruction(),
        _ => None,
    }
}

/// Per parameter: does it depend on an integer that the program computes?
fn late_params(nest: &LoopNest) -> Vec<bool> {
    let mut late = vec![false; nest.params.len()];
    for (id, param) in nest.params.iter() {
        let mut found = matches!(param.def, ParamDef::Value { .. });
        let (ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b)) = &param.def
        else {
            late[id.0 as usize] = found;
            continue;
        };
        for aff in [a, b] {
            aff.visit_params(&mut |p| found |= late[p.0 as usize]);
        }
        late[id.0 as usize] = found;
    }
    late
}
