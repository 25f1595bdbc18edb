//! Sums that take several products of small integers at once: `s += dot4(A(w), B(w))` in the place of `s += a(k) * b(k)`.
//!
//! A word holds small integers side by side in lanes; `dot4` multiplies four unsigned bytes with four signed ones and adds
//! the products up, `dot2` two signed halves with two, all in integers that wrap. The step says for every lane which
//! instance of the earlier sum it is. Shown is:
//!
//! - Every instance of the earlier sum is one lane of one word (`instances::covered`, and each lane is one to one).
//! - In every lane that is one, the words hold the factors of that instance: the term that the maker of the word has in this
//!   lane is the factor, from the same elements, and it fits into the lane (`ranges`).
//! - In every lane that is none, one of the two words holds zero.
//!
//! Sums of integers that wrap have one value in any order and grouping. The words of a constant have no statement that makes
//! them; the certificate states one, and `contents` runs it. The first factor may lack what the instances of one element
//! share, as `a` where the earlier sum has `a - z`: then the accumulator starts with the rest, see `start`.

use super::conditions::decided;
use super::copies::own_elements;
use super::guards::{parts, same_test};
use super::places::Places;
use super::ranges::Range;
use super::same::mapped;
use super::terms::{Term, Tree, equal};
use super::*;
use crate::certificate::ArrayRole;
use std::collections::HashSet;

/// The two words of a product, and which integers their lanes hold.
const DOTS: [(&str, u32, [Range; 2]); 2] =
    [("dot2", 2, [(-(1 << 15), (1 << 15) - 1); 2]), ("dot4", 4, [(0, (1 << 8) - 1), (-(1 << 7), (1 << 7) - 1)])];

/// Are there sums of words that the base does not have?
pub fn are_there(c: &Checker) -> bool {
    (0..c.last.statements.len()).any(|s| dot(c, s).is_some())
}

/// A step that regroups sums: sums of words, what makes the words, and everything else as it was.
pub fn check(checker: &mut Checker) -> Result<()> {
    instances::executed(checker, &HashSet::new())?;
    constants::check(checker);
    let all: Vec<usize> = (0..checker.last.statements.len()).collect();
    let sums: Vec<usize> = all.iter().copied().filter(|s| dot(checker, *s).is_some()).collect();
    let mut started = HashSet::new();
    for statement in &sums {
        lanes(checker, *statement)?;
        let id = checker.id(*statement);
        checker.ask(
            || format!("does {id} sum up what it did"),
            |c| {
                let wrong = match Sum::of(c, *statement)?.check()? {
                    Found::Whole => None,
                    Found::Started(init) => {
                        started.insert(init);
                        None
                    }
                    Found::Wrong(why) => Some(why),
                };
                let text = |why: String| format!("{id} takes several products at once: {why}");
                Ok(wrong.map(|why| Finding { rule: Rule::Values, text: text(why), witness: None }))
            },
        )?;
        checker.verdict.regrouped += 1;
    }
    for statement in all {
        instances::once(checker, statement)?;
        if sums.contains(&statement) {
            continue;
        }
        match checker.is_new(statement) {
            true if parts(&checker.last.statements[statement].entry.body).0 == "#0" => {
                copies::check(checker, statement)?
            }
            true => own_elements(checker, statement)?,
            false => {
                instances::own(checker, statement)?;
                if !started.contains(&statement) {
                    same::statement(checker, statement, &Places::new())?;
                }
            }
        }
    }
    Ok(())
}

/// What multiplies words in a statement, where the one of the base does not: its lanes and what they hold.
fn dot(c: &Checker, statement: usize) -> Option<(u32, [Range; 2])> {
    let piece = c.origins[statement].first()?;
    let new = c.last.statements[statement].value();
    let (_, parts, ranges) =
        DOTS.iter().find(|(name, ..)| new.strip_prefix(name).is_some_and(|t| t.starts_with('(')))?;
    (new != c.base.statements[piece.base].value()).then_some((*parts, *ranges))
}

