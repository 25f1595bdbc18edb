//! From host steps and kernel bodies to the launch plan, kernels emitted on the way.

use super::kernel::{self, Signature, Work};
use super::plan::*;
use super::split::{Body, Host};
use super::uses::Uses;
use crate::prepare::storage_extents;
use inkwell::context::Context;
use inkwell::module::Module;
use sirius_polyhedral::{
    Access, Aff, ArrayId, Bound, Condition, DType, Error, Expr, LoopNest, Nest, ParamDef, Params, Result, Role, Term,
    VarId,
};

/// Threads of a block: enough to hide latency on every GPU since 2010, and a divisor of what one runs at a time.
const BLOCK: u32 = 256;

/// Blocks of a launch at most; threads take several iterations beyond.
const MAX_GRID: i64 = 1 << 20;

/// The name of the buffer for tests that the host must see.
const PREDICATE: &str = "predicate";

/// Builds plan and kernels together.
pub struct Planner<'a, 'ctx> {
    pub context: &'ctx Context,
    pub module: &'a Module<'ctx>,
    pub nest: &'a LoopNest,
    /// The workspace slot of every temporary.
    pub slots: &'a [Option<usize>],
    pub kernels: Vec<Kernel>,
    pub uses_predicate: bool,
}

impl Planner<'_, '_> {
    pub fn steps(&mut self, host: &[Host]) -> Result<Vec<Step>> {
        host.iter().map(|h| self.step(h)).collect()
    }

    fn step(&mut self, host: &Host) -> Result<Step> {
        Ok(match host {
            Host::Launch(body) => Step::Launch(self.launch(body)?),
            Host::Loop { var, lower, upper, body } => Step::Loop {
                var: variable(*var),
                lower: lower_number(&self.nest.params, lower),
                upper: upper_number(&self.nest.params, upper),
                body: self.steps(body)?,
            },
            Host::If { condition: Condition::NonNegative(all), body } => {
                let condition = Test::NonNegative(all.iter().map(|a| number(&self.nest.params, a)).collect());
                Step::If { condition, body: self.steps(body)? }
            }
            Host::If { condition: Condition::Guard(guard), body } => {
                let condition = self.test(guard)?;
                Step::If { condition, body: self.steps(body)? }
            }
            Host::BreakUnless(guard) => Step::BreakUnless(self.test(guard)?),
        })
    }

    fn launch(&mut self, body: &Body) -> Result<String> {
        let mut uses = Uses::of(self.nest, &body.nodes);
        for t in &body.threads {
            uses = uses.with_range(t.var, [t.lower, t.upper]);
        }
        let signature = Signature::of(&uses, &|id| self.buffer(id));
        refuse_too_many(&signature)?;
        let name = format!("{}_k{}{}", self.nest.name, self.kernels.len(), operator_of(&body.nodes));
        kernel::emit(self.context, self.module, self.nest, (&name, &signature), &Work::Body(body))?;
        let extents = body.threads.iter().map(|t| self.extent(t.lower, t.upper)).collect();
        let (grid, block) = match body.threads.is_empty() {
            true => (Number::Int(1), 1),
            false => (grid(Number::product(extents)), BLOCK),
        };
        self.push_kernel(name.clone(), grid, block, &signature);
        Ok(name)
    }

    fn push_kernel(&mut self, name: String, grid: Number, block: u32, s: &Signature) {
        let params = s.params.iter().map(|p| Argument::Param(self.nest.params.get(*p).name.clone()));
        let vars = s.vars.iter().map(|v| Argument::Var(variable(*v)));
        let args = s.buffers.iter().cloned().map(Argument::Buffer).chain(params).chain(vars).collect();
        self.kernels.push(Kernel { name, grid, block, args });
    }

    fn extent(&self, lower: &Bound, upper: &Bound) -> Number {
        let (lower, upper) = (lower_number(&self.nest.params, lower), upper_number(&self.nest.params, upper));
        let extent = Number::sum(vec![upper, Number::product(vec![Number::Int(-1), lower])]);
        Number::largest(vec![Number::Int(0), extent])
    }

