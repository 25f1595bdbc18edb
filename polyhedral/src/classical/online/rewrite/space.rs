//! Iterators of a group, and what old statements become in terms of them.
//!
//! A statement of the group has the rows, of the last one the blocks; then the rows of a block; then the blocks of keys,
//! where the statement is inside their loop; then others of its own.

use crate::aff::Aff;
use crate::classical::online::find::{Cluster, Place, Role};
use crate::cost::online::Blocks;
use crate::expr::{Access, Expr};
use crate::program::{ArrayId, Program, Statement};
use std::collections::BTreeMap;

pub struct Space<'c> {
    pub blocks: Blocks,
    /// Names and extents of rows and key, whole.
    rows: Vec<(String, Aff)>,
    key: (String, Aff),
    /// The arrays that move, with the roles of their dimensions.
    inside: &'c BTreeMap<ArrayId, Vec<Role>>,
}

/// Which part of the group a statement belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Once for every block of rows.
    Rows,
    /// Once for every block of keys.
    Keys,
}

/// Where the iterators of an old statement are in a new one.
pub struct Frame {
    pub dims: Vec<(String, Aff)>,
    pub constraints: Vec<Aff>,
    /// The old iterators in terms of the new ones.
    pub map: Vec<Aff>,
    /// The iterator of the key inside its block.
    pub key: usize,
}

impl<'c> Space<'c> {
    pub fn new(program: &Program, cluster: &'c Cluster, blocks: Blocks) -> Space<'c> {
        let (like, place) = (program.statement(cluster.extreme.reduce), &cluster.extreme.place);
        let rows = named(like, &place.rows);
        let key = (like.dims[place.key].clone(), like.extents[place.key].clone());
        Space { blocks, rows, key, inside: &cluster.inside }
    }

    /// How many loops over rows there are outside of the blocks of keys: the last is over blocks.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn last_row(&self) -> usize {
        self.rows.len() - 1
    }

    /// The iterator over the rows of a block.
    pub fn inner(&self) -> usize {
        self.rows.len()
    }

    /// The iterator over blocks of keys.
    pub fn block_at(&self) -> usize {
        self.rows.len() + 1
    }

    /// The first iterator behind rows and blocks.
    pub fn free(&self, level: Level) -> usize {
        self.rows.len() + if level == Level::Keys { 2 } else { 1 }
    }

    pub fn row_blocks(&self) -> Aff {
        count(&self.rows[self.last_row()].1, self.blocks.rows)
    }

    pub fn key_blocks(&self) -> Aff {
        count(&self.key.1, self.blocks.keys)
    }

    /// Extents of the rows as arrays of the group have them: blocks of the last row, rows of a block.
    pub fn row_extents(&self) -> Vec<Aff> {
        let outer = self.rows[..self.last_row()].iter().map(|(_, extent)| extent.clone());
        outer.chain([self.row_blocks(), Aff::constant(self.blocks.rows)]).collect()
    }

    /// The rows as subscripts of such arrays.
    pub fn row_index(&self) -> Vec<Expr> {
        (0..=self.inner()).map(Expr::iter).collect()
    }

    /// What row number `r` was.
    pub fn old_row(&self, r: usize) -> Aff {
        if r == self.last_row() { Aff::iter(r) * self.blocks.rows + Aff::iter(self.inner()) } else { Aff::iter(r) }
    }

    /// Iterators of a statement of that part.
    pub fn dims(&self, level: Level) -> Vec<(String, Aff)> {
        let names = self.rows.iter().map(|(name, _)| name.clone());
        let mut out: Vec<(String, Aff)> = names.zip(self.row_extents()).collect();
        out.push((format!("{}_in", self.rows[self.last_row()].0), Aff::constant(self.blocks.rows)));
        if level == Level::Keys {
            out.push((self.key.0.clone(), self.key_blocks()));
        }
        out
    }

    /// No rows beyond the last one.
    pub fn row_constraint(&self) -> Vec<Aff> {
        let last = self.last_row();
        beyond(&self.rows[last].1, self.blocks.rows, last, self.inner()).into_iter().collect()
    }

    /// Iterators for an old statement: rows, blocks of keys, and then `order` of its old ones, of which the key becomes the
    /// key inside a block.
    pub fn frame(&self, old: &Statement, place: &Place, order: &[usize]) -> Frame {
        let free = self.free(Level::Keys);
        let key = free + order.iter().position(|d| *d == place.key).unwrap_or(0);
        let mut map = vec![Aff::default(); old.extents.len()];
        place.rows.iter().enumerate().for_each(|(r, d)| map[*d] = self.old_row(r));
        order.iter().enumerate().for_each(|(n, d)| map[*d] = Aff::iter(free + n));
        map[place.key] = Aff::iter(self.block_at()) * self.blocks.keys + Aff::iter(key);
        let mut own = named(old, order);
        own[key - free] = (format!("{}_in", old.dims[place.key]), Aff::constant(self.blocks.keys));
        let mut constraints = self.row_constraint();
        constraints.extend(beyond(&self.key.1, self.blocks.keys, self.block_at(), key));
        let dims = self.dims(Level::Keys).into_iter().chain(own).collect();
        Frame { dims, constraints, map, key }
    }

    /// An expression of an old statement in the new one.
    pub fn renamed(&self, e: &Expr, frame: &Frame) -> Expr {
        e.substitute_aff(&|d| frame.map[d].clone()).rewrite(&mut |e| match e {
            Expr::Load(access) => Expr::Load(self.in_blocks(access, frame.key)),
            other => other,
        })
    }

    /// Arrays that move have blocks and places in blocks as subscripts.
    pub fn in_blocks(&self, access: Access, key: usize) -> Access {
        let Some(roles) = self.inside.get(&access.array) else { return access };
        let split = |(index, role): (Expr, &Role)| match role {
            Role::Row(r) if *r == self.last_row() => vec![Expr::iter(*r), Expr::iter(self.inner())],
            Role::Key => vec![Expr::iter(self.block_at()), Expr::iter(key)],
            _ => vec![index],
        };
        Access { array: access.array, index: access.index.into_iter().zip(roles).flat_map(split).collect() }
    }

    /// The extents of a dimension of an array that moves.
    pub fn split_extent(&self, extent: &Aff, role: Role) -> Vec<Aff> {
        match role {
            Role::Row(r) if r == self.last_row() => vec![self.row_blocks(), Aff::constant(self.blocks.rows)],
            Role::Key => vec![self.key_blocks(), Aff::constant(self.blocks.keys)],
            _ => vec![extent.clone()],
        }
    }
}

/// Iterators of a statement with their extents.
pub fn named(statement: &Statement, dims: &[usize]) -> Vec<(String, Aff)> {
    dims.iter().map(|d| (statement.dims[*d].clone(), statement.extents[*d].clone())).collect()
}

/// The number of blocks of `size`.
fn count(extent: &Aff, size: i64) -> Aff {
    (extent.clone() + Aff::constant(size - 1)).floor_div(size)
}

/// What keeps the last block from running beyond the extent.
fn beyond(extent: &Aff, size: i64, block: usize, inside: usize) -> Option<Aff> {
    let even = extent.as_constant().is_some_and(|e| e % size == 0);
    (!even).then(|| extent.clone() - Aff::constant(1) - Aff::iter(block) * size - Aff::iter(inside))
}
