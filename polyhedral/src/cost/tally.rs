//! How often code does what it does: accesses, floating-point operations, regions and barriers.
//!
//! Iterations are counted, not estimated: a loop whose variable decides nothing below counts its length times, any other
//! is walked. Inside a lockstep tile an expression is evaluated once for all rows and lanes that it does not depend on,
//! and a sum over lanes reaches its element once, at the end of the lanes; that is how code is emitted. The figures
//! are those of a counted run exactly, but for
//!  * conditions on data and loops that end early, which are taken to hold and to go on: `exact` is then false;
//!  * the few operations that join partial sums of lanes cut off by a mask.

use super::values::Values;
use crate::dtype::DType;
use crate::expr::{Access, BinaryOp, Expr};
use crate::loop_nest::{Condition, LoopNest, Nest, VarId};
use crate::machine::{Machine, Numeric};
use crate::program::{Placement, StatementKind};
use crate::schedule_tree::Mark;
use std::collections::{HashMap, HashSet};

/// Bytes of all accesses to one array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accessed {
    pub loaded: u64,
    pub stored: u64,
}

/// What a nest does in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By number of the array; nothing for arrays in registers.
    pub arrays: Vec<Accessed>,
    /// Floating-point operations; a function such as `exp` is one, a fused multiply-add two.
    pub operations: u64,
    /// Root nests.
    pub regions: u64,
    /// Waits of every worker of a team.
    pub barriers: u64,
    /// Nothing depends on data.
    pub exact: bool,
}

impl Tally {
    fn none(nest: &LoopNest) -> Tally {
        Tally { arrays: vec![Accessed::default(); nest.arrays.len()], exact: true, ..Tally::default() }
    }

    fn add(&mut self, other: &Tally, times: u64) {
        for (own, other) in self.arrays.iter_mut().zip(&other.arrays) {
            own.loaded += times * other.loaded;
            own.stored += times * other.stored;
        }
        self.operations += times * other.operations;
        self.barriers += times * other.barriers;
        self.exact &= other.exact;
    }
}

/// Counts a nest for these values of its parameters, as code for `machine` runs it.
pub fn tally(nest: &LoopNest, values: &Values, machine: &Machine) -> Tally {
    let width = (machine.vector_bytes / 4).max(1) as u64;
    let fuses = machine.numeric != Numeric::Strict;
    let mut counter =
        Counter { nest, values, width, fuses, vars: HashMap::new(), tile: Vec::new(), waiting: HashSet::new() };
    let mut total = counter.list(&nest.body);
    total.regions = nest.body.iter().map(regions).sum();
    total
}

/// A barrier at the root stands before the nests below it.
fn regions(root: &Nest) -> u64 {
    match root {
        Nest::Loop { kind: Mark::Barrier, body, .. } => body.len() as u64,
        _ => 1,
    }
}

/// One enclosing lockstep loop.
#[derive(Clone, Copy, PartialEq)]
struct Lockstep {
    var: VarId,
    trip: u64,
    lanes: bool,
}

struct Counter<'a> {
    nest: &'a LoopNest,
    values: &'a Values,
    /// Lanes of a vector.
    width: u64,
    /// Products are fused with sums.
    fuses: bool,
    vars: HashMap<VarId, i64>,
    tile: Vec<Lockstep>,
    /// Sums over lanes that reach their element at the end of the lanes.
    waiting: HashSet<usize>,
}

