//! `RNN`, `GRU` and `LSTM` with every attribute: directions, lengths, peepholes, activations, clipping, layout.

use super::Call;
use super::index::transpose;
use super::matmul::dot;
use super::unary::{Function, activation};
use crate::run::value::Value;
use sirius_polyhedral::Result;

/// One direction's parameters, all as rows over gates * hidden.
struct Direction {
    reverse: bool,
    hidden: usize,
    /// `[gates * hidden, input]` and `[gates * hidden, hidden]`.
    w: Vec<f64>,
    r: Vec<f64>,
    /// Input biases and recurrent biases, each `gates * hidden`.
    wb: Vec<f64>,
    rb: Vec<f64>,
    /// `3 * hidden`: peepholes of the input, output and forget gates.
    peepholes: Option<Vec<f64>>,
    functions: Vec<Function>,
    clip: f64,
    linear_before_reset: bool,
    coupled: bool,
}

impl Direction {
    fn product(&self, matrix: &[f64], row: usize, v: &[f64]) -> f64 {
        dot(&matrix[row * v.len()..(row + 1) * v.len()], v)
    }

    /// `W x + Wb` of gate `g`, unit `j`.
    fn input_part(&self, g: usize, j: usize, x: &[f64]) -> f64 {
        self.product(&self.w, g * self.hidden + j, x) + self.wb[g * self.hidden + j]
    }

    /// `R h + Rb`.
    fn state_part(&self, g: usize, j: usize, h: &[f64]) -> f64 {
        self.product(&self.r, g * self.hidden + j, h) + self.rb[g * self.hidden + j]
    }

    fn apply(&self, function: usize, v: f64) -> f64 {
        let clipped = if v > self.clip {
            self.clip
        } else if v < -self.clip {
            -self.clip
        } else {
            v
        };
        self.functions[function](clipped)
    }

    /// `activation(W x + R h + biases + extra)` of gate `g` for all units.
    fn gate(&self, g: usize, function: usize, x: &[f64], h: &[f64], extra: impl Fn(usize) -> f64) -> Vec<f64> {
        let unit = |j| self.apply(function, self.input_part(g, j, x) + self.state_part(g, j, h) + extra(j));
        (0..self.hidden).map(unit).collect()
    }

    fn rnn(&self, x: &[f64], h: &[f64]) -> Vec<f64> {
        self.gate(0, 0, x, h, |_| 0.0)
    }

    /// Gates in the order z, r, h.
    fn gru(&self, x: &[f64], h: &[f64]) -> Vec<f64> {
        let z = self.gate(0, 0, x, h, |_| 0.0);
        let r = self.gate(1, 0, x, h, |_| 0.0);
        let candidate: Vec<f64> = if self.linear_before_reset {
            let unit = |j: usize| self.apply(1, self.input_part(2, j, x) + r[j] * self.state_part(2, j, h));
            (0..self.hidden).map(unit).collect()
        } else {
            let reset: Vec<f64> = r.iter().zip(h).map(|(r, h)| r * h).collect();
            self.gate(2, 1, x, &reset, |_| 0.0)
        };
        (0..self.hidden).map(|j| (1.0 - z[j]) * candidate[j] + z[j] * h[j]).collect()
    }

    /// Gates in the order i, o, f, c; returns the new state and cell.
    fn lstm(&self, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let n = self.hidden;
        let peek = |which: usize, j: usize, c: &[f64]| self.peepholes.as_ref().map_or(0.0, |p| p[which * n + j] * c[j]);
        let i = self.gate(0, 0, x, h, |j| peek(0, j, c));
        let f = match self.coupled {
            true => i.iter().map(|i| 1.0 - i).collect(),
            false => self.gate(2, 0, x, h, |j| peek(2, j, c)),
        };
        let candidate = self.gate(3, 1, x, h, |_| 0.0);
        let cell: Vec<f64> = (0..n).map(|j| f[j] * c[j] + i[j] * candidate[j]).collect();
        let o = self.gate(1, 0, x, h, |j| peek(1, j, &cell));
        let state = (0..n).map(|j| o[j] * self.functions[2](cell[j])).collect();
        (state, cell)
    }
}

