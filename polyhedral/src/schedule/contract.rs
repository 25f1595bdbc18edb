//! `contract`: keep only the part of a temporary that is alive.
//!
//! Two rewrites of storage; accesses stay as they are.
//!  1. *Registers*: an array that is only used inside one lockstep tile, every access at the same element of
//!     the tile, becomes registers (the accumulator of a matrix product never touches memory).
//!  2. *Windows*: if a sequential loop encloses all uses and each access has subscript `loop + c` in one
//!     dimension, only `max(c) - min(c) + 1` planes are alive: the time dimension of a recurrent state
//!     shrinks to two planes, a row buffer inside a row loop to one. Accesses outside the loop are allowed
//!     where they cannot meet a reused plane: the initial value written before the loop, the last value read
//!     after it.
//!
//! Declined for parallel loops shared by several workers. Proved again by the legality checker, which
//! intersects live ranges. Source: Lefebvre and Feautrier (1998); De Greef et al. (1997).

use crate::Origin;
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Placement, Program, StatementId};
use crate::schedule_tree::{Band, Mark, Node};
use indexmap::IndexMap;

pub struct Contract;

impl Pass for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn summary(&self) -> &'static str {
        "shrink temporaries to their live window or to registers"
    }

    /// A loop without a known bound needs its state folded: the unfolded array has no size.
    fn required(&self) -> bool {
        true
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let uses = Uses::of(program);
        for (array, accesses) in &uses.by_array {
            if !program.array(*array).is_temp() {
                continue;
            }
            if in_one_tile(program, &uses, *array, accesses) {
                program.array_mut(*array).placement = Some(Placement::Register);
                context.applied(self.name(), &subject(program, accesses), format!("{array} lives in registers"));
                continue;
            }
            fold(self.name(), program, &uses, *array, accesses, context);
        }
        Ok(())
    }
}

fn subject(program: &Program, accesses: &[Use]) -> Origin {
    accesses.first().map(|u| program.statement(u.statement).origin.clone()).unwrap_or_default()
}

/// One access to an array.
#[derive(Clone)]
struct Use {
    statement: StatementId,
    access: Access,
    writes: bool,
}

/// All accesses, and the bands around each statement.
struct Uses {
    by_array: IndexMap<ArrayId, Vec<Use>>,
    /// Outermost first: band number (tree order) and value at the statement.
    loops: IndexMap<StatementId, Vec<(usize, Aff)>>,
    /// Mark and extent hint of every band, by number.
    marks: Vec<Mark>,
    /// Position of each statement in tree order.
    order: IndexMap<StatementId, usize>,
}

