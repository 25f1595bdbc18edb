//! Evaluates the formulas of a manifest: extents, workspace sizes, operation counts.
//!
//! Grammar: sums and products of integers, dimension names, `(..)`, `floor(a/b)`, `max(a, b)`, `min(a, b)`.

use sirius_polyhedral::{Error, Result};

/// The value of `text` where `name` gives the dimensions. Saturates instead of overflowing.
pub fn evaluate(text: &str, name: &dyn Fn(&str) -> Option<i64>) -> Result<i64> {
    let mut parser = Parser { rest: text, name };
    let value = parser.sum()?;
    parser.end()?;
    Ok(value)
}

struct Parser<'a> {
    rest: &'a str,
    name: &'a dyn Fn(&str) -> Option<i64>,
}

impl Parser<'_> {
    fn eat(&mut self, token: char) -> bool {
        let rest = self.rest.trim_start();
        let after = rest.strip_prefix(token);
        self.rest = after.unwrap_or(rest);
        after.is_some()
    }

    fn expect(&mut self, token: char) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.wrong(&format!("wanted `{token}`"))) }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::invalid("E830", format!("in a manifest's formula: {what} before \"{}\"", self.rest))
    }

    fn end(&mut self) -> Result<()> {
        self.rest = self.rest.trim();
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("wanted the end")) }
    }

    fn sum(&mut self) -> Result<i64> {
        let mut value = if self.eat('-') { self.product()?.saturating_neg() } else { self.product()? };
        loop {
            if self.eat('+') {
                value = value.saturating_add(self.product()?);
            } else if self.eat('-') {
                value = value.saturating_sub(self.product()?);
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<i64> {
        let mut value = self.atom()?;
        loop {
            if self.eat('*') {
                value = value.saturating_mul(self.atom()?);
            } else if self.eat('/') {
                value = match self.atom()? {
                    divisor if divisor > 0 => value.div_euclid(divisor),
                    _ => return Err(self.wrong("a divisor that is not positive")),
                };
            } else {
                return Ok(value);
            }
        }
    }

    fn atom(&mut self) -> Result<i64> {
        if self.eat('(') {
            let value = self.sum()?;
            self.expect(')')?;
            return Ok(value);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "" => Err(self.wrong("wanted a number or a name")),
            "floor" => self.atom(),
            "max" => self.pair(i64::max),
            "min" => self.pair(i64::min),
            number if number.starts_with(|c: char| c.is_ascii_digit()) => {
                number.parse().map_err(|_| self.wrong(&format!("\"{number}\" is no number")))
            }
            name => (self.name)(name).ok_or_else(|| self.wrong(&format!("unknown dimension \"{name}\""))),
        }
    }

    fn pair(&mut self, pick: fn(i64, i64) -> i64) -> Result<i64> {
        self.expect('(')?;
        let a = self.sum()?;
        self.expect(',')?;
        let b = self.sum()?;
        self.expect(')')?;
        Ok(pick(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_of_a_manifest_evaluate() {
        let name = |n: &str| (n == "batch").then_some(5);
        let value = |text: &str| evaluate(text, &name).unwrap();
        assert_eq!(value("4*(batch)*(3)"), 60);
        assert_eq!(value("-batch + 7"), 2);
        assert_eq!(value("2*floor((batch + 1)/4) - 1"), 1);
        assert_eq!(value("floor((batch)/(2))"), 2);
        assert_eq!(value("max(batch, (2)*(4)) + min(1, 2)"), 9);
        assert!(evaluate("4*(seq)", &name).is_err());
        assert!(evaluate("4*(batch", &name).is_err());
        assert!(evaluate("batch/0", &name).is_err());
    }
}
