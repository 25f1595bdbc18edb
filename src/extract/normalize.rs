//! Normalisations: statistics per row in accumulators, then one elementwise statement.

use super::arguments::*;
use super::builder::{Builder, leaf};
use super::contraction::{Reduction, accumulate};
use super::softmax::Rows;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Node as ScheduleNode, Result};

/// The type statistics are computed in: at least `f32`, or what `stash_type` asks for.
fn stash(node: &Node, dtype: DType) -> DType {
    if node.int("stash_type") == Some(11) { DType::F64 } else { wide(dtype) }
}

/// One row's statistics while its nest is built.
struct Statistics<'a> {
    rows: &'a Rows,
    name: String,
    t: DType,
    nodes: Vec<ScheduleNode>,
}

impl Statistics<'_> {
    /// The mean over the inner dimensions of `value`, then `finish` of it, in an array per row.
    fn mean(&mut self, b: &mut Builder, what: &str, value: Expr, finish: impl FnOnce(Expr) -> Expr) -> ArrayId {
        let outer = self.rows.outer;
        let r = Reduction {
            name: &format!("{}_{what}_acc", self.name),
            dtype: self.t,
            op: BinaryOp::Add,
            init: lit(0.0, self.t),
            dims: &self.rows.dims,
            parallel: outer,
            value,
        };
        let (acc, nodes) = accumulate(b, r);
        self.nodes.extend(nodes);
        let inner: Vec<Aff> = self.rows.extents()[outer..].to_vec();
        let average = div(b.load(acc, b.iters(outer)), volume(&inner, self.t));
        self.once(b, what, finish(average))
    }

    /// One value per row.
    fn once(&mut self, b: &mut Builder, what: &str, value: Expr) -> ArrayId {
        let extents = self.rows.extents()[..self.rows.outer].to_vec();
        let array = b.temp(&format!("{}_{what}", self.name), self.t, extents);
        let id = b.assign(self.rows.outer_dims(), array, b.iters(self.rows.outer), value);
        self.nodes.push(leaf(id));
        array
    }

    /// Mean and `1 / sqrt(variance + epsilon)` of `x`, by two passes.
    fn moments(&mut self, b: &mut Builder, x: &Expr, epsilon: f64) -> (ArrayId, ArrayId) {
        let mean = self.mean(b, "mean", x.clone(), |m| m);
        let centred = sub(x.clone(), b.load(mean, b.iters(self.rows.outer)));
        let t = self.t;
        let scale = self.mean(b, "scale", mul(centred.clone(), centred), |variance| inverse_root(variance, epsilon, t));
        (mean, scale)
    }

    /// Ends the nest with `target[..] = value` over whole rows.
    fn finish(mut self, b: &mut Builder, target: TensorId, value: Expr) {
        let array = b.define(target);
        let value = convert(self.t, b.dtype(target), value);
        let id = b.assign(&self.rows.dims, array, self.rows.index.clone(), value);
        let outer = self.rows.outer;
        self.nodes.extend(b.bands(outer..self.rows.dims.len(), vec![leaf(id)]));
        let nest = b.bands(0..outer, self.nodes);
        b.emit(nest);
    }
}

/// What is normalised over each row, and the factors of the result.
struct Operand {
    x: Expr,
    scale: Option<Expr>,
    bias: Option<Expr>,
    t: DType,
}

/// `target = (x - mean) / sqrt(variance + epsilon) * scale + bias`, with the moments of each row.
fn standardize(b: &mut Builder, node: &Node, target: TensorId, rows: &Rows, o: Operand) {
    let mut s = Statistics { rows, name: b.graph.tensor(target).name.clone(), t: o.t, nodes: Vec::new() };
    let (mean, r) = s.moments(b, &o.x, epsilon(node));
    let row = b.iters(rows.outer);
    let value = mul(sub(o.x, b.load(mean, row.clone())), b.load(r, row));
    s.finish(b, target, scaled(value, o.scale, o.bias));
}

fn inverse_root(value: Expr, epsilon: f64, t: DType) -> Expr {
    div(lit(1.0, t), sqrt(add(value, lit(epsilon, t))))
}