/// Extents of a recurrent node after `layout` was undone.
struct Extents {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
}

fn gates(op: &str) -> usize {
    match op {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    }
}

pub fn eval(call: &Call) -> Result<Vec<Value>> {
    let batch_first = call.flag("layout", false);
    let x = call.ranked(0, 3)?;
    call.require(x.rank() == 3, || format!("a sequence of shape {:?}", x.shape))?;
    let x = if batch_first { transpose(x, &[1, 0, 2])? } else { x.clone() };
    let directions = if call.string("direction", "forward") == "bidirectional" { 2 } else { 1 };
    let (w, r) = (call.input(1)?, call.input(2)?);
    let hidden = r.shape.last().copied().unwrap_or(0);
    let e = Extents { steps: x.shape[0], batch: x.shape[1], input: x.shape[2], hidden, directions };
    let rows = gates(call.op()) * hidden;
    let fits = w.shape == [directions, rows, e.input] && r.shape == [directions, rows, hidden] && hidden > 0;
    call.require(fits, || format!("weights {:?} and {:?} for input {:?}", w.shape, r.shape, x.shape))?;
    let mut run = Run::new(call, &e, x.floats(), batch_first)?;
    for d in 0..directions {
        let direction = direction(call, &e, d)?;
        (0..e.batch).for_each(|b| run.sequence(&direction, &e, d, b));
    }
    run.results(call, &e, batch_first)
}

/// Buffers of one evaluation.
struct Run {
    lstm: bool,
    gru: bool,
    x: Vec<f64>,
    lengths: Vec<usize>,
    /// `[directions, batch, hidden]`.
    h: Vec<f64>,
    c: Vec<f64>,
    /// `[steps, directions, batch, hidden]`; zeros after the end of a sequence.
    y: Vec<f64>,
}

impl Run {
    fn new(call: &Call, e: &Extents, x: Vec<f64>, batch_first: bool) -> Result<Run> {
        let lengths = match call.optional(4) {
            Some(l) => call.extents(&l.i64s())?,
            None => vec![e.steps; e.batch],
        };
        let valid = lengths.len() == e.batch && lengths.iter().all(|l| *l <= e.steps);
        call.require(valid, || format!("sequence lengths {lengths:?}"))?;
        let state = |n: usize| initial(call, n, e, batch_first);
        let y = vec![0.0; e.steps * e.directions * e.batch * e.hidden];
        Ok(Run { lstm: call.op() == "LSTM", gru: call.op() == "GRU", x, lengths, h: state(5)?, c: state(6)?, y })
    }

    /// Runs entry `b` of the batch through direction number `d`.
    fn sequence(&mut self, direction: &Direction, e: &Extents, d: usize, b: usize) {
        let n = e.hidden;
        let at = (d * e.batch + b) * n;
        let (mut h, mut c) = (self.h[at..at + n].to_vec(), self.c[at..at + n].to_vec());
        let length = self.lengths[b];
        for step in 0..length {
            let t = if direction.reverse { length - 1 - step } else { step };
            let x = &self.x[(t * e.batch + b) * e.input..][..e.input];
            if self.lstm {
                (h, c) = direction.lstm(x, &h, &c);
            } else {
                h = if self.gru { direction.gru(x, &h) } else { direction.rnn(x, &h) };
            }
            self.y[((t * e.directions + d) * e.batch + b) * n..][..n].copy_from_slice(&h);
        }
        self.h[at..at + n].copy_from_slice(&h);
        self.c[at..at + n].copy_from_slice(&c);
    }

    fn results(self, call: &Call, e: &Extents, batch_first: bool) -> Result<Vec<Value>> {
        let dtype = call.input(0)?.dtype;
        let y = Value::from_floats(dtype, &[e.steps, e.directions, e.batch, e.hidden], &self.y)?;
        let state = |v: &[f64]| Value::from_floats(dtype, &[e.directions, e.batch, e.hidden], v);
        let mut results = vec![y, state(&self.h)?];
        if self.lstm {
            results.push(state(&self.c)?);
        }
        if batch_first {
            results[0] = transpose(&results[0], &[2, 0, 1, 3])?;
            for state in &mut results[1..] {
                *state = transpose(state, &[1, 0, 2])?;
            }
        }
        Ok(results)
    }
}

