//! `dot`: sums of products of small integers take several products at once.
//!
//! Rewrite: of a sum `s += a(k) * b(k)` in `i32` whose factors fit 16 bits, or 8, the factors are put side by side in words
//! of 32 bits, neighbours in `k` in one, and the sum runs over words: `s += dot2(A(w), B(w))`, or `dot4`. Words of constants
//! are made at compile time, others where their array is complete. What fits is read off the values (`range`), so it does
//! not matter which operator the sum is of; quantized tensors minus their zero points always fit 16 bits.
//!
//! Bytes, which processors with VNNI multiply, are twice as fast: `sum((a - z) * b)` with unsigned bytes `a` and signed ones
//! `b` is taken as `sum(a * b) - z * sum(b)`, where the sum of the constant `b` is known. Then the accumulator starts at
//! `-z * sum(b)`.
//!
//! Always legal: integers wrap, so that every order and grouping of a sum gives the same bits, under every numeric contract.
//! Declined where the factors of `k` are not neighbours in one dimension, where words would be read less often than
//! [`MIN_REUSE`] times, and where the array is not complete in front of the sum.

mod factor;
pub mod range;
mod words;

use crate::aff::Aff;
use crate::dtype::DType;
use crate::error::Result;
use crate::expr::{Access, BinaryOp, Expr};
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{
    Array, ArrayId, ConstantData, Made, Program, Renaming, Role, Statement, StatementId, StatementKind,
};
use crate::schedule::{group, pack};
use crate::transform;
use factor::Factor;
use range::{Range, Ranges};
use words::{Place, Words, place, words_in};

pub struct Dot;

/// Words pay when each that is made at run time is read at least this often.
const MIN_REUSE: i64 = 4;

const I16: Range = (-(1 << 15), (1 << 15) - 1);
const I8: Range = (-(1 << 7), (1 << 7) - 1);
const U8: Range = (0, (1 << 8) - 1);

impl Pass for Dot {
    fn name(&self) -> &'static str {
        "dot"
    }

    fn summary(&self) -> &'static str {
        "take several products of small integers at once"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut words = Words::default();
        for id in if context.machine.gpu { vec![] } else { program.schedule.statements() } {
            let Some(plan) = plan(program, id, context.machine) else { continue };
            let (parts, origin) = (plan.parts, program.statement(id).origin.clone());
            if apply(program, id, plan, &mut words).is_some() {
                context.applied(self.name(), &origin, format!("products of {parts} neighbours at once"));
            }
        }
        Ok(())
    }
}

/// How a sum is to be taken.
struct Plan {
    parts: u32,
    /// The iterator whose neighbours share a word.
    k: usize,
    factors: [Factor; 2],
    places: [Option<Place>; 2],
    start: Option<Start>,
}

/// What the accumulator starts with: `- zero * sums[..]`.
struct Start {
    init: StatementId,
    zero: Expr,
    at: Vec<Expr>,
    sums: Vec<i32>,
    extents: Vec<Aff>,
    /// What the sums are of: a value for every element of an array of these extents, and the dimensions that are kept.
    of: Expr,
    over: Vec<Aff>,
    kept: Vec<usize>,
}

fn plan(program: &Program, id: StatementId, machine: &Machine) -> Option<Plan> {
    let statement = program.get_statement(id)?;
    let Expr::Binary(BinaryOp::Mul, a, b) = &statement.value else { return None };
    let sums = statement.kind == StatementKind::Reduce(BinaryOp::Add) && statement.constraints.is_empty();
    if !sums || program.array(statement.target.array).dtype != DType::I32 {
        return None;
    }
    let hint = |k: &usize| program.params.hint(&statement.extents[*k]);
    let mut summed: Vec<usize> = (0..statement.extents.len()).filter(|k| is_summed(program, id, *k)).collect();
    summed.sort_by_key(|k| std::cmp::Reverse(hint(k)));
    let ranges = Ranges::new(program);
    let bytes = summed.iter().filter(|k| machine.byte_dots && hint(k) >= 4);
    let in_bytes = |k: &usize| {
        let (k, one) = (*k, [a.as_ref(), b.as_ref()]);
        of_bytes(program, id, k, one, &ranges).or_else(|| of_bytes(program, id, k, [one[1], one[0]], &ranges))
    };
    let found = bytes.filter_map(in_bytes).next();
    let pairs =
        || summed.iter().filter(|k| hint(k) >= 2).filter_map(|k| of_pairs(program, id, *k, [a, b], &ranges)).next();
    found.or_else(pairs)
}