impl Counter<'_> {
    fn list(&mut self, body: &[Nest]) -> Tally {
        let mut total = Tally::none(self.nest);
        for node in body {
            let one = self.node(node);
            total.add(&one, 1);
        }
        total
    }

    fn node(&mut self, node: &Nest) -> Tally {
        match node {
            Nest::Loop { var, lower, upper, kind, body } => {
                let (from, to) = self.values.range(lower, upper, &self.vars);
                self.any_loop(*var, from..to, *kind, body)
            }
            Nest::If { condition: Condition::NonNegative(affs), body } => {
                match affs.iter().all(|a| self.values.eval(a, &self.vars) >= 0) {
                    true => self.list(body),
                    false => Tally::none(self.nest),
                }
            }
            Nest::If { condition: Condition::Guard(guard), body } => {
                let mut total = self.list(body);
                self.expr(guard, &mut total);
                Tally { exact: false, ..total }
            }
            Nest::BreakUnless(guard) => {
                let mut total = Tally::none(self.nest);
                self.expr(guard, &mut total);
                Tally { exact: false, ..total }
            }
            Nest::Compute { kind, target, value, .. } => self.compute(key(node), *kind, target, value),
        }
    }

    fn any_loop(&mut self, var: VarId, range: std::ops::Range<i64>, kind: Mark, body: &[Nest]) -> Tally {
        let trip = (range.end - range.start).max(0) as u64;
        let lanes = matches!(kind, Mark::Lanes(_));
        let lockstep = trip > 1 && (matches!(kind, Mark::Rows(_)) || lanes && self.lanes().is_none());
        let mut total = match (lockstep, decides(body, var)) {
            (true, false) => return self.lockstep(Lockstep { var, trip, lanes }, range.start, body),
            (false, false) if trip > 0 => {
                let one = self.at(var, range.start, body);
                let mut total = Tally::none(self.nest);
                total.add(&one, trip);
                total
            }
            (_, varies) => {
                let mut total = Tally::none(self.nest);
                for value in range {
                    let one = self.at(var, value, body);
                    total.add(&one, 1);
                }
                // Rows or lanes of different lengths share what they share under masks.
                total.exact &= !(lockstep && varies);
                total
            }
        };
        total.barriers += u64::from(kind == Mark::Barrier);
        total
    }

    fn at(&mut self, var: VarId, value: i64, body: &[Nest]) -> Tally {
        self.vars.insert(var, value);
        self.list(body)
    }

    fn lockstep(&mut self, own: Lockstep, first: i64, body: &[Nest]) -> Tally {
        // Rows inside lanes are written as lanes inside rows.
        if let [Nest::Loop { var, lower, upper, kind: Mark::Rows(_), body: rows }] = body
            && own.lanes
        {
            self.vars.insert(own.var, first);
            let (from, to) = self.values.range(lower, upper, &self.vars);
            if to - from > 1 && !decides(rows, *var) {
                self.tile.push(Lockstep { var: *var, trip: (to - from) as u64, lanes: false });
                self.vars.insert(*var, from);
                let total = self.lockstep(own, first, rows);
                self.tile.pop();
                return total;
            }
        }
        self.tile.push(own);
        let waiting = if own.lanes { deferred(own.var, body) } else { Vec::new() };
        self.waiting.extend(waiting.iter().map(|(key, _)| *key));
        let mut total = self.at(own.var, first, body);
        for (key, target) in waiting {
            self.waiting.remove(&key);
            self.join(self.is_float(target), target, &mut total);
        }
        self.tile.pop();
        total
    }

    fn lanes(&self) -> Option<Lockstep> {
        self.tile.iter().copied().find(|l| l.lanes)
    }

    /// Positions of the tile, without the lanes where `lanes` is false.
    fn positions(&self, lanes: bool) -> u64 {
        self.tile.iter().filter(|l| lanes || !l.lanes).map(|l| l.trip).product()
    }

    /// Evaluations of an expression: one for all positions among which it does not differ.
    fn evaluations(&self, e: &Expr) -> u64 {
        self.tile.iter().filter(|l| uses(e, l.var)).map(|l| l.trip).product()
    }

    fn compute(&mut self, key: usize, kind: StatementKind, target: &Access, value: &Expr) -> Tally {
        let mut total = Tally::none(self.nest);
        let own_lane = self.lanes().is_none_or(|l| target.index.iter().any(|e| uses(e, l.var)));
        let fma = matches!(kind, StatementKind::Reduce(BinaryOp::Add)) && self.fuses && self.is_wide_float(target);
        match (fma, value) {
            (true, Expr::Binary(BinaryOp::Mul, a, b)) => [a, b].into_iter().for_each(|e| self.expr(e, &mut total)),
            _ => self.expr(value, &mut total),
        }
        target.index.iter().for_each(|e| self.expr(e, &mut total));
        let StatementKind::Reduce(_) = kind else {
            self.touch(target, 0, self.positions(own_lane), &mut total);
            return total;
        };
        let each = 1 + u64::from(fma && matches!(value, Expr::Binary(BinaryOp::Mul, ..)));
        let is_float = self.is_float(target);
        total.operations += u64::from(is_float) * each * self.positions(true);
        match self.lanes().filter(|_| !own_lane) {
            None => self.touch(target, self.positions(true), self.positions(true), &mut total),
            Some(_) if self.waiting.contains(&key) => {}
            Some(_) => self.join(is_float, target, &mut total),
        }
        total
    }

    /// The partial sums of the lanes reach their element.
    fn join(&self, is_float: bool, target: &Access, total: &mut Tally) {
        let rows = self.positions(false);
        self.touch(target, rows, rows, total);
        let lanes = self.lanes().map_or(1, |l| l.trip);
        let (full, rest) = (lanes / self.width * self.width, lanes % self.width);
        let joined = full + if rest == 0 { 0 } else { rest.next_power_of_two() };
        total.operations += u64::from(is_float) * rows * joined;
    }

    fn touch(&self, access: &Access, loads: u64, stores: u64, total: &mut Tally) {
        let array = &self.nest.arrays[access.array.0 as usize];
        if array.placement == Some(Placement::Register) {
            return;
        }
        let bytes = array.dtype.size() as u64;
        let own = &mut total.arrays[access.array.0 as usize];
        own.loaded += bytes * loads;
        own.stored += bytes * stores;
    }

    /// An expression evaluated at all positions of the tile.
    fn expr(&self, e: &Expr, total: &mut Tally) {
        let times = self.evaluations(e);
        match e {
            Expr::Load(access) => self.touch(access, times, 0, total),
            Expr::Unary(_, a) if self.dtype(a).is_float() => total.operations += times,
            Expr::Binary(op, a, _) if !op.is_comparison() && self.dtype(a).is_float() => total.operations += times,
            _ => {}
        }
        // An affine subscript is an address, not code of its own.
        e.children().into_iter().for_each(|child| self.expr(child, total));
    }

    fn dtype(&self, e: &Expr) -> DType {
        e.dtype(&|a| self.nest.arrays[a.0 as usize].dtype)
    }

    fn is_float(&self, target: &Access) -> bool {
        self.nest.arrays[target.array.0 as usize].dtype.is_float()
    }

    fn is_wide_float(&self, target: &Access) -> bool {
        matches!(self.nest.arrays[target.array.0 as usize].dtype, DType::F32 | DType::F64)
    }
}

