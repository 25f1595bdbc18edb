//! The outputs of a recurrent operator: all states (`Y`) and the last ones (`Y_h`, `Y_c`), views where there is one direction.

use super::Recurrent;
use super::direction::Direction;
use crate::extract::Builder;
use crate::extract::builder::named_dims;
use crate::extract::terms::add;
use crate::graph::TensorId;
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, Expr, Result};

impl Recurrent<'_> {
    /// Y from the states of all steps, then the last states: `ends` has the state arrays of every direction.
    pub fn bind_results(&self, builder: &mut Builder, ends: &[Vec<ArrayId>]) -> Result<()> {
        if let Some(y) = self.node.output(0) {
            self.bind_sequence(builder, y, ends)?;
        }
        for n in 1..=ends[0].len() {
            if let Some(last) = self.node.output(n) {
                self.bind_last(builder, last, ends, n - 1)?;
            }
        }
        Ok(())
    }

    /// Y: `[time, direction, batch, hidden]`, or `[batch, time, direction, hidden]`.
    fn bind_sequence(&self, builder: &mut Builder, y: TensorId, ends: &[Vec<ArrayId>]) -> Result<()> {
        let lone = ends.len() == 1;
        // One direction is a view over (t, d, b, j); two are assigned plane by plane over (t, b, j).
        let place: [usize; 3] = match (lone, self.batch_first) {
            (true, false) => [0, 2, 3],
            (true, true) => [1, 0, 3],
            (false, _) => [0, 1, 2],
        };
        let [t, b, j] = place.map(|d| builder.iter(d));
        let values = (self.directions.iter().zip(ends))
            .map(|(d, end)| self.sequence_element(builder, d, end[0], t.clone(), b.clone(), j.clone()))
            .collect::<Result<Vec<Expr>>>()?;
        if let ([value], true) = (values.as_slice(), lone) {
            builder.bind(y, value.clone());
            return Ok(());
        }
        let array = builder.define(y);
        let own = named_dims(&["t", "b", "j"], &[self.steps.clone(), self.batch.clone(), Aff::constant(self.hidden)]);
        for (direction, value) in self.directions.iter().zip(values) {
            let d = direction.plane();
            let (t, b, j) = (t.clone(), b.clone(), j.clone());
            let index = if self.batch_first { vec![b, t, d, j] } else { vec![t, d, b, j] };
            let id = builder.assign(&own, array, index, value);
            builder.emit_perfect(id, 3);
        }
        Ok(())
    }

    /// The output at position `t`: zero past the end of the sequence.
    fn sequence_element(
        &self,
        builder: &mut Builder,
        d: &Direction,
        h: ArrayId,
        t: Expr,
        b: Expr,
        j: Expr,
    ) -> Result<Expr> {
        let step = self.time_of_step(builder, d, &b, t.clone())?;
        let value = builder.load(h, vec![add(step, Expr::int(1)), b.clone(), j]);
        Ok(match self.length(builder, &b)? {
            None => value,
            Some(length) => Expr::select(Expr::binary(BinaryOp::Lt, t, length), value, Expr::float(0.0, self.dtype)),
        })
    }

    /// Y_h, Y_c: `[direction, batch, hidden]`, or `[batch, direction, hidden]`.
    fn bind_last(&self, builder: &mut Builder, last: TensorId, ends: &[Vec<ArrayId>], which: usize) -> Result<()> {
        let steps = Expr::Index(self.steps.clone());
        if let [end] = ends {
            let (b, j) = (builder.iter(if self.batch_first { 0 } else { 1 }), builder.iter(2));
            let value = builder.load(end[which], vec![steps, b, j]);
            builder.bind(last, value);
            return Ok(());
        }
        let array = builder.define(last);
        let own = named_dims(&["b", "j"], &[self.batch.clone(), Aff::constant(self.hidden)]);
        for (direction, end) in self.directions.iter().zip(ends) {
            let (b, j, d) = (builder.iter(0), builder.iter(1), direction.plane());
            let value = builder.load(end[which], vec![steps.clone(), b.clone(), j.clone()]);
            let index = if self.batch_first { vec![b, d, j] } else { vec![d, b, j] };
            let id = builder.assign(&own, array, index, value);
            builder.emit_perfect(id, 2);
        }
        Ok(())
    }
}
