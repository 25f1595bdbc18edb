//! `Resize` by factors that are exact in binary, so that both sides pick the same neighbours.

use crate::bounds::{Bounds, roundoff};
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius::run::Value;
use sirius_polyhedral::DType;

pub fn add(maker: &mut Maker) -> Option<()> {
    let x = maker.any(FLOATS, 2..=4);
    let (mut scales, mut sizes, mut dims) = (Vec::new(), Vec::new(), Vec::new());
    for (n, dim) in x.dims.iter().enumerate() {
        let scale = if n + 2 < x.dims.len() { 1.0 } else { maker.choices.pick(&[1.0, 2.0, 0.5, 4.0, 1.5]) };
        let extent = if scale == 1.0 { dim.fixed() } else { Some(dim.fixed().filter(|n| *n > 1)?) };
        let long = extent.map(|n| (n as f32 * scale) as usize);
        scales.push(scale);
        sizes.push(long.map(|n| n as i64));
        dims.push(long.map_or(*dim, Dim::Fixed));
    }
    if scales.iter().all(|s| *s == 1.0) {
        return None;
    }
    let mode = maker.choices.pick(&["nearest", "linear"]);
    let place = maker.choices.pick(&["asymmetric", "half_pixel", "align_corners"]);
    // Corners and lengths that are no multiple of the scale give thirds, which round to either neighbour.
    let divides = scales.iter().zip(&x.dims).all(|(s, d)| d.fixed().is_none_or(|n| (n as f32 * s).fract() == 0.0));
    if mode == "nearest" && (place == "align_corners" || !divides || scales.contains(&1.5)) {
        return None;
    }
    let mut attributes = vec![onnx::string("mode", mode), onnx::string("coordinate_transformation_mode", place)];
    if mode == "nearest" {
        attributes.push(onnx::string("nearest_mode", maker.choices.pick(&["floor", "ceil", "round_prefer_floor"])));
    }
    let bounds = match mode {
        "nearest" => x.bounds,
        // Weights follow from places that are computed in single precision at least.
        _ => {
            let places = 64.0 * roundoff(DType::F32) * x.bounds.magnitude();
            Bounds::of(x.bounds.lo, x.bounds.hi, x.bounds.error + places).rounded(x.dtype, 8.0)
        }
    };
    let by_size: Option<Vec<i64>> = sizes.into_iter().collect();
    let inputs = match by_size.filter(|_| divides && maker.choices.chance(40)) {
        Some(list) => vec![x.name.clone(), String::new(), String::new(), maker.list(&list)],
        None => {
            let value = Value::from_f32(&[scales.len()], &scales).ok()?;
            vec![x.name.clone(), String::new(), maker.constant(value, Bounds::exact(0.0, 4.0)).name]
        }
    };
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    maker.one("Resize", &names, attributes, (x.dtype, dims, bounds)).map(|_| ())
}
