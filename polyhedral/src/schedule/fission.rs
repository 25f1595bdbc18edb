//! `fission`: nests that share loops are parted again where the layouts chosen meanwhile make them cheaper apart.
//!
//! Rewrite: `for i { A; B }` becomes `for i { A }  for i { B }`. Legal where the loop is parallel: what `B` reads of `A` comes
//! from its own iteration, so that `A` still comes first. Wanted by the model that `fuse` asks (see [`crate::cost::merging`]).
//! `fuse` asks it of the layouts that extraction made; where `layout` has put the elements of a shared loop side by side
//! since, none of the loops inside may be left to make vectors of. Source: loop fission, Kennedy and McKinley (1993).

use super::group::{self, reads, writes};
use crate::cost::merging::Merging;
use crate::error::Result;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program};
use crate::schedule_tree::{Band, Node};
use std::collections::HashSet;

pub struct Fission;

impl Pass for Fission {
    fn name(&self) -> &'static str {
        "fission"
    }

    fn summary(&self) -> &'static str {
        "part nests that share loops where their layouts suit other loops"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if !context.machine.gpu {
            let mut roots = std::mem::take(&mut program.schedule.roots);
            part_list(program, &mut roots, &mut Vec::new(), context);
            program.schedule.roots = roots;
        }
        Ok(())
    }
}

/// Parts the nodes of a list inside the bands `around`, inner ones first. The program's own tree is empty meanwhile.
fn part_list(program: &mut Program, nodes: &mut Vec<Node>, around: &mut Vec<Band>, context: &mut PassContext) {
    let mut at = 0;
    while at < nodes.len() {
        if let Node::Band(band) = &mut nodes[at] {
            around.push(Band { body: vec![], ..band.clone() });
            part_list(program, &mut band.body, around, context);
            around.pop();
        }
        while let Some([first, second]) = cut(program, &nodes[at], around, context) {
            nodes.splice(at..=at, [first, second]);
            at += 1;
        }
        at += 1;
    }
}

/// What parting must save: estimates are not exact.
const LEAST_GAIN: f64 = 0.05;

/// The two parts of a loop, at the first place where they are cheaper.
fn cut(program: &mut Program, node: &Node, around: &[Band], context: &mut PassContext) -> Option<[Node; 2]> {
    let Node::Band(band) = node else { return None };
    let outer: Vec<&Band> = around.iter().collect();
    if band.body.len() < 2 || !group::is_parallel_inside(program, band, &outer) {
        return None;
    }
    (1..band.body.len()).find_map(|n| {
        let parts = [part(band, &band.body[..n]), part(band, &band.body[n..])];
        // What has no loop of its own but for a sum belongs to the tile of its neighbour.
        if parts.iter().any(|part| group::parallel_depth(program, part) < 2) {
            return None;
        }
        let made = writes(program, &parts[0]);
        let flows: Vec<ArrayId> = reads(program, &parts[1]).intersection(&made).copied().collect();
        let pair = Merging { nodes: [&parts[0], &parts[1]], depth: 1, around, settled: true };
        let cycles = pair.by_flow(program, &flows, context.machine);
        if cycles.apart > (1.0 - LEAST_GAIN) * cycles.fused {
            return None;
        }
        let subject = parts[1].statements().first().map(|s| program.statement(*s).origin.clone()).unwrap_or_default();
        context.applied("fission", &subject, format!("leaves a loop: {:.0} cycles saved", -cycles.gain()));
        Some(parts)
    })
}

/// The loop around some of its nodes.
fn part(band: &Band, body: &[Node]) -> Node {
    let own: HashSet<_> = body.iter().flat_map(Node::statements).collect();
    let members = band.members.iter().filter(|(s, _)| own.contains(s)).map(|(s, v)| (*s, v.clone())).collect();
    Node::Band(Band { members, mark: band.mark, body: body.to_vec() })
}
