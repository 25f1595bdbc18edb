//! The lockstep loops. Each is written once for its full size, and once more for what may be left over.

use super::Emitter;
use super::loops::Header;
use super::ranges::Range;
use super::space::{At, Instance, Lanes, Mask, Row};
use crate::ir::{IntCompare, Op, Value, vector_of};
use sirius_polyhedral::schedule_tree::Mark;
use sirius_polyhedral::{Aff, Nest, Result, VarId};

const FIRST: At = At { instance: 0, chunk: 0 };

/// How many iterations a lockstep loop has.
enum Trip {
    Exactly(i64),
    /// All of them, or exactly this many: the last tile of a constant extent.
    FullOr(i64, Vec<Aff>),
    /// The smallest of these.
    Dynamic(Vec<Aff>),
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    /// Copies the body for every iteration; a loop whose length is not constant stays a loop.
    pub fn unrolled(&mut self, header: Header<'_>, body: &[Nest]) -> Result<()> {
        let (row, lane) = self.affs_vary(&header.bounds());
        let (lower, upper) = match (header.lower.0.as_slice(), header.upper.0.as_slice()) {
            ([l], [u]) if !lane && (!row || self.active.len() == 1) => (self.resolve(l, FIRST), self.resolve(u, FIRST)),
            _ => return self.sequential(header, body),
        };
        let Some(count) = (upper - lower.clone()).as_constant() else {
            return self.sequential(header, body);
        };
        for n in 0..count {
            self.fixed.insert(header.var, (lower.clone() + n.into(), n));
            self.nodes(body)?;
        }
        self.fixed.remove(&header.var);
        Ok(())
    }

    pub fn rows(&mut self, header: Header<'_>, n: i64, body: &[Nest]) -> Result<()> {
        let (row, lane) = self.affs_vary(&header.bounds());
        if lane {
            return self.sequential(header, body);
        }
        if row && self.active.len() > 1 {
            return self.each_row(|e| e.rows(header, n, body));
        }
        let lower = self.tile_start(header);
        match self.trip(&lower, header, n) {
            Trip::Exactly(count) => self.some_rows(header.var, &lower, count, body),
            Trip::FullOr(rest, counts) => {
                let count = self.extreme("llvm.smin", &counts, 0);
                self.full_or(
                    count,
                    n,
                    |e| e.some_rows(header.var, &lower, n, body),
                    |e| e.some_rows(header.var, &lower, rest, body),
                )
            }
            Trip::Dynamic(counts) => {
                let count = self.extreme("llvm.smin", &counts, 0);
                self.full_or(
                    count,
                    n,
                    |e| e.some_rows(header.var, &lower, n, body),
                    |e| e.row_remainder(header, &lower, count, n, body),
                )
            }
        }
    }

    /// The first iteration as one expression; a maximum of several becomes a variable of its own.
    fn tile_start(&mut self, header: Header<'_>) -> Aff {
        let lower: Vec<Aff> = header.lower.0.iter().map(|a| self.resolve(a, FIRST)).collect();
        match lower.as_slice() {
            [only] => only.clone(),
            _ => {
                let value = self.extreme("llvm.smax", &lower, 0);
                self.bind(value)
            }
        }
    }

    /// A name for a run-time value.
    fn bind(&mut self, value: Value<'ctx>) -> Aff {
        let var = self.fresh();
        self.values.insert(var, value);
        Aff::iter(var as usize)
    }

    /// At most `n`: that is the contract of lockstep marks.
    fn trip(&self, lower: &Aff, header: Header<'_>, n: i64) -> Trip {
        let counts = header.upper.0.iter().map(|u| self.resolve(u, FIRST) - lower.clone());
        let short: Vec<Aff> = counts.filter(|c| !self.is_non_negative(&(c.clone() - n.into()), 0)).collect();
        if short.is_empty() {
            return Trip::Exactly(n);
        }
        if let Some(constants) = short.iter().map(Aff::as_constant).collect::<Option<Vec<_>>>() {
            return Trip::Exactly(constants.into_iter().fold(n, i64::min).max(0));
        }
        match short.as_slice() {
            [count] => match self.only_remainder(count, n) {
                Some(rest) => Trip::FullOr(rest, short),
                None => Trip::Dynamic(short),
            },
            _ => Trip::Dynamic(short),
        }
    }

