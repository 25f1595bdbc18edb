//! Products, quotients, minima and equality of dimensions, kept affine where possible.
//!
//! A product of two symbolic dimensions is a derived parameter. To recognise that `batch*seq / seq` is
//! `batch`, expressions are taken apart into factors: a number and a sorted list of primitive expressions.

use super::assume::{Fact, Range, Same};
use super::context::{Context, Step, Stop};
use sirius_polyhedral::{Aff, Error, ParamDef, ParamId, Term};

/// `number * atoms[0] * atoms[1] * ...`
struct Factors {
    number: i64,
    atoms: Vec<Aff>,
}

impl Context<'_> {
    pub fn mul(&mut self, a: &Aff, b: &Aff) -> Aff {
        let mut left = self.factors(a);
        let right = self.factors(b);
        left.number = left.number.saturating_mul(right.number);
        left.atoms.extend(right.atoms);
        self.product_of(left)
    }

    /// The number of elements of `dims`.
    pub fn product(&mut self, dims: &[Aff]) -> Aff {
        let mut all = Factors { number: 1, atoms: Vec::new() };
        for dim in dims {
            let factors = self.factors(dim);
            all.number = all.number.saturating_mul(factors.number);
            all.atoms.extend(factors.atoms);
        }
        self.product_of(all)
    }

    fn product_of(&mut self, mut factors: Factors) -> Aff {
        if factors.number == 0 {
            return Aff::constant(0);
        }
        factors.atoms.sort();
        let mut atoms = factors.atoms.into_iter();
        let Some(first) = atoms.next() else { return Aff::constant(factors.number) };
        let product = atoms.fold(first, |product, atom| self.derived(ParamDef::Mul(product, atom)));
        product * factors.number
    }

    /// A parameter for `def`, bounds included. Bounds come from the whole program, not from the branch.
    fn derived(&mut self, def: ParamDef) -> Aff {
        let count = self.graph.params.len();
        let range = self.definition_range(&def);
        let id = self.graph.params.derived(def);
        if self.graph.params.len() > count && self.branches.is_empty() {
            let param = self.graph.params.get_mut(id);
            param.min = range.0.unwrap_or(param.min);
            param.max = range.1;
        } else if self.graph.params.len() > count && self.branch_free_nonnegative(id) {
            self.graph.params.get_mut(id).min = 0;
        }
        Aff::param(id)
    }

    /// Products and quotients of dimensions are never negative, whatever branch we are in.
    fn branch_free_nonnegative(&self, id: ParamId) -> bool {
        let declared = |p: ParamId| {
            let param = self.graph.params.get(p);
            ((param.min > i64::MIN).then_some(param.min), param.max)
        };
        let low = |aff: &Aff| aff.bounds(&declared, &|_| (None, None)).0.is_some_and(|low| low >= 0);
        match &self.graph.params.get(id).def {
            ParamDef::Mul(a, b) | ParamDef::FloorDiv(a, b) | ParamDef::Min(a, b) => low(a) && low(b),
            ParamDef::Max(a, b) => low(a) || low(b),
            _ => false,
        }
    }

    fn factors(&self, aff: &Aff) -> Factors {
        if let Some(number) = aff.as_constant() {
            return Factors { number, atoms: vec![] };
        }
        let number = aff.terms().iter().fold(aff.offset().unsigned_abs(), |g, (_, c)| gcd(g, c.unsigned_abs()));
        let number = i64::try_from(number).unwrap_or(1).max(1);
        let primitive = divide_exactly(aff, number);
        if let Some(ParamDef::Mul(a, b)) = primitive.as_param().map(|p| &self.graph.params.get(p).def) {
            let (mut left, right) = (self.factors(a), self.factors(b));
            left.number = left.number.saturating_mul(right.number).saturating_mul(number);
            left.atoms.extend(right.atoms);
            return left;
        }
        Factors { number, atoms: vec![primitive] }
    }

    /// `floor(a / b)`; `b` must be positive at run time.
    pub fn div(&mut self, a: &Aff, b: &Aff) -> Aff {
        if let Some(exact) = self.divide_terms(a, b) {
            return exact;
        }
        let (above, below) = self.cancel(a, b);
        match below.as_constant() {
            Some(n) if n > 0 => self.simplify(&above.floor_div(n)),
            _ => self.derived(ParamDef::FloorDiv(above, below)),
        }
    }

    /// Removes common factors of a quotient.
    fn cancel(&mut self, a: &Aff, b: &Aff) -> (Aff, Aff) {
        let (mut above, mut below) = (self.factors(a), self.factors(b));
        above.atoms.retain(|atom| match below.atoms.iter().position(|other| other == atom) {
            Some(at) => {
                below.atoms.remove(at);
                false
            }
            None => true,
        });
        let common = gcd(above.number.unsigned_abs(), below.number.unsigned_abs());
        let common = i64::try_from(common).unwrap_or(1).max(1);
        above.number /= common;
        below.number /= common;
        (self.product_of(above), self.product_of(below))
    }

    /// A sum divides exactly where each of its terms does: `(batch*seq + batch) / batch`.
    fn divide_terms(&mut self, a: &Aff, b: &Aff) -> Option<Aff> {
        let mut terms: Vec<Aff> = a.terms().iter().map(|(t, c)| term(t) * *c).collect();
        if a.offset() != 0 || terms.is_empty() {
            terms.push(Aff::constant(a.offset()));
        }
        let mut sum = Aff::constant(0);
        for part in terms {
            let (above, below) = self.cancel(&part, b);
            if !below.is_constant(1) {
                return None;
            }
            sum = sum + above;
        }
        Some(sum)
    }

    /// 1 where `a` is negative, else 0; at least 1 far below.
    pub fn is_negative(&mut self, a: &Aff) -> Aff {
        -self.derived(ParamDef::FloorDiv(a.clone(), Aff::constant(1 << 62)))
    }

    pub fn min(&mut self, a: &Aff, b: &Aff) -> Aff {
        match self.at_most(a, b) {
            Some(true) => a.clone(),
            Some(false) => b.clone(),
            None => self.derived(ParamDef::Min(a.clone(), b.clone())),
        }
    }

    pub fn max(&mut self, a: &Aff, b: &Aff) -> Aff {
        match self.at_most(a, b) {
            Some(true) => b.clone(),
            Some(false) => a.clone(),
            None => self.derived(ParamDef::Max(a.clone(), b.clone())),
        }
    }

    /// Is `a <= b` for all values of the parameters, or `a >= b` for all, or neither?
    pub fn at_most(&self, a: &Aff, b: &Aff) -> Option<bool> {
        match self.range(&(b.clone() - a.clone())) {
            (Some(low), _) if low >= 0 => Some(true),
            (_, Some(high)) if high <= 0 => Some(false),
            _ => None,
        }
    }

    /// Is `a < b` always, or never?
    pub fn less(&self, a: &Aff, b: &Aff) -> Option<bool> {
        match self.range(&(b.clone() - a.clone())) {
            (Some(low), _) if low > 0 => Some(true),
            (_, Some(high)) if high <= 0 => Some(false),
            _ => None,
        }
    }

    /// Are `a` and `b` equal always, or never?
    pub fn equal(&self, a: &Aff, b: &Aff) -> Option<bool> {
        match self.range(&self.simplify(&(a.clone() - b.clone()))) {
            (Some(0), Some(0)) => Some(true),
            (Some(low), _) if low > 0 => Some(false),
            (_, Some(high)) if high < 0 => Some(false),
            _ => None,
        }
    }

    /// The one extent that two dimensions must have. Where they differ, this asks for the fact about the
    /// graph's inputs that makes them equal.
    pub fn same(&mut self, a: &Aff, b: &Aff) -> Step<Aff> {
        match self.equal(a, b) {
            Some(true) => return Ok(if a.as_constant().is_some() { a.clone() } else { b.clone() }),
            Some(false) => {
                let message = format!("dimensions {} and {} must be equal", self.show(a), self.show(b));
                return Err(Error::invalid("E113", message).into());
            }
            None => {}
        }
        let difference = self.simplify(&(a.clone() - b.clone()));
        match self.fact_for_zero(&difference).into_iter().next() {
            Some(fact) => Err(Stop::Restart(fact)),
            None if self.graph.params.is_computed(&difference) => {
                self.unequal.push((a.clone(), b.clone()));
                Ok(self.min(a, b))
            }
            None => {
                self.require_zero(&difference);
                // Data may break the promise: the one with the smaller bound is inside both.
                let smaller = self.range(a).1.zip(self.range(b).1).is_some_and(|(x, y)| y < x);
                Ok(if b.as_constant().is_some() || smaller { b.clone() } else { a.clone() })
            }
        }
    }

    /// The run checks that `difference` is 0. A branch may ask for what need not hold outside.
    pub fn require_zero(&mut self, difference: &Aff) {
        if self.graph.params.is_computed(difference) {
            self.unequal.push((difference.clone(), Aff::constant(0)));
            return;
        }
        if let Some(branch) = self.branches.last() {
            let both = [difference.clone(), -difference.clone()];
            self.needs.entry(branch.clone()).or_default().extend(both);
            return;
        }
        let id = self.graph.params.derived(ParamDef::Mul(difference.clone(), Aff::constant(1)));
        let param = self.graph.params.get_mut(id);
        (param.min, param.max) = (0, Some(0));
    }

    /// Asks for input dimensions so large that `aff` is at least 1, where that depends on one dimension only.
    pub fn positive(&mut self, aff: &Aff) -> Step {
        if self.range(aff).0.is_some_and(|low| low >= 1) {
            return Ok(());
        }
        match self.range_where(aff, |value| value >= 1) {
            Some(fact) => Err(Stop::Restart(fact)),
            None => Ok(()),
        }
    }

    /// Facts about input dimensions under which `difference` is zero; none where we know no such fact.
    pub fn fact_for_zero(&self, difference: &Aff) -> Vec<Fact> {
        let fact = match (difference.terms(), difference.offset()) {
            ([(Term::Param(p), c)], k) if k % c == 0 && self.admits(*p, -k / c) => {
                self.dimension(*p).map(|(dim, of)| Fact::Same(dim, Same::Fixed(-k / c * of)))
            }
            ([(Term::Param(p), c), (Term::Param(q), d)], 0) if *c == -d => {
                let pair = self.dimension(*p).zip(self.dimension(*q)).filter(|((_, a), (_, b))| a == b);
                pair.map(|((left, _), (right, _))| Fact::Same(right, Same::Dim(left)))
            }
            _ => None,
        };
        let weaker = || self.fact_for_limit(difference).or_else(|| self.fact_for_range(difference));
        fact.or_else(weaker).into_iter().collect()
    }

    /// The named dimension behind a parameter, and by what it is divided there.
    fn dimension(&self, id: ParamId) -> Option<(String, i64)> {
        let param = self.graph.params.get(id);
        match &param.def {
            ParamDef::Input { .. } => Some((param.name.clone(), 1)),
            ParamDef::FloorDiv(a, b) => {
                let (name, of) = self.dimension(a.as_param()?)?;
                Some((name, b.as_constant()?.checked_mul(of)?))
            }
            _ => None,
        }
    }

    fn admits(&self, param: ParamId, value: i64) -> bool {
        let (low, high) = self.param_range(param);
        low.is_none_or(|l| l <= value) && high.is_none_or(|h| value <= h)
    }

    /// `min(x, y) - x` is zero where `x <= y`: a bound on the input dimension in `y - x`.
    fn fact_for_limit(&self, difference: &Aff) -> Option<Fact> {
        difference.terms().iter().find_map(|(atom, _)| {
            let Term::Param(p) = atom else { return None };
            let sides = match &self.graph.params.get(*p).def {
                ParamDef::Min(x, y) => [(x, y.clone() - x.clone()), (y, x.clone() - y.clone())],
                ParamDef::Max(x, y) => [(x, x.clone() - y.clone()), (y, y.clone() - x.clone())],
                _ => return None,
            };
            let replace =
                |by: &Aff| difference.substitute_params(&|q| if q == *p { by.clone() } else { Aff::param(q) });
            let (_, slack) = sides.into_iter().find(|(side, _)| self.equal(&replace(side), &0.into()) == Some(true))?;
            self.range_where(&slack, |slack| slack >= 0)
        })
    }

    /// A function of one input dimension is zero on an interval of it, as for `frames == 1`.
    fn fact_for_range(&self, difference: &Aff) -> Option<Fact> {
        self.range_where(difference, |value| value == 0)
    }

    /// The interval of the only input dimension in `aff` on which `holds`, found by testing values; its
    /// multiples, where those go on without end and the interval does not. `None` where nothing is found or
    /// several parameters occur.
    fn range_where(&self, aff: &Aff, holds: impl Fn(i64) -> bool) -> Option<Fact> {
        /// Longer inputs than this are not looked at for an upper bound.
        const FAR: i64 = 1 << 40;
        /// Every input length up to this is tried for the lower bound.
        const NEAR: i64 = 1 << 16;
        let mut params = Vec::new();
        aff.visit_params(&mut |p| params.push(p));
        params.dedup();
        let [param] = params.as_slice() else { return None };
        let (input, divided) = self.dimension(*param)?;
        let (low, high) = self.param_range(*param);
        let (low, high) = (low.unwrap_or(1), high.unwrap_or(FAR).min(FAR));
        let at = |n: i64| holds(aff.eval(&|_| n, &|_| 0));
        let first = (low..=high.min(low.saturating_add(NEAR))).find(|&n| at(n))?;
        let last = last_of_run(first, high, at);
        if last < high
            && self.branches.is_empty()
            && let Some(of) = multiple_where(at)
        {
            return Some(Fact::Multiple { dim: input, of: of.checked_mul(divided)? });
        }
        let range: Range = (Some(first), (last < FAR).then_some(last));
        let (branch, dim) = (self.branches.last().cloned(), self.graph.params.get(*param).name.clone());
        Some(Fact::Range { branch, dim, range })
    }
}

