//! One kernel as LLVM IR: threads, loops, statements.

use super::split::{Body, Range};
use super::uses::Uses;
use crate::affine::{self, Atoms};
use crate::dot::Dots;
use crate::expr::Operators;
use crate::ir::{IntCompare, Ir, Op, Value};
use crate::prepare::storage_extents;
use inkwell::AddressSpace;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::values::FunctionValue;
use sirius_polyhedral::{
    Access, Aff, ArrayId, BinaryOp, Bound, Condition, DType, Error, Expr, LoopNest, Nest, Numeric, ParamId, Result,
    StatementKind, VarId,
};
use std::cell::RefCell;
use std::collections::HashMap;

/// LLVM's number of the calling convention `ptx_kernel`.
const PTX_KERNEL: u32 = 71;

/// What the arguments of a kernel are, in order.
pub struct Signature {
    /// Buffers; several arrays may live in one.
    pub buffers: Vec<String>,
    pub params: Vec<ParamId>,
    pub vars: Vec<VarId>,
    /// The buffer of every array used.
    pub buffer_of: HashMap<ArrayId, usize>,
}

impl Signature {
    /// `buffer` names the memory of an array.
    pub fn of(uses: &Uses, buffer: &dyn Fn(ArrayId) -> String) -> Signature {
        let mut buffers: Vec<String> = Vec::new();
        let mut buffer_of = HashMap::new();
        for id in &uses.arrays {
            let name = buffer(*id);
            let at = buffers.iter().position(|b| *b == name).unwrap_or_else(|| {
                buffers.push(name);
                buffers.len() - 1
            });
            buffer_of.insert(*id, at);
        }
        let (params, vars) = (uses.params.iter().copied().collect(), uses.vars.iter().copied().collect());
        Signature { buffers, params, vars, buffer_of }
    }
}

/// What a kernel computes.
pub enum Work<'a> {
    Body(&'a Body<'a>),
    /// A test for the host, written as one byte to the last buffer.
    Predicate(&'a Expr),
}

/// Writes kernel `name` into the module.
pub fn emit<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    nest: &LoopNest,
    (name, signature): (&str, &Signature),
    work: &Work,
) -> Result<()> {
    let function = declare(context, module, name, signature);
    let builder = context.create_builder();
    builder.position_at_end(context.append_basic_block(function, "entry"));
    let (ir, dots) = (Ir::new(context, &builder), Dots::default());
    let operators = Operators { ir, module, numeric: Numeric::Contract, dots, avx512: false };
    let mut writer = Writer {
        operators,
        nest,
        arrays: HashMap::new(),
        params: HashMap::new(),
        vars: RefCell::default(),
        exits: RefCell::default(),
    };
    writer.bind(function, signature)?;
    match work {
        Work::Body(body) if body.threads.is_empty() => writer.all(&body.nodes)?,
        Work::Body(body) => writer.threads(body)?,
        Work::Predicate(guard) => {
            let (bit, _) = writer.expr(guard)?;
            let byte = operators.stored(bit, DType::Bool);
            let to = argument(function, signature.buffers.len() - 1)?;
            operators.ir.store(byte, to, 1);
        }
    }
    builder.build_return(None).map_err(|e| Error::bug("E730", e.to_string()))?;
    Ok(())
}

fn declare<'ctx>(context: &'ctx Context, module: &Module<'ctx>, name: &str, s: &Signature) -> FunctionValue<'ctx> {
    let pointer = context.ptr_type(AddressSpace::default()).into();
    let mut types = vec![pointer; s.buffers.len()];
    types.resize(types.len() + s.params.len() + s.vars.len(), context.i64_type().into());
    let function = module.add_function(name, context.void_type().fn_type(&types, false), None);
    function.set_call_conventions(PTX_KERNEL);
    for n in 0..s.buffers.len() as u32 {
        let noalias = Attribute::get_named_enum_kind_id("noalias");
        function.add_attribute(AttributeLoc::Param(n), context.create_enum_attribute(noalias, 0));
    }
    function
}

