//! The activation functions that `LSTM`, `GRU` and `RNN` may name, with their parameters and defaults.

use super::terms::{add, mul};
use sirius_polyhedral::{BinaryOp, DType, Expr, UnaryOp};

/// One activation as the node gives it; `None` parameters take the standard's defaults.
#[derive(Clone)]
pub struct Activation {
    pub name: String,
    pub alpha: Option<f32>,
    pub beta: Option<f32>,
}

/// Does the activation have a parameter alpha, beta?
pub fn parameters(name: &str) -> (bool, bool) {
    match name.to_lowercase().as_str() {
        "affine" | "scaledtanh" | "hardsigmoid" => (true, true),
        "leakyrelu" | "thresholdedrelu" | "elu" => (true, false),
        _ => (false, false),
    }
}

impl Activation {
    /// `None` for a name that the standard does not list.
    pub fn apply(&self, x: Expr, dtype: DType) -> Option<Expr> {
        use BinaryOp::{Ge, Max, Min};
        let number = |v: f64| Expr::float(v, dtype);
        let alpha = |default: f32| number(f64::from(self.alpha.unwrap_or(default)));
        let beta = |default: f32| number(f64::from(self.beta.unwrap_or(default)));
        let positive = |x: &Expr| Expr::binary(Ge, x.clone(), number(0.0));
        let exp = |x: Expr| Expr::unary(UnaryOp::Exp, x);
        Some(match self.name.to_lowercase().as_str() {
            "sigmoid" => Expr::unary(UnaryOp::Sigmoid, x),
            "tanh" => Expr::unary(UnaryOp::Tanh, x),
            "relu" => Expr::binary(Max, number(0.0), x),
            "affine" => add(mul(alpha(1.0), x), beta(0.0)),
            "leakyrelu" => Expr::select(positive(&x), x.clone(), mul(alpha(0.01), x)),
            "thresholdedrelu" => Expr::select(Expr::binary(Ge, x.clone(), alpha(1.0)), x, number(0.0)),
            "scaledtanh" => mul(alpha(1.0), Expr::unary(UnaryOp::Tanh, mul(beta(1.0), x))),
            "hardsigmoid" => {
                let line = add(mul(alpha(0.2), x), beta(0.5));
                Expr::binary(Max, number(0.0), Expr::binary(Min, number(1.0), line))
            }
            "elu" => {
                let below = mul(alpha(1.0), Expr::binary(BinaryOp::Sub, exp(x.clone()), number(1.0)));
                Expr::select(positive(&x), x, below)
            }
            "softsign" => {
                let size = add(number(1.0), Expr::unary(UnaryOp::Abs, x.clone()));
                Expr::binary(BinaryOp::Div, x, size)
            }
            "softplus" => Expr::unary(UnaryOp::Log, add(number(1.0), exp(x))),
            _ => return None,
        })
    }
}
