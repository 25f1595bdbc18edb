//! Small programs for the tests of this crate, passes on them, and a loop nest as text and as a trace of instances.

use crate::aff::Aff;
use crate::driver::{DriverOptions, run_passes};
use crate::dtype::DType;
use crate::error::Origin;
use crate::expr::{Access, BinaryOp, Expr, UnaryOp};
use crate::loop_nest::{Condition, LoopNest, Nest};
use crate::machine::Machine;
use crate::param::{Param, ParamDef, ParamId};
use crate::program::{Array, ArrayId, Program, Role, Statement, StatementId, StatementKind};
use crate::schedule_tree::{Band, Mark, Node};
use crate::text::{ConstantPool, parse_program};
use crate::{Remark, RemarkKind, verify};

pub fn i(n: usize) -> Aff {
    Aff::iter(n)
}

pub fn c(value: i64) -> Aff {
    Aff::constant(value)
}

/// A machine with fixed numbers and one thread: what a pass does in a test must not depend on where the test runs.
pub fn machine() -> Machine {
    Machine {
        vector_bytes: 64,
        vector_registers: 32,
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        l3_bytes: 32 << 20,
        threads: 1,
        barrier_ns: 200.0,
        gpu: false,
        byte_dots: false,
        numeric: crate::Numeric::Contract,
    }
}

/// The program of a `.poly` text that has no constants outside.
pub fn parse(text: &str) -> Program {
    parse_program(text, &ConstantPool::default()).unwrap()
}

/// Runs the passes of these names; the program is sound afterwards. What they said.
pub fn run_named(program: &mut Program, passes: &[&str], machine: &Machine) -> Vec<Remark> {
    let passes: Vec<_> = passes.iter().map(|p| crate::pipeline::find(p).unwrap()).collect();
    let remarks = run_passes(program, &passes, machine, DriverOptions::default()).unwrap().remarks;
    verify::verify(program).unwrap();
    remarks
}

/// How often a pass did something.
pub fn applied(remarks: &[Remark], pass: &str) -> usize {
    remarks.iter().filter(|r| r.pass == pass && r.kind == RemarkKind::Applied).count()
}

/// The bytes of so many `f32`, of which neighbours differ.
pub fn numbers(count: i64) -> Vec<u8> {
    (0..count).flat_map(|n| ((n * 37 % 101 - 50) as f32).to_le_bytes()).collect()
}

/// A named input dimension, at least 1.
pub fn dimension(program: &mut Program, name: &str) -> Aff {
    let def = ParamDef::Input { input: 0, axis: 0 };
    Aff::param(program.params.push(Param { name: name.into(), def, min: 1, max: None, hint: 64 }))
}

pub fn param(program: &mut Program, name: &str, def: ParamDef) -> ParamId {
    program.params.push(Param { name: name.into(), def, min: 0, max: None, hint: 64 })
}

pub fn array(program: &mut Program, name: &str, extents: &[Aff]) -> ArrayId {
    program.add_array(Array::new(name, DType::F32, extents.to_vec(), Role::Temp))
}

pub fn at(array: ArrayId, index: &[Aff]) -> Access {
    Access { array, index: index.iter().cloned().map(Expr::Index).collect() }
}

pub fn load(array: ArrayId, index: &[Aff]) -> Expr {
    Expr::Load(at(array, index))
}

pub fn statement(
    program: &mut Program,
    extents: &[Aff],
    kind: StatementKind,
    target: Access,
    value: Expr,
) -> StatementId {
    let dims = (0..extents.len()).map(|d| format!("d{d}")).collect();
    let origin = Origin { node: format!("node{}", program.statement_capacity()), op: "Test".into() };
    let (extents, constraints) = (extents.to_vec(), Vec::new());
    program.add_statement(Statement { dims, extents, constraints, kind, target, value, guard: None, origin })
}

pub const ADD: StatementKind = StatementKind::Reduce(BinaryOp::Add);

pub fn zero() -> Expr {
    Expr::literal(0.0, DType::F32)
}

/// A band with the given value per statement.
pub fn band(mark: Mark, members: &[(StatementId, Aff)], body: Vec<Node>) -> Node {
    Node::Band(Band { members: members.iter().cloned().collect(), mark, body })
}

