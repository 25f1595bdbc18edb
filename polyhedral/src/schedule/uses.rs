//! All accesses of a program with the loops around them: what `contract` and `scalar_replace` decide by.

use super::group;
use crate::aff::Aff;
use crate::expr::{Access, Expr};
use crate::program::{ArrayId, Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use indexmap::IndexMap;

/// One access to an array.
#[derive(Clone)]
pub struct Use {
    pub statement: StatementId,
    pub access: Access,
    pub writes: bool,
}

/// All accesses, and the bands around each statement.
pub struct Uses {
    pub by_array: IndexMap<ArrayId, Vec<Use>>,
    /// Outermost first: band number (tree order) and value at the statement.
    pub loops: IndexMap<StatementId, Vec<(usize, Aff)>>,
    /// Mark and extent hint of every band, by number.
    pub marks: Vec<Mark>,
    /// Position of each statement in tree order.
    pub order: IndexMap<StatementId, usize>,
}

impl Uses {
    pub fn of(program: &Program) -> Uses {
        let mut uses =
            Uses { by_array: IndexMap::new(), loops: IndexMap::new(), marks: Vec::new(), order: IndexMap::new() };
        for node in &program.schedule.roots {
            uses.walk(node, &mut Vec::new());
        }
        for (id, statement) in program.statements() {
            let mut add = |access: &Access, writes| {
                let use_ = Use { statement: id, access: access.clone(), writes };
                uses.by_array.entry(access.array).or_default().push(use_);
            };
            add(&statement.target, true);
            statement.visit_reads(&mut |a| add(a, false));
        }
        uses
    }

    fn walk<'a>(&mut self, node: &'a Node, around: &mut Vec<(usize, &'a Band)>) {
        match node {
            Node::Leaf(s) => {
                let value = |(n, b): &(usize, &Band)| Some((*n, b.members.get(s)?.clone()));
                self.loops.insert(*s, around.iter().filter_map(value).collect());
                self.order.insert(*s, self.order.len());
            }
            Node::Band(band) => {
                self.marks.push(band.mark);
                around.push((self.marks.len() - 1, band));
                band.body.iter().for_each(|n| self.walk(n, around));
                around.pop();
            }
        }
    }

    /// The value of band `n` at the statement, when the band encloses it.
    pub fn loop_value(&self, statement: StatementId, n: usize) -> Option<&Aff> {
        self.loops.get(&statement)?.iter().find(|(m, _)| *m == n).map(|(_, a)| a)
    }

    /// The loops around a statement from the outermost to the innermost lockstep one, if there is one. Loops below
    /// them belong to single statements.
    pub fn tile(&self, statement: StatementId) -> Option<Vec<usize>> {
        let around = &self.loops[&statement];
        let lanes = around.iter().rposition(|(n, _)| self.marks[*n].is_lockstep())?;
        Some(around[..=lanes].iter().map(|(n, _)| *n).collect())
    }

    pub fn is_inside(&self, statement: StatementId, tile: &[usize]) -> bool {
        let around = self.loops.get(&statement).map_or(&[][..], Vec::as_slice);
        around.len() >= tile.len() && around.iter().zip(tile).all(|((n, _), m)| n == m)
    }

    /// For each loop of a tile that is an iterator of the statement: iterator to place in `tile`.
    pub fn iterators(&self, statement: StatementId, tile: &[usize]) -> IndexMap<usize, usize> {
        let around = self.loops[&statement].iter().take(tile.len()).enumerate();
        around.filter_map(|(n, (_, value))| Some((value.as_iter()?, n))).collect()
    }

    /// The subscripts as functions of the loops of the tile (loop number `n` of it is written as iterator `n`). A loop may
    /// be an iterator plus a constant (see `wavefront`).
    pub fn point(&self, use_: &Use, tile: &[usize]) -> Option<Vec<Aff>> {
        if !self.is_inside(use_.statement, tile) {
            return None;
        }
        let around = self.loops[&use_.statement].iter().take(tile.len()).enumerate();
        let iterator = |(n, (_, value)): (usize, &(usize, Aff))| {
            let (d, ahead) = value.as_shifted_iter()?;
            Some((d, Aff::iter(n) - Aff::constant(ahead)))
        };
        let iterators: IndexMap<usize, Aff> = around.filter_map(iterator).collect();
        let in_loops = |e: &Expr| {
            let Expr::Index(a) = e else { return None };
            let known = a.all_iters(&|d| iterators.contains_key(&d));
            known.then(|| a.substitute(&|d| iterators[&d].clone()))
        };
        use_.access.index.iter().map(in_loops).collect()
    }

    /// Does each instance of the tile own its element: do the subscripts vary with every lockstep loop?
    pub fn owns_its_element(&self, use_: &Use, tile: &[usize]) -> bool {
        tile.iter().filter(|n| self.marks[**n].is_lockstep()).all(|n| {
            let dim = self.loop_value(use_.statement, *n).and_then(Aff::as_iter);
            dim.is_some_and(|d| group::uses(&use_.access, d))
        })
    }
}
