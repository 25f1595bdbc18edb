//! Tokens of the `.graph` form.

use sirius_polyhedral::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Letters, digits and `_`.
    Word(String),
    /// A number as written: `12`, `-1`, `1.5e-3`, `0x7fc00001`, `-inf`.
    Number(String),
    Text(String),
    /// One of `()[]{},=~@#:+-*/` or `->` as `>`.
    Mark(char),
}

/// A token and the line it stands on, from 1.
pub type Placed = (Token, usize);

/// The tokens of a text; `//` starts a comment.
pub fn tokens(text: &str) -> Result<Vec<Placed>> {
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut rest = line;
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with("//") {
                break;
            }
            let (token, length) = next(rest).ok_or_else(|| unreadable(n + 1, rest))?;
            out.push((token, n + 1));
            rest = &rest[length..];
        }
    }
    Ok(out)
}

fn unreadable(line: usize, rest: &str) -> Error {
    let start: String = rest.chars().take(20).collect();
    Error::invalid("E121", format!("line {line}: cannot read \"{start}\""))
}

fn next(rest: &str) -> Option<(Token, usize)> {
    let first = rest.chars().next()?;
    if first == '"' {
        return string(rest);
    }
    if rest.starts_with("->") {
        return Some((Token::Mark('>'), 2));
    }
    let digits =
        first.is_ascii_digit() || first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit() || c == 'i');
    if digits {
        let length = number_length(rest);
        return Some((Token::Number(rest[..length].to_string()), length));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        return Some((Token::Word(rest[..length].to_string()), length));
    }
    "()[]{},=~@#:+-*/".contains(first).then_some((Token::Mark(first), 1))
}

/// Digits, letters and dots, and a sign behind an exponent.
fn number_length(rest: &str) -> usize {
    let hexadecimal = rest.starts_with("0x");
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        let exponent_sign = (c == '-' || c == '+') && before == 'e' && !hexadecimal;
        if at > 0 && !c.is_ascii_alphanumeric() && c != '.' && !exponent_sign {
            return at;
        }
        before = c;
    }
    rest.len()
}

fn string(rest: &str) -> Option<(Token, usize)> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Token::Text(out), at + 1)),
            '\\' => match chars.next()?.1 {
                'u' => {
                    let digits: String = (0..6).filter_map(|_| chars.next().map(|(_, c)| c)).collect();
                    out.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                escaped => out.push(escaped),
            },
            plain => out.push(plain),
        }
    }
    None
}
