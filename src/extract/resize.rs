//! `Resize` and `Upsample`: tables of positions and weights per resized dimension, made at compile time.
//!
//! A result is the sum over the taps of every resized dimension. Nearest neighbours at an integer factor are
//! plain affine subscripts and become a view; other tables are constant arrays, or computed by the run where
//! the extents are symbolic.

use super::arguments::*;
use super::builder::{Builder, View};
use super::resize_symbolic::{self, Resized};
use super::terms::*;
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, DType, Expr, Result};

/// For every place of one dimension of the result, the source positions and their weights.
struct Taps {
    /// As many entries for each place.
    places: Vec<Vec<(i64, f64)>>,
}

/// One tap of a dimension in the nest: a subscript and its weight (none where it is 1).
pub struct Tap {
    pub at: Expr,
    pub weight: Option<Expr>,
}

pub struct Mode<'a> {
    pub node: &'a Node,
    pub coordinates: &'a str,
    pub interpolation: &'a str,
    pub nearest: &'a str,
    /// Per dimension, the part of the source that `tf_crop_and_resize` cuts out, in units of its extent.
    pub crops: Vec<Option<(f64, f64)>>,
    /// The same where only the run knows it, or the extents.
    pub regions: Vec<Option<(Expr, Expr)>>,
    /// Per dimension, the scale where only the run knows it, as f64.
    pub scales: Vec<Option<Expr>>,
}

