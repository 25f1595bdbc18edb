//! `NonMaxSuppression`: per image and class, the best box that is left, again and again, each removing those that
//! overlap it too much.
//!
//! `live[step, box]` says which boxes are left before a step, which costs three passes over them; the loop ends
//! with the first step that finds none. The boxes kept are then listed like the elements of `NonZero`.

use super::arguments::*;
use super::builder::{Builder, named_dims};
use super::contraction::{Reduction, accumulate};
use super::counted::choose;
use super::reshape::reshaped;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, ParamDef, Result, StatementKind, UnaryOp};

/// The arrays of the search, all outside its loops.
struct Search {
    scores: TensorId,
    /// Images, classes, boxes, and the most boxes to keep per image and class.
    extents: [Aff; 3],
    most: Aff,
    /// Low and high corner of every box: `[image, box, 4]`, y before x.
    corners: ArrayId,
    /// Input 3, and input 4 where it is given.
    overlap: Expr,
    least: Option<Expr>,
    t: DType,
    found: ArrayId,
    picked: ArrayId,
}

pub fn non_max_suppression(b: &mut Builder, node: &Node) -> Result<()> {
    let target = output(node, 0)?;
    let name = b.graph.tensor(target).name.clone();
    let search = prepare(b, node, &name)?;
    let images = search.extents[0].clone();
    let classes = search.extents[1].clone();
    b.in_loop("image", images, |b| b.in_loop("class", classes, |b| classwise(b, &search, &name)))?;
    let kept = [search.extents[0].clone(), search.extents[1].clone(), search.most.clone()];
    let length = kept.iter().cloned().reduce(|a, e| product(b, a, e)).unwrap_or_default();
    let at = reshaped(&kept, std::slice::from_ref(&length), &b.iters(1), &b.program.params);
    let flag = b.load(search.found, at);
    let chosen = choose(b, node, &name, &length, flag)?;
    let place = b.load(chosen.from, vec![b.iter(0)]);
    let at = reshaped(&kept, &[length], &[place], &b.program.params);
    let picked = b.load(search.picked, at.clone());
    let column = |n: i64| eq(b.iter(1), Expr::int(n));
    let value = Expr::select(column(0), at[0].clone(), Expr::select(column(1), at[1].clone(), picked));
    b.pointwise(target, value);
    Ok(())
}

fn product(b: &mut Builder, x: Aff, y: Aff) -> Aff {
    match (x.as_constant(), y.as_constant()) {
        (Some(c), _) => y * c,
        (_, Some(c)) => x * c,
        _ => Aff::param(b.program.params.derived(ParamDef::Mul(x, y))),
    }
}

/// The most boxes per class: input 2, no more than there are.
fn most(b: &mut Builder, node: &Node, boxes: &Aff) -> Result<Aff> {
    let Some(tensor) = node.input(2) else { return Ok(Aff::constant(0)) };
    let given = b.graph.tensor(tensor).affs().and_then(|list| list.into_iter().next());
    let given = given.ok_or_else(|| unsupported_form(node, "the maximum per class is computed inside a loop"))?;
    match (given.as_constant(), boxes.as_constant()) {
        (Some(n), Some(boxes)) => return Ok(Aff::constant(n.clamp(0, boxes.max(0)))),
        (Some(n), None) if n <= 0 => return Ok(Aff::constant(0)),
        _ => {}
    }
    let at_least_0 = match given.as_constant() {
        Some(_) => given,
        None => Aff::param(b.program.params.derived(ParamDef::Max(given, 0.into()))),
    };
    let id = b.program.params.derived(ParamDef::Min(at_least_0, boxes.clone()));
    b.program.params.get_mut(id).min = 0;
    Ok(Aff::param(id))
}

/// A scalar input, or a default.
fn threshold(b: &mut Builder, node: &Node, n: usize) -> Result<Option<Expr>> {
    node.input(n).map(|tensor| b.read(tensor, &[])).transpose()
}

fn prepare(b: &mut Builder, node: &Node, name: &str) -> Result<Search> {
    let (boxes, scores) = (input(node, 0)?, input(node, 1)?);
    let shape = b.shape(scores);
    let extents = [shape[0].clone(), shape[1].clone(), shape[2].clone()];
    let (t, most) = (b.dtype(boxes), most(b, node, &extents[2])?);
    let corners = corners(b, node, boxes, name, [extents[0].clone(), extents[2].clone()])?;
    let kept = [extents[0].clone(), extents[1].clone(), most.clone()];
    let found = b.temp(&format!("{name}_found"), DType::Bool, kept.to_vec());
    let picked = b.temp(&format!("{name}_picked"), DType::I64, kept.to_vec());
    let dims = named_dims(&["image", "class", "s"], &kept);
    for (array, value) in [(found, Expr::literal(0.0, DType::Bool)), (picked, Expr::int(0))] {
        let id = b.assign(&dims, array, b.iters(3), value);
        b.emit_perfect(id, 3);
    }
    let overlap = threshold(b, node, 3)?.unwrap_or_else(|| lit(0.0, t));
    let least = threshold(b, node, 4)?;
    Ok(Search { scores, extents, most, corners, overlap, least, t, found, picked })
}

