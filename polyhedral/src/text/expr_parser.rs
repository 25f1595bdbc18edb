//! Parses expressions, accesses and affine expressions: recursive descent over three infix levels.

use super::expr::{COMPARISONS, affine};
use super::lexer::{Cursor, Token, split_suffix};
use super::names::Names;
use crate::aff::Aff;
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::expr::{Access, BinaryOp, Expr, UnaryOp};

/// Expressions may be this high: printing, visiting and dropping them recurses.
const MAX_HEIGHT: u32 = 1000;

pub fn parse_expr(cursor: &mut Cursor, names: &Names) -> Result<Expr> {
    Ok(Parser::new(cursor, names).comparison()?.expr)
}

/// An affine expression; anything else is an error at its start.
pub fn parse_aff(cursor: &mut Cursor, names: &Names) -> Result<Aff> {
    let start = cursor.clone();
    match Parser::new(cursor, names).sum()?.expr {
        Expr::Index(aff) => Ok(aff),
        _ => Err(start.expected("an affine expression")),
    }
}

/// `name[subscript, ...]`.
pub fn parse_access(cursor: &mut Cursor, names: &Names) -> Result<Access> {
    let start = cursor.clone();
    match Parser::new(cursor, names).atom()?.expr {
        Expr::Load(access) => Ok(access),
        _ => Err(start.expected("an array element such as x[0]")),
    }
}

struct Parsed {
    expr: Expr,
    height: u32,
}

impl Parsed {
    fn leaf(expr: Expr) -> Parsed {
        Parsed { expr, height: 0 }
    }
}

struct Parser<'c, 'a, 'n> {
    cursor: &'c mut Cursor<'a>,
    names: &'n Names<'n>,
    /// Where the last infix division of an affine expression by a constant ended: directly inside `floor(..)`
    /// it belongs to the affine notation.
    division_end: Option<usize>,
}

impl<'c, 'a, 'n> Parser<'c, 'a, 'n> {
    fn new(cursor: &'c mut Cursor<'a>, names: &'n Names<'n>) -> Self {
        Parser { cursor, names, division_end: None }
    }

    fn comparison(&mut self) -> Result<Parsed> {
        let left = self.sum()?;
        let Some((_, op)) = COMPARISONS.into_iter().find(|(symbol, _)| self.cursor.is(symbol)) else {
            return Ok(left);
        };
        self.cursor.bump();
        let right = self.sum()?;
        self.binary(op, left, right)
    }