/// What a node is known by.
fn key(node: &Nest) -> usize {
    std::ptr::from_ref(node) as usize
}

/// The reductions below a loop of lanes whose element is one for all iterations, and that nothing else there touches:
/// each lane keeps a partial sum until the end.
fn deferred(lane: VarId, body: &[Nest]) -> Vec<(usize, &Access)> {
    let (mut inner, mut found, mut touched) = (vec![lane], Vec::new(), HashMap::<_, usize>::new());
    for node in body {
        walk(node, &mut |node| match node {
            Nest::Loop { var, .. } => inner.push(*var),
            Nest::Compute { kind: StatementKind::Reduce(_), target, .. } => found.push((key(node), target)),
            _ => {}
        });
        node.visit_accesses(&mut |a| *touched.entry(a.array).or_default() += 1);
    }
    let fixed = |e: &Expr| e.as_aff().is_some_and(|a| !inner.iter().any(|v| a.uses_iter(*v as usize)));
    found.retain(|(_, target)| target.index.iter().all(fixed) && touched[&target.array] == 1);
    found
}

fn walk<'n>(node: &'n Nest, visit: &mut dyn FnMut(&'n Nest)) {
    visit(node);
    if let Nest::Loop { body, .. } | Nest::If { body, .. } = node {
        body.iter().for_each(|n| walk(n, visit));
    }
}

fn uses(e: &Expr, var: VarId) -> bool {
    let mut found = false;
    e.visit_affs(&mut |a| found |= a.uses_iter(var as usize));
    found
}

/// Does a bound or a condition below depend on the variable?
fn decides(body: &[Nest], var: VarId) -> bool {
    let mut found = false;
    let mut visit = |node: &Nest| match node {
        Nest::Loop { lower, upper, .. } => {
            found |= lower.0.iter().chain(&upper.0).any(|a| a.uses_iter(var as usize));
        }
        Nest::If { condition: Condition::NonNegative(affs), .. } => {
            found |= affs.iter().any(|a| a.uses_iter(var as usize));
        }
        _ => {}
    };
    body.iter().for_each(|n| n.visit(&mut visit));
    found
}
