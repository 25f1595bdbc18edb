//! `AffineGrid`: the sampling positions of an affine transformation.

use super::Function;
use super::body::Body;
use crate::import::infer::context::Step;
use sirius_polyhedral::Aff;

pub const FUNCTIONS: &[Function] =
    &[Function { domain: "", op: "AffineGrid", inputs: &["theta", "size"], outputs: &["grid"], body: affine_grid }];

/// `grid[n, .., c] = theta[n, c, 0] x + theta[n, c, 1] y (+ theta[n, c, 2] z) + theta[n, c, last]`, where the
/// coordinates x, y, z of the last, the second last .. dimension run from -1 to 1.
fn affine_grid(f: &mut Body) -> Step {
    let size = f.site().need_affs(1, "size")?;
    let (theta, rank) = (f.ranked("theta", 3)?, size.len());
    let fits = theta[1].is_constant(rank as i64 - 2) && theta[2].is_constant(rank as i64 - 1);
    if !(4..=5).contains(&rank) || !fits {
        return Err(f.invalid(format!("theta does not fit a size of {rank} numbers")));
    }
    f.cx.same(&theta[0], &size[0])?;
    let ones = ", 1".repeat(rank - 2);
    let column = |n: usize| format!("Reshape(Gather<axis = 2>(theta, {n}), [0{ones}, -1])");
    let extents: Vec<Aff> = size[2..].iter().rev().cloned().collect();
    let mut sum = column(rank - 2);
    for (n, extent) in extents.into_iter().enumerate() {
        // Coordinate n belongs to dimension rank - 2 - n of the grid.
        let trailing = ", 1".repeat(n + 1);
        coordinate(f, extent, &format!("[-1{trailing}]"), n)?;
        sum = format!("Add({sum}, Mul({}, at{n}))", column(n));
    }
    f.affs("shape", [&size[..1], &size[2..], &[Aff::constant(rank as i64 - 2)]].concat())?;
    f.add(&format!("grid = Expand({sum}, shape)"))
}

/// `at<n>`: the centres of equal cells between -1 and 1, or with `align_corners` points that include both ends.
fn coordinate(f: &mut Body, extent: Aff, shape: &str, n: usize) -> Step {
    f.aff("extent", extent.clone())?;
    let steps = "steps = CastLike(Range(0, extent, 1), theta)";
    if f.node.int("align_corners") == Some(1) {
        // One point alone stands at -1.
        f.aff("intervals", extent - Aff::constant(1))?;
        return f.add(&format!(
            "{steps} width = Div(2.0, Max(CastLike(intervals, theta), 1.0))
             at{n} = Reshape(Sub(Mul(steps, width), 1.0), {shape})"
        ));
    }
    f.add(&format!(
        "{steps} width = Div(2.0, CastLike(extent, theta))
         at{n} = Reshape(Sub(Mul(Add(steps, 0.5), width), 1.0), {shape})"
    ))
}
