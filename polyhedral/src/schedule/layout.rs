//! `layout`: choose which dimension of every temporary lies in consecutive memory.
//!
//! Rewrite: the dimensions of a temporary change places, in its extents and in every access alike, so that the
//! vector loops of its writers and readers find their lanes side by side. A convolution that writes
//! `[n, m, h, w]` then vectorizes over its result channels, whose weights are packed at compile time, and all
//! elementwise operators after it follow.
//!
//! Dimensions that one iterator subscripts belong together: they form a *class* (the channels of one residual
//! stream, the width of the whole image), and one decision puts a class last in all of its arrays. Classes are
//! tried one after another; a move stays when the tile nests that it touches get cheaper by what `cost::vector`, which
//! later chooses their vector loops, thinks of them. A class alone may gain nothing, for the nests at its borders then mix
//! two orders; so it is tried with the classes around it too, and with those around them. At last arrays are tried alone: a
//! class that lay last until another took its place may leave an array in an order that suits none of its nests.
//!
//! Legal: a temporary's order of elements is ours, and no schedule changes. Inputs, outputs and constants keep theirs, and
//! dimensions whose length the program computes stay where they are. Source: the layout-assignment problem of Li et al.
//! (2016), here over access relations instead of operators.

use super::tile_nest::{TileNest, all_nests};
use crate::cost::vector::{best_lane, runs};
use crate::error::{Origin, Result};
use crate::expr::{Access, Expr};
use crate::machine::Machine;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, StatementId};
use indexmap::{IndexMap, IndexSet};

pub struct Layout;

/// A move must save this part of the nests it touches: estimates are not exact.
const LEAST_GAIN: f64 = 0.005;
/// How far from a class its neighbours move with it, in nests.
const RINGS: usize = 4;
/// Nests beyond which a class has too many neighbours to be tried with: its part of the network is all of it.
const CROWD: usize = 96;
/// Later classes may make earlier moves worthwhile.
const SWEEPS: usize = 2;

impl Pass for Layout {
    fn name(&self) -> &'static str {
        "layout"
    }

    fn summary(&self) -> &'static str {
        "choose which dimension of every temporary lies in consecutive memory"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if context.machine.gpu {
            return Ok(());
        }
        choose(program, context);
        Ok(())
    }
}

/// The program with the layouts that its schedule tree as it is would get.
pub fn foreseen(program: &Program, machine: &Machine) -> Program {
    let mut program = program.clone();
    choose(&mut program, &mut PassContext { machine, remarks: Vec::new() });
    program
}

fn choose(program: &mut Program, context: &mut PassContext) {
    let mut search = Search::new(program, context.machine);
    for _ in 0..SWEEPS {
        let mut changed = false;
        for class in 0..search.classes.len() {
            changed |= search.put_last(program, class, context);
        }
        if !changed {
            break;
        }
    }
    search.put_right(program, context);
}

/// Dimensions (by the place they had at first) that should lie last together.
type Class = Vec<(ArrayId, usize)>;
/// The arrays that may change, each with its dimensions (by the place they had at first) in their order now.
type Orders = IndexMap<ArrayId, Vec<usize>>;

/// Temporaries of several dimensions; values that lowering reads itself (trip counts, exits) are left alone.
fn free_arrays(program: &Program) -> Orders {
    let is_read_by_lowering = |id, name: &str| program.exits.contains(&id) || program.params.read_array(name);
    let free = program.arrays().filter(|(id, a)| a.is_temp() && !is_read_by_lowering(*id, &a.name));
    free.filter(|(_, a)| a.extents.len() > 1).map(|(id, a)| (id, (0..a.extents.len()).collect())).collect()
}

