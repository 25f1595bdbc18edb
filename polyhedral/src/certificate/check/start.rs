//! What an accumulator starts with where its terms became `a * b` and were `(a - z) * b`: `- z * c`, `c` the sum of all `b`.
//!
//! `sum((a - z) * b) = sum(a * b) - z * sum(b)` in integers that wrap, where all terms of an element share `z`. Shown is: one
//! statement starts every element, before all of its terms, and it starts with what it did less `z * c`. It finds the `z` that
//! the terms find: from the same elements, which nothing writes afterwards. `c` is a constant, and the statement that the
//! certificate states for it sums up for every element, one for one, the `b` of its terms. Nobody else sees the accumulator
//! before the last term.

use super::guards::{parts, same_test};
use super::same::mapped;
use super::terms::{Term, Tree, equal, read, related};
use super::words::{Maker, Sum};
use super::*;

/// The statement that starts the sum with the rest, or what is wrong with it.
pub fn check(sum: &Sum, shared: &Tree, other: &Tree) -> Result<std::result::Result<usize, String>> {
    let (c, old) = (sum.c, sum.old);
    let array = old.write.array.as_str();
    let wrong = |why: &str| Ok(Err(format!("{array} should start with what its terms share: {why}")));
    let Some(start) = Start::of(c, old)? else { return wrong("it has not one start") };
    let Some(value) = Tree::parse(start.new.value()) else { return wrong("the start cannot be read") };
    let Some((was, zero, constant)) = parts_of(&value) else {
        return wrong(&format!("{} starts with `{}`", start.new.entry.id, start.new.value()));
    };
    let Some(before) = Tree::parse(start.old.value()) else { return wrong("the start cannot be read") };
    let (base, last) = (
        |statement, tree| Term { program: &c.base, statement, tree },
        |statement, tree| Term { program: &c.last, statement, tree },
    );
    if !equal(&start.map.reverse()?, base(start.old, &before), last(start.new, was))? {
        return wrong("the start had another value");
    }
    let to_new = start.of_terms.apply_range(&start.map.reverse()?)?;
    if !equal(&to_new, base(old, shared), last(start.new, zero))? {
        return wrong("the start has something else than what its terms share");
    }
    if !start.stays(zero)? {
        return wrong("what its terms share is written after the start");
    }
    if !start.is_first()? {
        return wrong("the start is not before all terms and in all elements, under their test");
    }
    if let Some(reader) = seen_before(c, old)? {
        return wrong(&format!("{reader} sees it before the last term"));
    }
    match start.sums(old, constant, other)? {
        true => Ok(Ok(start.number)),
        false => wrong("the constant is not the sum of the other factors"),
    }
}

/// `v`, `z` and `c` of `v - z * c`.
fn parts_of<'t>(value: &'t Tree<'t>) -> Option<(&'t Tree<'t>, &'t Tree<'t>, &'t Tree<'t>)> {
    let ("sub", [was, product]) = (value.label, value.children.as_slice()) else { return None };
    let ("mul", [zero, constant]) = (product.label, product.children.as_slice()) else { return None };
    Some((was, zero, constant))
}

/// The statement that starts a sum.
struct Start<'a, 'c> {
    c: &'a Checker<'c>,
    /// Its number in the last program.
    number: usize,
    new: &'a Statement<'c>,
    old: &'a Statement<'c>,
    sum: &'a Statement<'c>,
    /// From its instances to those of the base.
    map: &'a Map,
    /// From terms of the sum to the start of their element, in the base.
    of_terms: Map,
}

impl<'a, 'c> Start<'a, 'c> {
    /// `None` where not one statement starts the sum, and nothing else writes there.
    fn of(c: &'a Checker<'c>, sum: &'a Statement<'c>) -> Result<Option<Start<'a, 'c>>> {
        let same = |s: &&Statement| s.write.array == sum.write.array && s.entry.id != sum.entry.id;
        let others: Vec<&Statement> = c.base.statements.iter().filter(same).collect();
        let [old] = others.as_slice() else { return Ok(None) };
        let found: Vec<_> = c.pieces().filter(|(_, p)| c.base.statements[p.base].entry.id == old.entry.id).collect();
        let [(number, piece)] = found.as_slice() else { return Ok(None) };
        let new = &c.last.statements[*number];
        if piece.all.is_some() || old.entry.kind != "assign" || new.entry.kind != "assign" {
            return Ok(None);
        }
        let here = mapped(&new.domain.identity()?, &c.last, &new.write)?;
        let same = mapped(&piece.map, &c.base, &old.write)?.is_equal(&here)?;
        let of_terms = sum.write.may.apply_range(&old.write.may.reverse()?)?;
        Ok(same.then_some(Start { c, number: *number, new, old, sum, map: &piece.map, of_terms }))
    }

