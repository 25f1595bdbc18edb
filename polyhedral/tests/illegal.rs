//! 300 deliberately illegal schedules, and the checkers that must catch them.
//!
//! Legal programs (random ones, before and after the pipeline, and the hand-written ones of the golden tests) are
//! spoilt in every place: neighbours swapped, loops reversed, tiled or fused against a dependence, run in parallel,
//! barriers dropped, buffers shrunk. A spoilt program counts only when a simulated execution of it gives other numbers
//! (`simulate`, which knows no dependences). Each must then be refused by the legality checker and by the checker of
//! certificates, both with two instances (or two arrays in one slot) as witness.

mod generate;
mod simulate;
#[allow(dead_code, reason = "shared with other tests")]
mod support;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use simulate::Choice;
use sirius_polyhedral::certificate::check::check;
use sirius_polyhedral::certificate::record::Recorder;
use sirius_polyhedral::driver::{DriverOptions, run_passes};
use sirius_polyhedral::legality::{self, Violation};
use sirius_polyhedral::program::Placement;
use sirius_polyhedral::text::{ConstantPool, parse_program, print_program};
use sirius_polyhedral::*;
use std::collections::BTreeMap;

const WANTED: usize = 300;
/// Of one kind, so that no kind crowds out the others.
const OF_A_KIND: usize = 40;

const KINDS: [&str; 8] =
    ["swapped", "reversed", "tiled", "fused", "parallel", "dropped barrier", "shrunk buffer", "shared slot"];

const CHOICES: [Choice; 6] =
    [Choice::InOrder, Choice::Backwards, Choice::Random(1), Choice::Random(2), Choice::Random(3), Choice::Random(4)];

#[test]
fn three_hundred_illegal_schedules_are_caught() {
    let mut caught: BTreeMap<&'static str, usize> = BTreeMap::new();
    for program in programs() {
        let wanted = simulate::outputs(&program, Choice::InOrder).unwrap();
        sound(&program, &wanted);
        for (kind, spoilt) in spoil(&program) {
            if caught.get(kind).is_some_and(|n| *n >= OF_A_KIND) || !is_wrong(&spoilt, &wanted) {
                continue;
            }
            refused(kind, &program, &spoilt);
            *caught.entry(kind).or_default() += 1;
        }
        if caught.values().sum::<usize>() >= WANTED && KINDS.iter().all(|k| caught.get(k).is_some_and(|n| *n >= 10)) {
            break;
        }
    }
    println!("caught: {caught:?}");
    assert!(caught.values().sum::<usize>() >= WANTED, "only {caught:?}");
    for kind in KINDS {
        assert!(caught.contains_key(kind), "no schedule is wrong by {kind}: {caught:?}");
    }
}

// ---- legal programs ------------------------------------------------------------------------------------

fn programs() -> impl Iterator<Item = Program> {
    let mut runner = TestRunner::deterministic();
    let strategy = generate::text(6, vec![3, 8], Just(false));
    let random = std::iter::repeat_with(move || strategy.new_tree(&mut runner).unwrap().current()).take(300);
    let random = random.flat_map(|text| {
        let plain = parse_program(&text, &ConstantPool::default()).unwrap();
        let (optimized, shared) = (pipeline(&plain, 1), shared(&plain));
        [plain, optimized, shared]
    });
    golden().into_iter().chain(stencils()).chain(random)
}