    /// A test of one element is read directly; anything more is computed by a kernel.
    fn test(&mut self, guard: &Expr) -> Result<Test> {
        if let Some(test) = self.element_test(guard) {
            return Ok(test);
        }
        let mut signature = Signature::of(&Uses::of_expr(self.nest, guard), &|id| self.buffer(id));
        signature.buffers.push(PREDICATE.to_string());
        // The new buffer is the last one: parameters follow buffers, and no array lives in it.
        let name = format!("{}_k{}_test", self.nest.name, self.kernels.len());
        kernel::emit(self.context, self.module, self.nest, (&name, &signature), &Work::Predicate(guard))?;
        self.push_kernel(name.clone(), Number::Int(1), 1, &signature);
        self.uses_predicate = true;
        Ok(Test::Computed { kernel: name, buffer: PREDICATE.to_string() })
    }

    fn element_test(&self, guard: &Expr) -> Option<Test> {
        let Expr::Load(Access { array, index }) = guard else { return None };
        let a = &self.nest.arrays[array.0 as usize];
        let index: Option<Vec<Aff>> = index.iter().map(Expr::as_aff).collect();
        let (index, extents) = (index?, storage_extents(a));
        if a.dtype != DType::Bool {
            return None;
        }
        let place = index.iter().zip(&extents).zip(&a.fold).fold(Number::Int(0), |at, ((i, extent), fold)| {
            let i = fold.map_or(i.clone(), |planes| i.modulo(planes));
            let params = &self.nest.params;
            Number::sum(vec![Number::product(vec![at, number(params, extent)]), number(params, &i)])
        });
        Some(Test::Element { buffer: self.buffer(*array), index: place })
    }

    /// The buffer that holds an array.
    fn buffer(&self, id: ArrayId) -> String {
        buffer_name(self.nest, self.slots, id)
    }
}

/// Inputs, outputs and constants have memory of their own, temporaries share slots.
pub fn buffer_name(nest: &LoopNest, slots: &[Option<usize>], id: ArrayId) -> String {
    match slots[id.0 as usize] {
        Some(slot) => format!("slot{slot}"),
        None => nest.arrays[id.0 as usize].name.clone(),
    }
}

/// A kernel has 4,096 bytes of arguments before PTX 8.1.
fn refuse_too_many(s: &Signature) -> Result<()> {
    let count = s.buffers.len() + s.params.len() + s.vars.len();
    match count > 512 {
        true => Err(Error::limit("E736", format!("a kernel needs {count} arguments; 512 are possible"))
            .help("a lower optimization level fuses less")),
        false => Ok(()),
    }
}

fn grid(threads: Number) -> Number {
    let blocks = Number::sum(vec![threads, Number::Int(i64::from(BLOCK) - 1)]).floor_div(Number::Int(i64::from(BLOCK)));
    Number::smallest(vec![Number::Int(MAX_GRID), blocks])
}

/// `_Softmax`: what the first statement of a kernel comes from, for people who read profiles.
fn operator_of(nodes: &[&Nest]) -> String {
    let mut found = None;
    for node in nodes {
        node.visit(&mut |n| {
            if let Nest::Compute { origin, .. } = n {
                found.get_or_insert_with(|| origin.op.clone());
            }
        });
    }
    let clean: String = found.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
    if clean.is_empty() { clean } else { format!("_{clean}") }
}

pub fn variable(var: VarId) -> String {
    format!("c{var}")
}

pub fn lower_number(params: &Params, bound: &Bound) -> Number {
    Number::largest(bound.0.iter().map(|a| number(params, a)).collect())
}

pub fn upper_number(params: &Params, bound: &Bound) -> Number {
    Number::smallest(bound.0.iter().map(|a| number(params, a)).collect())
}

