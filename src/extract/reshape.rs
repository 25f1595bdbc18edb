//! `Reshape` and its kin as subscripts: where does element `i` of the new shape lie in the old one?
//!
//! Dimensions are matched in groups with equal products, as small as possible, so that `[b,s,768]` to
//! `[b,s,12,64]` leaves `b` and `s` alone. Inside a group the position is split by mixed radix; with constant
//! inner extents the subscripts are affine, else they are explicit integer divisions (exact, less precise in
//! dependences).

use super::terms::{add, div, index, modulo, mul};
use sirius_polyhedral::aff::gcd;
use sirius_polyhedral::{Aff, Expr, ParamDef, Params};

/// A product of extents: a constant times affine factors in canonical order.
#[derive(Clone, PartialEq, Debug)]
struct Product {
    constant: i64,
    factors: Vec<Aff>,
}

impl Product {
    fn one() -> Product {
        Product { constant: 1, factors: Vec::new() }
    }

    fn times(mut self, extent: &Aff, params: &Params) -> Product {
        if let Some(c) = extent.as_constant() {
            self.constant = self.constant.saturating_mul(c);
            return self;
        }
        let content = content(extent);
        self.constant = self.constant.saturating_mul(content);
        let primitive = exact_quotient(extent, content);
        if let Some(ParamDef::Mul(a, b)) = primitive.as_param().map(|p| &params.get(p).def) {
            return self.times(a, params).times(b, params);
        }
        self.factors.push(primitive);
        self.factors.sort();
        self
    }

    fn divides(&self, other: &Product) -> bool {
        let mut rest = other.factors.clone();
        let subset = self.factors.iter().all(|f| match rest.iter().position(|r| r == f) {
            Some(at) => {
                rest.remove(at);
                true
            }
            None => false,
        });
        subset && self.constant != 0 && other.constant % self.constant == 0
    }
}

/// The greatest common divisor of all coefficients and the offset.
fn content(aff: &Aff) -> i64 {
    aff.terms().iter().fold(aff.offset().abs(), |g, (_, c)| gcd(g, c.abs())).max(1)
}

/// `aff / by` where `by` divides every coefficient.
fn exact_quotient(aff: &Aff, by: i64) -> Aff {
    if by <= 1 { aff.clone() } else { aff.floor_div(by) }
}

/// Subscripts into a tensor of shape `old` for the element at `at` of the same elements in shape `new`.
pub fn reshaped(old: &[Aff], new: &[Aff], at: &[Expr], params: &Params) -> Vec<Expr> {
    let mut result = vec![Expr::int(0); old.len()];
    let olds: Vec<usize> = (0..old.len()).filter(|d| !old[*d].is_constant(1)).collect();
    let news: Vec<usize> = (0..new.len()).filter(|d| !new[*d].is_constant(1)).collect();
    let (mut i, mut j) = (0, 0);
    while i < olds.len() {
        let (to_i, to_j) = group(old, &olds, i, new, &news, j, params);
        let position = linear(&news[j..to_j], new, at);
        split(position, &olds[i..to_i], old, &mut result);
        (i, j) = (to_i, to_j);
    }
    result
}

/// The end of the smallest group with equal products that starts at `(i, j)`; everything that is left where
/// the products cannot be compared.
fn group(
    old: &[Aff],
    olds: &[usize],
    i: usize,
    new: &[Aff],
    news: &[usize],
    j: usize,
    params: &Params,
) -> (usize, usize) {
    let (mut to_i, mut to_j) = (i, j);
    let (mut left, mut right) = (Product::one(), Product::one());
    loop {
        let grow_left = if to_i == i {
            true
        } else if left == right {
            return (to_i, to_j);
        } else if left.factors == right.factors {
            left.constant < right.constant
        } else {
            left.divides(&right) || (!right.divides(&left) && left.factors.len() <= right.factors.len())
        };
        let next = if grow_left { olds.get(to_i) } else { news.get(to_j) };
        match (next, grow_left) {
            (Some(d), true) => (left, to_i) = (left.times(&old[*d], params), to_i + 1),
            (Some(d), false) => (right, to_j) = (right.times(&new[*d], params), to_j + 1),
            (None, _) => return (olds.len(), news.len()),
        }
    }
}

