//! Scalar expressions: the bodies of statements and, when data-dependent, their subscripts.

use crate::aff::Aff;
use crate::dtype::{DType, Scalar};
use crate::program::ArrayId;
use serde::{Deserialize, Serialize};

/// One element of an array. There is one subscript per array dimension, each of type `i64`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Access {
    pub array: ArrayId,
    pub index: Vec<Expr>,
}

/// A typed scalar expression. Operands of one operation have equal types; `Cast` converts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    Const(Scalar),
    /// An affine integer of type `i64`.
    Index(Aff),
    Load(Access),
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `if condition { then } else { otherwise }`; the condition has type `bool`. Only the chosen side's
    /// subscripts need be in bounds: lowering clamps the subscripts of the side not taken.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion as ONNX `Cast` does it: float to integer truncates, to bool is `!= 0`.
    Cast(DType, Box<Expr>),
}

/// Functions of one argument; the result has the argument's type, or `bool` for the predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnaryOp {
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    /// Half to even.
    Round,
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Tanh,
    Erf,
    Sigmoid,
    /// Logical for `bool`, bitwise for integers.
    Not,
    IsNan,
    IsPosInf,
    IsNegInf,
    /// The same bits as the integer type of the same size, or back: `f32` and `i32`, `f64` and `i64`.
    Bits,
}

/// Functions of two arguments of one type; comparisons give `bool`, the rest the operand type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// Integers truncate toward zero.
    Div,
    /// Integers: sign of the divisor (Python). Floats: `x - floor(x/y)*y`.
    Mod,
    /// Sign of the dividend (C `fmod`, integer `%`).
    Rem,
    Pow,
    /// Propagate NaN.
    Min,
    Max,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Logical for `bool`, bitwise for integers.
    And,
    Or,
    Xor,
    Shl,
    Shr,
    /// Of `i32` only: two signed 16-bit integers in each operand, the sum of the products of those in one place. Wraps.
    Dot2,
    /// Of `i32` only: the sum of the products of four unsigned bytes of the first operand with four signed ones of the
    /// second.
    Dot4,
}

impl UnaryOp {
    /// Those that every float type has.
    pub const ALL: [UnaryOp; 27] = {
        use UnaryOp::*;
        [
            Neg, Abs, Sign, Floor, Ceil, Round, Sqrt, Exp, Log, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Asinh,
            Acosh, Atanh, Tanh, Erf, Sigmoid, Not, IsNan, IsPosInf, IsNegInf,
        ]
    };

    /// Lower-case spelling of the text forms.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    pub fn parse(name: &str) -> Option<UnaryOp> {
        UnaryOp::ALL.into_iter().chain([UnaryOp::Bits]).find(|op| op.name() == name)
    }

    /// The type of the result for an operand of type `operand`.
    pub fn result(self, operand: DType) -> DType {
        match (self, operand) {
            (UnaryOp::Bits, DType::F32) => DType::I32,
            (UnaryOp::Bits, DType::F64) => DType::I64,
            (UnaryOp::Bits, DType::I32) => DType::F32,
            (UnaryOp::Bits, DType::I64) => DType::F64,
            _ if self.is_predicate() => DType::Bool,
            _ => operand,
        }
    }

    pub fn is_predicate(self) -> bool {
        matches!(self, UnaryOp::IsNan | UnaryOp::IsPosInf | UnaryOp::IsNegInf)
    }
}

impl BinaryOp {
    /// Those that most types have.
    pub const ALL: [BinaryOp; 20] = {
        use BinaryOp::*;
        [Add, Sub, Mul, Div, Mod, Rem, Pow, Min, Max, Eq, Ne, Lt, Le, Gt, Ge, And, Or, Xor, Shl, Shr]
    };

    /// Lower-case spelling of the text forms.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    pub fn parse(name: &str) -> Option<BinaryOp> {
        BinaryOp::ALL.into_iter().chain([BinaryOp::Dot2, BinaryOp::Dot4]).find(|op| op.name() == name)
    }

    /// Integers in one word of a sum of products of words.
    pub fn dot_parts(self) -> Option<u32> {
        match self {
            BinaryOp::Dot2 => Some(2),
            BinaryOp::Dot4 => Some(4),
            _ => None,
        }
    }

    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }
}

