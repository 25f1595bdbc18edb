//! Counters: the number of a `Loop`'s step, and carried integers that every step increases by the same amount.
//!
//! While its body is inferred, a counter's value is a parameter with the range that the loop's trip count and
//! condition give it. So `x[:, i : min(i + 1, n)]` is known to have one element in every step. Where shapes in the
//! body depend on it, as that of `x[:i]`, the parameter stays an amount that changes from step to step; else contents
//! that mention it are computed by the run, as they were.

use super::assume::{Fact, Range, intersect};
use super::carried::is_unread;
use super::context::{Context, Step, Stop};
use crate::graph::{Block, Node, TensorId};
use crate::import::inputs::identifier;
use sirius_polyhedral::{Aff, DType, Param, ParamDef, ParamId, Term};

pub struct Counter {
    /// Number of the carried value; none for the step's number, whose range is known from the start.
    k: Option<usize>,
    param: ParamId,
    start: Range,
}

/// Gives the candidates among the body's inputs their parameters.
pub fn open(cx: &mut Context, node: &Node, body: &Block) -> Vec<Counter> {
    let carried = node.inputs.len().saturating_sub(2);
    let step = step_number(cx, node, body);
    let carried: Vec<Counter> = (0..carried).filter_map(|k| candidate(cx, node, body, k)).collect();
    step.into_iter().chain(carried).collect()
}

/// The step's number, where the body reads it.
fn step_number(cx: &mut Context, node: &Node, body: &Block) -> Option<Counter> {
    let input = body.inputs[0];
    if is_unread(body, input) {
        return None;
    }
    let range = (Some(0), trips(cx, node).map(|trips| trips.saturating_sub(1).max(0)));
    let param = declare(cx, input, range);
    Some(Counter { k: None, param, start: range })
}

/// The largest number of steps that the trip count allows.
fn trips(cx: &Context, node: &Node) -> Option<i64> {
    let count = cx.graph.tensor(node.input(0)?).affs()?;
    cx.range(count.first()?).1
}

/// The contents of a body's input become a parameter.
fn declare(cx: &mut Context, input: TensorId, range: Range) -> ParamId {
    let name = counter_name(cx, input);
    let def = ParamDef::Value { array: cx.graph.tensor(input).name.clone() };
    let param = Param { name, def, min: range.0.unwrap_or(i64::MIN), max: range.1, hint: 0 };
    let param = cx.graph.params.push(param);
    cx.graph.tensor_mut(input).symbolic = Some(vec![Aff::param(param)]);
    param
}

fn counter_name(cx: &Context, input: TensorId) -> String {
    format!("{}_count", identifier(&cx.graph.tensor(input).name))
}

fn candidate(cx: &mut Context, node: &Node, body: &Block, k: usize) -> Option<Counter> {
    let (initial, input) = (cx.graph.tensor(node.input(2 + k)?), body.inputs[2 + k]);
    let start = match initial.affs()?.as_slice() {
        [one] => cx.range(one),
        _ => return None,
    };
    let counts = matches!(initial.dtype, DType::I32 | DType::I64);
    if !counts || !follows(cx, body, body.outputs[1 + k], input) {
        return None;
    }
    let known = cx.known_range(&counter_name(cx, input));
    let param = declare(cx, input, known);
    Some(Counter { k: Some(k), param, start })
}

/// Is `next` computed from `input` and constants by sums, casts and changes of rank?
fn follows(cx: &Context, body: &Block, next: TensorId, input: TensorId) -> bool {
    if next == input || cx.graph.tensor(next).constant.is_some() {
        return true;
    }
    let Some(node) = body.nodes.iter().find(|n| n.outputs == [Some(next)]) else { return false };
    let simple = matches!(node.op.as_str(), "Add" | "Cast" | "Identity" | "Reshape" | "Squeeze" | "Sub" | "Unsqueeze");
    simple && node.inputs.iter().flatten().all(|&id| follows(cx, body, id, input))
}

/// Asks for the ranges of the counters where they are not known yet, and takes the parameters back. Ranges that sizes
/// rely on and that neither the trip count nor the condition gives are for the run to check: the numbers of the carried
/// values with their bounds, three integers each.
pub fn close(cx: &mut Context, node: &Node, body: &Block, counters: &[Counter]) -> Step<Vec<i64>> {
    let mut checked = Vec::new();
    for counter in counters {
        let found = range(cx, node, body, counter);
        let (range, now) = (found.unwrap_or_default(), cx.param_range(counter.param));
        if intersect(now, range) != now {
            let dim = cx.graph.params.get(counter.param).name.clone();
            return Err(Stop::Restart(Fact::Range { branch: None, dim, range }));
        }
        if let Some(k) = counter.k.filter(|_| intersect(range, now) != range) {
            checked.extend([k as i64, now.0.unwrap_or(i64::MIN), now.1.unwrap_or(i64::MAX)]);
        }
    }
    counters.iter().for_each(|counter| take_back(cx, counter.param));
    Ok(checked)
}

