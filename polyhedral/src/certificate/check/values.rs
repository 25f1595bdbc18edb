//! Does the last program compute what the base computes, with values substituted and shared?
//!
//! A body of it must be the body of the base with some reads replaced by the body of the only statement that
//! wrote what they read, at the instance that wrote it. That is right when nothing the substituted body reads is
//! written again after that instance. A read may also go to another array that holds the same: both are written by
//! the same statements, save their own name. A choice may go where indices alone decide it in all instances. Arrays that
//! became constants are taken as they are.

use super::conditions::{choices, decided, holds};
use super::guards::parts;
use super::places::Places;
use super::same::{mapped, rename};
use super::terms::{Term, Tree, equal, read};
use super::*;
use std::collections::HashSet;

pub fn check(checker: &mut Checker) -> Result<()> {
    instances::check(checker)?;
    constants::check(checker);
    for statement in 0..checker.last.statements.len() {
        if checker.is_new(statement) {
            checker.verdict.unproven.push(format!("what does {} compute, which is new", checker.id(statement)));
            continue;
        }
        let (mut unknown, mut substituted) = (false, 0);
        let id = checker.id(statement);
        checker.ask(
            || format!("does {id} compute what it did"),
            |c| {
                let places = Places::new();
                let mut matcher = Matcher::new(c, &places);
                let answer = matcher.statement(statement)?;
                substituted = matcher.substituted;
                unknown = answer == Answer::Unknown;
                let new = c.last.statements[statement].entry;
                let old = c.origins[statement].first().map_or("", |p| &c.base.statements[p.base].entry.body);
                let text = || format!("{id} computes `{}`, which is not `{old}` of the stage before", new.body);
                Ok((answer == Answer::No).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
            },
        )?;
        checker.verdict.substituted += substituted;
        if unknown {
            checker.verdict.unproven.push(format!("does {id} compute what it did"));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Yes,
    No,
    /// There is no rule for it.
    Unknown,
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// Finds a body of the last program in one of the base, with values substituted.
pub struct Matcher<'a, 'c> {
    c: &'a Checker<'c>,
    /// Where arrays of the base are in the last program.
    places: &'a Places,
    /// Arrays of the source that are taken to hold the same, while that is shown.
    equal: HashSet<(String, String)>,
    substituted: usize,
}

impl<'a, 'c> Matcher<'a, 'c> {
    pub fn new(c: &'a Checker<'c>, places: &'a Places) -> Matcher<'a, 'c> {
        Matcher { c, places, equal: HashSet::new(), substituted: 0 }
    }

    /// A statement of the base and the one of the source that it is.
    fn statement(&mut self, statement: usize) -> Result<Answer> {
        let c = self.c;
        let [Piece { base, map, all: None }] = c.origins[statement].as_slice() else { return Ok(Answer::Unknown) };
        let (new, old) = (&c.last.statements[statement], &c.base.statements[*base]);
        let all = new.domain.identity()?;
        if new.entry.kind != old.entry.kind || new.write.array != old.write.array {
            return Ok(Answer::No);
        }
        if !mapped(map, &c.base, &old.write)?.is_equal(&mapped(&all, &c.last, &new.write)?)? {
            return Ok(Answer::No);
        }
        self.bodies((&c.base, old), (&c.last, new), map)
    }

    /// The values and tests of two statements, where `map` leads from instances of the second to those of the first.
    fn bodies(
        &mut self,
        (before, old): (&Program<'c>, &Statement<'c>),
        (after, new): (&Program<'c>, &Statement<'c>),
        map: &Map,
    ) -> Result<Answer> {
        let ((a, test_a), (b, test_b)) = (parts(&old.entry.body), parts(&new.entry.body));
        let mut pairs = vec![(a, b)];
        match (test_a, test_b) {
            (Some(a), Some(b)) => pairs.push((a, b)),
            (None, None) => {}
            (Some(a), None) => {
                let Some(test) = Tree::parse(a) else { return Ok(Answer::Unknown) };
                if decided(self.c, old, &test, &map.range()?)? != Some(true) {
                    return Ok(Answer::No);
                }
            }
            _ => return Ok(Answer::No),
        }
        for (a, b) in pairs {
            let (Some(a), Some(b)) = (Tree::parse(a), Tree::parse(b)) else { return Ok(Answer::Unknown) };
            let old = Term { program: before, statement: old, tree: &a };
            let answer = self.terms(old, Term { program: after, statement: new, tree: &b }, map)?;
            if answer != Answer::Yes {
                return Ok(answer);
            }
        }
        Ok(Answer::Yes)
    }

    /// `map` leads from instances of the new statement to those of the old one.
    pub fn terms(&mut self, old: Term<'_, 'c>, new: Term<'_, 'c>, map: &Map) -> Result<Answer> {
        if let Some(k) = old.tree.number('#') {
            let direct = match new.tree.number('#') {
                Some(j) => self.reads((old, k), (new, j), map)?,
                None => Answer::No,
            };
            return if direct == Answer::Yes { Ok(direct) } else { self.substituted(old, k, new, map) };
        }
        // What a new statement computes is not looked into.
        if let Some(j) = new.tree.number('#')
            && !self.c.base.arrays.contains_key(read(new.statement, j)?.array.as_str())
        {
            return Ok(Answer::Unknown);
        }
        if let Some(k) = old.tree.number('@') {
            let Some(j) = new.tree.number('@') else { return Ok(Answer::No) };
            let value = |s: &Statement, n: usize| {
                let text = s.entry.values.get(n).ok_or_else(|| malformed(format!("{} has no @{n}", s.entry.id)))?;
                Map::read(&self.c.ctx, text).map_err(malformed)
            };
            let was = map.apply_range(&value(old.statement, k)?)?;
            let is = value(new.statement, j)?.intersect_domain(&map.domain()?)?;
            return Ok(Answer::of(was.is_equal(&is)?));
        }
        if old.tree.label == new.tree.label && old.tree.children.len() == new.tree.children.len() {
            let answer = self.children(old, new, map)?;
            if answer == Answer::Yes {
                return Ok(answer);
            }
            // With what the condition says about its sides.
            if self.sides(old, new, map)? == Answer::Yes {
                return Ok(Answer::Yes);
            }
            let chosen = self.chosen(old, new, map)?;
            return Ok(if chosen == Answer::No { answer } else { chosen });
        }
        self.chosen(old, new, map)
    }

    /// Are two choices one, each side in the instances that take it, or with what the test is there?
    fn sides(&mut self, old: Term<'_, 'c>, new: Term<'_, 'c>, map: &Map) -> Result<Answer> {
        let domain = map.range()?;
        let (test, sides) = match (old.tree.label, old.tree.children.as_slice()) {
            ("select", [test, ..]) => (test, &[(1, true), (2, false)][..]),
            ("and", [test, _]) => (test, &[(1, true)][..]),
            ("or", [test, _]) => (test, &[(1, false)][..]),
            _ => return Ok(Answer::No),
        };
        let holds = holds(self.c, old.statement, test, &domain)?;
        let mut literals = sides.iter().filter_map(|(n, _)| literal(&new.tree.children[*n]));
        if holds.is_none() && literals.next().is_none() {
            return Ok(Answer::No);
        }
        let tested = Term { tree: test, ..old };
        let mut answers = vec![self.terms(tested, Term { tree: &new.tree.children[0], ..new }, map)?];
        for (n, taken) in sides {
            let there = match &holds {
                Some(holds) if *taken => holds.clone(),
                Some(holds) => domain.subtract(holds)?,
                None => domain.clone(),
            };
            let (a, b) = (&old.tree.children[*n], &new.tree.children[*n]);
            let side = Term { tree: a, ..old };
            // The test itself, on a side that is taken only where it has this value.
            if literal(b) == Some(*taken) && equal(&there.identity()?, tested, side)? {
                continue;
            }
            let within = map.intersect_range(&there)?;
            answers.push(self.terms(side, Term { tree: b, ..new }, &within)?);
        }
        Ok(Answer::of(answers.iter().all(|a| *a == Answer::Yes)))
    }

    /// Is the new term what a choice of the old one always is? Unknown where it is a part, and data decide.
    fn chosen(&mut self, old: Term<'_, 'c>, new: Term<'_, 'c>, map: &Map) -> Result<Answer> {
        let domain = map.range()?;
        let literal = literal(new.tree);
        if literal.is_some() && decided(self.c, old.statement, old.tree, &domain)? == literal {
            return Ok(Answer::Yes);
        }
        let mut answer = Answer::No;
        for (tree, always) in choices(self.c, old.statement, old.tree, &domain)? {
            match (self.terms(Term { tree, ..old }, new, map)?, always) {
                (Answer::Yes, Some(true)) => return Ok(Answer::Yes),
                (Answer::No, _) | (_, Some(false)) => {}
                _ => answer = Answer::Unknown,
            }
        }
        Ok(answer)
    }

    fn children(&mut self, old: Term<'_, 'c>, new: Term<'_, 'c>, map: &Map) -> Result<Answer> {
        for (a, b) in old.tree.children.iter().zip(&new.tree.children) {
            let answer = self.terms(Term { tree: a, ..old }, Term { tree: b, ..new }, map)?;
            if answer != Answer::Yes {
                return Ok(answer);
            }
        }
        Ok(Answer::Yes)
    }

    /// Is read `k` of the old statement read `j` of the new one: the same elements of one array, or of an equal one?
    fn reads(&mut self, (old, k): (Term<'_, 'c>, usize), (new, j): (Term<'_, 'c>, usize), map: &Map) -> Result<Answer> {
        let (then, here) = (read(old.statement, k)?, read(new.statement, j)?);
        if old.tree.children.len() != new.tree.children.len() {
            return Ok(Answer::No);
        }
        let mut was = mapped(map, old.program, then)?;
        let mut is = mapped(&map.domain()?.identity()?, new.program, here)?;
        let place = self.places.get(&then.array).filter(|_| std::ptr::eq(new.program, &self.c.last));
        if let Some(place) = place {
            was = was.apply_range(place)?;
            if was.name_out() != is.name_out() {
                return Ok(Answer::No);
            }
        } else if then.array != here.array {
            if !self.hold_the_same(&then.array, &here.array)? {
                return Ok(Answer::No);
            }
            is = is.apply_range(&rename(&self.c.ctx, &here.array, &then.array, is.dims_out())?)?;
        }
        if !was.is_equal(&is)? {
            return Ok(Answer::No);
        }
        self.children(old, new, map)
    }

    /// Is the new term the body of the statement that wrote what read `k` reads?
    fn substituted(&mut self, old: Term<'_, 'c>, k: usize, new: Term<'_, 'c>, map: &Map) -> Result<Answer> {
        let c = self.c;
        let then = read(old.statement, k)?;
        let writers: Vec<_> = c.base.statements.iter().filter(|s| s.write.array == then.array).collect();
        let [writer] = writers.as_slice() else { return Ok(Answer::No) };
        let (body, test) = parts(&writer.entry.body);
        if writer.entry.kind != "assign" {
            return Ok(Answer::No);
        }
        // The instance that wrote the element is a matter of computed subscripts.
        if then.exact.domain_is_wrapping()? || writer.write.exact.domain_is_wrapping()? {
            return Ok(Answer::Unknown);
        }
        let element = mapped(map, &c.base, then)?;
        let wrote = element.apply_range(&writer.write.may.reverse()?)?;
        if !wrote.is_single_valued()? || !wrote.domain()?.is_equal(&element.domain()?)? {
            return Ok(Answer::No);
        }
        for n in 0..writer.reads.len() {
            if !self.stays(writer, n)? {
                return Ok(Answer::No);
            }
        }
        let Some(tree) = Tree::parse(body) else { return Ok(Answer::Unknown) };
        let answer = self.terms(Term { program: &c.base, statement: writer, tree: &tree }, new, &wrote)?;
        if answer == Answer::Yes {
            self.substituted += 1;
            // Whether the writer has run where its value is wanted is a matter of tests.
            return Ok(if test.is_none() { answer } else { self.same_tests(writer, new, &wrote)? });
        }
        Ok(answer)
    }

    /// Does the reader run only where the writer did?
    fn same_tests(&mut self, writer: &Statement<'c>, reader: Term<'_, 'c>, wrote: &Map) -> Result<Answer> {
        let (Some(a), Some(b)) = (parts(&writer.entry.body).1, parts(&reader.statement.entry.body).1) else {
            return Ok(Answer::Unknown);
        };
        let (Some(a), Some(b)) = (Tree::parse(a), Tree::parse(b)) else { return Ok(Answer::Unknown) };
        let made = Term { program: &self.c.base, statement: writer, tree: &a };
        let answer = self.terms(made, Term { tree: &b, ..reader }, wrote)?;
        Ok(if answer == Answer::No { Answer::Unknown } else { answer })
    }

    /// Is what read `n` of a statement of the source reads never written afterwards?
    pub fn stays(&self, reader: &Statement<'c>, n: usize) -> Result<bool> {
        let c = self.c;
        for writer in c.base.statements.iter().filter(|s| s.write.array == reader.reads[n].array) {
            let number = |s: &Statement| c.base.index[s.entry.id.as_str()];
            let Some(order) = c.base_order(number(reader), number(writer))? else { continue };
            let touch = reader.reads[n].may.apply_range(&writer.write.may.reverse()?)?;
            if !touch.intersect(&order)?.is_empty()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Do two arrays of the source get the same values from the same statements?
    fn hold_the_same(&mut self, first: &str, second: &str) -> Result<bool> {
        let c = self.c;
        if !self.equal.insert((first.into(), second.into())) {
            return Ok(true);
        }
        let (Some(a), Some(b)) = (c.base.arrays.get(first), c.base.arrays.get(second)) else { return Ok(false) };
        let writers = |array: &str| c.base.statements.iter().filter(|s| s.write.array == array).collect::<Vec<_>>();
        let (x, y) = (writers(first), writers(second));
        let mut same = a.entry.dtype == b.entry.dtype && x.len() == y.len() && !x.is_empty();
        for (p, q) in x.iter().zip(&y) {
            same = same && self.same_writer(p, q)?;
        }
        if !same {
            self.equal.remove(&(first.into(), second.into()));
        }
        self.substituted += usize::from(same);
        Ok(same)
    }

    fn same_writer(&mut self, p: &Statement<'c>, q: &Statement<'c>) -> Result<bool> {
        let c = self.c;
        if p.entry.kind != q.entry.kind || p.domain.dims() != q.domain.dims() {
            return Ok(false);
        }
        let map = rename(&c.ctx, &q.entry.id, &p.entry.id, q.domain.dims())?.intersect_domain(&q.domain)?;
        if !map.range()?.is_equal(&p.domain)? {
            return Ok(false);
        }
        let was = mapped(&map, &c.base, &p.write)?;
        let is = mapped(&q.domain.identity()?, &c.base, &q.write)?;
        let is = is.apply_range(&rename(&c.ctx, &q.write.array, &p.write.array, is.dims_out())?)?;
        Ok(was.is_equal(&is)? && self.bodies((&c.base, p), (&c.base, q), &map)? == Answer::Yes)
    }
}

/// The truth value that a term is.
fn literal(tree: &Tree) -> Option<bool> {
    match (tree.label, tree.children.as_slice()) {
        ("Int", [value, dtype]) if dtype.label == "Bool" => Some(value.label != "0"),
        _ => None,
    }
}
