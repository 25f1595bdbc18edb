//! Parameters that the program computes: each is a scalar array, written by a host statement before the first
//! loop that depends on it.
//!
//! The workspace has room up to the parameter's bounds, so the array holds the value cut to them. Where the data
//! may ask for more, a second array keeps what it asked for: the artifact compares it with the bounds after the
//! run and refuses the result. Inside a loop an amount is another one in every step ([`super::varying`]); of those
//! outside the bounds the last is kept.

use super::builder::Builder;
use super::counted::guarded;
use super::simplify::bool_literal;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, DType, Expr, Param, ParamDef, ParamId, Result, StatementKind};

/// Defines the parameters that take their values from the node's results.
pub fn define_results(b: &mut Builder, node: &Node) -> Result<()> {
    if node.count_output().is_some() {
        return Ok(());
    }
    for &output in node.outputs.iter().flatten() {
        let Some(param) = param_of(b, output) else { continue };
        let value = convert(b.dtype(output), DType::I64, b.read(output, &[])?);
        demand(b, param, value);
    }
    Ok(())
}

/// Defines the length of the node's results, found by the run and never beyond its bounds.
pub fn define_count(b: &mut Builder, node: &Node, value: Expr) {
    define_length(b, node, value, define);
}

/// Defines the length of the node's results; a longer one than there is room for is refused after the run.
pub fn define_demand(b: &mut Builder, node: &Node, value: Expr) {
    define_length(b, node, value, demand);
}

/// Hands the length to the output that has it, if there is one, and to its parameter by `define`.
fn define_length(b: &mut Builder, node: &Node, value: Expr, define: fn(&mut Builder, ParamId, Expr)) {
    let count = node.count_output().and_then(|n| node.output(n));
    if let Some((count, param)) = count.and_then(|c| Some((c, param_of(b, c)?))) {
        define(b, param, value.clone());
        b.bind(count, value);
    }
}

fn param_of(b: &Builder, tensor: TensorId) -> Option<ParamId> {
    let name = &b.graph.tensor(tensor).name;
    let takes = |p: &Param| matches!(&p.def, ParamDef::Value { array } if array == name);
    b.graph.params.iter().find(|(_, p)| takes(p)).map(|(id, _)| id)
}

/// Defines a parameter by an amount that may be outside its bounds.
pub fn demand(b: &mut Builder, id: ParamId, value: Expr) {
    let param = b.graph.params.get(id).clone();
    if b.depth() > 0 {
        return demand_of_step(b, id, param, value);
    }
    if param.min > i64::MIN || param.max.is_some() {
        let wanted = host_scalar(b, &param, &format!("{}_wanted", param.name), value.clone());
        check_after(b, &param, wanted);
    }
    define(b, id, value);
}

/// The run is refused where `array` ends outside the bounds of `param`.
fn check_after(b: &mut Builder, param: &Param, array: ArrayId) {
    let def = ParamDef::Value { array: b.program.array(array).name.clone() };
    b.program.params.push(Param { name: format!("{}_wanted", param.name), def, ..param.clone() });
}

/// The same inside a loop, where a value that follows from the step's number may be inside the bounds for certain.
fn demand_of_step(b: &mut Builder, id: ParamId, param: Param, value: Expr) {
    let value = b.simplify(b.settled(value), &[]);
    let below = (param.min > i64::MIN).then(|| lt(value.clone(), Expr::int(param.min)));
    let above = param.max.map(|limit| gt(value.clone(), Expr::int(limit)));
    let outside = [below, above].into_iter().flatten().reduce(or).map(|outside| b.simplify(outside, &[]));
    let outside = outside.filter(|outside| *outside != bool_literal(false));
    match outside {
        None if value.as_aff().is_some() => return b.vary(id, value),
        None => {}
        Some(outside) => {
            let last = last_where(b, &param, outside, value.clone());
            check_after(b, &param, last);
        }
    }
    define(b, id, value);
}

/// Defines the parameter that an input of a loop's body is, if it is one.
pub fn define_input(b: &mut Builder, input: TensorId) -> Result<()> {
    if let Some(param) = param_of(b, input) {
        let view = b.view(input)?;
        let value = convert(b.dtype(input), DType::I64, b.at(&view, &[]));
        demand(b, param, value);
    }
    Ok(())
}

/// Defines a parameter by a value that is cut to its bounds.
pub fn define(b: &mut Builder, id: ParamId, value: Expr) {
    let param = b.graph.params.get(id).clone();
    let raised = if param.min > i64::MIN { max(value, Expr::int(param.min)) } else { value };
    let cut = param.max.map_or(raised.clone(), |limit| min(raised, Expr::int(limit)));
    set(b, id, &param, cut);
}

/// The parameter is `value`: one number of the run, or one per step of the loops around.
fn set(b: &mut Builder, id: ParamId, param: &Param, value: Expr) {
    if b.depth() == 0 {
        let array = host_scalar(b, param, &param.name, value);
        let array = b.program.array(array).name.clone();
        b.program.params.get_mut(id).def = ParamDef::Value { array };
        return;
    }
    let array = b.temp(&param.name, DType::I64, vec![]);
    let step = b.assign(&[], array, vec![], value);
    b.emit_perfect(step, 0);
    let value = b.load(array, vec![]);
    b.vary(id, value);
}

