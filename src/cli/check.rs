//! `sirius check`: everything unsupported in a model, at once.

use crate::cli::Outcome;
use crate::cli::args::CheckArgs;
use crate::compile::import;
use crate::extract::unsupported_nodes;
use crate::graph::{Attribute, Block, Graph};
use crate::report::{render, session::Session};

pub fn command(args: &CheckArgs) -> Outcome {
    let graph = import(&args.model, &args.open.options(), &mut Session::default())?;
    let errors = unsupported_nodes(&graph)?;
    if errors.is_empty() {
        render::out(&format!("{}: supported, {} nodes\n", args.model.display(), count_nodes(&graph)));
        return Ok(0);
    }
    for error in &errors {
        render::print_error(error);
    }
    eprintln!("{}: {} of {} nodes are not supported", args.model.display(), errors.len(), count_nodes(&graph));
    Ok(3)
}

/// Nodes in all blocks.
pub fn count_nodes(graph: &Graph) -> usize {
    let mut count = 0;
    visit_nodes(&graph.main, &mut |_| count += 1);
    count
}

/// Calls `visit` on every node, those of subgraphs included.
pub fn visit_nodes(block: &Block, visit: &mut dyn FnMut(&crate::graph::Node)) {
    for node in &block.nodes {
        visit(node);
        for attribute in node.attributes.values() {
            if let Attribute::Block(inner) = attribute {
                visit_nodes(inner, visit);
            }
        }
    }
}
