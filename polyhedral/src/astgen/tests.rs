use super::{OPERATIONS, generate, generate_within};
use crate::loop_nest::{LoopNest, Nest};
use crate::pass::RemarkKind;
use crate::program::{Program, StatementId, StatementKind};
use crate::schedule_tree::{Mark, Node};
use crate::testing::*;

const S0: StatementId = StatementId(0);
const S1: StatementId = StatementId(1);

fn loops(nest: &LoopNest) -> usize {
    let mut n = 0;
    nest.body.iter().for_each(|node| node.visit(&mut |n_| n += usize::from(matches!(n_, Nest::Loop { .. }))));
    n
}

#[test]
fn a_matmul_is_two_nests() {
    let nest = generate(&matmul(4, 5, 6)).unwrap();
    let expected = "\
for c0 in 0 .. 4
  for c1 in 0 .. 5
    S0: A2[c0, c1]
for c2 in 0 .. 4
  for c3 in 0 .. 5
    for c4 in 0 .. 6
      S1: A2[c2, c3]
";
    assert_eq!(show(&nest), expected);
}

#[test]
fn fused_bands_keep_one_loop_each() {
    let mut p = matmul(4, 5, 6);
    let inner = [vec![Node::Leaf(S0)], Node::loops_of(S1, 2, 3)].concat();
    let columns = band(Mark::Lanes(16), &[(S0, i(1)), (S1, i(1))], inner);
    p.schedule.roots = vec![band(Mark::Parallel, &[(S0, i(0)), (S1, i(0))], vec![columns])];
    let nest = generate(&p).unwrap();
    let expected = "\
for c0 in 0 .. 4 Parallel
  for c1 in 0 .. 5 Lanes(16)
    S0: A2[c0, c1]
    for c2 in 0 .. 6
      S1: A2[c0, c1]
";
    assert_eq!(show(&nest), expected);
}

#[test]
fn tiles_run_every_instance_once_and_in_order() {
    let mut p = Program::default();
    let n = dimension(&mut p, "N");
    let a = array(&mut p, "a", std::slice::from_ref(&n));
    let s = statement(&mut p, &[n], StatementKind::Assign, at(a, &[i(0)]), zero());
    let leaf = vec![Node::Leaf(s)];
    let inner = band(Mark::Rows(8), &[(s, i(0).modulo(8))], leaf);
    p.schedule.roots = vec![band(Mark::Seq, &[(s, i(0).floor_div(8))], vec![inner])];
    let nest = generate(&p).unwrap();
    let expected = "\
for c0 in 0 .. floor((N + 7)/8)
  for c1 in 0 .. 8 | N - 8*c0 Rows(8)
    S0: A0[8*c0 + c1]
";
    assert_eq!(show(&nest), expected);
    for n in [1, 7, 8, 9, 40] {
        assert_eq!(trace(&nest, &[n]), (0..n).map(|v| (s, vec![v])).collect::<Vec<_>>());
    }
}

#[test]
fn different_domains_in_one_band_are_tests_inside_one_loop() {
    let mut p = Program::default();
    let a = array(&mut p, "a", &[c(20)]);
    let b = array(&mut p, "b", &[c(20)]);
    let s = statement(&mut p, &[c(10)], StatementKind::Assign, at(a, &[i(0)]), zero());
    let t = statement(&mut p, &[c(12)], StatementKind::Assign, at(b, &[i(0)]), zero());
    let body = vec![Node::Leaf(s), Node::Leaf(t)];
    p.schedule.roots = vec![band(Mark::Lanes(16), &[(s, i(0)), (t, i(0) + c(1))], body)];
    let nest = generate(&p).unwrap();
    assert_eq!(loops(&nest), 1, "{}", show(&nest));
    let mut expected = Vec::new();
    for v in 0..13 {
        expected.extend((v < 10).then(|| (s, vec![v])));
        expected.extend((v >= 1).then(|| (t, vec![v - 1])));
    }
    assert_eq!(trace(&nest, &[]), expected);
}

