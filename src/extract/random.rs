//! Random numbers: `RandomUniform`, `RandomNormal`, their `Like` forms, `Bernoulli` and `Multinomial`.
//!
//! The generator counts instead of keeping a state, so every element is computed on its own, in any order. Element
//! `i` (row-major) of a node takes draw `i`, or draws `2 i` and `2 i + 1` where it needs two:
//!
//! ```text
//! z = key + (draw + 1) * 0x9E3779B97F4A7C15      (modulo 2^64, SplitMix64)
//! z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
//! z = (z ^ z >> 27) * 0x94D049BB133111EB
//! bits = z ^ z >> 31
//! uniform in [0, 1):  (bits >> 40) * 2^-24 in f32, (bits >> 11) * 2^-53 in f64
//! normal:  sqrt(-2 ln(1 - u)) * cos(2 pi v) of two uniforms u, v
//! ```
//!
//! `key` is the f32 bits of the attribute `seed`, or, without one, the FNV-1a hash of the node's name: a model
//! gives the same numbers in every run. Inside a loop the iterations are part of the draw's number.

use super::arguments::*;
use super::builder::{Builder, Dims, dims, leaf};
use super::contraction::{Reduction, accumulate};
use super::terms::*;
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, Scalar, UnaryOp};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX: [(u64, u64); 2] = [(30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB)];
/// Multiplier of Knuth's MMIX generator: spreads loop iterations over the draws.
const SPREAD: u64 = 6_364_136_223_846_793_005;

fn word(value: u64) -> Expr {
    Expr::Const(Scalar::Int(value as i64, DType::U64))
}

/// The generator's key for a node.
pub fn key(node: &Node) -> u64 {
    match node.float("seed") {
        Some(seed) => u64::from(seed.to_bits()),
        None => node.name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3)),
    }
}

/// Draws for all elements of a shape.
struct Source {
    name: String,
    key: u64,
    shape: Vec<Aff>,
    /// Draws per element, and the float type of what is made of them.
    stride: u64,
    t: DType,
}

impl Source {
    fn new(b: &Builder, node: &Node, shape: Vec<Aff>, t: DType) -> Result<Source> {
        let stride = if node.op.starts_with("RandomNormal") { 2 } else { 1 };
        let name = b.graph.tensor(output(node, 0)?).name.clone();
        Ok(Source { name, key: key(node), shape, stride, t })
    }

    /// A uniform number in `[0, 1)` for every element: draw `offset` of its draws.
    fn uniform(&self, b: &mut Builder, offset: u64) -> Expr {
        let mut flat = Expr::int(0);
        for (d, extent) in self.shape.iter().enumerate() {
            flat = add(mul(flat, index(extent.clone())), b.iter(d));
        }
        let flat = b.simplify(flat, &self.shape);
        let mut draw = add(mul(Expr::cast(DType::U64, flat), word(self.stride)), word(offset));
        for n in 0..b.depth() {
            let iteration = Expr::cast(DType::U64, index(Aff::iter(n) + 1.into()));
            draw = add(draw, mul(iteration, word(SPREAD.wrapping_pow(n as u32 + 1))));
        }
        let mut z = add(mul(add(draw, word(1)), word(GOLDEN)), word(self.key));
        for (n, (by, times)) in MIX.into_iter().enumerate() {
            let here = self.store(b, &format!("mix{offset}_{n}"), z);
            z = mul(mixed(here, by), word(times));
        }
        let last = self.store(b, &format!("mix{offset}"), z);
        let (unused, scale) = if self.t == DType::F64 { (11, -53) } else { (40, -24) };
        let high = Expr::binary(BinaryOp::Shr, mixed(last, 31), word(unused));
        mul(Expr::cast(self.t, Expr::cast(DType::I64, high)), lit(2f64.powi(scale), self.t))
    }

    fn store(&self, b: &mut Builder, what: &str, value: Expr) -> Expr {
        let array: ArrayId = b.temp(&format!("{}_{what}", self.name), DType::U64, self.shape.clone());
        let at = b.iters(self.shape.len());
        let id = b.assign(&dims("i", &self.shape), array, at.clone(), value);
        b.emit_perfect(id, self.shape.len());
        b.load(array, at)
    }
}

fn mixed(z: Expr, by: u64) -> Expr {
    Expr::binary(BinaryOp::Xor, z.clone(), Expr::binary(BinaryOp::Shr, z, word(by)))
}

