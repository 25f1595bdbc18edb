//! Arrays of words: neighbours of one dimension side by side in 32 bits.

use super::factor::Factor;
use crate::aff::Aff;
use crate::dtype::DType;
use crate::expr::{Access, BinaryOp, Expr};
use crate::program::{Array, ArrayId, ConstantData, Made, Program, Role, Statement, StatementId, StatementKind};
use crate::schedule_tree::Node;
use crate::transform::{self, Path};
use indexmap::IndexMap;

/// The arrays of words made so far: several sums may read the same.
#[derive(Default)]
pub struct Words(Vec<(Expr, ArrayId, usize, u32, ArrayId)>);

impl Words {
    /// The words of a factor, `parts` neighbours in each; one whose place is known (see [`place`]) is computed there.
    pub fn of(&mut self, program: &mut Program, factor: &Factor, parts: u32, place: Option<Place>) -> Option<ArrayId> {
        let same = |(value, array, dim, n, _): &&(Expr, ArrayId, usize, u32, ArrayId)| {
            (value, *array, *dim, *n) == (&factor.value, factor.array, factor.dim, parts)
        };
        if let Some((.., made)) = self.0.iter().find(same) {
            return Some(*made);
        }
        let made = match place {
            None => constant(program, factor, parts)?,
            Some(place) => computed(program, factor, parts, place),
        };
        self.0.push((factor.value.clone(), factor.array, factor.dim, parts, made));
        Some(made)
    }
}

fn declare(program: &mut Program, factor: &Factor, parts: u32, role: Role) -> ArrayId {
    let source = program.array(factor.array);
    let mut extents = source.extents.clone();
    extents[factor.dim] = words_in(&extents[factor.dim], parts);
    let name = transform::unused_name(program, &format!("{}_words", source.name));
    program.add_array(Array::new(name, DType::I32, extents, role))
}

/// Words that hold `extent` neighbours.
pub fn words_in(extent: &Aff, parts: u32) -> Aff {
    (extent.clone() + Aff::constant(i64::from(parts) - 1)).floor_div(i64::from(parts))
}

fn constant(program: &mut Program, factor: &Factor, parts: u32) -> Option<ArrayId> {
    let values = factor.constants(program)?;
    let extents = factor.extents(program)?;
    let (inner, own) = (extents[factor.dim + 1..].iter().product::<i64>() as usize, extents[factor.dim] as usize);
    let outer = extents[..factor.dim].iter().product::<i64>() as usize;
    let (parts, bits) = (parts as usize, 32 / parts);
    let words = own.div_ceil(parts);
    let mut bytes = Vec::with_capacity(4 * outer * words * inner);
    for (block, word) in (0..outer).flat_map(|o| (0..words).map(move |w| (o, w))) {
        let here = (word * parts..own.min((word + 1) * parts)).enumerate();
        let rows: Vec<_> = here.map(|(n, k)| (bits * n as u32, (block * own + k) * inner)).collect();
        for i in 0..inner {
            let mask = u32::MAX >> (32 - bits);
            let join = |word: u32, (by, row): &(u32, usize)| word | (values[row + i] as u32 & mask) << by;
            bytes.extend(rows.iter().fold(0u32, join).to_le_bytes());
        }
    }
    let made = declare(program, factor, parts as u32, Role::Constant(ConstantData::new(bytes)));
    let by = maker(program, factor, parts as u32, made);
    program.history.made.push(Made { array: made, by });
    Some(made)
}

// ---- words computed at run time ------------------------------------------------------------------------

/// Where an array is complete: before which node, and for every loop around it the dimension that it steps along.
pub struct Place {
    before: Path,
    around: Vec<usize>,
}

impl Place {
    /// Is the array complete before the statement, too?
    pub fn is_before(&self, program: &Program, id: StatementId) -> bool {
        transform::path_to(&program.schedule.roots, id).is_some_and(|path| self.before <= path)
    }
}