impl Expr {
    pub fn float(value: f64, dtype: DType) -> Expr {
        Expr::Const(Scalar::Float(value, dtype))
    }

    pub fn int(value: i64) -> Expr {
        Expr::Index(Aff::constant(value))
    }

    /// The literal `value` in any type.
    pub fn literal(value: f64, dtype: DType) -> Expr {
        Expr::Const(Scalar::of(value, dtype))
    }

    pub fn iter(n: usize) -> Expr {
        Expr::Index(Aff::iter(n))
    }

    pub fn load(array: ArrayId, index: Vec<Expr>) -> Expr {
        Expr::Load(Access { array, index })
    }

    pub fn unary(op: UnaryOp, a: Expr) -> Expr {
        Expr::Unary(op, Box::new(a))
    }

    pub fn binary(op: BinaryOp, a: Expr, b: Expr) -> Expr {
        Expr::Binary(op, Box::new(a), Box::new(b))
    }

    pub fn select(condition: Expr, then: Expr, otherwise: Expr) -> Expr {
        Expr::Select(Box::new(condition), Box::new(then), Box::new(otherwise))
    }

    pub fn cast(dtype: DType, a: Expr) -> Expr {
        Expr::Cast(dtype, Box::new(a))
    }

    /// The affine form of an integer expression: `Index`, and sums, differences and constant multiples.
    pub fn as_aff(&self) -> Option<Aff> {
        match self {
            Expr::Index(a) => Some(a.clone()),
            Expr::Const(Scalar::Int(v, DType::I64)) => Some(Aff::constant(*v)),
            Expr::Binary(BinaryOp::Add, a, b) => Some(a.as_aff()? + b.as_aff()?),
            Expr::Binary(BinaryOp::Sub, a, b) => Some(a.as_aff()? - b.as_aff()?),
            Expr::Binary(BinaryOp::Mul, a, b) => {
                let (a, b) = (a.as_aff()?, b.as_aff()?);
                a.as_constant().map(|c| b.clone() * c).or_else(|| b.as_constant().map(|c| a * c))
            }
            _ => None,
        }
    }

