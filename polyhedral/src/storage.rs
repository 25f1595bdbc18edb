//! Do the folds of arrays keep every value until its last read?
//!
//! With a fold of `w` planes, elements whose subscripts agree modulo `w` share a cell. The cell of `e` is lost when
//! an instance `w'` writes another element of that cell after `e` was written and before `e` is last read. So the
//! schedule is wrong when there are a write `w` and a read `r` of `e`, and a write `w'` of another element of the
//! cell, such that neither is `w'` surely before `w` nor `r` surely before (or the same instance as) `w'`.
//!
//! *Surely before* is the order of sequential bands and of lists. Iterations of any other band are unordered among
//! themselves, which is conservative for lockstep bands. An instance reads before it writes. In a thread team, what
//! another worker does is before only behind a barrier.

mod slots;

use crate::aff::Aff;
use crate::error::Result;
use crate::expr::Access;
use crate::isl::text::Names;
use crate::isl::{Ctx, Map};
use crate::legality::workers::Team;
use crate::legality::{Instance, Path, Verdict, Violation, paths};
use crate::program::{Array, ArrayId, Program, StatementId, StatementKind};
use crate::schedule_tree::Mark;
use std::cell::RefCell;
use std::collections::HashMap;

/// Checks every folded array and every shared slot. The schedule must be legal as far as dependences go.
pub fn check(program: &Program, ctx: &Ctx) -> Result<Verdict> {
    let paths = match paths(program) {
        Ok(paths) => paths,
        Err(violation) => return Ok(Err(violation)),
    };
    if let Some(violation) = slots::check(program, &paths) {
        return Ok(Err(violation));
    }
    let folded: Vec<_> = program.arrays().filter(|(_, a)| a.fold.iter().any(Option::is_some)).collect();
    if folded.is_empty() {
        return Ok(Ok(()));
    }
    let (cache, team) = (Cache::default(), Team::of(program));
    for (id, array) in folded {
        if !array.is_temp() {
            return Ok(Err(Violation::Structure(format!("{id} ({}) is folded but the caller sees it", array.name))));
        }
        let checker = Checker { program, ctx, paths: &paths, team: team.as_ref(), cache: &cache, id, array };
        if let Some(violation) = checker.run()? {
            return Ok(Err(violation));
        }
    }
    Ok(Ok(()))
}

/// Who touches the array, and which elements per instance.
type Accesses = Vec<(StatementId, Map)>;

/// Relations that many arrays need; parsing them is what costs.
#[derive(Default)]
struct Cache {
    /// Instances to the values of the first bands around them (and the owner), by statement and number of bands.
    times: RefCell<HashMap<(StatementId, usize), Map>>,
    /// By isl text.
    orders: RefCell<HashMap<String, Map>>,
}

struct Checker<'a> {
    program: &'a Program,
    ctx: &'a Ctx,
    paths: &'a HashMap<StatementId, Path>,
    team: Option<&'a Team>,
    cache: &'a Cache,
    id: ArrayId,
    array: &'a Array,
}

/// What happens where the bands around two statements agree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtEqualTimes {
    /// The order of the list.
    List,
    /// As `List`, but one instance is not after itself: it reads before it writes.
    ReadFirst,
}