/// An initial state as `[directions, batch, hidden]`; zeros when it is not given.
fn initial(call: &Call, n: usize, e: &Extents, batch_first: bool) -> Result<Vec<f64>> {
    let Some(v) = call.optional(n) else { return Ok(vec![0.0; e.directions * e.batch * e.hidden]) };
    call.require(v.rank() == 3, || format!("initial state {:?}", v.shape))?;
    let v = if batch_first { transpose(v, &[1, 0, 2])? } else { v.clone() };
    call.require(v.shape == [e.directions, e.batch, e.hidden], || format!("initial state {:?}", v.shape))?;
    Ok(v.floats())
}

fn direction(call: &Call, e: &Extents, d: usize) -> Result<Direction> {
    let rows = gates(call.op()) * e.hidden;
    // Row `d` of an optional `[directions, len]` input.
    let row = |n: usize, len: usize| -> Result<Option<Vec<f64>>> {
        let Some(v) = call.optional(n) else { return Ok(None) };
        call.require(v.len() == e.directions * len, || format!("input {n} of shape {:?}", v.shape))?;
        Ok(Some(v.floats()[d * len..(d + 1) * len].to_vec()))
    };
    let biases = row(3, 2 * rows)?.unwrap_or_else(|| vec![0.0; 2 * rows]);
    let take = |n: usize, len: usize| row(n, len).map(Option::unwrap_or_default);
    Ok(Direction {
        reverse: d == 1 || call.string("direction", "forward") == "reverse",
        hidden: e.hidden,
        w: take(1, rows * e.input)?,
        r: take(2, rows * e.hidden)?,
        wb: biases[..rows].to_vec(),
        rb: biases[rows..].to_vec(),
        peepholes: if call.op() == "LSTM" { row(7, 3 * e.hidden)? } else { None },
        functions: functions(call, d)?,
        clip: call.node.float("clip").map_or(f64::INFINITY, f64::from),
        linear_before_reset: call.flag("linear_before_reset", false),
        coupled: call.flag("input_forget", false),
    })
}

/// The activations of direction `d`, each with its parameters: these lists only have entries for the functions
/// that take one.
fn functions(call: &Call, d: usize) -> Result<Vec<Function>> {
    let defaults: &[&str] = match call.op() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Tanh"],
    };
    let count = defaults.len();
    let names: Vec<&str> = match call.node.strings("activations") {
        Some(names) if !names.is_empty() => names.iter().map(String::as_str).collect(),
        _ => defaults.iter().copied().cycle().take(2 * count).collect(),
    };
    call.require(names.len() >= (d + 1) * count, || format!("activations {names:?}"))?;
    let mut alphas = call.node.floats("activation_alpha").unwrap_or_default().iter();
    let mut betas = call.node.floats("activation_beta").unwrap_or_default().iter();
    let mut all = Vec::new();
    for name in names {
        let name = canonical(name);
        let takes_alpha =
            matches!(name, "LeakyRelu" | "ThresholdedRelu" | "Elu" | "HardSigmoid" | "ScaledTanh" | "Affine");
        let takes_beta = matches!(name, "HardSigmoid" | "ScaledTanh" | "Affine");
        let alpha = takes_alpha.then(|| alphas.next()).flatten().map(|v| *v as f64);
        let beta = takes_beta.then(|| betas.next()).flatten().map(|v| *v as f64);
        all.push(activation(name, alpha, beta).ok_or_else(|| call.unsupported(format!("activation {name}")))?);
    }
    Ok(all.into_iter().skip(d * count).take(count).collect())
}

