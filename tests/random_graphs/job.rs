//! One model: made from its choices, compiled at `-O3`, run, and compared with the reference interpreter.

use crate::choices::{Choices, Random};
use crate::model::Model;
use crate::way::{self, Way};
use crate::{data, maker::Maker, operators};
use serde_json::{Value as Json, json};
use sirius::graph::{Graph, interp, text};
use sirius::import::{self, ImportOptions, proto::NodeProto};
use sirius::run::{Loaded, Value};
use sirius_polyhedral::Error;
use std::path::Path;

/// A model, in as few words as it takes to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub source: Source,
    /// Only these results; all where it is empty.
    pub keep: Vec<String>,
    /// These tensors become inputs.
    pub cut: Vec<String>,
    /// The teams that code is made for: all must give the bits of the first.
    pub teams: Vec<usize>,
    /// Compile `Add` where the model says `Sub`: the error that the test of this test looks for.
    pub sabotage: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Seed(u64),
    Choices(Vec<u32>),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Agrees,
    /// The compiler's reason.
    Refused(String),
    /// A wrong result, an error that is no refusal, a crash or a hang.
    Wrong(String),
}

/// What shrinking and reports need to know about a model.
pub struct Outline {
    pub choices: Vec<u32>,
    /// Where in `choices` the decisions of each node are.
    pub spans: Vec<(usize, usize)>,
    /// What the nodes of the main graph write, in order.
    pub tensors: Vec<String>,
    /// Of all nodes, those of bodies included.
    pub operators: Vec<String>,
    /// Is there control flow inside control flow?
    pub is_nested: bool,
    /// Does an input have a named dimension?
    pub is_symbolic: bool,
}

impl Request {
    pub fn seed(seed: u64) -> Request {
        Request { source: Source::Seed(seed), keep: vec![], cut: vec![], teams: way::teams(seed), sabotage: false }
    }

    pub fn to_line(&self) -> String {
        let (seed, choices) = match &self.source {
            Source::Seed(seed) => (Some(seed), None),
            Source::Choices(list) => (None, Some(list)),
        };
        json!({
            "seed": seed, "choices": choices, "keep": self.keep, "cut": self.cut, "teams": self.teams,
            "sabotage": self.sabotage,
        })
        .to_string()
    }

    fn from_line(line: &str) -> Option<Request> {
        let parsed: Json = serde_json::from_str(line).ok()?;
        let strings = |key: &str| serde_json::from_value(parsed[key].clone()).ok();
        let source = match parsed["seed"].as_u64() {
            Some(seed) => Source::Seed(seed),
            None => Source::Choices(serde_json::from_value(parsed["choices"].clone()).ok()?),
        };
        let teams = serde_json::from_value(parsed["teams"].clone()).ok()?;
        let sabotage = parsed["sabotage"].as_bool()?;
        Some(Request { source, keep: strings("keep")?, cut: strings("cut")?, teams, sabotage })
    }

    fn make(&self) -> (Model, Choices) {
        let choices = match &self.source {
            Source::Seed(seed) => Choices::random(*seed),
            Source::Choices(list) => Choices::replay(list.clone()),
        };
        let mut maker = Maker::new(choices);
        operators::grow(&mut maker);
        let (model, choices) = maker.finish();
        (model.part(&self.keep, &self.cut), choices)
    }

    pub fn outline(&self) -> Outline {
        let (model, choices) = self.make();
        let mut operators = Vec::new();
        collect(&model.graph.node, &mut operators);
        let tensors = model.graph.node.iter().flat_map(|n| n.output.iter().cloned()).collect();
        let is_nested = depth(&model.graph.node) >= 2;
        let is_symbolic = model.inputs.iter().flat_map(|t| &t.dims).any(|d| d.fixed().is_none());
        Outline { choices: choices.drawn, spans: choices.spans, tensors, operators, is_nested, is_symbolic }
    }

