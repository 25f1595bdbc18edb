//! `CenterCropPad`: cut off or fill up on both sides, as evenly as possible.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use sirius_polyhedral::Aff;

pub const FUNCTIONS: &[Function] = &[Function {
    domain: "",
    op: "CenterCropPad",
    inputs: &["input_data", "shape"],
    outputs: &["output_data"],
    body: center_crop_pad,
}];

/// Where the number of elements is odd, the end gets one more.
fn center_crop_pad(f: &mut Body) -> Step {
    let shape = f.shape("input_data")?;
    let targets = f.site().need_affs(1, "shape")?;
    let axes = match f.node.ints("axes") {
        Some(axes) => f.site().axes(axes, shape.len())?,
        None => (0..shape.len()).collect(),
    };
    if axes.len() != targets.len() {
        return Err(f.invalid(format!("{} sizes for {} axes", targets.len(), axes.len())));
    }
    let zero = Aff::constant(0);
    let (mut starts, mut ends) = (vec![zero.clone(); shape.len()], shape.clone());
    let mut pads = vec![zero.clone(); 2 * shape.len()];
    for (&axis, target) in axes.iter().zip(&targets) {
        let more = f.cx.simplify(&(target.clone() - shape[axis].clone()));
        if f.cx.range(&more).1.is_some_and(|high| high <= 0) {
            starts[axis] = (shape[axis].clone() - target.clone()).floor_div(2);
            ends[axis] = starts[axis].clone() + target.clone();
        } else if f.cx.range(&more).0.is_some_and(|low| low >= 0) {
            pads[axis] = more.floor_div(2);
            pads[shape.len() + axis] = more - pads[axis].clone();
        } else {
            return Err(f.site().at_run_time(1, "shape"));
        }
    }
    f.affs("starts", starts)?;
    f.affs("ends", ends)?;
    f.affs("pads", pads)?;
    f.add("output_data = Pad(Slice(input_data, starts, ends), pads)")
}