/// Every lane of a sum of words is, one to one, an instance of the base.
fn lanes(checker: &mut Checker, statement: usize) -> Result<()> {
    let id = checker.id(statement);
    checker.ask(
        || format!("are the lanes of {id} instances of the base"),
        |c| {
            for piece in &c.origins[statement] {
                if let Some(bad) = collision(&c.ctx, &piece.map)? {
                    return witness(&bad, [id, id], Rule::Instances, || {
                        "two lanes are one instance of the base".into()
                    });
                }
            }
            Ok(None)
        },
    )
}

/// What a sum of words turned out to be.
enum Found {
    Whole,
    /// Right, as this statement starts the accumulator with the rest.
    Started(usize),
    Wrong(String),
}

fn wrong(why: impl Into<String>) -> Result<Found> {
    Ok(Found::Wrong(why.into()))
}

/// A sum of words and the sum that it was.
pub struct Sum<'a, 'c> {
    pub c: &'a Checker<'c>,
    new: &'a Statement<'c>,
    pub old: &'a Statement<'c>,
    /// From words to instances of the base, lane by lane.
    lanes: Vec<&'a Map>,
    parts: u32,
    ranges: [Range; 2],
}

impl<'a, 'c> Sum<'a, 'c> {
    fn of(c: &'a Checker<'c>, statement: usize) -> Result<Sum<'a, 'c>> {
        let pieces = &c.origins[statement];
        let new = &c.last.statements[statement];
        let lost = || malformed(format!("{} is no sum of words", new.entry.id));
        let (parts, ranges) = dot(c, statement).ok_or_else(lost)?;
        let lanes = pieces.iter().map(|p| &p.map).collect();
        Ok(Sum { c, new, old: &c.base.statements[pieces[0].base], lanes, parts, ranges })
    }

    fn check(&self) -> Result<Found> {
        let (Some(product), Some(sum)) = (Tree::parse(self.old.value()), Tree::parse(self.new.value())) else {
            return wrong("its body cannot be read");
        };
        if let Some(why) = self.frame()? {
            return wrong(why);
        }
        let ("mul", [x, y], [a, b]) = (product.label, product.children.as_slice(), sum.children.as_slice()) else {
            return wrong(format!("the base has `{}`, which is no product", self.old.value()));
        };
        let words = [self.words(a)?, self.words(b)?];
        let [Some(first), Some(second)] = &words else { return wrong("an operand is not made of words of its own") };
        let (Some(first), Some(second)) = (first.lanes(self.parts), second.lanes(self.parts)) else {
            return wrong(format!("an operand has not {} lanes side by side", self.parts));
        };
        for (n, lane) in self.lanes.iter().enumerate() {
            if !self.new.domain.is_subset(&lane.domain()?)? && !self.is_zero(n, &first)? && !self.is_zero(n, &second)? {
                return wrong(format!("lane {n} is not zero where it is no instance of the base"));
            }
        }
        let mut why = String::new();
        for [x, y] in [[x, y], [y, x]] {
            match (self.holds(y, &second, self.ranges[1])?, self.holds(x, &first, self.ranges[0])?) {
                (None, None) => return Ok(Found::Whole),
                (None, Some(reason)) => {
                    why = reason;
                    let ("sub", [rest, shared]) = (x.label, x.children.as_slice()) else { continue };
                    if let Some(reason) = self.holds(rest, &first, self.ranges[0])? {
                        why = reason;
                        continue;
                    }
                    return Ok(match start::check(self, shared, y)? {
                        Ok(init) => Found::Started(init),
                        Err(why) => Found::Wrong(why),
                    });
                }
                (Some(reason), _) if why.is_empty() => why = reason,
                _ => {}
            }
        }
        wrong(why)
    }

