//! Constants: those that stay, those of the same contents, and those that are another one rearranged.
//!
//! A constant that two stages have keeps its contents, by their hash, and what is said of them. A read may go to another constant with the same
//! contents, to the same element; or to a rearranged one, to an element that the certificate says is the one wanted.
//! That it is, byte for byte, [`contents`] finds out where the bytes are at hand.

use super::same::rename;
use super::*;
use crate::certificate::{ArrayEntry, ArrayRole, hash};

/// The constants that both stages have are the same.
pub fn check(checker: &mut Checker) {
    let mut ids: Vec<&str> = checker.base.arrays.keys().copied().collect();
    ids.sort();
    for id in ids {
        let (old, Some(new)) = (checker.base.arrays[id].entry, checker.last.arrays.get(id).map(|a| a.entry)) else {
            continue;
        };
        if old.role != ArrayRole::Constant {
            continue;
        }
        if new.role != old.role || new.contents != old.contents {
            checker.say(Rule::Values, format!("the contents of {id} ({}) are not those of the base", old.name));
        }
        let facts = |a: &ArrayEntry| (a.dtype.clone(), a.shape.clone(), a.range, a.made.clone());
        let moved = old.rearranged.is_some() && new.rearranged != old.rearranged;
        if facts(new) != facts(old) || moved {
            checker.say(Rule::Values, format!("{id} ({}) is said to be something else than in the base", old.name));
        }
    }
}

/// A constant is read in the place of another: each with the map of the access.
pub fn same(c: &Checker, to: (&str, &Map), was: (&str, &Map), id: &str) -> Result<Option<Finding>> {
    let differs = |text: String| Ok(Some(Finding { rule: Rule::Values, text, witness: None }));
    if !c.base.arrays.contains_key(to.0) {
        let Some(stated) = stated(c, to.0, was.0)? else {
            return differs(format!("{id} reads {} for {}, which is not said to be it rearranged", to.0, was.0));
        };
        let read = to.1.reverse()?.apply_range(was.1)?;
        let right = stated.is_single_valued()? && read.is_subset(&stated)?;
        return if right { Ok(None) } else { differs(format!("{id} reads {}, in the base {}", to.1, was.1)) };
    }
    let (new, old) = (&c.last.arrays[to.0], &c.base.arrays[was.0]);
    let renamed = rename(&c.ctx, to.0, was.0, new.shape.dims())?;
    let whole = new.shape.dims() == old.shape.dims() && new.shape.apply(&renamed)?.is_equal(&old.shape)?;
    if !whole || new.entry.contents.is_none() || new.entry.contents != old.entry.contents {
        return differs(format!("{id} reads {}, in the base {}, which has other contents", to.0, was.0));
    }
    let same = to.1.apply_range(&renamed)?.is_equal(was.1)?;
    if same { Ok(None) } else { differs(format!("{id} reads {}, in the base {}", to.1, was.1)) }
}

/// Where the elements of a rearranged constant are in another one, through further ones too.
fn stated(c: &Checker, array: &str, of: &str) -> Result<Option<Map>> {
    let mut map: Option<Map> = None;
    let mut at = array.to_string();
    for _ in 0..c.last.arrays.len() {
        let Some(text) = c.last.arrays.get(at.as_str()).and_then(|a| a.entry.rearranged.as_ref()) else {
            return Ok(None);
        };
        let next = read(&c.ctx, text, &at)?;
        at = next.name_out().unwrap_or_default();
        map = Some(match map {
            Some(map) => map.apply_range(&next)?,
            None => next,
        });
        if at == of {
            return Ok(map);
        }
    }
    Ok(None)
}

fn read(ctx: &Ctx, text: &str, array: &str) -> Result<Map> {
    let map = Map::read(ctx, text).map_err(malformed)?;
    let own = map.name_in().as_deref() == Some(array);
    if own { Ok(map) } else { Err(malformed(format!("{text} is not about {array}"))) }
}

/// Compares every constant of the lowered program that is made of others with these, and with its range. `blobs` are the
/// bytes of constants, in any order; what is not among them is counted, but not compared.
///
/// # Errors
/// `Invalid` when the certificate cannot be read.
pub fn contents(certificate: &Certificate, blobs: &[&[u8]], verdict: &mut Verdict) -> Result<()> {
    let ctx = Ctx::new()?;
    let known: HashMap<String, &[u8]> = blobs.iter().map(|bytes| (hash(bytes), *bytes)).collect();
    let Some(last) = certificate.stages.last() else { return Ok(()) };
    let arrays: HashMap<&str, &ArrayEntry> = last.arrays.iter().map(|a| (a.id.as_str(), a)).collect();
    let bytes = |a: &ArrayEntry| a.contents.as_ref().and_then(|hash| known.get(hash)).copied();
    for new in &last.arrays {
        let Some(here) = bytes(new) else { continue };
        if let Some(finding) = made::range(new, here) {
            verdict.findings.push(finding);
        }
        if let Some(by) = &new.made {
            let of = |id: &str| arrays.get(id).and_then(|a| Some((*a, bytes(a)?)));
            match made::first_difference(&ctx, (new, here), by, &of)? {
                made::Compared::Same => verdict.compared += 1,
                made::Compared::Differs(finding) => verdict.findings.push(finding),
                made::Compared::Unknown => {}
            }
        }
        let Some(text) = &new.rearranged else { continue };
        let map = read(&ctx, text, &new.id)?;
        let target = map.name_out().unwrap_or_default();
        let from = arrays.get(target.as_str()).ok_or_else(|| malformed(format!("{text}: no such array")))?;
        let Some(there) = bytes(from) else { continue };
        let (to, of) = (Extents::of(&ctx, &new.shape)?, Extents::of(&ctx, &from.shape)?);
        let steps = Steps::of(&ctx, &map)?;
        verdict.compared += 1;
        if let Some(at) = steps.first_difference((here, &to), (there, &of))? {
            let text = format!("{} ({}) is not {target} rearranged", instance(&new.id, &at), new.name);
            verdict.findings.push(Finding { rule: Rule::Values, text, witness: None });
        }
    }
    Ok(())
}

