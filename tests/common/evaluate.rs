//! A direct, slow evaluator of extracted programs, and a check of what the program model promises.
//!
//! It walks the schedule tree itself and shares no code with the compiler, so it judges extraction alone. It
//! fails when an element is read before it is written, assigned twice, or outside its array.

use half::{bf16, f16};
use sirius::run::Value;
use sirius_polyhedral::{
    Access, Aff, ArrayId, BinaryOp, DType, Expr, Node, ParamDef, Program, Role, Scalar, StatementId, StatementKind,
    UnaryOp,
};
use std::cell::{Cell, RefCell};

/// Statement instances after which a test is given up.
const BUDGET: u64 = 20_000_000;

type Fallible<T> = Result<T, String>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Num {
    F(f64),
    I(i128),
}

struct Evaluator<'p> {
    program: &'p Program,
    params: RefCell<Vec<Option<i64>>>,
    shapes: Vec<Option<Vec<i64>>>,
    memory: Vec<Vec<Option<Num>>>,
    executed: Cell<u64>,
}

/// The outputs of `program` for `inputs`.
pub fn evaluate(program: &Program, inputs: &[Value]) -> Fallible<Vec<Value>> {
    let count = program.arrays().count();
    let mut e = Evaluator {
        program,
        params: RefCell::new(vec![None; program.params.len()]),
        shapes: vec![None; count],
        memory: vec![Vec::new(); count],
        executed: Cell::new(0),
    };
    e.read_params(inputs)?;
    for (id, _) in program.arrays() {
        e.allocate(id, inputs)?;
    }
    let mut iters = Vec::new();
    for node in &program.schedule.roots {
        e.walk(node, &mut iters)?;
    }
    program.outputs.iter().map(|id| e.value(*id)).collect()
}

