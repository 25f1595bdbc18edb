//! A pass of your own: `cargo run --example write_a_pass`.
//!
//! `unroll-short` marks innermost loops of at most four iterations to be copied out. A pass is a unit struct with a
//! name; it changes the program and says what it did. The script runs it between the passes of the compiler, proves
//! the result legal, and shows what happens when a pass gets it wrong.

use sirius_polyhedral::script::Script;
use sirius_polyhedral::text::{ConstantPool, parse_program, print_program};
use sirius_polyhedral::{Band, Mark, Node, Pass, PassContext, Program, Result, pipeline};

/// Copies out innermost loops of a few iterations.
pub struct UnrollShort;

const MAX_ITERATIONS: i64 = 4;

impl Pass for UnrollShort {
    fn name(&self) -> &'static str {
        "unroll-short"
    }

    fn summary(&self) -> &'static str {
        "copy out innermost loops of at most four iterations"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let mut roots = std::mem::take(&mut program.schedule.roots);
        let mut marked = 0;
        visit(&mut roots, &mut |band| {
            if band.body.iter().all(|n| matches!(n, Node::Leaf(_))) && is_short(program, band) {
                band.mark = Mark::Unroll;
                marked += 1;
            }
        });
        program.schedule.roots = roots;
        let subject = sirius_polyhedral::Origin { node: program.name.clone(), op: "model".into() };
        context.applied(self.name(), &subject, format!("{marked} loops"));
        Ok(())
    }
}

fn is_short(program: &Program, band: &Band) -> bool {
    let extent =
        |(id, value): (_, &sirius_polyhedral::Aff)| program.statement(id).extents[value.as_iter()?].as_constant();
    band.mark == Mark::Seq && band.members.iter().all(|(id, v)| extent((*id, v)).is_some_and(|e| e <= MAX_ITERATIONS))
}

fn visit(nodes: &mut [Node], change: &mut dyn FnMut(&mut Band)) {
    for node in nodes {
        if let Node::Band(band) = node {
            change(band);
            visit(&mut band.body, change);
        }
    }
}

/// A pass with a mistake: it runs every loop backwards.
struct Backwards;

impl Pass for Backwards {
    fn name(&self) -> &'static str {
        "backwards"
    }

    fn summary(&self) -> &'static str {
        "run every loop backwards (wrong for recurrences)"
    }

    fn run(&self, program: &mut Program, _: &mut PassContext) -> Result<()> {
        visit(&mut program.schedule.roots, &mut |band| band.members.values_mut().for_each(|v| *v = -v.clone()));
        Ok(())
    }
}

const PROGRAM: &str = r#"
program moving_average
array x: f32[100, 3] input 0
array h: f32[101, 3] temp
array y: f32[3] output 0
inputs x
outputs y
S0 [c: 3]: h[0, c] = 0.0f32
S1 [t: 100, c: 3]: h[t + 1, c] = h[t, c] * 0.9f32 + x[t, c] * 0.1f32
S2 [c: 3]: y[c] = h[100, c]
schedule {
  for [S0: c] { S0 }
  for [S1: t] { for [S1: c] { S1 } }
  for [S2: c] { S2 }
}
"#;

pub fn example() -> Result<String> {
    let machine = sirius_lowering::Target::x86("x86-64-v3").machine;
    let mut script = Script::new(parse_program(PROGRAM, &ConstantPool::default())?, machine)?;
    let mut out = String::new();
    for pass in [pipeline::find("fuse")?, &UnrollShort, &Backwards, pipeline::find("contract")?] {
        let (verdict, report) = script.pass(pass)?;
        out.push_str(&match verdict {
            Ok(()) => format!("{}: legal\n", pass.name()),
            Err(violation) => format!("{}: refused, {violation}\n", pass.name()),
        });
        report.remarks.iter().for_each(|r| out.push_str(&format!("  {}: {}\n", r.subject, r.reason)));
    }
    Ok(out + &print_program(script.program(), &mut ConstantPool::default()))
}

#[allow(dead_code, reason = "the test includes this file and calls `example`")]
fn main() {
    match example() {
        Ok(text) => print!("{text}"),
        Err(error) => eprintln!("error{error}"),
    }
}