/// isl leaves out the row loop: its mark must not make lanes of the whole reduction.
#[test]
fn the_mark_of_a_single_iteration_stays_where_it_is() {
    let mut p = matmul(1, 5, 6);
    let inner = [vec![Node::Leaf(S0)], Node::loops_of(S1, 1, 3)].concat();
    p.schedule.roots = vec![band(Mark::Rows(1), &[(S0, i(0)), (S1, i(0))], inner)];
    p.statement_mut(S0).extents[1] = c(1);
    let nest = generate(&p).unwrap();
    let expected = "\
for c0 in 0 .. 1 Rows(1)
  S0: A2[0, 0]
  for c1 in 0 .. 5
    for c2 in 0 .. 6
      S1: A2[0, c1]
";
    assert_eq!(show(&nest), expected);
}

/// isl puts the mark on each statement of the loop that it leaves out: registers live in one loop around all of them.
#[test]
fn a_loop_of_one_lane_keeps_its_statements_together() {
    let mut p = matmul(1, 1, 1);
    let copy = array(&mut p, "copy", &[c(1), c(1)]);
    let sum = p.statement(S1).target.array;
    let end =
        statement(&mut p, &[c(1), c(1)], StatementKind::Assign, at(copy, &[i(0), i(1)]), load(sum, &[i(0), i(1)]));
    let inner = [vec![Node::Leaf(S0)], Node::loops_of(S1, 2, 3), vec![Node::Leaf(end)]].concat();
    let lanes = band(Mark::Lanes(1), &[(S0, i(1)), (S1, i(1)), (end, i(1))], inner);
    p.schedule.roots = vec![band(Mark::Seq, &[(S0, i(0)), (S1, i(0)), (end, i(0))], vec![lanes])];
    let expected = "\
for c0 in 0 .. 1 Lanes(1)
  S0: A2[0, 0]
  S1: A2[0, 0]
  S2: A3[0, 0]
";
    assert_eq!(show(&generate(&p).unwrap()), expected);
}

/// Which worker the only iteration is for: constraints say it, not the extents.
#[test]
fn the_only_iteration_of_a_team_keeps_its_number() {
    let mut p = Program::default();
    let a = array(&mut p, "a", &[c(4), c(4)]);
    let s = statement(&mut p, &[c(4), c(4)], StatementKind::Assign, at(a, &[i(0), i(1)]), zero());
    let team = band(Mark::Team(2), &[(s, i(1))], vec![Node::Leaf(s)]);
    p.schedule.roots = vec![band(Mark::Seq, &[(s, i(0))], vec![team])];
    let mut constrained = |constraints: &[crate::aff::Aff]| {
        p.statement_mut(s).constraints = constraints.to_vec();
        show(&generate(&p).unwrap())
    };
    let last = "\
for c0 in 0 .. 4
  for c1 in 3 .. 4 Team(2)
    S0: A0[c0, 3]
";
    assert_eq!(constrained(&[i(1) - c(3)]), last);
    let diagonal = "\
for c0 in 0 .. 4
  for c1 in c0 .. c0 + 1 Team(2)
    S0: A0[c0, c0]
";
    assert_eq!(constrained(&[i(1) - i(0), i(0) - i(1)]), diagonal);
}