    /// Direct operands, subscripts of loads included.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Const(_) | Expr::Index(_) => vec![],
            Expr::Load(access) => access.index.iter().collect(),
            Expr::Unary(_, a) | Expr::Cast(_, a) => vec![a],
            Expr::Binary(_, a, b) => vec![a, b],
            Expr::Select(c, a, b) => vec![c, a, b],
        }
    }

    /// The parts of a condition that all have to hold, in the order of their tests.
    pub fn conjuncts(&self) -> Vec<&Expr> {
        match self {
            Expr::Binary(BinaryOp::And, a, b) => [a.conjuncts(), b.conjuncts()].concat(),
            other => vec![other],
        }
    }

    /// Is the outermost operation many instructions, or a slow one?
    pub fn is_function(&self) -> bool {
        use UnaryOp::{Abs, Bits, Ceil, Floor, IsNan, IsNegInf, IsPosInf, Neg, Not, Round, Sign};
        match self {
            Expr::Unary(op, _) => {
                !matches!(op, Neg | Abs | Sign | Floor | Ceil | Round | Not | IsNan | IsPosInf | IsNegInf | Bits)
            }
            Expr::Binary(op, ..) => matches!(op, BinaryOp::Div | BinaryOp::Pow),
            _ => false,
        }
    }

    /// How many of its operations are functions (see `is_function`).
    pub fn functions(&self) -> usize {
        usize::from(self.is_function()) + self.children().into_iter().map(Expr::functions).sum::<usize>()
    }

    /// Rebuilds the expression bottom up: operands first, then `f` on the result.
    pub fn rewrite(self, f: &mut dyn FnMut(Expr) -> Expr) -> Expr {
        let node = match self {
            Expr::Load(Access { array, index }) => {
                Expr::Load(Access { array, index: index.into_iter().map(|e| e.rewrite(f)).collect() })
            }
            Expr::Unary(op, a) => Expr::unary(op, a.rewrite(f)),
            Expr::Cast(t, a) => Expr::cast(t, a.rewrite(f)),
            Expr::Binary(op, a, b) => Expr::binary(op, a.rewrite(f), b.rewrite(f)),
            Expr::Select(c, a, b) => Expr::select(c.rewrite(f), a.rewrite(f), b.rewrite(f)),
            leaf => leaf,
        };
        f(node)
    }

    /// Replaces iterator `n` by the integer expression `by(n)`. Affine parts stay affine where all
    /// replacements are; otherwise the term becomes explicit integer arithmetic.
    pub fn substitute(&self, by: &dyn Fn(usize) -> Expr) -> Expr {
        self.clone().rewrite(&mut |e| match e {
            Expr::Index(a) => substitute_aff(&a, by),
            other => other,
        })
    }

    /// Replaces iterators by affine expressions.
    pub fn substitute_aff(&self, by: &dyn Fn(usize) -> Aff) -> Expr {
        self.substitute(&|n| Expr::Index(by(n)))
    }

    /// Calls `visit` on every access that is read, subscripts' loads included.
    pub fn visit_loads(&self, visit: &mut dyn FnMut(&Access)) {
        if let Expr::Load(access) = self {
            visit(access);
        }
        for child in self.children() {
            child.visit_loads(visit);
        }
    }

    pub fn visit_affs(&self, visit: &mut dyn FnMut(&Aff)) {
        if let Expr::Index(a) = self {
            visit(a);
        }
        for child in self.children() {
            child.visit_affs(visit);
        }
    }

    /// Number of operations, loads included: a size bound for substitution.
    pub fn size(&self) -> usize {
        1 + self.children().iter().map(|c| c.size()).sum::<usize>()
    }

    /// The type, where `array` gives the element type of arrays.
    pub fn dtype(&self, array: &dyn Fn(ArrayId) -> DType) -> DType {
        match self {
            Expr::Const(s) => s.dtype(),
            Expr::Index(_) => DType::I64,
            Expr::Load(access) => array(access.array),
            Expr::Unary(op, a) => op.result(a.dtype(array)),
            Expr::Binary(op, a, _) => {
                if op.is_comparison() {
                    DType::Bool
                } else {
                    a.dtype(array)
                }
            }
            Expr::Select(_, a, _) => a.dtype(array),
            Expr::Cast(t, _) => *t,
        }
    }
}

/// Substitutes into an affine expression; stays affine when every replacement is affine.
fn substitute_aff(aff: &Aff, by: &dyn Fn(usize) -> Expr) -> Expr {
    let affine = std::cell::Cell::new(true);
    let replaced = aff.substitute(&|n| {
        by(n).as_aff().unwrap_or_else(|| {
            affine.set(false);
            Aff::constant(0)
        })
    });
    if affine.get() { Expr::Index(replaced) } else { explicit(aff, by) }
}

/// The same value as nested integer operations, for replacements that are not affine.
fn explicit(aff: &Aff, by: &dyn Fn(usize) -> Expr) -> Expr {
    use crate::aff::Term;
    let mut sum = Expr::int(aff.offset());
    for (term, c) in aff.terms() {
        let atom = match term {
            Term::Iter(n) => by(*n as usize),
            Term::Param(p) => Expr::Index(Aff::param(*p)),
            Term::FloorDiv(a, d) => floor_div(explicit(a, by), *d),
        };
        sum = Expr::binary(BinaryOp::Add, sum, Expr::binary(BinaryOp::Mul, Expr::int(*c), atom));
    }
    sum
}

/// Floor division of an integer expression by a positive constant, from `Mod` (which takes the divisor's sign).
fn floor_div(a: Expr, divisor: i64) -> Expr {
    let rest = Expr::binary(BinaryOp::Mod, a.clone(), Expr::int(divisor));
    Expr::binary(BinaryOp::Div, Expr::binary(BinaryOp::Sub, a, rest), Expr::int(divisor))
}
