//! Functions of one tensor, element by element, activations among them.

use super::Call;
use super::special::erf;
use crate::run::value::Value;
use sirius_polyhedral::{DType, Result, narrow};

/// A function of one number.
pub type Function = Box<dyn Fn(f64) -> f64>;

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    if !x.dtype.is_float() {
        return integers(call, x).map(|y| vec![y]);
    }
    let function = match simple(call.op()) {
        Some(f) => Box::new(f) as Function,
        None => parametric(call)?,
    };
    let results: Vec<f64> = x.floats().into_iter().map(function).collect();
    Ok(vec![Value::from_floats(x.dtype, &x.shape, &results)?])
}

/// The operators that integers have, exactly; the others are not defined for them.
fn integers(call: &Call, x: &Value) -> Result<Value> {
    let function: fn(i128) -> i128 = match call.op() {
        "Abs" => i128::abs,
        "Neg" => |v| -v,
        "Sign" => i128::signum,
        "Relu" => |v| v.max(0),
        "BitwiseNot" => |v| !v,
        "Not" => |v| (v == 0) as i128,
        _ => return Err(call.unsupported(format!("element type {}", x.dtype))),
    };
    Value::from_ints(x.dtype, &x.shape, &x.ints().into_iter().map(function).collect::<Vec<_>>())
}

/// Functions without parameters.
pub fn simple(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "Abs" => f64::abs,
        "Neg" => |v| -v,
        "Sign" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Round" => f64::round_ties_even,
        "Sqrt" => f64::sqrt,
        "Reciprocal" => |v| 1.0 / v,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Sin" => f64::sin,
        "Cos" => f64::cos,
        "Tan" => f64::tan,
        "Asin" => f64::asin,
        "Acos" => f64::acos,
        "Atan" => f64::atan,
        "Sinh" => f64::sinh,
        "Cosh" => f64::cosh,
        "Asinh" => f64::asinh,
        "Acosh" => f64::acosh,
        "Atanh" => f64::atanh,
        "Tanh" => f64::tanh,
        "Erf" => erf,
        "Sigmoid" => sigmoid,
        "Relu" => |v| if v < 0.0 { 0.0 } else { v },
        "Softsign" => |v| v / (1.0 + v.abs()),
        "Softplus" => softplus,
        "HardSwish" => |v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0),
        "Mish" => |v| v * softplus(v).tanh(),
        _ => return None,
    })
}

pub fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// `ln(1 + e^v)` without overflow.
fn softplus(v: f64) -> f64 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

/// Functions with attributes.
fn parametric(call: &Call) -> Result<Function> {
    Ok(match call.op() {
        "Gelu" => match call.string("approximate", "none") {
            "tanh" => Box::new(gelu_tanh),
            _ => Box::new(|v| 0.5 * v * (1.0 + erf(v / 2f64.sqrt()))),
        },
        "Shrink" => {
            let (lambda, bias) = (call.float("lambd", 0.5), call.float("bias", 0.0));
            Box::new(move |v| {
                if v < -lambda {
                    v + bias
                } else if v > lambda {
                    v - bias
                } else {
                    0.0
                }
            })
        }
        "Swish" => {
            let alpha = call.float("alpha", 1.0);
            Box::new(move |v| v * sigmoid(alpha * v))
        }
        "Celu" => {
            let alpha = call.float("alpha", 1.0);
            Box::new(move |v| if v > 0.0 { v } else { alpha * (v / alpha).exp_m1() })
        }
        "Selu" => {
            let alpha = call.float("alpha", 1.673_263_2);
            let gamma = call.float("gamma", 1.050_701);
            Box::new(move |v| gamma * if v > 0.0 { v } else { alpha * v.exp_m1() })
        }
        name => {
            let attribute = |name| call.node.float(name).map(f64::from);
            let found = activation(name, attribute("alpha"), attribute("beta"));
            found.ok_or_else(|| call.unsupported(format!("no float function {name}")))?
        }
    })
}

