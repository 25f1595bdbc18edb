//! `If`, `Loop` and `Scan`, with bodies of random operators that read the tensors around them.
//!
//! Bounds of what a loop carries must hold in every step. A body's result is scaled by a power of two, which rounds
//! nothing, until its range and its error are within those that were assumed of the operand: then they hold in all
//! steps, by induction.

use super::grow_body;
use crate::bounds::{Bounds, roundoff};
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

/// Bodies inside one another.
pub const DEEPEST: usize = 2;
const STEPS: usize = 5;

pub fn add(maker: &mut Maker) -> Option<()> {
    if maker.depth() >= DEEPEST {
        return None;
    }
    match maker.choices.below(5) {
        0 | 1 => branches(maker),
        2 | 3 => repeat(maker),
        _ => scan(maker),
    }
}

/// A truth value that the run decides.
pub fn predicate(maker: &mut Maker) -> Tensor {
    maker.like(DType::Bool, &[], Bounds::whole(0.0, 1.0))
}

/// Both branches give results of the same types and shapes.
fn branches(maker: &mut Maker) -> Option<()> {
    let condition = predicate(maker);
    let count = 1 + maker.choices.below(2);
    let wanted: Vec<Tensor> = (0..count).map(|_| maker.any(ALL, 0..=3)).collect();
    let (first, first_bounds) = branch(maker, "then", &wanted);
    let (second, second_bounds) = branch(maker, "else", &wanted);
    let bounds = first_bounds.iter().zip(second_bounds).map(|(a, b)| a.or(b));
    let results = wanted.iter().zip(bounds).map(|(t, b)| (t.dtype, t.dims.clone(), b)).collect();
    let attributes = vec![onnx::graph("then_branch", first), onnx::graph("else_branch", second)];
    maker.node("If", &[&condition.name], attributes, results).map(|_| ())
}

fn branch(maker: &mut Maker, name: &str, wanted: &[Tensor]) -> (sirius::import::proto::GraphProto, Vec<Bounds>) {
    maker.open(&[]);
    grow_body(maker, 4);
    let result =
        |maker: &mut Maker, t: &Tensor| maker.find(&[t.dtype], |u| u.dims == t.dims).unwrap_or_else(|| t.clone());
    let results: Vec<Tensor> = wanted.iter().map(|t| result(maker, t)).collect();
    let bounds = results.iter().map(|t| t.bounds).collect();
    (maker.close(name, &[], &results), bounds)
}

/// What a loop may assume of a value of this type that it carries.
fn carried_bounds(dtype: DType) -> Bounds {
    match dtype {
        DType::Bool => Bounds::whole(0.0, 1.0),
        t if t.is_float() => Bounds::of(-4.0, 4.0, 64.0 * roundoff(t)),
        t => Bounds::whole(0.0, 0.0).or_value(if t == DType::U8 { 256.0 } else { 2f64.powi(70) }).rounded(t, 0.0),
    }
}

/// `t` scaled so that range and error are within `bounds`.
fn settled(maker: &mut Maker, t: &Tensor, bounds: Bounds) -> Option<Tensor> {
    let fits = |b: &Bounds| b.inside(bounds.lo, bounds.hi) && b.error <= bounds.error;
    if fits(&t.bounds) || !t.dtype.is_float() {
        return Some(t.clone());
    }
    let over = (t.bounds.magnitude() / bounds.hi).max(t.bounds.error / bounds.error);
    let factor = 2f64.powi(-(over.log2().ceil() as i32) - 1);
    if factor < 2f64.powi(-12) {
        return None;
    }
    let scale = maker.scalar(t.dtype, factor);
    // Only the smallest numbers of all lose bits, which the bound has room for.
    let scaled = Bounds::of(t.bounds.lo * factor, t.bounds.hi * factor, bounds.error);
    maker.one("Mul", &[&t.name, &scale], vec![], (t.dtype, t.dims.clone(), scaled))
}

/// A value for a loop to carry, and the same as the loop's body sees it.
fn carried(maker: &mut Maker) -> Option<(Tensor, Result)> {
    let start = maker.any(ALL, 0..=3);
    let bounds = carried_bounds(start.dtype);
    let start = settled(maker, &start, bounds)?;
    let inside = (start.dtype, start.dims.clone(), bounds);
    Some((start, inside))
}

/// The next value of what the body carries as `t`.
fn next(maker: &mut Maker, t: &Tensor) -> Tensor {
    let found = maker.find(&[t.dtype], |u| u.dims == t.dims && u.name != t.name);
    found.and_then(|u| settled(maker, &u, t.bounds)).unwrap_or_else(|| t.clone())
}

