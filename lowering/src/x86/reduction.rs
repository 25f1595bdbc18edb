//! Reductions over lanes: one partial result per lane, combined in a fixed tree at the end of the loop.

use super::Emitter;
use super::space::At;
use crate::ir::{Value, vector_of};
use sirius_polyhedral::{Access, BinaryOp, DType, Expr, Nest, Result, StatementKind, VarId};

/// A reduction whose element stays the same in the whole `Lanes` loop.
pub struct Deferred<'n> {
    key: usize,
    op: BinaryOp,
    target: &'n Access,
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    /// The reductions of a `Lanes` body that may wait for its end: their element depends on nothing that
    /// changes in the loop, and nothing else in the loop touches the array.
    pub fn deferrable<'n>(&self, lane: VarId, body: &'n [Nest]) -> Vec<Deferred<'n>> {
        let mut inner = vec![lane];
        let mut found = Vec::new();
        let mut visit = |nest: &'n Nest| match nest {
            Nest::Loop { var, .. } => inner.push(*var),
            Nest::Compute { kind: StatementKind::Reduce(op), target, .. } => {
                found.push(Deferred { key: std::ptr::from_ref(nest) as usize, op: *op, target });
            }
            _ => {}
        };
        body.iter().for_each(|n| walk(n, &mut visit));
        found.retain(|d| {
            let fixed = |e: &Expr| e.as_aff().is_some_and(|a| !inner.iter().any(|&v| a.uses_iter(v as usize)));
            d.target.index.iter().all(fixed) && touches(body, d.target) == 1
        });
        found
    }

    /// Gives every deferred reduction its partial results; `lanes` is already set.
    pub fn open_partials(&mut self, deferred: &[Deferred<'_>]) {
        let operators = self.frame.operators;
        for d in deferred {
            let t = self.frame.array(d.target.array).dtype;
            for instance in 0..self.active.len() {
                let cells = (0..self.chunk_count())
                    .map(|chunk| {
                        let lanes = self.chunk_lanes(chunk).unwrap_or(1);
                        let cell = self.frame.cell(vector_of(operators.type_of(t), lanes));
                        self.ir().store(self.ir().widen(operators.identity(d.op, t), lanes), cell, 1);
                        cell
                    })
                    .collect();
                self.partials.insert((d.key, self.active[instance].id), cells);
            }
        }
    }

    /// Combines the partial results into the elements; `lanes` is still set.
    pub fn close_partials(&mut self, deferred: &[Deferred<'_>]) -> Result<()> {
        for d in deferred {
            self.memo.clear();
            let t = self.frame.array(d.target.array).dtype;
            for instance in 0..self.active.len() {
                let Some(cells) = self.partials.remove(&(d.key, self.active[instance].id)) else { continue };
                let partials = cells
                    .into_iter()
                    .enumerate()
                    .map(|(chunk, cell)| {
                        let lanes = self.chunk_lanes(chunk).unwrap_or(1);
                        self.ir().load(vector_of(self.frame.operators.type_of(t), lanes), cell, 1)
                    })
                    .collect();
                let total = self.combine_chunks(d.op, t, partials)?;
                self.update_scalar(d.op, d.target, At { instance, chunk: 0 }, total)?;
            }
        }
        self.report_operations()
    }

    /// A reduction inside lanes onto one element per instance.
    pub fn reduce_lanes(&mut self, key: usize, op: BinaryOp, target: &Access, value: &Expr) -> Result<()> {
        let t = self.frame.array(target.array).dtype;
        for instance in 0..self.active.len() {
            let cells = self.partials.get(&(key, self.active[instance].id)).cloned();
            let mut totals = Vec::new();
            for chunk in 0..self.chunk_count() {
                let at = At { instance, chunk };
                let lanes = self.chunk_lanes(chunk).unwrap_or(1);
                let ir = self.ir();
                let ty = vector_of(self.frame.operators.type_of(t), lanes);
                let old = match &cells {
                    Some(cells) => ir.load(ty, cells[chunk], 1),
                    None => ir.widen(self.frame.operators.identity(op, t), lanes),
                };
                let mask = self.mask(at);
                let mut new = ir.widen(self.combined(op, t, old, value, at, mask)?, lanes);
                if let Some(mask) = mask {
                    new = ir.select(mask.value, new, old);
                }
                match &cells {
                    Some(cells) => drop(ir.store(new, cells[chunk], 1)),
                    None => totals.push(new),
                }
            }
            if cells.is_none() {
                let total = self.combine_chunks(op, t, totals)?;
                self.update_scalar(op, target, At { instance, chunk: 0 }, total)?;
            }
        }
        Ok(())
    }

    /// Neighbouring chunks pairwise, then the halves of the last vector; narrower chunks join at their width.
    fn combine_chunks(&mut self, op: BinaryOp, t: DType, mut parts: Vec<Value<'ctx>>) -> Result<Value<'ctx>> {
        let (ir, operators) = (self.ir(), self.frame.operators);
        let width = |v: &Value<'ctx>| ir.lanes(*v).unwrap_or(1);
        self.note_combined(t, i64::from(parts.iter().map(width).sum::<u32>()) - 1);
        let short = match parts.last() {
            Some(last) if width(last) < width(&parts[0]) => parts.pop(),
            _ => None,
        };
        while parts.len() > 1 {
            let pairs = parts.chunks(2).map(|pair| match pair {
                [a, b] => operators.combine(op, t, *a, *b),
                _ => Ok(pair[0]),
            });
            parts = pairs.collect::<Result<_>>()?;
        }
        let total = self.combine_lanes(op, t, parts[0])?;
        match short {
            None => Ok(total),
            Some(short) => operators.combine(op, t, total, self.combine_lanes(op, t, short)?),
        }
    }

    fn combine_lanes(&self, op: BinaryOp, t: DType, mut v: Value<'ctx>) -> Result<Value<'ctx>> {
        let ir = self.ir();
        let mut lanes = ir.lanes(v).unwrap_or(1);
        while lanes > 1 {
            lanes /= 2;
            let low = ir.shuffle(v, v, &(0..lanes).collect::<Vec<_>>());
            let high = ir.shuffle(v, v, &(lanes..2 * lanes).collect::<Vec<_>>());
            v = self.frame.operators.combine(op, t, low, high)?;
        }
        Ok(if ir.lanes(v).is_some() { ir.extract(v, 0) } else { v })
    }

    /// `target = target op x`, outside the lanes.
    fn update_scalar(&mut self, op: BinaryOp, target: &Access, at: At, x: Value<'ctx>) -> Result<()> {
        let t = self.frame.array(target.array).dtype;
        let lanes = self.lanes.take();
        let done = self.load(target, at, None).and_then(|old| {
            let new = self.frame.operators.combine(op, t, old, x)?;
            self.note_operations(t, 1, new, at);
            self.store(target, at, new, None)
        });
        self.lanes = lanes;
        done
    }
}

fn walk<'n>(nest: &'n Nest, visit: &mut dyn FnMut(&'n Nest)) {
    visit(nest);
    if let Nest::Loop { body, .. } | Nest::If { body, .. } = nest {
        body.iter().for_each(|n| walk(n, visit));
    }
}

/// How often the array of `target` is written or read below.
fn touches(body: &[Nest], target: &Access) -> usize {
    let mut count = 0;
    body.iter().for_each(|n| n.visit_accesses(&mut |a| count += usize::from(a.array == target.array)));
    count
}
