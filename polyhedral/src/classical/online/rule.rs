//! The algebra: which terms of a sum can follow a running extreme, and what leaves a sum.
//!
//! A rule is a function `f(x, m)` of an element and the extreme `m` of all elements with `f(x, m') = f(x, m) * f(m, m')`.
//! As products distribute over sums, a sum of terms `f(x, m) * r` is brought from `m` to `m'` by one factor `f(m, m')`,
//! so the extreme may still grow while the sum is taken. Another rule is one more line of [`RULES`].
//! Source: Milakov and Gimelshein (2018), for `exp(x - max)`; here as a homomorphism of `(max, sum)`.

use crate::dtype::DType;
use crate::expr::{BinaryOp, Expr, UnaryOp};

/// A function of an element and of the extreme of all elements.
pub struct Rule {
    /// The reduction that the extreme comes from.
    pub extreme: BinaryOp,
    /// What that reduction starts from. `f` of an element that has this value is 0, whatever the finite extreme.
    pub unit: f64,
    /// The element and the extreme, in the order in which `f` subtracts them.
    order: [Side; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Element,
    Extreme,
}

/// In both, `f` is at most 1 while the extreme grows: nothing overflows that does not in the plain sum.
pub const RULES: [Rule; 2] = [
    // exp(x - max) = exp(x - m) * exp(m - max)
    Rule { extreme: BinaryOp::Max, unit: f64::NEG_INFINITY, order: [Side::Element, Side::Extreme] },
    // exp(min - x) = exp(m - x) * exp(min - m)
    Rule { extreme: BinaryOp::Min, unit: f64::INFINITY, order: [Side::Extreme, Side::Element] },
];

impl Rule {
    /// `f(element, extreme)`.
    pub fn term(&self, element: Expr, extreme: Expr) -> Expr {
        let (a, b) = if self.order[0] == Side::Element { (element, extreme) } else { (extreme, element) };
        Expr::unary(UnaryOp::Exp, Expr::binary(BinaryOp::Sub, a, b))
    }

    /// The element and the extreme, where the expression is `f` of them by its form.
    pub fn parts<'e>(&self, term: &'e Expr) -> Option<(&'e Expr, &'e Expr)> {
        let Expr::Unary(UnaryOp::Exp, difference) = term else { return None };
        let Expr::Binary(BinaryOp::Sub, a, b) = &**difference else { return None };
        Some(if self.order[0] == Side::Element { (a, b) } else { (b, a) })
    }

    /// Is the value the unit?
    pub fn is_unit(&self, value: Expr) -> Expr {
        let op = if self.unit < 0.0 { UnaryOp::IsNegInf } else { UnaryOp::IsPosInf };
        Expr::unary(op, value)
    }

    /// An extreme to subtract. The unit stands for 0: all elements so far are the unit too, their terms are 0, and the
    /// difference of two infinities would make them NaN.
    pub fn finite(&self, extreme: Expr, dtype: DType) -> Expr {
        Expr::select(self.is_unit(extreme.clone()), Expr::literal(0.0, dtype), extreme)
    }

    /// What is left to do once the extreme is complete: where it is the unit after all, every term of the plain sum is
    /// the difference of two infinities. (Where it is NaN or the other infinity, a term was NaN in both forms.)
    pub fn complete(&self, sum: Expr, extreme: Expr, dtype: DType) -> Expr {
        let nan = Expr::binary(BinaryOp::Sub, extreme.clone(), Expr::literal(self.unit, dtype));
        Expr::select(self.is_unit(extreme), nan, sum)
    }
}

/// One factor of a product, or a divisor.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    pub value: Expr,
    pub divides: bool,
}

/// Products and quotients taken apart; factors of 1 are left out.
pub fn factors(value: &Expr) -> Vec<Factor> {
    match value {
        Expr::Binary(BinaryOp::Mul, a, b) => [factors(a), factors(b)].concat(),
        Expr::Binary(BinaryOp::Div, a, b) => {
            let below = factors(b).into_iter().map(|f| Factor { divides: !f.divides, ..f });
            factors(a).into_iter().chain(below).collect()
        }
        Expr::Const(value) if value.as_f64() == 1.0 => vec![],
        other => vec![Factor { value: other.clone(), divides: false }],
    }
}

impl Factor {
    pub fn map(&self, value: &dyn Fn(&Expr) -> Expr) -> Factor {
        Factor { value: value(&self.value), divides: self.divides }
    }
}

/// `first` with all factors.
pub fn product(first: Expr, factors: &[Factor]) -> Expr {
    factors.iter().fold(first, |product, factor| {
        let op = if factor.divides { BinaryOp::Div } else { BinaryOp::Mul };
        Expr::binary(op, product, factor.value.clone())
    })
}