/// Joins dimensions that an iterator of a statement's result subscripts alone.
fn classes(program: &Program, orders: &Orders) -> Vec<Class> {
    let mut number: IndexMap<(ArrayId, usize), usize> = IndexMap::new();
    for (array, dims) in orders {
        // Where such a dimension lies inside, every access needs the length: those before it is computed, too.
        let known = |d: &&usize| !program.params.is_computed(&program.array(*array).extents[**d]);
        for d in dims.iter().filter(known) {
            number.insert((*array, *d), number.len());
        }
    }
    let mut parent: Vec<usize> = (0..number.len()).collect();
    for (_, statement) in program.statements() {
        let mut first: IndexMap<usize, usize> = IndexMap::new();
        let free: Vec<usize> =
            (0..statement.extents.len()).filter(|d| super::group::uses(&statement.target, *d)).collect();
        statement.visit_accesses(&mut |access| {
            for (place, index) in access.index.iter().enumerate() {
                let Some(own) = number.get(&(access.array, place)) else { continue };
                if let Some(d) = only_iterator(index, &free) {
                    let other = *first.entry(d).or_insert(*own);
                    let (a, b) = (root(&mut parent, *own), root(&mut parent, other));
                    parent[a.max(b)] = a.min(b);
                }
            }
        });
    }
    let mut out: IndexMap<usize, Class> = IndexMap::new();
    for (dim, n) in &number {
        out.entry(root(&mut parent, *n)).or_default().push(*dim);
    }
    out.into_values().collect()
}

fn root(parent: &mut [usize], mut n: usize) -> usize {
    while parent[n] != n {
        parent[n] = parent[parent[n]];
        n = parent[n];
    }
    n
}

/// The only iterator among `free` that the subscript uses.
fn only_iterator(index: &Expr, free: &[usize]) -> Option<usize> {
    let Expr::Index(aff) = index else { return None };
    let mut used = free.iter().filter(|d| aff.uses_iter(**d));
    used.next().copied().filter(|_| used.next().is_none())
}

// ---- what a layout costs ------------------------------------------------------------------------------

/// The tile nests, how often each runs, and who uses an array.
struct Nests {
    nests: Vec<(TileNest, f64)>,
    users: IndexMap<ArrayId, IndexSet<usize>>,
    statements: IndexMap<ArrayId, IndexSet<StatementId>>,
}

impl Nests {
    fn of(program: &Program) -> Nests {
        let mut users: IndexMap<ArrayId, IndexSet<usize>> = IndexMap::new();
        let mut statements: IndexMap<ArrayId, IndexSet<StatementId>> = IndexMap::new();
        for (id, statement) in program.statements() {
            statement.visit_accesses(&mut |a| {
                statements.entry(a.array).or_default().insert(id);
            });
        }
        let nests: Vec<_> =
            all_nests(program).into_iter().map(|n| (runs(program, &n), n)).map(|(r, n)| (n, r)).collect();
        for (number, (nest, _)) in nests.iter().enumerate() {
            for id in &nest.statements {
                program.statement(*id).visit_accesses(&mut |a| {
                    users.entry(a.array).or_default().insert(number);
                });
            }
        }
        Nests { nests, users, statements }
    }

    /// The nests that use any of the arrays.
    fn around<'a>(&self, arrays: impl Iterator<Item = &'a ArrayId>) -> IndexSet<usize> {
        arrays.flat_map(|a| self.users.get(a).into_iter().flatten()).copied().collect()
    }

    fn cost(&self, program: &Program, nest: usize, machine: &Machine) -> f64 {
        let (nest, runs) = &self.nests[nest];
        runs * best_lane(program, nest, machine).0
    }
}

// ---- moves --------------------------------------------------------------------------------------------

/// New orders of arrays: new dimension `n` is the old dimension of that number.
type Moves = IndexMap<ArrayId, Vec<usize>>;

/// What is known while moves are tried.
struct Search {
    nests: Nests,
    /// Of every nest, with the orders as they are.
    costs: Vec<f64>,
    orders: Orders,
    classes: Vec<Class>,
}

impl Search {
    fn new(program: &Program, machine: &Machine) -> Search {
        let (nests, orders) = (Nests::of(program), free_arrays(program));
        let costs = (0..nests.nests.len()).map(|n| nests.cost(program, n, machine)).collect();
        Search { nests, costs, classes: classes(program, &orders), orders }
    }

    /// Puts a class last where that is cheaper, alone or with the classes around it.
    fn put_last(&mut self, program: &mut Program, class: usize, context: &mut PassContext) -> bool {
        let mut moves = self.moves(&self.classes[class]);
        for _ in 0..=RINGS {
            if moves.is_empty() {
                return false;
            }
            if self.try_out(program, &moves, context) {
                return true;
            }
            let wider = self.with_neighbours(&moves);
            if wider.len() == moves.len() || self.nests.around(wider.keys()).len() > CROWD {
                return false;
            }
            moves = wider;
        }
        false
    }

