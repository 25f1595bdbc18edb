//! Extents as the generator knows them: equal only where they are equal for every value of the named dimensions.

use crate::choices::Choices;

/// Named dimensions take values from 1 to this.
pub const LARGEST: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    /// A named dimension of the inputs.
    Named(&'static str),
    /// What an operator made of a named dimension; in `min..=max`.
    Derived {
        id: usize,
        min: usize,
        max: usize,
    },
}

impl Dim {
    pub fn max(self) -> usize {
        match self {
            Dim::Fixed(n) => n,
            Dim::Named(_) => LARGEST,
            Dim::Derived { max, .. } => max,
        }
    }

    pub fn min(self) -> usize {
        match self {
            Dim::Fixed(n) => n,
            Dim::Named(_) => 1,
            Dim::Derived { min, .. } => min,
        }
    }

    pub fn fixed(self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(n),
            _ => None,
        }
    }
}

/// The shape of an element-wise result, if the two fit for every value of the named dimensions.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], n: usize| (n + dims.len()).checked_sub(rank).map_or(Dim::Fixed(1), |n| dims[n]);
    (0..rank).map(|n| one(at(a, n), at(b, n))).collect()
}

fn one(a: Dim, b: Dim) -> Option<Dim> {
    match (a, b) {
        _ if a == b => Some(a),
        (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other),
        _ => None,
    }
}

/// A shape that broadcasts to `dims` without making it larger: leading dimensions left out, some others 1.
pub fn partner(choices: &mut Choices, dims: &[Dim]) -> Vec<Dim> {
    let dropped = if choices.chance(30) { choices.below(dims.len() + 1) } else { 0 };
    dims[dropped..].iter().map(|d| if choices.chance(20) { Dim::Fixed(1) } else { *d }).collect()
}

/// The most elements that a tensor of this shape has.
pub fn volume(dims: &[Dim]) -> usize {
    dims.iter().map(|d| d.max()).product()
}

/// All extents, where all are fixed.
pub fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(|d| d.fixed()).collect()
}
