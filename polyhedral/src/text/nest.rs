//! Loop nests as text: `for c0 in 0..max(batch, 4) parallel { .. }`, `if c0 - 1 >= 0 { .. }`,
//! `when x[0] < 1.0f32 { .. }`, `break unless go[c0]`, `S1 from Add "/a": y[c0] = x[c0]`.

use super::expr::print_expr;
use super::expr_parser::{parse_aff, parse_expr};
use super::lexer::{Cursor, Token, spell};
use super::names::{Iters, Names, Scope};
use super::pool::ConstantPool;
use super::program::{add_array, add_param};
use super::schedule::{parse_mark, print_mark};
use super::statement::{
    parse_assignment, parse_constraints, parse_origin, parse_statement_id, print_assignment, print_constraints,
    print_origin,
};
use super::table::{parse_list, print_array, print_list, print_param};
use crate::aff::Aff;
use crate::error::Result;
use crate::loop_nest::{Bound, Condition, LoopNest, Nest};
use crate::param::Params;

/// The nest as text; large constants go to `pool`.
pub fn print_nest(nest: &LoopNest, pool: &mut ConstantPool) -> String {
    let scope = Scope::of(&nest.params, nest.arrays.iter());
    let names = Names { scope: &scope, iters: Iters::Vars };
    let mut out = format!("nest {} vars {}\n", spell(&nest.name), nest.vars);
    nest.params.iter().for_each(|(_, p)| out.push_str(&print_param(p, &scope)));
    nest.arrays.iter().for_each(|a| out.push_str(&print_array(a, &scope, pool)));
    out.push_str(&print_list("inputs", &nest.inputs, &scope));
    out.push_str(&print_list("outputs", &nest.outputs, &scope));
    out.push_str("body {\n");
    nest.body.iter().for_each(|n| print_node(n, &names, 1, &mut out));
    out.push_str("}\n");
    out
}

fn print_node(node: &Nest, names: &Names, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let (head, body) = match node {
        Nest::Loop { var, lower, upper, kind, body } => {
            let range = format!("{}..{}", print_bound("max", lower, names), print_bound("min", upper, names));
            (format!("for {} in {range}{}", names.iter(*var as usize), print_mark(*kind)), body)
        }
        Nest::If { condition, body } => (print_condition(condition, names), body),
        Nest::BreakUnless(expr) => {
            return out.push_str(&format!("{indent}break unless {}\n", print_expr(expr, names)));
        }
        Nest::Compute { statement, kind, target, value, origin } => {
            let assignment = print_assignment(*kind, target, value, names);
            return out.push_str(&format!("{indent}{statement}{}: {assignment}\n", print_origin(origin)));
        }
    };
    out.push_str(&format!("{indent}{head} {{\n"));
    body.iter().for_each(|n| print_node(n, names, depth + 1, out));
    out.push_str(&format!("{indent}}}\n"));
}

fn print_condition(condition: &Condition, names: &Names) -> String {
    match condition {
        Condition::NonNegative(affs) if affs.is_empty() => "if".into(),
        Condition::NonNegative(affs) => format!("if {}", print_constraints(affs, names)),
        Condition::Guard(expr) => format!("when {}", print_expr(expr, names)),
    }
}

fn print_bound(function: &str, bound: &Bound, names: &Names) -> String {
    match bound.0.as_slice() {
        [aff] => names.aff(aff),
        affs => format!("{function}({})", affs.iter().map(|a| names.aff(a)).collect::<Vec<_>>().join(", ")),
    }
}

/// The nest that `text` spells, with large constants from `pool`.
pub fn parse_nest(text: &str, pool: &ConstantPool) -> Result<LoopNest> {
    let mut cursor = Cursor::new(text)?;
    cursor.expect_word("nest")?;
    let name = cursor.name("the name of the nest")?;
    cursor.expect_word("vars")?;
    let vars = cursor.index("the number of loop variables")? as u32;
    let (params, arrays) = (Params::default(), vec![]);
    let mut nest = LoopNest { name, params, arrays, inputs: vec![], outputs: vec![], body: vec![], vars };
    let mut scope = Scope::default();
    while !cursor.at_end() {
        item(&mut cursor, &mut nest, &mut scope, pool)?;
    }
    Ok(nest)
}

fn item(cursor: &mut Cursor, nest: &mut LoopNest, scope: &mut Scope, pool: &ConstantPool) -> Result<()> {
    const WHAT: &str = "one of param, array, inputs, outputs, body";
    let start = cursor.clone();
    match cursor.ident(WHAT)? {
        "param" => add_param(cursor, &mut nest.params, scope)?,
        "array" => nest.arrays.push(add_array(cursor, scope, pool)?),
        "inputs" => nest.inputs = parse_list(cursor, scope)?,
        "outputs" => nest.outputs = parse_list(cursor, scope)?,
        "body" => nest.body = parse_body(cursor, &Names { scope, iters: Iters::Vars })?,
        _ => return Err(start.expected(WHAT)),
    }
    Ok(())
}

fn parse_body(cursor: &mut Cursor, names: &Names) -> Result<Vec<Nest>> {
    cursor.expect("{")?;
    cursor.enter()?;
    let mut nodes = Vec::new();
    while !cursor.accept("}") {
        nodes.push(parse_node(cursor, names)?);
    }
    cursor.leave();
    Ok(nodes)
}

fn parse_node(cursor: &mut Cursor, names: &Names) -> Result<Nest> {
    if cursor.accept_word("for") {
        return parse_loop(cursor, names);
    }
    if cursor.accept_word("if") {
        let affs = if cursor.is("{") { vec![] } else { parse_constraints(cursor, names)? };
        return Ok(Nest::If { condition: Condition::NonNegative(affs), body: parse_body(cursor, names)? });
    }
    if cursor.accept_word("when") {
        let condition = Condition::Guard(parse_expr(cursor, names)?);
        return Ok(Nest::If { condition, body: parse_body(cursor, names)? });
    }
    if cursor.accept_word("break") {
        cursor.expect_word("unless")?;
        return Ok(Nest::BreakUnless(parse_expr(cursor, names)?));
    }
    let statement = parse_statement_id(cursor)?;
    let origin = parse_origin(cursor)?;
    cursor.expect(":")?;
    let (kind, target, value) = parse_assignment(cursor, names)?;
    Ok(Nest::Compute { statement, kind, target, value, origin })
}

fn parse_loop(cursor: &mut Cursor, names: &Names) -> Result<Nest> {
    let start = cursor.clone();
    let var = parse_aff(cursor, names)?.as_iter().ok_or_else(|| start.expected("a loop variable such as c0"))? as u32;
    cursor.expect_word("in")?;
    let lower = parse_bound(cursor, "max", names)?;
    cursor.expect("..")?;
    let upper = parse_bound(cursor, "min", names)?;
    let kind = parse_mark(cursor)?;
    Ok(Nest::Loop { var, lower, upper, kind, body: parse_body(cursor, names)? })
}

fn parse_bound(cursor: &mut Cursor, function: &str, names: &Names) -> Result<Bound> {
    if !cursor.is_word(function) || *cursor.peek_second() != Token::Symbol("(") {
        return Ok(Bound(vec![parse_aff(cursor, names)?]));
    }
    cursor.bump();
    cursor.bump();
    let affs: Vec<Aff> = cursor.list(")", |c| parse_aff(c, names))?;
    Ok(Bound(affs))
}
