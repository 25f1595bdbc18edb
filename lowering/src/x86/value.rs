//! Expressions as code, one position of the tile at a time, sharing what is equal between positions.

use super::Emitter;
use super::space::{At, Depends, Mask};
use crate::ir::{Op, Value};
use sirius_polyhedral::{Aff, DType, Expr, Result};
use std::collections::HashMap;

/// Values of the current statement. Everything computed for one position dominates the next.
#[derive(Default)]
pub struct Memo<'ctx> {
    /// Expression (by address), instance, chunk and mask; 0 where it does not matter.
    values: HashMap<(usize, [u32; 3]), Value<'ctx>>,
    depends: HashMap<usize, Depends>,
    pub affs: HashMap<(Aff, u32), Value<'ctx>>,
}

impl<'ctx> Memo<'ctx> {
    pub fn clear(&mut self) {
        self.values.clear();
        self.depends.clear();
        self.affs.clear();
    }
}

impl<'ctx> Emitter<'_, '_, 'ctx> {
    pub fn dtype(&self, e: &Expr) -> DType {
        e.dtype(&|a| self.frame.array(a).dtype)
    }

    fn known_depends(&mut self, e: &Expr) -> Depends {
        let key = std::ptr::from_ref(e) as usize;
        if let Some(known) = self.memo.depends.get(&key) {
            return *known;
        }
        let found = self.depends(e);
        self.memo.depends.insert(key, found);
        found
    }

    /// The value of `e` at a position; a scalar where all lanes agree. Lanes outside `mask` hold anything.
    pub fn eval(&mut self, e: &Expr, at: At, mask: Option<Mask<'ctx>>) -> Result<Value<'ctx>> {
        let depends = self.known_depends(e);
        // Lane 0 always runs, so a value that all lanes share is needed whatever the tail mask says.
        let mask = mask.filter(|m| depends.reads && (depends.lane || !m.tail));
        let row = if depends.row { self.active[at.instance].id + 1 } else { 0 };
        let chunk = if depends.lane { at.chunk as u32 + 1 } else { 0 };
        let key = (std::ptr::from_ref(e) as usize, [row, chunk, mask.map_or(0, |m| m.id + 1)]);
        if let Some(known) = self.memo.values.get(&key) {
            return Ok(*known);
        }
        let value = self.eval_new(e, at, mask)?;
        self.memo.values.insert(key, value);
        Ok(value)
    }

    fn eval_new(&mut self, e: &Expr, at: At, mask: Option<Mask<'ctx>>) -> Result<Value<'ctx>> {
        let operators = self.frame.operators;
        Ok(match e {
            Expr::Const(s) => operators.constant(*s),
            Expr::Index(a) => {
                let resolved = self.resolve(a, at);
                self.emit_resolved(&resolved, at.chunk)
            }
            Expr::Load(access) => self.load(access, at, mask)?,
            Expr::Unary(op, a) => {
                let x = self.eval(a, at, mask)?;
                let result = operators.unary(*op, self.dtype(a), x)?;
                self.note_operations(self.dtype(a), 1, result, at);
                result
            }
            Expr::Binary(op, a, b) => {
                let (x, y) = (self.eval(a, at, mask)?, self.eval(b, at, mask)?);
                let result = operators.binary(*op, self.dtype(a), x, y)?;
                self.note_operations(self.dtype(a), i64::from(!op.is_comparison()), result, at);
                result
            }
            Expr::Select(c, a, b) => self.choose([c, a, b], at, mask)?,
            Expr::Cast(to, a) => {
                let x = self.eval(a, at, mask)?;
                operators.cast(self.dtype(a), *to, x)
            }
        })
    }

    /// Both sides are computed; what a side reads is masked by the condition.
    fn choose(&mut self, [c, a, b]: [&Expr; 3], at: At, mask: Option<Mask<'ctx>>) -> Result<Value<'ctx>> {
        let ir = self.ir();
        let condition = self.eval(c, at, mask)?;
        let (mut yes, mut no) = (mask, mask);
        if self.needs_mask(a, at) {
            yes = Some(self.narrow(mask, condition));
        }
        if self.needs_mask(b, at) {
            let ones = ir.int_like(condition.get_type(), -1);
            no = Some(self.narrow(mask, ir.binary(Op::LLVMXor, condition, ones)));
        }
        let (x, y) = (self.eval(a, at, yes)?, self.eval(b, at, no)?);
        Ok(ir.select(condition, x, y))
    }

    fn needs_mask(&self, e: &Expr, at: At) -> bool {
        let mut found = false;
        e.visit_loads(&mut |access| found |= !self.in_bounds(access, at));
        found
    }

    /// `mask` and `condition`.
    pub fn narrow(&mut self, mask: Option<Mask<'ctx>>, condition: Value<'ctx>) -> Mask<'ctx> {
        let value = match mask {
            None => condition,
            Some(m) => self.ir().binary(Op::LLVMAnd, m.value, condition),
        };
        Mask { id: self.fresh(), value, tail: false }
    }
}