/// Neighbours in space are read from the step before: nothing but the given order of the loops is legal.
fn stencils() -> Vec<Program> {
    let text = |steps: i64, width: i64, reach: i64| {
        let (first, last) = (reach, width - 2 * reach);
        format!(
            "program stencil\narray x: f32[{width}] input 0\narray h: f32[{steps} + 1, {width}] temp\n\
             array g: f32[{steps}, {width}] temp\narray y: f32[{width}] output 0\ninputs x\noutputs y\n\
             S0 [t: {steps} + 1, i: {width}]: h[t, i] = x[i]\n\
             S1 [t: {steps}, i: {last}]: g[t, i + {first}] = h[t, i] * 0.5f32 + h[t, i + {reach} + {reach}] * 0.25f32\n\
             S2 [t: {steps}, i: {last}]: h[t + 1, i + {first}] := g[t, i + {first}]\n\
             S3 [i: {width}]: y[i] = h[{steps}, i]\n\
             schedule {{\n  for [S0: t] {{ for [S0: i] {{ S0 }} }}\n  \
             for [S1: t, S2: t] {{ for [S1: i] {{ S1 }} for [S2: i] {{ S2 }} }}\n  for [S3: i] {{ S3 }}\n}}\n"
        )
    };
    let skewed = |steps: i64, width: i64| {
        format!(
            "program skewed\narray x: f32[{width}] input 0\narray h: f32[{steps} + 1, {width} + 1] temp\n\
             array y: f32[{width}] output 0\ninputs x\noutputs y\n\
             S0 [i: {width}]: h[0, i] = x[i]\nS1 [t: {steps} + 1]: h[t, {width}] = 1.0f32\n\
             S2 [t: {steps}, i: {width}]: h[t + 1, i] = h[t, i + 1] * 0.5f32 + h[t, i]\n\
             S3 [i: {width}]: y[i] = h[{steps}, i]\n\
             schedule {{\n  for [S0: i] {{ S0 }}\n  for [S1: t] {{ S1 }}\n  \
             for [S2: t] {{ for [S2: i] {{ S2 }} }}\n  for [S3: i] {{ S3 }}\n}}\n"
        )
    };
    let sizes = [(3, 6), (4, 7), (5, 9), (2, 8), (6, 5)];
    let texts =
        sizes.iter().flat_map(|(t, n)| [text(*t, *n, 1), text(*t, *n + 2, 2), skewed(*t, *n), skewed(*t, *n + 3)]);
    texts.map(|text| parse_program(&text, &ConstantPool::default()).unwrap()).collect()
}

/// The outer loops of the roots shared by two workers where that is legal, and barriers wherever they are not in the way.
fn shared(program: &Program) -> Program {
    let mut out = program.clone();
    for root in &mut out.schedule.roots {
        let members = root.statements().into_iter().map(|s| (s, Aff::constant(0))).collect();
        *root = Node::Band(Band { members, mark: Mark::Barrier, body: vec![root.clone()] });
    }
    for n in 0..out.schedule.roots.len() {
        let mut with = out.clone();
        let Some(Band { body, .. }) = band(&mut with.schedule.roots, n) else { continue };
        if band(body, 0).is_some_and(|b| mark(b, Mark::Team(2))) && legality::check(&with).unwrap().is_ok() {
            out = with;
        }
    }
    if legality::check(&out).unwrap().is_ok() && out.schedule.team() > 1 { out } else { program.clone() }
}

/// The standard pipeline, for a machine on which even little is worth sharing.
fn pipeline(program: &Program, threads: usize) -> Program {
    let machine = Machine { threads, barrier_ns: 0.001, ..support::machine(false) };
    let mut out = program.clone();
    run_passes(&mut out, pipeline::PIPELINE, &machine, DriverOptions::default()).unwrap();
    out
}

/// The legal ones among the golden tests' programs.
fn golden() -> Vec<Program> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut files = Vec::new();
    for folder in ["legality", "pass"] {
        files.extend(std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()));
    }
    files.sort();
    let mut out = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
        let Ok(program) = parse_program(&lines, &ConstantPool::default()) else { continue };
        let small = program.statements().all(|(_, s)| {
            s.extents.iter().map(|e| e.eval(&|p| program.params.get(p).hint, &|_| 4)).product::<i64>() < 4000
        });
        if small && verify::verify(&program).is_ok() && legality::check(&program).unwrap().is_ok() {
            out.push(program);
        }
    }
    assert!(out.len() > 8, "golden programs are found");
    out
}

/// Every execution of a legal program gives the same numbers.
fn sound(program: &Program, wanted: &[Vec<f64>]) {
    if let Some(choice) = CHOICES.iter().find(|c| differs(program, wanted, **c)) {
        panic!("a legal program depends on the order ({choice:?}):\n{}", shown(program));
    }
}

fn differs(program: &Program, wanted: &[Vec<f64>], choice: Choice) -> bool {
    support::difference(wanted, &simulate::outputs(program, choice).unwrap()).is_some()
}

