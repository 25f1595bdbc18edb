//! `RoiAlign`: the mean or maximum of samples in the bins of regions that are data.
//!
//! The number of samples per bin may be data too. The loops over samples then run to the largest number of any
//! region, a parameter that the program computes; what a region does not sample adds nothing.

use super::amounts;
use super::arguments::*;
use super::builder::{Builder, Dims, dims};
use super::contraction::{Reduction, reduction};
use super::sample::clamp;
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Expr, Result, UnaryOp};

/// Samples per bin along one dimension; more are not taken.
const MOST_SAMPLES: i64 = 1 << 16;

/// Rows and columns: the region's start, the extent of a bin, the samples per bin.
struct Regions {
    start: [ArrayId; 2],
    bin: [ArrayId; 2],
    samples: [ArrayId; 2],
    t: DType,
}

impl Regions {
    fn new(b: &mut Builder, node: &Node, name: &str, count: &Aff, bins: &[Aff]) -> Result<Regions> {
        let rois = input(node, 1)?;
        let t = wide(b.dtype(rois));
        let own = vec![("r".to_string(), count.clone())];
        let of = |b: &mut Builder, what: &str, dtype: DType, value: Expr| {
            let array = b.temp(&format!("{name}_{what}"), dtype, vec![count.clone()]);
            let value = b.assign(&own, array, b.iters(1), value);
            b.emit_perfect(value, 1);
            array
        };
        let scale = lit(node.float("spatial_scale").unwrap_or(1.0).into(), t);
        let half = node.version >= 16 && node.string("coordinate_transformation_mode") != Some("output_half_pixel");
        let mut parts = Vec::new();
        for (d, what) in ["rows", "columns"].iter().enumerate() {
            let corner = |b: &mut Builder, n: usize| -> Result<Expr> {
                let at = [b.iter(0), Expr::int(n as i64)];
                let scaled = mul(convert(b.dtype(rois), t, b.read(rois, &at)?), scale.clone());
                Ok(if half { sub(scaled, lit(0.5, t)) } else { scaled })
            };
            let (first, last) = (corner(b, 1 - d)?, corner(b, 3 - d)?);
            let length = sub(last, first.clone());
            let length = if half { length } else { max(length, lit(1.0, t)) };
            let bin = div(length, convert(DType::I64, t, index(bins[d].clone())));
            let given = node.int("sampling_ratio").filter(|n| *n > 0);
            let counted = Expr::cast(DType::I64, Expr::unary(UnaryOp::Ceil, bin.clone()));
            let samples = given.map_or(clamp(counted, Expr::int(0), Expr::int(MOST_SAMPLES)), Expr::int);
            let start = of(b, &format!("{what}_start"), t, first);
            let bin = of(b, &format!("{what}_bin"), t, bin);
            let samples = of(b, &format!("{what}_samples"), DType::I64, samples);
            parts.push((start, bin, samples));
        }
        let (y, x) = (parts[0], parts[1]);
        Ok(Regions { start: [y.0, x.0], bin: [y.1, x.1], samples: [y.2, x.2], t })
    }

    /// The place of sample `i` of bin `bin` of region `r` along dimension `d`.
    fn place(&self, b: &Builder, d: usize, r: &Expr, bin: Expr, i: Expr) -> Expr {
        let t = self.t;
        let of = |array: ArrayId| b.load(array, vec![r.clone()]);
        let size = of(self.bin[d]);
        let within = div(mul(add(Expr::cast(t, i), lit(0.5, t)), size.clone()), Expr::cast(t, of(self.samples[d])));
        add(add(of(self.start[d]), mul(Expr::cast(t, bin), size)), within)
    }
}

/// The loop bound for samples: the given ratio, or the largest number of any region.
fn most_samples(b: &mut Builder, node: &Node, name: &str, samples: ArrayId, count: &Aff) -> Result<Aff> {
    if let Some(given) = node.int("sampling_ratio").filter(|n| *n > 0) {
        return Ok(Aff::constant(given));
    }
    let most = b.temp(&format!("{name}_most"), DType::I64, vec![]);
    let start = b.assign(&[], most, vec![], Expr::int(0));
    b.emit_perfect(start, 0);
    let value = b.load(samples, b.iters(1));
    let next = b.reduce(BinaryOp::Max, &[("r".to_string(), count.clone())], most, vec![], value);
    b.emit_perfect(next, 1);
    let most = b.load(most, vec![]);
    Ok(amounts::loop_bound(b, &format!("{name}_samples"), most, MOST_SAMPLES))
}

