//! x86-64 code of one root of the nest.
//!
//! A *tile* is the set of iterations that run in lockstep: every combination of the enclosing `Rows` loops
//! (the [`Instance`]s) times the lanes of the enclosing `Lanes` loop (cut into *chunks* of one vector each).
//! Scalar code is the tile of one instance without lanes, so there is one emitter: every node of the nest is
//! written for the whole tile, statement by statement. `space` maps loop variables to tile positions,
//! `value` and `access` write expressions and memory accesses, `compute` statements (`interleave`: in
//! which order), `loops` and `branch`
//! control flow, `tiles` the lockstep loops, `reduction` sums over lanes, `count` reports what is done where that is wanted.

mod access;
mod branch;
mod compute;
mod count;
mod interleave;
mod loops;
mod memory;
mod ranges;
mod reduction;
mod space;
mod tiles;
mod value;

use crate::emit::Frame;
use crate::ir::{IntCompare, Ir, Value};
use count::{Batch, Operations};
use inkwell::basic_block::BasicBlock;
use ranges::Ranges;
use sirius_polyhedral::{Aff, ArrayId, Machine, Nest, ParamId, Result, VarId};
use space::{Instance, Lanes};
use std::collections::HashMap;
use value::Memo;

/// Writes `root` into the function of `frame`.
pub fn emit_root(frame: &Frame<'_, '_>, machine: &Machine, root: &Nest) -> Result<()> {
    let mut emitter = Emitter {
        frame,
        shared: root.is_shared(),
        // A chunk has the same lanes for every type: those of a 4-byte type in one register.
        width: (machine.vector_bytes / 4).max(1) as u32,
        registers: machine.vector_registers,
        values: HashMap::new(),
        fixed: HashMap::new(),
        ranges: Ranges::default(),
        active: vec![Instance::scalar()],
        lanes: None,
        cells: HashMap::new(),
        partials: HashMap::new(),
        exits: Vec::new(),
        memo: Memo::default(),
        next: frame.nest.vars,
        operations: Operations::default(),
        batch: None,
    };
    emitter.node(root)
}

/// The state at one point of the nest.
struct Emitter<'f, 'a, 'ctx> {
    frame: &'f Frame<'a, 'ctx>,
    /// Do all workers of a team come here?
    shared: bool,
    /// Lanes of one vector.
    width: u32,
    /// Vector registers.
    registers: usize,
    /// Loop variables that exist at run time.
    values: HashMap<VarId, Value<'ctx>>,
    /// Loop variables that are known here: the value over other variables, and its distance from the
    /// loop's lower bound.
    fixed: HashMap<VarId, (Aff, i64)>,
    ranges: Ranges,
    /// The instances that run; never empty.
    active: Vec<Instance<'ctx>>,
    lanes: Option<Lanes>,
    /// Register arrays: array, place in the tile, lanes (0 for scalars).
    cells: HashMap<(ArrayId, Vec<i64>, u32), Value<'ctx>>,
    /// Per-lane partial results: statement (by address) and instance to one cell per chunk.
    partials: HashMap<(usize, u32), Vec<Value<'ctx>>>,
    /// Where `BreakUnless` leaves to, innermost last.
    exits: Vec<BasicBlock<'ctx>>,
    memo: Memo<'ctx>,
    /// Next unused number for variables, masks and instances of our own.
    next: u32,
    /// Not reported yet.
    operations: Operations<'ctx>,
    /// Of the innermost loop, while it is written.
    batch: Option<Batch<'ctx>>,
}

impl<'a, 'ctx> Emitter<'_, 'a, 'ctx> {
    fn ir(&self) -> Ir<'a, 'ctx> {
        self.frame.ir()
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn nodes(&mut self, body: &[Nest]) -> Result<()> {
        body.iter().try_for_each(|n| self.node(n))
    }

    fn node(&mut self, node: &Nest) -> Result<()> {
        if self.shared && !node.is_shared() && !matches!(node, Nest::BreakUnless(_)) {
            return self.by_first_worker(node);
        }
        let remembered = self.remember_params(node);
        let done = match node {
            Nest::Loop { var, lower, upper, kind, body } => self.any_loop(*var, lower, upper, *kind, body),
            Nest::If { condition, body } => self.conditional(condition, body),
            Nest::BreakUnless(guard) => self.break_unless(guard),
            Nest::Compute { kind, target, value, origin, .. } => {
                let key = std::ptr::from_ref(node) as usize;
                self.compute(key, *kind, target, value).map_err(|e| e.at(origin))
            }
        };
        remembered.into_iter().for_each(|p| self.frame.forget_param(p));
        done
    }

    /// What no loop of the team is around belongs to worker 0.
    fn by_first_worker(&mut self, node: &Nest) -> Result<()> {
        let ir = self.ir();
        let [number, _] = self.frame.place_in_team();
        let is_first = ir.icmp(IntCompare::LLVMIntEQ, number, ir.i64(0));
        self.guarded(Some(is_first), |e| e.for_one_worker(|e| e.node(node)))
    }

    /// Writes `inner` as the code of a single worker.
    fn for_one_worker(&mut self, inner: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let shared = std::mem::replace(&mut self.shared, false);
        let done = inner(self);
        self.shared = shared;
        done
    }

    /// Reads the parameters that the program computes when the outermost node that uses them is entered.
    fn remember_params(&mut self, node: &Nest) -> Vec<ParamId> {
        if !self.frame.has_late_params() {
            return Vec::new();
        }
        let mut used = Vec::new();
        let mut note = |a: &Aff| a.visit_params(&mut |p| used.push(p));
        match node {
            Nest::Loop { lower, upper, .. } => lower.0.iter().chain(&upper.0).for_each(&mut note),
            Nest::If { condition: sirius_polyhedral::Condition::NonNegative(affs), .. } => {
                affs.iter().for_each(&mut note)
            }
            Nest::If { condition: sirius_polyhedral::Condition::Guard(e), .. } | Nest::BreakUnless(e) => {
                e.visit_affs(&mut note)
            }
            Nest::Compute { value, .. } => value.visit_affs(&mut note),
        }
        used.retain(|&p| self.frame.is_late(p) && self.frame.remember_param(p));
        used
    }
}
