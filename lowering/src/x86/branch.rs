//! Conditions: branches where the whole tile agrees, masks where lanes differ, one row at a time else.

use super::Emitter;
use super::space::{At, LANE, Mask};
use crate::ir::{IntCompare, Op, Value};
use inkwell::basic_block::BasicBlock;
use sirius_polyhedral::{Aff, Condition, Error, Expr, Nest, Result};

/// How far a condition varies in the tile.
#[derive(Clone, Copy, PartialEq)]
enum Varies {
    No,
    ByRow,
    ByLane,
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn conditional(&mut self, condition: &Condition, body: &[Nest]) -> Result<()> {
        let parts = self.split(condition);
        self.nested(&parts, body)
    }

    /// The parts of a condition from the least to the most varying: what the tile agrees on is tested once,
    /// by a branch, and only the rest becomes a mask.
    fn split(&self, condition: &Condition) -> Vec<Condition> {
        let Condition::NonNegative(affs) = condition else { return vec![condition.clone()] };
        let by = |wanted| {
            let same = |a: &&Aff| self.varies(&Condition::NonNegative(vec![(*a).clone()])) == wanted;
            Condition::NonNegative(affs.iter().filter(same).cloned().collect())
        };
        let parts = [Varies::No, Varies::ByRow, Varies::ByLane].map(by).into_iter();
        parts.filter(|c| *c != Condition::NonNegative(Vec::new())).collect()
    }

    /// The body where all conditions hold.
    fn nested(&mut self, conditions: &[Condition], body: &[Nest]) -> Result<()> {
        self.memo.clear();
        let [condition, rest @ ..] = conditions else { return self.nodes(body) };
        match self.varies(condition) {
            Varies::No => {
                let c = self.condition(condition, At { instance: 0, chunk: 0 }, None)?;
                self.guarded(c, |e| e.nested(rest, body))
            }
            Varies::ByRow => self.by_row(condition, &|e| e.nested(rest, body)),
            Varies::ByLane => self.masked_body(condition, &|e| e.nested(rest, body), has_control_flow(body)),
        }
    }

    /// Runs `inner` where `condition` holds; `None` always holds.
    pub fn guarded(
        &mut self,
        condition: Option<Value<'ctx>>,
        inner: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let Some(condition) = condition else { return inner(self) };
        let ir = self.ir();
        let (then, after) = (ir.block("then"), ir.block("after"));
        ir.cond_br(condition, then, after);
        self.block(then, after, inner)?;
        self.enter(after);
        Ok(())
    }

    /// Runs `then` where the condition holds, `otherwise` where it does not; `names` are those of the blocks.
    pub fn either(
        &mut self,
        condition: Value<'ctx>,
        names: [&str; 2],
        then: impl FnOnce(&mut Self) -> Result<()>,
        otherwise: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let ir = self.ir();
        let ([yes, no], after) = (names.map(|name| ir.block(name)), ir.block("after"));
        ir.cond_br(condition, yes, no);
        self.block(yes, after, then)?;
        self.block(no, after, otherwise)?;
        self.enter(after);
        Ok(())
    }

    /// Fills a block, from which `after` is next.
    fn block(
        &mut self,
        block: BasicBlock<'ctx>,
        after: BasicBlock<'ctx>,
        inner: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.enter(block);
        inner(self)?;
        self.ir().br(after);
        Ok(())
    }

    /// What is known in other blocks may not have been computed on the way to this one.
    fn enter(&mut self, block: BasicBlock<'ctx>) {
        self.ir().goto(block);
        self.memo.clear();
    }

    fn varies(&self, condition: &Condition) -> Varies {
        let (row, lane) = match condition {
            Condition::Guard(e) => {
                let depends = self.depends(e);
                (depends.row, depends.lane)
            }
            Condition::NonNegative(affs) => self.affs_vary(affs),
        };
        match (row && self.active.len() > 1, lane) {
            (_, true) => Varies::ByLane,
            (true, _) => Varies::ByRow,
            _ => Varies::No,
        }
    }

    /// Do the resolved expressions differ between rows, between lanes?
    pub fn affs_vary(&self, affs: &[Aff]) -> (bool, bool) {
        let resolved = |at| affs.iter().map(|a| self.resolve(a, at)).collect::<Vec<_>>();
        let first = resolved(At { instance: 0, chunk: 0 });
        let row = (1..self.active.len()).any(|instance| resolved(At { instance, chunk: 0 }) != first);
        let lane = first.iter().any(|a| a.uses_iter(LANE))
            || (1..self.chunk_count()).any(|chunk| resolved(At { instance: 0, chunk }) != first);
        (row, lane)
    }

