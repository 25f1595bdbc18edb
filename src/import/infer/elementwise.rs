//! Elementwise operators, comparisons, logic, selection and casts, with broadcasting.

use super::contents;
use super::context::{Context, Step};
use super::site::Site;
use super::table::Family;
use crate::import::tensor;
use sirius_polyhedral::{Aff, DType};

pub const RULES: Family = &[
    ("Abs", unary),
    ("Acos", unary),
    ("Acosh", unary),
    ("Asin", unary),
    ("Asinh", unary),
    ("Atan", unary),
    ("Atanh", unary),
    ("BitwiseNot", unary),
    ("Ceil", rounding),
    ("Celu", unary),
    ("Clip", unary),
    ("Cos", unary),
    ("Cosh", unary),
    ("Dropout", dropout),
    ("Elu", unary),
    ("Erf", unary),
    ("Exp", unary),
    ("Floor", rounding),
    ("Gelu", unary),
    ("HardSigmoid", unary),
    ("HardSwish", unary),
    ("Hardmax", unary),
    ("LeakyRelu", unary),
    ("Log", unary),
    ("LogSoftmax", unary),
    ("Mish", unary),
    ("Neg", negate),
    ("Reciprocal", unary),
    ("Relu", unary),
    ("Round", unary),
    ("Selu", unary),
    ("Shrink", unary),
    ("Sigmoid", unary),
    ("Sign", unary),
    ("Sin", unary),
    ("Sinh", unary),
    ("Softmax", unary),
    ("Softplus", unary),
    ("Softsign", unary),
    ("Sqrt", unary),
    ("Swish", unary),
    ("Tan", unary),
    ("Tanh", unary),
    ("ThresholdedRelu", unary),
    ("Not", not),
    ("IsInf", predicate),
    ("IsNaN", predicate),
    ("Add", |s| arithmetic(s, |_, a, b| Some(a.clone() + b.clone()))),
    ("Sub", |s| arithmetic(s, |_, a, b| Some(a.clone() - b.clone()))),
    ("Mul", |s| arithmetic(s, |cx, a, b| Some(cx.mul(a, b)))),
    ("Div", |s| integer_arithmetic(s, divide)),
    ("Mod", |s| integer_arithmetic(s, modulo)),
    ("Pow", power),
    ("PRelu", |s| first_type(s, 2)),
    ("BitShift", |s| first_type(s, 2)),
    ("BitwiseAnd", |s| first_type(s, 2)),
    ("BitwiseOr", |s| first_type(s, 2)),
    ("BitwiseXor", |s| first_type(s, 2)),
    ("Max", |s| extreme(s, |cx, a, b| Some(cx.max(a, b)))),
    ("Min", |s| extreme(s, |cx, a, b| Some(cx.min(a, b)))),
    ("Mean", |s| first_type(s, s.node.inputs.len())),
    ("Sum", |s| first_type(s, s.node.inputs.len())),
    ("And", |s| logic(s, |a, b| a.is_constant(1) && b.is_constant(1))),
    ("Or", |s| logic(s, |a, b| a.is_constant(1) || b.is_constant(1))),
    ("Xor", |s| logic(s, |a, b| a != b)),
    ("Equal", equal),
    ("Less", |s| comparison(s, |cx, a, b| cx.less(a, b))),
    ("Greater", |s| comparison(s, |cx, a, b| cx.less(b, a))),
    ("LessOrEqual", |s| comparison(s, |cx, a, b| cx.less(b, a).map(|l| !l))),
    ("GreaterOrEqual", |s| comparison(s, |cx, a, b| cx.less(a, b).map(|l| !l))),
    ("Where", select),
    ("Cast", cast),
    ("CastLike", cast_like),
    ("BitCast", bit_cast),
];

fn unary(site: &mut Site) -> Step {
    let (dtype, shape) = (site.dtype(0)?, site.shape(0)?);
    site.set(0, dtype, shape)
}

/// Whole numbers stay.
fn rounding(site: &mut Site) -> Step {
    unary(site)?;
    let contents = site.affs(0);
    site.set_contents(0, contents);
    Ok(())
}

fn negate(site: &mut Site) -> Step {
    unary(site)?;
    let contents = site.affs(0).map(|values| values.into_iter().map(|v| -v).collect());
    site.set_contents(0, contents);
    Ok(())
}

/// The mask output is all true at inference.
fn dropout(site: &mut Site) -> Step {
    unary(site)?;
    let shape = site.shape(0)?;
    site.set(1, DType::Bool, shape)
}

fn predicate(site: &mut Site) -> Step {
    let shape = site.shape(0)?;
    site.set(0, DType::Bool, shape)
}