fn shown(program: &Program) -> String {
    print_program(program, &mut ConstantPool::default())
}

// ---- illegal programs ----------------------------------------------------------------------------------

/// Well-formed, and some execution gives other numbers. What is no tree for a team at all does not count.
fn is_wrong(program: &Program, wanted: &[Vec<f64>]) -> bool {
    let structure = || matches!(legality::check(program).unwrap(), Err(Violation::Structure(_)));
    verify::verify(program).is_ok() && !structure() && CHOICES.iter().any(|c| differs(program, wanted, *c))
}

/// Both checkers say no, and show it.
fn refused(kind: &str, legal: &Program, spoilt: &Program) {
    match legality::check(spoilt).unwrap() {
        Ok(()) => panic!("legality does not see what is wrong ({kind}):\n{}", shown(spoilt)),
        Err(Violation::Structure(text)) => panic!("no witness ({kind}): {text}\n{}", shown(spoilt)),
        Err(_) => {}
    }
    let mut recorder = Recorder::new(legal);
    recorder.after("spoil", spoilt);
    let verdict = check(&recorder.finish("test").unwrap(), 10_000_000).unwrap();
    let witness = verdict.findings.iter().any(|f| f.witness.is_some());
    assert!(witness, "the certificate holds ({kind}): {verdict:?}\n{}\nfrom\n{}", shown(spoilt), shown(legal));
}

type Spoilt = Vec<(&'static str, Program)>;

fn spoil(program: &Program) -> Spoilt {
    let mut out = Vec::new();
    for path in lists(&program.schedule.roots, &[]) {
        let count = list(&mut program.clone(), &path).len();
        for n in 0..count {
            change(program, &path, &mut out, "swapped", |nodes| n + 1 < nodes.len() && swap(nodes, n));
            change(program, &path, &mut out, "reversed", |nodes| band(nodes, n).is_some_and(reverse));
            change(program, &path, &mut out, "tiled", |nodes| band(nodes, n).is_some_and(interchange));
            change(program, &path, &mut out, "tiled", |nodes| band(nodes, n).is_some_and(distribute));
            change(program, &path, &mut out, "tiled", |nodes| block_outside(&mut nodes[n], 2));
            change(program, &path, &mut out, "tiled", |nodes| block_outside(&mut nodes[n], 3));
            change(program, &path, &mut out, "fused", |nodes| fuse(nodes, n));
            change(program, &path, &mut out, "parallel", |nodes| {
                band(nodes, n).is_some_and(|b| mark(b, Mark::Parallel))
            });
            change(program, &path, &mut out, "parallel", |nodes| {
                band(nodes, n).is_some_and(|b| mark(b, Mark::Rows(8)))
            });
            change(program, &path, &mut out, "dropped barrier", |nodes| drop_barrier(nodes, n));
        }
    }
    shrink(program, &mut out);
    share(program, &mut out);
    out
}

/// The paths of all lists of nodes.
fn lists(nodes: &[Node], path: &[usize]) -> Vec<Vec<usize>> {
    let mut out = vec![path.to_vec()];
    for (n, node) in nodes.iter().enumerate() {
        if let Node::Band(band) = node {
            out.extend(lists(&band.body, &[path, &[n]].concat()));
        }
    }
    out
}

fn list<'p>(program: &'p mut Program, path: &[usize]) -> &'p mut Vec<Node> {
    path.iter().fold(&mut program.schedule.roots, |nodes, n| match &mut nodes[*n] {
        Node::Band(band) => &mut band.body,
        Node::Leaf(_) => unreachable!("lists are inside bands"),
    })
}

fn change(
    program: &Program,
    path: &[usize],
    out: &mut Spoilt,
    kind: &'static str,
    f: impl FnOnce(&mut Vec<Node>) -> bool,
) {
    let mut copy = program.clone();
    if f(list(&mut copy, path)) {
        out.push((kind, copy));
    }
}

fn band(nodes: &mut [Node], n: usize) -> Option<&mut Band> {
    match &mut nodes[n] {
        Node::Band(band) => Some(band),
        Node::Leaf(_) => None,
    }
}

fn swap(nodes: &mut [Node], n: usize) -> bool {
    nodes.swap(n, n + 1);
    true
}