/// How often a loop runs at most: written in the model, or data; in a body, something that the step knows.
fn trip_count(maker: &mut Maker) -> (String, Dim) {
    let most = Bounds::whole(0.0, STEPS as f64);
    if maker.depth() > 0 && maker.choices.chance(60) {
        let count = maker.like(DType::I64, &[], most);
        return (count.name, maker.derived(0, STEPS));
    }
    if maker.choices.chance(40) {
        let count = maker.input(DType::I64, vec![], most);
        return (count.name, maker.derived(0, STEPS));
    }
    let count = maker.choices.below(STEPS + 1);
    (maker.constant(Value::scalar(count as i64), Bounds::whole(0.0, 5.0)).name, Dim::Fixed(count))
}

/// With a trip count, often with a condition that ends it earlier, and with results for each step.
fn repeat(maker: &mut Maker) -> Option<()> {
    let (count, steps) = trip_count(maker);
    let early = maker.choices.chance(40);
    let mut starts = Vec::new();
    let mut inside =
        vec![(DType::I64, vec![], Bounds::whole(0.0, STEPS as f64)), (DType::Bool, vec![], Bounds::whole(0.0, 1.0))];
    for _ in 0..1 + maker.choices.below(2) {
        let (start, as_seen) = carried(maker)?;
        starts.push(start);
        inside.push(as_seen);
    }
    let first = if early && maker.choices.chance(50) { predicate(maker).name } else { String::new() };
    let limit = maker.input(DType::I64, vec![], Bounds::whole(0.0, STEPS as f64));
    let inputs = maker.open(&inside);
    grow_body(maker, 5);
    let again = match early {
        true => {
            maker.one("Less", &[&inputs[0].name, &limit.name], vec![], (DType::Bool, vec![], Bounds::whole(0.0, 1.0)))
        }
        false => Some(inputs[1].clone()),
    };
    let mut outputs = vec![again?];
    outputs.extend(inputs[2..].iter().map(|t| next(maker, t)));
    let kept = if maker.choices.chance(60) { per_step(maker) } else { vec![] };
    outputs.extend(kept.iter().cloned());
    let body = maker.close("body", &inputs, &outputs);
    let mut results: Vec<Result> = inside[2..].to_vec();
    let length = if early { maker.derived(0, STEPS) } else { steps };
    results.extend(kept.into_iter().map(|t| (t.dtype, [&[length], t.dims.as_slice()].concat(), t.bounds)));
    let mut names = vec![count.as_str(), first.as_str()];
    names.extend(starts.iter().map(|t| t.name.as_str()));
    maker.node("Loop", &names, vec![onnx::graph("body", body)], results).map(|_| ())
}

/// Values of the body that are kept for each step.
fn per_step(maker: &mut Maker) -> Vec<Tensor> {
    let count = 1 + maker.choices.below(2);
    let found: Vec<Tensor> = (0..count).filter_map(|_| maker.find(ALL, |t| t.dims.len() <= 3)).collect();
    found.into_iter().filter(|t| maker.has_lasting_size(t)).collect()
}

/// Over the first axis of one or two tensors, in either direction.
fn scan(maker: &mut Maker) -> Option<()> {
    let over = maker.any(ALL, 1..=3);
    let length = over.dims[0];
    let mut sequences = vec![over];
    if maker.choices.chance(40) {
        let more = maker.find(ALL, |t| t.dims.first() == Some(&length));
        sequences.extend(more);
    }
    let mut starts = Vec::new();
    let mut inside = Vec::new();
    for _ in 0..maker.choices.below(2) + 1 {
        let (start, as_seen) = carried(maker)?;
        starts.push(start);
        inside.push(as_seen);
    }
    inside.extend(sequences.iter().map(|t| (t.dtype, t.dims[1..].to_vec(), t.bounds)));
    let inputs = maker.open(&inside);
    grow_body(maker, 5);
    let mut outputs: Vec<Tensor> = inputs[..starts.len()].iter().map(|t| next(maker, t)).collect();
    let kept = per_step(maker);
    outputs.extend(kept.iter().cloned());
    let body = maker.close("body", &inputs, &outputs);
    let mut results: Vec<Result> = inside[..starts.len()].to_vec();
    results.extend(kept.iter().map(|t| (t.dtype, [&[length], t.dims.as_slice()].concat(), t.bounds)));
    let mut attributes = vec![onnx::graph("body", body), onnx::int("num_scan_inputs", sequences.len() as i64)];
    if maker.choices.chance(40) {
        let directions: Vec<i64> = sequences.iter().map(|_| i64::from(maker.choices.chance(60))).collect();
        attributes.push(onnx::ints("scan_input_directions", &directions));
    }
    if !kept.is_empty() && maker.choices.chance(30) {
        let directions: Vec<i64> = kept.iter().map(|_| i64::from(maker.choices.chance(60))).collect();
        attributes.push(onnx::ints("scan_output_directions", &directions));
    }
    let names: Vec<&str> = starts.iter().chain(&sequences).map(|t| t.name.as_str()).collect();
    maker.node("Scan", &names, attributes, results).map(|_| ())
}
