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

/// First to the smaller extent, then to the wanted one. Where a difference is odd, the end gets one more.
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
        let extent = shape[axis].clone();
        let kept = f.cx.min(&extent, target);
        starts[axis] = (extent - kept.clone()).floor_div(2);
        ends[axis] = starts[axis].clone() + kept.clone();
        pads[axis] = (target.clone() - kept.clone()).floor_div(2);
        pads[shape.len() + axis] = target.clone() - kept - pads[axis].clone();
    }
    f.affs("starts", starts)?;
    f.affs("ends", ends)?;
    f.affs("pads", pads)?;
    f.add("output_data = Pad(Slice(input_data, starts, ends), pads)")
}