/// Is `k` one sequential loop over a summed dimension of this statement alone?
fn is_summed(program: &Program, id: StatementId, k: usize) -> bool {
    let statement = program.statement(id);
    let in_guard = statement.guard.as_ref().is_some_and(|g| {
        let mut found = false;
        g.visit_affs(&mut |a| found |= a.uses_iter(k));
        found
    });
    let path = transform::path_to(&program.schedule.roots, id).unwrap_or_default();
    let alone = (1..path.len()).filter_map(|n| transform::band_at(&program.schedule, &path[..n])).all(|band| {
        let value = &band.members[&id];
        !value.uses_iter(k) || (band.members.len() == 1 && value.as_iter() == Some(k))
    });
    alone && !in_guard && !group::uses(&statement.target, k) && !statement.extents.iter().any(|e| e.uses_iter(k))
}

fn fits(range: Option<Range>, within: Range) -> bool {
    range.is_some_and(|r| within.0 <= r.0 && r.1 <= within.1)
}

/// Both factors in 16 bits.
fn of_pairs(program: &Program, id: StatementId, k: usize, values: [&Expr; 2], ranges: &Ranges) -> Option<Plan> {
    let statement = program.statement(id);
    let factor = |e: &Expr| Factor::of(program, statement, e, k).filter(|_| fits(ranges.of(e), I16));
    let factors = [factor(values[0])?, factor(values[1])?];
    let places = [source(program, id, &factors[0])?, source(program, id, &factors[1])?];
    Some(Plan { parts: 2, k, factors, places, start: None })
}

/// The first factor as unsigned bytes, perhaps minus what does not depend on the sum, the second as signed ones.
fn of_bytes(program: &Program, id: StatementId, k: usize, values: [&Expr; 2], ranges: &Ranges) -> Option<Plan> {
    let statement = program.statement(id);
    let (unsigned, zero) = match values[0] {
        Expr::Binary(BinaryOp::Sub, x, zero) if !fits(ranges.of(values[0]), U8) => (x.as_ref(), Some(zero.as_ref())),
        whole => (whole, None),
    };
    if !fits(ranges.of(unsigned), U8) || !fits(ranges.of(values[1]), I8) {
        return None;
    }
    let factors = [Factor::of(program, statement, unsigned, k)?, Factor::of(program, statement, values[1], k)?];
    let places = [source(program, id, &factors[0])?, source(program, id, &factors[1])?];
    let start = match zero {
        None => None,
        Some(zero) => Some(start(program, id, zero, &factors[1])?),
    };
    Some(Plan { parts: 4, k, factors, places, start })
}

/// Where the words of a factor come from: nowhere if it is constant. `None` where they would not pay, or cannot be.
fn source(program: &Program, id: StatementId, factor: &Factor) -> Option<Option<Place>> {
    if matches!(program.array(factor.array).role, Role::Constant(_)) {
        return Some(None);
    }
    let reused = pack::reuse(program, id, &factor.access) >= MIN_REUSE;
    if reused { place(program, factor.array, id).map(Some) } else { None }
}

/// The start of the accumulator for a constant factor `b`.
fn start(program: &Program, id: StatementId, zero: &Expr, b: &Factor) -> Option<Start> {
    let statement = program.statement(id);
    let summed = |d: usize| !group::uses(&statement.target, d);
    let mut free = true;
    zero.visit_affs(&mut |a| free &= a.all_iters(&|d| !summed(d)));
    let extents = b.extents(program)?;
    // The iterator of every dimension but those of one element.
    let iterators =
        b.access.index.iter().zip(&extents).map(|(e, n)| if *n == 1 { Some(None) } else { plain(e).map(Some) });
    let iterators = iterators.collect::<Option<Vec<Option<usize>>>>()?;
    // All that is summed up, and over the whole.
    let whole = (0..statement.extents.len()).filter(|d| summed(*d)).all(|d| {
        let at = iterators.iter().position(|s| *s == Some(d));
        at.is_some_and(|n| statement.extents[d].is_constant(extents[n]))
    });
    let mut writers = program.statements().filter(|(w, s)| *w != id && s.target.array == statement.target.array);
    let (init, first) = writers.next().filter(|(_, s)| s.kind == StatementKind::Assign)?;
    if !free || !whole || writers.next().is_some() {
        return None;
    }
    let to_init = renaming(statement, first)?;
    let kept: Vec<usize> = (0..iterators.len()).filter(|n| iterators[*n].is_some_and(|d| !summed(d))).collect();
    let at = kept.iter().map(|n| Some(Expr::iter(to_init(iterators[*n]?)?))).collect::<Option<_>>()?;
    let known = std::cell::Cell::new(true);
    let at_init = |e: &Expr| {
        e.substitute_aff(&|d| {
            known.set(known.get() && to_init(d).is_some());
            Aff::iter(to_init(d).unwrap_or(d))
        })
    };
    let zero = at_init(zero);
    // The start finds what the terms find, and runs where they run.
    let mut there = statement.guard.as_ref().map(at_init) == first.guard;
    zero.visit_loads(&mut |a| there &= place(program, a.array, init).is_some_and(|p| p.is_before(program, init)));
    let sums = sums(b.constants(program)?, &extents, &kept);
    let over: Vec<Aff> = extents.iter().map(|e| Aff::constant(*e)).collect();
    let extents = kept.iter().map(|n| over[*n].clone()).collect();
    let of = b.value.clone();
    (known.get() && there).then_some(Start { init, zero, at, sums, extents, of, over, kept })
}

