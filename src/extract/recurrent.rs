//! `LSTM`, `GRU` and `RNN` as a time loop around the gates.
//!
//! For each direction, inside the time loop: the input projection `xp[b, n] = W x_t + bias`, the recurrence
//! `rec[b, n] = R h_{t-1} + xp[b, n]` and one elementwise statement per state: what `Loop` and `Scan` around the same
//! equations give. The projection does not depend on the state; the pass `distribute` decides whether it is cheaper as
//! one large contraction over all steps. States have a time dimension of `steps + 1` planes, plane 0 being the
//! initial value, so the sequence of outputs is a view of the state.
//! The equations and the gate order (`iofc` for LSTM, `zrh` for GRU) are those of the ONNX operator
//! specifications LSTM-14, GRU-14 and RNN-14.

use super::activation::{Activation, parameters};
use super::builder::named_dims;
use super::terms::{add, mul};
use super::{Builder, leaf, unsupported};
use crate::graph::{Node, TensorId};
use sirius_polyhedral::{Aff, ArrayId, BinaryOp, DType, Error, Expr, Result};

/// What all three operators share.
struct Recurrent<'n> {
    node: &'n Node,
    gates: usize,
    dtype: DType,
    steps: Aff,
    batch: Aff,
    input: Aff,
    hidden: i64,
    directions: Vec<Direction>,
    /// `[batch, time, ..]` instead of `[time, batch, ..]`.
    batch_first: bool,
    clip: Option<f32>,
}

#[derive(Clone)]
struct Direction {
    /// Plane of the weight tensors.
    number: usize,
    backwards: bool,
    activations: Vec<Activation>,
}

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

/// ONNX `RNN`: inputs X, W, R, B, sequence_lens, initial_h; outputs Y, Y_h.
pub fn extract_rnn(builder: &mut Builder, node: &Node) -> Result<()> {
    let r = Recurrent::of(builder, node, 1, &["Tanh"])?;
    let mut ends = Vec::new();
    for direction in r.directions.clone() {
        let h = r.state(builder, "h", &direction, 5)?;
        r.over_time(builder, |builder, depth| {
            let xp = r.input_projection(builder, &direction, Biases::Both)?;
            let rec = r.on_state(builder, &direction, ("rec", 0..1), (xp, h))?;
            let sum = r.gate(builder, rec, 0);
            let value = r.activate(&direction, 0, sum)?;
            r.store_state(builder, h, value, depth)
        })?;
        ends.push(vec![h]);
    }
    r.bind_results(builder, &ends)
}

/// Which biases a product starts with: those of `W`, those of `R`, or their sums.
enum Biases {
    Both,
    Input,
    State,
}

/// One recurrent contraction: the state as a function of `(b, k)`, the start value of `(b, row)`.
struct Recurrence<'a> {
    name: &'a str,
    gates: std::ops::Range<usize>,
    state: &'a dyn Fn(&Builder, Expr, Expr) -> Expr,
    start: &'a dyn Fn(&mut Builder, Expr, Expr) -> Result<Expr>,
}

/// The iterator of the time loop, the innermost host loop of the current statement.
fn time(builder: &Builder) -> Expr {
    Expr::iter(builder.depth() - 1)
}

