//! Operators that move elements: no arithmetic, so bounds stay as they are.

use crate::bounds::Bounds;
use crate::dim::{Dim, fixed, volume};
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;

type Layout = fn(&mut Maker) -> Option<()>;

const TABLE: &[Layout] = &[
    transpose,
    reshape,
    flatten,
    squeeze,
    unsqueeze,
    concat,
    concat,
    split,
    slice,
    slice,
    pad,
    pad,
    expand,
    tile,
    trilu,
    depth_to_space,
    reverse,
    dropout,
];

pub fn add(maker: &mut Maker) -> Option<()> {
    let layout = maker.choices.pick(TABLE);
    layout(maker)
}

/// The result of moving elements of `x` to a tensor of this shape.
fn moved(
    maker: &mut Maker,
    op: &str,
    x: &Tensor,
    more: &[&str],
    attributes: Vec<sirius::import::proto::AttributeProto>,
    dims: Vec<Dim>,
) -> Option<()> {
    let inputs: Vec<&str> = std::iter::once(x.name.as_str()).chain(more.iter().copied()).collect();
    maker.one(op, &inputs, attributes, (x.dtype, dims, x.bounds)).map(|_| ())
}

/// An axis of a tensor of this rank, sometimes counted from the end: as written, and as meant.
pub fn axis(maker: &mut Maker, rank: usize) -> (i64, usize) {
    let n = maker.choices.below(rank);
    if maker.choices.chance(35) { (n as i64 - rank as i64, n) } else { (n as i64, n) }
}

fn shuffled(maker: &mut Maker, rank: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    for n in (1..rank).rev() {
        let other = maker.choices.below(n + 1);
        order.swap(n, other);
    }
    order
}

fn transpose(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 0..=4);
    let rank = x.dims.len();
    if maker.choices.chance(25) {
        let dims = x.dims.iter().rev().copied().collect();
        return moved(maker, "Transpose", &x, &[], vec![], dims);
    }
    let order = shuffled(maker, rank);
    let perm: Vec<i64> = order.iter().map(|n| *n as i64).collect();
    let dims = order.iter().map(|n| x.dims[*n]).collect();
    moved(maker, "Transpose", &x, &[], vec![onnx::ints("perm", &perm)], dims)
}

/// Merges neighbours or splits an extent; written as numbers, as 0 (the operand's) and as -1 (the rest).
fn reshape(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let mut target: Vec<(i64, Dim)> = Vec::new();
    let split = maker.choices.chance(50);
    let at = maker.choices.below(x.dims.len());
    for (n, dim) in x.dims.iter().enumerate() {
        match dim.fixed() {
            Some(extent) if split && n == at && extent > 3 => {
                let factor = maker.choices.pick(&[2, 3, 4]);
                if extent % factor != 0 {
                    return None;
                }
                target.push((factor as i64, Dim::Fixed(factor)));
                target.push(((extent / factor) as i64, Dim::Fixed(extent / factor)));
            }
            // 0 is the operand's extent in the same place, so only before anything has moved.
            Some(0) => return None,
            Some(extent) => target.push((extent as i64, *dim)),
            None if target.len() == n => target.push((0, *dim)),
            None => target.push((-1, *dim)),
        }
    }
    if !split && target.len() > 1 {
        merge(maker, &mut target);
    }
    if target.iter().filter(|(n, _)| *n == -1).count() > 1 {
        return None;
    }
    if target.iter().all(|(n, _)| *n > 0) && maker.choices.chance(40) {
        let at = maker.choices.below(target.len());
        target[at].0 = -1;
    }
    let list: Vec<i64> = target.iter().map(|(n, _)| *n).collect();
    let list = maker.list(&list);
    moved(maker, "Reshape", &x, &[&list], vec![], target.into_iter().map(|(_, d)| d).collect())
}