fn epsilon(node: &Node) -> f64 {
    f64::from(node.float("epsilon").unwrap_or(1e-5))
}

/// A tensor that follows numpy's rules, at the place of the normalised element.
fn parameter(b: &mut Builder, tensor: Option<TensorId>, index: &[Expr], t: DType) -> Result<Option<Expr>> {
    let Some(tensor) = tensor else { return Ok(None) };
    let from = b.dtype(tensor);
    Ok(Some(convert(from, t, b.read(tensor, &broadcast(&b.shape(tensor), index))?)))
}

fn scaled(value: Expr, scale: Option<Expr>, bias: Option<Expr>) -> Expr {
    let value = match scale {
        Some(s) => mul(value, s),
        None => value,
    };
    match bias {
        Some(c) => add(value, c),
        None => value,
    }
}

/// `LayerNormalization` and `RMSNormalization` over the dimensions from `axis` on.
pub fn layer(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let shape = b.shape(source);
    let first = axis(node, "axis", -1, shape.len())?;
    let rows = Rows::new(b, &shape, &(first..shape.len()).collect::<Vec<_>>());
    let t = stash(node, b.dtype(source));
    let x = convert(b.dtype(source), t, b.read(source, &rows.index)?);
    let scale = parameter(b, node.input(1), &rows.index, t)?;
    let bias = parameter(b, node.input(2), &rows.index, t)?;
    let name = b.graph.tensor(target).name.clone();
    let mut s = Statistics { rows: &rows, name, t, nodes: Vec::new() };
    let row = b.iters(rows.outer);
    let value = if node.op == "RMSNormalization" {
        let epsilon = epsilon(node);
        let r = s.mean(b, "scale", mul(x.clone(), x.clone()), |m| inverse_root(m, epsilon, t));
        mul(x, b.load(r, row))
    } else {
        let (mean, r) = s.moments(b, &x, epsilon(node));
        for (n, array) in [(1, mean), (2, r)] {
            statistic(b, node, n, array, first);
        }
        mul(sub(x, b.load(mean, row.clone())), b.load(r, row))
    };
    s.finish(b, target, scaled(value, scale, bias));
    Ok(())
}

/// Optional results `Mean` and `InvStdDev`: views with the reduced dimensions kept as 1.
fn statistic(b: &mut Builder, node: &Node, n: usize, array: ArrayId, kept: usize) {
    if let Some(tensor) = node.output(n) {
        let value = b.load(array, b.iters(kept));
        let from = b.program.dtype(&value);
        let to = b.dtype(tensor);
        b.bind(tensor, convert(from, to, value));
    }
}

/// `BatchNormalization` at inference: `x * factor[c] + shift[c]`, both computed once per channel.
pub fn batch(b: &mut Builder, node: &Node) -> Result<()> {
    if node.int("training_mode") == Some(1) {
        return Err(unsupported_form(node, "training mode").help("export the model in inference mode"));
    }
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (out, shape) = (b.dtype(target), b.shape(source));
    let t = wide(out);
    let name = b.graph.tensor(target).name.clone();
    let (factor, shift) = match folded(b, node, &name) {
        Some(known) => known,
        None => per_channel(b, node, &name, t)?,
    };
    let index = b.iters(shape.len());
    let x = convert(out, t, b.read(source, &index)?);
    let channel = index.get(1).cloned().unwrap_or_else(|| Expr::int(0));
    let [factor, shift] = [factor, shift].map(|array| b.load(array, vec![channel.clone()]));
    b.pointwise(target, convert(t, out, add(mul(x, factor), shift)));
    Ok(())
}

