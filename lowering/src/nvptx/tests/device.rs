//! A stand-in for a GPU: the kernels' IR compiled for this processor, threads run one after another.
//!
//! It follows the launch plan as a real runner would, so it tests both. What it cannot show are races; these
//! are excluded by legality, which is checked elsewhere.

use crate::nvptx::plan::*;
use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::execution_engine::ExecutionEngine;
use inkwell::memory_buffer::MemoryBuffer;
use sirius_polyhedral::{DType, LoopNest, Role, scalar};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

const REGISTERS: [&str; 4] = ["tid", "ntid", "ctaid", "nctaid"];

static VALUES: [AtomicI32; 4] = [const { AtomicI32::new(0) }; 4];

/// The registers are global, so one launch runs at a time.
static RUNNING: Mutex<()> = Mutex::new(());

type Register = extern "C" fn() -> i32;

extern "C" fn tid() -> i32 {
    VALUES[0].load(Relaxed)
}
extern "C" fn ntid() -> i32 {
    VALUES[1].load(Relaxed)
}
extern "C" fn ctaid() -> i32 {
    VALUES[2].load(Relaxed)
}
extern "C" fn nctaid() -> i32 {
    VALUES[3].load(Relaxed)
}

/// Arguments from the seventh on lie on the stack in the C calling convention of x86-64, as this does by value;
/// more of them than a callee takes do no harm.
#[repr(C)]
struct Rest([i64; 58]);

type Entry = extern "C" fn(i64, i64, i64, i64, i64, i64, Rest);

pub struct Device<'c> {
    engine: ExecutionEngine<'c>,
    plan: &'c LaunchPlan,
    memory: HashMap<String, Vec<u64>>,
    /// Named dimensions and the variables of open loops.
    numbers: HashMap<String, i64>,
    pub launches: usize,
}

enum Flow {
    Next,
    Leave,
}

/// Runs the plan; the bytes of every output.
pub fn run(
    ir: &str,
    plan: &LaunchPlan,
    nest: &LoopNest,
    dims: &[(&str, i64)],
    inputs: &[Vec<u8>],
) -> (Vec<Vec<u8>>, usize) {
    let _one = RUNNING.lock();
    let context = Context::create();
    let mut text = ir.replace("ptx_kernel ", "");
    for name in REGISTERS {
        text = text.replace(&format!("llvm.nvvm.read.ptx.sreg.{name}.x"), &format!("sreg_{name}"));
    }
    text.push('\0');
    let buffer = MemoryBuffer::create_from_memory_range_copy(text.as_bytes(), "kernels");
    let module = context.create_module_from_ir(buffer).unwrap();
    let engine = module.create_jit_execution_engine(OptimizationLevel::None).unwrap();
    for (name, address) in REGISTERS.iter().zip([tid as Register, ntid, ctaid, nctaid]) {
        if let Some(function) = module.get_function(&format!("sreg_{name}")) {
            engine.add_global_mapping(&function, address as *const () as usize);
        }
    }
    let numbers = dims.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    let mut device = Device { engine, plan, memory: HashMap::new(), numbers, launches: 0 };
    device.allocate(nest, inputs);
    device.steps(&plan.steps);
    (plan.outputs.iter().map(|t| device.tensor(t)).collect(), device.launches)
}

impl Device<'_> {
    fn allocate(&mut self, nest: &LoopNest, inputs: &[Vec<u8>]) {
        for b in &self.plan.buffers {
            let bytes = self.value(&b.bytes) as usize;
            let mut words = vec![0xcbcb_cbcb_cbcb_cbcb; bytes / 8 + 1];
            let array = nest.arrays.iter().find(|a| a.name == b.name);
            match array.map(|a| &a.role) {
                Some(Role::Input(n)) => fill(&mut words, &inputs[*n]),
                Some(Role::Constant(data)) => fill(&mut words, data.bytes()),
                _ => {}
            }
            self.memory.insert(b.name.clone(), words);
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Flow {
        for step in steps {
            if let Flow::Leave = self.step(step) {
                return Flow::Leave;
            }
        }
        Flow::Next
    }

    fn step(&mut self, step: &Step) -> Flow {
        match step {
            Step::Launch(name) => self.launch(name),
            Step::If { condition, body } => {
                if self.holds(condition) {
                    return self.steps(body);
                }
            }
            Step::BreakUnless(test) if self.holds(test) => {}
            Step::BreakUnless(_) => return Flow::Leave,
            Step::Loop { var, lower, upper, body } => {
                for value in self.value(lower)..self.value(upper) {
                    self.numbers.insert(var.clone(), value);
                    if let Flow::Leave = self.steps(body) {
                        break;
                    }
                }
            }
        }
        Flow::Next
    }

    fn launch(&mut self, name: &str) {
        let kernel = self.plan.kernels.iter().find(|k| k.name == name).unwrap();
        let args = kernel.args.iter().map(|a| match a {
            Argument::Buffer(b) => self.memory[b].as_ptr() as i64,
            Argument::Param(n) | Argument::Var(n) => self.named(n),
        });
        let mut args: Vec<i64> = args.collect();
        assert!(args.len() <= 64);
        args.resize(64, 0);
        let (a, rest) = args.split_at(6);
        let address = self.engine.get_function_address(name).unwrap();
        // SAFETY: the kernel takes pointers and 64-bit integers only, at most 64; see `Rest`.
        let f: Entry = unsafe { std::mem::transmute(address) };
        let grid = self.value(&kernel.grid) as i32;
        VALUES[1].store(kernel.block as i32, Relaxed);
        VALUES[3].store(grid, Relaxed);
        for block in 0..grid {
            for thread in 0..kernel.block as i32 {
                VALUES[0].store(thread, Relaxed);
                VALUES[2].store(block, Relaxed);
                f(a[0], a[1], a[2], a[3], a[4], a[5], Rest(rest.try_into().unwrap()));
            }
        }
        self.launches += 1;
    }

    fn holds(&mut self, test: &Test) -> bool {
        match test {
            Test::NonNegative(all) => all.iter().all(|n| self.value(n) >= 0),
            Test::Element { buffer, index } => self.bytes(buffer)[self.value(index) as usize] != 0,
            Test::Computed { kernel, buffer } => {
                self.launch(kernel);
                self.bytes(buffer)[0] != 0
            }
        }
    }

    fn value(&self, n: &Number) -> i64 {
        n.eval(&|name| self.named(name))
    }

    fn named(&self, name: &str) -> i64 {
        if let Some(value) = self.numbers.get(name) {
            return *value;
        }
        match &self.plan.params.iter().find(|p| p.name == name).unwrap().source {
            ParamSource::Computed(n) => self.value(n),
            ParamSource::Value { buffer, dtype } => {
                scalar::to_int(scalar::read(self.bytes(buffer), 0, DType::parse(dtype).unwrap()))
            }
            ParamSource::Input { .. } | ParamSource::Content { .. } => panic!("{name} was not given"),
        }
    }

    fn bytes(&self, buffer: &str) -> &[u8] {
        let words = &self.memory[buffer];
        // SAFETY: any initialized words are bytes.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
    }

    fn tensor(&self, t: &Tensor) -> Vec<u8> {
        let count: i64 = t.shape.iter().map(|n| self.value(n)).product();
        self.bytes(&t.buffer)[..count as usize * DType::parse(&t.dtype).unwrap().size()].to_vec()
    }
}

fn fill(words: &mut [u64], bytes: &[u8]) {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut full = [0; 8];
        full[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(full);
    }
}
