//! Operators that only rename elements: their results are views, no statement runs.

use super::arguments::*;
use super::builder::Builder;
use super::reshape::reshaped;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, DType, Expr, Result};

/// Binds the result of `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`: all follow from the two shapes.
pub fn reshape(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    rename_shape(b, source, target)
}

/// Makes `target` the elements of `source` in row-major order.
pub fn rename_shape(b: &mut Builder, source: TensorId, target: TensorId) -> Result<()> {
    let (old, new) = (b.shape(source), b.shape(target));
    let index = reshaped(&old, &new, &b.iters(new.len()), &b.program.params);
    b.alias(target, source, &index)
}

/// `Identity`, a cast to the same type, and `Dropout` at inference.
pub fn identity(b: &mut Builder, node: &Node) -> Result<()> {
    let training = node.op == "Dropout" && node.input(2).is_some_and(|t| b.graph.tensor(t).ints() != Some(vec![0]));
    if training {
        return Err(unsupported_form(node, "training mode").help("export the model in inference mode"));
    }
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let index = b.iters(b.shape(target).len());
    b.alias(target, source, &index)?;
    if let Some(mask) = node.output(1).filter(|_| node.op == "Dropout") {
        let kept = lit(1.0, b.dtype(mask));
        b.bind(mask, kept);
    }
    Ok(())
}

pub fn transpose(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let rank = b.shape(source).len();
    let order: Vec<i64> = node.ints("perm").map_or_else(|| (0..rank as i64).rev().collect(), <[i64]>::to_vec);
    if order.len() != rank {
        return Err(invalid(node, format!("`perm` has {} entries for a tensor of rank {rank}", order.len())));
    }
    let mut index = vec![Expr::int(0); rank];
    for (d, from) in order.iter().enumerate() {
        index[from_front(node, *from, rank)?] = b.iter(d);
    }
    b.alias(target, source, &index)
}

/// `Expand`: the result's shape may be smaller than the given one where that says 1.
pub fn expand(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let index = broadcast(&b.shape(source), &b.iters(b.shape(target).len()));
    b.alias(target, source, &index)
}

/// `Tile`: the position modulo the extent.
pub fn tile(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (old, new) = (b.shape(source), b.shape(target));
    let mut index = Vec::new();
    for (d, extent) in old.iter().enumerate() {
        index.push(match extent.as_constant() {
            _ if *extent == new[d] => b.iter(d),
            Some(1) => Expr::int(0),
            _ => modulo(b.iter(d), super::terms::index(extent.clone())),
        });
    }
    b.alias(target, source, &index)
}

/// `Split`: results follow one another along the axis.
pub fn split(b: &mut Builder, node: &Node) -> Result<()> {
    let source = input(node, 0)?;
    let along = axis(node, "axis", 0, b.shape(source).len())?;
    for (n, target) in node.outputs.iter().enumerate() {
        let Some(target) = target else { continue };
        let mut index = b.iters(b.shape(*target).len());
        let start = piece_start(b, node, n, &b.shape(source)[along]);
        index[along] = add(index[along].clone(), super::terms::index(start));
        b.alias(*target, source, &index)?;
    }
    Ok(())
}

/// Where piece `n` begins. Pieces before it may have no tensor, because nothing reads them.
fn piece_start(b: &Builder, node: &Node, n: usize, extent: &Aff) -> Aff {
    let attribute = || Some(node.ints("split")?.iter().map(|&size| Aff::constant(size)).collect());
    let sizes: Option<Vec<Aff>> = node.input(1).and_then(|t| b.graph.tensor(t).affs()).or_else(attribute);
    match sizes {
        Some(sizes) => sizes.into_iter().take(n).fold(Aff::constant(0), |start, size| start + size),
        None => {
            let count = node.int("num_outputs").unwrap_or(node.outputs.len() as i64).max(1);
            (extent.clone() + Aff::constant(count - 1)).floor_div(count) * n as i64
        }
    }
}