/// Activation names are matched without regard to case.
fn canonical(name: &str) -> &str {
    const NAMES: [&str; 11] = [
        "Relu",
        "Tanh",
        "Sigmoid",
        "Affine",
        "LeakyRelu",
        "ThresholdedRelu",
        "ScaledTanh",
        "HardSigmoid",
        "Elu",
        "Softsign",
        "Softplus",
    ];
    NAMES.into_iter().find(|n| n.eq_ignore_ascii_case(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::super::evaluate;
    use super::super::testing::*;
    use crate::graph::Attribute;
    use crate::run::value::Value;

    fn sigmoid(v: f64) -> f64 {
        1.0 / (1.0 + (-v).exp())
    }

    #[test]
    fn an_rnn_runs_in_both_directions() {
        let x = f32s(&[2, 1, 1], &[1.0, 2.0]);
        let (w, r) = (f32s(&[2, 1, 1], &[0.5, 0.5]), f32s(&[2, 1, 1], &[1.0, 1.0]));
        let both = [("direction", Attribute::String("bidirectional".into()))];
        let y = eval("RNN", 14, &both, &[&x, &w, &r]);
        let (first, last) = (0.5f64.tanh(), 1f64.tanh());
        assert_close(&y, &[2, 2, 1, 1], &[first, (0.5 + last).tanh(), (1.0 + first).tanh(), last]);
    }

    #[test]
    fn short_sequences_stop_early() {
        let x = f32s(&[2, 2, 1], &[1.0, 1.0, 1.0, 1.0]);
        let (w, r) = (f32s(&[1, 1, 1], &[1.0]), f32s(&[1, 1, 1], &[0.0]));
        let lengths = Value::from_ints(sirius_polyhedral::DType::I32, &[2], &[2, 1]).unwrap();
        let inputs = [Some(&x), Some(&w), Some(&r), None, Some(&lengths)];
        let relu = [("activations", Attribute::Strings(vec!["relu".into()]))];
        let results = evaluate(&node("RNN", 14, &relu), &inputs, &[]).unwrap();
        assert_close(&results[0], &[2, 1, 2, 1], &[1.0, 1.0, 1.0, 0.0]);
        assert_close(&results[1], &[1, 2, 1], &[1.0, 1.0]);
    }

    #[test]
    fn a_gru_resets_before_or_after_its_matrix() {
        let x = f32s(&[1, 1, 1], &[1.0]);
        let (w, r) = (f32s(&[1, 3, 1], &[0.1, 0.2, 0.3]), f32s(&[1, 3, 1], &[0.4, 0.5, 0.6]));
        let b = f32s(&[1, 6], &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let h = f32s(&[1, 1, 1], &[2.0]);
        let inputs = [Some(&x), Some(&w), Some(&r), Some(&b), None, Some(&h)];
        let (z, reset) = (sigmoid(0.9), sigmoid(1.2));
        for (after, candidate) in [(0, (0.3 + 0.6 * reset * 2.0 + 1.0f64).tanh()), (1, (0.3 + reset * 2.2f64).tanh())] {
            let attributes = [("linear_before_reset", Attribute::Int(after))];
            let results = evaluate(&node("GRU", 14, &attributes), &inputs, &[]).unwrap();
            assert_close(&results[1], &[1, 1, 1], &[(1.0 - z) * candidate + z * 2.0]);
        }
    }

    #[test]
    fn an_lstm_peeks_at_its_cell() {
        let x = f32s(&[1, 1, 1], &[1.0]);
        let (w, r) = (f32s(&[1, 4, 1], &[0.1, 0.2, 0.3, 0.4]), f32s(&[1, 4, 1], &[0.0; 4]));
        let c = f32s(&[1, 1, 1], &[2.0]);
        let p = f32s(&[1, 3], &[1.0, 2.0, 3.0]);
        let inputs = [Some(&x), Some(&w), Some(&r), None, None, None, Some(&c), Some(&p)];
        let results = evaluate(&node("LSTM", 14, &[]), &inputs, &[]).unwrap();
        let cell = sigmoid(0.3 + 6.0) * 2.0 + sigmoid(0.1 + 2.0) * 0.4f64.tanh();
        assert_close(&results[2], &[1, 1, 1], &[cell]);
        assert_close(&results[1], &[1, 1, 1], &[sigmoid(0.2 + 2.0 * cell) * cell.tanh()]);
    }

    #[test]
    fn wrong_weights_are_refused() {
        let x = f32s(&[1, 1, 1], &[1.0]);
        assert!(try_eval("LSTM", 14, &[], &[&x, &f32s(&[1, 3, 1], &[0.0; 3]), &f32s(&[1, 4, 1], &[0.0; 4])]).is_err());
    }
}