    /// Tries every array alone, without its class.
    fn put_right(&mut self, program: &mut Program, context: &mut PassContext) {
        let all: Vec<(ArrayId, usize)> = self.classes.iter().flatten().copied().collect();
        for dimension in all {
            let moves = self.moves(&[dimension]);
            if !moves.is_empty() {
                self.try_out(program, &moves, context);
            }
        }
    }

    /// The new order of every array of the class none of whose dimensions in it lies last; where there are several, the last
    /// of them moves.
    fn moves(&self, class: &[(ArrayId, usize)]) -> Moves {
        let mut found: IndexMap<ArrayId, Option<Vec<usize>>> = IndexMap::new();
        for (array, d) in class {
            let order = found.entry(*array).or_insert_with(|| Some(vec![]));
            *order = order.take().and_then(|_| moved(&self.orders[array], *d));
        }
        found.into_iter().filter_map(|(array, order)| Some((array, order?))).collect()
    }

    /// The moves, and those of classes of other arrays that share a nest with them.
    fn with_neighbours(&self, moves: &Moves) -> Moves {
        let near = self.nests.around(moves.keys());
        let is_near = |a: &ArrayId| self.nests.users.get(a).is_some_and(|nests| !nests.is_disjoint(&near));
        let mut wider = moves.clone();
        for class in &self.classes {
            let apart = class.iter().all(|(a, _)| !wider.contains_key(a));
            if apart && class.iter().any(|(a, _)| is_near(a)) {
                wider.extend(self.moves(class));
            }
        }
        wider
    }

    /// Makes the moves if the nests that they touch get cheaper.
    fn try_out(&mut self, program: &mut Program, moves: &Moves, context: &mut PassContext) -> bool {
        let touched = self.nests.around(moves.keys());
        let before: f64 = touched.iter().map(|n| self.costs[*n]).sum();
        moves.iter().for_each(|(a, order)| permute(program, &self.nests, *a, order));
        let costs: Vec<f64> = touched.iter().map(|n| self.nests.cost(program, *n, context.machine)).collect();
        let after: f64 = costs.iter().sum();
        if touched.is_empty() || after > before * (1.0 - LEAST_GAIN) {
            moves.iter().for_each(|(a, order)| permute(program, &self.nests, *a, &inverse(order)));
            return false;
        }
        touched.iter().zip(costs).for_each(|(n, cost)| self.costs[*n] = cost);
        for (array, order) in moves {
            let old = &self.orders[array];
            self.orders[array] = order.iter().map(|n| old[*n]).collect();
        }
        let arrays: Vec<ArrayId> = moves.keys().copied().collect();
        let names: Vec<&str> = arrays.iter().take(3).map(|a| program.array(*a).name.as_str()).collect();
        let gain = 100.0 * (1.0 - after / before);
        let text = format!("reordered {} arrays ({}, ..): {gain:.0} % cheaper", moves.len(), names.join(", "));
        context.applied("layout", &subject(program, &self.nests, arrays[0]), text);
        true
    }
}

fn subject(program: &Program, nests: &Nests, array: ArrayId) -> Origin {
    let first = nests.statements.get(&array).and_then(|s| s.first());
    first.map(|s| program.statement(*s).origin.clone()).unwrap_or_default()
}

/// The order that puts dimension `d` last and leaves the others as they are; `None` where it is last.
fn moved(order: &[usize], d: usize) -> Option<Vec<usize>> {
    let at = order.iter().position(|n| *n == d)?;
    let last = order.len() - 1;
    (at != last).then(|| (0..=last).filter(|n| *n != at).chain([at]).collect())
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut out = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, old)| out[*old] = new);
    out
}

/// New dimension `n` of the array is its old dimension `order[n]`, in every access too.
fn permute(program: &mut Program, nests: &Nests, array: ArrayId, order: &[usize]) {
    let declared = program.array_mut(array);
    declared.extents = order.iter().map(|n| declared.extents[*n].clone()).collect();
    declared.fold = order.iter().map(|n| declared.fold[*n]).collect();
    let reorder = |access: &mut Access| {
        if access.array == array {
            access.index = order.iter().map(|n| access.index[*n].clone()).collect();
        }
    };
    for id in nests.statements.get(&array).into_iter().flatten() {
        let statement = program.statement_mut(*id);
        statement.map_exprs(&mut |e| {
            e.rewrite(&mut |e| match e {
                Expr::Load(mut access) => {
                    reorder(&mut access);
                    Expr::Load(access)
                }
                other => other,
            })
        });
        reorder(&mut statement.target);
    }
}
