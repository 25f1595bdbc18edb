//! Prints what must run before what in a program: `cargo run --example print_dependences [FILE.poly]`.
//!
//! `sirius compile MODEL -o OUT --dump-dir D` writes such files. Without one, a small recurrence is taken.

use sirius_polyhedral::isl::Ctx;
use sirius_polyhedral::text::{ConstantPool, parse_program};
use sirius_polyhedral::{Result, deps};

/// `h[t + 1] = tanh(h[t] + x[t])`, and the last state.
const RECURRENCE: &str = r#"
program recurrence
param steps = input(0, 0) in 1.. hint 100
array x: f32[steps, 64] input 0
array h: f32[steps + 1, 64] temp
array y: f32[64] output 0
inputs x
outputs y
S0 [j: 64]: h[0, j] = 0.0f32
S1 [t: steps, j: 64]: h[t + 1, j] = tanh(h[t, j] + x[t, j])
S2 [j: 64]: y[j] = h[steps, j]
schedule {
  for [S0: j] { S0 }
  for [S1: t] { for [S1: j] { S1 } }
  for [S2: j] { S2 }
}
"#;

/// One line per dependence: source, sink, kind, array, and the relation of the instances.
pub fn dependences(text: &str) -> Result<String> {
    let program = parse_program(text, &ConstantPool::default())?;
    let ctx = Ctx::new()?;
    let line = |d: &deps::Dependence| {
        let array = &program.array(d.array).name;
        format!("{} -> {} {:?} through {array}\n    {}\n", d.source, d.sink, d.kind, d.relation)
    };
    Ok(deps::dependences(&program, &ctx)?.iter().map(line).collect())
}

pub fn example() -> Result<String> {
    dependences(RECURRENCE)
}

#[allow(dead_code, reason = "the test includes this file and calls `example`")]
fn main() {
    let text = std::env::args().nth(1).map(|file| std::fs::read_to_string(file).expect("the file can be read"));
    match text.map_or_else(example, |text| dependences(&text)) {
        Ok(lines) => print!("{lines}"),
        Err(error) => eprintln!("error{error}"),
    }
}