    /// One accumulation in integers that wrap, into the same elements, under the same test.
    fn frame(&self) -> Result<Option<String>> {
        let Sum { c, new, old, lanes, parts: count, .. } = self;
        let dtype = |p: &Program, s: &Statement| p.arrays[s.write.array.as_str()].entry.dtype == "i32";
        if new.reduces() != Some("add") || old.reduces() != Some("add") || !dtype(&c.last, new) || !dtype(&c.base, old)
        {
            return Ok(Some("it is no sum of i32".into()));
        }
        if lanes.len() != *count as usize {
            return Ok(Some(format!("a word has {count} lanes, and it states {}", lanes.len())));
        }
        let bases: HashSet<Option<String>> = lanes.iter().map(|lane| lane.name_out()).collect();
        if bases.len() != 1 {
            return Ok(Some("its lanes are instances of several statements".into()));
        }
        let tests = [parts(&old.entry.body).1, parts(&new.entry.body).1];
        for lane in lanes {
            let here = mapped(&lane.domain()?.identity()?, &c.last, &new.write)?;
            if !mapped(lane, &c.base, &old.write)?.is_equal(&here)? {
                return Ok(Some(format!("it does not write what {} of the base writes", old.entry.id)));
            }
            let same = tests == [None, None] || same_test(c, (old, tests[0]), (new, tests[1]), lane)?;
            if !same {
                return Ok(Some("it has another test than in the base".into()));
            }
        }
        Ok(None)
    }

    /// The words that an operand reads; `None` where it is no read of words that are made for it.
    fn words(&self, operand: &Tree) -> Result<Option<Words<'a, 'c>>> {
        let Sum { c, new, .. } = self;
        let Some(read) = operand.number('#').and_then(|n| new.reads.get(n)).filter(|_| operand.children.is_empty())
        else {
            return Ok(None);
        };
        let Some(maker) = Maker::of(c, &read.array)?.filter(|m| m.get().entry.kind == "assign") else {
            return Ok(None);
        };
        let Some(tree) = Tree::parse(maker.get().value()) else { return Ok(None) };
        let element = mapped(&new.domain.identity()?, &c.last, read)?;
        let link = element.apply_range(&maker.get().write.may.reverse()?)?;
        let plain = !read.exact.domain_is_wrapping()? && link.is_single_valued()?;
        let whole = plain && new.domain.is_subset(&link.domain()?)?;
        Ok(whole.then_some(Words { maker, tree, link }))
    }

    /// Do the words hold this factor in every lane that is an instance of the base? Says why not.
    fn holds(&self, factor: &Tree, words: &Lanes, range: Range) -> Result<Option<String>> {
        let base = &self.c.base;
        let old = Term { program: base, statement: self.old, tree: factor };
        let integers = ranges::dtype(old)?.as_deref() == Some("i32");
        if !integers || !ranges::of(old)?.is_some_and(|found| range.0 <= found.0 && found.1 <= range.1) {
            return Ok(Some(format!("a factor of {} may not fit into a lane", self.old.entry.id)));
        }
        for (n, (lane, tree)) in self.lanes.iter().zip(&words.lanes).enumerate() {
            let pairs = lane.reverse()?.apply_range(&words.of.link)?;
            let tree = chosen(self.c, words.maker(), tree, &pairs.range()?)?;
            if !equal(&pairs, old, Term { program: &self.c.last, statement: words.maker(), tree })? {
                let array = &words.maker().write.array;
                return Ok(Some(format!("lane {n} of {array} does not hold a factor of {}", self.old.entry.id)));
            }
        }
        Ok(None)
    }

    /// Do the words hold zero in lane `n` wherever that is no instance of the base?
    fn is_zero(&self, n: usize, words: &Lanes) -> Result<bool> {
        let outside = self.new.domain.subtract(&self.lanes[n].domain()?)?;
        let there = outside.apply(&words.of.link)?;
        Ok(literal(chosen(self.c, words.maker(), words.lanes[n], &there)?) == Some(0))
    }
}

/// What a choice is in all instances of `domain`, where indices decide it.
fn chosen<'t>(c: &Checker, maker: &Statement, tree: &'t Tree<'t>, domain: &Set) -> Result<&'t Tree<'t>> {
    let ("select", [test, then, otherwise]) = (tree.label, tree.children.as_slice()) else { return Ok(tree) };
    Ok(match decided(c, maker, test, domain)? {
        Some(true) => then,
        Some(false) => otherwise,
        None => tree,
    })
}

