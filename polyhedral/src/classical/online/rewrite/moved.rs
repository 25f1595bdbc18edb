//! Nests that make what only the group reads: their statements run inside it.

use super::Builder;
use super::space::Level;
use crate::aff::Aff;
use crate::classical::online::find::Role;
use crate::expr::Access;
use crate::program::{Renaming, Statement, StatementId};
use crate::schedule_tree::{Band, Mark, Node, Schedule};
use crate::transform;
use std::collections::BTreeMap;

impl Builder<'_> {
    /// Gives the statements that move their new iterators, and their nests only the loops inside a block.
    pub fn move_nests(&mut self) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        for root in &self.program.schedule.roots {
            let mut kept = Schedule { roots: vec![root.clone()] };
            root.statements().iter().filter(|s| !self.cluster.moved.contains_key(*s)).for_each(|s| kept.remove(*s));
            nodes.extend(kept.roots);
        }
        let mut maps = BTreeMap::new();
        for (id, place) in &self.cluster.moved {
            let old = self.program.statement(*id).clone();
            let others = (0..old.extents.len()).filter(|d| place.role(*d) == Role::Other);
            let order: Vec<usize> = [place.key].into_iter().chain(others).collect();
            let frame = self.space.frame(&old, place, &order);
            let index = old.target.index.iter().map(|e| self.space.renamed(e, &frame)).collect();
            let target = self.space.in_blocks(Access { array: old.target.array, index }, frame.key);
            let value = self.space.renamed(&old.value, &frame);
            let (dims, extents) = frame.dims.into_iter().unzip();
            let mut new = Statement { dims, extents, constraints: frame.constraints, target, value, ..old };
            transform::simplify(&mut new, &self.program.params);
            *self.program.statement_mut(*id) = new;
            self.program.schedule.remove(*id);
            self.inside.push(*id);
            let values = frame.map.clone();
            self.program.history.renamings.push(Renaming::Taken { statement: *id, was: *id, values });
            maps.insert(*id, frame.map);
        }
        for (array, roles) in &self.cluster.inside {
            let extents = &self.program.array(*array).extents;
            let new: Vec<Aff> =
                extents.iter().zip(roles).flat_map(|(e, role)| self.space.split_extent(e, *role)).collect();
            let array = self.program.array_mut(*array);
            array.fold = vec![None; new.len()];
            array.extents = new;
        }
        let nodes = nodes.into_iter().map(|node| self.inner_loops(node, &maps)).collect::<Option<Vec<Vec<Node>>>>()?;
        Some(nodes.concat())
    }

    /// The loops of a nest that moves: those over rows and keys run inside a block, or are around all already.
    fn inner_loops(&self, node: Node, maps: &BTreeMap<StatementId, Vec<Aff>>) -> Option<Vec<Node>> {
        let Node::Band(band) = node else { return Some(vec![node]) };
        let mut roles = band.members.iter().map(|(s, value)| {
            let place = &self.cluster.moved[s];
            value.as_iter().map(|d| place.role(d))
        });
        let role = roles.next()??;
        if band.mark != Mark::Seq || !roles.all(|r| r == Some(role)) {
            return None;
        }
        let body = band.body.into_iter().map(|n| self.inner_loops(n, maps)).collect::<Option<Vec<Vec<Node>>>>()?;
        let value = |s: &StatementId, old: &Aff| match role {
            Role::Row(_) => Aff::iter(self.space.inner()),
            Role::Key => Aff::iter(self.space.free(Level::Keys)),
            Role::Other => old.substitute(&|d| maps[s][d].clone()),
        };
        match role {
            Role::Row(r) if r != self.space.last_row() => Some(body.concat()),
            _ => {
                let members = band.members.iter().map(|(s, old)| (*s, value(s, old))).collect();
                Some(vec![Node::Band(Band { members, mark: Mark::Seq, body: body.concat() })])
            }
        }
    }
}
