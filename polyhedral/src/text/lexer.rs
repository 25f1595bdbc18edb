//! Tokens of all text forms, and the cursor that recursive-descent parsers move over them.
//!
//! The cursor never panics whatever the text, limits nesting, and every error gives line and column, what was
//! expected and what was found.

use crate::error::{Error, Result};

/// Parsers may recurse this deep: well below what fits on the stack of a test thread (2 MiB).
const MAX_NESTING: u32 = 100;

/// Longest first, so that the first match is the right one.
const SYMBOLS: [&str; 32] = [
    "..=", "..", ">=", "<=", "==", "!=", "+=", "*=", ":=", "->", "=>", "+", "-", "*", "/", "(", ")", "[", "]", "{",
    "}", ",", ":", ";", "=", "<", ">", "#", "%", ".", "@", "?",
];

#[derive(Clone, Debug, PartialEq)]
pub enum Token<'a> {
    Ident(&'a str),
    /// Digits, with fraction, exponent, `0x` or a type suffix where written: `12`, `1.5e-3f32`.
    Number(&'a str),
    /// Contents, unescaped.
    Str(String),
    Symbol(&'static str),
    End,
}

#[derive(Clone, Debug)]
struct Spanned<'a> {
    token: Token<'a>,
    /// Byte offset in the text.
    at: usize,
}

/// A position in a token list.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    tokens: Vec<Spanned<'a>>,
    at: usize,
    nesting: u32,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Result<Cursor<'a>> {
        Ok(Cursor { text, tokens: scan(text)?, at: 0, nesting: 0 })
    }

    pub fn peek(&self) -> &Token<'a> {
        &self.tokens[self.at].token
    }

    /// The token after the next one.
    pub fn peek_second(&self) -> &Token<'a> {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].token
    }

    /// The number of the next token: equal positions mean that nothing was read in between.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Takes the next token; the end is never passed.
    pub fn bump(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    pub fn at_end(&self) -> bool {
        *self.peek() == Token::End
    }

    pub fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }

    pub fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.bump();
        }
        found
    }

    pub fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.accept(symbol) { Ok(()) } else { Err(self.expected(&format!("'{symbol}'"))) }
    }

    pub fn is_word(&self, word: &str) -> bool {
        *self.peek() == Token::Ident(word)
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.bump();
        }
        found
    }

    pub fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.accept_word(word) { Ok(()) } else { Err(self.expected(&format!("'{word}'"))) }
    }

    /// A bare identifier.
    pub fn ident(&mut self, what: &str) -> Result<&'a str> {
        match *self.peek() {
            Token::Ident(name) => {
                self.bump();
                Ok(name)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// An identifier or, for names that are none, a string.
    pub fn name(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Token::Str(_) => self.string(what),
            _ => Ok(self.ident(what)?.to_owned()),
        }
    }

    pub fn string(&mut self, what: &str) -> Result<String> {
        match self.peek().clone() {
            Token::Str(text) => {
                self.bump();
                Ok(text)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// A decimal integer, possibly negative.
    pub fn integer(&mut self, what: &str) -> Result<i64> {
        let start = self.clone();
        let sign = if self.accept("-") { "-" } else { "" };
        let parsed = match self.peek() {
            Token::Number(digits) => format!("{sign}{digits}").parse().ok(),
            _ => None,
        };
        match parsed {
            Some(value) => {
                self.bump();
                Ok(value)
            }
            None => Err(start.expected(what)),
        }
    }

    /// A non-negative integer that fits an index.
    pub fn index(&mut self, what: &str) -> Result<usize> {
        let parsed = match self.peek() {
            Token::Number(digits) => digits.parse::<u32>().ok(),
            _ => None,
        };
        match parsed {
            Some(value) => {
                self.bump();
                Ok(value as usize)
            }
            None => Err(self.expected(what)),
        }
    }

    /// `open item, item, ... close`, possibly empty; the opening symbol is already taken.
    pub fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut out = Vec::new();
        while !self.is(close) {
            out.push(item(self)?);
            if !self.accept(",") {
                break;
            }
        }
        self.expect(close)?;
        Ok(out)
    }

    /// Starts a construct that may contain itself; pairs with [`Cursor::leave`].
    pub fn enter(&mut self) -> Result<()> {
        if self.nesting == MAX_NESTING {
            return Err(self.error(format!("nested more than {MAX_NESTING} deep")));
        }
        self.nesting += 1;
        Ok(())
    }

    pub fn leave(&mut self) {
        self.nesting -= 1;
    }

    /// The error that `what` was expected here.
    pub fn expected(&self, what: &str) -> Error {
        self.error(format!("expected {what}, found {}", describe(self.peek())))
    }

    /// An error at the next token.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        error_at(self.text, self.tokens[self.at].at, message)
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Ident(s) | Token::Number(s) => format!("'{s}'"),
        Token::Symbol(s) => format!("'{s}'"),
        Token::Str(s) => format!("{s:?}"),
        Token::End => "the end of the text".into(),
    }
}

fn error_at(text: &str, at: usize, message: impl std::fmt::Display) -> Error {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Error::invalid("E210", format!("line {line}, column {column}: {message}"))
}

fn scan(text: &str) -> Result<Vec<Spanned<'_>>> {
    let mut tokens = Vec::new();
    let mut at = skip_blank(text, 0);
    while at < text.len() {
        let (token, end) = scan_one(text, at)?;
        tokens.push(Spanned { token, at });
        at = skip_blank(text, end);
    }
    tokens.push(Spanned { token: Token::End, at: text.len() });
    Ok(tokens)
}