/// Factor and shift per channel when all four parameters are known: computed here, in `f64`.
fn folded(b: &mut Builder, node: &Node, name: &str) -> Option<(ArrayId, ArrayId)> {
    let list = |n: usize| b.graph.tensor(node.input(n)?).floats();
    let (scale, bias, mean, variance) = (list(1)?, list(2)?, list(3)?, list(4)?);
    let epsilon = epsilon(node);
    let factor: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let shift: Vec<f64> = bias.iter().zip(mean.iter().zip(&factor)).map(|(c, (m, f))| c - m * f).collect();
    let count = Aff::constant(factor.len() as i64);
    let wide_type = wide(b.dtype(node.output(0)?));
    let mut array = |suffix: &str, values: Vec<f64>| {
        let bytes = values.iter().flat_map(|v| float_bytes(*v, wide_type)).collect();
        b.constant(&format!("{name}_{suffix}"), wide_type, vec![count.clone()], bytes)
    };
    Some((array("factor", factor), array("shift", shift)))
}

fn float_bytes(value: f64, t: DType) -> Vec<u8> {
    if t == DType::F64 { value.to_le_bytes().to_vec() } else { (value as f32).to_le_bytes().to_vec() }
}

fn per_channel(b: &mut Builder, node: &Node, name: &str, t: DType) -> Result<(ArrayId, ArrayId)> {
    let extent = b.shape(input(node, 1)?)[0].clone();
    let dims = super::builder::named_dims(&["c"], std::slice::from_ref(&extent));
    let c = b.iters(1);
    let mut read = |n: usize| -> Result<Expr> {
        let tensor = input(node, n)?;
        Ok(convert(b.dtype(tensor), t, b.read(tensor, &c)?))
    };
    let (scale, bias, mean, variance) = (read(1)?, read(2)?, read(3)?, read(4)?);
    let factor = b.temp(&format!("{name}_factor"), t, vec![extent.clone()]);
    let root = sqrt(add(variance, lit(epsilon(node), t)));
    let first = b.assign(&dims, factor, c.clone(), div(scale, root));
    let shift = b.temp(&format!("{name}_shift"), t, vec![extent]);
    let value = sub(bias, mul(mean, b.load(factor, c.clone())));
    let second = b.assign(&dims, shift, c, value);
    let nest = b.bands(0..1, vec![leaf(first), leaf(second)]);
    b.emit(nest);
    Ok((factor, shift))
}

/// `InstanceNormalization`: statistics per image and channel.
pub fn instance(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let shape = b.shape(source);
    let rows = Rows::new(b, &shape, &(2..shape.len()).collect::<Vec<_>>());
    let t = wide(b.dtype(source));
    let x = convert(b.dtype(source), t, b.read(source, &rows.index)?);
    let channel = [rows.index[1].clone()];
    let scale = parameter(b, node.input(1), &channel, t)?;
    let bias = parameter(b, node.input(2), &channel, t)?;
    standardize(b, node, target, &rows, Operand { x, scale, bias, t });
    Ok(())
}

/// `GroupNormalization`: channels split into groups; scale per group (version 18) or per channel (21).
pub fn group(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let shape = b.shape(source);
    let groups = node.int("num_groups").unwrap_or(0);
    let channels = shape.get(1).and_then(Aff::as_constant);
    let channels = channels.ok_or_else(|| unsupported_form(node, "the channels must be constant"))?;
    if groups <= 0 || channels % groups != 0 {
        return Err(invalid(node, format!("{groups} groups of {channels} channels")));
    }
    let mut extents = vec![shape[0].clone(), groups.into(), (channels / groups).into()];
    extents.extend(shape[2..].iter().cloned());
    let mut rows = Rows::new(b, &extents, &(2..extents.len()).collect::<Vec<_>>());
    let channel = index(b.aff(1) * (channels / groups) + b.aff(2));
    rows.index.splice(1..3, [channel.clone()]);
    let t = stash(node, b.dtype(source));
    let x = convert(b.dtype(source), t, b.read(source, &rows.index)?);
    let at = if node.version < 21 { b.iter(1) } else { channel };
    let scale = parameter(b, node.input(1), std::slice::from_ref(&at), t)?;
    let bias = parameter(b, node.input(2), &[at], t)?;
    standardize(b, node, target, &rows, Operand { x, scale, bias, t });
    Ok(())
}

