//! Tiny graphs through extraction, evaluated directly.

mod common;

use common::evaluate::evaluate;
use sirius::extract::extract;
use sirius::graph::{Attribute, Block, Graph, Node, Tensor, TensorId};
use sirius::run::Value;
use sirius_polyhedral::{Aff, DType, Expr, Param, ParamDef, Role};

fn c(values: &[i64]) -> Vec<Aff> {
    values.iter().map(|v| Aff::constant(*v)).collect()
}

fn tensor(graph: &mut Graph, name: &str, shape: Vec<Aff>) -> TensorId {
    graph.add_tensor(Tensor { name: name.into(), dtype: DType::F32, shape, constant: None, symbolic: None })
}

fn node(op: &str, inputs: &[TensorId], output: TensorId) -> Node {
    Node {
        name: op.to_lowercase(),
        op: op.into(),
        domain: String::new(),
        version: 17,
        inputs: inputs.iter().map(|t| Some(*t)).collect(),
        outputs: vec![Some(output)],
        attributes: Default::default(),
    }
}

fn graph(mut g: Graph, inputs: &[TensorId], nodes: Vec<Node>, outputs: &[TensorId]) -> Graph {
    g.main = Block { inputs: inputs.to_vec(), nodes, outputs: outputs.to_vec() };
    g
}

fn counted(shape: &[usize]) -> Value {
    let values: Vec<f32> = (0..shape.iter().product()).map(|v| v as f32).collect();
    Value::from_f32(shape, &values).unwrap()
}

/// Nothing reads the first piece, so it has no tensor; the second still begins behind it.
#[test]
fn a_piece_without_tensor_takes_its_place() {
    let mut g = Graph::default();
    let (x, y) = (tensor(&mut g, "x", c(&[5])), tensor(&mut g, "y", c(&[2])));
    let mut split = node("Split", &[x], y);
    split.outputs = vec![None, Some(y)];
    let p = extract(&graph(g, &[x], vec![split], &[y])).unwrap();
    assert_eq!(evaluate(&p, &[counted(&[5])]).unwrap()[0].floats(), [3., 4.]);
}

/// `[2, 6] -> [2, 2, 3] -> transposed [3, 2, 2] -> [6, 2]`: only the copy of the output runs.
#[test]
fn chains_of_views_run_no_statement_and_stay_affine() {
    let mut g = Graph::default();
    let x = tensor(&mut g, "x", c(&[2, 6]));
    let split = tensor(&mut g, "split", c(&[2, 2, 3]));
    let turned = tensor(&mut g, "turned", c(&[3, 2, 2]));
    let y = tensor(&mut g, "y", c(&[6, 2]));
    let mut transpose = node("Transpose", &[split], turned);
    transpose.attributes.insert("perm".into(), Attribute::Ints(vec![2, 0, 1]));
    let nodes = vec![node("Reshape", &[x], split), transpose, node("Reshape", &[turned], y)];
    let p = extract(&graph(g, &[x], nodes, &[y])).unwrap();
    assert_eq!(p.statements().count(), 1);
    let (_, s) = p.statements().next().unwrap();
    let Expr::Load(access) = &s.value else { panic!("{:?}", s.value) };
    assert!(access.index.iter().all(|e| e.as_aff().is_some()), "{access:?}");
    let got = evaluate(&p, &[counted(&[2, 6])]).unwrap();
    assert_eq!(got[0].floats(), [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
}

/// Equal symbolic dimensions are matched one to one: `[b, s, 12] -> [b, s, 3, 4]` has no division by `s`.
#[test]
fn symbolic_dimensions_survive_a_split_of_another() {
    let mut g = Graph::default();
    let mut dim = |name: &str, axis| {
        let def = ParamDef::Input { input: 0, axis };
        Aff::param(g.params.push(Param { name: name.into(), def, min: 1, max: None, hint: 4 }))
    };
    let (b, s) = (dim("b", 0), dim("s", 1));
    let x = tensor(&mut g, "x", vec![b.clone(), s.clone(), 12.into()]);
    let y = tensor(&mut g, "y", vec![b, s, 3.into(), 4.into()]);
    let p = extract(&graph(g, &[x], vec![node("Reshape", &[x], y)], &[y])).unwrap();
    let (_, s) = p.statements().next().unwrap();
    let Expr::Load(access) = &s.value else { panic!("{:?}", s.value) };
    let wanted = [Aff::iter(0), Aff::iter(1), Aff::iter(2) * 4 + Aff::iter(3)].map(Expr::Index);
    assert_eq!(access.index, wanted);
}

#[test]
fn a_product_has_an_accumulator_of_its_own() {
    let mut g = Graph::default();
    let a = tensor(&mut g, "a", c(&[2, 3]));
    let b = tensor(&mut g, "b", c(&[3, 2]));
    let y = tensor(&mut g, "y", c(&[2, 2]));
    let p = extract(&graph(g, &[a, b], vec![node("MatMul", &[a, b], y)], &[y])).unwrap();
    let temps: Vec<&str> = p.arrays().filter(|(_, a)| a.role == Role::Temp).map(|(_, a)| a.name.as_str()).collect();
    assert_eq!(temps, ["y_acc"]);
    let got = evaluate(&p, &[counted(&[2, 3]), counted(&[3, 2])]).unwrap();
    assert_eq!(got[0].floats(), [10., 13., 28., 40.]);
}

#[test]
fn every_unsupported_node_is_named_at_once() {
    let mut g = Graph::default();
    let x = tensor(&mut g, "x", c(&[2]));
    let y = tensor(&mut g, "y", c(&[2]));
    let z = tensor(&mut g, "z", c(&[2]));
    let nodes = vec![node("Frobnicate", &[x], y), node("Mystery", &[y], z)];
    let error = extract(&graph(g, &[x], nodes, &[z])).unwrap_err().to_string();
    assert!(error.contains("Frobnicate") && error.contains("Mystery"), "{error}");
}
