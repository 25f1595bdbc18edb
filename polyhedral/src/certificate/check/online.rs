//! Sums that follow an extreme while it still grows: the same values in real numbers.
//!
//! The base has `m = max x(j)` and sums over `j` of `f(x(j), m) * r(j)`, times what does not depend on `j`, with `f(x, m) =
//! exp(x - m)` (`exp(m - x)` of a minimum). The last program takes blocks: its running extreme `M[b]`, its running sum
//! `S[b + 1] = S[b] * f(M[b], M[b + 1]) + sum of f(x(j), M[b + 1]) * r(j)` over the block. The step states which statement has
//! which part. By induction, from `f(x, m') = f(x, m) * f(m, m')`, `S[b]` is the sum of `f(x(j), M[b]) * r(j)` over all
//! blocks so far. Shown is, beside what `running` shows of the extreme and of each sum:
//!
//! - A block's terms are `f` of the element of the base and the extreme that its step scales to ([`Group::references`]).
//! - What a step scales the sum before with is `f` of the extreme that this one refers to, and of its own.
//! - The elements of all terms of a sum are in the extreme that it refers to. So where that is the unit, all elements are:
//!   `shift` puts 0 in its place, and terms and factor are 0.
//! - The last extreme has all elements of the row that the base subtracts. Where it is the unit, the base has the difference of
//!   two infinities, and so has what is selected instead.
//! - The factors are those of the base (`factors`), each in the block, or afterwards and the same for all terms.
//!
//! The base reads what is never written afterwards, and so does the last program: each array is complete before it is read
//! ([`goes_first`], `dependences`). Elements that are NaN or the other infinity are not looked at: `rule.rs` says why they
//! come out as before.

use super::dependences::Touch;
use super::factors::{Factor, Product, later, split};
use super::places::{Places, moved_arrays};
use super::running::{Fault, Proof, Running, element, known, member, need, number, only_read, own_array, whole};
use super::terms::{Term, Tree};
use super::values::{Answer, Matcher};
use super::*;
use crate::certificate::OnlineEntry;
use std::collections::BTreeMap;

/// Reductions whose extreme may be subtracted: the unit, what tests for it, and is the element what is subtracted from?
const RULES: [(&str, f64, &str, bool); 2] =
    [("max", f64::NEG_INFINITY, "isneginf", true), ("min", f64::INFINITY, "isposinf", false)];

/// A step that takes sums in blocks, and leaves everything else as it was. `false` where there is no rule for it.
pub fn check(checker: &mut Checker, entries: &[OnlineEntry]) -> Result<bool> {
    let mut origins = BTreeMap::new();
    for entry in entries {
        for id in members(entry) {
            let n = member(checker, id)?;
            if !checker.grouped.insert(n) {
                return Err(malformed(format!("{id} has two parts in what is taken in blocks")));
            }
            origins.insert(id, std::mem::take(&mut checker.origins[n]));
        }
    }
    let new = |n: usize| checker.is_new(n) && !checker.grouped.contains(&n);
    if entries.is_empty() || (0..checker.last.statements.len()).any(new) {
        return Ok(false);
    }
    let places = moved_arrays(checker)?;
    let (mut replaced, mut doubts) = (HashSet::new(), Vec::new());
    for entry in entries {
        let what = format!("does {} follow an extreme in blocks", entry.terms);
        checker.ask(
            || what.clone(),
            |c| match group(c, entry, &origins, &places) {
                Ok(done) => {
                    replaced.extend(done);
                    Ok(None)
                }
                Err(Fault::Error(error)) => Err(error),
                Err(Fault::Unknown(what)) => {
                    doubts.push(what);
                    Ok(None)
                }
                Err(Fault::Wrong(why)) => {
                    let text = format!("the sums that follow {} are not those of the base: {why}", entry.extreme.step);
                    Ok(Some(Finding { rule: Rule::Values, text, witness: None }))
                }
            },
        )?;
        checker.verdict.regrouped += entry.sums.len();
    }
    if !doubts.is_empty() {
        checker.verdict.undecided.extend(doubts);
        return Ok(false);
    }
    instances::executed(checker, &replaced)?;
    constants::check(checker);
    for statement in 0..checker.last.statements.len() {
        instances::once(checker, statement)?;
        if !checker.grouped.contains(&statement) {
            instances::own(checker, statement)?;
            same::statement(checker, statement, &places)?;
        }
    }
    Ok(true)
}