impl<'n> Recurrent<'n> {
    fn of(builder: &Builder, node: &'n Node, gates: usize, defaults: &[&str]) -> Result<Recurrent<'n>> {
        let bad = || unsupported(builder, node);
        let (x, w) = (node.input(0).ok_or_else(bad)?, node.input(1).ok_or_else(bad)?);
        let (shape, weights) = (builder.shape(x), builder.shape(w));
        let batch_first = node.int("layout").unwrap_or(0) == 1;
        let hidden = node.int("hidden_size").or_else(|| weights.get(1)?.as_constant().map(|n| n / gates as i64));
        if shape.len() != 3 || weights.len() != 3 || node.int("input_forget").unwrap_or(0) != 0 {
            return Err(bad());
        }
        let (time, batch) = if batch_first { (1, 0) } else { (0, 1) };
        Ok(Recurrent {
            node,
            gates,
            dtype: builder.dtype(x),
            steps: shape[time].clone(),
            batch: shape[batch].clone(),
            input: shape[2].clone(),
            hidden: hidden.ok_or_else(bad)?,
            directions: directions(node, defaults)?,
            batch_first,
            clip: node.float("clip"),
        })
    }

    fn name(&self, what: &str, direction: &Direction) -> String {
        format!("{}_{what}{}", self.node.name, direction.number)
    }

    /// Runs `body` in the time loop; it gets the number of the time iterator.
    fn over_time(&self, builder: &mut Builder, body: impl FnOnce(&mut Builder, usize) -> Result<()>) -> Result<()> {
        let depth = builder.depth();
        builder.in_loop("t", self.steps.clone(), |builder| body(builder, depth))
    }

    // ----- the parts -------------------------------------------------------------------------------------

    /// `xp[b, n]`: the input's share of all gates in the current step, with its biases.
    fn input_projection(&self, builder: &mut Builder, direction: &Direction, biases: Biases) -> Result<ArrayId> {
        let shape = vec![self.batch.clone(), Aff::constant(self.gates as i64 * self.hidden)];
        let own = named_dims(&["b", "n", "i"], &[shape[0].clone(), shape[1].clone(), self.input.clone()]);
        let acc = builder.temp(&self.name("xacc", direction), self.dtype, shape.clone());
        let out = builder.temp(&self.name("xp", direction), self.dtype, shape);
        let (at, n, i) = (builder.iters(2), builder.iter(1), builder.iter(2));
        let zero = builder.assign(&own[..2], acc, at.clone(), Expr::float(0.0, self.dtype));
        let position = self.time_of_step(builder, direction, &at[0], time(builder))?;
        let x = self.read_input(builder, position, at[0].clone(), i.clone())?;
        let w = self.read(builder, 1, &[direction.plane(), n.clone(), i])?;
        let sum = builder.reduce(BinaryOp::Add, &own, acc, at.clone(), mul(x, w));
        let biases = self.bias(builder, direction, n, biases)?;
        let total = builder.load(acc, at.clone());
        let done = builder.assign(&own[..2], out, at, biases.map_or(total.clone(), |b| add(total, b)));
        let inner = builder.bands(2..3, vec![leaf(sum)]);
        let nest = builder.bands(0..2, [vec![leaf(zero)], inner, vec![leaf(done)]].concat());
        builder.emit(nest);
        Ok(out)
    }

    /// The biases of row `n`; `None` when the operator has none.
    fn bias(&self, builder: &mut Builder, direction: &Direction, n: Expr, which: Biases) -> Result<Option<Expr>> {
        if self.node.input(3).is_none() {
            return Ok(None);
        }
        let state_row = add(n.clone(), Expr::int(self.gates as i64 * self.hidden));
        let mut at = |row: Expr| self.read(builder, 3, &[direction.plane(), row]);
        Ok(Some(match which {
            Biases::Both => add(at(n)?, at(state_row)?),
            Biases::Input => at(n)?,
            Biases::State => at(state_row)?,
        }))
    }

    /// `name[b, n] = sum_k state(b, k) * R[n, k] + start(b, n)` over the rows `n` of the given gates.
    fn recurrence(&self, builder: &mut Builder, direction: &Direction, r: Recurrence) -> Result<ArrayId> {
        let offset = r.gates.start as i64 * self.hidden;
        let width = Aff::constant(r.gates.len() as i64 * self.hidden);
        let shape = vec![self.batch.clone(), width.clone()];
        let own = named_dims(&["b", "n", "k"], &[self.batch.clone(), width, Aff::constant(self.hidden)]);
        let acc = builder.temp(&self.name(&format!("{}_acc", r.name), direction), self.dtype, shape.clone());
        let out = builder.temp(&self.name(r.name, direction), self.dtype, shape);
        let (b, n, k) = (builder.iter(0), builder.iter(1), builder.iter(2));
        let row = add(n.clone(), Expr::int(offset));
        let at = vec![b.clone(), n];
        let zero = builder.assign(&own[..2], acc, at.clone(), Expr::float(0.0, self.dtype));
        let weight = self.read(builder, 2, &[direction.plane(), row.clone(), k.clone()])?;
        let state = (r.state)(builder, b.clone(), k);
        let sum = builder.reduce(BinaryOp::Add, &own, acc, at.clone(), mul(state, weight));
        let begin = (r.start)(builder, b, row)?;
        let total = builder.load(acc, at.clone());
        let done = builder.assign(&own[..2], out, at, add(total, begin));
        let inner = builder.bands(2..3, vec![leaf(sum)]);
        let nest = builder.bands(0..2, [vec![leaf(zero)], inner, vec![leaf(done)]].concat());
        builder.emit(nest);
        Ok(out)
    }

    /// The recurrence of some gates on the state of step `t`, starting from the input projection.
    fn on_state(
        &self,
        builder: &mut Builder,
        direction: &Direction,
        (name, gates): (&str, std::ops::Range<usize>),
        (xp, h): (ArrayId, ArrayId),
    ) -> Result<ArrayId> {
        let t = time(builder);
        let state = |builder: &Builder, b, k| builder.load(h, vec![t.clone(), b, k]);
        let start = |builder: &mut Builder, b, row| Ok(builder.load(xp, vec![b, row]));
        self.recurrence(builder, direction, Recurrence { name, gates, state: &state, start: &start })
    }

    /// `[steps + 1, batch, hidden]`, plane 0 set to the initial value (input `source`, or zero).
    fn state(&self, builder: &mut Builder, what: &str, direction: &Direction, source: usize) -> Result<ArrayId> {
        let hidden = Aff::constant(self.hidden);
        let planes = self.steps.clone() + Aff::constant(1);
        let shape = vec![planes, self.batch.clone(), hidden.clone()];
        let state = builder.temp(&self.name(what, direction), self.dtype, shape);
        let own = named_dims(&["b", "j"], &[self.batch.clone(), hidden]);
        let (b, j) = (builder.iter(0), builder.iter(1));
        let initial = match self.node.input(source) {
            Some(_) if self.batch_first => self.read(builder, source, &[b.clone(), direction.plane(), j.clone()])?,
            Some(_) => self.read(builder, source, &[direction.plane(), b.clone(), j.clone()])?,
            None => Expr::float(0.0, self.dtype),
        };
        let id = builder.assign(&own, state, vec![Expr::int(0), b, j], initial);
        builder.emit_perfect(id, 2);
        Ok(state)
    }

    /// Writes plane `t + 1` of a state: `value`, or the old plane where the sequence has ended.
    fn store_state(&self, builder: &mut Builder, state: ArrayId, value: Expr, depth: usize) -> Result<()> {
        let own = named_dims(&["b", "j"], &[self.batch.clone(), Aff::constant(self.hidden)]);
        let (b, j) = (builder.iter(0), builder.iter(1));
        let value = match self.length(builder, &b)? {
            Some(length) => {
                let old = builder.load(state, vec![Expr::iter(depth), b.clone(), j.clone()]);
                Expr::select(Expr::binary(BinaryOp::Lt, Expr::iter(depth), length), value, old)
            }
            None => value,
        };
        let next = Expr::Index(Aff::iter(depth) + Aff::constant(1));
        let id = builder.assign(&own, state, vec![next, b, j], value);
        builder.emit_perfect(id, 2);
        Ok(())
    }

    /// Gate `g` of a `[batch, gates * hidden]` array at the current `(b, j)`, clipped.
    fn gate(&self, builder: &Builder, array: ArrayId, g: usize) -> Expr {
        let n = Expr::Index(builder.aff(1) + Aff::constant(g as i64 * self.hidden));
        let value = builder.load(array, vec![builder.iter(0), n]);
        self.clipped(value)
    }

    fn clipped(&self, value: Expr) -> Expr {
        let Some(limit) = self.clip else { return value };
        let limit = |sign: f64| Expr::float(sign * f64::from(limit), self.dtype);
        Expr::binary(BinaryOp::Max, limit(-1.0), Expr::binary(BinaryOp::Min, limit(1.0), value))
    }

    fn activate(&self, direction: &Direction, n: usize, x: Expr) -> Result<Expr> {
        direction.activations[n].apply(x, self.dtype).ok_or_else(|| {
            let message = format!("node \"{}\": activation {}", self.node.name, direction.activations[n].name);
            Error::unsupported("E320", format!("{message} is not supported")).at(&self.node.origin())
        })
    }

    // ----- LSTM and GRU cells ----------------------------------------------------------------------------

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
        let i = self.peephole(builder, direction, rec, 0, 0, &old)?;
        let f = self.peephole(builder, direction, rec, 2, 2, &old)?;
        let (i, f) = (self.activate(direction, 0, i)?, self.activate(direction, 0, f)?);
        let candidate = self.activate(direction, 1, self.gate(builder, rec, 3))?;
        self.store_state(builder, c, add(mul(f, old), mul(i, candidate)), depth)?;
        let new = builder.load(c, at(Expr::Index(Aff::iter(depth) + Aff::constant(1)), builder));
        let o = self.peephole(builder, direction, rec, 1, 1, &new)?;
        let o = self.activate(direction, 0, o)?;
        let out = mul(o, self.activate(direction, 2, new)?);
        self.store_state(builder, h, out, depth)
    }