/// The position of `at` inside the group of dimensions `dims`, row-major.
fn linear(dims: &[usize], shape: &[Aff], at: &[Expr]) -> Expr {
    dims.iter().fold(Expr::int(0), |sum, d| plus(times(sum, &shape[*d]), at[*d].clone()))
}

/// A sum, affine where both sides are.
fn plus(a: Expr, b: Expr) -> Expr {
    match (a.as_aff(), b.as_aff()) {
        (Some(x), Some(y)) => index(x + y),
        _ => add(a, b),
    }
}

fn times(value: Expr, extent: &Aff) -> Expr {
    match (value.as_aff(), extent.as_constant()) {
        (Some(aff), Some(c)) => index(aff * c),
        (Some(aff), None) if aff.is_constant(0) => Expr::int(0),
        _ => mul(value, index(extent.clone())),
    }
}

/// Splits a position into subscripts of `dims`, innermost first; the outermost takes what is left.
fn split(position: Expr, dims: &[usize], shape: &[Aff], result: &mut [Expr]) {
    let mut rest = position;
    for (n, d) in dims.iter().enumerate().rev() {
        if n == 0 {
            result[*d] = rest;
            return;
        }
        result[*d] = remainder(&rest, &shape[*d]);
        rest = quotient(rest, &shape[*d]);
    }
}

fn remainder(value: &Expr, by: &Aff) -> Expr {
    match (value.as_aff(), by.as_constant()) {
        (Some(aff), Some(c)) if c > 0 => index(aff.modulo(c)),
        _ => modulo(value.clone(), index(by.clone())),
    }
}

fn quotient(value: Expr, by: &Aff) -> Expr {
    match (value.as_aff(), by.as_constant()) {
        (Some(aff), Some(c)) if c > 0 => index(aff.floor_div(c)),
        _ => div(value, index(by.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sirius_polyhedral::{Param, ParamDef};

    fn at(rank: usize) -> Vec<Expr> {
        (0..rank).map(Expr::iter).collect()
    }

    fn fixed(extents: &[i64]) -> Vec<Aff> {
        extents.iter().map(|e| Aff::constant(*e)).collect()
    }

    fn dimension(params: &mut Params, name: &str, def: ParamDef) -> Aff {
        Aff::param(params.push(Param { name: name.into(), def, min: 1, max: None, hint: 4 }))
    }

    #[test]
    fn groups_are_as_small_as_possible() {
        let got = reshaped(&fixed(&[4, 6, 5]), &fixed(&[4, 2, 3, 5]), &at(4), &Params::default());
        let wanted = [Aff::iter(0), Aff::iter(1) * 3 + Aff::iter(2), Aff::iter(3)].map(Expr::Index);
        assert_eq!(got, wanted);
    }

    #[test]
    fn dimensions_of_one_are_skipped_wherever_they_stand() {
        let got = reshaped(&fixed(&[1, 7, 1, 3]), &fixed(&[7, 3, 1]), &at(3), &Params::default());
        assert_eq!(got, [Expr::int(0), Expr::iter(0), Expr::int(0), Expr::iter(1)]);
    }

    /// `[b * s, 8]` to `[b, s, 8]`: the first subscript is `b * extent(s) + s`, a product of symbols.
    #[test]
    fn a_merged_product_matches_its_factors() {
        let mut params = Params::default();
        let b = dimension(&mut params, "b", ParamDef::Input { input: 0, axis: 0 });
        let s = dimension(&mut params, "s", ParamDef::Input { input: 0, axis: 1 });
        let product = Aff::param(params.derived(ParamDef::Mul(b.clone(), s.clone())));
        let got = reshaped(&[product, 8.into()], &[b, s.clone(), 8.into()], &at(3), &params);
        let wanted = add(mul(Expr::iter(0), index(s)), Expr::iter(1));
        assert_eq!(got, [wanted, Expr::iter(2)]);
    }
}