/// The last value of a step where `outside` holds, in a scalar array; a number that `param` may be where none does.
fn last_where(b: &mut Builder, param: &Param, outside: Expr, value: Expr) -> ArrayId {
    let last = b.before_all(|b| {
        let last = b.temp(&format!("{}_wanted", param.name), DType::I64, vec![]);
        let inside = b.assign(&[], last, vec![], Expr::int(least(param)));
        b.emit_perfect(inside, 0);
        last
    });
    guarded(b, outside, |b| {
        let note = b.statement(StatementKind::Update, &[], last, vec![], value);
        b.emit_perfect(note, 0);
    });
    last
}

/// A value that the parameter may have.
fn least(param: &Param) -> i64 {
    param.min.max(0).min(param.max.unwrap_or(i64::MAX))
}

/// An integer in a scalar array. Where the branch around it does not run, it is the least value of `param`.
fn host_scalar(b: &mut Builder, param: &Param, name: &str, value: Expr) -> ArrayId {
    let array = b.temp(name, DType::I64, vec![]);
    let mut kind = StatementKind::Assign;
    if let Some(guard) = b.scope.guard.take() {
        let first = b.assign(&[], array, vec![], Expr::int(least(param)));
        b.emit_perfect(first, 0);
        b.scope.guard = Some(guard);
        kind = StatementKind::Update;
    }
    let id = b.statement(kind, &[], array, vec![], value);
    b.emit_perfect(id, 0);
    array
}

/// An extent of a result that the branches of a node give different sizes.
pub struct OpenExtent {
    output: usize,
    d: usize,
    array: ArrayId,
    /// The larger of the branches' bounds.
    most: Aff,
}

/// The extents of the node's results that follow from the branch taken; their parameters are defined from here on.
pub fn open_extents(b: &mut Builder, node: &Node) -> Vec<OpenExtent> {
    let ranks = node.outputs.iter().map(|o| o.map_or(0, |tensor| b.graph.tensor(tensor).rank())).enumerate();
    let all: Vec<(usize, usize)> = ranks.flat_map(|(n, rank)| (0..rank).map(move |d| (n, d))).collect();
    let mut open = Vec::new();
    for (output, d) in all {
        let Some(id) = b.graph.params.of_array(&node.extent_name(output, d)) else { continue };
        let param = b.graph.params.get(id);
        let Some(extent) = node.output(output).map(|tensor| b.shape(tensor)[d].clone()) else { continue };
        let most = match extent.as_param().map(|p| &b.graph.params.get(p).def) {
            Some(ParamDef::Min(_, most)) => most.clone(),
            _ => param.max.unwrap_or(0).into(),
        };
        let array = b.temp(&param.name, DType::I64, vec![]);
        // Where the branches around it do not run, the parameter is read all the same.
        let guard = if b.depth() == 0 { b.scope.guard.take() } else { None };
        let first = b.assign(&[], array, vec![], Expr::int(least(param)));
        b.emit_perfect(first, 0);
        b.scope.guard = guard.or(b.scope.guard.take());
        match b.depth() {
            0 => b.program.params.get_mut(id).def = ParamDef::Value { array: b.program.array(array).name.clone() },
            _ => {
                let value = b.load(array, vec![]);
                b.vary(id, value);
            }
        }
        open.push(OpenExtent { output, d, array, most });
    }
    open
}

/// The array of result `n`, with room for what any branch gives: the branches write it before its extents count.
pub fn define_open(b: &mut Builder, tensor: TensorId, n: usize, open: &[OpenExtent]) -> ArrayId {
    let mut extents = b.shape(tensor);
    let mut own = open.iter().filter(|extent| extent.output == n).peekable();
    if own.peek().is_none() || b.depth() > 0 {
        return b.define(tensor);
    }
    own.for_each(|extent| extents[extent.d] = extent.most.clone());
    let name = b.graph.tensor(tensor).name.clone();
    let array = b.temp(&format!("{name}_branches"), b.dtype(tensor), extents);
    b.bind_array(tensor, array);
    array
}

impl OpenExtent {
    /// In the branch that has these results: its extent is the one.
    pub fn take(&self, b: &mut Builder, results: &[TensorId]) {
        let extent = b.shape(results[self.output])[self.d].clone();
        let id = b.statement(StatementKind::Update, &[], self.array, vec![], index(extent));
        b.emit_perfect(id, 0);
    }
}

/// A mark that the run leaves where the node meets wrong data: 0, or 1 once a statement has raised it. A parameter
/// that must be 0 makes the artifact look at it after the run.
pub fn flag(b: &mut Builder, node: &Node) -> ArrayId {
    let mut name: String = node.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    name.insert_str(0, "wrong_");
    while b.program.params.find(&name).is_some() {
        name.push('_');
    }
    let flag = b.before_all(|b| {
        let flag = b.temp(&name, DType::I64, vec![]);
        let clear = b.assign(&[], flag, vec![], Expr::int(0));
        b.emit_perfect(clear, 0);
        flag
    });
    let def = ParamDef::Value { array: b.program.array(flag).name.clone() };
    b.program.params.push(Param { name, def, min: 0, max: Some(0), hint: 0 });
    flag
}

/// A loop bound that the program computes, from 0 to `most`; no tensor is as large.
pub fn loop_bound(b: &mut Builder, name: &str, value: Expr, most: i64) -> Aff {
    let number = b.program.params.len();
    let id = b.program.params.derived(ParamDef::Value { array: format!("{name}_{number}") });
    let param = b.program.params.get_mut(id);
    // In a loop, a statement runs over all that the bound may be.
    (param.min, param.max, param.hint) = (0, (!b.scope.prefix.is_empty()).then_some(most), 4);
    let param = Param { name: name.into(), ..param.clone() };
    set(b, id, &param, min(max(value, Expr::int(0)), Expr::int(most)));
    Aff::param(id)
}