/// Is the first access to an array the one that has to be first, where a statement of a group has one of them? All that is
/// written to an element comes before all that reads it, and what starts an accumulation before what accumulates.
pub fn goes_first(c: &Checker, first: Touch, second: Touch) -> bool {
    let accumulates = |t: Touch| c.last.statements[t.statement].reduces().is_some();
    first.writes && (!second.writes || (!accumulates(first) && accumulates(second)))
}

/// All statements of a group.
fn members(entry: &OnlineEntry) -> Vec<&str> {
    let mut out: Vec<&str> = vec![&entry.shift, &entry.factor, &entry.terms];
    for r in [&entry.extreme].into_iter().chain(&entry.sums) {
        out.extend([&r.start, &r.clear, &r.reduce, &r.step].map(String::as_str));
        out.extend(r.finish.as_deref());
    }
    out
}

/// Shows that a group computes what the base does, and says which statements of the base it replaces.
fn group<'c>(
    c: &Checker<'c>,
    entry: &OnlineEntry,
    origins: &BTreeMap<&str, Vec<Piece>>,
    places: &Places,
) -> Proof<Vec<usize>> {
    let piece = |id: &str| match origins[id].as_slice() {
        [piece] => Ok(piece),
        _ => Err(Fault::Wrong(format!("{id} is not said to be instances of one statement"))),
    };
    let get = |id: &str| member(c, id).map(|n| &c.last.statements[n]);
    let extreme = Running::of(c, &entry.extreme, piece(&entry.extreme.reduce)?)?;
    let group = Group {
        c,
        places,
        shift: get(&entry.shift)?,
        factor: get(&entry.factor)?,
        terms: get(&entry.terms)?,
        elements: whole(piece(&entry.terms)?, get(&entry.terms)?)?,
        rule: *known(RULES.iter().find(|r| r.0 == extreme.old.entry.kind), extreme.reduce)?,
        extreme,
    };
    need(c.base.statements[piece(&entry.terms)?.base].entry.id == group.extreme.old.entry.id, || {
        format!("{} has elements of another extreme", entry.terms)
    })?;
    let shifts = group.check()?;
    let mut done = group.extreme.finish.map_or(vec![], |_| vec![group.extreme.old, group.extreme.old_clear]);
    for sum in &entry.sums {
        let sum = Running::of(c, sum, piece(&sum.reduce)?)?;
        group.sum(&sum, &shifts)?;
        done.extend([sum.old, sum.old_clear]);
    }
    Ok(done.into_iter().map(|s| c.base.index[s.entry.id.as_str()]).collect())
}

/// An extreme, and what the sums that follow it share.
struct Group<'a, 'c> {
    c: &'a Checker<'c>,
    places: &'a Places,
    extreme: Running<'a, 'c>,
    shift: &'a Statement<'c>,
    factor: &'a Statement<'c>,
    terms: &'a Statement<'c>,
    /// From instances of `terms` to those of the extreme in the base.
    elements: Map,
    rule: (&'static str, f64, &'static str, bool),
}

/// Where the running extreme is that something subtracts.
struct Shifts {
    /// From instances of `terms`.
    terms: Map,
    /// From instances of `factor`: the extreme that is scaled from, and to.
    from: Map,
    to: Map,
}

