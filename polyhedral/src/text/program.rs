//! Whole programs as text.

use super::lexer::{Cursor, spell};
use super::names::Scope;
use super::pool::ConstantPool;
use super::schedule::{parse_nodes, print_node};
use super::statement::{parse_statement, print_statement, statement_id};
use super::table::{parse_array, parse_list, parse_param, print_array, print_list, print_param};
use crate::error::Result;
use crate::program::{Program, StatementId};

/// The program as text; large constants go to `pool`.
pub fn print_program(program: &Program, pool: &mut ConstantPool) -> String {
    let scope = Scope::of(&program.params, program.arrays().map(|(_, a)| a));
    let mut out = format!("program {}\n", spell(&program.name));
    program.params.iter().for_each(|(_, p)| out.push_str(&print_param(p, &scope)));
    program.arrays().for_each(|(_, a)| out.push_str(&print_array(a, &scope, pool)));
    for (word, list) in [("inputs", &program.inputs), ("outputs", &program.outputs), ("exits", &program.exits)] {
        out.push_str(&print_list(word, list, &scope));
    }
    for n in 0..program.statement_capacity() {
        let id = StatementId(n as u32);
        match program.get_statement(id) {
            Some(statement) => out.push_str(&print_statement(id, statement, &scope)),
            None => out.push_str(&format!("{id} removed\n")),
        }
    }
    out.push_str("schedule {\n");
    program.schedule.roots.iter().for_each(|node| print_node(node, program, &scope, 1, &mut out));
    out.push_str("}\n");
    out
}

/// The program that `text` spells, with large constants from `pool`. The result is well-formed text, not yet a
/// verified program.
pub fn parse_program(text: &str, pool: &ConstantPool) -> Result<Program> {
    let mut cursor = Cursor::new(text)?;
    cursor.expect_word("program")?;
    let mut program = Program::default();
    program.name = cursor.name("the name of the program")?;
    let mut scope = Scope::default();
    while !cursor.at_end() {
        item(&mut cursor, &mut program, &mut scope, pool)?;
    }
    Ok(program)
}

fn item(cursor: &mut Cursor, program: &mut Program, scope: &mut Scope, pool: &ConstantPool) -> Result<()> {
    const WHAT: &str = "one of param, array, inputs, outputs, exits, a statement, schedule";
    let start = cursor.clone();
    match cursor.ident(WHAT)? {
        "param" => add_param(cursor, &mut program.params, scope)?,
        "array" => {
            let array = add_array(cursor, scope, pool)?;
            program.add_array(array);
        }
        "inputs" => program.inputs = parse_list(cursor, scope)?,
        "outputs" => program.outputs = parse_list(cursor, scope)?,
        "exits" => program.exits = parse_list(cursor, scope)?,
        "schedule" => {
            cursor.expect("{")?;
            program.schedule.roots = parse_nodes(cursor, program, scope)?;
        }
        name => match statement_id(name) {
            Some(id) if id.0 as usize == program.statement_capacity() => add_statement(cursor, program, scope)?,
            Some(_) => return Err(start.expected(&format!("S{} (ids are dense)", program.statement_capacity()))),
            None => return Err(start.expected(WHAT)),
        },
    }
    Ok(())
}

fn add_statement(cursor: &mut Cursor, program: &mut Program, scope: &Scope) -> Result<()> {
    if cursor.accept_word("removed") {
        program.skip_statement();
    } else {
        program.add_statement(parse_statement(cursor, scope)?);
    }
    Ok(())
}

/// The word `param` is already taken.
pub fn add_param(cursor: &mut Cursor, params: &mut crate::param::Params, scope: &mut Scope) -> Result<()> {
    let start = cursor.clone();
    let param = parse_param(cursor, scope)?;
    if scope.find_param(&param.name).is_some() {
        return Err(start.error(format!("parameter {:?} is already declared", param.name)));
    }
    scope.add_param(&param.name);
    params.push(param);
    Ok(())
}

/// The word `array` is already taken.
pub fn add_array(cursor: &mut Cursor, scope: &mut Scope, pool: &ConstantPool) -> Result<crate::program::Array> {
    let start = cursor.clone();
    let array = parse_array(cursor, scope, pool)?;
    if scope.find_array(&array.name).is_some() {
        return Err(start.error(format!("array {:?} is already declared", array.name)));
    }
    scope.add_array(&array.name);
    Ok(array)
}