    /// Gate `g` plus peephole weight `p` times a cell state.
    fn peephole(
        &self,
        builder: &mut Builder,
        direction: &Direction,
        rec: ArrayId,
        g: usize,
        p: usize,
        c: &Expr,
    ) -> Result<Expr> {
        let n = Expr::Index(builder.aff(1) + Aff::constant(g as i64 * self.hidden));
        let value = builder.load(rec, vec![builder.iter(0), n]);
        if self.node.input(7).is_none() {
            return Ok(self.clipped(value));
        }
        let n = Expr::Index(builder.aff(1) + Aff::constant(p as i64 * self.hidden));
        let weight = self.read(builder, 7, &[direction.plane(), n])?;
        Ok(self.clipped(add(value, mul(weight, c.clone()))))
    }

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
        let share = |builder: &Builder, array: ArrayId, g: i64| {
            let n = Expr::Index(builder.aff(1) + Aff::constant(g * self.hidden));
            builder.load(array, vec![builder.iter(0), n])
        };
        let sum = |builder: &Builder, g| self.clipped(add(share(builder, xp, g), share(builder, rec, g)));
        let z = self.activate(d, 0, sum(builder, 0))?;
        let r = self.activate(d, 0, sum(builder, 1))?;
        let inner = add(share(builder, xp, 2), mul(r, share(builder, rec, 2)));
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

