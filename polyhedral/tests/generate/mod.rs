//! Random programs as text: chains of maps, sums, products, recurrences and guarded steps over `n` by `m` arrays.

use proptest::prelude::*;
use std::fmt::Write;

/// One array-to-array step; all arrays are `n` by `m`.
#[derive(Clone, Debug)]
enum Step {
    /// One value per element, of an earlier array read through a view.
    Map(usize, View, usize),
    /// Two earlier arrays.
    Zip(usize, usize, usize),
    /// A row's sum (or maximum) in every element of the row, by an array of rank 1.
    Row(usize, bool),
    /// A matrix product with a square weight.
    Product(usize),
    /// A recurrence over the rows: `h[t + 1] = h[t] / 2 + x[t]`.
    Scan(usize),
    /// Elements that a run-time flag replaces.
    Guarded(usize),
}

/// How an array is read.
#[derive(Clone, Copy, Debug)]
enum View {
    Plain,
    /// The next row, wrapping around at the end by a select.
    Shifted,
    /// Rows in the opposite order.
    Reversed,
    /// Through a flat index: quotient and rest.
    Flat,
}

fn step() -> impl Strategy<Value = Step> {
    let view = prop::sample::select(vec![View::Plain, View::Shifted, View::Reversed, View::Flat]);
    prop_oneof![
        4 => (0usize..8, view, 0usize..4).prop_map(|(a, v, f)| Step::Map(a, v, f)),
        2 => (0usize..8, 0usize..8, 0usize..3).prop_map(|(a, b, f)| Step::Zip(a, b, f)),
        2 => (0usize..8, any::<bool>()).prop_map(|(a, max)| Step::Row(a, max)),
        2 => (0usize..8).prop_map(Step::Product),
        1 => (0usize..8).prop_map(Step::Scan),
        1 => (0usize..8).prop_map(Step::Guarded),
    ]
}

/// Text under construction.
struct Builder {
    n: i64,
    m: i64,
    symbolic: bool,
    arrays: String,
    statements: String,
    schedule: String,
    count: usize,
    /// Names of arrays that later steps may read.
    readable: Vec<String>,
}

impl Builder {
    fn new(n: i64, m: i64, symbolic: bool) -> Builder {
        let text = String::new;
        let (arrays, statements, schedule) = (text(), text(), text());
        Builder { n, m, symbolic, arrays, statements, schedule, count: 0, readable: vec!["x".into()] }
    }

    fn rows(&self) -> String {
        if self.symbolic { "n".into() } else { self.n.to_string() }
    }

    fn read(&self, which: usize) -> String {
        self.readable[which % self.readable.len()].clone()
    }

    fn array(&mut self, name: &str, extents: &str) {
        writeln!(self.arrays, "array {name}: f32[{extents}] temp").unwrap();
    }

    fn statement(&mut self, dims: &str, text: &str) -> usize {
        writeln!(self.statements, "S{} [{dims}] from Step \"s{}\": {text}", self.count, self.count).unwrap();
        self.count += 1;
        self.count - 1
    }

    /// The statement in loops over its dimensions.
    fn own_loops(&mut self, id: usize, dims: &[&str]) {
        let open: String = dims.iter().map(|d| format!("for [S{id}: {d}] {{ ")).collect();
        writeln!(self.schedule, "{open}S{id}{}", " }".repeat(dims.len())).unwrap();
    }

    fn step(&mut self, number: usize, step: &Step) {
        let (h, n, m) = (format!("h{number}"), self.rows(), self.m);
        let domain = format!("i: {n}, j: {m}");
        match step {
            Step::Map(a, view, f) => {
                let read = self.viewed(*a, *view);
                let value = [
                    format!("exp({read} * 0.25f32)"),
                    format!("{read} * 0.5f32 + 1.0f32"),
                    format!("max({read}, 0.0f32)"),
                    format!("select({read} < 0.0f32, 0.5f32, {read} / 2.0f32)"),
                ];
                self.array(&h, &format!("{n}, {m}"));
                let id = self.statement(&domain, &format!("{h}[i, j] = {}", value[*f]));
                self.own_loops(id, &["i", "j"]);
            }
            Step::Zip(a, b, f) => {
                let (a, b) = (self.read(*a), self.read(*b));
                let symbol = ["+", "-", "*"][*f];
                self.array(&h, &format!("{n}, {m}"));
                let id = self.statement(&domain, &format!("{h}[i, j] = {a}[i, j] {symbol} 0.5f32 * {b}[i, j]"));
                self.own_loops(id, &["i", "j"]);
            }
            Step::Row(a, max) => self.row(&h, *a, *max),
            Step::Product(a) => {
                let a = self.read(*a);
                self.array(&h, &format!("{n}, {m}"));
                let init = self.statement(&domain, &format!("{h}[i, j] = 0.0f32"));
                let sum = self
                    .statement(&format!("{domain}, k: {m}"), &format!("{h}[i, j] += {a}[i, k] * w[k, j] * 0.25f32"));
                writeln!(self.schedule, "for [S{init}: i, S{sum}: i] {{ for [S{init}: j, S{sum}: j] {{ S{init} for [S{sum}: k] {{ S{sum} }} }} }}").unwrap();
            }
            Step::Scan(a) => self.scan(&h, *a),
            Step::Guarded(a) => {
                let a = self.read(*a);
                self.array(&h, &format!("{n}, {m}"));
                let first = self.statement(&domain, &format!("{h}[i, j] = {a}[i, j]"));
                let second = self.statement(&domain, &format!("{h}[i, j] := 0.5f32 - {a}[i, j] if flag[]"));
                self.own_loops(first, &["i", "j"]);
                self.own_loops(second, &["i", "j"]);
            }
        }
        self.readable.push(h);
    }