impl Evaluator<'_> {
    fn read_params(&mut self, inputs: &[Value]) -> Fallible<()> {
        for (id, param) in self.program.params.iter() {
            let value = match &param.def {
                ParamDef::Input { input, axis } => {
                    let value = inputs.get(*input).and_then(|v| v.shape.get(*axis));
                    Some(*value.ok_or(format!("parameter {} has no input", param.name))? as i64)
                }
                ParamDef::Value { .. } => None,
                ParamDef::Content { input, at } => inputs.get(*input).map(|v| v.get_i64(*at)),
                _ => self.param(id),
            };
            self.params.borrow_mut()[id.0 as usize] = value;
        }
        Ok(())
    }

    /// The parameter's value; a trip count is read from the array that holds it.
    fn param(&self, id: sirius_polyhedral::ParamId) -> Option<i64> {
        if let Some(value) = self.params.borrow()[id.0 as usize] {
            return Some(value);
        }
        let of = |a: &Aff| self.aff(a, &[]).ok();
        let array = match &self.program.params.get(id).def {
            ParamDef::Input { .. } | ParamDef::Content { .. } => return None,
            ParamDef::Value { array } => array,
            ParamDef::Mul(a, b) => return Some(of(a)? * of(b)?),
            ParamDef::FloorDiv(a, b) => return Some(of(a)?.div_euclid(of(b)?.max(1))),
            ParamDef::Max(a, b) => return Some(of(a)?.max(of(b)?)),
            ParamDef::Min(a, b) => return Some(of(a)?.min(of(b)?)),
        };
        let (array, _) = self.program.arrays().find(|(_, a)| a.name == *array)?;
        match self.memory[array.0 as usize].first()? {
            Some(Num::I(v)) => Some(*v as i64),
            _ => None,
        }
    }

    fn aff(&self, aff: &Aff, iters: &[i64]) -> Fallible<i64> {
        let missing = Cell::new(None);
        let param = |p| {
            self.param(p).unwrap_or_else(|| {
                missing.set(Some(p));
                0
            })
        };
        let value = aff.eval(&param, &|n| iters.get(n).copied().unwrap_or(i64::MIN / 4));
        match missing.get() {
            Some(p) => Err(format!("parameter {} is not known yet", self.program.params.get(p).name)),
            None => Ok(value),
        }
    }

    fn allocate(&mut self, id: ArrayId, inputs: &[Value]) -> Fallible<()> {
        let array = self.program.array(id);
        let shape: Fallible<Vec<i64>> = array.extents.iter().map(|e| self.aff(e, &[])).collect();
        // Arrays sized by a run-time trip count grow when they are written.
        let Ok(shape) = shape else { return Ok(()) };
        if shape.iter().any(|e| *e < 0) {
            return Err(format!("array {} has shape {shape:?}", array.name));
        }
        let unbounded = shape.iter().any(|e| *e >= 1 << 40);
        let len = if unbounded { 0 } else { shape.iter().product::<i64>() as usize };
        let value = match &array.role {
            Role::Input(n) => Some(inputs.get(*n).cloned().ok_or(format!("input {n} is missing"))?),
            Role::Constant(data) => {
                let extents: Vec<usize> = shape.iter().map(|e| *e as usize).collect();
                Some(Value::from_constant(array.dtype, &extents, data).map_err(|e| e.to_string())?)
            }
            _ => None,
        };
        self.memory[id.0 as usize] = match value {
            Some(v) if v.len() != len || v.dtype != array.dtype => {
                return Err(format!("array {}: {shape:?} of {} for a value {:?}", array.name, array.dtype, v.shape));
            }
            Some(v) if v.dtype.is_float() => v.floats().into_iter().map(|f| Some(Num::F(f))).collect(),
            Some(v) => v.ints().into_iter().map(|i| Some(Num::I(i))).collect(),
            None => vec![None; len],
        };
        self.shapes[id.0 as usize] = Some(shape);
        Ok(())
    }

    fn walk(&mut self, node: &Node, iters: &mut Vec<i64>) -> Fallible<()> {
        match node {
            Node::Leaf(id) => self.instance(*id, iters),
            Node::Band(band) => {
                let mut extent = 0;
                for (id, member) in &band.members {
                    let d = member.as_iter().ok_or("a band that is not an iterator")?;
                    if d != iters.len() {
                        return Err(format!("{id}: band over iterator {d} below {} loops", iters.len()));
                    }
                    extent = extent.max(self.aff(&self.program.statement(*id).extents[d], iters)?);
                }
                for v in 0..extent {
                    let before = self.executed.get();
                    iters.push(v);
                    band.body.iter().try_for_each(|n| self.walk(n, iters))?;
                    iters.pop();
                    if extent >= 1 << 40 && self.executed.get() == before {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn instance(&mut self, id: StatementId, iters: &[i64]) -> Fallible<()> {
        let program = self.program;
        let s = program.statement(id);
        let at = |e: String| format!("{id} ({}) at {iters:?}: {e}", s.origin);
        if iters.len() != s.extents.len() {
            return Err(at(format!("{} dimensions under {} loops", s.extents.len(), iters.len())));
        }
        for (d, extent) in s.extents.iter().enumerate() {
            if iters[d] >= self.aff(extent, iters)? {
                return Ok(());
            }
        }
        for c in &s.constraints {
            if self.aff(c, iters)? < 0 {
                return Ok(());
            }
        }
        if let Some(guard) = &s.guard
            && self.expr(guard, iters).map_err(at)?.0 == Num::I(0)
        {
            return Ok(());
        }
        self.executed.set(self.executed.get() + 1);
        if self.executed.get() > BUDGET {
            return Err("too many instances".into());
        }
        let (value, dtype) = self.expr(&s.value, iters).map_err(at)?;
        let array = program.array(s.target.array);
        if dtype != array.dtype {
            return Err(at(format!("a value of type {dtype} for {} of type {}", array.name, array.dtype)));
        }
        let place = self.place(&s.target, iters, true).map_err(at)?;
        let old = self.memory[s.target.array.0 as usize][place];
        let new = match (s.kind, old) {
            (StatementKind::Assign, None) => value,
            (StatementKind::Update, Some(_)) => value,
            (StatementKind::Reduce(op), Some(old)) => binary(op, old, value, dtype).0,
            (StatementKind::Assign, Some(_)) => return Err(at(format!("{} is assigned twice", array.name))),
            (_, None) => return Err(at(format!("{} has no value yet", array.name))),
        };
        self.memory[s.target.array.0 as usize][place] = Some(new);
        Ok(())
    }

    fn place(&mut self, access: &Access, iters: &[i64], grow: bool) -> Fallible<usize> {
        let n = access.array.0 as usize;
        if self.shapes[n].is_none() {
            self.allocate(access.array, &[])?;
        }
        let index: Vec<i64> = access
            .index
            .iter()
            .map(|e| match self.expr(e, iters)? {
                (Num::I(v), DType::I64) => Ok(v as i64),
                other => Err(format!("subscript {other:?}")),
            })
            .collect::<Fallible<_>>()?;
        let name = &self.program.array(access.array).name;
        let shape = self.shapes[n].as_ref().ok_or("no shape")?;
        if index.len() != shape.len() || index.iter().zip(shape).any(|(i, e)| i < &0 || i >= e) {
            return Err(format!("{name}{index:?} is outside {shape:?}"));
        }
        let place = index.iter().zip(shape).fold(0, |p, (i, e)| p * *e as usize + *i as usize);
        if grow && place >= self.memory[n].len() {
            self.memory[n].resize(place + 1, None);
        }
        Ok(place)
    }

    fn expr(&mut self, expr: &Expr, iters: &[i64]) -> Fallible<(Num, DType)> {
        Ok(match expr {
            Expr::Const(Scalar::Float(v, t)) => (rounded(Num::F(*v), *t), *t),
            Expr::Const(Scalar::Int(v, t)) => (rounded(Num::I(*v as i128), *t), *t),
            Expr::Index(a) => (Num::I(self.aff(a, iters)? as i128), DType::I64),
            Expr::Load(access) => {
                let place = self.place(access, iters, false)?;
                let array = self.program.array(access.array);
                let value = self.memory[access.array.0 as usize].get(place).copied().flatten();
                (value.ok_or_else(|| format!("{} [{place}] is read before it is written", array.name))?, array.dtype)
            }
            Expr::Unary(op, a) => {
                let (value, t) = self.expr(a, iters)?;
                let out = op.result(t);
                (rounded(unary(*op, value, t), out), out)
            }
            Expr::Binary(op, a, b) => {
                let (x, s) = self.expr(a, iters)?;
                let (y, t) = self.expr(b, iters)?;
                if s != t {
                    return Err(format!("{op:?} of {s} and {t}"));
                }
                binary(*op, x, y, s)
            }
            Expr::Select(c, a, b) => {
                let side = if self.expr(c, iters)?.0 == Num::I(0) { b } else { a };
                self.expr(side, iters)?
            }
            Expr::Cast(t, a) => {
                let value = match (self.expr(a, iters)?.0, t) {
                    (Num::F(v), DType::Bool) => Num::I((v != 0.0) as i128),
                    (Num::I(v), DType::Bool) => Num::I((v != 0) as i128),
                    (Num::F(v), t) if !t.is_float() => Num::I(v as i128),
                    (Num::I(v), t) if t.is_float() => Num::F(v as f64),
                    (v, _) => v,
                };
                (rounded(value, *t), *t)
            }
        })
    }

    fn value(&self, id: ArrayId) -> Fallible<Value> {
        let array = self.program.array(id);
        let shape = self.shapes[id.0 as usize].as_ref().ok_or(format!("output {} has no shape", array.name))?;
        let shape: Vec<usize> = shape.iter().map(|e| *e as usize).collect();
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        for element in &self.memory[id.0 as usize] {
            match element.ok_or(format!("output {} is not complete", array.name))? {
                Num::F(v) => floats.push(v),
                Num::I(v) => ints.push(v),
            }
        }
        match array.dtype.is_float() {
            true => Value::from_floats(array.dtype, &shape, &floats),
            false => Value::from_ints(array.dtype, &shape, &ints),
        }
        .map_err(|e| e.to_string())
    }
}

fn rounded(value: Num, dtype: DType) -> Num {
    let bits = dtype.size() as u32 * 8;
    match (value, dtype) {
        (Num::F(v), DType::F32) => Num::F(v as f32 as f64),
        (Num::F(v), DType::F16) => Num::F(f16::from_f64(v).to_f64()),
        (Num::F(v), DType::BF16) => Num::F(bf16::from_f64(v).to_f64()),
        (Num::I(v), DType::Bool) => Num::I((v != 0) as i128),
        (Num::I(v), t) if t.is_signed() => Num::I(v << (128 - bits) >> (128 - bits)),
        (Num::I(v), t) if t.is_integer() => Num::I(v & ((1 << bits) - 1)),
        (v, _) => v,
    }
}

fn unary(op: UnaryOp, value: Num, t: DType) -> Num {
    use UnaryOp::*;
    match value {
        Num::I(v) if op == Bits && t == DType::I64 => Num::F(f64::from_bits(v as u64)),
        Num::I(v) if op == Bits => Num::F(f64::from(f32::from_bits(v as u32))),
        Num::F(v) if op == Bits && t == DType::F64 => Num::I(i128::from(v.to_bits() as i64)),
        Num::F(v) if op == Bits => Num::I(i128::from((v as f32).to_bits() as i32)),
        Num::I(v) => Num::I(match op {
            Neg => -v,
            Abs => v.abs(),
            Sign => v.signum(),
            Not if t == DType::Bool => (v == 0) as i128,
            Not => !v,
            _ => v,
        }),
        Num::F(v) => match op {
            IsNan => Num::I(v.is_nan() as i128),
            IsPosInf => Num::I((v == f64::INFINITY) as i128),
            IsNegInf => Num::I((v == f64::NEG_INFINITY) as i128),
            _ => Num::F(function(op, v)),
        },
    }
}

fn function(op: UnaryOp, v: f64) -> f64 {
    use UnaryOp::*;
    match op {
        Neg => -v,
        Abs => v.abs(),
        Sign if v == 0.0 || v.is_nan() => v,
        Sign => v.signum(),
        Floor => v.floor(),
        Ceil => v.ceil(),
        Round => v.round_ties_even(),
        Sqrt => v.sqrt(),
        Exp => v.exp(),
        Log => v.ln(),
        Sin => v.sin(),
        Cos => v.cos(),
        Tan => v.tan(),
        Asin => v.asin(),
        Acos => v.acos(),
        Atan => v.atan(),
        Sinh => v.sinh(),
        Cosh => v.cosh(),
        Asinh => v.asinh(),
        Acosh => v.acosh(),
        Atanh => v.atanh(),
        Tanh => v.tanh(),
        Erf => erf(v),
        Sigmoid => 1.0 / (1.0 + (-v).exp()),
        _ => v,
    }
}

/// Maclaurin series for small arguments, a continued fraction for the tail.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() {
        return x;
    }
    if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return x.signum() * sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let tail = (1..60).rev().fold(0.0, |f, k| k as f64 / 2.0 / (a + f));
    x.signum() * (1.0 - (-a * a).exp() / ((a + tail) * std::f64::consts::PI.sqrt()))
}

fn binary(op: BinaryOp, x: Num, y: Num, t: DType) -> (Num, DType) {
    use BinaryOp::*;
    if op.is_comparison() {
        let order = match (x, y) {
            (Num::F(a), Num::F(b)) => a.partial_cmp(&b),
            (Num::I(a), Num::I(b)) => Some(a.cmp(&b)),
            _ => None,
        };
        let holds = match op {
            Eq => order.is_some_and(|o| o.is_eq()),
            Ne => !order.is_some_and(|o| o.is_eq()),
            Lt => order.is_some_and(|o| o.is_lt()),
            Le => order.is_some_and(|o| o.is_le()),
            Gt => order.is_some_and(|o| o.is_gt()),
            _ => order.is_some_and(|o| o.is_ge()),
        };
        return (Num::I(holds as i128), DType::Bool);
    }
    let value = match (x, y) {
        (Num::F(a), Num::F(b)) => Num::F(float(op, a, b)),
        (Num::I(a), Num::I(b)) => Num::I(integer(op, a, b)),
        other => panic!("mixed operands {other:?}"),
    };
    (rounded(value, t), t)
}

fn float(op: BinaryOp, a: f64, b: f64) -> f64 {
    use BinaryOp::*;
    match op {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => a / b,
        Mod => a - (a / b).floor() * b,
        Rem => a % b,
        Pow => a.powf(b),
        Min if a.is_nan() || b.is_nan() => f64::NAN,
        Max if a.is_nan() || b.is_nan() => f64::NAN,
        Min => a.min(b),
        Max => a.max(b),
        other => panic!("{other:?} of floats"),
    }
}

fn integer(op: BinaryOp, a: i128, b: i128) -> i128 {
    use BinaryOp::*;
    match op {
        Add => a + b,
        Sub => a - b,
        Mul => a.wrapping_mul(b),
        Div => a.checked_div(b).unwrap_or(0),
        Rem => a.checked_rem(b).unwrap_or(0),
        Mod if b == 0 => 0,
        Mod => {
            let r = a % b;
            if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
        }
        Pow => a.wrapping_pow(b.max(0) as u32),
        Min => a.min(b),
        Max => a.max(b),
        And => a & b,
        Or => a | b,
        Xor => a ^ b,
        Shl => {
            if b < 64 {
                a << b
            } else {
                0
            }
        }
        Shr => {
            if b < 64 {
                a >> b
            } else {
                0
            }
        }
        other => panic!("{other:?} of integers"),
    }
}
