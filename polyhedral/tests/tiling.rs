//! Fusion, tiling and contraction of a matrix product with an epilogue, on programs built by hand.

#[allow(dead_code, reason = "shared with other tests")]
mod support;

use indexmap::IndexMap;
use sirius_polyhedral::classical::forward::Forward;
use sirius_polyhedral::schedule::{contract::Contract, fuse::Fuse, plan_memory::PlanMemory, tile::Tile};
use sirius_polyhedral::*;

/// `out[i, j] = max(0, sum_k a[i, k] * b[k, j])` with the activation as a nest of its own.
struct Product {
    program: Program,
    acc: ArrayId,
}

fn machine() -> Machine {
    Machine { threads: 1, ..support::machine(false) }
}

fn statement(extents: &[i64], kind: StatementKind, target: (ArrayId, &[usize]), value: Expr) -> Statement {
    let dims = ["i", "j", "k"].iter().take(extents.len()).map(|s| s.to_string()).collect();
    Statement {
        dims,
        extents: extents.iter().map(|e| Aff::constant(*e)).collect(),
        constraints: vec![],
        kind,
        target: access(target.0, target.1),
        value,
        guard: None,
        origin: Origin { node: "product".into(), op: "MatMul".into() },
    }
}

fn access(array: ArrayId, dims: &[usize]) -> Access {
    Access { array, index: dims.iter().map(|d| Expr::iter(*d)).collect() }
}

fn band(ids: &[StatementId], dim: usize, body: Vec<Node>) -> Node {
    let members: IndexMap<_, _> = ids.iter().map(|s| (*s, Aff::iter(dim))).collect();
    Node::Band(Band { members, mark: Mark::Seq, body })
}

fn product(m: i64, n: i64, k: i64, weights: bool) -> Product {
    let mut program = Program::default();
    let f32s = |name: &str, extents: &[i64], role| {
        Array::new(name, DType::F32, extents.iter().map(|e| Aff::constant(*e)).collect(), role)
    };
    let a = program.add_array(f32s("a", &[m, k], Role::Input(0)));
    let data: Vec<u8> = (0..k * n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let role = if weights { Role::Constant(ConstantData::new(data)) } else { Role::Input(1) };
    let b = program.add_array(f32s("b", if weights { [n, k] } else { [k, n] }.as_slice(), role));
    let acc = program.add_array(f32s("acc", &[m, n], Role::Temp));
    let c = program.add_array(f32s("c", &[m, n], Role::Temp));
    let out = program.add_array(f32s("out", &[m, n], Role::Output(0)));
    program.inputs = if weights { vec![a] } else { vec![a, b] };
    program.outputs = vec![out];
    let load = |array, dims: &[usize]| Expr::Load(access(array, dims));
    let zero = Expr::float(0.0, DType::F32);
    let operand = if weights { load(b, &[1, 2]) } else { load(b, &[2, 1]) };
    let term = Expr::binary(BinaryOp::Mul, load(a, &[0, 2]), operand);
    let s0 = program.add_statement(statement(&[m, n], StatementKind::Assign, (acc, &[0, 1]), zero.clone()));
    let add = StatementKind::Reduce(BinaryOp::Add);
    let s1 = program.add_statement(statement(&[m, n, k], add, (acc, &[0, 1]), term));
    let s2 = program.add_statement(statement(&[m, n], StatementKind::Assign, (c, &[0, 1]), load(acc, &[0, 1])));
    let relu = Expr::binary(BinaryOp::Max, zero, load(c, &[0, 1]));
    let s3 = program.add_statement(statement(&[m, n], StatementKind::Assign, (out, &[0, 1]), relu));
    let inner = vec![Node::Leaf(s0), band(&[s1], 2, vec![Node::Leaf(s1)]), Node::Leaf(s2)];
    let all = [s0, s1, s2];
    let nest = band(&all, 0, vec![band(&all, 1, inner)]);
    let elementwise = band(&[s3], 0, vec![band(&[s3], 1, vec![Node::Leaf(s3)])]);
    program.schedule.roots = vec![nest, elementwise];
    Product { program, acc }
}

fn run(program: &mut Program, passes: &[&dyn Pass]) {
    let machine = machine();
    let mut context = PassContext { machine: &machine, remarks: vec![] };
    for pass in passes {
        pass.run(program, &mut context).expect("pass");
        let verdict = legality::check(program).expect("check");
        assert!(verdict.is_ok(), "after {}: {}", pass.name(), verdict.expect_err("violation"));
    }
}

fn marks(nodes: &[Node], out: &mut Vec<Mark>) {
    for node in nodes {
        if let Node::Band(band) = node {
            out.push(band.mark);
            marks(&band.body, out);
        }
    }
}

#[test]
fn epilogue_joins_the_register_tile() {
    let Product { mut program, acc } = product(128, 768, 64, true);
    run(&mut program, &[&Forward, &Fuse, &Tile, &Contract, &PlanMemory]);
    assert_eq!(program.schedule.roots.len(), 1, "the activation must join the product's nest");
    let mut all = Vec::new();
    marks(&program.schedule.roots, &mut all);
    assert_eq!(all, [Mark::Seq, Mark::Seq, Mark::Rows(6), Mark::Lanes(64), Mark::Seq]);
    assert_eq!(program.array(acc).placement, Some(program::Placement::Register));
}

#[test]
fn weights_are_packed_panel_by_panel() {
    let Product { mut program, .. } = product(16, 50, 3, true);
    run(&mut program, &[&Tile]);
    let (_, packed) = program.arrays().last().expect("packed array");
    // 50 columns in one block of 64 lanes: [k][64], element [k][j] is b[j][k] = 3j + k, zero beyond column 49.
    let sizes: Vec<_> = packed.extents.iter().map(|e| e.as_constant().expect("constant")).collect();
    assert_eq!(sizes, [3, 64]);
    let Role::Constant(data) = &packed.role else { panic!("packed weights stay constant") };
    let at = |k: usize, j: usize| {
        let from = (k * 64 + j) * 4;
        f32::from_le_bytes(data.bytes()[from..from + 4].try_into().expect("four bytes"))
    };
    assert_eq!([at(0, 0), at(2, 10), at(1, 49), at(1, 50)], [0.0, 32.0, 148.0, 0.0]);
}

fn floats(count: i64, seed: i64) -> Vec<u8> {
    (0..count).flat_map(|i| (((i * 7 + seed) % 13 - 6) as f32).to_le_bytes()).collect()
}

#[test]
fn borders_stay_legal_and_equal() {
    for (m, n, k) in [(1, 1, 1), (7, 5, 3), (9, 49, 17), (13, 100, 2)] {
        for weights in [false, true] {
            let Product { mut program, .. } = product(m, n, k, weights);
            let inputs = [floats(m * k, 1), floats(k * n, 5)];
            let inputs = &inputs[..program.inputs.len()];
            let outputs = |program: &Program| {
                let nest = astgen::generate(program).expect("loop nest");
                nest_interp::run(&nest, &[], inputs).expect("run")
            };
            let before = outputs(&program);
            run(&mut program, &[&Forward, &Fuse, &Tile, &Contract, &PlanMemory]);
            assert_eq!(before, outputs(&program), "{m} x {n} x {k}, weights {weights}");
        }
    }
}
