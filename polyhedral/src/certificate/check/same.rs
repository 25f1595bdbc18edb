//! Are the instances of the last program those of the base, each once, and do they compute the same?
//!
//! A statement keeps its body, and under the map of its instances each of its accesses. Temporaries may have been laid
//! out anew: their writers tell which element became which, one to one, and all other accesses must agree. A read may
//! go to a copy instead: a statement that is new, copies element by element, and is the only writer of its array; or
//! to a rearranged constant, whose contents the certificate cannot show. All accesses of some statements to an array may
//! go to a new one in its stead, which a new statement copies back, one element to one element. A statement may be
//! missing when nothing reads what it wrote.

use super::*;
use crate::certificate::ArrayRole;
use std::collections::HashSet;

pub fn check(checker: &mut Checker) -> Result<()> {
    executed(checker)?;
    for statement in 0..checker.last.statements.len() {
        match checker.origins[statement] {
            Some(_) => instances(checker, statement)?,
            None => copy(checker, statement)?,
        }
    }
    let moved = moved_arrays(checker)?;
    for statement in 0..checker.last.statements.len() {
        if checker.origins[statement].is_some() {
            accesses(checker, statement, &moved)?;
        }
    }
    Ok(())
}

/// Every statement of the base is one of the last program, or nobody misses it.
pub fn executed(checker: &mut Checker) -> Result<()> {
    let mut seen = HashSet::new();
    let twice: Vec<usize> = checker.origins.iter().flatten().map(|(b, _)| *b).filter(|b| !seen.insert(*b)).collect();
    for base in twice {
        let id = &checker.base.statements[base].entry.id;
        checker.say(Rule::Instances, format!("two statements claim to be {id}"));
    }
    let read: HashSet<String> =
        checker.last.statements.iter().flat_map(|s| &s.reads).map(|access| access.array.clone()).collect();
    for base in (0..checker.base.statements.len()).filter(|b| !seen.contains(b)) {
        let statement = &checker.base.statements[base];
        let array = statement.write.array.as_str();
        let output = checker.base.arrays[array].entry.role == ArrayRole::Output;
        if checker.last.arrays.get(array).is_some_and(|a| a.entry.role == ArrayRole::Constant) {
            checker.verdict.assumed += 1;
            continue;
        }
        if output || read.contains(array) {
            let text = format!("{} is not executed, but {array}, which it writes, is needed", statement.entry.id);
            checker.say(Rule::Instances, text);
        }
    }
    Ok(())
}

/// The map of instances is one to one and onto, and the schedule runs each once.
pub fn instances(checker: &mut Checker, statement: usize) -> Result<()> {
    let id = checker.id(statement);
    checker.ask(
        || format!("are the instances of {id} those of the base"),
        |c| {
            let Some((base, map)) = &c.origins[statement] else { return Ok(None) };
            let old = &c.base.statements[*base];
            let image = map.range()?;
            if !image.is_equal(&old.domain)? {
                let (name, lost) = (old.entry.id.as_str(), old.domain.subtract(&image)?);
                let text = match point(&lost, name)? {
                    Some(at) => format!("{at} of the base is not executed"),
                    None => {
                        format!("{id} executes {}", point(&image.subtract(&old.domain)?, name)?.unwrap_or_default())
                    }
                };
                return Ok(Some(Finding { rule: Rule::Instances, text, witness: None }));
            }
            match collision(&c.ctx, map)? {
                Some(bad) => witness(&bad, [id, id], Rule::Instances, || "two instances are one of the base".into()),
                None => Ok(None),
            }
        },
    )?;
    once(checker, statement)
}

/// No two instances have one time.
fn once(checker: &mut Checker, statement: usize) -> Result<()> {
    let id = checker.id(statement);
    checker.ask(
        || format!("do the instances of {id} have different times"),
        |c| {
            let path = &c.last.statements[statement].path;
            match collision(&c.ctx, &c.time(statement, path.bands.len())?)? {
                Some(bad) => witness(&bad, [id, id], Rule::Instances, || "two instances have one time".into()),
                None => Ok(None),
            }
        },
    )
}