impl<'a> Mode<'a> {
    fn new(b: &mut Builder, node: &'a Node, shapes: (&[Aff], &[Aff])) -> Result<Mode<'a>> {
        let rank = shapes.0.len();
        let old = node.op == "Upsample" || node.version < 11;
        let usual = if old { "asymmetric" } else { "half_pixel" };
        let coordinates = node.string("coordinate_transformation_mode").unwrap_or(usual);
        let interpolation = node.string("mode").unwrap_or("nearest");
        let nearest = node.string("nearest_mode").unwrap_or(if old { "floor" } else { "round_prefer_floor" });
        let mut mode = Mode {
            node,
            coordinates,
            interpolation,
            nearest,
            crops: vec![None; rank],
            regions: vec![None; rank],
            scales: run_time_scales(b, node, rank)?,
        };
        if coordinates == "tf_crop_and_resize" {
            mode.crop(b, shapes)?;
        }
        Ok(mode)
    }

    /// The cropped parts: input `roi` has all starts, then all ends.
    fn crop(&mut self, b: &mut Builder, shapes: (&[Aff], &[Aff])) -> Result<()> {
        let tensor = input(self.node, 1)?;
        let along = resized_axes(self.node, shapes.0.len())?;
        let count = along.len();
        if b.shape(tensor) != [Aff::constant(2 * count as i64)] {
            return Err(invalid(self.node, format!("roi must have {} numbers for {count} axes", 2 * count)));
        }
        let roi = b.graph.tensor(tensor).floats();
        for (n, d) in along.into_iter().enumerate() {
            let known = shapes.0[d].as_constant().is_some() && shapes.1[d].as_constant().is_some();
            match roi.as_ref().filter(|_| known && self.scales[d].is_none()) {
                Some(roi) => self.crops[d] = Some((roi[n], roi[n + count])),
                None => {
                    let (start, end) = (real(b, tensor, n)?, real(b, tensor, n + count)?);
                    self.regions[d] = Some((start, end));
                }
            }
        }
        Ok(())
    }

    /// Can the positions of dimension `d` be found only by the run?
    fn is_open(&self, d: usize) -> bool {
        self.scales[d].is_some() || self.regions[d].is_some()
    }

    /// Where place `x` of dimension `d` of the result lies in the source.
    fn source(&self, d: usize, x: i64, scale: f64, from: i64, to: i64) -> f64 {
        let (x, from, to) = (x as f64, from as f64, to as f64);
        if let Some((start, end)) = self.crops[d] {
            let along = if to > 1.0 { start + x * (end - start) / (to - 1.0) } else { (start + end) / 2.0 };
            return along * (from - 1.0);
        }
        let half_pixel = (x + 0.5) / scale - 0.5;
        match self.coordinates {
            "asymmetric" => x / scale,
            "align_corners" if to <= 1.0 => 0.0,
            // The result's extent before it was rounded down, as in the operator's reference.
            "align_corners" => x * (from - 1.0) / (scale * from - 1.0),
            "pytorch_half_pixel" if to <= 1.0 => 0.0,
            "tf_half_pixel_for_nn" => (x + 0.5) / scale,
            "half_pixel_symmetric" => from / 2.0 * (1.0 - to / (scale * from)) + half_pixel,
            _ => half_pixel,
        }
    }

    fn taps(&self, d: usize, scale: f64, from: i64, to: i64) -> Taps {
        let place = |x: i64| {
            let at = self.source(d, x, scale, from, to);
            match self.interpolation {
                "nearest" => vec![(self.round(at).clamp(0, from - 1), 1.0)],
                _ => self.weighted(at, scale, from),
            }
        };
        Taps { places: (0..to).map(place).collect() }
    }

    fn round(&self, at: f64) -> i64 {
        let rounded = match self.nearest {
            "floor" => at.floor(),
            "ceil" => at.ceil(),
            "round_prefer_ceil" => (at + 0.5).floor(),
            _ => (at - 0.5).ceil(),
        };
        rounded as i64
    }

    /// The neighbours of `at` with the weights of the linear or cubic filter, which `antialias` widens when
    /// the result is smaller than the source.
    fn weighted(&self, at: f64, scale: f64, from: i64) -> Vec<(i64, f64)> {
        let narrow = if self.node.int("antialias") == Some(1) { scale.min(1.0) } else { 1.0 };
        let cubic = self.interpolation == "cubic";
        let reach = if cubic { 2.0 } else { 1.0 };
        let half = -((-reach / narrow).floor() as i64);
        let first = at.ceil() as i64 - half;
        let filter = |distance: f64| if cubic { self.cubic(distance) } else { (1.0 - distance).max(0.0) };
        let mut taps: Vec<(i64, f64)> =
            (first..first + 2 * half).map(|i| (i, filter(((i as f64 - at) * narrow).abs()))).collect();
        if self.node.int("exclude_outside") == Some(1) {
            taps.iter_mut().filter(|(i, _)| !(0..from).contains(i)).for_each(|(_, w)| *w = 0.0);
        }
        let sum: f64 = taps.iter().map(|(_, w)| w).sum();
        taps.iter().map(|(i, w)| ((*i).clamp(0, from - 1), w / sum)).collect()
    }

    pub fn cubic_parameter(&self) -> f64 {
        f64::from(self.node.float("cubic_coeff_a").unwrap_or(-0.75))
    }

    /// Keys' cubic convolution kernel with parameter `a`.
    fn cubic(&self, x: f64) -> f64 {
        let a = self.cubic_parameter();
        if x <= 1.0 {
            ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
        } else {
            0.0
        }
    }
}

/// Element `n` of a vector, as f64.
fn real(b: &mut Builder, tensor: TensorId, n: usize) -> Result<Expr> {
    Ok(convert(b.dtype(tensor), DType::F64, b.read(tensor, &[Expr::int(n as i64)])?))
}

/// The scales that only the run knows; the others are none.
fn run_time_scales(b: &mut Builder, node: &Node, rank: usize) -> Result<Vec<Option<Expr>>> {
    let mut scales = vec![None; rank];
    let given = node.input(2).filter(|_| node.op == "Resize" && node.version >= 11);
    let open =
        |t: &TensorId| !b.shape(*t).first().is_some_and(|e| e.is_constant(0)) && b.graph.tensor(*t).floats().is_none();
    if let Some(tensor) = given.filter(open) {
        for (n, d) in resized_axes(node, rank)?.into_iter().enumerate() {
            scales[d] = Some(real(b, tensor, n)?);
        }
    }
    Ok(scales)
}

pub fn resize(b: &mut Builder, node: &Node) -> Result<()> {
    let (source, target) = (input(node, 0)?, output(node, 0)?);
    let (old, new) = (b.shape(source), b.shape(target));
    let mode = Mode::new(b, node, (&old, &new))?;
    let scales = scales(b, node, &old, &new)?;
    let (out, t) = (b.dtype(target), wide(b.dtype(target)));
    let mut whole = b.view(source)?;
    let (mut dtype, mut shape) = (b.dtype(source), old.clone());
    let mut choices: Vec<Vec<Tap>> = Vec::new();
    for d in 0..old.len() {
        let resized = Resized { d, from: &old[d], to: &new[d], scale: scales[d] };
        if mode.interpolation != "nearest" && resize_symbolic::is_own_pass(&mode, &resized) {
            whole = resize_symbolic::pass(b, &mode, &resized, (&whole, dtype, t), &mut shape)?;
            dtype = t;
            choices.push(vec![Tap { at: b.iter(d), weight: None }]);
            continue;
        }
        choices.push(dimension(b, &mode, resized)?);
    }
    let plain = mode.crops.iter().all(Option::is_none)
        && mode.regions.iter().all(Option::is_none)
        && choices.iter().all(|taps| taps.len() == 1 && taps[0].at.as_aff().is_some());
    if plain && dtype == out && choices.iter().all(|taps| taps[0].weight.is_none()) {
        let at: Vec<Expr> = choices.iter().map(|taps| taps[0].at.clone()).collect();
        let value = b.at(&whole, &at);
        b.bind(target, value);
        return Ok(());
    }
    let mut at = Vec::new();
    let value = blend(b, &whole, (dtype, t), &choices, &mut at)?;
    let value = extrapolated(b, &mode, t, value, (&old, &new), &scales);
    b.pointwise(target, convert(t, out, value));
    Ok(())
}

/// The given value where a crop reaches beyond the source.
fn extrapolated(b: &mut Builder, mode: &Mode, t: DType, value: Expr, shapes: (&[Aff], &[Aff]), scales: &[f64]) -> Expr {
    let fill = lit(f64::from(mode.node.float("extrapolation_value").unwrap_or(0.0)), t);
    let mut value = value;
    for (d, &scale) in scales.iter().enumerate() {
        if mode.regions[d].is_some() {
            let resized = Resized { d, from: &shapes.0[d], to: &shapes.1[d], scale };
            value = Expr::select(resize_symbolic::inside(b, mode, &resized), value, fill.clone());
        }
        let (Some(from), Some(to)) = (shapes.0[d].as_constant(), shapes.1[d].as_constant()) else { continue };
        let inside = |x: i64| (0.0..=(from - 1) as f64).contains(&mode.source(d, x, 1.0, from, to));
        if mode.crops[d].is_none() || (0..to).all(inside) {
            continue;
        }
        let name = format!("{}_inside{d}", b.origin.node);
        let flags = (0..to).map(|x| u8::from(inside(x))).collect();
        let flags = b.constant(&name, DType::Bool, vec![Aff::constant(to)], flags);
        value = Expr::select(b.load(flags, vec![b.iter(d)]), value, fill.clone());
    }
    value
}

/// The dimensions that scales, sizes and roi speak about.
fn resized_axes(node: &Node, rank: usize) -> Result<Vec<usize>> {
    match node.ints("axes") {
        Some(list) => list.iter().map(|a| from_front(node, *a, rank)).collect(),
        None => Ok((0..rank).collect()),
    }
}

/// The weighted sum over the taps of the dimensions from `at.len()` on.
fn blend(
    b: &mut Builder,
    whole: &View,
    (dtype, t): (DType, DType),
    choices: &[Vec<Tap>],
    at: &mut Vec<Expr>,
) -> Result<Expr> {
    let Some(taps) = choices.get(at.len()) else {
        return Ok(convert(dtype, t, b.at(whole, at)));
    };
    let mut sum: Option<Expr> = None;
    for tap in taps {
        at.push(tap.at.clone());
        let inner = blend(b, whole, (dtype, t), choices, at)?;
        at.pop();
        let term = match &tap.weight {
            Some(w) => mul(inner, convert(DType::F32, t, w.clone())),
            None => inner,
        };
        sum = Some(sum.map_or(term.clone(), |s| add(s, term)));
    }
    sum.ok_or_else(|| sirius_polyhedral::Error::bug("E304", "a resized dimension without taps"))
}

/// The taps of a dimension as expressions of its iterator.
fn dimension(b: &mut Builder, mode: &Mode, r: Resized) -> Result<Vec<Tap>> {
    let d = r.d;
    if mode.is_open(d) {
        return Ok(resize_symbolic::taps(b, mode, &r));
    }
    if r.from == r.to && r.scale == 1.0 && mode.crops[d].is_none() {
        return Ok(vec![Tap { at: b.iter(d), weight: None }]);
    }
    let (Some(from), Some(to)) = (r.from.as_constant(), r.to.as_constant()) else {
        return Ok(symbolic(b, mode, r));
    };
    let taps = mode.taps(d, r.scale, from, to);
    let factor = if from > 0 && to % from == 0 { to / from } else { 0 };
    let nearest = mode.interpolation == "nearest";
    if nearest && factor > 0 && taps.places.iter().enumerate().all(|(x, t)| t[0].0 == x as i64 / factor) {
        return Ok(vec![Tap { at: index(b.aff(d).floor_div(factor)), weight: None }]);
    }
    Ok(tables(b, d, &taps, nearest))
}

/// A symbolic dimension: affine for nearest neighbours at an integer factor.
fn symbolic(b: &mut Builder, mode: &Mode, r: Resized) -> Vec<Tap> {
    let factor = r.scale as i64;
    let centred = matches!(mode.coordinates, "half_pixel" | "pytorch_half_pixel") && mode.nearest.starts_with("round");
    let floored = mode.coordinates == "asymmetric" && mode.nearest == "floor";
    if mode.interpolation != "nearest" || factor < 1 || factor as f64 != r.scale || !(centred || floored) {
        return resize_symbolic::taps(b, mode, &r);
    }
    vec![Tap { at: index(b.aff(r.d).floor_div(factor)), weight: None }]
}

/// Constant arrays `position[x, tap]` and `weight[x, tap]`.
fn tables(b: &mut Builder, d: usize, taps: &Taps, exact: bool) -> Vec<Tap> {
    let width = taps.places.first().map_or(0, Vec::len);
    let shape = vec![Aff::constant(taps.places.len() as i64), Aff::constant(width as i64)];
    let all = || taps.places.iter().flatten();
    let positions = all().flat_map(|(i, _)| i.to_le_bytes()).collect();
    let weights = all().flat_map(|(_, w)| (*w as f32).to_le_bytes()).collect();
    let name = b.origin.node.clone();
    let positions = b.constant(&format!("{name}_position{d}"), DType::I64, shape.clone(), positions);
    let weights = (!exact).then(|| b.constant(&format!("{name}_weight{d}"), DType::F32, shape, weights));
    (0..width)
        .map(|tap| {
            let place = vec![b.iter(d), Expr::int(tap as i64)];
            Tap { at: b.load(positions, place.clone()), weight: weights.map(|w| b.load(w, place)) }
        })
        .collect()
}

/// The scale of every dimension: given, or from the sizes.
fn scales(b: &Builder, node: &Node, old: &[Aff], new: &[Aff]) -> Result<Vec<f64>> {
    let rank = old.len();
    let along = resized_axes(node, rank)?;
    let tensor = node.input(if node.op == "Resize" && node.version >= 11 { 2 } else { 1 });
    let given = match tensor.filter(|t| !b.shape(*t).first().is_some_and(|e| e.is_constant(0))) {
        Some(t) if b.graph.tensor(t).floats().is_none() => Some(vec![0.0; along.len()]),
        Some(t) => b.graph.tensor(t).floats(),
        None => node.floats("scales").map(|l| l.iter().map(|v| f64::from(*v)).collect()),
    };
    let mut all = vec![1.0; rank];
    match given {
        Some(list) => along.iter().zip(list).for_each(|(d, s)| all[*d] = s),
        None => along.iter().for_each(|d| all[*d] = ratio(&old[*d], &new[*d])),
    }
    let policy = node.string("keep_aspect_ratio_policy").unwrap_or("stretch");
    if node.input(3).is_some() && policy != "stretch" {
        let sizes = int_list(b, node, "sizes", 3)?.unwrap_or_default();
        let wanted = along.iter().zip(&sizes).map(|(d, s)| ratio(&old[*d], &Aff::constant(*s)));
        let larger = policy == "not_larger";
        let common = wanted.reduce(|a, c| if larger { a.min(c) } else { a.max(c) }).unwrap_or(1.0);
        along.iter().for_each(|d| all[*d] = common);
    }
    Ok(all)
}

/// `new / old`; 0 where that is not a number known here.
fn ratio(old: &Aff, new: &Aff) -> f64 {
    match (old.as_constant(), new.as_constant()) {
        (Some(a), Some(c)) if a > 0 => c as f64 / a as f64,
        _ if old == new => 1.0,
        _ => (1..=16).find(|f| old.clone() * *f == *new).map_or(0.0, |f| f as f64),
    }
}
