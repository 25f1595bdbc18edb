//! Text to graph.

use super::lexer::{Placed, Token, tokens};
use super::scalar;
use crate::graph::{Attribute, Block, Graph, Node, Port, Tensor, TensorId, verify};
use indexmap::IndexMap;
use sirius_polyhedral::{Aff, ConstantData, DType, Error, Param, ParamDef, Result};

/// Blocks inside one another; a deeper text is no graph of ours.
const DEPTH: usize = 64;

/// Parses what `print` wrote and verifies it. `weight(n, bytes)` gives constant `#n`, of so many bytes; it is
/// called for 0, 1, 2 and so on.
pub fn parse(text: &str, mut weight: impl FnMut(usize, usize) -> Option<ConstantData>) -> Result<Graph> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, graph: Graph::default(), depth: 0 };
    parser.word("graph")?;
    parser.graph.name = parser.text()?;
    while parser.accept_word("param") {
        parser.param()?;
    }
    while parser.accept_word("fixed") {
        parser.fixed()?;
    }
    while parser.accept_word("input") {
        let port = parser.port()?;
        parser.graph.signature.inputs.push(port);
    }
    while parser.accept_word("output") {
        let port = parser.port()?;
        parser.graph.signature.outputs.push(port);
    }
    while parser.tensor(&mut weight)? {}
    parser.word("main")?;
    parser.graph.main = parser.block()?;
    if parser.at != parser.tokens.len() {
        return Err(parser.expected("the end"));
    }
    verify::verify(&parser.graph).map_err(|e| Error::invalid("E122", e.diagnostic().message.clone()))?;
    Ok(parser.graph)
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    graph: Graph,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn expected(&self, what: &str) -> Error {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line);
        let found = self.peek().map_or_else(|| "the end".to_string(), |t| format!("{t:?}"));
        Error::invalid("E121", format!("line {line}: expected {what}, found {found}"))
    }

    fn accept(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn accept_mark(&mut self, mark: char) -> bool {
        self.accept(&Token::Mark(mark))
    }

    fn accept_word(&mut self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(w)) if w == word) && {
            self.at += 1;
            true
        }
    }

    fn mark(&mut self, mark: char) -> Result<()> {
        if self.accept_mark(mark) { Ok(()) } else { Err(self.expected(&format!("'{mark}'"))) }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if self.accept_word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.expected("a name")),
        }
    }

    fn text(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Text(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected("a string")),
        }
    }

    fn int(&mut self) -> Result<i64> {
        match self.peek() {
            Some(Token::Number(text)) => {
                let value = text.parse().map_err(|_| self.expected("an integer"))?;
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.expected("an integer")),
        }
    }

    /// `fixed 1 [8, 0]`: the bytes that input 1 must have.
    fn fixed(&mut self) -> Result<()> {
        let input = self.index()?;
        let byte = |p: &mut Parser| u8::try_from(p.int()?).map_err(|_| p.expected("a byte"));
        let bytes = self.list('[', ']', byte)?;
        self.graph.fixed.insert(input, ConstantData::new(bytes));
        Ok(())
    }

    /// `input "xs" "seq(2)"`: what the file's inputs (or outputs) are made of.
    fn port(&mut self) -> Result<Port> {
        let name = self.text()?;
        let form = self.text()?.parse().map_err(|_| self.expected("the form of a value, such as \"seq(2)\""))?;
        Ok(Port { name, form })
    }

    fn index(&mut self) -> Result<usize> {
        let value = self.int()?;
        usize::try_from(value).map_err(|_| self.expected("an index"))
    }

    /// `open item, item close`
    fn list<T>(&mut self, open: char, close: char, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.mark(open)?;
        let mut items = Vec::new();
        while !self.accept_mark(close) {
            if !items.is_empty() {
                self.mark(',')?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `2*batch + floor((seq + 3)/4) - 1`
    fn aff(&mut self) -> Result<Aff> {
        let mut sum = self.signed_term()?;
        loop {
            if self.accept_mark('+') {
                sum = sum + self.term()?;
            } else if self.accept_mark('-') {
                sum = sum - self.term()?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn signed_term(&mut self) -> Result<Aff> {
        if self.accept_mark('-') { Ok(-self.term()?) } else { self.term() }
    }

    fn term(&mut self) -> Result<Aff> {
        if matches!(self.peek(), Some(Token::Number(_))) {
            let number = self.int()?;
            return if self.accept_mark('*') { Ok(self.atom()? * number) } else { Ok(Aff::constant(number)) };
        }
        self.atom()
    }

    fn atom(&mut self) -> Result<Aff> {
        let name = self.name()?;
        if name != "floor" || !self.accept_mark('(') {
            let id = self.graph.params.find(&name).ok_or_else(|| self.expected("a parameter before"))?;
            return Ok(Aff::param(id));
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.expected("less nesting"));
        }
        self.mark('(')?;
        let above = self.aff()?;
        self.mark(')')?;
        self.mark('/')?;
        let divisor = self.int()?;
        self.mark(')')?;
        self.depth -= 1;
        if divisor < 1 { Err(self.expected("a positive divisor before")) } else { Ok(above.floor_div(divisor)) }
    }

    /// `name = definition [min n] [max n] hint n`
    fn param(&mut self) -> Result<()> {
        let name = self.name()?;
        self.mark('=')?;
        let def = self.definition()?;
        let min = if self.accept_word("min") { self.int()? } else { i64::MIN };
        let max = if self.accept_word("max") { Some(self.int()?) } else { None };
        self.word("hint")?;
        let hint = self.int()?;
        self.graph.params.push(Param { name, def, min, max, hint });
        Ok(())
    }

    fn definition(&mut self) -> Result<ParamDef> {
        let kind = self.name()?;
        self.mark('(')?;
        let def = match kind.as_str() {
            "value" => ParamDef::Value { array: self.text()? },
            "input" => {
                let input = self.index()?;
                self.mark(',')?;
                ParamDef::Input { input, axis: self.index()? }
            }
            "content" => {
                let input = self.index()?;
                self.mark(',')?;
                ParamDef::Content { input, at: self.index()? }
            }
            _ => {
                let a = self.aff()?;
                self.mark(',')?;
                let b = self.aff()?;
                match kind.as_str() {
                    "mul" => ParamDef::Mul(a, b),
                    "floordiv" => ParamDef::FloorDiv(a, b),
                    "max" => ParamDef::Max(a, b),
                    "min" => ParamDef::Min(a, b),
                    _ => return Err(self.expected("a parameter definition before")),
                }
            }
        };
        self.mark(')')?;
        Ok(def)
    }

    fn tensor_id(&mut self) -> Result<TensorId> {
        let error = self.expected("a tensor");
        let name = self.name()?;
        name.strip_prefix('t').and_then(|n| n.parse().ok()).map(TensorId).ok_or(error)
    }

    /// `t0 "x" f32[batch, 768]`, then `= #n`, `= [elements]` or `~ [expressions]`. `false` where none follows.
    fn tensor(&mut self, weight: &mut impl FnMut(usize, usize) -> Option<ConstantData>) -> Result<bool> {
        if matches!(self.peek(), Some(Token::Word(w)) if w == "main") {
            return Ok(false);
        }
        let id = self.tensor_id()?;
        if id.0 as usize != self.graph.tensors.len() {
            return Err(self.expected(&format!("tensor t{} before", self.graph.tensors.len())));
        }
        let name = self.text()?;
        let dtype = self.name()?;
        let dtype = DType::parse(&dtype).ok_or_else(|| self.expected("an element type before"))?;
        let shape = self.list('[', ']', Self::aff)?;
        let mut tensor = Tensor { name, dtype, shape, constant: None, symbolic: None };
        if self.accept_mark('=') {
            tensor.constant = Some(self.constant(&tensor, weight)?);
        }
        if self.accept_mark('~') {
            tensor.symbolic = Some(self.list('[', ']', Self::aff)?);
        }
        self.graph.add_tensor(tensor);
        Ok(true)
    }

    fn constant(
        &mut self,
        tensor: &Tensor,
        weight: &mut impl FnMut(usize, usize) -> Option<ConstantData>,
    ) -> Result<ConstantData> {
        if self.accept_mark('#') {
            let n = self.index()?;
            let shape = tensor.fixed_shape().unwrap_or_default();
            let bytes = shape.iter().try_fold(tensor.dtype.size(), |s, &n| s.checked_mul(usize::try_from(n).ok()?));
            return bytes.and_then(|bytes| weight(n, bytes)).ok_or_else(|| self.expected("the weight's data beside"));
        }
        let elements = self.list('[', ']', |p| p.element(tensor.dtype))?;
        Ok(ConstantData::new(elements.concat()))
    }

    /// One literal; `inf` and `NaN` are words to the lexer.
    fn element(&mut self, dtype: DType) -> Result<Vec<u8>> {
        let bytes = match self.peek() {
            Some(Token::Number(text) | Token::Word(text)) => scalar::parse(text, dtype),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| self.expected(&format!("a literal of type {dtype}")))?;
        self.at += 1;
        Ok(bytes)
    }

    fn float(&mut self) -> Result<f32> {
        let bytes = self.element(DType::F32)?;
        Ok(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// `(inputs) -> (outputs) { nodes }`
    fn block(&mut self) -> Result<Block> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.expected("less nesting"));
        }
        let inputs = self.list('(', ')', Self::tensor_id)?;
        self.mark('>')?;
        let outputs = self.list('(', ')', Self::tensor_id)?;
        self.mark('{')?;
        let mut nodes = Vec::new();
        while !self.accept_mark('}') {
            nodes.push(self.node()?);
        }
        self.depth -= 1;
        Ok(Block { inputs, nodes, outputs })
    }

    fn optional_id(&mut self) -> Result<Option<TensorId>> {
        if self.accept_word("_") { Ok(None) } else { self.tensor_id().map(Some) }
    }

    fn node(&mut self) -> Result<Node> {
        let domain = if matches!(self.peek(), Some(Token::Text(_))) { self.text()? } else { String::new() };
        let op = self.name()?;
        self.mark('@')?;
        let version = self.int()?;
        let name = self.text()?;
        let inputs = self.list('(', ')', Self::optional_id)?;
        self.mark('>')?;
        let outputs = self.list('(', ')', Self::optional_id)?;
        let mut attributes = IndexMap::new();
        if self.peek() == Some(&Token::Mark('{')) {
            attributes.extend(self.list('{', '}', Self::attribute)?);
        }
        while self.accept_mark(':') {
            let name = self.name()?;
            attributes.insert(name, Attribute::Block(self.block()?));
        }
        Ok(Node { name, op, domain, version, inputs, outputs, attributes })
    }

    fn attribute(&mut self) -> Result<(String, Attribute)> {
        let name = self.name()?;
        self.mark('=')?;
        let value = match self.peek().cloned() {
            Some(Token::Text(_)) => Attribute::String(self.text()?),
            Some(Token::Number(_)) => Attribute::Int(self.int()?),
            Some(Token::Mark('[')) => Attribute::Ints(self.list('[', ']', Self::int)?),
            _ if self.accept_word("s") => Attribute::Strings(self.list('[', ']', Self::text)?),
            _ if self.accept_word("f") => match self.peek() {
                Some(Token::Mark('[')) => Attribute::Floats(self.list('[', ']', Self::float)?),
                _ => Attribute::Float(self.float()?),
            },
            _ => Attribute::Tensor(self.tensor_id()?),
        };
        Ok((name, value))
    }
}