/// The statement that makes an array: one of the last program, or the one that the certificate states for a constant.
pub enum Maker<'a, 'c> {
    There(&'a Statement<'c>),
    Stated(Box<Statement<'c>>),
}

impl<'a, 'c> Maker<'a, 'c> {
    /// `None` where the array is none that is new, of type `i32`, and made by one statement without a test, from constants
    /// if it is one.
    pub fn of(c: &'a Checker<'c>, array: &'a str) -> Result<Option<Maker<'a, 'c>>> {
        let entry = c.last.arrays[array].entry;
        if c.base.arrays.contains_key(array) || entry.dtype != "i32" {
            return Ok(None);
        }
        let maker = match (entry.role, &entry.made) {
            (ArrayRole::Constant, Some(made)) => {
                let made = c.last.statement(&c.ctx, &c.params, made, order::Path::default())?;
                let constant = |a: &Access| c.last.arrays[a.array.as_str()].entry.role == ArrayRole::Constant;
                made.reads.iter().all(constant).then(|| Maker::Stated(Box::new(made)))
            }
            (ArrayRole::Temp, _) => {
                let mut writers = c.writers(array);
                let first = writers.next().filter(|(n, _)| c.is_new(*n) && writers.next().is_none());
                first.map(|(_, statement)| Maker::There(statement))
            }
            _ => None,
        };
        Ok(maker.filter(|m| parts(&m.get().entry.body).1.is_none() && m.get().write.array == array))
    }

    pub fn get(&self) -> &Statement<'c> {
        match self {
            Maker::There(statement) => statement,
            Maker::Stated(statement) => statement,
        }
    }
}

/// The words that an operand reads.
struct Words<'a, 'c> {
    maker: Maker<'a, 'c>,
    tree: Tree<'c>,
    /// From instances of the sum to the instance that makes the word.
    link: Map,
}

/// The terms that words hold side by side, the lowest first.
struct Lanes<'w, 'a, 'c> {
    of: &'w Words<'a, 'c>,
    lanes: Vec<&'w Tree<'c>>,
}

impl<'c> Lanes<'_, '_, 'c> {
    fn maker(&self) -> &Statement<'c> {
        self.of.maker.get()
    }
}

impl<'a, 'c> Words<'a, 'c> {
    /// `None` where the value is not one term in each of the lanes.
    fn lanes(&self, parts: u32) -> Option<Lanes<'_, 'a, 'c>> {
        let bits = i64::from(32 / parts);
        let mut fields = Vec::new();
        side_by_side(&self.tree, &mut fields);
        let lane = |n: i64| {
            let mut here = fields.iter().filter(|(shift, _)| *shift == n * bits);
            let tree = here.next().filter(|_| here.next().is_none())?.1;
            match (tree.label, tree.children.as_slice()) {
                ("and", [value, mask]) if literal(mask) == Some((1 << bits) - 1) => Some(value),
                // The highest lane loses by the shift what the others lose by the mask.
                _ => (n + 1 == i64::from(parts)).then_some(tree),
            }
        };
        let lanes = (0..i64::from(parts)).map(lane).collect::<Option<Vec<_>>>()?;
        (fields.len() == lanes.len()).then_some(Lanes { of: self, lanes })
    }
}

/// The terms of a disjunction, and how far each is shifted.
fn side_by_side<'w, 'c>(tree: &'w Tree<'c>, out: &mut Vec<(i64, &'w Tree<'c>)>) {
    match (tree.label, tree.children.as_slice()) {
        ("or", [a, b]) => [a, b].into_iter().for_each(|t| side_by_side(t, out)),
        ("shl", [value, by]) => out.extend(literal(by).map(|by| (by, value))),
        _ => out.push((0, tree)),
    }
}

/// `n` of `Int(n, I32)`.
fn literal(tree: &Tree) -> Option<i64> {
    (tree.label == "Int").then(|| tree.children.first().and_then(ranges::number)).flatten()
}
