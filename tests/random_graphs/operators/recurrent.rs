//! `LSTM`, `GRU` and `RNN`, with their optional inputs and outputs.

use crate::bounds::{Bounds, roundoff};
use crate::dim::Dim;
use crate::maker::*;
use crate::onnx;
use sirius_polyhedral::DType;

struct Cell {
    op: &'static str,
    gates: usize,
    /// The cell state and the peepholes of `LSTM`.
    has_cell: bool,
}

const CELLS: &[Cell] = &[
    Cell { op: "LSTM", gates: 4, has_cell: true },
    Cell { op: "GRU", gates: 3, has_cell: false },
    Cell { op: "RNN", gates: 1, has_cell: false },
];

pub fn add(maker: &mut Maker) -> Option<()> {
    let cell = &CELLS[maker.choices.below(CELLS.len())];
    let dtype = maker.choices.pick(&[DType::F32, DType::F32, DType::F64]);
    let x = match maker
        .find(&[dtype], |t| t.dims.len() == 3 && t.dims.iter().all(|d| d.min() > 0) && t.dims[2].fixed().is_some())
    {
        Some(found) => found,
        None => {
            let dims = vec![step(maker), step(maker), Dim::Fixed(1 + maker.choices.below(5))];
            maker.fresh(dtype, dims)
        }
    };
    let x = maker.fit(&x, -2.0, 2.0)?;
    let (time, batch, size) = (x.dims[0], x.dims[1], x.dims[2].fixed()?);
    let hidden = 1 + maker.choices.below(4);
    let direction = maker.choices.pick(&["forward", "reverse", "bidirectional"]);
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let small = Bounds::exact(-0.25, 0.25);
    let made = |maker: &mut Maker, dims: &[usize]| {
        maker.made(dtype, dims.iter().map(|d| Dim::Fixed(*d)).collect(), small).name
    };
    let w = made(maker, &[directions, cell.gates * hidden, size]);
    let r = made(maker, &[directions, cell.gates * hidden, hidden]);
    let mut inputs = vec![x.name.clone(), w, r];
    inputs.push(if maker.choices.chance(60) {
        made(maker, &[directions, 2 * cell.gates * hidden])
    } else {
        String::new()
    });
    inputs.push(lengths(maker, time, batch));
    let state = [Dim::Fixed(directions), batch, Dim::Fixed(hidden)];
    for _ in 0..if cell.has_cell { 2 } else { 1 } {
        // No input can have a derived extent.
        let start = maker.choices.chance(50) && !matches!(batch, Dim::Derived { .. });
        inputs.push(if start { maker.input(dtype, state.to_vec(), small).name } else { String::new() });
    }
    if cell.has_cell {
        inputs.push(if maker.choices.chance(40) { made(maker, &[directions, 3 * hidden]) } else { String::new() });
    }
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    let mut attributes = vec![onnx::int("hidden_size", hidden as i64), onnx::string("direction", direction)];
    if cell.op == "GRU" && maker.choices.chance(50) {
        attributes.push(onnx::int("linear_before_reset", 1));
    }
    let bounds = state_bounds(&x, hidden, dtype);
    let all = vec![time, Dim::Fixed(directions), batch, Dim::Fixed(hidden)];
    let mut results = vec![(dtype, all, bounds)];
    let more = maker.choices.below(if cell.has_cell { 3 } else { 2 });
    for n in 0..more {
        // The cell state grows by at most 1 in each step.
        let grown = if n == 1 { Bounds { lo: -10.0, hi: 10.0, ..bounds } } else { bounds };
        results.push((dtype, state.to_vec(), grown));
    }
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    maker.node(cell.op, &names, attributes, results).map(|_| ())
}

/// An extent of at least 1.
fn step(maker: &mut Maker) -> Dim {
    match maker.dim() {
        Dim::Fixed(n) => Dim::Fixed(n.clamp(1, 6)),
        other => other,
    }
}

/// Optional lengths of the sequences.
fn lengths(maker: &mut Maker, time: Dim, batch: Dim) -> String {
    match time.fixed() {
        Some(n) if !matches!(batch, Dim::Derived { .. }) && maker.choices.chance(40) => {
            maker.input(DType::I32, vec![batch], Bounds::whole(1.0, n as f64)).name
        }
        _ => String::new(),
    }
}

/// Gates are sums of at most `2 * hidden + size + 2` products below 1/2; a step makes a difference of the states at
/// most about `1 + hidden` times as large.
fn state_bounds(x: &Tensor, hidden: usize, dtype: DType) -> Bounds {
    let size = x.dims[2].max() as f64;
    let step = (1.0 + 0.25 * hidden as f64).powi(x.dims[0].max() as i32);
    let own = (size * x.bounds.magnitude() + hidden as f64 + 16.0) * roundoff(dtype);
    Bounds::of(-1.0, 1.0, step * (size * x.bounds.error + 4.0 * own))
}
