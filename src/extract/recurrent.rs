//! `LSTM`, `GRU` and `RNN` as a time loop around the gates.
//!
//! For each direction, inside the time loop: the input projection `xp[b, n] = W x_t + bias`, the recurrence
//! `rec[b, n] = R h_{t-1} + xp[b, n]` and one elementwise statement per state: what `Loop` and `Scan` around the same
//! equations give. The projection does not depend on the state; the pass `distribute` decides whether it is cheaper as
//! one large contraction over all steps. States have a time dimension of `steps + 1` planes, plane 0 being the
//! initial value, so the sequence of outputs is a view of the state.
//! The equations and the order of the gates are those of the ONNX operator specifications LSTM-14, GRU-14 and RNN-14.
//! Here is what the three share, and `RNN`, which has nothing else.

mod direction;
mod gru;
mod lstm;
mod results;

pub use gru::extract_gru;
pub use lstm::extract_lstm;

use super::builder::named_dims;
use super::terms::{add, mul};
use super::{Builder, leaf, unsupported};
use crate::graph::Node;
use direction::{Direction, directions};
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
        self.clipped(self.share(builder, array, g))
    }

    /// What an array has of gate `g`, before it is clipped.
    fn share(&self, builder: &Builder, array: ArrayId, g: usize) -> Expr {
        builder.load(array, vec![builder.iter(0), self.row(builder, g)])
    }

    /// The subscript of gate `g` at the current `j`, where all gates are one dimension.
    fn row(&self, builder: &Builder, g: usize) -> Expr {
        Expr::Index(builder.aff(1) + Aff::constant(g as i64 * self.hidden))
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
}
