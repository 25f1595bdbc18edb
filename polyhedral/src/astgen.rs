//! Program -> [`LoopNest`]: the schedule tree as loops.
//!
//! isl computes bounds and conditions (Grosser, Verdoolaege, Cohen, "Polyhedral AST generation is more than
//! scanning polyhedra", TOPLAS 2015); we translate its syntax tree. Every band is *atomic*, so one band becomes
//! one loop with all its statements, tests inside where their domains differ: passes decide about peeling and
//! splitting, not the generator. Roots are generated one by one, because nothing is shared between them, and equal
//! ones (the layers of a network) once. Where isl needs too many operations, `scan` writes the loops without it, and a
//! remark says so. Loops of one iteration disappear into the subscripts. At the end `guards.rs` places the
//! data-dependent conditions.

mod convert;
mod expr;
mod scan;
mod tree;

use crate::error::{Error, Origin, Result};
use crate::guards;
use crate::isl::text::{Names, param_name};
use crate::isl::{AstBuild, AstNode, Ctx, Set};
use crate::loop_nest::LoopNest;
use crate::param::ParamId;
use crate::pass::{Remark, RemarkKind};
use crate::program::Program;
use crate::schedule_tree::{Band, Node};
use convert::Converter;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use tree::{Root, Tree};

/// The name of this phase in remarks, as in the table of times.
const NAME: &str = "loops";

/// isl operations for one root: a few seconds. The hardest root of 45 real models needs less than a hundredth.
pub const OPERATIONS: u64 = 5_000_000;

/// The loop nest of the schedule tree, which must be structurally valid (`verify`) and legal. `Error::Limit` names a root
/// that isl does not write within its quota and that is no plain nest of loops either; other errors are bugs.
pub fn generate(program: &Program) -> Result<LoopNest> {
    generate_within(program, OPERATIONS).map(|(nest, _)| nest)
}

/// The same with at most `operations` isl operations for each root. A root that needs more is written by `scan`, and a
/// remark says so.
pub fn generate_within(program: &Program, operations: u64) -> Result<(LoopNest, Vec<Remark>)> {
    let ctx = Ctx::new()?;
    let params = used_params(program);
    let build = AstBuild::new(&Set::read(&ctx, &Names::new(program).context(&params))?)?;
    let spelled = program.params.iter().map(|(id, p)| (param_name(p), id)).collect::<HashMap<_, _>>();
    let mut converter = Converter::new(program, spelled);
    let mut made: HashMap<Tree, Option<AstNode>> = HashMap::new();
    let mut remarks = Vec::new();
    for node in &program.schedule.roots {
        let root = Root::new(program, node);
        let ast = match made.entry(root.tree.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let ast = loops(&ctx, &build, entry.key(), operations).map_err(|e| place(program, node, e))?;
                entry.insert(ast)
            }
        };
        match ast {
            Some(ast) => converter.root(ast, &root),
            None => {
                remarks.push(slow(program, node, operations));
                scan::scan(program, &mut converter, node).map(|nests| converter.extend(nests))
            }
        }
        .map_err(|e| place(program, node, e))?;
    }
    let (mut body, vars) = converter.finish();
    guards::place(program, &mut body);
    let nest = LoopNest {
        name: program.name.clone(),
        params: program.params.clone(),
        arrays: program.arrays().map(|(_, a)| a.clone()).collect(),
        inputs: program.inputs.clone(),
        outputs: program.outputs.clone(),
        body,
        vars,
    };
    Ok((nest, remarks))
}

/// isl's syntax tree, or nothing where its operations do not suffice.
fn loops(ctx: &Ctx, build: &AstBuild, tree: &Tree, operations: u64) -> Result<Option<AstNode>> {
    let schedule = tree.schedule(ctx)?;
    let _budget = ctx.budget(operations);
    match build.generate(schedule) {
        Ok(ast) => Ok(Some(ast)),
        Err(Error::Limit(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What stands for a root in messages: its first statement.
fn origin<'p>(program: &'p Program, node: &Node) -> Option<&'p Origin> {
    node.statements().first().map(|id| &program.statement(*id).origin)
}

/// Says which statement a failure of isl is about.
fn place(program: &Program, node: &Node, error: Error) -> Error {
    match origin(program, node) {
        Some(origin) => error.at(origin),
        None => error,
    }
}

/// Says that `scan` wrote a root. It is correct, but nothing else in the pipeline shows why it runs slowly.
fn slow(program: &Program, node: &Node, operations: u64) -> Remark {
    let reason =
        format!("isl needs more than {operations} operations: plain loops with tests inside, which are slower");
    let subject = origin(program, node).cloned().unwrap_or_default();
    Remark { kind: RemarkKind::Missed, pass: NAME, subject, reason }
}

/// Parameters of domains and bands.
fn used_params(program: &Program) -> BTreeSet<ParamId> {
    let mut out = BTreeSet::new();
    let mut visit = |a: &crate::aff::Aff| {
        a.visit_params(&mut |p| {
            out.insert(p);
        })
    };
    for (_, statement) in program.statements() {
        statement.extents.iter().chain(&statement.constraints).for_each(&mut visit);
    }
    program
        .schedule
        .roots
        .iter()
        .for_each(|node| visit_bands(node, &mut |band| band.members.values().for_each(&mut visit)));
    out
}

fn visit_bands(node: &Node, visit: &mut dyn FnMut(&Band)) {
    if let Node::Band(band) = node {
        visit(band);
        band.body.iter().for_each(|n| visit_bands(n, visit));
    }
}

#[cfg(test)]
mod tests;