    fn sum(&mut self) -> Result<Parsed> {
        let mut left = self.product()?;
        loop {
            let op = match self.cursor.peek() {
                Token::Symbol("+") => BinaryOp::Add,
                Token::Symbol("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.cursor.bump();
            let right = self.product()?;
            left = self.infix(op, left, right)?;
        }
    }

    fn product(&mut self) -> Result<Parsed> {
        let mut left = self.unary()?;
        loop {
            let op = match self.cursor.peek() {
                Token::Symbol("*") => BinaryOp::Mul,
                Token::Symbol("/") => BinaryOp::Div,
                _ => return Ok(left),
            };
            self.cursor.bump();
            let right = self.unary()?;
            left = self.infix(op, left, right)?;
            self.division_end = (op == BinaryOp::Div).then(|| self.cursor.position());
        }
    }

    /// A minus sign before a number belongs to the literal.
    fn unary(&mut self) -> Result<Parsed> {
        if !self.cursor.accept("-") {
            return self.atom();
        }
        if let Token::Number(digits) = *self.cursor.peek() {
            return self.number("-", digits);
        }
        self.cursor.enter()?;
        let operand = self.unary()?;
        self.cursor.leave();
        match operand.expr {
            Expr::Index(a) => Ok(Parsed { expr: Expr::Index(-a), ..operand }),
            Expr::Const(Scalar::Float(v, t)) if !v.is_finite() => Ok(Parsed::leaf(Expr::float(-v, t))),
            expr => self.node(&[operand.height], Expr::unary(UnaryOp::Neg, expr)),
        }
    }

    fn atom(&mut self) -> Result<Parsed> {
        self.cursor.enter()?;
        let out = match self.cursor.peek().clone() {
            Token::Number(digits) => self.number("", digits),
            Token::Symbol("(") => self.parentheses(),
            Token::Symbol("%") => self.numbered_iterator(),
            Token::Ident(name) => match self.cursor.peek_second() {
                Token::Symbol("(") => self.call(name),
                Token::Symbol("[") => self.load(),
                _ => self.word(name),
            },
            Token::Str(name) => match self.cursor.peek_second() {
                Token::Symbol("[") => self.load(),
                _ => self.quoted_param(&name),
            },
            _ => Err(self.cursor.expected("an expression")),
        }?;
        self.cursor.leave();
        Ok(out)
    }

    fn number(&mut self, sign: &str, token: &str) -> Result<Parsed> {
        let (digits, suffix) = split_suffix(token);
        let digits = format!("{sign}{digits}");
        match number_literal(&digits, suffix) {
            Some(expr) => {
                self.cursor.bump();
                Ok(Parsed::leaf(expr))
            }
            None => Err(self.cursor.expected("an integer, or a number with its type such as 1.5f32")),
        }
    }

    fn parentheses(&mut self) -> Result<Parsed> {
        self.cursor.bump();
        let out = self.comparison()?;
        self.cursor.expect(")")?;
        Ok(out)
    }

    fn numbered_iterator(&mut self) -> Result<Parsed> {
        self.cursor.bump();
        let n = self.cursor.index("the number of an iterator")?;
        Ok(Parsed::leaf(Expr::iter(n)))
    }

    fn word(&mut self, name: &str) -> Result<Parsed> {
        let expr = match name {
            "true" | "false" => Expr::Const(Scalar::Int(i64::from(name == "true"), DType::Bool)),
            _ => Expr::Index(self.names.find(name).ok_or_else(|| self.unknown("parameter or iterator"))?),
        };
        self.cursor.bump();
        Ok(Parsed::leaf(expr))
    }

    fn quoted_param(&mut self, name: &str) -> Result<Parsed> {
        let id = self.names.scope.find_param(name).ok_or_else(|| self.unknown("parameter"))?;
        self.cursor.bump();
        Ok(Parsed::leaf(Expr::Index(Aff::param(id))))
    }

    fn load(&mut self) -> Result<Parsed> {
        let start = self.cursor.clone();
        let name = self.cursor.name("an array")?;
        let array = self.names.scope.find_array(&name).ok_or_else(|| start.expected("a declared array"))?;
        self.cursor.expect("[")?;
        let (heights, index) = self.operands("]")?;
        self.node(&heights, Expr::Load(Access { array, index }))
    }

    fn operands(&mut self, close: &str) -> Result<(Vec<u32>, Vec<Expr>)> {
        let mut parsed = Vec::new();
        while !self.cursor.is(close) {
            parsed.push(self.comparison()?);
            if !self.cursor.accept(",") {
                break;
            }
        }
        let end = self.cursor.position();
        self.cursor.expect(close)?;
        self.division_end = self.division_end.filter(|at| *at == end).map(|_| self.cursor.position());
        Ok(parsed.into_iter().map(|p| (p.height, p.expr)).unzip())
    }

    /// `f32(x)`, `exp(x)`, `max(x, y)`, `select(c, x, y)`, `inf(f32)`, `nan(f32)`.
    fn call(&mut self, name: &str) -> Result<Parsed> {
        if matches!(name, "inf" | "nan") {
            return self.special(name);
        }
        let start = self.cursor.clone();
        self.cursor.bump();
        self.cursor.bump();
        let (heights, operands) = self.operands(")")?;
        let divided = self.division_end == Some(self.cursor.position());
        let expr = build(name, divided, operands)
            .ok_or_else(|| start.error(format!("there is no function '{name}' of {} operands", heights.len())))?;
        self.node(&heights, expr)
    }

    fn special(&mut self, name: &str) -> Result<Parsed> {
        self.cursor.bump();
        self.cursor.bump();
        let dtype = parse_dtype(self.cursor)?;
        self.cursor.expect(")")?;
        let value = if name == "inf" { f64::INFINITY } else { f64::NAN };
        Ok(Parsed::leaf(Expr::float(value, dtype)))
    }

    /// An infix operation; affine operands give an affine result where there is one.
    fn infix(&mut self, op: BinaryOp, left: Parsed, right: Parsed) -> Result<Parsed> {
        if let (Expr::Index(a), Expr::Index(b)) = (&left.expr, &right.expr)
            && let Some(aff) = affine(op, a, b)
        {
            return Ok(Parsed { expr: Expr::Index(aff), height: left.height.max(right.height) });
        }
        self.binary(op, left, right)
    }

    fn binary(&mut self, op: BinaryOp, left: Parsed, right: Parsed) -> Result<Parsed> {
        self.node(&[left.height, right.height], Expr::binary(op, left.expr, right.expr))
    }

    fn node(&self, operands: &[u32], expr: Expr) -> Result<Parsed> {
        let height = operands.iter().max().map_or(0, |h| h + 1);
        if height > MAX_HEIGHT {
            return Err(self.cursor.error(format!("an expression more than {MAX_HEIGHT} operations high")));
        }
        Ok(Parsed { expr, height })
    }

    fn unknown(&self, what: &str) -> crate::error::Error {
        self.cursor.expected(&format!("a declared {what}"))
    }
}

fn build(name: &str, divided: bool, operands: Vec<Expr>) -> Option<Expr> {
    let mut operands = operands.into_iter();
    let next = (operands.next()?, operands.next(), operands.next(), operands.next());
    match (name, next) {
        (_, (_, _, _, Some(_))) => None,
        ("select", (c, Some(a), Some(b), _)) => Some(Expr::select(c, a, b)),
        ("floor", (a, None, None, _)) => Some(floor(divided, a)),
        (_, (a, None, None, _)) => match DType::parse(name) {
            Some(dtype) => Some(Expr::cast(dtype, a)),
            None => Some(Expr::unary(UnaryOp::parse(name)?, a)),
        },
        (_, (a, Some(b), None, _)) => Some(Expr::binary(BinaryOp::parse(name)?, a, b)),
        _ => None,
    }
}

/// `floor(affine/constant)` is affine; any other operand has the operation `floor` itself.
fn floor(divided: bool, a: Expr) -> Expr {
    if let (true, Expr::Binary(BinaryOp::Div, x, y)) = (divided, &a)
        && let (Expr::Index(x), Expr::Index(y)) = (x.as_ref(), y.as_ref())
        && let Some(divisor @ 1..) = y.as_constant()
    {
        return Expr::Index(x.floor_div(divisor));
    }
    Expr::unary(UnaryOp::Floor, a)
}

/// `digits` (with sign) in the type that the suffix names; none is an affine constant.
fn number_literal(digits: &str, suffix: &str) -> Option<Expr> {
    if suffix.is_empty() {
        return Some(Expr::int(digits.parse().ok()?));
    }
    let (wide, name) = suffix.strip_prefix("f64_").map_or((false, suffix), |name| (true, name));
    let dtype = DType::parse(name)?;
    let value = match (dtype.is_float(), wide || dtype == DType::F64) {
        (true, true) => Scalar::Float(digits.parse().ok()?, dtype),
        (true, false) => Scalar::Float(f64::from(digits.parse::<f32>().ok()?), dtype),
        (false, _) => Scalar::Int(digits.parse().ok()?, dtype),
    };
    Some(Expr::Const(value))
}

pub fn parse_dtype(cursor: &mut Cursor) -> Result<DType> {
    let start = cursor.clone();
    DType::parse(cursor.ident("an element type")?).ok_or_else(|| start.expected("an element type"))
}
