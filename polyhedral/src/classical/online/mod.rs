//! `online`: sums that depend on an extreme are taken while the extreme still grows.
//!
//! Rewrite: `m[i] = max_j x[i, j]` and sums over `j` whose terms depend on `m` through a factor `f(x[i, j], m[i])` with
//! `f(x, m') = f(x, m) * f(m, m')` (see `rule`) become one nest over blocks of `j`. Every block takes the extreme so far,
//! scales the sums of the blocks before by `f(m before, m now)` and adds its own terms. Factors of the terms that do not
//! depend on `j` leave the sums. The nests that make what only the group reads move into it. Softmax times values is such
//! a group: of the scores only those of one block exist.
//!
//! Legal under the numeric contract `fast` alone, for sums are regrouped. Infinities and NaN come out as before (`rule`).
//! Declined where a row may be empty (its sum is 0, not NaN), where anything is guarded or not a whole box, and where a
//! nest around what moves shares its loops with others. Wanted where the elements of all rows would not stay in the cache
//! that those of a block stay in (`cost::online`), at the parameters' typical values.
//! Source: Milakov and Gimelshein (2018); Dao et al., FlashAttention (2022).

mod find;
mod rewrite;
mod rule;
#[cfg(test)]
mod tests;

use crate::cost::online::{Sizes, blocks};
use crate::error::Result;
use crate::expr::Expr;
use crate::machine::Numeric;
use crate::pass::{Pass, PassContext};
use crate::program::{ArrayId, Program, Statement, StatementId, StatementKind};
use crate::schedule::group;
use crate::schedule::touched::Touched;
use crate::schedule_tree::Node;
use find::{Cluster, Place};
use std::collections::HashSet;

pub struct Online;

const NAME: &str = "online";

impl Pass for Online {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "sum up while the maximum that the terms depend on still grows (fast numerics)"
    }

    fn run(&self, program: &mut Program, context: &mut PassContext) -> Result<()> {
        if context.machine.numeric == Numeric::Fast && !context.machine.gpu {
            let all = program.schedule.roots.iter().flat_map(Node::statements).collect::<Vec<_>>();
            all.into_iter().for_each(|id| visit(program, id, context));
        }
        Ok(())
    }
}

/// Makes the group around the reduction `id`, if there is one and it is wanted.
fn visit(program: &mut Program, id: StatementId, context: &mut PassContext) {
    let Some(cluster) = program.get_statement(id).and_then(|_| find::cluster(program, id)) else { return };
    let subject = program.statement(cluster.sums[cluster.sums.len() - 1].of.reduce).origin.clone();
    let sizes = sizes(program, &cluster);
    let found = match blocks(&sizes, context.machine) {
        Ok(found) => found,
        Err(why) => return context.missed(NAME, &subject, why.to_string()),
    };
    let Some(behind) = behind(program, &cluster) else {
        return context.missed(NAME, &subject, "a nest between the extreme and the sums stands in the way");
    };
    let before = program.clone();
    let Some(node) = rewrite::rewrite(program, &cluster, found) else {
        *program = before;
        return context.missed(NAME, &subject, "a nest that makes the elements shares its loops with others");
    };
    let roots = std::mem::take(&mut program.schedule.roots);
    let (late, early): (Vec<Node>, Vec<Node>) =
        roots.into_iter().partition(|root| root.statements().iter().any(|s| behind.contains(s)));
    program.schedule.roots = early.into_iter().chain([node]).chain(late).collect();
    let extreme = &before.array(cluster.extreme.array).name;
    let text = format!(
        "{} sums follow {extreme}, {} rows and {} of {} elements at a time",
        cluster.sums.len(),
        found.rows,
        found.keys,
        sizes.keys
    );
    context.applied(NAME, &subject, text);
}

/// What the cost model wants to know.
fn sizes(program: &Program, cluster: &Cluster) -> Sizes {
    let (place, of) = (&cluster.extreme.place, program.statement(cluster.extreme.reduce));
    let hint = |s: &Statement, d: usize| program.params.hint(&s.extents[d]).max(1);
    let (row, keys) = (place.rows.len() - 1, hint(of, place.key));
    let rows = hint(of, place.rows[row]);
    let element = program.array(cluster.extreme.array).dtype.size() as i64;
    let dropped = cluster.dropped.iter().map(|id| program.array(program.statement(*id).target.array));
    let whole = dropped.filter(|a| group::bytes(program, a) >= rows.saturating_mul(keys).saturating_mul(element));
    let arrays = (cluster.inside.len() + whole.count()) as i64;
    let (mut state, mut of_key, mut of_row) = (element, 0, 0);
    for sum in &cluster.sums {
        let statement = program.statement(sum.of.reduce);
        let place = &sum.of.place;
        let free =
            (0..statement.extents.len()).filter(|d| group::uses(&statement.target, *d) && !place.rows.contains(d));
        state += element * free.map(|d| hint(statement, d)).product::<i64>();
    }
    let mut add = |statement: &Statement, value: &Expr, place: &Place| {
        value.visit_loads(&mut |a| {
            let used = |d: &usize| group::uses(a, *d) && *d != place.key && !place.rows.contains(d);
            let others = (0..statement.extents.len()).filter(used).map(|d| hint(statement, d)).product::<i64>();
            let bytes = others.saturating_mul(program.array(a.array).dtype.size() as i64);
            match (group::uses(a, place.key), group::uses(a, place.rows[row])) {
                (true, false) => of_key += bytes,
                (false, true) => of_row += bytes,
                _ => {}
            }
        });
    };
    for (id, place) in &cluster.moved {
        add(program.statement(*id), &program.statement(*id).value, place);
    }
    for sum in &cluster.sums {
        sum.inner.iter().for_each(|f| add(program.statement(sum.of.reduce), &f.value, &sum.of.place));
    }
    Sizes { rows, keys, element, arrays, state, of_key, of_row }
}

/// The statements that have to stand behind the group, which takes the place of the last of its nests. `None` where the
/// nests between its first and its last cannot be divided into those before and those behind.
fn behind(program: &Program, cluster: &Cluster) -> Option<HashSet<StatementId>> {
    let own = cluster.statements();
    let stays = |id: &StatementId| own.contains(id) && !cluster.dropped.contains(id);
    let roots = &program.schedule.roots;
    let last = roots.iter().rposition(|root| root.statements().iter().any(stays))?;
    let rest: Vec<Vec<StatementId>> =
        roots.iter().map(|r| r.statements().into_iter().filter(|s| !own.contains(s)).collect()).collect();
    let group = Touched::of_statements(program, own.iter().copied().filter(|id| !cluster.dropped.contains(id)));
    let updates =
        |a: &ArrayId| program.statements().any(|(_, s)| s.kind == StatementKind::Update && s.target.array == *a);
    if group.reads.iter().any(updates) {
        return None;
    }
    let mut late = Touched::default();
    let mut out: HashSet<StatementId> = rest[last + 1..].iter().flatten().copied().collect();
    for nest in &rest[..=last] {
        let touched = Touched::of_statements(program, nest.iter().copied());
        if touched.writes.iter().any(|a| cluster.later.contains(a)) {
            out.extend(nest);
            late.add(&touched);
        } else if late.must_follow(&touched) {
            return None;
        }
    }
    let independent = late.writes.is_disjoint(&group.reads);
    independent.then_some(out)
}