/// A statement without a counterpart: an element-by-element copy into an array of its own.
fn copy(checker: &mut Checker, statement: usize) -> Result<()> {
    once(checker, statement)?;
    let (id, entry) = (checker.id(statement), checker.last.statements[statement].entry);
    let (value, guard) = parts(&entry.body);
    if value != "#0" || entry.kind != "assign" {
        checker.verdict.undecided.push(format!("what does {id} compute, which is new and no copy"));
        return Ok(());
    }
    if guard.is_some() {
        there_when_read(checker, statement)?;
    }
    let array = checker.last.statements[statement].write.array.clone();
    if checker.base.arrays.contains_key(array.as_str()) {
        return copy_back(checker, statement);
    }
    let writers = checker.last.statements.iter().filter(|s| s.write.array == array).count();
    let temp = checker.last.arrays[array.as_str()].entry.role == ArrayRole::Temp;
    if writers != 1 || !temp {
        checker.say(Rule::Values, format!("{id} copies into {array}, which is not its own"));
    }
    checker.ask(
        || format!("does {id} write every element once"),
        |c| match collision(&c.ctx, &c.last.statements[statement].write.may)? {
            Some(bad) => witness(&bad, [id, id], Rule::Values, || format!("a copy writes an element of {array} twice")),
            None => Ok(None),
        },
    )
}

/// A copy into an array of the base, from a new one that stands in for it: one element to one element, and nobody else
/// writes these elements.
fn copy_back(checker: &mut Checker, copy: usize) -> Result<()> {
    let id = checker.id(copy);
    checker.ask(
        || format!("is {id} the only one that writes what it copies back"),
        |c| {
            let new = &c.last.statements[copy];
            let (to, from) = (new.write.array.as_str(), new.reads[0].array.as_str());
            let text = || format!("{id} copies {from} into {to}, which is not its own");
            let wrong = || Ok(Some(Finding { rule: Rule::Values, text: text(), witness: None }));
            let elements = back(new)?;
            if c.base.arrays.contains_key(from) || !elements.is_single_valued()? || !elements.is_injective()? {
                return wrong();
            }
            let written = new.write.may.range()?;
            for other in c.last.statements.iter().filter(|s| s.write.array == to && s.entry.id != new.entry.id) {
                if !other.write.may.range()?.intersect(&written)?.is_empty()? {
                    return wrong();
                }
            }
            Ok(None)
        },
    )
}

/// From the elements that a copy reads to those that it writes.
fn back(copy: &Statement) -> Result<Map> {
    copy.reads[0].may.reverse()?.apply_range(&copy.write.may)
}

/// The new statement that copies `from` to `to`.
fn copier<'a, 'c>(c: &'a Checker<'c>, from: &str, to: &str) -> Option<&'a Statement<'c>> {
    let copies = |(s, origin): &(&Statement, &Option<(usize, Map)>)| {
        origin.is_none() && s.write.array == to && s.reads.first().is_some_and(|r| r.array == from)
    };
    c.last.statements.iter().zip(&c.origins).find(copies).map(|(s, _)| s)
}

/// The value of a body, and the test that decides whether the instance runs.
pub fn parts(body: &str) -> (&str, Option<&str>) {
    body.split_once(" if ").map_or((body, None), |(value, guard)| (value, Some(guard)))
}

