//! `map-gpu`: mark the loops of every nest that become the threads of a launch.
//!
//! The outermost chain of parallel loops of each nest is marked [`Mark::Parallel`]; lowering flattens the
//! chain into blocks and threads. Loops around it that carry dependences (time loops) stay on the host and
//! launch once per iteration. Loops inside it run in one thread. A first mapping: no shared memory, no
//! tiling; it exists so that the same program serves both targets. Legal because a parallel loop carries no
//! dependence (checked again by the legality checker).

use super::group;
use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::Program;
use crate::schedule_tree::{Mark, Node};

pub struct MapGpu;

impl Pass for MapGpu {
    fn name(&self) -> &'static str {
        "map-gpu"
    }

    fn summary(&self) -> &'static str {
        "mark parallel loops as threads of a launch (GPU targets)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if context.machine.gpu {
            let mut roots = std::mem::take(&mut program.schedule.roots);
            map_list(program, &mut roots, context, self.name());
            program.schedule.roots = roots;
        }
        Ok(())
    }
}

fn map_list(program: &Program, nodes: &mut [Node], context: &mut PassContext, pass: &'static str) {
    for node in nodes {
        let threads = mark_chain(program, node);
        let subject = node.statements().first().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
        match node {
            _ if threads > 0 => context.applied(pass, &subject, format!("{threads} loops become threads")),
            Node::Band(band) => map_list(program, &mut band.body, context, pass),
            Node::Leaf(_) => {}
        }
    }
}

/// Marks the chain of parallel bands that starts at `node`; returns its length.
fn mark_chain(program: &Program, node: &mut Node) -> usize {
    let Node::Band(band) = node else { return 0 };
    if !group::is_parallel(program, band) {
        return 0;
    }
    band.mark = Mark::Parallel;
    match band.body.as_mut_slice() {
        [inner] => 1 + mark_chain(program, inner),
        _ => 1,
    }
}
