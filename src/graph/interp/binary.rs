//! Functions of two or more tensors, element by element, with numpy broadcasting.

use super::Call;
use super::index::{broadcast, broadcast_strides, expand, offsets};
use crate::run::value::Value;
use sirius_polyhedral::{DType, Result};

/// Two tensors brought to one shape.
struct Pair {
    shape: Vec<usize>,
    a: Vec<usize>,
    b: Vec<usize>,
}

impl Pair {
    fn new(call: &Call, a: &Value, b: &Value) -> Result<Pair> {
        let shape = common_shape(call, &[a, b])?;
        crate::run::value::checked_len(DType::F64, &shape)?;
        let of = |v: &Value| offsets(&shape, &broadcast_strides(&v.shape, &shape));
        Ok(Pair { a: of(a), b: of(b), shape })
    }

    fn map<T: Copy, R>(&self, a: &[T], b: &[T], f: impl Fn(T, T) -> R) -> Vec<R> {
        self.a.iter().zip(&self.b).map(|(i, j)| f(a[*i], b[*j])).collect()
    }
}

/// The shape that all of `values` broadcast to.
pub fn common_shape(call: &Call, values: &[&Value]) -> Result<Vec<usize>> {
    values.iter().try_fold(Vec::new(), |shape, v| {
        let both = broadcast(&shape, &v.shape);
        both.ok_or_else(|| call.invalid(format!("shapes {shape:?} and {:?} do not broadcast", v.shape)))
    })
}

fn same_type(call: &Call, a: &Value, b: &Value) -> Result<()> {
    call.require(a.dtype == b.dtype, || format!("element types {} and {} differ", a.dtype, b.dtype))
}

/// Arithmetic and bitwise operators: the result has the type of the operands.
pub fn arithmetic(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if call.op() != "BitShift" {
        same_type(call, a, b)?;
    }
    Ok(vec![combine(call, a, b)?])
}

/// `Max`, `Min`, `Sum`, `Mean` of any number of tensors.
pub fn variadic(call: &Call) -> Result<Vec<Value>> {
    let all = call.all()?;
    let shape = common_shape(call, &all)?;
    let mean = call.op() == "Mean";
    // Kept in f64 between operands, so that the result is rounded once.
    let wide = |v: &Value| if v.dtype.is_float() { v.cast(DType::F64) } else { Ok(v.clone()) };
    let mut result = wide(&expand(all[0], &shape)?)?;
    for other in &all[1..] {
        same_type(call, all[0], other)?;
        result = combine(call, &result, &wide(other)?)?;
    }
    if mean {
        let values: Vec<f64> = result.floats().iter().map(|v| v / all.len() as f64).collect();
        result = Value::from_floats(DType::F64, &shape, &values)?;
    }
    Ok(vec![result.cast(all[0].dtype)?])
}

fn combine(call: &Call, a: &Value, b: &Value) -> Result<Value> {
    let pair = Pair::new(call, a, b)?;
    if a.dtype.is_float() {
        let f = float_function(call)?;
        return Value::from_floats(a.dtype, &pair.shape, &pair.map(&a.floats(), &b.floats(), f));
    }
    let (x, y) = (a.ints(), b.ints());
    if matches!(call.op(), "Div" | "Mod") && !pair.shape.contains(&0) {
        call.require(!y.contains(&0), || "integer division by zero".to_string())?;
    }
    Value::from_ints(a.dtype, &pair.shape, &pair.map(&x, &y, int_function(call, a.dtype)?))
}

fn float_function(call: &Call) -> Result<fn(f64, f64) -> f64> {
    Ok(match call.op() {
        "Add" | "Sum" | "Mean" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Max" => |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) },
        "Min" => |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) },
        "Mod" if call.flag("fmod", false) => |a, b| a % b,
        "Mod" => |a, b| a - (a / b).floor() * b,
        "PRelu" => |a, slope| if a < 0.0 { a * slope } else { a },
        name => return Err(call.unsupported(format!("{name} of floats"))),
    })
}

/// On integers of 128 bits: the results are wrapped to the element type when they are stored.
fn int_function(call: &Call, dtype: DType) -> Result<Box<dyn Fn(i128, i128) -> i128>> {
    let simple: fn(i128, i128) -> i128 = match call.op() {
        "Add" | "Sum" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => i128::wrapping_mul,
        "Div" => |a, b| a / b,
        "Max" => i128::max,
        "Min" => i128::min,
        "Mod" if call.flag("fmod", false) => |a, b| a % b,
        "Mod" => |a, b| ((a % b) + b) % b,
        "PRelu" => |a, slope| if a < 0 { a.wrapping_mul(slope) } else { a },
        "And" | "BitwiseAnd" => |a, b| a & b,
        "Or" | "BitwiseOr" => |a, b| a | b,
        "Xor" | "BitwiseXor" => |a, b| a ^ b,
        "BitShift" => {
            let (left, bits) = (call.string("direction", "") == "LEFT", 8 * dtype.size() as i128);
            return Ok(Box::new(move |a, n| match n {
                n if !(0..bits).contains(&n) => 0,
                n if left => a << n,
                n => a >> n,
            }));
        }
        name => return Err(call.unsupported(format!("{name} of {dtype}"))),
    };
    Ok(Box::new(simple))
}

