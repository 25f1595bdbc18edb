//! Types, shapes and the contents of shape tensors, for a draft graph.
//!
//! Inference runs over the graph from the start, with a set of [`Known`] facts about the named dimensions.
//! When an operator needs a fact that does not hold yet (two inputs must have one batch size, a sequence must
//! not be longer than the position table), the attempt stops, the fact is added, and inference starts again:
//! so every fact is checked at run time, as the shape or the range of a graph input, and holds everywhere.

mod agree;
mod amounts;
mod arithmetic;
mod assume;
mod axes;
mod batch_scan;
mod carried;
mod compose;
mod contents;
mod context;
mod control;
mod conv;
mod counted;
mod counter;
mod elementwise;
mod finish;
mod function;
mod generate;
mod grow;
mod indexing;
mod layout;
mod legacy;
mod linear;
mod normalize;
mod params;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod sequence;
mod single;
mod site;
mod table;
mod unpool;
mod unroll;
mod walk;

use super::ImportOptions;
use super::build::Draft;
use crate::graph::Graph;
use assume::Known;
pub use assume::Range;
use context::{Context, Stop};
pub use sequence::Composite;
use sirius_polyhedral::{Error, Result};

/// Facts are few (one per named dimension, and one per undecided branch); more attempts mean a mistake of ours.
const ATTEMPTS: usize = 256;

/// Domain and name of every operator that inference has a rule for.
pub fn known_operators() -> Vec<(&'static str, &'static str)> {
    let standard = ["Identity", "If", "Loop", "Scan"].into_iter().chain(table::names()).chain(sequence::names());
    standard.map(|op| ("", op)).chain(function::names()).collect()
}

pub fn infer(draft: Draft, options: &ImportOptions) -> Result<Graph> {
    params::check_options(&draft, options)?;
    let mut known = Known::default();
    // Facts to go back to where a guessed branch leads to a contradiction.
    let mut alternatives: Vec<Known> = Vec::new();
    for _ in 0..ATTEMPTS {
        match attempt(&draft, options, &known) {
            Ok(graph) => return Ok(graph),
            Err(Stop::Restart(fact)) => {
                alternatives.extend(known.otherwise(&fact));
                known.add(fact);
            }
            Err(Stop::Error(error)) => match (error, alternatives.pop()) {
                (Error::Invalid(_), Some(other)) => known = other,
                (error, _) => return Err(error),
            },
        }
    }
    Err(Error::unsupported("E112", "the dimensions depend on each other in too many ways")
        .help("fix the input sizes with --dim name=value"))
}

fn attempt(draft: &Draft, options: &ImportOptions, known: &Known) -> std::result::Result<Graph, Stop> {
    let mut context = Context::new(&draft.graph, known, &options.limits);
    params::declare(&mut context, draft, options)?;
    let main = std::mem::take(&mut context.graph.main);
    let (main, names) = context.main_block(main, draft)?;
    let mut graph = context.finish(main, &names)?;
    crate::graph::compact::compact(&mut graph);
    Ok(graph)
}