/// A copy that runs only where a test holds: whoever reads it makes the same test on the same values.
fn there_when_read(checker: &mut Checker, copy: usize) -> Result<()> {
    let id = checker.id(copy);
    let array = checker.last.statements[copy].write.array.clone();
    for reader in 0..checker.last.statements.len() {
        for n in 0..checker.last.statements[reader].reads.len() {
            if checker.last.statements[reader].reads[n].array != array {
                continue;
            }
            let by = checker.id(reader);
            checker.ask(
                || format!("is the copy {id} there when {by} reads it"),
                |c| {
                    let (made, read) = (&c.last.statements[copy], &c.last.statements[reader]);
                    let link = read.reads[n].may.apply_range(&made.write.may.reverse()?)?;
                    let same =
                        same_test(c, (made, parts(&made.entry.body).1), (read, parts(&read.entry.body).1), &link)?;
                    let text = || format!("{by} reads the copy {id} where that may not have run");
                    Ok((!same).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
                },
            )?;
        }
    }
    Ok(())
}

/// Do two statements, for related instances, run under a test and its opposite: the branches of an `If`?
pub fn exclusive(c: &Checker, a: &Statement, b: &Statement, relation: &Map) -> Result<bool> {
    let (Some(x), Some(y)) = (parts(&a.entry.body).1, parts(&b.entry.body).1) else { return Ok(false) };
    fn opposite(test: &str) -> Option<&str> {
        test.strip_prefix("not(")?.strip_suffix(')')
    }
    let back = || relation.reverse();
    match (opposite(x), opposite(y)) {
        (Some(x), None) => same_test(c, (a, Some(x)), (b, Some(y)), &back()?),
        (None, Some(y)) => same_test(c, (a, Some(x)), (b, Some(y)), &back()?),
        _ => Ok(false),
    }
}

/// Are two tests one, where `link` leads from instances of the second statement to instances of the first?
fn same_test(
    c: &Checker,
    (first, a): (&Statement, Option<&str>),
    (second, b): (&Statement, Option<&str>),
    link: &Map,
) -> Result<bool> {
    let (Some(a), Some(b)) = (a, b) else { return Ok(false) };
    let (refs_a, refs_b) = (references(a), references(b));
    if refs_a.0 != refs_b.0 {
        return Ok(false);
    }
    let map = |s: &Statement, (kind, n): (char, usize)| -> Result<Map> {
        let lacks = || malformed(format!("{} has no {kind}{n}", s.entry.id));
        if kind == '#' {
            return Ok(s.reads.get(n).ok_or_else(lacks)?.may.clone());
        }
        Map::read(&c.ctx, s.entry.values.get(n).ok_or_else(lacks)?).map_err(malformed)?.intersect_domain(&s.domain)
    };
    for (of_a, of_b) in refs_a.1.into_iter().zip(refs_b.1) {
        let through = link.apply_range(&map(first, of_a)?)?;
        if !through.is_equal(&map(second, of_b)?.intersect_domain(&link.domain()?)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A body without the numbers of its reads and values, and these in order.
fn references(text: &str) -> (String, Vec<(char, usize)>) {
    let (mut shape, mut found) = (String::new(), Vec::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        shape.push(c);
        if c == '#' || c == '@' {
            let mut n = 0;
            while let Some(digit) = rest.peek().and_then(|d| d.to_digit(10)) {
                n = n * 10 + digit as usize;
                rest.next();
            }
            found.push((c, n));
        }
    }
    (shape, found)
}

/// What the base accesses, as a map from instances of the last program. What is outside the array is never read: it
/// belongs to the side of a select that is not taken.
pub fn mapped(map: &Map, program: &Program, old: &Access) -> Result<Map> {
    let shape = &program.arrays[old.array.as_str()].shape;
    if !old.exact.domain_is_wrapping()? {
        return map.apply_range(&old.exact)?.intersect_range(shape);
    }
    // The computed subscripts are the same variables on both sides.
    let variables = old.exact.domain()?.unwrap()?.dims_out();
    let names: Vec<String> = (0..variables).map(|n| format!("e{n}")).collect();
    let tuple = names.join(", ");
    let same = Map::read(map.ctx(), &format!("{{ [{tuple}] -> [{tuple}] }}"))?;
    map.product(&same)?.apply_range(&old.exact)?.intersect_range(shape)
}

/// What the last program accesses, on its domain.
fn now(checker: &Checker, statement: &Statement, access: &Access) -> Result<Map> {
    mapped(&statement.domain.identity()?, &checker.last, access)
}

/// Arrays whose elements changed place: from where they were to where they are.
fn moved_arrays(checker: &mut Checker) -> Result<HashMap<String, Map>> {
    let mut moved: Vec<String> = Vec::new();
    for statement in 0..checker.last.statements.len() {
        checker.ask(
            || "are the arrays laid out as in the base".into(),
            |c| {
                let Some((base, map)) = &c.origins[statement] else { return Ok(None) };
                let (new, old) = (&c.last.statements[statement], &c.base.statements[*base]);
                for (here, then) in new.accesses().zip(old.accesses()) {
                    let same = here.array == then.array && !moved.contains(&here.array);
                    if same && !mapped(map, &c.base, then)?.is_equal(&now(c, new, here)?)? {
                        moved.push(here.array.clone());
                    }
                }
                Ok(None)
            },
        )?;
    }
    let mut out = HashMap::new();
    for array in moved {
        checker.ask(
            || format!("where are the elements of {array}"),
            |c| {
                let places = new_places(c, &array)?;
                let name = &c.last.arrays[array.as_str()].entry.name;
                let text = || format!("the accesses to {array} ({name}) are not those of the base");
                let found = places.is_some();
                out.extend(places.map(|map| (array.clone(), map)));
                Ok((!found).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
            },
        )?;
    }
    Ok(out)
}

/// Where the elements of a temporary are now, from its writers; `None` when that is not one to one.
fn new_places(c: &Checker, array: &str) -> Result<Option<Map>> {
    let mut places: Option<Map> = None;
    for (statement, origin) in c.origins.iter().enumerate() {
        let Some((base, map)) = origin else { continue };
        let (new, old) = (&c.last.statements[statement], &c.base.statements[*base]);
        if old.write.array != array || new.write.exact.domain_is_wrapping()? {
            continue;
        }
        let mut here = now(c, new, &new.write)?;
        if new.write.array != array {
            let Some(copy) = copier(c, &new.write.array, array) else { continue };
            here = here.apply_range(&back(copy)?)?;
        }
        let moves = mapped(map, &c.base, &old.write)?.reverse()?.apply_range(&here)?;
        places = Some(match places {
            Some(known) => known.union(&moves)?,
            None => moves,
        });
    }
    let Some(map) = places.filter(|_| c.last.arrays[array].entry.role == ArrayRole::Temp) else { return Ok(None) };
    Ok((map.is_single_valued()? && map.is_injective()?).then_some(map))
}

/// Body, values and accesses of a statement.
fn accesses(checker: &mut Checker, statement: usize, moved: &HashMap<String, Map>) -> Result<()> {
    let Some((base, _)) = checker.origins[statement] else { return Ok(()) };
    let id = checker.id(statement);
    if checker.last.statements[statement].reads.iter().any(|r| is_computed_anew(checker, &r.array)) {
        checker.verdict.undecided.push(format!("what does {id} compute from what is computed anew"));
        return Ok(());
    }
    let (new, old) = (checker.last.statements[statement].entry, checker.base.statements[base].entry);
    if new.body != old.body || new.kind != old.kind || new.values.len() != old.values.len() {
        checker.say(Rule::Values, format!("{id} computes `{}`, the base `{}`", new.body, old.body));
        return Ok(());
    }
    if new.reads.len() != old.reads.len() || new.reads.iter().zip(&old.reads).any(|(a, b)| a.by != b.by) {
        checker.say(Rule::Values, format!("{id} reads other things than in the base"));
        return Ok(());
    }
    for n in 0..new.values.len() {
        checker.ask(
            || format!("is value {n} of {id} the same"),
            |c| {
                let Some((_, map)) = &c.origins[statement] else { return Ok(None) };
                let read = |text: &str| Map::read(&c.ctx, text).map_err(malformed);
                let now = read(&new.values[n])?.intersect_domain(&c.last.statements[statement].domain)?;
                let same = map.apply_range(&read(&old.values[n])?)?.is_equal(&now)?;
                let text = || format!("value {n} of {id} is {}, in the base {}", new.values[n], old.values[n]);
                Ok((!same).then(|| Finding { rule: Rule::Values, text: text(), witness: None }))
            },
        )?;
    }
    for n in 0..=new.reads.len() {
        checker.ask(|| format!("does {id} access the same elements"), |c| same_access(c, statement, n, moved))?;
    }
    Ok(())
}

/// Does a new statement that is no copy write the array?
fn is_computed_anew(c: &Checker, array: &str) -> bool {
    let all = c.last.statements.iter().zip(&c.origins);
    all.into_iter().any(|(s, origin)| origin.is_none() && s.write.array == array && parts(&s.entry.body).0 != "#0")
}

/// Access `n` of a statement: its reads, then its write.
fn same_access(c: &Checker, statement: usize, n: usize, moved: &HashMap<String, Map>) -> Result<Option<Finding>> {
    let Some((base, map)) = &c.origins[statement] else { return Ok(None) };
    let (new, old) = (&c.last.statements[statement], &c.base.statements[*base]);
    let (here, then) = (new.reads.get(n).unwrap_or(&new.write), old.reads.get(n).unwrap_or(&old.write));
    let (id, to, from) = (&new.entry.id, here.array.as_str(), then.array.as_str());
    let mut wanted = mapped(map, &c.base, then)?;
    if let Some(places) = moved.get(from) {
        wanted = wanted.apply_range(places)?;
    }
    let found = now(c, new, here)?;
    let differs = |text: String| Ok(Some(Finding { rule: Rule::Values, text, witness: None }));
    if to == from {
        let same = wanted.is_equal(&found)?;
        return if same { Ok(None) } else { differs(format!("{id} accesses {found}, in the base {wanted}")) };
    }
    let constant = |p: &Program, a: &str| p.arrays[a].entry.role == ArrayRole::Constant;
    if constant(&c.last, to) && constant(&c.base, from) {
        // An element of the rearranged constant stands for one element of the constant.
        let one = found.reverse()?.apply_range(&wanted)?.is_single_valued()?;
        let text = || format!("{id} reads {to} for {from}, and one element for several");
        return if one { Ok(None) } else { differs(text()) };
    }
    if let Some(copy) = copier(c, to, from) {
        // The array stands in for the one of the base.
        let through = found.apply_range(&back(copy)?)?;
        let text = || format!("{id} accesses {through} through {to}, in the base {wanted}");
        return if through.is_equal(&wanted)? { Ok(None) } else { differs(text()) };
    }
    let Some(copy) = copier(c, from, to) else { return differs(format!("{id} accesses {to}, in the base {from}")) };
    let through = found.apply_range(&copy.write.may.reverse()?)?.apply_range(&copy.reads[0].may)?;
    let text = || format!("{id} reads {through} through {to}, in the base {wanted}");
    if through.is_equal(&wanted)? { Ok(None) } else { differs(text()) }
}
