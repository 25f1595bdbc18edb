//! Facts about named dimensions that inference found it must rely on.

use std::collections::{BTreeMap, BTreeSet};

/// Inclusive; `None` is unbounded.
pub type Range = (Option<i64>, Option<i64>);

/// What one named dimension is the same as.
#[derive(Clone, Debug, PartialEq)]
pub enum Same {
    Dim(String),
    Fixed(i64),
}

/// One new fact. Names are parameter names.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Same(String, Same),
    /// The dimension lies in a range: everywhere, or inside one branch of an `If`.
    Range {
        branch: Option<String>,
        dim: String,
        range: Range,
    },
    /// The contents of these tensors are amounts: their elements are parameters.
    Amounts(Vec<String>),
    /// The dimension is a multiple of a number.
    Multiple {
        dim: String,
        of: i64,
    },
    /// An `If` that cannot be decided takes its `then` branch.
    Then {
        node: String,
        facts: Vec<Fact>,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Known {
    same: BTreeMap<String, Same>,
    ranges: BTreeMap<Option<String>, BTreeMap<String, Range>>,
    multiples: BTreeMap<String, i64>,
    decided: BTreeMap<String, bool>,
    amounts: BTreeSet<String>,
}

impl Known {
    pub fn add(&mut self, fact: Fact) {
        match fact {
            Fact::Same(dim, same) => {
                self.same.insert(dim, same);
            }
            Fact::Range { branch, dim, range } => {
                let old = self.ranges.entry(branch).or_default().entry(dim).or_default();
                *old = intersect(*old, range);
            }
            Fact::Amounts(names) => self.amounts.extend(names),
            Fact::Multiple { dim, of } => {
                self.multiples.insert(dim, of);
            }
            Fact::Then { node, facts } => {
                self.decided.insert(node, true);
                facts.into_iter().for_each(|fact| self.add(fact));
            }
        }
    }

    /// The facts to try when `fact` turns out to be a wrong guess.
    pub fn otherwise(&self, fact: &Fact) -> Option<Known> {
        let Fact::Then { node, .. } = fact else { return None };
        let mut other = self.clone();
        other.decided.insert(node.clone(), false);
        Some(other)
    }

    /// What `dim` finally is, through chains.
    pub fn resolve(&self, dim: &str) -> Same {
        let mut at = dim;
        for _ in 0..=self.same.len() {
            match self.same.get(at) {
                Some(Same::Dim(next)) => at = next,
                Some(Same::Fixed(n)) => return Same::Fixed(*n),
                None => break,
            }
        }
        Same::Dim(at.to_string())
    }

    pub fn ranges(&self, branch: Option<&str>) -> impl Iterator<Item = (&str, Range)> {
        let found = self.ranges.get(&branch.map(str::to_string));
        found.into_iter().flatten().map(|(dim, range)| (dim.as_str(), *range))
    }

    pub fn is_amount(&self, tensor: &str) -> bool {
        self.amounts.contains(tensor)
    }

    /// What `dim` is a multiple of.
    pub fn multiple(&self, dim: &str) -> Option<i64> {
        self.multiples.get(dim).copied()
    }

    pub fn decided(&self, node: &str) -> Option<bool> {
        self.decided.get(node).copied()
    }
}

pub fn intersect(a: Range, b: Range) -> Range {
    let low = [a.0, b.0].into_iter().flatten().max();
    let high = [a.1, b.1].into_iter().flatten().min();
    (low, high)
}

/// The smallest range that holds both.
pub fn hull(a: Range, b: Range) -> Range {
    (a.0.zip(b.0).map(|(x, y)| x.min(y)), a.1.zip(b.1).map(|(x, y)| x.max(y)))
}