    /// The code of a condition at a position; `None` where it provably holds.
    fn condition(&mut self, condition: &Condition, at: At, mask: Option<Mask<'ctx>>) -> Result<Option<Value<'ctx>>> {
        match condition {
            Condition::Guard(e) => {
                let holds = self.eval(e, at, mask)?;
                self.report_operations()?;
                Ok(Some(holds))
            }
            Condition::NonNegative(affs) => {
                let mut all = None;
                for aff in affs {
                    let aff = self.resolve(aff, at);
                    if !self.is_non_negative(&aff, at.chunk) {
                        let holds = self.holds(&aff, at.chunk);
                        all = Some(self.both(all, holds));
                    }
                }
                Ok(all)
            }
        }
    }

    /// `aff >= 0` per lane. Where lanes differ by a constant step the test is one comparison of 32-bit lanes:
    /// a uniform part beyond `REACH` decides the sign whatever the lane.
    fn holds(&mut self, aff: &Aff, chunk: usize) -> Value<'ctx> {
        const REACH: i64 = 1 << 30;
        let (ir, step) = (self.ir(), aff.coefficient(LANE));
        let lanes = i64::from(self.chunk_lanes(chunk).unwrap_or(1));
        if aff.divides_iter(LANE) || step == 0 || step.abs() > REACH / lanes {
            let v = self.emit_resolved(aff, chunk);
            return ir.icmp(IntCompare::LLVMIntSGE, v, ir.zero(v.get_type()));
        }
        let uniform = self.emit_resolved(&(aff.clone() - Aff::iter(LANE) * step), chunk);
        let i32 = ir.context.i32_type();
        let low = ir.pure("llvm.smax", &[uniform, ir.i64(-REACH)]);
        let near = ir.cast(Op::LLVMTrunc, ir.pure("llvm.smin", &[low, ir.i64(REACH)]), i32.into());
        let least: Vec<_> = (0..lanes).map(|l| i32.const_int((-step * l) as u64, true).into()).collect();
        ir.icmp(IntCompare::LLVMIntSGE, near, ir.constant_vector(&least))
    }

    fn both(&self, a: Option<Value<'ctx>>, b: Value<'ctx>) -> Value<'ctx> {
        a.map_or(b, |a| self.ir().binary(Op::LLVMAnd, a, b))
    }

    /// All rows together where all conditions hold (the interior of a padded image), else row by row.
    fn by_row(&mut self, condition: &Condition, inner: &dyn Fn(&mut Self) -> Result<()>) -> Result<()> {
        let mut all = None;
        for instance in 0..self.active.len() {
            if let Some(holds) = self.condition(condition, At { instance, chunk: 0 }, None)? {
                all = Some(self.both(all, holds));
            }
        }
        let Some(all) = all else { return inner(self) };
        let one_row = |e: &mut Self| {
            e.memo.clear();
            let c = e.condition(condition, At { instance: 0, chunk: 0 }, None)?;
            e.guarded(c, inner)
        };
        self.either(all, ["rows", "row"], inner, |e| e.each_row(one_row))
    }

    /// Runs `inner` once per instance, with only that one active.
    pub fn each_row(&mut self, mut inner: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let all = self.active.clone();
        for instance in &all {
            self.active = vec![instance.clone()];
            inner(self)?;
        }
        self.active = all;
        Ok(())
    }

    fn masked_body(
        &mut self,
        condition: &Condition,
        inner: &dyn Fn(&mut Self) -> Result<()>,
        skip: bool,
    ) -> Result<()> {
        let mut conditions = Vec::new();
        for at in self.positions() {
            let mask = self.mask(at);
            conditions.push(self.condition(condition, at, mask)?);
        }
        self.with_masks(conditions, inner, skip)
    }

    /// Runs `inner` with the masks of all positions narrowed; with `skip`, only if some lane is left.
    pub fn with_masks(
        &mut self,
        conditions: Vec<Option<Value<'ctx>>>,
        inner: impl FnOnce(&mut Self) -> Result<()>,
        skip: bool,
    ) -> Result<()> {
        let saved = self.active.clone();
        let (mut any, mut always) = (None, !skip);
        for (at, condition) in self.positions().into_iter().zip(conditions) {
            let mask = self.mask(at);
            if let Some(condition) = condition {
                self.active[at.instance].masks[at.chunk] = Some(self.narrow(mask, condition));
            }
            match self.mask(at) {
                Some(mask) if !always => {
                    let some = self.ir().any(mask.value);
                    any = Some(any.map_or(some, |a| self.ir().binary(Op::LLVMOr, a, some)));
                }
                _ => always = true,
            }
        }
        let done = self.guarded(any.filter(|_| !always), inner);
        self.active = saved;
        self.memo.clear();
        done
    }

    pub fn break_unless(&mut self, guard: &Expr) -> Result<()> {
        self.memo.clear();
        let depends = self.depends(guard);
        let Some(&exit) = self.exits.last() else {
            return Err(Error::bug("E712", "a loop exit outside any loop"));
        };
        if depends.lane || (depends.row && self.active.len() > 1) {
            return Err(Error::bug("E713", "rows or lanes of one tile leave a loop at different times"));
        }
        let goes_on = self.eval(guard, At { instance: 0, chunk: 0 }, None)?;
        self.report_operations()?;
        let ir = self.ir();
        let next = ir.block("next");
        ir.cond_br(goes_on, next, exit);
        ir.goto(next);
        Ok(())
    }
}

/// Is there more below than statements? Then an empty mask is worth a branch.
pub fn has_control_flow(body: &[Nest]) -> bool {
    body.iter().any(|n| !matches!(n, Nest::Compute { .. }))
}