/// Where what reads all of `array` can stand so that `reader` finds it; `None` where that is nowhere.
pub fn place(program: &Program, array: ArrayId, reader: StatementId) -> Option<Place> {
    let path = |id: StatementId| transform::path_to(&program.schedule.roots, id);
    let used = path(reader)?;
    let writers: Vec<_> = program.statements().filter(|(_, s)| s.target.array == array).collect();
    if writers.is_empty() {
        return Some(Place { before: vec![used[0]], around: vec![] });
    }
    if writers.iter().any(|(_, s)| s.guard.is_some()) {
        return None;
    }
    let written = writers.iter().map(|(id, _)| path(*id)).collect::<Option<Vec<Path>>>()?;
    let shared = |n: usize| written.iter().all(|p| p.get(..n) == used.get(..n) && p.get(..n).is_some());
    let common = (0..used.len()).take_while(|n| shared(*n)).last()?;
    // Were a writer beside others in the loop of the reader, the words would be needed there too.
    if written.iter().any(|p| p[common] == used[common]) {
        return None;
    }
    let last = written.iter().map(|p| p[common]).max()?;
    let around = (1..=common).map(|n| {
        let band = transform::band_at(&program.schedule, &used[..n])?;
        let dims = writers.iter().map(|(id, s)| stepped(program, s, band.members.get(id)?.as_iter()?));
        let dims = dims.collect::<Option<Vec<usize>>>()?;
        dims.iter().all(|d| *d == dims[0]).then_some(dims[0])
    });
    Some(Place { around: around.collect::<Option<_>>()?, before: [&used[..common], &[last + 1]].concat() })
}

/// The dimension of its array that a statement writes at iterator `d`, over the same range.
fn stepped(program: &Program, statement: &Statement, d: usize) -> Option<usize> {
    let plain = |e: &Expr| matches!(e, Expr::Index(a) if a.as_iter() == Some(d));
    let dim = statement.target.index.iter().position(plain)?;
    (program.array(statement.target.array).extents[dim] == statement.extents[d]).then_some(dim)
}

fn computed(program: &mut Program, factor: &Factor, parts: u32, place: Place) -> ArrayId {
    let words = declare(program, factor, parts, Role::Temp);
    let statement = maker(program, factor, parts, words);
    let rank = statement.extents.len();
    let id = program.add_statement(statement);
    for (n, dim) in place.around.iter().enumerate() {
        if let Some(band) = transform::band_at_mut(&mut program.schedule, &place.before[..=n]) {
            band.members.insert(id, Aff::iter(*dim));
        }
    }
    let free = (0..rank).filter(|d| !place.around.contains(d));
    let nest = Node::nest(free.map(|d| IndexMap::from([(id, Aff::iter(d))])).collect(), vec![Node::Leaf(id)]);
    if let Some((nodes, at)) = transform::siblings(&mut program.schedule, &place.before) {
        nodes.splice(at..at, nest);
    }
    words
}

/// The statement that computes the array `words`.
fn maker(program: &Program, factor: &Factor, parts: u32, words: ArrayId) -> Statement {
    let extents = program.array(words).extents.clone();
    let value = word(factor, &program.array(factor.array).extents[factor.dim], parts);
    let source = program.statements().find(|(_, s)| s.target.array == factor.array);
    Statement {
        dims: (0..extents.len()).map(|n| format!("i{n}")).collect(),
        constraints: vec![],
        kind: StatementKind::Assign,
        target: Access { array: words, index: (0..extents.len()).map(Expr::iter).collect() },
        value,
        guard: None,
        origin: source.map(|(_, s)| s.origin.clone()).unwrap_or_default(),
        extents,
    }
}

/// The value of one word; neighbours behind the last are zero.
fn word(factor: &Factor, extent: &Aff, parts: u32) -> Expr {
    let bits = 32 / parts;
    let lit = |n: u32| Expr::literal(f64::from(n), DType::I32);
    let whole = extent.as_constant().is_some_and(|e| e % i64::from(parts) == 0);
    let part = |n: u32| {
        let at = Aff::iter(factor.dim) * i64::from(parts) + Aff::constant(i64::from(n));
        let own = factor.value.substitute_aff(&|d| if d == factor.dim { at.clone() } else { Aff::iter(d) });
        let inside = Expr::binary(BinaryOp::Lt, Expr::Index(at.clone()), Expr::Index(extent.clone()));
        let own = if whole || n == 0 { own } else { Expr::select(inside, own, lit(0)) };
        // The highest loses by the shift what the others lose by the mask.
        let own = if n + 1 < parts { Expr::binary(BinaryOp::And, own, lit(u32::MAX >> (32 - bits))) } else { own };
        if n == 0 { own } else { Expr::binary(BinaryOp::Shl, own, lit(n * bits)) }
    };
    (1..parts).fold(part(0), |word, n| Expr::binary(BinaryOp::Or, word, part(n)))
}
