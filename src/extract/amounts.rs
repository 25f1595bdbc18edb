//! Parameters that the program computes: each is a scalar array, written by a host statement before the first
//! loop that depends on it.
//!
//! The workspace has room up to the parameter's bounds, so the array holds the value cut to them. Where the data
//! may ask for more, a second array keeps what it asked for: the artifact compares it with the bounds after the
//! run and refuses the result. Inside a loop an amount is another one in every step ([`super::varying`]); of those
//! outside the bounds the last is kept.

use super::builder::Builder;
use super::counted::guarded;
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
pub fn define_count(b: &mut Builder, node: &Node, value: Expr) -> Result<()> {
    let count = node.count_output().and_then(|n| node.output(n));
    let Some((count, param)) = count.and_then(|c| Some((c, param_of(b, c)?))) else { return Ok(()) };
    define(b, param, value.clone());
    b.bind(count, value);
    Ok(())
}

/// Defines the length of the node's results; a longer one than there is room for is refused after the run.
pub fn define_demand(b: &mut Builder, node: &Node, value: Expr) -> Result<()> {
    let count = node.count_output().and_then(|n| node.output(n));
    let Some((count, param)) = count.and_then(|c| Some((c, param_of(b, c)?))) else { return Ok(()) };
    demand(b, param, value.clone());
    b.bind(count, value);
    Ok(())
}

fn param_of(b: &Builder, tensor: TensorId) -> Option<ParamId> {
    let name = &b.graph.tensor(tensor).name;
    let takes = |p: &Param| matches!(&p.def, ParamDef::Value { array } if array == name);
    b.graph.params.iter().find(|(_, p)| takes(p)).map(|(id, _)| id)
}

/// Defines a parameter by an amount that may be outside its bounds.
pub fn demand(b: &mut Builder, id: ParamId, value: Expr) {
    let param = b.graph.params.get(id).clone();
    if param.min > i64::MIN || param.max.is_some() {
        let name = format!("{}_wanted", param.name);
        let wanted = match b.depth() {
            0 => host_scalar(b, &param, &name, value.clone()),
            _ => last_outside(b, &param, &name, value.clone()),
        };
        let def = ParamDef::Value { array: b.program.array(wanted).name.clone() };
        b.program.params.push(Param { name, def, ..param });
    }
    define(b, id, value);
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

/// The last value of a step that is outside the bounds of `param`, in a scalar array; a number inside where none is.
fn last_outside(b: &mut Builder, param: &Param, name: &str, value: Expr) -> ArrayId {
    let last = b.before_all(|b| {
        let last = b.temp(name, DType::I64, vec![]);
        let inside = b.assign(&[], last, vec![], Expr::int(least(param)));
        b.emit_perfect(inside, 0);
        last
    });
    let below = (param.min > i64::MIN).then(|| lt(value.clone(), Expr::int(param.min)));
    let above = param.max.map(|limit| gt(value.clone(), Expr::int(limit)));
    let Some(outside) = [below, above].into_iter().flatten().reduce(or) else { return last };
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