fn plain(e: &Expr) -> Option<usize> {
    if let Expr::Index(a) = e { a.as_iter() } else { None }
}

/// From the iterators of one statement to those of another that name the same element of their target.
fn renaming(from: &Statement, to: &Statement) -> Option<impl Fn(usize) -> Option<usize>> {
    let subscripts = from.target.index.iter().zip(&to.target.index);
    let pairs = subscripts.filter(|(a, b)| a != b || plain(a).is_some()).map(|(a, b)| Some((plain(a)?, plain(b)?)));
    let pairs = pairs.collect::<Option<Vec<_>>>()?;
    Some(move |d: usize| pairs.iter().find(|(a, _)| *a == d).map(|(_, b)| *b))
}

/// Sums of row-major values over all dimensions but `kept`.
fn sums(values: &[i32], extents: &[i64], kept: &[usize]) -> Vec<i32> {
    let size = |dims: &[usize]| dims.iter().map(|n| extents[*n]).product::<i64>() as usize;
    let mut out = vec![0i32; size(kept)];
    let mut point = vec![0i64; extents.len()];
    for value in values {
        let at = kept.iter().fold(0, |at, n| at * extents[*n] + point[*n]) as usize;
        out[at] = out[at].wrapping_add(*value);
        for (i, extent) in point.iter_mut().zip(extents).rev() {
            *i += 1;
            if *i < *extent {
                break;
            }
            *i = 0;
        }
    }
    out
}

fn apply(program: &mut Program, id: StatementId, plan: Plan, words: &mut Words) -> Option<()> {
    let Plan { parts, k, factors, places: [first, second], start } = plan;
    let a = words.of(program, &factors[0], parts, first)?;
    let b = words.of(program, &factors[1], parts, second)?;
    let load = |array: ArrayId, f: &Factor| Expr::Load(Access { array, index: f.access.index.clone() });
    let op = if parts == 2 { BinaryOp::Dot2 } else { BinaryOp::Dot4 };
    let statement = program.statement_mut(id);
    statement.value = Expr::binary(op, load(a, &factors[0]), load(b, &factors[1]));
    statement.extents[k] = words_in(&statement.extents[k], parts);
    program.history.renamings.push(Renaming::Words { statement: id, dim: k, parts });
    if let Some(start) = start {
        start_with(program, start);
    }
    Some(())
}

fn start_with(program: &mut Program, start: Start) {
    let name = transform::unused_name(program, "word_sums");
    let bytes: Vec<u8> = start.sums.iter().flat_map(|s| s.to_le_bytes()).collect();
    let role = Role::Constant(ConstantData::new(bytes));
    let array = program.add_array(Array::new(name, DType::I32, start.extents, role));
    let by = Statement {
        dims: (0..start.over.len()).map(|n| format!("i{n}")).collect(),
        extents: start.over,
        constraints: vec![],
        kind: StatementKind::Reduce(BinaryOp::Add),
        target: Access { array, index: start.kept.iter().map(|n| Expr::iter(*n)).collect() },
        value: start.of,
        guard: None,
        origin: program.statement(start.init).origin.clone(),
    };
    program.history.made.push(Made { array, by });
    let correction = Expr::binary(BinaryOp::Mul, start.zero, Expr::load(array, start.at));
    let init = program.statement_mut(start.init);
    init.value = Expr::binary(BinaryOp::Sub, init.value.clone(), correction);
}