fn not(site: &mut Site) -> Step {
    predicate(site)?;
    let flip = |v: Aff| Aff::constant(1) - v;
    let contents = site.affs(0).map(|values| values.into_iter().map(flip).collect());
    site.set_contents(0, contents);
    if let (Some(input), Some(output)) = (site.node.input(0), site.node.output(0))
        && let Some((difference, positive)) = site.cx.conditions.get(&input).cloned()
    {
        site.cx.conditions.insert(output, (difference, !positive));
    }
    Ok(())
}

/// The first input's type and the broadcast shape of `count` inputs.
fn first_type(site: &mut Site, count: usize) -> Step {
    let inputs: Vec<usize> = (0..count).filter(|&n| site.has(n)).collect();
    let dtype = site.dtype(0)?;
    let shape = site.broadcast(&inputs)?;
    site.set(0, dtype, shape)
}

type Combine = fn(&mut Context, &Aff, &Aff) -> Option<Aff>;

fn same_types(site: &Site) -> Step {
    let (a, b) = (site.dtype(0)?, site.dtype(1)?);
    if a == b { Ok(()) } else { Err(site.invalid(format!("operands have types {a} and {b}"))) }
}

fn arithmetic(site: &mut Site, combine: Combine) -> Step {
    same_types(site)?;
    first_type(site, 2)?;
    let contents = combined(site, combine);
    site.set_contents(0, contents);
    Ok(())
}

/// Arithmetic whose meaning on floats differs from that on whole numbers.
fn integer_arithmetic(site: &mut Site, combine: Combine) -> Step {
    let exact: Combine = if site.dtype(0)?.is_float() { |_, _, _| None } else { combine };
    arithmetic(site, exact)
}

fn power(site: &mut Site) -> Step {
    first_type(site, 2)
}

fn extreme(site: &mut Site, combine: Combine) -> Step {
    let count = site.node.inputs.len();
    first_type(site, count)?;
    let contents = match count {
        1 => site.affs(0),
        2 => combined(site, combine),
        _ => None,
    };
    site.set_contents(0, contents);
    Ok(())
}

/// Both inputs' contents, broadcast to the output's shape.
fn operands(site: &Site) -> Option<(Vec<Aff>, Vec<Aff>)> {
    let shape = site.cx.graph.tensor(site.node.output(0)?).fixed_shape()?;
    let operand = |n: usize| {
        let from = site.cx.graph.tensor(site.node.input(n)?).fixed_shape()?;
        contents::broadcast(&site.affs(n)?, &from, &shape)
    };
    Some((operand(0)?, operand(1)?))
}

fn combined(site: &mut Site, combine: Combine) -> Option<Vec<Aff>> {
    let (a, b) = operands(site)?;
    a.iter().zip(&b).map(|(x, y)| combine(site.cx, x, y)).collect()
}

/// Integer division truncates toward zero; for expressions, only where that is the floor.
fn divide(cx: &mut Context, a: &Aff, b: &Aff) -> Option<Aff> {
    if let (Some(x), Some(y)) = (a.as_constant(), b.as_constant()) {
        return x.checked_div(y).map(Aff::constant);
    }
    let positive = cx.range(b).0.is_some_and(|low| low > 0);
    let same_sign = cx.range(a).0.is_some_and(|low| low >= 0);
    (positive && same_sign).then(|| cx.div(a, b))
}

fn modulo(cx: &mut Context, a: &Aff, b: &Aff) -> Option<Aff> {
    let divisor = b.as_constant().filter(|&n| n > 0)?;
    cx.range(a).0.filter(|&low| low >= 0)?;
    Some(a.modulo(divisor))
}

fn truth(values: Vec<Option<bool>>) -> Option<Vec<Aff>> {
    values.into_iter().map(|v| v.map(|b| Aff::constant(i64::from(b)))).collect()
}

fn logic(site: &mut Site, combine: fn(&Aff, &Aff) -> bool) -> Step {
    let shape = site.broadcast(&[0, 1])?;
    site.set(0, DType::Bool, shape)?;
    let contents = operands(site).and_then(|(a, b)| {
        let known = |v: &Aff| v.as_constant().is_some();
        truth(a.iter().zip(&b).map(|(x, y)| (known(x) && known(y)).then(|| combine(x, y))).collect())
    });
    site.set_contents(0, contents);
    Ok(())
}

