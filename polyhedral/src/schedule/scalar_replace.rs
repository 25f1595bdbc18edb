//! `scalar-replace`: sum up in registers what ends in memory.
//!
//! Rewrite: a tile sets elements of an array to a first value and reduces onto them, and other nests read the array
//! later. Inside the tile a temporary of its own takes the array's place, which `contract` then keeps in registers;
//! a copy at the end of the tile writes the array once. Without this every step of the reduction would load and
//! store its element: LLVM moves plain vectors to registers by itself, but neither masked nor scattered ones.
//!
//! Legal where all accesses in the tile are to the one element that each of its instances owns.
//! Source: Callahan, Carr and Kennedy (1990).

use super::uses::{Use, Uses};
use crate::aff::Aff;
use crate::error::Result;
use crate::expr::{Access, Expr};
use crate::pass::{Pass, PassContext};
use crate::program::{Array, ArrayId, Program, Role, Statement, StatementId, StatementKind};
use crate::schedule_tree::Node;
use indexmap::IndexSet;

pub struct ScalarReplace;

impl Pass for ScalarReplace {
    fn name(&self) -> &'static str {
        "scalar-replace"
    }

    fn summary(&self) -> &'static str {
        "sum up in registers what ends in memory"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        let uses = Uses::of(program);
        for (array, all) in &uses.by_array {
            for sum in sums(program, &uses, *array, all) {
                let origin = program.statement(sum.first).origin.clone();
                context.applied(
                    self.name(),
                    &origin,
                    format!("{} is summed up in registers", program.array(*array).name),
                );
                replace(program, &uses, *array, &sum);
            }
        }
        Ok(())
    }
}

/// A reduction onto elements that a tile owns.
struct Sum {
    tile: Vec<usize>,
    /// Sets the elements.
    first: StatementId,
    /// Every statement of the tile that uses the array, in order.
    statements: IndexSet<StatementId>,
}

fn sums(program: &Program, uses: &Uses, array: ArrayId, all: &[Use]) -> Vec<Sum> {
    let reduces = |u: &&Use| u.writes && matches!(program.statement(u.statement).kind, StatementKind::Reduce(_));
    let tiles: IndexSet<Vec<usize>> = all.iter().filter(reduces).filter_map(|u| uses.tile(u.statement)).collect();
    tiles.into_iter().filter_map(|tile| sum(program, uses, array, all, tile)).collect()
}

fn sum(program: &Program, uses: &Uses, array: ArrayId, all: &[Use], tile: Vec<usize>) -> Option<Sum> {
    let inside: Vec<&Use> = all.iter().filter(|u| uses.is_inside(u.statement, &tile)).collect();
    // A temporary of one tile is in registers already.
    let elsewhere = inside.len() < all.len() || !program.array(array).is_temp();
    let element = uses.point(inside.first()?, &tile)?;
    let owned = inside.iter().all(|u| uses.point(u, &tile).as_ref() == Some(&element));
    let wide = program.array(array).dtype.size() >= 4;
    let mut statements: Vec<StatementId> = inside.iter().map(|u| u.statement).collect();
    statements.sort_by_key(|s| uses.order[s]);
    let first = *statements.first()?;
    let guard = guard(program, uses, first, &tile)?;
    let plain = |u: &&Use| {
        uses.owns_its_element(u, &tile) && self::guard(program, uses, u.statement, &tile).as_ref() == Some(&guard)
    };
    let found = elsewhere && owned && wide && inside.iter().all(plain) && sets_all(program, uses, first, &tile);
    found.then(|| Sum { tile, first, statements: statements.into_iter().collect() })
}

/// When the statement runs, in terms of the loops of the tile: all of one sum run or none, as in a loop that may end
/// early. `None` where that depends on other loops.
fn guard(program: &Program, uses: &Uses, id: StatementId, tile: &[usize]) -> Option<Option<Expr>> {
    let Some(guard) = &program.statement(id).guard else { return Some(None) };
    let places = uses.iterators(id, tile);
    let mut known = true;
    guard.visit_affs(&mut |a| known &= a.all_iters(&|d| places.contains_key(&d)));
    known.then(|| Some(guard.substitute_aff(&|d| Aff::iter(places[&d]))))
}

/// Is it an assignment for every instance of the tile, and nothing else?
fn sets_all(program: &Program, uses: &Uses, id: StatementId, tile: &[usize]) -> bool {
    let statement = program.statement(id);
    let dims = statement.extents.len();
    let mut reads = false;
    statement.visit_reads(&mut |a| reads |= a.array == statement.target.array);
    statement.kind == StatementKind::Assign
        && !reads
        && uses.loops[&id].len() == tile.len()
        && uses.iterators(id, tile).len() == dims
}

fn replace(program: &mut Program, uses: &Uses, array: ArrayId, sum: &Sum) {
    let first = program.statement(sum.first).clone();
    let name = format!("{}_sum{}", program.array(array).name, program.arrays().count());
    let dtype = program.array(array).dtype;
    let own = program.add_array(Array::new(name, dtype, first.extents.clone(), Role::Temp));
    // Element of the new array: the iterators of the first statement, as every statement calls them.
    let places = uses.iterators(sum.first, &sum.tile);
    for id in &sum.statements {
        let iterators = uses.iterators(*id, &sum.tile);
        let called = |d: usize| iterators.iter().find(|(_, place)| **place == places[&d]).map_or(d, |(i, _)| *i);
        let element = Access { array: own, index: (0..places.len()).map(|d| Expr::iter(called(d))).collect() };
        redirect(program, *id, array, &element);
    }
    let value = Expr::Load(Access { array: own, index: (0..places.len()).map(Expr::iter).collect() });
    let copy = program.add_statement(Statement { value, ..first });
    insert(program, sum, copy);
}

fn redirect(program: &mut Program, id: StatementId, array: ArrayId, element: &Access) {
    let statement = program.statement_mut(id);
    statement.map_exprs(&mut |e| {
        e.rewrite(&mut |e| match e {
            Expr::Load(a) if a.array == array => Expr::Load(element.clone()),
            other => other,
        })
    });
    if statement.target.array == array {
        statement.target = element.clone();
    }
}

/// Puts the copy behind the last statement of the sum, into the bands of the first.
fn insert(program: &mut Program, sum: &Sum, copy: StatementId) {
    let mut nodes = &mut program.schedule.roots;
    for _ in &sum.tile {
        let below = |n: &&mut Node| matches!(n, Node::Band(b) if b.members.contains_key(&sum.first));
        let Some(Node::Band(band)) = nodes.iter_mut().find(below) else { return };
        band.members.insert(copy, band.members[&sum.first].clone());
        nodes = &mut band.body;
    }
    let last = nodes.iter().rposition(|n| n.statements().iter().any(|s| sum.statements.contains(s)));
    nodes.insert(last.map_or(nodes.len(), |n| n + 1), Node::Leaf(copy));
}