fn gelu_tanh(v: f64) -> f64 {
    0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh())
}

/// The activations of recurrent layers, which exist as operators too. Missing parameters take the operator's
/// defaults, rounded to `f32` as an attribute would be.
pub fn activation(name: &str, alpha: Option<f64>, beta: Option<f64>) -> Option<Function> {
    let alpha_or = |default: f32| alpha.unwrap_or(default as f64);
    let beta_or = |default: f32| beta.unwrap_or(default as f64);
    if let Some(f) = simple(name) {
        return Some(Box::new(f));
    }
    Some(match name {
        "LeakyRelu" => {
            let alpha = alpha_or(0.01);
            Box::new(move |v| if v < 0.0 { alpha * v } else { v })
        }
        "ThresholdedRelu" => {
            let alpha = alpha_or(1.0);
            Box::new(move |v| if v > alpha { v } else { 0.0 })
        }
        "Elu" => {
            let alpha = alpha_or(1.0);
            Box::new(move |v| if v < 0.0 { alpha * v.exp_m1() } else { v })
        }
        "HardSigmoid" => {
            let (alpha, beta) = (alpha_or(0.2), beta_or(0.5));
            Box::new(move |v| (alpha * v + beta).clamp(0.0, 1.0))
        }
        "ScaledTanh" => {
            let (alpha, beta) = (alpha_or(1.0), beta_or(1.0));
            Box::new(move |v| alpha * (beta * v).tanh())
        }
        "Affine" => {
            let (alpha, beta) = (alpha_or(1.0), beta_or(0.0));
            Box::new(move |v| alpha * v + beta)
        }
        _ => return None,
    })
}

/// `IsNaN` and `IsInf`.
pub fn predicate(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let (negative, positive) = (call.flag("detect_negative", true), call.flag("detect_positive", true));
    let nan = call.op() == "IsNaN";
    let test = |v: f64| {
        if nan { v.is_nan() } else { v.is_infinite() && if v < 0.0 { negative } else { positive } }
    };
    Ok(vec![Value::from_bools(&x.shape, &x.floats().into_iter().map(test).collect::<Vec<_>>())?])
}

/// `Cast` (`to`) and `CastLike` (type of input 1).
pub fn cast(call: &Call) -> Result<Vec<Value>> {
    let to = match call.op() {
        "CastLike" => call.input(1)?.dtype,
        _ => call.dtype("to")?.ok_or_else(|| call.invalid("attribute `to` is missing"))?,
    };
    let x = call.input(0)?;
    let Some(limit) = narrow::largest(to).filter(|_| call.flag("saturate", true)) else { return Ok(vec![x.cast(to)?]) };
    // The format of scales has no negative numbers: they become NaN.
    let low = if to == DType::F8E8M0 { f64::NEG_INFINITY } else { -limit };
    let clamped: Vec<f64> = x.floats().into_iter().map(|v| v.clamp(low, limit)).collect();
    Ok(vec![Value::from_floats(to, &x.shape, &clamped)?])
}

/// `BitCast`: the same bytes as another type of the same size. A `bool` is a byte of 0 or 1; other bytes make none.
pub fn bit_cast(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let to = call.dtype("to")?.ok_or_else(|| call.invalid("attribute `to` is missing"))?;
    let same = to.size() == x.dtype.size() && (to != DType::Bool || x.dtype == DType::Bool);
    call.require(same, || format!("BitCast from {} to {to}", x.dtype))?;
    Ok(vec![Value::new(to, x.shape.clone(), x.bytes.clone())?])
}