/// `C[m,n] = sum over k of A[m,k] * B[k,n]`: S0 clears, S1 accumulates, each in its own loops.
pub fn matmul(m: i64, n: i64, k: i64) -> Program {
    let mut p = Program::default();
    let a = array(&mut p, "a", &[c(m), c(k)]);
    let b = array(&mut p, "b", &[c(k), c(n)]);
    let out = array(&mut p, "c", &[c(m), c(n)]);
    let init = statement(&mut p, &[c(m), c(n)], StatementKind::Assign, at(out, &[i(0), i(1)]), zero());
    let product = Expr::binary(BinaryOp::Mul, load(a, &[i(0), i(2)]), load(b, &[i(2), i(1)]));
    let sum = statement(&mut p, &[c(m), c(n), c(k)], ADD, at(out, &[i(0), i(1)]), product);
    p.schedule.roots.extend(Node::loops_of(init, 0, 2));
    p.schedule.roots.extend(Node::loops_of(sum, 0, 3));
    p
}

/// `h[0] = 0; h[t + 1, i] = f(h[t, *])` over `t < steps`: S0 starts, S1 clears, S2 accumulates over the old state.
pub fn recurrence(steps: i64, width: i64) -> Program {
    let mut p = Program::default();
    let h = array(&mut p, "h", &[c(steps + 1), c(width)]);
    let start = statement(&mut p, &[c(width)], StatementKind::Assign, at(h, &[c(0), i(0)]), zero());
    let target = || at(h, &[i(0) + c(1), i(1)]);
    let clear = statement(&mut p, &[c(steps), c(width)], StatementKind::Assign, target(), zero());
    let sum = statement(&mut p, &[c(steps), c(width), c(width)], ADD, target(), load(h, &[i(0), i(2)]));
    p.schedule.roots.extend(Node::loops_of(start, 0, 1));
    let inner = [Node::loops_of(clear, 1, 2), Node::loops_of(sum, 1, 3)].concat();
    p.schedule.roots.push(band(Mark::Seq, &[(clear, i(0)), (sum, i(0))], inner));
    p
}

/// The nest as indented text.
pub fn show(nest: &LoopNest) -> String {
    let mut out = String::new();
    nest.body.iter().for_each(|n| show_node(nest, n, 0, &mut out));
    out
}

fn show_node(nest: &LoopNest, node: &Nest, depth: usize, out: &mut String) {
    let aff = |a: &Aff| a.display(&|p| nest.params.get(p).name.clone(), &|n| format!("c{n}"));
    let list = |affs: &[Aff]| affs.iter().map(aff).collect::<Vec<_>>().join(" | ");
    out.push_str(&"  ".repeat(depth));
    match node {
        Nest::Loop { var, lower, upper, kind, body } => {
            let kind = if *kind == Mark::Seq { String::new() } else { format!(" {kind:?}") };
            out.push_str(&format!("for c{var} in {} .. {}{kind}\n", list(&lower.0), list(&upper.0)));
            body.iter().for_each(|n| show_node(nest, n, depth + 1, out));
        }
        Nest::If { condition, body } => {
            match condition {
                Condition::NonNegative(affs) => out.push_str(&format!("if 0 <= {}\n", list(affs))),
                Condition::Guard(expr) => out.push_str(&format!("if {}\n", show_expr(expr, &aff))),
            }
            body.iter().for_each(|n| show_node(nest, n, depth + 1, out));
        }
        Nest::BreakUnless(expr) => out.push_str(&format!("break unless {}\n", show_expr(expr, &aff))),
        Nest::Compute { statement, target, .. } => {
            out.push_str(&format!("{statement}: {}\n", show_expr(&Expr::Load(target.clone()), &aff)));
        }
    }
}

fn show_expr(expr: &Expr, aff: &dyn Fn(&Aff) -> String) -> String {
    match expr {
        Expr::Index(a) => aff(a),
        Expr::Load(access) => {
            let index: Vec<String> = access.index.iter().map(|e| show_expr(e, aff)).collect();
            format!("{}[{}]", access.array, index.join(", "))
        }
        other => {
            let parts: Vec<String> = other.children().into_iter().map(|e| show_expr(e, aff)).collect();
            format!("op({})", parts.join(", "))
        }
    }
}

/// The instances a nest runs, in order: statement and target element. Guards that load count as true.
pub fn trace(nest: &LoopNest, params: &[i64]) -> Vec<(StatementId, Vec<i64>)> {
    let mut out = Vec::new();
    let mut vars = vec![0; nest.vars as usize];
    nest.body.iter().for_each(|n| trace_node(n, params, &mut vars, &mut out));
    out
}

