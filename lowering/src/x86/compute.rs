//! Statements: all positions of the tile, one after another.

use super::Emitter;
use super::space::{At, Mask};
use crate::ir::Value;
use sirius_polyhedral::{Access, BinaryOp, DType, Expr, Numeric, Result, StatementKind};

impl<'ctx> Emitter<'_, '_, 'ctx> {
    /// `key` names the statement for the partial results of lane reductions.
    pub fn compute(&mut self, key: usize, kind: StatementKind, target: &Access, value: &Expr) -> Result<()> {
        self.memo.clear();
        let shared = self.lanes.is_some() && !self.target_depends_on_lane(target);
        let done = match kind {
            StatementKind::Reduce(op) if shared => self.reduce_lanes(key, op, target, value),
            StatementKind::Assign | StatementKind::Update if shared => self.assign_shared(target, value),
            StatementKind::Assign | StatementKind::Update => self.side_by_side(value).and_then(|()| {
                self.positions().into_iter().try_for_each(|at| {
                    let mask = self.mask(at);
                    let v = self.eval(value, at, mask)?;
                    self.store(target, at, v, mask)
                })
            }),
            StatementKind::Reduce(op) => {
                self.positions().into_iter().try_for_each(|at| self.reduce(op, target, value, at))
            }
        };
        done.and_then(|()| self.report_operations())
    }

    pub fn target_depends_on_lane(&self, target: &Access) -> bool {
        target.index.iter().any(|e| self.depends(e).lane)
    }

    fn reduce(&mut self, op: BinaryOp, target: &Access, value: &Expr, at: At) -> Result<()> {
        let mask = self.mask(at);
        let t = self.frame.array(target.array).dtype;
        if !self.is_register(target.array) && self.is_scattered(target, at, mask)? {
            let v = self.eval(value, at, mask)?;
            let operators = self.frame.operators;
            let lanes = self.chunk_lanes(at.chunk).map_or(v, |n| self.ir().widen(v, n));
            self.note_operations(t, 1, lanes, at);
            return self.update_lanes(target, at, v, mask, &|old, x| operators.combine(op, t, old, x));
        }
        let old = self.load(target, at, mask)?;
        let new = self.combined(op, t, old, value, at, mask)?;
        self.store(target, at, new, mask)
    }

    /// `old op value`; a product that is added becomes a fused multiply-add, unless every operation is to be rounded.
    pub fn combined(
        &mut self,
        op: BinaryOp,
        t: DType,
        old: Value<'ctx>,
        value: &Expr,
        at: At,
        mask: Option<Mask<'ctx>>,
    ) -> Result<Value<'ctx>> {
        let rounds = self.frame.operators.numeric == Numeric::Strict;
        let fused = op == BinaryOp::Add && matches!(t, DType::F32 | DType::F64) && !rounds;
        if let (true, Expr::Binary(BinaryOp::Mul, a, b)) = (fused, value) {
            let (x, y) = (self.eval(a, at, mask)?, self.eval(b, at, mask)?);
            let sum = self.frame.operators.fma(x, y, old);
            self.note_operations(t, 2, sum, at);
            return Ok(sum);
        }
        if let (BinaryOp::Add, Expr::Binary(dot @ (BinaryOp::Dot2 | BinaryOp::Dot4), a, b)) = (op, value) {
            let (x, y) = (self.eval(a, at, mask)?, self.eval(b, at, mask)?);
            return Ok(self.frame.operators.dot_add(*dot, old, x, y));
        }
        let v = self.eval(value, at, mask)?;
        let result = self.frame.operators.combine(op, t, old, v)?;
        self.note_operations(t, 1, result, at);
        Ok(result)
    }

    /// All lanes write one element: they agree, or the last one wins.
    fn assign_shared(&mut self, target: &Access, value: &Expr) -> Result<()> {
        let uniform = !self.depends(value).lane;
        let chunks = self.chunk_count();
        for instance in 0..self.active.len() {
            let masks = self.active[instance].masks.clone();
            if masks.iter().all(|m| m.is_none_or(|m| m.tail && uniform)) {
                let at = At { instance, chunk: if uniform { 0 } else { chunks - 1 } };
                let v = self.eval(value, at, None)?;
                let last = self.ir().lanes(v).map_or(v, |n| self.ir().extract(v, n - 1));
                self.store_scalar(target, at, last)?;
                continue;
            }
            for (chunk, mask) in masks.into_iter().enumerate() {
                let at = At { instance, chunk };
                let v = self.eval(value, at, mask)?;
                self.store(target, at, v, mask)?;
            }
        }
        Ok(())
    }

    /// Stores outside the lanes.
    pub fn store_scalar(&mut self, target: &Access, at: At, v: Value<'ctx>) -> Result<()> {
        let lanes = self.lanes.take();
        let stored = self.store(target, At { chunk: 0, ..at }, v, None);
        self.lanes = lanes;
        stored
    }
}