/// As `team` makes them in a loop over layers: each around all that follows.
#[test]
fn barriers_inside_barriers_cost_isl_little() {
    const FEW: u64 = 200_000;
    let mut p = Program::default();
    let n = dimension(&mut p, "N");
    let blocks = (n.clone() + c(5)).floor_div(6);
    let mut body: Vec<Node> = Vec::new();
    let mut all = Vec::new();
    for k in 0..16 {
        let a = array(&mut p, &format!("a{k}"), &[c(8), n.clone()]);
        let s = statement(
            &mut p,
            &[c(8), blocks.clone(), c(6)],
            StatementKind::Assign,
            at(a, &[i(0), i(1) * 6 + i(2)]),
            zero(),
        );
        p.statement_mut(s).constraints.push(n.clone() - i(1) * 6 - i(2) - c(1));
        let rows = band(Mark::Rows(6), &[(s, i(2))], vec![Node::Leaf(s)]);
        let nest = band(Mark::Team(2), &[(s, i(1))], vec![rows]);
        all.push(s);
        let members: Vec<_> = all.iter().map(|s| (*s, c(0))).collect();
        body = vec![band(Mark::Barrier, &members, [vec![nest], body].concat())];
    }
    let layers: Vec<_> = all.iter().map(|s| (*s, i(0))).collect();
    p.schedule.roots = vec![band(Mark::Seq, &layers, body)];
    let (nest, remarks) = generate_within(&p, FEW).unwrap();
    let text = show(&nest);
    assert!(remarks.is_empty(), "{remarks:?}");
    assert_eq!(text.matches("Barrier").count(), 16, "{text}");
    assert!(!text.contains("if "), "bounds, not tests inside of the tiles: {text}");
}

/// The same instances either way; only what isl could not write is named.
#[test]
fn a_root_that_isl_does_not_write_is_remarked() {
    let p = matmul(4, 5, 6);
    let (quick, nothing) = generate_within(&p, OPERATIONS).unwrap();
    let (slow, remarks) = generate_within(&p, 1).unwrap();
    assert_eq!(trace(&quick, &[]), trace(&slow, &[]));
    assert_eq!(nothing, []);
    let found: Vec<_> = remarks.iter().map(|r| (r.kind, r.pass, &r.subject)).collect();
    let wanted = [S0, S1].map(|s| (RemarkKind::Missed, "loops", &p.statement(s).origin));
    assert_eq!(found, wanted);
    assert!(remarks[0].reason.contains("more than 1 operations"), "{remarks:?}");
}

#[test]
fn an_endless_loop_fits() {
    let mut p = recurrence(1 << 61, 3);
    let nest = generate(&p).unwrap();
    assert!(show(&nest).contains("in 0 .. 2305843009213693952"), "{}", show(&nest));
    p = recurrence(2, 1);
    assert_eq!(trace(&generate(&p).unwrap(), &[]).len(), 5);
}

#[test]
fn strided_and_shifted_values() {
    let mut p = Program::default();
    let n = dimension(&mut p, "N");
    let a = array(&mut p, "a", std::slice::from_ref(&n));
    let s = statement(&mut p, &[n], StatementKind::Assign, at(a, &[i(0)]), zero());
    p.schedule.roots = vec![band(Mark::Seq, &[(s, i(0) * -3 + c(5))], vec![Node::Leaf(s)])];
    let nest = generate(&p).unwrap();
    assert_eq!(trace(&nest, &[4]), (0..4).rev().map(|v| (s, vec![v])).collect::<Vec<_>>(), "{}", show(&nest));
}

#[test]
fn triangular_domains_and_two_parameters() {
    let mut p = Program::default();
    let n = dimension(&mut p, "N");
    let m = dimension(&mut p, "mod");
    let a = array(&mut p, "a", &[n.clone(), n.clone()]);
    let b = array(&mut p, "b", std::slice::from_ref(&m));
    let s = statement(&mut p, &[n, i(0) + c(1)], StatementKind::Assign, at(a, &[i(0), i(1)]), zero());
    let t = statement(&mut p, &[m], StatementKind::Assign, at(b, &[i(0)]), zero());
    let body = [Node::loops_of(s, 1, 2), vec![Node::Leaf(t)]].concat();
    p.schedule.roots = vec![band(Mark::Seq, &[(s, i(0)), (t, i(0))], body)];
    let nest = generate(&p).unwrap();
    for (n, m) in [(3, 5), (5, 3), (1, 1)] {
        let mut expected = Vec::new();
        for v in 0..n.max(m) {
            expected.extend((0..=v).filter(|_| v < n).map(|w| (s, vec![v, w])));
            expected.extend((v < m).then(|| (t, vec![v])));
        }
        assert_eq!(trace(&nest, &[n, m]), expected, "{}", show(&nest));
    }
}