    /// The model in the text form of graphs, and the inputs of its runs.
    pub fn explain(&self) -> String {
        let (model, _) = self.make();
        let imported = import::load_bytes(model.to_bytes().into(), Path::new("."), &ImportOptions::default());
        let shown = imported.map_or_else(|_| model.sketch(), |graph| text::print(&graph));
        let runs = (0..RUNS).map(|run| format!("run {run}\n{}", described(&model, &inputs(&model, run))));
        shown + &runs.collect::<String>()
    }

    /// The model as a file.
    pub fn file(&self) -> Vec<u8> {
        self.make().0.to_bytes()
    }
}

fn collect(nodes: &[NodeProto], operators: &mut Vec<String>) {
    for node in nodes {
        operators.push(node.op_type.clone());
        node.attribute.iter().filter_map(|a| a.g.as_deref()).for_each(|body| collect(&body.node, operators));
    }
}

/// Bodies inside one another.
fn depth(nodes: &[NodeProto]) -> usize {
    let bodies = nodes.iter().flat_map(|n| &n.attribute).filter_map(|a| a.g.as_deref());
    bodies.map(|body| 1 + depth(&body.node)).max().unwrap_or(0)
}

impl Verdict {
    fn to_line(&self) -> String {
        let (kind, why) = match self {
            Verdict::Agrees => ("agrees", ""),
            Verdict::Refused(why) => ("refused", why.as_str()),
            Verdict::Wrong(why) => ("wrong", why.as_str()),
        };
        json!({"kind": kind, "why": why}).to_string()
    }

    /// Of a worker's answer; none at all is a failure, too.
    pub fn from_answer(answer: Result<String, String>) -> Verdict {
        let line = match answer {
            Ok(line) => line,
            Err(how) => return Verdict::Wrong(how),
        };
        let parsed: Json = serde_json::from_str(&line).unwrap_or_default();
        let why = parsed["why"].as_str().unwrap_or(&line).to_string();
        match parsed["kind"].as_str() {
            Some("agrees") => Verdict::Agrees,
            Some("refused") => Verdict::Refused(why),
            _ => Verdict::Wrong(why),
        }
    }
}

/// For the worker process: a request's line to its verdict's.
pub fn answer(line: &str) -> String {
    let request = Request::from_line(line).expect("a request of this test");
    judge(&request).to_line()
}

pub fn panicked(message: &str) -> String {
    Verdict::Wrong(format!("panicked: {}", one_line(message))).to_line()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs of one artifact: named dimensions take new values in each.
const RUNS: u64 = 2;

fn inputs(model: &Model, run: u64) -> Vec<Value> {
    data::inputs(&mut Random::new(run), &model.inputs)
}

fn judge(request: &Request) -> Verdict {
    let (model, _) = request.make();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bytes = model.to_bytes();
    let graph = match import::load_bytes(bytes.clone().into(), dir.path(), &ImportOptions::default()) {
        Ok(graph) => graph,
        Err(error) => return failure("import", &error),
    };
    let file = if request.sabotage { model.renamed("Sub", "Add").to_bytes() } else { bytes };
    let way = Way::from_environment();
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, file).expect("the temporary folder is writable");
    let mut first: Option<Vec<Vec<Value>>> = None;
    for &threads in &request.teams {
        let loaded = match way.machine_code(&path, threads) {
            Ok(loaded) => loaded,
            Err(error) => return failure("compile", &error),
        };
        let results = match run_all(&loaded, &model) {
            Ok(results) => results,
            Err(why) => return Verdict::Wrong(why),
        };
        let difference = match &first {
            None => differs(&model, &graph, &results),
            Some(first) if way.same_bits() => {
                other_bits(first, &results).map(|d| format!("{d} with {threads} threads"))
            }
            Some(_) => differs(&model, &graph, &results).map(|d| format!("{d} with {threads} threads")),
        };
        if let Some(difference) = difference {
            return Verdict::Wrong(difference);
        }
        first.get_or_insert(results);
    }
    Verdict::Agrees
}

/// The outputs of every run.
fn run_all(loaded: &Loaded, model: &Model) -> Result<Vec<Vec<Value>>, String> {
    let run = |run| loaded.run(&inputs(model, run)).map_err(|e| one_line(&format!("the artifact: {e} (run {run})")));
    (0..RUNS).map(run).collect()
}

