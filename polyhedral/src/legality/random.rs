//! Random small programs and schedules against brute force: the loop nest must run every instance once, in the
//! order of the tree, and the legality checker must agree with a check of every pair of instances.

use super::check;
use crate::aff::Aff;
use crate::astgen::generate;
use crate::program::{Program, StatementId, StatementKind};
use crate::schedule_tree::{Mark, Node};
use crate::testing::*;
use std::cmp::Ordering;

/// A small linear congruential generator (Knuth, MMIX): failures are named by their seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const N: i64 = 5;

/// One instance with its time.
struct Point {
    statement: StatementId,
    at: [i64; 2],
    /// Values of the shared bands, then the position in the innermost shared list.
    time: Vec<i64>,
}

struct Case {
    program: Program,
    points: Vec<Point>,
    marks: Vec<Mark>,
    /// Source and sink element: statement `k + 1` reads what statement `k` wrote at this subscript.
    reads: Vec<[Aff; 2]>,
}

/// Chain of statements over two dimensions, each reading the one before, under one or two shared bands.
fn case(seed: u64) -> Case {
    let mut random = Random(seed);
    let mut p = Program::default();
    let n = dimension(&mut p, "N");
    let sizes = [c(1), c(3), c(4), n.clone(), n];
    let count = 2 + random.below(2);
    let mut reads = Vec::new();
    let mut statements = Vec::new();
    let mut before = None;
    for k in 0..count {
        let outer = random.pick(&sizes);
        let inner = if random.below(4) == 0 { i(0) + c(1) } else { random.pick(&sizes) };
        let out = array(&mut p, &format!("x{k}"), &[c(9), c(9)]);
        let index = [
            random.pick(&[i(0), i(0) - c(1), c(2) - i(0), i(0).floor_div(2), c(0)]),
            random.pick(&[i(1), i(1) + c(1), c(1)]),
        ];
        let value = before.map_or_else(zero, |source| load(source, &index));
        let target = at(out, &[i(0), i(1)]);
        statements.push(statement(&mut p, &[outer, inner], StatementKind::Assign, target, value));
        reads.push(index);
        before = Some(out);
    }
    let bands = 1 + random.below(2);
    let values = [i(0), i(1), i(0).floor_div(3), i(0).modulo(3), c(3) - i(0), i(0) + c(2), i(0) - i(1), c(0)];
    let members: Vec<Vec<(StatementId, Aff)>> =
        (0..bands).map(|_| statements.iter().map(|s| (*s, random.pick(&values))).collect()).collect();
    let marks: Vec<Mark> = (0..bands)
        .map(|_| random.pick(&[Mark::Seq, Mark::Seq, Mark::Parallel, Mark::Lanes(8), Mark::Unroll]))
        .collect();
    let mut order = statements.clone();
    if random.below(4) == 0 {
        order.reverse();
    }
    let mut body: Vec<Node> = order.iter().flat_map(|s| Node::loops_of(*s, 0, 2)).collect();
    for (members, mark) in members.iter().zip(&marks).rev() {
        body = vec![band(*mark, members, body)];
    }
    p.schedule.roots = body;
    let mut points = Vec::new();
    for (k, s) in statements.iter().enumerate() {
        let position = order.iter().position(|o| o == s).unwrap() as i64;
        for at in instances(&p, *s) {
            let value = |m: &Vec<(StatementId, Aff)>| m[k].1.eval(&|_| N, &|d| at[d]);
            let time = members.iter().map(value).chain([position]).collect();
            points.push(Point { statement: *s, at, time });
        }
    }
    Case { program: p, points, marks, reads }
}

fn instances(p: &Program, s: StatementId) -> Vec<[i64; 2]> {
    let extents = &p.statement(s).extents;
    let mut out = Vec::new();
    for a in 0..extents[0].eval(&|_| N, &|_| 0) {
        for b in 0..extents[1].eval(&|_| N, &|_| a) {
            out.push([a, b]);
        }
    }
    out
}

/// Does some pair break the rules? At the one size `N`.
fn breaks(case: &Case) -> bool {
    let pairs = case.points.iter().flat_map(|a| case.points.iter().map(move |b| (a, b)));
    pairs.into_iter().any(|(a, b)| {
        let k = b.statement.0 as usize;
        let element = || case.reads[k].iter().map(|r| r.eval(&|_| N, &|d| b.at[d])).collect::<Vec<_>>();
        if k == 0 || a.statement.0 as usize != k - 1 || element() != a.at {
            return false;
        }
        let first = (0..case.marks.len()).find(|d| a.time[*d] != b.time[*d]);
        match first {
            Some(d) => a.time[d] > b.time[d] || !matches!(case.marks[d], Mark::Seq | Mark::Unroll),
            None => a.time.cmp(&b.time) != Ordering::Less,
        }
    })
}

#[test]
fn random_schedules_agree_with_brute_force() {
    let (mut legal, mut illegal) = (0, 0);
    for seed in 0..300 {
        let mut case = case(seed);
        let expected = breaks(&case);
        // Brute force knows one size only, so the checker gets that size.
        let fixed = case.program.params.get_mut(crate::param::ParamId(0));
        (fixed.min, fixed.max) = (N, Some(N));
        let verdict = check(&case.program).unwrap();
        assert_eq!(verdict.is_err(), expected, "seed {seed}: {verdict:?} {:?}", case.program.schedule);
        *(if expected { &mut illegal } else { &mut legal }) += 1;
    }
    assert!(legal > 20 && illegal > 20, "{legal} legal, {illegal} illegal");
}

#[test]
fn random_nests_run_every_instance_once_and_in_order() {
    for seed in 0..300 {
        let mut case = case(seed);
        let nest = generate(&case.program).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        case.points.sort_by(|a, b| (&a.time, a.at).cmp(&(&b.time, b.at)));
        let expected: Vec<_> = case.points.iter().map(|p| (p.statement, p.at.to_vec())).collect();
        assert_eq!(trace(&nest, &[N]), expected, "seed {seed}: {:?}\n{}", case.program.schedule, show(&nest));
    }
}