impl Uses {
    fn of(program: &Program) -> Uses {
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
    fn loop_value(&self, statement: StatementId, n: usize) -> Option<&Aff> {
        self.loops.get(&statement)?.iter().find(|(m, _)| *m == n).map(|(_, a)| a)
    }
}

/// Is every access inside one lockstep nest, at the same point of the loops down to the lanes?
fn in_one_tile(program: &Program, uses: &Uses, array: ArrayId, accesses: &[Use]) -> bool {
    let Some(first) = accesses.first() else { return false };
    let around = &uses.loops[&first.statement];
    let Some(lanes) = around.iter().rposition(|(n, _)| uses.marks[*n].is_lockstep()) else { return false };
    // The lockstep bands are the last of the shared ones; loops below them belong to single statements.
    let shared: Vec<usize> = around[..=lanes].iter().map(|(n, _)| *n).collect();
    let element = point(uses, first, &shared);
    element.is_some()
        && program.array(array).dtype.size() >= 4
        && depends_on_all_lockstep(uses, first, &shared)
        && accesses.iter().all(|u| point(uses, u, &shared) == element)
}

/// The subscripts as functions of the shared loops (loop `n` is written as iterator `n`).
fn point(uses: &Uses, use_: &Use, shared: &[usize]) -> Option<Vec<Aff>> {
    let around = uses.loops.get(&use_.statement)?;
    let same = around.len() >= shared.len() && around.iter().zip(shared).all(|((n, _), m)| n == m);
    let dims: IndexMap<usize, usize> =
        around.iter().take(shared.len()).enumerate().filter_map(|(n, (_, a))| Some((a.as_iter()?, n))).collect();
    let in_loops = |e: &Expr| {
        let Expr::Index(a) = e else { return None };
        let known = a.all_iters(&|d| dims.contains_key(&d));
        known.then(|| a.substitute(&|d| Aff::iter(dims[&d])))
    };
    if same { use_.access.index.iter().map(in_loops).collect() } else { None }
}

/// Does each instance of the tile own its element: do the subscripts vary with every lockstep loop?
fn depends_on_all_lockstep(uses: &Uses, use_: &Use, shared: &[usize]) -> bool {
    shared.iter().filter(|n| uses.marks[**n].is_lockstep()).all(|n| {
        let dim = uses.loop_value(use_.statement, *n).and_then(Aff::as_iter);
        dim.is_some_and(|d| super::group::uses(&use_.access, d))
    })
}

// ---- windows ------------------------------------------------------------------------------------------

fn fold(pass: &'static str, program: &mut Program, uses: &Uses, array: ArrayId, all: &[Use], cx: &mut PassContext) {
    for dim in 0..program.array(array).extents.len() {
        if program.array(array).extents[dim].as_constant() == Some(1) {
            continue;
        }
        if let Some(window) = window(program, uses, array, all, dim) {
            let smaller = program.array(array).extents[dim].as_constant().is_none_or(|e| e > window);
            if smaller {
                program.array_mut(array).fold[dim] = Some(window);
                let why = format!("dimension {dim} of {array} keeps {window} planes");
                cx.applied(pass, &subject(program, all), why);
            }
        }
    }
}

/// The number of planes of `dim` that are alive at once, under the outermost sequential loop that works.
fn window(program: &Program, uses: &Uses, array: ArrayId, all: &[Use], dim: usize) -> Option<i64> {
    let writer = all.iter().find(|u| u.writes && distance(uses, u, dim).is_some())?;
    let candidates = uses.loops[&writer.statement].iter().map(|(n, _)| *n);
    candidates.filter(|n| uses.marks[*n] == Mark::Seq).find_map(|n| window_under(program, uses, array, all, dim, n))
}

/// A subscript that is one loop plus a constant gives some loop; which one is decided by the caller.
fn distance(uses: &Uses, use_: &Use, dim: usize) -> Option<(usize, i64)> {
    let Expr::Index(subscript) = &use_.access.index[dim] else { return None };
    uses.loops[&use_.statement].iter().find_map(|(n, value)| {
        let c = (subscript.clone() - value.clone()).as_constant()?;
        value.has_iters().then_some((*n, c))
    })
}

fn window_under(program: &Program, uses: &Uses, array: ArrayId, all: &[Use], dim: usize, band: usize) -> Option<i64> {
    let (inside, outside): (Vec<&Use>, Vec<&Use>) =
        all.iter().partition(|u| uses.loop_value(u.statement, band).is_some());
    let offset = |u: &&Use| {
        let Expr::Index(subscript) = &u.access.index[dim] else { return None };
        (subscript.clone() - uses.loop_value(u.statement, band)?.clone()).as_constant()
    };
    let offsets = inside.iter().map(offset).collect::<Option<Vec<i64>>>()?;
    let (low, high) = (*offsets.iter().min()?, *offsets.iter().max()?);
    let written = inside.iter().zip(&offsets).filter(|(u, _)| u.writes).map(|(_, c)| *c).max()?;
    // Planes ahead of the writer are never read; the element itself must not depend on the loop elsewhere.
    (written == high && outside.iter().all(|u| harmless(program, uses, array, u, dim, &inside)))
        .then_some(high - low + 1)
}

/// Outside the loop: the initial value (plane 0 and nothing else, before the loop) or the final value.
fn harmless(program: &Program, uses: &Uses, array: ArrayId, use_: &Use, dim: usize, inside: &[&Use]) -> bool {
    let Expr::Index(subscript) = &use_.access.index[dim] else { return false };
    let first = inside.iter().map(|u| uses.order[&u.statement]).min().unwrap_or(0);
    let last = inside.iter().map(|u| uses.order[&u.statement]).max().unwrap_or(0);
    let at = uses.order[&use_.statement];
    let final_plane = program.array(array).extents[dim].clone() - Aff::constant(1);
    (use_.writes && at < first && subscript.is_constant(0)) || (!use_.writes && at > last && *subscript == final_plane)
}
