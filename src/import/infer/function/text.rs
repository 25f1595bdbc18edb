//! The notation of function bodies: ONNX's text form of nodes, with nested calls and literals.
//!
//! ```text
//! body    = { name { "," name } "=" call }
//! call    = operator [ "<" attribute { "," attribute } ">" ] "(" [ operand { "," operand } ] ")"
//! operand = name | number | "[" numbers "]" | call
//! ```
//!
//! `scores = MatMul(q, Transpose<perm = [0, 1, 3, 2]>(k))` is a statement. A whole number is an `i64` scalar, a
//! list is an `i64` vector, and a number with a point has the float type of the body. An attribute whose value
//! is a name is one of the body's subgraphs.

use crate::graph::Attribute;
use sirius_polyhedral::{Error, Result};

pub struct Statement {
    pub outputs: Vec<String>,
    pub call: Call,
}

pub struct Call {
    pub op: String,
    pub attributes: Vec<(String, Value)>,
    pub inputs: Vec<Operand>,
}

pub enum Value {
    Plain(Attribute),
    /// The name of a subgraph.
    Block(String),
}

pub enum Operand {
    Name(String),
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Call(Call),
}

pub fn parse(text: &str) -> Result<Vec<Statement>> {
    let mut parser = Parser { rest: text.trim_start() };
    let mut statements = Vec::new();
    while !parser.rest.is_empty() {
        statements.push(parser.statement()?);
    }
    Ok(statements)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Result<Statement> {
        let mut outputs = vec![self.name()?.to_string()];
        while self.accept(",") {
            outputs.push(self.name()?.to_string());
        }
        self.expect("=")?;
        let op = self.name()?;
        Ok(Statement { outputs, call: self.call(op)? })
    }

    fn call(&mut self, op: &str) -> Result<Call> {
        let mut attributes = Vec::new();
        if self.accept("<") {
            attributes = self.list(">", Self::attribute)?;
        }
        self.expect("(")?;
        let inputs = self.list(")", Self::operand)?;
        Ok(Call { op: op.to_string(), attributes, inputs })
    }

    fn attribute(&mut self) -> Result<(String, Value)> {
        let name = self.name()?.to_string();
        self.expect("=")?;
        let value = if self.accept("[") {
            Value::Plain(Attribute::Ints(self.list("]", Self::int)?))
        } else if self.starts_number() {
            Value::Plain(match self.number()? {
                Operand::Float(v) => Attribute::Float(v as f32),
                Operand::Int(v) => Attribute::Int(v),
                _ => return Err(self.error("a number")),
            })
        } else {
            Value::Block(self.name()?.to_string())
        };
        Ok((name, value))
    }

    fn operand(&mut self) -> Result<Operand> {
        if self.accept("[") {
            return Ok(Operand::Ints(self.list("]", Self::int)?));
        }
        if self.starts_number() {
            return self.number();
        }
        let name = self.name()?;
        let calls = self.rest.starts_with(['(', '<']);
        Ok(if calls { Operand::Call(self.call(name)?) } else { Operand::Name(name.to_string()) })
    }

    /// Items between commas, up to and with `end`.
    fn list<T>(&mut self, end: &str, item: fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.accept(end) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn starts_number(&self) -> bool {
        self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '-')
    }

    fn int(&mut self) -> Result<i64> {
        match self.number()? {
            Operand::Int(v) => Ok(v),
            _ => Err(self.error("a whole number")),
        }
    }

    fn number(&mut self) -> Result<Operand> {
        let text = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let whole = text.parse().map(Operand::Int);
        whole.or_else(|_| text.parse().map(Operand::Float)).map_err(|_| self.error("a number"))
    }

    fn name(&mut self) -> Result<&'a str> {
        match self.take(|c| c.is_ascii_alphanumeric() || c == '_') {
            "" => Err(self.error("a name")),
            name => Ok(name),
        }
    }

    fn take(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest.trim_start();
        taken
    }

    fn accept(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.accept(token) { Ok(()) } else { Err(self.error(token)) }
    }

    /// The texts are ours, so this is never the user's fault.
    fn error(&self, wanted: &str) -> Error {
        let found: String = self.rest.chars().take(30).collect();
        Error::bug("E119", format!("a function body needs {wanted} at \"{found}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_nest_and_literals_have_kinds() {
        let body =
            parse("a, b = Split<axis = -1, alpha = 0.5, body = step>(x, [2, 3])\n y = Add(Neg(a), -1.5)").unwrap();
        assert_eq!(body[0].outputs, ["a", "b"]);
        assert!(matches!(&body[0].call.attributes[0].1, Value::Plain(Attribute::Int(-1))));
        assert!(matches!(&body[0].call.attributes[1].1, Value::Plain(Attribute::Float(0.5))));
        assert!(matches!(&body[0].call.attributes[2].1, Value::Block(name) if name == "step"));
        assert!(matches!(&body[0].call.inputs[1], Operand::Ints(v) if v == &[2, 3]));
        assert!(matches!(&body[1].call.inputs[0], Operand::Call(c) if c.op == "Neg"));
        assert!(matches!(&body[1].call.inputs[1], Operand::Float(-1.5)));
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["y Add(a, b)", "y = Add(a b)", "y = Add(a", "= Add(a)", "y = Add<axis = >(a)"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
