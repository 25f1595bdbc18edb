//! Program -> [`LoopNest`]: the schedule tree as loops.
//!
//! isl computes bounds and conditions (Grosser, Verdoolaege, Cohen, "Polyhedral AST generation is more than
//! scanning polyhedra", TOPLAS 2015); we translate its syntax tree. Every band is *atomic*, so one band becomes
//! one loop with all its statements, tests inside where their domains differ: passes decide about peeling and
//! splitting, not the generator. Roots are generated one by one, because nothing is shared between them. Loops of
//! one iteration disappear into the subscripts. At the end `guards.rs` places the data-dependent conditions.

mod convert;
mod expr;
mod scan;

use crate::error::{Error, Result};
use crate::guards;
use crate::isl::text::{Names, param_name};
use crate::isl::{AstBuild, Ctx, Schedule, Set};
use crate::loop_nest::LoopNest;
use crate::param::ParamId;
use crate::program::{Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use convert::Converter;
use std::collections::{BTreeSet, HashMap};

/// isl operations for one root: a few seconds. The hardest root of 45 real models needs less than a hundredth.
const OPERATIONS: u64 = 5_000_000;

/// The loop nest of the schedule tree, which must be structurally valid (`verify`) and legal.
pub fn generate(program: &Program) -> Result<LoopNest> {
    generate_within(program, OPERATIONS)
}

/// The same with at most `operations` isl operations for each root; a root that needs more is written by `scan`.
pub fn generate_within(program: &Program, operations: u64) -> Result<LoopNest> {
    let ctx = Ctx::new()?;
    let names = Names::new(program);
    let params = used_params(program);
    let build = AstBuild::new(&Set::read(&ctx, &names.context(&params))?)?;
    let spelled = program.params.iter().map(|(id, p)| (param_name(p), id)).collect::<HashMap<_, _>>();
    let mut converter = Converter::new(program, spelled);
    for root in &program.schedule.roots {
        let mut tree = TreeBuilder { program, names: &names, ctx: &ctx, marks: Vec::new() };
        // isl would leave out a barrier with nothing to run inside; at the root all the others rely on it.
        let (around, schedule) = match root {
            Node::Band(Band { mark: Mark::Barrier, body, .. }) => (Mark::Barrier, tree.list(body, 0)?),
            other => (Mark::Seq, tree.node(other, 0)?),
        };
        let budget = ctx.budget(operations);
        let ast = build.generate(schedule);
        drop(budget);
        match ast {
            Ok(ast) => converter.root(&ast, &tree.marks, around),
            Err(Error::Limit(_)) => {
                tracing::warn!("isl reached its operation quota: plain loops with tests inside are slower");
                scan::scan(program, &mut converter, root).map(|nests| converter.extend(nests))
            }
            Err(error) => Err(error),
        }
        .map_err(|e| place(program, root, e))?;
    }
    let (mut body, vars) = converter.finish();
    guards::place(program, &mut body);
    Ok(LoopNest {
        name: program.name.clone(),
        params: program.params.clone(),
        arrays: program.arrays().map(|(_, a)| a.clone()).collect(),
        inputs: program.inputs.clone(),
        outputs: program.outputs.clone(),
        body,
        vars,
    })
}

/// Says which statement a failure of isl is about: the first one below `node`.
fn place(program: &Program, node: &Node, error: Error) -> Error {
    match node.statements().first() {
        Some(id) => error.at(&program.statement(*id).origin),
        None => error,
    }
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

/// A band that is not sequential: how its loop is marked, and the loop's depth, which is its number in isl.
#[derive(Clone, Copy)]
struct MarkedBand {
    mark: Mark,
    depth: usize,
}

/// Builds isl's schedule tree. Bands that are not sequential get a mark `m<index into marks>`.
struct TreeBuilder<'a> {
    program: &'a Program,
    names: &'a Names<'a>,
    ctx: &'a Ctx,
    marks: Vec<MarkedBand>,
}

impl TreeBuilder<'_> {
    fn node(&mut self, node: &Node, depth: usize) -> Result<Schedule> {
        match node {
            Node::Leaf(id) => Schedule::leaf(self.ctx, &self.names.domain_text(*id)),
            Node::Band(band) => {
                let body = self.list(&band.body, depth + 1)?;
                let mark = (band.mark != Mark::Seq).then(|| {
                    self.marks.push(MarkedBand { mark: band.mark, depth });
                    format!("m{}", self.marks.len() - 1)
                });
                body.band(&self.partial(band), mark.as_deref())
            }
        }
    }

    fn list(&mut self, nodes: &[Node], depth: usize) -> Result<Schedule> {
        Schedule::sequence(nodes.iter().map(|n| self.node(n, depth)).collect::<Result<Vec<_>>>()?)
    }

    /// `[N] -> [{ S1[i0] -> [(i0)]; S2[i0] -> [(i0 + 1)] }]`.
    fn partial(&self, band: &Band) -> String {
        let mut params = BTreeSet::new();
        let member = |(id, value): (&StatementId, &crate::aff::Aff)| {
            value.visit_params(&mut |p| {
                params.insert(p);
            });
            format!("{} -> [({})]", self.names.tuple(*id), self.names.aff(value))
        };
        let members: Vec<String> = band.members.iter().map(member).collect();
        debug_assert!(band.members.keys().all(|id| self.program.statements().any(|(s, _)| s == *id)));
        format!("{}[{{ {} }}]", self.names.header(&params), members.join("; "))
    }
}

#[cfg(test)]
mod tests;