/// Corners in order, from two opposite corners or from centre and size.
fn corners(b: &mut Builder, node: &Node, boxes: TensorId, name: &str, extents: [Aff; 2]) -> Result<ArrayId> {
    let t = b.dtype(boxes);
    let mut all = extents.to_vec();
    all.push(4.into());
    let array = b.temp(&format!("{name}_corners"), t, all);
    let dims = named_dims(&["image", "box"], &extents);
    let of = |b: &mut Builder, n: i64| b.read(boxes, &[b.iter(0), b.iter(1), Expr::int(n)]);
    for d in 0..2i64 {
        let (low, high) = if node.int("center_point_box") == Some(1) {
            let (centre, half) = (of(b, 1 - d)?, div(of(b, 3 - d)?, lit(2.0, t)));
            (sub(centre.clone(), half.clone()), add(centre, half))
        } else {
            let (first, second) = (of(b, d)?, of(b, d + 2)?);
            (min(first.clone(), second.clone()), max(first, second))
        };
        for (column, value) in [(d, low), (d + 2, high)] {
            let id = b.assign(&dims, array, vec![b.iter(0), b.iter(1), Expr::int(column)], value);
            b.emit_perfect(id, 2);
        }
    }
    Ok(array)
}

/// One class of one image, under the host loops over both.
fn classwise(b: &mut Builder, search: &Search, name: &str) -> Result<()> {
    let more = b.temp(&format!("{name}_more"), DType::Bool, vec![search.most.clone() + 1.into()]);
    let start = b.assign(&[], more, vec![Expr::int(0)], Expr::literal(1.0, DType::Bool));
    b.emit_perfect(start, 0);
    b.program.exits.push(more);
    let boxes = search.extents[2].clone();
    let live = b.temp(&format!("{name}_live"), DType::Bool, vec![search.most.clone() + 1.into(), boxes.clone()]);
    let [image, class] = [2, 1].map(|n| Expr::iter(b.depth() - n));
    let score = b.read(search.scores, &[image, class, b.iter(0)])?;
    let number = Expr::unary(UnaryOp::Not, Expr::unary(UnaryOp::IsNan, score.clone()));
    let candidate = search.least.clone().map_or(number, |least| gt(score, least));
    let id = b.assign(&named_dims(&["box"], &[boxes]), live, vec![Expr::int(0), b.iter(0)], candidate);
    b.emit_perfect(id, 1);
    let depth = b.depth();
    b.in_loop("s", search.most.clone(), |b| {
        let running = b.load(more, vec![Expr::iter(depth)]);
        b.in_branch(running, |b| step(b, search, name, live, more))
    })
}

/// Keeps the best box that is left, and removes those that overlap it.
fn step(b: &mut Builder, search: &Search, name: &str, left: ArrayId, more: ArrayId) -> Result<()> {
    let [image, class, s] = [3, 2, 1].map(|n| Expr::iter(b.depth() - n));
    let boxes = search.extents[2].clone();
    let dims = named_dims(&["box"], std::slice::from_ref(&boxes));
    let i = b.iter(0);
    let at = [image.clone(), class.clone(), i.clone()];
    let (live, score) = (b.load(left, vec![s.clone(), i.clone()]), b.read(search.scores, &at)?);
    let t = b.dtype(search.scores);
    let last = index(boxes - 1.into());
    let reduce = |b: &mut Builder, what: &str, dtype, op, init: Expr, value| {
        let name = format!("{name}_{what}");
        let (array, nodes) = accumulate(b, Reduction { name: &name, dtype, op, init, dims: &dims, parallel: 0, value });
        b.emit(nodes);
        b.load(array, vec![])
    };
    let none = Expr::literal(0.0, DType::Bool);
    let any = reduce(b, "any", DType::Bool, BinaryOp::Or, none, live.clone());
    let candidate = Expr::select(live.clone(), score.clone(), lowest(t));
    let best = reduce(b, "best", t, BinaryOp::Max, lowest(t), candidate);
    let is_best = and(live.clone(), eq(score, best));
    let first = Expr::select(is_best, i.clone(), last.clone());
    let pick = reduce(b, "pick", DType::I64, BinaryOp::Min, last, first);
    let slot = vec![image.clone(), class, s];
    for (array, value) in [(search.found, any.clone()), (search.picked, pick.clone())] {
        let id = b.statement(StatementKind::Update, &[], array, slot.clone(), value);
        b.emit_perfect(id, 0);
    }
    let next = index(Aff::iter(b.depth() - 1) + 1.into());
    let id = b.assign(&[], more, vec![next.clone()], any);
    b.emit_perfect(id, 0);
    let overlaps = gt(overlap(b, search, &image, &pick, &i), search.overlap.clone());
    let gone = or(eq(i.clone(), pick), overlaps);
    let stays = and(live, Expr::unary(UnaryOp::Not, gone));
    let id = b.assign(&dims, left, vec![next, i], stays);
    b.emit_perfect(id, 1);
    Ok(())
}

/// Intersection over union of two boxes; 0 where one has no area.
fn overlap(b: &Builder, search: &Search, image: &Expr, one: &Expr, other: &Expr) -> Expr {
    let t = search.t;
    let zero = || lit(0.0, t);
    let of = |item: &Expr, n: i64| b.load(search.corners, vec![image.clone(), item.clone(), Expr::int(n)]);
    let length = |d: i64| sub(min(of(one, d + 2), of(other, d + 2)), max(of(one, d), of(other, d)));
    let area = |item: &Expr| mul(sub(of(item, 2), of(item, 0)), sub(of(item, 3), of(item, 1)));
    let common = mul(max(length(0), zero()), max(length(1), zero()));
    let union = sub(add(area(one), area(other)), common.clone());
    Expr::select(gt(union.clone(), zero()), div(common, union), zero())
}
