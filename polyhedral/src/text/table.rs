//! Parameters and arrays as text: the head that programs and loop nests share.

use super::expr_parser::{parse_aff, parse_dtype};
use super::lexer::{Cursor, Token, spell};
use super::names::{Iters, Names, Scope};
use super::pool::ConstantPool;
use crate::aff::Aff;
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::param::{Param, ParamDef};
use crate::program::{Array, ArrayId, ConstantData, Placement, Role};
use crate::scalar;

/// Constants of at most this many elements are written in the text.
const MAX_INLINE: usize = 16;

fn outside(scope: &Scope) -> Names<'_> {
    Names { scope, iters: Iters::Dims(&[]) }
}

pub fn print_param(param: &Param, scope: &Scope) -> String {
    let aff = |a: &Aff| outside(scope).aff(a);
    let def = match &param.def {
        ParamDef::Input { input, axis } => format!("input({input}, {axis})"),
        ParamDef::Content { input, at } => format!("content({input}, {at})"),
        ParamDef::Mul(a, b) => format!("mul({}, {})", aff(a), aff(b)),
        ParamDef::FloorDiv(a, b) => format!("floordiv({}, {})", aff(a), aff(b)),
        ParamDef::Max(a, b) => format!("max({}, {})", aff(a), aff(b)),
        ParamDef::Min(a, b) => format!("min({}, {})", aff(a), aff(b)),
        ParamDef::Value { array } => format!("value({})", spell(array)),
    };
    let min = if param.min == i64::MIN { String::new() } else { param.min.to_string() };
    let max = param.max.map_or("..".into(), |max| format!("..={max}"));
    format!("param {} = {def} in {min}{max} hint {}\n", spell(&param.name), param.hint)
}

/// The word `param` is already taken.
pub fn parse_param(cursor: &mut Cursor, scope: &Scope) -> Result<Param> {
    let name = cursor.name("the name of a parameter")?;
    cursor.expect("=")?;
    let def = parse_def(cursor, scope)?;
    cursor.expect_word("in")?;
    let min = if cursor.is("..") || cursor.is("..=") { i64::MIN } else { cursor.integer("the least value")? };
    let max = if cursor.accept("..=") {
        Some(cursor.integer("the largest value")?)
    } else {
        cursor.expect("..")?;
        None
    };
    cursor.expect_word("hint")?;
    Ok(Param { name, def, min, max, hint: cursor.integer("a typical value")? })
}

fn parse_def(cursor: &mut Cursor, scope: &Scope) -> Result<ParamDef> {
    let start = cursor.clone();
    let kind = cursor.ident("the definition of a parameter")?;
    cursor.expect("(")?;
    let def = match kind {
        "input" => {
            let input = cursor.index("the number of a graph input")?;
            cursor.expect(",")?;
            ParamDef::Input { input, axis: cursor.index("an axis")? }
        }
        "content" => {
            let input = cursor.index("the number of a graph input")?;
            cursor.expect(",")?;
            ParamDef::Content { input, at: cursor.index("an element")? }
        }
        "value" => ParamDef::Value { array: cursor.name("the name of an array")? },
        _ => {
            let make = match kind {
                "mul" => ParamDef::Mul,
                "floordiv" => ParamDef::FloorDiv,
                "max" => ParamDef::Max,
                "min" => ParamDef::Min,
                _ => return Err(start.expected("one of input, content, mul, floordiv, max, min, value")),
            };
            let a = parse_aff(cursor, &outside(scope))?;
            cursor.expect(",")?;
            make(a, parse_aff(cursor, &outside(scope))?)
        }
    };
    cursor.expect(")")?;
    Ok(def)
}

pub fn print_array(array: &Array, scope: &Scope, pool: &mut ConstantPool) -> String {
    let extents: Vec<String> = array.extents.iter().map(|e| outside(scope).aff(e)).collect();
    let role = match &array.role {
        Role::Input(n) => format!("input {n}"),
        Role::Output(n) => format!("output {n}"),
        Role::Temp => "temp".into(),
        Role::Constant(data) => format!("constant {}", print_constant(data, array.dtype, pool)),
    };
    let fold = if array.fold.iter().all(Option::is_none) && array.fold.len() == array.extents.len() {
        String::new()
    } else {
        let windows = array.fold.iter().map(|w| w.map_or("_".into(), |w| w.to_string()));
        format!(" fold [{}]", windows.collect::<Vec<_>>().join(", "))
    };
    let placement = match &array.placement {
        None => String::new(),
        Some(Placement::Slot(n)) => format!(" slot {n}"),
        Some(Placement::Register) => " register".into(),
    };
    format!("array {}: {}[{}] {role}{fold}{placement}\n", spell(&array.name), array.dtype, extents.join(", "))
}

/// The word `array` is already taken.
pub fn parse_array(cursor: &mut Cursor, scope: &Scope, pool: &ConstantPool) -> Result<Array> {
    let name = cursor.name("the name of an array")?;
    cursor.expect(":")?;
    let dtype = parse_dtype(cursor)?;
    cursor.expect("[")?;
    let extents = cursor.list("]", |c| parse_aff(c, &outside(scope)))?;
    let role = parse_role(cursor, dtype, pool)?;
    let mut array = Array::new(name, dtype, extents, role);
    if cursor.accept_word("fold") {
        cursor.expect("[")?;
        array.fold = cursor.list("]", |c| {
            if c.accept_word("_") { Ok(None) } else { c.integer("a number of planes, or _").map(Some) }
        })?;
    }
    if cursor.accept_word("slot") {
        array.placement = Some(Placement::Slot(cursor.index("the number of a slot")?));
    } else if cursor.accept_word("register") {
        array.placement = Some(Placement::Register);
    }
    Ok(array)
}