fn reverse(band: &mut Band) -> bool {
    band.members.values_mut().for_each(|v| *v = -v.clone());
    band.mark == Mark::Seq
}

/// The next loop outside of this one.
fn interchange(band: &mut Band) -> bool {
    let [Node::Band(inner)] = band.body.as_mut_slice() else { return false };
    std::mem::swap(&mut band.members, &mut inner.members);
    std::mem::swap(&mut band.mark, &mut inner.mark);
    true
}

/// The next loop in blocks, and the loop over the blocks outside of this one.
fn block_outside(node: &mut Node, size: i64) -> bool {
    let Node::Band(Band { members, mark: Mark::Seq, body }) = node else { return false };
    let [Node::Band(Band { members: inner, mark: Mark::Seq, body: rest })] = body.as_slice() else { return false };
    let of = |f: &dyn Fn(&Aff) -> Aff| inner.iter().map(|(s, v)| (*s, f(v))).collect();
    let band = |members, body| Node::Band(Band { members, mark: Mark::Seq, body });
    let within = band(of(&|v| v.modulo(size)), rest.clone());
    *node = band(of(&|v| v.floor_div(size)), vec![band(members.clone(), vec![within])]);
    true
}

/// Two iterations at a time, node by node of the body.
fn distribute(band: &mut Band) -> bool {
    if band.mark != Mark::Seq || band.body.len() < 2 {
        return false;
    }
    let members = band.members.clone();
    let body = std::mem::take(&mut band.body).into_iter().map(|node| {
        let own = node.statements().into_iter().map(|s| (s, members[&s].modulo(2))).collect();
        Node::Band(Band { members: own, mark: Mark::Seq, body: vec![node] })
    });
    band.body = body.collect();
    band.members.values_mut().for_each(|v| *v = v.floor_div(2));
    true
}

fn fuse(nodes: &mut Vec<Node>, n: usize) -> bool {
    if n + 1 >= nodes.len() {
        return false;
    }
    let (Node::Band(a), Node::Band(b)) = (nodes[n].clone(), nodes[n + 1].clone()) else { return false };
    if a.mark != Mark::Seq || b.mark != Mark::Seq {
        return false;
    }
    let members = a.members.into_iter().chain(b.members).collect();
    nodes[n] = Node::Band(Band { members, mark: Mark::Seq, body: [a.body, b.body].concat() });
    nodes.remove(n + 1);
    true
}

fn mark(band: &mut Band, to: Mark) -> bool {
    let changed = band.mark == Mark::Seq;
    band.mark = to;
    changed
}

fn drop_barrier(nodes: &mut Vec<Node>, n: usize) -> bool {
    let Some(Band { mark: Mark::Barrier, body, .. }) = band(nodes, n) else { return false };
    let body = std::mem::take(body);
    nodes.splice(n..=n, body);
    true
}

/// Every window one plane smaller, and every dimension of a temporary without one too.
fn shrink(program: &Program, out: &mut Spoilt) {
    for (id, array) in program.arrays().filter(|(_, a)| a.is_temp()) {
        for (d, extent) in array.extents.iter().enumerate() {
            let now = array.fold[d].or(extent.as_constant()).unwrap_or(1);
            if now > 1 && array.placement != Some(Placement::Register) {
                let mut copy = program.clone();
                copy.array_mut(id).fold[d] = Some(now - 1);
                out.push(("shrunk buffer", copy));
            }
        }
    }
}

/// Every two temporaries in one slot.
fn share(program: &Program, out: &mut Spoilt) {
    let temps: Vec<ArrayId> = program
        .arrays()
        .filter(|(_, a)| a.is_temp() && a.placement != Some(Placement::Register))
        .map(|(id, _)| id)
        .collect();
    let free = |id: &ArrayId| program.array(*id).placement.clone();
    for (n, a) in temps.iter().enumerate() {
        for b in temps[n + 1..].iter().filter(|b| free(a).is_none() || free(a) != free(b)) {
            let mut copy = program.clone();
            let slot = free(a).unwrap_or(Placement::Slot(99));
            copy.array_mut(*a).placement = Some(slot.clone());
            copy.array_mut(*b).placement = Some(slot);
            out.push(("shared slot", copy));
        }
    }
}