/// The extents of a box at the origin.
pub struct Extents(pub Vec<i64>);

impl Extents {
    pub fn of(ctx: &Ctx, text: &str) -> Result<Extents> {
        let shape = Set::read(ctx, text).map_err(malformed)?;
        let name = shape.name().unwrap_or_default();
        let variables: Vec<String> = (0..shape.dims()).map(|d| format!("o{d}")).collect();
        let negated: Vec<String> = variables.iter().map(|v| format!("-{v}")).collect();
        let (own, away) = (variables.join(", "), negated.join(", "));
        let flip = Map::read(ctx, &format!("{{ {name}[{own}] -> [{away}] }}"))?;
        let corner = shape.apply(&flip)?.lexmin()?.sample()?;
        let extents: Vec<i64> = corner.unwrap_or_default().iter().map(|n| 1 - n).collect();
        let bounds: Vec<String> = variables.iter().zip(&extents).map(|(v, e)| format!("0 <= {v} < {e}")).collect();
        let bounds = if bounds.is_empty() { "true".into() } else { bounds.join(" and ") };
        let whole = Set::read(ctx, &format!("{{ {name}[{own}] : {bounds} }}"))?;
        let is_box = shape.is_equal(&whole)?;
        if is_box { Ok(Extents(extents)) } else { Err(malformed(format!("{text} is no box"))) }
    }

    pub fn count(&self) -> Option<usize> {
        let all = self.0.iter().try_fold(1i64, |a, e| a.checked_mul(*e))?;
        usize::try_from(all).ok()
    }
}

/// An affine map as numbers: where the origin goes, and how far a step along every dimension leads.
pub struct Steps {
    origin: Vec<i64>,
    steps: Vec<Vec<i64>>,
}

impl Steps {
    pub fn of(ctx: &Ctx, map: &Map) -> Result<Steps> {
        let (name, dims) = (map.name_in().unwrap_or_default(), map.dims_in());
        let image = |along: Option<usize>| -> Result<Vec<i64>> {
            let point: Vec<&str> = (0..dims).map(|d| if along == Some(d) { "1" } else { "0" }).collect();
            let point = Set::read(ctx, &format!("{{ {name}[{}] }}", point.join(", ")))?;
            let image = point.apply(map)?.sample()?;
            image.ok_or_else(|| malformed(format!("{map} is not defined everywhere")))
        };
        let origin = image(None)?;
        let step = |d: usize| -> Result<Vec<i64>> {
            Ok(image(Some(d))?.iter().zip(&origin).map(|(there, here)| there - here).collect())
        };
        let steps = (0..dims).map(step).collect::<Result<Vec<_>>>()?;
        let found = Steps { origin, steps };
        let linear = Map::read(ctx, &found.text(&name, &map.name_out().unwrap_or_default()))?.is_equal(map)?;
        if linear { Ok(found) } else { Err(malformed(format!("{map} is not affine"))) }
    }

    fn text(&self, from: &str, to: &str) -> String {
        let variables: Vec<String> = (0..self.steps.len()).map(|d| format!("i{d}")).collect();
        let subscript = |n: usize| {
            let terms = self.steps.iter().zip(&variables).map(|(step, v)| format!(" + {}*{v}", step[n]));
            format!("{}{}", self.origin[n], terms.collect::<String>())
        };
        let subscripts: Vec<String> = (0..self.origin.len()).map(subscript).collect();
        format!("{{ {from}[{}] -> {to}[{}] }}", variables.join(", "), subscripts.join(", "))
    }

    /// The first element of the new constant that is not the element of the old one where that has one.
    fn first_difference(&self, new: (&[u8], &Extents), old: (&[u8], &Extents)) -> Result<Option<Vec<i64>>> {
        let sizes = new.1.count().zip(old.1.count()).filter(|(a, b)| *a > 0 && *b > 0);
        let Some((count, all)) = sizes else { return Ok(None) };
        let size = new.0.len() / count;
        if size * count != new.0.len() || size * all != old.0.len() {
            return Err(malformed("the bytes of a constant are not those of its shape"));
        }
        let mut at = vec![0; self.steps.len()];
        for element in new.0.chunks_exact(size) {
            if let Some(from) = self.offset(&at, old.1)
                && element != &old.0[from * size..(from + 1) * size]
            {
                return Ok(Some(at));
            }
            advance(&mut at, &new.1.0);
        }
        Ok(None)
    }

    /// The number of the element that `at` goes to; `None` outside.
    pub fn offset(&self, at: &[i64], extents: &Extents) -> Option<usize> {
        let mut offset = 0;
        for (n, extent) in extents.0.iter().enumerate() {
            let subscript = self.subscript(n, at);
            if !(0..*extent).contains(&subscript) {
                return None;
            }
            offset = offset * extent + subscript;
        }
        usize::try_from(offset).ok()
    }

    /// Number `n` of what `at` goes to.
    pub fn subscript(&self, n: usize, at: &[i64]) -> i64 {
        self.origin[n] + self.steps.iter().zip(at).map(|(step, i)| step[n] * i).sum::<i64>()
    }
}

/// The next point of a box, row-major.
pub fn advance(at: &mut [i64], extents: &[i64]) {
    for (i, extent) in at.iter_mut().zip(extents).rev() {
        *i += 1;
        if *i < *extent {
            return;
        }
        *i = 0;
    }
}
