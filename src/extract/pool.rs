//! Pooling: `MaxPool`, `AveragePool`, `LpPool` and their global forms.

use super::arguments::*;
use super::builder::{Builder, Dims, leaf};
use super::contraction::{Reduction, accumulate, reduction};
use super::padding::{Window, padded};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, BinaryOp, DType, Expr, Result};

/// A pool over windows: its loops, the padded source and the source's spatial extents.
struct Pool {
    window: Window,
    dims: Dims,
    /// Element of the padded source, and of the window, in terms of the loops.
    element: Expr,
    spatial: Vec<Aff>,
    result: Vec<Aff>,
}

impl Pool {
    fn new(b: &mut Builder, node: &Node, fill: Expr) -> Result<Pool> {
        let (source, target) = (input(node, 0)?, output(node, 0)?);
        let (shape, result) = (b.shape(source), b.shape(target));
        let kernel = node.ints("kernel_shape").ok_or_else(|| invalid(node, "`kernel_shape` is missing"))?;
        let spatial = shape.get(2..).unwrap_or_default().to_vec();
        let window = Window::new(b, node, kernel.to_vec(), &spatial, result.get(2..).unwrap_or_default())?;
        let after = window.overhang(&spatial, &result[2..]);
        let mut view = b.view(source)?;
        if window.is_padded(&after) {
            let name = format!("{}_padded", b.graph.tensor(target).name);
            view = padded(b, &name, &view, &shape, (&window.before, &after), fill);
        }
        let rank = window.kernel.len();
        let names = ["n", "c", "oh", "ow", "od"];
        let mut dims: Dims = result.iter().enumerate().map(|(d, e)| (dim_name(&names, d), e.clone())).collect();
        dims.extend(window.kernel.iter().enumerate().map(|(d, k)| (format!("k{d}"), Aff::constant(*k))));
        let mut at = b.iters(2);
        at.extend((0..rank).map(|d| index(window.position(d, b.aff(d + 2), b.aff(d + 2 + rank)))));
        let element = b.at(&view, &at);
        Ok(Pool { window, dims, element, spatial, result })
    }

    fn rank(&self) -> usize {
        self.result.len()
    }
}

fn dim_name(names: &[&str], d: usize) -> String {
    names.get(d).map_or_else(|| format!("i{d}"), |n| n.to_string())
}

pub fn pool(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (from, out) = (b.dtype(source), b.dtype(target));
    let t = wide(out);
    let maximum = node.op == "MaxPool";
    let (op, fill) = if maximum { (BinaryOp::Max, lowest(from)) } else { (BinaryOp::Add, lit(0.0, from)) };
    let p = Pool::new(b, node, fill)?;
    let power = node.int("p").or_else(|| node.float("p").map(|v| v as i64)).unwrap_or(2) as f64;
    let x = convert(from, t, p.element.clone());
    let value = if node.op == "LpPool" { pow(abs(x), lit(power, t)) } else { x };
    if maximum && node.output(1).is_some() {
        return max_pool_with_indices(b, node, p, value);
    }
    let array = b.define(target);
    let place = b.iters(p.rank());
    let r = Reduction {
        name: &format!("{}_acc", b.graph.tensor(target).name),
        dtype: t,
        op,
        init: if maximum { lowest(t) } else { lit(0.0, t) },
        dims: &p.dims,
        parallel: p.rank(),
        value,
    };
    reduction(b, r, array, place, |b, total| {
        let value = match node.op.as_str() {
            "AveragePool" => div(total, count(b, node, &p, t)),
            "LpPool" => pow(total, lit(1.0 / power, t)),
            _ => total,
        };
        convert(t, out, value)
    });
    Ok(())
}

/// How many elements a window averages over: all of it, or those inside the image (with its padding where
/// `count_include_pad` says so; what rounding up added never counts).
fn count(b: &Builder, node: &Node, p: &Pool, t: DType) -> Expr {
    let include = node.int("count_include_pad") == Some(1);
    let mut total: Option<Expr> = None;
    for d in 0..p.window.kernel.len() {
        let padding = || (p.window.before[d].clone(), p.window.after[d].clone());
        let (before, after) = if include { padding() } else { (0.into(), 0.into()) };
        let start = b.aff(d + 2) * p.window.strides[d] - p.window.before[d].clone();
        let step = p.window.dilations[d];
        let end = p.spatial[d].clone() + after;
        let up = |room: Aff| (room + (step - 1).into()).floor_div(step);
        let high = min(Expr::int(p.window.kernel[d]), index(up(end - start.clone())));
        let low = max(Expr::int(0), index(up(-before - start)));
        let here = sub(high, low);
        total = Some(total.map_or(here.clone(), |t| mul(t, here)));
    }
    let total = b.simplify(total.unwrap_or_else(|| Expr::int(1)), &p.result);
    match total.as_aff().and_then(|a| a.as_constant()) {
        Some(constant) => lit(constant as f64, t),
        None => Expr::cast(t, total),
    }
}

