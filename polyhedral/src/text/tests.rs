use super::*;
use crate::aff::Aff;
use crate::astgen;
use crate::dtype::{DType, Scalar};
use crate::expr::{BinaryOp, Expr, UnaryOp};
use crate::param::{Param, ParamDef, ParamId};
use crate::program::{Array, ArrayId, ConstantData, Placement, Program, Role, StatementKind};
use crate::testing;
use proptest::prelude::*;

/// Prints, parses, compares, and prints again.
fn round_trip(program: &Program) -> String {
    let mut pool = ConstantPool::default();
    let printed = print_program(program, &mut pool);
    let parsed = parse_program(&printed, &pool).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(parsed, *program, "{printed}");
    assert_eq!(print_program(&parsed, &mut ConstantPool::default()), printed);
    printed
}

fn affine() -> impl Strategy<Value = Aff> {
    let leaf = prop_oneof![
        (-20i64..20).prop_map(Aff::constant),
        (0usize..4).prop_map(Aff::iter),
        (0u32..2).prop_map(|p| Aff::param(ParamId(p))),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a + b),
            (inner.clone(), -9i64..9).prop_map(|(a, c)| a * c),
            (inner, 1i64..9).prop_map(|(a, d)| a.floor_div(d)),
        ]
    })
}

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        (-1e30f64..1e30).prop_map(|v| Scalar::Float(v, DType::F32)),
        (-2f32..2.0).prop_map(|v| Scalar::Float(f64::from(v), DType::F32)),
        Just(Scalar::Float(f64::NEG_INFINITY, DType::F16)),
        Just(Scalar::Float(-0.0, DType::BF16)),
        any::<i64>().prop_map(|v| Scalar::Int(v, DType::I64)),
        (0i64..2).prop_map(|v| Scalar::Int(v, DType::Bool)),
    ]
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![affine().prop_map(Expr::Index), scalar().prop_map(Expr::Const)];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let unary = prop::sample::select(UnaryOp::ALL.to_vec());
        let binary = prop::sample::select(BinaryOp::ALL.to_vec());
        let arithmetic = prop::sample::select(vec![BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div]);
        prop_oneof![
            (unary, inner.clone()).prop_map(|(op, a)| Expr::unary(op, a)),
            (binary, inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            (arithmetic, inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, a, b)| Expr::select(c, a, b)),
            (prop::sample::select(DType::ALL.to_vec()), inner.clone()).prop_map(|(t, a)| Expr::cast(t, a)),
            (0u32..2, prop::collection::vec(inner, 0..3)).prop_map(|(a, index)| Expr::load(ArrayId(a), index)),
        ]
    })
}

/// A program whose names collide in every way: a dimension with a parameter, two dimensions, keywords.
fn host(value: Expr, guard: Option<Expr>, constraints: Vec<Aff>) -> Program {
    let mut p = Program::default();
    p.name = "odd name".into();
    p.params.push(Param { name: "n".into(), def: ParamDef::Input { input: 0, axis: 1 }, min: 1, max: None, hint: 3 });
    let def = ParamDef::Mul(Aff::param(ParamId(0)), Aff::constant(2));
    p.params.push(Param { name: "true".into(), def, min: i64::MIN, max: Some(9), hint: -1 });
    let extents = [Aff::constant(2), Aff::param(ParamId(0))];
    let a = testing::array(&mut p, "n", &extents);
    let b = testing::array(&mut p, "a b\n\"é", &[]);
    p.array_mut(a).fold = vec![None, Some(3)];
    p.array_mut(b).placement = Some(Placement::Slot(2));
    let four = vec![Aff::constant(4); 4];
    let id = testing::statement(&mut p, &four, testing::ADD, testing::at(a, &[Aff::iter(0), Aff::iter(1)]), value);
    let statement = p.statement_mut(id);
    statement.dims = ["m", "n", "k", "k"].map(String::from).to_vec();
    (statement.guard, statement.constraints) = (guard, constraints);
    p.schedule.roots = crate::schedule_tree::Node::loops_of(id, 0, 4);
    p.exits = vec![b];
    p
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_survives(value in expression(), guard in prop::option::of(expression()),
                               constraints in prop::collection::vec(affine(), 0..3)) {
        round_trip(&host(value, guard, constraints));
    }

    #[test]
    fn no_text_panics(text in "(program|S0|for|schedule|array|[a-c\\[\\]{}():,%#\"./0-9*+=-]| |\n){0,40}") {
        let _ = parse_program(&text, &ConstantPool::default());
        let _ = parse_program(&format!("program p array a: f32[4] temp S0 [i: 4]: a[i] = {text}"), &ConstantPool::default());
        let _ = parse_nest(&format!("nest p vars 3 array a: f32[4] temp body {{ {text}"), &ConstantPool::default());
    }
}