/// Makes one extent of two neighbours.
fn merge(maker: &mut Maker, target: &mut Vec<(i64, Dim)>) {
    let at = maker.choices.below(target.len() - 1);
    let (a, b) = (target[at], target.remove(at + 1));
    target[at] = match (a.1.fixed(), b.1.fixed()) {
        (Some(x), Some(y)) => ((x * y) as i64, Dim::Fixed(x * y)),
        _ => (-1, maker.derived(a.1.min() * b.1.min(), a.1.max() * b.1.max())),
    };
    // What came after the pair has another place now.
    for entry in &mut target[at + 1..] {
        if entry.0 == 0 {
            entry.0 = -1;
        }
    }
}

/// The product of some extents.
fn merged(maker: &mut Maker, dims: &[Dim]) -> Dim {
    match fixed(dims) {
        Some(list) => Dim::Fixed(list.iter().product()),
        None if dims.len() == 1 => dims[0],
        None => maker.derived(dims.iter().map(|d| d.min()).product(), volume(dims)),
    }
}

fn flatten(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let (written, at) = axis(maker, x.dims.len());
    let dims = vec![merged(maker, &x.dims[..at]), merged(maker, &x.dims[at..])];
    moved(maker, "Flatten", &x, &[], vec![onnx::int("axis", written)], dims)
}

fn squeeze(maker: &mut Maker) -> Option<()> {
    let x = maker.find(ALL, |t| t.dims.contains(&Dim::Fixed(1)))?;
    let ones: Vec<usize> = (0..x.dims.len()).filter(|n| x.dims[*n] == Dim::Fixed(1)).collect();
    if fixed(&x.dims).is_some() && maker.choices.chance(30) {
        let dims = x.dims.iter().filter(|d| **d != Dim::Fixed(1)).copied().collect();
        return moved(maker, "Squeeze", &x, &[], vec![], dims);
    }
    let at = maker.choices.pick(&ones);
    let mut dims = x.dims.clone();
    dims.remove(at);
    let list = maker.list(&[at as i64 - x.dims.len() as i64]);
    moved(maker, "Squeeze", &x, &[&list], vec![], dims)
}

fn unsqueeze(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 0..=3);
    let at = maker.choices.below(x.dims.len() + 1);
    let mut dims = x.dims.clone();
    dims.insert(at, Dim::Fixed(1));
    let written = if maker.choices.chance(40) { at as i64 - dims.len() as i64 } else { at as i64 };
    let list = maker.list(&[written]);
    moved(maker, "Unsqueeze", &x, &[&list], vec![], dims)
}

/// Tensors that differ in one axis only.
fn concat(maker: &mut Maker) -> Option<()> {
    let first = maker.any(ALL, 1..=4);
    let (written, at) = axis(maker, first.dims.len());
    let mut all = vec![first];
    for _ in 0..1 + maker.choices.below(3) {
        let (dtype, dims) = (all[0].dtype, all[0].dims.clone());
        let same = |t: &Tensor| t.dims.len() == dims.len() && (0..dims.len()).all(|n| n == at || t.dims[n] == dims[n]);
        let next = match maker.find(&[dtype], same) {
            Some(found) => found,
            None => {
                let mut dims = dims.clone();
                dims[at] = maker.dim();
                maker.fresh(dtype, dims)
            }
        };
        if next.dims.len() != dims.len() || (0..dims.len()).any(|n| n != at && next.dims[n] != dims[n]) {
            return None;
        }
        all.push(next);
    }
    let mut dims = all[0].dims.clone();
    let parts: Vec<Dim> = all.iter().map(|t| t.dims[at]).collect();
    dims[at] = match fixed(&parts) {
        Some(list) => Dim::Fixed(list.iter().sum()),
        None => maker.derived(parts.iter().map(|d| d.min()).sum(), parts.iter().map(|d| d.max()).sum()),
    };
    let bounds = all.iter().skip(1).fold(all[0].bounds, |hull, t| hull.or(t.bounds));
    let names: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
    maker.one("Concat", &names, vec![onnx::int("axis", written)], (all[0].dtype, dims, bounds)).map(|_| ())
}