/// `MaxPool` with its second result: the place of the first maximum in the flattened source.
fn max_pool_with_indices(b: &mut Builder, node: &Node, p: Pool, value: Expr) -> Result<()> {
    let (target, places) = (output(node, 0)?, output(node, 1)?);
    let (rank, spatial) = (p.rank(), p.window.kernel.len());
    let t = b.program.dtype(&value);
    let names = ["best", "at"].map(|s| format!("{}_{s}", b.graph.tensor(target).name));
    let best = Reduction {
        name: &names[0],
        dtype: t,
        op: BinaryOp::Max,
        init: lowest(t),
        dims: &p.dims,
        parallel: rank,
        value: value.clone(),
    };
    let (best, mut nodes) = accumulate(b, best);
    let best = b.load(best, b.iters(rank));
    let mut order: Vec<usize> = (0..spatial).collect();
    if node.int("storage_order") == Some(1) {
        order.reverse();
    }
    let mut position = add(mul(b.iter(0), index(p.dims[1].1.clone())), b.iter(1));
    for d in &p.spatial {
        position = mul(position, index(d.clone()));
    }
    let mut inner = Expr::int(0);
    for d in order {
        let i = p.window.position(d, b.aff(d + 2), b.aff(d + 2 + spatial)) - p.window.before[d].clone();
        inner = add(mul(inner, index(p.spatial[d].clone())), index(i));
    }
    let never = Expr::int(i64::MAX);
    let hit = Reduction {
        name: &names[1],
        dtype: DType::I64,
        op: BinaryOp::Min,
        init: never.clone(),
        dims: &p.dims,
        parallel: rank,
        value: Expr::select(eq(value, best.clone()), add(position, inner), never),
    };
    let (at, more) = accumulate(b, hit);
    nodes.extend(more);
    let (at, index) = (b.load(at, b.iters(rank)), b.iters(rank));
    let arrays = [b.define(target), b.define(places)];
    for (array, value) in arrays.into_iter().zip([convert(t, b.dtype(target), best), at]) {
        let id = b.assign(&p.dims[..rank], array, index.clone(), value);
        nodes.push(leaf(id));
    }
    let nest = b.bands(0..rank, nodes);
    b.emit(nest);
    Ok(())
}

/// `GlobalMaxPool`, `GlobalAveragePool` and `GlobalLpPool`: one value per image and channel.
pub fn global(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out) = (b.shape(source), b.dtype(target));
    let t = wide(out);
    let x = convert(out, t, b.read(source, &b.iters(shape.len()))?);
    let power = node.int("p").unwrap_or(2) as f64;
    let (op, init) = if node.op == "GlobalMaxPool" { (BinaryOp::Max, lowest(t)) } else { (BinaryOp::Add, lit(0.0, t)) };
    let value = if node.op == "GlobalLpPool" { pow(abs(x), lit(power, t)) } else { x };
    let names = ["n", "c", "h", "w", "d"];
    let dims: Dims = shape.iter().enumerate().map(|(d, e)| (dim_name(&names, d), e.clone())).collect();
    let array = b.define(target);
    let place = (0..shape.len()).map(|d| if d < 2 { b.iter(d) } else { Expr::int(0) }).collect();
    let name = format!("{}_acc", b.graph.tensor(target).name);
    let r = Reduction { name: &name, dtype: t, op, init, dims: &dims, parallel: 2, value };
    reduction(b, r, array, place, |_, total| {
        let value = match node.op.as_str() {
            "GlobalAveragePool" => div(total, volume(&shape[2..], t)),
            "GlobalLpPool" => pow(total, lit(1.0 / power, t)),
            _ => total,
        };
        convert(t, out, value)
    });
    Ok(())
}
