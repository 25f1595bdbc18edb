//! Bodies as trees, and where two of them are one.

use super::same::mapped;
use super::*;

/// A body as a tree: a function, read or number, and what it is applied to.
#[derive(Debug, PartialEq)]
pub struct Tree<'t> {
    pub label: &'t str,
    pub children: Vec<Tree<'t>>,
}

impl<'t> Tree<'t> {
    pub fn parse(text: &'t str) -> Option<Tree<'t>> {
        let (tree, rest) = Tree::node(text)?;
        rest.trim().is_empty().then_some(tree)
    }

    fn node(text: &'t str) -> Option<(Tree<'t>, &'t str)> {
        let text = text.trim_start();
        let end = text.find(['(', ')', '[', ']', ',']).unwrap_or(text.len());
        let (label, mut rest) = text.split_at(end);
        let mut children = Vec::new();
        if let Some(close) = match rest.chars().next() {
            Some('(') => Some(')'),
            Some('[') => Some(']'),
            _ => None,
        } {
            loop {
                let (child, after) = Tree::node(&rest[1..])?;
                children.push(child);
                rest = after;
                match rest.chars().next()? {
                    ',' => {}
                    c if c == close => break,
                    _ => return None,
                }
            }
            rest = &rest[1..];
        }
        Some((Tree { label: label.trim(), children }, rest))
    }

    /// `#3`, `@3`.
    pub fn number(&self, sign: char) -> Option<usize> {
        self.label.strip_prefix(sign)?.parse().ok()
    }
}

/// A part of the body of a statement of a program.
#[derive(Clone, Copy)]
pub struct Term<'a, 'c> {
    pub program: &'a Program<'c>,
    pub statement: &'a Statement<'c>,
    pub tree: &'a Tree<'a>,
}

/// Read `n` of a statement.
pub fn read<'s>(statement: &'s Statement, n: usize) -> Result<&'s Access> {
    statement.reads.get(n).ok_or_else(|| malformed(format!("{} has no #{n}", statement.entry.id)))
}

impl Term<'_, '_> {
    /// The elements that the term reads, where it is one read at known subscripts, or its values, where it is an index.
    fn leaf(&self) -> Result<Option<Map>> {
        let s = self.statement;
        if let Some(n) = self.tree.number('#') {
            let access = read(s, n)?;
            let known = self.tree.children.is_empty() && !access.exact.domain_is_wrapping()?;
            return known.then(|| mapped(&s.domain.identity()?, self.program, access)).transpose();
        }
        let Some(n) = self.tree.number('@') else { return Ok(None) };
        let text = s.entry.values.get(n).ok_or_else(|| malformed(format!("{} has no @{n}", s.entry.id)))?;
        Map::read(s.domain.ctx(), text).map_err(malformed)?.intersect_domain(&s.domain).map(Some)
    }
}

/// The part of `pairs`, instances of the first term to instances of the second, in which the two are one: the same function
/// of the same elements.
pub fn related(pairs: &Map, first: Term, second: Term) -> Result<Map> {
    let (a, b) = (first.leaf()?, second.leaf()?);
    let fits = first.tree.children.len() == second.tree.children.len();
    match (a, b) {
        (Some(a), Some(b)) if a.name_out() == b.name_out() && a.dims_out() == b.dims_out() => {
            pairs.intersect(&a.apply_range(&b.reverse()?)?)
        }
        (None, None) if first.tree.label == second.tree.label && fits && !first.tree.label.starts_with(['#', '@']) => {
            let mut children = first.tree.children.iter().zip(&second.tree.children);
            children.try_fold(pairs.clone(), |pairs, (a, b)| {
                related(&pairs, Term { tree: a, ..first }, Term { tree: b, ..second })
            })
        }
        _ => pairs.subtract(pairs),
    }
}

/// Are two terms one for all `pairs`?
pub fn equal(pairs: &Map, first: Term, second: Term) -> Result<bool> {
    pairs.is_subset(&related(pairs, first, second)?)
}
