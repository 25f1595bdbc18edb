//! A cost model of your own: `cargo run --example cost_model`.
//!
//! This one counts the bytes of temporaries that leave the chip: written and read once each, as often as the loops
//! around say, unless the array is contracted to a window that fits the first-level cache. It compares a program before
//! and after fusion and contraction.

use sirius_polyhedral::program::Placement;
use sirius_polyhedral::script::Script;
use sirius_polyhedral::text::{ConstantPool, parse_program};
use sirius_polyhedral::{Array, Machine, Program, Result, pipeline};

/// Bytes that cross the border of the first-level cache, at typical sizes.
pub fn bytes_moved(program: &Program, machine: &Machine) -> f64 {
    let mut total = 0.0;
    for (_, statement) in program.statements() {
        let instances: f64 = statement.extents.iter().map(|e| program.params.hint(e).max(1) as f64).product();
        let mut touch = |array: &Array| {
            if array.is_temp() && !stays_on_chip(program, array, machine) {
                total += instances * array.dtype.size() as f64;
            }
        };
        touch(program.array(statement.target.array));
        statement.visit_reads(&mut |access| touch(program.array(access.array)));
    }
    total
}

fn stays_on_chip(program: &Program, array: &Array, machine: &Machine) -> bool {
    let planes = array.extents.iter().zip(&array.fold);
    let cells: i64 = planes.map(|(e, fold)| fold.unwrap_or_else(|| program.params.hint(e))).product();
    array.placement == Some(Placement::Register) || cells * array.dtype.size() as i64 <= machine.l1_bytes as i64
}

/// Three operators after one another on an image of 512 by 512.
pub const PROGRAM: &str = r#"
program image
array x: f32[512, 512] input 0
array a: f32[512, 512] temp
array b: f32[512, 512] temp
array y: f32[512, 512] output 0
inputs x
outputs y
S0 [i: 512, j: 512] from Sqrt "/sqrt": a[i, j] = sqrt(x[i, j])
S1 [i: 512, j: 512] from Exp "/exp": b[i, j] = exp(a[i, j] - a[i, 0])
S2 [i: 512, j: 512] from Div "/div": y[i, j] = b[i, j] / b[i, 511]
schedule {
  for [S0: i] { for [S0: j] { S0 } }
  for [S1: i] { for [S1: j] { S1 } }
  for [S2: i] { for [S2: j] { S2 } }
}
"#;

pub fn example() -> Result<String> {
    let machine = sirius_lowering::Target::x86("x86-64-v3").machine;
    let mut script = Script::new(parse_program(PROGRAM, &ConstantPool::default())?, machine.clone())?;
    let mut out = format!("as written: {:.0} bytes\n", bytes_moved(script.program(), &machine));
    // By hand: the first two share both loops, the third can share only one, and the refusal says why.
    for loops in [2, 2, 1] {
        out.push_str(&match script.fuse(&[], 0, loops)? {
            Ok(()) => format!("fused {loops}: {:.0} bytes\n", bytes_moved(script.program(), &machine)),
            Err(violation) => format!("fused {loops}: refused, {violation}\n"),
        });
    }
    let (_, _) = script.pass(pipeline::find("contract")?)?;
    Ok(out + &format!("contracted: {:.0} bytes\n", bytes_moved(script.program(), &machine)))
}

#[allow(dead_code, reason = "the test includes this file and calls `example`")]
fn main() {
    match example() {
        Ok(text) => print!("{text}"),
        Err(error) => eprintln!("error{error}"),
    }
}