/// `MeanVarianceNormalization`: `(x - mean) / (sqrt(E[x^2] - mean^2) + 1e-9)` over `axes`.
pub fn mean_variance(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let shape = b.shape(source);
    let inner = axes(node, node.ints("axes").unwrap_or(&[0, 2, 3]), shape.len())?;
    let rows = Rows::new(b, &shape, &inner);
    let t = wide(b.dtype(source));
    let x = convert(b.dtype(source), t, b.read(source, &rows.index)?);
    let mut s = Statistics { rows: &rows, name: b.graph.tensor(target).name.clone(), t, nodes: Vec::new() };
    let row = b.iters(rows.outer);
    let mean = s.mean(b, "mean", x.clone(), |m| m);
    let centred = sub(x, b.load(mean, row.clone()));
    let deviation = s.mean(b, "deviation", mul(centred.clone(), centred.clone()), |v| add(sqrt(v), lit(1e-9, t)));
    let value = div(centred, b.load(deviation, row));
    s.finish(b, target, value);
    Ok(())
}

/// `LpNormalization` along one axis.
pub fn lp(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let shape = b.shape(source);
    let rows = Rows::new(b, &shape, &[axis(node, "axis", -1, shape.len())?]);
    let t = wide(b.dtype(source));
    let x = convert(b.dtype(source), t, b.read(source, &rows.index)?);
    let one = node.int("p") == Some(1);
    let name = b.graph.tensor(target).name.clone();
    let mut s = Statistics { rows: &rows, name, t, nodes: Vec::new() };
    let r = Reduction {
        name: &format!("{}_acc", s.name),
        dtype: t,
        op: BinaryOp::Add,
        init: lit(0.0, t),
        dims: &rows.dims,
        parallel: rows.outer,
        value: if one { abs(x.clone()) } else { mul(x.clone(), x.clone()) },
    };
    let (acc, nodes) = accumulate(b, r);
    s.nodes.extend(nodes);
    let total = b.load(acc, b.iters(rows.outer));
    let norm = s.once(b, "norm", if one { total } else { sqrt(total) });
    let norm = b.load(norm, b.iters(rows.outer));
    // A row of zeros has no direction; it stays zero.
    let value = Expr::select(eq(norm.clone(), lit(0.0, t)), lit(0.0, t), div(x, norm));
    s.finish(b, target, value);
    Ok(())
}

/// `LRN`: a window of channels around each one; the sum's window ends at the border of the channels.
pub fn local_response(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out) = (b.shape(source), b.dtype(target));
    let t = wide(out);
    let size = node.int("size").filter(|s| *s > 0).ok_or_else(|| invalid(node, "`size` must be positive"))?;
    let attribute = |name: &str, default: f32| f64::from(node.float(name).unwrap_or(default));
    let rank = shape.len();
    let mut dims = super::builder::dims("i", &shape);
    dims.push(("k".to_string(), size.into()));
    let channel = b.aff(1) + b.aff(rank) - ((size - 1) / 2).into();
    let mut at = b.iters(rank);
    let x = convert(out, t, b.read(source, &at)?);
    at[1] = index(channel.clone());
    let neighbour = convert(out, t, b.read(source, &at)?);
    let r = Reduction {
        name: &format!("{}_acc", b.graph.tensor(target).name),
        dtype: t,
        op: BinaryOp::Add,
        init: lit(0.0, t),
        dims: &dims,
        parallel: rank,
        value: mul(neighbour.clone(), neighbour),
    };
    let (acc, mut nodes) = accumulate(b, r);
    let inside = [channel.clone(), shape[1].clone() - 1.into() - channel];
    for id in nodes.iter().skip(1).flat_map(|n| n.statements()).collect::<Vec<_>>() {
        b.constrain(id, inside.clone());
    }
    let (alpha, beta, bias) = (attribute("alpha", 0.0001), attribute("beta", 0.75), attribute("bias", 1.0));
    let base = add(lit(bias, t), mul(lit(alpha / size as f64, t), b.load(acc, b.iters(rank))));
    let value = convert(t, out, div(x, pow(base, lit(beta, t))));
    let array = b.define(target);
    let last = b.assign(&dims[..rank], array, b.iters(rank), value);
    nodes.push(leaf(last));
    let nest = b.bands(0..rank, nodes);
    b.emit(nest);
    Ok(())
}
