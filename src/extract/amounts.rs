//! Parameters that the program computes: each is a scalar array, written by a host statement before the first
//! loop that depends on it.
//!
//! The workspace has room up to the parameter's bounds, so the array holds the value cut to them. Where the data
//! may ask for more, a second array keeps what it asked for: the artifact compares it with the bounds after the
//! run and refuses the result.

use super::builder::Builder;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, DType, Error, Expr, Param, ParamDef, ParamId, Result, StatementKind};

/// Defines the parameters that take their values from the node's results.
pub fn define_results(b: &mut Builder, node: &Node) -> Result<()> {
    if node.count_output().is_some() {
        return Ok(());
    }
    for &output in node.outputs.iter().flatten() {
        let Some(param) = param_of(b, output) else { continue };
        let value = convert(b.dtype(output), DType::I64, b.read(output, &[])?);
        demand(b, node, param, value)?;
    }
    Ok(())
}

/// Defines the length of the node's results, found by the run and never beyond its bounds.
pub fn define_count(b: &mut Builder, node: &Node, value: Expr) -> Result<()> {
    let count = node.count_output().and_then(|n| node.output(n));
    let Some((count, param)) = count.and_then(|c| Some((c, param_of(b, c)?))) else { return Ok(()) };
    define(b, node, param, value.clone())?;
    b.bind(count, value);
    Ok(())
}

/// Defines the length of the node's results; a longer one than there is room for is refused after the run.
pub fn define_demand(b: &mut Builder, node: &Node, value: Expr) -> Result<()> {
    let count = node.count_output().and_then(|n| node.output(n));
    let Some((count, param)) = count.and_then(|c| Some((c, param_of(b, c)?))) else { return Ok(()) };
    demand(b, node, param, value.clone())?;
    b.bind(count, value);
    Ok(())
}

fn param_of(b: &Builder, tensor: TensorId) -> Option<ParamId> {
    let name = &b.graph.tensor(tensor).name;
    let takes = |p: &Param| matches!(&p.def, ParamDef::Value { array } if array == name);
    b.graph.params.iter().find(|(_, p)| takes(p)).map(|(id, _)| id)
}

/// Defines a parameter by an amount that may be outside its bounds.
pub fn demand(b: &mut Builder, node: &Node, id: ParamId, value: Expr) -> Result<()> {
    let param = b.graph.params.get(id).clone();
    if param.min > i64::MIN || param.max.is_some() {
        let name = format!("{}_wanted", param.name);
        let wanted = host_scalar(b, node, &param, &name, value.clone())?;
        let def = ParamDef::Value { array: b.program.array(wanted).name.clone() };
        b.program.params.push(Param { name, def, ..param });
    }
    define(b, node, id, value)
}

fn define(b: &mut Builder, node: &Node, id: ParamId, value: Expr) -> Result<()> {
    let param = b.graph.params.get(id).clone();
    let raised = if param.min > i64::MIN { max(value, Expr::int(param.min)) } else { value };
    let cut = param.max.map_or(raised.clone(), |limit| min(raised, Expr::int(limit)));
    let array = host_scalar(b, node, &param, &param.name, cut)?;
    let array = b.program.array(array).name.clone();
    b.program.params.get_mut(id).def = ParamDef::Value { array };
    Ok(())
}

/// An integer in a scalar array. Where the branch around it does not run, it is the least value of `param`.
fn host_scalar(b: &mut Builder, node: &Node, param: &Param, name: &str, value: Expr) -> Result<ArrayId> {
    if b.depth() > 0 {
        let message = format!("node \"{}\" ({}): an amount is computed inside a loop", node.name, node.op);
        return Err(Error::unsupported("E310", message)
            .at(&node.origin())
            .help("every step would need tensors of another size; move the node out of the loop"));
    }
    let array = b.temp(name, DType::I64, vec![]);
    let mut kind = StatementKind::Assign;
    if let Some(guard) = b.scope.guard.take() {
        let least = param.min.max(0).min(param.max.unwrap_or(i64::MAX));
        let first = b.assign(&[], array, vec![], Expr::int(least));
        b.emit_perfect(first, 0);
        b.scope.guard = Some(guard);
        kind = StatementKind::Update;
    }
    let id = b.statement(kind, &[], array, vec![], value);
    b.emit_perfect(id, 0);
    Ok(array)
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

/// A loop bound that the program computes: at least 0, and no tensor is as large.
pub fn loop_bound(b: &mut Builder, node: &Node, name: &str, value: Expr) -> Result<Aff> {
    let param = Param { name: name.into(), def: ParamDef::Mul(0.into(), 0.into()), min: 0, max: None, hint: 4 };
    let array = host_scalar(b, node, &param, name, max(value, Expr::int(0)))?;
    let array = b.program.array(array).name.clone();
    let id = b.program.params.derived(ParamDef::Value { array });
    let known = b.program.params.get_mut(id);
    (known.min, known.hint) = (0, param.hint);
    Ok(Aff::param(id))
}
