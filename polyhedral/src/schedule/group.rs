//! Facts about loop nests that the scheduling passes share: extents, parallel loops, contractions, strides.
//!
//! Everything here is read off subscripts; no isl call, no operator name.

use crate::aff::{Aff, gcd};
use crate::expr::{Access, Expr};
use crate::param::{ParamDef, ParamId};
use crate::program::{Array, ArrayId, Program, StatementId, StatementKind};
use crate::schedule_tree::{Band, Node};
use std::collections::HashSet;

/// The extent of a plain loop (`aff` is one iterator); `None` for other loops.
pub fn extent_of(program: &Program, id: StatementId, aff: &Aff) -> Option<Aff> {
    aff.as_iter().map(|d| program.statement(id).extents[d].clone())
}

/// The extent of a plain loop that is one and the same for all its statements.
pub fn common_extent(program: &Program, band: &Band) -> Option<Aff> {
    let mut extents = band.members.iter().map(|(id, value)| extent_of(program, *id, value));
    let first = extents.next()??;
    extents.all(|e| e.as_ref() == Some(&first)).then_some(first)
}

/// Has the loop one iteration, whatever the sizes?
pub fn runs_once(program: &Program, band: &Band) -> bool {
    common_extent(program, band).is_some_and(|e| e.is_constant(1))
}

/// Arrays that the node writes.
pub fn writes(program: &Program, node: &Node) -> HashSet<ArrayId> {
    node.statements().iter().map(|s| program.statement(*s).target.array).collect()
}

/// Arrays that the node needs: reads, accumulators, and run-time parameters of domains.
pub fn reads(program: &Program, node: &Node) -> HashSet<ArrayId> {
    let mut out = HashSet::new();
    for s in node.statements() {
        let statement = program.statement(s);
        statement.visit_reads(&mut |a| {
            out.insert(a.array);
        });
        if statement.kind != StatementKind::Assign {
            out.insert(statement.target.array);
        }
        out.extend(value_params(program, s));
    }
    out
}

/// Bytes that the array takes in memory at the parameters' typical values; a folded dimension keeps its planes only.
pub fn bytes(program: &Program, array: &Array) -> i64 {
    let planes = array.extents.iter().zip(&array.fold).map(|(extent, fold)| {
        let full = program.params.hint(extent).max(1);
        fold.map_or(full, |w| w.min(full))
    });
    planes.fold(array.dtype.size() as i64, i64::saturating_mul)
}

/// Arrays from which the statement's domain takes run-time parameters (trip counts).
pub fn value_params(program: &Program, id: StatementId) -> Vec<ArrayId> {
    let statement = program.statement(id);
    let mut out = Vec::new();
    let mut visit = |a: &Aff| a.visit_params(&mut |p| value_arrays(program, p, &mut out));
    statement.extents.iter().chain(&statement.constraints).for_each(&mut visit);
    statement.value.visit_affs(&mut visit);
    statement.target.index.iter().for_each(|e| e.visit_affs(&mut visit));
    out
}

/// The arrays that the value of parameter `p` comes from.
fn value_arrays(program: &Program, p: ParamId, out: &mut Vec<ArrayId>) {
    match &program.params.get(p).def {
        ParamDef::Input { .. } | ParamDef::Content { .. } => {}
        ParamDef::Value { array } => out.extend(program.arrays().find(|(_, a)| a.name == *array).map(|(id, _)| id)),
        ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
            a.visit_params(&mut |q| value_arrays(program, q, out));
            b.visit_params(&mut |q| value_arrays(program, q, out));
        }
    }
}

/// May the iterations of this band run in any order? Judged by subscripts: for every array that the band's
/// statements both write and read, one subscript of the two accesses is the loop itself. A `Reduce` counts
/// as a read of its target. (Sufficient; the legality checker decides exactly.)
pub fn is_parallel(program: &Program, band: &Band) -> bool {
    all_pairs_apart(program, band, &[], &|first, second| same_iteration(first, second))
}

/// The same inside other bands, whose iterations run apart: a step of a recurrence reads the state that the
/// step before wrote, so its own elements may be computed in any order. And loops that are digits of a subscript count:
/// register tiles need them, while fusion does better without nests that could share more loops for that reason alone.
pub fn is_parallel_inside(program: &Program, band: &Band, outer: &[&Band]) -> bool {
    let same = |first: Point, second: Point| same_iteration(first, second) || same_digit(program, first, second);
    all_pairs_apart(program, band, outer, &same)
}

