//! Sampling at computed places: `GridSample` and `RoiAlign`.

use super::Call;
use super::index::{indices, product, strides};
use super::resize::cubic_weight;
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::Result;

/// How a grid is read.
struct Sampler<'a> {
    extents: &'a [usize],
    nearest: bool,
    cubic: bool,
    padding: &'a str,
    align: bool,
}

/// `x` mirrored into `low..=high`.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 {
        return low;
    }
    let folded = (x - low).rem_euclid(2.0 * range);
    low + if folded > range { 2.0 * range - folded } else { folded }
}

impl Sampler<'_> {
    /// The borders at which reflection happens: pixel centres, or the outer edges of the pixels.
    fn borders(&self, d: usize) -> (f64, f64) {
        let last = self.extents[d] as f64 - 1.0;
        if self.align { (0.0, last) } else { (-0.5, last + 0.5) }
    }

    /// The place along dimension `d` of the normalized coordinate `v` in -1..1.
    fn place(&self, d: usize, v: f64) -> f64 {
        let n = self.extents[d] as f64;
        let x = if self.align { (v + 1.0) / 2.0 * (n - 1.0) } else { ((v + 1.0) * n - 1.0) / 2.0 };
        let x = if self.nearest { x.round_ties_even() } else { x };
        let (low, high) = self.borders(d);
        match self.padding {
            _ if (low..=high).contains(&x) => x,
            "border" => x.clamp(0.0, n - 1.0),
            "reflection" => reflect(x, low, high),
            _ => x,
        }
    }

    /// The element that stands for position `i`; `None` is zero.
    fn element(&self, d: usize, i: f64) -> Option<usize> {
        let last = self.extents[d] as f64 - 1.0;
        let i = match self.padding {
            "border" => i.clamp(0.0, last),
            "reflection" => {
                let (low, high) = self.borders(d);
                reflect(i, low, high).clamp(0.0, last)
            }
            _ => i,
        };
        (i >= 0.0 && i <= last).then_some(i as usize)
    }

    /// Elements and weights along one dimension.
    fn taps(&self, d: usize, v: f64) -> Vec<(Option<usize>, f64)> {
        let x = self.place(d, v);
        if self.nearest {
            return vec![(self.element(d, x.round_ties_even()), 1.0)];
        }
        let reach = if self.cubic { 2 } else { 1 };
        let tap = |offset: i32| {
            let at = x.floor() + offset as f64;
            let distance = at - x;
            let weight = if self.cubic { cubic_weight(distance, -0.75) } else { 1.0 - distance.abs() };
            (self.element(d, at), weight)
        };
        (1 - reach..=reach).map(tap).collect()
    }

    /// Offsets and weights of one sample; the grid names dimensions last first.
    fn sample(&self, at: &[f64]) -> Vec<(usize, f64)> {
        let own = strides(self.extents);
        let mut all = vec![(0usize, 1.0)];
        for d in 0..self.extents.len() {
            let taps = self.taps(d, at[at.len() - 1 - d]);
            let stride = own[d];
            let extend = |(base, w): (usize, f64)| {
                let inside = taps.iter().filter_map(|(i, t)| i.map(|i| (i, *t)));
                inside.map(move |(i, t)| (base + i * stride, w * t))
            };
            all = all.into_iter().flat_map(extend).collect();
        }
        all
    }
}

pub fn grid_sample(call: &Call) -> Result<Vec<Value>> {
    let (x, grid) = (call.ranked(0, 3)?, call.ranked(1, 3)?);
    let spatial = x.rank() - 2;
    let fits =
        !x.is_empty() && grid.rank() == x.rank() && grid.shape[0] == x.shape[0] && grid.shape[x.rank() - 1] == spatial;
    call.require(fits, || format!("a grid {:?} for {:?}", grid.shape, x.shape))?;
    let mode = call.string("mode", "linear");
    let sampler = Sampler {
        extents: &x.shape[2..],
        nearest: mode == "nearest",
        cubic: matches!(mode, "cubic" | "bicubic"),
        padding: call.string("padding_mode", "zeros"),
        align: call.flag("align_corners", false),
    };
    let shape = [&x.shape[..2], &grid.shape[1..=spatial]].concat();
    let mut out = vec![0.0; checked_len(x.dtype, &shape)?];
    let (all, places) = (x.floats(), grid.floats());
    let (area, points) = (product(&x.shape[2..]), product(&shape[2..]));
    for (n, p) in (0..x.shape[0]).flat_map(|n| (0..points).map(move |p| (n, p))) {
        let taps = sampler.sample(&places[(n * points + p) * spatial..][..spatial]);
        for c in 0..x.shape[1] {
            let plane = &all[(n * x.shape[1] + c) * area..][..area];
            out[(n * x.shape[1] + c) * points + p] = taps.iter().map(|(i, w)| plane[*i] * w).sum();
        }
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &out)?])
}

/// One region: image, top left corner, extents of a bin, samples per bin.
struct Region {
    image: usize,
    start: [f64; 2],
    bin: [f64; 2],
    samples: [usize; 2],
}