    // ----- inputs and results ----------------------------------------------------------------------------

    fn read(&self, builder: &mut Builder, input: usize, index: &[Expr]) -> Result<Expr> {
        let tensor = self.node.input(input).ok_or_else(|| unsupported(builder, self.node))?;
        builder.read(tensor, index)
    }

    fn read_input(&self, builder: &mut Builder, t: Expr, b: Expr, i: Expr) -> Result<Expr> {
        let index = if self.batch_first { [b, t, i] } else { [t, b, i] };
        self.read(builder, 0, &index)
    }

    /// `sequence_lens[b]` as `i64`, when given.
    fn length(&self, builder: &mut Builder, b: &Expr) -> Result<Option<Expr>> {
        if self.node.input(4).is_none() {
            return Ok(None);
        }
        Ok(Some(Expr::cast(DType::I64, self.read(builder, 4, std::slice::from_ref(b))?)))
    }

    /// The position in the sequence that step `t` works on (its own inverse): `t` forwards; backwards
    /// `length - 1 - t`, and `t` itself past the end, where the result is not used.
    fn time_of_step(&self, builder: &mut Builder, direction: &Direction, b: &Expr, t: Expr) -> Result<Expr> {
        if !direction.backwards {
            return Ok(t);
        }
        let last = match self.length(builder, b)? {
            None => return Ok(Expr::binary(BinaryOp::Sub, Expr::Index(self.steps.clone() - Aff::constant(1)), t)),
            Some(length) => Expr::binary(BinaryOp::Sub, length, Expr::int(1)),
        };
        let mirrored = Expr::binary(BinaryOp::Sub, last, t.clone());
        let inside = Expr::binary(BinaryOp::Ge, mirrored.clone(), Expr::int(0));
        Ok(Expr::select(inside, mirrored, t))
    }

    /// Y from the states of all steps, then the last states.
    fn bind_results(&self, builder: &mut Builder, ends: &[Vec<ArrayId>]) -> Result<()> {
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

impl Direction {
    fn plane(&self) -> Expr {
        Expr::int(self.number as i64)
    }
}

/// The directions of the node with their activations; ONNX lists activations direction after direction.
fn directions(node: &Node, defaults: &[&str]) -> Result<Vec<Direction>> {
    let backwards: &[bool] = match node.string("direction").unwrap_or("forward") {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => {
            let message = format!("node \"{}\": direction \"{other}\"", node.name);
            return Err(Error::invalid("E321", message)
                .at(&node.origin())
                .help("use forward, reverse or bidirectional"));
        }
    };
    let names = node.strings("activations").map(<[String]>::to_vec);
    let names =
        names.unwrap_or_else(|| backwards.iter().flat_map(|_| defaults.iter().map(|s| s.to_string())).collect());
    let mut alpha = node.floats("activation_alpha").unwrap_or(&[]).iter().copied();
    let mut beta = node.floats("activation_beta").unwrap_or(&[]).iter().copied();
    let mut all = names.into_iter().map(|name| {
        // Only functions that have the parameter take a value from the lists.
        let (takes_alpha, takes_beta) = parameters(&name);
        let alpha = if takes_alpha { alpha.next() } else { None };
        let beta = if takes_beta { beta.next() } else { None };
        Activation { name, alpha, beta }
    });
    let mut out = Vec::new();
    for (number, backwards) in backwards.iter().copied().enumerate() {
        let activations: Vec<Activation> = all.by_ref().take(defaults.len()).collect();
        if activations.len() < defaults.len() {
            let message = format!("node \"{}\": too few activations", node.name);
            return Err(Error::invalid("E322", message).at(&node.origin()));
        }
        out.push(Direction { number, backwards, activations });
    }
    Ok(out)
}