fn parse_role(cursor: &mut Cursor, dtype: DType, pool: &ConstantPool) -> Result<Role> {
    let start = cursor.clone();
    match cursor.ident("one of input, output, constant, temp")? {
        "input" => Ok(Role::Input(cursor.index("the number of a graph input")?)),
        "output" => Ok(Role::Output(cursor.index("the number of a graph output")?)),
        "constant" => Ok(Role::Constant(parse_constant(cursor, dtype, pool)?)),
        "temp" => Ok(Role::Temp),
        _ => Err(start.expected("one of input, output, constant, temp")),
    }
}

fn print_constant(data: &ConstantData, dtype: DType, pool: &mut ConstantPool) -> String {
    let bytes = data.bytes();
    if bytes.len() > MAX_INLINE * dtype.size() || !bytes.len().is_multiple_of(dtype.size()) {
        return format!("#{}", pool.add(data));
    }
    let elements: Vec<String> = bytes.chunks_exact(dtype.size()).map(|raw| print_element(raw, dtype)).collect();
    format!("{{{}}}", elements.join(", "))
}

/// Numbers as people write them; what has no such spelling (NaN, infinity, a `bool` of 7) by its bits.
fn print_element(raw: &[u8], dtype: DType) -> String {
    let bits = || raw.iter().rev().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    match scalar::read(raw, 0, dtype) {
        Scalar::Float(v, _) if !v.is_finite() => bits(),
        Scalar::Float(v, DType::F64) => format!("{v:?}"),
        Scalar::Float(v, _) => format!("{:?}", v as f32),
        Scalar::Int(v, DType::U64) => (v as u64).to_string(),
        Scalar::Int(..) if dtype == DType::Bool && raw[0] > 1 => bits(),
        Scalar::Int(v, _) => v.to_string(),
    }
}

fn parse_constant(cursor: &mut Cursor, dtype: DType, pool: &ConstantPool) -> Result<ConstantData> {
    if cursor.accept("#") {
        let start = cursor.clone();
        let n = cursor.index("the number of a constant")?;
        return pool.get(n).cloned().ok_or_else(|| start.error(format!("the side file has no constant #{n}")));
    }
    cursor.expect("{")?;
    let elements = cursor.list("}", |c| parse_element(c, dtype))?;
    Ok(ConstantData::new(elements.concat()))
}

fn parse_element(cursor: &mut Cursor, dtype: DType) -> Result<Vec<u8>> {
    let start = cursor.clone();
    let sign = if cursor.accept("-") { "-" } else { "" };
    let parsed = match cursor.bump() {
        Token::Number(digits) => element_bytes(&format!("{sign}{digits}"), dtype),
        _ => None,
    };
    parsed.ok_or_else(|| start.expected(&format!("a number of type {dtype}")))
}

fn element_bytes(digits: &str, dtype: DType) -> Option<Vec<u8>> {
    if let Some(bits) = digits.strip_prefix("0x") {
        let bits = u64::from_str_radix(bits, 16).ok()?.to_le_bytes();
        let (used, unused) = bits.split_at(dtype.size());
        return unused.iter().all(|b| *b == 0).then(|| used.to_vec());
    }
    let value = if dtype == DType::F32 {
        Scalar::Float(f64::from(digits.parse::<f32>().ok()?), dtype)
    } else if dtype.is_float() {
        Scalar::Float(digits.parse().ok()?, dtype)
    } else if dtype == DType::U64 {
        Scalar::Int(digits.parse::<u64>().ok()? as i64, dtype)
    } else {
        Scalar::Int(digits.parse().ok().filter(|v| fits(*v, dtype))?, dtype)
    };
    let mut bytes = vec![0; dtype.size()];
    scalar::write(&mut bytes, 0, value);
    Some(bytes)
}

fn fits(value: i64, dtype: DType) -> bool {
    let bits = dtype.bits();
    match dtype {
        DType::Bool => (0..=1).contains(&value),
        _ if bits == 64 => true,
        _ if dtype.is_signed() => (-(1 << (bits - 1))..1 << (bits - 1)).contains(&value),
        _ => (0..1 << bits).contains(&value),
    }
}

/// `inputs x, y`; nothing for an empty list.
pub fn print_list(word: &str, ids: &[ArrayId], scope: &Scope) -> String {
    if ids.is_empty() {
        return String::new();
    }
    let names: Vec<String> = ids.iter().map(|id| scope.array(*id)).collect();
    format!("{word} {}\n", names.join(", "))
}

/// The leading word is already taken.
pub fn parse_list(cursor: &mut Cursor, scope: &Scope) -> Result<Vec<ArrayId>> {
    let mut out = Vec::new();
    loop {
        let start = cursor.clone();
        let name = cursor.name("the name of an array")?;
        out.push(scope.find_array(&name).ok_or_else(|| start.expected("a declared array"))?);
        if !cursor.accept(",") {
            return Ok(out);
        }
    }
}