/// `RoiAlign(x, rois[r, x1 y1 x2 y2], images[r])`.
pub fn roi_align(call: &Call) -> Result<Vec<Value>> {
    let (x, rois, images) = (call.ranked(0, 4)?, call.ranked(1, 2)?, call.input(2)?.i64s());
    let fits =
        x.rank() == 4 && !x.is_empty() && rois.rank() == 2 && rois.shape[1] == 4 && images.len() == rois.shape[0];
    call.require(fits, || format!("rois {:?} for {:?}", rois.shape, x.shape))?;
    let out = call.extents(&[call.int("output_height", 1), call.int("output_width", 1)])?;
    let largest = call.string("mode", "avg") == "max";
    let shape = [rois.shape[0], x.shape[1], out[0], out[1]];
    let mut values = Vec::with_capacity(checked_len(x.dtype, &shape)?);
    let (all, corners) = (x.floats(), rois.floats());
    let (height, width) = (x.shape[2], x.shape[3]);
    for (r, image) in images.iter().enumerate() {
        let image = super::gather::position(call, *image, x.shape[0])?;
        let region = region(call, &corners[4 * r..4 * r + 4], image, &out)?;
        for (c, bin) in (0..x.shape[1]).flat_map(|c| indices(&out).map(move |bin| (c, bin))) {
            let plane = &all[(region.image * x.shape[1] + c) * height * width..][..height * width];
            values.push(pooled(plane, height, width, &region, &bin, largest));
        }
    }
    Ok(vec![Value::from_floats(x.dtype, &shape, &values)?])
}

fn region(call: &Call, corners: &[f64], image: usize, out: &[usize]) -> Result<Region> {
    let scale = call.float("spatial_scale", 1.0);
    let half = call.version() >= 16 && call.string("coordinate_transformation_mode", "half_pixel") == "half_pixel";
    let shift = if half { 0.5 } else { 0.0 };
    let at = |n: usize| corners[n] * scale - shift;
    let (mut height, mut width) = (at(3) - at(1), at(2) - at(0));
    if !half {
        (height, width) = (height.max(1.0), width.max(1.0));
    }
    let bin = [height / out[0] as f64, width / out[1] as f64];
    let given = usize::try_from(call.int("sampling_ratio", 0)).unwrap_or(0);
    let samples = |d: usize| if given > 0 { given } else { (bin[d].ceil().max(0.0) as usize).min(1 << 16) };
    call.require(bin.iter().all(|b| b.is_finite()), || "a region without end".to_string())?;
    Ok(Region { image, start: [at(1), at(0)], bin, samples: [samples(0), samples(1)] })
}

/// The mean or maximum over the samples of one bin.
fn pooled(plane: &[f64], height: usize, width: usize, region: &Region, bin: &[usize], largest: bool) -> f64 {
    let mut found: Vec<f64> = Vec::new();
    let at = |d: usize, i: usize| {
        region.start[d] + bin[d] as f64 * region.bin[d] + (i as f64 + 0.5) * region.bin[d] / region.samples[d] as f64
    };
    for (i, j) in (0..region.samples[0]).flat_map(|i| (0..region.samples[1]).map(move |j| (i, j))) {
        let (y, x) = (at(0, i), at(1, j));
        let (rows, columns) = (corners(y, height), corners(x, width));
        let corners = rows.iter().flat_map(|(y, v)| columns.map(|(x, w)| (y * width + x, v * w)));
        let weighted = corners.map(|(i, w)| plane[i] * w);
        // `max` takes the largest of the four weighted corners, as the reference does.
        let value = if largest { weighted.fold(f64::NEG_INFINITY, f64::max) } else { weighted.sum() };
        found.push(value);
    }
    if largest {
        return found.into_iter().reduce(f64::max).unwrap_or(0.0);
    }
    found.iter().sum::<f64>() / found.len().max(1) as f64
}

/// The two neighbours of a place and their weights; nothing farther than one element outside.
fn corners(place: f64, n: usize) -> [(usize, f64); 2] {
    if place < -1.0 || place > n as f64 || n == 0 {
        return [(0, 0.0); 2];
    }
    let place = place.clamp(0.0, n as f64 - 1.0);
    let low = place.floor();
    let high = (low as usize + 1).min(n - 1);
    [(low as usize, 1.0 - (place - low)), (high, place - low)]
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn sample(padding: &str, align: i64, place: f32) -> f64 {
        let x = f32s(&[1, 1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let grid = f32s(&[1, 1, 1, 2], &[place, 0.0]);
        let attributes =
            [("padding_mode", Attribute::String(padding.into())), ("align_corners", Attribute::Int(align))];
        eval("GridSample", 20, &attributes, &[&x, &grid]).get_f64(0)
    }

    #[test]
    fn grids_read_between_elements() {
        assert_eq!(sample("zeros", 1, -1.0), 1.0);
        assert_eq!(sample("zeros", 1, 0.0), 2.5);
        // Without aligned corners -1 is the edge of the first pixel: half of it is outside.
        assert_eq!(sample("zeros", 0, -1.0), 0.5);
        assert_eq!(sample("border", 0, -1.0), 1.0);
        assert_eq!(sample("border", 1, 9.0), 4.0);
        // One and a half pixels beyond the last centre comes back by as much.
        assert_eq!(sample("reflection", 1, 2.0), 2.5);
    }

    #[test]
    fn regions_are_averaged() {
        let x = f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let attributes = [("sampling_ratio", Attribute::Int(1))];
        let y = eval("RoiAlign", 16, &attributes, &[&x, &f32s(&[1, 4], &[0.0, 0.0, 2.0, 2.0]), &Value::vector(&[0])]);
        assert_close(&y, &[1, 1, 1, 1], &[2.5]);
        assert!(try_eval("RoiAlign", 16, &[], &[&x, &f32s(&[1, 4], &[0.0; 4]), &Value::vector(&[1])]).is_err());
    }
}