/// Into given lengths, or into a number of parts of which the last may be shorter.
fn split(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let (written, at) = axis(maker, x.dims.len());
    let extent = x.dims[at].fixed()?;
    let count = 1 + maker.choices.below(extent.clamp(1, 4));
    let mut lengths = Vec::new();
    let mut attributes = vec![onnx::int("axis", written)];
    let mut inputs = vec![x.name.clone()];
    if maker.choices.chance(50) {
        let mut rest = extent;
        for _ in 1..count {
            lengths.push(maker.choices.below(rest + 1));
            rest -= lengths.last().unwrap_or(&0);
        }
        lengths.push(rest);
        let list: Vec<i64> = lengths.iter().map(|n| *n as i64).collect();
        inputs.push(maker.list(&list));
    } else {
        let length = extent.div_ceil(count);
        if extent == 0 || length * (count - 1) >= extent {
            return None;
        }
        lengths = (0..count).map(|n| length.min(extent - n * length)).collect();
        attributes.push(onnx::int("num_outputs", count as i64));
    }
    let result = |n: &usize| {
        let mut dims = x.dims.clone();
        dims[at] = Dim::Fixed(*n);
        (x.dtype, dims, x.bounds)
    };
    let results = lengths.iter().map(result).collect();
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    maker.node("Split", &names, attributes, results).map(|_| ())
}

/// Some axes, with steps of either sign and limits outside the array.
fn slice(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let (mut starts, mut ends, mut axes, mut steps) = (vec![], vec![], vec![], vec![]);
    let mut dims = x.dims.clone();
    let chosen = 1 + maker.choices.below(x.dims.len());
    for at in shuffled(maker, x.dims.len()).into_iter().take(chosen) {
        let (start, end, step, dim) = match x.dims[at] {
            Dim::Fixed(extent) => cut(maker, extent as i64),
            other => open_cut(maker, other),
        };
        starts.push(start);
        ends.push(end);
        axes.push(at as i64);
        steps.push(step);
        dims[at] = dim;
    }
    if maker.choices.chance(30) {
        axes.iter_mut().for_each(|a| *a -= x.dims.len() as i64);
    }
    let ordinary = axes.iter().enumerate().all(|(n, a)| n as i64 == *a);
    let mut lists = vec![maker.list(&starts), maker.list(&ends)];
    let plain = steps.iter().all(|s| *s == 1);
    match (ordinary && maker.choices.chance(40), plain && maker.choices.chance(40)) {
        (true, true) => {}
        (true, false) => lists.extend([String::new(), maker.list(&steps)]),
        (false, true) => lists.push(maker.list(&axes)),
        (false, false) => lists.extend([maker.list(&axes), maker.list(&steps)]),
    }
    let more: Vec<&str> = lists.iter().map(String::as_str).collect();
    moved(maker, "Slice", &x, &more, vec![], dims)
}

/// Start, end, step and length of a slice of a fixed extent.
fn cut(maker: &mut Maker, extent: i64) -> (i64, i64, i64, Dim) {
    let step = maker.choices.pick(&[1, 1, 2, -1, 3, -2]);
    let (start, end) = (maker.choices.between(-extent - 1, extent + 1), maker.choices.between(-extent - 2, extent + 2));
    let absolute = |n: i64| if n < 0 { n + extent } else { n };
    let length = if step > 0 {
        let (from, to) = (absolute(start).clamp(0, extent), absolute(end).clamp(0, extent));
        (to - from).max(0).div_euclid(step) + i64::from((to - from).max(0).rem_euclid(step) != 0)
    } else {
        let (from, to) = (absolute(start).clamp(0, (extent - 1).max(0)), absolute(end).clamp(-1, extent - 1));
        let (span, step) = ((from - to).max(0), -step);
        if extent == 0 { 0 } else { (span + step - 1) / step }
    };
    (start, end, step, Dim::Fixed(length as usize))
}

