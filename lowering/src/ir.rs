//! A thin layer over LLVM's builder whose operations take scalars and vectors alike.
//!
//! inkwell gives integers, floats and vectors different types, so generic code would dispatch at every
//! operation. Here one value type serves all; LLVM's own verifier checks the module before it is used.
//! The builder must be positioned: emission always is.

use inkwell::basic_block::BasicBlock;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::llvm_sys::core::*;
use inkwell::llvm_sys::prelude::{LLVMTypeRef, LLVMValueRef};
use inkwell::llvm_sys::{
    LLVMFastMathAllowContract, LLVMFastMathAllowReassoc, LLVMFastMathAllowReciprocal, LLVMFastMathNoSignedZeros,
    LLVMIntPredicate, LLVMOpcode, LLVMRealPredicate,
};
use inkwell::types::{AsTypeRef, BasicTypeEnum};
use inkwell::values::{AsValueRef, BasicValueEnum, FunctionValue, InstructionValue};

pub use inkwell::llvm_sys::LLVMIntPredicate as IntCompare;
pub use inkwell::llvm_sys::LLVMOpcode as Op;
pub use inkwell::llvm_sys::LLVMRealPredicate as FloatCompare;

/// Any first-class value.
pub type Value<'ctx> = BasicValueEnum<'ctx>;
pub type Type<'ctx> = BasicTypeEnum<'ctx>;

const EMPTY: *const std::ffi::c_char = c"".as_ptr();

/// A position in a function where code is appended.
#[derive(Clone, Copy)]
pub struct Ir<'a, 'ctx> {
    pub context: &'ctx Context,
    pub builder: &'a Builder<'ctx>,
}

fn value<'ctx>(raw: LLVMValueRef) -> Value<'ctx> {
    // SAFETY: every caller passes the non-null result of a builder call in the same context.
    unsafe { BasicValueEnum::new(raw) }
}

impl<'a, 'ctx> Ir<'a, 'ctx> {
    pub fn new(context: &'ctx Context, builder: &'a Builder<'ctx>) -> Ir<'a, 'ctx> {
        Ir { context, builder }
    }

