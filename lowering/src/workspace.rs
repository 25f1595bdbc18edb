//! The size of the workspace as text: exactly, and as a polynomial in the named dimensions.

use crate::descriptor::{extent_text, is_known_after_run};
use crate::prepare::storage_extents;
use sirius_polyhedral::{Aff, Array, LoopNest, ParamDef, Params, Term};
use std::collections::BTreeMap;

/// Slots begin at multiples of this.
const ALIGNMENT: i64 = 64;

/// The arrays of every slot.
fn tenants<'n>(nest: &'n LoopNest, slots: &[Option<usize>]) -> Vec<Vec<&'n Array>> {
    let count = slots.iter().flatten().map(|s| s + 1).max().unwrap_or(0);
    let mut out = vec![Vec::new(); count];
    for (array, slot) in nest.arrays.iter().zip(slots) {
        if let Some(slot) = slot {
            out[*slot].push(array);
        }
    }
    out
}

/// The sum of the slots: `texts` are the sizes of their arrays. `None` where only the run knows an extent.
pub fn formula(nest: &LoopNest, slots: &[Option<usize>], texts: &[Vec<String>]) -> Option<String> {
    let late = |a: &&Array| storage_extents(a).iter().any(|e| is_known_after_run(e, &nest.params));
    if tenants(nest, slots).iter().flatten().any(late) {
        return None;
    }
    let constant = |texts: &Vec<String>| texts.iter().map(|t| t.parse::<i64>().ok()).collect::<Option<Vec<i64>>>();
    let fixed: i64 = texts.iter().filter_map(constant).map(|sizes| round(sizes.into_iter().max().unwrap_or(0))).sum();
    let symbolic = texts.iter().filter(|t| constant(t).is_none()).map(|texts| {
        let largest = texts.iter().cloned().reduce(|a, b| format!("max({a}, {b})")).unwrap_or_default();
        format!("{ALIGNMENT}*floor(({largest} + {})/{ALIGNMENT})", ALIGNMENT - 1)
    });
    let terms: Vec<String> = symbolic.chain((fixed > 0).then(|| fixed.to_string())).collect();
    Some(if terms.is_empty() { "0".into() } else { terms.join(" + ") })
}

fn round(bytes: i64) -> i64 {
    bytes.div_euclid(ALIGNMENT) * ALIGNMENT + if bytes.rem_euclid(ALIGNMENT) > 0 { ALIGNMENT } else { 0 }
}

/// A polynomial over named dimensions (and quotients and extrema of them, taken whole): monomial to coefficient.
#[derive(Clone, Debug, Default, PartialEq)]
struct Polynomial(BTreeMap<Vec<String>, i64>);

impl Polynomial {
    fn constant(value: i64) -> Polynomial {
        Polynomial(BTreeMap::from([(vec![], value)]))
    }

    fn atom(name: String) -> Polynomial {
        Polynomial(BTreeMap::from([(vec![name], 1)]))
    }

    fn add(mut self, other: &Polynomial, factor: i64) -> Option<Polynomial> {
        for (monomial, c) in &other.0 {
            let own = self.0.entry(monomial.clone()).or_default();
            *own = own.checked_add(c.checked_mul(factor)?)?;
        }
        Some(self)
    }

    fn mul(&self, other: &Polynomial) -> Option<Polynomial> {
        let mut out = Polynomial::default();
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                let mut monomial = [a.as_slice(), b].concat();
                monomial.sort();
                out = out.add(&Polynomial(BTreeMap::from([(monomial, x.checked_mul(*y)?)])), 1)?;
            }
        }
        Some(out)
    }

    /// Never less than either, as monomials are not negative.
    fn max(mut self, other: &Polynomial) -> Polynomial {
        for (monomial, own) in &mut self.0 {
            *own = (*own).max(other.0.get(monomial).copied().unwrap_or(0));
        }
        for (monomial, c) in &other.0 {
            self.0.entry(monomial.clone()).or_insert((*c).max(0));
        }
        self
    }

    /// Never less than the value rounded up to whole cache lines, and less than one line more.
    fn aligned(mut self) -> Polynomial {
        let whole = self.0.iter().all(|(monomial, c)| monomial.is_empty() || c % ALIGNMENT == 0);
        let constant = self.0.entry(vec![]).or_default();
        *constant = if whole { round(*constant) } else { constant.saturating_add(ALIGNMENT - 1) };
        self
    }

    fn text(&self) -> String {
        let mut terms: Vec<(&Vec<String>, i64)> =
            self.0.iter().map(|(m, c)| (m, *c)).filter(|(_, c)| *c != 0).collect();
        terms.sort_by_key(|(m, _)| std::cmp::Reverse(m.len()));
        let mut out = String::new();
        for (n, (monomial, c)) in terms.iter().enumerate() {
            let sign = if *c < 0 { "-" } else { "+" };
            out.push_str(&match n {
                0 if *c < 0 => "-".into(),
                0 => String::new(),
                _ => format!(" {sign} "),
            });
            let factors = std::iter::once(c.abs().to_string()).chain(monomial.iter().cloned());
            out.push_str(&factors.collect::<Vec<_>>().join("*"));
        }
        if out.is_empty() { "0".into() } else { out }
    }
}

/// See [`crate::metadata::WorkspaceInfo::polynomial`]. `None` where a coefficient overflows.
pub fn polynomial(nest: &LoopNest, slots: &[Option<usize>]) -> Option<String> {
    let mut total = Polynomial::default();
    for arrays in tenants(nest, slots) {
        let mut slot = Polynomial::default();
        for array in arrays {
            let mut bytes = Polynomial::constant(array.dtype.size() as i64);
            for extent in storage_extents(array) {
                bytes = bytes.mul(&of(&extent, &nest.params)?)?;
            }
            slot = slot.max(&bytes);
        }
        total = total.add(&slot.aligned(), 1)?;
    }
    Some(total.text())
}

fn of(aff: &Aff, params: &Params) -> Option<Polynomial> {
    let mut out = Polynomial::constant(aff.offset());
    for (term, c) in aff.terms() {
        let value = match term {
            Term::Param(p) => match &params.get(*p).def {
                ParamDef::Mul(a, b) => of(a, params)?.mul(&of(b, params)?)?,
                ParamDef::FloorDiv(..) | ParamDef::Max(..) | ParamDef::Min(..) => {
                    Polynomial::atom(extent_text(&Aff::param(*p), params))
                }
                _ => Polynomial::atom(params.get(*p).name.clone()),
            },
            other => Polynomial::atom(format!("({})", extent_text(&term_alone(other), params))),
        };
        out = out.add(&value, *c)?;
    }
    Some(out)
}

/// A quotient as an expression.
fn term_alone(term: &Term) -> Aff {
    match term {
        Term::FloorDiv(numerator, divisor) => numerator.floor_div(*divisor),
        Term::Param(p) => Aff::param(*p),
        Term::Iter(n) => Aff::iter(*n as usize),
    }
}