/// The same for an extent that is not known: all, all but some, or backwards.
fn open_cut(maker: &mut Maker, dim: Dim) -> (i64, i64, i64, Dim) {
    let less = |maker: &mut Maker| maker.derived(dim.min().saturating_sub(1), dim.max().saturating_sub(1));
    match maker.choices.below(5) {
        0 => (0, i64::MAX, 1, dim),
        1 => (1, i64::MAX, 1, less(maker)),
        2 => (0, -1, 1, less(maker)),
        3 => (-1, i64::MIN, -1, dim),
        _ => (0, i64::MAX, 2, maker.derived(dim.min().div_ceil(2), dim.max().div_ceil(2))),
    }
}

fn pad(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=4);
    let mode = maker.choices.pick(&["constant", "edge", "reflect", "wrap", "constant"]);
    let rank = x.dims.len();
    let (mut before, mut after) = (vec![0; rank], vec![0; rank]);
    let mut dims = x.dims.clone();
    for n in 0..rank {
        let least = x.dims[n].min() as i64;
        let most = match mode {
            "constant" => 3,
            "edge" if least > 0 => 2,
            "reflect" => (least - 1).clamp(0, 3),
            _ => least.min(2),
        };
        let low = if mode == "constant" && least > 2 { -1 } else { 0 };
        (before[n], after[n]) = (maker.choices.between(low, most), maker.choices.between(low, most));
        let more = before[n] + after[n];
        dims[n] = match x.dims[n] {
            dim if more == 0 && before[n] == 0 => dim,
            Dim::Fixed(extent) => Dim::Fixed((extent as i64 + more) as usize),
            dim => maker.derived((dim.min() as i64 + more) as usize, (dim.max() as i64 + more) as usize),
        };
    }
    let axes: Vec<usize> = (0..rank).filter(|n| before[*n] != 0 || after[*n] != 0).collect();
    let named = axes.len() < rank && !axes.is_empty() && maker.choices.chance(50);
    let list: Vec<i64> = if named {
        axes.iter().map(|n| before[*n]).chain(axes.iter().map(|n| after[*n])).collect()
    } else {
        before.iter().chain(&after).copied().collect()
    };
    let mut more = vec![maker.list(&list)];
    let mut bounds = x.bounds;
    if mode == "constant" {
        let value = maker
            .choices
            .pick(&[None, Some(1.0), Some(3.0)])
            .filter(|v| x.dtype != sirius_polyhedral::DType::Bool || *v == 1.0);
        more.push(value.map_or(String::new(), |v| maker.scalar(x.dtype, v)));
        bounds = bounds.or_value(value.unwrap_or(0.0));
    } else {
        more.push(String::new());
    }
    if named {
        let list: Vec<i64> = axes.iter().map(|n| *n as i64).collect();
        more.push(maker.list(&list));
    }
    while more.last().is_some_and(String::is_empty) {
        more.pop();
    }
    let inputs: Vec<&str> = std::iter::once(x.name.as_str()).chain(more.iter().map(String::as_str)).collect();
    maker.one("Pad", &inputs, vec![onnx::string("mode", mode)], (x.dtype, dims, bounds)).map(|_| ())
}

/// To a larger shape; where an extent is not known the list says 1, which changes nothing.
fn expand(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 0..=3);
    let mut list = Vec::new();
    let mut dims = Vec::new();
    for _ in 0..maker.choices.below(2) {
        let extent = maker.choices.between(1, 4) as usize;
        list.push(extent as i64);
        dims.push(Dim::Fixed(extent));
    }
    for dim in &x.dims {
        let grown =
            if *dim == Dim::Fixed(1) && maker.choices.chance(60) { Dim::Fixed(maker.choices.below(6)) } else { *dim };
        list.push(match grown.fixed() {
            Some(extent) if grown != *dim || maker.choices.chance(50) => extent as i64,
            _ => 1,
        });
        dims.push(grown);
    }
    let list = maker.list(&list);
    moved(maker, "Expand", &x, &[&list], vec![], dims)
}