/// `Equal`, `Less`, ...: booleans.
pub fn comparison(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    same_type(call, a, b)?;
    let pair = Pair::new(call, a, b)?;
    let results = if a.dtype.is_float() {
        pair.map(&a.floats(), &b.floats(), relation(call))
    } else {
        pair.map(&a.ints(), &b.ints(), relation(call))
    };
    Ok(vec![Value::from_bools(&pair.shape, &results)?])
}

fn relation<T: PartialOrd>(call: &Call) -> fn(T, T) -> bool {
    match call.op() {
        "Equal" => |a, b| a == b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        "Greater" => |a, b| a > b,
        _ => |a, b| a >= b,
    }
}

/// `Pow`: the result has the type of the base, whatever the type of the exponent.
pub fn pow(call: &Call) -> Result<Vec<Value>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let pair = Pair::new(call, a, b)?;
    if a.dtype.is_float() || b.dtype.is_float() {
        let results = pair.map(&a.floats(), &b.floats(), f64::powf);
        return Ok(vec![Value::from_floats(a.dtype, &pair.shape, &results)?]);
    }
    let power = |x: i128, n: i128| match u32::try_from(n) {
        Ok(n) => x.wrapping_pow(n),
        Err(_) => (x as f64).powf(n as f64) as i128,
    };
    Ok(vec![Value::from_ints(a.dtype, &pair.shape, &pair.map(&a.ints(), &b.ints(), power))?])
}

/// `Where(condition, x, y)`.
pub fn select(call: &Call) -> Result<Vec<Value>> {
    let (condition, x, y) = (call.input(0)?, call.input(1)?, call.input(2)?);
    same_type(call, x, y)?;
    let shape = common_shape(call, &[condition, x, y])?;
    let (condition, x, y) = (expand(condition, &shape)?, expand(x, &shape)?, expand(y, &shape)?);
    let chosen = condition.bools().into_iter().enumerate();
    let bytes = chosen.flat_map(|(i, c)| if c { x.element(i) } else { y.element(i) }).copied().collect();
    Ok(vec![Value::new(x.dtype, shape, bytes)?])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;
    use sirius_polyhedral::DType;

    #[test]
    fn operands_broadcast() {
        let (a, b) = (f32s(&[2, 1], &[1.0, 2.0]), f32s(&[3], &[10.0, 20.0, 30.0]));
        assert_close(&eval("Add", 14, &[], &[&a, &b]), &[2, 3], &[11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
        assert!(try_eval("Add", 14, &[], &[&f32s(&[2], &[1.0, 2.0]), &b]).is_err());
    }

    #[test]
    fn integer_division_truncates_and_mod_has_two_signs() {
        let (a, b) = (i64s(&[4], &[-7, 7, -7, 7]), i64s(&[4], &[2, 2, -2, -2]));
        assert_eq!(eval("Div", 14, &[], &[&a, &b]).i64s(), [-3, 3, 3, -3]);
        assert_eq!(eval("Mod", 13, &[], &[&a, &b]).i64s(), [1, 1, -1, -1]);
        assert_eq!(eval("Mod", 13, &[("fmod", Attribute::Int(1))], &[&a, &b]).i64s(), [-1, 1, -1, 1]);
        assert!(try_eval("Div", 14, &[], &[&a, &i64s(&[], &[0])]).is_err());
    }

    #[test]
    fn integers_wrap() {
        let a = Value::from_ints(DType::U8, &[2], &[200, 3]).unwrap();
        assert_eq!(eval("Add", 14, &[], &[&a, &a]).i64s(), [144, 6]);
        assert_eq!(eval("Mul", 14, &[], &[&i64s(&[1], &[i64::MAX]), &i64s(&[1], &[2])]).i64s(), [-2]);
        let shift = [("direction", Attribute::String("LEFT".into()))];
        let one = Value::from_ints(DType::U8, &[1], &[7]).unwrap();
        assert_eq!(eval("BitShift", 11, &shift, &[&a, &one]).i64s(), [0, 128]);
    }

    #[test]
    fn power_takes_the_type_of_the_base() {
        let (base, exponent) = (i64s(&[3], &[2, -3, 5]), f32s(&[3], &[3.0, 2.0, 0.5]));
        assert_eq!(eval("Pow", 15, &[], &[&base, &exponent]).i64s(), [8, 9, 2]);
        assert_eq!(eval("Pow", 15, &[], &[&base, &i64s(&[], &[3])]).i64s(), [8, -27, 125]);
    }

    #[test]
    fn comparisons_give_booleans_and_where_selects() {
        let (a, b) = (f32s(&[3], &[1.0, f32::NAN, 3.0]), f32s(&[3], &[2.0, 2.0, 3.0]));
        let less = eval("LessOrEqual", 16, &[], &[&a, &b]);
        assert_eq!(less.bools(), [true, false, true]);
        assert_eq!(eval("Where", 16, &[], &[&less, &b, &f32s(&[], &[0.0])]).floats(), [2.0, 0.0, 3.0]);
    }

    #[test]
    fn a_mean_is_rounded_once() {
        let (a, b) = (f32s(&[1], &[3e38]), f32s(&[1], &[3e38]));
        assert_close(&eval("Mean", 13, &[], &[&a, &b]), &[1], &[3e38f32 as f64]);
        let nan = f32s(&[1], &[f32::NAN]);
        assert!(eval("Max", 13, &[], &[&a, &nan]).get_f64(0).is_nan());
    }
}