    fn viewed(&self, which: usize, view: View) -> String {
        let (a, n, m) = (self.read(which), self.rows(), self.m);
        match view {
            View::Plain => format!("{a}[i, j]"),
            View::Shifted => format!("select({n} - i > 1, {a}[i + 1, j], {a}[0, j])"),
            View::Reversed => format!("{a}[{n} - i - 1, {m} - j - 1]"),
            // A row of twice the width, taken apart again.
            View::Flat => format!("{a}[i + floor((j)/{m}), j - {m}*floor((j)/{m})]"),
        }
    }

    fn row(&mut self, h: &str, a: usize, max: bool) {
        let (a, n, m) = (self.read(a), self.rows(), self.m);
        let (start, operator) = if max { ("-100.0f32", "max=") } else { ("0.0f32", "+=") };
        self.array(&format!("r_{h}"), &n);
        self.array(h, &format!("{n}, {m}"));
        let init = self.statement(&format!("i: {n}"), &format!("r_{h}[i] = {start}"));
        let reduce = self.statement(&format!("i: {n}, k: {m}"), &format!("r_{h}[i] {operator} {a}[i, k]"));
        writeln!(self.schedule, "for [S{init}: i, S{reduce}: i] {{ S{init} for [S{reduce}: k] {{ S{reduce} }} }}")
            .unwrap();
        let spread =
            self.statement(&format!("i: {n}, j: {m}"), &format!("{h}[i, j] = {a}[i, j] - 0.125f32 * r_{h}[i]"));
        self.own_loops(spread, &["i", "j"]);
    }

    fn scan(&mut self, h: &str, a: usize) {
        let (a, n, m) = (self.read(a), self.rows(), self.m);
        self.array(&format!("t_{h}"), &format!("{n} + 1, {m}"));
        self.array(h, &format!("{n}, {m}"));
        let init = self.statement(&format!("j: {m}"), &format!("t_{h}[0, j] = 0.0f32"));
        self.own_loops(init, &["j"]);
        let domain = format!("i: {n}, j: {m}");
        let next = self.statement(&domain, &format!("t_{h}[i + 1, j] = t_{h}[i, j] * 0.5f32 + {a}[i, j]"));
        self.own_loops(next, &["i", "j"]);
        let out = self.statement(&domain, &format!("{h}[i, j] = t_{h}[i + 1, j]"));
        self.own_loops(out, &["i", "j"]);
    }

    fn finish(mut self) -> String {
        let (last, n, m) = (self.read(self.readable.len() - 1), self.rows(), self.m);
        let id = self.statement(&format!("j: {m}, i: {n}"), &format!("y[j, i] = {last}[i, j]"));
        self.own_loops(id, &["j", "i"]);
        let param =
            if self.symbolic { format!("param n = input(0, 0) in 1.. hint {}\n", self.n) } else { String::new() };
        format!(
            "program random\n{param}array x: f32[{n}, {m}] input 0\narray w: f32[{m}, {m}] input 1\narray flag: bool[] input 2\n\
             {}array y: f32[{m}, {n}] output 0\ninputs x, w, flag\noutputs y\n{}schedule {{\n{}}}\n",
            self.arrays, self.statements, self.schedule
        )
    }
}

/// Programs with up to `rows` rows and one of the `widths`, of symbolic size where that is wanted.
pub fn text(rows: i64, widths: Vec<i64>, symbolic: impl Strategy<Value = bool>) -> impl Strategy<Value = String> {
    let sizes = (1..=rows, prop::sample::select(widths), symbolic);
    (sizes, prop::collection::vec(step(), 1..6)).prop_map(|((n, m, symbolic), steps)| {
        let mut builder = Builder::new(n, m, symbolic);
        steps.iter().enumerate().for_each(|(number, s)| builder.step(number, s));
        builder.finish()
    })
}