    /// The integer constant `n`.
    pub fn i64(&self, n: i64) -> Value<'ctx> {
        self.context.i64_type().const_int(n as u64, true).into()
    }

    /// `n` in integer type `ty` (scalar or vector), or every lane of it.
    pub fn int_like(&self, ty: Type<'ctx>, n: i64) -> Value<'ctx> {
        match ty {
            BasicTypeEnum::VectorType(v) => {
                let lane = v.get_element_type().into_int_type().const_int(n as u64, true);
                self.constant_vector(&vec![lane.into(); v.get_size() as usize])
            }
            other => other.into_int_type().const_int(n as u64, true).into(),
        }
    }

    /// `x` in float type `ty` (scalar or vector), or every lane of it.
    pub fn float_like(&self, ty: Type<'ctx>, x: f64) -> Value<'ctx> {
        match ty {
            BasicTypeEnum::VectorType(v) => {
                let lane = v.get_element_type().into_float_type().const_float(x);
                self.constant_vector(&vec![lane.into(); v.get_size() as usize])
            }
            other => other.into_float_type().const_float(x).into(),
        }
    }

    pub fn constant_vector(&self, lanes: &[Value<'ctx>]) -> Value<'ctx> {
        let mut raw: Vec<LLVMValueRef> = lanes.iter().map(|v| v.as_value_ref()).collect();
        // SAFETY: `raw` outlives the call and all lanes are constants of one type.
        value(unsafe { LLVMConstVector(raw.as_mut_ptr(), raw.len() as u32) })
    }

    /// `0, 1, 2, ...` plus `start`, as 64-bit lanes.
    pub fn iota(&self, start: i64, lanes: u32) -> Value<'ctx> {
        let lanes: Vec<_> = (0..i64::from(lanes)).map(|l| self.i64(start + l)).collect();
        self.constant_vector(&lanes)
    }

    pub fn zero(&self, ty: Type<'ctx>) -> Value<'ctx> {
        ty.const_zero()
    }

    /// Lanes of a vector value, `None` for scalars.
    pub fn lanes(&self, v: Value<'ctx>) -> Option<u32> {
        match v {
            BasicValueEnum::VectorValue(v) => Some(v.get_type().get_size()),
            _ => None,
        }
    }

    /// `scalar`, or a vector of it with as many lanes as `like` has.
    pub fn shaped(&self, scalar: Type<'ctx>, lanes: Option<u32>) -> Type<'ctx> {
        match lanes {
            None => scalar,
            Some(n) => vector_of(scalar, n),
        }
    }

    pub fn binary(&self, op: LLVMOpcode, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let (a, b) = self.same_shape(a, b);
        // SAFETY: both operands belong to this context and have one type.
        value(unsafe { LLVMBuildBinOp(self.builder.as_mut_ptr(), op, a.as_value_ref(), b.as_value_ref(), EMPTY) })
    }

    /// Lets LLVM compute the result of `+ - * /` as real numbers would allow, with NaN and infinities as they are.
    pub fn allow_regrouping(&self, v: Value<'ctx>) {
        let flags = LLVMFastMathAllowReassoc
            | LLVMFastMathAllowReciprocal
            | LLVMFastMathAllowContract
            | LLVMFastMathNoSignedZeros;
        // SAFETY: flags are set on floating-point instructions only; what folded to a constant is none.
        unsafe {
            if !LLVMIsAInstruction(v.as_value_ref()).is_null() && LLVMCanValueUseFastMathFlags(v.as_value_ref()) != 0 {
                LLVMSetFastMathFlags(v.as_value_ref(), flags);
            }
        }
    }

    /// `v` as LLVM's transforms may not look through it (`freeze`); no instruction of the processor.
    pub fn freeze(&self, v: Value<'ctx>) -> Value<'ctx> {
        // SAFETY: the operand belongs to this context.
        value(unsafe { LLVMBuildFreeze(self.builder.as_mut_ptr(), v.as_value_ref(), EMPTY) })
    }

    /// Signed addition that does not overflow (index arithmetic).
    pub fn add(&self, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let (a, b) = self.same_shape(a, b);
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildNSWAdd(self.builder.as_mut_ptr(), a.as_value_ref(), b.as_value_ref(), EMPTY) })
    }

    /// Signed multiplication that does not overflow (index arithmetic).
    pub fn mul(&self, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let (a, b) = self.same_shape(a, b);
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildNSWMul(self.builder.as_mut_ptr(), a.as_value_ref(), b.as_value_ref(), EMPTY) })
    }

    pub fn fneg(&self, a: Value<'ctx>) -> Value<'ctx> {
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildFNeg(self.builder.as_mut_ptr(), a.as_value_ref(), EMPTY) })
    }

    pub fn icmp(&self, p: LLVMIntPredicate, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let (a, b) = self.same_shape(a, b);
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildICmp(self.builder.as_mut_ptr(), p, a.as_value_ref(), b.as_value_ref(), EMPTY) })
    }

    pub fn fcmp(&self, p: LLVMRealPredicate, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let (a, b) = self.same_shape(a, b);
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildFCmp(self.builder.as_mut_ptr(), p, a.as_value_ref(), b.as_value_ref(), EMPTY) })
    }

    /// `condition ? a : b`; a scalar condition chooses whole vectors.
    pub fn select(&self, condition: Value<'ctx>, a: Value<'ctx>, b: Value<'ctx>) -> Value<'ctx> {
        let (mut a, mut b) = self.same_shape(a, b);
        if let Some(n) = self.lanes(condition) {
            (a, b) = (self.widen(a, n), self.widen(b, n));
        }
        let (c, a, b) = (condition.as_value_ref(), a.as_value_ref(), b.as_value_ref());
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildSelect(self.builder.as_mut_ptr(), c, a, b, EMPTY) })
    }

    /// Any cast; the scalar type `to` takes the shape of `a`.
    pub fn cast(&self, op: LLVMOpcode, a: Value<'ctx>, to: Type<'ctx>) -> Value<'ctx> {
        let to = self.shaped(to, self.lanes(a));
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildCast(self.builder.as_mut_ptr(), op, a.as_value_ref(), to.as_type_ref(), EMPTY) })
    }

    /// The same bits as another type of the same size.
    pub fn reinterpret(&self, a: Value<'ctx>, to: Type<'ctx>) -> Value<'ctx> {
        let (raw, to) = (a.as_value_ref(), to.as_type_ref());
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildCast(self.builder.as_mut_ptr(), Op::LLVMBitCast, raw, to, EMPTY) })
    }

    /// A vector from a scalar; vectors stay as they are.
    pub fn widen(&self, a: Value<'ctx>, lanes: u32) -> Value<'ctx> {
        if self.lanes(a).is_some() {
            return a;
        }
        let vector = vector_of(a.get_type(), lanes);
        let first = self.insert(undefined(vector), a, 0);
        self.shuffle(first, first, &vec![0; lanes as usize])
    }

    fn same_shape(&self, a: Value<'ctx>, b: Value<'ctx>) -> (Value<'ctx>, Value<'ctx>) {
        match (self.lanes(a), self.lanes(b)) {
            (Some(n), None) => (a, self.widen(b, n)),
            (None, Some(n)) => (self.widen(a, n), b),
            _ => (a, b),
        }
    }

    pub fn insert(&self, vector: Value<'ctx>, lane: Value<'ctx>, at: u32) -> Value<'ctx> {
        let (v, x, n) = (vector.as_value_ref(), lane.as_value_ref(), self.i64(i64::from(at)).as_value_ref());
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildInsertElement(self.builder.as_mut_ptr(), v, x, n, EMPTY) })
    }

    pub fn extract(&self, vector: Value<'ctx>, at: u32) -> Value<'ctx> {
        let (v, n) = (vector.as_value_ref(), self.i64(i64::from(at)).as_value_ref());
        // SAFETY: as in `binary`.
        value(unsafe { LLVMBuildExtractElement(self.builder.as_mut_ptr(), v, n, EMPTY) })
    }

    /// Lanes `order[i]` of `a` followed by `b`.
    pub fn shuffle(&self, a: Value<'ctx>, b: Value<'ctx>, order: &[u32]) -> Value<'ctx> {
        let i32 = self.context.i32_type();
        let order: Vec<Value> = order.iter().map(|&n| i32.const_int(u64::from(n), false).into()).collect();
        let order = self.constant_vector(&order).as_value_ref();
        // SAFETY: as in `binary`; `order` is a constant vector of 32-bit integers.
        value(unsafe {
            LLVMBuildShuffleVector(self.builder.as_mut_ptr(), a.as_value_ref(), b.as_value_ref(), order, EMPTY)
        })
    }

    /// Calls the intrinsic `name`, overloaded on `types`.
    pub fn intrinsic(&self, name: &str, types: &[Type<'ctx>], arguments: &[Value<'ctx>]) -> Option<Value<'ctx>> {
        let mut types: Vec<LLVMTypeRef> = types.iter().map(|t| t.as_type_ref()).collect();
        let mut raw: Vec<LLVMValueRef> = arguments.iter().map(|v| v.as_value_ref()).collect();
        // SAFETY: the builder stands in a block of a function of a module; the types are those of this context.
        unsafe {
            let function = LLVMGetBasicBlockParent(LLVMGetInsertBlock(self.builder.as_mut_ptr()));
            let module = LLVMGetGlobalParent(function);
            let id = LLVMLookupIntrinsicID(name.as_ptr().cast(), name.len());
            let declared = LLVMGetIntrinsicDeclaration(module, id, types.as_mut_ptr(), types.len());
            let signature = LLVMGlobalGetValueType(declared);
            let builder = self.builder.as_mut_ptr();
            let call = LLVMBuildCall2(builder, signature, declared, raw.as_mut_ptr(), raw.len() as u32, EMPTY);
            let void = LLVMGetTypeKind(LLVMTypeOf(call)) == inkwell::llvm_sys::LLVMTypeKind::LLVMVoidTypeKind;
            (!void).then(|| value(call))
        }
    }

    /// An intrinsic of floats or integers that returns the type of its arguments.
    pub fn pure(&self, name: &str, arguments: &[Value<'ctx>]) -> Value<'ctx> {
        let ty = arguments[0].get_type();
        self.intrinsic(name, &[ty], arguments).unwrap_or_else(|| self.zero(ty))
    }

    /// `base + index` in elements of type `element`; a vector of indices gives a vector of pointers.
    pub fn element(&self, element: Type<'ctx>, base: Value<'ctx>, index: Value<'ctx>) -> Value<'ctx> {
        let mut index = index.as_value_ref();
        let (ty, base) = (element.as_type_ref(), base.as_value_ref());
        // SAFETY: one index into an array of elements behind the pointer.
        value(unsafe { LLVMBuildGEP2(self.builder.as_mut_ptr(), ty, base, &mut index, 1, EMPTY) })
    }

    /// A load with alignment `align` in bytes, and the instruction to hang metadata on.
    pub fn load(&self, ty: Type<'ctx>, pointer: Value<'ctx>, align: u32) -> Value<'ctx> {
        // SAFETY: `pointer` is a pointer value of this context.
        unsafe {
            let load = LLVMBuildLoad2(self.builder.as_mut_ptr(), ty.as_type_ref(), pointer.as_value_ref(), EMPTY);
            LLVMSetAlignment(load, align);
            value(load)
        }
    }

    pub fn store(&self, v: Value<'ctx>, pointer: Value<'ctx>, align: u32) -> InstructionValue<'ctx> {
        // SAFETY: as in `load`.
        unsafe {
            let store = LLVMBuildStore(self.builder.as_mut_ptr(), v.as_value_ref(), pointer.as_value_ref());
            LLVMSetAlignment(store, align);
            InstructionValue::new(store)
        }
    }

    pub fn alloca(&self, ty: Type<'ctx>) -> Value<'ctx> {
        // SAFETY: the builder is positioned.
        value(unsafe { LLVMBuildAlloca(self.builder.as_mut_ptr(), ty.as_type_ref(), EMPTY) })
    }

    /// A phi with one incoming edge; `close_phi` adds the second.
    pub fn phi(&self, first: Value<'ctx>, from: BasicBlock<'ctx>) -> Value<'ctx> {
        // SAFETY: the builder stands at the start of a block.
        unsafe {
            let phi = LLVMBuildPhi(self.builder.as_mut_ptr(), first.get_type().as_type_ref(), EMPTY);
            LLVMAddIncoming(phi, &mut first.as_value_ref(), &mut from.as_mut_ptr(), 1);
            value(phi)
        }
    }

    pub fn close_phi(&self, phi: Value<'ctx>, next: Value<'ctx>, from: BasicBlock<'ctx>) {
        // SAFETY: `phi` comes from `phi`, `next` has its type.
        unsafe { LLVMAddIncoming(phi.as_value_ref(), &mut next.as_value_ref(), &mut from.as_mut_ptr(), 1) }
    }

    pub fn br(&self, to: BasicBlock<'ctx>) {
        // SAFETY: the block belongs to the function being built.
        unsafe { LLVMBuildBr(self.builder.as_mut_ptr(), to.as_mut_ptr()) };
    }

    pub fn cond_br(&self, condition: Value<'ctx>, yes: BasicBlock<'ctx>, no: BasicBlock<'ctx>) {
        let (c, yes, no) = (condition.as_value_ref(), yes.as_mut_ptr(), no.as_mut_ptr());
        // SAFETY: the blocks belong to the function being built.
        unsafe { LLVMBuildCondBr(self.builder.as_mut_ptr(), c, yes, no) };
    }

    /// A new block at the end of the current function.
    pub fn block(&self, name: &str) -> BasicBlock<'ctx> {
        self.context.append_basic_block(self.function(), name)
    }

    pub fn function(&self) -> FunctionValue<'ctx> {
        // SAFETY: the builder stands in a block of a function.
        unsafe {
            let raw = LLVMGetBasicBlockParent(LLVMGetInsertBlock(self.builder.as_mut_ptr()));
            FunctionValue::new(raw).unwrap_unchecked()
        }
    }

    pub fn at(&self) -> BasicBlock<'ctx> {
        // SAFETY: the builder stands in a block.
        unsafe { BasicBlock::new(LLVMGetInsertBlock(self.builder.as_mut_ptr())).unwrap_unchecked() }
    }

    pub fn goto(&self, block: BasicBlock<'ctx>) {
        self.builder.position_at_end(block);
    }

    /// Is any lane of a mask set?
    pub fn any(&self, mask: Value<'ctx>) -> Value<'ctx> {
        match self.lanes(mask) {
            None => mask,
            Some(_) => self.intrinsic("llvm.vector.reduce.or", &[mask.get_type()], &[mask]).unwrap_or(mask),
        }
    }
}

/// `lanes` of a scalar type.
pub fn vector_of<'ctx>(scalar: Type<'ctx>, lanes: u32) -> Type<'ctx> {
    match scalar {
        BasicTypeEnum::IntType(t) => t.vec_type(lanes).into(),
        BasicTypeEnum::FloatType(t) => t.vec_type(lanes).into(),
        BasicTypeEnum::PointerType(t) => t.vec_type(lanes).into(),
        other => other,
    }
}

/// The lane type of a vector type; scalars are their own.
pub fn scalar_of(ty: Type<'_>) -> Type<'_> {
    match ty {
        BasicTypeEnum::VectorType(v) => v.get_element_type(),
        other => other,
    }
}

/// Poison of a type: the value no lane of which is used.
pub fn undefined(ty: Type<'_>) -> Value<'_> {
    // SAFETY: any first-class type has a poison value.
    value(unsafe { LLVMGetPoison(ty.as_type_ref()) })
}