/// The first offset from `at` on that is neither white space nor in a `//` comment.
fn skip_blank(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        if !rest.starts_with("//") {
            return at;
        }
        at += rest.find('\n').unwrap_or(rest.len());
    }
}

fn scan_one(text: &str, at: usize) -> Result<(Token<'_>, usize)> {
    let rest = &text[at..];
    let first = rest.chars().next().unwrap_or(' ');
    if first.is_ascii_digit() {
        let length = number_length(rest.as_bytes());
        return Ok((Token::Number(&rest[..length]), at + length));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = word_length(rest.as_bytes());
        return Ok((Token::Ident(&rest[..length]), at + length));
    }
    if first == '"' {
        return scan_string(text, at);
    }
    match SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
        Some(symbol) => Ok((Token::Symbol(symbol), at + symbol.len())),
        None => Err(error_at(text, at, format!("unexpected character {first:?}"))),
    }
}

fn word_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}

/// The value part and a suffix (`f32`, or the rest of `0x1f`).
fn number_length(bytes: &[u8]) -> usize {
    let value = value_length(bytes);
    value + word_length(&bytes[value..])
}

/// Digits, a fraction (only before a digit, so that `0..4` is a range) and an exponent.
fn value_length(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        length += 1 + digits(length + 1);
    }
    if bytes.get(length) == Some(&b'e') {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        if bytes.get(length + 1 + sign).is_some_and(u8::is_ascii_digit) {
            length += 1 + sign + digits(length + 1 + sign);
        }
    }
    length
}

/// A number token as value and type suffix: `1e-3f32` is `("1e-3", "f32")`.
pub fn split_suffix(number: &str) -> (&str, &str) {
    number.split_at(value_length(number.as_bytes()))
}

fn scan_string(text: &str, at: usize) -> Result<(Token<'_>, usize)> {
    let mut out = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Str(out), at + 1 + offset + 1)),
            '\n' => break,
            '\\' => match chars.next().and_then(|(_, c)| unescape(c, &mut chars)) {
                Some(c) => out.push(c),
                None => return Err(error_at(text, at + 1 + offset, "unknown escape in a string")),
            },
            other => out.push(other),
        }
    }
    Err(error_at(text, at, "this string does not end on its line"))
}

/// The inverse of Rust's `{:?}` of strings.
fn unescape(c: char, rest: &mut std::str::CharIndices) -> Option<char> {
    match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '0' => Some('\0'),
        '"' | '\\' | '\'' => Some(c),
        'u' => {
            let code: String = rest.map(|(_, c)| c).take_while(|c| *c != '}').collect();
            char::from_u32(u32::from_str_radix(code.strip_prefix('{')?, 16).ok()?)
        }
        _ => None,
    }
}

/// Can `name` be written bare?
pub fn is_ident(name: &str) -> bool {
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && word_length(name.as_bytes()) == name.len()
}

/// `name` as it is written: bare where possible, else as a string.
pub fn spell(name: &str) -> String {
    if is_ident(name) { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_not_fractions() {
        let mut c = Cursor::new("0..=4 1.5e-3f32 // c\n a_1 \"x\\n\\u{e9}\"").unwrap();
        let want = [Token::Number("0"), Token::Symbol("..="), Token::Number("4"), Token::Number("1.5e-3f32")];
        want.into_iter().for_each(|w| assert_eq!(c.bump(), w));
        assert_eq!((c.bump(), c.bump(), c.bump()), (Token::Ident("a_1"), Token::Str("x\né".into()), Token::End));
    }

    #[test]
    fn errors_give_line_and_column() {
        let error = Cursor::new("ab\n  §").unwrap_err();
        assert_eq!(error.diagnostic().message, "line 2, column 3: unexpected character '§'");
        let mut c = Cursor::new("a\n b").unwrap();
        c.bump();
        assert_eq!(c.expected("a number").diagnostic().message, "line 2, column 2: expected a number, found 'b'");
    }
}
