//! The equations of `GRU`, with gates in the order `zrh`. The attribute `linear_before_reset` says whether the reset gate
//! acts on the state or on the state's share of the hidden gate.

use super::direction::Direction;
use super::{Biases, Recurrence, Recurrent, time};
use crate::extract::Builder;
use crate::extract::builder::named_dims;
use crate::extract::terms::{add, mul};
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, Expr, Result};

/// ONNX `GRU`: inputs X, W, R, B, sequence_lens, initial_h; outputs Y, Y_h.
pub fn extract_gru(builder: &mut Builder, node: &Node) -> Result<()> {
    let r = Recurrent::of(builder, node, 3, &["Sigmoid", "Tanh"])?;
    let reset_after = node.int("linear_before_reset").unwrap_or(0) != 0;
    let mut ends = Vec::new();
    for direction in r.directions.clone() {
        let h = r.state(builder, "h", &direction, 5)?;
        r.over_time(builder, |builder, depth| match reset_after {
            true => r.gru_reset_after(builder, &direction, h, depth),
            false => r.gru_reset_before(builder, &direction, h, depth),
        })?;
        ends.push(vec![h]);
    }
    r.bind_results(builder, &ends)
}

impl Recurrent<'_> {
    /// `linear_before_reset = 1`: h~ = g(Xh + r * (R h + b)). The state's share of all gates is one product, and its
    /// biases belong to it, for the hidden gate's is inside the reset product.
    fn gru_reset_after(&self, builder: &mut Builder, d: &Direction, h: ArrayId, depth: usize) -> Result<()> {
        let xp = self.input_projection(builder, d, Biases::Input)?;
        let t = time(builder);
        let state = |builder: &Builder, b, k| builder.load(h, vec![t.clone(), b, k]);
        let start = |builder: &mut Builder, _, row| {
            let bias = self.bias(builder, d, row, Biases::State)?;
            Ok(bias.unwrap_or_else(|| Expr::float(0.0, self.dtype)))
        };
        let rec = self.recurrence(builder, d, Recurrence { name: "rec", gates: 0..3, state: &state, start: &start })?;
        let sum = |builder: &Builder, g| self.clipped(add(self.share(builder, xp, g), self.share(builder, rec, g)));
        let z = self.activate(d, 0, sum(builder, 0))?;
        let r = self.activate(d, 0, sum(builder, 1))?;
        let inner = add(self.share(builder, xp, 2), mul(r, self.share(builder, rec, 2)));
        self.gru_cell(builder, d, z, inner, h, depth)
    }

    /// `linear_before_reset = 0`: h~ = g(Xh + R (r * h) + b).
    fn gru_reset_before(&self, builder: &mut Builder, d: &Direction, h: ArrayId, depth: usize) -> Result<()> {
        let xp = self.input_projection(builder, d, Biases::Both)?;
        let zr = self.on_state(builder, d, ("zr", 0..2), (xp, h))?;
        let hidden = Aff::constant(self.hidden);
        let own = named_dims(&["b", "j"], &[self.batch.clone(), hidden.clone()]);
        let reset = builder.temp(&self.name("reset", d), self.dtype, vec![self.batch.clone(), hidden]);
        let r = self.activate(d, 0, self.gate(builder, zr, 1))?;
        let old = builder.load(h, vec![Expr::iter(depth), builder.iter(0), builder.iter(1)]);
        let id = builder.assign(&own, reset, builder.iters(2), mul(r, old));
        builder.emit_perfect(id, 2);
        let state = |builder: &Builder, b, k| builder.load(reset, vec![b, k]);
        let start = |builder: &mut Builder, b, row| Ok(builder.load(xp, vec![b, row]));
        let hh = Recurrence { name: "hh", gates: 2..3, state: &state, start: &start };
        let hh = self.recurrence(builder, d, hh)?;
        let z = self.activate(d, 0, self.gate(builder, zr, 0))?;
        let inner = builder.load(hh, builder.iters(2));
        self.gru_cell(builder, d, z, inner, h, depth)
    }

    /// h = (1 - z) * g(inner) + z * h.
    fn gru_cell(
        &self,
        builder: &mut Builder,
        d: &Direction,
        z: Expr,
        inner: Expr,
        h: ArrayId,
        depth: usize,
    ) -> Result<()> {
        let candidate = self.activate(d, 1, self.clipped(inner))?;
        let old = builder.load(h, vec![Expr::iter(depth), builder.iter(0), builder.iter(1)]);
        let keep = Expr::binary(BinaryOp::Sub, Expr::float(1.0, self.dtype), z.clone());
        self.store_state(builder, h, add(mul(keep, candidate), mul(z, old)), depth)
    }
}