/// The smallest number whose multiples all pass: a network that halves an image five times and adds the
/// results up again wants multiples of 32.
fn multiple_where(holds: impl Fn(i64) -> bool) -> Option<i64> {
    /// Networks have few levels.
    const LARGEST: i64 = 1 << 12;
    /// Every small multiple is tried, and some large ones.
    const TRIED: i64 = 64;
    let passes = |of: i64| (1..=TRIED).chain([1009, 65_537]).all(|n| holds(n * of));
    (2..=LARGEST).find(|&of| passes(of))
}

/// The end of the run of values from `first` on which `holds`; doubling steps, then bisection.
fn last_of_run(first: i64, high: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut good, mut step) = (first, 1i64);
    let mut bad = high + 1;
    while good < high {
        let next = good.saturating_add(step).min(high);
        if !holds(next) {
            bad = next;
            break;
        }
        (good, step) = (next, step.saturating_mul(2));
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if holds(middle) { good = middle } else { bad = middle }
    }
    good
}

fn term(term: &Term) -> Aff {
    match term {
        Term::Param(p) => Aff::param(*p),
        Term::Iter(n) => Aff::iter(*n as usize),
        Term::FloorDiv(a, d) => a.floor_div(*d),
    }
}

/// `aff / number` where every part divides.
fn divide_exactly(aff: &Aff, number: i64) -> Aff {
    let parts = aff.terms().iter().map(|(t, c)| term(t) * (c / number));
    parts.fold(Aff::constant(aff.offset() / number), |sum, part| sum + part)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
