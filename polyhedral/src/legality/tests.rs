use super::{LegalityCache, Verdict, check};
use crate::aff::Aff;
use crate::deps::{DependenceKind, dependences};
use crate::expr::{BinaryOp, Expr};
use crate::isl::Ctx;
use crate::param::ParamDef;
use crate::program::{Program, StatementId, StatementKind};
use crate::schedule_tree::{Mark, Node};
use crate::testing::*;

const S0: StatementId = StatementId(0);
const S1: StatementId = StatementId(1);
const S2: StatementId = StatementId(2);

fn verdict(program: &Program) -> String {
    match check(program).unwrap() {
        Ok(()) => "legal".into(),
        Err(violation) => violation.to_string(),
    }
}

#[test]
fn dependences_of_a_matmul() {
    let p = matmul(4, 5, 6);
    let ctx = Ctx::new().unwrap();
    let deps = dependences(&p, &ctx).unwrap();
    let kinds: Vec<_> = deps.iter().map(|d| (d.source, d.sink, d.kind)).collect();
    assert_eq!(kinds, [(S0, S1, DependenceKind::Init), (S1, S1, DependenceKind::Reduction)]);
    assert!(deps[0].relation.to_string().contains("S0[i0, i1]"), "{}", deps[0].relation);
}

#[test]
fn a_matmul_is_legal_and_its_reverse_is_not() {
    let mut p = matmul(4, 5, 6);
    assert_eq!(verdict(&p), "legal");
    p.schedule.roots.reverse();
    let text = verdict(&p);
    assert!(text.starts_with("S0[") && text.contains("-> S1[") && text.contains("before the source"), "{text}");
}

#[test]
fn parallel_rows_are_legal_and_a_parallel_reduction_is_not() {
    let with_marks = |m: Mark, k: Mark| {
        let mut p = matmul(4, 5, 6);
        let inner = band(k, &[(S1, i(2))], vec![Node::Leaf(S1)]);
        let columns = band(Mark::Seq, &[(S0, i(1)), (S1, i(1))], vec![Node::Leaf(S0), inner]);
        p.schedule.roots = vec![band(m, &[(S0, i(0)), (S1, i(0))], vec![columns])];
        verdict(&p)
    };
    assert_eq!(with_marks(Mark::Parallel, Mark::Seq), "legal");
    assert_eq!(with_marks(Mark::Rows(8), Mark::Lanes(8)), "legal", "a reduction over lanes");
    let text = with_marks(Mark::Seq, Mark::Parallel);
    assert!(text.contains("carried by a band marked Parallel"), "{text}");
    assert!(with_marks(Mark::Seq, Mark::Rows(8)).contains("carried"));
}

#[test]
fn a_recurrence_runs_forward_only() {
    let mut p = recurrence(10, 3);
    assert_eq!(verdict(&p), "legal");
    let Node::Band(time) = &mut p.schedule.roots[1] else { panic!() };
    time.mark = Mark::Parallel;
    assert!(verdict(&p).contains("carried"), "{}", verdict(&p));
    let Node::Band(time) = &mut p.schedule.roots[1] else { panic!() };
    time.mark = Mark::Seq;
    time.members.values_mut().for_each(|v| *v = -v.clone());
    assert!(verdict(&p).contains("before the source"), "{}", verdict(&p));
}

#[test]
fn the_state_loop_cannot_go_outside_of_time() {
    // h[t + 1, i] reads all of h[t, *]: i outside t asks for values of later i.
    let mut p = recurrence(10, 3);
    let body = [Node::loops_of(S1, 0, 1), Node::loops_of(S2, 0, 1)].map(|mut nodes| nodes.remove(0));
    let [clear, sum] = body;
    let mut sum = sum;
    if let Node::Band(time) = &mut sum {
        time.body = Node::loops_of(S2, 2, 3);
    }
    p.schedule.roots[1] = band(Mark::Seq, &[(S1, i(1)), (S2, i(1))], vec![clear, sum]);
    let text = verdict(&p);
    assert!(text.contains("(h): the sink runs before the source"), "{text}");
}

#[test]
fn tiling_is_legal_and_a_missing_row_is_not() {
    let mut p = matmul(20, 5, 6);
    let rows = |id| (id, i(0).modulo(8));
    let tail = [Node::loops_of(S0, 1, 2), Node::loops_of(S1, 1, 3)].concat();
    let inner = band(Mark::Rows(8), &[rows(S0), rows(S1)], tail);
    let tiles = [(S0, i(0).floor_div(8)), (S1, i(0).floor_div(8))];
    p.schedule.roots = vec![band(Mark::Parallel, &tiles, vec![inner])];
    assert_eq!(verdict(&p), "legal");
    let Node::Band(tile) = &mut p.schedule.roots[0] else { panic!() };
    tile.members.values_mut().for_each(|v| *v = i(0).floor_div(9));
    let text = verdict(&p);
    assert!(text.contains("have the same time"), "{text}");
}

