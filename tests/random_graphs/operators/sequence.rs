//! Sequences: lists that are made, chosen by an `If`, mapped and changed, and taken apart again.

use super::control::{DEEPEST, predicate};
use super::grow_body;
use super::layout::axis;
use crate::bounds::Bounds;
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

/// A list in the model: its name and its elements, whose names count only before they are in the list.
struct List {
    name: String,
    elements: Vec<Tensor>,
}

pub fn add(maker: &mut Maker) -> Option<()> {
    let mut list = match maker.choices.below(3) {
        0 => constructed(maker),
        1 => split(maker)?,
        _ => chosen(maker)?,
    };
    if maker.choices.chance(30) {
        list = mapped(maker, list)?;
    }
    if maker.choices.chance(60) {
        list = changed(maker, list);
    }
    taken(maker, &list)
}

fn gathered(maker: &mut Maker, elements: Vec<Tensor>) -> List {
    let names: Vec<&str> = elements.iter().map(|t| t.name.as_str()).collect();
    List { name: maker.hidden("SequenceConstruct", &names, vec![]), elements }
}

/// One to three elements of one type, half of the time of one shape.
fn constructed(maker: &mut Maker) -> List {
    let first = maker.any(ALL, 0..=3);
    let alike = maker.choices.chance(50);
    let mut elements = vec![first.clone()];
    for _ in 0..maker.choices.below(3) {
        elements.push(match alike {
            true => maker.like(first.dtype, &first.dims, first.bounds),
            false => maker.any(&[first.dtype], 0..=3),
        });
    }
    gathered(maker, elements)
}

/// Pieces of a dimension: of one size, or of 1 without the dimension.
fn split(maker: &mut Maker) -> Option<List> {
    let x = maker.any(ALL, 1..=3);
    let (written, at) = axis(maker, x.dims.len());
    let extent = x.dims[at].fixed().filter(|n| (1..=6).contains(n))?;
    let size = 1 + maker.choices.below(extent);
    let (sized, keep) = (maker.choices.chance(60), maker.choices.chance(50));
    let (size, keep) = if sized { (size, true) } else { (1, keep) };
    let attributes = vec![onnx::int("axis", written), onnx::int("keepdims", i64::from(keep))];
    let count = maker.constant(Value::scalar(size as i64), Bounds::whole(0.0, 9.0)).name;
    let inputs = if sized { vec![x.name.as_str(), count.as_str()] } else { vec![x.name.as_str()] };
    let piece = |start: usize| {
        let mut dims = x.dims.clone();
        match keep {
            true => dims[at] = Dim::Fixed(size.min(extent - start)),
            false => drop(dims.remove(at)),
        }
        Tensor { dims, ..x.clone() }
    };
    let elements = (0..extent).step_by(size).map(piece).collect();
    Some(List { name: maker.hidden("SplitToSequence", &inputs, attributes), elements })
}

/// Between two lists whose elements have the same shapes.
fn chosen(maker: &mut Maker) -> Option<List> {
    if maker.depth() >= DEEPEST {
        return None;
    }
    let condition = predicate(maker);
    let branch = |maker: &mut Maker, name: &str, like: Option<&[Tensor]>| {
        maker.open(&[]);
        let list = match like {
            None => constructed(maker),
            Some(like) => {
                let elements = like.iter().map(|t| maker.like(t.dtype, &t.dims, t.bounds)).collect();
                gathered(maker, elements)
            }
        };
        let whole = Tensor { name: list.name, ..list.elements[0].clone() };
        (maker.close(name, &[], &[whole]), list.elements)
    };
    let (first, elements) = branch(maker, "then", None);
    let (second, others) = branch(maker, "else", Some(&elements));
    let attributes = vec![onnx::graph("then_branch", first), onnx::graph("else_branch", second)];
    let either = |(a, b): (Tensor, Tensor)| Tensor { bounds: a.bounds.or(b.bounds), ..a };
    let elements = elements.into_iter().zip(others).map(either).collect();
    Some(List { name: maker.hidden("If", &[&condition.name], attributes), elements })
}

/// The bounds of all elements, where they have one shape.
fn common(list: &List) -> Option<Tensor> {
    let first = list.elements.first()?.clone();
    let same = list.elements.iter().all(|t| t.dims == first.dims);
    same.then(|| list.elements.iter().fold(first, |all, t| Tensor { bounds: all.bounds.or(t.bounds), ..all }))
}

fn mapped(maker: &mut Maker, list: List) -> Option<List> {
    let element = common(&list)?;
    if maker.depth() >= DEEPEST || !element.bounds.useful(element.dtype) {
        return None;
    }
    let inputs = maker.open(&[(element.dtype, element.dims, element.bounds)]);
    grow_body(maker, 3);
    let result = maker.find(ALL, |_| true).unwrap_or_else(|| inputs[0].clone());
    let body = maker.close("map", &inputs, std::slice::from_ref(&result));
    let name = maker.hidden("SequenceMap", &[&list.name], vec![onnx::graph("body", body)]);
    Some(List { name, elements: vec![result; list.elements.len()] })
}

/// A position among `places`, sometimes counted from the end of a list of `length`.
fn position(maker: &mut Maker, places: usize, length: usize) -> (String, usize) {
    let at = maker.choices.below(places);
    let from_end = at < length && maker.choices.chance(40);
    let written = if from_end { at as i64 - length as i64 } else { at as i64 };
    (maker.constant(Value::scalar(written), Bounds::whole(-9.0, 9.0)).name, at)
}

/// One more element, or one less.
fn changed(maker: &mut Maker, mut list: List) -> List {
    let length = list.elements.len();
    if length > 1 && maker.choices.chance(40) {
        let (place, at) = position(maker, length, length);
        list.elements.remove(at);
        return List { name: maker.hidden("SequenceErase", &[&list.name, &place], vec![]), ..list };
    }
    let element = maker.any(&[list.elements[0].dtype], 0..=3);
    let (place, at) = position(maker, length + 1, length);
    let name = maker.hidden("SequenceInsert", &[&list.name, &element.name, &place], vec![]);
    list.elements.insert(at, element);
    List { name, ..list }
}

/// A tensor again: one element, all of them side by side, or their number.
fn taken(maker: &mut Maker, list: &List) -> Option<()> {
    let length = list.elements.len();
    let joined = common(list).filter(|_| maker.choices.chance(50));
    let Some(all) = joined else {
        if maker.choices.chance(15) {
            let bounds = Bounds::whole(length as f64, length as f64);
            return maker.one("SequenceLength", &[&list.name], vec![], (DType::I64, vec![], bounds)).map(|_| ());
        }
        let (place, at) = position(maker, length, length);
        let element = &list.elements[at];
        let result = (element.dtype, element.dims.clone(), element.bounds);
        return maker.one("SequenceAt", &[&list.name, &place], vec![], result).map(|_| ());
    };
    let stack = all.dims.is_empty() || maker.choices.chance(50);
    let (written, at) = axis(maker, all.dims.len() + usize::from(stack));
    let mut dims = all.dims.clone();
    match stack {
        true => dims.insert(at, Dim::Fixed(length)),
        false => dims[at] = Dim::Fixed(dims[at].fixed()? * length),
    }
    let attributes = vec![onnx::int("axis", written), onnx::int("new_axis", i64::from(stack))];
    maker.one("ConcatFromSequence", &[&list.name], attributes, (all.dtype, dims, all.bounds)).map(|_| ())
}