    fn test(statement: &Statement<'c>) -> Option<&'c str> {
        parts(&statement.entry.body).1
    }

    /// Is every element of the sum started once, before all terms of it, where these run?
    fn is_first(&self) -> Result<bool> {
        let Start { c, new, old, sum, map, of_terms, .. } = self;
        let computed = old.write.exact.domain_is_wrapping()? || sum.write.exact.domain_is_wrapping()?;
        let once = !computed && old.write.may.is_injective()?;
        if !once || !sum.domain.is_subset(&of_terms.domain()?)? {
            return Ok(false);
        }
        let tests = [*old, *new, *sum].map(Self::test);
        let same = tests == [None; 3]
            || (same_test(c, (old, tests[0]), (new, tests[1]), map)?
                && same_test(c, (old, tests[0]), (sum, tests[2]), of_terms)?);
        let number = |s: &Statement| c.base.index[s.entry.id.as_str()];
        let Some(order) = c.base_order(number(old), number(sum))? else { return of_terms.is_empty() };
        Ok(same && of_terms.reverse()?.is_subset(&order)?)
    }

    /// Does nothing write what the start reads of this term, or of its test, after it?
    fn stays(&self, term: &Tree) -> Result<bool> {
        let Start { c, new, old, map, .. } = self;
        let mut numbers = Vec::new();
        reads(term, &mut numbers);
        numbers.extend(Self::test(new).and_then(Tree::parse).iter().flat_map(|test| {
            let mut of_test = Vec::new();
            reads(test, &mut of_test);
            of_test
        }));
        for n in numbers {
            let access = read(new, n)?;
            for (w, writer) in c.base.statements.iter().enumerate().filter(|(_, s)| s.write.array == access.array) {
                let Some(order) = c.base_order(c.base.index[old.entry.id.as_str()], w)? else { continue };
                let touch = map.reverse()?.apply_range(&access.may)?.apply_range(&writer.write.may.reverse()?)?;
                if !touch.intersect(&order)?.is_empty()? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Is the constant, for every element of the sum, the sum of the factors `other` of its terms?
    fn sums(&self, old: &Statement<'c>, constant: &Tree, other: &Tree) -> Result<bool> {
        let Start { c, new, .. } = self;
        let Some(n) = constant.number('#').filter(|_| constant.children.is_empty()) else { return Ok(false) };
        let access = read(new, n)?;
        let Some(Maker::Stated(maker)) = Maker::of(c, &access.array)? else { return Ok(false) };
        let (Some(tree), Some("add")) = (Tree::parse(maker.value()), maker.reduces()) else { return Ok(false) };
        let factor = Term { program: &c.base, statement: old, tree: other };
        let of_constant = Term { program: &c.last, statement: &maker, tree: &tree };
        let terms = related(&every_pair(c, old, &maker)?, factor, of_constant)?;
        let elements = old.write.may.reverse()?;
        // For every element, the instances of the maker that are its terms, and those that its constant is the sum of.
        let made = elements.apply_range(&terms)?;
        let there = mapped(&new.domain.identity()?, &c.last, access)?;
        let wanted = new.write.may.reverse()?.apply_range(&there)?.apply_range(&maker.write.may.reverse()?)?;
        let twice = old.write.may.apply_range(&elements)?.intersect(&terms.apply_range(&terms.reverse()?)?)?;
        Ok(terms.is_single_valued()?
            && old.domain.is_subset(&terms.domain()?)?
            && twice.is_subset(&old.domain.identity()?)?
            && made.is_equal(&wanted)?)
    }
}

/// Every instance of one statement with every one of another.
fn every_pair(c: &Checker, first: &Statement, second: &Statement) -> Result<Map> {
    let tuple = |s: &Statement, p: &str| {
        let iterators: Vec<String> = (0..s.domain.dims()).map(|d| format!("{p}{d}")).collect();
        format!("{}[{}]", s.entry.id, iterators.join(", "))
    };
    let all = Map::read(&c.ctx, &format!("{{ {} -> {} }}", tuple(first, "i"), tuple(second, "o")))?;
    all.intersect_domain(&first.domain)?.intersect_range(&second.domain)
}

/// A statement of the base that reads what `sum` accumulates before the last term.
pub fn seen_before<'a>(c: &'a Checker, sum: &Statement) -> Result<Option<&'a str>> {
    let number = |s: &Statement| c.base.index[s.entry.id.as_str()];
    for reader in &c.base.statements {
        for access in reader.reads.iter().filter(|r| r.array == sum.write.array) {
            let after = sum.write.may.apply_range(&access.may.reverse()?)?;
            let fine = match c.base_order(number(sum), number(reader))? {
                Some(order) => after.is_subset(&order)?,
                None => after.is_empty()?,
            };
            if !fine {
                return Ok(Some(&reader.entry.id));
            }
        }
    }
    Ok(None)
}

/// The numbers of all reads of a term.
fn reads(term: &Tree, out: &mut Vec<usize>) {
    out.extend(term.number('#'));
    term.children.iter().for_each(|child| reads(child, out));
}
