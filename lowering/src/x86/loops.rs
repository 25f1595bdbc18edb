//! Sequential loops, which run once for the whole tile, and the loops and barriers of a thread team.

use super::Emitter;
use super::branch::has_control_flow;
use super::ranges::Range;
use super::space::At;
use crate::count::Event;
use crate::ir::{IntCompare, Op, Value};
use crate::team;
use inkwell::basic_block::BasicBlock;
use sirius_polyhedral::schedule_tree::Mark;
use sirius_polyhedral::{Aff, Bound, LoopKind, Nest, Result, VarId};

const FIRST: At = At { instance: 0, chunk: 0 };

/// A loop as it stands in the nest.
#[derive(Clone, Copy)]
pub struct Header<'n> {
    pub var: VarId,
    pub lower: &'n Bound,
    pub upper: &'n Bound,
}

impl Header<'_> {
    pub fn bounds(&self) -> Vec<Aff> {
        self.lower.0.iter().chain(&self.upper.0).cloned().collect()
    }
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn any_loop(&mut self, var: VarId, lower: &Bound, upper: &Bound, kind: LoopKind, body: &[Nest]) -> Result<()> {
        self.memo.clear();
        let header = Header { var, lower, upper };
        match kind {
            Mark::Rows(n) => self.rows(header, i64::from(n), body),
            Mark::Lanes(n) => self.lanes(header, i64::from(n), body),
            Mark::Unroll => self.unrolled(header, body),
            Mark::Team(_) if self.shared => self.for_one_worker(|e| e.in_turn(header, body)),
            Mark::Barrier => {
                if self.shared {
                    team::wait(self.ir(), self.frame.worker(), self.frame.observers.waits)?;
                }
                self.nodes(body)
            }
            // One thread runs it: any order is right, so is this one.
            Mark::Seq | Mark::Parallel | Mark::Team(_) => self.sequential(header, body),
        }
    }

    pub fn sequential(&mut self, header: Header<'_>, body: &[Nest]) -> Result<()> {
        let (row, lane) = self.affs_vary(&header.bounds());
        if row && self.active.len() > 1 {
            return self.each_row(|e| e.sequential(header, body));
        }
        if lane {
            return self.ragged(header, body);
        }
        let resolve = |bound: &Bound| bound.0.iter().map(|a| self.resolve(a, FIRST)).collect::<Vec<_>>();
        let (lower, upper) = (resolve(header.lower), resolve(header.upper));
        let distances: Vec<Aff> = upper.iter().flat_map(|u| lower.iter().map(move |l| u.clone() - l.clone())).collect();
        if distances.iter().any(|d| d.as_constant().is_some_and(|d| d <= 0)) {
            return Ok(());
        }
        let nonempty = distances.iter().all(|d| self.is_non_negative(&(d.clone() - 1.into()), 0));
        if let ([only], true) = (lower.as_slice(), nonempty && distances.iter().any(|d| d.is_constant(1))) {
            return self.once(header.var, only.clone(), body);
        }
        let (lo, hi) = (self.extreme("llvm.smax", &lower, 0), self.extreme("llvm.smin", &upper, 0));
        let numeric = self.numeric_range(&lower, &upper, 0);
        let range = Range { var: header.var, lower, upper, numeric };
        let exit = self.ir().block("exit");
        let batch = self.batch(header.var, body);
        self.counted([lo, hi], range, nonempty, [exit, exit], |e| {
            e.batch = batch;
            e.nodes(body)
        })
    }

    /// Every `count`-th iteration, those whose number is the worker's modulo `count`.
    fn in_turn(&mut self, header: Header<'_>, body: &[Nest]) -> Result<()> {
        let ir = self.ir();
        let resolve = |bound: &Bound| bound.0.iter().map(|a| self.resolve(a, FIRST)).collect::<Vec<_>>();
        let (lower, upper) = (resolve(header.lower), resolve(header.upper));
        let (lo, hi) = (self.extreme("llvm.smax", &lower, 0), self.extreme("llvm.smin", &upper, 0));
        let [number, count] = self.frame.place_in_team();
        let past = ir.binary(Op::LLVMSRem, ir.binary(Op::LLVMSub, number, lo), count);
        let negative = ir.icmp(IntCompare::LLVMIntSLT, past, ir.i64(0));
        let first = ir.add(lo, ir.select(negative, ir.add(past, count), past));
        let numeric = self.numeric_range(&lower, &upper, 0);
        let range = Range { var: header.var, lower, upper, numeric };
        let exit = ir.block("exit");
        self.stepped([first, hi, count], range, false, [exit, exit], |e| e.nodes(body))
    }

    /// A loop of one iteration.
    fn once(&mut self, var: VarId, value: Aff, body: &[Nest]) -> Result<()> {
        let exit = self.ir().block("exit");
        self.fixed.insert(var, (value, 0));
        self.exits.push(exit);
        self.nodes(body)?;
        self.exits.pop();
        self.fixed.remove(&var);
        self.ir().br(exit);
        self.ir().goto(exit);
        Ok(())
    }

    /// The largest or smallest of resolved expressions.
    pub fn extreme(&mut self, name: &str, affs: &[Aff], chunk: usize) -> Value<'ctx> {
        let values: Vec<_> = affs.iter().map(|a| self.emit_resolved(a, chunk)).collect();
        let lanes = values.iter().find_map(|&v| self.ir().lanes(v));
        let wide = values.into_iter().map(|v| lanes.map_or(v, |n| self.ir().widen(v, n)));
        wide.reduce(|a, b| self.ir().pure(name, &[a, b])).unwrap_or_else(|| self.ir().i64(0))
    }

    /// Inclusive bounds of a variable from its loop's bounds.
    fn numeric_range(&self, lower: &[Aff], upper: &[Aff], chunk: usize) -> (Option<i64>, Option<i64>) {
        let lo = lower.iter().filter_map(|a| self.bounds(a, chunk).0).max();
        let hi = upper.iter().filter_map(|a| self.bounds(a, chunk).1).min();
        (lo, hi.map(|h| h.saturating_sub(1)))
    }

    /// `for var in lo..hi`.
    fn counted(
        &mut self,
        [lo, hi]: [Value<'ctx>; 2],
        range: Range,
        nonempty: bool,
        exits: [BasicBlock<'ctx>; 2],
        inner: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.stepped([lo, hi, self.ir().i64(1)], range, nonempty, exits, inner)
    }

    /// `for var in lo, lo + step .. hi`, tested at the end. Goes on at `exits[0]`; `BreakUnless` leaves to `exits[1]`.
    fn stepped(
        &mut self,
        [lo, hi, step]: [Value<'ctx>; 3],
        range: Range,
        nonempty: bool,
        [exit, leave]: [BasicBlock<'ctx>; 2],
        inner: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.count_event(Event::Loop, self.ir().i64(0))?;
        let ir = self.ir();
        let (var, before, body) = (range.var, ir.at(), ir.block("loop"));
        match nonempty {
            true => ir.br(body),
            false => ir.cond_br(ir.icmp(IntCompare::LLVMIntSLT, lo, hi), body, exit),
        }
        ir.goto(body);
        let phi = ir.phi(lo, before);
        self.values.insert(var, phi);
        self.ranges.push(range);
        self.exits.push(leave);
        self.memo.clear();
        inner(self)?;
        self.exits.pop();
        self.ranges.pop();
        let next = ir.add(phi, step);
        ir.close_phi(phi, next, ir.at());
        let batch = self.batch.take();
        let over = if batch.is_some() { ir.block("over") } else { exit };
        ir.cond_br(ir.icmp(IntCompare::LLVMIntSLT, next, hi), body, over);
        if let Some(batch) = batch {
            ir.goto(over);
            self.report_batch(&batch, ir.binary(Op::LLVMSub, next, lo))?;
            ir.br(exit);
        }
        ir.goto(exit);
        self.memo.clear();
        Ok(())
    }

    /// Bounds that differ between lanes: as far as all lanes go unmasked, then the rest masked.
    fn ragged(&mut self, header: Header<'_>, body: &[Nest]) -> Result<()> {
        let (_, lower_varies) = self.affs_vary(&header.lower.0);
        let chunks: Vec<Ragged> = (0..self.chunk_count()).map(|c| self.ragged_bounds(header, c)).collect();
        let total = |e: &Self, name, of: fn(&Ragged<'ctx>) -> Value<'ctx>| {
            chunks.iter().map(of).reduce(|a, b| e.ir().pure(name, &[a, b]))
        };
        let zero = self.ir().i64(0);
        let first = total(self, "llvm.smin", |r| r.first).unwrap_or(zero);
        let common = total(self, "llvm.smin", |r| r.common).unwrap_or(zero);
        let last = total(self, "llvm.smax", |r| r.last).unwrap_or(zero);
        let lo = chunks.iter().filter_map(|r| r.numeric.0).min();
        let hi = chunks.iter().map(|r| r.numeric.1).collect::<Option<Vec<_>>>().and_then(|h| h.into_iter().max());
        let range = || Range { var: header.var, lower: vec![], upper: vec![], numeric: (lo, hi) };
        let (rest, exit) = (self.ir().block("rest"), self.ir().block("exit"));
        let mut start = first;
        if lower_varies {
            self.ir().br(rest);
            self.ir().goto(rest);
        } else {
            self.counted([first, common], range(), false, [rest, exit], |e| e.nodes(body))?;
            start = self.ir().pure("llvm.smax", &[first, common]);
        }
        self.counted([start, last], range(), false, [exit, exit], |e| {
            let var = e.values.get(&header.var).copied().unwrap_or(zero);
            let inside: Vec<_> = chunks.iter().map(|r| e.inside(var, r, lower_varies)).collect();
            let conditions = e.positions().iter().map(|at| Some(inside[at.chunk])).collect();
            e.with_masks(conditions, |e| e.nodes(body), has_control_flow(body))
        })
    }

    /// Bounds of one chunk, per lane and over all lanes that run.
    fn ragged_bounds(&mut self, header: Header<'_>, chunk: usize) -> Ragged<'ctx> {
        let at = At { instance: 0, chunk };
        let resolve = |bound: &Bound| bound.0.iter().map(|a| self.resolve(a, at)).collect::<Vec<_>>();
        let (lower, upper) = (resolve(header.lower), resolve(header.upper));
        let numeric = self.numeric_range(&lower, &upper, chunk);
        let lanes = self.chunk_lanes(chunk).unwrap_or(1);
        let (lo, hi) = (self.extreme("llvm.smax", &lower, chunk), self.extreme("llvm.smin", &upper, chunk));
        let ir = self.ir();
        let (lo, hi) = (ir.widen(lo, lanes), ir.widen(hi, lanes));
        // All rows share a tail mask; other masks are left out, which is safe: they only shorten loops.
        let mask = self.mask(at).filter(|m| m.tail);
        let reduce = |name, v: Value<'ctx>, off: i64| {
            let v = mask.map_or(v, |m| ir.select(m.value, v, ir.int_like(v.get_type(), off)));
            ir.intrinsic(name, &[v.get_type()], &[v]).unwrap_or(v)
        };
        Ragged {
            lo,
            hi,
            first: reduce("llvm.vector.reduce.smin", lo, i64::MAX),
            common: reduce("llvm.vector.reduce.smin", hi, i64::MAX),
            last: reduce("llvm.vector.reduce.smax", hi, i64::MIN),
            numeric,
        }
    }

    fn inside(&self, var: Value<'ctx>, r: &Ragged<'ctx>, lower_varies: bool) -> Value<'ctx> {
        let ir = self.ir();
        let below = ir.icmp(IntCompare::LLVMIntSLT, var, r.hi);
        if !lower_varies {
            return below;
        }
        ir.binary(Op::LLVMAnd, below, ir.icmp(IntCompare::LLVMIntSGE, var, r.lo))
    }
}

/// Bounds of a loop that differ from lane to lane, for one chunk.
struct Ragged<'ctx> {
    lo: Value<'ctx>,
    hi: Value<'ctx>,
    /// The smallest lower bound, the smallest and the largest upper bound.
    first: Value<'ctx>,
    common: Value<'ctx>,
    last: Value<'ctx>,
    numeric: (Option<i64>, Option<i64>),
}
