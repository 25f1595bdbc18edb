//! Random numbers, by the generator that `extract/random.rs` documents.

use super::Call;
use super::index::product;
use crate::extract::random_key;
use crate::run::value::{Value, checked_len};
use sirius_polyhedral::{DType, Result};

/// SplitMix64 at a place in its sequence.
fn bits(key: u64, draw: u64) -> u64 {
    let z = key.wrapping_add((draw + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn uniform(key: u64, draw: u64, dtype: DType) -> f64 {
    let (unused, scale) = if dtype == DType::F64 { (11, -53) } else { (40, -24) };
    (bits(key, draw) >> unused) as f64 * 2f64.powi(scale)
}

pub fn random(call: &Call) -> Result<Vec<Value>> {
    let (shape, like) = match call.optional(0) {
        Some(x) => (x.shape.clone(), x.dtype),
        None => (call.extents(call.ints("shape").unwrap_or(&[]))?, DType::F32),
    };
    let dtype = call.dtype("dtype")?.unwrap_or(like);
    call.require(dtype.is_float(), || format!("random numbers of type {dtype}"))?;
    let key = random_key(call.node);
    let normal = |i: u64| {
        let (u, v) = (uniform(key, 2 * i, dtype), uniform(key, 2 * i + 1, dtype));
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        call.float("mean", 0.0) + call.float("scale", 1.0) * radius * (2.0 * std::f64::consts::PI * v).cos()
    };
    let (low, high) = (call.float("low", 0.0), call.float("high", 1.0));
    let flat = |i: u64| low + uniform(key, i, dtype) * (high - low);
    let count = checked_len(dtype, &shape)? as u64;
    let is_normal = call.op().starts_with("RandomNormal");
    let values: Vec<f64> = (0..count).map(|i| if is_normal { normal(i) } else { flat(i) }).collect();
    Ok(vec![Value::from_floats(dtype, &shape, &values)?])
}

pub fn bernoulli(call: &Call) -> Result<Vec<Value>> {
    let p = call.input(0)?;
    let key = random_key(call.node);
    let hit = |(i, p): (usize, f64)| i128::from(uniform(key, i as u64, p_type(call)) < p);
    let hits: Vec<i128> = p.floats().into_iter().enumerate().map(hit).collect();
    let hits = Value::from_ints(DType::I64, &p.shape, &hits)?;
    Ok(vec![hits.cast(call.dtype("dtype")?.unwrap_or(p.dtype))?])
}

fn p_type(call: &Call) -> DType {
    call.optional(0).map_or(DType::F32, |p| p.dtype)
}

pub fn multinomial(call: &Call) -> Result<Vec<Value>> {
    let x = call.ranked(0, 2)?;
    let samples = usize::try_from(call.int("sample_size", 1)).unwrap_or(0);
    let (rows, classes) = (x.shape[0], product(&x.shape[1..]));
    let (all, key) = (x.floats(), random_key(call.node));
    let mut drawn = Vec::new();
    for (r, s) in (0..rows).flat_map(|r| (0..samples).map(move |s| (r, s))) {
        let row = &all[r * classes..(r + 1) * classes];
        let peak = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sums: Vec<f64> = row
            .iter()
            .scan(0.0, |sum, v| {
                *sum += (v - peak).exp();
                Some(*sum)
            })
            .collect();
        let wanted = uniform(key, (r * samples + s) as u64, x.dtype) * sums.last().copied().unwrap_or(0.0);
        let class = sums.iter().filter(|sum| **sum <= wanted).count();
        drawn.push(class.min(classes.saturating_sub(1)) as i128);
    }
    Ok(vec![Value::from_ints(call.dtype("dtype")?.unwrap_or(DType::I32), &[rows, samples], &drawn)?])
}