/// `Clip`: bounds from attributes up to opset 10, from inputs since.
pub fn clip(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    if x.dtype.is_float() {
        let bound = |n: usize, name: &str| match call.scalar(n) {
            Some(v) => Some(v.get_f64(0)),
            None => call.node.float(name).map(f64::from),
        };
        let low = bound(1, "min").unwrap_or(f64::NEG_INFINITY);
        let high = bound(2, "max").unwrap_or(f64::INFINITY);
        // The upper bound wins where the two cross, and NaN stays NaN.
        let clip = |v: f64| if v.is_nan() { v } else { v.max(low).min(high) };
        let y: Vec<f64> = x.floats().into_iter().map(clip).collect();
        return Ok(vec![Value::from_floats(x.dtype, &x.shape, &y)?]);
    }
    let low = call.scalar(1).map_or(i128::MIN, |v| v.ints()[0]);
    let high = call.scalar(2).map_or(i128::MAX, |v| v.ints()[0]);
    let y: Vec<i128> = x.ints().into_iter().map(|v| v.max(low).min(high)).collect();
    Ok(vec![Value::from_ints(x.dtype, &x.shape, &y)?])
}

/// `Dropout` of inference: the identity, and a mask of ones.
pub fn dropout(call: &Call) -> Result<Vec<Value>> {
    let x = call.input(0)?;
    let ratio = call.scalar(1).map_or(0.5, |v| v.get_f64(0));
    let training = call.scalar(2).is_some_and(|v| v.bools()[0]);
    if training && ratio != 0.0 {
        return Err(call.unsupported("Dropout in training mode draws random numbers"));
    }
    let mask = Value::from_bools(&x.shape, &vec![true; x.len()])?;
    let mask = if call.version() < 10 { mask.cast(x.dtype)? } else { mask };
    Ok(vec![x.clone(), mask])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, eval, f32s, i64s, try_eval};
    use crate::graph::Attribute;

    #[test]
    fn activations_have_their_textbook_values() {
        let x = f32s(&[3], &[-1.0, 0.0, 2.0]);
        let cases: [(&str, [f64; 3]); 8] = [
            ("Relu", [0.0, 0.0, 2.0]),
            ("Sigmoid", [0.268_941_421, 0.5, 0.880_797_078]),
            ("Softplus", [0.313_261_688, 2f64.ln(), 2.126_928_011]),
            ("HardSwish", [-0.333_333_333, 0.0, 1.666_666_667]),
            ("HardSigmoid", [0.3, 0.5, 0.9]),
            ("LeakyRelu", [-0.01, 0.0, 2.0]),
            ("Gelu", [-0.158_655_254, 0.0, 1.954_499_736]),
            ("Mish", [-0.303_401_461, 0.0, 1.943_958_959]),
        ];
        for (op, wanted) in cases {
            assert_close(&eval(op, 20, &[], &[&x]), &[3], &wanted);
        }
    }

    #[test]
    fn round_is_half_to_even() {
        let y = eval("Round", 11, &[], &[&f32s(&[4], &[0.5, 1.5, -2.5, 2.51])]);
        assert_eq!(y.floats(), [0.0, 2.0, -2.0, 3.0]);
    }

    #[test]
    fn integers_stay_exact() {
        let big = i64s(&[1], &[-(1 << 62) - 1]);
        assert_eq!(eval("Abs", 13, &[], &[&big]).i64s(), [(1 << 62) + 1]);
        assert!(try_eval("Exp", 13, &[], &[&big]).is_err());
    }

    #[test]
    fn clip_takes_bounds_from_either_place() {
        let x = f32s(&[3], &[-5.0, 0.5, 5.0]);
        let attributes = [("min", Attribute::Float(-1.0)), ("max", Attribute::Float(1.0))];
        assert_eq!(eval("Clip", 6, &attributes, &[&x]).floats(), [-1.0, 0.5, 1.0]);
        assert_eq!(eval("Clip", 13, &[], &[&x, &f32s(&[], &[0.0])]).floats(), [0.0, 0.5, 5.0]);
    }

    #[test]
    fn infinities_are_told_apart() {
        let x = f32s(&[3], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let only_positive = [("detect_negative", Attribute::Int(0))];
        assert_eq!(eval("IsInf", 20, &only_positive, &[&x]).bools(), [false, true, false]);
        assert_eq!(eval("IsNaN", 20, &[], &[&x]).bools(), [true, false, false]);
    }
}