fn trace_node(node: &Nest, params: &[i64], vars: &mut Vec<i64>, out: &mut Vec<(StatementId, Vec<i64>)>) {
    let value = |a: &Aff, vars: &[i64]| a.eval(&|p| params[p.0 as usize], &|n| vars[n]);
    match node {
        Nest::Loop { var, lower, upper, body, .. } => {
            let lo = lower.0.iter().map(|a| value(a, vars)).max().unwrap();
            let hi = upper.0.iter().map(|a| value(a, vars)).min().unwrap();
            for v in lo..hi {
                vars[*var as usize] = v;
                body.iter().for_each(|n| trace_node(n, params, vars, out));
            }
        }
        Nest::If { condition, body } => {
            let holds = match condition {
                Condition::NonNegative(affs) => affs.iter().all(|a| value(a, vars) >= 0),
                Condition::Guard(test) => integer(test, &|a| value(a, vars)).is_none_or(|v| v != 0),
            };
            if holds {
                body.iter().for_each(|n| trace_node(n, params, vars, out));
            }
        }
        Nest::BreakUnless(_) => {}
        Nest::Compute { statement, target, .. } => {
            let index = target.index.iter().map(|e| value(&e.as_aff().unwrap(), vars)).collect();
            out.push((*statement, index));
        }
    }
}

/// The value of an expression over indices alone.
fn integer(expr: &Expr, value: &dyn Fn(&Aff) -> i64) -> Option<i64> {
    let of = |e: &Expr| integer(e, value);
    Some(match expr {
        Expr::Index(a) => value(a),
        Expr::Unary(UnaryOp::Not, a) => i64::from(of(a)? == 0),
        Expr::Binary(op, a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            match op {
                BinaryOp::And => a & b,
                BinaryOp::Or => a | b,
                BinaryOp::Eq => i64::from(a == b),
                BinaryOp::Lt => i64::from(a < b),
                BinaryOp::Le => i64::from(a <= b),
                BinaryOp::Gt => i64::from(a > b),
                BinaryOp::Ge => i64::from(a >= b),
                BinaryOp::Min => a.min(b),
                BinaryOp::Max => a.max(b),
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                _ => return None,
            }
        }
        Expr::Select(c, a, b) => of(if of(c)? != 0 { a } else { b })?,
        _ => return None,
    })
}

/// `rows` rows, a padded copy of them, and windows of `taps` rows at every `step`-th, in `images` images.
pub fn windows(images: &str, rows: i64, pad: i64, taps: i64, step: i64) -> Program {
    let padded = rows + 2 * pad;
    let out = (padded - taps) / step + 1;
    let inside = format!("and(i - {pad} >= 0, i - {pad} < {rows})");
    let text = format!(
        "\
program windows
param images = input(0, 0) in 1.. hint 1
array x: f32[{images}, {rows}, 256] input 0
array a: f32[{images}, {rows}, 256] temp
array p: f32[{images}, {padded}, 256] temp
array b: f32[{images}, {out}, 256] temp
array y: f32[{images}, {out}, 256] output 0
inputs x
outputs y
S0 [n: {images}, i: {rows}, j: 256]: a[n, i, j] = max(x[n, i, j], 0.0f32)
S1 [n: {images}, i: {padded}, j: 256]: p[n, i, j] = select({inside}, a[n, i - {pad}, 255 - j], 0.0f32)
S2 [n: {images}, i: {out}, j: 256]: b[n, i, j] = 0.0f32
S3 [n: {images}, i: {out}, j: 64, k: {taps}]: b[n, i, j] += p[n, {step}*i + k, j]
S4 [n: {images}, i: {out}, j: 256]: y[n, i, j] = b[n, i, j] * b[n, i, 255 - j]
schedule {{
  for [S0: n] {{ for [S0: i] {{ for [S0: j] {{ S0 }} }} }}
  for [S1: n] {{ for [S1: i] {{ for [S1: j] {{ S1 }} }} }}
  for [S2: n, S3: n] {{ for [S2: i, S3: i] {{ for [S2: j, S3: j] {{ S2 for [S3: k] {{ S3 }} }} }} }}
  for [S4: n] {{ for [S4: i] {{ for [S4: j] {{ S4 }} }} }}
}}
"
    );
    parse(&text)
}
