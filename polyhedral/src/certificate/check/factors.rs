//! The factors of a term of the base, with what others computed for it in its place.

use super::guards::parts;
use super::running::{element, number};
use super::terms::Tree;
use super::values::Matcher;
use super::*;

/// One factor of a product, or a divisor. It is a part of the body of `statement`, at the instances that `at` gives for
/// those of the term.
pub struct Factor<'a, 'c> {
    pub statement: &'a Statement<'c>,
    pub tree: Tree<'c>,
    pub at: Map,
    pub divides: bool,
}

/// Products and quotients taken apart; factors of 1 are left out.
pub fn split<'c>(tree: Tree<'c>, divides: bool, out: &mut Vec<(Tree<'c>, bool)>) {
    let below = |label| divides != (label == "div");
    match (tree.label, tree.children.len()) {
        ("mul" | "div", 2) => {
            let label = tree.label;
            let mut children = tree.children.into_iter();
            children.next().into_iter().for_each(|a| split(a, divides, out));
            children.next().into_iter().for_each(|b| split(b, below(label), out));
        }
        _ if number(&tree) == Some(1.0) => {}
        _ => out.push((tree, divides)),
    }
}

/// Takes terms of the base apart.
pub struct Product<'a, 'c> {
    pub c: &'a Checker<'c>,
    pub matcher: Matcher<'a, 'c>,
    /// Arrays that are computed from the extreme, save itself.
    pub later: HashSet<String>,
}

impl<'a, 'c> Product<'a, 'c> {
    /// The factors of `tree`, a part of the body of `statement` at the instances `at`. Reads of later arrays that one
    /// statement writes are what it computes. Everything reads what is never written afterwards; `None` where not.
    pub fn factors(
        &self,
        (statement, tree): (&'a Statement<'c>, Tree<'c>),
        at: &Map,
        divides: bool,
        out: &mut Vec<Factor<'a, 'c>>,
    ) -> Result<Option<()>> {
        let mut all = Vec::new();
        split(tree, divides, &mut all);
        for (tree, divides) in all {
            match self.writer(statement, &tree, at)? {
                Some((writer, at)) => {
                    let Some(value) = Tree::parse(writer.value()) else { return Ok(None) };
                    if !self.final_reads(writer)? || self.factors((writer, value), &at, divides, out)?.is_none() {
                        return Ok(None);
                    }
                }
                None => out.push(Factor { statement, tree, at: at.clone(), divides }),
            }
        }
        Ok(Some(()))
    }

    /// Does a statement of the base read only what is never written afterwards?
    pub fn final_reads(&self, statement: &Statement<'c>) -> Result<bool> {
        for n in 0..statement.reads.len() {
            if !self.matcher.stays(statement, n)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The only statement that wrote what a term reads, and its instances.
    fn writer(&self, statement: &'a Statement<'c>, tree: &Tree, at: &Map) -> Result<Option<(&'a Statement<'c>, Map)>> {
        let Some(access) = element(statement, tree)?.filter(|a| self.later.contains(&a.array)) else { return Ok(None) };
        let writers: Vec<&Statement> =
            self.c.base.statements.iter().filter(|s| s.write.array == access.array).collect();
        let [writer] = writers[..] else { return Ok(None) };
        let plain = writer.entry.kind == "assign" && parts(&writer.entry.body).1.is_none();
        if !plain || writer.write.exact.domain_is_wrapping()? {
            return Ok(None);
        }
        let read = at.apply_range(&access.may)?;
        let wrote = read.apply_range(&writer.write.may.reverse()?)?;
        let whole = wrote.is_single_valued()? && at.domain()?.is_subset(&wrote.domain()?)?;
        Ok(whole.then_some((writer, wrote)))
    }
}

/// Every array of the base that is computed from `array`, but not itself.
pub fn later(c: &Checker, array: &str) -> HashSet<String> {
    let mut out = HashSet::from([array.to_string()]);
    loop {
        let before = out.len();
        for statement in &c.base.statements {
            if statement.reads.iter().any(|r| out.contains(&r.array)) {
                out.insert(statement.write.array.clone());
            }
        }
        if out.len() == before {
            out.remove(array);
            return out;
        }
    }
}