/// The float type in which numbers of type `out` are drawn.
fn drawn(out: DType) -> DType {
    if out == DType::F64 { DType::F64 } else { DType::F32 }
}

pub fn random(b: &mut Builder, node: &Node) -> Result<()> {
    let target = output(node, 0)?;
    let (shape, out) = (b.shape(target), b.dtype(target));
    if !out.is_float() {
        return Err(unsupported_form(node, format!("random numbers of type {out}")));
    }
    let t = drawn(out);
    let source = Source::new(b, node, shape, t)?;
    let attribute = |name: &str, default: f32| lit(node.float(name).unwrap_or(default).into(), t);
    let u = source.uniform(b, 0);
    let value = if node.op.starts_with("RandomNormal") {
        let v = source.uniform(b, 1);
        let radius = sqrt(mul(lit(-2.0, t), log(sub(lit(1.0, t), u))));
        let angle = mul(v, lit(2.0 * std::f64::consts::PI, t));
        let normal = mul(radius, Expr::unary(UnaryOp::Cos, angle));
        add(mul(normal, attribute("scale", 1.0)), attribute("mean", 0.0))
    } else {
        let (low, high) = (attribute("low", 0.0), attribute("high", 1.0));
        add(mul(u, sub(high, low.clone())), low)
    };
    b.pointwise(target, convert(t, out, value));
    Ok(())
}

/// `Bernoulli`: 1 with the probability that the input gives.
pub fn bernoulli(b: &mut Builder, node: &Node) -> Result<()> {
    let (probability, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out, from) = (b.shape(target), b.dtype(target), b.dtype(probability));
    let t = drawn(from);
    let u = Source::new(b, node, shape.clone(), t)?.uniform(b, 0);
    let p = convert(from, t, b.read(probability, &b.iters(shape.len()))?);
    b.pointwise(target, Expr::select(lt(u, p), lit(1.0, out), lit(0.0, out)));
    Ok(())
}

/// `Multinomial`: classes with probabilities in proportion to the exponentials of the input's rows. A draw
/// picks the number of classes whose running total it reaches.
pub fn multinomial(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, out, from) = (b.shape(source), b.dtype(target), b.dtype(source));
    let (t, name) = (drawn(from), b.graph.tensor(target).name.clone());
    let x = convert(from, t, b.read(source, &b.iters(2))?);
    let rows: Dims = vec![("n".into(), shape[0].clone()), ("c".into(), shape[1].clone())];
    let peak = format!("{name}_peak");
    let largest = Reduction {
        name: &peak,
        dtype: t,
        op: BinaryOp::Max,
        init: lowest(t),
        dims: &rows,
        parallel: 1,
        value: x.clone(),
    };
    let (peak, mut nodes) = accumulate(b, largest);
    let peak = b.load(peak, vec![b.iter(0)]);
    let sums = b.temp(&format!("{name}_sums"), t, vec![shape[0].clone(), shape[1].clone() + 1.into()]);
    let zero = b.assign(&rows[..1], sums, vec![b.iter(0), Expr::int(0)], lit(0.0, t));
    let before = b.load(sums, b.iters(2));
    let next = b.assign(&rows, sums, vec![b.iter(0), index(b.aff(1) + 1.into())], add(before, exp(sub(x, peak))));
    nodes.push(leaf(zero));
    nodes.extend(b.bands(1..2, vec![leaf(next)]));
    let nest = b.bands(0..1, nodes);
    b.emit(nest);
    let result = b.shape(target);
    let u = Source::new(b, node, result.clone(), t)?.uniform(b, 0);
    let total = b.load(sums, vec![b.iter(0), index(shape[1].clone())]);
    let reached = le(b.load(sums, vec![b.iter(0), index(b.aff(2) + 1.into())]), mul(u, total));
    let dims: Dims =
        vec![("n".into(), result[0].clone()), ("s".into(), result[1].clone()), ("c".into(), shape[1].clone())];
    let class = format!("{name}_class");
    let r = Reduction {
        name: &class,
        dtype: DType::I64,
        op: BinaryOp::Add,
        init: Expr::int(0),
        dims: &dims,
        parallel: 2,
        value: Expr::select(reached, Expr::int(1), Expr::int(0)),
    };
    let (array, place) = (b.define(target), b.iters(2));
    super::contraction::reduction(b, r, array, place, |_, class| {
        convert(DType::I64, out, max(min(class, index(shape[1].clone() - 1.into())), Expr::int(0)))
    });
    Ok(())
}