#[test]
fn deep_text_is_refused_not_overflowed() {
    let wrap = |value: String| format!("program p array a: f32[] temp S0 []: a[] = {value}");
    for value in ["(".repeat(100_000), "-".repeat(100_000), "a[] + ".repeat(100_000) + "a[]", "exp(".repeat(100_000)] {
        let error = parse_program(&wrap(value), &ConstantPool::default()).unwrap_err();
        assert_eq!(error.diagnostic().code, "E210");
    }
    let bands = "for [] { ".repeat(100_000);
    assert!(parse_program(&format!("program p schedule {{ {bands}"), &ConstantPool::default()).is_err());
}

#[test]
fn constants_are_inline_or_in_the_pool() {
    let mut p = Program::default();
    let floats: Vec<u8> = [0.1f32, f32::NAN, -0.0, 1e-40].iter().flat_map(|v| v.to_le_bytes()).collect();
    let data = ConstantData::new(floats);
    let big = ConstantData::new(vec![7u8; 64]);
    p.add_array(Array::new("small", DType::F32, vec![4.into()], Role::Constant(data)));
    p.add_array(Array::new("big", DType::I16, vec![32.into()], Role::Constant(big.clone())));
    p.add_array(Array::new("same", DType::I16, vec![32.into()], Role::Constant(big)));
    let text = round_trip(&p);
    assert!(text.contains("constant {0.1, 0x7fc00000, -0.0, 1e-40}"), "{text}");
    assert!(text.contains("array big: i16[32] constant #0") && text.contains("array same: i16[32] constant #0"));
}

#[test]
fn the_side_file_keeps_every_byte_and_refuses_a_cut() {
    let mut pool = ConstantPool::default();
    pool.add(&ConstantData::new(vec![1u8, 2, 3]));
    pool.add(&ConstantData::new(vec![9u8; 40]));
    let mut bytes = Vec::new();
    pool.write(&mut bytes).unwrap();
    assert_eq!(ConstantPool::read(&bytes).unwrap(), pool);
    assert!(ConstantPool::read(&bytes[..bytes.len() - 1]).is_err());
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(ConstantPool::read(&bytes).is_err());
}

#[test]
fn removed_statements_keep_their_ids() {
    let mut p = testing::recurrence(3, 4);
    p.remove_statement(crate::StatementId(1));
    p.remove_statement(crate::StatementId(2));
    assert!(round_trip(&p).contains("S1 removed\nS2 removed\n"));
}

#[test]
fn nests_survive() {
    for mut program in [testing::matmul(5, 6, 7), testing::recurrence(3, 4)] {
        let id = crate::StatementId(0);
        program.statement_mut(id).kind = StatementKind::Assign;
        round_trip(&program);
        let nest = astgen::generate(&program).unwrap();
        let printed = print_nest(&nest, &mut ConstantPool::default());
        assert_eq!(parse_nest(&printed, &ConstantPool::default()).unwrap(), nest, "{printed}");
    }
}

#[test]
fn infix_on_affine_operands_is_affine() {
    let text = "program p array x: f32[9] temp S0 [i: 9]: x[floor((2*i + 5)/4)] = x[add(i, 1)] + x[i - i + 3]";
    let p = parse_program(text, &ConstantPool::default()).unwrap();
    let statement = p.statement(crate::StatementId(0));
    let subscript = (Aff::iter(0) * 2 + 5.into()).floor_div(4);
    assert_eq!(statement.target.index, vec![Expr::Index(subscript)]);
    let sum = Expr::binary(BinaryOp::Add, Expr::iter(0), Expr::int(1));
    let loads =
        Expr::binary(BinaryOp::Add, Expr::load(ArrayId(0), vec![sum]), Expr::load(ArrayId(0), vec![Expr::int(3)]));
    assert_eq!(statement.value, loads);
}
