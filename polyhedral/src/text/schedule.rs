//! Schedule trees as text: `for [S0: m, S1: m] parallel { S0 S1 }`.

use super::expr_parser::parse_aff;
use super::lexer::{Cursor, Token};
use super::names::{Iters, Names, Scope};
use super::statement::parse_statement_id;
use crate::aff::Aff;
use crate::error::Result;
use crate::program::{Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use indexmap::IndexMap;

/// `node` at nesting `depth`, one line per band and leaf.
pub fn print_node(node: &Node, program: &Program, scope: &Scope, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match node {
        Node::Leaf(id) => out.push_str(&format!("{indent}{id}\n")),
        Node::Band(band) => {
            let members: Vec<String> = band
                .members
                .iter()
                .map(|(id, value)| format!("{id}: {}", spell_value(program, scope, *id, value)))
                .collect();
            out.push_str(&format!("{indent}for [{}]{} {{\n", members.join(", "), print_mark(band.mark)));
            band.body.iter().for_each(|n| print_node(n, program, scope, depth + 1, out));
            out.push_str(&format!("{indent}}}\n"));
        }
    }
}

fn spell_value(program: &Program, scope: &Scope, id: StatementId, value: &Aff) -> String {
    let dims = program.get_statement(id).map_or(&[][..], |s| s.dims.as_slice());
    Names { scope, iters: Iters::Dims(dims) }.aff(value)
}

/// With a leading blank; sequential loops are the rule and print nothing.
pub fn print_mark(mark: Mark) -> String {
    match mark {
        Mark::Seq => String::new(),
        Mark::Parallel => " parallel".into(),
        Mark::Team(n) => format!(" team({n})"),
        Mark::Barrier => " barrier".into(),
        Mark::Rows(n) => format!(" rows({n})"),
        Mark::Lanes(n) => format!(" lanes({n})"),
        Mark::Unroll => " unroll".into(),
    }
}

pub fn parse_mark(cursor: &mut Cursor) -> Result<Mark> {
    let Token::Ident(name) = *cursor.peek() else {
        return Ok(Mark::Seq);
    };
    let sized: fn(u32) -> Mark = match name {
        "rows" => Mark::Rows,
        "lanes" => Mark::Lanes,
        "team" => Mark::Team,
        "parallel" | "barrier" | "unroll" | "seq" => {
            cursor.bump();
            return Ok(match name {
                "parallel" => Mark::Parallel,
                "barrier" => Mark::Barrier,
                "unroll" => Mark::Unroll,
                _ => Mark::Seq,
            });
        }
        _ => return Ok(Mark::Seq),
    };
    cursor.bump();
    cursor.expect("(")?;
    let n = cursor.index("a number of iterations")?;
    cursor.expect(")")?;
    Ok(sized(n as u32))
}

/// Nodes up to the closing brace, which is taken too.
pub fn parse_nodes(cursor: &mut Cursor, program: &Program, scope: &Scope) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    while !cursor.accept("}") {
        if cursor.accept_word("for") {
            cursor.enter()?;
            nodes.push(Node::Band(parse_band(cursor, program, scope)?));
            cursor.leave();
        } else {
            nodes.push(Node::Leaf(parse_statement_id(cursor)?));
        }
    }
    Ok(nodes)
}

fn parse_band(cursor: &mut Cursor, program: &Program, scope: &Scope) -> Result<Band> {
    cursor.expect("[")?;
    let mut members = IndexMap::new();
    cursor.list("]", |c| {
        let start = c.clone();
        let id = parse_statement_id(c)?;
        c.expect(":")?;
        let dims = program.get_statement(id).map_or(&[][..], |s| s.dims.as_slice());
        let value = parse_aff(c, &Names { scope, iters: Iters::Dims(dims) })?;
        match members.insert(id, value) {
            Some(_) => Err(start.error(format!("{id} is already a member of this band"))),
            None => Ok(()),
        }
    })?;
    let mark = parse_mark(cursor)?;
    cursor.expect("{")?;
    Ok(Band { members, mark, body: parse_nodes(cursor, program, scope)? })
}