fn tile(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 1..=3);
    let mut list = Vec::new();
    let mut dims = Vec::new();
    for dim in &x.dims {
        let times = maker.choices.pick(&[1, 2, 1, 3, 0]);
        list.push(times as i64);
        dims.push(match dim {
            dim if times == 1 => *dim,
            Dim::Fixed(n) => Dim::Fixed(n * times),
            dim => maker.derived(dim.min() * times, dim.max() * times),
        });
    }
    let list = maker.list(&list);
    moved(maker, "Tile", &x, &[&list], vec![], dims)
}

fn trilu(maker: &mut Maker) -> Option<()> {
    let x = maker.any(ALL, 2..=4);
    let upper = onnx::int("upper", i64::from(maker.choices.chance(50)));
    let bounds = x.bounds.or_value(0.0);
    let offset = maker.choices.between(-2, 2);
    let k = maker.constant(Value::scalar(offset), Bounds::whole(-2.0, 2.0)).name;
    let inputs = [x.name.as_str(), k.as_str()];
    let given = if offset == 0 { 1 } else { 2 };
    maker.one("Trilu", &inputs[..given], vec![upper], (x.dtype, x.dims.clone(), bounds)).map(|_| ())
}

fn depth_to_space(maker: &mut Maker) -> Option<()> {
    let block = maker.choices.between(1, 3) as usize;
    let (n, c) = (maker.dim(), maker.choices.between(1, 3) as usize);
    let (h, w) = (maker.choices.between(1, 3) as usize, maker.choices.between(1, 3) as usize);
    let deep = [n, Dim::Fixed(c * block * block), Dim::Fixed(h), Dim::Fixed(w)];
    let wide = [n, Dim::Fixed(c), Dim::Fixed(h * block), Dim::Fixed(w * block)];
    let dtype = maker.dtype(FLOATS);
    let size = onnx::int("blocksize", block as i64);
    let (op, from, to) =
        if maker.choices.chance(40) { ("SpaceToDepth", wide, deep) } else { ("DepthToSpace", deep, wide) };
    let x = maker.fresh(dtype, from.to_vec());
    let mode = onnx::string("mode", maker.choices.pick(&["DCR", "CRD"]));
    let attributes = if op == "DepthToSpace" { vec![size, mode] } else { vec![size] };
    moved(maker, op, &x, &[], attributes, to.to_vec())
}

fn reverse(maker: &mut Maker) -> Option<()> {
    let x = maker.any(NUMBERS, 2..=4);
    let (Some(time), Some(batch)) = (x.dims[0].fixed(), x.dims[1].fixed()) else { return None };
    if time == 0 {
        return None;
    }
    let lengths = maker.like(sirius_polyhedral::DType::I64, &[Dim::Fixed(batch)], Bounds::whole(1.0, time as f64));
    let axes = vec![onnx::int("time_axis", 0), onnx::int("batch_axis", 1)];
    let dims = x.dims.clone();
    moved(maker, "ReverseSequence", &x, &[&lengths.name], axes, dims)
}

/// At inference: the operand itself, and a mask of ones.
fn dropout(maker: &mut Maker) -> Option<()> {
    let x = maker.any(FLOATS, 0..=3);
    let mut results = vec![(x.dtype, x.dims.clone(), x.bounds)];
    if maker.choices.chance(50) {
        results.push((sirius_polyhedral::DType::Bool, x.dims.clone(), Bounds::whole(0.0, 1.0)));
    }
    maker.node("Dropout", &[&x.name], vec![], results).map(|_| ())
}