/// Are a write in the band and an access to its array always in the `same` iteration, or never at one element in one
/// iteration of some band in `outer`?
fn all_pairs_apart(program: &Program, band: &Band, outer: &[&Band], same: &dyn Fn(Point, Point) -> bool) -> bool {
    band.members.iter().all(|(writer, value)| {
        let written = &program.statement(*writer).target;
        band.members.iter().all(|(reader, wanted)| {
            accesses_after_write(program, *reader, written.array).iter().all(|read| {
                let apart = |b: &&Band| {
                    let values = b.members.get(writer).zip(b.members.get(reader));
                    values.is_some_and(|(v, w)| never_meet(written, v, read, w))
                };
                same((*writer, written, value), (*reader, read, wanted)) || outer.iter().any(apart)
            })
        })
    })
}

/// Do the accesses name different elements in every one iteration of the loop? Then one subscript of each is
/// the loop plus a constant, and the constants differ.
fn never_meet(written: &Access, value: &Aff, read: &Access, wanted: &Aff) -> bool {
    written.index.iter().zip(&read.index).any(|(w, r)| match (w, r) {
        (Expr::Index(w), Expr::Index(r)) => {
            let (left, right) = (w.clone() - value.clone(), r.clone() - wanted.clone());
            !left.has_iters() && !right.has_iters() && (left - right).as_constant().is_some_and(|c| c != 0)
        }
        _ => false,
    })
}

/// Every access of the statement to `array` that must come after its writes: loads, and the target when that is
/// reduced or updated in place.
pub fn accesses_after_write(program: &Program, reader: StatementId, array: ArrayId) -> Vec<Access> {
    let statement = program.statement(reader);
    let mut out = Vec::new();
    statement.visit_reads(&mut |a| {
        if a.array == array {
            out.push(a.clone());
        }
    });
    if statement.target.array == array && statement.kind != StatementKind::Assign {
        out.push(statement.target.clone());
    }
    out
}

/// An access of a statement, and the value of the loop at its instances.
type Point<'a> = (StatementId, &'a Access, &'a Aff);

/// Does equality of the subscripts imply equality of the loop values? Then one subscript is the loop itself.
fn same_iteration(first: Point, second: Point) -> bool {
    rests(first, second).iter().any(|(w, r, _)| w == r && !w.has_iters())
}

/// The same where the loop is the low or the high digit of one subscript, as in `256*i + j`.
fn same_digit(program: &Program, first: Point, second: Point) -> bool {
    rests(first, second).into_iter().any(|(w, r, [written, read])| {
        is_low_digit(program, [first, second], &[w, r])
            || high_digit(program, first, &written).is_some_and(|step| high_digit(program, second, &read) == Some(step))
    })
}

/// What of every two affine subscripts is not the loop, and the subscripts themselves.
fn rests(first: Point, second: Point) -> Vec<(Aff, Aff, [Aff; 2])> {
    let pairs = first.1.index.iter().zip(&second.1.index).filter_map(|(w, r)| match (w, r) {
        (Expr::Index(w), Expr::Index(r)) => Some((w.clone(), r.clone())),
        _ => None,
    });
    pairs.map(|(w, r)| (w.clone() - first.2.clone(), r.clone() - second.2.clone(), [w, r])).collect()
}

/// Are loops over less than `m` iterations apart from the subscripts by multiples of `m`?
fn is_low_digit(program: &Program, points: [Point; 2], rests: &[Aff; 2]) -> bool {
    let extent = |(id, _, value): Point| extent_of(program, id, value)?.as_constant();
    let (Some(a), Some(b)) = (extent(points[0]), extent(points[1])) else { return false };
    let steps = rests.iter().flat_map(|r| r.terms().iter().map(|(_, c)| c.abs()));
    let step = steps.fold((rests[0].offset() - rests[1].offset()).abs(), gcd);
    a.max(b) <= step
}