fn comparison(site: &mut Site, decide: fn(&Context, &Aff, &Aff) -> Option<bool>) -> Step {
    same_types(site)?;
    let shape = site.broadcast(&[0, 1])?;
    site.set(0, DType::Bool, shape)?;
    let cx = &site.cx;
    let decided = |(a, b): (Vec<Aff>, Vec<Aff>)| truth(a.iter().zip(&b).map(|(x, y)| decide(cx, x, y)).collect());
    let contents = operands(site).and_then(decided);
    site.set_contents(0, contents);
    Ok(())
}

/// An undecided comparison of one element is remembered: an `If` may ask under which fact it holds.
fn equal(site: &mut Site) -> Step {
    comparison(site, |cx, a, b| cx.equal(a, b))?;
    let Some(output) = site.node.output(0) else { return Ok(()) };
    if let (Some((a, b)), None) = (operands(site), &site.cx.graph.tensor(output).symbolic)
        && let ([x], [y]) = (a.as_slice(), b.as_slice())
    {
        site.cx.conditions.insert(output, (x.clone() - y.clone(), true));
    }
    Ok(())
}

fn select(site: &mut Site) -> Step {
    let shape = site.broadcast(&[0, 1, 2])?;
    let dtype = site.dtype(1)?;
    site.set(0, dtype, shape.clone())?;
    let fixed: Option<Vec<i64>> = shape.iter().map(Aff::as_constant).collect();
    let contents = fixed.and_then(|shape| {
        let operand = |n: usize| {
            let from = site.cx.graph.tensor(site.node.input(n)?).fixed_shape()?;
            contents::broadcast(&site.affs(n)?, &from, &shape)
        };
        let (condition, yes, no) = (operand(0)?, operand(1)?, operand(2)?);
        let pick = |((c, y), n): ((&Aff, &Aff), &Aff)| match c.as_constant() {
            Some(0) => Some(n.clone()),
            Some(_) => Some(y.clone()),
            None => (y == n).then(|| y.clone()),
        };
        condition.iter().zip(&yes).zip(&no).map(pick).collect()
    });
    site.set_contents(0, contents);
    Ok(())
}

fn cast(site: &mut Site) -> Step {
    let to = site.node.int("to").unwrap_or(0);
    let dtype = tensor::dtype(i32::try_from(to).unwrap_or(0))
        .map_err(|found| site.unsupported(format!("Cast to {found} is not supported")))?;
    if dtype == DType::F8E8M0 && site.node.string("round_mode").is_some_and(|mode| mode != "up") {
        return Err(site.unsupported("Cast to f8e8m0 with a round_mode other than `up`"));
    }
    convert(site, dtype)
}

/// The same bits in another type of the same size.
fn bit_cast(site: &mut Site) -> Step {
    let to = i32::try_from(site.node.int("to").unwrap_or(0)).unwrap_or(0);
    let to = tensor::dtype(to).map_err(|found| site.unsupported(format!("BitCast to {found} is not supported")))?;
    let from = site.dtype(0)?;
    if from.size() != to.size() || from.bits() != to.bits() {
        return Err(site.invalid(format!("a BitCast from {from} to {to}, which have different sizes")));
    }
    let plain = |t: DType| !t.is_float() || t.size() >= 4;
    if from != to && !(plain(from) && plain(to)) {
        return Err(site.unsupported(format!("BitCast from {from} to {to}")));
    }
    let shape = site.shape(0)?;
    site.set(0, to, shape)
}

fn cast_like(site: &mut Site) -> Step {
    let dtype = site.dtype(1)?;
    convert(site, dtype)
}

fn convert(site: &mut Site, to: DType) -> Step {
    let shape = site.shape(0)?;
    site.set(0, to, shape)?;
    let contents = if to == DType::Bool { as_bools(site) } else { site.affs(0).or_else(|| truncated(site)) };
    site.set_contents(0, contents);
    site.keep_condition();
    Ok(())
}

fn as_bools(site: &Site) -> Option<Vec<Aff>> {
    let zero = Aff::constant(0);
    truth(site.affs(0)?.iter().map(|v| site.cx.equal(v, &zero).map(|is| !is)).collect())
}

/// Float constants that become integers, as in `Cast(2.0)`.
fn truncated(site: &Site) -> Option<Vec<Aff>> {
    let values = site.floats(0).filter(|v| v.len() <= super::site::MAX_CONTENTS)?;
    Some(values.iter().map(|v| Aff::constant(*v as i64)).collect())
}

impl Site<'_, '_> {
    /// A cast or reshape of an undecided condition is that condition.
    pub fn keep_condition(&mut self) {
        if let (Some(input), Some(output)) = (self.node.input(0), self.node.output(0))
            && let Some(condition) = self.cx.conditions.get(&input).cloned()
        {
            self.cx.conditions.insert(output, condition);
        }
    }
}