impl Checker<'_> {
    fn run(&self) -> Result<Option<Violation>> {
        let (writes, reads) = self.accesses()?;
        let shares = Map::read(self.ctx, &self.shares_cell())?;
        for (overwriter, write) in &writes {
            // Elements to the instances of `overwriter` that write another element of their cell.
            let lost = shares.apply_range(&write.reverse()?)?;
            for (writer, first) in &writes {
                let Some(after) = self.not_before(*overwriter, *writer, AtEqualTimes::List)? else { continue };
                let written = first.reverse()?.apply_range(&after.reverse()?)?;
                let lost = lost.intersect(&written)?;
                if lost.is_empty()? {
                    continue;
                }
                for (reader, read) in &reads {
                    if let Some(violation) = self.still_read((*reader, read), *overwriter, &lost)? {
                        return Ok(Some(violation));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Is an element of `lost` read when, or after, the related instance of `overwriter` runs?
    fn still_read(
        &self,
        reader: (StatementId, &Map),
        overwriter: StatementId,
        lost: &Map,
    ) -> Result<Option<Violation>> {
        let Some(after) = self.not_before(reader.0, overwriter, AtEqualTimes::ReadFirst)? else { return Ok(None) };
        let bad = reader.1.apply_range(lost)?.intersect(&after)?;
        Ok(bad.sample()?.map(|(read, write)| Violation::Storage {
            writer: Instance { statement: overwriter, at: write },
            reader: Instance { statement: reader.0, at: read },
            array: self.id,
            name: self.array.name.clone(),
        }))
    }

    /// Writes and reads of the array. What accumulates or updates also reads.
    fn accesses(&self) -> Result<(Accesses, Accesses)> {
        let names = Names::new(self.program);
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for (id, statement) in self.program.statements() {
            let mut read: Vec<Access> = Vec::new();
            statement.visit_reads(&mut |access| {
                if access.array == self.id && !read.contains(access) {
                    read.push(access.clone());
                }
            });
            if statement.target.array == self.id {
                writes.push((id, names.access(self.ctx, id, &statement.target)?));
                if statement.kind != StatementKind::Assign {
                    read.push(statement.target.clone());
                }
            }
            for access in read {
                reads.push((id, names.access(self.ctx, id, &access)?));
            }
        }
        Ok((writes, reads))
    }

    /// Pairs of different elements in one cell.
    fn shares_cell(&self) -> String {
        let variables = |p: &str| (0..self.array.fold.len()).map(|d| format!("{p}{d}")).collect::<Vec<_>>().join(", ");
        let mut same = Vec::new();
        let mut other = Vec::new();
        for (d, fold) in self.array.fold.iter().enumerate() {
            match fold {
                None => same.push(format!("i{d} = e{d}")),
                Some(w) => {
                    same.push(format!("(i{d} - e{d}) mod {} = 0", (*w).max(1)));
                    other.push(format!("i{d} < e{d} or i{d} > e{d}"));
                }
            }
        }
        let (from, to, id) = (variables("i"), variables("e"), self.id);
        format!("{{ {id}[{from}] -> {id}[{to}] : {} and ({}) }}", same.join(" and "), other.join(" or "))
    }

    /// Pairs of instances of `a` and `b` where the first is not surely before the second; `None` when there
    /// are none.
    fn not_before(&self, a: StatementId, b: StatementId, equal: AtEqualTimes) -> Result<Option<Map>> {
        let (first, second) = (&self.paths[&a], &self.paths[&b]);
        let n = first.shared_bands(second);
        let at_equal = match equal {
            AtEqualTimes::List => first.positions >= second.positions,
            AtEqualTimes::ReadFirst => first.positions > second.positions,
        };
        let marks: Vec<Mark> = first.bands[..n].iter().map(|(_, mark)| *mark).collect();
        let races = self.team.map(|team| team.unordered(first, second, self.all_read(team, a)));
        let races = races.unwrap_or_else(|| "false".into());
        if n == 0 && !at_equal && races == "false" {
            return Ok(None);
        }
        let times = self.order(times_not_before(&marks, at_equal, &races))?;
        let (from, to) = (self.time(a, n)?, self.time(b, n)?);
        from.apply_range(&times)?.apply_range(&to.reverse()?).map(Some)
    }

    /// Do all workers read the array where statement `a` stands?
    fn all_read(&self, team: &Team, a: StatementId) -> bool {
        team.all_read(self.program, a, &self.paths[&a], self.id)
    }

    fn order(&self, text: String) -> Result<Map> {
        if let Some(map) = self.cache.orders.borrow().get(&text) {
            return Ok(map.clone());
        }
        let map = Map::read(self.ctx, &text)?;
        self.cache.orders.borrow_mut().insert(text, map.clone());
        Ok(map)
    }

    fn time(&self, id: StatementId, bands: usize) -> Result<Map> {
        if let Some(map) = self.cache.times.borrow().get(&(id, bands)) {
            return Ok(map.clone());
        }
        let path = &self.paths[&id];
        let mut values: Vec<_> = path.bands[..bands].iter().map(|(value, _)| value.clone()).collect();
        values.push(self.team.map_or(Aff::constant(0), |team| team.owner(path)));
        let map = Names::new(self.program).values(self.ctx, id, &values)?;
        self.cache.times.borrow_mut().insert((id, bands), map.clone());
        Ok(map)
    }
}

/// Pairs of times of shared bands (and owner) whose first is not surely before the second, `races` among them.
fn times_not_before(marks: &[Mark], at_equal: bool, races: &str) -> String {
    let equal = |d: usize| (0..d).map(|n| format!("b{n} = e{n} and ")).collect::<String>();
    let mut pieces = vec![races.to_string()];
    for (d, mark) in marks.iter().enumerate() {
        pieces.push(format!("({}b{d} > e{d})", equal(d)));
        match mark {
            Mark::Seq | Mark::Unroll | Mark::Barrier => {}
            // One worker runs its iterations in order.
            Mark::Team(n) => pieces.push(format!("({}b{d} < e{d} and (b{d} - e{d}) mod {n} > 0)", equal(d))),
            _ => pieces.push(format!("({}b{d} < e{d})", equal(d))),
        }
    }
    if at_equal {
        pieces.push(format!("({}true)", equal(marks.len())));
    }
    let variables = |p: &str| (0..=marks.len()).map(|d| format!("{p}{d}")).collect::<Vec<_>>().join(", ");
    format!("{{ [{}] -> [{}] : {} }}", variables("b"), variables("e"), pieces.join(" or "))
}

#[cfg(test)]
mod tests {
    use crate::legality::check;
    use crate::program::{ArrayId, Program, StatementKind};
    use crate::schedule_tree::{Mark, Node};
    use crate::testing::*;

    fn verdict(program: &Program) -> String {
        match check(program).unwrap() {
            Ok(()) => "legal".into(),
            Err(violation) => violation.to_string(),
        }
    }

    fn folded(mut program: Program, array: u32, window: i64) -> String {
        program.array_mut(ArrayId(array)).fold[0] = Some(window);
        verdict(&program)
    }

    #[test]
    fn a_state_that_all_lanes_read_needs_two_planes() {
        assert_eq!(folded(recurrence(10, 3), 0, 2), "legal");
        let text = folded(recurrence(10, 3), 0, 1);
        assert!(text.contains("overwrites a value of A0 (h)"), "{text}");
    }

    /// `x[t + 1, j] = f(x[t, j])`.
    fn elementwise(mark: Mark) -> Program {
        let mut p = Program::default();
        let x = array(&mut p, "x", &[c(11), c(4)]);
        let start = statement(&mut p, &[c(4)], StatementKind::Assign, at(x, &[c(0), i(0)]), zero());
        let next = at(x, &[i(0) + c(1), i(1)]);
        let step = statement(&mut p, &[c(10), c(4)], StatementKind::Assign, next, load(x, &[i(0), i(1)]));
        let inner = band(mark, &[(step, i(1))], vec![Node::Leaf(step)]);
        p.schedule.roots = Node::loops_of(start, 0, 1);
        p.schedule.roots.push(band(Mark::Seq, &[(step, i(0))], vec![inner]));
        p
    }

    #[test]
    fn an_elementwise_state_needs_one_plane_in_any_mark() {
        for mark in [Mark::Seq, Mark::Parallel, Mark::Lanes(4)] {
            assert_eq!(folded(elementwise(mark), 0, 1), "legal", "{mark:?}");
        }
    }

    #[test]
    fn a_later_reader_needs_all_planes() {
        let mut p = elementwise(Mark::Seq);
        let y = array(&mut p, "y", &[c(11)]);
        let late = statement(&mut p, &[c(11)], StatementKind::Assign, at(y, &[i(0)]), load(ArrayId(0), &[i(0), c(0)]));
        p.schedule.roots.extend(Node::loops_of(late, 0, 1));
        assert!(folded(p.clone(), 0, 10).contains("overwrites"));
        assert_eq!(folded(p, 0, 11), "legal");
    }

    #[test]
    fn parallel_iterations_do_not_share_a_plane() {
        // t[i] is written and read in iteration i alone: one plane in a sequential loop, all in a parallel one.
        let local = |mark: Mark, window: i64| {
            let mut p = Program::default();
            let t = array(&mut p, "t", &[c(8)]);
            let y = array(&mut p, "y", &[c(8)]);
            let make = statement(&mut p, &[c(8)], StatementKind::Assign, at(t, &[i(0)]), zero());
            let take = statement(&mut p, &[c(8)], StatementKind::Assign, at(y, &[i(0)]), load(t, &[i(0)]));
            p.schedule.roots =
                vec![band(mark, &[(make, i(0)), (take, i(0))], vec![Node::Leaf(make), Node::Leaf(take)])];
            folded(p, 0, window)
        };
        assert_eq!(local(Mark::Seq, 1), "legal");
        assert!(local(Mark::Parallel, 1).contains("overwrites"));
        assert_eq!(local(Mark::Parallel, 8), "legal");
    }
}
