//! `Resize` and `Upsample`: interpolation one axis after the other, from a list of taps per output position.

use super::Call;
use super::index::split_at;
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::Result;

/// What happens along one axis.
struct Axis {
    axis: usize,
    scale: f64,
    size: usize,
    /// Start and end of the region of `tf_crop_and_resize`, in units of the extent.
    roi: (f64, f64),
}

/// How to interpolate.
struct Method<'a> {
    mode: &'a str,
    coordinates: &'a str,
    nearest: &'a str,
    antialias: bool,
    exclude_outside: bool,
    cubic_a: f64,
    extrapolation: f64,
}

/// Sources and weights of one output position; `None` lies outside the region.
type Taps = Option<Vec<(usize, f64)>>;

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 1)?;
    // Up to opset 10 there was only the asymmetric mapping, rounded down.
    let old = call.version() < 11 || call.op() == "Upsample";
    let method = Method {
        mode: call.string("mode", "nearest"),
        coordinates: if old { "asymmetric" } else { call.string("coordinate_transformation_mode", "half_pixel") },
        nearest: if old { "floor" } else { call.string("nearest_mode", "round_prefer_floor") },
        antialias: call.flag("antialias", false),
        exclude_outside: call.flag("exclude_outside", false),
        cubic_a: call.float("cubic_coeff_a", -0.75),
        extrapolation: call.float("extrapolation_value", 0.0),
    };
    let mut y = x.clone();
    for axis in plan(call, x, old)? {
        let identity = axis.size == x.shape[axis.axis] && axis.scale == 1.0;
        if !identity || method.coordinates == "tf_crop_and_resize" {
            y = along(&y, &axis, &method)?;
        }
    }
    Ok(vec![y])
}