/// `Slice`, attributes (version 1) or inputs (from version 10). Starts may be computed at run time.
pub fn slice(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (old, new) = (b.shape(source), b.shape(target));
    let starts = starts(b, node)?;
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let along = int_list(b, node, "axes", 3)?.unwrap_or(all);
    let steps = match node.input(4) {
        Some(_) => aff_list(b, node, "steps", 4).ok_or_else(|| at_run_time(b, node, "steps", 4))?,
        None => vec![Aff::constant(1); starts.len()],
    };
    let mut index = b.iters(old.len());
    for ((start, d), step) in starts.into_iter().zip(along).zip(steps) {
        let d = from_front(node, d, old.len())?;
        index[d] = match step.as_constant() {
            Some(step) => {
                let first = first_position(b, start, &old[d], &new[d], step);
                add(first, mul(b.iter(d), Expr::int(step)))
            }
            None => stepped(b, d, start, &old[d], step),
        };
    }
    b.alias(target, source, &index)
}

fn starts(b: &mut Builder, node: &Node) -> Result<Vec<Expr>> {
    if let Some(list) = aff_list(b, node, "starts", 1) {
        return Ok(list.into_iter().map(index).collect());
    }
    let tensor = input(node, 1)?;
    let count = b.shape(tensor).first().and_then(Aff::as_constant);
    let count = count.ok_or_else(|| unsupported_form(node, "the number of sliced axes must be known"))?;
    let dtype = b.dtype(tensor);
    (0..count).map(|n| Ok(convert(dtype, DType::I64, b.read(tensor, &[Expr::int(n)])?))).collect()
}

/// Where a slice begins: a negative start counts from the end, and is then clamped into the dimension. The
/// clamp is left out where the result's extent shows that it does nothing: with steps of 1, a result that reaches the
/// end from a start before the dimension would be longer than the dimension.
fn first_position(b: &Builder, start: Expr, extent: &Aff, result: &Aff, step: i64) -> Expr {
    let wrapped = b.simplify(from_end(start, extent), &[]);
    let upward = step > 0;
    if step == 1 && wrapped.as_aff().is_some_and(|s| s.clone() + result.clone() == *extent) {
        return wrapped;
    }
    let raised = max(wrapped, Expr::int(0));
    let clamped = if upward { raised } else { min(raised, index(extent.clone() - 1.into())) };
    b.simplify(clamped, &[])
}

/// Where a slice is at its own iterator `d` when the step is data. Its first position is inside the dimension, in
/// whatever direction it goes: a slice that begins outside is empty.
fn stepped(b: &Builder, d: usize, start: Expr, extent: &Aff, step: Aff) -> Expr {
    let last = index(extent.clone() - 1.into());
    let first = max(Expr::int(0), min(from_end(start, extent), last));
    add(first, mul(b.iter(d), index(step)))
}

/// A position that counts from the end where it is negative.
pub fn from_end(position: Expr, extent: &Aff) -> Expr {
    let behind = add(position.clone(), index(extent.clone()));
    Expr::select(lt(position.clone(), Expr::int(0)), behind, position)
}

/// `DepthToSpace`: reshape, transpose, reshape in one step.
pub fn depth_to_space(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let size = block_size(node)?;
    let channels = b.shape(target)[1].clone();
    let (h, w) = (b.aff(2), b.aff(3));
    let (dh, dw) = (h.modulo(size), w.modulo(size));
    let c = b.aff(1);
    let channel = if node.string("mode") == Some("CRD") {
        c * (size * size) + dh * size + dw
    } else {
        let count = channels.as_constant().ok_or_else(|| unsupported_form(node, "the channels must be constant"))?;
        (dh * size + dw) * count + c
    };
    let position = [b.aff(0), channel, h.floor_div(size), w.floor_div(size)].map(index);
    b.alias(target, source, &position)
}

pub fn space_to_depth(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let size = block_size(node)?;
    let channels = b.shape(source)[1].as_constant();
    let channels = channels.ok_or_else(|| unsupported_form(node, "the channels must be constant"))?.max(1);
    let block = b.aff(1).floor_div(channels);
    let (dh, dw) = (block.floor_div(size), block.modulo(size));
    let position = [b.aff(0), b.aff(1).modulo(channels), b.aff(2) * size + dh, b.aff(3) * size + dw].map(index);
    b.alias(target, source, &position)
}

fn block_size(node: &Node) -> Result<i64> {
    let size = node.int("blocksize").unwrap_or(0);
    if size > 0 { Ok(size) } else { Err(invalid(node, format!("`blocksize` is {size}"))) }
}