/// The values that the counter has when a step begins; `None` where it does not grow steadily.
fn range(cx: &Context, node: &Node, body: &Block, counter: &Counter) -> Option<Range> {
    let [next] = contents(cx, body.outputs[1 + counter.k?])?.try_into().ok()?;
    let step = (next - Aff::param(counter.param)).as_constant().filter(|&step| step > 0)?;
    let by_trips = trips(cx, node).and_then(|trips| counter.start.1?.checked_add(step.checked_mul(trips.max(1) - 1)?));
    // The condition was tested on the value of the step before.
    let earlier = |aff: &Aff| {
        aff.substitute_params(&|p| Aff::param(p) - Aff::constant(if p == counter.param { step } else { 0 }))
    };
    let tests = tests(cx, body, body.outputs[0]);
    let limits = tests.iter().filter_map(|slack| largest(cx, &earlier(slack), counter.param));
    let by_condition = limits.min().and_then(|limit| Some(limit.max(counter.start.1?)));
    Some((counter.start.0, [by_trips, by_condition].into_iter().flatten().min()))
}

/// The largest value of `param` with which `slack` can be 0 or more.
fn largest(cx: &Context, slack: &Aff, param: ParamId) -> Option<i64> {
    let rest = slack.substitute_params(&|p| if p == param { Aff::constant(0) } else { Aff::param(p) });
    let part = rest.clone() - slack.clone();
    let factor = match part.terms() {
        [(Term::Param(p), factor)] if *p == param && part.offset() == 0 && *factor > 0 => *factor,
        _ => return None,
    };
    Some(cx.range(&rest).1?.div_euclid(factor))
}

/// Expressions that are not negative where `condition` holds, from the comparisons that it implies.
fn tests(cx: &Context, body: &Block, condition: TensorId) -> Vec<Aff> {
    let Some(node) = body.nodes.iter().find(|n| n.outputs == [Some(condition)]) else { return vec![] };
    let below = |small: usize, large: usize, gap: i64| {
        let value = |n: usize| contents(cx, node.input(n)?)?.into_iter().next();
        value(large).zip(value(small)).map(|(l, s)| l - s - Aff::constant(gap)).into_iter().collect()
    };
    let zero = |id: TensorId| contents(cx, id).is_some_and(|v| v.iter().all(|a| a.is_constant(0)));
    match node.op.as_str() {
        "And" => node.inputs.iter().flatten().flat_map(|&id| tests(cx, body, id)).collect(),
        "Less" => below(0, 1, 1),
        "LessOrEqual" => below(0, 1, 0),
        "Greater" => below(1, 0, 1),
        "GreaterOrEqual" => below(1, 0, 0),
        "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => {
            node.input(0).map(|id| tests(cx, body, id)).unwrap_or_default()
        }
        // Exporters copy a truth value by adding 0 to it as a number.
        "Add" if node.input(1).is_some_and(zero) => node.input(0).map(|id| tests(cx, body, id)).unwrap_or_default(),
        _ => vec![],
    }
}

fn contents(cx: &Context, id: TensorId) -> Option<Vec<Aff>> {
    let id = cx.root(id);
    let tensor = cx.graph.tensor(id);
    let floats = || tensor.floats().and_then(|v| super::contents::whole(&v));
    tensor.affs().or_else(|| cx.wholes.get(&id).cloned()).or_else(floats)
}

/// Removes the parameter from all contents, unless a shape depends on it.
fn take_back(cx: &mut Context, param: ParamId) {
    let mut gone = vec![param];
    for (id, other) in cx.graph.params.iter() {
        if let ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) = &other.def
            && (mentions(a, &gone) || mentions(b, &gone))
        {
            gone.push(id);
        }
    }
    if cx.graph.tensors.iter().any(|tensor| tensor.shape.iter().any(|extent| mentions(extent, &gone))) {
        return;
    }
    for tensor in &mut cx.graph.tensors {
        if tensor.symbolic.iter().flatten().any(|element| mentions(element, &gone)) {
            tensor.symbolic = None;
        }
    }
    // The table keeps its numbering; nothing uses these entries any more.
    for id in gone {
        let unused = cx.graph.params.get_mut(id);
        (unused.def, unused.min, unused.max) = (ParamDef::Max(0.into(), 0.into()), 0, Some(0));
    }
}

fn mentions(aff: &Aff, params: &[ParamId]) -> bool {
    let mut found = false;
    aff.visit_params(&mut |p| found |= params.contains(&p));
    found
}