/// The first difference from the reference interpreter.
fn differs(model: &Model, graph: &Graph, results: &[Vec<Value>]) -> Option<String> {
    let of = |(run, got): (u64, &Vec<Value>)| {
        Some(format!("{} (run {run})", compare(model, graph, &inputs(model, run), got)?))
    };
    (0..).zip(results).find_map(of)
}

/// The first output whose bits differ.
fn other_bits(wanted: &[Vec<Value>], got: &[Vec<Value>]) -> Option<String> {
    let outputs = |(run, (wanted, got)): (usize, (&Vec<Value>, &Vec<Value>))| {
        let output = wanted.iter().zip(got).position(|(w, g)| w.shape != g.shape || w.bytes[..] != g.bytes[..])?;
        Some(format!("output number {output}: other bits than with the first team (run {run})"))
    };
    wanted.iter().zip(got).enumerate().find_map(outputs)
}

fn failure(stage: &str, error: &Error) -> Verdict {
    let diagnostic = error.diagnostic();
    let line = one_line(&format!("{stage}: {} {}", diagnostic.code, diagnostic.message));
    match error {
        Error::Unsupported(_) if !way::refusals_fail() => Verdict::Refused(line),
        _ => Verdict::Wrong(line),
    }
}

/// The first difference of this run.
fn compare(model: &Model, graph: &Graph, inputs: &[Value], got: &[Value]) -> Option<String> {
    let wanted = match interp::run(graph, inputs) {
        Ok(wanted) => wanted,
        Err(error) => return Some(one_line(&format!("the interpreter: {error}"))),
    };
    let all = got.iter().zip(&wanted).zip(&model.outputs);
    let differs = |((got, wanted), output): ((&Value, &Value), &crate::maker::Tensor)| {
        let what = difference(got, wanted, 2.0 * output.bounds.error)?;
        Some(format!("output {}: {what}", output.name))
    };
    all.into_iter().find_map(differs)
}

/// `allowed` is twice the bound of first order, to be safe from what it leaves out. NaN equals NaN; integers and
/// exact floats must be equal.
fn difference(got: &Value, wanted: &Value, allowed: f64) -> Option<String> {
    if (got.dtype, &got.shape) != (wanted.dtype, &wanted.shape) {
        return Some(format!("got {}{:?}, wanted {}{:?}", got.dtype, got.shape, wanted.dtype, wanted.shape));
    }
    let equal = |n: usize| {
        let (g, w) = (got.get_f64(n), wanted.get_f64(n));
        match wanted.dtype.is_float() {
            true => g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= allowed,
            false => got.get_i64(n) == wanted.get_i64(n),
        }
    };
    let n = (0..wanted.len()).find(|n| !equal(*n))?;
    let show = |v: &Value| if v.dtype.is_float() { format!("{:?}", v.get_f64(n)) } else { v.get_i64(n).to_string() };
    let (place, shape) = (position(&wanted.shape, n), &wanted.shape);
    Some(format!("element {place:?} of {shape:?}: got {}, wanted {}, allowed {allowed:.3e}", show(got), show(wanted)))
}

fn position(shape: &[usize], mut n: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, extent) in index.iter_mut().zip(shape).rev() {
        *slot = n % extent.max(&1);
        n /= extent.max(&1);
    }
    index
}

/// The first elements of the inputs.
fn described(model: &Model, inputs: &[Value]) -> String {
    const SHOWN: usize = 48;
    let line = |(tensor, value): (&crate::maker::Tensor, &Value)| {
        let list: Vec<String> = value.floats().iter().take(SHOWN).map(|v| format!("{v:?}")).collect();
        let more = if value.len() > SHOWN { ", ..." } else { "" };
        format!("input \"{}\" {}{:?} = [{}{more}]\n", tensor.name, value.dtype, value.shape, list.join(", "))
    };
    model.inputs.iter().zip(inputs).map(line).collect()
}