/// The step of the loop in a subscript whose other parts never reach it.
fn high_digit(program: &Program, (id, _, value): Point, subscript: &Aff) -> Option<i64> {
    let step = subscript.coefficient(value.as_iter()?);
    let rest = subscript.clone() - value.clone() * step;
    let last = |n: usize| program.statement(id).extents[n].as_constant().map(|e| e - 1);
    let (low, high) = rest.bounds(&|_| (None, None), &|n| (Some(0), last(n)));
    (step > 1 && low? >= 0 && high? < step).then_some(step)
}

/// Does the band step along a temporary that has no size until `contract` folds it to the planes that are alive? The
/// state of a loop whose trip count nothing limits is such an array; folding needs the band to stay sequential.
pub fn steps_along_unlimited(program: &Program, band: &Band) -> bool {
    band.members.iter().any(|(id, value)| {
        let target = &program.statement(*id).target;
        let array = program.array(target.array);
        let steps = |subscript: &Expr| match (subscript, value.as_iter()) {
            (Expr::Index(aff), Some(d)) => aff.uses_iter(d),
            _ => false,
        };
        let mut dims = array.extents.iter().zip(&target.index);
        array.is_temp() && dims.any(|(extent, at)| !program.params.is_limited(extent) && steps(at))
    })
}

/// The number of parallel bands at the top of a nest, each containing only the next.
pub fn parallel_depth(program: &Program, node: &Node) -> usize {
    match node {
        Node::Band(band) if is_parallel(program, band) => match band.body.as_slice() {
            [inner @ Node::Band(_)] => 1 + parallel_depth(program, inner),
            _ => 1,
        },
        _ => 0,
    }
}

/// Does the nest contain a reduction whose value reads two arrays that each lack one of the parallel loops
/// (a matrix product, a convolution)? Such nests live on their register tile.
pub fn is_contraction(program: &Program, node: &Node) -> bool {
    node.statements().iter().any(|s| is_contraction_statement(program, *s))
}

/// Is there a `Reduce` statement in the nest?
pub fn has_reduction(program: &Program, node: &Node) -> bool {
    node.statements().iter().any(|s| matches!(program.statement(*s).kind, StatementKind::Reduce(_)))
}

/// A reduction in which at least two loads differ in the target's iterators that they use.
pub fn is_contraction_statement(program: &Program, id: StatementId) -> bool {
    let statement = program.statement(id);
    if !matches!(statement.kind, StatementKind::Reduce(_)) {
        return false;
    }
    let free: Vec<usize> = (0..statement.extents.len())
        .filter(|d| !statement.extents[*d].is_constant(1) && uses(&statement.target, *d))
        .collect();
    let mut patterns = Vec::new();
    statement.value.visit_loads(&mut |a| {
        patterns.push(free.iter().map(|d| uses(a, *d)).collect::<Vec<bool>>());
    });
    let reuses = |p: &&Vec<bool>| p.iter().any(|used| !used) && p.iter().any(|used| *used);
    patterns.iter().filter(reuses).count() >= 2 && patterns.windows(2).any(|w| w[0] != w[1])
}

/// Does iterator `d` occur in the access's subscripts?
pub fn uses(access: &Access, d: usize) -> bool {
    let mut found = false;
    access.index.iter().for_each(|e| e.visit_affs(&mut |a| found |= a.uses_iter(d)));
    found
}

/// How far apart, in elements, are consecutive iterations of `d`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stride {
    Constant(i64),
    /// Symbolic or data-dependent.
    Unknown,
}

/// The stride of an access with respect to iterator `d`.
pub fn stride(program: &Program, access: &Access, d: usize) -> Stride {
    let array = program.array(access.array);
    let mut total = 0i64;
    let mut plane = Some(1i64);
    for (index, extent) in access.index.iter().zip(&array.extents).rev() {
        match (index, plane) {
            (Expr::Index(a), _) if !a.uses_iter(d) => {}
            (Expr::Index(a), Some(plane)) if !a.divides_iter(d) => {
                total = total.saturating_add(a.coefficient(d).saturating_mul(plane));
            }
            (other, _) => {
                let mut used = false;
                other.visit_affs(&mut |a| used |= a.uses_iter(d));
                if used {
                    return Stride::Unknown;
                }
            }
        }
        plane = plane.zip(extent.as_constant()).and_then(|(p, e)| p.checked_mul(e));
    }
    Stride::Constant(total)
}