/// Scales, sizes and regions of the resized axes.
fn plan(call: &Call, x: &Value, old: bool) -> Result<Vec<Axis>> {
    let axes = match call.ints("axes") {
        Some(axes) => call.axes(axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    let extent = |n: usize| x.shape[axes[n]] as f64;
    let given = if old { call.scalar(1) } else { call.scalar(2) };
    let scales =
        given.map(Value::floats).or_else(|| Some(call.node.floats("scales")?.iter().map(|s| *s as f64).collect()));
    let (scales, sizes): (Vec<f64>, Vec<f64>) = match (scales, call.scalar(3)) {
        (Some(scales), sizes) => {
            call.require(scales.len() == axes.len(), || format!("{} scales", scales.len()))?;
            // Import may have written down the sizes that follow.
            let follow = || scales.iter().enumerate().map(|(n, s)| (extent(n) * s).floor()).collect();
            let sizes = sizes.map_or_else(follow, Value::floats);
            (scales, sizes)
        }
        (None, Some(sizes)) => {
            let sizes = sizes.floats();
            call.require(sizes.len() == axes.len(), || format!("{} sizes", sizes.len()))?;
            let scale = |(n, size): (usize, &f64)| if extent(n) == *size { 1.0 } else { size / extent(n) };
            let scales: Vec<f64> = sizes.iter().enumerate().map(scale).collect();
            keep_aspect(call, scales, sizes, &extent)
        }
        _ => return Err(call.invalid("neither scales nor sizes are given")),
    };
    call.require(!x.is_empty() || sizes.contains(&0.0), || format!("a resize of shape {:?}", x.shape))?;
    let valid = scales.iter().all(|s| *s > 0.0 && s.is_finite()) && sizes.iter().all(|s| *s >= 0.0);
    call.require(valid, || format!("scales {scales:?}"))?;
    let roi = call.optional(1).filter(|_| !old).map(Value::floats).unwrap_or_default();
    let region = |n: usize| match roi.len() == 2 * axes.len() {
        true => (roi[n], roi[axes.len() + n]),
        false => (0.0, 1.0),
    };
    let axis = |n: usize| Axis { axis: axes[n], scale: scales[n], size: sizes[n] as usize, roi: region(n) };
    Ok((0..axes.len()).map(axis).collect())
}

/// `keep_aspect_ratio_policy`: one scale for all axes, the smallest or the largest.
fn keep_aspect(call: &Call, scales: Vec<f64>, sizes: Vec<f64>, extent: &dyn Fn(usize) -> f64) -> (Vec<f64>, Vec<f64>) {
    let scale = match call.string("keep_aspect_ratio_policy", "stretch") {
        "not_larger" => scales.iter().copied().fold(f64::INFINITY, f64::min),
        "not_smaller" => scales.iter().copied().fold(0.0, f64::max),
        _ => return (scales, sizes),
    };
    let sizes = (0..sizes.len()).map(|n| (extent(n) * scale + 0.5).floor()).collect();
    (vec![scale; scales.len()], sizes)
}

/// Where output position `i` lies in the input.
fn coordinate(i: f64, n: f64, axis: &Axis, method: &Method) -> f64 {
    let length = axis.scale * n;
    let half_pixel = (i + 0.5) / axis.scale - 0.5;
    match method.coordinates {
        "align_corners" => {
            if length == 1.0 {
                0.0
            } else {
                i * (n - 1.0) / (length - 1.0)
            }
        }
        "asymmetric" => i / axis.scale,
        "pytorch_half_pixel" => {
            if axis.size == 1 {
                -0.5
            } else {
                half_pixel
            }
        }
        "half_pixel_symmetric" => n / 2.0 * (1.0 - axis.size as f64 / length) + half_pixel,
        "tf_crop_and_resize" => {
            let (start, end) = axis.roi;
            let inside = if length == 1.0 {
                (end - start) * (n - 1.0) / 2.0
            } else {
                i * (end - start) * (n - 1.0) / (length - 1.0)
            };
            start * (n - 1.0) + inside
        }
        _ => half_pixel,
    }
}

fn taps(i: usize, n: usize, axis: &Axis, method: &Method) -> Taps {
    let x = coordinate(i as f64, n as f64, axis, method);
    let last = n as f64 - 1.0;
    if method.coordinates == "tf_crop_and_resize" && (x < 0.0 || x > last) {
        return None;
    }
    let clamp = |i: f64| i.clamp(0.0, last) as usize;
    if method.mode == "nearest" {
        let nearest = match method.nearest {
            "floor" => x.floor(),
            "ceil" => x.ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            _ => (x - 0.5).ceil(),
        };
        return Some(vec![(clamp(nearest), 1.0)]);
    }
    // With `antialias` the kernel is stretched when shrinking, so that every input element counts.
    let stretch = if method.antialias { axis.scale.min(1.0) } else { 1.0 };
    let cubic = method.mode == "cubic";
    let reach = (if cubic { 2.0 } else { 1.0 } / stretch).ceil();
    let (base, mut list) = (x.floor(), Vec::new());
    let mut offset = 1.0 - reach;
    while offset <= reach {
        let at = base + offset;
        let distance = (at - x) * stretch;
        let weight = if cubic { cubic_weight(distance, method.cubic_a) } else { (1.0 - distance.abs()).max(0.0) };
        let outside = at < 0.0 || at > last;
        list.push((clamp(at), if method.exclude_outside && outside { 0.0 } else { weight }));
        offset += 1.0;
    }
    let sum: f64 = list.iter().map(|(_, w)| w).sum();
    Some(list.into_iter().map(|(i, w)| (i, w / sum)).collect())
}

/// The cubic convolution kernel of Keys (1981) with parameter `a`.
pub fn cubic_weight(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

fn along(value: &Value, axis: &Axis, method: &Method) -> Result<Value> {
    let (outer, n, inner) = split_at(&value.shape, axis.axis);
    let mut shape = value.shape.clone();
    shape[axis.axis] = axis.size;
    let mut out = Vec::with_capacity(checked_len(value.dtype, &shape)?);
    let all = value.floats();
    let taps: Vec<Taps> = (0..axis.size).map(|i| taps(i, n, axis, method)).collect();
    for (o, list) in (0..outer).flat_map(|o| taps.iter().map(move |list| (o, list))) {
        for i in 0..inner {
            let at = |p: usize| all[(o * n + p) * inner + i];
            out.push(match list {
                Some(list) => list.iter().map(|(p, w)| at(*p) * w).sum(),
                None => method.extrapolation,
            });
        }
    }
    // Integer images are rounded, as they are by every runtime; a cast alone would truncate.
    if !value.dtype.is_float() {
        out.iter_mut().for_each(|v| *v = v.round_ties_even());
    }
    Value::from_floats(value.dtype, &shape, &out)
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn resize(x: &[f32], scale: f32, attributes: &[(&str, &str)]) -> Value {
        let attributes: Vec<(&str, Attribute)> =
            attributes.iter().map(|(k, v)| (*k, Attribute::String(v.to_string()))).collect();
        let (x, scale) = (f32s(&[x.len()], x), f32s(&[1], &[scale]));
        evaluate(&node("Resize", 18, &attributes), &[Some(&x), None, Some(&scale)], &[]).unwrap().remove(0)
    }

    #[test]
    fn nearest_has_four_ways_to_round() {
        let nearest = |mode| resize(&[1.0, 2.0, 3.0, 4.0], 0.5, &[("nearest_mode", mode)]).floats();
        // Positions 0.5 and 2.5.
        assert_eq!(nearest("round_prefer_floor"), [1.0, 3.0]);
        assert_eq!(nearest("round_prefer_ceil"), [2.0, 4.0]);
        assert_eq!(nearest("floor"), [1.0, 3.0]);
        assert_eq!(nearest("ceil"), [2.0, 4.0]);
    }

    #[test]
    fn linear_maps_coordinates_as_asked() {
        let linear = |c| resize(&[1.0, 2.0], 2.0, &[("mode", "linear"), ("coordinate_transformation_mode", c)]);
        assert_close(&linear("half_pixel"), &[4], &[1.0, 1.25, 1.75, 2.0]);
        assert_close(&linear("asymmetric"), &[4], &[1.0, 1.5, 2.0, 2.0]);
        assert_close(&linear("align_corners"), &[4], &[1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0]);
    }

    #[test]
    fn cubic_reproduces_what_it_interpolates() {
        let y = resize(&[1.0, 5.0, 2.0], 2.0, &[("mode", "cubic"), ("coordinate_transformation_mode", "asymmetric")]);
        // At 0.5: weights -0.09375, 0.59375, 0.59375, -0.09375 of its four neighbours, the ends repeated.
        assert_close(&y, &[6], &[1.0, 3.28125, 5.0, 3.875, 2.0, 1.71875]);
    }

    #[test]
    fn sizes_round_integers_and_old_opsets_floor() {
        let x = i64s(&[2], &[0, 10]);
        let attributes = [("mode", Attribute::String("linear".into()))];
        let inputs = [Some(&x), None, None, Some(&Value::vector(&[3]))];
        let y = evaluate(&node("Resize", 18, &attributes), &inputs, &[]).unwrap().remove(0);
        assert_eq!(y.i64s(), [0, 5, 10]);
        let y = eval("Upsample", 9, &[], &[&x, &f32s(&[1], &[1.5])]);
        assert_eq!(y.i64s(), [0, 0, 10]);
    }
}
