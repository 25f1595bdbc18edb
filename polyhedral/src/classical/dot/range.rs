//! Which integers an expression can have.

use crate::dtype::{DType, Scalar};
use crate::expr::{BinaryOp, Expr, UnaryOp};
use crate::program::{ArrayId, Program, Role, StatementKind};
use crate::scalar;
use std::cell::RefCell;
use std::collections::HashMap;

/// Inclusive.
pub type Range = (i64, i64);

/// Ranges of expressions in one program, which must not change meanwhile.
pub struct Ranges<'a> {
    program: &'a Program,
    arrays: RefCell<HashMap<ArrayId, Option<Range>>>,
}

impl<'a> Ranges<'a> {
    pub fn new(program: &'a Program) -> Ranges<'a> {
        Ranges { program, arrays: RefCell::default() }
    }

    /// The range of an integer expression; `None` where it may be anything that its type holds, wider types than 16 bits.
    pub fn of(&self, e: &Expr) -> Option<Range> {
        let dtype = self.program.dtype(e);
        let found = match e {
            Expr::Const(Scalar::Int(v, _)) => Some((*v, *v)),
            Expr::Load(access) => self.array(access.array),
            Expr::Cast(_, a) => self.of(a),
            Expr::Select(_, a, b) => self.of(a).zip(self.of(b)).map(|(a, b)| hull(a, b)),
            Expr::Unary(UnaryOp::Neg, a) => self.of(a).map(|(low, high)| (-high, -low)),
            Expr::Binary(op, a, b) => self.of(a).zip(self.of(b)).and_then(|(a, b)| binary(*op, a, b)),
            _ => None,
        };
        // What does not fit wraps.
        let whole = whole(dtype);
        found.filter(|f| whole.is_none_or(|w| w.0 <= f.0 && f.1 <= w.1)).or(whole.filter(|_| dtype.bits() <= 16))
    }

    fn array(&self, id: ArrayId) -> Option<Range> {
        if let Some(known) = self.arrays.borrow().get(&id) {
            return *known;
        }
        // An array that is computed from itself has no range of its own.
        self.arrays.borrow_mut().insert(id, None);
        let array = self.program.array(id);
        let found = match &array.role {
            Role::Constant(data) if array.dtype.is_integer() => extremes(data.bytes(), array.dtype),
            Role::Temp | Role::Output(_) if array.dtype.is_integer() => self.written(id),
            _ => None,
        };
        self.arrays.borrow_mut().insert(id, found);
        found
    }

    fn written(&self, id: ArrayId) -> Option<Range> {
        let writers = self.program.statements().filter(|(_, s)| s.target.array == id);
        let ranges = writers.map(|(_, s)| match s.kind {
            StatementKind::Reduce(_) => None,
            StatementKind::Assign | StatementKind::Update => self.of(&s.value),
        });
        ranges.collect::<Option<Vec<Range>>>()?.into_iter().reduce(hull)
    }
}

fn hull(a: Range, b: Range) -> Range {
    (a.0.min(b.0), a.1.max(b.1))
}

fn binary(op: BinaryOp, a: Range, b: Range) -> Option<Range> {
    match op {
        BinaryOp::Add => Some((a.0.checked_add(b.0)?, a.1.checked_add(b.1)?)),
        BinaryOp::Sub => Some((a.0.checked_sub(b.1)?, a.1.checked_sub(b.0)?)),
        BinaryOp::Min => Some((a.0.min(b.0), a.1.min(b.1))),
        BinaryOp::Max => Some((a.0.max(b.0), a.1.max(b.1))),
        _ => None,
    }
}

/// Everything that an integer type of at most 32 bits holds.
fn whole(dtype: DType) -> Option<Range> {
    let bits = dtype.bits();
    match dtype {
        DType::Bool => Some((0, 1)),
        t if !t.is_integer() || bits > 32 => None,
        t if t.is_signed() => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
        _ => Some((0, (1 << bits) - 1)),
    }
}

/// The least and the greatest of the integers in `bytes`.
pub fn extremes(bytes: &[u8], dtype: DType) -> Option<Range> {
    let value = |n: usize| scalar::to_int(scalar::read(bytes, n, dtype));
    if dtype.size() > 1 {
        return (0..bytes.len() / dtype.size()).map(|n| (value(n), value(n))).reduce(hull);
    }
    let mut seen = [false; 256];
    bytes.iter().for_each(|code| seen[usize::from(*code)] = true);
    let codes = (0..=u8::MAX).filter(|code| seen[usize::from(*code)]);
    let values = codes.map(|code| scalar::to_int(scalar::read(&[code], 0, dtype)));
    values.map(|v| (v, v)).reduce(hull)
}
