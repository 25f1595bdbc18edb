//! Which part of a nest runs where: host steps and kernel bodies.
//!
//! A loop marked `Parallel` becomes one kernel, together with the parallel loops directly inside it: these are
//! its threads, everything below runs in one thread. Loops and tests around kernels stay on the host. What holds
//! no parallel loop becomes a kernel of one thread, neighbours together in one.

use sirius_polyhedral::{Bound, Condition, Expr, LoopNest, Mark, Nest, ParamDef, ParamId, VarId};

/// What the host does.
pub enum Host<'a> {
    Launch(Body<'a>),
    Loop { var: VarId, lower: &'a Bound, upper: &'a Bound, body: Vec<Host<'a>> },
    If { condition: &'a Condition, body: Vec<Host<'a>> },
    BreakUnless(&'a Expr),
}

/// The code of one kernel.
pub struct Body<'a> {
    /// Loops whose iterations are threads, outermost first; none for a kernel of one thread.
    pub threads: Vec<Range<'a>>,
    pub nodes: Vec<&'a Nest>,
}

/// One loop of threads; its bounds do not mention the others.
#[derive(Clone, Copy)]
pub struct Range<'a> {
    pub var: VarId,
    pub lower: &'a Bound,
    pub upper: &'a Bound,
}

/// Splits a list of nodes of `nest`.
pub fn split<'a>(nest: &LoopNest, nodes: &'a [Nest]) -> Vec<Host<'a>> {
    let mut steps = Vec::new();
    let mut serial: Vec<&'a Nest> = Vec::new();
    for node in nodes {
        // A parameter that an earlier kernel computes is read by the host between launches.
        if needs_host(nest, node) || uses_late_param(nest, node) {
            flush(&mut serial, &mut steps);
        }
        match needs_host(nest, node) {
            true => steps.push(host_step(nest, node)),
            false => serial.push(node),
        }
    }
    flush(&mut serial, &mut steps);
    steps
}

fn flush<'a>(serial: &mut Vec<&'a Nest>, steps: &mut Vec<Host<'a>>) {
    if !serial.is_empty() {
        steps.push(Host::Launch(Body { threads: Vec::new(), nodes: std::mem::take(serial) }));
    }
}

fn host_step<'a>(nest: &LoopNest, node: &'a Nest) -> Host<'a> {
    match node {
        Nest::Loop { kind: Mark::Parallel, .. } => Host::Launch(threads_of(node)),
        Nest::Loop { var, lower, upper, body, .. } => Host::Loop { var: *var, lower, upper, body: split(nest, body) },
        Nest::If { condition, body } => Host::If { condition, body: split(nest, body) },
        Nest::BreakUnless(guard) => Host::BreakUnless(guard),
        Nest::Compute { .. } => Host::Launch(Body { threads: Vec::new(), nodes: vec![node] }),
    }
}

/// The chain of parallel loops from `node` on, each the only thing in the one before.
fn threads_of(node: &Nest) -> Body<'_> {
    let mut threads: Vec<Range<'_>> = Vec::new();
    let mut nodes = vec![node];
    while let [Nest::Loop { var, lower, upper, kind: Mark::Parallel, body }] = nodes.as_slice() {
        let free = threads.iter().all(|t| !mentions(lower, t.var) && !mentions(upper, t.var));
        if !free {
            break;
        }
        threads.push(Range { var: *var, lower, upper });
        nodes = body.iter().collect();
    }
    Body { threads, nodes }
}

fn mentions(bound: &Bound, var: VarId) -> bool {
    bound.0.iter().any(|a| a.uses_iter(var as usize))
}

/// Must the host itself run this node? It holds a kernel of many threads, leaves a host loop, or computes a
/// parameter that it uses as well.
fn needs_host(nest: &LoopNest, node: &Nest) -> bool {
    holds_parallel(node) || leaves(node) || computes_own_param(nest, node)
}

fn holds_parallel(node: &Nest) -> bool {
    let mut found = false;
    node.visit(&mut |n| found |= matches!(n, Nest::Loop { kind: Mark::Parallel, .. }));
    found
}

/// Is there a `BreakUnless` for a loop around this node?
fn leaves(node: &Nest) -> bool {
    match node {
        Nest::BreakUnless(_) => true,
        Nest::If { body, .. } => body.iter().any(leaves),
        Nest::Loop { .. } | Nest::Compute { .. } => false,
    }
}

fn computes_own_param(nest: &LoopNest, node: &Nest) -> bool {
    let sources = late_sources(nest, node);
    let mut found = false;
    node.visit(&mut |n| {
        if let Nest::Compute { target, .. } = n {
            found |= sources.contains(&nest.arrays[target.array.0 as usize].name);
        }
    });
    found
}

fn uses_late_param(nest: &LoopNest, node: &Nest) -> bool {
    !late_sources(nest, node).is_empty()
}

/// Names of the arrays from which parameters that the node mentions are read at run time.
fn late_sources(nest: &LoopNest, node: &Nest) -> Vec<String> {
    let mut sources = Vec::new();
    super::uses::Uses::of(nest, &[node]).params.into_iter().for_each(|p| push_sources(nest, p, &mut sources));
    sources
}

fn push_sources(nest: &LoopNest, param: ParamId, sources: &mut Vec<String>) {
    match &nest.params.get(param).def {
        ParamDef::Value { array } => sources.push(array.clone()),
        ParamDef::Input { .. } | ParamDef::Content { .. } => {}
        ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Max(a, b) | ParamDef::Min(a, b) => {
            let mut inner = Vec::new();
            [a, b].into_iter().for_each(|aff| aff.visit_params(&mut |p| inner.push(p)));
            inner.into_iter().for_each(|p| push_sources(nest, p, sources));
        }
    }
}
