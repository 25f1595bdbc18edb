//! `TensorScatter`: new elements of a sequence written into a cache.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;

pub const FUNCTIONS: &[Function] = &[Function {
    domain: "",
    op: "TensorScatter",
    inputs: &["past_cache", "update", "write_indices"],
    outputs: &["present_cache"],
    body: tensor_scatter,
}];

fn tensor_scatter(f: &mut Body) -> Step {
    let (cache, update) = (f.shape("past_cache")?, f.shape("update")?);
    let rank = cache.len();
    let axis = f.node.int("axis").unwrap_or(-2);
    let axis = f.site().axis(axis, rank)?;
    if axis == 0 || update.len() != rank {
        return Err(f.invalid("the update needs the rank of the cache, and the axis must not be the batch"));
    }
    f.aff("length", update[axis].clone())?;
    let trailing = ", 1".repeat(rank - 1 - axis);
    f.add(&format!("place = Reshape(Range(0, length, 1), [-1{trailing}])"))?;
    if f.has("write_indices") {
        let ones = ", 1".repeat(rank - 1);
        f.add(&format!("place = Add(place, Reshape(Cast<to = 7>(write_indices), [-1{ones}]))"))?;
    }
    match f.node.string("mode").unwrap_or("linear") {
        "linear" => {}
        "circular" => {
            f.aff("capacity", cache[axis].clone())?;
            f.add("place = Mod(place, capacity)")?;
        }
        other => return Err(f.invalid(format!("mode \"{other}\" is not known; use linear or circular"))),
    }
    f.affs("shape", update)?;
    f.add(&format!("present_cache = ScatterElements<axis = {axis}>(past_cache, Expand(place, shape), update)"))
}