pub fn number(params: &Params, aff: &Aff) -> Number {
    let mut terms: Vec<Number> = Vec::new();
    for (term, coefficient) in aff.terms() {
        let atom = match term {
            Term::Param(p) => Number::Param(params.get(*p).name.clone()),
            Term::Iter(n) => Number::Var(variable(*n)),
            Term::FloorDiv(a, d) => number(params, a).floor_div(Number::Int(*d)),
        };
        terms.push(Number::product(vec![Number::Int(*coefficient), atom]));
    }
    terms.push(Number::Int(aff.offset()));
    Number::sum(terms)
}

/// How the runner finds the value of every parameter.
pub fn plan_params(nest: &LoopNest, buffer: &dyn Fn(ArrayId) -> String) -> Vec<PlanParam> {
    let n = |a: &Aff| number(&nest.params, a);
    let source = |def: &ParamDef| match def {
        ParamDef::Input { input, axis } => ParamSource::Input { input: *input, axis: *axis },
        ParamDef::Content { input, at } => ParamSource::Content { input: *input, at: *at },
        ParamDef::Mul(a, b) => ParamSource::Computed(Number::product(vec![n(a), n(b)])),
        ParamDef::FloorDiv(a, b) => ParamSource::Computed(n(a).floor_div(n(b))),
        ParamDef::Max(a, b) => ParamSource::Computed(Number::largest(vec![n(a), n(b)])),
        ParamDef::Min(a, b) => ParamSource::Computed(Number::smallest(vec![n(a), n(b)])),
        ParamDef::Value { array } => {
            let found = nest.arrays.iter().position(|a| a.name == *array).unwrap_or(0);
            let dtype = nest.arrays.get(found).map_or("i64", |a| a.dtype.name());
            ParamSource::Value { buffer: buffer(ArrayId(found as u32)), dtype: dtype.to_string() }
        }
    };
    nest.params.iter().map(|(_, p)| PlanParam { name: p.name.clone(), source: source(&p.def) }).collect()
}

/// All device memory; `offsets` are those of constants in the weights file.
pub fn buffers(nest: &LoopNest, slots: &[Option<usize>], offsets: &[Option<u64>], predicate: bool) -> Vec<Buffer> {
    let mut out: Vec<Buffer> = Vec::new();
    for (n, array) in nest.arrays.iter().enumerate() {
        let bytes = bytes(&nest.params, array);
        let role = match &array.role {
            Role::Input(_) => BufferRole::Input,
            Role::Output(_) => BufferRole::Output,
            Role::Constant(_) => match offsets[n] {
                Some(offset) => BufferRole::Constant { offset },
                None => continue,
            },
            Role::Temp if slots[n].is_some() => BufferRole::Workspace,
            Role::Temp => continue,
        };
        let name = buffer_name(nest, slots, ArrayId(n as u32));
        match out.iter_mut().find(|b| b.name == name) {
            Some(shared) => shared.bytes = Number::largest(vec![shared.bytes.clone(), bytes]),
            None => out.push(Buffer { name, role, bytes }),
        }
    }
    if predicate {
        out.push(Buffer { name: PREDICATE.into(), role: BufferRole::Predicate, bytes: Number::Int(1) });
    }
    out
}

fn bytes(params: &Params, array: &sirius_polyhedral::Array) -> Number {
    let mut factors: Vec<Number> = storage_extents(array).iter().map(|e| number(params, e)).collect();
    factors.push(Number::Int(array.dtype.size() as i64));
    Number::product(factors)
}

pub fn tensors(nest: &LoopNest, ids: &[ArrayId], buffer: &dyn Fn(ArrayId) -> String) -> Vec<Tensor> {
    let tensor = |id: &ArrayId| {
        let array = &nest.arrays[id.0 as usize];
        Tensor {
            name: array.name.clone(),
            dtype: array.dtype.name().to_string(),
            shape: array.extents.iter().map(|e| number(&nest.params, e)).collect(),
            buffer: buffer(*id),
        }
    };
    ids.iter().map(tensor).collect()
}
