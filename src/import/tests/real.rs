//! Real models: inferred output shapes against the shapes of recorded results.
//!
//! Set `SIRIUS_MODELS` to folders (separated by `:`) that hold one folder per model, in the layout of the
//! ONNX model zoo: `model.onnx` and `test_data_set_K/{input,output}_J.pb`.

use crate::graph::fold::fold_constants;
use crate::graph::{Graph, TensorId, text, verify};
use crate::import::proto::TensorProto;
use crate::import::{ImportOptions, load};
use prost::Message;
use sirius_polyhedral::{Aff, ParamDef, ParamId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
#[ignore = "needs SIRIUS_MODELS"]
fn output_shapes_of_real_models_match_their_recorded_results() {
    let roots = std::env::var("SIRIUS_MODELS").expect("SIRIUS_MODELS is not set");
    let mut failures = Vec::new();
    let mut checked = 0;
    for model in roots.split(':').flat_map(folders).map(|d| d.join("model.onnx")).filter(|m| m.exists()) {
        let started = std::time::Instant::now();
        match load(&model, &ImportOptions::default()) {
            Err(error) => failures.push(format!("{}: {error}", model.display())),
            Ok(mut graph) => {
                println!("{}: {:?}", model.display(), started.elapsed());
                let nodes = graph.main.nodes.len();
                let folded = fold_constants(&mut graph).unwrap();
                println!("  {nodes} nodes, {} left, {folded:?}", graph.main.nodes.len());
                describe(&graph);
                verify::verify(&graph).unwrap();
                failures.extend(round_trip(&graph).map(|f| format!("{}: {f}", model.display())));
                for data in folders(model.parent().unwrap()) {
                    checked += 1;
                    failures.extend(compare(&graph, &data).into_iter().map(|f| format!("{}: {f}", data.display())));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked > 0, "no model was checked");
}

fn folders(root: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.is_dir());
    found.sort();
    found
}

fn describe(graph: &Graph) {
    for (id, p) in graph.params.iter() {
        println!("  p{} {} {:?} min {} max {:?} hint {}", id.0, p.name, p.def, p.min, p.max, p.hint);
    }
    for &id in graph.main.inputs.iter().chain(&graph.main.outputs) {
        let t = graph.tensor(id);
        let dims = t.shape.iter().map(|a| a.display(&|p| graph.params.get(p).name.clone(), &|_| String::new()));
        println!("  {} {}[{}]", t.name, t.dtype, dims.collect::<Vec<_>>().join(", "));
    }
}

/// The text form must give the same graph back.
fn round_trip(graph: &Graph) -> Option<String> {
    let weights = text::weights(graph);
    match text::parse(&text::print(graph), |n, _| weights.get(n).map(|&w| w.clone())) {
        Ok(back) => (back != *graph).then(|| "the text form gives another graph back".to_string()),
        Err(error) => Some(error.to_string()),
    }
}

fn read(data: &Path, kind: &str, n: usize) -> Option<TensorProto> {
    let bytes = std::fs::read(data.join(format!("{kind}_{n}.pb"))).ok()?;
    Some(TensorProto::decode(bytes.as_slice()).unwrap())
}

/// Binds the parameters from the inputs, then evaluates every output shape.
fn compare(graph: &Graph, data: &Path) -> Vec<String> {
    let mut values: BTreeMap<ParamId, i64> = BTreeMap::new();
    let mut failures = Vec::new();
    for (n, &id) in graph.main.inputs.iter().enumerate() {
        let Some(tensor) = read(data, "input", n) else { continue };
        let shape = &graph.tensor(id).shape;
        assert_eq!(shape.len(), tensor.dims.len());
        for (axis, (dim, &actual)) in shape.iter().zip(&tensor.dims).enumerate() {
            if let Some(p) = dim.as_param() {
                values.insert(p, actual);
            }
            let value = eval(graph, dim, &values);
            if value != actual {
                failures.push(format!("input {n} axis {axis} is {actual}, not {value}"));
            }
        }
    }
    for (p, param) in graph.params.iter().filter(|(_, p)| matches!(p.def, ParamDef::Input { .. })) {
        let value = values[&p];
        if value < param.min || param.max.is_some_and(|m| value > m) {
            failures.push(format!("{} = {value} is outside {}..{:?}", param.name, param.min, param.max));
        }
    }
    for (n, &id) in graph.main.outputs.iter().enumerate() {
        let Some(tensor) = read(data, "output", n) else { continue };
        failures.extend(check_output(graph, id, &tensor, &values));
    }
    failures
}

fn check_output(graph: &Graph, id: TensorId, wanted: &TensorProto, values: &BTreeMap<ParamId, i64>) -> Option<String> {
    let tensor = graph.tensor(id);
    let run_time = |aff: &Aff| {
        let mut found = false;
        aff.visit_params(&mut |p| found |= matches!(graph.params.get(p).def, ParamDef::Value { .. }));
        found
    };
    if tensor.name != wanted.name {
        return Some(format!("output is named {}, not {}", tensor.name, wanted.name));
    }
    let same = tensor.rank() == wanted.dims.len()
        && tensor.shape.iter().zip(&wanted.dims).all(|(a, &n)| run_time(a) || eval(graph, a, values) == n);
    (!same).then(|| format!("output {} has shape {:?}, not {:?}", tensor.name, tensor.shape, wanted.dims))
}

fn eval(graph: &Graph, aff: &Aff, values: &BTreeMap<ParamId, i64>) -> i64 {
    fn value(graph: &Graph, id: ParamId, values: &BTreeMap<ParamId, i64>) -> i64 {
        values
            .get(&id)
            .copied()
            .unwrap_or_else(|| graph.params.evaluate(&graph.params.get(id).def, |inner, _| value(graph, inner, values)))
    }
    aff.eval(&|p| value(graph, p, values), &|_| 0)
}
