//! A search over fusions: `cargo run --example search_fusions`.
//!
//! Every way to share loops between neighbouring nests is tried, one after another, and the cheapest legal program by the
//! cost model of the example `cost_model` is kept. What is not legal says so with two instances.

#[path = "cost_model.rs"]
pub mod cost_model;

use sirius_polyhedral::script::Script;
use sirius_polyhedral::text::{ConstantPool, parse_program};
use sirius_polyhedral::{Error, Machine, Node, Program, Result, pipeline};

/// What was found, and how many programs were looked at.
pub struct Found {
    pub program: Program,
    pub bytes: f64,
    pub legal: usize,
    pub refused: Vec<String>,
}

/// Depth first: every legal fusion of two neighbouring roots is a program to go on from.
pub fn search(start: &Program, machine: &Machine) -> Result<Found> {
    let mut found = Found { program: start.clone(), bytes: cost(start, machine)?, legal: 0, refused: Vec::new() };
    visit(start, machine, &mut found)?;
    Ok(found)
}

fn visit(program: &Program, machine: &Machine, found: &mut Found) -> Result<()> {
    for at in 0..program.schedule.roots.len().saturating_sub(1) {
        for loops in 1.. {
            let mut script = Script::new(program.clone(), machine.clone())?;
            match script.fuse(&[], at, loops) {
                // There are no more loops to share.
                Err(Error::Invalid(_)) => break,
                Err(error) => return Err(error),
                Ok(Err(violation)) => {
                    found.refused.push(format!("roots {at} and {}, {loops} loops: {violation}", at + 1))
                }
                Ok(Ok(())) => {
                    found.legal += 1;
                    let next = script.into_program();
                    let bytes = cost(&next, machine)?;
                    if bytes < found.bytes {
                        (found.program, found.bytes) = (next.clone(), bytes);
                    }
                    visit(&next, machine, found)?;
                }
            }
        }
    }
    Ok(())
}

/// Bytes moved once arrays are contracted.
fn cost(program: &Program, machine: &Machine) -> Result<f64> {
    let mut script = Script::new(program.clone(), machine.clone())?;
    let (_, _) = script.pass(pipeline::find("contract")?)?;
    Ok(cost_model::bytes_moved(script.program(), machine))
}

pub fn example() -> Result<String> {
    let machine = sirius_lowering::Target::x86("x86-64-v3").machine;
    let start = parse_program(cost_model::PROGRAM, &ConstantPool::default())?;
    let before = cost(&start, &machine)?;
    let found = search(&start, &machine)?;
    let nests = |p: &Program| p.schedule.roots.iter().filter(|n| matches!(n, Node::Band(_))).count();
    let mut out = format!("{} legal programs, {} refused\n", found.legal, found.refused.len());
    out.push_str(&format!("best: {} nests, {:.0} bytes instead of {before:.0}\n", nests(&found.program), found.bytes));
    found.refused.iter().for_each(|why| out.push_str(&format!("refused: {why}\n")));
    Ok(out)
}

#[allow(dead_code, reason = "the test includes this file and calls `example`")]
fn main() {
    match example() {
        Ok(text) => print!("{text}"),
        Err(error) => eprintln!("error{error}"),
    }
}
