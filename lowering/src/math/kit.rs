//! Where the functions of this folder are written: modules, functions, blocks and tables.
//!
//! LLVM's builder can only fail here by a mistake of ours (operands of unequal type), so the first failure is kept in the
//! [`Kit`] and reported once, when the function is finished.

use super::value::V;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::types::{BasicType, BasicTypeEnum, FloatType, IntType};
use inkwell::values::{FunctionValue, GlobalValue};
use std::cell::RefCell;

/// Where code goes, and how many lanes it has.
pub(super) struct Kit<'a, 'ctx> {
    pub context: &'ctx Context,
    pub module: &'a Module<'ctx>,
    pub builder: Builder<'ctx>,
    /// `None` for scalar code.
    pub lanes: Option<u32>,
    pub failure: RefCell<Option<String>>,
}

/// A body: arguments to result.
pub(super) type Body<'b, 'ctx> = &'b dyn for<'k> Fn(&[V<'k, 'ctx>]) -> V<'k, 'ctx>;

/// An internal function without a body yet.
pub(super) fn declare<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    name: &str,
    result: BasicTypeEnum<'ctx>,
    args: &[BasicTypeEnum<'ctx>],
    inlining: &str,
) -> FunctionValue<'ctx> {
    let args: Vec<_> = args.iter().map(|&t| t.into()).collect();
    let function = module.add_function(name, result.fn_type(&args, false), Some(Linkage::Internal));
    for attribute in [inlining, "nounwind"] {
        let kind = Attribute::get_named_enum_kind_id(attribute);
        function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
    }
    function
}

/// Fills a declared function; the error says what went wrong first.
pub(super) fn write_body<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    function: FunctionValue<'ctx>,
    lanes: Option<u32>,
    body: Body<'_, 'ctx>,
) -> Result<(), String> {
    let kit = Kit::new(context, module, lanes);
    kit.builder.position_at_end(context.append_basic_block(function, "entry"));
    let args: Vec<V> = function.get_params().into_iter().map(|value| V { kit: &kit, value }).collect();
    let value = body(&args).value;
    kit.keep(kit.builder.build_return(Some(&value)));
    kit.failure.take().map_or(Ok(()), Err)
}

impl<'a, 'ctx> Kit<'a, 'ctx> {
    pub fn new(context: &'ctx Context, module: &'a Module<'ctx>, lanes: Option<u32>) -> Kit<'a, 'ctx> {
        Kit { context, module, builder: context.create_builder(), lanes, failure: RefCell::new(None) }
    }

    /// Keeps the failure if it is the first.
    pub fn record(&self, message: impl Into<String>) {
        self.failure.borrow_mut().get_or_insert_with(|| message.into());
    }

    /// The type of all lanes.
    pub fn float(&self, t: FloatType<'ctx>) -> BasicTypeEnum<'ctx> {
        self.lanes.map_or(t.into(), |n| t.vec_type(n).into())
    }

    /// The type of all lanes.
    pub fn int(&self, t: IntType<'ctx>) -> BasicTypeEnum<'ctx> {
        self.lanes.map_or(t.into(), |n| t.vec_type(n).into())
    }

    /// A new block of the function, not yet branched to.
    pub fn block(&self, name: &str) -> Option<BasicBlock<'ctx>> {
        let function = self.builder.get_insert_block().and_then(BasicBlock::get_parent);
        if function.is_none() {
            self.record("code outside a function");
        }
        Some(self.context.append_basic_block(function?, name))
    }

    /// A scalar `f64` function that is called, not inlined: for rare arguments. Made once per module.
    pub fn scalar_f64_function(
        &self,
        name: &str,
        body: &dyn for<'i> Fn(V<'i, 'ctx>) -> V<'i, 'ctx>,
    ) -> Option<FunctionValue<'ctx>> {
        if let Some(function) = self.module.get_function(name) {
            return Some(function);
        }
        let t = self.context.f64_type().into();
        let function = declare(self.context, self.module, name, t, &[t], "noinline");
        let result = write_body(self.context, self.module, function, None, &|args| body(args[0]));
        result.map_err(|message| self.record(message)).ok()?;
        Some(function)
    }

    /// A constant table, made once per module.
    pub fn table(&self, name: &str, words: &[u64]) -> GlobalValue<'ctx> {
        self.module.get_global(name).unwrap_or_else(|| {
            let t = self.context.i64_type();
            let values: Vec<_> = words.iter().map(|&w| t.const_int(w, false)).collect();
            let global = self.module.add_global(t.array_type(words.len() as u32), None, name);
            global.set_initializer(&t.const_array(&values));
            global.set_constant(true);
            global.set_linkage(Linkage::Internal);
            global
        })
    }

    /// What LLVM made, if it could; else the failure is recorded.
    pub fn keep<T>(&self, result: Result<T, BuilderError>) -> Option<T> {
        result.map_err(|e| self.record(e.to_string())).ok()
    }
}