/// The two neighbours of a place and their weights; nothing farther than one element outside.
fn neighbours(place: &Expr, extent: &Aff, t: DType) -> [(Expr, Expr); 2] {
    let n = convert(DType::I64, t, index(extent.clone()));
    let outside = or(lt(place.clone(), lit(-1.0, t)), gt(place.clone(), n.clone()));
    let inside = clamp(place.clone(), lit(0.0, t), sub(n, lit(1.0, t)));
    let low = Expr::unary(UnaryOp::Floor, inside.clone());
    let last = index(extent.clone() - 1.into());
    let position = clamp(Expr::cast(DType::I64, low.clone()), Expr::int(0), last.clone());
    let above = sub(inside, low);
    let weight = |w: Expr| Expr::select(outside.clone(), lit(0.0, t), w);
    let next = min(add(position.clone(), Expr::int(1)), last);
    [(position, weight(sub(lit(1.0, t), above.clone()))), (next, weight(above))]
}

pub fn roi_align(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (shape, result, out) = (b.shape(source), b.shape(target), b.dtype(target));
    let name = b.graph.tensor(target).name.clone();
    let largest = match node.string("mode").unwrap_or("avg") {
        "avg" => false,
        "max" => true,
        other => return Err(invalid(node, format!("mode `{other}`"))),
    };
    let regions = Regions::new(b, node, &name, &result[0], &result[2..])?;
    let most = [0, 1].map(|d| most_samples(b, node, &format!("{name}_{d}"), regions.samples[d], &result[0]));
    let [rows, columns] = most;
    let mut all: Dims = dims("i", &result);
    all.extend([("row".to_string(), rows?), ("column".to_string(), columns?)]);
    let (t, w) = (regions.t, wide(out));
    let value = sampled(b, node, source, &shape, &regions, largest)?;
    let value = convert(t, w, value);
    let r = b.iter(0);
    let used = |d: usize| lt(b.iter(4 + d), b.load(regions.samples[d], vec![r.clone()]));
    let (op, init) = if largest { (BinaryOp::Max, lowest(w)) } else { (BinaryOp::Add, lit(0.0, w)) };
    let value = Expr::select(and(used(0), used(1)), value, init.clone());
    let samples = regions.samples.map(|s| b.load(s, vec![r.clone()]));
    let (array, place) = (b.define(target), b.iters(4));
    let acc = format!("{name}_acc");
    let reduce = Reduction { name: &acc, dtype: w, op, init: init.clone(), dims: &all, parallel: 4, value };
    reduction(b, reduce, array, place, |_, total| {
        let [rows, columns] = samples;
        let count = mul(rows, columns);
        let none = le(count.clone(), Expr::int(0));
        let value = if largest { total } else { div(total, Expr::cast(w, max(count, Expr::int(1)))) };
        convert(w, out, Expr::select(none, lit(0.0, w), value))
    });
    Ok(())
}

/// One sample: four weighted elements, added, or for `max` the largest of them, as the reference does.
fn sampled(
    b: &mut Builder,
    node: &Node,
    source: TensorId,
    shape: &[Aff],
    regions: &Regions,
    largest: bool,
) -> Result<Expr> {
    let (r, t) = (b.iter(0), regions.t);
    let images = input(node, 2)?;
    let image = convert(b.dtype(images), DType::I64, b.read(images, std::slice::from_ref(&r))?);
    let image = clamp(image, Expr::int(0), index(shape[0].clone() - 1.into()));
    let [y, x] = [0, 1].map(|d| regions.place(b, d, &r, b.iter(2 + d), b.iter(4 + d)));
    let (rows, columns) = (neighbours(&y, &shape[2], t), neighbours(&x, &shape[3], t));
    let mut value: Option<Expr> = None;
    for (row, v) in &rows {
        for (column, w) in &columns {
            let at = [image.clone(), b.iter(1), row.clone(), column.clone()];
            let corner = mul(mul(v.clone(), w.clone()), convert(b.dtype(source), t, b.read(source, &at)?));
            value = Some(match value {
                Some(value) if largest => max(value, corner),
                Some(value) => add(value, corner),
                None => corner,
            });
        }
    }
    Ok(value.unwrap_or_else(|| lit(0.0, t)))
}