    /// A count that is `m` modulo `n` and at least `m` is either `m` or no less than `n`.
    fn only_remainder(&self, count: &Aff, n: i64) -> Option<i64> {
        let least = self.bounds(count, 0).0?;
        let stepped = count.terms().iter().all(|(_, c)| c % n == 0);
        (stepped && (0..n).contains(&least) && (count.offset() - least) % n == 0).then_some(least)
    }

    /// Runs `full` where there are at least `n`, else `partial`.
    fn full_or(
        &mut self,
        count: Value<'ctx>,
        n: i64,
        full: impl FnOnce(&mut Self) -> Result<()>,
        partial: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let all = self.ir().icmp(IntCompare::LLVMIntSGE, count, self.ir().i64(n));
        self.either(all, ["full", "partial"], full, partial)
    }

    /// The body for rows `lower .. lower + count`.
    fn some_rows(&mut self, var: VarId, lower: &Aff, count: i64, body: &[Nest]) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let outer = std::mem::take(&mut self.active);
        for instance in &outer {
            for offset in 0..count {
                let id = self.fresh();
                let mut rows = instance.rows.clone();
                rows.push(Row { var, value: lower.clone() + offset.into(), offset });
                self.active.push(Instance { id, rows, masks: instance.masks.clone() });
            }
        }
        self.memo.clear();
        let done = self.nodes(body);
        self.active = outer;
        done
    }

    /// Fewer rows than `n`: one tile for every binary digit of the count, largest first, so that what is
    /// left over still runs many rows at a time.
    fn row_remainder(
        &mut self,
        header: Header<'_>,
        lower: &Aff,
        count: Value<'ctx>,
        n: i64,
        body: &[Nest],
    ) -> Result<()> {
        let start = self.emit_resolved(lower, 0);
        let count = self.ir().pure("llvm.smax", &[count, self.ir().i64(0)]);
        let upper: Vec<Aff> = header.upper.0.iter().map(|u| self.resolve(u, FIRST)).collect();
        let mut digit = (n as u64).next_power_of_two() as i64 / 2;
        while digit > 0 {
            let ir = self.ir();
            let bit = ir.binary(Op::LLVMAnd, count, ir.i64(digit));
            let set = ir.icmp(IntCompare::LLVMIntNE, bit, ir.i64(0));
            let done_before = ir.binary(Op::LLVMAnd, count, ir.i64(!(2 * digit - 1)));
            let first = self.bind(ir.add(start, done_before));
            let below = upper.iter().map(|u| u.clone() - (digit - 1).into()).collect();
            let var = first.as_iter().unwrap_or_default() as VarId;
            let numeric = (self.bounds(lower, 0).0, None);
            self.ranges.push(Range { var, lower: vec![lower.clone()], upper: below, numeric });
            let written = self.guarded(Some(set), |e| e.some_rows(header.var, &first, digit, body));
            self.ranges.pop();
            written?;
            digit /= 2;
        }
        Ok(())
    }

    pub fn lanes(&mut self, header: Header<'_>, n: i64, body: &[Nest]) -> Result<()> {
        if self.lanes.is_some() {
            return self.sequential(header, body);
        }
        if let Some(swapped) = rows_outside(header, n, body) {
            return self.node(&swapped);
        }
        let (row, _) = self.affs_vary(&header.bounds());
        if row && self.active.len() > 1 {
            return self.each_row(|e| e.lanes(header, n, body));
        }
        let lower = self.tile_start(header);
        match self.trip(&lower, header, n) {
            Trip::Exactly(count) => self.some_lanes(header.var, &lower, count, None, body),
            Trip::FullOr(rest, counts) => {
                let count = self.extreme("llvm.smin", &counts, 0);
                self.full_or(
                    count,
                    n,
                    |e| e.some_lanes(header.var, &lower, n, None, body),
                    |e| e.some_lanes(header.var, &lower, rest, None, body),
                )
            }
            Trip::Dynamic(counts) => {
                let count = self.extreme("llvm.smin", &counts, 0);
                self.full_or(
                    count,
                    n,
                    |e| e.some_lanes(header.var, &lower, n, None, body),
                    |e| {
                        let some = e.ir().icmp(IntCompare::LLVMIntSGT, count, e.ir().i64(0));
                        e.guarded(Some(some), |e| e.some_lanes(header.var, &lower, n, Some(count), body))
                    },
                )
            }
        }
    }

    /// The body for `count` lanes from `lower`, of which only the first `running` run.
    fn some_lanes(
        &mut self,
        var: VarId,
        lower: &Aff,
        count: i64,
        running: Option<Value<'ctx>>,
        body: &[Nest],
    ) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if count == 1 {
            self.fixed.insert(var, (lower.clone(), 0));
            let done = self.nodes(body);
            self.fixed.remove(&var);
            return done;
        }
        let lanes = Lanes::new(var, lower.clone(), count, self.width);
        let masks: Vec<_> = lanes.chunks.iter().map(|&chunk| self.tail_mask(chunk, count, running)).collect();
        let outer = self.active.clone();
        self.active.iter_mut().for_each(|i| i.masks = masks.clone());
        self.lanes = Some(lanes);
        self.memo.clear();
        let deferred = self.deferrable(var, body);
        self.open_partials(&deferred);
        let done = self.nodes(body).and_then(|()| self.close_partials(&deferred));
        self.lanes = None;
        self.active = outer;
        self.memo.clear();
        done
    }

    /// Which lanes of a chunk lie before the end.
    fn tail_mask(
        &mut self,
        (start, width): (i64, u32),
        count: i64,
        running: Option<Value<'ctx>>,
    ) -> Option<Mask<'ctx>> {
        let ir = self.ir();
        let value = match running {
            None if start + i64::from(width) <= count => return None,
            None => {
                let one = ir.context.bool_type();
                let lanes =
                    (start..start + i64::from(width)).map(|l| one.const_int(u64::from(l < count), false).into());
                ir.constant_vector(&lanes.collect::<Vec<_>>())
            }
            Some(running) => {
                let i32 = ir.context.i32_type();
                let left = ir.cast(Op::LLVMTrunc, ir.add(running, ir.i64(-start)), i32.into());
                let iota: Vec<_> = (0..u64::from(width)).map(|l| i32.const_int(l, false).into()).collect();
                ir.icmp(IntCompare::LLVMIntSLT, ir.constant_vector(&iota), left)
            }
        };
        debug_assert_eq!(value.get_type(), vector_of(ir.context.bool_type().into(), width));
        Some(Mask { id: self.fresh(), value, tail: true })
    }
}

/// `Lanes { Rows { .. } }` as `Rows { Lanes { .. } }`: the same tile, and sums over lanes may then wait
/// for the end of the lanes, row by row.
fn rows_outside(header: Header<'_>, n: i64, body: &[Nest]) -> Option<Nest> {
    let [Nest::Loop { var, lower, upper, kind: Mark::Rows(rows), body }] = body else { return None };
    if lower.0.iter().chain(&upper.0).any(|a| a.uses_iter(header.var as usize)) {
        return None;
    }
    let lanes = Nest::Loop {
        var: header.var,
        lower: header.lower.clone(),
        upper: header.upper.clone(),
        kind: Mark::Lanes(n as u32),
        body: body.clone(),
    };
    let kind = Mark::Rows(*rows);
    Some(Nest::Loop { var: *var, lower: lower.clone(), upper: upper.clone(), kind, body: vec![lanes] })
}
