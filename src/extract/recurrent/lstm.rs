//! The equations of `LSTM`, with gates in the order `iofc`.

use super::direction::Direction;
use super::{Biases, Recurrent};
use crate::extract::Builder;
use crate::extract::terms::{add, mul};
use crate::graph::Node;
use sirius_polyhedral::{Aff, ArrayId, Expr, Result};

/// ONNX `LSTM`: inputs X, W, R, B, sequence_lens, initial_h, initial_c, P; outputs Y, Y_h, Y_c.
pub fn extract_lstm(builder: &mut Builder, node: &Node) -> Result<()> {
    let r = Recurrent::of(builder, node, 4, &["Sigmoid", "Tanh", "Tanh"])?;
    let mut ends = Vec::new();
    for direction in r.directions.clone() {
        let h = r.state(builder, "h", &direction, 5)?;
        let c = r.state(builder, "c", &direction, 6)?;
        r.over_time(builder, |builder, depth| {
            let xp = r.input_projection(builder, &direction, Biases::Both)?;
            let rec = r.on_state(builder, &direction, ("rec", 0..4), (xp, h))?;
            r.lstm_cell(builder, &direction, rec, h, c, depth)
        })?;
        ends.push(vec![h, c]);
    }
    r.bind_results(builder, &ends)
}

impl Recurrent<'_> {
    fn lstm_cell(
        &self,
        builder: &mut Builder,
        direction: &Direction,
        rec: ArrayId,
        h: ArrayId,
        c: ArrayId,
        depth: usize,
    ) -> Result<()> {
        let at = |t: Expr, builder: &Builder| vec![t, builder.iter(0), builder.iter(1)];
        let old = builder.load(c, at(Expr::iter(depth), builder));
        let i = self.peephole(builder, direction, rec, 0, &old)?;
        let f = self.peephole(builder, direction, rec, 2, &old)?;
        let (i, f) = (self.activate(direction, 0, i)?, self.activate(direction, 0, f)?);
        let candidate = self.activate(direction, 1, self.gate(builder, rec, 3))?;
        self.store_state(builder, c, add(mul(f, old), mul(i, candidate)), depth)?;
        let new = builder.load(c, at(Expr::Index(Aff::iter(depth) + Aff::constant(1)), builder));
        let o = self.peephole(builder, direction, rec, 1, &new)?;
        let o = self.activate(direction, 0, o)?;
        let out = mul(o, self.activate(direction, 2, new)?);
        self.store_state(builder, h, out, depth)
    }

    /// Gate `g` plus its peephole weights times a cell state; the weights are in the order `iof`.
    fn peephole(&self, builder: &mut Builder, direction: &Direction, rec: ArrayId, g: usize, c: &Expr) -> Result<Expr> {
        let value = self.share(builder, rec, g);
        if self.node.input(7).is_none() {
            return Ok(self.clipped(value));
        }
        let weight = self.read(builder, 7, &[direction.plane(), self.row(builder, g)])?;
        Ok(self.clipped(add(value, mul(weight, c.clone()))))
    }
}