#[test]
fn the_tree_must_hold_every_statement_once() {
    let mut p = matmul(4, 5, 6);
    let twice = p.schedule.roots[0].clone();
    p.schedule.roots.push(twice);
    assert_eq!(verdict(&p), "S0 is in the schedule tree twice");
    p.schedule.remove(S0);
    assert_eq!(verdict(&p), "S0 is not in the schedule tree");
    let mut p = matmul(4, 5, 6);
    let Node::Band(rows) = &mut p.schedule.roots[0] else { panic!() };
    rows.members.clear();
    assert_eq!(verdict(&p), "S0 has no value in a band around it");
}

#[test]
fn a_trip_count_is_complete_before_its_loops() {
    let mut p = Program::default();
    let count = array(&mut p, "count", &[]);
    let trips = Aff::param(param(&mut p, "trips", ParamDef::Value { array: "count".into() }));
    let x = array(&mut p, "x", std::slice::from_ref(&trips));
    let define = statement(&mut p, &[], StatementKind::Assign, at(count, &[]), zero());
    let fill = statement(&mut p, &[trips], StatementKind::Assign, at(x, &[i(0)]), zero());
    p.schedule.roots = [vec![Node::Leaf(define)], Node::loops_of(fill, 0, 1)].concat();
    assert_eq!(verdict(&p), "legal");
    p.schedule.roots.reverse();
    assert!(verdict(&p).contains("before the source"), "{}", verdict(&p));
    let body = vec![Node::Leaf(define), Node::Leaf(fill)];
    p.schedule.roots = vec![band(Mark::Seq, &[(define, c(0)), (fill, i(0))], body)];
    assert!(verdict(&p).contains("inside a loop around both"), "{}", verdict(&p));
}

#[test]
fn updates_keep_their_order_and_unknown_subscripts_touch_everything() {
    let mut p = Program::default();
    let index = array(&mut p, "index", &[c(8)]);
    let out = array(&mut p, "out", &[c(100)]);
    let clear = statement(&mut p, &[c(100)], StatementKind::Assign, at(out, &[i(0)]), zero());
    let mut target = at(out, &[i(0)]);
    target.index[0] = load(index, &[i(0)]);
    let scatter = statement(&mut p, &[c(8)], StatementKind::Update, target, zero());
    p.schedule.roots = [Node::loops_of(clear, 0, 1), Node::loops_of(scatter, 0, 1)].concat();
    assert_eq!(verdict(&p), "legal");
    let Node::Band(loop_) = &mut p.schedule.roots[1] else { panic!() };
    loop_.mark = Mark::Parallel;
    assert!(verdict(&p).contains("carried"), "two updates of one element");
    p.statement_mut(scatter).kind = StatementKind::Reduce(BinaryOp::Max);
    assert!(verdict(&p).contains("carried"), "a race");
    let Node::Band(loop_) = &mut p.schedule.roots[1] else { panic!() };
    (loop_.mark, *loop_.members.values_mut().next().unwrap()) = (Mark::Seq, -i(0));
    assert_eq!(verdict(&p), "legal", "reductions commute");
    p.statement_mut(scatter).kind = StatementKind::Update;
    assert!(verdict(&p).contains("before the source"), "updates do not");
}

#[test]
fn the_cache_follows_edits() {
    let mut p = matmul(4, 5, 6);
    let mut cache = LegalityCache::new(&p).unwrap();
    let touched = [S1].into_iter().collect();
    let legal = |v: Verdict| v.is_ok();
    assert!(legal(cache.check(&p, Some(&touched)).unwrap()));
    p.schedule.roots.reverse();
    assert!(!legal(cache.check(&p, Some(&touched)).unwrap()));
    // S1 writes elsewhere now: nothing orders the two.
    let other = array(&mut p, "other", &[c(4), c(5)]);
    p.statement_mut(S1).target.array = other;
    cache.update(&p, &touched).unwrap();
    assert!(legal(cache.check(&p, None).unwrap()));
    assert_eq!(cache.dependences().len(), 1);
    p.remove_statement(S1);
    assert!(legal(cache.check(&p, None).unwrap()), "a removed statement orders nothing");
}

#[test]
fn reads_in_guards_order_too() {
    let mut p = matmul(4, 5, 6);
    let flag = array(&mut p, "flag", &[c(1)]);
    let set = statement(&mut p, &[], StatementKind::Assign, at(flag, &[c(0)]), zero());
    p.statement_mut(S0).guard = Some(Expr::load(flag, vec![Expr::int(0)]));
    p.schedule.roots.push(Node::Leaf(set));
    assert!(verdict(&p).contains("through A3 (flag)"), "{}", verdict(&p));
}
