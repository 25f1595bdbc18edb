//! Sliding windows: extents of kernels, explicit and automatic padding, and the padded copy of an operand.
//!
//! Padding is an array of its own, filled by one elementwise statement with a select, so that the
//! convolution or pooling reads without guards and its accesses stay affine.

use super::arguments::*;
use super::assemble::inside;
use super::builder::{Builder, View, dims};
use crate::graph::Node;
use sirius_polyhedral::{Aff, Expr, ParamDef, Result};

/// The geometry of a window operator, one entry per spatial dimension.
#[derive(Clone, Debug)]
pub struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub before: Vec<Aff>,
    pub after: Vec<Aff>,
}

impl Window {
    /// Reads the attributes; `input` and `result` are the spatial extents.
    pub fn new(b: &mut Builder, node: &Node, kernel: Vec<i64>, input: &[Aff], result: &[Aff]) -> Result<Window> {
        let n = kernel.len();
        let list = |name: &str| node.ints(name).map_or_else(|| vec![1; n], <[i64]>::to_vec);
        let pads = node.ints("pads").map_or_else(|| vec![0; 2 * n], <[i64]>::to_vec);
        let (strides, dilations) = (list("strides"), list("dilations"));
        let fits = strides.len() == n && dilations.len() == n && pads.len() == 2 * n && input.len() == n;
        let positive = kernel.iter().chain(&strides).chain(&dilations).all(|v| *v > 0);
        if !fits || !positive || result.len() != n {
            return Err(invalid(node, "kernel, strides, dilations and pads do not fit the spatial dimensions"));
        }
        let affs = |list: &[i64]| list.iter().map(|p| Aff::constant(*p)).collect::<Vec<_>>();
        let mut w = Window { kernel, strides, dilations, before: affs(&pads[..n]), after: affs(&pads[n..]) };
        match node.string("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => {}
            "VALID" => (w.before, w.after) = (affs(&vec![0; n]), affs(&vec![0; n])),
            mode => w.automatic(b, mode == "SAME_UPPER", input, result),
        }
        Ok(w)
    }

    /// Extent of the dilated kernel.
    pub fn reach(&self, d: usize) -> i64 {
        (self.kernel[d] - 1).saturating_mul(self.dilations[d]).saturating_add(1)
    }

    /// `SAME_UPPER` and `SAME_LOWER`: as much padding as the result's extent needs, the odd one at the end
    /// or at the beginning.
    fn automatic(&mut self, b: &mut Builder, odd_at_end: bool, input: &[Aff], result: &[Aff]) {
        for d in 0..input.len() {
            let needed = (result[d].clone() - 1.into()) * self.strides[d] + self.reach(d).into() - input[d].clone();
            let total = match needed.as_constant() {
                Some(total) => total.max(0).into(),
                // The result rounds the number of strides up: a window as long as a stride reaches the end.
                None if self.reach(d) >= self.strides[d] => needed,
                None => Aff::param(b.program.params.derived(ParamDef::Max(needed, 0.into()))),
            };
            let small = total.floor_div(2);
            let large = total - small.clone();
            (self.before[d], self.after[d]) = if odd_at_end { (small, large) } else { (large, small) };
        }
    }

    /// What windows read beyond the input at the end: more than `after` when the extent was rounded up.
    pub fn overhang(&self, input: &[Aff], result: &[Aff]) -> Vec<Aff> {
        let last = |d: usize| (result[d].clone() - 1.into()) * self.strides[d] + self.reach(d).into();
        let read = |d: usize| last(d) - self.before[d].clone() - input[d].clone();
        (0..input.len())
            .map(|d| if read(d).as_constant().is_some_and(|r| r <= 0) { 0.into() } else { read(d) })
            .collect()
    }

    /// Position in the padded input of window `o`, element `k`.
    pub fn position(&self, d: usize, o: Aff, k: Aff) -> Aff {
        o * self.strides[d] + k * self.dilations[d]
    }

    pub fn is_padded(&self, after: &[Aff]) -> bool {
        self.before.iter().any(|p| !p.is_constant(0)) || after.iter().any(|p| !p.is_constant(0))
    }
}

/// `source` (of shape `shape`, the last dimensions spatial) inside a border of `fill`, as an array of its own.
pub fn padded(b: &mut Builder, name: &str, source: &View, shape: &[Aff], border: (&[Aff], &[Aff]), fill: Expr) -> View {
    let plain = shape.len() - border.0.len();
    let widths = |d: usize| match d.checked_sub(plain) {
        Some(s) => (border.0[s].clone(), border.1[s].clone()),
        None => (Aff::constant(0), Aff::constant(0)),
    };
    let before: Vec<Aff> = (0..shape.len()).map(|d| widths(d).0).collect();
    let extents: Vec<Aff> = (0..shape.len()).map(|d| shape[d].clone() + widths(d).0 + widths(d).1).collect();
    let at: Vec<Expr> = before.iter().enumerate().map(|(d, p)| Expr::Index(b.aff(d) - p.clone())).collect();
    let value = inside(&at, shape, &extents, &before, b.at(source, &at), fill);
    let array = b.temp(name, b.program.dtype(&value), extents.clone());
    let index = b.iters(shape.len());
    let id = b.assign(&dims("i", &extents), array, index.clone(), value);
    b.emit_perfect(id, shape.len());
    b.view_of(b.load(array, index))
}