impl<'c> Group<'_, 'c> {
    /// Shows what the extreme and the statements that all sums share compute.
    fn check(&self) -> Proof<Shifts> {
        let Group { c, extreme, shift, factor, terms, .. } = self;
        extreme.check(self.rule.1)?;
        for own in [shift, factor, terms] {
            need(own.entry.kind == "assign", || format!("{} accumulates", own.entry.id))?;
            own_array(c, &own.write.array, &[own], extreme.old)?;
            need(own.write.may.is_injective()?, || format!("{} writes an element twice", own.entry.id))?;
        }
        let product = Product { c, matcher: Matcher::new(c, self.places), later: HashSet::new() };
        need(product.final_reads(extreme.old)?, || format!("what {} reads is written later", extreme.old.entry.id))?;
        let (element, block) = (parsed(extreme.old)?, parsed(extreme.reduce)?);
        self.same((extreme.old, &element), (extreme.reduce, &block), &extreme.was)?;
        let step = parsed(extreme.step)?;
        let both = step.label == self.rule.0 && step.children.len() == 2;
        known(both.then_some(()), extreme.step)?;
        reads(extreme.step, &step.children[0], extreme.values())?;
        reads(extreme.step, &step.children[1], extreme.blocks())?;
        let finite = self.finite()?;
        let through =
            |map: Map| -> Proof<Map> { Ok(map.apply_range(&self.shift.write.may.reverse()?)?.apply_range(&finite)?) };
        // The terms.
        let value = parsed(terms)?;
        let (x, m) = known(self.parts(&value), terms)?;
        self.same((extreme.old, &element), (terms, x), &self.elements)?;
        let of_terms = through(reads(terms, m, &shift.write.array)?.may.clone())?;
        // The factor.
        let value = parsed(factor)?;
        let (before, m) = known(self.parts(&value), factor)?;
        let from = reads(factor, before, extreme.values())?.may.clone();
        let to = through(reads(factor, m, &shift.write.array)?.may.clone())?;
        let all = terms.domain.is_subset(&of_terms.domain()?)? && factor.domain.is_subset(&to.domain()?)?;
        need(all, || format!("{} leaves out a value that is subtracted", shift.entry.id))?;
        if let Some(finish) = extreme.finish {
            let total = reads(finish, &parsed(finish)?, extreme.values())?.may.clone();
            extreme.complete(finish, &total)?;
        }
        Ok(Shifts { terms: of_terms, from, to })
    }

    /// `x` and `m` of `f(x, m)`.
    fn parts<'t>(&self, tree: &'t Tree<'t>) -> Option<(&'t Tree<'t>, &'t Tree<'t>)> {
        let ("exp", [difference]) = (tree.label, tree.children.as_slice()) else { return None };
        let ("sub", [a, b]) = (difference.label, difference.children.as_slice()) else { return None };
        Some(if self.rule.3 { (a, b) } else { (b, a) })
    }

    /// `(m, v)` of a choice of `v` save where `m` is the unit, and what is chosen there.
    fn unless_unit<'t>(&self, tree: &'t Tree<'t>) -> Option<[&'t Tree<'t>; 3]> {
        let ("select", [test, unit, value]) = (tree.label, tree.children.as_slice()) else { return None };
        let [m] = test.children.as_slice() else { return None };
        (test.label == self.rule.2).then_some([m, unit, value])
    }

    /// From instances of `shift` to the running extreme that they are, save where that is the unit.
    fn finite(&self) -> Proof<Map> {
        let (statement, value) = (self.shift, parsed(self.shift)?);
        let [m, unit, finite] = known(self.unless_unit(&value), statement)?;
        known((number(unit) == Some(0.0)).then_some(()), statement)?;
        let [a, b] = [reads(statement, m, self.extreme.values())?, reads(statement, finite, self.extreme.values())?];
        need(a.may.is_equal(&b.may)?, || format!("{} chooses between two extremes", statement.entry.id))?;
        Ok(a.may.clone())
    }

    /// Is a part of a body of the last program that of the base, where `map` leads from its instances to those?
    fn same(&self, (old, was): (&Statement<'c>, &Tree), (new, tree): (&Statement<'c>, &Tree), map: &Map) -> Proof<()> {
        match self.answer((old, was), (new, tree), map)? {
            Answer::Yes => Ok(()),
            Answer::No => Err(Fault::Wrong(format!("{} has another element than {}", new.entry.id, old.entry.id))),
            Answer::Unknown => known(None, new),
        }
    }

    fn answer(
        &self,
        (old, was): (&Statement<'c>, &Tree),
        (new, tree): (&Statement<'c>, &Tree),
        map: &Map,
    ) -> Result<Answer> {
        let old = Term { program: &self.c.base, statement: old, tree: was };
        Matcher::new(self.c, self.places).terms(old, Term { program: &self.c.last, statement: new, tree }, map)
    }

    /// Shows that a sum follows the extreme.
    fn sum(&self, sum: &Running<'_, 'c>, shifts: &Shifts) -> Proof<()> {
        sum.check(0.0)?;
        need(sum.old.entry.kind == "add", || format!("{} is no sum", sum.old.entry.id))?;
        let own = sum.terms_of(self.terms)?;
        let refers = self.references(sum, shifts, &own)?;
        // From terms of the base to their element, an instance of the extreme.
        let elements = sum.was.reverse()?.apply_range(&own)?.apply_range(&self.elements)?;
        let known_there = sum.holds()?.apply_range(&elements)?;
        let extremes = self.extreme.holds()?;
        need(known_there.is_subset(&refers.apply_range(&extremes)?)?, || {
            format!("{} sums up elements that are not in the extreme yet", sum.step.entry.id)
        })?;
        let finish = sum.finish.ok_or_else(|| Fault::Unknown(format!("what follows {}", sum.step.entry.id)))?;
        let value = parsed(finish)?;
        let mut outer = Vec::new();
        split(value, false, &mut outer);
        let at = outer.iter().position(|(t, divides)| !divides && self.unless_unit(t).is_some());
        let (total, _) = outer.remove(known(at, finish)?);
        let (total, last) = self.total(sum, finish, &total)?;
        let asked = last.intersect_domain(&sum.finished(finish)?)?;
        need(total.apply_range(&refers)?.is_equal(&asked)?, || {
            format!("{} asks another extreme than that of the sum", finish.entry.id)
        })?;
        let base = sum.complete(finish, &total)?;
        let mut inner = Vec::new();
        split(parsed(sum.reduce)?, false, &mut inner);
        let is_term = |(t, divides): &(Tree, bool)| !divides && reads(sum.reduce, t, &self.terms.write.array).is_ok();
        inner.remove(known(inner.iter().position(is_term), sum.reduce)?);
        let mut factors = self.factors(sum)?;
        let power = factors.iter().position(|f| self.subtracts(f).is_some());
        let power = factors.remove(known(power, sum.reduce)?);
        // The base subtracts the extreme of the elements, all of them.
        let (x, m) = known(self.subtracts(&power), sum.reduce)?;
        let extreme_of = power.at.apply_range(&m.may)?;
        let row = elements.apply_range(&self.extreme.old.write.may)?;
        need(extreme_of.is_equal(&row)?, || format!("{} sums up elements of another extreme", sum.reduce.entry.id))?;
        let whole_row = base.apply_range(&row)?.apply_range(&self.extreme.old.write.may.reverse()?)?;
        need(last.apply_range(&extremes)?.is_equal(&whole_row)?, || {
            format!("{} does not ask the extreme of all elements", finish.entry.id)
        })?;
        let to_power = own.reverse()?.apply_range(&sum.was)?.apply_range(&power.at)?;
        let new = parsed(self.terms)?;
        let (new_x, _) = known(self.parts(&new), self.terms)?;
        self.same((power.statement, x), (self.terms, new_x), &to_power)?;
        for factor in factors {
            let mut found = self.take(&factor, (sum.reduce, &mut inner), &sum.was)?;
            if found != Answer::Yes {
                let after = self.take(&factor, (finish, &mut outer), &base)?;
                found = if after == Answer::No { found } else { after };
            }
            known((found != Answer::Unknown).then_some(()), sum.reduce)?;
            need(found == Answer::Yes, || {
                format!(
                    "a factor of {} is neither in {} nor in {}",
                    sum.old.entry.id, sum.reduce.entry.id, finish.entry.id
                )
            })?;
        }
        need(inner.is_empty() && outer.is_empty(), || format!("{} has a factor too many", sum.reduce.entry.id))
    }

    /// From running sums to the running extreme that their terms subtract: that of the step that made it, and of the step
    /// that goes on from it.
    fn references(&self, sum: &Running<'_, 'c>, shifts: &Shifts, own: &Map) -> Proof<Map> {
        let step = sum.step;
        let value = parsed(step)?;
        let ("add", [product, block]) = (value.label, value.children.as_slice()) else { return known(None, step) };
        let ("mul", [before, factor]) = (product.label, product.children.as_slice()) else { return known(None, step) };
        reads(step, before, sum.values())?;
        reads(step, block, sum.blocks())?;
        let factor = reads(step, factor, &self.factor.write.array)?;
        let scaled = factor.may.apply_range(&self.factor.write.may.reverse()?)?;
        need(step.domain.is_subset(&scaled.domain()?)?, || format!("{} has no factor", step.entry.id))?;
        let after = step.write.may.reverse()?.apply_range(&scaled)?.apply_range(&shifts.to)?;
        let refers = after.union(&sum.before()?.reverse()?.apply_range(&scaled)?.apply_range(&shifts.from)?)?;
        need(refers.is_single_valued()?, || format!("{} scales with another extreme", step.entry.id))?;
        let first = sum.start.write.may.apply_range(&refers)?.range()?;
        need(first.is_subset(&self.extreme.start.write.may.range()?)?, || {
            format!("{} scales the first sum with another extreme than the first", step.entry.id)
        })?;
        let of_block = step.write.may.reverse()?.apply_range(&sum.block()?)?;
        let of_block = of_block.apply_range(&sum.reduce.write.may.reverse()?)?.apply_range(own)?;
        need(of_block.apply_range(&shifts.terms)?.is_subset(&after)?, || {
            format!("{} sums up terms with another extreme than {} scales to", sum.reduce.entry.id, step.entry.id)
        })?;
        Ok(refers)
    }

    /// The running sum that `finish` takes, and the extreme that it asks whether it is the unit.
    fn total(&self, sum: &Running, finish: &Statement<'c>, tree: &Tree) -> Proof<(Map, Map)> {
        let [m, unit, total] = known(self.unless_unit(tree), finish)?;
        let ("sub", [n, literal]) = (unit.label, unit.children.as_slice()) else { return known(None, finish) };
        known((number(literal) == Some(self.rule.1)).then_some(()), finish)?;
        let [m, n] = [reads(finish, m, self.extreme.values())?, reads(finish, n, self.extreme.values())?];
        need(m.may.is_equal(&n.may)?, || format!("{} asks two extremes", finish.entry.id))?;
        Ok((reads(finish, total, sum.values())?.may.clone(), m.may.clone()))
    }

    /// The factors of the sum in the base.
    fn factors<'a>(&'a self, sum: &Running<'a, 'c>) -> Proof<Vec<Factor<'a, 'c>>> {
        let later = later(self.c, &self.extreme.old.write.array);
        let product = Product { c: self.c, matcher: Matcher::new(self.c, self.places), later };
        let mut out = Vec::new();
        let all = product.factors((sum.old, parsed(sum.old)?), &sum.old.domain.identity()?, false, &mut out)?;
        need(all.is_some() && product.final_reads(sum.old)?, || {
            format!("what {} reads is written later", sum.old.entry.id)
        })?;
        Ok(out)
    }

    /// The element, and the read of the extreme, of a factor `f(x, m)`.
    fn subtracts<'t>(&self, factor: &'t Factor<'_, 'c>) -> Option<(&'t Tree<'t>, &'t Access)> {
        let (x, m) = self.parts(&factor.tree).filter(|_| !factor.divides)?;
        let access = element(factor.statement, m).ok().flatten()?;
        (access.array == self.extreme.old.write.array).then_some((x, access))
    }

    /// Takes a factor of the base out of those of a statement. `terms` leads from its instances to the terms of the base.
    fn take(
        &self,
        factor: &Factor<'_, 'c>,
        (statement, all): (&Statement<'c>, &mut Vec<(Tree<'c>, bool)>),
        terms: &Map,
    ) -> Result<Answer> {
        let map = terms.apply_range(&factor.at)?;
        let mut found = Answer::No;
        for n in 0..all.len() {
            let (tree, divides) = &all[n];
            if *divides != factor.divides {
                continue;
            }
            match self.answer((factor.statement, &factor.tree), (statement, tree), &map)? {
                Answer::Yes => {
                    all.remove(n);
                    return Ok(Answer::Yes);
                }
                Answer::Unknown => found = Answer::Unknown,
                Answer::No => {}
            }
        }
        Ok(found)
    }
}

impl Running<'_, '_> {
    /// From instances of `reduce` to those of `terms`, of which each multiplies one.
    fn terms_of(&self, terms: &Statement) -> Proof<Map> {
        let read = only_read(self.reduce, &terms.write.array)?;
        let own = read.may.apply_range(&terms.write.may.reverse()?)?;
        need(self.reduce.domain.is_subset(&own.domain()?)?, || {
            format!("{} reads terms that {} leaves out", self.reduce.entry.id, terms.entry.id)
        })?;
        Ok(own)
    }
}

fn parsed<'c>(statement: &Statement<'c>) -> Proof<Tree<'c>> {
    known(Tree::parse(statement.entry.body.as_str()), statement)
}

/// The read of an array that a term is.
fn reads<'s>(statement: &'s Statement, term: &Tree, array: &str) -> Proof<&'s Access> {
    known(element(statement, term)?.filter(|access| access.array == array), statement)
}