fn argument<'ctx>(function: FunctionValue<'ctx>, n: usize) -> Result<Value<'ctx>> {
    function.get_nth_param(n as u32).ok_or_else(|| Error::bug("E730", format!("kernel without argument {n}")))
}

struct Writer<'a, 'ctx> {
    operators: Operators<'a, 'ctx>,
    nest: &'a LoopNest,
    /// Where element 0 is.
    arrays: HashMap<ArrayId, Value<'ctx>>,
    params: HashMap<ParamId, Value<'ctx>>,
    vars: RefCell<HashMap<VarId, Value<'ctx>>>,
    /// Where `BreakUnless` goes, innermost loop last.
    exits: RefCell<Vec<BasicBlock<'ctx>>>,
}

impl<'ctx> Writer<'_, 'ctx> {
    fn ir(&self) -> Ir<'_, 'ctx> {
        self.operators.ir
    }

    fn bind(&mut self, function: FunctionValue<'ctx>, s: &Signature) -> Result<()> {
        for (id, at) in &s.buffer_of {
            self.arrays.insert(*id, argument(function, *at)?);
        }
        for (n, p) in s.params.iter().enumerate() {
            self.params.insert(*p, argument(function, s.buffers.len() + n)?);
        }
        for (n, v) in s.vars.iter().enumerate() {
            let value = argument(function, s.buffers.len() + s.params.len() + n)?;
            self.vars.borrow_mut().insert(*v, value);
        }
        Ok(())
    }

    /// Thread `t` of `n` runs the iterations `t`, `t + n`, .. of the flattened loops, innermost fastest.
    fn threads(&self, body: &Body) -> Result<()> {
        let ir = self.ir();
        let ranges: Vec<_> = body.threads.iter().map(|r| self.range(r)).collect();
        let total = ranges.iter().fold(ir.i64(1), |n, (_, extent)| ir.mul(n, *extent));
        let block = self.register("ntid")?;
        let first = ir.add(ir.mul(self.register("ctaid")?, block), self.register("tid")?);
        let step = ir.mul(self.register("nctaid")?, block);
        self.counted(first, total, step, &|at| {
            let mut rest = at;
            for (range, (lower, extent)) in body.threads.iter().zip(&ranges).rev() {
                let var = ir.binary(Op::LLVMURem, rest, *extent);
                rest = ir.binary(Op::LLVMUDiv, rest, *extent);
                self.vars.borrow_mut().insert(range.var, ir.add(*lower, var));
            }
            self.all(&body.nodes)
        })
    }

    /// First iteration and number of iterations.
    fn range(&self, r: &Range) -> (Value<'ctx>, Value<'ctx>) {
        let (ir, lower) = (self.ir(), self.bound(r.lower, IntCompare::LLVMIntSGT));
        let upper = self.bound(r.upper, IntCompare::LLVMIntSLT);
        let extent = ir.binary(Op::LLVMSub, upper, lower);
        let negative = ir.icmp(IntCompare::LLVMIntSLT, extent, ir.i64(0));
        (lower, ir.select(negative, ir.i64(0), extent))
    }

    /// A special register's x component, as a 64-bit integer.
    fn register(&self, name: &str) -> Result<Value<'ctx>> {
        let ir = self.ir();
        let full = format!("llvm.nvvm.read.ptx.sreg.{name}.x");
        let value = ir.intrinsic(&full, &[], &[]).ok_or_else(|| Error::bug("E730", format!("LLVM lacks {full}")))?;
        Ok(ir.cast(Op::LLVMZExt, value, ir.context.i64_type().into()))
    }

    /// `for at in (first..end).step_by(step) { body }`.
    fn counted(
        &self,
        first: Value<'ctx>,
        end: Value<'ctx>,
        step: Value<'ctx>,
        body: &dyn Fn(Value<'ctx>) -> Result<()>,
    ) -> Result<()> {
        let ir = self.ir();
        let (before, head, inside, exit) = (ir.at(), ir.block("head"), ir.block("body"), ir.block("exit"));
        ir.br(head);
        ir.goto(head);
        let at = ir.phi(first, before);
        ir.cond_br(ir.icmp(IntCompare::LLVMIntSLT, at, end), inside, exit);
        ir.goto(inside);
        self.exits.borrow_mut().push(exit);
        body(at)?;
        self.exits.borrow_mut().pop();
        let next = ir.add(at, step);
        ir.close_phi(at, next, ir.at());
        ir.br(head);
        ir.goto(exit);
        Ok(())
    }

    fn all(&self, nodes: &[&Nest]) -> Result<()> {
        nodes.iter().try_for_each(|n| self.node(n))
    }

    fn node(&self, node: &Nest) -> Result<()> {
        match node {
            Nest::Loop { var, lower, upper, body, .. } => {
                let lower = self.bound(lower, IntCompare::LLVMIntSGT);
                let upper = self.bound(upper, IntCompare::LLVMIntSLT);
                self.counted(lower, upper, self.ir().i64(1), &|at| {
                    self.vars.borrow_mut().insert(*var, at);
                    body.iter().try_for_each(|n| self.node(n))
                })
            }
            Nest::If { condition, body } => self.when(condition, body),
            Nest::BreakUnless(guard) => self.break_unless(guard),
            Nest::Compute { kind, target, value, origin, .. } => {
                self.compute(*kind, target, value).map_err(|e| e.at(origin))
            }
        }
    }

    fn when(&self, condition: &Condition, body: &[Nest]) -> Result<()> {
        let holds = match condition {
            Condition::Guard(guard) => self.expr(guard)?.0,
            Condition::NonNegative(all) => self.non_negative(all),
        };
        let ir = self.ir();
        let (then, done) = (ir.block("then"), ir.block("done"));
        ir.cond_br(holds, then, done);
        ir.goto(then);
        body.iter().try_for_each(|n| self.node(n))?;
        ir.br(done);
        ir.goto(done);
        Ok(())
    }

    fn non_negative(&self, all: &[Aff]) -> Value<'ctx> {
        let ir = self.ir();
        let yes = ir.context.bool_type().const_all_ones().into();
        all.iter().fold(yes, |holds, aff| {
            let one = ir.icmp(IntCompare::LLVMIntSGE, self.aff(aff), ir.i64(0));
            ir.binary(Op::LLVMAnd, holds, one)
        })
    }

    fn break_unless(&self, guard: &Expr) -> Result<()> {
        let (holds, _) = self.expr(guard)?;
        let exit = self.exits.borrow().last().copied();
        let exit = exit.ok_or_else(|| Error::bug("E731", "a loop exit outside any loop"))?;
        let ir = self.ir();
        let go_on = ir.block("go_on");
        ir.cond_br(holds, go_on, exit);
        ir.goto(go_on);
        Ok(())
    }

    fn compute(&self, kind: StatementKind, target: &Access, value: &Expr) -> Result<()> {
        let (ir, t) = (self.ir(), self.dtype_of(target.array));
        let place = self.place(target)?;
        let result = match kind {
            StatementKind::Assign | StatementKind::Update => self.cast_expr(value, t)?,
            StatementKind::Reduce(op) => self.reduced(op, t, place, value)?,
        };
        ir.store(self.operators.stored(result, t), place, t.size() as u32);
        Ok(())
    }

    /// `target op value`; a sum of products is a fused multiply-add.
    fn reduced(&self, op: BinaryOp, t: DType, place: Value<'ctx>, value: &Expr) -> Result<Value<'ctx>> {
        let old = self.load(place, t);
        if let (BinaryOp::Add, DType::F32 | DType::F64, Expr::Binary(BinaryOp::Mul, a, b)) = (op, t, value) {
            let (a, b) = (self.cast_expr(a, t)?, self.cast_expr(b, t)?);
            return Ok(self.operators.fma(a, b, old));
        }
        let value = self.cast_expr(value, t)?;
        self.operators.binary(op, t, old, value)
    }

    fn cast_expr(&self, e: &Expr, to: DType) -> Result<Value<'ctx>> {
        let (value, from) = self.expr(e)?;
        Ok(self.operators.cast(from, to, value))
    }

    fn dtype_of(&self, id: ArrayId) -> DType {
        self.nest.arrays[id.0 as usize].dtype
    }

    fn expr(&self, e: &Expr) -> Result<(Value<'ctx>, DType)> {
        let t = e.dtype(&|a| self.dtype_of(a));
        let value = match e {
            Expr::Const(s) => self.operators.constant(*s),
            Expr::Index(aff) => self.aff(aff),
            Expr::Load(access) => self.load(self.place(access)?, t),
            Expr::Unary(op, a) => {
                let (a, of) = self.expr(a)?;
                self.operators.unary(*op, of, a)?
            }
            Expr::Binary(op, a, b) => {
                let ((a, of), (b, _)) = (self.expr(a)?, self.expr(b)?);
                self.operators.binary(*op, of, a, b)?
            }
            Expr::Select(c, a, b) => self.select(c, a, b)?,
            Expr::Cast(to, a) => self.cast_expr(a, *to)?,
        };
        Ok((value, t))
    }

    /// A branch, because the side not taken may not be evaluated: its subscripts can be out of bounds.
    fn select(&self, condition: &Expr, a: &Expr, b: &Expr) -> Result<Value<'ctx>> {
        let ir = self.ir();
        let (holds, _) = self.expr(condition)?;
        let (then, other, done) = (ir.block("then"), ir.block("else"), ir.block("done"));
        ir.cond_br(holds, then, other);
        ir.goto(then);
        let (a, _) = self.expr(a)?;
        let after_a = ir.at();
        ir.br(done);
        ir.goto(other);
        let (b, _) = self.expr(b)?;
        let after_b = ir.at();
        ir.br(done);
        ir.goto(done);
        let phi = ir.phi(a, after_a);
        ir.close_phi(phi, b, after_b);
        Ok(phi)
    }

    fn load(&self, place: Value<'ctx>, t: DType) -> Value<'ctx> {
        let loaded = self.ir().load(self.operators.memory_type(t), place, t.size() as u32);
        self.operators.loaded(loaded, t)
    }

    /// The address of an element: row-major, folded dimensions modulo their planes.
    fn place(&self, access: &Access) -> Result<Value<'ctx>> {
        let ir = self.ir();
        let array = &self.nest.arrays[access.array.0 as usize];
        let mut at = ir.i64(0);
        for (d, extent) in storage_extents(array).iter().enumerate() {
            let index = self.cast_expr(&access.index[d], DType::I64)?;
            let index = match array.fold[d] {
                Some(planes) => affine::modulo(ir, index, planes),
                None => index,
            };
            at = ir.add(ir.mul(at, self.aff(extent)), index);
        }
        let base = self.arrays.get(&access.array).copied();
        let base = base.ok_or_else(|| Error::bug("E730", format!("kernel without array {}", array.name)))?;
        Ok(ir.element(self.operators.memory_type(array.dtype), base, at))
    }

    fn bound(&self, bound: &Bound, better: IntCompare) -> Value<'ctx> {
        let ir = self.ir();
        let mut values = bound.0.iter().map(|a| self.aff(a));
        let first = values.next().unwrap_or_else(|| ir.i64(0));
        values.fold(first, |best, v| ir.select(ir.icmp(better, v, best), v, best))
    }

    fn aff(&self, aff: &Aff) -> Value<'ctx> {
        let zero = self.ir().i64(0);
        let atoms = Atoms {
            param: &|p| self.params.get(&p).copied().unwrap_or(zero),
            iter: &|n| self.vars.borrow().get(&n).copied().unwrap_or(zero),
            non_negative: &|_| false,
        };
        affine::emit(self.ir(), aff, &atoms)
    }
}
