//! Statements as text: `S1 [m: 4, k: 3] where m - k >= 0 from MatMul "/fc": h[m] += x[m, k] if m < 3`.

use super::expr::{print_access, print_expr};
use super::expr_parser::{parse_access, parse_aff, parse_expr};
use super::lexer::{Cursor, Token, spell};
use super::names::{Iters, Names, Scope};
use crate::aff::Aff;
use crate::error::{Origin, Result};
use crate::expr::{Access, BinaryOp, Expr};
use crate::program::{Statement, StatementId, StatementKind};

pub fn print_statement(id: StatementId, statement: &Statement, scope: &Scope) -> String {
    let names = Names { scope, iters: Iters::Dims(&statement.dims) };
    let dims: Vec<String> = (0..statement.dims.len().max(statement.extents.len()))
        .map(|d| {
            let extent = statement.extents.get(d).map_or("0".into(), |e| names.aff(e));
            format!("{}: {extent}", spell(statement.dims.get(d).map_or("", String::as_str)))
        })
        .collect();
    let constraints = match statement.constraints.as_slice() {
        [] => String::new(),
        list => format!(" where {}", print_constraints(list, &names)),
    };
    let guard = statement.guard.as_ref().map_or(String::new(), |g| format!("\n  if {}", print_expr(g, &names)));
    format!(
        "{id} [{}]{constraints}{}:\n  {}{guard}\n",
        dims.join(", "),
        print_origin(&statement.origin),
        print_assignment(statement.kind, &statement.target, &statement.value, &names)
    )
}

pub fn print_constraints(constraints: &[Aff], names: &Names) -> String {
    constraints.iter().map(|c| format!("{} >= 0", names.aff(c))).collect::<Vec<_>>().join(", ")
}

pub fn print_assignment(kind: StatementKind, target: &Access, value: &Expr, names: &Names) -> String {
    let operator = match kind {
        StatementKind::Assign => "=".into(),
        StatementKind::Update => ":=".into(),
        StatementKind::Reduce(BinaryOp::Add) => "+=".into(),
        StatementKind::Reduce(BinaryOp::Mul) => "*=".into(),
        StatementKind::Reduce(op) => format!("{}=", op.name()),
    };
    format!("{} {operator} {}", print_access(target, names), print_expr(value, names))
}

/// Nothing for an origin that says nothing.
pub fn print_origin(origin: &Origin) -> String {
    if *origin == Origin::default() {
        return String::new();
    }
    format!(" from {} {:?}", spell(&origin.op), origin.node)
}

pub fn parse_origin(cursor: &mut Cursor) -> Result<Origin> {
    if !cursor.accept_word("from") {
        return Ok(Origin::default());
    }
    let op = cursor.name("an operator type")?;
    Ok(Origin { op, node: cursor.string("the name of a node, in quotes")? })
}

/// The id and what follows up to the end of the guard; the id is already taken.
pub fn parse_statement(cursor: &mut Cursor, scope: &Scope) -> Result<Statement> {
    let mut dims = Vec::new();
    cursor.expect("[")?;
    let extents = cursor.list("]", |c| {
        dims.push(c.name("the name of a dimension")?);
        c.expect(":")?;
        parse_aff(c, &Names { scope, iters: Iters::Dims(&dims) })
    })?;
    let names = Names { scope, iters: Iters::Dims(&dims) };
    let constraints = if cursor.accept_word("where") { parse_constraints(cursor, &names)? } else { vec![] };
    let origin = parse_origin(cursor)?;
    cursor.expect(":")?;
    let (kind, target, value) = parse_assignment(cursor, &names)?;
    let guard = if cursor.accept_word("if") { Some(parse_expr(cursor, &names)?) } else { None };
    Ok(Statement { dims, extents, constraints, kind, target, value, guard, origin })
}

pub fn parse_constraints(cursor: &mut Cursor, names: &Names) -> Result<Vec<Aff>> {
    let mut out = Vec::new();
    loop {
        out.push(parse_constraint(cursor, names)?);
        if !cursor.accept(",") {
            return Ok(out);
        }
    }
}

/// `a >= b` is kept as `a - b >= 0`; people may also write `<=`, `<` and `>`.
fn parse_constraint(cursor: &mut Cursor, names: &Names) -> Result<Aff> {
    let left = parse_aff(cursor, names)?;
    let start = cursor.clone();
    let symbol = cursor.bump();
    if !matches!(symbol, Token::Symbol(">=" | ">" | "<=" | "<")) {
        return Err(start.expected("one of '>=', '>', '<=', '<'"));
    }
    let right = parse_aff(cursor, names)?;
    Ok(match symbol {
        Token::Symbol(">=") => left - right,
        Token::Symbol(">") => left - right - 1.into(),
        Token::Symbol("<=") => right - left,
        _ => right - left - 1.into(),
    })
}

pub fn parse_assignment(cursor: &mut Cursor, names: &Names) -> Result<(StatementKind, Access, Expr)> {
    let target = parse_access(cursor, names)?;
    let kind = parse_kind(cursor)?;
    Ok((kind, target, parse_expr(cursor, names)?))
}

fn parse_kind(cursor: &mut Cursor) -> Result<StatementKind> {
    let start = cursor.clone();
    match cursor.bump() {
        Token::Symbol("=") => Ok(StatementKind::Assign),
        Token::Symbol(":=") => Ok(StatementKind::Update),
        Token::Symbol("+=") => Ok(StatementKind::Reduce(BinaryOp::Add)),
        Token::Symbol("*=") => Ok(StatementKind::Reduce(BinaryOp::Mul)),
        Token::Ident(name) if BinaryOp::parse(name).is_some() && cursor.accept("=") => {
            Ok(StatementKind::Reduce(BinaryOp::parse(name).unwrap_or(BinaryOp::Add)))
        }
        _ => Err(start.expected("one of '=', ':=', '+=', '*=', 'max=', 'min=', 'and=', 'or='")),
    }
}

/// The number in `S3`.
pub fn statement_id(name: &str) -> Option<StatementId> {
    let id = StatementId(name.strip_prefix('S')?.parse().ok()?);
    (id.to_string() == name).then_some(id)
}

pub fn parse_statement_id(cursor: &mut Cursor) -> Result<StatementId> {
    let start = cursor.clone();
    let name = cursor.ident("a statement such as S0")?;
    statement_id(name).ok_or_else(|| start.expected("a statement such as S0"))
}
